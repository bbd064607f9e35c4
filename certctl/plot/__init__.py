"""Figures of checked bundles: certified region filled, domain dashed, trajectories thin, counterexamples red.

Every function takes a bundle's path (the kernel then checks it) or a view that was opened before.  What the kernel has not accepted is
never drawn in the certified colour.  A requirement without a bundle is opened with ``certctl.view.open_question``, to draw a counterexample.
"""

from certctl.plot.layout import figure, save
from certctl.plot.paths import boundary_points, simulate
from certctl.plot.sets import counterexamples, domain, region, shadow, trajectories

__all__ = ["boundary_points", "counterexamples", "domain", "figure", "region", "save", "shadow", "simulate", "trajectories"]
