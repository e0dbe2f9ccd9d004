"""What everything with weights shares: options, weights by name, copies of the whole.

`Module` knows a specification and the owner of the weights, or several owners, each
behind a prefix; `RecurrentModule` adds what runs a recurrent network, the stack of
`_run/stack.py`, and the random numbers of dropout. What calls give back is in
`_results.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    cast,
)

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike, DTypeLike, FloatType, naming
from exactrnn._checks.limits import list_names, shorten
from exactrnn._numeric import random
from exactrnn._numeric.rounding import check_target, round_weight
from exactrnn._run.dropout import warn_unused
from exactrnn._run.protocol import Runner
from exactrnn._run.stack import Stack
from exactrnn._spec.activations import Activation
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.record import Record
from exactrnn._spec.recurrent import Config
from exactrnn._spec.rules import Init
from exactrnn._spec.sequence import SequenceSpec
from exactrnn._system.mode import ieee_mode
from exactrnn._weights import first
from exactrnn._weights.store import ParameterStore, edit_together
from exactrnn._weights.views import Leases, editing, marked
from exactrnn.layers._facts import SequenceFacts
from exactrnn.layers._notebook import describe_in_html, draw_stack

OPTIONS = (
    *("cell", "activations", "input_size", "hidden_size", "output_size", "bias"),
    *("dtype", "clip", "num_layers", "bidirectional", "reverse", "batch_first"),
    *("dropout", "init", "forget_bias"),
)
"""Options of every layer that can be read as its attributes."""
NOT_ARGUMENTS = ("self", "__class__", "seed")
"""Local names of a constructor that are none of the arguments a layer remembers."""
PARTS = frozenset(
    {"_spec", "_store", "_stack", "_decoder", "_masks", "_options", "_arguments"}
)
"""Attributes that a copy makes anew."""

S = TypeVar("S", bound=Array | tuple[NDArray[Any], ...])
"""A state: `h` for cells with one, `(h, c)` and so on for cells with more."""


class IncompatibleKeys(NamedTuple):
    """Names that `load_state_dict(..., strict=False)` passed over.

    Attributes
    ----------
    missing_keys : list of str
        Weights that were not given and stay as they are.
    unexpected_keys : list of str
        Names given that the layer does not have.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class Spec(Protocol):
    """What a module is, without its weights."""

    @property
    def dtype(self) -> FloatType:
        """Of the weights."""

    @property
    def num_arrays(self) -> int:
        """Number of weights as arrays, without listing them."""

    @property
    def num_parameters(self) -> int:
        """Number of weights that exist, all arrays together."""

    @property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each weight by name, in the order of `state_dict`."""

    def take_weight(self, name: str, value: object) -> Array:
        """Return `value` as an array of its own for the weight of this name."""


class Module:
    """Base of all with weights: options as read-only attributes, weights by name.

    `layer.weight_hh_l0` is the weight as it is at any time; reading and holding it is
    free. `layer.weight_hh_l0 = array` copies the array's values, `[...] =` and in-place
    operators change the layer too. The memory is read-only: for torch, buffers and
    pointers that write there are `editing` and `parameters(writable=True)`.

    A class of the library has a `record`, and its constructor is its signature: the
    body hands on all arguments, `super().__init__(locals())`.

    Parameters
    ----------
    arguments : mapping of str to object
        The local names of the constructor: itself, the seed and all other arguments.
    """

    record: ClassVar[Record]

    dtype: FloatType

    _spec: Spec
    _store: ParameterStore
    _options: Mapping[str, object]
    _arguments: Mapping[str, object]

    def __init__(self, arguments: Mapping[str, object]) -> None:
        named = {n: v for n, v in arguments.items() if n not in NOT_ARGUMENTS}
        seed = _checks.check_seed(arguments["seed"])
        own = random.Seed(seed, random.kind_of(type(self)))
        given = Arguments(named, self.record)
        with ieee_mode():
            spec = self._configure(given)
            weights = self._draw_weights(spec, own)
            self._assemble(spec, given, weights, own.stream("dropout"))

    @classmethod
    def _configure(cls, given: Arguments) -> Any:
        """Return what a module with these arguments is, without its weights."""
        raise NotImplementedError

    @classmethod
    def _given(cls, arguments: Mapping[str, object]) -> Arguments:
        """Return arguments, to be checked; those missing have their defaults."""
        parameters = inspect.signature(cls).parameters.values()
        defaults = {
            p.name: p.default
            for p in parameters
            if p.default is not p.empty and p.name != "seed"
        }
        return Arguments({**defaults, **arguments}, cls.record)

    @classmethod
    def _draw_weights(cls, spec: Any, seed: random.Seed) -> dict[str, Array]:
        """Return the first weights by name."""
        return first.draw_weights(spec, seed)

    def _assemble(
        self,
        spec: Any,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        """Become a module of these parts; later calls may draw from `generator`."""
        raise NotImplementedError

    def _become(
        self,
        spec: Spec,
        options: Mapping[str, object],
        arguments: Mapping[str, object],
        **parts: object,
    ) -> None:
        """Take what makes a module: options as attributes, and parts by name."""
        self.__dict__.update(options)
        self.__dict__.update(parts, _spec=spec, _options=options, _arguments=arguments)

    @classmethod
    @ieee_mode()
    def restore(
        cls,
        arguments: Mapping[str, object],
        weights: Mapping[str, object],
        generator_state: Mapping[str, Any] | None = None,
    ) -> Self:
        """Build a module from its parts, drawing nothing; all is checked as given.

        An argument that is missing has its default: a file may be older than it.
        """
        known = [name for name in inspect.signature(cls).parameters if name != "seed"]
        given = cls._given(arguments)
        naming.check_names("arguments", dict.fromkeys(given), known)
        spec = cls._configure(given)
        weights = naming.take_named("weights", weights)
        if len(weights) != spec.num_arrays:  # before they are listed
            expected = f"{spec.num_arrays} arrays, for these arguments"
            raise ValueError(f"weights: expected {expected}, got {len(weights)}")
        naming.check_names("weights", weights, spec.weight_shapes)
        shapes = spec.weight_shapes
        taken = {name: spec.take_weight(name, weights[name]) for name in shapes}
        generator = random.make_generator(None)
        if generator_state is not None:
            generator.state = cast(Any, generator_state)
        module = cls.__new__(cls)
        module._assemble(spec, given, taken, generator)
        return module

    # Weights as attributes; options cannot be set

    if not TYPE_CHECKING:  # to whom names not in `_named.py` are mistakes

        def __getattr__(self, name: str) -> Array:
            """Return a view of the weight of this name."""
            # Through __dict__: an object under construction has no store yet.
            store: ParameterStore | None = self.__dict__.get("_store")
            if store is None or name not in store:
                kind = type(self).__name__
                raise AttributeError(f"{kind!r} object has no attribute {name!r}")
            return store.show(name)

        def __setattr__(self, name: str, value: object) -> None:
            """Copy `value` into the weight of this name."""
            names = self._names()
            if name in names:
                self._assign({name: value})
            elif name in self.__dict__.get("_options", ()):
                kind = type(self).__name__
                raise AttributeError(f"{name} cannot change: make a new {kind}")
            elif names and name.startswith(("weight_", "bias_")):
                listed = list_names(names)
                raise AttributeError(f"{shorten(name)}: expected one of {listed}")
            else:
                super().__setattr__(name, value)

    def _names(self) -> Collection[str]:
        """Return the weights that are attributes; none yet under construction."""
        return self._spec.weight_shapes if "_store" in self.__dict__ else ()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._names()})

    def __repr__(self) -> str:
        arguments, parts = self.arguments(), []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = arguments.get(name, parameter.default)
            if value is parameter.default:
                continue  # also what is needed but no argument of ours
            if parameter.default is inspect.Parameter.empty:
                keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
                parts.append(f"{name}={value!r}" if keyword else repr(value))
            elif value != parameter.default:
                parts.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return describe_in_html(self)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, but for the seed, as plain values.

        Returns
        -------
        dict of str to object
            Sizes, options and the name of the dtype.
        """
        return {**self._arguments, "dtype": self.dtype.name}

    @property
    def num_parameters(self) -> int:
        """Number of weights, all arrays together, but for absent connections."""
        return self._spec.num_parameters

    def parameters(self, *, writable: bool = False) -> dict[str, Array]:
        """Return the weights themselves, as they are at any time.

        Parameters
        ----------
        writable : bool
            Whether anything may write to the arrays' memory: `np.copyto`, buffers,
            pointers, torch. A write acts in the next call, however it was done.

        Returns
        -------
        dict of str to ndarray
            By name, in the order of `state_dict`, what the attributes give, which is
            free to hold. Two ways to write to it are not refused and not seen: pointers
            (`array.ctypes`), and torch, which warns once that writing is undefined.

            With `writable`, every call and every step compares the weights with a copy
            of them as long as such an array lives, or what was made of its memory: 0.1
            to 0.2 ms per MB, a seventh of what packing takes.

        Examples
        --------
        >>> import exactrnn as xr
        >>> layer = xr.LSTM(3, 4, seed=1)
        >>> for name, weight in layer.parameters().items():
        ...     if name.startswith("bias"):
        ...         weight[...] = 0
        >>> float(layer.bias_ih_l0.sum())
        0.0
        """
        return {
            prefix + name: array
            for prefix, store in self._stores().items()
            for name, array in store.give(writable).items()
        }

    def editing(self) -> AbstractContextManager[Leases]:
        """Lend the weights for a block in which anything may write to them.

        Returns
        -------
        context manager of a mapping of str to ndarray
            The weights by name; an item that is set is copied in. Calls within the
            block compute with what was written so far. An array that is held after the
            block still writes, and costs what `parameters` says.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.LSTM(3, 4, seed=1)
        >>> with layer.editing() as weights:
        ...     np.copyto(weights["bias_ih_l0"], 1)
        """
        lent = self.parameters(writable=True)
        return editing(lent, lambda name, value: self._assign({name: value}))

    def _stores(self) -> dict[str, ParameterStore]:
        """Return what owns the weights, by what goes before their names."""
        return {"": self._store}

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the weights.

        Returns
        -------
        dict of str to ndarray
            Names and shapes as in `torch.nn`.
        """
        copies = {
            prefix + name: array
            for prefix, store in self._stores().items()
            for name, array in store.copies().items()
        }
        return marked(copies)

    def load_state_dict(
        self,
        state_dict: Mapping[str, ArrayLike],
        strict: bool = True,
        *,
        prefix: str = "",
        dtype: DTypeLike | None = None,
    ) -> IncompatibleKeys:
        """Copy weights into the layer.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Names and shapes as in `state_dict`, of the layer's dtype; torch tensors
            are taken.
        strict : bool
            Whether every name must be there and no other; False passes them over.
        prefix : str
            What stands before the layer's own names, as `"rnn."` in the state_dict of a
            model that has it as `rnn`; other names are another layer's, and are left.
        dtype : {"float32", "float64"}, optional
            Asks for rounding: the layer's own dtype. Weights of float16, bfloat16,
            float32 and float64 are then taken, rounded to the nearest number of it.
            Without it no weight of another dtype is.

        Returns
        -------
        IncompatibleKeys
            The names passed over, as in torch, without the prefix.

        Raises
        ------
        ValueError
            If a shape is wrong, or with `strict` a name, or if a number is too large
            for the dtype that it is rounded to; nothing is changed then. The message
            has all that is wrong, a screenful at most.
        TypeError
            If a dtype is not the layer's; nothing is changed then.

        Examples
        --------
        >>> import exactrnn as xr
        >>> exact = xr.GRU(3, 4, dtype="float64", seed=1)
        >>> layer = xr.GRU(3, 4)
        >>> layer.load_state_dict(exact.state_dict(), dtype=layer.dtype)
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        """
        names = self._spec.weight_shapes
        given = naming.take_named("state_dict", state_dict, prefix)
        if dtype is not None:
            check_target(dtype, self.dtype)
        problems = naming.Problems()
        with problems.noting():
            if strict:
                naming.check_weight_names("state_dict", given, tuple(names))
        missing = [name for name in names if name not in given]
        unexpected = [name for name in given if name not in names]
        own: dict[str, object] = {}
        for name in (name for name in given if name in names):
            with problems.noting():
                own[name] = (
                    given[name]
                    if dtype is None
                    else round_weight(name, given[name], self.dtype, names[name])
                )
        self._assign(own, problems)
        return IncompatibleKeys(missing, unexpected)

    def _assign(
        self, values: Mapping[str, object], problems: naming.Problems | None = None
    ) -> None:
        """Copy checked values into the weights, all of them or none."""
        problems = problems or naming.Problems()
        taken: dict[str, Array] = {}
        for name, value in values.items():
            with problems.noting():
                taken[name] = self._spec.take_weight(name, value)
        problems.raise_all()
        stores = self._stores()
        with edit_together(stores.values()):
            for prefix, store in stores.items():
                own = [name for name in store.names if prefix + name in taken]
                store.assign({name: taken[prefix + name] for name in own})

    # Copies of the whole

    def __reduce__(self) -> tuple[Any, ...]:
        # A whole module first, then what the user has added, which may refer to it.
        parts = (self.arguments(), self._store.copies(), self._generator_state())
        return _restore, (type(self), *parts), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes that the library does not know."""
        own = {*PARTS, *self._options}
        return {n: v for n, v in self.__dict__.items() if n not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _generator_state(self) -> dict[str, Any] | None:
        """Return where the random numbers stand; None if no call draws any."""
        return None

    def _set_generator_state(self, state: Mapping[str, Any]) -> None:
        """Let random numbers go on from there, if any call draws some."""


def _restore(
    kind: type[Module],
    arguments: Mapping[str, object],
    weights: Mapping[str, Array],
    generator_state: Mapping[str, Any] | None,
) -> Module:
    """Make a module for a copy or a pickle, without what the user has added."""
    given = Arguments(arguments, kind.record)
    spec = kind._configure(given)
    taken = {name: spec.take_weight(name, weights[name]) for name in weights}
    generator = random.make_generator(0)
    if generator_state is not None:
        generator.state = cast(Any, generator_state)
    module = kind.__new__(kind)
    module._assemble(spec, given, taken, generator)
    return module


class RecurrentSpec(Spec, SequenceSpec, Protocol):
    """What a recurrent layer or cell is, without its weights."""


class RecurrentModule(SequenceFacts, Module, Generic[S]):
    """What recurrent layers and cells add: the stack that runs them, and dropout."""

    cell: str
    activations: tuple[Activation, ...]
    input_size: int
    hidden_size: int
    output_size: int
    num_layers: int
    bias: bool
    bidirectional: bool
    reverse: bool
    batch_first: bool
    dropout: float
    clip: float | None
    init: Init
    forget_bias: float | None

    _spec: RecurrentSpec
    _stack: Runner

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        warn_unused(self._stack.spec)

    def _repr_html_(self) -> str:
        return describe_in_html(self, draw_stack(self))

    def _assemble(
        self,
        spec: Config,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        """Become a layer of these parts."""
        stack: Runner = Stack(spec, weights, generator)
        # An argument may leave open what an attribute says: output_size=None.
        options = {**given, **{name: getattr(spec, name) for name in OPTIONS}}
        self._become(spec, options, dict(given), _stack=stack, _store=stack.store)

    def _generator_state(self) -> dict[str, Any]:
        return self._stack.masks.generator_state()

    def _set_generator_state(self, state: Mapping[str, Any]) -> None:
        self._stack.masks.set_generator_state(state)
