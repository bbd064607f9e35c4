"""Learners: each writes a candidate, and only ``verify`` may call it certified."""
