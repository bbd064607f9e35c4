"""Volumes in boxes along any axes, measured a second time: never more than there is, and a bundle in four states that both checkers accept."""

from __future__ import annotations

import json
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from repository import ROOT

sys.path.insert(0, str(ROOT / "tests" / "verifiers" / "vectors"))
import build
import flint

from verifiers.kernel.check import check
from verifiers.second.balls import ZERO, affine
from verifiers.second.claim import second_opinion
from verifiers.second.exact import Disagrees, Undecided
from verifiers.second.network import NotHandled
from verifiers.second.stage import Function
from verifiers.second.volume import PART, below_plane, framed_volume, share

NOTHING, INSIDE, DECREASE = 132, 131, 128
EYE = {n: [[Fraction(int(i == j)) for j in range(n)] for i in range(n)] for n in range(1, 10)}
helper = build.helper


def whole(n: int, halvings: int, byte: int = PART) -> bytes:
    """A tree of equal boxes: each side is halved so many times."""
    def below(depth: int) -> bytes:
        return bytes([byte]) if depth == halvings * n else bytes([depth % n]) + 2 * below(depth + 1)
    return below(0)


def bowl(n: int, centre: str = "0") -> Function:
    """``|x - c|^2``."""
    return Function.quadratic(EYE[n], [Fraction(centre)] * n)


def seen(function: Function, level: str, tree: bytes, n: int = 2, half: str = "4", **other: object) -> float:
    """The volume in a domain of a half width."""
    given = {"frame": EYE[n], "origin": [Fraction(0)] * n, "wanted": Fraction(10**6), "spend": lambda: None, **other}
    domain = [-Fraction(half)] * n, [Fraction(half)] * n
    return float(framed_volume(tree, function=function, level=Fraction(level), domain=domain, **given).upper())  # type: ignore[arg-type]


def net(nodes: list[tuple[str, list[str], str]], tensors: dict[str, object], n: int, **fields: object) -> Function:
    """A network of nodes (operator, inputs, output)."""
    made = [helper.make_node(op, names, [out], **(fields if op == "Gemm" else {})) for op, names, out in nodes]
    return Function.network(build.network(made, tensors, n, 1))


def tanh_shape(n: int, k: int, seed: int, bend: float = 0.4) -> bytes:
    """ONNX bytes of ``|L x + A tanh(B x)|^2``."""
    rng = np.random.default_rng(seed)
    nodes = [("Gemm", ["x", "L"], "l"), ("Gemm", ["x", "B"], "h"), ("Tanh", ["h"], "t"), ("Gemm", ["t", "A"], "a"), ("Add", ["l", "a"], "z"),
             ("Mul", ["z", "z"], "q"), ("Gemm", ["q", "one"], "y")]
    made = [helper.make_node(op, names, [out], **({"transB": 1} if op == "Gemm" else {})) for op, names, out in nodes]
    tensors = {"L": np.eye(n), "A": bend * rng.standard_normal((n, k)), "B": 0.5 * rng.standard_normal((k, n)), "one": np.ones((1, n))}
    return build.network(made, tensors, n, 1)


# below a plane --------------------------------------------------------------------------------------------------------

def test_known_shares_below_a_plane_are_exact():
    for n in range(1, 7):  # Irwin and Hall
        for room in range(-1, n + 2):
            known = sum((-1)**k * math.comb(n, k) * max(room - k, 0)**n for k in range(n + 1))
            assert below_plane([1] * n, room) == (Fraction(known, math.factorial(n)) if room < n else 1)
    assert below_plane([3, 5], 2) == Fraction(4, 30) and below_plane([3, 5], 6) == 1 - Fraction(4, 30)
    assert below_plane([-3, 5], 0) == Fraction(3, 10) and below_plane([0, 0], 0) == below_plane([], 0) == 1
    assert below_plane([0, 0], -1) == below_plane([-2, 3], -3) == 0 and below_plane([-2, 0, 3], 3) == 1


