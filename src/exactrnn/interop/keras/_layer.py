"""A recurrent layer of Keras: called as there, computed by layers of this library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn.interop.keras._cells import KINDS
from exactrnn.interop.keras._nodes import Node, take_weights
from exactrnn.interop.keras._options import check_known, read_flag
from exactrnn.interop.keras._runs import (
    NAMES,
    AnyRun,
    Direction,
    Run,
    make_run,
    read_direction,
)

OF_LAYER = frozenset(
    {
        *("return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
        *("zero_output_for_mask", "time_major"),
    }
)
"""Options of a recurrent layer; `unroll` changes no number."""
MERGES = ("concat", "sum", "mul", "ave", None)
RECURRENT = frozenset({*KINDS, "RNN", "Bidirectional"})
"""Classes that `KerasLayer` is made of."""


@dataclass(frozen=True)
class Way:
    """How a layer gives what its cells have computed."""

    return_sequences: bool
    return_state: bool
    stateful: bool
    zero_output: bool
    backwards: tuple[bool, ...]
    merge: str | None = None


class KerasLayer:
    """A recurrent layer of a Keras model, called as in Keras; `from_keras` makes it.

    Its outputs have Keras's order and form: the last output alone, directions merged,
    a `go_backwards` layer's from the last step to the first. `layer` is the layer of
    this library that computes them, to stream, save or train. Dropout does not act: a
    call is inference. `pickle` and `copy` take it whole.

    Attributes
    ----------
    name : str
        Its name in the model.
    layers : tuple
        The layers that compute it; several where cells of `RNN([...])` differ.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> from exactrnn.keras import from_keras
    >>> class GRU:  # stands for a layer of Keras here
    ...     name, __module__ = "gru", "keras.layers"
    ...     def get_config(self):
    ...         return {"name": "gru", "units": 4}
    ...     def get_weights(self):
    ...         return [np.ones(s, "float32") for s in ((3, 12), (4, 12), (2, 12))]
    >>> layer = from_keras(GRU())
    >>> layer, layer(np.ones((2, 5, 3), "float32")).shape
    (<KerasLayer 'gru': GRU(3, 4, batch_first=True)>, (2, 4))
    """

    def __init__(self, name: str, run: AnyRun, way: Way) -> None:
        self.name = name
        self.layers = run.layers
        self._run, self._way = run, way
        self._state: list[Array] | None = None

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.layers))
        return f"<KerasLayer {self.name!r}: {inner}>"

    @property
    def layer(self) -> Any:
        """The layer of this library that computes all.

        Raises
        ------
        ValueError
            If there are several: `layers` has them.
        """
        if len(self.layers) != 1:
            got = ", ".join(map(repr, self.layers))
            raise ValueError(f"layer: expected one layer, got several: {got}")
        return self.layers[0]

    def __call__(
        self, x: ArrayLike, initial_state: Any = None, mask: object = None
    ) -> Any:
        """Run over a sequence, as Keras's layer does.

        Parameters
        ----------
        x : array_like
            Input [B, T, I], of the layer's dtype.
        initial_state : array_like or sequence of array_like, optional
            As in Keras: h, or h and c, [B, H] each, for each cell, and for both
            directions one after the other. By default zeros, or with `stateful` what
            the call before has left.
        mask : array_like of bool, optional
            [B, T], which steps there are. A step that is False leaves the state as it
            is; its output is the one before it, or zero with `zero_output_for_mask`
            and in a `Bidirectional` that returns sequences.

        Returns
        -------
        ndarray or tuple
            [B, H], or [B, T, H] with `return_sequences`, 2H wide where directions are
            concatenated; with `return_state` the final states follow, and with
            `merge_mode=None` both directions' outputs stand first.

        Raises
        ------
        ValueError, TypeError
            If a shape or a dtype is wrong, or `x` has no step and a last one is asked.
        """
        given = _checks.as_array("x", x, self.layers[0].dtype)
        width = self._run.input_size
        if given.ndim != 3 or given.shape[2] != width:
            raise _checks.shape_error("x", f"B, T, I={width}", given.shape)
        B, T, _ = given.shape
        if T == 0 and not self._way.return_sequences:
            raise ValueError("x: expected [B, T, I] with T >= 1, got T=0")
        present = None if mask is None else _as_mask(mask, B, T)
        state = self._begin(initial_state, B)
        runs = self._run.run(given, state, present)
        states = [part for _, final in runs for part in final]
        if self._way.stateful:
            self._state = states
        return self._give(runs, states, present)

    def reset_state(self) -> None:
        """Let a `stateful` layer start anew, from zeros."""
        self._state = None

    def _begin(self, initial_state: Any, rows: int) -> list[Array] | None:
        """Return the states that a call begins with, None for zeros."""
        if initial_state is None:
            if self._state is not None and len(self._state[0]) != rows:
                raise ValueError(
                    f"x: expected B={len(self._state[0])}, of the state that is kept "
                    f"(reset_state drops it), got B={rows}"
                )
            return self._state
        given, sizes = _flatten(initial_state), self._state_sizes()
        if len(given) != len(sizes):
            raise ValueError(
                f"initial_state: expected {len(sizes)} arrays, got {len(given)}"
            )
        return [
            _state_part(f"initial_state[{k}]", part, self.layers[0].dtype, (rows, size))
            for k, (part, size) in enumerate(zip(given, sizes, strict=True))
        ]

    def _state_sizes(self) -> list[int]:
        """Return the width of each array of Keras's list of states."""
        return [
            layer.hidden_size
            for layer in self.layers
            for _ in range(layer.num_layers * layer.num_directions)
            for _ in layer.state_names
        ]

    def _give(
        self, runs: Sequence[Run], states: list[Array], mask: NDArray[Any] | None
    ) -> Any:
        """Return what Keras's layer gives."""
        way, two = self._way, len(runs) == 2
        outputs = [
            _in_order(y, mask, way, backwards)
            for (y, _), backwards in zip(runs, way.backwards, strict=True)
        ]
        if two and way.return_sequences:
            outputs[1] = outputs[1][:, ::-1]
        output = _merge(outputs, way.merge) if two else outputs[0]
        if not way.return_state:
            return output
        return (*(output if isinstance(output, tuple) else (output,)), *states)


