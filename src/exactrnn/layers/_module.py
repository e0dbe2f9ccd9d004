"""What layers and single cells share: options, weights by name, copies of the whole.

The classes that a user gets back from their calls, `Cache` and `Gradients`, are here
too. What computes is in `_run/stack.py`.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from types import FrameType
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike, FloatType, Lengths, naming
from exactrnn._checks.limits import list_names, shorten
from exactrnn._numeric import random
from exactrnn._run import episodes
from exactrnn._run.stack import Run, Stack
from exactrnn._spec.activations import Activation
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.record import Record
from exactrnn._spec.recurrent import Config
from exactrnn._spec.rules import Init
from exactrnn._system.mode import ieee_mode
from exactrnn._weights import first
from exactrnn._weights.store import ParameterStore, marked

OPTIONS = (
    *("cell", "activations", "input_size", "hidden_size", "output_size", "bias"),
    *("dtype", "clip", "num_layers", "bidirectional", "reverse", "batch_first"),
    *("dropout", "init", "forget_bias"),
)
"""Options of every layer that can be read as its attributes."""
NOT_ARGUMENTS = ("self", "__class__", "seed")
"""Local names of a constructor that are none of the arguments a layer remembers."""

S = TypeVar("S", bound=Array | tuple[NDArray[Any], ...])
"""A state: `h` for cells with one, `(h, c)` and so on for cells with more."""
N = TypeVar("N", bound=np.generic)
D = TypeVar("D", bound=Array | tuple[Array, ...])
"""The gradient of a state: of the same form, but for parts that have no gradient."""


class Gradients(NamedTuple, Generic[D]):
    """What `backward` returns.

    Attributes
    ----------
    x : ndarray
        Gradient of the input, in the input's shape.
    state : ndarray or tuple of ndarrays
        Gradient of the initial state, in its shape; of a clockwork layer's that of `h`
        alone.
    weights : dict of str to ndarray
        Gradient of each weight by name.
    """

    x: Array
    state: D
    weights: dict[str, Array]


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


class Cache:
    """What `forward` keeps for `backward`; it stays valid until the weights change.

    It owns a copy of the input and of the states: changing the caller's arrays after
    `forward` cannot change a gradient. `backward` leaves it as it is and may be called
    again. A deep copy or a pickle takes its layer along: it belongs to that copy of the
    layer, which is the one to call `backward` of.

    Attributes
    ----------
    gates : dict of str to ndarray
        The gate activations, if `forward` was called with `gates=True`.
    states : dict of str to ndarray
        The states after each step.
    lengths : ndarray or None
        The lengths that `forward` was given, as such or as a mask of first steps.
    masks : tuple of ndarray
        The dropout masks [T, B, D*O] between the layers, 0 or 1/(1-p); empty without
        dropout.
    """

    __slots__ = ("_batched", "_gates", "_owner", "_run")

    def __init__(self, owner: Module[Any], run: Run, batched: bool, gates: bool):
        self._owner = owner
        self._run = run
        self._batched = batched
        self._gates = gates

    def __reduce__(self) -> tuple[Any, ...]:
        described = episodes.describe_run(self._owner._stack, self._run)
        flags = (self._batched, self._gates)
        return restore_cache, (type(self), self._owner, described, *flags)

    def __copy__(self) -> Cache:
        return type(self)(self._owner, self._run, self._batched, self._gates)

    def __repr__(self) -> str:
        steps, rows = self._run.shape
        return f"<cache of {self._owner!r}, T={steps}, B={rows}>"

    @property
    def masks(self) -> tuple[Array, ...]:
        """The dropout masks between the layers, time-major, read-only copies."""
        return tuple(_read_only(mask.copy()) for mask in self._run.masks)

    @property
    def gates(self) -> dict[str, Array]:
        """The gate activations as read-only arrays, by name with the weights' suffix.

        Each is [T, B, H], [B, T, H] with `batch_first`, [T, H] unbatched. Values past
        a row's length, or of masked steps, have no meaning.

        Raises
        ------
        ValueError
            If `forward` was called without `gates=True`.
        """
        if not self._gates:
            raise ValueError(
                "gates: expected forward(..., gates=True), got gates=False"
            )
        return self._shown(episodes.shown(self._owner._stack.gates, self._run))

    @property
    def states(self) -> dict[str, Array]:
        """The states after each step as read-only arrays, by name: `h_l0`, `c_l0`, ...

        Shaped as the gates, but `h` is as wide as the output. In the reverse direction
        the one at step t is that after reading x_t, so the last one is at t = 0. Values
        past a row's length, or of masked steps, have no meaning. A clock is not among
        them.
        """
        return self._shown(episodes.shown(self._owner._stack.states, self._run))

    @property
    def lengths(self) -> Lengths | None:
        """The lengths [B] that `forward` was given, read-only, or None.

        A mask of the first steps of each row is given as lengths.
        """
        lengths = self._run.lengths
        return None if lengths is None else _read_only(lengths.copy())

    def _shown(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return time-major arrays in the caller's layout, read-only."""
        return {
            name: _read_only(self._owner._to_user(array, self._batched))
            for name, array in arrays.items()
        }


