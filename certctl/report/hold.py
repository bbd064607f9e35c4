r"""How long the input may be held: the largest sampling interval that the linearised loop tolerates.

A continuous-time claim says nothing about a digital implementation.  With the input held between samples (zero-order hold) the linearisation
becomes

.. math:: x_{k+1} = \Bigl(e^{Ah} + \int_0^h e^{As}\,ds\; B K\Bigr) x_k,

and the loop tolerates h as long as the spectral radius stays below one.  Everything here is float64 arithmetic and a statement about the
linearisation alone: numerical, not proved, and printed as such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from certctl.view import View
from verifiers.kernel.graph import Floats
from verifiers.load.floats import evaluate
from verifiers.load.plant import plant_graph

_POINTS, _BISECTIONS = 800, 60


@dataclass(frozen=True)
class Hold:
    """The hold interval of a loop, numerical and not proved.

    Attributes
    ----------
    limit_s : float or None
        Largest h (s) below which the sampled linearisation is stable; None when none was found up to ``searched_s``, or it is never stable.
    searched_s : float
        Largest interval (s) that was looked at.
    eigenvalues : tuple of complex
        Of the continuous closed loop's linearisation A + BK (1/s).
    is_stable : bool
        Whether that linearisation is stable at all.
    """

    limit_s: float | None
    searched_s: float
    eigenvalues: tuple[complex, ...]
    is_stable: bool


def linearise(view: View) -> tuple[Floats, Floats, Floats] | None:
    r"""Return A (n, n), B (n, m) and K (m, n) at the equilibrium by central differences; None for a plant without inputs or in discrete time.

    K is the slope of the *clipped* command, so an input at its limit contributes nothing.
    """
    setting = view.drawn
    if setting.spec.time != "continuous" or setting.loop.command is None:
        return None
    lo, hi = view.domain
    x, half = view.equilibrium[None], (hi - lo) / 2
    plant = plant_graph(setting.spec, setting.requirement.parameters)
    low = np.array([-np.inf if bound is None else float(bound[0] + bound[1]) / 2 for bound, _ in setting.loop.limits])
    high = np.array([np.inf if bound is None else float(bound[0] + bound[1]) / 2 for _, bound in setting.loop.limits])

    network = setting.loop.command

    def command(states: Floats) -> Floats:
        return np.clip(evaluate(network, states), low, high)

    u = command(x)
    reach = np.maximum(np.abs(u[0]), 1.0)
    a = _slopes(lambda s: evaluate(plant, s, u), x, half)
    b = _slopes(lambda s: evaluate(plant, x, s), u, reach)
    return a, b, _slopes(command, x, half)


def hold_interval(view: View) -> Hold | None:
    """Search the hold interval of a bundle's loop at its equilibrium.

    Parameters
    ----------
    view : View
        An opened bundle.

    Returns
    -------
    Hold or None
        None where there is no continuous plant, no input, or a slope that is not finite.

    Notes
    -----
    Direction: none.  The first crossing of spectral radius one on a grid of intervals is refined by bisection; a narrow earlier loss of
    stability between grid points could be missed.
    """
    found = linearise(view)
    if found is None or not all(np.isfinite(part).all() for part in found):
        return None
    a, b, k = found
    poles = np.linalg.eigvals(a + b @ k)
    fastest = max(float(np.abs(poles).max()), 1e-9)
    slowest = max(float(np.abs(poles.real).min()), 1e-6 * fastest)
    steps = np.geomspace(1e-3 / fastest, 100 / slowest, _POINTS)
    if not (poles.real < 0).all():
        return Hold(None, float(steps[-1]), tuple(poles.tolist()), False)
    low = 0.0
    for h in steps:
        if not _radius(a, b, k, h) < 1:
            return Hold(_refined(a, b, k, low, float(h)), float(steps[-1]), tuple(poles.tolist()), True)
        low = float(h)
    return Hold(None, float(steps[-1]), tuple(poles.tolist()), True)


def _refined(a: Floats, b: Floats, k: Floats, low: float, high: float) -> float:
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _radius(a, b, k, middle) < 1 else (low, middle)
    return low


def _radius(a: Floats, b: Floats, k: Floats, h: float) -> float:
    """Spectral radius of the sampled loop; infinite where the exponential overflows."""
    from scipy.linalg import expm

    n, m = b.shape
    block = np.zeros((n + m, n + m))
    block[:n, :n], block[:n, n:] = a * h, b * h
    with np.errstate(all="ignore"):
        grown = expm(block)
    if not np.isfinite(grown).all():
        return float("inf")
    return float(np.abs(np.linalg.eigvals(grown[:n, :n] + grown[:n, n:] @ k)).max())


def _slopes(function: Callable[[Floats], Floats], at: Floats, half: Floats) -> Floats:
    """Central differences (k, n) of a function of a batch at one point (1, n)."""
    columns = []
    for i, width in enumerate(half):
        shift = np.zeros_like(at)
        shift[0, i] = 1e-6 * width
        columns.append((function(at + shift) - function(at - shift))[0] / (2 * shift[0, i]))
    return np.stack(columns, axis=1)
