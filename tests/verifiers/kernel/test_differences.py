"""Networks in differences, without a solver: the matrix against its formula, slopes at their edges, and the check of a bound fault by fault."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx_models import floats, helper, model

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import is_dominant_after_scaling
from verifiers.kernel.exact import ExactReading
from verifiers.kernel.graph import Builder, Graph, Node, affine_from_rational, read
from verifiers.kernel.lipschitz import MAX_SIZE, Differences, _slopes, check_bound, claim_of, differences, layers
from verifiers.kernel.requirement import BoundRequirement, Box

F = Fraction
rng = np.random.default_rng(7)


def refused(call: Any) -> Code:
    with pytest.raises(Refusal) as no:
        call()
    return no.value.code


def rationals(*shape: int) -> np.ndarray:
    return np.vectorize(lambda v: F(int(v), 7), otypes=[object])(rng.integers(-9, 10, shape))


# slopes


@pytest.mark.threat("T10")
@pytest.mark.parametrize(("op", "data", "left"), [("relu", None, F(0)), ("abs", None, F(-1)), ("leaky_relu", F(1, 8), F(1, 8))])
def test_a_branch_counts_where_it_is_met(op, data, left):
    node = Node(op, (0,), 6, data)
    lo, hi = [-2.0, -2.0, 0.0, 1.0, -2.0, -5e-324], [-1.0, 0.0, 2.0, 2.0, 2.0, 5e-324]
    assert _slopes(node, lo, hi) == [(left, left), (left, left), (F(1), F(1)), (F(1), F(1)), (left, F(1)), (left, F(1))]


@pytest.mark.parametrize(("op", "least", "most"), [("tanh", 0, 1), ("sigmoid", 0, F(1, 4)), ("softplus", 0, 1), ("atan", 0, 1), ("sin", -1, 1),
                                                   ("cos", -1, 1)])
def test_slopes_of_smooth_functions(op, least, most):
    node = Node(op, (0,), 2)
    for lo, hi in (([-math.inf] * 2, [math.inf] * 2), ([0.0, -math.inf], [1.0, 0.0]), ([0.0, 0.0], [1.0, math.inf])):
        assert _slopes(node, lo, hi) == [(least, most)] * 2
    within = _slopes(node, [0.0, 0.5], [0.5, 0.75])
    assert all(least < a <= b <= most for a, b in within) and within != [(least, most)] * 2


@pytest.mark.parametrize(("op", "data"), [("exp", None), ("sqrt", None), ("log", None), ("pow", 3)])
def test_a_slope_without_bound_is_refused(op, data):
    node = Node(op, (0,), 2, data)
    assert refused(lambda: _slopes(node, [0.0, 1.0], [math.inf, 2.0])) is Code.UNSUPPORTED
    if op in ("sqrt", "log"):
        with np.errstate(divide="ignore"):
            assert refused(lambda: _slopes(node, [1.0, 0.0], [2.0, 1.0])) is Code.UNSUPPORTED
    low, high = _slopes(node, [1.0, 1.0], [2.0, 2.0])[1]
    truth = {"exp": (math.e, math.e**2), "sqrt": (0.5 / math.sqrt(2), 0.5), "log": (0.5, 1.0), "pow": (3.0, 12.0)}[op]
    assert low <= truth[0] and truth[1] <= high and high - low < 1.001 * (truth[1] - truth[0])


# a network in differences


def program() -> Graph:
    """Each operator that is read, with rational values."""
    b = Builder()
    x = b.input(2)
    y = b.affine(x, affine_from_rational(rationals(3, 2).tolist(), rationals(3).tolist()))
    z = b.unary("relu", b.binary("mul", b.const([F(2), F(-1, 3), F(5)]), y))
    w = b.unary("abs", b.binary("div", b.binary("sub", z, b.unary("neg", b.take(x, (1, 0, 1)))), b.const([F(3), F(-2), F(1, 2)])))
    v = b.unary("leaky_relu", b.binary("mul", b.binary("add", w, y), b.take(b.const([F(7), F(3)]), (1, 1, 0))), F(1, 4))
    return b.build([b.affine(b.concat([v, x, w]), affine_from_rational(rationals(2, 8).tolist(), rationals(2).tolist()))])


class Watched(ExactReading):
    """Keeps arguments and values of all neurons."""

    def __init__(self) -> None:
        self.arguments: list[Fraction] = []
        self.values: list[Fraction] = []

    def unary(self, node: Node, x: Any) -> Any:
        y = super().unary(node, x)
        if node.op != "neg":
            self.arguments += x.tolist()
            self.values += y.tolist()
        return y


def test_differences_are_those_of_the_network():
    graph = program()
    found = differences(graph, None)
    assert layers(graph) == [3, 3, 3] and found.output.shape == (2, 11) and found.arguments.shape == (9, 11)
    for _ in range(5):
        x, seen = rationals(2, 2), [Watched(), Watched()]
        y = [read(graph, watch, [point])[0] for watch, point in zip(seen, x, strict=True)]
        z = np.concatenate([x[0] - x[1], np.array(seen[0].values, dtype=object) - np.array(seen[1].values, dtype=object)])
        assert (found.output @ z == y[0] - y[1]).all()
        assert (found.arguments @ z == np.array(seen[0].arguments, dtype=object) - np.array(seen[1].arguments, dtype=object)).all()


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_larger_and_the_smaller_of_two(op):
    b = Builder()
    x = b.input(2)
    found = differences(b.build([b.binary(op, b.take(x, (0,)), b.take(x, (1,)))]), None)
    assert found.arguments.tolist() == [[1, -1, 0]] and (found.low.tolist(), found.high.tolist()) == ([0], [1])
    assert found.output.tolist() == [[0, 1, 1] if op == "max" else [1, 0, -1]]


def test_what_varies_twice_or_divides_by_zero_is_refused():
    b = Builder()
    x = b.input(2)
    one, zero = b.const([F(1), F(2)]), b.const([F(1), F(0)])
    for y in (b.binary("mul", x, x), b.binary("div", one, x), b.binary("div", x, x), b.binary("div", x, zero)):
        assert refused(lambda y=y: differences(b.build([y]), None)) is Code.UNSUPPORTED
    assert differences(b.build([b.binary("mul", x, zero)]), None).output.tolist() == [[1, 0], [0, 0]]


@pytest.mark.threat("T10")
def test_a_constant_that_is_unknown_in_one_entry_is_no_factor():
    b = Builder()
    x, partly = b.input(2), b.const([F(3), (F(1), F(2))])
    for y in (b.binary("mul", x, partly), b.binary("mul", partly, x), b.binary("div", x, partly)):
        assert refused(lambda y=y: differences(b.build([y]), None)) is Code.UNSUPPORTED
    assert differences(b.build([b.binary("add", x, partly)]), None).output.tolist() == [[1, 0, 0], [0, 1, 1]]


@pytest.mark.threat("T23")
def test_a_network_may_be_as_large_as_its_limit_and_no_larger():
    for more in (0, 1):
        b = Builder()
        graph = b.build([b.unary("relu", b.take(b.input(1), (0,) * (MAX_SIZE - 1 + more)))])
        if more:
            assert refused(lambda g=graph: differences(g, None)) is Code.TOO_LARGE
        else:
            assert len(differences(graph, None).low) == MAX_SIZE - 1


def test_a_domain_has_the_inputs_of_the_network_and_narrows_the_slopes():
    graph = program()
    assert refused(lambda: differences(graph, Box((F(0),), (F(1),)))) is Code.BAD_SHAPE
    here = differences(graph, Box((F(1, 3),) * 2, (F(1, 3) + F(1, 10**6),) * 2))
    assert sum(here.low == here.high) > 4


# the matrix


def test_the_matrix_is_its_formula():
    """``z' M z = g^2 |dx|^2 - |dy|^2 - sum t (dw - a dv)(b dv - dw)`` at random z."""
    for _ in range(5):
        found = Differences(2, rationals(3, 5), rationals(3, 5), rationals(3), rationals(3))
        t, bound, z = tuple(abs(v) for v in rationals(3)), F(9, 4), rationals(5)
        dv, dw, dy = found.arguments @ z, z[2:], found.output @ z
        form = bound**2 * (z[:2] @ z[:2]) - dy @ dy - sum(s * (w - a * v) * (b * v - w) for s, a, b, v, w in zip(
            t, found.low, found.high, dv, dw, strict=True))
        m = found.matrix(bound, t)
        assert z @ m @ z == form and (m == m.T).all()


