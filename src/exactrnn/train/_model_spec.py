"""What a language model is, without its weights: its alphabet, sizes and parts.

They are judged without building anything, so that a file that claims what it does not
hold, or a caller who asks for what no memory holds, is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from exactrnn import cells
from exactrnn._checks import Array, FloatType, check_choice
from exactrnn._checks.limits import check_weights
from exactrnn._graph.symbols import Cell
from exactrnn._spec.arguments import Arguments, as_size
from exactrnn._spec.record import Record
from exactrnn._system.locks import cached_property
from exactrnn.layers import NETWORKS, Layer
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.layers._module import Module
from exactrnn.train._units import UNITS, Alphabet, Codec, check_alphabet

SIZES = ("cell", "num_layers", "hidden_size", "embedding_size")
DEFINITIONS: Mapping[str, type[Cell]] = {
    name.lower(): getattr(cells, name) for name in cells.__all__
}
CELLS = (*NETWORKS, *DEFINITIONS)
"""Every cell that runs over sequences, by the names that networks have and those of
definitions in small letters."""


def kind_of_cell(cell: str, hidden_size: int) -> tuple[type[Module], dict[str, object]]:
    """Return the class of a cell's layers, and the arguments that choose it."""
    if cell in DEFINITIONS:
        return Layer, {"cell": DEFINITIONS[cell]()}
    network = NETWORKS[cell]
    return network.kind, network.options(hidden_size)


class Part(NamedTuple):
    """One module of a model: its class, its constructor's arguments, what it is."""

    kind: type[Module]
    arguments: Arguments
    spec: Any


def make_part(kind: type[Module], **own: object) -> Part:
    """Return a part, all of whose other arguments have their defaults."""
    given = kind._given(own)
    return Part(kind, given, kind._configure(given))


@dataclass(frozen=True)
class ModelSpec:
    """Alphabet, cell, numbers and dtype, each checked by itself."""

    alphabet: Alphabet
    unit: str
    cell: str
    num_layers: int
    hidden_size: int
    embedding_size: int
    dtype: FloatType

    def __post_init__(self) -> None:
        """Raise if such a model is absurdly large, listing nothing."""
        sizes = {"alphabet": f"{len(self.alphabet)} symbols", **self.sizes}
        spelled = ", ".join(f"{name}={size}" for name, size in sizes.items())
        count, itemsize = self.num_parameters, self.dtype.itemsize
        check_weights(spelled, self.num_arrays, count, itemsize)

    @property
    def sizes(self) -> dict[str, str | int]:
        """The constructor's arguments but for the alphabet, as plain values.

        A unit of characters is left out, which all models had once: their files keep
        their bytes.
        """
        unit = {} if self.unit == "characters" else {"unit": self.unit}
        sizes = {name: getattr(self, name) for name in SIZES}
        return {**sizes, "dtype": self.dtype.name, **unit}

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """What the attributes of a model are that have weights, by name."""
        V, H, E = len(self.alphabet), self.hidden_size, self.embedding_size
        kind, chosen = kind_of_cell(self.cell, H)
        sizes = {"input_size": E, "hidden_size": H, "num_layers": self.num_layers}
        dtype = self.dtype.name
        recurrent = make_part(kind, **sizes, **chosen, dtype=dtype)
        width = recurrent.spec.output_size
        return {
            "embedding": make_part(
                Embedding, num_embeddings=V, embedding_dim=E, dtype=dtype
            ),
            "recurrent": recurrent,
            "readout": make_part(
                Linear, in_features=width, out_features=V, dtype=dtype
            ),
        }

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
            array: Array = self.parts[part].spec.take_weight(own, value)
        except (TypeError, ValueError) as error:  # which begins with the name
            raise type(error)(f"{part}.{error}") from error
        return array

    @cached_property
    def codec(self) -> Codec:
        """Texts to symbols and back."""
        return Codec(self.alphabet, self.unit)


def _alphabet(_: str, value: object, given: Arguments) -> Alphabet:
    return check_alphabet(value, given["unit"])


def _unit(name: str, value: object, _: Arguments) -> str:
    return check_choice(name, value, UNITS)


def _cell(name: str, value: object, _: Arguments) -> str:
    return check_choice(name, value, CELLS)


RECORD = Record(
    name="language_model",
    checks={
        "alphabet": _alphabet,
        "unit": _unit,
        "cell": _cell,
        "embedding_size": as_size,
    },
)
"""How the arguments of a model are checked, for its class."""
