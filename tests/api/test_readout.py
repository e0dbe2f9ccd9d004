"""The fit of an echo state network: as good as can be, also where the penalty is small.

The judges are exact: rational arithmetic, in which the normal equations lose nothing.
What is asked of a readout is the objective, the squared errors and the penalty: it is
to be within 1e-6 of the least there is.
"""

from fractions import Fraction

import numpy as np
import pytest
from arrays import draw, same_bits
from test_echo_state import mackey_glass

import exactrnn as xr
from exactrnn import _core
from exactrnn._numeric import algebra
from exactrnn.layers import _readout
from exactrnn.reference import arith
from exactrnn.reference.dense import linear_forward, long_sum_squares

RIDGES = [1e-14, 1e-12, 1e-10, 1e-6, 1.0]


def exact(array):
    """Return the numbers of an array as fractions."""
    return np.array([[Fraction(float(v)) for v in row] for row in array], dtype=object)


def least_squares(A, y, ridge):
    """Return the exact [b, W] of columns A [N, 1+K], by elimination."""
    M, x = A.T.dot(A), A.T.dot(y)
    for j in range(1, len(M)):
        M[j, j] += Fraction(ridge)
    for j in range(len(M)):
        for i in range(j + 1, len(M)):
            factor = M[i, j] / M[j, j]
            M[i, j:] -= factor * M[j, j:]
            x[i] -= factor * x[j]
    for j in reversed(range(len(M))):
        x[j] = (x[j] - M[j, j + 1 :].dot(x[j + 1 :])) / M[j, j]
    return x


def objective(A, y, ridge, x):
    errors = A.dot(x) - y
    return (errors * errors).sum() + Fraction(ridge) * (x[1:] * x[1:]).sum()


def sine(steps):
    return np.sin(0.2 * np.arange(steps))[:, None]


TASKS = {
    "sine": (sine(26), 25),
    "more units than steps": (sine(16), 22),
    "mackey-glass": (mackey_glass(41), 20),
    "two sines": (np.concatenate([sine(31), sine(62)[31:]], axis=1), 18),
}


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("task", TASKS)
def test_readout_is_the_best_there_is(task, ridge):
    series, units = TASKS[task]
    x, y = series[:-1], series[1:]
    size = series.shape[1]
    network = xr.EchoState(size, units, ridge=ridge, dtype="float64", seed=1)
    h = network.fit(x, y).states(x)
    A = exact(np.concatenate([np.ones((len(x), 1)), x, h], axis=1))
    weights = network.state_dict()
    found = np.concatenate([weights["bias_out"][None], weights["weight_out"].T])
    best = least_squares(A, exact(y), ridge)
    least = objective(A, exact(y), ridge, best)
    assert objective(A, exact(y), ridge, exact(found)) <= least * (1 + Fraction(1e-6))
    difference = found - best.astype(float)
    assert np.linalg.norm(difference) <= 1e-6 * np.linalg.norm(found)


def fit(x, y, ridge):
    used = np.ones(x.shape[:2], bool)
    return _readout.fit_readout(_readout.Samples((x, y), used), ridge)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("rows", [30, 2049, 5000])