def half_tanh() -> Differences:
    """y = tanh(x)/2: M = [[g^2, -t/2], [-t/2, t - 1/4]], positive definite for some t where g > 1/2."""
    return Differences(1, np.array([[F(0), F(1, 2)]]), np.array([[F(1), F(0)]]), np.array([F(0)]), np.array([F(1)]))


@pytest.mark.threat("T06")
def test_multipliers_prove_what_is_true_and_no_more():
    found = half_tanh()
    assert found.proves(F(51, 100), [F(1, 2)]) and not found.proves(F(1, 2), [F(1, 2)]) and not found.proves(F(51, 100), [F(1, 4)])
    free = Differences(1, np.array([[F(1), F(0)]]), np.array([[F(1), F(0)]]), np.array([F(-1)]), np.array([F(0)]))
    assert not free.proves(F(2), [F(-1)]) and not free.proves(F(2), [F(0)])
    turned = Differences(1, np.array([[F(0)] * 3]), np.array([[F(0), F(2), F(0)], [F(0), F(0), F(0)]]), np.array([F(0)] * 2), np.array([F(1)] * 2))
    assert is_dominant_after_scaling(turned.matrix(F(1), [F(-1), F(1)])) and not turned.proves(F(1), [F(-1), F(1)])


# the check of a bound


