"""The kernel's plant reader: one-fault twins of a good plant.json first, then substitution, clipping and one-step maps."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import systems
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.plant import MAX_BITS, MAX_PROGRAM, MAX_SIGNALS, MAX_TERMS, Loop, PlantSpec, closed_loop, read_plant
from verifiers.load.floats import evaluate
from verifiers.load.plant import plant_graph

F = Fraction
RNG = np.random.default_rng(99)
GOOD: dict[str, Any] = {
    "format": "certctl-plant/1", "name": "cart", "time": "continuous", "dt": None,
    "states": [{"name": "s", "unit": "m", "angle": False}, {"name": "v", "unit": "m/s", "angle": False}],
    "inputs": [{"name": "u", "unit": "N", "lo": "-limit", "hi": "limit"}],
    "parameters": [{"name": "m", "unit": "kg", "value": "0.3"}, {"name": "limit", "unit": "N", "value": "2"}],
    "equilibrium": {"x": ["0", "0"], "u": ["0"]}, "domain": {"lo": ["-1", "-1"], "hi": ["1", "1"]},
    "nodes": [["x", 1], ["u", 0], ["p", "m"], ["div", 1, 2], ["x", 0], ["sin", 4], ["sub", 3, 5]], "outputs": [0, 6], "reference": "tests"}
MAP = {"time": "discrete", "dt": "1/10"}


def plant(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def nodes(*items: Any, outputs: tuple[int, int] | None = None, **changes: Any) -> dict[str, Any]:
    return plant(nodes=list(items), outputs=list(outputs or (0, len(items) - 1)), **changes)


def spec(**changes: Any) -> PlantSpec:
    return read_plant(plant(**changes))


def law(gain: list[list[float]]) -> Graph:
    builder = Builder()
    return builder.build([builder.affine(builder.input(len(gain[0])), Affine(np.array(gain), np.zeros(len(gain))))])


def close(of: PlantSpec, gain: list[list[float]] | None = None, parameters: Any = None, **timing: Any) -> Loop:
    return closed_loop(of, law(gain or [[-1.0, -2.0]]), parameters or {}, **{"time": "continuous", "dt": None, "method": None, **timing})


# what must be refused ------------------------------------------------------------------------------------------------

def item(key: str, **changes: Any) -> dict[str, Any]:
    return plant(**{key: [{**GOOD[key][0], **changes}, *GOOD[key][1:]]})


X, U = ["x", 0], ["u", 0]
BAD, NUMBER, SHAPE, LARGE, OPERATOR = Code.BAD_PLANT, Code.BAD_NUMBER, Code.BAD_SHAPE, Code.TOO_LARGE, Code.UNKNOWN_OPERATOR
NAN, STATE = float("nan"), GOOD["states"][0]
FAULTS: list[tuple[Any, Code, str]] = [
    ([], BAD, "top level"), (None, BAD, "top level"), ({k: v for k, v in GOOD.items() if k != "domain"}, BAD, "domain"),
    (plant(verdict="safe"), BAD, "verdict"), (plant(format="certctl-plant/2"), BAD, "time"), (plant(name=""), BAD, "states"),
    (plant(name=["cart"]), BAD, "name"), (plant(reference=None), BAD, "reference"),
    # time
    (plant(time="sampled"), BAD, "time"), (plant(time=["discrete"]), BAD, "time"), (plant(dt="1/10"), BAD, "time"),
    (plant(time="discrete", dt="0"), BAD, "time"), (plant(time="discrete", dt="-1/10"), BAD, "time"),
    (plant(time="discrete", dt=0.1), BAD, "dt"), (plant(time="discrete", dt="nan"), NUMBER, "dt"),
    # signals
    (plant(states=[]), BAD, "states"), (plant(states={}), BAD, "states"), (plant(inputs=None), BAD, "inputs"),
    (plant(states=["s", "v"]), BAD, "states[0]"),
    (plant(states=[STATE] * (MAX_SIGNALS + 1)), LARGE, "states"), (plant(inputs=GOOD["inputs"] * (MAX_SIGNALS + 1)), LARGE, "inputs"),
    (plant(parameters=GOOD["parameters"] * MAX_SIGNALS), LARGE, "parameters"), (item("states", angle=1), BAD, "states[0].angle"),
    (item("states", angle=None), BAD, "states[0].angle"), (item("states", unit=1), BAD, "states[0].unit"),
    (item("states", scale="1"), BAD, "states[0].scale"),
    (item("states", name="1s"), BAD, "states"), (item("states", name="ѕ"), BAD, "states"), (item("states", name="s\n"), BAD, "states"),
    (item("states", name="s" * 65), BAD, "states"), (item("states", name="v"), BAD, "states"), (item("states", name="u"), BAD, "states"),
    (item("states", name="m"), BAD, "states"), (item("inputs", name="-u"), BAD, "states"), (item("parameters", name="limit"), BAD, "states"),
    # limits and parameters
    (item("inputs", lo="-torque"), NUMBER, "inputs.u.lo (no parameter torque)"), (item("inputs", hi="s"), NUMBER, "inputs.u.hi (no parameter s)"),
    (item("inputs", hi="--limit"), NUMBER, "inputs.u.hi (no parameter -limit)"),
    (item("inputs", hi="-1e9"), NUMBER, "inputs.u.hi (no parameter 1e9)"),
    (item("inputs", hi="nan"), NUMBER, "inputs.u.hi (no parameter nan)"), (item("inputs", hi=2), BAD, "inputs[0].hi"),
    (item("inputs", hi=["1", "2"]), BAD, "inputs[0].hi"), (item("parameters", value=0.3), BAD, "parameters[0].value"),
    (item("parameters", value=NAN), BAD, "parameters[0].value"), (item("parameters", value="inf"), NUMBER, "parameters.m"),
    (item("parameters", value=["2", "1"]), BAD, "parameters.m"), (item("parameters", value=["1"]), SHAPE, "parameters.m"),
    (item("parameters", value=["1", "2", "3"]), SHAPE, "parameters.m"), (plant(parameters=[{"name": "m", "unit": "kg"}]), BAD, "parameters[0].value"),
    # equilibrium and domain
    (plant(equilibrium={"x": ["0"], "u": ["0"]}), SHAPE, "equilibrium.x"), (plant(equilibrium={"x": ["0", "0"], "u": []}), SHAPE, "equilibrium.u"),
    (plant(equilibrium={"x": ["0", "NaN"], "u": ["0"]}), NUMBER, "equilibrium.x[1]"), (plant(equilibrium=None), BAD, "equilibrium"),
    (plant(equilibrium={"x": ["0", "0"]}), BAD, "equilibrium.u"), (plant(domain={"lo": ["-1"], "hi": ["1", "1"]}), SHAPE, "domain.lo"),
    (plant(domain={"lo": ["-1", "1"], "hi": ["1", "1"]}), BAD, "domain"),
    (plant(domain={"lo": ["-1", "-1"], "hi": ["1", NAN]}), NUMBER, "domain.hi[1]"),
    # program
    *((nodes(X, bad), OPERATOR, "nodes[1]") for bad in (
        ["leaky_relu", 0], ["affine", 0], ["input", 0], ["__init__", 0], [], "sin", [["sin"], 0], None, {"0": "x"})),
    *((nodes(X, bad, U), BAD, "nodes[1]") for bad in (
        ["sin", 1], ["add", 0, 2], ["sin", -1], ["sin", False], ["sin", 0.0], ["sin", "0"], ["sin", [0]], ["sin", 0, 0], ["add", 0], ["sin"],
        ["pow", 0, 65], ["pow", 0, -1], ["pow", 0, True], ["pow", 0, 2.0], ["pow", 1, 2],
        ["x", 2], ["u", 1], ["x", -1], ["p", "k"], ["p", ["m"]], ["p", 0])),
    *((nodes(X, ["c", bad]), NUMBER, "nodes[1]") for bad in (1, 0.5, NAN, None, "1e400", "9" * 401)),
    (nodes(*[X] * (MAX_PROGRAM + 1)), LARGE, "nodes"), (plant(nodes={"0": X}), BAD, "nodes"), (plant(outputs=[0]), SHAPE, "nodes"),
    (plant(outputs=[0, 6, 6]), SHAPE, "nodes"), (plant(outputs=[0, 7]), BAD, "outputs"), (plant(outputs=[0, True]), BAD, "outputs"),
    (plant(outputs=[0, -1]), BAD, "outputs"), (plant(outputs=[0, "6"]), BAD, "outputs"),
]


@pytest.mark.threat("T15")
@pytest.mark.parametrize(("data", "code", "at"), FAULTS, ids=[f"{k}-{at}" for k, (_, _, at) in enumerate(FAULTS)])
def test_each_fault_is_refused_at_its_place(data, code, at):
    with pytest.raises(Refusal) as caught:
        read_plant(data)
    assert (caught.value.code, caught.value.at) == (code, at)


def test_the_good_twin_is_read():
    read = spec()
    assert (read.name, read.time, read.dt, read.equilibrium_x, read.domain) == ("cart", "continuous", None, (0, 0), ((-1, -1), (1, 1)))
    assert read.parameters == {"m": (F(3, 10), F(3, 10)), "limit": (F(2), F(2))}
    assert (read.inputs[0].lo, read.inputs[0].hi, read.states[1].unit) == ("-limit", "limit", "m/s")
    assert spec(time="discrete").dt is None


TIMING = [
    ({}, {"time": "sampled"}, Code.BAD_REQUIREMENT, "time"), (MAP, {"time": "continuous"}, Code.BAD_REQUIREMENT, "time"),
    ({}, {"dt": F(1, 10)}, Code.BAD_REQUIREMENT, "dt"), ({}, {"method": "euler"}, Code.BAD_REQUIREMENT, "method"),
    ({}, {"time": "discrete", "method": "euler"}, Code.BAD_REQUIREMENT, "dt"),
    ({}, {"time": "discrete", "dt": F(0), "method": "euler"}, Code.BAD_REQUIREMENT, "dt"),
    ({}, {"time": "discrete", "dt": F(-1), "method": "euler"}, Code.BAD_REQUIREMENT, "dt"),
    ({}, {"time": "discrete", "dt": F(1, 10)}, Code.BAD_REQUIREMENT, "method"),
    ({}, {"time": "discrete", "dt": F(1, 10), "method": "heun"}, Code.BAD_REQUIREMENT, "method"),
    ({}, {"time": "discrete", "dt": F(1, 10), "method": "zoh"}, Code.UNSUPPORTED, "method"),
    (MAP, {"time": "discrete"}, Code.BAD_REQUIREMENT, "dt"), (MAP, {"time": "discrete", "dt": F(1, 20)}, Code.BAD_REQUIREMENT, "dt"),
    (MAP, {"time": "discrete", "dt": F(1, 10), "method": "euler"}, Code.BAD_REQUIREMENT, "method"),
    ({"time": "discrete"}, {"time": "discrete", "dt": F(1, 10)}, Code.BAD_REQUIREMENT, "dt"),
]


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("changes", "timing", "code", "at"), TIMING)
def test_a_claim_about_another_time_is_refused(changes, timing, code, at):
    with pytest.raises(Refusal) as caught:
        close(spec(**changes), **timing)
    assert (caught.value.code, caught.value.at) == (code, at)


@pytest.mark.threat("T02")
@pytest.mark.parametrize(("changes", "parameters", "at"), [
    ({}, {"M": (F(1), F(1))}, "parameters.M"), ({}, {"m": (F(2), F(1))}, "parameters.m"), ({}, {"limit": (F(-1), F(-1))}, "inputs.u"),
    ({}, {"limit": (F(-1), F(2))}, "inputs.u"),
    ({**MAP, "parameters": [*GOOD["parameters"], {"name": "dt", "unit": "s", "value": "1/10"}]}, {"dt": (F(1, 20), F(1, 20))}, "parameters.dt"),
    ({**MAP, "parameters": [*GOOD["parameters"], {"name": "dt", "unit": "s", "value": "1/20"}]}, {}, "parameters.dt"),
])
def test_parameters_that_contradict_the_plant_are_refused(changes, parameters, at):
    timing = {"time": "discrete", "dt": F(1, 10)} if changes else {}
    with pytest.raises(Refusal) as caught:
        close(spec(**changes), None, parameters, **timing)
    assert (caught.value.code, caught.value.at) == (Code.BAD_PARAMETER, at)


def test_a_controller_of_other_sizes_is_refused():
    two = Builder()
    x = two.input(2)
    u = two.take(x, [0])
    pair = Builder()
    both = pair.concat([pair.input(1), pair.input(1)])
    no_input = read_plant(nodes(X, ["neg", 0], inputs=[], equilibrium={"x": ["0", "0"], "u": []}))
    for of, controller in [(spec(), law([[1.0]])), (spec(), law([[1.0, 0.0], [0.0, 1.0]])), (spec(), None), (spec(), two.build([u, u])),
                           (spec(), pair.build([pair.take(both, [0])])), (no_input, law([[1.0, 0.0]]))]:
        with pytest.raises(Refusal) as caught:
            closed_loop(of, controller, {}, time="continuous", dt=None, method=None)
        assert (caught.value.code, caught.value.at) == (Code.BAD_SHAPE, "controller")


def test_division_by_an_exact_zero_and_numbers_beyond_every_float_are_refused():
    for denominator in (["c", "0"], ["sub", 1, 1]):
        with pytest.raises(Refusal) as caught:
            plant_graph(read_plant(nodes(X, ["p", "m"], denominator, ["div", 0, 2])), {})
        assert (caught.value.code, caught.value.at) == (Code.BAD_PLANT, "nodes[3]")
    with pytest.raises(Refusal) as caught:
        plant_graph(read_plant(nodes(X, ["c", "9" * 399], ["mul", 0, 1])), {})
    assert caught.value.code is Code.BAD_GRAPH


# exact substitution --------------------------------------------------------------------------------------------------

def row(graph: Graph, k: int) -> tuple[Fraction, ...]:
    """Exact coefficients of the k-th output in the graph's last, affine node."""
    assert graph.nodes[graph.outputs[0]].op == "affine"
    return graph.nodes[graph.outputs[0]].data.rational()[0][k]


