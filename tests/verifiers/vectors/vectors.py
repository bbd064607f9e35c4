"""The table of one-fault twins: in each, one thing is false in an otherwise true bundle, and the kernel's answer is known by its code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import build
from build import Twin
from dissipations import FAULTS

from verifiers.kernel.codes import Code
from verifiers.kernel.tree import LEAF, TAYLOR


@dataclass(frozen=True)
class Vector:
    """A fault: the base bundle, what is changed, and the code that must answer.

    Attributes
    ----------
    digests : bool
        Digests are recomputed after the change, as a forger would do it.
    after : callable or None
        What is changed on disk after the bundle was written: (twin) -> None.
    """

    name: str
    base: str
    code: Code
    change: Callable[[Twin], object] = field(repr=False, default=lambda twin: None)
    digests: bool = True
    after: Callable[[Twin], object] | None = field(repr=False, default=None)


def put(table: dict[str, Any], key: str, value: Any) -> None:
    """``table[key] = value`` as an expression; the key must exist, so that a fault is a change and not an addition."""
    if table[key] == value:
        raise ValueError(f"{key} has this value already")
    table[key] = value


def leaf(old: int) -> re.Pattern[bytes]:
    """Leaves of one tag, whichever way their bounds are found (nodes that split are below 64)."""
    return re.compile(b"[" + re.escape(bytes([LEAF + old])) + re.escape(bytes([LEAF + TAYLOR + old])) + b"]")


def framed(frame: list[list[str]], leaf: int = LEAF + TAYLOR + 3) -> Callable[[Twin], object]:
    """The volume as one box of a frame that counts in part."""
    return lambda t: (t.proof("volume").update(frame=frame), t.tree("volume", lambda _: bytes([leaf])))


def cut_domain(t: Twin) -> object:
    """A domain that the level set leaves, claimed and required alike."""
    ends = ["1", "7/10", "1", "1"]
    said(build.box("domain", ["1"] * 4), build.box("domain", ends))(t)
    return put(t.claim, "domain", {"lo": [f"-{v}" for v in ends], "hi": ends})


def sheared(frame: list[list[str]]) -> list[list[str]]:
    """Other axes: the last one added to the first twice."""
    return [[str(Fraction(row[0]) + 2 * Fraction(row[-1])), *row[1:]] for row in frame]


def turned_invariance(t: Twin) -> object:
    """The same tree for a set that is never left."""
    t.ask(lambda s: s.replace("asymptotic_stability_roa", "forward_invariance"))
    put(t.claim, "property", "forward_invariance")
    return [t.drop(name) for name in ("equilibrium", "local")]


def retag(old: int, new: int) -> Callable[[bytes], bytes]:
    """Give the first leaf of one tag another tag."""
    return lambda data: leaf(old).sub(lambda found: bytes([found[0][0] - old + new]), data, count=1)


def middle(old: int, new: int) -> Callable[[bytes], bytes]:
    """Give all leaves of one tag another one."""
    return lambda data: leaf(old).sub(lambda found: bytes([found[0][0] - old + new]), data)


def by(method: int) -> Callable[[bytes], bytes]:
    """Let all leaves be shown in another way: 0 by interval jets, TAYLOR by Taylor models."""
    return lambda data: bytes(byte if byte < LEAF else byte % TAYLOR + LEAF + method for byte in data)


def refine(old: int, new: int, depth: int = 10) -> Callable[[bytes], bytes]:
    """Replace all leaves of one tag by many small ones of another tag (two dimensions)."""
    def grown(level: int, method: int) -> bytes:
        return bytes([method + new]) if level == depth else bytes([level % 2]) + 2 * grown(level + 1, method)
    return lambda data: leaf(old).sub(lambda found: grown(0, found[0][0] - old), data)


def said(old: str, new: str) -> Callable[[Twin], None]:
    """Change a text of the requirement, the caller's and the embedded one alike."""
    return lambda twin: twin.ask(lambda text: text.replace(old, new))


def plant(change: Callable[[dict[str, Any]], object]) -> Callable[[Twin], None]:
    """Change the user's plant everywhere: file, embedded copy and digest in the requirement."""
    def apply(twin: Twin) -> None:
        data = json.loads(twin.files["plant.json"])
        change(data)
        old = build.hashlib.sha256(twin.files["plant.json"]).hexdigest()
        twin.files["plant.json"] = json.dumps(data).encode()
        (twin.folder / "own.plant.json").write_bytes(twin.files["plant.json"])
        twin.ask(lambda text: text.replace(old, build.hashlib.sha256(twin.files["plant.json"]).hexdigest()))
    return apply


def controller(data: bytes) -> Callable[[Twin], None]:
    """Another controller, in the bundle and beside the requirement."""
    def apply(twin: Twin) -> None:
        twin.files["controller.onnx"] = data
        (twin.folder / "controller.onnx").write_bytes(data)
    return apply


def scaled(matrix: list[list[str]], factor: int) -> list[list[str]]:
    """A matrix of texts times an integer."""
    return [[str(Fraction(v) * factor) for v in row] for row in matrix]


def other_function(twin: Twin) -> None:
    """The level set of a function that nobody named: the true proof of a smaller set, with the caller's own file as a decoy."""
    twin.files["fake.onnx"] = twin.files["lyapunov.onnx"]
    real = build.square_root_form([[0.9, 0.1], [0.0, 0.12]], "Tanh")
    twin.files["lyapunov.onnx"] = real
    (twin.folder / "lyapunov.onnx").write_bytes(real)
    functions = twin.predicate["functions"]
    functions["decoy"] = dict(functions["V"])
    functions["V"]["name"] = "fake.onnx"


