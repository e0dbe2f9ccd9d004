"""Linear algebra with defined bits, in float64: products, factors, the spectral radius.

NumPy's own goes to BLAS and LAPACK, whose bits depend on the machine. Here every sum of
products is a chain or a long sum of the library's kernels (contract N3), the rest is
elementwise; so the bits are the same for every instruction set and number of threads.

Factorisations go by blocks of BLOCK rows or columns: what has been done is brought to
a block by one matrix product of the kernels, so that NumPy's loops see blocks alone.
"""

from __future__ import annotations

import math

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import Array
from exactrnn._numeric.random import elementary

BLOCK = 32
"""Rows or columns that are factorised one by one between two matrix products."""
GATHERED = 64
"""Columns whose reflections are gathered before the others meet them; as fast as any.
"""
SQUARINGS = 40
"""The spectral radius is read from the norm of the matrix's 2**40-th power."""
CONDENSED_AFTER, CONDENSED_FROM = 12, 128
"""Squarings and least size after which a power is replaced by a smaller matrix."""
NEGLIGIBLE = 2.0**-40


def product(a: Array, b: Array) -> Array:
    """Return ``a @ b.T`` [M, N] of `a` [M, K] and `b` [N, K]: chains over K."""
    y = np.empty((len(a), len(b)))
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    _core.linear_forward(left, right, None, y, engine.isa(), engine.threads_for_calls())
    return y


def add_products(total: Array, a: Array, b: Array) -> None:
    """Add ``a.T @ b`` to `total` [M, K]: long sums over the rows of [N, M] and [N, K].

    Calls one after another, with numbers of rows N that are multiples of the long sum's
    chunk, give the bits of one call with all rows.
    """
    isa, threads = engine.isa(), engine.threads_for_calls()
    _core.linear_backward(b, total, a, None, total, None, isa, threads)


def norm(a: Array) -> float:
    """Return the root of the sum of squares."""
    squares = np.ascontiguousarray(a).reshape(-1)
    return math.sqrt(_core.long_sum_squares(squares, 0.0, engine.isa()))


def orthonormal_rows(a: Array) -> Array:
    """Return the Q of ``a = L Q`` for `a` [M, N] of full rank, M <= N.

    The rows of Q are orthonormal; L is lower triangular and its diagonal positive, so Q
    is the only one. Of a matrix of independent normal numbers it is uniform (Haar) on
    the orthogonal matrices: F. Mezzadri, "How to generate random matrices from the
    classical compact groups", Notices of the AMS 54(5), 2007, whose correction of signs
    is this sign of the diagonal.

    By Gram and Schmidt's method, which makes the diagonal positive by itself; done
    twice, so that Q is orthonormal to a few units in the last place.
    """
    return _gram_schmidt(_gram_schmidt(a))


def _gram_schmidt(a: Array) -> Array:
    q = np.array(a, np.float64)
    for start in range(0, len(q), BLOCK):
        block = q[start : start + BLOCK]
        _subtract_span(block, q[:start])
        for j in range(len(block)):
            row = block[j : j + 1]
            _subtract_span(row, block[:j])
            row /= norm(row)
    return q


def _subtract_span(rows: Array, basis: Array) -> None:
    """Take from `rows` what lies in the span of the orthonormal rows of `basis`."""
    if len(basis):
        rows -= product(product(rows, basis), basis.T)


def absorb_rows(R: Array, rows: Array) -> None:
    """Add rows to a least squares problem of which only the triangle is kept.

    With Q orthogonal, ``Q [R; rows.T]`` has a new triangle above zeros; `R` becomes it.

    By Householder's reflections, whose error is that of a change of each column by a
    few units in its last place: it does not square the condition number, as normal
    equations do. Each reflection meets one row of `R` and all that are added, so its
    vector is a 1 in that row above what is left in `rows`. They are gathered to
    ``1 - V T V.T`` by halves: R. Schreiber, C. Van Loan, "A storage-efficient WY
    representation for products of Householder transformations", SIAM J. Sci. Stat.
    Comput. 10(1), 1989; E. Elmroth, F. Gustavson, "Applying recursion to serial and
    parallel QR factorization", IBM J. Res. Dev. 44(4), 2000.

    Parameters
    ----------
    R : ndarray
        [K, C], upper triangular in its first K columns; changed in place. The columns
        after them are right-hand sides.
    rows : ndarray
        [C, N], the rows to add as columns, contiguous; used as scratch.
    """
    for start in range(0, len(R), GATHERED):
        stop = min(start + GATHERED, len(R))
        T = _reflect(R, rows, start, stop)
        _apply_reflections(R, rows, T, (start, stop, len(rows)))


def _reflect(R: Array, rows: Array, start: int, stop: int) -> Array:
    """Take columns start..stop out of `rows`, leave V in their place; return T."""
    if stop - start == 1:
        return _reflect_column(R, rows[start], start)
    middle = (start + stop) // 2
    left = _reflect(R, rows, start, middle)
    _apply_reflections(R, rows, left, (start, middle, stop))
    right = _reflect(R, rows, middle, stop)
    # The ones of V are in different rows: they do not meet.
    between = product(rows[middle:stop], rows[start:middle])
    T = np.zeros((stop - start, stop - start))
    T[: len(left), : len(left)] = left
    T[len(left) :, len(left) :] = right
    T[: len(left), len(left) :] = -product(product(left, between), right.T)
    return T


