"""A recurrent node of ONNX: called as there, computed by a layer of this library."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn.interop.onnx._words import OPERATORS


class Inputs(NamedTuple):
    """How a node is called, and what it reads beside x and the weights."""

    layout: int
    constants: dict[str, Any]
    wired: tuple[str, ...]


class OnnxLayer:
    """A recurrent node of an ONNX model, called as the node; `from_onnx` makes it.

    Shapes are ONNX's: the output has an axis for the directions, and with `layout` 1
    the batch comes first everywhere, in states too. `layer` is the layer of this
    library that computes it, to stream, save or train: `layer(x)` gives the same
    numbers in its own shapes, [T, B, D*H]. `pickle` and `copy` take the whole.

    Attributes
    ----------
    name : str
        The node's name in the model.
    kind : str
        "RNN", "GRU" or "LSTM".
    layer : RNN, GRU or LSTM
        What computes it, `batch_first` with `layout` 1, `reverse` where the node reads
        from the end.
    layout : int
        0 for [T, B, ...], 1 for [B, T, ...].
    constants : dict of str to ndarray
        What the model fixes of `sequence_lens`, `initial_h` and `initial_c`; a call
        that does not give them takes these. Initial states of zeros are left out.
    wired : tuple of str
        Those of the three that the model computes from its inputs, or takes as inputs.

    Examples
    --------
    With a file of a GRU(3, 4): ``node = from_onnx("gru.onnx")`` and then
    ``y, y_h = node(x)``, of shapes (T, 1, B, 4) and (1, B, 4) for an x [T, B, 3].
    """

    def __init__(self, name: str, kind: str, layer: Any, inputs: Inputs) -> None:
        self.name, self.kind, self.layer = name, kind, layer
        self.layout, self.constants, self.wired = inputs

    def __repr__(self) -> str:
        return f"<OnnxLayer {self.name!r}: {self.layer!r}>"

    def __call__(
        self,
        x: ArrayLike,
        sequence_lens: object = None,
        initial_h: ArrayLike | None = None,
        initial_c: ArrayLike | None = None,
    ) -> tuple[Array, ...]:
        """Run over a sequence, as the node does.

        Parameters
        ----------
        x : array_like
            Input [T, B, I], or [B, T, I] with `layout` 1, of the layer's dtype.
        sequence_lens : array_like of int, optional
            Steps of each row, [B]; by default what the model fixes, or T.
        initial_h, initial_c : array_like, optional
            States to begin with, [D, B, H], or [B, D, H] with `layout` 1; by default
            what the model fixes, or zeros. `initial_c` is an LSTM's.

        Returns
        -------
        tuple of ndarray
            Y [T, D, B, H] and the final states Y_h, and Y_c of an LSTM, [D, B, H]; with
            `layout` 1 [B, T, D, H] and [B, D, H]. The reverse direction's output stands
            at the step that it read.

        Raises
        ------
        ValueError, TypeError
            If a shape or a dtype is wrong, a length is outside 0..T, or what the model
            fixes is of another batch size.
        """
        given = _checks.as_array("x", x, self.layer.dtype)
        first = "B, T" if self.layout else "T, B"
        if given.ndim != 3 or given.shape[2] != self.layer.input_size:
            expected = f"{first}, I={self.layer.input_size}"
            raise _checks.shape_error("x", expected, given.shape)
        B = given.shape[1 - self.layout]
        lengths = self._fixed("sequence_lens", sequence_lens, (B,))
        if lengths is not None:
            T, name = given.shape[self.layout], "sequence_lens"
            lengths = _checks.check_lengths(lengths, T, B, batched=True, name=name)
        state = self._begin(initial_h, initial_c, B)
        y, final = self.layer(given, state, lengths=lengths)
        parts = final if isinstance(final, tuple) else (final,)
        return (self._split(y), *map(self._turned, parts))

    def _fixed(self, name: str, value: Any, shape: tuple[int, ...]) -> Any:
        """Return what a call gives, or what the model fixes if it fits."""
        if value is not None or name not in self.constants:
            return value
        fixed = self.constants[name]
        if fixed.shape != shape:
            axis = 0 if name == "sequence_lens" else 1
            raise ValueError(
                f"x: expected B={fixed.shape[axis]}, for which the model fixes {name}, "
                f"got B={shape[axis]}; give {name} in its place"
            )
        return fixed

    def _begin(self, h: object, c: object, B: int) -> Any:
        """Return the state that a call begins with, None for zeros."""
        layer = self.layer
        if c is not None and self.kind != "LSTM":
            got = _checks.describe(c)
            raise TypeError(f"initial_c: expected None for this {self.kind}, got {got}")
        D, H = layer.num_directions, layer.hidden_size
        shape, sizes = (D, B, H), {"D": D, "B": B, "H": H}
        if self.layout:
            sizes = {"B": B, "D": D, "H": H}
        parts = []
        for name, value in (("initial_h", h), ("initial_c", c)):
            if value is not None:
                value = _checks.as_array(name, value, layer.dtype)
                _checks.check_shape(name, value, **sizes)
                value = self._turned(value)
            parts.append(self._fixed(name, value, shape))
        del parts[len(OPERATORS[self.kind].states) :]
        if all(part is None for part in parts):
            return None
        zeros = np.zeros(shape, layer.dtype)
        whole = [zeros if part is None else part for part in parts]
        return whole[0] if len(whole) == 1 else tuple(whole)

    def _turned(self, state: Array) -> Array:
        """Return a state [D, B, H] in the node's layout, or such a one as ours."""
        return state.swapaxes(0, 1) if self.layout else state

    def _split(self, y: Array) -> Array:
        """Return a layer's output with an axis for its directions."""
        split = y.reshape(*y.shape[:2], self.layer.num_directions, -1)
        return split if self.layout else split.transpose(0, 2, 1, 3)
