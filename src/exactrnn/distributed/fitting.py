"""`fit` with batches cut into shards: in this process, or on any number of workers.

A step on W workers:

    gradients   each worker computes its shards and adds what is its own of the tree
    add_up      worker j gets slice j of the parameters from all, and adds the rest
    take        each worker gets the other slices, and has the batch's whole gradient
    step        each does the optimiser's step: all know the same

This process does the last two as well. So it always knows where the run stands, writes
checkpoints and validates, and can teach a worker that takes the place of a lost one: a
lost worker costs the batch it was lost in, which is done again.
"""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import check_integer, check_size, describe
from exactrnn._checks.naming import check_names
from exactrnn._system.mode import ieee_mode
from exactrnn.distributed.engine import Engine, EngineError, Ref, Worker, WorkerLost
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
    cut,
    edges,
    owners,
    shard_gradients,
)
from exactrnn.distributed.training import BehindError, Found, Known, Trainer
from exactrnn.train._models import generator_states
from exactrnn.train.batches import Batch
from exactrnn.train.fitting import Fitting, History, Loss, Run
from exactrnn.train.optimizers import Optimizer

__all__ = ["Exchange", "Spreading", "fit"]

ENGINES: dict[str, Callable[[], Engine]] = {
    "inline": InlineEngine,
    "local": LocalEngine,
    "mpi": MPIEngine,
    "ray": RayEngine,
}
SLOW = 1.5
"""From how many times the usual seconds on the bar names a worker."""
MOST_LOSSES = 10
"""How often a batch is begun anew before it is given up."""


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

    shards: int
    workers: int
    engine: str | Engine | None
    threads: int
    axes: Axes | None
    count: Count | None
    watch: Callable[[Exchange], object] | None


OWN = ("shards", "workers", "engine", "threads", "axes", "count", "watch")


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
    own = {name: options[name] for name in OWN if name in options}  # type: ignore[literal-required]
    rest: Any = {name: v for name, v in options.items() if name not in OWN}
    workers = check_integer("workers", own.pop("workers", 0))
    engine = own.pop("engine", None)
    kind = SpreadRun if workers else ShardedRun
    run = kind(model, batches, loss, optimizer, rest)
    run.take(**own)
    if run.resume:
        run.load()
    if isinstance(run, SpreadRun):
        with run.placed(workers, engine):
            return run.to_end()
    return run.to_end()


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
        self.threads = check_size("threads", threads)
        self.axes = _check_axes(axes, self.batches)
        if self.carry:
            raise ValueError("carry: expected False, since shards begin at zeros")
        for name, given in (("count", count), ("watch", watch)):
            if given is not None and not callable(given):
                raise TypeError(f"{name}: expected a function, got {describe(given)}")
        self.count, self.watch = count, watch
        self.generators = generator_states(self.model)
        self.place = Place(-1, 0)

    def _next_shards(self, batch: Batch) -> list[Shard]:
        """Return the shards of a batch, and know which one it is."""
        before = self.place
        number = before.batch + 1 if before.epoch == self.epoch else 0
        self.place = Place(self.epoch, number)
        return cut(batch, self.shards, self.axes, self.count)

    def _backward(self, batch: Batch, state: Any) -> tuple[float, Any, Any]:
        shards = self._next_shards(batch)
        begin = time.perf_counter()
        values, layout, tree = shard_gradients(
            self.model, self.loss, shards, self.place, self.generators
        )
        vector = tree.total()
        if self.watch is not None:
            seconds = time.perf_counter() - begin
            self.watch(Exchange(*self.place, (seconds,), (0,), 0))
        return *_whole(values, layout, vector), state


