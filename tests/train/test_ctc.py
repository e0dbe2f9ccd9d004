"""CTC is right: against all paths, central differences and torch; decoders likewise."""

import itertools
import math

import numpy as np
import pytest

import exactrnn as xr

rng = np.random.default_rng(5)


def spelled(path, blank=0):
    """Return what a path spells."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def probabilities_by_brute_force(logits, blank=0):
    """Return the probability of all labels that paths over ``[T, K]`` spell."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    found = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        labels = spelled(path, blank)
        along = np.prod([p[t, k] for t, k in enumerate(path)])
        found[labels] = found.get(labels, 0.0) + along
    return found


@pytest.mark.parametrize("T", range(7))
@pytest.mark.parametrize("blank", [0, 2])
def test_loss_sums_all_paths(T, blank):
    logits = 2 * rng.standard_normal((T, 3))
    found = probabilities_by_brute_force(logits, blank)
    symbols = [k for k in range(3) if k != blank]
    for n in range(4):
        for labels in itertools.product(symbols, repeat=n):
            losses, _ = xr.train.ctc_loss(
                logits[:, None], np.array([labels], np.int64).reshape(1, n), blank=blank
            )
            if labels in found:
                assert losses[0] == pytest.approx(-np.log(found[labels]), abs=1e-12)
            else:
                assert np.isposinf(losses[0])


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [1, 2, 1], [2, 2, 2, 1]], ids=str)
def test_gradient_is_that_of_the_loss(labels):
    logits = rng.standard_normal((9, 1, 4))
    given = np.array([labels], np.int64).reshape(1, -1)
    _, dlogits = xr.train.ctc_loss(logits, given)
    for t, k in itertools.product(range(9), range(4)):
        step = np.zeros_like(logits)
        step[t, 0, k] = 1e-5
        above, below = (xr.train.ctc_loss(logits + s, given)[0] for s in (step, -step))
        slope = (above[0] - below[0]) / 2e-5
        assert dlogits[t, 0, k] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize(("dtype", "within"), [("float64", 1e-11), ("float32", 3e-4)])
def test_torch_agrees_at_the_logits(dtype, within):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is absent")
    T, B, K, L = 50, 9, 20, 14
    logits = (2 * rng.standard_normal((T, B, K))).astype(dtype)
    labels = rng.integers(1, K, (B, L))
    labels[1] = 3
    lengths = rng.integers(L, T + 1, B)
    sizes = rng.integers(0, L + 1, B)
    lengths[1], sizes[1] = T, L
    lengths[2], sizes[2] = 3, L  # too short
    losses, dlogits = xr.train.ctc_loss(
        logits, labels, lengths, sizes, on_infeasible="zero"
    )
    given = torch.tensor(logits.astype("float64"), requires_grad=True)
    expected = torch.nn.functional.ctc_loss(
        torch.log_softmax(given, -1),
        *(torch.tensor(array) for array in (labels, lengths, sizes)),
        reduction="none",
        zero_infinity=True,
    )
    expected.sum().backward()
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=within)
    np.testing.assert_allclose(dlogits, given.grad.numpy(), atol=within)


def test_infeasible_rows_are_what_the_caller_asks_for():
    logits, labels = np.zeros((3, 3, 4)), [[1, 1, 0], [1, 2, 3], [2, 2, 2]]
    sizes = [2, 3, 3]
    losses, dlogits = xr.train.ctc_loss(logits, labels, label_lengths=sizes)
    assert np.isposinf(losses).tolist() == [False, False, True]
    assert not dlogits[:, 2].any()
    losses, _ = xr.train.ctc_loss(
        logits, labels, label_lengths=sizes, on_infeasible="zero"
    )
    assert losses[2] == 0
    with pytest.raises(ValueError, match=r"^labels: .* in rows 2$"):
        xr.train.ctc_loss(logits, labels, label_lengths=sizes, on_infeasible="raise")