def asked(bound: str = "51/100", domain: Box | None = None) -> BoundRequirement:
    return BoundRequirement("n", "controller.onnx", F(bound), "l2", domain, "L2")


def bundle(**changes: Any) -> Any:
    nodes = [helper.make_node("Tanh", ["x"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    network = model(nodes, [floats("w", [[0.5]])], (1, 1), out=(1, 1)).SerializeToString()
    parts: dict[str, Any] = {"claim": claim_of(asked()), "functions": {}, "plant": b"", "controller": network,
                             "obligations": {"bound": {"kind": "lipschitz_sdp", "multipliers": ["1/2"]}}}
    return SimpleNamespace(**{**parts, **changes})


def given(**proof: Any) -> Any:
    return bundle(obligations={"bound": {"kind": "lipschitz_sdp", "multipliers": ["1/2"], **proof}})


def test_a_true_bound_is_accepted():
    assert check_bound(asked(), bundle()) == ("lipschitz_sdp", 0, None)
    domain = Box((F(2),), (F(3),))
    assert check_bound(asked("1/10", domain), bundle(claim=claim_of(asked("1/10", domain)), obligations={"bound": {
        "kind": "lipschitz_sdp", "multipliers": ["3"]}})) == ("lipschitz_sdp", 0, None)


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("changed", "code"), [
    (bundle(claim={**claim_of(asked()), "bound": "1/2"}), Code.CLAIM_MISMATCH), (bundle(obligations={}), Code.MISSING_OBLIGATION),
    (bundle(functions={"V": {}}), Code.UNEXPECTED_OBLIGATION), (bundle(plant=b"{}"), Code.UNEXPECTED_OBLIGATION),
    (bundle(obligations={**bundle().obligations, "more": {}}), Code.UNEXPECTED_OBLIGATION), (given(kind="lmi"), Code.UNSUPPORTED),
    (bundle(controller=None), Code.MISSING_FILE), (given(more=1), Code.MALFORMED_CERTIFICATE), (given(multipliers=[]), Code.BAD_SHAPE),
    (given(multipliers=["1/2", "1/2"]), Code.BAD_SHAPE), (given(multipliers=["-1/2"]), Code.NOT_DEFINITE),
    (given(multipliers=["1/4"]), Code.NOT_DEFINITE), (given(multipliers=["nan"]), Code.BAD_NUMBER)])
def test_a_bound_with_one_fault_is_refused(changed, code):
    assert refused(lambda: check_bound(asked(), changed)) is code
