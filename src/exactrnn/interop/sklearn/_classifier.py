"""A class for each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from exactrnn import train
from exactrnn._checks import Array, DTypeLike, describe
from exactrnn._checks.limits import list_names, quote
from exactrnn._checks.numbers import check_real
from exactrnn._numeric.random import elementary
from exactrnn._system.mode import ieee_mode
from exactrnn.interop.sklearn._base import Answering
from exactrnn.interop.sklearn._given import (
    as_listed,
    check_held,
    check_plain,
    naming,
)
from exactrnn.interop.sklearn._sequences import Examples, Sequences


class SequenceClassifier(ClassifierMixin, Answering):
    """A class for each sequence: a recurrent layer, and softmax at its end.

    Parameters
    ----------
    cell : str or Cell
        The network: `"gru"`, `"lstm"`, `"rnn"`, or another name of
        `exactrnn.layers.NETWORKS`; or equations, as those of `exactrnn.cells`.
    hidden_size, num_layers : int
        H, hidden units per direction; L, layers on top of each other.
    bidirectional : bool
        Whether a second direction reads from each sequence's end.
    dropout : float
        Share of values dropped between layers in training.
    cell_options : mapping of str to object, optional
        Further arguments of the layer's class, as ``{"peepholes": "ifo"}``.
    epochs : int
        How often `fit` goes through the data.
    batch_size : int
        Sequences of which a step's gradient is the mean.
    lr, weight_decay : float
        Learning rate and decay of AdamW.
    clip : float or None
        Largest global norm of a gradient.
    class_weight : dict, {"balanced"} or None
        How much each class counts, as in scikit-learn.
    validation_fraction : float or None
        Share of the sequences that is held out and measured after each epoch.
    patience : int or None
        Epochs without a better loss, of what is held out if anything is, after which
        `fit` ends. The model then gets its best weights back.
    standardize : bool
        Whether values are brought to mean 0 and deviation 1 over all steps first.
    axis_order : {"NTI", "NIT"}
        Of arrays with three axes: sequences, steps, values of a step; or the last two
        the other way round, as in aeon and sktime.
    dtype : {"float32", "float64"}
        Of the weights.
    n_jobs : int or None
        Threads; -1 for all processors, None for what `exactrnn.set_num_threads` says.
        Results do not depend on it.
    progress : bool or None
        Whether there is a bar (needs tqdm); None: on a terminal alone.
    random_state : int, RandomState or None
        Of first weights, order and dropout, and of what is held out.

    Attributes
    ----------
    classes_ : ndarray, ``[V]``
        The classes, sorted.
    model_ : Composite
        `model_.layer` and `model_.readout` are of this library: to stream, to save.
    history_ : History
        What happened in each epoch, as `exactrnn.train.fit` says.
    scaling_ : tuple of ndarrays
        Mean and deviation of the values.
    n_features_in_ : int
        Values of a step, or columns of a table.
    feature_names_in_ : ndarray of str
        Names of the columns of a table that has any.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is not as described.

    Examples
    --------
    Which of two sequences rises:

    >>> import numpy as np
    >>> from exactrnn.sklearn import SequenceClassifier
    >>> up = [np.linspace(0, 1, length) for length in range(5, 15)]
    >>> X, y = [*up, *(-x for x in up)], ["up"] * 10 + ["down"] * 10
    >>> classifier = SequenceClassifier(epochs=10, random_state=0).fit(X, y)
    >>> classifier.predict([np.linspace(0, 2, 8), np.linspace(0, -1, 20)])
    array(['up', 'down'], dtype='<U4')
    >>> classifier.score(X, y)
    1.0
    """

    classes_: NDArray[Any]

    def __init__(
        self,
        cell: Any = "gru",
        *,
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        cell_options: Mapping[str, Any] | None = None,
        epochs: int = 50,
        batch_size: int = 32,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        clip: float | None = 1.0,
        class_weight: Any = None,
        validation_fraction: float | None = None,
        patience: int | None = None,
        standardize: bool = True,
        axis_order: Literal["NTI", "NIT"] = "NTI",
        dtype: DTypeLike = "float32",
        n_jobs: int | None = None,
        progress: bool | None = False,
        random_state: Any = None,
    ) -> None:
        super().__init__(locals())

    class_weight: Any

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """Go once through more data; after `fit`, from where that ended.

        As many calls as `fit` has epochs, with the same data, give the same bits.
        Scales are those of the first call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array_like, optional
            All classes there will be; those in `y` if the first call has none.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As by `fit`; for a class that is not known, and for `class_weight` of
            "balanced", which needs all data at once.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight: expected a dict or None in partial_fit, which does not "
                f"see all of the data, got {quote(self.class_weight)}"
            )
        if classes is not None and "model_" in vars(self):
            found = self._read_classes(classes)
            if not np.array_equal(found, self.classes_):
                first, came = list_names(self.classes_.tolist()), list_names(found)
                raise ValueError(
                    f"classes: expected those of the first call, {first}, got {came}"
                )
        return self._partial_fit(X, y, classes, sample_weight)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : list of arrays, or array
            As in `fit`.

        Returns
        -------
        ndarray, ``[n, V]``
            In the order of `classes_`; bits as everything here.
        """
        return softmax(self._answers(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : list of arrays, or array
            As in `fit`.

        Returns
        -------
        ndarray, ``[n, V]``
        """
        return log_softmax(self._answers(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most likely class of each sequence.

        Parameters
        ----------
        X : list of arrays, or array
            As in `fit`.

        Returns
        -------
        ndarray, ``[n]``
        """
        answers = self._answers(X)
        return np.asarray(self.classes_[np.argmax(answers, axis=1)])

    # What training asks for

    def _loss(self, y: Array, target: Array, **given: Any) -> tuple[float, Array]:
        return train.softmax_cross_entropy(y, target, **given)

    def _fit_targets(self, y: Any, classes: Any) -> int:
        labels = _read_labels("y", y, "a class for each sequence")
        given = labels if classes is None else self._read_classes(classes)
        self.classes_ = np.unique(given)
        return len(self.classes_)

    def _read_classes(self, classes: Any) -> NDArray[Any]:
        """Return the classes that the caller says there will be."""
        expected = "[V] classes, V at least 1"
        if not as_listed(classes):
            got = "none" if as_listed(classes) == [] else describe(classes)
            raise ValueError(f"classes: expected {expected}, got {got}")
        return np.unique(_read_labels("classes", classes, expected))

    def _encode(self, y: Any) -> NDArray[Any]:
        with naming("y", y, "a class for each sequence"):
            labels = column_or_1d(y)
        unknown = np.setdiff1d(labels, self.classes_)
        if unknown.size:
            raise ValueError(
                f"y: expected classes among {self.classes_.tolist()}, got "
                f"{unknown[:10].tolist()}"
            )
        found: NDArray[Any] = np.searchsorted(self.classes_, labels)
        return found

    def _examples(
        self, sequences: Sequences, y: Any, weights: Array | None
    ) -> Examples:
        """Return what is trained on, each class with its weight."""
        examples = super()._examples(sequences, y, weights)
        if self.class_weight is None:
            return examples
        dtype = self._model_dtype()
        own = check_held("class_weight", self._weigh(examples.targets), dtype)
        if weights is not None:
            with np.errstate(over="ignore"):
                both = np.multiply(own, weights, dtype=np.float64)
            own = check_held("class_weight times sample_weight", both, dtype)
        return examples._replace(weights=own)

    def _weigh(self, targets: NDArray[Any]) -> Array:
        """Return the weight of the class of each sequence."""
        given, name = self.class_weight, "class_weight"
        if isinstance(given, dict):
            for label, weight in given.items():
                check_real(f"{name}[{quote(label)}]", weight, 0.0)
        elif not isinstance(given, str) or given != "balanced":
            raise ValueError(
                f"{name}: expected a dict of numbers of at least 0 by class, "
                f"'balanced' or None, got {describe(given)}"
            )
        classes = self.classes_
        try:
            by_class = compute_class_weight(given, classes=classes, y=classes[targets])
        except ValueError as error:
            known = list_names(classes.tolist())
            raise ValueError(
                f"{name}: expected weights of the classes {known}, got {quote(given)}"
            ) from error
        weights: Array = by_class[targets]
        return weights

    def _split(
        self, examples: Examples, share: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        targets = examples.targets
        kept, held = train_test_split(
            np.arange(len(targets)),
            test_size=share,
            random_state=self._seeds.held_out,
            stratify=targets if np.bincount(targets).min(initial=2) > 1 else None,
        )
        return np.sort(kept), np.sort(held)

    def _metrics(self) -> dict[str, Any]:
        return {"accuracy": train.accuracy}


def _read_labels(name: str, labels: Any, expected: str) -> NDArray[Any]:
    """Return classes as an array of one axis, or raise."""
    check_plain(name, labels)
    with naming(name, labels, expected), np.errstate(invalid="ignore"):
        found: NDArray[Any] = column_or_1d(labels, warn=True)
        check_classification_targets(found)
    return found


@ieee_mode()
def softmax(logits: Array) -> Array:
    """Return the probabilities that logits ``[n, V]`` stand for, by the row."""
    weights = elementary("exp", logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / _sum(weights))


@ieee_mode()
def log_softmax(logits: Array) -> Array:
    """Return the logarithms of these probabilities."""
    below = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(below - elementary("log", _sum(elementary("exp", below))))


def _sum(values: Array) -> Array:
    """Return the sums of rows ``[n, 1]``, in ascending order of the columns."""
    total = np.zeros((len(values), 1), values.dtype)
    for column in values.T:
        total += column[:, None]
    return total
