"""Sequences of many lengths: side by side, and in batches whose order is N9's."""

import itertools

import numpy as np
import pytest
from arrays import same_bits

import exactrnn as xr
from exactrnn import train

WORDS = ["a", "be", "to", "sea", "sky", "tree", "earth", "spelling", "sound", "it"]
SIZES = [len(word) for word in WORDS]


def flat(lists):
    return [*itertools.chain.from_iterable(lists)]


@pytest.mark.parametrize("rest", [(), (2,), (2, 3)], ids=str)
def test_sequences_stand_side_by_side_with_zeros_behind(rest):
    draw = np.random.default_rng(0)
    sequences = [draw.standard_normal((n, *rest)).astype("float32") for n in (3, 0, 5)]
    padded, lengths = train.pad(sequences)
    assert (padded.shape, padded.dtype) == ((5, 3, *rest), np.float32)
    assert (lengths.tolist(), lengths.dtype) == ([3, 0, 5], np.int64)
    for n, own in enumerate(sequences):
        assert same_bits(padded[: len(own), n], own)
        assert not padded[len(own) :, n].any()


def test_lists_of_symbols_stay_integers_beside_an_empty_one():
    padded, lengths = train.pad([[], [3, 1], (2,)])
    assert padded.dtype.kind == "i"
    assert padded.tolist() == [[0, 3, 2], [0, 1, 0]]
    assert lengths.tolist() == [0, 2, 1]
    assert train.pad([[]])[0].shape == (0, 1)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("size", [1, 3, 4, 50])
def test_epoch_has_each_example_once_in_batches_of_like_length(seed, size):
    data = train.ragged_batches(WORDS, list, size, seed, lengths=SIZES)
    batches = list(data)
    assert len(batches) == len(data)
    assert sorted(flat(batches)) == sorted(WORDS)
    assert sorted(map(len, batches))[1:] == [min(size, 10)] * (len(data) - 1)
    ranges = sorted((min(map(len, b)), max(map(len, b))) for b in batches)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))


def test_order_belongs_to_the_seed_and_the_epoch():
    first, again, other = (
        train.ragged_batches(WORDS, list, 3, seed, lengths=SIZES) for seed in (5, 5, 6)
    )
    epochs = [list(first), list(first), list(first)]
    assert [list(again.epoch(k)) for k in range(3)] == epochs
    assert epochs[0] != epochs[1] != epochs[2]
    assert list(other) != epochs[0]
    mates = [{tuple(sorted(batch)) for batch in epoch} for epoch in epochs]
    assert not mates[0] == mates[1] == mates[2]


def test_order_is_the_one_that_it_always_was():
    data = train.ragged_batches(WORDS, "".join, 4, 7, lengths=SIZES)
    assert list(data.epoch(0)) == ["earthspelling", "skyseatreesound", "abetoit"]
    assert list(data.epoch(3)) == ["atoitbe", "seaskytreeearth", "soundspelling"]


def test_examples_are_shuffled_whole_without_lengths():
    data = train.ragged_batches(WORDS, list, 3, 0)
    epochs = [flat(data) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(WORDS)
    assert flat(train.ragged_batches(WORDS, list, 3)) == WORDS


def test_fit_trains_on_them_and_resumes_to_the_same_bytes(tmp_path):
    draw = np.random.default_rng(1)
    rows = [draw.standard_normal((n, 2)).astype("float32") for n in SIZES]

    def make(some):
        x, lengths = train.pad(some)
        return x, np.cumsum(x, axis=0), lengths

    def run(epochs, path, resume=False):
        model = train.Sequential(xr.GRU(2, 4), train.Linear(4, 2), seed=0)
        return train.fit(
            model,
            train.ragged_batches(rows, make, 4, 0, lengths=SIZES),
            train.mean_squared_error,
            train.Adam(model, lr=0.01),
            epochs=epochs,
            checkpoint=path,
            resume=resume,
        )

    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    history = run(4, whole)
    assert history.loss[-1] < history.loss[0]
    run(2, pieces)
    run(4, pieces, resume=True)
    assert whole.read_bytes() == pieces.read_bytes()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: train.pad([]), ValueError, "sequences: expected at least one"),
        (lambda: train.pad(3), TypeError, "sequences: expected a list"),
        (lambda: train.pad(np.array(3)), TypeError, "sequences: expected a list"),
        (
            lambda: train.pad(["ab", "c"]),
            TypeError,
            r"sequences\[0\]: expected numbers",
        ),
        (lambda: train.pad([[1], 2]), ValueError, r"sequences\[1\]: expected \[T\]"),
        (
            lambda: train.pad([np.zeros((1, 2)), np.zeros((3, 4))]),
            ValueError,
            r"sequences\[1\]: expected \[T, 2\], got \(3, 4\)",
        ),
        (lambda: train.ragged_batches([], list), ValueError, "examples: expected at"),
        (lambda: train.ragged_batches(iter([1]), list), TypeError, "examples"),
        (lambda: train.ragged_batches({"a": 1}, list), TypeError, "examples: .* list"),
        (lambda: train.pad({"a": [1]}), TypeError, "sequences: expected a list"),
        (lambda: train.ragged_batches([1], 5), TypeError, "make: expected a function"),
        (lambda: train.ragged_batches([1], list, 0), ValueError, "size"),
        (lambda: train.ragged_batches([1], list, seed=-1), ValueError, "seed"),
        (
            lambda: train.ragged_batches([1], list, lengths=[1, 2]),
            ValueError,
            r"lengths: expected \[N=1\], got \(2,\)",
        ),
        (
            lambda: train.ragged_batches([1], list, lengths=[0.5]),
            TypeError,
            "lengths: expected integers",
        ),
    ],
    ids=range(15),
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
