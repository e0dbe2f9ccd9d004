"""What the estimators share: parameters, one training, answers in pieces.

Whatever is random comes from three numbers that `random_state` gives: for the weights,
the order of examples, and what is held out. Results depend on nothing else, since those
of layers depend neither on threads nor on who shares a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import (
    _safe_indexing,
    check_consistent_length,
    check_random_state,
)
from sklearn.utils.validation import check_is_fitted

from exactrnn import engine, train
from exactrnn._checks import (
    Array,
    FloatType,
    check_dtype,
    check_flag,
    check_integer,
    check_size,
)
from exactrnn._checks.numbers import check_real
from exactrnn.interop.sklearn._given import (
    check_held,
    check_plain,
    naming,
    read_array,
)
from exactrnn.interop.sklearn._model import SequenceModel, make_layer
from exactrnn.interop.sklearn._scaling import Scaling
from exactrnn.interop.sklearn._sequences import (
    Examples,
    SequenceBatches,
    Sequences,
    read_sequences,
)

NUMBERS_AT_ONCE = 2**22
"""Of the layer's output, where answers are computed; more are computed in pieces."""
SIZES = ("hidden_size", "num_layers", "bidirectional", "dropout", "dtype")
"""Parameters that are arguments of every layer."""
LARGEST_SEED = 2**31 - 1


class Seeds(NamedTuple):
    """Where the random numbers of one training begin."""

    weights: int
    order: int
    held_out: int


