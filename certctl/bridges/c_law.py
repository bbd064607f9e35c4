r"""An explicit law as C99: a walk down its tree, in doubles for the command, in enclosures for the monitor.

``NAME_command(x, u)`` writes the law's value and returns 1, or NaN and 0 where the law has none.  ``NAME_inside(x)`` is the monitor.

Theorem.  On a machine as in :mod:`certctl.bridges.c_code`, ``NAME_inside(x) == 1`` implies that the parameters x lie in the box and that the law
has a value there, which by the certificate is the optimiser of the problem.  The monitor follows a branch only where the *enclosure* of a·x + c
decides its sign, so it takes the branches of exact arithmetic, and answers 0 otherwise.  Direction: under-approximation.  It does not say that a
loop with the law is stable, nor that the next state is feasible again.
"""

from __future__ import annotations

from fractions import Fraction

from certctl.bridges.c_source import library, listing, number
from certctl.view import View
from verifiers.explicit_mpc.law import Law, from_json
from verifiers.kernel.rational import down, up


def open_law(view: View) -> Law:
    """The law of a bundle that was just checked, from the bytes with the digest that the kernel reported.

    Raises
    ------
    ValueError
        When the bundle is about something else.
    """
    if view.law is None or view.bundle is None or view.bundle.controller is None:
        raise ValueError("the bundle holds no explicit law")
    return from_json(view.bundle.controller, view.law.domain.lo, view.law.domain.hi)


def law_header(law: Law, prefix: str) -> list[str]:
    """Declarations for the header."""
    big = prefix.upper()
    return [
        f"#define {big}_STATES {len(law.lb)}\n#define {big}_INPUTS {law.outputs}", f"extern const char {prefix}_bundle_sha256[65];",
        "/* The law; returns 1, or writes NaN and returns 0 where it has no value. */\n"
        f"int {prefix}_command(const double x[{big}_STATES], double u[{big}_INPUTS]);",
        "/* 1 only if x lies in the box and the law has a value there; 0 outside, within rounding of a border, and for NaN. */\n"
        f"int {prefix}_inside(const double x[{big}_STATES]);"]


def law_source(law: Law, prefix: str) -> str:
    """Tables and functions for the source."""
    d, big = len(law.lb), prefix.upper()
    rows = [[Fraction(v) / max(map(abs, row)) for v in row] for row in law.halfspaces] or [[Fraction(0)] * (d + 1)]  # scaling keeps the sign
    after = law._after
    low, high = [down(q) for row in rows for q in row], [up(q) for row in rows for q in row]
    maps = [float(q) for entries in law.laws for row in entries for q in row] or [0.0]
    integers = {"TREE": law.tree, "AFTER": after}
    tables = [f"static const int {name}[{len(values)}] = {{{', '.join(map(str, values))}}};" for name, values in integers.items()]
    tables += [f"static const double {name}[{len(values)}] = {listing(values)};" for name, values in
               (("PLANE", [float(q) for row in rows for q in row]), ("PLANE_LO", low), ("PLANE_HI", high), ("MAP", maps))]
    inward = ([number(up(q)) for q in law.lb], [number(down(q)) for q in law.ub])
    box = f"    static const double lo[{d}] = {{{', '.join(inward[0])}}}, hi[{d}] = {{{', '.join(inward[1])}}};"
    outside = (f"    for (int i = 0; i < {d}; ++i)\n        if (!(x[i] >= lo[i] && x[i] <= hi[i]))\n            return -1;")
    walk = f"""\
static int leaf(const double *x)
{{
{box}
{outside}
    int at = 0;
    while (TREE[at] >= 0) {{
        const double *row = PLANE + TREE[at] * {d + 1};
        double sum = row[{d}];
        for (int j = 0; j < {d}; ++j)
            sum += row[j] * x[j];
        at = sum >= 0.0 ? at + 1 : AFTER[at];
    }}
    return TREE[at];
}}

static int sure_leaf(const double *x)
{{
{box}
{outside}
    int at = 0;
    while (TREE[at] >= 0) {{
        const int row = TREE[at] * {d + 1};
        enclosure sum = between(PLANE_LO[row + {d}], PLANE_HI[row + {d}]);
        for (int j = 0; j < {d}; ++j)
            sum = add_enclosed(sum, mul_enclosed(between(PLANE_LO[row + j], PLANE_HI[row + j]), between(x[j], x[j])));
        if (sum.lo >= 0.0)
            at = at + 1;
        else if (sum.hi < 0.0)
            at = AFTER[at];
        else
            return -1;
    }}
    return TREE[at];
}}"""
    command = f"""\
int {prefix}_command(const double x[{big}_STATES], double u[{big}_INPUTS])
{{
    const int entry = leaf(x);
    for (int i = 0; i < {law.outputs}; ++i) {{
        if (entry == -1) {{
            u[i] = HUGE_VAL - HUGE_VAL; /* not a number */
            continue;
        }}
        const double *row = MAP + ((-2 - entry) * {law.outputs} + i) * {d + 1};
        u[i] = row[{d}];
        for (int j = 0; j < {d}; ++j)
            u[i] += row[j] * x[j];
    }}
    return entry != -1;
}}

int {prefix}_inside(const double x[{big}_STATES])
{{
    return rounds_to_nearest() && sure_leaf(x) != -1;
}}"""
    needs = library({"rounds_to_nearest", "enclosure", "between", "add_enclosed", "mul_enclosed"})
    return "\n\n".join([needs, *tables, walk, command])
