"""Parts of models without weights: `Last` and `Dropout`; `exactrnn.train` has them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn._checks import (
    Array,
    check_dropout,
    check_flag,
    check_lengths,
    check_seed,
    describe,
)
from exactrnn._checks.arrays import check_floats
from exactrnn._checks.naming import check_names
from exactrnn._numeric.random import Seed, kind_of
from exactrnn._run.dropout import MaskSource, drop, is_dropping
from exactrnn._weights.first import draw_mask
from exactrnn.layers._dense import ModuleGradients

__all__ = ["Dropout", "Last"]


class Weightless:
    """What composites and files ask of a part that has no weights."""

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, but for the seed, as plain values.

        Returns
        -------
        dict of str to object
            By name.
        """
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name != "seed"}

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self)).parameters
        shown = []
        for name, value in self.arguments().items():
            default = parameters[name].default
            if default is inspect.Parameter.empty:
                shown.append(repr(value))
            elif value != default:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def restore(
        cls,
        arguments: Mapping[str, Any],
        generator_state: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a part from what `arguments` gave; all is checked."""
        known = [name for name in inspect.signature(cls).parameters if name != "seed"]
        check_names("arguments", arguments, known)
        part = cls(**arguments)
        if generator_state is not None:
            part._set_generator_state(generator_state)
        return part

    def _generator_state(self) -> dict[str, Any] | None:
        """Return where the random numbers stand; None if no call draws any."""
        return None

    def _set_generator_state(self, state: Mapping[str, Any]) -> None:
        """Let random numbers go on from there, if any call draws some."""


class Last(Weightless):
    """The last step of each row: one answer for a sequence, as a part of `Sequential`.

    Parameters
    ----------
    batch_first : bool
        Whether sequences are [B, T, ...], as of the layer before.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> y = np.arange(6.0).reshape(3, 2, 1)  # [T, B, H]
    >>> xr.train.Last()(y, lengths=[3, 1]).tolist()
    [[4.0], [1.0]]
    """

    def __init__(self, *, batch_first: bool = False) -> None:
        self.batch_first = check_flag("batch_first", batch_first)

    def __call__(self, x: ArrayLike, *, lengths: object = None) -> Array:
        """Return `x` at each row's last step, `[B, ...]`; zeros for a row without one.

        Parameters
        ----------
        x : array_like, ``[T, B, ...]``
            Of float32 or float64.
        lengths : array_like of int, ``[B]``, optional
            Steps of each row; all T by default.

        Raises
        ------
        TypeError, ValueError
            If `x` has fewer than two axes, or a length does not fit.
        """
        return self.forward(x, lengths=lengths)[0]

    def forward(self, x: ArrayLike, *, lengths: object = None) -> tuple[Array, Any]:
        """Return the last steps, and what `backward` needs."""
        values = check_floats("x", x)
        if values.ndim < 2:
            raise ValueError(f"x: expected [T, B, ...], got {values.shape}")
        steps, rows = values.shape[:2][:: -1 if self.batch_first else 1]
        counts = (
            np.full(rows, steps)
            if lengths is None
            else check_lengths(lengths, steps, rows, batched=True)
        )
        y = np.zeros((rows, *values.shape[2:]), values.dtype)
        there = np.flatnonzero(counts)
        y[there] = values[self._places(counts, there)]
        return y, (values.shape, values.dtype, counts)

    def _places(self, counts: NDArray[np.int64], rows: NDArray[np.intp]) -> Any:
        """Return the index of the last step of these rows."""
        index = (counts[rows] - 1, rows)
        return index[::-1] if self.batch_first else index

    def backward(self, cache: Any, dy: ArrayLike) -> ModuleGradients:
        """Return the gradient of `x`: that of `y` at the last steps, zero elsewhere."""
        shape, dtype, counts = _check_cache(cache)
        checked = check_floats("dy", dy, dtype, (len(counts), *shape[2:]))
        dx: Array = np.zeros(shape, dtype)
        there = np.flatnonzero(counts)
        dx[self._places(counts, there)] = checked[there]
        return ModuleGradients(dx, {})


class Dropout(Weightless):
    """Drops values in `forward`, as a part of a model; a call drops none.

    What is kept is multiplied by ``1 / (1 - p)``. With `variational` all steps of a row
    lose the same values (Y. Gal, Z. Ghahramani, arXiv 1512.05287), before and behind a
    recurrent layer; else each value is drawn by itself.

    Parameters
    ----------
    p : float
        Share of the values that are dropped, 0 <= p < 1.
    variational : bool
        Whether one mask ``[B, ...]`` is for all steps.
    batch_first : bool
        Whether sequences are [B, T, ...], for `variational`.
    seed : int, optional
        Of the masks; one from the operating system if None. `seed_parts` of a model
        sets another.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> part = xr.train.Dropout(0.5, variational=True, seed=2)
    >>> y, cache = part.forward(np.ones((3, 1, 4), np.float32))
    >>> y[:, 0].tolist()
    [[2.0, 2.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]]
    >>> bool((part.backward(cache, y).x == 2 * y).all())
    True
    """

    def __init__(
        self,
        p: float,
        *,
        variational: bool = False,
        batch_first: bool = False,
        seed: int | None = None,
    ) -> None:
        self.p = check_dropout(p, "p")
        self.variational = check_flag("variational", variational)
        self.batch_first = check_flag("batch_first", batch_first)
        own = Seed(check_seed(seed), kind_of(type(self)))
        self._masks = MaskSource(own.stream("dropout"))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).restore, (self.arguments(), self._generator_state())

    def __call__(self, x: ArrayLike) -> Array:
        """Return `x`: for inference.

        Parameters
        ----------
        x : array_like
            Of float32 or float64.

        Raises
        ------
        TypeError
            If it is of another dtype.
        """
        return check_floats("x", x)

    def forward(self, x: ArrayLike) -> tuple[Array, Any]:
        """Return `x` with some of its values dropped, and what `backward` needs.

        Parameters
        ----------
        x : array_like
            ``[T, B, ...]`` where `variational`, else of any shape.

        Raises
        ------
        TypeError, ValueError
            If it is nothing of the kind.
        """
        values = check_floats("x", x)
        shape = self._mask_shape(values.shape)
        if not is_dropping(self.p):
            return values.copy(), (values.shape, values.dtype, None)

        def draw(generator: np.random.PCG64) -> Array:
            return draw_mask(shape, self.p, values.dtype, generator)

        with self._masks.drawing(draw) as mask:
            return drop(values, mask), (values.shape, values.dtype, mask)

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not self.variational:
            return shape
        if len(shape) < 3:
            letters = "[B, T, ...]" if self.batch_first else "[T, B, ...]"
            raise ValueError(
                f"x: expected a sequence {letters} for variational=True, got {shape}"
            )
        time = 1 if self.batch_first else 0
        return (*shape[:time], 1, *shape[time + 1 :])

    def backward(self, cache: Any, dy: ArrayLike) -> ModuleGradients:
        """Return the gradient of `x`: that of `y` times the mask of `forward`.

        Parameters
        ----------
        cache : tuple
            From `forward`.
        dy : array_like
            Gradient of the output, in its shape.

        Raises
        ------
        TypeError, ValueError
            If `dy` has another dtype or shape.
        """
        shape, dtype, mask = _check_cache(cache)
        checked = check_floats("dy", dy, dtype, shape)
        dx = checked.copy() if mask is None else drop(checked, mask)
        return ModuleGradients(dx, {})

    def _generator_state(self) -> dict[str, Any]:
        return self._masks.generator_state()

    def _set_generator_state(self, state: Mapping[str, Any]) -> None:
        self._masks.set_generator_state(state)


def _check_cache(cache: Any) -> tuple[Any, Any, Any]:
    """Return shape and dtype of the input and what else was kept, or raise."""
    if not isinstance(cache, tuple) or len(cache) != 3:
        raise TypeError(f"cache: expected one of forward, got {describe(cache)}")
    return cache
