"""The other bridges out: an accepted bundle as JSON, ONNX, CasADi functions, a python-control module, or a PyTorch module.

Every file is written from bytes that the kernel has just hashed and accepted, and names the bundle's digest.  None of them is evidence: they carry
the loop and its functions to other tools, in float64, and unknown constants stand at the middle of their interval there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from certctl.api import controller_bytes
from certctl.bridges.c_code import NotAccepted, certified_stages, comment, identifier, write_c
from certctl.bridges.python_source import NUMPY, TORCH, Dialect, python_function
from certctl.report.words import not_claimed, statement
from certctl.view import View
from verifiers.kernel.graph import Graph, Node
from verifiers.load.plant import clipped_command, middle, plant_graph
from verifiers.load.to_casadi import to_casadi
from verifiers.load.to_onnx import to_onnx


def write_models(view: View, form: str, folder: Path) -> list[Path]:
    """Write an accepted bundle in another form.

    Parameters
    ----------
    view : View
        An opened bundle that the kernel accepted.
    form : str
        One of ``FORMATS``.
    folder : Path
        Where to; made when it is missing.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    NotAccepted
        When the kernel did not accept the bundle.
    ImportError
        When the form needs a package that is not installed.
    """
    if not view.is_certified or not (view.stages or (form == "c" and view.law is not None)):
        raise NotAccepted(f"the kernel says {view.receipt.outcome} ({view.receipt.code or view.receipt.property}); only an accepted bundle of a "
                          "loop is exported in this form, and an explicit law as C")
    folder.mkdir(parents=True, exist_ok=True)
    return FORMATS[form](view, folder)


def _graphs(view: View) -> dict[str, tuple[Graph, list[str], str]]:
    """Graph, names of arguments, and sentence of each function that is exported."""
    setting = view.drawn
    found = {}
    if setting.loop.command is not None and (control := clipped_command(setting.loop)) is not None:
        found["command"] = (setting.loop.command, ["x"], "The controller's own output, before any limit.")
        found["control_law"] = (control, ["x"], "The command within the input limits, as the proved loop applies it.")
    plant = plant_graph(setting.spec, setting.requirement.parameters)
    kinds = "x' in continuous time, the next x in discrete time"
    found["plant_rhs"] = (plant, ["x", "u"][:len(plant.input_sizes)], f"The plant's own right side: {kinds}.")
    found["closed_loop"] = (setting.loop.field, ["x"], f"The loop of the proof: {kinds}.")
    for k, stage in enumerate(certified_stages(view)):
        found[f"stage{k}"] = (stage.graph, ["x"], f"{stage.function}; certified where it is at most {stage.level} and x lies in the domain.")
    return found


def description(view: View) -> dict[str, Any]:
    """Claim, signals with units and limits, domain and region of an accepted bundle, as plain data with exact numbers as strings."""
    setting, receipt = view.drawn, view.receipt
    limits = [[None if e is None else list(map(str, e)) if e[0] != e[1] else str(e[0]) for e in ends] for ends in setting.loop.limits]
    return {
        "bundle_sha256": receipt.bundle_digest, "controller_sha256": receipt.controller_sha256, "name": receipt.name, "property": receipt.property,
        "level": receipt.level, "claim": statement(view), "not_claimed": not_claimed(view), "assumptions": list(receipt.assumptions),
        "time": setting.requirement.time, "dt": None if setting.requirement.dt is None else str(setting.requirement.dt),
        "states": [{"name": s.name, "unit": s.unit} for s in setting.spec.states],
        "inputs": [{"name": s.name, "unit": s.unit, "lo": lo, "hi": hi} for s, (lo, hi) in zip(setting.spec.inputs, limits, strict=True)],
        "domain": {"lo": list(map(str, setting.lo)), "hi": list(map(str, setting.hi))}, "equilibrium": receipt.equilibrium,
        "region": [{"function": f"stage{k}", "name": s.function, "level": str(s.level)} for k, s in enumerate(certified_stages(view))]}


def graph_data(graph: Graph) -> dict[str, Any]:
    """A graph as plain data: nodes in order, numbers of affine maps as floats where these are exact and as fractions elsewhere."""
    def data(node: Node) -> Any:
        if node.op == "affine":
            weight, bias = node.data.exact or (node.data.weight.tolist(), node.data.bias.tolist())
            exact = node.data.exact is not None
            return {"weight": [[str(w) if exact else w for w in row] for row in weight], "bias": [str(c) if exact else c for c in bias]}
        if node.op == "const":
            return [str(lo) if lo == hi else [str(lo), str(hi)] for lo, hi in node.data]
        return str(node.data) if isinstance(node.data, Fraction) else list(node.data) if isinstance(node.data, tuple) else node.data

    nodes = [{"op": n.op, "args": list(n.args), "size": n.size, **({} if n.data is None else {"data": data(n)})} for n in graph.nodes]
    return {"inputs": list(graph.input_sizes), "nodes": nodes, "outputs": list(graph.outputs)}


def _write_json(view: View, folder: Path) -> list[Path]:
    path = folder / f"{identifier(view.receipt.name)}.json"
    content = {"format": "certctl-deployed/1", **description(view), "functions": {name: graph_data(g) for name, (g, _, _) in _graphs(view).items()}}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return [path]


def _write_onnx(view: View, folder: Path) -> list[Path]:
    """The controller is the very file of the bundle; the region's functions are exact in real arithmetic."""
    written, sha = [], view.receipt.controller_sha256
    if sha is not None and view.drawn.loop.command is not None:
        written.append(folder / f"{identifier(view.receipt.name)}.onnx")
        written[-1].write_bytes(controller_bytes(view.path, sha, view.receipt))
    for k, stage in enumerate(certified_stages(view)):
        written.append(folder / f"{identifier(view.receipt.name)}_stage{k}.onnx")
        written[-1].write_bytes(to_onnx(stage.graph))
    return written


