"""Specifications about a closed loop as lsnc has them, in small and through the command line: proved, mutated, and confirmed by ONNX Runtime."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.loop_specs import NO_SLACK, WRONG_SIGN, Loop, mutated
from certctl.cli.main import run
from verifiers.kernel.graph import Affine, Builder
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.smt.vnnlib import read_vnnlib

LOOP = Loop((1.0, 2.0), "0.5", 0.5)
SHRUNK = Fraction(1, 8)
BOXES = 2


def closed_loop():
    """Pendulum in Euler steps of 1/8 under a ReLU policy 2-4-1 clipped to ±2, with V = x^2 + xy/2 + 3/8 y^2: Y = (V(x) - V(x+), V(x), x+)."""
    b = Builder()
    z = b.input(2)
    x, y = b.take(z, (0,)), b.take(z, (1,))
    hidden = b.unary("relu", b.affine(z, Affine(np.array([[3.0, 2.0], [-3.0, -2.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 0.0, -0.5, -1.0]))))
    u = b.clip(b.affine(hidden, Affine(np.array([[-1.0, 1.0, -0.125, -0.125]]), np.zeros(1))), [Fraction(-2)], [Fraction(2)])
    after = b.affine(b.concat([x, y, b.unary("sin", x), u]), Affine(np.array([[1.0, 0.125, 0.0, 0.0], [0.0, 1.0, 0.125, 0.125]]), np.zeros(2)))

    def value(node):
        return b.affine(b.concat([b.unary("pow", node, 2), b.binary("mul", b.take(node, (0,)), b.take(node, (1,)))]),
                        Affine(np.array([[1.0, 0.375, 0.5]]), np.zeros(1)))

    now, then = value(z), value(after)
    return b.build([b.concat([b.binary("sub", now, then), now, after])])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The network and specifications for a few boxes that meet the level set, the last one about the equilibrium, each plain and mutated."""
    made, graph, rng = tmp_path_factory.mktemp("loop"), closed_loop(), np.random.default_rng(3)
    (made / "loop.onnx").write_bytes(to_onnx(graph))
    boxes = [LOOP.box(rng, graph) for _ in range(BOXES - 1)] + [([-0.5, -1.0], [0.25, 0.5])]
    for k, box in enumerate(boxes):
        text = LOOP.text(*box)
        for name, changed in (("plain", text), ("no_slack", mutated(text, decrease=NO_SLACK)), ("sign", mutated(text, decrease=WRONG_SIGN)),
                              ("shrunk", mutated(text, shrink=SHRUNK))):
            (made / f"{name}_{k}.vnnlib").write_text(changed)
    return made


def decided(folder, name, capsys, form="vnncomp"):
    """Exit code and output of the command."""
    code = run(["decide", str(folder / "loop.onnx"), str(folder / f"{name}.vnnlib"), "--timeout", "30", "--format", form])
    return code, capsys.readouterr().out


def test_the_loop_decreases_where_it_should():
    """What the specifications ask is true with room to spare on a grid, so that unsat is the truth, and the wrong sign is sat."""
    grid = np.stack(np.meshgrid(*(np.linspace(-d, d, 401) for d in LOOP.domain)), -1).reshape(-1, 2)
    y = evaluate(closed_loop(), grid)
    within = y[:, 1] <= 0.5
    assert within.sum() > 1000 and (y[within, 0] >= 0.05 * y[within, 1]).all() and (np.abs(y[within, 2:]) <= 0.9 * np.array(LOOP.domain)).all()


@pytest.mark.parametrize("k", range(BOXES))
def test_a_true_specification_is_unsat_and_replayed(folder, capsys, k):
    code, out = decided(folder, f"plain_{k}", capsys, "json")
    told = json.loads(out)
    assert (code, told["result"], told["level"]) == (0, "unsat", "L2")


@pytest.mark.parametrize("name", [f"{kind}_{k}" for kind in ("sign", "shrunk") for k in range(BOXES)])
def test_a_mutated_specification_is_sat_with_a_witness_that_onnx_runtime_confirms(folder, capsys, name):
    runtime = pytest.importorskip("onnxruntime")
    code, out = decided(folder, name, capsys)
    assert code == 1 and out.startswith("sat\n((X_0 ")
    said = {letter: [float(v) for v in re.findall(rf"\({letter}_\d+ (\S+?)\)", out)] for letter in "XY"}
    session = runtime.InferenceSession((folder / "loop.onnx").read_bytes())
    (y,) = session.run(None, {session.get_inputs()[0].name: np.array([said["X"]], dtype=np.float32)})
    spec = read_vnnlib((folder / f"{name}.vnnlib").read_text())
    assert spec.holds([Fraction(v) for v in said["X"]], [Fraction(float(v)) for v in np.ravel(y)])
    assert np.allclose(said["Y"], np.ravel(y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", range(BOXES))
def test_without_slack_the_answer_stays_sound(folder, capsys, k):
    """Only the equilibrium, where Y_0 = 0, satisfies it: sat where the box holds it, else unsat, or no answer."""
    code, out = decided(folder, f"no_slack_{k}", capsys)
    (region,) = read_vnnlib((folder / f"no_slack_{k}.vnnlib").read_text()).regions
    holds_zero = all(lo <= 0 <= hi for lo, hi in zip(region.lo, region.hi, strict=True))
    assert (code, out.splitlines()[0]) in {(1, "sat") if holds_zero else (0, "unsat"), (3, "unknown"), (3, "timeout")}


def test_only_specifications_of_a_loop_are_mutated():
    text = LOOP.text(*LOOP.box(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="no specification of a loop"):
        mutated(text.replace("(<= Y_0 -1e-06)", "(<= Y_0 -1e-05)"), decrease=WRONG_SIGN)
    plain, small = read_vnnlib(text), read_vnnlib(mutated(text, shrink=Fraction(1, 2)))
    assert (plain.regions[0].lo, plain.regions[0].hi) == (small.regions[0].lo, small.regions[0].hi)
    inside = [Fraction(0), Fraction(0), Fraction(3, 5), Fraction(0)]
    states = [(lo + hi) / 2 for lo, hi in zip(plain.regions[0].lo, plain.regions[0].hi, strict=True)]
    assert not plain.holds(states, inside) and small.holds(states, inside)