def same_set_other_kind(twin: Twin) -> None:
    """The level demanded of the network is claimed of the quadratic."""
    for name in ("shell-1", "contains", "radius", "volume"):
        twin.drop(name)
    del twin.predicate["functions"]["V"]
    del twin.files["lyapunov.onnx"]
    (twin.folder / "lyapunov.onnx").unlink()
    put(twin.claim["region"], "function", "Q")
    twin.proof("local")["level"] = twin.claim["region"]["level"]
    for name, kind in (("contains", "evaluation"), ("radius", "lmi"), ("volume", "evaluation")):
        twin.add(name, {"kind": kind})


def imitated(twin: Twin) -> dict[str, Any]:
    """What the claim says of expert, data and measurement errors."""
    found: dict[str, Any] = twin.claim["imitation"]
    return found


def part(twin: Twin, key: str, name: str, data: bytes) -> None:
    """Another expert or data set everywhere: in the bundle, beside the requirement, and in the digests of requirement and claim."""
    old, new = (build.hashlib.sha256(v).hexdigest() for v in (twin.files[name], data))
    twin.files[name] = data
    (twin.folder / name).write_bytes(data)
    said(old, new)(twin)
    put(imitated(twin), key, new)


def negative(twin: Twin) -> None:
    """V becomes -V, everywhere."""
    data = build.network(
        [build.helper.make_node("Gemm", ["x", "L"], ["z"], transB=1), build.helper.make_node("Mul", ["z", "z"], ["q"]),
         build.helper.make_node("Gemm", ["q", "one"], ["s"], transB=1), build.helper.make_node("Tanh", ["s"], ["y"])],
        {"L": [[1.0, 0.15], [0.0, 0.13]], "one": [[-1.0, -1.0]]}, 2, 1)
    twin.files["lyapunov.onnx"] = data
    (twin.folder / "lyapunov.onnx").write_bytes(data)


def forbidden(twin: Twin) -> None:
    """Clipping is forbidden, although the command needs it."""
    twin.ask(lambda text: text.replace("[domain]", 'saturation = "forbid"\n[domain]') if "[parameters]" not in text
             else text.replace("[parameters]", 'saturation = "forbid"\n[parameters]'))
    put(twin.claim, "saturation", "forbid")


def inner_above(twin: Twin) -> None:
    """The set in which trajectories end is as large as the region, and all else holds."""
    twin.ask(lambda text: text.replace(build.box("target", ["1/2", "1/2"]), build.box("target", ["2", "9/10"])))
    twin.level("shell-1", "3/10")
    put(twin.proof("inner"), "level", "3/10")
    twin.tree("shell-1", refine(0, 0, 6))


def bumped(data: dict[str, Any]) -> None:
    """Close to the origin, and only there, the loop is thrown far away: 2000 max(0, 1/10 - |x1| - |x2|) is added to the first derivative."""
    k = len(data["nodes"])
    data["nodes"] += [["x", 0], ["abs", k], ["x", 1], ["abs", k + 2], ["add", k + 1, k + 3], ["c", "1/10"], ["sub", k + 5, k + 4], ["relu", k + 6],
                      ["c", "2000"], ["mul", k + 7, k + 8], ["add", data["outputs"][0], k + 9]]
    data["outputs"][0] = k + 10


def huge(data: dict[str, Any]) -> None:
    """A coefficient that no float64 holds."""
    k = len(data["nodes"])
    data["nodes"] += [["c", "1" + "0" * 350], ["mul", k, 0], ["add", data["outputs"][0], k + 1]]
    data["outputs"][0] = k + 2


def shifted(data: dict[str, Any]) -> None:
    """The plant drifts: its first derivative gets an offset."""
    data["nodes"] += [["c", "1/100"], ["add", data["outputs"][0], len(data["nodes"])]]
    data["outputs"][0] = len(data["nodes"]) - 1