def test_parameters_are_folded_exactly_into_one_affine_map():
    graph = plant_graph(spec(), {})
    assert [n.op for n in graph.nodes] == ["input", "input", "take", "sin", "concat", "affine"]
    assert (row(graph, 0), row(graph, 1)) == ((0, 1, 0, 0), (0, 0, F(10, 3), -1))
    assert row(plant_graph(spec(), {"m": (F(1, 7), F(1, 7))}), 1) == (0, 0, 7, -1)


def test_an_unknown_constant_stays_an_interval():
    graph = plant_graph(spec(), {"m": (F(1, 4), F(1, 2))})
    assert [n.data for n in graph.nodes if n.op == "const"] == [((F(1, 4), F(1, 2)),)]
    assert evaluate(graph, [0.0, 0.0], [3.0]).tolist() == [0.0, 8.0]


def test_a_linear_plant_is_one_exact_affine_map():
    graph = plant_graph(read_plant(nodes(X, U, ["c", "1/3"], ["mul", 0, 2], ["add", 3, 1], ["mul", 4, 4], ["c", "4"], ["div", 4, 6], ["neg", 7],
                                         ["c", "1/7"], ["add", 8, 9], outputs=(4, 10))), {})
    assert [n.op for n in graph.nodes] == ["input", "input", "concat", "affine"]
    assert (row(graph, 0), row(graph, 1)) == ((F(1, 3), 0, 1), (F(-1, 12), 0, F(-1, 4)))
    assert graph.nodes[-1].data.rational()[1] == (0, F(1, 7))


