"""A number, or several, for each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.model_selection import train_test_split

from exactrnn import train
from exactrnn._checks import Array, DTypeLike, check_choice
from exactrnn.interop.sklearn._base import Answering
from exactrnn.interop.sklearn._given import read_array
from exactrnn.interop.sklearn._scaling import Scaling
from exactrnn.interop.sklearn._sequences import Examples

Loss: TypeAlias = Literal["squared", "absolute", "huber"]
LOSSES = {
    "squared": train.mean_squared_error,
    "absolute": train.mean_absolute_error,
    "huber": train.huber_loss,
}
"""Losses of numbers, by the names that `loss` may have."""


def check_loss(loss: object) -> None:
    """Raise unless there is such a loss."""
    check_choice("loss", loss, tuple(LOSSES))


class SequenceRegressor(RegressorMixin, Answering):
    """A number for each sequence, or several: a recurrent layer, linear at its end.

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
    loss : {"squared", "absolute", "huber"}
        What is made small, of targets as `standardize` has them.
    epochs : int
        How often `fit` goes through the data.
    batch_size : int
        Sequences of which a step's gradient is the mean.
    lr, weight_decay : float
        Learning rate and decay of AdamW.
    clip : float or None
        Largest global norm of a gradient.
    validation_fraction : float or None
        Share of the sequences that is held out and measured after each epoch.
    patience : int or None
        Epochs without a better loss, of what is held out if anything is, after which
        `fit` ends. The model then gets its best weights back.
    standardize : bool
        Whether values, over all steps, and targets are brought to mean 0 and deviation
        1 first. Predictions are in the units of the targets in any case.
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
    model_ : Composite
        `model_.layer` and `model_.readout` are of this library: to stream, to save.
    history_ : History
        What happened in each epoch, as `exactrnn.train.fit` says.
    scaling_, target_scaling_ : tuple of ndarrays
        Mean and deviation of the values and of the targets.
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
    How fast a wave is:

    >>> import numpy as np
    >>> from exactrnn.sklearn import SequenceRegressor
    >>> speeds = np.linspace(0.1, 1.0, 40)
    >>> X = np.sin(speeds[:, None] * np.arange(20))[:, :, None]  # [n, T, I]
    >>> regressor = SequenceRegressor(random_state=0).fit(X, speeds)
    >>> regressor.score(X, speeds) > 0.95
    True
    """

    target_scaling_: Scaling

    def __init__(
        self,
        cell: Any = "gru",
        *,
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        cell_options: Mapping[str, Any] | None = None,
        loss: Loss = "squared",
        epochs: int = 50,
        batch_size: int = 32,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        clip: float | None = 1.0,
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

    loss: str

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go once through more data; after `fit`, from where that ended.

        As many calls as `fit` has epochs, with the same data, give the same bits.
        Scales are those of the first call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As by `fit`.
        """
        return self._partial_fit(X, y, None, sample_weight)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the numbers for each sequence.

        Parameters
        ----------
        X : list of arrays, or array
            As in `fit`.

        Returns
        -------
        ndarray of float64, ``[n]`` or ``[n, O]``
            As the targets were.
        """
        answers = self._answers(X)
        numbers = self.target_scaling_.undo(answers)
        return numbers[:, 0] if self._is_one else numbers

    # What training asks for

    def _loss(self, y: Array, target: Array, **given: Any) -> tuple[float, Array]:
        return LOSSES[self.loss](y, target, **given)

    def _fit_targets(self, y: Any, classes: Any) -> int:  # noqa: ARG002
        check_loss(self.loss)
        numbers, self._is_one = self._numbers(y)
        width: int = numbers.shape[1]
        own = self.standardize
        self.target_scaling_ = Scaling.of(numbers) if own else Scaling.none(width)
        return width

    def _encode(self, y: Any) -> NDArray[Any]:
        numbers, _ = self._numbers(y)
        width = len(self.target_scaling_.mean)
        if numbers.shape[1] != width:
            raise ValueError(
                f"y: expected O={width} numbers for each sequence, as in the first "
                f"call, got {numbers.shape[1]}"
            )
        return self.target_scaling_.apply("y", numbers, self._model_dtype())

    def _numbers(self, y: Any) -> tuple[NDArray[Any], bool]:
        """Return targets ``[n, O]``, and whether they came as ``[n]``."""
        expected = "numbers [n] or [n, O]"
        given = read_array(
            "y", y, expected, ensure_2d=False, dtype=np.float64, estimator=self
        )
        return given.reshape(len(given), -1), given.ndim == 1

    def _split(
        self, examples: Examples, share: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = np.arange(len(examples.targets))
        seed = self._seeds.held_out
        kept, held = train_test_split(rows, test_size=share, random_state=seed)
        return np.sort(kept), np.sort(held)

    def __sklearn_tags__(self) -> Any:
        """Say that targets may be several numbers."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
