r"""``certctl export --format c``: the controller and a monitor of its certified region as C99, from a bundle that the kernel has just accepted.

Three functions: ``NAME_command`` is the controller file's own output, ``NAME_control`` the same within the input limits (what the proved loop
applies), and ``NAME_inside`` the monitor.  No allocation, no recursion, no array of variable length, no global state.

Theorem.  On a machine with binary64 arithmetic rounded to nearest, with subnormal numbers, ``NAME_inside(x) == 1`` implies that the state whose
coordinates are the doubles x lies in the certified region :math:`\bigcup_k \{V_k \le c_k\} \cap D` (docs/theory/monitor.md).  The monitor
encloses V with every rounding counted, and answers 1 only where the *upper* end is at most the level rounded down; NaN, infinity, overflow and a
machine found to round otherwise give 0.  Direction: under-approximation; a state of the region within the rounding of its edge may get 0.

The monitor says nothing about the rounding of the control law itself, sampling, measurement or delay: the assumptions of the certificate stay.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from certctl.bridges.c_source import EnclosedWriting, PointWriting, library, number
from certctl.report.hold import hold_interval
from certctl.report.words import not_claimed, statement
from certctl.view import StageView, View
from verifiers.kernel.graph import Interval
from verifiers.kernel.rational import down, up

_INCLUDES = "#include <float.h>\n#include <math.h>"
_GUARD = """\
#if defined(__FAST_MATH__)
#error "compile without -ffast-math: the monitor's error bounds need IEEE 754 arithmetic"
#endif
#if FLT_RADIX != 2 || DBL_MANT_DIG != 53 || DBL_MAX_EXP != 1024
#error "double must be binary64 of IEEE 754"
#endif
#if FLT_EVAL_METHOD != 0
#error "compile so that double is evaluated as double (for example -msse2 -mfpmath=sse)"
#endif"""


class NotAccepted(ValueError):
    """A bundle that the kernel did not accept, from which nothing is exported: one sentence."""


def identifier(name: str) -> str:
    """A name as an identifier of C, with ASCII letters, digits and underscores."""
    found = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").lower() or "controller"
    return f"c_{found}" if found[0].isdigit() else found


def comment(text: object) -> str:
    """Text that cannot end a comment, continue a line or form a trigraph; printable ASCII."""
    plain = "".join(c if " " <= c <= "~" else _ASCII.get(c, "?") for c in str(text)).replace("\\", "/")
    return re.sub(r"\?{2,}", "?", plain.replace("*/", "* /").replace("/*", "/ *"))


_ASCII = {"≤": "<=", "≥": ">=", "·": "*", "∩": " and ", "−": "-", "–": "-", "²": "^2", "×": "x", "⁺": "+", "…": "...", "∞": "inf", "\n": " "}


def certified_stages(view: View) -> tuple[StageView, ...]:
    """The stages whose union is the certified region: all of an attraction claim, the last one of practical stability and invariance."""
    attraction = view.receipt.property in ("asymptotic_stability_roa", "exponential_stability_roa")
    return view.stages if attraction else view.stages[-1:]


def write_c(view: View, folder: Path, name: str | None = None) -> list[Path]:
    """Write ``NAME.h`` and ``NAME.c``.

    Parameters
    ----------
    view : View
        An opened bundle that the kernel accepted.
    folder : Path
        Where to; made when it is missing.
    name : str, optional
        Prefix of files and functions; default: the requirement's name.

    Returns
    -------
    list of Path
        The header and the source.

    Raises
    ------
    NotAccepted
        When the kernel did not accept the bundle.
    """
    if not view.is_certified or not (view.stages or view.law is not None):
        raise NotAccepted(f"the kernel says {view.receipt.outcome} ({view.receipt.code} at {view.receipt.at}); only an accepted bundle of a loop or "
                          "an explicit law becomes code")
    prefix = identifier(name or view.receipt.name)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    texts = (header(view, prefix), source(view, prefix)) if view.law is None else _of_law(view, prefix)
    for suffix, text in zip((".h", ".c"), texts, strict=True):
        written.append(folder / f"{prefix}{suffix}")
        written[-1].write_text(text, encoding="ascii", newline="\n")
    return written


