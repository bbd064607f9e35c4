"""Colours, labels and axes that all figures share; the palette is Okabe and Ito's, which colour-blind readers can tell apart."""

from __future__ import annotations

import unicodedata
from typing import Any

from verifiers.kernel.plant import Signal

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#777777"
CERTIFIED = GREEN
"""The only colour of certified area; nothing that the kernel has not accepted is ever drawn in it."""
CERTIFIED_FILL = 0.32
TRAJECTORY, COUNTEREXAMPLE, CANDIDATE, DOMAIN, DEMANDED, TARGET = BLUE, VERMILION, GREY, BLACK, ORANGE, PURPLE

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 0.8,
    "legend.frameon": False, "pdf.fonttype": 42, "svg.hashsalt": "certctl", "savefig.dpi": 200, "figure.dpi": 100,
}
_GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "phi": "φ", "psi": "ψ", "omega": "ω"}
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_LONGEST_UNIT = 24


def axis_label(signal: Signal) -> str:
    """Name and unit of a state, as in ``θ [rad]``; a dimensionless state has no unit."""
    rate = signal.name.endswith("_dot") and len(signal.name) > 4
    letters = signal.name.removesuffix("_dot") if rate else signal.name
    stem = letters.rstrip("0123456789")
    name = unicodedata.normalize("NFC", _GREEK.get(stem, stem) + ("\u0307" if rate else "")) + letters[len(stem):].translate(_SUBSCRIPT)
    unit = unit_text(signal.unit)
    return f"{name} [{unit}]" if unit else name


def unit_text(unit: str) -> str:
    """A unit for people, as in ``m/s²``; empty for a dimensionless quantity, and cut where it is absurdly long."""
    return "" if unit == "1" else unit.replace("*", "·").replace("^2", "²")[:_LONGEST_UNIT]


def label_axes(ax: Any, signals: tuple[Signal, ...], axes: tuple[int, int]) -> None:
    """Write names and units of two states on the axes; nothing in them is read as mathematics."""
    ax.set_xlabel(axis_label(signals[axes[0]]), parse_math=False)
    ax.set_ylabel(axis_label(signals[axes[1]]), parse_math=False)
