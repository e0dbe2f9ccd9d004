"""From the outputs of a network trained by CTC back to labels.

Greedy decoding takes the most likely symbol of each time (best path decoding, A. Graves
et al., ICML 2006, section 3.2).  The beam search adds up the paths that spell the same
labels (A. Hannun, A. Maas, D. Jurafsky, A. Ng, arXiv 1408.2873, algorithm 1), and takes
advice from a language model.

Logarithms and exponentials are the library's own and every sum has its order, so that
the same outputs give the same labels and scores on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn._checks import Array, check_lengths, check_positive, describe
from exactrnn._checks.limits import shorten
from exactrnn._numeric.random import elementary
from exactrnn._system.mode import ieee_mode
from exactrnn.train.ctc import check_blank, check_logits

__all__ = ["CTCLabels", "ctc_beam_decode", "ctc_greedy_decode"]

Prefix: TypeAlias = tuple[int, ...]
Score: TypeAlias = Callable[[Prefix], ArrayLike]


@dataclass(frozen=True)
class CTCLabels:
    """What a row says, and when.

    Attributes
    ----------
    labels : ndarray of int64, ``[n]``
        Symbols, without blanks.
    frames : ndarray of int64, ``[n]``
        The time at which each label begins: on the decoded path, or after a beam search
        on the most likely one that spells these labels.
    score : float
        Log-probability in nats: of the path, or after a beam search of all paths that
        it has followed, plus what the language model has added.
    """

    labels: NDArray[np.int64]
    frames: NDArray[np.int64]
    score: float


@ieee_mode()
def ctc_greedy_decode(
    logits: ArrayLike, lengths: ArrayLike | None = None, *, blank: int = 0
) -> list[CTCLabels]:
    """The labels on the most likely path of each row.

    Parameters
    ----------
    logits : array_like, ``[T, B, K]``
        As in `ctc_loss`.
    lengths : array_like of int, ``[B]``, optional
        Times of each row; all T if not given.
    blank : int
        The symbol that stands for no label.

    Returns
    -------
    list of CTCLabels
        One for each row.

    Raises
    ------
    TypeError, ValueError
        As `ctc_loss`; if logits of a row are NaN, infinite or all -inf.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> spoken = [1, 1, 0, 1, 2, 2]
    >>> logits = 9.0 * np.eye(3)[spoken][:, None]
    >>> found = xr.train.ctc_greedy_decode(logits)[0]
    >>> found.labels.tolist(), found.frames.tolist()
    ([1, 1, 2], [0, 3, 4])
    """
    values, counts, blank = _check(logits, lengths, blank)
    rows = []
    for b in range(values.shape[1]):
        outputs = log_softmax(values[: counts[b], b])
        _check_outputs(outputs, b)
        rows.append(_greedy_row(outputs, blank))
    return rows


@ieee_mode()
def ctc_beam_decode(
    logits: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    beam_width: int = 16,
    nbest: int = 1,
    blank: int = 0,
    score: Score | None = None,
) -> list[list[CTCLabels]]:
    """The most likely labels of each row, over all paths that spell them.

    Parameters
    ----------
    logits : array_like, ``[T, B, K]``
        As in `ctc_loss`.
    lengths : array_like of int, ``[B]``, optional
        Times of each row; all T if not given.
    beam_width : int
        Beginnings of labels that are followed at each time.
    nbest : int
        How many results to give of each row, if there are so many.
    blank : int
        The symbol that stands for no label.
    score : callable, optional
        A language model: given the labels so far, a tuple of int, it returns ``[K]``
        what to add in nats for each next symbol; weigh it as the task asks.  It is
        called once for each beginning that is followed, and the blank's is not read.

    Returns
    -------
    list of list of CTCLabels
        For each row its results, best first; none where `score` forbids all that the
        outputs allow.

    Raises
    ------
    TypeError, ValueError
        As `ctc_loss`; if `score` returns anything but K numbers below infinity, or if
        logits of a row are NaN, infinite or all -inf.

    Examples
    --------
    Each single time says blank, all of them together say the label:

    >>> import numpy as np
    >>> import exactrnn as xr
    >>> logits = np.log([[[0.6, 0.4]], [[0.6, 0.4]]])
    >>> xr.train.ctc_greedy_decode(logits)[0].labels.tolist()
    []
    >>> best = xr.train.ctc_beam_decode(logits)[0][0]
    >>> best.labels.tolist(), round(float(np.exp(best.score)), 2)
    ([1], 0.64)
    """
    width, wanted = (
        check_positive("beam_width", beam_width),
        check_positive("nbest", nbest),
    )
    if score is not None and not callable(score):
        raise TypeError(f"score: expected a function, got {describe(score)}")
    values, counts, blank = _check(logits, lengths, blank)
    results = []
    for b in range(values.shape[1]):
        outputs = log_softmax(values[: counts[b], b])
        _check_outputs(outputs, b)
        beam = _Beam(blank, values.shape[2], values.dtype, score)
        for output in outputs:
            beam.step(output, width)
        results.append(
            [
                CTCLabels(np.array(prefix, np.int64), _align(outputs, prefix, blank), p)
                for prefix, p in beam.best(wanted)
            ]
        )
    return results


def _check(
    logits: ArrayLike, lengths: ArrayLike | None, blank: int
) -> tuple[Array, NDArray[np.int64], int]:
    values = check_logits(logits)
    T, B, K = values.shape
    if lengths is None:
        return values, np.full(B, T), check_blank(blank, K)
    counts = check_lengths(lengths, T, B, batched=True)
    return values, counts, check_blank(blank, K)


def _check_outputs(outputs: Array, row: int) -> None:
    """Raise where the log-softmax of a row is none: nothing can be ranked by it."""
    for t in np.flatnonzero(np.isnan(outputs).any(axis=1))[:1]:
        raise ValueError(
            f"logits[{t}, {row}]: expected a largest one that is finite, got NaN, inf "
            "or nothing but -inf"
        )


def log_softmax(logits: Array) -> Array:
    """``[T, K]`` log-probabilities, by the operations of `ctc_loss`."""
    m = logits.max(axis=1, keepdims=True)
    e = elementary("exp", logits - m)
    s = np.add.accumulate(e, axis=1)[:, -1:]  # in ascending order
    return np.asarray(logits - (elementary("log", s) + m))


def log_add(a: Array, b: Array) -> Array:
    """``log(exp(a) + exp(b))``; -inf of two that are -inf."""
    most = np.maximum(a, b)
    shift = np.where(np.isneginf(most), most.dtype.type(0), most)
    total = elementary("exp", a - shift) + elementary("exp", b - shift)
    return np.asarray(elementary("log", total) + shift)


def _greedy_row(outputs: Array, blank: int) -> CTCLabels:
    path = outputs.argmax(axis=1)
    is_new = np.ones(len(path), bool)
    is_new[1:] = path[1:] != path[:-1]
    frames = np.flatnonzero(is_new & (path != blank))
    total = outputs.dtype.type(0)
    for t, symbol in enumerate(path):
        total = total + outputs[t, symbol]
    return CTCLabels(path[frames].astype(np.int64), frames, float(total))


class _Beam:
    """Beginnings of labels and the log-probabilities of the paths that spell them.

    For each one `in_blank` sums the paths that end in a blank, `in_label` those that
    end in its last label; `advice` is what the language model has added.
    """

    def __init__(
        self, blank: int, symbols: int, dtype: np.dtype[Any], score: Score | None
    ) -> None:
        self.blank, self.symbols, self.dtype, self.score = blank, symbols, dtype, score
        self.prefixes: list[Prefix] = [()]
        self.in_blank = np.zeros(1, dtype)
        self.in_label = np.full(1, -np.inf, dtype)
        self.advice = np.zeros(1, dtype)
        self.next_advice = self._ask(())[None]

    def _ask(self, prefix: Prefix) -> Array:
        if self.score is None:
            return np.zeros(self.symbols, self.dtype)
        given = np.asarray(self.score(prefix))
        if given.shape != (self.symbols,) or given.dtype.kind not in "fiu":
            raise ValueError(
                f"score: expected numbers [K={self.symbols}], "
                f"got {given.dtype} {given.shape}"
            )
        advice = given.astype(self.dtype)
        advice[self.blank] = 0  # which is not read
        if not (advice < np.inf).all():
            raise ValueError(
                f"score: expected numbers below infinity, got {shorten(given.tolist())}"
            )
        return advice

    def step(self, output: Array, width: int) -> None:
        """Go on by one time with log-probabilities ``[K]``."""
        if not self.prefixes:
            return
        last = np.array([p[-1] if p else self.blank for p in self.prefixes])
        total = log_add(self.in_blank, self.in_label)
        in_blank = total + output[self.blank]
        in_label = self.in_label + output[last]
        longer = total[:, None] + output
        rows = np.arange(len(last))
        longer[rows, last] = self.in_blank + output[last]  # after a blank only
        longer[:, self.blank] = -np.inf
        self._merge(longer, in_label)
        advised = longer + (self.advice[:, None] + self.next_advice)
        stays = log_add(in_blank, in_label) + self.advice
        ranks = np.concatenate([stays, advised.ravel()])
        chosen = np.argsort(-ranks, kind="stable")[:width]
        chosen = chosen[~np.isneginf(ranks[chosen])]
        self._keep(chosen, in_blank, in_label, longer)

    def _merge(self, longer: Array, in_label: Array) -> None:
        """Paths into a beginning that is followed already are added to it."""
        index = {prefix: i for i, prefix in enumerate(self.prefixes)}
        for j, prefix in enumerate(self.prefixes):
            parent = index.get(prefix[:-1]) if prefix else None
            if parent is not None:
                at = parent, prefix[-1]
                both = log_add(in_label[j : j + 1], longer[at].reshape(1))
                in_label[j] = both[0]
                longer[at] = -np.inf

    def _keep(
        self,
        chosen: NDArray[np.intp],
        in_blank: Array,
        in_label: Array,
        longer: Array,
    ) -> None:
        count = len(self.prefixes)
        none = self.dtype.type(-np.inf)
        prefixes, blanks, labels, advice, following = [], [], [], [], []
        for place in chosen:
            i, symbol = divmod(int(place) - count, self.symbols)
            if place < count:
                prefixes.append(self.prefixes[place])
                blanks.append(in_blank[place])
                labels.append(in_label[place])
                advice.append(self.advice[place])
                following.append(self.next_advice[place])
            else:
                prefixes.append((*self.prefixes[i], symbol))
                blanks.append(none)
                labels.append(longer[i, symbol])
                advice.append(self.advice[i] + self.next_advice[i, symbol])
                following.append(self._ask(prefixes[-1]))
        self.prefixes = prefixes
        self.in_blank = np.array(blanks, self.dtype)
        self.in_label = np.array(labels, self.dtype)
        self.advice = np.array(advice, self.dtype)
        self.next_advice = np.array(following, self.dtype).reshape(-1, self.symbols)

    def best(self, wanted: int) -> list[tuple[Prefix, float]]:
        """The first so many beginnings as results, with their scores."""
        if not self.prefixes:
            return []
        ranks = log_add(self.in_blank, self.in_label) + self.advice
        order = np.argsort(-ranks, kind="stable")[:wanted]
        return [(self.prefixes[i], float(ranks[i])) for i in order]


def _align(outputs: Array, labels: Prefix, blank: int) -> NDArray[np.int64]:
    """The times at which labels begin on the most likely path that spells them.

    Viterbi's recursion over the places of `ctc_loss`; of equal paths the one that stays
    longest in a place.
    """
    symbols = np.full(2 * len(labels) + 1, blank)
    symbols[1::2] = labels
    places = np.arange(len(symbols))
    may_skip = np.zeros(len(symbols), bool)
    may_skip[3::2] = symbols[3::2] != symbols[1:-2:2]
    best = np.full(len(symbols) + 2, -np.inf, outputs.dtype)  # two before the first
    best[2] = 0
    steps = []
    for output in outputs:
        leap = np.where(may_skip, best[:-2], -np.inf)
        ways = np.stack([best[2:], best[1:-1], leap])
        steps.append(ways.argmax(axis=0))
        best[2:] = ways[steps[-1], places] + output[symbols]
    place = len(symbols) - 1
    if labels and best[-2] > best[-1]:
        place -= 1
    frames = np.zeros(len(labels), np.int64)
    for t in range(len(outputs) - 1, -1, -1):
        if place % 2 == 1:
            frames[place // 2] = t
        place -= int(steps[t][place])
    return frames