def _of_law(view: View, prefix: str) -> tuple[str, str]:
    from certctl.bridges.c_law import law_header, law_source, open_law

    law, receipt, big = open_law(view), view.receipt, prefix.upper()
    box = [f"x[{i}] from {float(lo):.9g} to {float(hi):.9g}" for i, (lo, hi) in enumerate(zip(law.lb, law.ub, strict=True))]
    about = _block([f"{receipt.name}: written by certctl from a bundle that its kernel accepted ({receipt.level}); do not edit.", "",
                    f"bundle      sha256 {receipt.bundle_digest}", f"controller  sha256 {receipt.controller_sha256}", "",
                    f"Claim: {statement(view)}", "", "Not claimed:", *(f"- {line}" for line in not_claimed(view)), "",
                    "Parameters, in this order:", *box])
    head = "\n\n".join([about, f"#ifndef {big}_H\n#define {big}_H", *law_header(law, prefix), f"#endif /* {big}_H */"]) + "\n"
    sha = f'const char {prefix}_bundle_sha256[65] = "{receipt.bundle_digest}";'
    return head, "\n\n".join([_INCLUDES, f'#include "{prefix}.h"', _GUARD, sha, law_source(law, prefix)]) + "\n"


def _block(lines: Iterable[object]) -> str:
    wrapped = [part for line in lines for part in (textwrap.wrap(comment(line), 110, subsequent_indent="  ") or [""])]
    return "/*\n" + "\n".join(f" * {line}".rstrip() for line in wrapped) + "\n */"


def _shown(bound: Interval | None) -> str:
    if bound is None:
        return "none"
    return f"{float(bound[0]):.9g}" if bound[0] == bound[1] else f"unknown in [{float(bound[0]):.6g}, {float(bound[1]):.6g}]"


def _limit(bound: Interval | None) -> str | None:
    """A limit as a constant of C; None where there is none, or where it is only known to lie in an interval."""
    return None if bound is None or bound[0] != bound[1] else number(float(bound[0]))


def header(view: View, prefix: str) -> str:
    """The header: what is claimed of which bytes, signals with units and limits, and the functions."""
    setting, receipt, big = view.drawn, view.receipt, prefix.upper()
    loop, n, m = setting.loop, len(setting.spec.states), len(setting.spec.inputs)
    about: list[object] = [
        f"{receipt.name}: written by certctl from a bundle that its kernel accepted ({receipt.level}); do not edit.", "",
        f"bundle      sha256 {receipt.bundle_digest}", f"controller  sha256 {receipt.controller_sha256}",
        f"requirement {receipt.requirement_source}", "", f"Claim: {statement(view)}", "", "Not claimed:",
        *(f"- {line}" for line in not_claimed(view)),
        "", "Assumptions:", *(f"- {line}" for line in receipt.assumptions)]
    parts = [_block(about), f"#ifndef {big}_H\n#define {big}_H", f"#define {big}_STATES {n}"]
    states = [f"x[{i}]  {s.name} [{s.unit}], certified domain {float(lo):.9g} to {float(hi):.9g}"
              for i, (s, lo, hi) in enumerate(zip(setting.spec.states, setting.lo, setting.hi, strict=True))]
    parts.append(_block(["States, in this order and in these units:", *states]))
    if m:
        lines, defines = ["Inputs, and the limits at which the plant of the proof clips them:"], [f"#define {big}_INPUTS {m}"]
        for i, (s, ends) in enumerate(zip(setting.spec.inputs, loop.limits, strict=True)):
            lines.append(f"u[{i}]  {s.name} [{s.unit}], {' to '.join(map(_shown, ends))}")
            defines += [f"#define {big}_U{i}_{side} ({text})" for side, text in zip(("MIN", "MAX"), map(_limit, ends), strict=True) if text]
        parts += [_block(lines), "\n".join(defines)]
        parts.append(_block(_timing(view)))
    parts += [f"extern const char {prefix}_bundle_sha256[65];"]
    if m:
        parts += [
            "/* The controller file's own output, before any limit. */\n"
            f"void {prefix}_command(const double x[{big}_STATES], double u[{big}_INPUTS]);",
            "/* The command within the limits above, as the proved loop applies it. */\n"
            f"void {prefix}_control(const double x[{big}_STATES], double u[{big}_INPUTS]);"]
    region = " or ".join(f"{s.function} <= {float(s.level):.9g}" for s in certified_stages(view))
    parts += [_block([f"1 only if x lies in the certified region: {region}, within the domain.",
                      "0 outside, within rounding of the edge, for NaN, and on a machine that does not round to nearest."])
              + f"\nint {prefix}_inside(const double x[{big}_STATES]);", f"#endif /* {big}_H */"]
    return "\n\n".join(parts) + "\n"