def test_a_state_passed_on_is_no_arithmetic():
    graph = plant_graph(read_plant(nodes(X, ["x", 1], ["sin", 1], outputs=(2, 0))), {})
    assert {n.op for n in graph.nodes} == {"input", "take", "sin", "concat"}
    assert evaluate(graph, [5.0, 1.0], [0.0]).tolist() == [np.sin(1.0), 5.0]


@pytest.mark.threat("T08")
@pytest.mark.parametrize("program", [
    [X, ["c", "0"], ["c", "1"], ["div", 2, 0], ["mul", 1, 3]], [X, ["c", "1"], ["div", 1, 0], ["sub", 2, 2]],
    [X, ["c", "0"], ["log", 0], ["mul", 2, 1]], [X, ["log", 0], ["pow", 1, 0]],
])
def test_a_plant_that_is_undefined_somewhere_stays_undefined_there(program):
    """0 / x is not 0: a term with coefficient zero is kept, and so is its singularity."""
    graph = plant_graph(read_plant(nodes(*program)), {})
    assert {n.op for n in graph.nodes} & {"div", "log"}


def test_products_of_equals_become_powers():
    graph = plant_graph(read_plant(nodes(X, U, ["add", 0, 1], ["add", 1, 0], ["mul", 2, 3])), {})
    assert [(n.op, n.data) for n in graph.nodes if n.op in ("pow", "mul")] == [("pow", 2)]


