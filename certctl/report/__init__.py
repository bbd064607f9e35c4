"""Reports: one self-contained page about a bundle that the kernel has just checked."""

from certctl.report.hold import Hold, hold_interval
from certctl.report.page import write_report
from certctl.report.words import not_claimed, statement

__all__ = ["Hold", "hold_interval", "not_claimed", "statement", "write_report"]
