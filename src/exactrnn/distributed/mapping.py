"""A model over many sequences: `map_sequences`.

    source -> groups of like length -> workers -> results in the order of the source

What is computed where does not show: a row has the same bits in any batch, on any
number of threads, on any instruction set. `_flow.py` reads, keeps and hands out,
`_pool.py` makes groups, `_crew.py` has the workers, `_map_worker.py` is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal, NamedTuple, Self, TypedDict, Unpack

from numpy.typing import NDArray

from exactrnn import io
from exactrnn._checks import (
    check_choice,
    check_flag,
    check_positive,
    describe,
)
from exactrnn._checks.naming import check_names
from exactrnn._checks.numbers import check_count
from exactrnn.distributed._crew import Crew, Plan
from exactrnn.distributed._flow import Flow, limits_of
from exactrnn.distributed._forms import Scorer, encoder_of, expected_input, form_of
from exactrnn.distributed._frozen import Frozen, freeze
from exactrnn.distributed._pool import MOST_PADDING
from exactrnn.distributed._sources import (
    KEPT,
    SequenceError,
    Taker,
    iterate,
    settled,
    size_of,
)
from exactrnn.distributed.engine import Engine
from exactrnn.distributed.fitting import ENGINES, check_engine, check_threads
from exactrnn.train import Sequential
from exactrnn.train._bar import shown

__all__ = [
    "Mapped",
    "MappedSequence",
    "MappedSequences",
    "SequenceError",
    "map_sequences",
]

MEMORY = 1 << 27
"""Bytes of sequences and results that are held unless the caller says otherwise."""
SPARE = 1 << 12
"""Bytes between input and output of a group, and of sequences of a few steps."""
RETURNS = {
    "both": (True, True),
    "y": (True, False),
    "state": (False, True),
    "log_probability": (True, False),
}


class Mapped(TypedDict, total=False):
    """Further options of `map_sequences`, whose docstring says what they are."""

    threads: int | None
    column: str | None
    axes: tuple[int, int] | None
    progress: bool | None


class MappedSequence(NamedTuple):
    """What a model gives for one sequence of a source.

    Attributes
    ----------
    index : int
        Its place in the source, from 0.
    y : ndarray or None
        Output, as of the sequence alone: ``[T, ...]``, or ``[...]`` of a model that
        gives one answer. None if it was not asked for.
    state : ndarray, tuple or None
        State after its last step, as of the sequence alone, without an axis for rows.
        None if it was not asked for, or the model has none.
    """

    index: int  # type: ignore[assignment]  # nobody asks for a tuple's own
    y: NDArray[Any] | None
    state: Any


class MappedSequences(Iterator[MappedSequence]):
    """Results of `map_sequences`, in the order of the source; made by it.

    Workers end when the last result has been handed out, when something is raised, at
    the end of a ``with`` block, with `close`, and when nobody refers to this any more.

    Attributes
    ----------
    bad : list of SequenceError
        The sequences left out so far with ``on_error="skip"``: ``index`` and ``reason``
        of each.
    """

    def __init__(
        self, results: Iterator[MappedSequence], bad: list[SequenceError]
    ) -> None:
        self._results: Any = results
        self.bad = bad

    def __repr__(self) -> str:
        return f"<results of map_sequences, {len(self.bad)} left out>"

    def __next__(self) -> MappedSequence:
        """Return the next result, or raise what is wrong with its sequence."""
        result: MappedSequence = next(self._results)
        return result

    def close(self) -> None:
        """End the workers; there are no more results then."""
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def map_sequences(
    model: Any,
    source: Any,
    *,
    workers: int = 0,
    engine: str | Engine | None = None,
    memory: int = MEMORY,
    returns: Literal["both", "y", "state", "log_probability"] = "both",
    on_error: Literal["raise", "skip"] = "raise",
    **options: Unpack[Mapped],
) -> MappedSequences:
    """Run a trained model over many sequences, each from a state of zeros.

    Sequences of like length go through the model together; what comes out is what each
    has alone, to the bit, with any number of workers and whoever of them dies.

    Parameters
    ----------
    model : layer, Sequential, LanguageModel or other, mapping of parts, path or bytes
        What is called with sequences ``[T, B, ...]``, as it is at the time of this
        call; or a file of `exactrnn.save`. Parts, as `load` gives them, are run one
        after the other. The groups of a model that has other parts than the library's
        have equal lengths.
    source : iterable or indexed
        Sequences ``[T, I]``, or integers ``[T]`` for a model that begins with an
        `Embedding`, for a `LanguageModel` texts too: a list, an array or memory-mapped
        file ``[N, T, I]``, a generator, anything with ``len`` and indices, a dataset of
        Ray, an array or a bag of dask.
    workers : int
        Processes; 0 computes in this one. Processes of this machine read the program's
        main module, so a script needs ``if __name__ == "__main__":``.
    engine : {"local", "ray", "mpi", "inline"} or Engine, optional
        Who has the workers: processes of this machine, by default; an `Engine` stays
        open.
    memory : int
        Bytes of sequences and results that are held at a time: no more are read until
        results are taken. One sequence at least is held, and each worker has copies of
        two groups besides, of 4 MB at most each unless one sequence is larger.
    returns : {"both", "y", "state", "log_probability"}
        What is wanted of each: less has to travel. Of a `LanguageModel` ``y`` is the
        logits, or one number, what its `log_probability` gives.
    on_error : {"raise", "skip"}
        What happens in the place of a sequence that cannot be run, being None, empty,
        of another shape or dtype, or one whose worker dies of it. What comes before it
        is handed out in any case.
    **options
        ``threads``: of each worker, by default 1; without workers as this process has
        them.
        ``column``: which entry, if what the source gives are mappings; the only one by
        default.
        ``axes``: where the rows lie in what a model of your own reads and gives:
        ``(1, 1)``, the default, for ``[T, B, ...]``; ``(1, 0)`` if it gives one answer
        to a sequence, ``(0, 0)`` if rows come first.
        ``progress``: whether to show a bar; by default on a terminal.

    Returns
    -------
    MappedSequences
        An iterator of `MappedSequence`: ``index``, ``y``, ``state``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the model cannot be pickled.
    SequenceError
        From the iterator, with ``on_error="raise"``: a `ValueError` with the sequence's
        ``index``.
    EngineError
        From the iterator, if workers cannot be placed, or have another version.

    Notes
    -----
    What the source raises is raised after the results of what it gave before.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> from exactrnn.distributed import map_sequences
    >>> layer = xr.GRU(3, 4, seed=1)
    >>> source = [np.ones((T, 3), np.float32) for T in (5, 2, 7)]
    >>> [(index, y.shape) for index, y, h in map_sequences(layer, source)]
    [(0, (5, 4)), (1, (2, 4)), (2, (7, 4))]
    >>> source[1] = np.ones((2, 4), np.float32)
    >>> mapped = map_sequences(layer, source, returns="state", on_error="skip")
    >>> [(index, h.shape) for index, _, h in mapped]
    [(0, (1, 4)), (2, (1, 4))]
    >>> print(*mapped.bad)
    source[1]: expected float32 [T, I=3] with T >= 1, got an array of float32 with \