@pytest.mark.threat("T23")
def test_long_sums_become_nodes_of_their_own():
    terms = 3 * MAX_TERMS
    powers = [["pow", 0, k % 64 + 1] if k < 64 else ["sin", k + 1 - 64] for k in range(terms)]
    chain = [["add", 1, 2], *(["add", terms + k, k + 2] for k in range(1, terms - 1))]
    graph = plant_graph(read_plant(nodes(X, *powers, *chain)), {})
    assert max(n.data.weight.shape[1] for n in graph.nodes if n.op == "affine") <= MAX_TERMS + 2
    values = [0.3]
    for op, a, *k in powers:
        values.append(values[a] ** k[0] if op == "pow" else np.sin(values[a]))
    assert evaluate(graph, [0.3, 0.0], [0.1])[1] == pytest.approx(sum(values[1:]), rel=1e-12)


@pytest.mark.threat("T23")
def test_long_numbers_become_nodes_of_their_own():
    squares = plant_graph(read_plant(nodes(X, ["c", "1" + "0" * 100], *(["mul", k, k] for k in range(1, 12)), ["mul", 0, 12])), {})
    powers = plant_graph(read_plant(nodes(X, ["c", "1" + "0" * 100], *(["pow", k, 64] for k in range(1, 9)), ["mul", 0, 9])), {})
    assert [sum(n.op == "pow" for n in graph.nodes) for graph in (squares, powers)] == [7, 8]
    for graph in (squares, powers):
        assert max(q.numerator.bit_length() for n in graph.nodes if n.op == "const" for pair in n.data for q in pair) <= 2 * MAX_BITS