class SpreadRun(ShardedRun):
    """The same on workers."""

    engine: Engine
    workers: list[Worker]
    unanswered: list[Ref]
    are_taught: bool
    point = 0

    def placed(self, workers: int, engine: object) -> ExitStack:
        """Place the workers; closing ends them, and an engine that is our own."""
        count = check_size("workers", workers)
        if count > self.shards:
            raise ValueError(
                f"workers: expected at most shards={self.shards}, got {count}"
            )
        with ExitStack() as begun:
            self.engine = _as_engine(engine)
            if self.engine is not engine:
                begun.enter_context(self.engine)
            self.workers = self.engine.place(
                partial(Trainer, self.loss, self.threads), count
            )
            begun.callback(self._dismiss)
            self.owned = owners(self.shards, count)
            self.unanswered, self.are_taught = [], False
            return begun.pop_all()

    def _dismiss(self) -> None:
        self.engine.dismiss(self.workers)

    def _teach(self) -> None:
        """Replace the workers that are lost, and tell all where the run stands."""
        known = Known(
            self.point,
            self.model,
            self.optimizer,
            self.gathered,
            self.clip,
            self.generators,
        )
        for k, worker in enumerate(self.workers):
            if not self.engine.alive(worker):
                self.workers[k] = self.engine.replace(worker)
        ref = self.engine.put(pickle.dumps(known, 5))
        taught = [self.engine.call(w, "load", ref) for w in self.workers]
        for one in taught:
            self.engine.fetch(one)
        self.are_taught = True

    def _backward(self, batch: Batch, state: Any) -> tuple[float, Any, Any]:
        shards = self._next_shards(batch)
        for lost in range(MOST_LOSSES):
            try:
                if not self.are_taught:
                    self._look_for_errors()
                    self._teach()
                return *self._exchange(shards, lost), state
            except (WorkerLost, BehindError) as error:
                last, self.are_taught = error, False
        raise EngineError(
            f"workers: batch {self.place.batch} of epoch {self.place.epoch} lost one "
            f"{MOST_LOSSES} times, at last: {last}"
        )

    def _look_for_errors(self) -> None:
        """Raise what an order without an answer has raised but for losses.

        A worker that could not do one stands behind at the next batch.
        """
        orders, self.unanswered = self.unanswered, []
        for ref in orders:
            with suppress(WorkerLost, BehindError):
                self.engine.fetch(ref)

    def _exchange(self, shards: list[Shard], lost: int) -> tuple[float, dict[str, Any]]:
        """Do one batch on the workers; they have its gradient, and so have we."""
        call, count = self.engine.call, len(self.workers)
        given = [
            call(w, "gradients", self.point, self.place, own, count, returns=1 + count)
            for w, own in zip(self.workers, self._of_workers(shards), strict=True)
        ]
        found_refs = [one[0] for one in given]
        sums = []
        for j, worker in enumerate(self.workers):
            pairs = [ref for one in given for ref in (one[0], one[1 + j])]
            sums.append(call(worker, "add_up", *pairs))
        orders = [
            call(worker, "take", self.point, found_refs[0], *sums)
            for worker in self.workers
        ]
        found: list[Found] = [self.engine.fetch(ref) for ref in found_refs]
        vector = np.concatenate([self.engine.fetch(ref) for ref in sums])
        self.unanswered = orders
        self.point += 1
        self._tell(found, vector, lost)
        values = [value for one in found for value in one.values]
        return _whole(values, found[0].layout, vector)

    def _of_workers(self, shards: list[Shard]) -> list[list[Shard]]:
        """Return whose shards are whose."""
        return [[shards[k] for k in own if k < len(shards)] for own in self.owned]

    def _step(self, gradients: dict[str, Any]) -> float:
        """Do the step here, and have the workers do it."""
        norm = super()._step(gradients)
        self.unanswered += [
            self.engine.call(worker, "step", self.point, self.optimizer.lr)
            for worker in self.workers
        ]
        self.point += 1
        return norm

    def _tell(self, found: list[Found], vector: NDArray[Any], lost: int) -> None:
        """Say what the batch took, on the bar if a worker is slow."""
        seconds = tuple(one.seconds for one in found)
        self.remark = remark_on(seconds)
        if self.watch is None:
            return
        nodes = [len(one.nodes) for one in found]
        spans = pairwise(edges(vector.size, len(found)))
        received = []
        for own, (begin, end) in zip(nodes, spans, strict=True):
            slices = (sum(nodes) - own) * (end - begin) + vector.size - (end - begin)
            received.append(slices * vector.itemsize)
        self.watch(Exchange(*self.place, seconds, tuple(received), lost))


def remark_on(seconds: Sequence[float]) -> str:
    """Return what the bar says of the slowest worker; nothing of one among equals."""
    slowest, usual = max(seconds), statistics.median_low(seconds)
    if slowest < SLOW * usual:
        return ""
    return f"  worker {seconds.index(slowest)} {slowest:.2g} s, others {usual:.2g} s"


def _whole(
    values: list[float], layout: Layout | None, vector: NDArray[Any]
) -> tuple[float, dict[str, Any]]:
    """Return the batch's loss, a sum in the shards' order, and its gradient."""
    assert layout is not None
    total = 0.0
    with ieee_mode():
        for value in values:
            total += value
    return total, layout.as_gradients(vector)


def _as_engine(engine: Any) -> Engine:
    """Return the engine of a name, or the one that was given."""
    name = "local" if engine is None else engine
    if isinstance(name, str):
        if name not in ENGINES:
            expected = ", ".join(map(repr, ENGINES))
            raise ValueError(f"engine: expected {expected} or an Engine, got {name!r}")
        return ENGINES[name]()
    missing = [n for n in ("place", "call", "fetch", "replace") if not hasattr(name, n)]
    if missing:
        raise TypeError(f"engine: expected an Engine or its name, got {describe(name)}")
    given: Engine = name
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
