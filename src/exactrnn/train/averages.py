"""Sums of gradients and means of weights, elementwise and so with defined bits (N9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn._checks.naming import check_names, take_named
from exactrnn._checks.numbers import check_real
from exactrnn._system.mode import ieee_mode
from exactrnn.layers._gradients import GradientsLike, as_gradient, weights_of
from exactrnn.train._models import check_model

__all__ = ["Accumulator", "WeightAverage"]


class Accumulator:
    """The mean of the gradients of several batches, as of one that is too large.

    ``s = s + g`` for each batch in turn, and at the end ``s * (1/N)``.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> total = xr.train.Accumulator()
    >>> for value in (1.0, 2.0):
    ...     total.add({"w": np.array([value])})
    >>> total.take()
    {'w': array([1.5])}
    >>> total.count
    0
    """

    def __init__(self) -> None:
        self._total: dict[str, Array] = {}
        self.count = 0

    def __repr__(self) -> str:
        return f"<Accumulator: count={self.count}>"

    @ieee_mode()
    def add(self, gradients: GradientsLike) -> None:
        """Add the gradients of one batch.

        Parameters
        ----------
        gradients : mapping of str to ndarray, or what `backward` returned
            Of the same names, shapes and dtypes each time.

        Raises
        ------
        TypeError, ValueError
            If they are not; nothing is changed.
        """
        given = {n: as_gradient(n, g) for n, g in weights_of(gradients).items()}
        if self.count == 0:
            self._total = {name: array.copy() for name, array in given.items()}
            self.count = 1
            return
        check_names("gradients", given, self._total)
        for name, own in self._total.items():
            form = given[name].shape, given[name].dtype
            if form != (own.shape, own.dtype):
                raise ValueError(
                    f"gradients[{name!r}]: expected {own.dtype} of shape {own.shape}, "
                    f"got {form[1]} of shape {form[0]}"
                )
        self._total = {name: own + given[name] for name, own in self._total.items()}
        self.count += 1

    @ieee_mode()
    def take(self) -> dict[str, Array]:
        """Return the mean of what was added, and begin anew.

        Raises
        ------
        ValueError
            If nothing was added.
        """
        if self.count == 0:
            raise ValueError("gradients: expected some to have been added, got none")
        total, number = self._total, self.count
        self._total, self.count = {}, 0
        if number == 1:
            return total
        return {n: own * own.dtype.type(1.0 / number) for n, own in total.items()}


class WeightAverage:
    """A running mean of a model's weights that forgets, often better than the last.

    After each step ``m = m * decay``, ``s = w * (1 - decay)``, ``m = m + s``, from the
    weights that the model has when this is made (B. Polyak, A. Juditsky, 1992).

    Parameters
    ----------
    model : layer or model
        Whose weights are averaged.
    decay : float
        At least 0 and at most 1.

    Examples
    --------
    >>> import exactrnn as xr
    >>> layer = xr.GRU(2, 3, seed=1)
    >>> average = xr.train.WeightAverage(layer, decay=0.5)
    >>> layer.bias_ih_l0 = layer.bias_ih_l0 + 1
    >>> average.update()
    >>> with average.applied():
    ...     inside = layer.bias_ih_l0.copy()
    >>> (layer.bias_ih_l0 - inside).round(6).tolist()[:2]
    [0.5, 0.5]
    """

    def __init__(self, model: Any, decay: float = 0.999) -> None:
        self._model = check_model("model", model)
        self.decay = check_real("decay", decay, 0.0, 1.0)
        self._mean: dict[str, Array] = dict(model.state_dict())

    def __repr__(self) -> str:
        return f"WeightAverage({self._model!r}, decay={self.decay})"

    @ieee_mode()
    def update(self) -> None:
        """Take in the weights of now."""
        now = self._model.state_dict()
        found = {}
        for name, own in self._mean.items():
            number = own.dtype.type
            found[name] = own * number(self.decay) + now[name] * number(1 - self.decay)
        self._mean = found

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the mean of each weight by name."""
        return {name: array.copy() for name, array in self._mean.items()}

    def load_state_dict(self, state_dict: Mapping[str, Array]) -> None:
        """Go on from these means.

        Raises
        ------
        TypeError, ValueError
            If names, shapes or dtypes are not the model's; nothing is changed.
        """
        check_names("state_dict", take_named("state_dict", state_dict), self._mean)
        for name, own in self._mean.items():
            given = as_gradient(name, state_dict[name])
            if (given.shape, given.dtype) != (own.shape, own.dtype):
                raise ValueError(
                    f"{name}: expected {own.dtype} of shape {own.shape}, got "
                    f"{given.dtype} of shape {given.shape}"
                )
        self._mean = {name: np.array(state_dict[name]) for name in self._mean}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the mean for a block, and its own weights back after it."""
        own = self._model.state_dict()
        try:
            self._model.load_state_dict(self._mean)
            yield
        finally:
            try:
                self._model.load_state_dict(own)
            except KeyboardInterrupt:  # in the middle of giving them back
                self._model.load_state_dict(own)
                raise
