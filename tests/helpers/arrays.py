"""Random arrays, streams of a seed, states as tuples, and equality to the bit."""

import hashlib

import numpy as np


def draw(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def stream_of(module, name, seed=1):
    """Return the generator that a weight is drawn from, as contract N9 words it."""
    digest = hashlib.sha256(f"{type(module).__name__}/{name}".encode()).digest()
    key = [int.from_bytes(digest[k : k + 4], "little") for k in (0, 4, 8, 12)]
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def as_state(parts):
    return tuple(parts) if len(parts) > 1 else parts[0]


def same_bits(first, second):
    if isinstance(first, tuple | list):
        pairs = zip(first, second, strict=True)
        return all(same_bits(a, b) for a, b in pairs)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return all(same_bits(first[key], second[key]) for key in first)
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    assert (first.shape, first.dtype) == (second.shape, second.dtype)
    return first.tobytes() == second.tobytes()