@pytest.mark.parametrize("n", [2, 3, 4])
def test_shares_below_a_plane_are_those_of_a_grid(n):
    rng, side = np.random.default_rng(n), {2: 400, 3: 60, 4: 24}[n]
    t = (np.stack(np.meshgrid(*[np.arange(side)] * n, indexing="ij"), axis=-1).reshape(-1, n) + 0.5) / side
    for _ in range(20):
        w = rng.integers(-1000, 1000, n)
        room = int(rng.integers(w.clip(max=0).sum() - 10, w.clip(min=0).sum() + 10))
        assert abs(float(below_plane(w.tolist(), room)) - (t @ w <= room).mean()) < 2.0 / side


# shares of boxes ------------------------------------------------------------------------------------------------------

@pytest.mark.threat("T05")
def test_a_plane_through_a_box_is_cut_from_below():
    slopes, offset = [Fraction(1), Fraction(2), Fraction(-3)], Fraction(1, 2)
    weight = flint.arb_mat(1, 3, [1, 2, -3])
    for below in (-3.0, -0.75, 0.5, 0.75, 2.0):
        found = share(lambda y: affine(weight, [flint.arb(0.5)], y)[0], [Fraction(0)] * 3, [Fraction(1)] * 3, flint.arb(below))
        truth = below_plane([2, 4, -6], 0) if below == 0.5 else below_plane([int(4 * 2 * s) for s in slopes], int(4 * (Fraction(below) - offset)))
        assert truth - Fraction(1, 10**8) <= found <= truth


@pytest.mark.threat("T05")
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("width", [0.1, 0.4, 1.2])
def test_no_box_counts_more_than_its_points_show(n, width):
    rng = np.random.default_rng(5 * n)
    function, side = Function.network(tanh_shape(n, 4, n)), {1: 2000, 2: 60, 3: 16}[n]
    graph = onnx_values(tanh_shape(n, 4, n))
    cells = (np.stack(np.meshgrid(*[np.arange(side)] * n, indexing="ij"), axis=-1).reshape(-1, n) + 0.5) / side
    total = np.zeros(2)
    for _ in range(12):
        middle, half = rng.uniform(-1, 1, n), width * rng.uniform(0.3, 1, n)
        level = float(graph(middle[None])[0])
        found = float(share(function.sign, list(map(Fraction, middle)), list(map(Fraction, half)), flint.arb(level)))
        truth = (graph(middle + (2 * cells - 1) * half) <= level).mean()
        assert found <= truth + 2.0 / side
        total += found, truth
    assert total[0] > (0.8 * total[1] if width < 0.3 else 0)


def onnx_values(data: bytes):
    """The function of rows in floats, read by the kernel's reader."""
    from verifiers.kernel.setting import read_function
    from verifiers.load.floats import evaluate
    return lambda x: evaluate(read_function(data, x.shape[1], "V"), x)[:, 0]


def test_mixed_terms_count_only_where_they_are_positive():
    saddle = share(lambda y: y[0] * y[1], [Fraction(0)] * 2, [Fraction(1)] * 2, flint.arb(0))
    assert saddle == Fraction(1, 2)  # -t1 t2 <= 0 in two of the quarters, and no more than the point 0 is seen in the others


@pytest.mark.threat("T05")
def test_what_is_not_finite_counts_nothing():
    ends = [Fraction(0)] * 2, [Fraction(1)] * 2
    for function in (lambda y: (y[0] + 1).smooth("sqrt") + y[1], lambda y: y[0].smooth("log"), lambda y: y[1] / y[0],
                     lambda y: y[0] * flint.arb.nan(), lambda y: y[0] + flint.arb("inf")):
        assert share(function, *ends, flint.arb(0)) == 0
    for below in (flint.arb.nan(), flint.arb("-inf"), flint.arb(0, "inf")):
        assert share(lambda y: y[0] + y[1], *ends, below) == 0


def test_a_constant_and_a_number_far_away_are_decided():
    ends = [Fraction(0)] * 2, [Fraction(1)] * 2
    for value, below, found in ((0, 0, 1), (0, -1e-300, 0), (1, 1e300, 1), (1, -1e300, 0)):
        assert share(lambda y, value=value: y[0] * ZERO + value, *ends, flint.arb(below)) == found
    assert share(lambda y: y[0] * flint.arb(1e-300), *ends, flint.arb(0)) == pytest.approx(0.5)
    assert 0.4 < share(lambda y: y[0] * flint.arb(1e300) + y[1] * flint.arb(1e-300), *ends, flint.arb(0)) <= 0.5


