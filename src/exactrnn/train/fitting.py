"""The loop around a model: epochs, validation, stopping, checkpoints (contract N9).

    for each epoch
        for each batch      forward, loss, backward, norm, clipping, a step
        validation          loss and metrics, by inference
        schedule, best weights, checkpoint, patience

Nothing in it reads a clock: data, seeds and options give a run its bits, and a run that
was cut off and resumed from its checkpoint ends with those it would have had.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, Unpack

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, check_flag, check_size, describe
from exactrnn._checks.limits import shorten
from exactrnn._checks.naming import check_names
from exactrnn._checks.numbers import check_real
from exactrnn._system.mode import ieee_mode
from exactrnn.io import bad_content
from exactrnn.layers._composite import first_output
from exactrnn.train import _bar, _checkpoint
from exactrnn.train._models import (
    check_carried,
    check_loss,
    check_model,
    check_of_model,
    check_told,
    generator_states,
    set_generator_states,
)
from exactrnn.train._sharing import SHARING, Sharing, hand_over
from exactrnn.train._sources import arrays_of
from exactrnn.train.averages import Accumulator, WeightAverage
from exactrnn.train.batches import Batch
from exactrnn.train.clipping import clip_global_norm, global_norm
from exactrnn.train.optimizers import Optimizer
from exactrnn.train.schedules import Schedule, check_schedule

__all__ = ["Fitting", "History", "fit"]

Loss: TypeAlias = Callable[..., tuple[float, Any]]
CURVES = ("loss", "validation", "lr", "norm", "skipped")


class History(NamedTuple):
    """What happened, one number for each epoch.

    Attributes
    ----------
    loss : ndarray, ``[E]``
        Mean loss of the batches, by their targets, as they were trained on.
    validation : ndarray, ``[E]``
        Loss of the validation data after the epoch; NaN without any.
    lr : ndarray, ``[E]``
        Learning rate of the last step.
    norm : ndarray, ``[E]``
        Mean global norm of the gradients before clipping.
    skipped : ndarray, ``[E]``
        Steps left out because the norm was infinite or NaN.
    metrics : dict of str to ndarray
        Each metric of the validation data.
    best : int
        The epoch with the least loss of validation, or of training without any; -1 if
        there is none.
    stopped : {"epochs", "patience", "interrupt"}
        Why it ended.
    """

    loss: NDArray[np.float64]
    validation: NDArray[np.float64]
    lr: NDArray[np.float64]
    norm: NDArray[np.float64]
    skipped: NDArray[np.float64]
    metrics: dict[str, NDArray[np.float64]]
    best: int
    stopped: str


class Fitting(Sharing, total=False):
    """The options of `fit`, whose docstring says what they are."""

    epochs: int
    validation: Iterable[Any] | None
    metrics: Mapping[str, Callable[..., float]]
    schedule: Schedule | None
    clip: float | None
    carry: bool
    accumulate: int
    average: WeightAverage | None
    patience: int | None
    checkpoint: str | os.PathLike[str] | None
    resume: bool
    progress: bool | None


def fit(
    model: Any,
    batches: Iterable[Any],
    loss: Loss,
    optimizer: Optimizer,
    **options: Unpack[Fitting],
) -> History:
    """Train a model for some epochs.

    Each batch begins from a state of zeros, unless `carry` is True: then from the state
    that the batch before left, and gradients end where the batch begins (truncated
    BPTT, with ``list(stream_batches(...))`` as batches). A step whose gradients are not
    finite is left out and counted.

    Parameters
    ----------
    model : layer, Sequential, or Composite with forward and backward
        ``forward(x)`` gives the output first and what ``backward(cache, dy)`` needs
        last. Where a batch has lengths, ``forward(x, lengths=...)`` is called. ``x`` is
        what the batch has there: a tuple, if the model has several inputs.
    batches : Batches, or what can be gone through again and again
        Of ``(x, y)``, ``(x, y, lengths)`` or ``(x, y, lengths, weights)``.
    loss : callable
        ``loss(output, y)``, with ``lengths=`` and ``weights=`` where a batch has them,
        returns a number and the gradient at the output, as those of this package do.
    optimizer : Optimizer
        Of this model.
    **options
        ``epochs`` (10): how many in all, those before a resumption included.
        ``validation``: batches that are measured after each epoch, by inference.
        ``metrics``: functions of an output and its ``y`` by name, measured in
        validation and averaged over batches by their targets; lengths go with them.
        ``schedule``: sets the learning rate before each step.
        ``clip``: largest global norm of the gradients.
        ``carry`` (False): whether states go on from batch to batch, in training and in
        validation, each from zeros at its beginning. The model's `forward` then takes
        ``state=`` and gives it back in the second place, as layers and `Sequential` do.
        ``accumulate`` (1): batches whose mean gradient makes a step; what is left at
        the end of an epoch makes one too.
        ``average``: a `WeightAverage` that takes in the weights after each step, and
        with which validation is done.
        ``patience``: epochs without a better loss of validation (of training without
        any) after which it ends. The model then gets the best weights back.
        ``checkpoint``: a path where the whole run is kept after each epoch, completely
        or as it was before.
        ``resume`` (False): go on from the checkpoint, if there is one.
        ``progress``: whether there is a bar; by default on a terminal alone.
        ``workers``, ``shards`` and the other options of `exactrnn.distributed.fit`:
        with any of them it does the training.

    Returns
    -------
    History
        At Ctrl-C what came so far: the model is as after its last whole step, the
        checkpoint as after its last whole epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the checkpoint is of another run.
    OSError
        If the checkpoint cannot be written or read.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> x, y = xr.train.windows(np.sin(np.arange(200) * 0.3).astype("float32"), 20)
    >>> model = xr.train.Sequential(
    ...     xr.GRU(1, 8), xr.train.Last(), xr.train.Linear(8, 1), seed=0
    ... )
    >>> history = xr.train.fit(
    ...     model,
    ...     xr.train.batches(x, y, size=32, seed=0, axes=(1, 0)),
    ...     xr.train.mean_squared_error,
    ...     xr.train.Adam(model, lr=0.02),
    ...     epochs=5,
    ... )
    >>> history.loss.shape, bool(history.loss[-1] < history.loss[0] / 5)
    ((5,), True)
    """
    if any(name in options for name in SHARING):
        history: History = hand_over("fit", model, batches, loss, optimizer, **options)
        return history
    run = Run(model, batches, loss, optimizer, options)
    if run.resume:
        run.load()
    return run.to_end()


class Run:
    """One training, with what it knows between two epochs.

    `distributed` derives from it one whose batches are cut into shards.
    """

    shards: int | None = None
    remark = ""  # behind what the bar says

    def __init__(
        self,
        model: Any,
        batches: Iterable[Any],
        loss: Loss,
        optimizer: Optimizer,
        options: Fitting,
    ) -> None:
        known = [name for name in Fitting.__annotations__ if name not in SHARING]
        check_names("options", {*known, *options}, known)
        self.model = check_model("model", model)
        self.batches = _check_batches("batches", batches)
        self.loss = _check_callable("loss", loss)
        self.optimizer: Optimizer = _check_kind("optimizer", optimizer, Optimizer)
        check_of_model("optimizer", model, arrays_of(optimizer._source))
        self._take(options)
        self.curves: dict[str, list[float]] = {name: [] for name in CURVES}
        self.measured: dict[str, list[float]] = {name: [] for name in self.metrics}
        self.best, self.best_weights = -1, dict[str, Array]()
        self.gathered = Accumulator()

    def _take(self, options: Fitting) -> None:
        """Check the options and keep them."""
        self.epochs = check_size("epochs", options.get("epochs", 10))
        self.validation = options.get("validation")
        if self.validation is not None:
            _check_batches("validation", self.validation)
        self.metrics = _check_metrics(options.get("metrics") or {})
        if self.metrics and self.validation is None:
            raise ValueError("metrics: expected validation data with them, got none")
        self.schedule = options.get("schedule")
        if self.schedule is not None:
            check_schedule("schedule", self.schedule)
        self.clip = options.get("clip")
        if self.clip is not None:
            check_real("clip", self.clip, 0.0, open_below=True)
        self.carry = check_flag("carry", options.get("carry", False))
        self.accumulate = check_size("accumulate", options.get("accumulate", 1))
        average = options.get("average")
        self.average: WeightAverage | None = average
        if average is not None:
            _check_kind("average", average, WeightAverage)
            check_of_model("average", self.model, average._model.parameters())
        patience = options.get("patience")
        self.patience = None if patience is None else check_size("patience", patience)
        self.checkpoint = options.get("checkpoint")
        if self.checkpoint is not None:
            _check_place(self.checkpoint)
        self.resume = check_flag("resume", options.get("resume", False))
        if self.resume and self.checkpoint is None:
            raise ValueError("resume: expected a checkpoint with it, got none")
        self.progress = options.get("progress")
        if self.progress is not None:
            check_flag("progress", self.progress)

    # The loop

    def to_end(self) -> History:
        """Train until the epochs or the patience are used up, or to Ctrl-C."""
        left = self.epochs - self.epoch
        steps = len(self.batches) * left if hasattr(self.batches, "__len__") else None
        stopped = "epochs"
        try:
            with _bar.shown(self.progress, steps) as show:
                while self.epoch < self.epochs and not self._is_stuck():
                    self._train_epoch(show)
            if self._is_stuck():
                stopped = "patience"
            if self.patience is not None and self.best_weights:
                self.model.load_state_dict(self.best_weights)
        except KeyboardInterrupt:
            stopped = "interrupt"
        return self._history(stopped)

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return len(self.curves["skipped"])

    def _is_stuck(self) -> bool:
        """Tell whether the loss has not fallen for as long as there is patience."""
        return self.patience is not None and self.epoch - 1 - self.best >= self.patience

    def _train_epoch(self, show: _bar.Show) -> None:
        """Do an epoch; the run knows of it when all of it is done."""
        found = self._pass(show)
        measured: dict[str, float] = dict.fromkeys(self.metrics, math.nan)
        found["validation"] = math.nan
        if self.validation is not None:
            found["validation"], measured = self._validate()
        judged = found["loss" if self.validation is None else "validation"]
        if self.schedule is not None:
            self.schedule.observe(judged)
        self._note(found, measured, judged)
        if self.checkpoint is not None:
            self.save()

    def _note(
        self, found: dict[str, float], measured: dict[str, float], judged: float
    ) -> None:
        """Take an epoch into the history: at once, whenever Ctrl-C comes."""
        own = self.curves["loss" if self.validation is None else "validation"]
        least = own[self.best] if self.best >= 0 else math.nan
        best, weights = self.best, self.best_weights
        if not (math.isnan(judged) or least <= judged):
            best = self.epoch
            if self.patience is not None:
                weights = self._judged_weights()
        curves = {name: [*curve, found[name]] for name, curve in self.curves.items()}
        values = {n: [*curve, measured[n]] for n, curve in self.measured.items()}
        after = curves, values, best, weights
        self.curves, self.measured, self.best, self.best_weights = after

    def _judged_weights(self) -> dict[str, Array]:
        source = self.model if self.average is None else self.average
        return dict(source.state_dict())

    def _pass(self, show: _bar.Show) -> dict[str, float]:
        """Train on each batch once."""
        total, norms, skipped, targets, steps = 0.0, 0.0, 0, 0, 0
        gradients, state = Accumulator(), None
        self.gathered = gradients
        for batch, is_last in _with_last(self._in_order()):
            value, own, state = self._backward(batch, state)
            gradients.add(own)
            rows = _rows_of(batch)
            with ieee_mode():
                total, targets = total + value * rows, targets + rows
            if is_last or gradients.count == self.accumulate:
                norm = self._step(gradients.take())
                steps += 1
                with ieee_mode():
                    if math.isfinite(norm):
                        norms += norm
                    else:
                        skipped += 1
            words = f"epoch {self.epoch + 1}/{self.epochs}  loss {value:.4g}"
            show(words + self.remark)
        if not steps:
            raise ValueError("batches: expected some in every epoch, got none")
        with ieee_mode():
            taken = steps - skipped
            mean_norm = norms / taken if taken else math.nan
            mean_loss = total / targets if targets else 0.0
        return {
            "loss": mean_loss,
            "lr": self.optimizer.lr,
            "norm": mean_norm,
            "skipped": float(skipped),
        }

    def _in_order(self) -> Iterator[Batch]:
        """Yield the batches of this epoch, in the order that belongs to it."""
        in_order = getattr(self.batches, "epoch", None)
        given = iter(self.batches) if in_order is None else in_order(self.epoch)
        return map(as_batch, given)

    def _backward(self, batch: Batch, state: Any) -> tuple[float, Any, Any]:
        """Return the loss of a batch, the gradients of the weights, and a state."""
        given = self._given(batch, state)
        output, *rest, cache = self.model.forward(batch.x, **given)
        value, dy = check_loss(self.loss(output, batch.y, **_extras(batch)))
        gradients = self.model.backward(cache, dy).weights
        return value, gradients, self._carried(rest)

    def _given(self, batch: Batch, state: Any) -> dict[str, Any]:
        """Return what the model is told beside the input."""
        given = {} if batch.lengths is None else {"lengths": batch.lengths}
        return given if state is None else {**given, "state": state}

    def _carried(self, rest: Sequence[Any]) -> Any:
        """Return the state with which the next batch begins; None for zeros."""
        if not self.carry:
            return None
        return check_carried(self.model, rest[0] if rest else None)

    def _step(self, gradients: dict[str, Any]) -> float:
        """Do one step unless the gradients are not finite; return their norm."""
        norm = (
            global_norm(gradients)
            if self.clip is None
            else clip_global_norm(gradients, self.clip)
        )
        if self.schedule is not None:
            self.optimizer.lr = self.schedule.rate(self.optimizer.num_steps)
        if math.isfinite(norm):
            self.optimizer.step(gradients)
            if self.average is not None:
                self.average.update()
        return norm

    def _validate(self) -> tuple[float, dict[str, float]]:
        """Return loss and metrics of the validation data, means by targets."""
        total, targets, state = 0.0, 0, None
        sums = dict.fromkeys(self.metrics, 0.0)
        with ExitStack() as held:
            if self.average is not None:
                held.enter_context(self.average.applied())
            for batch in map(as_batch, self.validation or ()):
                found = self.model(batch.x, **self._given(batch, state))
                output = first_output(found)
                state = self._carried(found[1:] if isinstance(found, tuple) else ())
                value, _ = check_loss(self.loss(output, batch.y, **_extras(batch)))
                rows = _rows_of(batch)
                with ieee_mode():
                    total, targets = total + value * rows, targets + rows
                for name, metric in self.metrics.items():
                    own = metric(output, batch.y, **self._given(batch, None))
                    check_told(f"metrics[{name!r}]", own)
                    with ieee_mode():
                        sums[name] += own * rows
        if not targets:
            raise ValueError("validation: expected some batches every time, got none")
        with ieee_mode():
            return total / targets, {n: own / targets for n, own in sums.items()}

    def _history(self, stopped: str) -> History:
        curves = {name: _checkpoint.as_curve(own) for name, own in self.curves.items()}
        metrics = {n: _checkpoint.as_curve(own) for n, own in self.measured.items()}
        return History(**curves, metrics=metrics, best=self.best, stopped=stopped)

    # The checkpoint

    def save(self) -> None:
        """Write the run as it is between two epochs."""
        assert self.checkpoint is not None
        slots, rest = _checkpoint.split_optimizer(self.optimizer.state_dict())
        history = {n: _checkpoint.as_curve(own) for n, own in self.curves.items()}
        measured = {n: _checkpoint.as_curve(own) for n, own in self.measured.items()}
        groups: dict[str, Mapping[str, Any]] = {
            "model": self.model.state_dict(),
            "best": self.best_weights,
            "optimizer": slots,
            "history": history,
            "metrics": measured,
        }
        if self.average is not None:
            groups["average"] = self.average.state_dict()
        description = {
            "optimizer": rest,
            "schedule": {} if self.schedule is None else self.schedule.state_dict(),
            "generators": generator_states(self.model),
            "best": self.best,
        }
        if self.shards is not None:
            description["shards"] = self.shards
        _checkpoint.write(self.checkpoint, groups, description)

    def load(self) -> None:
        """Go on from the checkpoint; if there is none, from the beginning."""
        assert self.checkpoint is not None
        if not Path(self.checkpoint).exists():
            return
        groups, description = _checkpoint.read(self.checkpoint)
        owners = (self.model, self.optimizer, self.average, self.schedule)
        before = [(own, own.state_dict()) for own in owners if own is not None]
        with bad_content(self.checkpoint, "a checkpoint of this training"):
            try:
                self._restore(groups, description)
            except BaseException:
                for own, state in before:
                    own.load_state_dict(state)
                raise

    def _restore(
        self, groups: Mapping[str, Mapping[str, Any]], description: Mapping[str, Any]
    ) -> None:
        shards = description.get("shards")
        if shards != self.shards:
            raise ValueError(f"it is of shards={shards}, this run of {self.shards}")
        history, measured = groups["history"], groups.get("metrics", {})
        check_names("history", history, CURVES)
        check_names("metrics", measured, self.metrics)
        if self.average is not None and "average" not in groups:
            raise ValueError("average: expected a run with one, got one without")
        self.model.load_state_dict(groups["model"])
        if self.average is not None:
            self.average.load_state_dict(groups["average"])
        state = _checkpoint.joined_optimizer(
            groups.get("optimizer", {}),
            description["optimizer"],
            self.optimizer.state_dict(),
        )
        self.optimizer.load_state_dict(state)
        if self.schedule is not None:
            self.schedule.load_state_dict(description["schedule"])
        set_generator_states(self.model, description["generators"])
        self.curves = {name: list(history[name].tolist()) for name in CURVES}
        self.measured = {name: list(measured[name].tolist()) for name in self.metrics}
        self.best = int(description["best"])
        self.best_weights = dict(groups.get("best", {}))


def as_batch(given: object) -> Batch:
    """Return what a loop over batches gives as a `Batch`, or raise."""
    if isinstance(given, Batch):
        return given
    if not isinstance(given, tuple | list) or not 2 <= len(given) <= 4:
        raise TypeError(
            "batches: expected (x, y), with lengths and weights behind them if need "
            f"be, got {describe(given)}"
        )
    return Batch(*given)


def _rows_of(batch: Batch) -> int:
    """Return how much a batch counts: its steps that count, or else its targets."""
    if batch.lengths is not None:
        return sum(np.asarray(batch.lengths).tolist())
    return int(np.asarray(batch.y).size)


def _extras(batch: Batch) -> dict[str, Any]:
    """Return what a loss is told beside output and target."""
    given = {"lengths": batch.lengths, "weights": batch.weights}
    return {name: value for name, value in given.items() if value is not None}


def _with_last(items: Iterator[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Yield each item, and whether none comes after it."""
    missing = object()
    item: Any = next(items, missing)
    while item is not missing:
        after: Any = next(items, missing)
        yield item, after is missing
        item = after


