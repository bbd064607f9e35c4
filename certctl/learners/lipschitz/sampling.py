r"""How many states drawn uniformly from a box cover it; statement and proof: docs/theory/imitation.md.

A box is split into :math:`K = \prod_i \lceil w_i \sqrt n / \epsilon \rceil` equal cells of diameter at most epsilon.  N independent uniform states
hit all of them with a probability of at least :math:`1 - K (1 - 1/K)^N`, and then their covering radius is at most epsilon.
"""

from __future__ import annotations

import math

from verifiers.kernel.graph import Floats


def cells(lo: Floats, hi: Floats, epsilon: float) -> int:
    """K: the number of equal cells of diameter at most epsilon."""
    if not epsilon > 0:
        raise ValueError(f"a covering radius is positive, not {epsilon}")
    return math.prod(math.ceil(float(w) * math.sqrt(len(lo)) / epsilon) for w in hi - lo)


def states_needed(lo: Floats, hi: Floats, epsilon: float, risk: float) -> int:
    """N with ``K (1 - 1/K)**N <= risk``: with a probability of at least 1 - risk the covering radius is at most epsilon."""
    if not 0 < risk < 1:
        raise ValueError(f"a risk lies between 0 and 1, not {risk}")
    k = cells(lo, hi, epsilon)
    return 1 if k == 1 else math.ceil(math.log(risk / k) / math.log1p(-1 / k))


def radius_with(lo: Floats, hi: Floats, count: int, risk: float) -> float:
    """An epsilon that ``count`` uniform states reach with a probability of at least 1 - risk, by bisection to one part in 10^4."""
    low, high = 0.0, math.sqrt(len(lo)) * float((hi - lo).max())
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if states_needed(lo, hi, middle, risk) <= count else (middle, high)
    return high
