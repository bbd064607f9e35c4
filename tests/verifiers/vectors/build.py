"""Small questions that prove in a fraction of a second, and the means to change one thing in the bundles that answer them."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systems import plant_json_path
from verifiers.kernel.exact import affine_exact
from verifiers.prove import Question, Verdict, verify

onnx = pytest.importorskip("onnx")
helper, numpy_helper, DOUBLE = onnx.helper, onnx.numpy_helper, onnx.TensorProto.DOUBLE
Json = dict[str, Any]


# networks -------------------------------------------------------------------------------------------------------------

def network(nodes: Sequence[Any], tensors: Mapping[str, Any], inputs: int, outputs: int) -> bytes:
    """ONNX bytes of a graph from ``x`` (1, inputs) to ``y`` (1, outputs) with float64 tensors."""
    def row(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, DOUBLE, [1, size])

    held = [numpy_helper.from_array(np.array(value, dtype=np.float64), name) for name, value in tensors.items()]
    graph = helper.make_graph(list(nodes), "g", [row("x", inputs)], [row("y", outputs)], held)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def layers(*weights: Any, activation: str = "Tanh", biases: Sequence[Any] | None = None) -> bytes:
    """ONNX bytes of ``W_k s(... s(W_1 x + b_1) ...) + b_k`` (biases zero unless given); one weight makes a linear policy."""
    nodes: list[Any] = []
    tensors: dict[str, Any] = {}
    here = "x"
    for k, weight in enumerate(weights):
        last = k == len(weights) - 1
        tensors[f"W{k}"] = weight
        arguments = [here, f"W{k}"]
        if biases is not None:
            tensors[f"b{k}"] = biases[k]
            arguments.append(f"b{k}")
        nodes.append(helper.make_node("Gemm", arguments, ["y" if last else f"z{k}"], transB=1))
        if not last:
            nodes.append(helper.make_node(activation, [f"z{k}"], [f"a{k}"]))
        here = f"a{k}"
    return network(nodes, tensors, len(weights[0][0]), len(weights[-1]))


def square_root_form(factor: Sequence[Sequence[float]], output: str | None = None) -> bytes:
    """ONNX bytes of V(x) = |L x|^2, with a final Tanh or Sigmoid where ``output`` names one."""
    n = len(factor)
    nodes = [helper.make_node("Gemm", ["x", "L"], ["z"], transB=1), helper.make_node("Mul", ["z", "z"], ["q"]),
             helper.make_node("Gemm", ["q", "one"], ["s" if output else "y"], transB=1)]
    if output:
        nodes.append(helper.make_node(output, ["s"], ["y"]))
    return network(nodes, {"L": factor, "one": np.ones((1, n))}, len(factor[0]), 1)


# questions ------------------------------------------------------------------------------------------------------------

def own_plant(nodes: Sequence[Any], outputs: Sequence[int], *, states: int, inputs: Sequence[tuple[str | None, str | None]] = (),
              dt: str | None = None, time: str = "continuous", parameters: Mapping[str, str] | None = None,
              equilibrium: Sequence[str] | None = None) -> bytes:
    """Bytes of a plant.json; ``inputs`` are pairs of limits."""
    box = {"lo": ["-10"] * states, "hi": ["10"] * states}
    data = {"format": "certctl-plant/1", "name": "own", "time": time, "dt": dt,
            "states": [{"name": f"x{i + 1}", "unit": "1", "angle": False} for i in range(states)],
            "inputs": [{"name": f"u{i + 1}", "unit": "1", "lo": lo, "hi": hi} for i, (lo, hi) in enumerate(inputs)],
            "parameters": [{"name": k, "unit": "1", "value": v} for k, v in (parameters or {}).items()],
            "equilibrium": {"x": list(equilibrium or ["0"] * states), "u": ["0"] * len(inputs)}, "domain": box,
            "nodes": [list(n) for n in nodes], "outputs": list(outputs), "reference": "written for a test"}
    return (json.dumps(data, indent=1) + "\n").encode()


def linear_plant(a: Sequence[Sequence[str]], b: Sequence[Sequence[str]] | None = None, *, time: str = "continuous", dt: str | None = None,
                 limit: str | None = None) -> bytes:
    """Bytes of ``x' = A x + B u`` (or the map ``A x + B u``) with exact coefficients; the inputs are limited to +-limit."""
    n, m = len(a), len(b[0]) if b else 0
    nodes: list[Any] = [["x", i] for i in range(n)] + [["u", j] for j in range(m)]
    outputs = []
    for i in range(n):
        total = None
        for k, q in enumerate([*a[i], *(b[i] if b else ())]):
            nodes += [["c", q], ["mul", len(nodes), k]]
            if total is not None:
                nodes.append(["add", total, len(nodes) - 1])
            total = len(nodes) - 1
        outputs.append(total)
    low = None if limit is None else f"-{limit}"
    return own_plant(nodes, outputs, states=n, inputs=[(low, limit)] * m, time=time, dt=dt)


