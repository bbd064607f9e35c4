"""Figures of checked bundles: certified region filled, domain dashed, trajectories thin, counterexamples red.

Every function takes a bundle's path (the kernel then checks it) or a view that was opened before.  What the kernel has not accepted is
never drawn in the certified colour.  A requirement without a bundle is opened with ``certctl.view.open_question``, to draw a counterexample.
"""

from certctl.plot.kinds import KINDS, draw
from certctl.plot.layout import figure, save
from certctl.plot.paths import boundary_points, simulate
from certctl.plot.sets import counterexamples, domain, region, shadow, trajectories
from certctl.plot.styles import STYLES
from certctl.plot.views import compare, field, levels, projection, responses

__all__ = ["KINDS", "STYLES", "boundary_points", "compare", "counterexamples", "domain", "draw", "field", "figure", "levels", "projection", "region",
           "responses", "save", "shadow", "simulate", "trajectories"]
