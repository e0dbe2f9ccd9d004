"""What a network most likely writes that is fed its own symbols, one after the other.

A beam keeps W beginnings for each sequence. The score of one is the sum, in the order
of the steps, of its symbols' log-probabilities:

    each beginning by each symbol, and those that have ended as they are
        -> the W best of them, of equal ones those that stand first

It ends when all have ended: no score can rise, so nothing could overtake. One beginning
is greedy decoding, as many as there are texts finds the best of all (A. Graves, arXiv
1211.3711, section 2.4; I. Sutskever, O. Vinyals, Q. Le, arXiv 1409.3215, section 3.2).

Log-softmax is that of `ctc_beam_decode`, streams have the bits of whole sequences: so
symbols and scores are the same on every machine and beside any other sequence (N9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, check_integer, check_size, describe
from exactrnn._checks.arrays import check_floats
from exactrnn._system.mode import ieee_mode
from exactrnn.train.ctc_decoding import log_softmax

__all__ = ["Decoded", "beam_search"]

Symbols: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """What was written.

    Attributes
    ----------
    labels : ndarray of int64, ``[n]``
        Symbols, without those of start and end.
    score : float
        Log-probability in nats, that of the end included.
    ended : bool
        Whether the end was written, or there was no room for it.
    """

    labels: Symbols
    score: float
    ended: bool


@ieee_mode()
def beam_search(
    stream: Any,
    embedding: Callable[[Symbols], Any],
    readout: Callable[[Array], Any],
    *,
    start: int,
    end: int,
    max_length: int,
    beam_width: int = 1,
    nbest: int = 1,
) -> list[list[Decoded]]:
    """Write symbols until the end of each sequence, and keep the most likely ones.

    Parameters
    ----------
    stream : stream of a layer or of an AttentionDecoder
        What goes on by one step, from the state in which it is: of ``B * beam_width``
        rows, the beginnings of one sequence side by side. So for an encoder's output
        ``decoder.stream(memory.repeat(beam_width, axis=1), ...)``. It is left in the
        state in which the search ends.
    embedding : callable
        From symbols ``[R]`` of int64 to the stream's input ``[R, I]``: an `Embedding`.
    readout : callable
        From the stream's output ``[R, H]`` to logits ``[R, K]``: a `Linear`. With -inf
        it forbids a symbol.
    start : int
        The symbol that is fed first.
    end : int
        The symbol after which nothing comes, below K.
    max_length : int
        Symbols after which a sequence that has not ended is cut off.
    beam_width : int
        W, beginnings that are followed; 1 decodes greedily.
    nbest : int
        How many results to give of each sequence, if there are so many.

    Returns
    -------
    list of list of Decoded
        For each sequence its results, best first.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or logits are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> letters = xr.train.Embedding(5, 4, seed=0)
    >>> layer, readout = xr.GRU(4, 8, seed=0), xr.train.Linear(8, 5, seed=0)
    >>> stream = layer.stream(batch_size=2 * 3)
    >>> found = xr.train.beam_search(
    ...     stream, letters, readout, start=0, end=1, max_length=4, beam_width=3
    ... )
    >>> len(found), found[0][0].labels.tolist() == found[1][0].labels.tolist()
    (2, True)
    """
    W = check_size("beam_width", beam_width)
    wanted = check_size("nbest", nbest)
    steps = check_size("max_length", max_length)
    first, last = check_integer("start", start), check_integer("end", end)
    for name, given in (("embedding", embedding), ("readout", readout)):
        if not callable(given):
            raise TypeError(f"{name}: expected a function, got {describe(given)}")
    beam = _Beam(_rows_of(stream, W), W, first, last)
    for _ in range(steps):
        outputs = stream.step(embedding(beam.last_symbols()))
        parents = beam.step(_log_probabilities(readout(outputs), stream.batch_size))
        if beam.has_ended():
            break
        if (parents != np.arange(len(parents))).any():
            stream.state = _taken(stream.state, parents)
    return beam.best(wanted)


def _rows_of(stream: Any, width: int) -> int:
    """Return how many sequences a stream has room for, or raise."""
    if not hasattr(stream, "step") or not hasattr(stream, "state"):
        raise TypeError(
            f"stream: expected one of layer.stream(...), got {describe(stream)}"
        )
    rows = int(stream.batch_size)
    if rows % width:
        raise ValueError(
            f"stream: expected rows for each of beam_width={width} beginnings of a "
            f"sequence, a multiple of {width}, got {rows}"
        )
    return rows // width


def _log_probabilities(logits: Any, rows: int) -> Array:
    """Return the log-softmax [R, K] of what a readout has given, or raise."""
    values = check_floats("readout", logits)
    if values.ndim != 2 or values.shape[0] != rows or values.shape[1] == 0:
        raise ValueError(f"readout: expected logits [R={rows}, K], got {values.shape}")
    found = log_softmax(values)
    if np.isnan(found).any():
        raise ValueError(
            "readout: expected logits of which each row has a largest, got NaN, inf "
            "or nothing but -inf"
        )
    return found


def _taken(state: Any, rows: NDArray[np.intp]) -> Any:
    """Return the state in which each row goes on from another one."""
    if isinstance(state, tuple | list):
        return tuple(_taken(part, rows) for part in state)
    axis = 1 if state.ndim == 3 else 0  # [L, B, H] of layers; [B], [B, N] of others
    return np.ascontiguousarray(np.take(state, rows, axis))


class _Beam:
    """W beginnings of each of B sequences, best first; those of score -inf are none."""

    def __init__(self, sequences: int, width: int, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.symbols: Symbols = np.empty((sequences, width, 0), np.int64)
        self.ended = np.zeros((sequences, width), bool)
        self.scores: Array | None = None

    def last_symbols(self) -> Symbols:
        """What is fed next, ``[B * W]``; to those that have ended the end again."""
        if self.symbols.shape[2] == 0:
            return np.full(self.ended.size, self.start)
        return np.ascontiguousarray(self.symbols[..., -1].reshape(-1))

    def step(self, outputs: Array) -> NDArray[np.intp]:
        """Go on by one step with log-probabilities ``[B * W, K]``.

        Returns the row from which each new row goes on.
        """
        B, W = self.ended.shape
        K = outputs.shape[1]
        if not 0 <= self.end < K:
            raise ValueError(f"end: expected 0..{K - 1} for K={K}, got {self.end}")
        if self.scores is None:
            self.scores = np.full((B, W), -np.inf, outputs.dtype)
            self.scores[:, 0] = 0
        ranks = self.scores[..., None] + outputs.reshape(B, W, K)
        ranks[self.ended] = -np.inf
        ranks[self.ended, self.end] = self.scores[self.ended]
        flat = ranks.reshape(B, W * K)
        chosen = np.argsort(-flat, axis=1, kind="stable")[:, :W]
        parents, symbols = np.divmod(chosen, K)
        before = np.take_along_axis(self.symbols, parents[..., None], axis=1)
        self.symbols = np.concatenate([before, symbols[..., None]], axis=2)
        self.scores = np.take_along_axis(flat, chosen, axis=1)
        self.ended = symbols == self.end
        return np.asarray((np.arange(B)[:, None] * W + parents).reshape(-1))

    def has_ended(self) -> bool:
        """Tell whether no beginning could go on."""
        assert self.scores is not None
        return bool((self.ended | np.isneginf(self.scores)).all())

    def best(self, wanted: int) -> list[list[Decoded]]:
        """The first results of each sequence."""
        assert self.scores is not None
        return [
            [
                Decoded(symbols[symbols != self.end], float(score), bool(ended))
                for symbols, score, ended in zip(*row, strict=True)
                if not np.isneginf(score)
            ][:wanted]
            for row in zip(self.symbols, self.scores, self.ended, strict=True)
        ]