def ask(folder: Path, text: str, *, plant: bytes | None = None, controller: bytes | None = None, lyapunov: bytes | None = None,
        name: str = "loop") -> Path:
    """Write a question: ``text`` is the requirement below the lines about plant and networks; without ``plant`` it names a shipped one."""
    folder.mkdir(parents=True, exist_ok=True)
    head = ""
    if plant is not None:
        (folder / "own.plant.json").write_bytes(plant)
        head += f'plant = {{ path = "own.plant.json", sha256 = "{hashlib.sha256(plant).hexdigest()}" }}\n'
    for key, data in (("controller", controller), ("lyapunov", lyapunov)):
        if data is not None:
            (folder / f"{key}.onnx").write_bytes(data)
            head += f'{key} = "{key}.onnx"\n'
    path = folder / f"{name}.requirement.toml"
    path.write_text(head + text, encoding="utf-8")
    return path


def box(key: str, lo: Sequence[str], hi: Sequence[str] | None = None) -> str:
    """A TOML table of a box; symmetric when only one corner is given."""
    if hi is None:
        lo, hi = [f"-{v}" for v in lo], lo
    return f"[{key}]\nlo = {json.dumps(list(lo))}\nhi = {json.dumps(list(hi))}\n"


ROA, RATE = 'property = "asymptotic_stability_roa"\n', 'property = "exponential_stability_roa"\n'
CONTINUOUS, EULER = 'time = "continuous"\n', 'time = "discrete"\ndt = "1/20"\nmethod = "euler"\n'
PENDULUM = 'plant = "pendulum"\n'
TANH = layers([[0.5, 0.1], [0.25, 0.05]], [[-3.0, -2.0]])
RELU = layers([[1.0, 0.2], [-1.0, -0.2]], [[-1.0, 1.0]], activation="Relu", biases=[[1.0, 1.0], [0.0]])
HOLD = ('[region]\nmin_radius = "1/20"\nmin_volume = "1/100"\n'
        'contains = { lo = ["-1/20", "-1/20"], hi = ["1/20", "1/20"] }\n')
SMALL = '[region]\nmin_volume = "1/100"\n'


def linear(folder: Path) -> Path:
    """A linear loop with a linear policy: the proof of kind lmi."""
    plant = linear_plant([["0", "1"], ["0", "0"]], [["0"], ["1"]])
    text = ROA + CONTINUOUS + box("domain", ["1", "1"]) + '[region]\nmin_radius = "1/10"\n'
    return ask(folder, text, plant=plant, controller=layers([[-1.0, -2.0]]))


def pendulum(folder: Path) -> Path:
    """The pendulum with a tanh policy: local proof, framed shell, all three demands on the region."""
    return ask(folder, ROA + PENDULUM + CONTINUOUS + box("domain", ["1", "4"]) + HOLD, controller=TANH)


