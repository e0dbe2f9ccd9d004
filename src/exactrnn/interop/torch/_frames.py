"""Between tensors in a caller's layout and the time-major arrays of the kernels.

Tensors become arrays without a copy wherever their last axis has no gaps, and results
become tensors without one. A packed sequence is spread out to [T, B, n], with padding
that nobody writes or reads, and gathered again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from exactrnn._checks import Array, allocate
from exactrnn._checks.limits import quote

Counts = NDArray[np.int64]


def array_of(tensor: torch.Tensor) -> Any:
    """Return the memory of a tensor as an array whose last axis has no gaps."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if not tensor.is_contiguous() and tensor.stride(-1) != 1 != tensor.shape[-1]:
        tensor = tensor.contiguous()
    return tensor.numpy()


def gapless(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose memory holds its values one after the other."""
    if tensor.is_contiguous() and not tensor.is_neg():
        return tensor
    return tensor.detach().resolve_neg().contiguous()


def compact(tensor: torch.Tensor) -> Any:
    """Return the memory of a tensor as a C-contiguous array."""
    return array_of(tensor.contiguous())


class Ragged(NamedTuple):
    """Where the rows of a packed sequence lie in an array [T, B, n].

    `places` are theirs in [T * B, n], in the order in which they are packed.
    """

    places: Counts
    lengths: Counts
    sizes: tuple[int, int]

    def spread(self, data: Array, make: Callable[..., Array] = allocate) -> Array:
        """Return an array [T, B, n] whose padding holds what `make` puts there."""
        steps, rows = self.sizes
        padded = make((steps * rows, data.shape[1]), data.dtype)
        padded[self.places] = data
        return padded.reshape(steps, rows, -1)

    def gather(self, padded: Array) -> Array:
        """Return the rows that are not padding, packed."""
        return padded.reshape(-1, padded.shape[2]).take(self.places, axis=0)


def ragged_of(batch_sizes: torch.Tensor, count: int) -> Ragged:
    """Return where the rows of a packed sequence lie; given are those of each step."""
    sizes = batch_sizes.numpy()
    if sizes.sum() != count or sizes[-1] < 1 or (sizes[1:] > sizes[:-1]).any():
        raise RuntimeError(
            "input: expected a packed sequence whose batch_sizes do not grow, with "
            f"{count} rows in all, got {quote(sizes.tolist())}"
        )
    there = np.arange(sizes[0]) < sizes[:, None]
    lengths = np.count_nonzero(there, axis=0)
    return Ragged(np.flatnonzero(there), lengths, there.shape)


class Frame(NamedTuple):
    """How a caller has sequences: [T, B, n], [B, T, n], packed, or one step [B, n]."""

    step: bool
    batch_first: bool
    ragged: Ragged | None

    @property
    def lengths(self) -> Counts | None:
        """Of the rows of a packed sequence."""
        return None if self.ragged is None else self.ragged.lengths

    def inward(self, array: Array) -> Array:
        """Return a view [T, B, n]; a new array of what is packed."""
        if self.ragged is not None:
            return self.ragged.spread(array)
        if self.step:
            return array[None]
        return array.swapaxes(0, 1) if self.batch_first else array

    def outward(self, array: Array) -> Array:
        """Return the caller's view of an array [T, B, n]; a new one if packed."""
        if self.ragged is not None:
            return self.ragged.gather(array)
        if self.step:
            return array[0]
        return array.swapaxes(0, 1) if self.batch_first else array

    def new(self, steps: int, rows: int, width: int, dtype: np.dtype[Any]) -> Array:
        """Return an array [T, B, n] whose caller's view is contiguous."""
        if self.batch_first:
            return allocate((rows, steps, width), dtype).swapaxes(0, 1)
        return allocate((steps, rows, width), dtype)