class SequenceEstimator(BaseEstimator):
    """What the estimators share.

    A derived class lists its parameters in the signature of its constructor, whose body
    hands them on: `super().__init__(locals())`.

    Parameters
    ----------
    arguments : mapping of str to object
        The local names of the constructor.
    """

    cell: Any
    cell_options: Mapping[str, Any] | None
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    clip: float | None
    validation_fraction: float | None
    patience: int | None
    standardize: bool
    axis_order: str
    dtype: Any
    n_jobs: int | None
    progress: bool | None
    random_state: Any

    model_: SequenceModel
    history_: train.History
    n_features_in_: int
    scaling_: Scaling

    _like: Sequences
    _optimizer: train.Optimizer
    _seeds: Seeds
    _epochs_done: int

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        for name in self._get_param_names():
            setattr(self, name, arguments[name])

    # Training

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Make a block that raises leave the estimator as it was."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _draw_seeds(self) -> Seeds:
        try:
            state = check_random_state(self.random_state)
        except (TypeError, ValueError) as error:
            raise ValueError(f"random_state: {error}") from None
        return Seeds(*(int(state.randint(LARGEST_SEED)) for _ in Seeds._fields))

    def _build(self, width: int, outputs: int, seeds: Seeds) -> None:
        """Make model and optimiser for I and O, or raise for a parameter."""
        sizes = {name: getattr(self, name) for name in SIZES}
        layer = make_layer(self.cell, self.cell_options, **sizes, input_size=width)
        model = SequenceModel(layer, outputs)
        model.seed_parts(seeds.weights)
        optimizer = train.AdamW(model, self.lr, weight_decay=self.weight_decay)
        self.model_, self._optimizer = model, optimizer
        self._seeds, self._epochs_done = seeds, 0
        self.__dict__.pop("history_", None)

    def _train(
        self, examples: Examples, held_out: Examples | None, **options: Any
    ) -> None:
        """Go through the examples for some epochs; `history_` goes on."""
        dtype = self.model_.layer.dtype
        size = check_size("batch_size", self.batch_size)
        batches = SequenceBatches(
            examples, dtype, size, self._seeds.order, self._epochs_done
        )
        if held_out is not None:
            options["validation"] = SequenceBatches(held_out, dtype, size)
        self._optimizer.lr = check_real("lr", self.lr, 0.0)
        if self.progress is not None:
            check_flag("progress", self.progress)
        with self._threads():
            history = train.fit(
                self.model_,
                batches,
                self._loss,
                self._optimizer,
                clip=self.clip,
                progress=self.progress,
                **options,
            )
        self._epochs_done += len(history.loss)
        before = vars(self).get("history_")
        self.history_ = history if before is None else joined(before, history)
        if history.stopped == "interrupt":
            warnings.warn("training was interrupted by the user", stacklevel=3)

    def _loss(self, y: Array, target: Array, **given: Any) -> tuple[float, Array]:
        """Return the loss of answers, and its gradient."""
        raise NotImplementedError

    def _threads(self) -> AbstractContextManager[None]:
        """Return a block in which as many threads are used as `n_jobs` says."""
        if self.n_jobs is None:
            return nullcontext()
        return engine.threads(effective_n_jobs(check_integer("n_jobs", self.n_jobs)))

    def _share_held_out(self) -> float:
        """Return the share that is held out, where one is."""
        share = self.validation_fraction
        return check_real(
            "validation_fraction", share, 0, 1, open_below=True, open_above=True
        )

    # Data

    def _read(self, X: Any, *, first: bool) -> Sequences:
        """Return what the caller means by X; `first` where it is fitted to."""
        like = None if first else self._like
        found = read_sequences(self, X, self.axis_order, fitted=like)
        if first:
            self._like = found.take(np.zeros(0, np.int64)).with_values(
                np.empty((0, found.width), np.float32)
            )
        return found

    def _fit_scaling(self, sequences: Sequences) -> None:
        own = check_flag("standardize", self.standardize)
        width = sequences.width
        self.scaling_ = Scaling.of(sequences.values) if own else Scaling.none(width)

    def _scaled(self, sequences: Sequences) -> Sequences:
        values = self.scaling_.apply("X", sequences.values, self._model_dtype())
        return sequences.with_values(values)

    def _model_dtype(self) -> FloatType:
        """Return the dtype of the model, also before it is made."""
        model = vars(self).get("model_")
        return check_dtype(self.dtype if model is None else model.layer.dtype)

    def _answers(self, X: Any) -> Array:
        """Return the readout for each sequence, ``[n, O]``."""
        check_is_fitted(self, "model_")
        return self._run(self._scaled(self._read(X, first=False)))

    def _run(self, sequences: Sequences) -> Array:
        """Return the readout for each sequence, some at a time."""
        model = self.model_
        steps = int(sequences.lengths.max(initial=1))
        rows = max(1, NUMBERS_AT_ONCE // (steps * model.readout.in_features))
        order = np.argsort(-sequences.lengths, kind="stable")
        y = np.empty((len(sequences), model.readout.out_features), model.readout.dtype)
        with self._threads():
            for begin in range(0, len(order), rows):
                some = order[begin : begin + rows]
                y[some] = model(sequences.padded(some, model.layer.dtype))
        return y

    def __sklearn_tags__(self) -> Any:
        """Say what is taken: tables and arrays of three axes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class Answering(SequenceEstimator):
    """A classifier or regressor: an answer to each sequence."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train from the beginning.

        Parameters
        ----------
        X : list of arrays, or array
            The sequences: of ``[T_k, I]`` or ``[T_k]``; ``[n, T, I]`` or ``[n, T]``.
        y : array_like, ``[n]``; of a regressor also ``[n, O]``
            What is to be answered.
        sample_weight : array_like, ``[n]``, optional
            How much each sequence counts; 0 is as if it were not there.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, `X`, `y` or a weight is not as described.
        """
        with self._whole():
            self.__dict__.pop("model_", None)
            sequences = self._read(X, first=True)
            sequences, y, weights = self._counted(sequences, y, sample_weight)
            self._start(sequences, y, None)
            examples = self._examples(sequences, y, weights)
            held = None
            options: dict[str, Any] = {"epochs": self.epochs, "patience": self.patience}
            if self.validation_fraction is not None:
                kept, out = self._split(examples, self._share_held_out())
                examples, held = examples.take(kept), examples.take(out)
                options["metrics"] = self._metrics()
            self._train(examples, held, **options)
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Self:
        """Go once through more data, which need not all be there at once."""
        with self._whole():
            first = "model_" not in vars(self)
            sequences = self._read(X, first=first)
            sequences, y, weights = self._counted(sequences, y, sample_weight)
            if first:
                self._start(sequences, y, classes)
            self._train(self._examples(sequences, y, weights), None, epochs=1)
        return self

    def _start(self, sequences: Sequences, y: Any, classes: Any) -> None:
        """Learn the scales and what the targets are, and make the model."""
        self._fit_scaling(sequences)
        outputs = self._fit_targets(y, classes)
        self._build(sequences.width, outputs, self._draw_seeds())

    def _counted(
        self, sequences: Sequences, y: Any, sample_weight: Any
    ) -> tuple[Sequences, Any, Array | None]:
        """Return what has any weight: sequences, targets, weights unless all are 1."""
        if y is None:
            raise ValueError(
                f"y: {type(self).__name__} requires y to be passed, but the target y "
                "is None"
            )
        check_plain("y", y)
        with naming("y", y, f"an answer for each of n={len(sequences)} sequences"):
            check_consistent_length(sequences.starts, y)
        if sample_weight is None:
            return sequences, y, None
        weights = self._check_weights(sample_weight, len(sequences))
        rows = np.flatnonzero(weights)
        if not rows.size:
            raise ValueError(
                f"sample_weight: expected some above zero in {weights.dtype}, got only "
                "zero"
            )
        if len(rows) < len(weights):
            sequences, y = sequences.take(rows).compact(), _safe_indexing(y, rows)
            weights = weights[rows]
        return sequences, y, None if (weights == 1).all() else weights

    def _check_weights(self, sample_weight: Any, count: int) -> Array:
        """Return how much each sequence counts, in the dtype of the model."""
        name, expected = "sample_weight", f"numbers [n={count}] of at least 0"
        given = read_array(
            name, sample_weight, expected, ensure_2d=False, dtype=np.float64
        )
        if given.shape != (count,):
            raise ValueError(f"{name}: expected {expected}, got shape {given.shape}")
        if (given < 0).any():
            raise ValueError(f"{name}: expected {expected}, got {given.min():g}")
        return check_held(name, given, self._model_dtype())

    def _examples(
        self, sequences: Sequences, y: Any, weights: Array | None
    ) -> Examples:
        """Return what is trained on."""
        return Examples(self._scaled(sequences), self._encode(y), weights)

    def _fit_targets(self, y: Any, classes: Any) -> int:
        """Learn what the targets are; return O."""
        raise NotImplementedError

    def _encode(self, y: Any) -> NDArray[Any]:
        """Return targets as the loss takes them."""
        raise NotImplementedError

    def _split(
        self, examples: Examples, share: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which examples are trained on, and which are held out."""
        raise NotImplementedError

    def _metrics(self) -> dict[str, Any]:
        """Return what is measured of held-out examples, by name."""
        return {}


CURVES = ("loss", "validation", "lr", "norm", "skipped")


def joined(before: train.History, after: train.History) -> train.History:
    """Return the history of two trainings of one model, one after the other."""
    curves = {
        name: np.concatenate((getattr(before, name), getattr(after, name)))
        for name in CURVES
    }
    unmeasured = np.full(len(after.loss), np.nan)
    metrics = {
        name: np.concatenate((curve, after.metrics.get(name, unmeasured)))
        for name, curve in before.metrics.items()
    }
    validated = np.isfinite(curves["validation"]).any()
    judged = curves["validation" if validated else "loss"]
    best = int(np.nanargmin(judged)) if np.isfinite(judged).any() else -1
    return train.History(**curves, metrics=metrics, best=best, stopped=after.stopped)