def restore_cache(
    kind: type[Any], owner: Any, described: Mapping[str, Any], *flags: bool
) -> Any:
    """Make a cache for a copy or a pickle, of the copy of its owner."""
    return kind(owner, episodes.restore_run(owner._stack, described), *flags)


def _read_only(array: NDArray[N]) -> NDArray[N]:
    view = array.view()
    view.flags.writeable = False
    return view


class Module(Generic[S]):
    """Base of layers and cells: options as read-only attributes, weights by name.

    `layer.weight_hh_l0` gives an array that views the weight; writing into it changes
    the layer. `layer.weight_hh_l0 = array` copies the array's values.

    A class of the library has a `record`, and its constructor is its signature: the
    body hands on all arguments, `super().__init__(locals())`.

    Parameters
    ----------
    arguments : mapping of str to object
        The local names of the constructor: itself, the seed and all other arguments.
    """

    record: ClassVar[Record]

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
    dtype: FloatType
    clip: float | None
    init: Init
    forget_bias: float | None

    _stack: Stack
    _options: Mapping[str, object]
    _arguments: Mapping[str, object]

    def __init__(self, arguments: Mapping[str, object]) -> None:
        named = {n: v for n, v in arguments.items() if n not in NOT_ARGUMENTS}
        seed = _checks.check_seed(arguments["seed"])
        own = random.Seed(seed, random.kind_of(type(self)))
        given = Arguments(named, self.record)
        with ieee_mode():
            config = self._configure(given)
            _warn_unused_dropout(config)
            weights = first.draw_weights(config, own)
            self._assemble(config, given, weights, own.stream("dropout"))

    @classmethod
    def _configure(cls, given: Arguments) -> Any:
        """Return what a layer with these arguments is, without its weights."""
        raise NotImplementedError

    @classmethod
    def _configured(cls, arguments: Mapping[str, object]) -> Any:
        """Return what a layer with these arguments is; those missing have defaults."""
        return cls._configure(Arguments({**cls._defaults(), **arguments}, cls.record))

    @classmethod
    @ieee_mode()
    def restore(
        cls,
        arguments: Mapping[str, object],
        weights: Mapping[str, object],
        generator_state: Mapping[str, Any] | None = None,
    ) -> Self:
        """Build a layer from its parts, drawing nothing; all is checked as given.

        An argument that is missing has its default: a file may be older than it.
        """
        known = [name for name in inspect.signature(cls).parameters if name != "seed"]
        given = {**cls._defaults(), **arguments}
        naming.check_names("arguments", given, known)
        taken_arguments = Arguments(given, cls.record)
        config = cls._configure(taken_arguments)
        weights = naming.take_named("weights", weights)
        if len(weights) != config.num_arrays:  # before they are listed
            expected = f"{config.num_arrays} arrays, for these arguments"
            raise ValueError(f"weights: expected {expected}, got {len(weights)}")
        naming.check_names("weights", weights, config.weight_shapes)
        shapes = config.weight_shapes
        taken = {name: config.take_weight(name, weights[name]) for name in shapes}
        generator = random.make_generator(None)
        if generator_state is not None:
            generator.state = cast(Any, generator_state)
        module = cls.__new__(cls)
        module._assemble(config, taken_arguments, taken, generator)
        return module

    @classmethod
    def _defaults(cls) -> dict[str, object]:
        """Return the defaults of the constructor's arguments, but for the seed."""
        parameters = inspect.signature(cls).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.default is not p.empty and p.name != "seed"
        }

    def _assemble(
        self,
        config: Config,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        """Become a layer of these parts."""
        # An argument may leave open what an attribute says: output_size=None.
        options = {**given, **{name: getattr(config, name) for name in OPTIONS}}
        self.__dict__.update(options)
        self.__dict__.update(
            _stack=Stack(config, weights, generator),
            _options=options,
            _arguments=dict(given),
        )

    # Weights as attributes; options cannot be set

    def __getattr__(self, name: str) -> Array:
        """Return an array that views the weight of this name."""
        # Through __dict__: an object under construction has no stack yet.
        stack: Stack | None = self.__dict__.get("_stack")
        if stack is None or name not in stack.store:
            kind = type(self).__name__
            raise AttributeError(f"{kind!r} object has no attribute {name!r}")
        return stack.store.lease(name)

    def __setattr__(self, name: str, value: object) -> None:
        """Copy `value` into the weight of this name."""
        stack: Stack | None = self.__dict__.get("_stack")
        if stack is None:
            super().__setattr__(name, value)
        elif name in stack.store:
            self._assign({name: value})
        elif name in self._options:
            kind = type(self).__name__
            raise AttributeError(f"{name} cannot change: make a new {kind}")
        elif name.startswith(("weight_", "bias_")):
            names = list_names(self._stack.store.names)
            raise AttributeError(f"{shorten(name)}: expected one of {names}")
        else:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._stack.store.names})

    def __repr__(self) -> str:
        arguments, parts = self.arguments(), []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = arguments.get(name, parameter.default)
            if value is parameter.default:
                continue  # also what is needed but no argument of ours
            if parameter.default is inspect.Parameter.empty:
                keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
                parts.append(f"{name}={value!r}" if keyword else str(value))
            elif value != parameter.default:
                parts.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

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
        return self._stack.config.num_parameters

    def parameters(self) -> dict[str, Array]:
        """Return the weights themselves: writing into the arrays changes the layer.

        Returns
        -------
        dict of str to ndarray
            A view of each weight by name, in the order of `state_dict`. While such
            an array is held anywhere, every call packs the weights anew to see whether
            they have changed: let go of it when done.
        """
        return {name: self._stack.store.lease(name) for name in self._stack.store.names}

    def _stores(self) -> dict[str, ParameterStore]:
        """Return what owns the weights that `parameters` hands out."""
        return {"": self._stack.store}

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the weights.

        Returns
        -------
        dict of str to ndarray
            Names and shapes as in `torch.nn`.
        """
        return marked(self._stack.store.copies())

    def load_state_dict(
        self,
        state_dict: Mapping[str, ArrayLike],
        strict: bool = True,
        *,
        prefix: str = "",
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

        Returns
        -------
        IncompatibleKeys
            The names passed over, as in torch, without the prefix.

        Raises
        ------
        ValueError
            If a shape is wrong, or with `strict` a name; nothing is changed then.
        TypeError
            If a dtype is not the layer's; nothing is changed then.
        """
        store = self._stack.store
        given = naming.take_named("state_dict", state_dict, prefix)
        if strict:
            naming.check_weight_names("state_dict", given, store.names)
        missing = [name for name in store.names if name not in given]
        unexpected = [name for name in given if name not in store]
        self._assign({n: v for n, v in given.items() if n in store})
        return IncompatibleKeys(missing, unexpected)

    def _assign(self, values: Mapping[str, object]) -> None:
        take = self._stack.config.take_weight
        taken = {name: take(name, value) for name, value in values.items()}
        self._stack.store.assign(taken)

    # Copies of the whole

    def __reduce__(self) -> tuple[Any, ...]:
        # A whole layer first, then what the user has added, which may refer to it.
        parts = (self.arguments(), self._stack.store.copies())
        generator = self._stack.masks.generator_state()
        return _restore, (type(self), *parts, generator), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes that the library does not know."""
        own = {"_stack", "_options", "_arguments", *self._options}
        return {n: v for n, v in self.__dict__.items() if n not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _to_user(self, array: Array, batched: bool) -> Array:
        """Return a time-major array in the layout that the caller uses."""
        raise NotImplementedError


def _restore(
    kind: type[Module[S]],
    arguments: Mapping[str, object],
    weights: Mapping[str, Array],
    generator_state: Mapping[str, Any],
) -> Module[S]:
    """Make a layer for a copy or a pickle, without what the user has added."""
    given = Arguments(arguments, kind.record)
    config = kind._configure(given)
    taken = {name: config.take_weight(name, weights[name]) for name in weights}
    generator = random.make_generator(0)
    generator.state = cast(Any, generator_state)
    module = kind.__new__(kind)
    module._assemble(config, given, taken, generator)
    return module


def _warn_unused_dropout(config: Any) -> None:
    """Warn of dropout in a layer that has no place for it, in the words of torch."""
    share = getattr(config, "dropout", 0.0)
    if share and config.num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so "
            "non-zero dropout expects num_layers greater than 1, but got "
            f"dropout={share} and num_layers=1",
            stacklevel=_caller_level(),
        )


def _caller_level() -> int:
    """Return the `stacklevel` of the first caller that is not of this package."""
    package, level = __name__.partition(".")[0], 1
    frame = sys._getframe(1)
    while frame.f_back and _package_of(frame) == package:
        frame, level = frame.f_back, level + 1
    return level


def _package_of(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]