LEVEL_NET = square_root_form([[1.0, 0.15], [0.0, 0.13]], "Tanh")


def network_shell(folder: Path) -> Path:
    """The pendulum with a named Lyapunov network and a demanded level."""
    text = ROA + PENDULUM + CONTINUOUS + box("domain", ["1", "4"]) + '[region]\nlevel = "0.1"\n' + HOLD.removeprefix("[region]\n")
    return ask(folder, text, controller=TANH, lyapunov=LEVEL_NET)


def discrete(folder: Path) -> Path:
    """The sampled pendulum with a ReLU policy."""
    return ask(folder, ROA + PENDULUM + EULER + box("domain", ["1", "4"]) + SMALL, controller=RELU)


def discrete_shell(folder: Path) -> Path:
    """The sampled pendulum with a named function: images of leaves count."""
    text = ROA + PENDULUM + EULER + box("domain", ["1", "4"]) + '[region]\nlevel = "0.1"\n' + SMALL.removeprefix("[region]\n")
    return ask(folder, text, controller=TANH, lyapunov=LEVEL_NET)


def exponential(folder: Path) -> Path:
    """The pendulum with an exponential rate."""
    return ask(folder, RATE + PENDULUM + CONTINUOUS + box("domain", ["1", "4"]) + SMALL + '[decrease]\nrate = "1/2"\n', controller=TANH)


PERTURBED = own_plant([["x", 0], ["c", "-1"], ["mul", 1, 0], ["cos", 0], ["c", "1/10"], ["mul", 3, 4], ["add", 2, 5], ["c", "-1/10"], ["add", 6, 7],
                       ["x", 1], ["c", "-2"], ["mul", 9, 10]], [8, 11], states=2)


def practical(folder: Path) -> Path:
    """A loop that is asked only to reach a target box and to stay there."""
    return ask(folder, 'property = "practical_stability"\n' + CONTINUOUS + box("domain", ["1", "1"]) + box("target", ["1/2", "1/2"]) + SMALL,
               plant=PERTURBED)


def invariance(folder: Path) -> Path:
    """A set that is never left, in continuous time."""
    return ask(folder, 'property = "forward_invariance"\n' + CONTINUOUS + box("domain", ["1", "1"]) + SMALL, plant=PERTURBED)


def sampled_invariance(folder: Path) -> Path:
    """A set that is never left, in discrete time."""
    return ask(folder, 'property = "forward_invariance"\n' + EULER + box("domain", ["1", "1"]) + SMALL, plant=PERTURBED)


def sampled_practical(folder: Path) -> Path:
    """Reach a target and stay, in discrete time."""
    return ask(folder, 'property = "practical_stability"\n' + EULER + box("domain", ["1", "1"]) + box("target", ["1/2", "1/2"]) + SMALL,
               plant=PERTURBED)


def forbid(folder: Path) -> Path:
    """The pendulum whose command must never reach the limit."""
    return ask(folder, ROA + PENDULUM + CONTINUOUS + 'saturation = "forbid"\n' + box("domain", ["1", "4"]) + SMALL, controller=TANH)


def interval(folder: Path) -> Path:
    """The pendulum with an unknown mass."""
    return ask(folder, ROA + PENDULUM + CONTINUOUS + '[parameters]\nm = ["0.149", "0.151"]\n' + box("domain", ["1", "4"]) + SMALL, controller=TANH)


def own(folder: Path) -> Path:
    """The user's own copy of the pendulum, with a box [safe] that must not be left."""
    return ask(folder, ROA + CONTINUOUS + box("domain", ["1", "4"]) + box("safe", ["4/5", "4"]) + SMALL,
               plant=plant_json_path("pendulum").read_bytes(), controller=TANH)