def _write_casadi(view: View, folder: Path) -> list[Path]:
    written = []
    for name, (graph, arguments, _) in _graphs(view).items():
        path = folder / f"{identifier(view.receipt.name)}_{name}.casadi"
        to_casadi(graph, name, arguments, ["y"]).save(str(path))
        written.append(path)
    return written


def _module(view: View, dialect: Dialect, end: str) -> str:
    about = description(view)
    head = (f'"""{_doc(about["name"])}: written by certctl from bundle sha256 {about["bundle_sha256"]}; do not edit.\n\n{_doc(about["claim"])}\n\n'
            "Every function takes points (..., n) in the units listed in ABOUT and returns (..., m), in float64.\n"
            'It is no evidence and no monitor.\n"""\n')
    functions = [python_function(graph, name, arguments, dialect, _doc(doc)) for name, (graph, arguments, doc) in _graphs(view).items()]
    about_text = "import json\n\n" + f"ABOUT = json.loads({json.dumps(about)!r})\n"
    imports = dialect.imports + ("\nimport control" if dialect is NUMPY else "")
    parts = [f"{head}\n{imports}", about_text, dialect.joined, *functions, end]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _doc(text: object) -> str:
    """Text that cannot end a docstring: a name in a bundle is a stranger's."""
    return comment(text).replace('"', "'")


_CONTROL = """
_STATES, _INPUTS = [s["name"] for s in ABOUT["states"]], [s["name"] for s in ABOUT["inputs"]]
_PLANT_DT, _LOOP_DT = {plant_dt!r}, {loop_dt!r}


def plant():
    \"\"\"The plant with full state output; it clips its inputs.\"\"\"
    def update(t, x, u, params):
        return {rhs}

    return control.NonlinearIOSystem(update, None, name="plant", states=_STATES, inputs=_INPUTS, outputs=_STATES, dt=_PLANT_DT)


def loop():
    \"\"\"The loop of the proof, without inputs.\"\"\"
    return control.NonlinearIOSystem(lambda t, x, u, params: closed_loop(np.asarray(x, dtype=float)), None, name="loop", states=_STATES, inputs=0,
                                     outputs=_STATES, dt=_LOOP_DT)
"""
_CONTROLLER = """

def controller():
    \"\"\"The controller as a static system from states to commands.\"\"\"
    return control.NonlinearIOSystem(None, lambda t, x, u, params: control_law(np.asarray(u, dtype=float)), name="controller",
                                     inputs=_STATES, outputs=_INPUTS, dt=_LOOP_DT)
"""
_TORCH = """
class Controller(torch.nn.Module):
    \"\"\"The command within the input limits; take ``command`` for the controller's own output.\"\"\"

    def forward(self, x):
        return control_law(x.to(torch.float64))
"""


def _write_control(view: View, folder: Path) -> list[Path]:
    setting = view.drawn
    low, high = ([free if (q := middle(ends[k])) is None else float(q) for ends in setting.loop.limits]
                 for k, free in ((0, -math.inf), (1, math.inf)))
    clip = f"np.clip(np.asarray(u, dtype=float), {_numbers(low)}, {_numbers(high)})"
    rhs = f"plant_rhs(np.asarray(x, dtype=float), {clip})" if setting.spec.inputs else "plant_rhs(np.asarray(x, dtype=float))"
    dt = setting.requirement.dt
    loop_dt: Any = 0 if setting.requirement.time == "continuous" else True if dt is None else float(dt)
    plant_dt: Any = 0 if setting.spec.time == "continuous" else True if setting.spec.dt is None else float(setting.spec.dt)
    end = _CONTROL.format(rhs=rhs, plant_dt=plant_dt, loop_dt=loop_dt)
    if setting.loop.command is not None:
        end += _CONTROLLER
    path = folder / f"{identifier(view.receipt.name)}_control.py"
    path.write_text(_module(view, NUMPY, end), encoding="utf-8")
    return [path]


def _numbers(values: list[float]) -> str:
    return "[" + ", ".join("np.inf" if v == math.inf else "-np.inf" if v == -math.inf else repr(v) for v in values) + "]"


def _write_torch(view: View, folder: Path) -> list[Path]:
    path = folder / f"{identifier(view.receipt.name)}_torch.py"
    path.write_text(_module(view, TORCH, _TORCH if view.drawn.loop.command is not None else ""), encoding="utf-8")
    return [path]


FORMATS: dict[str, Callable[[View, Path], list[Path]]] = {
    "c": write_c, "json": _write_json, "onnx": _write_onnx, "casadi": _write_casadi, "control": _write_control, "torch": _write_torch}
