"""What is trained: a recurrent layer, and a linear readout of where it ends.

    x [T, B, I] -> layer -> y [T, B, D*H] -> ends [B, D*H] -> readout [B, O]

A direction ends where it has read all of a row: the one ahead at the row's last step,
the one from its end at the first.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn import layers, train
from exactrnn._checks import Array, check_choice, describe
from exactrnn._checks.limits import list_names, quote
from exactrnn._graph.symbols import Cell
from exactrnn.interop.sklearn._sequences import Padded


class Kept(NamedTuple):
    """What `backward` of a `SequenceModel` needs."""

    layer: Any
    readout: Any
    shape: tuple[int, ...]
    last: NDArray[np.int64]


class SequenceModel(train.Composite):
    """One answer to each sequence.

    Parameters
    ----------
    layer : layer
        Any that reads ``[T, B, I]``.
    outputs : int
        O, numbers in an answer.

    Attributes
    ----------
    layer : layer
    readout : Linear
    """

    def __init__(self, layer: Any, outputs: int) -> None:
        self.layer = layer
        width = layer.output_size * layer.num_directions
        self.readout = train.Linear(width, outputs, dtype=layer.dtype, seed=0)

    def __call__(self, batch: Padded) -> Array:
        """Return the answers, ``[B, O]``."""
        y, *_ = self.layer(batch.x, lengths=batch.lengths)
        return self.readout(self._ends(y, _last_steps(batch)))

    def forward(self, batch: Padded) -> tuple[Array, Kept]:
        """Return the answers, and what `backward` needs."""
        y, _, first = self.layer.forward(batch.x, lengths=batch.lengths)
        last = _last_steps(batch)
        answers, second = self.readout.forward(self._ends(y, last))
        return answers, Kept(first, second, y.shape, last)

    def backward(self, cache: Kept, dy: Array) -> train.ModuleGradients:
        """Return the gradients of the weights."""
        readout = self.readout.backward(cache.readout, dy)
        d, ends = np.zeros(cache.shape, dy.dtype), np.asarray(readout.x)
        for columns, steps in self._places(cache.last, cache.shape[-1]):
            d[steps, np.arange(len(steps)), columns] = ends[:, columns]
        layer = self.layer.backward(cache.layer, d)
        weights: Mapping[str, Any] = {"layer": layer, "readout": readout}
        return train.ModuleGradients(None, dict(weights))

    def _ends(self, y: Array, last: NDArray[np.int64]) -> Array:
        """Return what each direction says of a row when it has read it."""
        ends = np.empty(y.shape[1:], y.dtype)
        for columns, steps in self._places(last, y.shape[-1]):
            ends[:, columns] = y[steps, np.arange(len(steps)), columns]
        return ends

    def _places(
        self, last: NDArray[np.int64], width: int
    ) -> list[tuple[slice, NDArray[np.int64]]]:
        """Return the columns of each direction, and at which step it ends in each row.

        An index of steps and rows beside a slice of columns gives [B, columns].
        """
        first = np.zeros_like(last)
        if self.layer.bidirectional:
            half = width // 2
            return [(slice(half), last), (slice(half, width), first)]
        return [(slice(width), first if self.layer.reverse else last)]


def _last_steps(batch: Padded) -> NDArray[np.int64]:
    """Return the last step of each row."""
    steps, rows, _ = batch.x.shape
    return np.full(rows, steps - 1) if batch.lengths is None else batch.lengths - 1


def make_layer(cell: Any, options: Mapping[str, Any] | None, **sizes: Any) -> Any:
    """Return a layer of a cell that an estimator names, or raise.

    Parameters
    ----------
    cell : str or Cell
        A network of `exactrnn.layers.NETWORKS`, or equations.
    options : mapping of str to object, optional
        Further arguments of its class.
    **sizes
        The arguments that all classes have.
    """
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(
            f"cell_options: expected a mapping or None, got {describe(options)}"
        )
    given = {**sizes, "seed": 0}
    own = dict(options or {})
    if isinstance(cell, Cell):
        _check_options(layers.Layer, own, {*given, "cell"})
        return layers.Layer(cell, **given, **own)
    network = layers.NETWORKS[check_choice("cell", cell, tuple(layers.NETWORKS))]
    _check_options(network.kind, own, given)
    form = network.options(_size_of(sizes["hidden_size"]))
    return network.kind(**{**form, **given, **own})


def _check_options(
    kind: type[Any], options: Mapping[str, Any], given: Collection[str]
) -> None:
    """Raise for what is no argument of a class, or what an estimator gives it."""
    taken = {*given, "batch_first"}
    known = [name for name in inspect.signature(kind).parameters if name not in taken]
    for name in options:
        if name not in known:
            raise ValueError(
                f"cell_options: expected options among {list_names(known)}, got "
                f"{quote(name)}"
            )


def _size_of(hidden_size: Any) -> int:
    """Return H for the options of a form; the layer itself judges what is none."""
    return int(hidden_size) if isinstance(hidden_size, int | np.integer) else 1
