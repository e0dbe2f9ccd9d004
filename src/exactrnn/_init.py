"""Random numbers of a layer: its first weights, as in `torch.nn`, and dropout masks.

Contract N9: integers from a seeded generator, turned into floats by exact operations.
The generator is PCG64 over `SeedSequence(seed)`, read as raw 64-bit integers:

    float32:  u = (raw >> 40) * 2**-24        float64:  u = (raw >> 11) * 2**-53
    weight  = (2*u - 1) * bound               bound = 1 / sqrt(H), in the dtype
    mask    = 1 / (1 - p)  where  (raw >> 11) >= p * 2**53,  else 0

Weights are drawn in the order of `state_dict`, each in storage order; after them, at
each `forward`, a mask [T, B, D*H] in storage order for each layer but the last. The
pattern of a mask does not depend on the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from exactrnn._checks import Array, FloatType, allocate

_FRACTION_BITS = {"float32": 24, "float64": 53}


def make_generator(seed: int | None) -> np.random.PCG64:
    """Return the generator of a layer; None takes a seed from the system."""
    return np.random.PCG64(np.random.SeedSequence(seed))


def draw_weights(
    shapes: Mapping[str, tuple[int, ...]],
    hidden_size: int,
    dtype: FloatType,
    generator: np.random.PCG64,
) -> dict[str, Array]:
    """Return uniform weights in +-1/sqrt(H), `torch.nn`'s default."""
    number = dtype.type
    bound = number(1) / np.sqrt(number(hidden_size))
    bits = _FRACTION_BITS[dtype.name]
    weights = {}
    for name, shape in shapes.items():
        weight = allocate(shape, dtype)
        raw = generator.random_raw(weight.size)
        uniform = (raw >> np.uint64(64 - bits)).astype(dtype) * number(2.0**-bits)
        weight[...] = ((2 * uniform - 1) * bound).reshape(shape)
        weights[name] = weight
    return weights


def draw_mask(
    shape: tuple[int, ...], share: float, dtype: FloatType, generator: np.random.PCG64
) -> Array:
    """Return a dropout mask: 0 with probability `share`, else 1 / (1 - share)."""
    threshold = np.uint64(math.ceil(share * 2.0**53))
    kept = (generator.random_raw(math.prod(shape)) >> np.uint64(11)) >= threshold
    scale = dtype.type(1.0 / (1.0 - share))
    return np.where(kept, scale, dtype.type(0)).reshape(shape)
