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
from exactrnn._random import elementary

BLOCK = 32
"""Rows or columns that are factorised one by one between two matrix products."""
SQUARINGS = 40
"""The spectral radius is read from the norm of the matrix's 2**40-th power."""
CONDENSED_AFTER, CONDENSED_FROM = 12, 128
"""Squarings and least size after which a power is replaced by a smaller matrix."""
NEGLIGIBLE = 2.0**-40


def product(a: Array, b: Array) -> Array:
    """Return ``a @ b.T`` [M, N] of `a` [M, K] and `b` [N, K]: chains over K."""
    y = np.empty((len(a), len(b)))
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    _core.linear_forward(left, right, None, y, engine.isa(), engine.get_num_threads())
    return y


def add_products(total: Array, a: Array, b: Array) -> None:
    """Add ``a.T @ b`` to `total` [M, K]: long sums over the rows of [N, M] and [N, K].

    Calls one after another, with numbers of rows N that are multiples of the long sum's
    chunk, give the bits of one call with all rows.
    """
    isa, threads = engine.isa(), engine.get_num_threads()
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


def cholesky(a: Array) -> Array:
    """Return the lower triangular L with ``a = L @ L.T``, of `a` [K, K].

    Only the lower triangle of `a` is read.

    Raises
    ------
    ValueError
        If `a` is not positive definite in float64.
    """
    L = np.tril(a)
    for start in range(0, len(L), BLOCK):
        stop = min(start + BLOCK, len(L))
        if start:
            L[start:, start:stop] -= product(L[start:, :start], L[start:stop, :start])
        for j in range(start, stop):
            if not L[j, j] > 0:
                raise ValueError(f"not positive definite at column {j}")
            L[j:, j] /= np.sqrt(L[j, j])
            L[j + 1 :, j + 1 : stop] -= L[j + 1 :, j : j + 1] * L[j + 1 : stop, j]
    return np.tril(L)


def cholesky_solve(L: Array, b: Array) -> Array:
    """Return `w` [O, K] with ``w @ (L @ L.T) = b``, for `b` [O, K]."""
    w = np.array(b, np.float64)
    for j in range(len(L)):
        w[:, j] /= L[j, j]
        w[:, j + 1 :] -= w[:, j : j + 1] * L[j + 1 :, j]
    for j in reversed(range(len(L))):
        w[:, j] /= L[j, j]
        w[:, :j] -= w[:, j : j + 1] * L[j, :j]
    return w


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