def test_counts_at_the_caps_are_read():
    names = [{"name": f"s{k}", "unit": "m", "angle": False} for k in range(MAX_SIGNALS)]
    wide = plant(states=names, equilibrium={"x": ["0"] * MAX_SIGNALS, "u": ["0"]}, outputs=[0] * MAX_SIGNALS,
                 domain={"lo": ["-1"] * MAX_SIGNALS, "hi": ["1"] * MAX_SIGNALS})
    assert len(read_plant(wide).states) == MAX_SIGNALS
    assert len(read_plant(nodes(*[X] * MAX_PROGRAM)).program) == MAX_PROGRAM
    assert close(spec(), None, {"limit": (F(0), F(0))}).limits == (((0, 0), (0, 0)),)


@pytest.mark.threat("T23")
@pytest.mark.parametrize(("terms", "maps"), [(MAX_TERMS, 1), (MAX_TERMS + 1, 2)])
def test_a_form_at_the_cap_is_one_map_and_a_longer_one_is_two(terms, maps):
    """The cap counts the terms beside the constant; a selection is no map, and the sum is made last, as ``(1 + t_1 + ... + t_n) / 3``."""
    sines = [["sin", k] for k in range(terms)]
    chain = [["add", terms + k, k] for k in range(1, terms + 1)]
    program = nodes(X, *sines, ["c", "1"], *chain, ["c", "3"], ["div", 2 * terms + 1, 2 * terms + 2])
    graph = plant_graph(read_plant(program), {})
    assert sum(n.op == "affine" for n in graph.nodes) == maps
    values = [0.3]
    for _ in sines:
        values.append(np.sin(values[-1]))
    assert evaluate(graph, [0.3, 0.0], [0.1])[1] == pytest.approx((1 + sum(values[1:])) / 3, rel=1e-12)