def test_without_a_penalty_it_is_lapacks(rows, scale):
    x, y = draw(rows, 1, 20, dtype="f8"), draw(rows, 1, 3, dtype="f8", seed=1)
    x[..., 4] *= scale  # the size of a feature says nothing about the condition
    W, b = fit(x, y, 0.0)
    A = np.concatenate([np.ones((rows, 1)), x[:, 0]], axis=1)
    expected = np.linalg.lstsq(A / np.linalg.norm(A, axis=0), y[:, 0], rcond=None)[0]
    expected = expected.T / np.linalg.norm(A, axis=0)
    found = np.concatenate([b[:, None], W], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


DEPENDENT = {
    "two equal features": lambda x: x[..., 0],
    "a sum of the others": lambda x: x[..., :-1].sum(axis=-1),
    "a constant": lambda x: np.full(x.shape[:-1], 0.7),
    "nothing": lambda x: np.zeros(x.shape[:-1]),
}


@pytest.mark.parametrize("what", DEPENDENT)
@pytest.mark.parametrize("rows", [60, 20000])
def test_equations_that_do_not_say_what_the_readout_is_are_refused(rows, what):
    x, y = draw(rows, 1, 20, dtype="f8"), draw(rows, 1, 3, dtype="f8", seed=1)
    x[..., -1] = DEPENDENT[what](x)
    for ridge in (0.0,) if what == "nothing" else (0.0, 1e-40):
        with pytest.raises(ValueError, match="have a condition number of about"):
            fit(x, y, ridge)
    W, b = fit(x, y, 1e-10 * rows)
    assert np.isfinite(W).all()
    assert np.isfinite(b).all()


def test_fewer_rows_than_unknowns_need_a_penalty():
    x, y = draw(10, 1, 20, dtype="f8"), draw(10, 1, 3, dtype="f8", seed=1)
    with pytest.raises(ValueError, match=r"ridge: expected more than 0\.0, with which"):
        fit(x, y, 0.0)
    W, b = fit(x, y, 1e-12)
    np.testing.assert_allclose(x[:, 0] @ W.T + b, y[:, 0], atol=1e-9)


def test_a_refused_fit_leaves_the_old_readout():
    x, y = draw(30, 2, dtype="f8"), draw(30, 3, dtype="f8", seed=1)
    network = xr.EchoState(2, 50, dtype="float64", seed=1).fit(x, y)
    before = network.state_dict()
    network.ridge = 0.0
    with pytest.raises(ValueError, match="condition"):
        network.fit(x, 2 * y)
    network.ridge = 1e-6
    for bad in (np.nan, np.inf):
        wrong = np.where(np.arange(30)[:, None] == 7, bad, y)
        with pytest.raises(ValueError, match="expected finite numbers"):
            network.fit(x, wrong)
    assert same_bits(network.state_dict(), before)


def test_numbers_whose_squares_are_infinite_are_refused():
    x, y = draw(30, 1, 4, dtype="f8"), draw(30, 1, 3, dtype="f8", seed=1)
    x[3, 0, 2] = 1e200
    with pytest.raises(ValueError, match="expected finite numbers"):
        fit(x, y, 1e-3)


# Triangles


@pytest.mark.parametrize("columns", [1, 2, 63, 64, 65, 130])
@pytest.mark.parametrize("rows", [1, 40, 300])
def test_absorbed_rows_give_the_triangle_of_all(columns, rows):
    first, second = (
        draw(rows, columns + 2, dtype="f8", seed=s).T.copy() for s in (0, 1)
    )
    begin = np.zeros((columns, columns + 2))
    begin[np.arange(columns), np.arange(columns)] = 0.5
    R = begin.copy()
    algebra.absorb_rows(R, first.copy())
    algebra.absorb_rows(R, second.copy())
    assert not np.tril(R[:, :columns], -1).any()
    whole = np.concatenate([begin, first.T, second.T])
    products = whole.T @ whole
    scale = np.abs(products).max()
    assert np.abs(R.T @ R - products)[:columns].max() < 1e-13 * scale
    x = algebra.solve_triangle(R[:, :columns], R[:, columns:])
    expected = np.linalg.lstsq(whole[:, :columns], whole[:, columns:], rcond=None)[0]
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-11)


def test_condition_is_that_of_the_inverse_and_blind_to_scale():
    R = np.triu(draw(70, 70, dtype="f8")) + 4 * np.eye(70)
    scaled = R / np.linalg.norm(R, axis=0)
    expected = np.linalg.norm(scaled) * np.linalg.norm(np.linalg.inv(scaled))
    for scale in (1.0, 2.0 ** np.arange(70)):
        found = algebra.triangle_condition(R * scale)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    R[30, 30] = 0
    assert algebra.triangle_condition(R) == np.inf
    assert algebra.triangle_condition(np.zeros((3, 3))) == np.inf


# Bits


def test_bits_of_a_fit_do_not_depend_on_the_engine(isa, threads):
    # The fixtures are in force for the first of the two.
    x, y = draw(2500, 1, 70, dtype="f8"), draw(2500, 1, 3, dtype="f8", seed=1)
    found = fit(x, y, 1e-9)
    with xr.use_isa(xr.isas()[0]), xr.threads(1):
        assert same_bits(found, fit(x, y, 1e-9))


def test_bits_of_a_fit_are_those_of_the_reference(monkeypatch):
    x, y = draw(700, 1, 9, dtype="f8"), draw(700, 1, 2, dtype="f8", seed=1)
    found = fit(x, y, 1e-9)

    def add_products(total, a, b):
        total[...] = arith.long_sum(total, a, b)

    monkeypatch.setattr(algebra, "product", lambda a, b: linear_forward(a, b, None))
    monkeypatch.setattr(algebra, "add_products", add_products)
    monkeypatch.setattr(
        _core, "long_sum_squares", lambda x, init, _: long_sum_squares(x, init)
    )
    assert same_bits(found, fit(x, y, 1e-9))
