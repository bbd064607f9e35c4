"""Claims at the very edge of a rule: what is just true is accepted, what is just false is not; and what a receipt says beside its outcome."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vectors"))
import build
from build import Twin

from verifiers.kernel.check import Receipt, _contains, _radius, check
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.dissipation import undisturbed, unknowns
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Builder
from verifiers.kernel.imitation import _asked
from verifiers.kernel.local import Enclosure
from verifiers.kernel.requirement import Box
from verifiers.kernel.stage import Stage, quadratic
from verifiers.kernel.tree import INSIDE, LEAF, NOTHING

F = Fraction
Edit = Callable[[Twin], object]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Twin]:
    """A fresh copy of a base question with its bundle: (name) -> Twin."""
    made: dict[str, Path] = {}
    root, numbers = tmp_path_factory.mktemp("edges"), count()

    def get(name: str) -> Twin:
        if name not in made:
            made[name] = root / name
            assert build.prove(build.BASES[name](made[name])).outcome == "PROVED"
        return Twin(made[name], root / f"{next(numbers)}")
    return get


def answer(made: Twin, *changes: Edit) -> Receipt:
    """The kernel's answer after changes, digests made right again."""
    for change in changes:
        change(made)
    made.save()
    return check(made.bundle, made.requirement)


def more(text: str) -> Edit:
    """A requirement that says more."""
    return lambda t: t.ask(lambda s: s + text)


def domain(lo: str, hi: str) -> Edit:
    """Another domain, in the requirement and in the claim."""
    def change(t: Twin) -> None:
        t.ask(lambda s: s.replace(build.box("domain", ["1", "1"]), build.box("domain", [lo, "-1"], [hi, "1"])))
        t.claim["domain"] = {"lo": [lo, "-1"], "hi": [hi, "1"]}
    return change


def code(found: Receipt) -> str | None:
    return found.code


@pytest.mark.parametrize("side", ["", "-"])
def test_an_equilibrium_as_far_off_as_the_tolerance_is_accepted(twin, side):
    found = answer(twin("linear"), more(f'[equilibrium]\nx = ["{side}1/100", "0"]\ntolerance = ["1/100", "1/10"]\n'))
    assert found.outcome == "ACCEPTED", found
    assert next(o["margin"] for o in found.obligations if o["id"] == "equilibrium") == 0.0
    wrong = answer(twin("linear"), more(f'[equilibrium]\nx = ["{side}1/100", "0"]\ntolerance = ["99/10000", "1/10"]\n'))
    assert code(wrong) == "EQUILIBRIUM_ELSEWHERE"


@pytest.mark.parametrize(("lo", "hi"), [("0", "1"), ("-1", "0")])
def test_an_equilibrium_on_the_edge_of_the_domain_is_refused(twin, lo, hi):
    assert code(answer(twin("linear"), domain(lo, hi))) == "EQUILIBRIUM_OUTSIDE_DOMAIN"


def test_what_shows_that_a_region_is_not_empty_is_enough(twin):
    """A radius around an attractor, or a box in a kept set, needs no volume beside it."""
    assert answer(twin("linear"), lambda t: t.drop("volume")).outcome == "ACCEPTED"
    held = 'contains = { lo = ["-1/10", "-1/10"], hi = ["1/10", "1/10"] }'
    found = answer(twin("kept"), lambda t: t.ask(lambda s: s.replace('min_volume = "10"', held)), lambda t: t.drop("volume"),
                   lambda t: t.add("contains", {"kind": "evaluation"}))
    assert found.outcome == "ACCEPTED", found


def ellipsoid(n: int, corner: str, level: str = "1") -> Any:
    """As much of a case as is asked about a box in an ellipsoid: the unit ball in n dimensions."""
    eye = [[F(int(i == j)) for j in range(n)] for i in range(n)]
    return (Box((F(corner),) * n, (F(corner),) * n),
            SimpleNamespace(ellipsoid=lambda: (eye, [F(0)] * n, F(level)), proof=lambda *_: {"kind": "evaluation"}))


