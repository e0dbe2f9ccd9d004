"""What calls of layers give back: caches, which know their layer, and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, Lengths
from exactrnn._run.layout import Layout
from exactrnn._run.protocol import Run, SequenceRun
from exactrnn.layers._module import Module, RecurrentModule

D = TypeVar("D", bound=Array | tuple[Array, ...])
"""The gradient of a state: of the same form, but for parts that have no gradient."""
M = TypeVar("M", bound=Module)
N = TypeVar("N", bound=np.generic)
R = TypeVar("R", bound=Run)


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


class KeptCache(Generic[M, R]):
    """What all caches do: they belong to a layer, and are copied and pickled with it.

    Parameters
    ----------
    owner : Module
        The layer whose `forward` makes the cache.
    run : Run
        What its call has left behind.
    """

    __slots__ = ("_owner", "_run")

    def __init__(self, owner: M, run: R) -> None:
        self._owner = owner
        self._run = run

    @property
    def layer(self) -> M:
        """The layer or cell whose `forward` made the cache, which alone takes it.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.GRU(3, 4, seed=1)
        >>> layer.forward(np.ones((5, 3), np.float32))[2].layer is layer
        True
        """
        return self._owner

    def _shown_as(self) -> tuple[Any, ...]:
        """Return the constructor's other arguments."""
        return ()

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (type(self), self._owner, *self._run.reduce())
        return restore_cache, (*parts, *self._shown_as())

    def __copy__(self) -> Self:
        return type(self)(self._owner, self._run, *self._shown_as())


def restore_cache(
    kind: type[Any],
    owner: Any,
    restore: Callable[..., Run],
    described: Mapping[str, Any],
    *shown_as: Any,
) -> Any:
    """Make a cache for a copy or a pickle, of the copy of its owner."""
    return kind(owner, restore(owner._stack, described), *shown_as)


def read_only(array: NDArray[N]) -> NDArray[N]:
    """Return a view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


class Cache(KeptCache[RecurrentModule[Any], SequenceRun]):
    """What `forward` keeps for `backward`; it stays valid until the weights change.

    It owns a copy of the input and of the states: changing the caller's arrays after
    `forward` cannot change a gradient. `backward` leaves it as it is and may be called
    again. What `step` keeps for `step_back` is one too, without the axis of steps. A
    deep copy or a pickle takes its layer along: it belongs to that copy of the layer,
    which is the one to call `backward` of.

    Attributes
    ----------
    layer : RNN, LSTM, ..., RNNCell, LSTMCell or GRUCell
        The layer or cell that it is of.
    x : ndarray
        The input.
    gates : dict of str to ndarray
        The gate activations, if `forward` was called with `gates=True`.
    states : dict of str to ndarray
        The states after each step.
    lengths : ndarray or None
        The lengths that `forward` was given, as such or as a mask of first steps.
    masks : tuple of ndarray
        The dropout masks [T, B, D*O] between the layers, 0 or 1/(1-p); empty without
        dropout.
    state_masks : dict of str to ndarray
        The masks of recurrent dropout and zoneout.
    """

    __slots__ = ("_gates", "_layout")

    def __init__(
        self,
        owner: RecurrentModule[Any],
        run: SequenceRun,
        layout: Layout,
        gates: bool,
    ) -> None:
        super().__init__(owner, run)
        self._layout = layout
        self._gates = gates

    def _shown_as(self) -> tuple[Any, ...]:
        return self._layout, self._gates

    def __repr__(self) -> str:
        steps, rows = self._run.shape
        return f"<cache of {self._owner!r}, T={steps}, B={rows}>"

    @property
    def x(self) -> Array:
        """The input that was read, as `forward` was given it, a read-only copy.

        With a mask or resets zeros stand where no step was read.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.GRU(3, 4, batch_first=True, seed=1)
        >>> cache = layer.forward(np.ones((2, 5, 3), np.float32))[2]
        >>> cache.x.shape, cache.x.flags.writeable
        ((2, 5, 3), False)
        """
        return read_only(self._layout.outward(self._run.inputs[0]).copy())

    @property
    def masks(self) -> tuple[Array, ...]:
        """The dropout masks between the layers, time-major, read-only copies."""
        return tuple(read_only(mask.copy()) for mask in self._run.masks)

    @property
    def state_masks(self) -> dict[str, Array]:
        """The masks of recurrent dropout and zoneout, read-only, by name.

        `recurrent_l0` [B, H] are the factors 0 or 1/(1-p) of what R multiplies;
        `h_l0`, `c_l0`, ... [T, B, H] are True where a unit of that state stayed as it
        was: time-major, as `masks`. Empty without both.
        """
        masks = self._run.state_masks
        return {name: read_only(mask.copy()) for name, mask in masks.items()}

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
        return self._shown(self._run.gates())

    @property
    def states(self) -> dict[str, Array]:
        """The states after each step as read-only arrays, by name: `h_l0`, `c_l0`, ...

        Shaped as the gates, but `h` is as wide as the output. In the reverse direction
        the one at step t is that after reading x_t, so the last one is at t = 0. Values
        past a row's length, or of masked steps, have no meaning. A clock is not among
        them.
        """
        return self._shown(self._run.states())

    @property
    def lengths(self) -> Lengths | None:
        """The lengths [B] that `forward` was given, read-only, or None.

        A mask of the first steps of each row is given as lengths.
        """
        lengths = self._run.lengths
        return None if lengths is None else read_only(lengths.copy())

    def _shown(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return time-major arrays in the caller's layout, read-only."""
        return {
            name: read_only(self._layout.outward(array))
            for name, array in arrays.items()
        }
