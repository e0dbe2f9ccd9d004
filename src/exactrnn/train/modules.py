"""The two layers around a recurrent one: embedding and linear readout.

Like the recurrent layers they keep no gradients: ``forward`` returns what ``backward``
needs, ``backward`` returns new arrays.  The twins are in ``reference/dense.py``.

And like theirs their weights live in a store (``_weights/store.py``): what is handed
out are leases, a call computes with a copy that nobody else can write to, taken anew
when the weights may have changed, and a cache knows the version it was made with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _core
from exactrnn._checks import (
    FloatType,
    allocate,
    check_dtype,
    check_owner,
    check_seed,
    check_size,
    check_version,
    describe,
)
from exactrnn._checks.limits import check_weights
from exactrnn._checks.naming import check_weight_names, take_named
from exactrnn._numeric.random import Seed, kind_of, symmetric
from exactrnn._system.mode import ieee_mode
from exactrnn._weights.store import Packs, ParameterStore, marked
from exactrnn.engine import isa, threads_for_calls
from exactrnn.layers._module import IncompatibleKeys
from exactrnn.train._checks import (
    FloatArray,
    IndexArray,
    check_float_array,
    check_index,
    check_last_axis,
    take_parameter,
)

__all__ = ["Embedding", "Linear", "ModuleCache", "ModuleGradients"]


FIXED = (
    *("num_embeddings", "embedding_dim", "in_features", "out_features", "dtype"),
    "_store",
)
"""Attributes that a module has for its life: the weights have these sizes."""


class ModuleGradients(NamedTuple):
    """What ``backward`` returns: gradients of the input and of the parameters."""

    x: FloatArray | None
    weights: dict[str, FloatArray]


class _Copied:
    """A copy of one weight, as kernels read it; immutable."""

    def __init__(self, weight: FloatArray) -> None:
        self.weight = weight.copy()

    def equals(self, other: _Copied) -> bool:
        """Tell whether both are of the same bytes."""
        size = f"u{self.weight.itemsize}"
        return np.array_equal(self.weight.view(size), other.weight.view(size))


class _Store(ParameterStore):
    """Owner of the weights of one module: its packed copies are plain ones.

    They are the same for every instruction set.
    """

    _config: Any = None

    def __init__(self, weights: Mapping[str, FloatArray], version: int = 0) -> None:
        super().__init__(cast(Any, None), weights)
        self._version = version

    def _pack(self, isa: str, backward: bool) -> Packs:
        copies: Any = tuple(_Copied(weight) for weight in self._weights.values())
        return Packs(isa, self._version, backward, (copies,))

    def now(self) -> tuple[int, dict[str, FloatArray]]:
        """Return the version of the weights and arrays by name, to be read alone."""
        packs: Any = self.packs("any", backward=True)
        copies = (copy.weight for copy in packs.panels[0])
        return packs.version, dict(zip(self.names, copies, strict=True))


class ModuleCache:
    """What ``forward`` keeps for ``backward``; it is valid until the weights change.

    It owns a copy of the input: changing the caller's array after ``forward`` cannot
    change a gradient.  ``backward`` leaves it as it is and may be called again.
    """

    __slots__ = ("_input", "_owner", "_version")

    def __init__(self, owner: _Module, version: int, values: Any) -> None:
        self._owner = owner
        self._version = version
        self._input = values

    def __repr__(self) -> str:
        kind = type(self._owner).__name__
        return f"<cache of {kind}, input {self._input.shape}>"


class _Module:
    """Named parameters that can be read, replaced and trained."""

    _store: _Store
    dtype: FloatType

    @ieee_mode()
    def _draw(self, shapes: Mapping[str, tuple[int, ...]], seed: int | None) -> None:
        """Draw the first parameters, uniform within ±`_bound`."""
        bound = self._bound()
        own = Seed(check_seed(seed), kind_of(type(self)))
        drawn = {
            name: symmetric(shape, bound, self.dtype, own.stream(name))
            for name, shape in shapes.items()
        }
        self._store = _Store(drawn)

    def _bound(self) -> float:
        """Return the limit of the first parameters."""
        raise NotImplementedError

    @property
    def num_parameters(self) -> int:
        """Number of trained values."""
        with self._store.read() as own:
            return sum(array.size for array in own.values())

    def parameters(self) -> dict[str, FloatArray]:
        """Return the parameters themselves, by name: writing into them trains.

        While such an array is held anywhere, every call compares the parameters with
        its copy of them: let go of it when done.
        """
        return {name: self._store.lease(name) for name in self._store.names}

    def _stores(self) -> dict[str, ParameterStore]:
        """Return what owns the weights that `parameters` hands out."""
        return {"": self._store}

    def state_dict(self) -> dict[str, FloatArray]:
        """Return copies of the parameters by name."""
        return marked(self._store.copies())

    def load_state_dict(
        self,
        mapping: Mapping[str, ArrayLike],
        strict: bool = True,
        *,
        prefix: str = "",
    ) -> IncompatibleKeys:
        """Copy parameters from `mapping`.

        Parameters
        ----------
        mapping : mapping of str to array_like
            Names and shapes as in `state_dict`, of the module's dtype.
        strict : bool
            Whether every name must be there and no other; False passes them over.
        prefix : str
            What stands before the names of this module in a larger mapping; names
            without it are not its own.

        Returns
        -------
        IncompatibleKeys
            The names passed over, as in torch.

        Raises
        ------
        ValueError
            If a shape differs, or with `strict` a name; nothing is changed.
        TypeError
            If a dtype differs; nothing is changed.
        """
        given = take_named("state_dict", mapping, prefix)
        values, keys = self._take(given, strict)
        self._store.assign(values)
        return keys

    def _take(
        self, values: Mapping[str, object], strict: bool
    ) -> tuple[dict[str, FloatArray], IncompatibleKeys]:
        """Return checked copies of what there is for this module."""
        if strict:
            check_weight_names("state_dict", values, self._store.names)
        taken = {
            name: self._check(name, values[name])
            for name in self._store.names
            if name in values
        }
        missing = [name for name in self._store.names if name not in values]
        unexpected = [name for name in values if name not in self._store]
        return taken, IncompatibleKeys(missing, unexpected)

    def _check(self, name: str, value: object) -> FloatArray:
        with self._store.read() as own:
            shape = own[name].shape
        return take_parameter(name, value, shape, self.dtype)

    def _assign(self, name: str, value: object) -> None:
        self._store.assign({name: self._check(name, value)})

    def _kept(self, cache: object) -> tuple[Any, dict[str, FloatArray]]:
        """Return the input in a cache of this module and the parameters it saw."""
        if not isinstance(cache, ModuleCache):
            got = describe(cache)
            raise TypeError(f"cache: expected one made by forward, got {got}")
        check_owner(cache, self)
        version, weights = self._store.now()
        check_version(cache._version, version)
        return cache._input, weights

    def __setattr__(self, name: str, value: object) -> None:
        if name in FIXED and name in self.__dict__:
            kind = type(self).__name__
            raise AttributeError(f"{name} cannot change: make a new {kind}")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        version, weights = self._store.now()
        others = {name: v for name, v in self.__dict__.items() if name != "_store"}
        return {"others": others, "version": version, "weights": weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["others"])
        weights = {name: array.copy() for name, array in state["weights"].items()}
        self._store = _Store(weights, state["version"])


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
        shape = (self.num_embeddings, self.embedding_dim)
        sizes = f"num_embeddings={shape[0]}, embedding_dim={shape[1]}"
        check_weights(sizes, 1, shape[0] * shape[1], self.dtype.itemsize)
        self._draw({"weight": shape}, seed)

    def _bound(self) -> float:
        return math.sqrt(3.0)

    @property
    def weight(self) -> FloatArray:
        """The rows, ``[V, E]``, writable in place."""
        return self._store.lease("weight")

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self._assign("weight", value)

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

    def forward(self, index: ArrayLike) -> tuple[FloatArray, ModuleCache]:
        """Return the rows of `index` and what `backward` needs."""
        checked = check_index("index", index, 0, self.num_embeddings)
        version, weights = self._store.now()
        rows: FloatArray = np.take(weights["weight"], checked, axis=0)
        return rows, ModuleCache(self, version, checked)

    def backward(self, cache: ModuleCache, dy: ArrayLike) -> ModuleGradients:
        """Return the gradient of the weights.

        A row's gradient is the long sum (N3, ``w = 1``) over that symbol's own
        occurrences, in the storage order of the index (``k = t*B + b``); chunks of
        256 count occurrences of the symbol, not positions.  A symbol that does not
        occur has gradient +0.0.

        Parameters
        ----------
        cache : ModuleCache
            From `forward`.
        dy : array_like, ``[..., E]``
            Gradient of the rows that `forward` returned.

        Returns
        -------
        ModuleGradients
            ``x`` is None, ``weights["weight"]`` is ``[V, E]``.

        Raises
        ------
        TypeError
            If `cache` is no cache or `dy` of another dtype.
        ValueError
            If `cache` is another module's or the weights have changed since, or if
            `dy` has another shape.
        """
        values, weights = self._kept(cache)
        index: IndexArray = values
        shape = (*index.shape, self.embedding_dim)
        checked = check_float_array("dy", dy, self.dtype, shape)
        dw: FloatArray = np.zeros_like(weights["weight"])
        _core.embedding_backward(
            index.reshape(-1),
            checked.reshape(-1, self.embedding_dim),
            dw,
            isa(),
            threads_for_calls(),
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
        shape = (self.out_features, self.in_features)
        sizes = f"in_features={shape[1]}, out_features={shape[0]}"
        check_weights(sizes, 2, shape[0] * (shape[1] + 1), self.dtype.itemsize)
        shapes = {"weight": shape, "bias": shape[:1]} if bias else {"weight": shape}
        self._draw(shapes, seed)

    def _bound(self) -> float:
        return 1.0 / math.sqrt(self.in_features)

    @property
    def weight(self) -> FloatArray:
        """The weights, ``[O, K]``, writable in place."""
        return self._store.lease("weight")

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self._assign("weight", value)

    @property
    def bias(self) -> FloatArray | None:
        """The bias, ``[O]``, writable in place, or None."""
        return self._store.lease("bias") if "bias" in self._store else None

    @bias.setter
    def bias(self, value: ArrayLike) -> None:
        if "bias" not in self._store:
            raise ValueError("bias: this layer was made with bias=False")
        self._assign("bias", value)

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Return ``y [..., O]`` for `x` ``[..., K]``.

        An output is a chain (N3) that starts at its bias and runs over ``K``.

        Raises
        ------
        TypeError, ValueError
            If `x` has another dtype or width.
        """
        return self._run(self._check_input(x))[0]

    def forward(self, x: ArrayLike) -> tuple[FloatArray, ModuleCache]:
        """Return ``y`` and what `backward` needs, a copy of `x` among it."""
        own = self._check_input(x).copy()
        y, version = self._run(own)
        return y, ModuleCache(self, version, own)

    def _check_input(self, x: ArrayLike) -> FloatArray:
        checked = check_float_array("x", x, self.dtype)
        check_last_axis("x", checked, "K", self.in_features)
        return checked

    def _run(self, x: FloatArray) -> tuple[FloatArray, int]:
        """Return the output and the version of the weights that made it."""
        version, weights = self._store.now()
        rows = x.reshape(-1, self.in_features)
        y = allocate((rows.shape[0], self.out_features), self.dtype)
        _core.linear_forward(
            rows, weights["weight"], weights.get("bias"), y, isa(), threads_for_calls()
        )
        return y.reshape(*x.shape[:-1], self.out_features), version

    def backward(self, cache: ModuleCache, dy: ArrayLike) -> ModuleGradients:
        """Return the gradients of the input and of the parameters.

        ``dx`` is a chain over the outputs from +0.0; the gradients of `weight` and
        `bias` are long sums over the rows in storage order.

        Parameters
        ----------
        cache : ModuleCache
            From `forward`.
        dy : array_like, ``[..., O]``
            Gradient of the output.

        Returns
        -------
        ModuleGradients
            ``x`` is ``[..., K]``, ``weights`` has the names of the parameters.

        Raises
        ------
        TypeError
            If `cache` is no cache or `dy` of another dtype.
        ValueError
            If `cache` is another module's or the weights have changed since, or if
            `dy` has another shape.
        """
        values, weights = self._kept(cache)
        x: FloatArray = values
        shape = (*x.shape[:-1], self.out_features)
        checked = check_float_array("dy", dy, self.dtype, shape)
        dx: FloatArray = np.empty_like(x)
        found = {name: np.zeros_like(array) for name, array in weights.items()}
        _core.linear_backward(
            x.reshape(-1, self.in_features),
            weights["weight"],
            checked.reshape(-1, self.out_features),
            dx.reshape(-1, self.in_features),
            found["weight"],
            found.get("bias"),
            isa(),
            threads_for_calls(),
        )
        return ModuleGradients(dx, found)