def test_a_corner_on_the_edge_of_the_ellipsoid_is_contained():
    assert _contains(*ellipsoid(1, "1"), "contains") == ("evaluation", 0, None)
    with pytest.raises(Refusal) as no:
        _contains(*ellipsoid(1, "1000001/1000000"), "contains")
    assert no.value.code is Code.NOT_CONTAINED


@pytest.mark.parametrize(("n", "found"), [(16, Code.NOT_CONTAINED), (17, Code.TOO_LARGE)])
def test_more_than_sixteen_states_have_too_many_corners(n, found):
    with pytest.raises(Refusal) as no:
        _contains(*ellipsoid(n, "2"), "contains")
    assert no.value.code is found


def test_a_receipt_says_whose_requirement_it_was(twin):
    made = twin("linear")
    assert check(made.bundle).requirement_source == "embedded"
    assert check(made.bundle, made.requirement).requirement_source == "given"


@pytest.mark.parametrize("part", [(-1, 2), (1, 1), (0, 0), (2, 1)])
def test_there_is_no_such_part(twin, part):
    made = twin("linear")
    assert code(check(made.bundle, made.requirement, part)) == "BAD_NUMBER"
    assert code(check(made.bundle, made.requirement, (1, 2))) == "PART_MISSING"


def test_margins_are_the_least_ones(twin):
    found = answer(twin("linear"), more('[equilibrium]\ntolerance = ["1/100", "1/10"]\n'))
    assert next(o["margin"] for o in found.obligations if o["id"] == "equilibrium") == pytest.approx(0.01)
    assert np.isfinite([o["seconds"] for o in found.obligations]).all()


def ball(radius: str, half: str, *, level: str = "2", centre: tuple[str, str] = ("0", "0"), q: str = "0",
         change: Callable[[bytes], bytes] = bytes) -> str:
    """What the kernel says of a ball in {x^2 + y^2 <= level}, in a square domain, shown by a tree over the square about the ball."""
    domain_box, r, reach, spread = (F(-F(half)),) * 2, F(radius), F(radius) + F(q), F(q)
    at = tuple(map(F, centre))
    stage = Stage(None, "continuous", quadratic([[F(1), F(0)], [F(0), F(1)]], (F(0), F(0))), F(level),  # type: ignore[arg-type]
                  *(np.full(2, v) for v in (-float(F(half)), float(F(half)), -float(F(half)), float(F(half)))))

    def grown(lo: list[F], hi: list[F]) -> bytes:
        if sum(max(a * a, b * b) for a, b in zip(lo, hi, strict=True)) <= F(level):
            return bytes([LEAF + INSIDE])
        if sum(max(F(0), a - c - spread, c - spread - b) ** 2 for a, b, c in zip(lo, hi, at, strict=True)) > r * r:
            return bytes([LEAF + NOTHING])
        k = int(hi[1] - lo[1] > hi[0] - lo[0])
        middle = (lo[k] + hi[k]) / 2
        left, right = [*hi], [*lo]
        left[k] = right[k] = middle
        return bytes([k]) + grown(lo, left) + grown(right, hi)

    setting = SimpleNamespace(lo=domain_box, hi=(F(half),) * 2, rest=at)
    where = Enclosure(at, (spread, spread)) if spread else None
    tree = grown([c - reach for c in at], [c + reach for c in at])
    case = SimpleNamespace(setting=setting, equilibrium=where, stages=[stage], ellipsoid=lambda: None, proof=lambda *_: {"tree": change(tree)})
    try:
        kind, leaves, _ = _radius(r, case, "radius")  # type: ignore[arg-type]
    except Refusal as no:
        return no.code.name
    assert (kind, leaves) == ("box_tree", tree.count(bytes([LEAF + INSIDE])) + tree.count(bytes([LEAF + NOTHING])))
    return "ACCEPTED"