def biased(folder: Path) -> Path:
    """A loop that settles beside the origin, within the tolerance: its equilibrium is enclosed by a box."""
    plant = own_plant([["x", 0], ["u", 0], ["sub", 1, 0]], [2], states=1, inputs=[("-1", "1")])
    text = (ROA + CONTINUOUS + box("domain", ["1"]) + '[equilibrium]\ntolerance = ["1/20"]\n' + '[region]\nmin_volume = "1/10"\n')
    return ask(folder, text, plant=plant, controller=layers([[0.3]], [[0.2]], biases=[[0.1], [0.0]]))


SPIRAL = linear_plant([["0.64", "-0.64"], ["0.64", "0.64"]], time="discrete")


def rotation(folder: Path) -> Path:
    """A map that turns by 45 degrees and contracts little: from the corners of the domain it leaves."""
    text = ROA + 'time = "discrete"\n' + box("domain", ["1", "1"]) + '[region]\nlevel = "0.9"\n'
    return ask(folder, text, plant=SPIRAL, lyapunov=square_root_form([[1.0, 0.0], [0.0, 1.0]]))


def clipped(folder: Path) -> Path:
    """The pendulum whose command goes beyond the limit and is clipped."""
    text = ROA + PENDULUM + CONTINUOUS + '[parameters]\ntorque_limit = "2"\n' + box("domain", ["1", "4"]) + SMALL
    return ask(folder, text, controller=TANH)


def clipped_near(folder: Path) -> Path:
    """A plant that is stable by itself, whose command is clipped already near the equilibrium."""
    plant = own_plant([["x", 0], ["u", 0], ["sub", 1, 0]], [2], states=1, inputs=[("-1/10", "1/10")])
    return ask(folder, ROA + CONTINUOUS + box("domain", ["1"]) + '[region]\nmin_volume = "1/10"\n', plant=plant, controller=layers([[-1.0]]))


DATA = b"theta [rad],omega [rad/s],u [N*m]\n0,0,0\n0.1,0,-0.2\n-2e-1,1/2,0.2\n"
EXPERT = layers([[-2.0, -0.4]])


def named(key: str, name: str, data: bytes) -> str:
    """A TOML line that names a file with its sha256."""
    return f'{key} = {{ path = "{name}", sha256 = "{hashlib.sha256(data).hexdigest()}" }}\n'


def imitation(folder: Path) -> Path:
    """The sampled pendulum under a policy that imitates a linear expert, with measurement errors: every bound is demanded."""
    text = ('property = "imitation_iss"\n' + PENDULUM + EULER + box("domain", ["1", "4"]) + box("target", ["1/4", "1/2"]) + SMALL
            + '[attack]\nsize = "1/100"\nnorm = "l2"\n[expert]\n' + named("file", "expert.onnx", EXPERT) + 'error = "3/4"\n[data]\n'
            + named("file", "data.csv", DATA) + 'error = "1/20"\n[regret]\nQ = ["1", "1"]\nR = ["1"]\nbound = "1"\n')
    found = ask(folder, text, controller=TANH)
    (folder / "expert.onnx").write_bytes(EXPERT)
    (folder / "data.csv").write_bytes(DATA)
    return found


def imitated_gain(folder: Path) -> Path:
    """The same in continuous time, for an expert that is a gain, and without data."""
    text = ('property = "imitation_iss"\n' + PENDULUM + CONTINUOUS + box("domain", ["1", "4"]) + box("target", ["1/4", "1/2"]) + SMALL
            + '[attack]\nsize = "1/100"\nnorm = "l2"\n[expert]\nkind = "lqr"\ngain = [["2", "2/5"]]\nerror = "3/4"\n')
    return ask(folder, text, controller=TANH)


