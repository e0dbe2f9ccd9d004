"""Weights, their packed copies, and why the two can never differ.

A `ParameterStore` owns one C-contiguous array per weight. Kernels read packed copies of
them (`_core.Packed`, immutable). A stale copy is impossible because every way to write
is seen:

* `assign` and `edit` write inside the store and declare all packed copies doubtful.
* `show` gives a view to read: nobody can write to its memory, so it costs nothing. Its
  own index assignment and in-place operators write through a lease.
* `lease` lends an array that views the store's memory. Its base is a small exporter
  object, which NumPy, torch.from_numpy, DLPack and memoryviews all keep alive as long
  as anything can still write there; the exporter keeps a token alive. While the token
  lives, packed copies are doubtful at every call. What a lease's own shape and dtype
  are set to is the lease's: the owned array keeps its own.

        lease -> Exporter -> _Token  <.. weak reference .. ParameterStore
                     |
                     +-> the owned array

An array knows where it is from (`views.py`): an optimiser finds the store of one that
it was given, takes its lock, and refuses copies, which no layer uses.

What is doubtful is packed anew before use and compared, byte by byte, with what was
there: equal copies leave the version as it is, others raise it. `backward` compares
versions, so gradients never mix two sets of weights. While a lease lives, `_seen` keeps
what the copies were packed from: comparing it with the weights takes a seventh of the
time of packing (LSTM 512, 8 MB: 1.3 ms instead of 9).

`fresh` holds the packed copies that are beyond doubt, by instruction set: one lookup
without the lock answers the usual call. Whoever makes copies doubtful empties it first.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import Array
from exactrnn._system.locks import make_lock
from exactrnn._weights.views import Exporter, WeightView, root_of

STALE = -1
"""A version that no weights have: of what was computed with weights that are gone."""


class _Token:
    """Lives as long as any lease of one store lives."""

    __slots__ = ("__weakref__",)


def store_of(array: Array) -> ParameterStore | None:
    """Return the store whose memory an array views, None for any other memory."""
    root = root_of(array)
    return cast(ParameterStore, root.store) if isinstance(root, Exporter) else None


def stores_in(source: object) -> Mapping[str, ParameterStore] | None:
    """Return the stores of a layer or model of ours, by what goes before their names.

    None for everything else, and for an object whose `parameters` is not the library's.
    """
    find = getattr(source, "_stores", None)
    given = getattr(source, "parameters", None)
    own = __name__.partition(".")[0]
    if find is None or not getattr(given, "__module__", "").startswith(f"{own}."):
        return None
    found: Mapping[str, ParameterStore] = find()
    return found


@dataclass(frozen=True, slots=True)
class Packs:
    """The packed weights of a layer: `copies[layer][direction]`, for one version."""

    isa: str
    version: int
    has_backward: bool
    copies: tuple[tuple[_core.Packed, ...], ...]

    def equals(self, other: Packs) -> bool:
        """Tell whether both hold the same bytes."""
        pairs = (
            zip(mine, theirs, strict=True)
            for mine, theirs in zip(self.copies, other.copies, strict=True)
        )
        return all(a.equals(b) for directions in pairs for a, b in directions)


class ParameterStore:
    """Owner of the weights of one layer; each kind of layer packs in its own way.

    Parameters
    ----------
    weights : mapping of str to ndarray
        One C-contiguous array per name, in the order of `state_dict`; taken over.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.fresh: Mapping[str, Packs] = {}
        self._weights = dict(weights)
        self._known: Mapping[str, Packs] = {}
        self._seen: Mapping[str, Array] = {}
        self._version = 0
        self._token: weakref.ref[_Token] | None = None
        self._lock = make_lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights, in the order of `state_dict`."""
        return tuple(self._weights)

    @property
    def clean(self) -> bool:
        """Whether packed copies exist that are beyond doubt."""
        return bool(self.fresh)

    @property
    def own(self) -> Mapping[str, Array]:
        """The owned arrays, for those who hold the store."""
        return self._weights

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def copies(self) -> dict[str, Array]:
        """Return a copy of each weight by name."""
        with self._lock:
            return _copied(self._weights)

    def show(self, name: str) -> Array:
        """Return a view of one weight to read."""
        return np.asarray(Exporter(self._weights[name], None, self)).view(WeightView)

    def lease(self, name: str) -> Array:
        """Return an array that views one weight; writing into it changes the layer."""
        return self.lend(self._weights[name])

    def lend(self, weight: Array) -> Array:
        """Return a lease of one of the owned arrays."""
        if not weight.flags.writeable:
            raise ValueError("weights: expected a layer's own, got those of several")
        with self._lock:
            token = self._living_token() or _Token()
            self._token = weakref.ref(token)
            self.fresh = {}
            return np.asarray(Exporter(weight, token, self))

    def give(self, writable: bool) -> dict[str, Array]:
        """Return every weight by name, as `lease` or as `show` gives it."""
        give = self.lease if writable else self.show
        return {name: give(name) for name in self._weights}

    def assign(self, values: Mapping[str, Array]) -> None:
        """Copy `values`, of the right names, shapes and dtype, into the weights."""
        with self.edit() as weights:
            for name, value in values.items():
                weights[name][...] = value

    def adopt(self, weights: Mapping[str, Array]) -> None:
        """Take these arrays in place of equal ones, to read: other processes have them.

        For a store that nobody else has yet: views of the old arrays would not follow.
        """
        with self._lock:
            self.fresh = {}
            self._weights = {name: weights[name] for name in self._weights}

    @contextmanager
    def edit(self) -> Iterator[Mapping[str, Array]]:
        """Give the owned arrays to library code that does not keep them."""
        with self._lock:
            self.fresh = {}
            yield self._weights

    @contextmanager
    def read(self) -> Iterator[Mapping[str, Array]]:
        """Give the owned arrays to library code that only reads them."""
        with self._lock:
            yield self._weights

    def packs(self, isa: str, *, backward: bool = False) -> Packs:
        """Return packed copies of the weights as they are now."""
        found = self.fresh.get(isa)
        if found is not None and (found.has_backward or not backward):
            return found
        with self._lock:
            # Asked before the weights are read: a lease that ends later than this may
            # still be written to while they are packed.
            leased = self._living_token() is not None
            if not self.fresh:
                self._settle(isa, leased)
            found = self._known.get(isa)
            if found is None or (backward and not found.has_backward):
                found = self._pack(isa, self._seen or self._weights, backward)
                self._known = {**self._known, isa: found}
            if not leased:
                self.fresh = self._known
            return found

    def is_current(self, version: int) -> bool:
        """Tell whether the weights are still those of this version."""
        return self.packs(engine.isa(), backward=True).version == version

    def _living_token(self) -> _Token | None:
        return None if self._token is None else self._token()

    def _settle(self, isa: str, leased: bool) -> None:
        """Keep the known copies if the weights are still theirs, else drop them.

        Nothing is known of what was seen until all of it is done: if an exception ends
        this in the middle, the next call packs anew.
        """
        seen, self._seen = self._seen, {}
        if not _equal(seen, self._weights):
            # Of one moment: a lease may be written to while they are packed.
            seen = _copied(self._weights) if leased else {}
            self._compare(isa, seen or self._weights)
        if leased:
            self._seen = seen

    def _compare(self, isa: str, weights: Mapping[str, Array]) -> None:
        """Pack anew and drop the known copies unless they are the same."""
        if not self._known:
            return
        known = self._known.get(isa) or next(iter(self._known.values()))
        now = self._pack(known.isa, weights, known.has_backward)
        if not now.equals(known):
            self._version += 1
            self._known = {now.isa: replace(now, version=self._version)}

    def _pack(self, isa: str, weights: Mapping[str, Array], backward: bool) -> Packs:
        """Return packed copies of these weights, of the store's version."""
        raise NotImplementedError


def _copied(weights: Mapping[str, Array]) -> dict[str, Array]:
    return {name: weight.copy() for name, weight in weights.items()}


def _equal(seen: Mapping[str, Array], weights: Mapping[str, Array]) -> bool:
    """Tell whether the weights are byte by byte what was seen, if anything was."""
    return bool(seen) and all(
        _core.same_bytes(seen[name], weight) for name, weight in weights.items()
    )


@contextmanager
def edit_together(stores: Iterable[ParameterStore]) -> Iterator[None]:
    """Hold several stores as `edit` holds one: a call sees all of a change or none.

    In an order of their own, so that two who do so never wait for each other.
    """
    with ExitStack() as held:
        for store in sorted(set(stores), key=id):
            held.enter_context(store.edit())
        yield
