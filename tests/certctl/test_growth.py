"""From one certified region to a larger one: what a stage keeps, when growth ends, and that a stage without a proof takes nothing away."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from certctl.learners.roa import zubov_learner
from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.fit import hunt
from certctl.learners.roa.growth import Growing, Stage, grow, scaled, scheme_at
from certctl.learners.roa.task import Task, make_task
from certctl.learners.roa.zubov import Estimate, Scheme
from certctl.learners.roa.zubov_learner import CHECKPOINT, Settings, ZubovLearner
from verifiers.kernel.check import check
from verifiers.prove import Verdict

BOX = (("-2", "-2"), ("2", "2"))
FIRST = Scheme(points=41, inputs=5, kappa=3.0)
GROWING = Growing(stages=3, factor=2.0, worth=0.01)
QUICK = Settings(scheme=replace(FIRST, kappa=1.0), widths=(6, 4), outputs=3, states=500, fit_rounds=6, time_limit=120,
                 growing=Growing(stages=4, factor=2.0, patience=30))


def integrator() -> Task:
    return make_task("double_integrator", {}, BOX)


def candidate(kappa: float = 3.0) -> Candidate:
    rng = np.random.default_rng(3)
    start = Candidate.start(integrator(), kappa, 6, (5, 4), 3, rng)
    return start.like(start.flat() + 0.4 * rng.standard_normal(start.flat().size))


def promising(share: float):
    """Solves nothing: an estimate of which a share lies below the level."""
    asked = []

    def solve(scheme: Scheme) -> Estimate:
        asked.append(scheme)
        cost = np.where(np.arange(10000).reshape(100, 100) < share * 1e4, -1e3, np.inf)
        return Estimate(np.linspace(-1, 1, 100), cost, np.zeros((100, 100, 1)), scheme)
    return solve, asked


# when it ends --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("stage", "failed", "share"), [
    (Stage(3.0, certified=candidate(), certified_exponent=3.0, first_best=5.0), False, 0.9),  # all stages are used
    (Stage(1.0, certified=candidate(), certified_exponent=0.0, first_best=8.0), True, 0.2),  # half the step promises too little
    (Stage(0.5, 0.5, certified=candidate(), certified_exponent=0.0, first_best=8.0), True, 0.9),  # the steps are too small
    (Stage(0.0, first_best=0.0), True, 0.9),  # nothing is certified
])
def test_growth_ends(stage, failed, share):
    best = 8.0 if stage.certified else 0.0
    solve, asked = promising(share)
    assert grow(stage, candidate(), 50, best, failed, GROWING, FIRST, 16.0, solve) is None
    assert len(asked) <= 1


def test_without_stages_there_is_no_growth():
    solve, asked = promising(0.9)
    stage = Stage(certified=candidate())
    assert grow(stage, candidate(), 50, 8.0, False, replace(GROWING, stages=0), FIRST, 16.0, solve) is None and not asked


def test_stages_that_promise_too_little_are_passed_over():
    asked = []

    def solve(scheme: Scheme) -> Estimate:
        asked.append(scheme.kappa)
        return promising(0.5 if scheme.kappa < 20 else 0.6)[0](scheme)

    stage, new, estimate = grow(Stage(certified=candidate()), candidate(), 50, 8.0, False, GROWING, FIRST, 16.0, solve)
    assert asked == [6.0, 12.0, 24.0] and stage.exponent == 3.0 and new.kappa == estimate.scheme.kappa == 24.0 and new.power == 12
    assert (stage.first_round, stage.first_best, stage.proofs) == (50, 8.0, 0)


def test_a_failed_stage_goes_back_to_the_certified_candidate_and_takes_half_the_step():
    certified, lost = candidate(), candidate(6.0)
    stage, new, _ = grow(Stage(1.0, certified=certified, certified_exponent=0.0, first_best=8.0), lost, 50, 8.0, True, GROWING, FIRST, 16.0,
                         promising(0.9)[0])
    assert (stage.exponent, stage.step) == (0.5, 0.5) and new.kappa == pytest.approx(3 * 2**0.5) and new.power == 6
    assert new.policy is certified.policy and stage.certified is certified


def test_a_stage_that_ran_out_of_steps_but_gained_is_followed_by_the_next():
    stage, new, _ = grow(Stage(1.0, certified=candidate(6.0), certified_exponent=1.0, first_best=5.0), candidate(6.0), 50, 8.0, True, GROWING, FIRST,
                         16.0, promising(0.9)[0])
    assert (stage.exponent, stage.step, new.kappa) == (2.0, 1.0, 12.0)


# what a stage keeps --------------------------------------------------------------------------------------------------

def test_the_first_part_of_the_function_is_divided_and_the_controller_stays():
    old = candidate()
    new = scaled(old, Scheme(kappa=12.0, power=10))
    xi = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    before, after = old.at(xi), new.at(xi)
    np.testing.assert_allclose(after.value - (xi**10).sum(axis=1), (before.value - (xi**6).sum(axis=1)) / 4, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(after.input, before.input)
    assert (new.kappa, new.power) == (12.0, 10)


def test_the_power_of_the_wall_is_even_and_ends():
    powers = [scheme_at(FIRST, GROWING, e).power for e in (0, 0.5, 1, 1.5, 2, 5, 9)]
    assert powers == [6, 6, 8, 8, 10, 16, 16]
    assert scheme_at(replace(FIRST, power=20), GROWING, 2).power == 20


# whole runs ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grown") / "run"
    learned = ZubovLearner(integrator(), QUICK).learn(folder, lambda step: None)
    return learned, folder


def test_the_region_grows_and_the_files_are_those_of_the_largest(grown, tmp_path):
    learned, folder = grown
    alone = ZubovLearner(integrator(), replace(QUICK, growing=Growing(stages=0)))
    without = alone.learn(tmp_path / "alone", lambda step: None).figures["certified volume"]
    assert learned.figures["kappa"] > 1 and learned.figures["certified volume"] > 1.05 * without > 0
    receipt = check(folder / "requirement.cert", folder / "requirement.toml")
    assert receipt.outcome == "ACCEPTED" and receipt.region["volume_lower_bound"] == learned.figures["certified volume"]


def test_a_stage_without_a_proof_takes_nothing_away(grown, tmp_path, monkeypatch):
    """From the second stage on the prover does not answer: the first region stays, in the files too."""
    right, asked = zubov_learner.verify, []

    def fails_later(requirement, bundle, **options):
        asked.append(requirement)
        verdict = right(requirement, bundle, **options) if len(asked) == 1 else None
        return verdict or Verdict("UNKNOWN", None, None, "no answer", "x", "asymptotic_stability_roa", None, None)

    monkeypatch.setattr(zubov_learner, "verify", fails_later)
    learner = ZubovLearner(integrator(), replace(QUICK, most_proofs=2))
    learned = learner.learn(tmp_path / "run", lambda step: None)
    assert len(asked) >= 3 and learner.verdict.outcome == "PROVED" and learned.figures["kappa"] == 1.0
    receipt = check(tmp_path / "run" / "requirement.cert", tmp_path / "run" / "requirement.toml")
    assert receipt.outcome == "ACCEPTED" and receipt.region["volume_lower_bound"] == learned.figures["certified volume"]


def test_an_interrupted_stage_goes_on_where_it_was(grown):
    learned, folder = grown
    held = ZubovLearner(integrator(), QUICK)._resume(folder / CHECKPOINT)
    assert held.stage.exponent >= 1 and held.candidate.kappa == 2.0**held.stage.exponent
    assert held.stage.certified.kappa == learned.figures["kappa"]
    with np.load(folder / CHECKPOINT) as kept:
        np.testing.assert_array_equal(held.stage.certified.flat(), kept["certified"])
    assert ZubovLearner(integrator(), replace(QUICK, growing=Growing(stages=5)))._resume(folder / CHECKPOINT) is None


# a harder search before each proof -----------------------------------------------------------------------------------

def test_no_state_of_a_certified_region_is_found_against_it(grown):
    _, folder = grown
    held = ZubovLearner(integrator(), QUICK)._resume(folder / CHECKPOINT).stage.certified
    level = float(Fraction(check(folder / "requirement.cert", folder / "requirement.toml").region["level"]))
    _, value = hunt(held, 4000, np.random.default_rng(5))
    assert not (value <= level * (1 - 1e-9)).any()


def test_states_found_are_in_the_box_below_the_ceiling_and_do_not_decrease(grown):
    _, folder = grown
    held = ZubovLearner(integrator(), QUICK)._resume(folder / CHECKPOINT).stage.certified
    wrong = replace(held, policy=replace(held.policy, a=-held.policy.a, r=-held.policy.r))
    xi, value = hunt(wrong, 400, np.random.default_rng(5))
    at = wrong.at(xi)
    assert len(xi) > 50 and (np.abs(xi) <= 1).all() and (value < 1.05).all() and (at.rate >= 0).all()
    later = wrong.at(xi + 1e-6 * at.rates).value
    assert (later >= at.value - 1e-9).all()


def test_climbing_finds_a_small_spot_that_samples_miss():
    """The decrease fails within 0.02 of one state only, where hardly one of a hundred samples falls."""
    held, spot = candidate(), np.array([0.31, -0.22])

    class Spotted:
        task = held.task

        def at(self, xi):
            distance = np.linalg.norm(xi - spot, axis=1)
            ones = np.ones((len(xi), 1))
            return SimpleNamespace(candidate=held, xi=xi, value=0 * distance, gradient=ones, rates=ones, input=ones, rate=0.02 - distance)

    hits = 0
    for seed in range(8):
        pool = np.random.default_rng(seed).uniform(-1, 1, (100, 2))
        hits += bool((np.linalg.norm(pool - spot, axis=1) < 0.02).any())
        xi, _ = hunt(Spotted(), 100, np.random.default_rng(seed))
        assert len(xi) and (np.linalg.norm(xi - spot, axis=1) <= 0.02).all()
    assert hits < 4
