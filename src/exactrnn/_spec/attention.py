"""What an attention decoder is, without its weights.

Its cell is a layer's, described by a `Config`, whose input is x and, where the query is
the state before the step, the context behind it. The attention's own weights are

    weight_query_l0 [A, H]   weight_memory_l0 [K, M]   bias_attention_l0 [A]
    weight_score_l0 [A]      weight_selector_l0 [H]    bias_selector_l0 [1]

of which an additive score has the first four, with K = A, "general" the second, with
K = H, and a selector the last two. The kernels see the query's matrix with the
selector's row below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, FloatType, check_weight
from exactrnn._checks.limits import check_memory, check_weights
from exactrnn._spec.arguments import Arguments, as_flag, as_size
from exactrnn._spec.recurrent import Config
from exactrnn._system.locks import cached_property

CELLS = ("gru", "gru_before", "lstm")
SCORES = ("additive", "general", "dot")
QUERIES = ("previous", "new")
OUTPUTS = ("state", "concat")

LETTERS: Mapping[str, tuple[str, ...]] = {
    "weight_query_l0": ("A", "H"),
    "weight_memory_l0": ("K", "M"),
    "bias_attention_l0": ("A",),
    "weight_score_l0": ("A",),
    "weight_selector_l0": ("H",),
    "bias_selector_l0": ("1",),
}
"""Letters of the axes of the attention's weights in messages."""


@dataclass(frozen=True)
class AttentionSpec:
    """Sizes and options, all checked; `units` is A, or None."""

    cell: Config
    memory_size: int
    units: int | None
    score: str
    query: str
    selector: bool
    output: str

    def __post_init__(self) -> None:
        """Raise for absurd sizes."""
        sizes = f"memory_size={self.memory_size}, attention_size={self.units}"
        elements = sum(prod(shape) for shape in self.own_shapes.values())
        check_weights(sizes, len(self.own_shapes), elements, self.dtype.itemsize)

    @property
    def dtype(self) -> FloatType:
        """Of the weights."""
        return self.cell.dtype

    @property
    def looks_before(self) -> bool:
        """Whether the context is a part of the step's input."""
        return self.query == "previous"

    @property
    def input_size(self) -> int:
        """I: the width of x."""
        own = self.memory_size if self.looks_before else 0
        return self.cell.input_size - own

    @property
    def output_size(self) -> int:
        """Width of y: H, or H + M."""
        own = self.memory_size if self.output == "concat" else 0
        return self.cell.hidden_size + own

    @cached_property
    def form(self) -> dict[str, Any]:
        """What the kernels are told."""
        H = self.cell.hidden_size
        return {
            "score": self.score,
            "query": self.query,
            "selector": self.selector,
            "H": H,
            "M": self.memory_size,
            "K": self.units or H,
            "Q": (self.units or 0) + self.selector,
        }

    # Weights

    @cached_property
    def own_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each weight of the attention by name."""
        A, H, M = self.units, self.cell.hidden_size, self.memory_size
        found: dict[str, tuple[int, ...]] = {}
        if A is not None:
            found["weight_query_l0"] = (A, H)
        if self.score != "dot":
            found["weight_memory_l0"] = (A or H, M)
        if A is not None:
            found["bias_attention_l0"] = found["weight_score_l0"] = (A,)
        if self.selector:
            found["weight_selector_l0"] = (H,)
            found["bias_selector_l0"] = (1,)
        return found

    @cached_property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each weight by name, in the order of `state_dict`."""
        return {**self.cell.weight_shapes, **self.own_shapes}

    @property
    def num_arrays(self) -> int:
        """Number of weights as arrays."""
        return self.cell.num_arrays + len(self.own_shapes)

    @property
    def num_parameters(self) -> int:
        """Number of weights, all arrays together."""
        own = sum(prod(shape) for shape in self.own_shapes.values())
        return self.cell.num_parameters + own

    def take_weight(self, name: str, value: object) -> Array:
        """Return `value` as an array of its own for the weight of this name."""
        shape = self.own_shapes.get(name)
        if shape is None:
            return self.cell.take_weight(name, value)
        return check_weight(name, value, LETTERS[name], shape, self.dtype)

    # Between the user's weights and the kernels'

    def engine_weights(self, weights: Mapping[str, Array]) -> tuple[Array | None, ...]:
        """Return the weights as kernels see them, in the order of their struct."""
        matrices, biases = [], []
        if self.units is not None:
            matrices.append(weights["weight_query_l0"])
            biases.append(np.zeros(self.units, self.dtype))
        if self.selector:
            matrices.append(weights["weight_selector_l0"][None])
            biases.append(weights["bias_selector_l0"])
        return (
            np.concatenate(matrices) if matrices else None,
            np.concatenate(biases) if biases else None,
            weights.get("weight_memory_l0"),
            weights.get("bias_attention_l0"),
            weights.get("weight_score_l0"),
        )

    def user_gradients(self, dweights: tuple[Array | None, ...]) -> dict[str, Array]:
        """Return the gradients by name, from those of `engine_weights`."""
        query, query_bias, memory, memory_bias, score = dweights
        A = self.units or 0
        found: dict[str, Array | None] = {
            "weight_query_l0": None if query is None else query[:A].copy(),
            "weight_memory_l0": memory,
            "bias_attention_l0": memory_bias,
            "weight_score_l0": score,
        }
        if query is not None and query_bias is not None and self.selector:
            found["weight_selector_l0"] = query[A].copy()
            found["bias_selector_l0"] = query_bias[A:].copy()
        return {
            name: array
            for name in self.own_shapes
            if (array := found[name]) is not None
        }


# Checks of arguments


def as_choice(choices: tuple[str, ...]) -> Any:
    """Return the check of an argument that is one of some words."""

    def check(name: str, value: object, _: Arguments) -> str:
        return _checks.check_choice(name, value, choices)

    return check


def _memory_size(name: str, value: object, given: Arguments) -> int:
    size = _checks.check_size(name, value)
    H, score = given["hidden_size"], given["score"]
    if score == "dot" and size != H:
        raise ValueError(f"{name}: expected H={H} with score='dot', got {size}")
    sizes = f"{name}={size}, hidden_size={H}"
    check_memory(sizes, "weights", size * H * given["dtype"].itemsize)
    return size


def _attention_size(name: str, value: object, given: Arguments) -> int | None:
    if given["score"] == "additive":
        return given["hidden_size"] if value is None else as_size(name, value, given)
    if value is not None:
        score, got = given["score"], _checks.describe(value)
        raise ValueError(f"{name}: expected None with score={score!r}, got {got}")
    return None


def _output(name: str, value: object, given: Arguments) -> str:
    output = _checks.check_choice(name, value, OUTPUTS)
    if given["query"] == "new" and output == "state":
        raise ValueError(
            f"{name}: expected 'concat' with query='new', whose context goes nowhere "
            "else, got 'state'"
        )
    return output


CHECKS: Mapping[str, Any] = {
    "cell": as_choice(CELLS),
    "memory_size": _memory_size,
    "attention_size": _attention_size,
    "score": as_choice(SCORES),
    "query": as_choice(QUERIES),
    "selector": as_flag,
    "output": _output,
}
"""How the arguments of an attention decoder are checked."""
