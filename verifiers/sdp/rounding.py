r"""From floats to a proof: strict margin, dyadic rounding, exact rebuild.  What is proved is decided by exact arithmetic alone.

A solver's solution satisfies nothing exactly.  So ask it for a margin, round what it found to dyadic rationals, rebuild every matrix from plant,
weights and these numbers, and test the rebuilt matrices exactly (:mod:`verifiers.kernel.definite`); docs/theory/rounding.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

from verifiers.kernel.definite import Exact, is_positive_definite, is_positive_semidefinite, rationals
from verifiers.kernel.graph import Floats
from verifiers.kernel.polynomial import Monomial, Polynomial

BITS = 40
MARGIN = 1e-7
"""Smallest margin, relative to the largest entry, below which a solver's matrix is not worth rounding."""


def dyadic(values: Floats | Sequence[float], bits: int = BITS) -> Exact:
    r"""Round to the nearest multiples of :math:`2^{-b}`.

    Parameters
    ----------
    values : array
        Finite floats of any shape.
    bits : int
        b.

    Returns
    -------
    array of Fraction
        The same shape; each entry within :math:`2^{-b-1}` of the float.

    Raises
    ------
    ValueError
        For NaN or infinity.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a number to be rounded is not finite")
    return np.asarray(np.frompyfunc(lambda v: Fraction(round(Fraction(v) * 2**bits), 2**bits), 1, 1)(array), dtype=object)


def significant(values: Floats | Sequence[float], digits: int = BITS) -> Exact:
    r"""Round each float to ``digits`` significant bits: relative error at most :math:`2^{-d}`.

    Raises
    ------
    ValueError
        For NaN or infinity.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a number to be rounded is not finite")
    mantissa, exponent = np.frexp(array)
    whole = np.rint(np.ldexp(mantissa, digits))
    found = [Fraction(int(m)) * Fraction(2) ** (int(e) - digits) for m, e in zip(whole.flat, exponent.flat, strict=True)]
    return rationals(found).reshape(array.shape)


def symmetric(matrix: Floats, bits: int = BITS) -> Exact:
    """The symmetric part of a matrix (n, n), rounded (:func:`dyadic`)."""
    return dyadic((matrix + matrix.T) / 2, bits)


def margin(matrix: Floats) -> float:
    """The least eigenvalue of a symmetric float matrix (n, n), relative to its largest entry: an estimate, never a proof."""
    scale = float(np.abs(matrix).max(initial=0.0))
    return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0]) / scale if scale > 0 else 0.0


def semidefinite(matrix: Floats, bits: int = BITS) -> Exact | None:
    r"""A rational matrix near this one that is proved :math:`\succeq 0`, or None.

    The rounded matrix is tried as it is, then with a multiple of the identity added that covers rounding and the solver's error.
    """
    near = symmetric(matrix, bits)
    scale = max(float(np.abs(matrix).max(initial=0.0)), 2.0**-bits)
    for shift in (0.0, 2e-9, 1e-6):
        moved = near + np.eye(len(near), dtype=object) * dyadic([shift * scale + (shift > 0) * 2.0**-bits], bits + 8)[0]
        if is_positive_semidefinite(moved):
            return np.asarray(moved)
    return None


def gram(polynomial: Polynomial, basis: Sequence[Monomial], near: Floats, bits: int = BITS) -> Exact | None:
    r"""The rational Gram matrix of a polynomial nearest to a float one, proved :math:`\succ 0`, or None.

    .. math:: G_{ij} = \tilde G_{ij} - \frac{1}{n_\alpha}\Big(\sum_{k,l:\,z_k z_l = x^\alpha} \tilde G_{kl} - p_\alpha\Big),
              \qquad z_i z_j = x^\alpha

    with n_alpha the number of pairs (k, l) whose product is that monomial.

    Parameters
    ----------
    polynomial : Polynomial
        p, exact.
    basis : sequence of monomials
        z, length n.
    near : (n, n) array
        A float Gram matrix from a solver.
    bits : int
        Bits to which it is rounded first.

    Returns
    -------
    (n, n) array of Fraction or None
        G with :math:`z^\top G z = p` identically and :math:`G \succ 0`, both exact; None when p has a monomial that no product gives, or the
        projected matrix is not positive definite.

    References
    ----------
    .. [1] H. Peyrl, P. A. Parrilo, Computing sum of squares decompositions with rational coefficients, Theor. Comput. Sci. 409 (2008), eq. (8).
    """
    rounded, pairs = symmetric(near, bits), pairs_of(basis)
    if not set(polynomial.terms) <= set(pairs):
        return None
    for monomial, places in pairs.items():
        rows, columns = zip(*places, strict=True)
        excess = rounded[rows, columns].sum() - polynomial.terms.get(monomial, Fraction(0))
        rounded[rows, columns] = rounded[rows, columns] - Fraction(excess) / len(places)
    return rounded if is_positive_definite(rounded) else None


def pairs_of(basis: Sequence[Monomial]) -> dict[Monomial, list[tuple[int, int]]]:
    """Every monomial that is a product of two of the basis, and the places (i, j) of the Gram matrix that give it."""
    found: dict[Monomial, list[tuple[int, int]]] = {}
    for i, a in enumerate(basis):
        for j, b in enumerate(basis):
            found.setdefault(tuple(p + q for p, q in zip(a, b, strict=True)), []).append((i, j))
    return found


def texts(values: Iterable[Fraction]) -> list[str]:
    """Rationals as a certificate writes them."""
    return [str(Fraction(v)) for v in values]