@pytest.mark.threat("T05")
def test_a_ball_that_leaves_the_domain_is_refused_although_the_function_is_small_there():
    assert ball("1/2", "1", level="4") == "ACCEPTED"
    assert ball("1", "1", level="4") == "ACCEPTED"  # it touches the boundary
    assert ball("1", "255/256", level="4") == "RADIUS_TOO_SMALL"
    for centre in (("1/4", "0"), ("-1/4", "0"), ("0", "1/4"), ("0", "-1/4")):
        assert ball("3/4", "1", centre=centre, level="4") == "ACCEPTED"
        assert ball("3/4", "255/256", centre=centre, level="4") == "RADIUS_TOO_SMALL"


@pytest.mark.threat("T05")
def test_corners_of_the_square_about_a_ball_are_excused_and_nothing_of_the_ball_is():
    assert ball("5/4", "2", level="2") == "ACCEPTED"
    assert ball("5/4", "2", change=lambda tree: bytes([LEAF + NOTHING])) == "RADIUS_TOO_SMALL"
    excused = re.compile(bytes([LEAF + NOTHING]))
    assert ball("5/4", "2", change=lambda tree: excused.sub(bytes([LEAF + INSIDE]), tree)) == "RADIUS_TOO_SMALL"
    inside = re.compile(bytes([LEAF + INSIDE]))
    for k in range(8):  # each of some leaves of the ball
        assert ball("5/4", "2", change=lambda tree, k=k: b"".join(
            (part if i != k + 1 else bytes([LEAF + NOTHING]) + part) if i in (0, k + 1) else bytes([LEAF + INSIDE]) + part
            for i, part in enumerate(inside.split(tree)))) == "RADIUS_TOO_SMALL"


def test_a_ball_about_every_point_of_an_equilibrium_that_is_known_to_a_box():
    assert ball("1", "2", q="1/8") == "ACCEPTED"
    assert ball("1", "9/8", q="1/8") == "ACCEPTED"
    assert ball("1", "287/256", q="1/8") == "RADIUS_TOO_SMALL"


@pytest.mark.parametrize("base", ["linear", "invariance"])
def test_a_volume_as_large_as_demanded_is_accepted(twin, base):
    """The certified volume is a float64, so an exact rational."""
    volume = F(answer(twin(base)).region["volume_lower_bound"])
    said = {"linear": 'min_radius = "1/10"', "invariance": 'min_volume = "1/100"'}[base]
    drop = [lambda t: t.drop("radius")] if base == "linear" else []
    assert answer(twin(base), lambda t: t.ask(lambda s: s.replace(said, f'min_volume = "{volume}"')), *drop).outcome == "ACCEPTED"
    beyond = volume * F(1_000_001, 1_000_000)
    assert code(answer(twin(base), lambda t: t.ask(lambda s: s.replace(said, f'min_volume = "{beyond}"')), *drop)) == "VOLUME_TOO_SMALL"


def test_an_empty_region_is_refused_where_no_volume_is_demanded(twin):
    nothing = bytes([LEAF + NOTHING])
    asked = twin("network_shell")
    asked.ask(lambda s: s.replace('min_volume = "1/100"\n', ""))
    found = answer(asked, lambda t: t.tree("volume", lambda _: nothing))
    assert code(found) == "EMPTY_REGION"


def test_the_row_that_a_policy_does_not_meet_is_named(twin):
    made = twin("imitation")
    data = build.DATA.replace(b"-0.2\n", b"0.2\n")
    old, new = (build.hashlib.sha256(v).hexdigest() for v in (build.DATA, data))
    made.files["data.csv"] = data
    (made.folder / "data.csv").write_bytes(data)
    made.claim["imitation"]["data"] = new
    found = answer(made, lambda t: t.ask(lambda s: s.replace(old, new)))
    assert code(found) == "NOT_PROVED" and "row 3 " in found.message, found


def energy(text: str) -> Edit:
    """Another energy of the disturbance, in the requirement and in the claim."""
    return lambda t: (t.ask(lambda s: s.replace('energy = "1/10"', f'energy = "{text}"')), t.claim["gain"].update(energy=text))


