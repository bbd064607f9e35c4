r"""What ``imitation_iss`` bounds beside the loop: distances of applied inputs, and a stage cost; theorems: docs/theory/imitation.md.

Each bound is one of a scalar graph over a box, or at the rows of a data set.  The inputs compared are those that the plant applies within its limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.definite import rationals
from verifiers.kernel.graph import Builder, Graph, affine_from_rational
from verifiers.kernel.lipschitz import differences
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.plant import Loop
from verifiers.kernel.rational import parse_vector
from verifiers.kernel.requirement import Box, Imitation, read_number
from verifiers.kernel.setting import Setting, mistaken

Vector = Sequence[Fraction]


def bounded_graph(setting: Setting, rest: Vector, name: str, expert: bytes | None) -> tuple[Graph, Fraction, Box]:
    r"""The scalar graph of an obligation, the limit that it must not exceed, and the box on which.

    Parameters
    ----------
    setting : Setting
        With a requirement of ``imitation_iss``.
    rest : sequence of Fraction
        The equilibrium (n,), about which a gain and the cost are meant.
    name : str
        ``error``: :math:`|\mathrm{sat}\,\pi(x) - \mathrm{sat}\,\pi^*(x)|_2^2` on the domain.  ``regret``: :math:`\sum_i Q_i (x_i - x^*_i)^2 +
        \sum_j R_j u_j^2` with :math:`u = \mathrm{sat}\,\pi(x + d)` on the target, d unknown.
    expert : bytes or None
        The expert's file, where it has one.

    Raises
    ------
    Refusal
        ``DIGEST_MISMATCH`` for another file than the requirement names, ``BAD_SHAPE``, ``BAD_REQUIREMENT``, and what the reader of networks raises.
    """
    (asked, policy), b, target = _asked(setting), Builder(), setting.requirement.target
    x = b.input(len(setting.lo))
    if name == "error":
        learnt, master = (_limited(setting, b, graph, x) for graph in (policy, _expert(asked, rest, expert)))
        limit = asked.error or Fraction(0)
        return _squares(b, b.binary("sub", learnt, master), [Fraction(1)] * b.size(learnt)), limit * limit, setting.requirement.domain
    if asked.regret is None or target is None:
        raise Refusal(Code.BAD_REQUIREMENT, name, "a regret needs [regret] and [target]")
    q, r, bound = asked.regret
    away = b.binary("sub", x, b.const(list(rest)))
    return _squares(b, b.concat([away, _limited(setting, b, setting.loop.command, x)]), [*q, *r]), bound, target


def data_graph(setting: Setting, data: bytes) -> tuple[tuple[tuple[Fraction, ...], ...], Graph, Fraction]:
    r"""The rows (x, u) of a data set, the graph :math:`|\mathrm{sat}\,\pi(x) - u|_2^2` over them, and its limit.

    Parameters
    ----------
    data : bytes
        ASCII text: a line ``theta [rad],omega [rad/s],u [N*m]`` of the plant's states and inputs in its order, then a line of numbers for each pair.
        Whether its states lie in the domain plays no part.

    Raises
    ------
    Refusal
        ``DIGEST_MISMATCH`` for another file than the requirement names, ``BAD_SHAPE``, ``BAD_NUMBER``, ``MALFORMED_CERTIFICATE``.
    """
    (asked, policy), spec, b = _asked(setting), setting.spec, Builder()
    need(hashlib.sha256(data).hexdigest() == asked.data, Code.DIGEST_MISMATCH, "data", "the data set is not the file that the requirement names")
    head, *lines = data.decode("ascii", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    named, n = ",".join(f"{s.name} [{s.unit}]" for s in (*spec.states, *spec.inputs)), len(spec.states)
    need(head == named, Code.BAD_SHAPE, "data, row 1", f"the first row must be {named}")
    rows = tuple(tuple(read_number(cell, f"data, row {i}") for cell in line.split(",")) for i, line in enumerate(lines, 2))
    need(rows and all(len(row) == n + len(spec.inputs) for row in rows), Code.BAD_SHAPE, "data", "a row has one number for each state and input")
    z = b.input(len(rows[0]))
    learnt, limit = _limited(setting, b, policy, b.take(z, range(n))), asked.fit or Fraction(0)
    return rows, _squares(b, b.binary("sub", learnt, b.take(z, range(n, b.size(z)))), [Fraction(1)] * len(spec.inputs)), limit * limit


def pushed_loop(setting: Setting, constant: Fraction, multipliers: Any, at: str) -> Loop:
    r"""The loop of the policy without measurement errors, and with a push e on its command that is at least as large as what errors do to it.

    Parameters
    ----------
    constant : Fraction
        :math:`\alpha` of the policy on the domain widened by the size :math:`\bar d` of the errors; then :math:`|e_j| \le \alpha \bar d`.
    multipliers : list of str
        Its proof, as in :mod:`verifiers.kernel.lipschitz`.

    Raises
    ------
    Refusal
        ``NOT_DEFINITE`` where the constant is not proved, and what the readers raise.
    """
    (asked, policy), box = _asked(setting), setting.requirement.domain
    found = differences(policy, Box(tuple(v - asked.size for v in box.lo), tuple(v + asked.size for v in box.hi)))
    proved = constant > 0 and found.proves(constant, parse_vector(multipliers, f"{at}.multipliers", len(found.low)))
    need(proved, Code.NOT_DEFINITE, at, "the matrix of these multipliers is not proved positive definite at the constant given")
    return setting.closed(mistaken(policy, Fraction(0), constant * asked.size))


def _asked(setting: Setting) -> tuple[Imitation, Graph]:
    if setting.requirement.imitation is None or setting.policy is None:
        raise Refusal(Code.UNSUPPORTED, "property", "only imitation_iss bounds this, and of a policy")
    return setting.requirement.imitation, setting.policy


def _expert(asked: Imitation, rest: Vector, file: bytes | None) -> Graph:
    """The expert before the plant's limits: its gain, or its file, which must be the one that the requirement names."""
    b = Builder()
    if asked.gain is None:
        need(file is not None and hashlib.sha256(file).hexdigest() == asked.expert, Code.DIGEST_MISMATCH, "expert",
             "the expert is not the file that the requirement names")
        return read_onnx(file or b"", "expert").graph
    need(asked.gain and all(len(row) == len(rest) for row in asked.gain), Code.BAD_SHAPE, "expert.gain", "a row has one number for each state")
    gain = rationals(asked.gain)
    return b.build([b.affine(b.input(len(rest)), affine_from_rational((-gain).tolist(), (gain @ rationals(rest)).tolist()))])


def _limited(setting: Setting, b: Builder, policy: Graph | None, x: int) -> int:
    """The input that the plant applies where a policy sees x."""
    limits = setting.loop.limits
    if policy is None or policy.input_sizes != (b.size(x),) or list(map(policy.output_size, range(len(policy.outputs)))) != [len(limits)]:
        raise Refusal(Code.BAD_SHAPE, "expert", f"a policy with {b.size(x)} states and {len(limits)} inputs is expected")
    return b.clip(b.inline(policy, [x])[0], [lo for lo, _ in limits], [hi for _, hi in limits])


def _squares(b: Builder, z: int, weights: Vector) -> Graph:
    need(b.size(z) == len(weights), Code.BAD_SHAPE, "regret", f"{len(weights)} weights where {b.size(z)} are expected")
    return b.build([b.affine(b.unary("pow", z, 2), affine_from_rational([weights], [Fraction(0)]))])
