"""A piecewise-affine law as the optimiser of a multiparametric quadratic program: hyperplane tree, exact KKT conditions, Farkas proofs."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from verifiers.kernel.bundle import Bundle
from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.definite import Exact, adjugate, is_positive_definite, is_positive_semidefinite, rationals
from verifiers.kernel.rational import parse
from verifiers.kernel.requirement import LawRequirement
from verifiers.kernel.strict import read_json, take

PROBLEM_FORMAT, FORMAT, OUTSIDE = "certctl-mpqp/1", "certctl-law/1", -1
MAX_DIGITS, MAX_DEPTH, MAX_SIZE = 4000, 400, 64
"""Characters of a number, questions above a leaf, and numbers of variables, parameters: more is declined."""


@dataclass(frozen=True, eq=False)
class Program:
    r"""min ½ z'Hz + (f + Fθ)'z subject to A z ≤ b + Bθ; affine functions of θ are rows that end with the constant.

    Attributes
    ----------
    weight, cost : (n, n), (n, d+1) arrays
        H, symmetric and positive definite, and [F f].
    matrix, limit : (m, n), (m, d+1) arrays
        A and [B b].
    """

    weight: Exact
    cost: Exact
    matrix: Exact
    limit: Exact


@dataclass(frozen=True, eq=False)
class Law:
    """A law as its file says it: rows (a, c) of half-spaces a·θ + c ≥ 0, maps [K k], and the tree in pre-order.

    In the tree ``s >= 0`` asks half-space s (the subtree of the points inside comes first), -1 is a leaf without value, -2-k one with map k.
    """

    outputs: int
    halfspaces: list[Exact]
    laws: list[Exact]
    tree: list[int]


def read_program(table: Any, d: int) -> Program:
    """Read problem.json, with d parameters.

    Raises
    ------
    Refusal
        ``BAD_PROBLEM``, ``BAD_NUMBER``, ``BAD_SHAPE``; ``NOT_DEFINITE`` unless H is symmetric and positive definite; ``TOO_LARGE``.
    """
    fields = take(table, "problem.json", {"format": str, **dict.fromkeys("HfFAbB", list)}, code=Code.BAD_PROBLEM)
    need(fields["format"] == PROBLEM_FORMAT, Code.BAD_PROBLEM, "problem.json", f"only {PROBLEM_FORMAT} is read")
    n, m = len(fields["H"]), len(fields["A"])
    need(0 < n <= MAX_SIZE and 0 < d <= MAX_SIZE and 0 < m, Code.TOO_LARGE, "problem.json", "there are too many variables or parameters, or no rows")
    shapes = {"H": (n, n), "f": (n,), "F": (n, d), "A": (m, n), "b": (m,), "B": (m, d)}
    data = {key: _array(fields[key], f"problem.json {key}", shape) for key, shape in shapes.items()}
    need(is_positive_definite(data["H"]), Code.NOT_DEFINITE, "problem.json H", "H is not symmetric and positive definite, so there is no unique law")
    return Program(data["H"], np.column_stack([data["F"], data["f"]]), data["A"], np.column_stack([data["B"], data["b"]]))


def read_law(table: Any) -> Law:
    """Read law.json, the file that is the controller.

    Raises
    ------
    Refusal
        ``BAD_LAW``, ``BAD_NUMBER``, ``BAD_SHAPE``, ``TOO_LARGE``.
    """
    types = {"format": str, "inputs": int, "outputs": int, "halfspaces": list, "laws": list, "tree": list}
    fields = take(table, "law.json", types, code=Code.BAD_LAW)
    need(fields["format"] == FORMAT, Code.BAD_LAW, "law.json", f"only {FORMAT} is read")
    need(0 < fields["inputs"] <= MAX_SIZE and 0 < fields["outputs"] <= MAX_SIZE, Code.TOO_LARGE, "law.json", "too many inputs or outputs, or none")
    width, least = fields["inputs"] + 1, -1 - len(fields["laws"])
    known = all(type(entry) is int and least <= entry < len(fields["halfspaces"]) for entry in fields["tree"])
    need(known, Code.BAD_LAW, "law.json tree", "an entry is neither a half-space nor a law of this file")
    return Law(fields["outputs"], [*_whole(_array(fields["halfspaces"], "law.json halfspaces", (len(fields["halfspaces"]), width)))],
               [_array(rows, "law.json laws", (fields["outputs"], width)) for rows in fields["laws"]], fields["tree"])


def _array(items: Any, at: str, shape: tuple[int, ...]) -> Exact:
    """Rationals of the given shape, as an array."""
    need(type(items) is list and len(items) == shape[0], Code.BAD_SHAPE, at, f"numbers of shape {shape} are expected here")
    read = [parse(item, at, MAX_DIGITS) for item in items] if len(shape) == 1 else [_array(item, at, shape[1:]) for item in items]
    return rationals(read).reshape(shape)


def _whole(rows: Exact) -> Exact:
    """Each row times the positive number that makes it integers without common factor."""
    scaled = [row * math.lcm(*(q.denominator for q in row)) for row in rows]
    return rationals([[int(q) // (math.gcd(*map(int, row)) or 1) for q in row] for row in scaled]).reshape(rows.shape)


def _indices(items: Any, below: int, at: str) -> list[int]:
    """A list of different whole numbers from 0 to below."""
    good = type(items) is list and all(type(i) is int and 0 <= i < below for i in items) and len(set(items)) == len(items)
    need(good, Code.MALFORMED_CERTIFICATE, at, f"a list of different numbers below {below} is expected here")
    return list(items)


def _pair(item: Any, at: str) -> tuple[Any, Any]:
    need(type(item) is list and len(item) == 2, Code.MALFORMED_CERTIFICATE, at, "a pair is expected here")
    return item[0], item[1]


def check_law(program: Program, law: Law, proof: Any, lo: Exact, hi: Exact, part: tuple[int, int] = (0, 1),
              loop: tuple[Exact, Exact] | None = None, stable: bool = False) -> tuple[int, int]:
    r"""Check that the law is the optimiser of the program, in its first p components, on the whole box; and that a loop with it stays feasible,
    or is exponentially stable too.

    Parameters
    ----------
    program, law
        n variables, m rows, d parameters; p <= n outputs.
    proof : object
        ``optimisers`` (for each map of the law: ``active`` rows, ``rest`` of z below the first p components, ``multipliers``), ``rays`` (lists of
        pairs of row and number) and ``leaves`` (in pre-order; with a map: pairs of basis and conditions; without: ray and basis).  With a loop
        also ``images``: for each leaf the pairs of basis and conditions of its image, which are the rays' functions, then the ends of the box.
        For stability also ``stability`` (:func:`check_stability`).
    lo, hi : (d,) arrays
        The box.
    part : (i, n)
        Check only every n-th leaf, starting at i.
    loop : (A, B), optional
        (d, d) and (d, p) arrays: wherever the law has a value u(θ) it must have one at A θ + B u(θ), in the box.
    stable : bool
        Whether the loop must be exponentially stable about the origin too, from wherever the law has a value.

    Returns
    -------
    (leaves, outside)
        Numbers of leaves checked, and of those among them without value.

    Raises
    ------
    Refusal
        ``NOT_OPTIMAL``, ``NOT_INFEASIBLE``, ``IMAGE``, ``TREE_INCOMPLETE``, ``TREE_TRAILING``, ``MALFORMED_CERTIFICATE``, ``BAD_SHAPE``,
        ``TOO_LARGE``, and those of :func:`check_stability`.

    Notes
    -----
    Soundness: docs/theory/pwa_equivalence.md.  The tree sends each point of the box to one leaf, a polyhedron given by the box and by its questions.
    In a leaf with a map, z(θ) fulfils stationarity and is tight in the active rows for every θ (equality of rational coefficients); multipliers and
    slacks are affine and are shown to be non-negative on the leaf as non-negative combinations of its rows (Farkas).  These are the KKT
    conditions, sufficient for a strictly convex program.  In a leaf without map, y ≥ 0 with A'y = 0 and y'(b + Bθ) < 0 on the leaf.  So a point
    of the box at which no ray's function is negative is in no leaf without map, and it is enough that the images of the other leaves are such.
    """
    d = len(lo)
    fields = take(proof, "proof", {"optimisers": list, "rays": list, "leaves": list, **({} if loop is None else {"images": list}),
                                     **({"stability": dict} if stable else {})})
    need(len(fields["optimisers"]) == len(law.laws), Code.MALFORMED_CERTIFICATE, "proof.optimisers", "there is one for each map of the law")
    conditions = [_conditions(program, *pair, f"optimiser {k}") for k, pair in enumerate(zip(law.laws, fields["optimisers"], strict=True))]
    rays = [_ray(program, ray, f"ray {k}") for k, ray in enumerate(fields["rays"])]
    eye = np.eye(d, dtype=object)
    walls = [(row, False) for row in _whole(np.vstack([np.column_stack([eye, -lo]), np.column_stack([-eye, hi])]))]
    need(all(len(row) == d + 1 for row in law.halfspaces), Code.BAD_SHAPE, "law.json", f"the law has another number of inputs than the box, {d}")
    kept = rationals([*rays, *(row for row, _ in walls)])
    images = [] if loop is None else [_images(kept, *loop, own, f"optimiser {k}") for k, own in enumerate(law.laws)]
    need(loop is None or len(fields["images"]) == len(fields["leaves"]), Code.MISSING_OBLIGATION, "proof.images", "there is one for each leaf")
    stack, checked, outside, proofs = [walls], 0, 0, iter(enumerate(fields["leaves"]))
    cells: list[tuple[list[tuple[Exact, bool]], int]] = []
    for entry in law.tree:
        need(stack, Code.TREE_TRAILING, "law.json tree", "entries follow the end of the tree")
        path = stack.pop()
        if entry >= 0:
            need(len(path) < MAX_DEPTH + 2 * d, Code.TOO_LARGE, "law.json tree", f"the tree is deeper than {MAX_DEPTH}")
            row = law.halfspaces[entry]
            stack += [[*path, (-row, True)], [*path, (row, False)]]
            continue
        k, leaf = next(proofs, (-1, None))
        need(leaf is not None, Code.MISSING_OBLIGATION, "proof.leaves", "a leaf has no proof")
        if entry != OUTSIDE:
            cells.append((path, -2 - entry))
        if k % part[1] != part[0]:
            continue
        at, checked = f"leaf {k}", checked + 1
        if entry == OUTSIDE:
            outside += 1
            _check_outside(rays, path, leaf, at)
        else:
            _check_optimal(conditions[-2 - entry], path, leaf, at)
            if loop is not None:
                _check_optimal(images[-2 - entry], path, fields["images"][k], at, Code.IMAGE)
    need(not stack, Code.TREE_INCOMPLETE, "law.json tree", "the tree ends before its leaves cover the box")
    need(next(proofs, None) is None, Code.UNEXPECTED_OBLIGATION, "proof.leaves", "there are more proofs than leaves")
    if stable:
        if loop is None:
            raise Refusal(Code.BAD_REQUIREMENT, "stable", "this is about a loop, and there is none")
        check_stability(cells, law.laws, loop, fields["stability"], part)
    return checked, outside


def check_stability(cells: list[tuple[list[tuple[Exact, bool]], int]], laws: list[Exact], loop: tuple[Exact, Exact], given: Any,
                    part: tuple[int, int] = (0, 1)) -> None:
    r"""Check that a function with one quadratic form per map falls along a loop that never leaves the cells: exponential stability.

    .. math:: V(θ) = (θ, 1)^T P_k (θ, 1) \ge m |θ|^2, \qquad V(A θ + B u(θ)) \le V(θ) - m |θ|^2

    Parameters
    ----------
    cells : list of (path, k)
        Every leaf with a value: rows with their strictness, and the number of its map.
    laws : list of (p, d+1) arrays
    loop : (A, B)
    given : object
        ``margin`` m, ``forms`` P (one for each map), ``positive`` (for each cell a list of products) and ``steps`` (for each pair of cells either
        ``falls``, a list of products, or ``empty``, pairs of row and number).  A product is two rows and a number.  Row 0 is the constant one, then
        come the rows of the cell, then those of the cell of the successor, as functions of θ.
    part : (i, n)
        Check only every n-th cell, starting at i.

    Raises
    ------
    Refusal
        ``NOT_DEFINITE``, ``DECREASE``, ``EMPTY_REGION`` where the law has no value at the origin, ``MISSING_OBLIGATION``, and what the readers raise.

    Notes
    -----
    Soundness: docs/theory/pwa_equivalence.md.  Products of rows are not negative where both rows are not, so a form less non-negative multiples of
    them that is semidefinite is not negative on the closed cells.  No pair is left out: one without ``falls`` has non-negative multiples of its
    rows that add up to a negative constant, so the closed sets do not meet.  V is single-valued, since each point is in one leaf; it need not be
    continuous.  A form whose closed cell holds the origin has no linear or constant part, so V is at most a multiple of |θ|² everywhere.
    """
    d, at = len(loop[0]), "proof.stability"
    fields = take(given, at, {"margin": str, "forms": list, "positive": list, "steps": list})
    margin, one = parse(fields["margin"], f"{at}.margin"), rationals([0] * d + [1])
    need(margin > 0, Code.DECREASE, f"{at}.margin", "the margin is not positive")
    need(len(fields["forms"]) == len(laws), Code.MISSING_OBLIGATION, at, "there is one form for each map of the law")
    need(len(fields["positive"]) == len(fields["steps"]) == len(cells), Code.MISSING_OBLIGATION, at, "each cell has its proofs")
    forms = [_array(form, f"{at}.forms", (d + 1, d + 1)) for form in fields["forms"]]
    unit = margin * np.diag(1 - one)
    home = any(all(row[d] > 0 or (row[d] == 0 and not strict) for row, strict in path) for path, _ in cells)
    need(home, Code.EMPTY_REGION, at, "the law has no value at the origin")
    for i, (path, k) in enumerate(cells):
        own = [one, *(row for row, _ in path)]
        pure = not forms[k][d].any() or any(row[d] < 0 for row in own)
        need(pure, Code.NOT_DEFINITE, f"cell {i}", "it holds the origin, and its form has a linear or constant part")
        if i % part[1] != part[0]:
            continue
        _check_form(forms[k] - unit, own, fields["positive"][i], Code.NOT_DEFINITE, f"cell {i}")
        after = np.vstack([loop[1] @ laws[k], one])
        after[:d, :d] = after[:d, :d] + loop[0]
        steps = fields["steps"][i]
        need(type(steps) is list and len(steps) == len(cells), Code.MISSING_OBLIGATION, f"cell {i}", "each pair of cells has its proof")
        for j, ((other, m), step) in enumerate(zip(cells, steps, strict=True)):
            rows, place = [*own, *(row @ after for row, _ in other)], f"step {i} to {j}"
            shown = take(step, place, {}, {"falls": list, "empty": list})
            need((shown["falls"] is None) != (shown["empty"] is None), Code.MALFORMED_CERTIFICATE, place, "one of falls and empty is expected here")
            if shown["empty"] is None:
                _check_form(forms[k] - unit - after.T @ forms[m] @ after, rows, shown["falls"], Code.DECREASE, place)
                continue
            pairs = [_pair(item, place) for item in shown["empty"]]
            chosen, y = _indices([r for r, _ in pairs], len(rows), place), _array([v for _, v in pairs], place, (len(pairs),))
            total = y @ rationals(rows)[chosen]
            need((y >= 0).all() and not total[:d].any() and total[d] < 0, Code.DECREASE, place, "it is not shown that there is no such step")


def _check_form(form: Exact, rows: list[Exact], products: list[Any], code: Code, at: str) -> None:
    """The form is not negative where no row is: less non-negative multiples of products of rows it is semidefinite."""
    need(type(products) is list, Code.MALFORMED_CERTIFICATE, at, "a list of products is expected here")
    for item in products:
        need(type(item) is list and len(item) == 3, Code.MALFORMED_CERTIFICATE, at, "a product is two rows and a number")
        (a,), (b,), value = _indices(item[:1], len(rows), at), _indices(item[1:2], len(rows), at), parse(item[2], at, MAX_DIGITS)
        need(value >= 0, code, at, "a multiplier is negative")
        both = value * np.outer(rows[a], rows[b])
        form = form - both - both.T
    need(is_positive_semidefinite(form), code, at, "the form is not shown to be non-negative")


def _conditions(program: Program, law: Exact, given: Any, at: str) -> Exact:
    """Rows (m, d+1) that must not be negative where the map is optimal: a multiplier for each active row, the slack for each other."""
    (m, n), (p, width) = program.matrix.shape, law.shape
    fields = take(given, at, {"active": list, "rest": list, "multipliers": list})
    active = _indices(fields["active"], m, at)
    need(width == program.limit.shape[1], Code.BAD_SHAPE, at, "the map has another shape than the program")
    z = np.vstack([law, _array(fields["rest"], at, (n - p, width))])
    multipliers = _array(fields["multipliers"], at, (len(active), width))
    rows = program.matrix[active]
    stationary = (program.weight @ z + program.cost + rows.T @ multipliers == 0).all()
    need(stationary, Code.NOT_OPTIMAL, at, "stationarity does not hold with these multipliers")
    found = program.limit - program.matrix @ z
    need((found[active] == 0).all(), Code.NOT_OPTIMAL, at, "an active row is not an equality")
    found[active] = multipliers
    return _whole(found)


def _images(kept: Exact, a: Exact, b: Exact, law: Exact, at: str) -> Exact:
    """Rows of the functions ``kept`` after the map θ -> A θ + B (K θ + k), as functions of θ."""
    d = kept.shape[1] - 1
    need(a.shape == (d, d) and b.shape == (d, len(law)), Code.BAD_SHAPE, at, "A does not have the size of the box, or B not the law's outputs")
    after = b @ law
    after[:, :-1] = after[:, :-1] + a
    moved = kept[:, :-1] @ after
    moved[:, -1] = moved[:, -1] + kept[:, -1]
    return _whole(moved)


def _ray(program: Program, given: Any, at: str) -> Exact:
    """The affine function y'(b + Bθ) of a y >= 0 with A'y = 0; the program is infeasible where it is negative."""
    need(type(given) is list, Code.MALFORMED_CERTIFICATE, at, "a list of pairs is expected here")
    pairs = [_pair(item, at) for item in given]
    rows, y = _indices([row for row, _ in pairs], len(program.matrix), at), _array([v for _, v in pairs], at, (len(pairs),))
    good = (y >= 0).all() and (y @ program.matrix[rows] == 0).all()
    need(good, Code.NOT_INFEASIBLE, at, "the numbers are negative, or do not cancel the rows of A")
    return np.asarray(_whole((y @ program.limit[rows])[None])[0])


def _combine(rows: Exact, path: list[tuple[Exact, bool]], basis: Any, at: str) -> tuple[Exact, Exact, list[int]]:
    """Write rows, times a positive number, as combinations of d independent rows of the path: factors, what remains of the constants, the basis."""
    d = rows.shape[1] - 1
    chosen = _indices(basis, len(path), at)
    need(len(chosen) == d, Code.MALFORMED_CERTIFICATE, at, f"a basis has {d} rows")
    base = rationals([path[i][0] for i in chosen])
    solved, scale = adjugate(base[:, :d])
    factors = rows[:, :d] @ solved
    return factors, scale * rows[:, d] - factors @ base[:, d], chosen


def _check_optimal(conditions: Exact, path: list[tuple[Exact, bool]], leaf: Any, at: str, code: Code = Code.NOT_OPTIMAL) -> None:
    """Every condition is a non-negative combination of the leaf's rows and of one, or the kernel refuses with the code."""
    need(type(leaf) is list, Code.MALFORMED_CERTIFICATE, at, "a list of pairs is expected here")
    shown = set[int]()
    for basis, which in (_pair(item, at) for item in leaf):
        chosen = _indices(which, len(conditions), at)
        factors, rest, _ = _combine(conditions[chosen], path, basis, at)
        need((factors >= 0).all() and (rest >= 0).all(), code, at, "a multiplier, slack or image is not shown to be >= 0 on this leaf")
        shown.update(chosen)
    need(len(shown) == len(conditions), code, at, "a condition of optimality, or of the image, is not shown")