ZEROS = np.zeros((4, 2, 3))
WRONG = {
    "logits of two axes": (
        {"logits": np.zeros((4, 3))},
        r"^logits: expected \[T, B, K",
    ),
    "no symbols": ({"logits": np.zeros((4, 2, 0))}, r"^logits: .* K >= 1"),
    "labels of one axis": (
        {"labels": [1, 2]},
        r"^labels: expected \[B=2, L\], got \(2",
    ),
    "rows of labels": ({"labels": [[1]]}, r"^labels: expected \[B=2, L\]"),
    "the blank": (
        {"labels": [[1, 0], [1, 2]]},
        r"^labels\[0, 1\]: .*without the blank",
    ),
    "no symbol": ({"labels": [[1, 1], [1, 3]]}, r"^labels\[1, 1\]: .*got 3"),
    "negative": ({"labels": [[1, 1], [-1, 1]]}, r"^labels\[1, 0\]: .*got -1"),
    "too long": ({"lengths": [4, 5]}, r"^lengths\[1\]: expected 0\.\.T=4, got 5"),
    "lengths of a row": ({"lengths": [4]}, r"^lengths: expected \[B=2\]"),
    "too many labels": (
        {"label_lengths": [3, 1]},
        r"^label_lengths\[0\]: .*L=2, got 3",
    ),
    "label lengths": ({"label_lengths": [[1, 1]]}, r"^label_lengths: expected \[B=2\]"),
    "blank": ({"blank": 3}, r"^blank: expected 0\.\.2 for K=3, got 3"),
    "choice": ({"on_infeasible": "nan"}, r"^on_infeasible: "),
}
WRONG_TYPES = {
    "integer logits": ({"logits": np.zeros((4, 2, 3), int)}, r"^logits: "),
    "half logits": ({"logits": np.zeros((4, 2, 3), "f2")}, r"^logits: "),
    "labels of floats": ({"labels": [[1.0, 1], [1, 2]]}, r"^labels: expected integers"),
    "lengths of floats": ({"lengths": [1.0, 2]}, r"^lengths: expected integers"),
    "label lengths": (
        {"label_lengths": [1.0, 2]},
        r"^label_lengths: expected integers",
    ),
    "blank": ({"blank": 0.5}, r"^blank: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_named(name):
    changed, message = WRONG[name]
    arguments = {"logits": ZEROS, "labels": [[1, 1], [1, 2]]} | changed
    with pytest.raises(ValueError, match=message):
        xr.train.ctc_loss(**arguments)


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_wrong_types_are_named(name):
    changed, message = WRONG_TYPES[name]
    arguments = {"logits": ZEROS, "labels": [[1, 1], [1, 2]]} | changed
    with pytest.raises(TypeError, match=message):
        xr.train.ctc_loss(**arguments)


def test_labels_may_be_unsigned_and_of_any_order():
    labels = np.asfortranarray(np.array([[1, 2], [2, 1]], np.uint8))
    expected = xr.train.ctc_loss(ZEROS, [[1, 2], [2, 1]])
    for ours, theirs in zip(xr.train.ctc_loss(ZEROS, labels), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_greedy_is_the_most_likely_path():
    logits = rng.standard_normal((30, 4, 5))
    lengths = [30, 0, 17, 1]
    for b, found in enumerate(xr.train.ctc_greedy_decode(logits, lengths)):
        path = logits[: lengths[b], b].argmax(axis=1)
        assert tuple(found.labels) == spelled(path)
        for label, frame in zip(found.labels, found.frames, strict=True):
            assert path[frame] == label
            assert frame == 0 or path[frame - 1] != label
        rest = logits[: lengths[b], b]
        logs = rest - np.log(np.exp(rest).sum(axis=1, keepdims=True))
        assert found.score == pytest.approx(logs.max(axis=1).sum())


@pytest.mark.parametrize("T", range(7))
def test_a_beam_that_holds_everything_finds_the_most_likely_labels(T):
    logits = 2 * rng.standard_normal((T, 3))
    expected = probabilities_by_brute_force(logits)
    (found,) = xr.train.ctc_beam_decode(logits[:, None], beam_width=1000, nbest=1000)
    assert len(found) == len(expected)
    for result in found:
        p = expected[tuple(result.labels)]
        assert result.score == pytest.approx(np.log(p), abs=1e-10)
    scores = [result.score for result in found]
    assert scores == sorted(scores, reverse=True)


def test_frames_are_those_of_the_most_likely_path_that_spells_the_labels():
    logits = 2 * rng.standard_normal((6, 3))
    (found,) = xr.train.ctc_beam_decode(logits[:, None], beam_width=500, nbest=20)
    paths = {}
    for path in itertools.product(range(3), repeat=6):
        value = sum(logits[t, k] for t, k in enumerate(path))
        best = paths.setdefault(spelled(path), (value, path))
        paths[spelled(path)] = max(best, (value, path))
    for result in found:
        path = paths[tuple(result.labels)][1]
        begins = [t for t in range(6) if path[t] and (t == 0 or path[t - 1] != path[t])]
        assert result.frames.tolist() == begins


def test_a_language_model_is_asked_once_for_each_beginning_and_is_heard():
    logits = rng.standard_normal((8, 1, 4))
    asked = []

    def never_three(prefix):
        asked.append(prefix)
        return np.array([5.0, 0.0, 0.25 * len(prefix), -50.0])

    (found,) = xr.train.ctc_beam_decode(
        logits, beam_width=400, nbest=30, score=never_three
    )
    assert len(asked) == len(set(asked))
    plain = probabilities_by_brute_force(logits[:, 0])
    for result in found:
        labels = tuple(result.labels)
        advice = sum(never_three(labels[:i])[k] for i, k in enumerate(labels))
        assert result.score == pytest.approx(np.log(plain[labels]) + advice, abs=1e-9)
        assert 3 not in labels


@pytest.mark.parametrize("given", [np.zeros(2), 1.0, ["a", "b", "c"], np.zeros((1, 3))])
def test_a_language_model_that_returns_something_else_is_told(given):
    with pytest.raises(ValueError, match=r"^score: expected numbers \[K=3\], got "):
        xr.train.ctc_beam_decode(ZEROS, score=lambda _: given)


@pytest.mark.parametrize("given", [math.nan, math.inf])
def test_advice_for_the_blank_is_not_read_and_that_for_labels_is_below_infinity(given):
    logits = rng.standard_normal((3, 1, 3))
    plain = xr.train.ctc_beam_decode(logits, beam_width=99, nbest=99)
    heard = xr.train.ctc_beam_decode(
        logits, beam_width=99, nbest=99, score=lambda _: np.array([given, 0, 0])
    )
    assert str(heard) == str(plain)
    with pytest.raises(ValueError, match=r"^score: expected numbers below infinity"):
        xr.train.ctc_beam_decode(logits, score=lambda _: [0, given, 0])


def test_no_beginning_that_is_allowed_is_no_result():
    logits = rng.standard_normal((3, 2, 3))
    logits[0, 1, 0] = -np.inf  # row 1 begins with a label
    found = xr.train.ctc_beam_decode(logits, score=lambda _: np.full(3, -np.inf))
    assert [len(row) for row in found] == [1, 0]
    assert found[0][0].labels.tolist() == []


def wide_beam(logits, lengths=None):
    return xr.train.ctc_beam_decode(logits, lengths, beam_width=99)


@pytest.mark.parametrize("decode", [xr.train.ctc_greedy_decode, wide_beam])
@pytest.mark.parametrize("time", range(3))
@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf])
def test_outputs_that_rank_nothing_are_named(given, time, decode):
    logits = rng.standard_normal((3, 2, 3))
    logits[time, 1] = given
    with pytest.raises(ValueError, match=rf"^logits\[{time}, 1\]: expected a largest"):
        decode(logits)
    decode(logits, [3, time])  # what is past the length is not read


@pytest.mark.parametrize("argument", ["beam_width", "nbest"])
def test_sizes_of_the_search_are_judged(argument):
    with pytest.raises(ValueError, match=f"^{argument}: "):
        xr.train.ctc_beam_decode(ZEROS, **{argument: 0})


def test_a_language_model_is_a_function():
    with pytest.raises(TypeError, match=r"^score: expected a function, got 5"):
        xr.train.ctc_beam_decode(ZEROS, score=5)
