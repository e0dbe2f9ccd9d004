"""The two layers around a recurrent one: embedding and linear readout.

Like the recurrent layers they keep no gradients: ``forward`` returns what ``backward``
needs, ``backward`` returns new arrays.  The twins are in ``_dense_reference.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _core
from exactrnn._checks import FloatType, check_dtype, check_seed, check_size
from exactrnn._random import Seed, kind_of, symmetric
from exactrnn.engine import get_num_threads, isa
from exactrnn.train._checks import (
    FloatArray,
    IndexArray,
    check_float_array,
    check_index,
    check_last_axis,
    check_shape,
)

__all__ = ["Embedding", "Linear", "ModuleGradients"]


class ModuleGradients(NamedTuple):
    """What ``backward`` returns: gradients of the input and of the parameters."""

    x: FloatArray | None
    weights: dict[str, FloatArray]


class _Module:
    """Named parameters that can be read, replaced and trained."""

    _parameters: dict[str, FloatArray]
    dtype: FloatType

    def _draw(
        self, shapes: Mapping[str, tuple[int, ...]], bound: float, seed: int | None
    ) -> None:
        """Draw the first parameters, uniform within ``±bound``."""
        own = Seed(check_seed(seed), kind_of(type(self)))
        self._parameters = {
            name: symmetric(shape, bound, self.dtype, own.stream(name))
            for name, shape in shapes.items()
        }

    @property
    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(array.size for array in self._parameters.values())

    def parameters(self) -> dict[str, FloatArray]:
        """Return the arrays that training changes, by name, writable in place."""
        return dict(self._parameters)

    def state_dict(self) -> dict[str, FloatArray]:
        """Return copies of the parameters by name."""
        return {name: array.copy() for name, array in self._parameters.items()}

    def load_state_dict(self, mapping: Mapping[str, ArrayLike]) -> None:
        """Copy parameters from `mapping`, which has exactly their names.

        Raises
        ------
        ValueError
            If a name is missing or unknown or a shape differs; nothing is changed.
        TypeError
            If a dtype differs; nothing is changed.
        """
        odd = sorted(self._parameters.keys() ^ mapping.keys())
        if odd:
            raise ValueError(f"state_dict: missing or unknown names: {', '.join(odd)}")
        checked = {name: self._check(name, array) for name, array in mapping.items()}
        for name, array in checked.items():
            self._parameters[name][...] = array

    def _check(self, name: str, value: ArrayLike) -> FloatArray:
        array = check_float_array(name, value, self.dtype)
        check_shape(name, array, self._parameters[name].shape)
        return array


class Embedding(_Module):
    """A row of weights for each symbol.

    Parameters
    ----------
    num_embeddings : int
        Number of symbols ``V``.
    embedding_dim : int
        Width of a row ``E``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int, optional
        Seed of the initial weights, uniform with mean 0 and variance 1, that is
        within ``sqrt(3)``; a fresh one from the operating system if None.

    Attributes
    ----------
    weight : ndarray, ``[V, E]``
        The rows.

    Examples
    --------
    >>> import exactrnn as xr
    >>> embedding = xr.train.Embedding(10, 4, seed=0)
    >>> embedding([[1, 2, 3]]).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        self.num_embeddings = check_size("num_embeddings", num_embeddings)
        self.embedding_dim = check_size("embedding_dim", embedding_dim)
        self.dtype = check_dtype(dtype)
        bound = float(np.sqrt(3.0))
        shape = (self.num_embeddings, self.embedding_dim)
        self._draw({"weight": shape}, bound, seed)

    @property
    def weight(self) -> FloatArray:
        """The rows, ``[V, E]``, writable in place."""
        return self._parameters["weight"]

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self._parameters["weight"][...] = self._check("weight", value)

    def __call__(self, index: ArrayLike) -> FloatArray:
        """Return the rows of `index` ``[...]`` as ``[..., E]``.

        Raises
        ------
        TypeError
            If `index` does not hold integers.
        ValueError
            If an integer is outside ``0 .. V-1``.
        """
        return self.forward(index)[0]

    def forward(self, index: ArrayLike) -> tuple[FloatArray, IndexArray]:
        """Return the rows of `index` and what `backward` needs."""
        checked = check_index("index", index, 0, self.num_embeddings)
        return np.take(self.weight, checked, axis=0), checked

    def backward(self, cache: IndexArray, dy: ArrayLike) -> ModuleGradients:
        """Return the gradient of the weights.

        A row's gradient is the long sum (N3, ``w = 1``) over that symbol's own
        occurrences, in the storage order of the index (``k = t*B + b``); chunks of
        256 count occurrences of the symbol, not positions.  A symbol that does not
        occur has gradient +0.0.

        Parameters
        ----------
        cache : ndarray of int64, ``[...]``
            From `forward`.
        dy : array_like, ``[..., E]``
            Gradient of the rows that `forward` returned.

        Returns
        -------
        ModuleGradients
            ``x`` is None, ``weights["weight"]`` is ``[V, E]``.

        Raises
        ------
        TypeError, ValueError
            If `dy` has another dtype or shape.
        """
        checked = check_float_array("dy", dy, self.dtype)
        check_shape("dy", checked, (*cache.shape, self.embedding_dim))
        dw: FloatArray = np.zeros_like(self.weight)
        _core.embedding_backward(
            cache.reshape(-1),
            checked.reshape(-1, self.embedding_dim),
            dw,
            isa(),
            get_num_threads(),
        )
        return ModuleGradients(None, {"weight": dw})


