"""The weights of a recurrent node, as a layer here has them by name.

W [D, G*H, I] and R [D, G*H, H] have a row block for each gate, B [D, 2*G*H] the biases
of W and after them those of R, P [D, 3*H] the peepholes of an LSTM. A quantised node
has W [D, I, 4*H] and R [D, H, 4*H] of integers q, and for each a scale and a zero point
[D] or [D, 4*H]: a weight is (q - zero point) * scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import DTYPES, Array, FloatType, check_dtype
from exactrnn._checks.limits import shorten
from exactrnn._checks.naming import LONGEST_PROBLEM
from exactrnn.interop.onnx._attributes import Options
from exactrnn.interop.onnx._files import RefusedError
from exactrnn.interop.onnx._graph import Node, NotConstantError
from exactrnn.interop.onnx._words import OPERATORS, PEEPHOLES, reorder

PLACES = {"W": 1, "R": 2, "B": 3, "P": 7}
"""The places of weights among a node's inputs; P is an LSTM's alone."""
OF_SCALES = {"W": (8, 9), "R": (10, 11)}
"""The places of scale and zero point of a quantised weight."""
NEEDED = ("W", "R")
ROUNDED = ("float16", "bfloat16", *DTYPES)
"""Types of weights that are taken where a dtype is asked for."""
QUANTISED_TYPES = ("int8", "uint8")


@dataclass(frozen=True)
class Weights:
    """A node's weights in ONNX's order, and the sizes and dtype that they say."""

    arrays: dict[str, Array]
    input_size: int
    hidden_size: int
    dtype: FloatType


def read_weights(node: Node, options: Options, dtype: object) -> Weights:
    """Return a node's weights; all that is wrong is said at once."""
    faults: list[str] = []
    arrays = _find_arrays(node, faults)
    if not faults:
        faults += _shape_faults(node, options, arrays)
    if faults:
        said = ", ".join(shorten(fault, LONGEST_PROBLEM) for fault in faults)
        raise RefusedError(f"{node.title()}: weights: {said}")
    own = choose_dtype(node.title(), arrays, dtype)
    return Weights(arrays, arrays["W"].shape[2], arrays["R"].shape[2], own)


def _find_arrays(node: Node, faults: list[str]) -> dict[str, Array]:
    """Return the weights by ONNX's letters; add what is wrong to the faults."""
    found = {}
    for letter, place in PLACES.items():
        if letter == "P" and node.kind != "LSTM":
            continue
        if not node.has(place):
            faults += [f"{letter} is missing"] if letter in NEEDED else []
            continue
        try:
            array = node.find(place)
            if node.is_quantised and letter in OF_SCALES:
                array = _dequantised(node, letter, array)
            found[letter] = array
        except NotConstantError as error:
            faults.append(f"{letter} is not constant: {error}")
        except RefusedError as error:
            faults.append(f"{letter}: {error}")
    return found


def _dequantised(node: Node, letter: str, array: NDArray[Any]) -> Array:
    """Return the numbers that integers stand for, [D, 4*H, ...]."""
    if array.dtype.name not in QUANTISED_TYPES or array.ndim != 3:
        got = f"{array.dtype} {array.shape}"
        raise RefusedError(f"expected [D, I, 4*H] of int8 or uint8, got {got}")
    scale, zero = (
        node.find(place) if node.has(place) else None for place in OF_SCALES[letter]
    )
    if scale is None or scale.dtype != np.float32:
        raise RefusedError("expected a scale of float32")
    D, _, columns = array.shape
    for part in (scale, zero):
        if part is not None and part.shape not in ((D,), (D, columns)):
            raise RefusedError(
                f"expected scale and zero point [{D}] or [{D}, {columns}], got "
                f"{shorten(part.shape)}"
            )
    centred = array.astype(np.int32)
    if zero is not None:
        centred = centred - zero.astype(np.int32).reshape(D, 1, -1)
    weights = centred.astype(np.float32) * scale.reshape(D, 1, -1)
    return np.ascontiguousarray(weights.swapaxes(1, 2))


def _shape_faults(node: Node, options: Options, arrays: dict[str, Array]) -> list[str]:
    """Return what is wrong with shapes, those of all weights."""
    R = arrays["R"]
    if R.ndim != 3 or 0 in R.shape:
        return [f"R: expected [D, G*H, H], got {shorten(R.shape)}"]
    D, H = options.ways, options.hidden_size or R.shape[2]
    G = len(OPERATORS[node.kind].gates)
    wanted = {"W": (D, G * H, "I"), "R": (D, G * H, H), "B": (D, 2 * G * H)}
    wanted["P"] = (D, len(PEEPHOLES) * H)
    return [
        f"{letter}: expected [{', '.join(map(str, wanted[letter]))}], got "
        f"{shorten(array.shape)}"
        for letter, array in arrays.items()
        if not _fits(wanted[letter], array.shape)
    ]


def _fits(wanted: tuple[int | str, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether a shape is as expected; a letter is any size but 0."""
    return len(wanted) == len(shape) and all(
        size > 0 if isinstance(want, str) else want == size
        for want, size in zip(wanted, shape, strict=True)
    )


def choose_dtype(title: str, arrays: dict[str, Array], dtype: object) -> FloatType:
    """Return the layer's dtype: that of the weights, or the one asked for."""
    names = {letter: array.dtype.name for letter, array in arrays.items()}
    if dtype is None:
        [name, *more] = sorted({*names.values()})
        if more or name not in DTYPES:
            raise RefusedError(
                f"{title}: weights: expected float32 or float64, got {names}: "
                "dtype='float32' asks for rounding"
            )
        return check_dtype(name)
    if not {*names.values()} <= {*ROUNDED}:
        expected = ", ".join(ROUNDED)
        raise RefusedError(f"{title}: weights: expected {expected}, got {names}")
    return check_dtype(dtype)


def name_weights(node: Node, options: Options, weights: Weights) -> dict[str, Array]:
    """Return the weights as the layer has them, by name."""
    operator, named = OPERATORS[node.kind], dict[str, Array]()
    coupled = node.kind == "LSTM" and options.flag
    rows = operator.rows.replace("f", "") if coupled else operator.rows
    for direction, end in enumerate(("l0", "l0_reverse")[: options.ways]):
        own = {letter: widen(a[direction]) for letter, a in weights.arrays.items()}
        named[f"weight_ih_{end}"] = reorder(own["W"], operator.gates, rows)
        named[f"weight_hh_{end}"] = reorder(own["R"], operator.gates, rows)
        if "B" in own:
            for part, half in zip(("ih", "hh"), np.split(own["B"], 2), strict=True):
                named[f"bias_{part}_{end}"] = reorder(half, operator.gates, rows)
        if "P" in own:
            gates = peepholes_of(options)
            blocks = reorder(own["P"], PEEPHOLES, gates)
            named[f"weight_peephole_{end}"] = blocks.reshape(len(gates), -1)
    return named


def widen(array: Array) -> Array:
    """Return bfloat16 as float32, which is exact; all else as it is."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def peepholes_of(options: Options) -> str:
    """Return the gates that see the cell state in a node with an input P."""
    return "io" if options.flag else "ifo"
