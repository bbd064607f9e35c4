"""The regions of two bundles in one figure, drawn or in characters."""

from __future__ import annotations

from typing import Any

from certctl import plot
from certctl.difference import within
from certctl.formats.raster import picture
from certctl.view import View


def figure(old: View, new: View) -> Any:
    """A Matplotlib figure of both, told apart by line style; save it with :func:`certctl.plot.save`, which notes both digests."""
    return plot.draw([old, new], "compare", labels=["before", "after"])


def characters(old: View, new: View) -> list[str]:
    """The same as lines of characters, for a pull request; empty when either is not certified or the states differ."""
    names = [[state.name for state in view.drawn.spec.states] if view.is_certified else [] for view in (old, new)]
    if not names[0] or names[0] != names[1]:
        return []

    def mark(points: Any) -> list[str]:
        return ["·-+█"[int(before) + 2 * int(after)] for before, after in zip(within(old, points), within(new, points), strict=True)]

    return picture(new, mark, "█ both, + only the new, - only the old, · neither")