@pytest.mark.threat("T23")
@pytest.mark.parametrize(("bits", "ops"), [(MAX_BITS, []), (MAX_BITS + 1, ["const", "div"])])
def test_a_number_at_the_cap_stays_in_the_form_and_a_longer_one_does_not(bits, ops):
    """x times c / c, where c = 2**(bits - 1) comes from powers that can be written out."""
    half = bits // 2 - 1
    powers = [["c", str(2 ** (half // 4))], ["mul", 1, 1], ["mul", 2, 2], ["c", str(2 ** (half % 4))], ["mul", 3, 4],  # 2**half
              ["mul", 5, 5], ["c", str(2 ** (bits - 1 - 2 * half))], ["mul", 6, 7]]
    graph = plant_graph(read_plant(nodes(X, *powers, ["div", 8, 8], ["mul", 0, 9])), {})
    assert [n.op for n in graph.nodes if n.op in ("const", "affine", "div")] == ops


@pytest.mark.threat("T23")
@pytest.mark.parametrize(("bits", "powers"), [(MAX_BITS // 64, 0), (MAX_BITS // 64 + 1, 1)])
def test_a_power_of_a_constant_is_folded_up_to_the_cap(bits, powers):
    graph = plant_graph(read_plant(nodes(X, ["c", str(2 ** (bits - 1))], ["pow", 1, 64], ["div", 2, 2], ["mul", 0, 3])), {})
    assert sum(n.op == "pow" for n in graph.nodes) == powers


def test_only_powers_of_constants_are_folded():
    graph = plant_graph(read_plant(nodes(X, ["c", "2/3"], ["pow", 1, 3], ["sin", 1], ["mul", 0, 2], ["add", 4, 3])), {})
    assert [n.op for n in graph.nodes if n.op in ("pow", "sin")] == ["sin"]
    assert row(graph, 1)[0] == F(8, 27)


@pytest.mark.parametrize("op", ["min", "max"])
def test_a_state_is_compared_with_a_constant(op):
    for a, b in [(0, 1), (1, 0)]:
        graph = plant_graph(read_plant(nodes(X, ["c", "1/2"], [op, a, b])), {})
        pick = min if op == "min" else max
        assert [evaluate(graph, [s, 0.0], [0.0])[1] for s in (-3.0, 3.0)] == [pick(-3.0, 0.5), pick(3.0, 0.5)]


@pytest.mark.parametrize(("op", "value"), [("min", F(1, 3)), ("max", F(1, 2))])
def test_constants_are_compared_exactly(op, value):
    graph = plant_graph(read_plant(nodes(X, ["c", "1/3"], ["c", "1/2"], [op, 1, 2], ["mul", 0, 3])), {})
    assert row(graph, 1)[0] == value


# limits --------------------------------------------------------------------------------------------------------------

def test_commands_are_clipped_at_the_limits():
    loop = close(spec(), [[-100.0, 0.0]])
    assert loop.limits == (((-2, -2), (2, 2)),)
    for s, force in [(1.0, -2.0), (-1.0, 2.0), (0.01, -1.0)]:
        assert evaluate(loop.command, [s, 0.0]) == pytest.approx([-100 * s])
        assert evaluate(loop.field, [s, 0.5]) == pytest.approx([0.5, force / 0.3 - np.sin(s)])


def test_one_sided_numeric_and_absent_limits():
    one = close(read_plant(item("inputs", lo="-1/2", hi=None)), [[-100.0, 0.0]])
    assert one.limits == (((F(-1, 2), F(-1, 2)), None),)
    assert evaluate(one.field, [1.0, 0.0])[1] == pytest.approx(-0.5 / 0.3 - np.sin(1))
    assert evaluate(one.field, [-1.0, 0.0])[1] == pytest.approx(100 / 0.3 + np.sin(1))
    free = close(read_plant(item("inputs", lo=None, hi=None)), [[-100.0, 0.0]])
    assert free.limits == ((None, None),)
    assert not {n.op for n in free.field.nodes} & {"min", "max"}


def test_a_limit_that_is_unknown_is_clipped_at_an_interval():
    loop = close(spec(), None, {"limit": (F(1), F(2))})
    assert loop.limits == (((-2, -1), (1, 2)),)
    assert {n.data for n in loop.field.nodes if n.op == "const"} == {((-2, -1),), ((1, 2),)}


def test_a_plant_without_inputs_needs_no_controller():
    free = read_plant(json.loads(systems.plant_json_path("reversed_van_der_pol").read_text()))
    assert plant_graph(free, {}).input_sizes == (2,)
    loop = closed_loop(free, None, {}, time="continuous", dt=None, method=None)
    assert (loop.command, loop.limits) == (None, ())
    assert evaluate(loop.field, [2.0, 1.0]).tolist() == [-1.0, 5.0]
    assert evaluate(closed_loop(free, None, {}, time="discrete", dt=F(1, 4), method="euler").field, [2.0, 1.0]).tolist() == [1.75, 2.25]


# discrete time -------------------------------------------------------------------------------------------------------

@pytest.mark.threat("T02")
def test_a_discrete_plant_is_its_own_map():
    for method in (None, "zoh"):
        loop = close(spec(**MAP), time="discrete", dt=F(1, 10), method=method)
        assert (loop.time, loop.dt) == ("discrete", F(1, 10))
        assert evaluate(loop.field, [0.1, 0.2]) == pytest.approx([0.2, -0.5 / 0.3 - np.sin(0.1)])
    assert close(spec(time="discrete"), time="discrete").dt is None


def test_euler_of_a_linear_plant_is_exact():
    of = read_plant(nodes(["x", 1], X, U, ["p", "m"], ["div", 2, 3], ["sub", 4, 1], outputs=(0, 5)))
    field = close(of, time="discrete", dt=F(1, 7), method="euler").field
    assert (row(field, 0), row(field, 1)) == ((1, F(1, 7), 0), (F(-1, 7), 1, F(10, 21)))


def test_rk4_of_a_linear_plant_is_the_exact_taylor_polynomial():
    of = read_plant(nodes(["x", 1], X, ["neg", 1], outputs=(0, 2), inputs=[], equilibrium={"x": ["0", "0"], "u": []}))
    h = F(1, 3)
    field = closed_loop(of, None, {}, time="discrete", dt=h, method="rk4").field
    cosine, sine = 1 - h**2 / 2 + h**4 / 24, h - h**3 / 6
    assert (row(field, 0), row(field, 1)) == ((cosine, sine), (-sine, cosine))


TABLEAUS = {"euler": ([[]], [1]), "midpoint": ([[], [0.5]], [0, 1]), "rk4": ([[], [0.5], [0, 0.5], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6])}


@pytest.mark.parametrize("method", TABLEAUS)
@pytest.mark.parametrize(("name", "size"), [("pendulum", 2), ("cartpole", 4), ("path_tracking", 2)])
def test_one_step_maps_follow_their_tableaus_with_the_input_held(name, size, method):
    of = read_plant(json.loads(systems.plant_json_path(name).read_text()))
    gain = RNG.normal(size=(1, size))
    loop = closed_loop(of, law(gain.tolist()), {}, time="discrete", dt=F(1, 20), method=method)
    right = plant_graph(of, {})
    limit = float(loop.limits[0][1][1])
    x = RNG.uniform(-1, 1, (30, size))
    u = np.clip(x @ gain.T, -limit, limit)
    slopes: list[np.ndarray] = []
    a, b = TABLEAUS[method]
    for line in a:
        slopes.append(evaluate(right, x + 0.05 * sum((c * s for c, s in zip(line, slopes, strict=True)), np.zeros_like(x)), u))
    expected = x + 0.05 * sum(c * s for c, s in zip(b, slopes, strict=True))
    assert evaluate(loop.field, x) == pytest.approx(expected, rel=1e-13, abs=1e-13)