def _timing(view: View) -> list[object]:
    wanted = view.drawn.requirement
    if wanted.dt is not None:
        return [f"Discrete time: call once per step of dt = {float(wanted.dt):.9g} s and hold the input in between."]
    hold = hold_interval(view)
    says = ["Continuous time: the claim does not cover sampling."]
    if hold is not None and hold.limit_s is not None:
        says.append(f"With a zero-order hold the linearisation stays stable up to about {hold.limit_s:.3g} s (numerical, not proved).")
    return list(says)


def source(view: View, prefix: str) -> str:
    """The source: tables, arithmetic, controller and monitor."""
    setting, n = view.drawn, len(view.drawn.spec.states)
    functions, needs, sizes = list[str](), {"rounds_to_nearest", "enclosure", "between"}, dict[str, int]()
    command = setting.loop.command
    if command is not None:
        writing = PointWriting("command")
        functions.append(writing.write(command, f"void {prefix}_command(const double x[{prefix.upper()}_STATES], double u[{prefix.upper()}_INPUTS])",
                                       ["x"], "u"))
        needs |= writing.needs
        sizes[f"{prefix}_command"] = writing.bytes
        functions.append(_control(view, prefix))
    tests = []
    for k, stage in enumerate(certified_stages(view)):
        enclosed = EnclosedWriting(f"stage{k}")
        functions.append(enclosed.write(stage.graph, f"static void stage{k}(const enclosure *x, enclosure *v)", ["x"], "v"))
        needs |= enclosed.needs
        sizes[f"stage{k}"] = enclosed.bytes
        tests.append(f"    stage{k}(y, &v); /* {comment(stage.identifier)}: {comment(stage.function)} <= {comment(_short(stage.level))} */\n"
                     f"    if (v.lo <= v.hi && v.hi <= {number(down(stage.level))})\n        return 1;")
    functions.append(_inside(view, prefix, n, tests))
    stack = ", ".join(f"{name} {size}" for name, size in sizes.items())
    heads = [_block([f"{view.receipt.name}: written by certctl from bundle sha256 {view.receipt.bundle_digest}; do not edit.",
                     "Compile as C99 with double arithmetic (no -ffast-math). Static arrays only; bytes of vectors on the stack: " + stack + ".",
                     "Constants are hexadecimal and exact. Every end of an enclosure is moved outward after every operation."]),
             _INCLUDES, f'#include "{prefix}.h"', _GUARD,
             f'const char {prefix}_bundle_sha256[65] = "{view.receipt.bundle_digest}";']
    return "\n\n".join([*heads, library(needs), *functions]) + "\n"


def _short(value: Fraction) -> str:
    return str(value) if len(str(value)) <= 20 else f"{float(value):.9g}"


def _control(view: View, prefix: str) -> str:
    big, lines = prefix.upper(), []
    for i, ends in enumerate(view.drawn.loop.limits):
        for sign, side, bound in zip("<>", ("MIN", "MAX"), ends, strict=True):
            if _limit(bound) is not None:
                lines.append(f"    if (u[{i}] {sign} {big}_U{i}_{side})\n        u[{i}] = {big}_U{i}_{side};")
    head = f"void {prefix}_control(const double x[{big}_STATES], double u[{big}_INPUTS])"
    return "\n".join([head, "{", f"    {prefix}_command(x, u);", *lines, "}"])


def _inside(view: View, prefix: str, n: int, tests: Sequence[str]) -> str:
    low, high = ([number(move(q)) for q in corner] for move, corner in ((up, view.drawn.lo), (down, view.drawn.hi)))
    return "\n".join([
        f"int {prefix}_inside(const double x[{prefix.upper()}_STATES])", "{",
        f"    static const double lo[{n}] = {{{', '.join(low)}}}, hi[{n}] = {{{', '.join(high)}}};", f"    enclosure y[{n}], v;",
        "    if (!rounds_to_nearest())\n        return 0;", f"    for (int i = 0; i < {n}; ++i) {{",
        "        if (!(x[i] >= lo[i] && x[i] <= hi[i]))\n            return 0;", "        y[i] = between(x[i], x[i]);", "    }",
        *tests, "    return 0;", "}"])
