"""The arrays of weights that are handed out: views to read, leases, marked copies.

An array knows where it is from: `root_of` follows its bases to an `Exporter`, which
knows the store, or to the mark of a copy that `state_dict` gave. Who the store is and
why its packed copies are never out of date is in `store.py`.

    a view to read    WeightView -> ndarray, read-only -> Exporter without a token
    a lease                         ndarray, writable  -> Exporter with its token
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from exactrnn._checks import Array


class Lender(Protocol):
    """A store, as its arrays know it."""

    def lend(self, weight: Array) -> Array:
        """Return a lease of one of the owned arrays."""


class Exporter:
    """The base of a lease: keeps the owned array and the store's token alive.

    Without a token, that of an array to read: NumPy makes no writable one of it.
    """

    __slots__ = ("_array", "_token", "store")

    def __init__(self, array: Array, token: object | None, store: Lender) -> None:
        self._array = array
        self._token = token
        self.store = store

    @property
    def __array_interface__(self) -> dict[str, Any]:
        interface = self._array.__array_interface__
        address, _ = interface["data"]
        return {**interface, "data": (address, not self.is_lent)}

    @property
    def is_lent(self) -> bool:
        """Whether what has this base may be written to."""
        return self._token is not None

    def lease(self) -> Array:
        """Return a lease of the same weight."""
        return self.store.lend(self._array)


class _Copy:
    """The base of an array that `state_dict` gave: nobody's weight, and marked so."""

    __slots__ = ("_array",)

    def __init__(self, array: Array) -> None:
        self._array = array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._array.__array_interface__


def root_of(array: object) -> object:
    """Return what an array's views end in, None for memory that an array owns."""
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array


class WeightView(np.ndarray[Any, Any]):
    """A weight as it is at any time, in memory that is read-only.

    What is assigned to an index, an in-place operator and `out=` of a ufunc go through
    a lease that ends with them. Whoever wants the memory itself (buffers, pointers,
    DLPack, `np.copyto`) finds it read-only. Results and copies are plain arrays
    wherever NumPy lets us say so.
    """

    __slots__ = ()
    __array_priority__ = -1.0  # `np.concatenate` makes a plain array

    def __setitem__(self, key: Any, value: Any) -> None:
        opened(self)[_plain(key)] = value

    def fill(self, value: Any) -> None:
        """Set every element to `value`."""
        opened(self).fill(value)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any
    ) -> Any:
        arrays = [_plain(array) for array in inputs]
        if method == "at":
            arrays[0] = opened(inputs[0])
        targets = options.get("out", ())
        if targets:
            options["out"] = tuple(map(opened, targets))
        if "where" in options:
            options["where"] = _plain(options["where"])
        result = getattr(ufunc, method)(*arrays, **options)
        if not targets:
            return result
        made = result if isinstance(result, tuple) else (result,)
        pairs = zip(targets, made, strict=True)
        results = tuple(new if old is None else old for old, new in pairs)
        return results if len(results) > 1 else results[0]

    def __array_wrap__(
        self, array: Any, context: Any = None, return_scalar: bool = False
    ) -> Any:
        return array[()] if return_scalar else array

    def copy(self, order: Any = "C") -> Any:
        """Return a plain array of the values."""
        return np.array(self, order=order)

    def __copy__(self) -> Any:
        return np.array(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return np.array(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.array(self).__reduce_ex__(protocol)

    def __dlpack__(self, **options: Any) -> Any:
        if options.get("copy"):
            return np.array(self).__dlpack__(**options)
        raise BufferError(
            "weight: expected a copy, or an array of editing() or of "
            "parameters(writable=True), for DLPack: not every library that takes "
            "arrays by it knows read-only ones"
        )


def _plain(value: Any) -> Any:
    """Return a view to read as a plain array, everything else as it is."""
    return value.view(np.ndarray) if isinstance(value, WeightView) else value


def opened(array: Any) -> Any:
    """Return an array that writes to the memory of a view to read, by a lease.

    Every other array, and what is none, is returned as it is.
    """
    root = root_of(array)
    if not isinstance(root, Exporter) or root.is_lent:
        return _plain(array)
    whole = root.lease()
    offset = _address(array) - _address(whole)
    return np.ndarray(array.shape, array.dtype, whole, offset, array.strides)


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def is_copy(array: Array) -> bool:
    """Tell whether an array, or what it views, is what a `state_dict` gave."""
    return isinstance(root_of(array), _Copy)


def marked(copies: Mapping[str, Array]) -> dict[str, Array]:
    """Return the copies of weights that a `state_dict` gives away."""
    return {name: np.asarray(_Copy(array)) for name, array in copies.items()}


class Leases(Mapping[str, Array]):
    """Leases by name for the time of a block: an item that is set is copied in."""

    def __init__(
        self, leases: dict[str, Array], assign: Callable[[str, object], None]
    ) -> None:
        self._leases = leases
        self._assign = assign

    def __getitem__(self, name: str) -> Array:
        return self._leases[name]

    def __setitem__(self, name: str, value: object) -> None:
        if value is not self._leases[name]:  # it is after an in-place operator
            self._assign(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._leases)

    def __len__(self) -> int:
        return len(self._leases)

    def __repr__(self) -> str:
        return f"<weights to edit: {', '.join(self) or 'the block has ended'}>"


@contextmanager
def editing(
    leases: dict[str, Array], assign: Callable[[str, object], None]
) -> Iterator[Leases]:
    """Give leases for a block; `assign` checks the value of one and copies it in."""
    try:
        yield Leases(leases, assign)
    finally:
        leases.clear()