NAN = float("nan")
C = Code
VECTORS: list[Vector] = [
    *(Vector(*fault) for fault in FAULTS),
    # the claim is not what is required (T03, T04)
    *(Vector(f"claim-{key}", base, C.CLAIM_MISMATCH, lambda t, key=key, value=value: put(t.claim, key, value)) for base, key, value in (
        ("pendulum", "property", "exponential_stability_roa"), ("pendulum", "time", "discrete"), ("discrete", "dt", "1/100"),
        ("discrete", "method", "rk4"), ("pendulum", "saturation", "forbid"), ("exponential", "rate", "1/4"), ("pendulum", "arithmetic", "float32"),
        ("pendulum", "domain", {"lo": ["-2", "-4"], "hi": ["2", "4"]}))),
    Vector("claim-parameter", "pendulum", C.CLAIM_MISMATCH, lambda t: put(t.claim["parameters"], "m", ["1/5", "1/5"])),
    Vector("claim-interval-narrower", "interval", C.CLAIM_MISMATCH, lambda t: put(t.claim["parameters"], "m", ["3/20", "3/20"])),
    Vector("claim-missing-field", "pendulum", C.CLAIM_MISMATCH, lambda t: t.claim.pop("rate")),
    Vector("claim-extra-field", "pendulum", C.CLAIM_MISMATCH, lambda t: t.claim.update(deployable=True)),
    Vector("claim-level-forged", "pendulum", C.CLAIM_MISMATCH, lambda t: put(t.claim["region"], "level", "5")),
    Vector("claim-level-not-demanded", "network_shell", C.CLAIM_MISMATCH, lambda t: t.level("shell-1", "9/100")),
    Vector("claim-function-without-stage", "network_shell", C.CLAIM_MISMATCH, lambda t: put(t.claim["region"], "function", "Q")),
    Vector("claim-of-another-network", "network_shell", C.CLAIM_MISMATCH, other_function),
    Vector("claim-of-quadratic-for-network", "network_shell", C.CLAIM_MISMATCH, same_set_other_kind),
    Vector("network-not-named", "pendulum", C.CLAIM_MISMATCH, lambda t: (
        t.files.update({"lyapunov.onnx": build.LEVEL_NET}),
        t.predicate["functions"].update(V={"kind": "onnx", "name": "lyapunov.onnx", "sha256": ""}))),
    Vector("practical-sold-as-asymptotic", "practical", C.CLAIM_MISMATCH,
           lambda t: t.ask(lambda s: s.replace("practical_stability", "asymptotic_stability_roa").replace(build.box("target", ["1/2", "1/2"]), ""))),
    Vector("practical-sold-as-asymptotic-claim-adapted", "practical", C.UNEXPECTED_OBLIGATION, lambda t: (
        t.ask(lambda s: s.replace("practical_stability", "asymptotic_stability_roa").replace(build.box("target", ["1/2", "1/2"]), "")),
        put(t.claim, "property", "asymptotic_stability_roa"))),
    Vector("invariance-sold-as-asymptotic", "invariance", C.MISSING_OBLIGATION, lambda t: (
        t.ask(lambda s: s.replace("forward_invariance", "asymptotic_stability_roa")), put(t.claim, "property", "asymptotic_stability_roa"))),
    Vector("continuous-sold-as-sampled", "pendulum", C.CLAIM_MISMATCH, said(build.CONTINUOUS, build.EULER)),
    Vector("continuous-sold-as-sampled-claim-adapted", "pendulum", C.LOCAL_DECREASE, lambda t: (
        t.ask(lambda s: s.replace(build.CONTINUOUS, build.EULER.replace("1/20", "1"))), t.claim.update(time="discrete", dt="1", method="euler"))),
    Vector("asymptotic-sold-as-exponential", "pendulum", C.LOCAL_DECREASE, lambda t: (
        t.ask(lambda s: s.replace("asymptotic", "exponential") + '[decrease]\nrate = "50"\n'),
        t.claim.update(property="exponential_stability_roa", rate="50"))),
    # obligations
    *(Vector(f"missing-{name}", base, C.MISSING_OBLIGATION, lambda t, name=name: t.drop(name)) for base, name in (
        ("pendulum", "equilibrium"), ("pendulum", "local"), ("pendulum", "contains"), ("pendulum", "radius"), ("pendulum", "volume"),
        ("practical", "inner"), ("invariance", "shell-1"))),
    Vector("missing-shell", "pendulum", C.CLAIM_MISMATCH, lambda t: t.drop("shell-1")),
    Vector("shell-number-skipped", "pendulum", C.UNEXPECTED_OBLIGATION,
           lambda t: put(next(o for o in t.predicate["obligations"] if o["id"] == "shell-1"), "id", "shell-2")),
    Vector("extra-obligation", "pendulum", C.UNEXPECTED_OBLIGATION, lambda t: t.add("target", {"kind": "evaluation"})),
    Vector("obligation-twice", "pendulum", C.UNEXPECTED_OBLIGATION, lambda t: t.add("local", t.proof("local"))),
    Vector("kind-unknown", "pendulum", C.UNSUPPORTED, lambda t: put(t.proof("local"), "kind", "solver_says_optimal")),
    Vector("volume-of-ellipsoid-by-tree", "pendulum", C.UNSUPPORTED,
           lambda t: t.proof("volume").update(kind="box_tree", tree=dict(t.proof("shell-1")["tree"]))),
    Vector("lmi-for-a-nonlinear-loop", "pendulum", C.UNSUPPORTED, lambda t: put(t.proof("local"), "kind", "lmi")),
    Vector("function-indefinite-and-not-used", "pendulum", C.NOT_DEFINITE, lambda t: t.predicate["functions"].update(
        R={"kind": "quadratic", "center": ["0", "0"], "matrix": [["1", "0"], ["0", "-1"]]})),
    # equilibrium
    *(Vector(f"equilibrium-{side}-of-where-it-is-required", "linear", C.EQUILIBRIUM_ELSEWHERE,
             lambda t, x=x: t.ask(lambda s: s + f'[equilibrium]\nx = ["{x}", "0"]\n')) for side, x in (("left", "1/10"), ("right", "-1/10"))),
    Vector("equilibrium-box-not-contracting", "pendulum", C.EQUILIBRIUM_NOT_PROVED,
           lambda t: t.proof("equilibrium").update(center=["1/4194304"] * 2, radius=["1/70368744177664"] * 2)),
    Vector("equilibrium-point-not-exact", "linear", C.EQUILIBRIUM_NOT_PROVED, lambda t: put(t.proof("equilibrium"), "center", ["1/4194304", "0"])),
    Vector("equilibrium-radius-negative", "pendulum", C.EQUILIBRIUM_NOT_PROVED, lambda t: put(t.proof("equilibrium"), "radius", ["-1/8", "-1/8"])),
    Vector("equilibrium-elsewhere", "biased", C.EQUILIBRIUM_ELSEWHERE, said('["1/20"]', '["1/1000"]')),
    Vector("equilibrium-box-too-wide", "pendulum", C.EQUILIBRIUM_ELSEWHERE, lambda t: put(t.proof("equilibrium"), "radius", ["1/2", "1/2"])),
    Vector("equilibrium-outside-domain", "biased", C.EQUILIBRIUM_OUTSIDE_DOMAIN, lambda t: (
        t.ask(lambda s: s.replace('lo = ["-1"]', 'lo = ["1/40"]').replace('["1/20"]', '["1/20"]\nx = ["1/30"]')),
        put(t.claim, "domain", {"lo": ["1/40"], "hi": ["1"]}))),
    # local proof
    Vector("p-indefinite", "pendulum", C.NOT_DEFINITE, lambda t: put(t.predicate["functions"]["Q"], "matrix", [["1", "0"], ["0", "-1"]])),
    Vector("p-negative", "linear", C.NOT_DEFINITE, lambda t: put(
        t.predicate["functions"]["Q"], "matrix", scaled(t.predicate["functions"]["Q"]["matrix"], -1))),
    Vector("p-not-symmetric", "linear", C.NOT_DEFINITE, lambda t: t.predicate["functions"]["Q"]["matrix"][0].__setitem__(1, "0")),
    Vector("p-another", "linear", C.LOCAL_DECREASE, lambda t: (
        put(t.predicate["functions"]["Q"], "matrix", [["1", "0"], ["0", "100"]]), t.level("local", "1/100"))),
    Vector("frame-singular", "pendulum", C.NOT_DEFINITE, lambda t: put(t.proof("local"), "frame", [["1", "1"], ["1", "1"]])),
    Vector("frame-another", "pendulum", C.CHAIN, lambda t: put(t.proof("local"), "frame", [["1/100", "0"], ["0", "1/100"]])),
    Vector("shell-frame-singular", "pendulum", C.NOT_DEFINITE, lambda t: put(t.proof("shell-1"), "frame", [["1", "1"], ["1", "1"]])),
    Vector("shell-frame-another", "pendulum", C.DECREASE, lambda t: put(t.proof("shell-1"), "frame", [["1", "0"], ["3", "4"]])),
    Vector("neighbourhood-too-large", "pendulum", C.LOCAL_DECREASE, lambda t: put(t.proof("local"), "neighbourhood", ["30", "30"])),
    Vector("neighbourhood-negative", "pendulum", C.EMPTY_REGION, lambda t: put(t.proof("local"), "neighbourhood", ["-1", "-1"])),
    Vector("local-level-too-large", "pendulum", C.CHAIN, lambda t: put(t.proof("local"), "level", "1/2")),
    Vector("local-level-zero", "pendulum", C.EMPTY_REGION, lambda t: put(t.proof("local"), "level", "0")),
    Vector("local-leaves-domain", "linear", C.CONTAINMENT, lambda t: (t.level("local", "4"), put(t.proof("local"), "neighbourhood", ["100", "100"]))),
    Vector("local-by-network", "network_shell", C.UNSUPPORTED, lambda t: put(t.proof("local"), "function", "V")),
    Vector("local-function-unknown", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: put(t.proof("local"), "function", "W")),
    # shells
    Vector("hole-around-equilibrium", "pendulum", C.LEAF_NOT_INSIDE, lambda t: put(t.proof("local"), "level", "1/100000")),
    Vector("level-too-high", "pendulum", C.CONTAINMENT, lambda t: t.level("shell-1", "4")),
    Vector("level-zero", "pendulum", C.EMPTY_REGION, lambda t: t.level("shell-1", "0")),
    Vector("level-negative", "pendulum", C.EMPTY_REGION, lambda t: t.level("shell-1", "-1")),
    Vector("level-too-high-network", "network_shell", C.LEAF_NOT_OUTSIDE,
           lambda t: (t.ask(lambda s: s.replace('"0.1"', '"0.5"')), t.level("shell-1", "0.5"))),
    Vector("level-below-every-value", "network_shell", C.EMPTY_REGION, lambda t: (
        t.ask(lambda s: s.replace('level = "0.1"', 'level = "-0.9999"')), t.level("shell-1", "-0.9999"), t.tree("shell-1", lambda _: bytes([129])))),
    *(Vector(f"level-{name}", "network_shell", code, lambda t, level=level: (
        t.ask(lambda s: s.replace('level = "0.1"', f'level = "{level}"')), t.level("shell-1", level))) for name, level, code in (
            ("next-to-the-least", "-0." + "9" * 330, C.EMPTY_REGION), ("next-to-one", "0." + "9" * 330, C.LEAF_NOT_OUTSIDE))),
    Vector("sign-of-v", "network_shell", C.DECREASE, negative),
    Vector("decrease-tag-on-inner", "pendulum", C.DECREASE, lambda t: t.tree("shell-1", middle(2, 0))),
    Vector("outside-tag-on-decrease", "pendulum", C.LEAF_NOT_OUTSIDE, lambda t: t.tree("shell-1", middle(0, 1))),
    Vector("inner-tag-on-decrease", "pendulum", C.LEAF_NOT_INSIDE, lambda t: t.tree("shell-1", retag(0, 2))),
    Vector("decrease-tag-on-inner-by-jets", "pendulum", C.DECREASE, lambda t: t.tree("shell-1", lambda d: by(0)(middle(2, 0)(d)))),
    Vector("taylor-models-in-discrete-time", "rotation", C.UNSUPPORTED, lambda t: t.tree("shell-1", by(TAYLOR))),
    Vector("decrease-tag-on-outside", "network_shell", C.DECREASE, lambda t: t.tree("shell-1", lambda d: by(0)(middle(1, 0)(d)))),
    Vector("image-leaves-domain", "rotation", C.IMAGE, lambda t: (
        t.ask(lambda s: s.replace('"0.9"', '"1.9"')), t.level("shell-1", "1.9"), t.tree("shell-1", refine(1, 0)))),
    Vector("inside-tag-in-shell", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.tree("shell-1", retag(0, 3))),
    Vector("nothing-tag-in-shell", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.tree("shell-1", retag(0, 4))),
    Vector("whole-domain-one-leaf", "pendulum", C.DECREASE, lambda t: t.tree("shell-1", lambda _: bytes([128]))),
    Vector("edge-cut-off", "network_shell", C.CLAIM_MISMATCH, said('hi = ["1", "4"]', 'hi = ["1/2", "4"]')),
    Vector("edge-inside-the-level", "invariance", C.CONTAINMENT, lambda t: t.level("shell-1", "3")),
    Vector("rate-too-fast-near-equilibrium", "exponential", C.LOCAL_DECREASE, lambda t: (
        t.ask(lambda s: s.replace('rate = "1/2"', 'rate = "4/5"')), put(t.claim, "rate", "4/5"))),
    Vector("rate-tag-on-inner", "exponential", C.RATE, lambda t: t.tree("shell-1", middle(2, 0))),
    Vector("tree-truncated", "pendulum", C.TREE_INCOMPLETE, lambda t: t.tree("shell-1", lambda d: d[:-1])),
    Vector("tree-empty", "pendulum", C.TREE_INCOMPLETE, lambda t: t.tree("shell-1", lambda _: b"")),
    Vector("tree-trailing", "pendulum", C.TREE_TRAILING, lambda t: t.tree("shell-1", lambda d: d + bytes([128]))),
    Vector("tree-byte-unknown", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.tree("shell-1", lambda d: bytes([200]) + d[1:])),
    Vector("tree-splits-third-dimension", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.tree("shell-1", lambda d: bytes([2]) + d[1:])),
    Vector("tree-too-deep", "pendulum", C.TOO_LARGE, lambda t: t.tree("shell-1", lambda _: bytes([0] * 500))),
    Vector("volume-tree-truncated", "network_shell", C.TREE_INCOMPLETE, lambda t: t.tree("volume", lambda d: d[:-1])),
    # properties without an equilibrium
    Vector("target-smaller", "practical", C.TARGET_NOT_CONTAINED, said(build.box("target", ["1/2", "1/2"]), build.box("target", ["1/10", "1/10"]))),
    Vector("inner-level-beyond-target", "practical", C.TARGET_NOT_CONTAINED, lambda t: put(t.proof("inner"), "level", "1/2")),
    Vector("inner-level-too-small", "practical", C.LEAF_NOT_INSIDE, lambda t: put(t.proof("inner"), "level", "1/100000")),
    Vector("inner-level-above-level", "practical", C.EMPTY_REGION, inner_above),
    Vector("practical-with-frame", "practical", C.UNSUPPORTED, lambda t: t.proof("shell-1").update(frame=[["1", "0"], ["0", "1"]])),
    Vector("inner-step-leaves-inner-set", "sampled_practical", C.NOT_PROVED, plant(bumped)),
    Vector("invariance-inner-leaf-in-discrete-time", "sampled_invariance", C.MALFORMED_CERTIFICATE, lambda t: t.tree("shell-1", retag(0, 2))),
    Vector("invariance-inner-at-the-level", "invariance", C.LEAF_NOT_INSIDE, lambda t: t.tree("shell-1", middle(0, 2))),
    Vector("invariance-not-shown-not-empty-with-a-radius", "kept", C.MISSING_OBLIGATION, lambda t: (
        said('min_volume = "10"', 'min_radius = "1/100"')(t), t.add("radius", {"kind": "lmi"}), t.drop("volume"))),
    Vector("invariance-not-shown-not-empty", "invariance", C.MISSING_OBLIGATION, lambda t: t.drop("volume")),
    Vector("command-exceeds-limit", "clipped", C.COMMAND_EXCEEDS_LIMIT, forbidden),
    Vector("command-exceeds-limit-near-equilibrium", "clipped_near", C.COMMAND_EXCEEDS_LIMIT, forbidden),
    # imitation under measurement errors
    Vector("attack-larger-than-proved", "imitation", C.DECREASE, lambda t: (
        said('size = "1/100"', 'size = "1/10"')(t), put(imitated(t), "size", "1/10"), t.drop("lipschitz"))),
    Vector("attack-larger-and-not-claimed", "imitation", C.CLAIM_MISMATCH, said('size = "1/100"', 'size = "1/10"')),
    Vector("attack-larger-in-continuous-time", "imitated_gain", C.DECREASE, lambda t: (
        said('size = "1/100"', 'size = "1/10"')(t), put(imitated(t), "size", "1/10"), t.drop("lipschitz"))),
    Vector("attack-larger-than-where-the-constant-holds", "imitation", C.NOT_DEFINITE, lambda t: (
        said('size = "1/100"', 'size = "10"')(t), put(imitated(t), "size", "10"))),
    Vector("constant-too-small", "imitation", C.NOT_DEFINITE, lambda t: put(t.proof("lipschitz"), "level", "2")),
    Vector("constant-negative", "imitation", C.NOT_DEFINITE, lambda t: t.proof("lipschitz").update(level="-" + t.proof("lipschitz")["level"])),
    Vector("constant-larger-than-the-loop-bears", "imitation", C.DECREASE, lambda t: put(t.proof("lipschitz"), "level", "60")),
    Vector("constant-by-negative-multipliers", "imitation", C.NOT_DEFINITE, lambda t: put(
        t.proof("lipschitz"), "multipliers", ["-1"] * len(t.proof("lipschitz")["multipliers"]))),
    Vector("constant-with-a-multiplier-missing", "imitation", C.BAD_SHAPE, lambda t: t.proof("lipschitz")["multipliers"].pop()),
    Vector("constant-in-another-property", "practical", C.UNEXPECTED_OBLIGATION, lambda t: t.add(
        "lipschitz", {"kind": "lipschitz_sdp", "level": "1", "multipliers": []})),
    Vector("attack-left-out-of-the-claim", "imitation", C.CLAIM_MISMATCH, lambda t: t.claim.pop("imitation")),
    Vector("practical-sold-as-imitation", "practical", C.BAD_REQUIREMENT, said("practical_stability", "imitation_iss")),
    Vector("imitation-tube-leaves-domain", "imitation", C.IMAGE, lambda t: (t.level("shell-1", "3"), t.tree("shell-1", refine(1, 0, 6)))),
    Vector("imitation-target-smaller", "imitation", C.TARGET_NOT_CONTAINED, said(
        build.box("target", ["1/4", "1/2"]), build.box("target", ["1/20", "1/10"]))),
    Vector("policy-that-does-not-contract", "imitation", C.DECREASE, controller(build.layers([[0.5, 0.1], [0.25, 0.05]], [[-0.3, -0.2]]))),
    Vector("expert-swapped", "imitation", C.DIGEST_MISMATCH, lambda t: t.files.update({"expert.onnx": build.layers([[-2.0, -0.3]])})),
    Vector("expert-another-everywhere", "imitation", C.NOT_PROVED, lambda t: part(t, "expert", "expert.onnx", build.layers([[2.0, 0.4]]))),
    Vector("expert-of-other-sizes", "imitation", C.BAD_SHAPE, lambda t: part(t, "expert", "expert.onnx", build.layers([[2.0, 0.4], [2.0, 0.4]]))),
    Vector("expert-not-given", "imitation", C.DIGEST_MISMATCH, lambda t: (t.proof("error").pop("expert"), t.files.pop("expert.onnx"))),
    Vector("expert-gain-another", "imitated_gain", C.NOT_PROVED, lambda t: (said('"2/5"', '"7/5"')(t), put(imitated(t), "gain", [["2", "7/5"]]))),
    Vector("expert-gain-too-short", "imitated_gain", C.BAD_SHAPE, lambda t: (said(', "2/5"', '')(t), put(imitated(t), "gain", [["2"]]))),
    Vector("expert-gain-ragged", "imitated_gain", C.BAD_SHAPE, lambda t: (
        said('[["2", "2/5"]]', '[["2", "2/5"], ["1"]]')(t), put(imitated(t), "gain", [["2", "2/5"], ["1"]]))),
    Vector("error-too-small", "imitation", C.NOT_PROVED, lambda t: (said('error = "3/4"', 'error = "1/2"')(t), put(imitated(t), "error", "1/2"))),
    Vector("error-not-shown", "imitation", C.MISSING_OBLIGATION, lambda t: (t.drop("error"), t.files.pop("expert.onnx"))),
    Vector("error-leaf-excused", "imitation", C.MALFORMED_CERTIFICATE, lambda t: t.tree("error", lambda _: bytes([132]))),
    Vector("data-another", "imitation", C.DIGEST_MISMATCH, lambda t: t.files.update({"data.csv": build.DATA.replace(b"0.1", b"0.2")})),
    Vector("data-another-everywhere", "imitation", C.NOT_PROVED, lambda t: part(t, "data", "data.csv", build.DATA.replace(b"-0.2\n", b"0.2\n"))),
    Vector("data-columns-swapped", "imitation", C.BAD_SHAPE, lambda t: part(t, "data", "data.csv", build.DATA.replace(
        b"theta [rad],omega [rad/s]", b"omega [rad/s],theta [rad]"))),
    Vector("data-other-unit", "imitation", C.BAD_SHAPE, lambda t: part(t, "data", "data.csv", build.DATA.replace(b"theta [rad]", b"theta [deg]"))),
    Vector("data-without-rows", "imitation", C.BAD_SHAPE, lambda t: part(t, "data", "data.csv", build.DATA[:build.DATA.index(b"\n")])),
    Vector("data-short-row", "imitation", C.BAD_SHAPE, lambda t: part(t, "data", "data.csv", build.DATA.replace(b"0.1,0,", b"0.1,"))),
    Vector("data-nan", "imitation", C.BAD_NUMBER, lambda t: part(t, "data", "data.csv", build.DATA.replace(b"0.1", b"nan"))),
    Vector("fit-too-small", "imitation", C.NOT_PROVED, lambda t: (
        said('error = "1/20"', 'error = "1/10000"')(t), put(imitated(t), "fit", "1/10000"))),
    Vector("fit-not-shown", "imitation", C.MISSING_OBLIGATION, lambda t: (t.drop("fit"), t.files.pop("data.csv"))),
    Vector("regret-too-small", "imitation", C.NOT_PROVED, lambda t: (
        said('bound = "1"', 'bound = "1/2"')(t), put(imitated(t), "regret", [["1", "1"], ["1"], "1/2"]))),
    Vector("regret-not-shown", "imitation", C.MISSING_OBLIGATION, lambda t: t.drop("regret")),
    Vector("regret-weight-missing", "imitation", C.BAD_SHAPE, lambda t: (
        said('R = ["1"]', 'R = []')(t), put(imitated(t), "regret", [["1", "1"], [], "1"]))),
    # the region is not what is demanded (T05)
    Vector("contains-not-contained", "pendulum", C.NOT_CONTAINED, said('contains = { lo = ["-1/20", "-1/20"], hi = ["1/20", "1/20"] }',
                                                                       'contains = { lo = ["-9/10", "-3"], hi = ["9/10", "3"] }')),
    Vector("contains-not-contained-network", "network_shell", C.NOT_CONTAINED,
           said('contains = { lo = ["-1/20", "-1/20"], hi = ["1/20", "1/20"] }', 'contains = { lo = ["-9/10", "-3"], hi = ["9/10", "3"] }')),
    Vector("contains-leaf-excused", "network_shell", C.MALFORMED_CERTIFICATE, lambda t: t.tree("contains", lambda _: bytes([132]))),
    Vector("radius-too-small", "pendulum", C.RADIUS_TOO_SMALL, said('min_radius = "1/20"', 'min_radius = "99/100"')),
    Vector("radius-too-small-network", "network_shell", C.RADIUS_TOO_SMALL, said('min_radius = "1/20"', 'min_radius = "19/20"')),
    Vector("radius-leaf-excused", "network_shell", C.RADIUS_TOO_SMALL, lambda t: t.tree("radius", lambda _: bytes([132]))),
    Vector("volume-too-small", "pendulum", C.VOLUME_TOO_SMALL, said('min_volume = "1/100"', 'min_volume = "12.4"')),
    Vector("volume-too-small-network", "network_shell", C.VOLUME_TOO_SMALL, said('min_volume = "1/100"', 'min_volume = "3"')),
    Vector("volume-leaf-not-inside", "network_shell", C.LEAF_NOT_INSIDE, lambda t: t.tree("volume", lambda _: bytes([131]))),
    Vector("turned-frame-without-inverse", "turned_shell", C.NOT_DEFINITE, lambda t: t.proof("shell-1").update(frame=[["1"] * 4] * 4)),
    Vector("turned-frame-dropped", "turned_shell", C.LEAF_NOT_OUTSIDE, lambda t: t.proof("shell-1").pop("frame")),
    Vector("turned-frame-another", "turned_shell", C.CONTAINMENT, lambda t: put(t.proof("shell-1"), "frame", sheared(t.proof("shell-1")["frame"]))),
    Vector("turned-volume-too-small", "turned_shell", C.VOLUME_TOO_SMALL, said('min_volume = "1/100"', 'min_volume = "5/4"')),
    Vector("turned-domain-cut", "turned_shell", C.CONTAINMENT, cut_domain),
    Vector("turned-network-in-discrete-time", "discrete_shell", C.UNSUPPORTED, lambda t: t.proof("shell-1").update(frame=[["1", "0"], ["0", "1"]])),
    Vector("turned-network-never-left", "turned_shell", C.UNSUPPORTED, turned_invariance),
    Vector("volume-in-part-without-a-frame", "network_shell", C.MALFORMED_CERTIFICATE, lambda t: t.tree("volume", lambda _: bytes([139]))),
    Vector("volume-inside-with-a-frame", "network_shell", C.MALFORMED_CERTIFICATE, framed([["1", "0"], ["0", "1"]], 131)),
    Vector("volume-frame-without-inverse", "network_shell", C.NOT_DEFINITE, framed([["1", "1"], ["1", "1"]])),
    Vector("volume-frame-of-another-size", "network_shell", C.BAD_SHAPE, framed([["1"]])),
    Vector("volume-frame-beyond-the-domain", "network_shell", C.VOLUME_TOO_SMALL, framed([["9", "0"], ["0", "9"]])),
    Vector("volume-nothing", "invariance", C.VOLUME_TOO_SMALL, lambda t: t.tree("volume", lambda _: bytes([132]))),
    Vector("volume-outside-the-box-safe", "own", C.CONTAINMENT, lambda t: t.ask(
        lambda s: s.replace(build.box("safe", ["4/5", "4"]), build.box("safe", ["1/2", "4"])))),
    Vector("evidence-too-low", "pendulum", C.EVIDENCE_TOO_LOW, lambda t: t.ask(lambda s: s + '[evidence]\nminimum = "L3"\n')),
    # numbers and shapes (T08, T15)
    Vector("level-nan-text", "pendulum", C.BAD_NUMBER, lambda t: t.level("shell-1", "NaN")),
    Vector("level-infinity-text", "pendulum", C.BAD_NUMBER, lambda t: t.level("shell-1", "Infinity")),
    Vector("level-exponent", "pendulum", C.BAD_NUMBER, lambda t: t.level("shell-1", "1e0")),
    Vector("level-unicode-digits", "pendulum", C.BAD_NUMBER, lambda t: t.level("shell-1", "١")),
    Vector("level-over-zero", "pendulum", C.BAD_NUMBER, lambda t: t.level("shell-1", "1/0")),
    Vector("neighbourhood-nan", "pendulum", C.BAD_NUMBER, lambda t: put(t.proof("local"), "neighbourhood", ["nan", "nan"])),
    Vector("level-nan-literal", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.level("shell-1", NAN)),  # type: ignore[arg-type]
    Vector("level-float", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.level("shell-1", 0.5)),  # type: ignore[arg-type]
    Vector("center-too-short", "pendulum", C.BAD_SHAPE, lambda t: put(t.proof("equilibrium"), "center", ["0"])),
    Vector("matrix-not-square", "pendulum", C.BAD_SHAPE, lambda t: put(t.predicate["functions"]["Q"], "matrix", [["1", "0"]])),
    # verdicts that nobody asked for (T21)
    Vector("forged-verdict", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.predicate.update(verdict="ACCEPTED")),
    Vector("forged-deployable", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.certificate.update(deployable=True)),
    Vector("forged-margin", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.proof("shell-1").update(margin="1")),
    Vector("forged-checked", "pendulum", C.MALFORMED_CERTIFICATE, lambda t: t.proof("volume").update(value="1000")),
    Vector("format-of-the-future", "pendulum", C.UNSUPPORTED, lambda t: put(t.predicate, "format", "certctl-bundle/2")),
    # bytes (T01, T02, T03, T16, T18)
    Vector("controller-changed-outside", "pendulum", C.CONTROLLER_MISMATCH,
           after=lambda t: (t.folder / "controller.onnx").write_bytes(build.RELU)),
    Vector("controller-changed-inside", "pendulum", C.DIGEST_MISMATCH, after=lambda t: (t.bundle / "controller.onnx").write_bytes(build.RELU)),
    Vector("controller-changed-everywhere", "linear", C.LOCAL_DECREASE, controller(build.layers([[1.0, 2.0]]))),
    Vector("controller-gain-changed-everywhere", "pendulum", C.LOCAL_DECREASE, controller(build.layers([[0.5, 0.1], [0.25, 0.05]], [[3.0, 2.0]]))),
    Vector("lyapunov-changed-outside", "network_shell", C.DIGEST_MISMATCH,
           after=lambda t: (t.folder / "lyapunov.onnx").write_bytes(build.square_root_form([[1.0, 0.0], [0.0, 1.0]]))),
    Vector("tree-changed-on-disk", "pendulum", C.DIGEST_MISMATCH, after=lambda t: (t.bundle / "proof" / "shell-1.tree").write_bytes(b"\x80")),
    Vector("plant-changed-inside", "pendulum", C.PLANT_MISMATCH, lambda t: t.files.update(
        {"plant.json": t.files["plant.json"].replace(b'"9.81"', b'"9.8"')})),
    Vector("plant-changed-outside", "own", C.PLANT_MISMATCH, after=lambda t: (t.folder / "own.plant.json").write_bytes(t.files["plant.json"] + b" ")),
    Vector("plant-of-the-user-changed-everywhere", "linear", C.EQUILIBRIUM_NOT_PROVED,
           plant(shifted)),
    Vector("requirement-another", "pendulum", C.REQUIREMENT_MISMATCH,
           after=lambda t: t.requirement.write_text(t.requirement.read_text().replace("1/100", "1/200"))),
    Vector("file-unlisted", "pendulum", C.UNLISTED_FILE, after=lambda t: (t.bundle / "note.txt").write_text("safe")),
    Vector("file-missing", "pendulum", C.MISSING_FILE, after=lambda t: (t.bundle / "controller.onnx").unlink()),
    Vector("file-a-link", "pendulum", C.UNSAFE_PATH, after=lambda t: (
        (t.bundle / "controller.onnx").unlink(), (t.bundle / "controller.onnx").symlink_to(t.folder / "controller.onnx"))),
    Vector("file-climbs-out", "pendulum", C.UNSAFE_PATH, lambda t: put(t.proof("shell-1")["tree"], "name", "../shell-1.tree")),
    # inputs that cannot be understood, consistently in bundle and beside the requirement
    Vector("requirement-unknown-key", "pendulum", C.BAD_REQUIREMENT, lambda t: t.ask(lambda s: 'tolerance = "1"\n' + s)),
    Vector("requirement-names-no-parameter", "interval", C.BAD_PARAMETER, said("\nm = ", "\nmass = ")),
    Vector("plant-malformed", "own", C.BAD_PLANT, plant(lambda p: p["nodes"].__setitem__(0, ["add", 5, 6]))),
    Vector("plant-unknown-operator", "own", C.UNKNOWN_OPERATOR, plant(lambda p: p["nodes"].__setitem__(0, ["tan", 0]))),
    Vector("plant-coefficient-huge", "own", C.BAD_GRAPH, plant(huge)),
    Vector("controller-no-onnx", "pendulum", C.BAD_ONNX, controller(b"\xff\xff")),
    Vector("controller-pickle", "pendulum", C.FORBIDDEN_FORMAT, controller(b"\x80\x04K\x01.")),
    Vector("controller-weight-nan", "pendulum", C.BAD_WEIGHTS, controller(build.layers([[NAN, 1.0]]))),
    Vector("controller-weight-infinite", "pendulum", C.BAD_WEIGHTS, controller(build.layers([[float("inf"), 1.0]]))),
    Vector("controller-operator", "pendulum", C.UNKNOWN_OPERATOR, controller(build.layers([[1.0, 1.0]], [[1.0]], activation="Erf"))),
    Vector("controller-dimension", "pendulum", C.BAD_SHAPE, controller(build.layers([[1.0, 1.0, 1.0]]))),
]
