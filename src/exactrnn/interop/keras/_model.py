"""A chain of Keras layers as one callable, and as a stream.

What stands around recurrent layers in such chains: Embedding, Masking, Dense, alone or
in TimeDistributed, Activation, and what does nothing in inference. A step of the chain
takes an array and a mask and gives both. Activations of readouts are the library's
own, the frequent ones by its kernels, the others by their twins in NumPy, so that a
chain has its bits everywhere, as its layers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn import _checks
from exactrnn._checks import Array
from exactrnn._checks.limits import list_names
from exactrnn._numeric.random import elementary
from exactrnn._spec.activations import Activation
from exactrnn.interop.keras._chain import links_of
from exactrnn.interop.keras._layer import RECURRENT, KerasLayer, make_layer
from exactrnn.interop.keras._nodes import (
    FREE,
    Node,
    RefusedError,
    Slot,
    all_nodes,
    take_weights,
)
from exactrnn.interop.keras._options import (
    check_known,
    read_activation,
    read_dtype,
    read_flag,
    read_size,
)
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.reference.activations import unlimited

Mask: TypeAlias = NDArray[np.bool_] | None

IDLE = frozenset(
    {
        *("InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout"),
        *("GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity"),
    }
)
"""Layers that hand on what they get, in inference."""


KERNELS = frozenset({"sigmoid", "softplus", "tanh"})
"""Activations without parameters that kernels compute of any array."""


class Step(Protocol):
    """A layer of a chain."""

    def run(self, x: Any, mask: Mask) -> tuple[Any, Mask]:
        """Return the output for a whole sequence, and which steps there are."""

    def stream(self, batch_size: int) -> Callable[[Any], Any]:
        """Return what takes one time step after the other."""


class KerasModel:
    """A chain of Keras layers with recurrent ones; `from_keras` makes it.

    A call is Keras's `model.predict`: inference, dropout does nothing.

    Attributes
    ----------
    layers : dict of str to KerasLayer
        The recurrent layers by name.

    Examples
    --------
    ``from_keras("model.keras")(x)`` is what ``model.predict(x)`` was; see
    `docs/keras.md`.
    """

    def __init__(self, steps: Sequence[Step], layers: dict[str, KerasLayer]) -> None:
        self._steps = tuple(steps)
        self.layers = layers

    def __repr__(self) -> str:
        return f"<KerasModel of {len(self._steps)} steps: {list_names(self.layers)}>"

    def __call__(self, x: Any, mask: object = None) -> Any:
        """Return the output of the last layer.

        Parameters
        ----------
        x : array_like
            What the first layer takes: [B, T, I] of the model's dtype, or integers
            [B, T] for an embedding.
        mask : array_like of bool, optional
            [B, T], which steps there are; a Masking or Embedding layer makes its own.

        Returns
        -------
        ndarray
            What the last layer gives.

        Raises
        ------
        ValueError, TypeError
            As the layers raise.
        """
        present: Mask = None if mask is None else np.asarray(mask)
        for step in self._steps:
            x, present = step.run(x, present)
        return x

    def stream(self, batch_size: int = 1) -> KerasStream:
        """Make a stream: one time step at a time through the whole chain.

        Parameters
        ----------
        batch_size : int
            Number of rows that go on side by side.

        Returns
        -------
        KerasStream
            Whose step gives what the chain gives for the steps so far, at its end.

        Raises
        ------
        ValueError
            If a layer reads from the end, masks steps or consists of several layers.
        """
        return KerasStream([step.stream(batch_size) for step in self._steps])


class KerasStream:
    """A chain that is fed one time step at a time; made by `KerasModel.stream`."""

    def __init__(self, steps: Sequence[Callable[[Any], Any]]) -> None:
        self._steps = tuple(steps)

    def __repr__(self) -> str:
        return f"<stream of KerasModel of {len(self._steps)} steps>"

    def step(self, x: Any) -> Any:
        """Go on by one time step.

        Parameters
        ----------
        x : array_like
            [B, I], or integers [B] for an embedding.

        Returns
        -------
        ndarray
            [B, ...], the chain's output at this step.

        Raises
        ------
        ValueError, TypeError
            As the layers raise.
        """
        for step in self._steps:
            x = step(x)
        return x


# Steps


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer; what it gives has a mask if it is a sequence."""

    layer: KerasLayer

    def run(self, x: Any, mask: Mask) -> tuple[Any, Mask]:
        """Run the layer."""
        y = self.layer(x, mask=mask)
        return y, mask if y.ndim == 3 else None

    def stream(self, batch_size: int) -> Callable[[Any], Any]:
        """Return the step of a stream of the layer."""
        step: Callable[[Any], Any] = self.layer.layer.stream(batch_size).step
        return step


@dataclass(frozen=True)
class Rows:
    """An embedding; with `mask_zero` symbol 0 is no step."""

    layer: Embedding
    mask_zero: bool

    def run(self, x: Any, mask: Mask) -> tuple[Any, Mask]:
        """Look the rows up."""
        symbols = _checks.as_any_array("x", x)
        return self.layer(symbols), symbols != 0 if self.mask_zero else mask

    def stream(self, batch_size: int) -> Callable[[Any], Any]:  # noqa: ARG002
        """Return the look-up; symbol 0 must be a step."""
        if self.mask_zero:
            raise _masked("Embedding", "mask_zero")
        return self.layer