shape (2, 4)
    """
    known = Mapped.__annotations__
    check_names("options", {*known, *options}, known)
    count = check_count("workers", workers)
    wanted = RETURNS[check_choice("returns", returns, tuple(RETURNS))]
    given = _check_model(model)
    if returns == "log_probability":
        given = Scorer(given)
    skips = check_choice("on_error", on_error, ("raise", "skip")) == "skip"
    held = check_positive("memory", memory)
    given_threads = options.get("threads")
    threads = None if given_threads is None else check_threads(given_threads)
    shows = options.get("progress")
    if shows is not None:
        check_flag("progress", shows)
    form = form_of(given, options.get("axes"))
    source = settled(source)
    column = _check_column(options.get("column"))
    copies = not isinstance(source, KEPT)
    encode = encoder_of(given)
    taker = Taker(expected_input(given), column, copies=copies, encode=encode)
    limits = limits_of(held, count)
    flow = Flow(iterate(source), taker, form, limits)
    # Rows of a group have padding, too.
    largest = int(limits.group / (1 - MOST_PADDING)) + SPARE
    plan = Plan(form, wanted, max(count, 1), threads or (1 if count else None), largest)
    begin = partial(_begin, _check_engine(engine, count), plan, [freeze(given)])
    bad: list[SequenceError] = []
    results = _handed_out(flow, begin, bad if skips else None, shows, source)
    return MappedSequences(results, bad)


def _check_model(model: Any) -> Any:
    """Return a model that can be called: itself, that of a file, or of parts."""
    if isinstance(model, str | os.PathLike | bytes | bytearray | memoryview):
        model = io.load(model)
    return Sequential(model) if isinstance(model, Mapping) else model


def _check_column(column: object) -> str | None:
    if column is None or isinstance(column, str):
        return column
    raise TypeError(f"column: expected a name, got {describe(column)}")


def _check_engine(engine: Any, count: int) -> Engine | str:
    """Return the engine, or the name of one of our own."""
    if engine is None:
        return "local" if count else "inline"
    checked = check_engine(engine)
    if not count:
        raise ValueError("workers: expected at least 1 with an engine, got 0")
    return checked


def _begin(
    engine: Engine | str,
    plan: Plan,
    frozen: list[Frozen],
    until: ExitStack,
) -> Crew:
    """Return a crew that ends with `until`; the model is handed over, not kept."""
    if isinstance(engine, str):
        engine = until.enter_context(ENGINES[engine]())
    crew = Crew(engine, frozen.pop(), plan)
    until.callback(crew.dismiss)
    return crew


def _handed_out(
    flow: Flow,
    begin: Callable[[ExitStack], Crew],
    bad: list[SequenceError] | None,
    progress: bool | None,
    source: Any,
) -> Iterator[MappedSequence]:
    """Yield results; sequences that are bad go to the list, or without one raise."""
    with ExitStack() as until, shown(progress, size_of(source)) as show:
        for index, result in flow.results(partial(begin, until)):
            show("")
            if not isinstance(result, SequenceError):
                yield MappedSequence(index, result.y, result.state)
            elif bad is None:
                raise result
            else:
                bad.append(result)
