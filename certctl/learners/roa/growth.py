r"""From one certified region to a larger one: the estimate's kappa grows, and candidate and estimate with it.

:math:`V = z/\kappa + B` (:mod:`certctl.learners.roa.zubov`) fills the more of the box the larger kappa is, and becomes steeper.  A candidate that was
certified for a kappa and a wall is a good start for larger ones: with V's first part divided by the same factor, only what the wall's power and the
new region change is left to learn.  Each stage is fitted, refined and proved like the first.  A stage without a larger proof goes back to the
candidate certified last and takes half the step; the run ends when the steps are too small, or the next estimates promise too little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.zubov import Estimate, Scheme


@dataclass(frozen=True)
class Growing:
    """What can be set about the growth.

    Attributes
    ----------
    stages : int
        After the first one, at most; 0 is none.
    factor : float
        Of kappa from stage to stage; the wall's power grows by 2.
    steepest : int
        Largest power of the wall.
    worth : float
        Share by which the certified region must be enlarged, or an estimate promise to.
    least_step : float
        Smallest part of a step.
    fit_rounds, patience : int
        Steps of the fit at the beginning of a stage; steps after which it ends.
    proof_budget : float
        Seconds for one search of the prover in a stage: where the first region took seconds, a search of minutes has met a violation.
    """

    stages: int = 8
    factor: float = 1.8
    steepest: int = 16
    worth: float = 0.01
    least_step: float = 0.5
    fit_rounds: int = 6
    patience: int = 100
    proof_budget: float = 30.0


@dataclass(eq=False)
class Stage:
    """A stage under way: its kappa is the first one's times ``factor ** exponent``; the region certified, and the step count, when it began.

    ``certified`` is the candidate of the largest region certified so far, and ``certified_exponent`` that of its stage.
    """

    exponent: float = 0.0
    step: float = 1.0
    first_round: int = 0
    first_best: float = 0.0
    proofs: int = 0
    certified: Candidate | None = None
    certified_exponent: float = 0.0


def scheme_at(first: Scheme, settings: Growing, exponent: float) -> Scheme:
    r"""The scheme with :math:`\kappa_0 f^e`, and the power :math:`p_0 + 2 \lfloor e \rfloor` of the wall up to the steepest."""
    power = min(first.power + 2 * int(exponent), settings.steepest)
    return replace(first, kappa=first.kappa * settings.factor**exponent, power=max(first.power, power))


def scaled(candidate: Candidate, scheme: Scheme) -> Candidate:
    r"""The candidate for another kappa: :math:`|y|^2` is multiplied by :math:`\kappa_{old}/\kappa_{new}`, the controller stays as it is."""
    share = (candidate.kappa / scheme.kappa)**0.5
    function = replace(candidate.function, a=share * candidate.function.a, r=share * candidate.function.r)
    return replace(candidate, function=function, kappa=scheme.kappa, power=scheme.power)


def grow(stage: Stage, candidate: Candidate, rounds: int, best: float, failed: bool, settings: Growing, first: Scheme, box: float,
         estimate: Callable[[Scheme], Estimate]) -> tuple[Stage, Candidate, Estimate] | None:
    """The next stage, its first candidate and its estimate; None when growth is over.

    Parameters
    ----------
    stage, candidate : Stage, Candidate
        As they are now.
    rounds : int
        Steps of the run so far.
    best : float
        Volume certified so far.
    failed : bool
        Whether the stage ends without having found what it looked for.
    settings, first : Growing, Scheme
        Of the growth; of the first stage.
    box : float
        Volume of the domain.
    estimate : callable
        Solves the equation with a scheme.
    """
    step, exponent, last = stage.step, stage.exponent, float(settings.stages)
    if failed and not best > (1 + settings.worth) * stage.first_best:
        if stage.certified is None or step / 2 < settings.least_step:
            return None
        step, last, candidate = step / 2, stage.certified_exponent + step / 2, stage.certified
        exponent = stage.certified_exponent
    while (exponent := exponent + step) <= last:
        scheme = scheme_at(first, settings, exponent)
        found = estimate(scheme)
        if found.share * box > (1 + settings.worth) * best:
            return Stage(exponent, step, rounds, best, 0, stage.certified, stage.certified_exponent), scaled(candidate, scheme), found
    return None
