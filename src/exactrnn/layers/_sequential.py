"""Parts one after the other: a model that is called as a layer is.

    x -> part 0 -> part 1 -> ... -> y          dy -> ... -> part 1 -> part 0 -> dx

What a recurrent part is given beside its input, lengths, masks and resets, the whole is
given and hands on; the states of several parts are a tuple.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from exactrnn._checks import Array, ArrayLike, FloatType, describe
from exactrnn._checks.limits import list_names
from exactrnn.layers._composite import Composite
from exactrnn.layers._dense import DenseModule
from exactrnn.layers._gradients import weights_of
from exactrnn.layers._results import Gradients
from exactrnn.layers._sequential_stream import Chain, Pass, SequentialStream
from exactrnn.layers._weightless import Dropout, Last

__all__ = ["Sequential"]

HANDED_ON = ("lengths", "mask", "resets")
"""Options of a call that go to every part that knows them."""


class _Link(NamedTuple):
    """One part and what its calls know."""

    name: str
    part: Any
    options: frozenset[str]
    has_state: bool


class _Kept(NamedTuple):
    """What `forward` keeps: the caches of the parts, and whose they are."""

    owner: Sequential
    caches: list[Any]


class Sequential(Composite):
    """Parts one after the other, called, trained and saved as one.

    Parameters
    ----------
    *parts : modules, or one mapping of names to modules
        Layers over sequences, `Embedding`, `Linear`, `Last`, or any object with
        `forward` and `backward` like theirs, composites among them; named `0`, `1`, …
        or as the mapping says.
    seed : int, optional
        Draws the weights of all parts anew, each from a seed of its own, as
        `seed_parts` does. Without it the weights are those that the parts have.

    Raises
    ------
    TypeError
        If a part is nothing of the kind.
    ValueError
        If there is no part, or one stands in two places.

    Notes
    -----
    The state is that of the one part that has a state, or a tuple of those of each.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> model = xr.train.Sequential(
    ...     xr.GRU(1, 8), xr.train.Last(), xr.train.Linear(8, 2), seed=0
    ... )
    >>> y, state, cache = model.forward(np.ones((5, 3, 1), np.float32))
    >>> y.shape, state.shape
    ((3, 2), (1, 3, 8))
    >>> sorted(model.backward(cache, y).weights)[:3]
    ['0.bias_hh_l0', '0.bias_ih_l0', '0.weight_hh_l0']
    >>> model.num_parameters
    282
    """

    def __init__(self, *parts: Any, seed: int | None = None) -> None:
        named: Mapping[Any, Any] = dict(enumerate(parts))
        if len(parts) == 1 and isinstance(parts[0], Mapping):
            named = parts[0]
        self._links = [_link(str(name), part) for name, part in named.items()]
        if not self._links:
            raise ValueError("parts: expected at least one, got none")
        if len({id(link.part) for link in self._links}) < len(self._links):
            raise ValueError(
                "parts: expected each part in one place, got one in two: its "
                "gradients would be two under one name"
            )
        _check_names([link.name for link in self._links])
        if seed is not None:
            self.seed_parts(seed)

    @property
    def parts(self) -> dict[str, Any]:
        """The parts by name, `Last` and others without weights among them."""
        return {link.name: link.part for link in self._links}

    def __len__(self) -> int:
        return len(self._links)

    def __getitem__(self, key: int | str) -> Any:
        """Return a part by its place or its name."""
        return self._links[key].part if isinstance(key, int) else self.parts[key]

    @property
    def dtype(self) -> FloatType:
        """Of the weights."""
        for module in self._modules().values():
            return module.dtype
        raise AttributeError("dtype: no part has weights")

    @property
    def batch_first(self) -> bool:
        """Whether a part reads [B, T, ...]."""
        return self._has("batch_first")

    @property
    def bidirectional(self) -> bool:
        """Whether a part runs in both directions."""
        return self._has("bidirectional")

    @property
    def reverse(self) -> bool:
        """Whether a part runs from each row's end."""
        return self._has("reverse")

    def _has(self, option: str) -> bool:
        return any(getattr(link.part, option, False) for link in self._links)

    def __call__(self, x: ArrayLike, state: Any = None, **options: Any) -> Any:
        """Run for inference: without dropout, keeping nothing.

        Parameters
        ----------
        x : array_like
            What the first part reads.
        state : state or tuple of states, optional
            To begin with; zeros by default.
        **options
            ``lengths``, ``mask`` and ``resets``: for all parts that know them.

        Returns
        -------
        y : ndarray
            Of the last part.
        state : state or tuple of states
            After the last step; left out if no part has one.

        Raises
        ------
        TypeError, ValueError
            If an argument is no option of any part, or as the parts say.
        """
        states, value, found = self._split(state), x, []
        for link in self._links:
            own = self._options_of(link, options)
            if link.has_state:
                value, after = link.part(value, states.pop(0), **own)
                found.append(after)
            else:
                value = link.part(value, **own)
        return (value, self._joined(found)) if found else value

    def forward(
        self, x: ArrayLike, state: Any = None, **options: Any
    ) -> tuple[Array, Any, Any]:
        """Run for training: with dropout, keeping what `backward` needs.

        Parameters
        ----------
        x, state, **options
            As in a call.

        Returns
        -------
        y : ndarray
        state : state or tuple of states
            None if no part has one.
        cache : object
            For `backward`.
        """
        states, value, found, caches = self._split(state), x, [], []
        for link in self._links:
            own = self._options_of(link, options)
            if link.has_state:
                value, after, cache = link.part.forward(value, states.pop(0), **own)
                found.append(after)
            else:
                value, *_, cache = link.part.forward(value, **own)
            caches.append(cache)
        return np.asarray(value), self._joined(found), _Kept(self, caches)

    def backward(self, cache: Any, dy: ArrayLike, dstate: Any = None) -> Gradients[Any]:
        """Go back through all parts.

        Parameters
        ----------
        cache : object
            From this model's `forward`; the weights must be those of then.
        dy : array_like
            Gradient of the output.
        dstate : state or tuple of states, optional
            Gradient of the final state.

        Returns
        -------
        Gradients
            ``x``, ``state`` and ``weights``, by the names of `parameters`.

        Raises
        ------
        TypeError, ValueError
            If the cache is another's, or as the parts say.
        """
        if not isinstance(cache, _Kept) or cache.owner is not self:
            raise TypeError(
                f"cache: expected one of this model's forward, got {describe(cache)}"
            )
        dstates, found = self._split(dstate), []
        gradient: Any = dy
        weights: dict[str, dict[str, Array]] = {}
        for link, kept in zip(self._links[::-1], cache.caches[::-1], strict=True):
            if link.has_state:
                given = link.part.backward(kept, gradient, dstates.pop())
                found.append(given.state)
            else:
                given = link.part.backward(kept, gradient)
            gradient = getattr(given, "x", None)
            weights[link.name] = weights_of(given)
        named = {
            f"{name}.{own}": array
            for name in self.parts
            for own, array in weights[name].items()
        }
        return Gradients(gradient, self._joined(found[::-1]), named)

    def stream(self, batch_size: int = 1) -> SequentialStream:
        """Make a stream: one time step at a time, with the states kept inside.

        Parameters
        ----------
        batch_size : int
            Number of rows that go on side by side.

        Returns
        -------
        SequentialStream
            With states of zeros; it follows later changes of the weights.

        Raises
        ------
        TypeError, ValueError
            If no part has a state, one reads rows from their ends, or `batch_size` is
            not an integer of at least 1.
        """
        passes = self._passes(batch_size, has_time=True)
        if not any(own.stream is not None for own in passes):
            raise TypeError("stream: expected a part with a state, got none")
        return SequentialStream(self, passes)

    def _passes(self, batch_size: int, has_time: bool) -> list[Pass]:
        """Return what a step does with each part; `has_time`: it reads sequences."""
        passes = []
        for link in self._links:
            passes.append(self._pass_of(link, batch_size, has_time))
            has_time = has_time and not _is_last(link.part)
        return passes

    def _pass_of(self, link: _Link, batch_size: int, has_time: bool) -> Pass:
        part = link.part
        if link.has_state:
            if not hasattr(part, "stream"):
                raise TypeError(
                    f"parts[{link.name}]: expected a part with a method stream, got "
                    f"{describe(part)}"
                )
            return Pass(part.stream(batch_size), None)
        if isinstance(part, Sequential):
            inner = [own.call for own in part._passes(batch_size, has_time)]
            return Pass(None, Chain([call for call in inner if call is not None]))
        if isinstance(part, Last):  # which every step is, so far
            return Pass(None, None)
        if isinstance(part, DenseModule | Dropout) or not has_time:
            return Pass(None, part)
        return Pass(None, _InTime(part, 1 if self.batch_first else 0))

    def _options_of(self, link: _Link, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return those options that a part knows; each must be known by some part."""
        known = frozenset[str]().union(*(link.options for link in self._links))
        for name in options:
            if name not in known:
                expected = ", ".join(sorted(known)) or "none"
                raise TypeError(f"{name}: expected options {expected}, got {name}")
        return {name: v for name, v in options.items() if name in link.options}

    def _split(self, state: Any) -> list[Any]:
        """Return the state of each part that has one."""
        count = sum(link.has_state for link in self._links)
        if count < 2 or state is None:
            return [state] * count
        if not isinstance(state, tuple | list) or len(state) != count:
            raise ValueError(
                f"state: expected a tuple of {count}, of each recurrent part, got "
                f"{describe(state)}"
            )
        return list(state)

    def _joined(self, states: list[Any]) -> Any:
        return tuple(states) if len(states) > 1 else (*states, None)[0]


class _InTime:
    """A part that is called with sequences, for one step of one."""

    def __init__(self, part: Any, axis: int) -> None:
        self.part, self.axis = part, axis

    def __call__(self, x: Any) -> Array:
        found: Array = self.part(np.expand_dims(x, self.axis)).take(0, self.axis)
        return found


def _is_last(part: Any) -> bool:
    """Tell whether sequences end in a part."""
    inner = part._links if isinstance(part, Sequential) else ()
    return isinstance(part, Last) or any(_is_last(link.part) for link in inner)


def _link(name: str, part: Any) -> _Link:
    """Return a part with what its calls know, or raise."""
    methods = ("__call__", "forward", "backward")
    if isinstance(part, type) or not all(hasattr(part, m) for m in methods):
        raise TypeError(
            f"parts[{name}]: expected a module with forward and backward, got "
            f"{describe(part)}"
        )
    if isinstance(part, Sequential):
        own = frozenset[str]().union(*(link.options for link in part._links))
        return _Link(name, part, own, any(link.has_state for link in part._links))
    parameters = inspect.signature(part.forward).parameters
    _check_reads_one(name, part, [*parameters.values()][1:])
    known = frozenset(parameters)
    return _Link(name, part, known & {*HANDED_ON}, "state" in known)


def _check_names(names: Sequence[str]) -> None:
    """Raise where two parts have one name, as 1 and "1" in a mapping."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"parts: expected each name once, got {name!r} twice: one part's "
                "weights would hide the other's"
            )


def _check_reads_one(name: str, part: Any, others: Sequence[inspect.Parameter]) -> None:
    """Raise where `forward` needs more than x, which nobody would give it."""
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    needed = [
        own.name
        for own in others
        if own.default is own.empty and own.kind not in several and own.name != "state"
    ]
    if needed:
        raise TypeError(
            f"parts[{name}]: expected a module whose forward reads x alone, got "
            f"{type(part).__name__}, whose forward needs {list_names(needed)} too: "
            "make a Composite of it"
        )
