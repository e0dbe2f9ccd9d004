"""Attention decoders among the cases: their settings, and what each side computes.

Inputs are x, memory, dy, dattention, states and their gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from exactrnn._checks import Array, FloatType
from exactrnn.layers.attention import AttentionDecoder
from exactrnn.reference import Direction, Weights
from exactrnn.reference.attention import (
    Attention,
    AttentionWeights,
    decoder_backward,
    decoder_forward,
)
from exactrnn.reference.cells import CELLS

Arrays: TypeAlias = list[Array]

SETTINGS: tuple[Mapping[str, Any], ...] = (
    {"cell": "gru_before", "attention_size": 6},
    {"cell": "lstm", "attention_size": 6, "selector": True, "output": "concat"},
    {"cell": "lstm", "score": "general", "query": "new", "output": "concat"},
    {"cell": "gru", "score": "dot", "query": "new", "output": "concat"},
)
T, B, S, I, H, M = 5, 3, 19, 4, 9, 7
LENGTHS = {"lengths": np.array([5, 0, 3]), "memory_lengths": np.array([19, 4, 0])}


def make_decoders(dtype: FloatType) -> Iterator[AttentionDecoder]:
    """Give a decoder of each setting."""
    for setting in SETTINGS:
        M_own = H if setting.get("score") == "dot" else M
        yield AttentionDecoder(
            input_size=I, hidden_size=H, memory_size=M_own, dtype=dtype, **setting
        )


def shapes_of(decoder: AttentionDecoder) -> list[tuple[int, ...]]:
    """Return the shapes of a decoder's inputs."""
    states = 2 * len(decoder._spec.cell.state_sizes)
    wide = decoder.output_size
    own = [(T, B, I), (S, B, decoder.memory_size), (T, B, wide), (T, B, S)]
    return [*own, *[(1, B, H)] * states]


def _user(parts: Arrays) -> Any:
    return tuple(parts) if len(parts) > 1 else parts[0]


def _parts(state: Any) -> Arrays:
    return list(state) if isinstance(state, tuple) else [state]


def run_kernels(decoder: AttentionDecoder, inputs: Arrays) -> Arrays:
    """Return the results of the public class."""
    x, memory, dy, dattention, *states = inputs
    half = len(states) // 2
    y, last, cache = decoder.forward(x, memory, _user(states[:half]), **LENGTHS)
    plain, _ = decoder(x, memory, _user(states[:half]), **LENGTHS)
    back = decoder.backward(cache, dy, _user(states[half:]), dattention=dattention)
    found = [plain, y, cache.gates["attention_l0"], *_parts(last)]
    found += [back.x, back.memory, *_parts(back.state)]
    return [*found, *back.weights.values()]


def run_twin(decoder: AttentionDecoder, inputs: Arrays) -> Arrays:
    """Return the same by the NumPy reference."""
    x, memory, dy, dattention, *states = inputs
    half, spec, weights = len(states) // 2, decoder._spec, decoder.state_dict()
    direction = Direction(
        CELLS[spec.cell.cell],
        Weights.of(spec.cell.engine_weights(weights, 0, 0)),
        spec.cell.activations,
    )
    own = AttentionWeights(*spec.engine_weights(weights))
    y, context, last, cache = decoder_forward(
        direction,
        Attention(spec.score, spec.query, spec.selector, own),
        x,
        memory,
        tuple(part[0] for part in states[:half]),
        **LENGTHS,
    )
    wide = spec.output == "concat"
    dcontext = dy[..., H:] if wide else None
    dstate = tuple(part[0] for part in states[half:])
    back = decoder_backward(cache, dy[..., :H], dcontext, dstate, dattention=dattention)
    full = np.concatenate([y, context], axis=2) if wide else y
    found = [full, full, np.stack([look.alpha for look in cache.looks]), *last]
    found += [back.x, back.memory, *back.state]
    names = spec.cell.weight_groups[0][0]
    pairs = zip(names, back.weights, strict=True)
    found += [w for name, w in pairs if name is not None and w is not None]
    return [*found, *spec.user_gradients(tuple(back.attention)).values()]
