"""Entries: what is known of a tensor before its numbers are read; trees made flat.

A file may name more tensors than anybody asks for, and claim any size for them; so
names, dtypes and shapes come first, and `read` is called for those that are used.

Checkpoints are dictionaries of dictionaries. Their tensors are named by the way to
them, `state_dict.encoder.weight_ih_l0`; what is no tensor and no dictionary is left.
A dictionary may be its own item, and a small pickle may have one thing in exponentially
many places: depth, length of names and number of steps are limited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from exactrnn._checks.limits import MAX_SIZE, quote, shorten

MAX_STEPS = 2**18
"""Items of dictionaries that are looked at."""
MAX_DEPTH = 16
MAX_NAME = 1000
MAX_AXES = 16


class Entry(NamedTuple):
    """A tensor that can be read.

    Attributes
    ----------
    dtype : str
        As NumPy or torch call it: `"float32"`, `"bfloat16"`.
    shape : tuple of int
        As claimed; `read` compares it with what is there.
    read : callable
        Gives the numbers as an array, those of bfloat16 in float32.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]


def check_claim(shape: object) -> tuple[int, ...]:
    """Return a shape as a tuple of ints, if a tensor could have it at all."""
    if not isinstance(shape, tuple | list) or len(shape) > MAX_AXES:
        raise ValueError(f"it has a tensor of shape {quote(shape)}")
    sizes = tuple(shape)
    if not all(type(size) is int and 0 <= size <= MAX_SIZE for size in sizes) or (
        math.prod(sizes) > MAX_SIZE
    ):
        raise ValueError(f"it has a tensor of shape {quote(sizes)}")
    return sizes


def flatten(
    tree: Mapping[Any, object], as_entry: Callable[[str, object], Entry | None]
) -> dict[str, Entry]:
    """Return the tensors of dictionaries within dictionaries by their full names."""
    found: dict[str, Entry] = {}
    waiting = [("", 0, tree)]
    steps = 0
    while waiting:
        prefix, depth, branch = waiting.pop()
        deeper = []
        for key, value in branch.items():
            steps += 1
            if not isinstance(key, str | int):
                continue
            name = f"{prefix}{key}"
            if steps > MAX_STEPS or depth > MAX_DEPTH or len(name) > MAX_NAME:
                raise ValueError(f"it is too large or too deep at {quote(name)}")
            if isinstance(value, Mapping):
                deeper.append((f"{name}.", depth + 1, value))
                continue
            entry = as_entry(name, value)
            if entry is None:
                continue
            if name in found:
                raise ValueError(f"it has {shorten(quote(name))} twice")
            found[name] = entry
        waiting += reversed(deeper)
    return found