class Linear(_Module):
    """``y = x Wᵀ + b`` over the last axis.

    Parameters
    ----------
    in_features, out_features : int
        Widths ``K`` of the input and ``O`` of the output.
    bias : bool
        Whether there is a bias; without it sums start at +0.0.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int, optional
        Seed of the initial parameters, uniform within ``1/sqrt(K)``; a fresh one from
        the operating system if None.

    Attributes
    ----------
    weight : ndarray, ``[O, K]``
    bias : ndarray, ``[O]``, or None

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> readout = xr.train.Linear(3, 2, dtype="float64", seed=0)
    >>> readout.weight = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    >>> readout.bias = np.array([0.5, 0.0])
    >>> readout(np.array([1.0, 1.0, 1.0])).tolist()
    [6.5, 1.0]
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        self.in_features = check_size("in_features", in_features)
        self.out_features = check_size("out_features", out_features)
        self.dtype = check_dtype(dtype)
        bound = float(1.0 / np.sqrt(float(self.in_features)))
        shape = (self.out_features, self.in_features)
        shapes = {"weight": shape, "bias": shape[:1]} if bias else {"weight": shape}
        self._draw(shapes, bound, seed)

    @property
    def weight(self) -> FloatArray:
        """The weights, ``[O, K]``, writable in place."""
        return self._parameters["weight"]

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self._parameters["weight"][...] = self._check("weight", value)

    @property
    def bias(self) -> FloatArray | None:
        """The bias, ``[O]``, writable in place, or None."""
        return self._parameters.get("bias")

    @bias.setter
    def bias(self, value: ArrayLike) -> None:
        if "bias" not in self._parameters:
            raise ValueError("bias: this layer was made with bias=False")
        self._parameters["bias"][...] = self._check("bias", value)

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Return ``y [..., O]`` for `x` ``[..., K]``.

        An output is a chain (N3) that starts at its bias and runs over ``K``.

        Raises
        ------
        TypeError, ValueError
            If `x` has another dtype or width.
        """
        return self.forward(x)[0]

    def forward(self, x: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return ``y`` and what `backward` needs: `x`, which must not be changed."""
        checked = check_float_array("x", x, self.dtype)
        check_last_axis("x", checked, "K", self.in_features)
        rows = checked.reshape(-1, self.in_features)
        y: FloatArray = np.empty((rows.shape[0], self.out_features), self.dtype)
        _core.linear_forward(rows, self.weight, self.bias, y, isa(), get_num_threads())
        return y.reshape(*checked.shape[:-1], self.out_features), checked

    def backward(self, cache: FloatArray, dy: ArrayLike) -> ModuleGradients:
        """Return the gradients of the input and of the parameters.

        ``dx`` is a chain over the outputs from +0.0; the gradients of `weight` and
        `bias` are long sums over the rows in storage order.

        Parameters
        ----------
        cache : ndarray, ``[..., K]``
            From `forward`.
        dy : array_like, ``[..., O]``
            Gradient of the output.

        Returns
        -------
        ModuleGradients
            ``x`` is ``[..., K]``, ``weights`` has the names of the parameters.

        Raises
        ------
        TypeError, ValueError
            If `dy` has another dtype or shape.
        """
        checked = check_float_array("dy", dy, self.dtype)
        check_shape("dy", checked, (*cache.shape[:-1], self.out_features))
        dx: FloatArray = np.empty_like(cache)
        weights: dict[str, FloatArray] = {
            name: np.zeros_like(array) for name, array in self._parameters.items()
        }
        _core.linear_backward(
            cache.reshape(-1, self.in_features),
            self.weight,
            checked.reshape(-1, self.out_features),
            dx.reshape(-1, self.in_features),
            weights["weight"],
            weights.get("bias"),
            isa(),
            get_num_threads(),
        )
        return ModuleGradients(dx, weights)