def test_a_level_as_high_as_the_energy_asks_is_enough(twin):
    level = F(twin("gain").claim["region"]["level"])
    assert answer(twin("gain"), energy(f"{level / 36}")).outcome == "ACCEPTED"
    assert code(answer(twin("gain"), energy(f"{level / 36 * F(1_000_001, 1_000_000)}"))) == "CONTAINMENT"


def test_a_set_may_be_fed_exactly_what_decays_at_its_level(twin):
    """A larger supply makes the matrix more definite, so only the sum over the disturbances, at most decay times level, stops it."""
    for factor, found in ((F(1), None), (F(1_000_001, 1_000_000), "NOT_PROVED")):
        made = twin("kept")
        proof = next(o["proof"] for o in made.predicate["obligations"] if "supply" in o["proof"])
        supply, room = [F(s) for s in proof["supply"]], F(proof["decay"]) * F(proof["level"])
        ends = [max(F(a) ** 2, F(b) ** 2) for a, b in (("-1/4", "1/5"), ("-1/50", "1/50"))]
        proof["supply"] = [str(factor * (room - supply[1] * ends[1]) / ends[0]), str(supply[1])]  # w takes what is left of the room
        assert code(answer(made)) == found


@pytest.mark.parametrize(("weights", "found"), [({"x1": "1", "x2": "1/1000000"}, None), ({"x1": "1", "x2": "100"}, "NOT_DEFINITE"),
                                                ({"x1": "1", "x3": "1"}, "BAD_REQUIREMENT")])
def test_an_output_may_have_every_state_and_no_other(twin, weights, found):
    output = ", ".join(f'{name} = "{weight}"' for name, weight in weights.items())
    asked = twin("gain")
    asked.claim["gain"].update(output=weights)
    assert code(answer(asked, lambda t: t.ask(lambda s: s.replace('output = { x1 = "1" }', f"output = {{ {output} }}")))) == found


@pytest.mark.parametrize(("lo", "hi", "found"), [("0", "1", None), ("-1", "0", None), ("1/100", "1", "UNSUPPORTED"), ("-1", "-1/100", "UNSUPPORTED")])
def test_a_disturbance_may_have_one_sign_and_has_to_be_absent_at_times(twin, lo, hi, found):
    made = twin("gain")
    made.claim["parameters"]["w"] = [lo, hi]  # the other disturbance keeps both signs
    assert code(answer(made, lambda t: t.ask(lambda s: s.replace('w = ["-1", "1"]', f'w = ["{lo}", "{hi}"]')))) == found


def test_a_loop_without_its_disturbance_keeps_its_known_constants():
    b = Builder()
    x = b.input(1)
    total = b.binary("add", b.binary("mul", x, b.const([F(1, 2)])), b.binary("add", b.const([F(3)]), b.const([(F(-1), F(2))])))
    graph = b.build([total])
    assert evaluate_exact(undisturbed(graph), [F(4)]) == (F(5),) and unknowns(graph) == [(F(-1), F(2))]


def test_a_command_that_is_not_shown_to_stay_within_its_limits_is_refused(twin, monkeypatch):
    made = [twin(base) for base in ("gain", "kept", "linear", "pendulum")]
    monkeypatch.setattr(Stage, "command_within", lambda self, lo, hi: np.zeros(len(lo), dtype=bool))
    assert {code(check(one.bundle, one.requirement)) for one in made} == {"COMMAND_EXCEEDS_LIMIT"}


def test_what_imitates_nothing_or_is_no_policy_is_bounded_by_nothing():
    for imitation, policy in ((None, object()), (object(), None), (None, None)):
        with pytest.raises(Refusal) as no:
            _asked(SimpleNamespace(requirement=SimpleNamespace(imitation=imitation), policy=policy))  # type: ignore[arg-type]
        assert no.value.code is Code.UNSUPPORTED
