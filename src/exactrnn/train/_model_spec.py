"""What a language model is, without its weights: its alphabet, sizes and parts.

They are judged without building anything, so that a file that claims what it does not
hold, or a caller who asks for what no memory holds, is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import (
    Array,
    FloatType,
    check_choice,
    describe,
)
from exactrnn._checks.limits import check_weights, quote
from exactrnn._spec.arguments import Arguments, as_size
from exactrnn._spec.record import Record
from exactrnn._system.locks import cached_property
from exactrnn.layers import GRU, LSTM, RNN
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.layers._module import Module, Spec

CELLS: Mapping[str, type[Module]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
SIZES = ("cell", "num_layers", "hidden_size", "embedding_size")


class Part(NamedTuple):
    """One module of a model: its class, its constructor's arguments, what it is."""

    kind: type[Module]
    arguments: Arguments
    spec: Spec


def make_part(kind: type[Module], **own: object) -> Part:
    """Return a part, all of whose other arguments have their defaults."""
    given = kind._given(own)
    return Part(kind, given, kind._configure(given))


@dataclass(frozen=True)
class ModelSpec:
    """Alphabet, cell, numbers and dtype, each checked by itself."""

    alphabet: str
    cell: str
    num_layers: int
    hidden_size: int
    embedding_size: int
    dtype: FloatType

    def __post_init__(self) -> None:
        """Raise if such a model is absurdly large, listing nothing."""
        sizes = {"alphabet": f"{len(self.alphabet)} characters", **self.sizes}
        spelled = ", ".join(f"{name}={size}" for name, size in sizes.items())
        count, itemsize = self.num_parameters, self.dtype.itemsize
        check_weights(spelled, self.num_arrays, count, itemsize)

    @property
    def sizes(self) -> dict[str, str | int]:
        """The constructor's arguments but for the alphabet, as plain values."""
        return {**{n: getattr(self, n) for n in SIZES}, "dtype": self.dtype.name}

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """What the attributes of a model are that have weights, by name."""
        V, H, E = len(self.alphabet), self.hidden_size, self.embedding_size
        recurrent = {"input_size": E, "hidden_size": H, "num_layers": self.num_layers}
        own: Mapping[str, tuple[type[Module], dict[str, int]]] = {
            "embedding": (Embedding, {"num_embeddings": V, "embedding_dim": E}),
            "recurrent": (CELLS[self.cell], recurrent),
            "readout": (Linear, {"in_features": H, "out_features": V}),
        }
        dtype = self.dtype.name
        return {n: make_part(k, **sizes, dtype=dtype) for n, (k, sizes) in own.items()}

    @property
    def num_arrays(self) -> int:
        """Number of weights as arrays, without listing them."""
        return sum(part.spec.num_arrays for part in self.parts.values())

    @property
    def num_parameters(self) -> int:
        """Number of weights, all arrays together."""
        return sum(part.spec.num_parameters for part in self.parts.values())

    @cached_property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each weight by name, in the order of `state_dict`."""
        return {
            f"{name}.{own}": shape
            for name, part in self.parts.items()
            for own, shape in part.spec.weight_shapes.items()
        }

    def take_weight(self, name: str, value: object) -> Array:
        """Return `value` as an array of its own for the weight of this name."""
        part, _, own = name.partition(".")
        try:
            return self.parts[part].spec.take_weight(own, value)
        except (TypeError, ValueError) as error:  # which begins with the name
            raise type(error)(f"{part}.{error}") from error

    # The alphabet

    @cached_property
    def ranks(self) -> NDArray[np.intp]:
        """The places of the characters in the alphabet, by code point."""
        return np.argsort(codes_of(self.alphabet), kind="stable")

    @cached_property
    def codes(self) -> NDArray[np.uint32]:
        """The code points of the alphabet in ascending order."""
        return codes_of(self.alphabet)[self.ranks]

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the places of the characters of `text` in the alphabet."""
        codes = codes_of(text)
        place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        unknown = np.flatnonzero(self.codes[place] != codes)
        if unknown.size:
            letters = "".join(sorted({text[i] for i in unknown.tolist()}))
            raise ValueError(f"text: characters unknown to the model: {quote(letters)}")
        return np.asarray(self.ranks[place], np.int64)


def codes_of(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def check_alphabet(alphabet: object) -> str:
    """Return the characters of a model, each once."""
    expected = "alphabet: expected a str of at least one character, each once"
    if not isinstance(alphabet, str):
        raise TypeError(f"{expected}, got {describe(alphabet)}")
    if not alphabet or len(set(alphabet)) != len(alphabet):
        raise ValueError(f"{expected}, got {quote(alphabet)}")
    return alphabet


def _alphabet(_: str, value: object, __: Arguments) -> str:
    return check_alphabet(value)


def _cell(name: str, value: object, _: Arguments) -> str:
    return check_choice(name, value, tuple(CELLS))


RECORD = Record(
    name="language_model",
    checks={"alphabet": _alphabet, "cell": _cell, "embedding_size": as_size},
)
"""How the arguments of a model are checked, for its class."""
