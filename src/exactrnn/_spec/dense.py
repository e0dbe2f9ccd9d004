"""What a dense layer is, without its weights: `Embedding` and `Linear`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exactrnn._checks import Array, FloatType, check_weight
from exactrnn._numeric.random import Seed, symmetric
from exactrnn._system.locks import cached_property


@dataclass(frozen=True)
class DenseSpec:
    """What a dense layer is: a matrix `weight`, and `bias`, one number for each row.

    `letters` and `shape` are those of the matrix.
    """

    letters: tuple[str, str]
    shape: tuple[int, int]
    bias: bool
    dtype: FloatType

    @cached_property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each weight by name, in the order of `state_dict`."""
        own: dict[str, tuple[int, ...]] = {"weight": self.shape}
        return own | {"bias": self.shape[:1]} if self.bias else own

    @property
    def num_arrays(self) -> int:
        """Number of weights as arrays."""
        return 1 + self.bias

    @property
    def num_parameters(self) -> int:
        """Number of weights, all arrays together."""
        rows, columns = self.shape
        return rows * (columns + self.bias)

    def take_weight(self, name: str, value: object) -> Array:
        """Return `value` as an array of its own for the weight of this name."""
        shape = self.weight_shapes[name]
        letters = self.letters[: len(shape)]
        return check_weight(name, value, letters, shape, self.dtype)

    def draw(self, bound: float, seed: Seed) -> dict[str, Array]:
        """Return weights uniform within ±`bound`, by name."""
        return {
            name: symmetric(shape, bound, self.dtype, seed.stream(name))
            for name, shape in self.weight_shapes.items()
        }