def _as_mask(mask: object, B: int, T: int) -> NDArray[Any]:
    """Return a mask [B, T] of bool."""
    given = _checks.as_any_array("mask", mask)
    if given.dtype != bool:
        raise TypeError(f"mask: expected bool, got {_checks.describe(given)}")
    _checks.check_shape("mask", given, B=B, T=T)
    return np.array(given)


def _flatten(state: Any) -> list[Any]:
    """Return the arrays in lists of lists."""
    if not isinstance(state, list | tuple):
        return [state]
    return [part for item in state for part in _flatten(item)]


def _state_part(name: str, value: object, dtype: Any, shape: tuple[int, int]) -> Array:
    """Return an array of a state, [B, H]."""
    given = _checks.as_array(name, value, dtype)
    B, H = shape
    _checks.check_shape(name, given, B=B, H=H)
    return given


def _in_order(y: Array, mask: NDArray[Any] | None, way: Way, backwards: bool) -> Array:
    """Return a direction's output in the order in which its steps are taken."""
    if backwards:
        y = y[:, ::-1]
        mask = None if mask is None else mask[:, ::-1]
    if mask is not None and not way.zero_output:
        y = _held(y, mask)
    return y if way.return_sequences else y[:, -1]


def _held(y: Array, mask: NDArray[Any]) -> Array:
    """Return outputs [B, T, H], that of the step before where one is masked."""
    steps = np.where(mask, np.arange(mask.shape[1]), -1)
    last = np.maximum.accumulate(steps, axis=1)[..., None]
    held = np.take_along_axis(y, np.maximum(last, 0), axis=1)
    return np.where(last < 0, y.dtype.type(0), held)


