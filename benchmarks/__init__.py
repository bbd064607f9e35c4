"""Benchmarks: one file a claim, ratios against a named peer or reference in the same run; ``make bench`` writes docs/results.md."""
