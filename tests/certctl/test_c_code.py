"""Exported C: it compiles without a warning, computes what the graph says, and its monitor never says inside for a state outside."""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import MP, RANDOM, RELAXED, close, graphs, number, oracle, points
from repository import ROOT
from small_bundles import prove, tamper_level, write_case

from certctl.bridges import c_source
from certctl.bridges.c_code import NotAccepted, certified_stages, comment, identifier, write_c
from certctl.cli.main import run
from certctl.plot.paths import boundary_points
from certctl.view import View, open_view
from verifiers.kernel.graph import Graph
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.load.floats import evaluate
from verifiers.load.plant import clipped_command
from verifiers.prove import verify

GCC = shutil.which("gcc")
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wconversion", "-Wvla", "-O2"]
pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not on this machine")
POINTS = 100_000
DRIVER = """
#include "{name}.h"
void many(const double *x, double *u, double *c, int *inside, int count, int n, int m);
void many(const double *x, double *u, double *c, int *inside, int count, int n, int m)
{{
    for (int i = 0; i < count; ++i) {{
        {name}_command(x + i * n, u + i * m);
        {name}_control(x + i * n, c + i * m);
        inside[i] = {name}_inside(x + i * n);
    }}
}}
"""


def compiled(folder: Path, sources: list[str], flags: list[str] = FLAGS) -> ctypes.CDLL:
    """A shared library of these sources."""
    subprocess.run([str(GCC), *flags, "-shared", "-fPIC", "-o", "code.so", *sources, "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "code.so"))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


@dataclasses.dataclass(frozen=True)
class Code:
    """An exported controller, compiled."""

    view: View
    library: ctypes.CDLL

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Commands, limited commands, and what the monitor says at points (B, n)."""
        x, m = np.ascontiguousarray(x, dtype=np.float64), len(self.view.drawn.spec.inputs)
        u, c, inside = np.empty((len(x), m)), np.empty((len(x), m)), np.empty(len(x), dtype=np.int32)
        self.library.many(pointer(x), pointer(u), pointer(c), pointer(inside), len(x), x.shape[1], m)
        return u, c, inside


@pytest.fixture(scope="module", params=["examples/pendulum", "examples/policies/van_der_pol"])
def code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Code:
    """A tanh policy with a Lyapunov network in continuous time, and a ReLU policy in discrete time, proved here and exported."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(ROOT / request.param, folder / "case")
    verdict = verify(folder / "case" / "requirement.toml", folder / "case.cert", budget=120)
    assert verdict.outcome == "PROVED"
    view = open_view(folder / "case.cert", folder / "case" / "requirement.toml")
    written = write_c(view, folder, "loop")
    (folder / "driver.c").write_text(DRIVER.format(name="loop"), encoding="ascii")
    assert [path.name for path in written] == ["loop.h", "loop.c"]
    return Code(view, compiled(folder, ["loop.c", "driver.c"]))


def spread(view: View, count: int) -> np.ndarray:
    """Points (count, n): most in the domain, some around it."""
    lo, hi = view.domain
    return np.random.default_rng(1).uniform(lo - 0.1 * (hi - lo), hi + 0.1 * (hi - lo), (count, lo.size))


def edge(view: View) -> np.ndarray:
    """Points a few units in the last place about the edge of the region, on both sides."""
    rays = boundary_points(view, 60) - view.equilibrium
    steps = np.concatenate([[0.0], *(np.array([-1.0, 1.0]) * 2.0**-k for k in range(30, 54))])
    return (view.equilibrium + rays[:, None] * (1 + steps[:, None])).reshape(-1, rays.shape[1])


def kernel_bounds(graph: Graph, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kernel's enclosure (B,) of a scalar graph at points (B, n)."""
    parts = []
    for block in np.array_split(x, max(1, len(x) // 10_000)):
        centre, radius = split_boxes(block, block)
        reading = JetReading(radius, 1)
        low, high = reading.bounds(read_jets(graph, reading, reading.start(centre)))
        parts.append((low[:, 0], high[:, 0]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def surely_outside(view: View, x: np.ndarray) -> np.ndarray:
    """True (B,) where the kernel's own enclosures say that a point is in no certified set."""
    (lo, hi), found = view.domain, np.ones(len(x), dtype=bool)
    for stage in certified_stages(view):
        low = kernel_bounds(stage.graph, x)[0]
        found &= low > float(np.nextafter(float(stage.level), np.inf))
    return found | (x < lo).any(axis=1) | (x > hi).any(axis=1)


def surely_inside(view: View, x: np.ndarray) -> np.ndarray:
    """True (B,) where the kernel's own enclosures show a point to be in a certified set by a margin of 1e-9."""
    (lo, hi), found = view.domain, np.zeros(len(x), dtype=bool)
    for stage in certified_stages(view):
        found |= kernel_bounds(stage.graph, x)[1] <= float(stage.level) * (1 - 1e-9)
    return found & (x >= lo).all(axis=1) & (x <= hi).all(axis=1)


def truly_inside(view: View, point: np.ndarray) -> bool:
    """Membership in 60-digit arithmetic."""
    x = [Fraction(v) for v in point.tolist()]
    inside = all(a <= v <= b for a, v, b in zip(view.drawn.lo, x, view.drawn.hi, strict=True))
    at = [number(v) for v in x]
    return inside and any(oracle(s.graph, at)[0] <= number(s.level) for s in certified_stages(view))


def test_commands_are_those_of_the_graph(code):
    x = spread(code.view, POINTS)
    u, c, _ = code(x)
    command, limited = code.view.drawn.loop.command, clipped_command(code.view.drawn.loop)
    worst = float(np.abs(u - evaluate(command, x)).max()), float(np.abs(c - evaluate(limited, x)).max())
    print(f"{code.view.receipt.name}: largest difference on {len(x)} points {worst[0]:.3g}, with limits {worst[1]:.3g}")
    assert max(worst) <= 1e-6
    clips = code.view.requirement.plant == "van_der_pol"  # the other policy keeps its limits by itself
    assert bool((u != c).mean() > 0.02) is clips and len(np.unique(u)) > 1000


@pytest.mark.threat("T09")
@pytest.mark.threat("T08")
def test_the_monitor_never_says_inside_for_a_state_outside(code):
    (lo, hi), x = code.view.domain, spread(code.view, POINTS)
    inside, value = code(x)[2].astype(bool), code.view.signed(x)
    within = (x >= lo).all(axis=1) & (x <= hi).all(axis=1)
    assert 0.05 < inside.mean() < 0.95
    clear = np.abs(value) > 1e-9  # floats err by far less; the others, and those about the edge, are put to the kernel's enclosure
    assert (inside[clear] == ((value <= 0) & within)[clear]).all()
    near = np.concatenate([x[~clear], edge(code.view)])
    says = code(near)[2].astype(bool)
    assert says.any() and not says.all()
    assert not (says & surely_outside(code.view, near)).any() and not (~says & surely_inside(code.view, near)).any()


@pytest.mark.threat("T09")
def test_the_monitor_is_right_a_hair_from_the_edge(code, tmp_path):
    x = boundary_points(code.view, 100)
    ulps = np.random.default_rng(3).integers(-200, 400, (3, *x.shape))
    near = (x + ulps * np.spacing(x)).reshape(-1, x.shape[1])
    truth = np.array([truly_inside(code.view, point) for point in near])
    assert truth.any() and not truth.all()
    assert not (code(near)[2].astype(bool) & ~truth).any()
    raised = dataclasses.replace(code.view.stages[-1], level=code.view.stages[-1].level * (1 + Fraction(1, 2**40)))
    wrong = dataclasses.replace(code.view, stages=(*code.view.stages[:-1], raised))
    write_c(wrong, tmp_path, "loop")
    (tmp_path / "driver.c").write_text(DRIVER.format(name="loop"), encoding="ascii")
    assert (Code(wrong, compiled(tmp_path, ["loop.c", "driver.c"]))(near)[2].astype(bool) & ~truth).any(), "these points would not show a wrong level"


def test_what_is_no_number_is_outside(code):
    n = len(code.view.drawn.spec.states)
    for bad in (np.nan, np.inf, -np.inf, 1e308):
        x = np.tile(code.view.equilibrium, (n, 1))
        assert code(x)[2].all()
        np.fill_diagonal(x, bad)
        assert not code(x)[2].any()


def test_a_machine_that_rounds_otherwise_gets_no_answer(code):
    libm = ctypes.CDLL("libm.so.6")
    x = code.view.equilibrium[None]
    assert code(x)[2].all()
    try:
        for mode in (0x400, 0x800, 0xC00):  # down, up and toward zero on x86-64
            if libm.fesetround(mode) != 0:
                pytest.skip("this machine's rounding modes have other numbers")
            assert not code(x)[2].any()
    finally:
        libm.fesetround(0)
    assert code(x)[2].all()


@settings(parent=RANDOM, max_examples=5)
@given(data=st.data())
def test_every_operation_in_c_encloses_its_exact_value(tmp_path_factory, data):
    made = data.draw(st.lists(graphs(RELAXED), min_size=6, max_size=6))
    folder, parts, needs = tmp_path_factory.mktemp("ops"), [], {"enclosure"}
    for k, graph in enumerate(made):
        plain, rigorous = c_source.PointWriting(f"p{k}"), c_source.EnclosedWriting(f"e{k}")
        parts += [f"void point{k}(const double *x, double *y);\nvoid enclosed{k}(const enclosure *x, enclosure *y);",
                  plain.write(graph, f"void point{k}(const double *x, double *y)", ["x"], "y"),
                  rigorous.write(graph, f"void enclosed{k}(const enclosure *x, enclosure *y)", ["x"], "y")]
        needs |= plain.needs | rigorous.needs
    (folder / "ops.c").write_text("\n\n".join(["#include <float.h>\n#include <math.h>", c_source.library(needs), *parts]) + "\n", encoding="ascii")
    library = compiled(folder, ["ops.c"], [flag for flag in FLAGS if flag != "-O2"])
    for k, graph in enumerate(made):
        for point in [data.draw(points(graph.input_sizes[0])) for _ in range(4)]:
            x = np.array([float(v) for v in point])
            y, ends = np.empty(graph.output_size()), np.empty((graph.output_size(), 2))
            getattr(library, f"point{k}")(pointer(x), pointer(y))
            getattr(library, f"enclosed{k}")(pointer(np.repeat(x, 2)), pointer(ends))
            truth = oracle(graph, [number(v) for v in x])
            assert close(y, truth, 1e-9)
            assert all(number(lo) <= t <= number(hi) for (lo, hi), t in zip(ends, truth, strict=True))
            unknown = any(node.op == "const" and any(a < b for a, b in node.data) for node in graph.nodes)
            assert unknown or all(hi - lo <= 1e-9 * (1 + abs(hi)) for lo, hi in ends)


@pytest.mark.parametrize("op", ["tanh", "sigmoid", "softplus", "exp", "log", "sqrt", "atan", "sin", "cos"])
def test_functions_in_c_enclose_hard_arguments(tmp_path, op):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-30, 30, 500), rng.normal(size=300) * 10.0 ** rng.uniform(-300, 2.8, 300), np.arange(-60, 61) * np.pi / 64,
                        np.array([0.0, -0.0, 5e-324, -5e-324, 2.3e-308, 709.7, -708.5, -745.0, 20.0, 1e6])])
    if op in ("log", "sqrt"):
        x = np.abs(x) + (5e-324 if op == "log" else 0.0)
    head = "void many(const double *x, double *y, double *lo, double *hi, int n)"
    wrap = (f"{head};\n{head}\n{{\n    for (int i = 0; i < n; ++i) {{\n        const enclosure v = {op}_enclosed(between(x[i], x[i]));\n"
            f"        y[i] = {op}_point(x[i]);\n        lo[i] = v.lo;\n        hi[i] = v.hi;\n    }}\n}}\n")
    code = "\n\n".join(["#include <float.h>\n#include <math.h>", c_source.library({op, f"{op}_enclosed", "between"}), wrap])
    (tmp_path / "f.c").write_text(code, encoding="ascii")
    library = compiled(tmp_path, ["f.c"])
    y, lo, hi = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    library.many(pointer(x), pointer(y), pointer(lo), pointer(hi), len(x))
    exact = {"sigmoid": lambda t: 1 / (1 + MP.exp(-t)), "softplus": lambda t: MP.log1p(MP.exp(t))}.get(op, getattr(MP, op, None))
    for argument, value, low, high in zip(x.tolist(), y.tolist(), lo.tolist(), hi.tolist(), strict=True):
        truth = exact(MP.mpf(argument))
        assert MP.mpf(low) <= truth <= MP.mpf(high), argument
        assert high - low <= 1e-12 * max(1.0, abs(high)) and low <= value <= high, argument


def test_a_bundle_that_the_kernel_refuses_becomes_no_code(tmp_path):
    bundle = prove(write_case(tmp_path / "policies"))
    tamper_level(bundle, "1")
    view = open_view(bundle)
    with pytest.raises(NotAccepted, match="only an accepted bundle"):
        write_c(view, tmp_path / "out")
    assert run(["export", str(bundle), "--format", "c", "-o", str(tmp_path / "out")]) != 0
    assert not (tmp_path / "out").exists()


def test_fast_math_does_not_compile(tmp_path):
    view = open_view(prove(write_case(tmp_path / "policies")))
    write_c(view, tmp_path, "loop")
    done = subprocess.run([str(GCC), *FLAGS, "-ffast-math", "-c", "loop.c"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "-ffast-math" in done.stderr


def test_the_code_is_of_the_checked_bytes_and_holds_no_heap(tmp_path):
    view = open_view(prove(write_case(tmp_path / "policies")))
    header, body = (path.read_text(encoding="ascii") for path in write_c(view, tmp_path, "loop"))
    assert f"bundle      sha256 {view.receipt.bundle_digest}" in header and f"controller  sha256 {view.receipt.controller_sha256}" in header
    assert f'"{view.receipt.bundle_digest}"' in body
    assert "x1 [m], " in header.replace("[1]", "[m]") and "#define LOOP_U0_MAX (0x1.4000000000000p+3)" in header
    assert not any(word in body for word in ("malloc", "alloca", "free(", "setjmp", "goto"))
    assert max(map(len, body.splitlines())) <= 160


def test_names_and_units_cannot_break_the_code(tmp_path):
    assert identifier("42/../x y") == "c_42_x_y" and identifier("***") == "controller"
    evil = 'm */ int main(void) { return 1; } /* ??/\n #error "no" ≤ ∩ \u202e'
    shown = comment(evil)
    assert "*/" not in shown and "/*" not in shown and "??" not in shown and "\n" not in shown and shown.isascii()
    view = open_view(prove(write_case(tmp_path / "policies")))
    spec = view.drawn.spec
    signal = dataclasses.replace(spec.states[0], unit=evil)
    view.drawn.spec = dataclasses.replace(spec, states=(signal, *spec.states[1:]))
    view = dataclasses.replace(view, receipt=dataclasses.replace(view.receipt, name="1 */ #error", assumptions=(evil,)))
    write_c(view, tmp_path / "out")
    compiled(tmp_path / "out", ["c_1_error.c"])