def _check_batches(name: str, batches: Any) -> Any:
    if hasattr(batches, "iter_batches"):
        raise TypeError(
            f"{name}: expected xr.train.batches(...) of the columns of a dataset of "
            "Ray, each an xr.distributed.RayColumn(dataset, name), got "
            f"{describe(batches)}, which has no index"
        )
    if not hasattr(batches, "__iter__") or hasattr(batches, "__next__"):
        raise TypeError(
            f"{name}: expected batches that can be gone through in every epoch, such "
            f"as xr.train.batches(...) or a list, got {describe(batches)}"
        )
    return batches


def _check_kind(name: str, given: Any, kind: type) -> Any:
    if not isinstance(given, kind):
        raise TypeError(f"{name}: expected a {kind.__name__}, got {describe(given)}")
    return given


def _check_metrics(given: Any) -> dict[str, Callable[..., float]]:
    if not isinstance(given, Mapping):
        got = describe(given)
        raise TypeError(f"metrics: expected functions by their names, got {got}")
    return {
        str(name): _check_callable(f"metrics[{name!r}]", metric)
        for name, metric in given.items()
    }


def _check_place(path: Any) -> None:
    """Raise where no checkpoint could be written after the first epoch."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"checkpoint: expected a path, got {describe(path)}")
    name = shorten(path)
    if Path(path).is_dir():
        raise IsADirectoryError(f"checkpoint: expected a file, got a folder, {name}")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(
            f"checkpoint: expected a file in a folder that exists, got {name}"
        )


def _check_callable(name: str, given: Any) -> Any:
    if not callable(given):
        raise TypeError(f"{name}: expected a function, got {describe(given)}")
    return given
