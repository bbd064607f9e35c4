"""An accepted bundle as JSON, ONNX, CasADi, python-control and PyTorch: each computes what the graph says, and nothing refused is written."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from small_bundles import prove, sha256_of, swap_controller, tamper_level, write_case

from certctl.bridges.c_code import NotAccepted
from certctl.bridges.models import FORMATS, write_models
from certctl.cli.main import run
from certctl.view import View, open_view
from verifiers.kernel.graph import Affine, Builder, Graph, affine_from_rational
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate
from verifiers.load.plant import clipped_command, plant_graph
from verifiers.load.to_casadi import to_casadi

X = np.random.default_rng(0).uniform(-2, 2, (50, 2)) * 4
F = Fraction


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prove(write_case(tmp_path_factory.mktemp("models") / "policies"))


@pytest.fixture(scope="module")
def view(bundle: Path) -> View:
    return open_view(bundle)


def module(path: Path) -> ModuleType:
    """A generated file, imported."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def every_operation() -> Graph:
    """A graph that has each operator once, with a constant in a concatenation and a rational weight."""
    b = Builder()
    x = b.input(2)
    y = b.affine(x, affine_from_rational([[F(1, 3), F(2)], [F(-1), F(1, 7)]], [F(0), F(1, 9)]))
    parts = [b.unary(op, y) for op in ("tanh", "sigmoid", "softplus", "sin", "cos", "abs", "relu", "neg", "atan")]
    square = b.binary("add", b.unary("pow", y, 2), b.const([F(1, 2)]))
    parts += [b.unary("sqrt", square), b.unary("log", square), b.unary("exp", b.unary("tanh", y)), b.unary("leaky_relu", y, F(1, 10)),
              b.unary("pow", y, 3), b.binary("div", y, square),
              b.binary("min", x, y), b.binary("max", x, y), b.binary("sub", x, y), b.binary("mul", x, y),
              b.const([F(1, 3), (F(0), F(1))]), b.take(y, (1, 0, 1))]
    joined = b.concat(parts)
    return b.build([b.affine(joined, Affine(np.eye(b.size(joined)), np.zeros(b.size(joined))))])


def loop_graphs(view: View) -> dict[str, Graph]:
    control = clipped_command(view.drawn.loop)
    assert control is not None
    return {"command": view.drawn.loop.command, "control_law": control, "closed_loop": view.drawn.loop.field, "stage0": view.stages[0].graph}


def test_casadi_functions_are_the_graphs(view, tmp_path):
    ca = pytest.importorskip("casadi")
    written = {path.stem.removeprefix("loop_"): ca.Function.load(str(path)) for path in write_models(view, "casadi", tmp_path)}
    for name, graph in loop_graphs(view).items():
        assert np.abs(np.array(written[name](X.T)).T - evaluate(graph, X)).max() <= 1e-12
    graph = every_operation()
    assert np.abs(np.array(to_casadi(graph)(X.T)).T - evaluate(graph, X)).max() <= 1e-12


def test_the_control_module_is_the_loop(view, tmp_path):
    control = pytest.importorskip("control")
    made = module(write_models(view, "control", tmp_path)[0])
    for name, graph in loop_graphs(view).items():
        assert np.abs(getattr(made, name)(X) - evaluate(graph, X)).max() <= 1e-12
    joined = control.interconnect([made.plant(), made.controller()], inputs=[], outputs=["x1", "x2"])
    field = evaluate(view.drawn.loop.field, X)
    for x, expected in zip(X, field, strict=True):
        assert np.abs(joined.dynamics(0.0, x, []) - expected).max() <= 1e-12 and np.abs(made.loop().dynamics(0.0, x, []) - expected).max() <= 1e-12
    plant = plant_graph(view.drawn.spec, view.drawn.requirement.parameters)
    assert np.abs(made.plant().dynamics(0.0, X[0], [99.0]) - evaluate(plant, X[0], np.array([10.0]))).max() <= 1e-12
    assert made.ABOUT["bundle_sha256"] == view.receipt.bundle_digest


def test_the_torch_module_is_the_controller(view, tmp_path):
    path = write_models(view, "torch", tmp_path)[0]
    assert view.receipt.bundle_digest in path.read_text(encoding="utf-8")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here (the extra learn brings it)")
    made = module(path)
    for name, graph in loop_graphs(view).items():
        assert np.abs(getattr(made, name)(torch.tensor(X)).numpy() - evaluate(graph, X)).max() <= 1e-12
    x = torch.tensor(X, requires_grad=True)
    made.Controller()(x).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("form", ["control", "torch"])