def gain(folder: Path) -> Path:
    """A gain from a disturbance, in a loop with a policy: proved by one matrix inequality with multipliers."""
    nodes = [["x", 0], ["x", 1], ["u", 0], ["p", "w"], ["neg", 0], ["sub", 4, 1], ["add", 5, 2], ["add", 6, 3], ["p", "v"], ["add", 1, 8]]
    plant = own_plant(nodes, [9, 7], states=2, inputs=[("-20", "20")], parameters={"w": "0", "v": "0"})
    text = ('property = "l2_gain"\n' + CONTINUOUS + '[parameters]\nw = ["-1", "1"]\nv = ["-1/2", "1/2"]\n' + box("domain", ["5", "5"])
            + '[gain]\nvalue = "6"\nenergy = "1/10"\noutput = { x1 = "1" }\n[region]\n')
    return ask(folder, text, plant=plant, controller=layers([[0.5, 0.25], [0.25, 0.5]], [[-1.0, -0.5]]))


def kept(folder: Path) -> Path:
    """A set that a disturbed linear map never leaves, by one matrix inequality."""
    nodes = [["c", "4/5"], ["c", "1/2"], ["x", 0], ["x", 1], ["p", "w"], ["mul", 0, 2], ["mul", 1, 3], ["add", 5, 6], ["mul", 0, 3], ["mul", 1, 2],
             ["sub", 8, 9], ["add", 10, 4], ["p", "v"], ["add", 7, 12]]
    plant = own_plant(nodes, [13, 11], states=2, time="discrete", parameters={"w": "0", "v": "0"})
    text = ('property = "forward_invariance"\ntime = "discrete"\n[parameters]\nw = ["-1/4", "1/5"]\nv = ["-1/50", "1/50"]\n'
            + box("domain", ["10", "10"]) + '[region]\nmin_volume = "10"\n[prover]\nmethod = "sector"\n')
    return ask(folder, text, plant=plant)


CUBIC = own_plant([["x", 0], ["mul", 0, 0], ["mul", 1, 0], ["sub", 2, 0]], [3], states=1)
SOS = ROA + CONTINUOUS + box("domain", ["9/10"]) + '[region]\nmin_volume = "1"\n[prover]\nmethod = "sos"\ndegree = '


def whole_quadratic(folder: Path) -> Path:
    """x' = -x + x^3 with a quadratic that decreases on its whole level set, by sums of squares."""
    return ask(folder, SOS + "2\n", plant=CUBIC)


def whole_named(folder: Path) -> Path:
    """The same with a named function, whose level set is shown not to touch the boundary by a tree."""
    text = ROA + CONTINUOUS + box("domain", ["9/10"]) + '[region]\nlevel = "1/2"\n[prover]\nmethod = "sos"\n'
    return ask(folder, text, plant=CUBIC, lyapunov=square_root_form([[1.0]]))


FOUR = linear_plant([["-1", "2", "0", "0"], ["-2", "-1", "0", "1/5"], ["0", "0", "-1", "1"], ["3/10", "0", "-1", "-1"]])


def turned_shell(folder: Path) -> Path:
    """Four states and a named function: tree and volume along the region's own axes."""
    text = ROA + CONTINUOUS + box("domain", ["1"] * 4) + '[region]\nlevel = "1/2"\n' + SMALL.removeprefix("[region]\n")
    function = square_root_form([[1.0, 0.25, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.125, 1.0, 0.0], [0.125, 0.0, 0.0, 1.0]])
    return ask(folder, text, plant=FOUR, lyapunov=function)


BASES: dict[str, Callable[[Path], Path]] = {f.__name__: f for f in (
    linear, pendulum, network_shell, discrete, discrete_shell, exponential, practical, sampled_practical, invariance, sampled_invariance, forbid,
    interval, own, biased, rotation, clipped, clipped_near, imitation, imitated_gain, gain, kept, whole_quadratic,
    whole_named, turned_shell)}


def prove(requirement: Path, out: Path | None = None, budget: float = 30.0) -> Verdict:
    """``verify`` in this process."""
    return verify(requirement, out, budget=budget, workers=1)