@dataclass(frozen=True)
class Masking:
    """Steps whose every value is this one are no steps."""

    value: float

    def run(self, x: Any, mask: Mask) -> tuple[Any, Mask]:  # noqa: ARG002
        """Return the mask; what is masked is zero."""
        given = _checks.as_any_array("x", x)
        present = (given != given.dtype.type(self.value)).any(axis=-1)
        return np.where(present[..., None], given, given.dtype.type(0)), present

    def stream(self, batch_size: int) -> Callable[[Any], Any]:  # noqa: ARG002
        """Raise: a stream has no masked steps."""
        raise _masked("Masking", "mask_value")


@dataclass(frozen=True)
class Readout:
    """A dense layer over the last axis, or an activation alone."""

    layer: Linear | None
    activation: Activation | str

    def run(self, x: Any, mask: Mask) -> tuple[Any, Mask]:
        """Return the activated sums."""
        return self._apply(x), mask

    def stream(self, batch_size: int) -> Callable[[Any], Any]:  # noqa: ARG002
        """Return the same for one step."""
        return self._apply

    def _apply(self, x: Any) -> Array:
        sums: Array = _checks.as_any_array("x", x)
        if self.layer is not None:
            sums = self.layer(sums)
        if self.activation == "softmax":
            return softmax(sums)
        if isinstance(self.activation, str) and self.activation in KERNELS:
            return elementary(self.activation, sums)
        return unlimited(self.activation, sums)


def softmax(a: Array) -> Array:
    """Return the shares exp(a) / sum exp(a) of the last axis, summed in its order."""
    shares = elementary("exp", a - a.max(axis=-1, keepdims=True))
    total: Array = shares / np.add.accumulate(shares, axis=-1)[..., -1:]
    return total


def _masked(kind: str, option: str) -> ValueError:
    """Return the error for a layer that would mask steps of a stream."""
    return ValueError(
        f"stream: expected a chain that masks no step, got {kind} with {option}; leave "
        "out the steps that are not there"
    )


# From nodes


def make_model(root: Node) -> KerasModel:
    """Return a chain; all layers that are not had here are named at once."""
    nodes = links_of(root)
    unknown = [node for node in nodes if node.kind not in MAKERS]
    if unknown:
        others = list_names([node.title() for node in unknown])
        takeable = [node.path for node in all_nodes(root) if node.kind in RECURRENT]
        raise RefusedError(
            f"layers: expected {', '.join(sorted(MAKERS))}, got {others}; by name= can "
            f"be taken: {list_names(takeable) or 'none'}"
        )
    steps, layers = [], {}
    for node in nodes:
        step = MAKERS[node.kind](node)
        if isinstance(step, Recurrent):
            layers[node.path] = step.layer
        if step is not None:
            steps.append(step)
    return KerasModel(steps, layers)


def _make_recurrent(node: Node) -> Step:
    """Return a recurrent layer that gives one array."""
    layer = make_layer(node)
    if layer._way.return_state:
        raise node.refused(
            "return_state", True, "False in a chain; take the layer by name="
        )
    if len(layer._way.backwards) == 2 and layer._way.merge is None:
        raise node.refused(
            "merge_mode", None, "one output in a chain; take it by name="
        )
    return Recurrent(layer)


def _make_embedding(node: Node) -> Step:
    """Return an embedding."""
    check_known(node, {"output_dim", "mask_zero", "sparse"})
    V, E = node.config.get("input_dim"), read_size(node, "output_dim")
    [weight] = take_weights(node, [Slot("vars/0", (FREE, E))])
    if len(weight) != V:
        raise node.refused("input_dim", V, f"{len(weight)}, the rows of the weight")
    layer = Embedding(len(weight), E, dtype=read_dtype(node))
    layer.load_state_dict({"weight": weight}, dtype=layer.dtype)
    return Rows(layer, read_flag(node, "mask_zero"))


def _make_masking(node: Node) -> Step:
    """Return what masks steps of one value."""
    value = node.config.get("mask_value", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise node.refused("mask_value", value, "a number")
    return Masking(float(value))


def _make_dense(node: Node, prefix: str = "") -> Step:
    """Return a dense layer."""
    check_known(node, {"units", "activation", "use_bias"})
    O, bias = read_size(node, "units"), read_flag(node, "use_bias", True)
    slots = [Slot(f"{prefix}vars/0", (FREE, O)), Slot(f"{prefix}vars/1", (O,))]
    arrays = take_weights(node, slots if bias else slots[:1])
    layer = Linear(len(arrays[0]), O, bias=bias, dtype=read_dtype(node))
    weights = dict(zip(("weight", "bias"), (arrays[0].T, *arrays[1:]), strict=False))
    layer.load_state_dict(weights, dtype=layer.dtype)
    return Readout(layer, _read_readout(node))


def _make_distributed(node: Node) -> Step:
    """Return a dense layer that is told to take every step, as it does anyhow."""
    check_known(node, {"layer"})
    inner = node.inner(node.config.get("layer"), "layer")
    if inner.kind != "Dense":
        raise node.refused("layer", inner.kind, "Dense")
    return _make_dense(inner, "layer/")


def _make_activation(node: Node) -> Step:
    """Return an activation alone."""
    check_known(node, {"activation"})
    return Readout(None, _read_readout(node))


def _read_readout(node: Node) -> Activation | str:
    """Return the activation of a readout, which may also be a softmax."""
    if node.config.get("activation") == "softmax":
        return "softmax"
    return read_activation(node, "activation", "linear")


MAKERS: dict[str, Callable[[Node], Step | None]] = {
    **dict.fromkeys(RECURRENT, _make_recurrent),
    **dict.fromkeys(IDLE, lambda _: None),
    "Embedding": _make_embedding,
    "Masking": _make_masking,
    "Dense": _make_dense,
    "TimeDistributed": _make_distributed,
    "Activation": _make_activation,
}
"""What makes a step of a layer, by its class."""