def test_python_source_has_every_operation(form, tmp_path):
    from certctl.bridges.python_source import NUMPY, TORCH, python_function

    dialect = {"control": NUMPY, "torch": TORCH}[form]
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here") if form == "torch" else None
    graph = every_operation()
    text = "\n\n".join([dialect.imports, dialect.joined, python_function(graph, "f", ["x"], dialect, "Every operation.")])
    (tmp_path / "every.py").write_text(text, encoding="utf-8")
    f = module(tmp_path / "every.py").f
    found = f(X) if torch is None else f(torch.tensor(X)).numpy()
    assert np.abs(found - evaluate(graph, X)).max() <= 1e-12


def test_onnx_is_the_checked_file_and_the_exact_function(view, bundle, tmp_path):
    controller, stage = write_models(view, "onnx", tmp_path)
    assert sha256_of(controller) == view.receipt.controller_sha256
    assert np.abs(evaluate(read_onnx(stage.read_bytes()).graph, X) - evaluate(view.stages[0].graph, X)).max() <= 1e-12


def test_json_says_what_is_claimed_with_exact_numbers(view, tmp_path):
    content = json.loads(write_models(view, "json", tmp_path)[0].read_text(encoding="utf-8"))
    assert content["format"] == "certctl-deployed/1" and content["bundle_sha256"] == view.receipt.bundle_digest
    assert content["inputs"] == [{"name": "u", "unit": "1/s^2", "lo": "-10", "hi": "10"}]
    assert content["region"] == [{"function": "stage0", "name": "P", "level": "1/20"}] and content["domain"]["lo"] == ["-2", "-2"]
    nodes = content["functions"]["stage0"]["nodes"]
    assert [node["op"] for node in nodes][:2] == ["input", "affine"] and all(len(node["args"]) <= 2 for node in nodes)
    assert content["claim"].startswith("Every trajectory") and content["not_claimed"]


@pytest.mark.threat("T21")
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_nothing_is_written_from_a_refused_bundle(form, tmp_path, capsys):
    bundle = prove(write_case(tmp_path / "policies"))
    tamper_level(bundle, "1")
    (bundle / "check.json").write_text('{"outcome": "ACCEPTED"}', encoding="utf-8")
    with pytest.raises(NotAccepted):
        write_models(open_view(bundle), form, tmp_path / "out")
    assert run(["export", str(bundle), "--format", form, "-o", str(tmp_path / "out")]) == 1
    assert "REFUSED" in capsys.readouterr().out and not (tmp_path / "out").exists()


@pytest.mark.threat("T17")
def test_a_controller_that_is_exchanged_after_the_check_is_not_written(tmp_path):
    from certctl.api import NotDeployable

    bundle = prove(write_case(tmp_path / "policies"))
    view = open_view(bundle)
    swap_controller(bundle, b"other bytes")
    with pytest.raises(NotDeployable, match="changed after"):
        write_models(view, "onnx", tmp_path / "out")


@pytest.mark.parametrize("form", ["control", "torch"])
def test_a_name_in_the_bundle_cannot_become_code(view, form, tmp_path):
    evil = 'P\\"""\nraise SystemExit("run")\n"""'
    stages = tuple(dataclasses.replace(stage, function=evil) for stage in view.stages)
    receipt = dataclasses.replace(view.receipt, name=evil, assumptions=(evil,), region={**view.receipt.region, "function": evil})
    path = write_models(dataclasses.replace(view, stages=stages, receipt=receipt), form, tmp_path)[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    assert "raise SystemExit" in (ast.get_docstring(tree) or "")


@pytest.mark.parametrize("form", ["c", "json", "onnx", "casadi", "control", "torch"])
def test_the_command_writes_and_says_so(form, bundle, tmp_path, capsys):
    if form == "casadi":
        pytest.importorskip("casadi")
    assert run(["export", str(bundle), "--format", form, "-o", str(tmp_path / "out"), "--output-format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["outcome"] == "PROVED" and said["files"] and all(Path(path).is_file() for path in said["files"])
    assert run(["export", str(bundle), "--format", form, "-o", str(bundle / "out")]) == 2
    assert run(["export", str(bundle), "--format", form, "--dialect", "dreal"]) == 2
