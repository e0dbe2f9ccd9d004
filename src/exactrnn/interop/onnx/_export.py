"""From here to ONNX: `to_onnx` writes layers and chains of layers as models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from exactrnn._checks import check_flag, describe
from exactrnn._checks.limits import quote
from exactrnn._system import files
from exactrnn.interop.onnx._files import import_onnx
from exactrnn.interop.onnx._writer import KINDS, Writer, widths_of
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear

LARGEST = 2**31 - 2**20
"""Bytes of a file, with room for what is not weights: protobuf's limit."""
DENSE = (Embedding, Linear)
PLAIN = {
    "omit": "",
    "proj_size": 0,
    "full_gate_recurrence": False,
    "layer_norm": False,
    "zoneout": 0.0,
}
"""Options that ONNX's operators have not, as they must be."""


def to_onnx(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    lengths: bool = False,
    state: bool = False,
) -> Any:
    """Write a layer, or a chain of layers, as an ONNX model.

    Parameters
    ----------
    model : RNN, GRU, LSTM, Embedding, Linear, LanguageModel, Sequential or list
        A layer, or several, each of which reads the output of the one before it.
    path : str or path-like, optional
        Where the file goes; an old one is replaced when the new one is complete.
    lengths : bool
        Whether the model has an input `lengths` [B] of int32, the steps of each row.
    state : bool
        Whether the model has inputs `h_0`, and `c_0` of an LSTM, [L*D, B, H]: the state
        to begin with. Where several layers of a chain are recurrent, their names begin
        with the place in the chain, `"1.h_0"`.

    Returns
    -------
    onnx.ModelProto
        Inputs `x` and those asked for; outputs `y` and the final states `h_n`, `c_n`.
        Shapes are those of the layers, [T, B, I] or [B, T, I] with `batch_first`; T and
        B are free.

    Raises
    ------
    TypeError
        If a part is of a class that ONNX has no operators for, or is none.
    ValueError
        If an option has no counterpart there, naming it, if parts do not fit together,
        or if the weights are too large for one file of protobuf.
    ImportError
        If the package onnx is missing.
    OSError
        If the file cannot be written; what was there is there still.

    Notes
    -----
    Opset 17. Dropout acts in training alone and is not handed on. Parameters of
    activations and `clip` are float32 in ONNX. ONNX has no projections, no `omit`, no
    coupling of the input gate to the forget gate, no full gate recurrence.

    Examples
    --------
    With ``onnxruntime``: ``session = onnxruntime.InferenceSession("lstm.onnx")`` and
    then ``session.run(None, {"x": x})``.

    >>> import exactrnn as xr
    >>> from exactrnn.onnx import to_onnx
    >>> to_onnx(xr.LSTM(3, 4, proj_size=2, seed=1))
    Traceback (most recent call last):
        ...
    ValueError: model: expected proj_size 0, which ONNX's LSTM has not, got 2
    """
    parts = _parts_of(model)
    lengths, state = check_flag("lengths", lengths), check_flag("state", state)
    writer = Writer(_check_chain(parts), lengths, state)
    _check_size(parts)
    onnx = import_onnx()
    made = writer.write(onnx, parts)
    onnx.checker.check_model(made)
    if path is not None:
        files.replace_file(path, made.SerializeToString(deterministic=True))
    return made


# Checks


def _parts_of(model: Any) -> list[Any]:
    """Return the layers of a chain, each of a class that is written."""
    from exactrnn.train import LanguageModel, Sequential

    if isinstance(model, LanguageModel):
        model = [model.embedding, model.recurrent, model.readout]
    if type(model) is Sequential:
        model = [*model.parts.values()]
    parts = [*model] if isinstance(model, list | tuple) else [model]
    for part in parts:
        if type(part) not in KINDS and type(part) not in DENSE:
            expected = ", ".join(kind.__name__ for kind in (*KINDS, *DENSE))
            raise TypeError(
                f"model: expected one of {expected} or a list of them, got "
                f"{describe(part)}"
            )
        _check_options(part)
    if not parts:
        raise ValueError("model: expected at least one layer, got none")
    return parts


def _check_options(part: Any) -> None:
    """Raise for an option that ONNX has not."""
    kind = type(part).__name__
    for option, plain in PLAIN.items():
        value = getattr(part, option, plain)
        if value != plain:
            raise _refused(kind, option, value, repr(plain))
    if getattr(part, "coupled", None) == "forget":
        raise _refused(kind, "coupled", "forget", "None or 'input'")


def _refused(kind: str, option: str, value: object, expected: str) -> ValueError:
    """Return the error for an option that ONNX has not."""
    return ValueError(
        f"model: expected {option} {expected}, which ONNX's {kind} has not, got "
        f"{quote(value)}"
    )


def _check_chain(parts: Sequence[Any]) -> bool:
    """Raise unless each part reads what the one before it gives.

    Returns whether the batch comes first.
    """
    for k, (below, part) in enumerate(pairwise(parts), 1):
        given, read = widths_of(below)[1], widths_of(part)[0]
        if given != read:
            raise ValueError(
                f"model[{k}]: expected an input of width {given}, the output before "
                f"it, got {part!r}"
            )
        if part.dtype != below.dtype:
            raise ValueError(f"model[{k}]: expected {below.dtype}, got {part.dtype}")
    firsts = {part.batch_first for part in parts if type(part) in KINDS}
    if len(firsts) > 1:
        raise ValueError("model: expected one batch_first for all layers, got both")
    return True in firsts


def _check_size(parts: Sequence[Any]) -> None:
    """Raise if protobuf cannot hold the weights."""
    size = sum(part.num_parameters * part.dtype.itemsize for part in parts)
    if size > LARGEST:
        raise ValueError(
            f"model: expected weights of at most {LARGEST} bytes, the most that one "
            f"ONNX file holds, got {size}"
        )
