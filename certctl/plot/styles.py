"""Presets: figures that fit one or two columns of a paper, a slide, or a page, with text in the size that is printed there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from certctl.plot import palette


@dataclass(frozen=True)
class Style:
    """Width in inches, the panels' height over width, and Matplotlib's settings."""

    width: float
    aspect: float
    rc: dict[Any, Any]


def _sizes(text: float, small: float, line: float, dots: int) -> dict[Any, Any]:
    return {**palette.RC, "font.size": text, "axes.labelsize": text, "axes.titlesize": text, "legend.fontsize": small, "xtick.labelsize": small,
            "ytick.labelsize": small, "lines.linewidth": line, "axes.linewidth": line, "savefig.dpi": dots}


STYLES = {
    "page": Style(5.2, 0.86, _sizes(9, 8, 0.8, 200)),
    "column": Style(3.5, 0.86, _sizes(8, 7, 0.7, 300)),
    "two-column": Style(7.16, 0.5, _sizes(8, 7, 0.7, 300)),
    "slides": Style(10.0, 0.56, _sizes(18, 16, 1.8, 120)),
}
"""``page`` for reports and screens, ``column`` and ``two-column`` for papers (IEEE widths), ``slides`` for 16:9."""