def _reflect_column(R: Array, column: Array, j: int) -> Array:
    """Take one column out of the rows, leave v in its place; return T [1, 1]."""
    isa, alpha = engine.isa(), float(R[j, j])
    if _core.long_sum_squares(column, 0.0, isa) == 0:
        column[:] = 0
        return np.zeros((1, 1))
    length = math.sqrt(_core.long_sum_squares(column, alpha * alpha, isa))
    beta = -math.copysign(length, alpha)
    column /= alpha - beta
    R[j, j] = beta
    return np.full((1, 1), (beta - alpha) / beta)


def _apply_reflections(
    R: Array, rows: Array, T: Array, columns: tuple[int, int, int]
) -> None:
    """Reflect columns middle..stop by the vectors in columns start..middle."""
    start, middle, stop = columns
    if middle == stop:
        return
    V, rest = rows[start:middle], rows[middle:stop]
    step = product(product(rest, V) + R[start:middle, middle:stop].T, T.T)
    R[start:middle, middle:stop] -= step.T
    add_products(rest, np.ascontiguousarray(-step.T), V)


def solve_triangle(R: Array, b: Array) -> Array:
    """Return `x` [K, M] with ``R @ x = b``, for `R` [K, K] upper triangular."""
    x = np.array(b, np.float64)
    for start in reversed(range(0, len(R), BLOCK)):
        stop = min(start + BLOCK, len(R))
        if stop < len(R):
            x[start:stop] -= product(R[start:stop, stop:], x[stop:].T)
        for j in reversed(range(start, stop)):
            x[j] /= R[j, j]
            x[start:j] -= R[start:j, j : j + 1] * x[j]
    return x


def triangle_condition(R: Array) -> float:
    """Return the condition number of a triangle [K, K], its columns brought to norm 1.

    ``||A|| ||inverse of A||`` in Frobenius's norm, at most K times that of the largest
    singular values. Reflections do not mind the size of columns, so nor does this.

    Returns
    -------
    float
        inf where `R` is singular.
    """
    scale = np.array([norm(column) for column in R.T])
    if not (np.diag(R).all() and scale.all()):
        return math.inf
    inverse = solve_triangle(R / scale, np.eye(len(R)))
    found = math.sqrt(len(R)) * norm(inverse)
    return found if math.isfinite(found) else math.inf


def spectral_radius(a: Array) -> float:
    """Return the largest absolute value of an eigenvalue of `a` [H, H].

    Gelfand's formula ``lim ||a**k|| ** (1/k)`` at k = 2**SQUARINGS, by squaring. It
    needs no convergence, so a complex pair of largest eigenvalues does not hurt it. The
    norm is Frobenius's; each power is scaled by a power of two, which is exact.

    The formula is above the limit by the factor C**(1/k), where C is what the norm of
    the powers keeps beyond their growth: by less than 1e-10 as long as C < e**100.
    Rounding adds what it adds to any eigenvalue: `a` is seen to about H * 1e-16 of its
    norm. More than a dozen equal eigenvalues in one Jordan block underflow; no random
    matrix has them.

    Returns
    -------
    float
        +0.0 where some power of `a` is zero.
    """
    power: Array = np.array(a, np.float64)
    scale = 0
    for squaring in range(SQUARINGS + 1):
        if squaring:
            power, scale = product(power, power.T), 2 * scale
        largest = np.abs(power).max()
        if largest == 0:
            return 0.0
        exponent = int(np.frexp(largest)[1])
        power, scale = np.ldexp(power, -exponent), scale + exponent
        if squaring == CONDENSED_AFTER and len(power) >= CONDENSED_FROM:
            power = _condense(power)
    # scale is below 2**53, so it is exact as a float.
    logs = elementary("log", np.array([norm(power), 2.0]))
    growth = (logs[0] + scale * logs[1]) * 2.0**-SQUARINGS
    return float(elementary("exp", np.array([growth]))[0])


def _condense(power: Array) -> Array:
    """Return a small matrix with the large eigenvalues of `power` [H, H].

    High powers have few rows that are not in the span of the others: those of the
    eigenvalues near the largest. With an orthonormal basis Q of them, power = S Q to
    within NEGLIGIBLE, and the eigenvalues of S Q are those of Q S = Q power Q'. What is
    neglected is divided by the power's exponent when the root is drawn. Where the basis
    comes to a quarter of H, `power` itself is returned.
    """
    rest, rows = power.copy(), list[Array]()
    while len(rows) < len(power) // 4:
        row, column = divmod(int(np.argmax(np.abs(rest))), len(power))
        if abs(rest[row, column]) < NEGLIGIBLE:
            basis = orthonormal_rows(np.stack(rows))
            return product(basis, product(basis, power))
        direction = rest[row] / norm(rest[row])
        rows.append(direction)
        rest -= product(rest, direction[None]) * direction
    return power
