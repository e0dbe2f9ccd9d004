"""What comes next in a series.

    the last `window` steps -> layer -> readout -> the next `horizon` steps

Windows are read, and answers counted, from each window's last step, so that a series
may rise and fall beyond what was seen. Forecasts further ahead are made of forecasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from exactrnn import train
from exactrnn._checks import (
    Array,
    DTypeLike,
    check_flag,
    check_integer,
    check_size,
    describe,
)
from exactrnn._checks.limits import quote
from exactrnn._checks.numbers import check_real
from exactrnn.interop.sklearn._base import SequenceEstimator
from exactrnn.interop.sklearn._given import as_listed
from exactrnn.interop.sklearn._regressor import LOSSES, Loss, check_loss
from exactrnn.interop.sklearn._scaling import Scaling
from exactrnn.interop.sklearn._sequences import Examples
from exactrnn.interop.sklearn._series import (
    Numbers,
    Series,
    Windows,
    all_windows,
    cut_windows,
    last_windows,
    read_series,
)

SPANS = ("window", "horizon")
"""Steps that are read, and those that are foretold at once."""


class Forecaster(SequenceEstimator):
    """The next steps of a series: a recurrent layer over a window, linear at its end.

    Parameters
    ----------
    cell : str or Cell
        The network: `"gru"`, `"lstm"`, `"rnn"`, or another name of
        `exactrnn.layers.NETWORKS`; or equations, as those of `exactrnn.cells`.
    window : int
        T, steps that are read.
    horizon : int
        P, steps that are foretold at once.
    target : int, list of int or None
        Which values of a step are foretold; the others are read alone. None: all.
    quantiles : sequence of float or None
        Shares, ascending, of the quantiles that `predict_quantiles` gives, as
        ``(0.1, 0.5, 0.9)``. `predict` then gives the one nearest to 0.5.
    relative : bool
        Whether windows and what follows are counted from each window's last step.
    hidden_size, num_layers : int
        H, hidden units per direction; L, layers on top of each other.
    bidirectional : bool
        Whether a second direction reads from each window's end.
    dropout : float
        Share of values dropped between layers in training.
    cell_options : mapping of str to object, optional
        Further arguments of the layer's class.
    loss : {"squared", "absolute", "huber"}
        What is made small; with `quantiles` it is the pinball loss.
    epochs : int
        How often `fit` goes through the windows.
    batch_size : int
        Windows of which a step's gradient is the mean.
    lr, weight_decay : float
        Learning rate and decay of AdamW.
    clip : float or None
        Largest global norm of a gradient.
    validation_fraction : float or None
        Share of each series, at its end, that is held out and measured.
    patience : int or None
        Epochs without a better loss, of what is held out if anything is, after which
        `fit` ends. The model then gets its best weights back.
    standardize : bool
        Whether values are brought to a common scale first.
    dtype : {"float32", "float64"}
        Of the weights.
    n_jobs : int or None
        Threads; -1 for all processors, None for what `exactrnn.set_num_threads` says.
        Results do not depend on it.
    progress : bool or None
        Whether there is a bar (needs tqdm); None: on a terminal alone.
    random_state : int, RandomState or None
        Of first weights, order and dropout.

    Attributes
    ----------
    model_ : Composite
        `model_.layer` and `model_.readout` are of this library.
    history_ : History
        What happened in each epoch, as `exactrnn.train.fit` says.
    scaling_ : tuple of ndarrays
        Mean and deviation of the values.
    n_features_in_ : int
        I, values of a step.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from exactrnn.sklearn import Forecaster
    >>> series = np.sin(np.arange(300) / 5)
    >>> forecaster = Forecaster(window=20, horizon=5, epochs=20, random_state=0)
    >>> forecast = forecaster.fit(series[:280]).predict()
    >>> forecast.shape, bool(np.abs(forecast - series[280:285]).max() < 0.1)
    ((5,), True)
    """

    def __init__(
        self,
        cell: Any = "gru",
        *,
        window: int = 32,
        horizon: int = 1,
        target: int | Sequence[int] | None = None,
        quantiles: Sequence[float] | None = None,
        relative: bool = True,
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
        dtype: DTypeLike = "float32",
        n_jobs: int | None = None,
        progress: bool | None = False,
        random_state: Any = None,
    ) -> None:
        super().__init__(locals())

    window: int
    horizon: int
    target: int | Sequence[int] | None
    quantiles: Sequence[float] | None
    relative: bool
    loss: str

    _history: Series
    _columns: list[int]
    _shares: list[float]
    _spans: tuple[int, int]
    _has_quantiles: bool
    _is_one: bool
    _counts_from_last: bool

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 (for searches)
        """Train on all windows of a series, or of several.

        Parameters
        ----------
        X : array_like, ``[S]`` or ``[S, I]``, or list of arrays
            The series, S steps at least window + horizon.
        y : None
            Not used; searches and pipelines hand it on.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or `X` is not as described.
        """
        with self._whole():
            self.__dict__.pop("model_", None)
            series, held = self._start(X), None
            options: dict[str, Any] = {"epochs": self.epochs, "patience": self.patience}
            if self.validation_fraction is not None:
                share = self._share_held_out()
                series, rest = series.divided(share, *self._spans)
                held = self._examples(rest)
            self._train(self._examples(series), held, **options)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Go once through the windows of more series, whose end `predict` goes on from.

        As many calls as `fit` has epochs, with the same data, give the same bits.
        Scales are those of the first call.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As by `fit`.
        """
        with self._whole():
            if "model_" in vars(self):
                least = sum(self._spans)
                self._history = series = self._read_again(X, least)
            else:
                series = self._start(X)
            self._train(self._examples(series), None, epochs=1)
        return self

    def predict(self, horizon: int | None = None, X: Any = None) -> Any:
        """Return what comes next.

        Parameters
        ----------
        horizon : int, optional
            Steps; that of the estimator by default. More are forecasts upon forecasts,
            for which all values of a step must be foretold.
        X : array_like or list of arrays, optional
            What to go on from, at least `window` steps; what was fitted by default.

        Returns
        -------
        ndarray of float64, ``[P]`` or ``[P, O]``, or a list of them
            As the series were: one number for a step, or several; one or a list.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
        middle = self._middle()
        return self._forecast(horizon, X, lambda found: found[..., middle])

    def predict_quantiles(self, horizon: int | None = None, X: Any = None) -> Any:
        """Return the quantiles of what comes next.

        Parameters
        ----------
        horizon, X
            As in `predict`.

        Returns
        -------
        ndarray of float64, ``[P, Q]`` or ``[P, O, Q]``, or a list of them
            Ascending along Q.

        Raises
        ------
        ValueError, TypeError
            As by `predict`, and without `quantiles`.
        """
        check_is_fitted(self, "model_")
        if not self._has_quantiles:
            raise ValueError("quantiles: expected some for predict_quantiles, got None")
        return self._forecast(horizon, X, lambda found: found)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: ARG002
        """Return R², of the forecasts of all windows of a series, `horizon` steps each.

        Parameters
        ----------
        X : array_like or list of arrays
            As in `fit`.
        y : None
            Not used.

        Returns
        -------
        float
            1 at best, 0 for the mean of what came.

        Raises
        ------
        ValueError, TypeError
            As by `fit`.
        """
        check_is_fitted(self, "model_")
        windows = self._all_windows(self._read_again(X, sum(self._spans)))
        found = self._units(self._run(windows.sequences), windows)[..., self._middle()]
        count = len(found)
        came = windows.targets[..., self._columns].reshape(count, -1)
        return float(r2_score(came, found.reshape(count, -1)))

    # Training

    def _start(self, X: Any) -> Series:
        """Learn the scales, and make the model."""
        window, horizon = (check_size(name, getattr(self, name)) for name in SPANS)
        check_loss(self.loss)
        self._spans = window, horizon
        self._counts_from_last = check_flag("relative", self.relative)
        self._history = series = read_series(X, window + horizon, None, self)
        self.n_features_in_ = series.width
        self._columns = self._check_target(series.width)
        self._shares = self._check_quantiles()
        self._has_quantiles = self.quantiles is not None
        self._is_one = self.target is not None and np.ndim(self.target) == 0
        if not check_flag("standardize", self.standardize):
            self.scaling_ = Scaling.none(series.width)
        elif self._counts_from_last:
            self.scaling_ = Scaling.of_changes(series.changes(window, horizon))
        else:
            self.scaling_ = Scaling.of(np.concatenate(series.parts))
        outputs = horizon * len(self._columns) * len(self._shares)
        self._build(series.width, outputs, self._draw_seeds())
        return series

    def _examples(self, series: Series) -> Examples:
        windows = self._all_windows(series)
        targets = windows.targets[..., self._columns]
        if self._counts_from_last:
            targets = targets - windows.last[:, None, self._columns]
        scaling, dtype = self.scaling_.take(self._columns), self._model_dtype()
        scaled = scaling.apply("X", targets, dtype)
        return Examples(windows.sequences, scaled.reshape(len(scaled), -1))

    def _loss(self, y: Array, target: Array, **given: Any) -> tuple[float, Array]:
        if not self._has_quantiles:
            return LOSSES[self.loss](y, target, **given)
        wide = y.reshape(*target.shape, len(self._shares))
        loss, dy = train.quantile_loss(wide, target, quantiles=self._shares, **given)
        return loss, dy.reshape(y.shape)

    # Windows

    def _all_windows(self, series: Series) -> Windows:
        """Return all windows that have what is to be foretold behind them."""
        starts, spans = all_windows(series, *self._spans), self._spans
        return cut_windows(
            series, starts, spans, self.scaling_, relative=self._counts_from_last
        )

    def _last_windows(self, series: Series) -> Windows:
        """Return the last window of each series."""
        window, _ = self._spans
        starts, spans = last_windows(series, window), (window, 0)
        return cut_windows(
            series, starts, spans, self.scaling_, relative=self._counts_from_last
        )

    def _units(self, answers: Array, windows: Windows) -> Numbers:
        """Return answers ``[n, P, O, Q]`` in the series' units, quantiles rising."""
        shape = (len(answers), self._spans[1], len(self._columns), len(self._shares))
        scaling = self.scaling_.take(self._columns)
        found = scaling.undo(answers.reshape(shape).swapaxes(2, 3)).swapaxes(2, 3)
        if self._counts_from_last:
            found = found + windows.last[:, None, self._columns, None]
        return np.sort(found, axis=-1)

    def _forecast(self, horizon: int | None, X: Any, chosen: Any) -> Any:
        """Return what `chosen` takes of the forecasts, in the form of the series."""
        check_is_fitted(self, "model_")
        window, ahead = self._spans
        steps = check_size("horizon", ahead if horizon is None else horizon)
        series = self._history if X is None else self._read_again(X, window)
        if steps > ahead and len(self._columns) < self.n_features_in_:
            raise ValueError(
                f"horizon: expected at most {ahead}, since only the values "
                f"{self._columns} of a step are foretold, got {steps}"
            )
        found = chosen(self._go_on(series, steps))
        if series.is_flat or self._is_one:
            found = found[:, :, 0]
        return [*found] if series.is_list else found[0]

    def _go_on(self, series: Series, steps: int) -> Numbers:
        """Return the next steps of each series, ``[n, P, O, Q]``."""
        pieces: list[Numbers] = []
        for _ in range(0, steps, self._spans[1]):
            windows = self._last_windows(series)
            pieces.append(self._units(self._run(windows.sequences), windows))
            if len(self._columns) == self.n_features_in_:
                series = self._appended(series, pieces[-1][..., self._middle()])
        return np.concatenate(pieces, axis=1)[:, :steps]

    def _appended(self, series: Series, found: Numbers) -> Series:
        """Return windows that end with forecasts."""
        order = np.argsort(self._columns)
        parts = [
            np.concatenate((part[-self._spans[0] :], new[:, order]))
            for part, new in zip(series.parts, found, strict=True)
        ]
        return series._replace(parts=parts)

    # Checks

    def _read_again(self, X: Any, least: int) -> Series:
        """Return series like those fitted, of at least so many steps."""
        return read_series(X, least, self.n_features_in_, self)

    def _check_target(self, width: int) -> list[int]:
        """Return the places of what is foretold."""
        if self.target is None:
            return [*range(width)]
        given = as_listed(self.target)
        columns = [
            check_integer("target", column)
            for column in ([self.target] if given is None else given)
        ]
        if not columns or len({*columns}) < len(columns):
            got = quote(self.target)
            raise ValueError(f"target: expected different values, got {got}")
        for column in columns:
            if not 0 <= column < width:
                raise ValueError(
                    f"target: expected 0..{width - 1} for I={width}, got {column}"
                )
        return columns

    def _check_quantiles(self) -> list[float]:
        """Return the shares of the quantiles; one, not used, of a point forecast."""
        if self.quantiles is None:
            return [0.5]
        given, expected = as_listed(self.quantiles), "ascending shares between 0 and 1"
        if given is None:
            got = describe(self.quantiles)
            raise TypeError(f"quantiles: expected {expected}, or None, got {got}")
        shares = [
            check_real(
                f"quantiles[{k}]", share, 0.0, 1.0, open_below=True, open_above=True
            )
            for k, share in enumerate(given)
        ]
        if not shares or shares != sorted({*shares}):
            got = quote(self.quantiles)
            raise ValueError(f"quantiles: expected {expected}, got {got}")
        return shares

    def _middle(self) -> int:
        """Return which quantile is nearest to the median."""
        check_is_fitted(self, "model_")
        return int(np.argmin([abs(share - 0.5) for share in self._shares]))
