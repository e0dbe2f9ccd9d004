"""The graph of a chain of layers, node by node, in ONNX's words.

Within the file time comes first; with `batch_first` the input is turned when it comes
in, and the output when it goes out. A layer of a stack is a node, whose output loses
its axis of directions: by Squeeze, or by Transpose and Reshape where there are two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn._spec.activations import PARAMETERS, Activation, with_parameters
from exactrnn.interop.onnx._words import ACTIVATIONS, OPERATORS, PEEPHOLES, reorder
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear

OPSET, IR_VERSION = 17, 8
"""Of the files: known to ONNX Runtime since 1.12."""
KINDS = {operator.layer: kind for kind, operator in OPERATORS.items()}
"""ONNX's operators by our classes."""
ONNX_NAMES = {ours: name for name, ours in ACTIVATIONS.items()}


def widths_of(part: Any) -> tuple[int | None, int]:
    """Return the widths of a part's input, None for symbols, and of its output."""
    if isinstance(part, Embedding):
        return None, part.embedding_dim
    if isinstance(part, Linear):
        return part.in_features, part.out_features
    return part.input_size, part.output_size * part.num_directions


class Writer:
    """A graph that grows node by node; `_at` is the output that has come last."""

    def __init__(self, batch_first: bool, lengths: bool, state: bool) -> None:
        self._first, self._lengths, self._state = batch_first, lengths, state
        self._nodes: list[Any] = []
        self._stored: dict[str, Array] = {}
        self._inputs: list[tuple[str, int, Sequence[int | str]]] = []
        self._outputs: list[tuple[str, int, Sequence[int | str]]] = []
        self._at = "x"

    def write(self, onnx: Any, parts: Sequence[Any]) -> Any:
        """Return the model of a chain."""
        self._onnx = onnx
        kinds = onnx.TensorProto
        dtype = onnx.helper.np_dtype_to_tensor_dtype(parts[0].dtype)
        axes = ["B", "T"] if self._first else ["T", "B"]
        width, _ = widths_of(parts[0])
        if width is None:
            self._inputs.append(("x", kinds.INT64, axes))
        else:
            self._inputs.append(("x", dtype, [*axes, width]))
        if self._lengths:
            self._inputs.append(("lengths", kinds.INT32, ["B"]))
        if self._first:
            self._add("Transpose", [], perm=[1, 0] if width is None else [1, 0, 2])
        self._outputs.append(("y", dtype, [*axes, widths_of(parts[-1])[1]]))
        many = sum(type(part) in KINDS for part in parts) > 1
        for k, part in enumerate(parts):
            self._part(part, f"{k}.", f"{k}." if many else "", dtype)
        if self._first:
            self._add("Transpose", [], perm=[1, 0, 2])
        self._add("Identity", [], ["y"])
        return self._model()

    def _model(self) -> Any:
        """Return the model of what has been written."""
        helper, numpy_helper = self._onnx.helper, self._onnx.numpy_helper
        graph = helper.make_graph(
            self._nodes,
            "exactrnn",
            [helper.make_tensor_value_info(*given) for given in self._inputs],
            [helper.make_tensor_value_info(*given) for given in self._outputs],
            [numpy_helper.from_array(a, name) for name, a in self._stored.items()],
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="exactrnn",
        )

    def _part(self, part: Any, own: str, named: str, dtype: int) -> None:
        """Write a part of the chain; its weights' names begin with `own`."""
        if isinstance(part, Embedding):
            table = self._store(f"{own}weight", part.weight)
            self._add("Gather", [], before=[table])
        elif isinstance(part, Linear):
            weight = self._store(f"{own}weight", part.weight.T)
            self._add("MatMul", [weight])
            if "bias" in part.state_dict():
                self._add("Add", [self._store(f"{own}bias", part.bias)])
        else:
            self._stack(part, own, named, dtype)

    def _stack(self, part: Any, own: str, named: str, dtype: int) -> None:
        """Write the layers of a recurrent layer, one node each."""
        letters = OPERATORS[KINDS[type(part)]].states
        D, L = part.num_directions, part.num_layers
        shape = [L * D, "B", part.hidden_size]
        begins = [self._begin(named + s, own + s, dtype, shape, L) for s in letters]
        finals: list[list[str]] = [[] for _ in letters]
        for k in range(L):
            ends = [f"{own}{s}_n.{k}" for s in letters]
            if L == 1:
                ends = [f"{named}{s}_n" for s in letters]
            self._node(part, k, own, [begin[k] for begin in begins], ends)
            for final, end in zip(finals, ends, strict=True):
                final.append(end)
        for letter, final in zip(letters, finals, strict=True):
            whole = f"{named}{letter}_n"
            if L > 1:
                self._make("Concat", final, [whole], axis=0)
            self._outputs.append((whole, dtype, shape))

    def _begin(
        self, named: str, own: str, dtype: int, shape: Sequence[int | str], L: int
    ) -> list[str]:
        """Return the names of a part of the state for each layer, "" for zeros."""
        if not self._state:
            return [""] * L
        self._inputs.append((f"{named}_0", dtype, shape))
        if L == 1:
            return [f"{named}_0"]
        parts = [f"{own}_0.{k}" for k in range(L)]
        self._make("Split", [f"{named}_0"], parts, axis=0)
        return parts

    def _node(
        self, part: Any, k: int, own: str, begin: Sequence[str], ends: Sequence[str]
    ) -> None:
        """Write one layer of a stack, and make its output [T, B, D*H]."""
        kind, place = KINDS[type(part)], f"{own}l{k}."
        arrays = _arrays(part, kind, k)
        inputs = [self._store(place + letter, a) for letter, a in arrays.items()]
        has_bias, has_peepholes = "B" in arrays, "P" in arrays
        peepholes = [inputs.pop()] if has_peepholes else []
        inputs += [] if has_bias else [""]
        inputs += ["lengths" if self._lengths else "", *begin, *peepholes]
        while not inputs[-1]:
            inputs.pop()
        y = f"{place}Y"
        self._make(
            kind,
            [self._at, *inputs],
            [y, *ends],
            name=f"{place}{kind}",
            **_attributes(part, kind),
        )
        self._at = y
        if part.num_directions == 1:
            self._add("Squeeze", [self._store("directions", np.array([1]))])
            return
        self._add("Transpose", [], perm=[0, 2, 1, 3])
        width = 2 * part.hidden_size
        self._add("Reshape", [self._store(f"{place}shape", np.array([0, 0, width]))])

    def _store(self, name: str, array: Any) -> str:
        """Keep an array in the file; return its name."""
        self._stored[name] = np.ascontiguousarray(array)
        return name

    def _add(
        self,
        kind: str,
        more: Sequence[str],
        outputs: Sequence[str] = (),
        *,
        before: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        """Write a node that reads what has come last; its output comes last then."""
        made = [*outputs] or [f"{kind}.{len(self._nodes)}"]
        self._make(kind, [*before, self._at, *more], made, **attributes)
        [self._at] = made

    def _make(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **given: Any
    ) -> None:
        """Write a node."""
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, outputs, **given))