def exact_matrix(question: Question) -> list[list[Fraction]]:
    """The matrix of a linear loop, exact."""
    found = affine_exact(question.setting().loop.field)
    if found is None:
        raise ValueError("the loop is not linear")
    return [list(row) for row in found[0]]


# changing one thing ---------------------------------------------------------------------------------------------------

class Twin:
    """A copy of a question with its bundle, to be changed in one place.

    Attributes
    ----------
    requirement, bundle : Path
        The caller's requirement and the bundle that answers it.
    certificate : dict
        certificate.json as it will be written by :meth:`save`.
    files : dict
        Bytes of the other files of the bundle, by name.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        shutil.copytree(source, folder)
        self.folder, self.requirement, self.bundle = folder, folder / "loop.requirement.toml", folder / "loop.cert"
        self.certificate: Json = json.loads((self.bundle / "certificate.json").read_bytes())
        self.files = {p.relative_to(self.bundle).as_posix(): p.read_bytes() for p in sorted(self.bundle.rglob("*"))
                      if p.is_file() and p.name != "certificate.json"}

    @property
    def predicate(self) -> Json:
        """The predicate of the statement."""
        found: Json = self.certificate["predicate"]
        return found

    @property
    def claim(self) -> Json:
        """The claim."""
        found: Json = self.predicate["claim"]
        return found

    def proof(self, identifier: str) -> Json:
        """The proof of an obligation."""
        found: Json = next(o["proof"] for o in self.predicate["obligations"] if o["id"] == identifier)
        return found

    def tree(self, identifier: str, change: Callable[[bytes], bytes]) -> None:
        """Change the tree of an obligation."""
        name = self.proof(identifier)["tree"]["name"]
        old, self.files[name] = self.files[name], change(self.files[name])
        if self.files[name] == old:
            raise ValueError("the change changes nothing")

    def drop(self, identifier: str) -> None:
        """Leave an obligation out, with its file."""
        proof = self.proof(identifier)
        self.predicate["obligations"] = [o for o in self.predicate["obligations"] if o["id"] != identifier]
        if "tree" in proof:
            del self.files[proof["tree"]["name"]]

    def add(self, identifier: str, proof: Json) -> None:
        """Bring one proof more."""
        self.predicate["obligations"].append({"id": identifier, "proof": copy.deepcopy(proof)})

    def level(self, identifier: str, text: str) -> None:
        """Claim another level of the stage that is claimed."""
        self.proof(identifier)["level"] = text
        self.claim["region"]["level"] = text

    def ask(self, change: Callable[[str], str]) -> None:
        """Change the requirement, the caller's and the embedded copy alike."""
        text = change(self.requirement.read_text(encoding="utf-8"))
        if text.encode() == self.files["requirement.toml"]:
            raise ValueError("the change changes nothing")
        self.requirement.write_text(text, encoding="utf-8")
        self.files["requirement.toml"] = text.encode()

    def save(self, digests: bool = True) -> None:
        """Write the bundle; with ``digests`` every reference gets the digest of the file that it names, as a forger would do it."""
        if digests:
            for item in _objects(self.certificate):
                data = self.files.get(item.get("name", "")) if isinstance(item.get("name"), str) else None
                if data is not None:
                    digest = hashlib.sha256(data).hexdigest()
                    if "sha256" in item:
                        item["sha256"] = digest
                    if "bytes" in item:
                        item["bytes"] = len(data)
                    if "digest" in item:
                        item["digest"] = {"sha256": digest}
        shutil.rmtree(self.bundle)
        for name, data in self.files.items():
            (self.bundle / name).parent.mkdir(parents=True, exist_ok=True)
            (self.bundle / name).write_bytes(data)
        (self.bundle / "certificate.json").write_text(json.dumps(self.certificate), encoding="utf-8")


def _objects(value: Any) -> list[Json]:
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in _objects(item))]
    if isinstance(value, list):
        return [found for item in value for found in _objects(item)]
    return []