# volumes --------------------------------------------------------------------------------------------------------------

@pytest.mark.threat("T05")
@pytest.mark.parametrize("n, halvings, least", [(1, 4, 0.99), (2, 4, 0.98), (3, 2, 0.85)])
def test_a_ball_has_most_of_its_volume_and_never_more(n, halvings, least):
    ball = math.pi ** (n / 2) / math.gamma(n / 2 + 1)
    frame = [[Fraction(9, 8) * (i == j) + Fraction(int(i == j + 1), 5) for j in range(n)] for i in range(n)]
    found = seen(bowl(n), "1", whole(n, halvings), n, frame=frame)
    assert least * ball < found <= ball
    signed = [[-v for v in row] for row in frame]
    assert seen(bowl(n), "1", whole(n, halvings), n, frame=signed) == pytest.approx(found)
    assert seen(bowl(n), "4", whole(n, halvings), n, half="8", frame=[[2 * v for v in row] for row in frame]) == pytest.approx(2**n * found)


def test_boxes_lie_about_the_origin_given():
    assert 0.9 * math.pi < seen(bowl(2, "2"), "1", whole(2, 3), origin=[Fraction(2)] * 2) < math.pi
    assert seen(bowl(2, "2"), "1", whole(2, 3)) < 0.01


@pytest.mark.threat("T05")
def test_a_kink_is_measured_by_slopes():
    diamond = net([("Abs", ["x"], "a"), ("Gemm", ["a", "one"], "y")], {"one": np.ones((1, 2))}, 2, transB=1)
    assert 1.85 < seen(diamond, "1", whole(2, 4)) <= 2
    shifted = net([("Add", ["x", "s"], "z"), ("Relu", ["z"], "a"), ("Gemm", ["a", "one"], "y")],
                  {"one": np.ones((1, 2)), "s": np.full((1, 2), 0.03)}, 2, transB=1)
    assert 3.3 < seen(shifted, "1", whole(2, 3)) <= 0.97 * 1.97 + 0.97 + 0.5


@pytest.mark.threat("T05")
@pytest.mark.parametrize("name, level, empty", [
    ("Sigmoid", "7310585786300049/10000000000000000", "1/2"), ("Tanh", "7615941559557649/10000000000000000", "0")])
def test_a_monotone_output_is_read_by_its_argument(name, level, empty):
    function = Function.network(build.square_root_form(np.eye(2), name))
    assert 0.95 * math.pi < seen(function, level, whole(2, 4)) < math.pi
    for beyond in (empty, "-1", "-3", "1", "2"):  # where the function is below the level everywhere nothing is counted either
        assert seen(function, beyond, whole(2, 2)) == 0


@pytest.mark.threat("T05")
def test_boxes_of_which_the_image_leaves_the_domain_count_nothing():
    slanted = [[Fraction(1), Fraction(0)], [Fraction(1), Fraction(1)]]
    assert seen(bowl(2), "99", whole(2, 1), half="21/10", frame=slanted) == pytest.approx(4)
    assert seen(bowl(2), "99", whole(2, 1), half="19/10", frame=slanted) == pytest.approx(2)
    assert seen(bowl(2), "99", whole(2, 1), half="1/10", frame=slanted) == 0
    assert seen(bowl(2), "99", whole(2, 1), half="99/100") == 0


@pytest.mark.threat("T05")
@pytest.mark.parametrize("byte", [NOTHING, INSIDE, DECREASE, PART - 3, PART + 1, 255, 7])
def test_leaves_with_another_tag_count_nothing(byte):
    assert seen(bowl(2), "99", whole(2, 1, byte)) == 0
    assert seen(bowl(2), "99", bytes([0, PART, byte])) == pytest.approx(2)
    assert seen(bowl(2), "99", bytes([0, PART])) == seen(bowl(2), "99", bytes([0, PART, NOTHING, PART])) == pytest.approx(2)
    assert seen(bowl(2), "99", b"") == 0