# One layer in ONNX's words


def _arrays(part: Any, kind: str, k: int) -> dict[str, Array]:
    """Return W, R, B and P of a layer of a stack, those that it has."""
    operator, weights = OPERATORS[kind], part.state_dict()
    coupled = getattr(part, "coupled", None) is not None
    rows = operator.rows.replace("f", "") if coupled else operator.rows
    ends = (f"l{k}", f"l{k}_reverse")[: part.num_directions]

    def stacked(*names: str) -> Array:
        found = [
            np.concatenate(
                [reorder(weights[f"{n}_{end}"], rows, operator.gates) for n in names]
            )
            for end in ends
        ]
        return np.stack(found)

    arrays = {"W": stacked("weight_ih"), "R": stacked("weight_hh")}
    if part.bias:
        arrays["B"] = stacked("bias_ih", "bias_hh")
    gates = "".join(g for g in "ifo" if g in getattr(part, "peepholes", ""))
    if gates:
        found = [weights[f"weight_peephole_{end}"].reshape(-1) for end in ends]
        arrays["P"] = np.stack([reorder(p, gates, PEEPHOLES) for p in found])
    return arrays


def _attributes(part: Any, kind: str) -> dict[str, Any]:
    """Return the attributes of a layer's node, without those that are the default."""
    found: dict[str, Any] = {"hidden_size": part.hidden_size}
    if part.bidirectional or part.reverse:
        found["direction"] = "bidirectional" if part.bidirectional else "reverse"
    if part.clip is not None:
        found["clip"] = part.clip
    if kind == "GRU" and part.reset_after:
        found["linear_before_reset"] = 1
    if kind == "LSTM" and part.coupled == "input":
        found["input_forget"] = 1
    return found | _activations(part, kind)


def _activations(part: Any, kind: str) -> dict[str, Any]:
    """Return the attributes that say the activations of all directions, if needed."""
    operator, chosen = OPERATORS[kind], part.activations
    if len(chosen) == len(operator.activations):
        chosen = chosen * part.num_directions
    named = [_onnx_activation(one) for one in chosen]
    names = [name for name, _ in named]
    if names == [*operator.activations * part.num_directions]:
        return {}
    alpha = [values[0] for _, values in named if values]
    beta = [values[1] for _, values in named if len(values) == 2]
    found: dict[str, Any] = {"activations": names}
    found |= {"activation_alpha": alpha} if alpha else {}
    return found | ({"activation_beta": beta} if beta else {})


def _onnx_activation(activation: Activation) -> tuple[str, tuple[float, ...]]:
    """Return ONNX's name of a function, and its parameters."""
    name, *parameters = with_parameters(activation)
    if name == "identity":
        return "Affine", (1.0, 0.0)
    return ONNX_NAMES[name], tuple(parameters[: len(PARAMETERS[name])])
