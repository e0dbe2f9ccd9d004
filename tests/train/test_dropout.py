"""Dropout as a part of a model, and of symbols: what is dropped, kept and drawn again.

That between the layers of a recurrent layer is in tests/bits and tests/api.
"""

import copy
import pickle
import threading

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn.train import Composite, Dropout, Embedding, Linear, Sequential

T, B, K = 7, 40, 30
WORDS = np.random.default_rng(1).integers(0, 50, (T, B))


def zeros_of(y):
    return np.asarray(y) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_dropped_or_scaled_and_gradients_alike(dtype):
    part, x = Dropout(0.25, seed=1), draw(T, B, K, dtype=dtype)
    y, cache = part.forward(x)
    gone = zeros_of(y)
    assert abs(gone.mean() - 0.25) < 0.02
    scale = np.dtype(dtype).type(1 / 0.75)
    assert same_bits(y[~gone], (x * scale)[~gone])
    dx = part.backward(cache, np.ones_like(x)).x
    assert same_bits(dx, np.where(gone, 0, scale).astype(dtype))
    assert same_bits(part(x), x)
    again, _ = part.forward(x)
    assert not np.array_equal(zeros_of(again), gone)
    assert same_bits(Dropout(0.25, seed=1).forward(x)[0], y)


def test_the_pattern_does_not_depend_on_the_dtype():
    found = [
        zeros_of(Dropout(0.5, seed=3).forward(draw(T, B, K, dtype=dtype))[0])
        for dtype in ("float32", "float64")
    ]
    assert np.array_equal(*found)


@pytest.mark.parametrize("batch_first", [False, True])
def test_variational_dropout_has_one_mask_for_all_steps(batch_first):
    part = Dropout(0.5, variational=True, batch_first=batch_first, seed=1)
    y, cache = part.forward(np.ones((T, B, K), "float32"))
    steps = y.swapaxes(0, 1) if batch_first else y
    assert np.array_equal(steps, np.broadcast_to(steps[:1], steps.shape))
    assert abs(zeros_of(y).mean() - 0.5) < 0.1
    assert len({row.tobytes() for row in steps[0]}) == steps.shape[1]
    assert same_bits(part.backward(cache, np.ones_like(y)).x, y)


def test_a_symbol_is_dropped_wherever_it_occurs():
    embedding, plain = Embedding(50, 8, dropout=0.5, seed=1), Embedding(50, 8, seed=1)
    y, cache = embedding.forward(WORDS)
    gone = {int(w) for w in WORDS[zeros_of(y).all(axis=2)]}
    present = {int(w) for w in np.unique(WORDS)}
    assert 10 < len(gone) < len(present) - 10
    kept = ~np.isin(WORDS, [*gone])
    assert same_bits(y[kept], plain(WORDS)[kept] * np.float32(2))
    assert same_bits(embedding(WORDS), plain(WORDS))
    dy = draw(T, B, 8)
    dw = embedding.backward(cache, dy).weights["weight"]
    expected = plain.backward(plain.forward(WORDS)[1], dy).weights["weight"]
    for word in present:
        factor = np.float32(0 if word in gone else 2)
        assert np.array_equal(dw[word], expected[word] * factor), word
    for twin in (
        copy.copy(cache),
        copy.deepcopy(cache),
        pickle.loads(pickle.dumps(cache)),
    ):
        assert same_bits(twin.layer.backward(twin, dy).weights["weight"], dw)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dropout(0.5, seed=1),
        lambda: Embedding(50, 3, dropout=0.5, seed=1),
    ],
    ids=["dropout", "embedding"],
)
def test_copies_go_on_by_themselves_and_a_failed_call_gives_its_numbers_back(make):
    part = make()
    x = WORDS if isinstance(part, Embedding) else draw(T, B, K)
    part.forward(x)
    twins = [copy.deepcopy(part), pickle.loads(pickle.dumps(part))]
    for wrong in (np.array(["a"]), draw(3).astype("complex64")):
        with pytest.raises((TypeError, ValueError)):
            part.forward(wrong)
    expected = part.forward(x)[0]
    for twin in twins:
        assert repr(twin) == repr(part)
        assert same_bits(twin.forward(x)[0], expected)


def test_threads_draw_apart():
    part, found, x = Dropout(0.5, seed=1), [], np.ones((64, 64), "float32")

    def work():
        found.extend(part.forward(x)[0].tobytes() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*found}) == 80


def test_seeds_of_a_model_reach_its_drops_and_leave_weights_as_they_were():
    def make(*more):
        return Sequential(xr.GRU(K, 4), *more, Linear(4, 2), seed=5)

    plain, model = make(), make(Dropout(0.5, seed=1), Dropout(0.5, seed=1))
    assert same_bits(model[0].state_dict(), plain[0].state_dict())
    assert same_bits(model[3].state_dict(), plain[1].state_dict())
    first, second = (model[k].forward(np.ones((9, 9)))[0] for k in (1, 2))
    assert not np.array_equal(first, second)
    again = make(Dropout(0.5), Dropout(0.5))
    assert same_bits(again[1].forward(np.ones((9, 9)))[0], first)


class Dropped(Composite):
    def __init__(self):
        self.parts_of_it = [Dropout(0.5), Embedding(50, 3, dropout=0.5)]
        self.seed_parts(3)


def test_a_composite_knows_where_its_drops_stand():
    model, twin = Dropped(), Dropped()
    assert [*model._generator_states()] == ["parts_of_it.0", "parts_of_it.1"]
    for part, x in zip(model.parts_of_it, (draw(3, 3), WORDS), strict=True):
        part.forward(x)
    twin._set_generator_states(model._generator_states())
    for k, x in enumerate((draw(3, 3), WORDS)):
        expected = model.parts_of_it[k].forward(x)[0]
        assert same_bits(twin.parts_of_it[k].forward(x)[0], expected)


X = draw(3, 4)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: Dropout(1.0), ValueError, r"p: expected a number in \[0, 1\)"),
        (lambda: Dropout("a"), TypeError, "p: expected a number"),
        (lambda: Dropout(0.5, variational=1), TypeError, "variational: expected True"),
        (lambda: Dropout(0.5, seed=-1), ValueError, "seed"),
        (lambda: Embedding(3, 4, dropout=1.5), ValueError, "dropout: expected"),
        (lambda: Dropout(0.5, variational=True).forward(X), ValueError, r"\[T, B, ..."),
        (lambda: Dropout(0.5).forward([1, 2]), TypeError, "x: expected"),
        (lambda: Dropout(0.5)([1, 2]), TypeError, "x: expected"),
        (lambda: Dropout(0.5).backward(None, X), TypeError, "cache: expected one"),
        (
            lambda: (p := Dropout(0.5)).backward(p.forward(X)[1], X[:2]),
            ValueError,
            "dy: expected",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()
