"""Questions about one network: a file, a specification, a decider, and an answer whose witnesses have been replayed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.kernel.codes import Refusal
from verifiers.kernel.onnx_reader import MAX_BYTES
from verifiers.load.onnx_fold import read_network
from verifiers.smt.decider import Decider, Decision, Sat, Unknown, Unsat, Witness, replay
from verifiers.smt.query import And, Atom, Formula, Query, holds
from verifiers.smt.specification import Spec, SpecError, joint, spec_queries
from verifiers.smt.vnnlib import MAX_TEXT, read_vnnlib
from verifiers.smt.vnnlib_export import decimal

LONGEST_DECIMAL = 60


_CLASSES = {"native": "Native", "z3": "Z3", "cvc5": "Cvc5", "dreal": "DReal"}


class BadQuestion(ValueError):
    """A question that cannot be asked: one sentence."""


@dataclass(frozen=True, eq=False)
class Question:
    """A network and a specification, read: sat if and only if one of the queries is.

    ``network`` holds the file's bytes, and ``folded`` says that the graph is that of a simplified copy
    (:mod:`verifiers.load.onnx_fold`).
    """

    name: str
    spec_name: str
    network: bytes
    spec: Spec
    queries: tuple[Query, ...]
    folded: bool


@dataclass(frozen=True, eq=False)
class Confirmed:
    """A witness, as text that is short where that is exact enough, and what ONNX Runtime makes of it.

    ``runtime`` holds its outputs in the file's own float type, None where it is not installed or fails; ``agrees`` says whether these satisfy the
    specification as well.
    """

    witness: Witness
    x_text: tuple[str, ...]
    runtime: tuple[float, ...] | None = None
    agrees: bool | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """``result`` is ``unsat``, ``sat``, ``unknown`` or ``timeout``; only unsat has a ``level`` (L1 the solver's word, L2 replayed by the kernel)."""

    result: str
    solver: str
    text: str
    seconds: float
    level: str | None = None
    witnesses: tuple[Confirmed, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def open_question(network: Path, spec: Path) -> Question:
    """Read a network and a specification.

    Raises
    ------
    BadQuestion
        When a file is missing, too large or malformed, or the two do not fit.
    """
    data = _bytes(network, MAX_BYTES, "network")
    try:
        text = _bytes(spec, MAX_TEXT, "specification").decode("utf-8")
    except UnicodeDecodeError:
        raise BadQuestion(f"{spec} is no text in UTF-8; give a VNN-LIB file") from None
    try:
        wanted = read_vnnlib(text)
    except SpecError as error:
        raise BadQuestion(f"{spec}: {error}") from None
    try:
        graph, read = read_network(data, network.name)
    except Refusal as refusal:
        raise BadQuestion(f"{network}: {refusal.at}: {refusal.message}") from None
    try:
        queries = spec_queries(wanted, graph)
    except ValueError as error:
        raise BadQuestion(f"{spec}: {error}") from None
    return Question(str(network), str(spec), data, wanted, tuple(queries), read is not data)


def _bytes(path: Path, most: int, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise BadQuestion(f"the {what} {path} cannot be read ({error.strerror}); give the path of a file") from None
    if len(data) > most:
        raise BadQuestion(f"the {what} {path} has more than {most} bytes; use a smaller one")
    return data


def decider_named(solver: str) -> Decider:
    """The decider of that name.

    Raises
    ------
    BadQuestion
        When it is not usable here; the sentence says how to get it.
    """
    module = f"verifiers.smt.{solver}"
    if find_spec(module) is None:
        raise BadQuestion(f"this installation has no decider {solver}; install certctl again, or choose another with --solver")
    decider: Decider = getattr(import_module(module), _CLASSES[solver])()
    why = decider.absent()
    if why is not None:
        raise BadQuestion(f"the decider {solver} is not usable here: {why}")
    return decider


def answer(question: Question, decider: Decider, budget: float, witnesses: int = 1) -> Answer:
    """Decide a question within ``budget`` seconds.

    Notes
    -----
    Direction: unsat only when every query is; sat only with a witness that replays here.  What is left of the time is shared among the queries left.
    """
    began = time.monotonic()
    if not question.queries:
        return Answer("unsat", decider.name, "no input satisfies the bounds of the specification (compared in exact rationals)", 0.0, "L1")
    found: list[tuple[Query, Witness]] = []
    unsats: list[Unsat] = []
    open_: list[Unknown] = []
    warnings: list[str] = []
    for k, query in enumerate(question.queries):
        share = (budget - (time.monotonic() - began)) / (len(question.queries) - k)
        decision = _asked(decider, query, share, witnesses - len(found))
        if isinstance(decision, Unsat):
            unsats.append(decision)
        elif isinstance(decision, Unknown):
            open_.append(decision)
        else:
            replayed = _replayed(query, decision)
            if not replayed:
                warnings.append(f"{decider.name} gave a witness that does not replay in exact arithmetic; it is not counted")
                open_.append(Unknown("unknown", "a witness did not replay"))
            found += replayed
            if len(found) >= witnesses:
                break
    seconds = time.monotonic() - began
    if found:
        shown = [_confirmed(question, query, witness) for query, witness in found[:witnesses]]
        warnings += [w for _, w in shown if w]
        text = f"{len(found)} witness{'es' if len(found) > 1 else ''}, replayed with {found[0][1].replayed}"
        return Answer("sat", decider.name, text, seconds, None, tuple(c for c, _ in shown), tuple(warnings))
    if open_:
        late = any(u.reason == "timeout" for u in open_)
        return Answer("timeout" if late else "unknown", decider.name, f"{open_[0].reason}: {open_[0].text}", seconds, warnings=tuple(warnings))
    evidence = min((u.evidence for u in unsats), key=lambda e: e.level)
    return Answer("unsat", decider.name, evidence.text, seconds, f"L{evidence.level}", warnings=tuple(warnings))


def _asked(decider: Decider, query: Query, budget: float, witnesses: int) -> Decision:
    if not budget > 0:
        return Unknown("timeout", "the time was spent before this part of the question")
    try:
        return decider.decide(query, budget=budget, witnesses=witnesses)
    except Exception as error:  # a decider must not raise; one that does has not decided
        return Unknown("crash", f"{type(error).__name__}: {error}")


def _replayed(query: Query, decision: Sat) -> list[tuple[Query, Witness]]:
    again = (replay(query, witness.x) for witness in decision.witnesses)
    return [(query, witness) for witness in again if witness is not None]


def _confirmed(question: Question, query: Query, witness: Witness) -> tuple[Confirmed, str]:
    """The witness beside what ONNX Runtime computes, and a warning where the two disagree."""
    texts = tuple(number_text(v, a, b) for v, a, b in zip(witness.x, query.lo, query.hi, strict=True))
    short = Witness(witness.x, witness.y[:question.spec.outputs], witness.replayed)
    try:
        ran = run_network(question.network, [float(v) for v in witness.x])
    except ModuleNotFoundError:
        return Confirmed(short, texts), ""
    except Exception as error:  # whatever that library raises, the exact replay decides
        return Confirmed(short, texts), f"ONNX Runtime cannot run the network ({type(error).__name__}), so the witness is only replayed exactly"
    x, y = ran
    finite = bool(np.isfinite(y).all()) and len(y) == question.spec.outputs
    if not finite:
        return Confirmed(short, texts, tuple(y), False), "ONNX Runtime's outputs at this witness are not all finite; the exact replay decides"
    at = joint([Fraction(v) for v in x], [Fraction(v) for v in y])
    if holds(question.spec.formula, at):
        return Confirmed(short, texts, tuple(y), True), ""
    gap = f"{float(min(_gap(question.spec.formula, at) or 0, 10**300)):.1e}"
    warning = f"ONNX Runtime's rounded inference misses the specification by {gap} at this witness; the exact replay decides"
    return Confirmed(short, texts, tuple(y), False), warning


def _gap(formula: Formula, y: list[Fraction]) -> Fraction | None:
    """By how much numbers fail a formula: the worst of a conjunction, the best of a disjunction, None for what no numbers satisfy."""
    if isinstance(formula, Atom):
        return max(Fraction(0), sum((c * y[k] for k, c in formula.coefficients), Fraction(0)) - formula.bound)
    gaps = [_gap(part, y) for part in formula.parts]
    known = [gap for gap in gaps if gap is not None]
    if isinstance(formula, And):
        return max(known, default=Fraction(0)) if len(known) == len(gaps) else None
    return min(known, default=None)


def run_network(data: bytes, x: list[float]) -> tuple[list[float], list[float]]:
    """Run an ONNX file on one input in its own float type.

    Returns
    -------
    tuple of list
        The input as it was rounded to that type, and the output, both row by row.

    Raises
    ------
    ModuleNotFoundError
        When ONNX Runtime is not installed.
    """
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    kind = {"tensor(double)": np.float64, "tensor(float16)": np.float16}.get(entry.type, np.float32)
    tensor = np.array(x, dtype=np.float64).astype(kind).reshape([d if isinstance(d, int) else 1 for d in entry.shape])
    (y,) = session.run(None, {entry.name: tensor})
    return tensor.ravel().astype(np.float64).tolist(), np.ravel(y).astype(np.float64).tolist()


def number_text(value: Fraction, lo: Fraction, hi: Fraction) -> str:
    """A coordinate in decimals: the shortest that reads back to its float where that lies in the box, else as many as are exact."""
    short = repr(float(value))
    if lo <= Fraction(short) <= hi:
        return short
    exact = decimal(value)
    return exact if exact is not None and len(exact) <= LONGEST_DECIMAL else short


def vnncomp_text(found: Answer) -> str:
    """The competition's output: the result, and for sat the first witness as ``((X_0 v) … (Y_0 v) …)``."""
    if not found.witnesses:
        return found.result
    first = found.witnesses[0]
    pairs = [f"(X_{i} {text})" for i, text in enumerate(first.x_text)] + [f"(Y_{k} {v!r})" for k, v in enumerate(first.witness.y)]
    return "\n".join([found.result, "(" + "\n ".join(pairs) + ")"])
