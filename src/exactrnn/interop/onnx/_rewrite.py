"""Recurrent nodes of a model made operators of this library, in whatever graph.

A node keeps its name, its outputs and those inputs that ONNX's operator has; its domain
becomes "exactrnn", and its attributes what `csrc/onnxruntime/kernel.c` reads. Weights
that are integers with a scale become initializers of the numbers that they stand for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from exactrnn._core import activation_kinds
from exactrnn._spec.activations import with_parameters
from exactrnn.interop.onnx._attributes import Options, read_options
from exactrnn.interop.onnx._edit import Names, drop_stored
from exactrnn.interop.onnx._files import RefusedError, Source, import_onnx
from exactrnn.interop.onnx._graph import (
    Constants,
    Node,
    check_opset,
    find_nodes,
    find_scopes,
    name_all,
)
from exactrnn.interop.onnx._steps import join_steps
from exactrnn.interop.onnx._weights import PLACES, read_weights
from exactrnn.interop.onnx._words import OPERATORS

DOMAIN, VERSION = "exactrnn", 1
OWN_INPUTS = 8
"""Inputs of ONNX's operators; scales and zero points come after them."""
TYPES = ("FLOAT", "DOUBLE")
"""Types of weights that are computed with."""
KINDS = activation_kinds()


@dataclass(frozen=True)
class Accelerated:
    """What `accelerate` did with the recurrent nodes of a model.

    Attributes
    ----------
    accelerated : dict of str to str
        The operator that computes a node now, by the node's name.
    left : dict of str to str
        Why a node was left as it is, likewise.
    """

    accelerated: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        said = {name: f"left, {why}" for name, why in self.left.items()}
        lines = [
            f"{name}: {what}" for name, what in {**self.accelerated, **said}.items()
        ]
        return "\n".join(lines) or "no recurrent nodes"


@dataclass(frozen=True)
class Setting:
    """What a session is made with: instruction set, threads, quantised nodes too."""

    isa: str
    threads: int
    dequantize: bool


def rewrite(source: Source, setting: Setting) -> Accelerated:
    """Make a model's recurrent nodes ours, in place, and say which."""
    done = Accelerated()
    opset = check_opset(source.model, import_onnx())
    join_steps(source, opset)
    scopes = find_scopes(source.model)
    constants = Constants(source, opset, defaults=False)
    for node in name_all(find_nodes(scopes, constants)):
        try:
            kind = _rewrite_node(node, setting, source)
        except RefusedError as error:
            done.left[node.name] = str(error).removeprefix(f"{node.title()}: ")
        else:
            done.accelerated[node.name] = f"{DOMAIN}.{kind}"
    if done.accelerated:
        source.model.opset_import.add(domain=DOMAIN, version=VERSION)
    return done


def _rewrite_node(node: Node, setting: Setting, source: Source) -> str:
    """Make a node ours; return the operator. Nothing is changed if it is refused."""
    if node.is_quantised and not setting.dequantize:
        raise RefusedError("its weights are quantised, and dequantize is False")
    options = read_options(node)
    _check_types(node)
    if node.is_quantised:
        _dequantise(node, options, source)
    kind = node.kind
    attributes = _attributes(node, options, setting)
    node.op.domain, node.op.op_type = DOMAIN, kind
    del node.op.attribute[:]
    helper = import_onnx().helper
    node.op.attribute.extend(
        helper.make_attribute(name, value) for name, value in attributes.items()
    )
    return kind


def _check_types(node: Node) -> None:
    """Raise for weights whose type is known to be another than float32 or float64."""
    kinds = import_onnx().TensorProto.DataType
    for letter in "WR":
        known = _type_of(node, PLACES[letter])
        name = kinds.Name(known) if known in kinds.values() else known
        if known and name not in TYPES and not node.is_quantised:
            raise RefusedError(f"{letter}: expected float32 or float64, got {name}")


def _type_of(node: Node, place: int) -> int:
    """Return the type of a weight where the graph says it, else 0."""
    if not node.has(place):  # which the runtime refuses
        return 0
    name = node.op.input[place]
    owner = node.scope.owner(name)
    if owner is None:
        return 0
    if name in owner.stored:
        return int(owner.stored[name].data_type)
    graph = owner.graph
    for given in (*graph.input, *graph.value_info):
        if given.name == name:
            return int(given.type.tensor_type.elem_type)
    return 0


def _dequantise(node: Node, options: Options, source: Source) -> None:
    """Give a node the numbers that its integers stand for."""
    onnx, names = import_onnx(), Names(source.model)
    arrays = read_weights(node, options, None).arrays
    old = {*node.op.input[1:3], *node.op.input[OWN_INPUTS:]}
    graph = node.scope.graph
    for letter in "WR":
        place = PLACES[letter]
        name = names.make(f"{node.op.input[place]}_float")
        graph.initializer.append(onnx.numpy_helper.from_array(arrays[letter], name))
        node.op.input[place] = name
    del node.op.input[OWN_INPUTS:]
    drop_stored(source.model, old - names.used())


def _attributes(node: Node, options: Options, setting: Setting) -> dict[str, Any]:
    """Return what an operator of ours is told of a node."""
    is_lstm = node.kind == "LSTM"
    cell = node.kind.lower()
    if node.kind == "GRU" and not options.flag:
        cell = "gru_before"
    activations = options.activations
    if len(activations) == len(OPERATORS[node.kind].activations):
        activations = activations * options.ways
    return {
        "cell": cell,
        "isa": setting.isa,
        "threads": setting.threads,
        "directions": options.ways,
        "reverse": int(options.reverse),
        "layout": options.layout,
        "coupled": int(is_lstm and options.flag),
        "has_bias": int(node.has(PLACES["B"])),
        "has_peepholes": int(is_lstm and node.has(PLACES["P"])),
        "activations": [n for one in activations for n in _numbers(one)],
        "clip": options.clip or 0.0,
    }


def _numbers(activation: Any) -> tuple[int, ...]:
    """Return an activation as integers: its kind, and the bits of its parameters."""
    name, *parameters = with_parameters(activation)
    bits = struct.unpack("<2q", struct.pack("<2d", *parameters))
    return (KINDS[name], *bits)
