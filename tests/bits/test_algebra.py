"""Linear algebra with defined bits: LAPACK judges it, one frozen number its bits."""

import numpy as np
import pytest
from arrays import same_bits

from exactrnn._numeric import algebra, random


def normal(*shape, seed=3):
    return random.normal(shape, random.make_generator(seed))


# Orthonormal rows


SHAPES = [(1, 1), (1, 4), (5, 5), (33, 33), (64, 70), (130, 130)]


@pytest.mark.parametrize("shape", SHAPES)
def test_orthonormal_rows_are_the_factor_with_a_positive_diagonal(shape):
    a = normal(*shape)
    Q = algebra.orthonormal_rows(a)
    assert np.abs(Q @ Q.T - np.eye(len(Q))).max() < 1e-14
    L = a @ Q.T
    assert np.abs(np.triu(L, 1)).max() < 1e-12
    assert np.diag(L).min() > 0
    q, r = np.linalg.qr(a.T)
    np.testing.assert_allclose(Q, (q * np.sign(np.diag(r))).T, atol=1e-11)


def test_orthonormal_rows_of_nearly_dependent_ones_are_orthonormal():
    a = np.tile(normal(1, 40), (20, 1))
    a += 1e-7 * normal(*a.shape, seed=6)
    Q = algebra.orthonormal_rows(a)
    assert np.abs(Q @ Q.T - np.eye(20)).max() < 1e-14


def test_orthogonal_matrices_are_uniform():
    # Haar: the trace has variance 1 (uncorrected signs of a QR give another), an
    # element 1/n, and determinants are of either sign equally often.
    generator = random.make_generator(5)
    drawn = [random.normal((3, 3), generator) for _ in range(4000)]
    Q = np.stack([algebra.orthonormal_rows(matrix) for matrix in drawn])
    traces = np.trace(Q, axis1=1, axis2=2)
    assert abs(traces.mean()) < 0.06
    assert abs(traces.var() - 1) < 0.08
    assert np.abs(Q.mean(axis=0)).max() < 0.04
    assert np.abs((Q**2).mean(axis=0) - 1 / 3).max() < 0.02
    assert abs(np.mean(np.linalg.det(Q) > 0) - 0.5) < 0.03


# Sums of products


def test_sums_of_products_in_parts_have_the_bits_of_one_call():
    a, b = normal(1500, 3), normal(1500, 4, seed=4)
    whole, parts = np.zeros((3, 4)), np.zeros((3, 4))
    algebra.add_products(whole, a, b)
    for start in range(0, 1500, 512):
        rows = slice(start, start + 512)
        algebra.add_products(parts, a[rows], b[rows])
    assert same_bits(parts, whole)
    np.testing.assert_allclose(whole, a.T @ b, rtol=1e-12)


# Spectral radius


def largest_eigenvalue(a):
    return np.abs(np.linalg.eigvals(a)).max()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 50, 127, 128, 200])
@pytest.mark.parametrize("seed", range(3))
def test_spectral_radius_is_lapacks(size, seed):
    a = normal(size, size, seed=seed)
    np.testing.assert_allclose(algebra.spectral_radius(a), largest_eigenvalue(a), 1e-9)
    a[random.unit(a.shape, a.dtype, random.make_generator(seed)) < 0.7] = 0
    np.testing.assert_allclose(
        algebra.spectral_radius(a), largest_eigenvalue(a), 1e-7, atol=1e-12
    )


@pytest.mark.parametrize("size", [8, 150])
def test_spectral_radius_of_a_rotation_and_of_a_symmetric_matrix(size):
    # All eigenvalues of one size, which no power of the matrix sets apart.
    Q = algebra.orthonormal_rows(normal(size, size))
    assert abs(algebra.spectral_radius(3 * Q) / 3 - 1) < 1e-9
    S = normal(size, size)
    S += S.T
    np.testing.assert_allclose(algebra.spectral_radius(S), largest_eigenvalue(S), 1e-9)


def test_spectral_radius_of_a_matrix_far_from_normal():
    a = np.triu(normal(40, 40), 1) * 100 + np.diag(np.linspace(0.1, 0.9, 40))
    assert abs(algebra.spectral_radius(a) / 0.9 - 1) < 1e-9
    jordan = np.eye(12) + np.eye(12, k=1)
    assert abs(algebra.spectral_radius(jordan) - 1) < 1e-8


def test_spectral_radius_of_a_nilpotent_matrix_is_zero():
    assert algebra.spectral_radius(np.triu(normal(40, 40), 1)) == 0
    assert algebra.spectral_radius(np.zeros((3, 3))) == 0


@pytest.mark.parametrize("exponent", [-900, 900])
def test_spectral_radius_is_scaled_exactly(exponent):
    a = normal(20, 20)
    radius = algebra.spectral_radius(np.ldexp(a, exponent))
    np.testing.assert_allclose(np.ldexp(radius, -exponent), largest_eigenvalue(a), 1e-9)


def test_large_spectral_radius_has_frozen_bits(isa, threads):
    radius = algebra.spectral_radius(normal(200, 200))
    assert radius.hex() == "0x1.ca910b93bcc8cp+3"