def _merge(outputs: Sequence[Array], merge: str | None) -> Any:
    """Return the outputs of both directions as one, or both."""
    ahead, back = outputs
    if merge == "concat":
        return np.concatenate([ahead, back], axis=-1)
    if merge == "sum":
        return ahead + back
    if merge == "mul":
        return ahead * back
    if merge == "ave":
        return (ahead + back) / 2
    return ahead, back


# From a node


def make_layer(node: Node) -> KerasLayer:
    """Return the layer that a node describes, with its weights."""
    if node.kind not in RECURRENT:
        raise node.refused("class", node.kind, f"a recurrent layer, one of {NAMES}")
    if node.kind == "Bidirectional":
        directions, way = _read_both(node)
    else:
        directions, way = [_read_one(node)], _read_way(node)
    slots = [slot for direction in directions for slot in direction.slots()]
    arrays = take_weights(node, slots)
    dtypes = {cell.dtype for direction in directions for cell in direction.cells}
    if len(dtypes) > 1:
        raise node.refused("dtype", sorted(dtypes), "one dtype for all cells")
    return KerasLayer(node.name, make_run(directions, arrays), way)


def _read_one(node: Node, prefix: str = "") -> Direction:
    """Return the direction of a layer, all of whose options are known then."""
    if node.kind == "RNN":
        check_known(node, OF_LAYER | {"cell"})
    return read_direction(node, OF_LAYER, prefix)


def _read_way(node: Node) -> Way:
    """Return how a layer gives its outputs."""
    if read_flag(node, "time_major"):
        raise node.refused("time_major", True, "False")
    return Way(
        read_flag(node, "return_sequences"),
        read_flag(node, "return_state"),
        read_flag(node, "stateful"),
        read_flag(node, "zero_output_for_mask"),
        (read_flag(node, "go_backwards"),),
    )


def _read_both(node: Node) -> tuple[list[Direction], Way]:
    """Return the directions of a Bidirectional, and how it gives their outputs."""
    check_known(node, frozenset({"layer", "backward_layer", "merge_mode"}))
    merge = node.config.get("merge_mode", "concat")
    if merge not in MERGES:
        raise node.refused("merge_mode", merge, f"one of {MERGES}")
    ahead = node.inner(node.config.get("layer"), "layer")
    back = _backward_layer(node, ahead)
    for option, inner in (("layer", ahead), ("backward_layer", back)):
        if inner.kind not in RECURRENT - {"Bidirectional"}:
            raise node.refused(
                option, inner.kind, "one of " + ", ".join([*KINDS, "RNN"])
            )
    ways = [_read_way(inner) for inner in (ahead, back)]
    backwards = ways[0].backwards + ways[1].backwards
    if len({*backwards}) != 2:
        raise node.refused("backward_layer", backwards, "two values of go_backwards")
    first = ways[0]
    if _shared(ways[1]) != _shared(first):
        raise node.refused(
            "backward_layer", _shared(ways[1]), f"as layer: {_shared(first)}"
        )
    zero = first.return_sequences  # what Keras sets, whatever the options say
    way = Way(*_shared(first), zero, backwards, merge)
    directions = [
        _read_one(ahead, "forward_layer/"),
        _read_one(back, "backward_layer/"),
    ]
    return directions, way


def _shared(way: Way) -> tuple[bool, bool, bool]:
    """Return what both layers of a Bidirectional must have alike."""
    return way.return_sequences, way.return_state, way.stateful


def _backward_layer(node: Node, ahead: Node) -> Node:
    """Return the second layer of a Bidirectional: a copy of the first by default."""
    given = node.config.get("backward_layer")
    if given is not None:
        return node.inner(given, "backward_layer")
    turned = {**ahead.config, "go_backwards": not ahead.config.get("go_backwards")}
    return Node(ahead.kind, turned, ahead.path, ahead.weights, (), ahead.keras2)
