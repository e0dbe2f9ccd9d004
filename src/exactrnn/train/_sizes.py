"""The sizes of a language model: what makes one but for its alphabet and its weights.

They are judged without building anything, so that a file that claims what it does not
hold, or a caller who asks for what no memory holds, is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from exactrnn._checks import (
    check_choice,
    check_dtype,
    check_size,
    describe,
)
from exactrnn._checks.limits import check_weights, quote
from exactrnn._checks.naming import check_names
from exactrnn._spec.recurrent import Config
from exactrnn._system.locks import cached_property
from exactrnn.layers import GRU, LSTM, RNN
from exactrnn.train._checks import FloatArray, check_shape

CELLS: Mapping[str, Any] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
OTHER_ARRAYS = 3
"""Arrays of the embedding and of the readout."""


@dataclass(frozen=True)
class Sizes:
    """Cell, numbers and dtype, each checked by itself (`check_sizes`)."""

    cell: str
    num_layers: int
    hidden_size: int
    embedding_size: int
    dtype: str

    @cached_property
    def recurrent(self) -> Config:
        """What the recurrent layers are, without their weights."""
        kind = CELLS[self.cell]
        sizes = ("num_layers", "hidden_size", "dtype")
        own = {name: getattr(self, name) for name in sizes}
        arguments = {**own, "input_size": self.embedding_size}
        return cast(Config, kind._configured(arguments))

    def check(self, letters: int) -> None:
        """Raise if a model of this alphabet is absurdly large, listing nothing."""
        others = letters * (self.embedding_size + self.hidden_size + 1)
        elements = self.recurrent.num_elements + others
        arrays = self.recurrent.num_arrays + OTHER_ARRAYS
        sizes = {"alphabet": f"{letters} characters", **asdict(self)}
        spelled = ", ".join(f"{name}={size}" for name, size in sizes.items())
        check_weights(spelled, arrays, elements, np.dtype(self.dtype).itemsize)

    def check_arrays(self, letters: int, arrays: Mapping[str, FloatArray]) -> None:
        """Raise unless arrays have the names and shapes of a model of this alphabet."""
        self.check(letters)
        count = self.recurrent.num_arrays + OTHER_ARRAYS
        if len(arrays) != count:  # before they are listed
            got = f"got {len(arrays)}"
            raise ValueError(f"weights: expected {count} arrays for these sizes, {got}")
        shapes = self.shapes(letters)
        check_names("weights", arrays, shapes)
        for name, shape in shapes.items():
            check_shape(name, arrays[name], shape)

    def shapes(self, letters: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of a model of this alphabet, by name."""
        inner = self.recurrent.weight_shapes.items()
        return {
            "embedding.weight": (letters, self.embedding_size),
            **{f"recurrent.{name}": shape for name, shape in inner},
            "readout.weight": (letters, self.hidden_size),
            "readout.bias": (letters,),
        }


def check_sizes(
    cell: object,
    num_layers: object,
    hidden_size: object,
    embedding_size: object,
    dtype: object,
) -> Sizes:
    """Return the sizes of a model, each checked by itself."""
    return Sizes(
        check_choice("cell", cell, tuple(CELLS)),
        check_size("num_layers", num_layers),
        check_size("hidden_size", hidden_size),
        check_size("embedding_size", embedding_size),
        check_dtype(dtype).name,
    )


def check_alphabet(alphabet: object) -> str:
    """Return the characters of a model, each once."""
    expected = "alphabet: expected a str of at least one character, each once"
    if not isinstance(alphabet, str):
        raise TypeError(f"{expected}, got {describe(alphabet)}")
    if not alphabet or len(set(alphabet)) != len(alphabet):
        raise ValueError(f"{expected}, got {quote(alphabet)}")
    return alphabet
