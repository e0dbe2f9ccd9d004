"""What goes through examples once an epoch, in an order of the epoch's own.

The order is a function of the seed and the epoch's number alone (contract N9): a run
that is resumed, or spread over other workers, sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks.numbers import check_count
from exactrnn._numeric.random import make_generator

B = TypeVar("B")


class Epochs(Generic[B]):
    """Batches of `_size` examples; a class of it has `num_examples` and `_walk`."""

    def __init__(self, size: int, seed: int | None) -> None:
        self._size = size
        self._seed = seed
        self._epoch = 0

    def __repr__(self) -> str:
        own = f"size={self._size}, seed={self._seed}"
        return f"<{type(self).__name__} of {self.num_examples} examples, {own}>"

    def __len__(self) -> int:
        return (self.num_examples + self._size - 1) // self._size

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[B]:
        """Go through the examples once, in the order of the next epoch."""
        self._epoch += 1
        return self.epoch(self._epoch - 1)

    def epoch(self, number: int) -> Iterator[B]:
        """Go through the examples once, in the order of this epoch.

        Parameters
        ----------
        number : int
            0 for the first.
        """
        return self._walk(str(check_count("number", number)))

    def _walk(self, epoch: str) -> Iterator[B]:
        """Give the batches of an epoch, by whose name orders are drawn."""
        raise NotImplementedError

    def _shuffled(self, count: int, *names: str) -> NDArray[np.intp]:
        """Return an order of so many, drawn by these names; without a seed as it is."""
        if self._seed is None:
            return np.arange(count)
        raw = make_generator(self._seed, *names).random_raw(count)
        return np.argsort(np.asarray(raw), kind="stable")
