"""`fit` with batches cut into shards: in this process, or on any number of workers.

This process does each step as the workers do (`_team.py`): it always knows where the
run stands, writes checkpoints and validates. States that are carried from batch to
batch belong to shards; they stay with their workers, and this process has them too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, Unpack

from numpy.typing import NDArray

from exactrnn import _core
from exactrnn._checks import check_integer, check_size, describe
from exactrnn._checks.limits import quote
from exactrnn._checks.naming import check_names
from exactrnn._checks.numbers import check_count
from exactrnn._system.mode import ieee_mode
from exactrnn.distributed._team import Team
from exactrnn.distributed.engine import Engine
from exactrnn.distributed.inline import InlineEngine
from exactrnn.distributed.local import LocalEngine
from exactrnn.distributed.mpi import MPIEngine
from exactrnn.distributed.ray import RayEngine
from exactrnn.distributed.shards import (
    Axes,
    Count,
    Layout,
    Place,
    Shard,
    States,
    cut,
    rows_in,
    shard_gradients,
)
from exactrnn.distributed.training import Known, Trainer
from exactrnn.train._models import generator_states
from exactrnn.train._sharing import SHARING
from exactrnn.train.batches import Batch, Batches
from exactrnn.train.fitting import Fitting, History, Loss, Run
from exactrnn.train.optimizers import Optimizer

__all__ = ["Exchange", "Spreading", "fit"]

ENGINES: dict[str, Callable[[], Engine]] = {
    "inline": InlineEngine,
    "local": LocalEngine,
    "mpi": MPIEngine,
    "ray": RayEngine,
}
VERBS = ("place", "put", "call", "fetch", "wait", "replace", "dismiss")
"""What an engine is asked for."""
SLOW = 1.5
"""From how many times the usual seconds on the bar names a worker."""


class Exchange(NamedTuple):
    """What a batch took on several workers.

    Attributes
    ----------
    epoch, batch : int
        Which one.
    seconds : tuple of float
        What each worker needed for its shards: the slowest is waited for.
    received : tuple of int
        Bytes of gradients that each worker got from others.
    lost : int
        How often it was begun anew because a worker was lost.
    """

    epoch: int
    batch: int
    seconds: tuple[float, ...]
    received: tuple[int, ...]
    lost: int


class Spreading(Fitting, total=False):
    """The options of `fit` here, whose docstring says what they are."""


def fit(
    model: Any,
    batches: Iterable[Any],
    loss: Loss,
    optimizer: Optimizer,
    **options: Unpack[Spreading],
) -> History:
    """Train a model on several workers, with bits that do not depend on them.

    As `exactrnn.train.fit`, but each batch is cut into shards, whose gradients are
    computed alone and added by a tree (contract N10). The model, the history and the
    checkpoint are those of the number of shards: to the bit the same for any number of
    workers and threads, on any engine, whatever workers were lost on the way.

    Parameters
    ----------
    model, batches, optimizer
        As for `exactrnn.train.fit`. Workers get copies: all must be such that they can
        be pickled, and the optimiser be made of the model itself.
    loss : callable
        As for `exactrnn.train.fit`: a mean over what counts in a batch. A function of a
        module, or a ``functools.partial`` of one.
    **options
        Those of `exactrnn.train.fit`, and:
        ``shards`` (8): into how many a batch is cut, rows that follow each other; the
        last ones have one row less where it does not come out even.
        ``workers`` (0): how many processes compute, at most one for each shard; 0 is
        this process alone.
        ``engine`` ("local"): ``"local"``, ``"ray"``, ``"mpi"``, ``"inline"``, or an
        `Engine`, which then stays open.
        ``threads`` (1): of each worker.
        ``axes``: where rows lie in ``x`` and ``y``, as for `exactrnn.train.batches`; by
        default those of `batches`, or ``(1, 1)``.
        ``count``: a function of ``y``, ``lengths`` and ``weights`` for what the loss
        divides by; by default the targets that count, as in all losses of
        `exactrnn.train`. A shard's share in the batch's loss is what is counted in it.
        ``watch``: is called with an `Exchange` after each batch.

    Returns
    -------
    History
        As `exactrnn.train.fit`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the checkpoint is of another run, among
        them one of another number of shards.
    EngineError
        If workers cannot be placed, have another version of exactrnn, or are lost again
        and again in one batch.
    OSError
        If the checkpoint cannot be written or read.

    Notes
    -----
    Random numbers of a model, as those of dropout, are drawn for each shard of each
    batch from where its generators stood at the beginning; without any, one shard has
    the bits of `exactrnn.train.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> x, y = xr.train.windows(np.sin(np.arange(200) * 0.3).astype("float32"), 20)
    >>> def trained(workers):
    ...     layers = xr.GRU(1, 8), xr.train.Last(), xr.train.Linear(8, 1)
    ...     model = xr.train.Sequential(*layers, seed=0)
    ...     xr.distributed.fit(
    ...         model,
    ...         xr.train.batches(x, y, size=32, seed=0, axes=(1, 0)),
    ...         xr.train.mean_squared_error,
    ...         xr.train.Adam(model, lr=0.02),
    ...         epochs=2,
    ...         shards=4,
    ...         workers=workers,
    ...         engine="inline",
    ...     )
    ...     return model.state_dict()
    >>> one, three = trained(0), trained(3)
    >>> all(np.array_equal(one[name], three[name]) for name in one)
    True
    """
    known = Spreading.__annotations__
    check_names("options", {*known, *options}, known)
    own = {name: options[name] for name in SHARING if name in options}  # type: ignore[literal-required]
    rest: Any = {name: v for name, v in options.items() if name not in SHARING}
    workers = own.pop("workers", 0)
    engine = check_engine(own.pop("engine", None))
    kind = ShardedRun if workers == 0 else SpreadRun
    run = kind(model, batches, loss, optimizer, rest)
    run.take(**own)
    workers = check_workers(workers, run.shards)
    if run.resume:
        run.load()
    if not isinstance(run, SpreadRun):
        return run.to_end()
    try:
        with run.placed(workers, engine):
            return run.to_end()
    except KeyboardInterrupt:  # while workers begin or end
        return run._history("interrupt")


class ShardedRun(Run):
    """A training whose batches are cut into shards, in this process alone."""

    shards: int
    axes: Axes
    count: Count | None
    watch: Callable[[Exchange], object] | None

    def take(
        self,
        shards: int = 8,
        threads: int = 1,
        axes: object = None,
        count: Count | None = None,
        watch: Callable[[Exchange], object] | None = None,
    ) -> None:
        """Check the options that `fit` of `train` does not have."""
        self.shards = check_size("shards", shards)
        self.threads = check_threads(threads)
        self.axes = _check_axes(axes, self.batches)
        for name, given in (("count", count), ("watch", watch)):
            if given is not None and not callable(given):
                raise TypeError(f"{name}: expected a function, got {describe(given)}")
        self.count, self.watch = count, watch
        self.generators = generator_states(self.model)
        self.place, self.rows = Place(-1, 0), 0
        self.states: States = {} if self.carry else None

    def load(self) -> None:
        """Go on from the checkpoint, where the generators stand as the run began."""
        super().load()
        self.generators = generator_states(self.model)

    def _begin_batch(self, batch: Batch, state: Any) -> list[Shard]:
        """Return the shards of a batch, and know which one it is."""
        before = self.place
        number = before.batch + 1 if before.epoch == self.epoch else 0
        self.place = Place(self.epoch, number)
        shards = cut(batch, self.shards, self.axes, self.count)
        if self.carry:
            rows = rows_in(batch.x, self.axes[0])
            if number and rows != self.rows:
                raise ValueError(
                    "carry: expected batches of equally many rows, whose states go on, "
                    f"got {rows} after {self.rows}"
                )
            self.rows, self.states = rows, state or {}
        return shards

    def _backward(self, batch: Batch, state: Any) -> tuple[float, Any, Any]:
        shards = self._begin_batch(batch, state)
        begin = time.perf_counter()
        found = shard_gradients(
            self.model, self.loss, shards, self.place, self.generators, self.states
        )
        vector = found.tree.total()
        if self.watch is not None:
            seconds = time.perf_counter() - begin
            self.watch(Exchange(*self.place, (seconds,), (0,), 0))
        return *whole(found.values, found.layout, vector), found.states


class SpreadRun(ShardedRun):
    """The same on workers."""

    team: Team

    def placed(self, workers: int, engine: Engine | str) -> ExitStack:
        """Place the workers; closing ends them, and an engine that is our own."""
        make = partial(Trainer, self.loss, self.threads)
        with ExitStack() as begun:
            self.team = begun.enter_context(
                placed(engine, make, (workers, self.shards), self._known)
            )
            return begun.pop_all()

    def _known(self, point: int) -> Known:
        """Return what the workers must know."""
        return Known(
            point,
            self.model,
            self.optimizer,
            self.gathered,
            self.clip,
            self.generators,
            self.states,
            self.batches._files() if isinstance(self.batches, Batches) else (),
        )

    def _in_order(self) -> Iterator[Batch]:
        """Yield the batches of this epoch; what lies in files the workers read."""
        if isinstance(self.batches, Batches):
            return self.batches._unread(self.epoch)
        return super()._in_order()

    def _backward(self, batch: Batch, state: Any) -> tuple[float, Any, Any]:
        done = self.team.gradient(self._begin_batch(batch, state), self.place)
        self.remark = remark_on(done.seconds)
        if self.watch is not None:
            place, received = self.place, done.received
            told = Exchange(*place, done.seconds, received, done.lost)
            self.watch(told)
        return *whole(done.values, done.layout, done.vector), done.states

    def _step(self, gradients: dict[str, Any]) -> float:
        """Do the step here, and have the workers do it."""
        norm = super()._step(gradients)
        self.team.step(self.optimizer.lr)
        return norm


@contextmanager
def placed(
    engine: Engine | str,
    make: partial[Trainer],
    sizes: tuple[int, int],
    known: Callable[[int], Known],
) -> Iterator[Team]:
    """Have a team of so many workers for so many shards, and end it.

    An engine that is not the caller's is ended too.
    """
    count, shards = sizes
    with ExitStack() as begun:
        own = engine
        if isinstance(own, str):
            own = begun.enter_context(ENGINES[own]())
        team = Team(own, make, count, shards, known)
        begun.callback(team.dismiss)
        yield team


def check_workers(workers: object, shards: int) -> int:
    """Return how many workers there are, at most one for each shard; 0 are none."""
    count = check_count("workers", workers)
    if count > shards:
        raise ValueError(f"workers: expected at most shards={shards}, got {count}")
    return count


def check_threads(threads: object) -> int:
    """Return how many threads a worker has."""
    number, limit = check_size("threads", threads), _core.thread_limit()
    if number > limit:
        raise ValueError(f"threads: expected 1..{limit}, got {number}")
    return number


def remark_on(seconds: Sequence[float]) -> str:
    """Return what the bar says of the slowest worker; nothing of one among equals."""
    slowest, usual = max(seconds), statistics.median_low(seconds)
    if slowest < SLOW * usual:
        return ""
    return f"  worker {seconds.index(slowest)} {slowest:.2g} s, others {usual:.2g} s"


def whole(
    values: Sequence[float], layout: Layout | None, vector: NDArray[Any]
) -> tuple[float, dict[str, Any]]:
    """Return the batch's loss, a sum in the shards' order, and its gradient."""
    assert layout is not None
    total = 0.0
    with ieee_mode():
        for value in values:
            total += value
    return total, layout.as_gradients(vector)


def check_engine(engine: Any) -> Engine | str:
    """Return an engine, or the name of one of ours: for None that of processes."""
    name = "local" if engine is None else engine
    if isinstance(name, str):
        if name not in ENGINES:
            expected = ", ".join(map(repr, ENGINES))
            got = quote(name)
            raise ValueError(f"engine: expected {expected} or an Engine, got {got}")
    elif isinstance(name, type) or not all(hasattr(name, verb) for verb in VERBS):
        raise TypeError(f"engine: expected an Engine or its name, got {describe(name)}")
    given: Engine | str = name
    return given


def _check_axes(axes: Any, batches: Any) -> Axes:
    given = getattr(batches, "axes", (1, 1)) if axes is None else axes
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(f"axes: expected two integers, got {given!r}")
    own, other = given
    if not isinstance(own, tuple | list):
        return _check_axis("axes[0]", own), _check_axis("axes[1]", other)
    places = (_check_axis(f"axes[0][{k}]", axis) for k, axis in enumerate(own))
    return tuple(places), _check_axis("axes[1]", other)


def _check_axis(name: str, axis: object) -> int:
    number = check_integer(name, axis)
    if number < 0:
        raise ValueError(f"{name}: expected at least 0, got {number}")
    return number