def _check_outside(rays: list[Exact], path: list[tuple[Exact, bool]], leaf: Any, at: str) -> None:
    """The ray's function is negative on the leaf: its opposite is such a combination, with one that is strict."""
    which, basis = _pair(leaf, at)
    ray = rays[_indices([which], len(rays), at)[0]]
    (factors,), (rest,), chosen = _combine(-ray[None], path, basis, at)
    strict = rest > 0 or any(path[i][1] and factor > 0 for i, factor in zip(chosen, factors, strict=True))
    need((factors >= 0).all() and rest >= 0 and strict, Code.NOT_INFEASIBLE, at, "the program is not shown to be infeasible on this leaf")


def expected_claim(requirement: LawRequirement) -> dict[str, Any]:
    """The claim that answers a requirement."""
    loop: dict[str, Any] = {} if requirement.loop is None else {"loop": [[list(map(str, row)) for row in matrix] for matrix in requirement.loop]}
    loop |= {"stable": True} if requirement.stable else {}
    return {**loop, "property": requirement.property, "problem": requirement.problem_sha256, "outputs": requirement.outputs, "arithmetic": "real",
            "domain": {"lo": list(map(str, requirement.domain.lo)), "hi": list(map(str, requirement.domain.hi))}}


def check_equivalence(requirement: LawRequirement, bundle: Bundle, name: str, part: tuple[int, int]) -> tuple[str, int, float | None]:
    """Check the obligation ``pwa_equivalence`` of a bundle; gives the kind of its proof, the number of leaves, and no margin.

    Raises
    ------
    Refusal
        ``PROBLEM_MISMATCH`` for another problem than the requirement's, ``CLAIM_MISMATCH``, ``MISSING_OBLIGATION``, ``UNEXPECTED_OBLIGATION``,
        ``EMPTY_REGION`` for a law without a value, and what the readers and :func:`check_law` raise.
    """
    problem = bundle.files.get("problem.json", b"")
    same = hashlib.sha256(problem).hexdigest() == requirement.problem_sha256
    need(same, Code.PROBLEM_MISMATCH, "problem.sha256", "the problem in the bundle has another sha256 than the requirement says")
    want = expected_claim(requirement)
    for key in sorted({*bundle.claim, *want}):
        answers = key in want and key in bundle.claim and bundle.claim[key] == want[key]
        need(answers, Code.CLAIM_MISMATCH, f"claim.{key}", "the certificate claims something else than the requirement demands")
    need(not bundle.functions, Code.CLAIM_MISMATCH, "functions", "a law needs no function")
    need(name in bundle.obligations, Code.MISSING_OBLIGATION, name, "the property demands this obligation")
    extra = sorted(set(bundle.obligations) - {name})
    need(not extra, Code.UNEXPECTED_OBLIGATION, "".join(extra[:1]), "the property does not ask for this")
    proof = take(bundle.obligations[name], name, {"kind": str, "hints": dict})
    need(proof["kind"] == "pwa_tree", Code.UNSUPPORTED, name, "a law is proved by a pwa_tree")
    lo, hi = rationals(requirement.domain.lo), rationals(requirement.domain.hi)
    program = read_program(read_json(problem, "problem.json", Code.BAD_PROBLEM), len(lo))
    own = bundle.files.get("law.json", b"")
    need(own == bundle.controller, Code.MALFORMED_CERTIFICATE, "predicate.controller", "the controller of this property is law.json")
    law, outputs = read_law(read_json(own, "law.json", Code.BAD_LAW)), requirement.outputs or len(program.weight)
    need(law.outputs == outputs, Code.BAD_SHAPE, "law.json", f"the law has {law.outputs} outputs, {outputs} are required")
    loop = None if requirement.loop is None else (rationals(requirement.loop[0]), rationals(requirement.loop[1]))
    leaves, _ = check_law(program, law, read_json(bundle.read(proof["hints"], name), name), lo, hi, part, loop, requirement.stable)
    need(any(entry < OUTSIDE for entry in law.tree), Code.EMPTY_REGION, "law.json", "the law has no value anywhere in the domain")
    return proof["kind"], leaves, None