@pytest.mark.threat("T05")
def test_a_box_without_width_has_no_volume():
    assert seen(bowl(1), "1", bytes([0]) * 2000 + bytes([PART]) * 2001, 1) <= 2
    assert seen(bowl(1), "1", bytes([0, NOTHING]) * 2000 + bytes([PART]), 1) == pytest.approx(0)


@pytest.mark.parametrize("frame", [
    [["1", "1"], ["1", "1"]], [["0", "0"], ["0", "1"]], [["1", "0"]], [["1"], ["0"]], [["1", "0", "0"], ["0", "1", "0"]]])
def test_a_frame_without_inverse_disagrees(frame):
    with pytest.raises(Disagrees):
        seen(bowl(2), "1", whole(2, 1), frame=[list(map(Fraction, row)) for row in frame])


def test_nine_states_are_not_handled_and_eight_are():
    with pytest.raises(NotHandled, match="8 states"):
        seen(bowl(9), "1", bytes([PART]), 9)
    assert 0 < seen(bowl(8), "5", bytes([PART]), 8) < 256


def test_the_largest_boxes_come_first_and_no_more_is_looked_at_than_is_asked():
    looked: list[int] = []
    tree = bytes([0, 1, PART, PART, PART])
    for wanted, boxes in (("0", 1), ("1", 1), ("2", 1), ("5/2", 2), ("7/2", 3), ("100", 3)):
        looked.clear()
        found = seen(bowl(2), "99", tree, wanted=Fraction(wanted), spend=lambda: looked.append(1))
        assert len(looked) == boxes and found == pytest.approx(1 + boxes)

    def spend() -> None:
        raise Undecided("no more")
    with pytest.raises(Undecided):
        seen(bowl(2), "99", tree, spend=spend)


# bundles --------------------------------------------------------------------------------------------------------------

STATES, MOST = 4, 6_000


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """A linear plant of four states with a named function of a network, and its bundle."""
    folder = tmp_path_factory.mktemp("framed")
    a = [["-1" if i == j else "0" for j in range(STATES)] for i in range(STATES)]
    a[0][1], a[1][0], a[2][3], a[3][2] = "1/4", "-1/4", "1/2", "-1/2"
    text = build.ROA + build.CONTINUOUS + build.box("domain", ["1"] * STATES) + '[region]\nlevel = "1/20"\nmin_volume = "1/2000"\n'
    requirement = build.ask(folder, text, plant=build.linear_plant(a), lyapunov=tanh_shape(STATES, 3, 0, 0.2))
    assert build.prove(requirement).outcome == "PROVED"
    return folder


@pytest.fixture
def twin(proved, tmp_path):
    """A copy to be changed."""
    return build.Twin(proved, tmp_path / "twin")


def test_both_checkers_accept_a_volume_along_other_axes(proved):
    bundle, requirement = proved / "loop.cert", proved / "loop.requirement.toml"
    receipt, opinion = check(bundle, requirement), second_opinion(bundle, requirement, MOST)
    proof = {item["id"]: item["proof"] for item in json.loads((bundle / "certificate.json").read_bytes())["predicate"]["obligations"]}["volume"]
    assert receipt.outcome == "ACCEPTED" and len(proof["frame"]) == STATES
    assert opinion.outcome == "agrees" and 0 < opinion.boxes < MOST < receipt.leaves


@pytest.mark.threat("T05")
@pytest.mark.parametrize("change, outcome", [
    (lambda twin: twin.proof("volume").update(frame=[["1"] * STATES] * STATES), "disagrees"),
    (lambda twin: twin.proof("volume").update(frame=[[str(9 * int(i == j)) for j in range(STATES)] for i in range(STATES)]), "undecided"),
    (lambda twin: twin.tree("volume", lambda data: data.replace(bytes([PART]), bytes([NOTHING]))), "undecided"),
    (lambda twin: twin.ask(lambda text: text.replace("1/2000", "1/40")), "undecided"),  # more than the region has
], ids=["singular", "far", "tags", "demand"])
def test_what_shows_no_volume_is_not_confirmed(change, outcome, twin):
    change(twin)
    twin.save()
    assert second_opinion(twin.bundle, twin.requirement, MOST).outcome == outcome
    assert check(twin.bundle, twin.requirement).outcome != "ACCEPTED"
