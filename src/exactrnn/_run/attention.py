"""Calls of an attention decoder: arrays that are checked, to the kernels and back.

Time is the first axis, and B is there. What a call keeps is a `DecoderRun`; what runs
a stream is a `_core.LookStepper`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run.protocol import States
from exactrnn._spec.attention import AttentionSpec
from exactrnn._weights.attention import AttentionStore
from exactrnn._weights.store import STALE, Packs


class Given(NamedTuple):
    """What a call was given, checked: the states or lengths may be None."""

    x: Array
    memory: Array
    state: States | None
    memory_lengths: Lengths | None
    lengths: Lengths | None


class GivenBack(NamedTuple):
    """Gradients that a backward was given, None for zeros."""

    dy: Array | None
    dstate: States | None
    dattention: Array | None


class Found(NamedTuple):
    """Arrays that looks leave, as `_core.Looks` takes them."""

    context: Array
    alpha: Array
    queries: Array | None
    sums: Array | None

    def as_tuple(self) -> tuple[Array, Array, Array | None, Array | None]:
        """Return a plain tuple, which is all that the kernels' side takes."""
        return self.context, self.alpha, self.queries, self.sums


OF_CALL = ("inputs", "memory", "memory_lengths", "lengths")


@dataclass(frozen=True)
class DecoderRun:
    """What a call has left behind: copies of what it was given, and its cache.

    `inputs` is the cell's input, `keys` are those of the memory, [B, K, Sp]; `kept` is
    None of an empty call.
    """

    version: int
    inputs: Array
    memory: Array
    memory_lengths: Lengths | None
    lengths: Lengths | None
    keys: Array
    found: Found
    kept: _core.LayerCache | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, B and S."""
        T, B, S = self.found.alpha.shape
        return T, B, S

    def reduce(self, store: AttentionStore) -> dict[str, Any]:
        """Return what makes an equal run of an equal decoder."""
        own = {name: getattr(self, name) for name in (*OF_CALL, "keys", "found")}
        kept = None if self.kept is None else self.kept.content()
        return {**own, "kept": kept, "current": store.is_current(self.version)}


def restore_run(store: AttentionStore, described: Mapping[str, Any]) -> DecoderRun:
    """Return the run that has been reduced, as one of this decoder's."""
    parts = dict(described)
    packs = store.packs(engine.isa(), backward=True)
    kept, current = parts.pop("kept"), parts.pop("current")
    cache = None if kept is None else _core.restore_cache(packs.copies[0], kept)
    return DecoderRun(version=packs.version if current else STALE, kept=cache, **parts)


class Decoder:
    """What runs a decoder: its specification and the owner of its weights."""

    def __init__(self, spec: AttentionSpec, weights: Mapping[str, Array]) -> None:
        self.spec = spec
        self.store = AttentionStore(spec, weights)

    def new_states(self, rows: int) -> tuple[Array, ...]:
        """Return arrays [1, B, H] for states."""
        sizes = self.spec.cell.state_sizes
        return tuple(_checks.allocate((1, rows, n), self.spec.dtype) for n in sizes)

    def new_keys(self, rows: int, places: int) -> Array:
        """Return memory for the keys of that many places."""
        shape = (rows, self.spec.form["K"], _core.padded(places))
        return _checks.allocate(shape, self.spec.dtype)

    def new_stepper(
        self, packs: Packs, memory: Array, memory_lengths: Lengths | None
    ) -> _core.LookStepper:
        """Return what runs one step after the other, from a state of zeros."""
        cell, (attention,) = packs.copies
        own, joined = (
            cast(_core.PackedAttention, attention),
            self.spec.output != "state",
        )
        team = engine.threads_for_calls
        return _core.LookStepper(cell, own, memory, memory_lengths, joined, team)

    def run(
        self, given: Given, *, keep: bool
    ) -> tuple[Array, tuple[Array, ...], DecoderRun | None]:
        """Return the output, the states after it, and what is kept."""
        spec, (T, B, _) = self.spec, given.x.shape
        packs = self.store.packs(engine.isa(), backward=keep)
        y = np.zeros((T, B, spec.output_size), spec.dtype)
        inputs = self._inputs(given, keep=keep)
        found = self._new_found(given, inputs, keep=keep)
        after, kept = self.new_states(B), None
        keys = self.new_keys(B, len(given.memory))
        if T == 0 or B == 0:
            before = given.state or tuple(np.zeros_like(part) for part in after)
            after = tuple(part.copy() for part in before)
        else:
            looks = _core.Looks(
                given.memory, given.memory_lengths, keys, False, found.as_tuple()
            )
            threads = engine.threads_for_calls()
            sweep = _core.Sweep(given.lengths, None, False, threads, keep)
            kept = self.look(packs, sweep, looks, (inputs, y, given.state, after))
        if not keep:
            return y, after, None
        run = DecoderRun(
            packs.version,
            inputs,
            given.memory,
            given.memory_lengths,
            given.lengths,
            keys,
            found,
            kept,
        )
        return y, after, run

    def look(
        self,
        packs: Packs,
        sweep: _core.Sweep,
        looks: _core.Looks,
        arrays: tuple[Array, Array, States | None, States],
    ) -> _core.LayerCache | None:
        """Run the kernels from inputs to output, and from the states to the next."""
        inputs, y, before, after = arrays
        H = self.spec.cell.hidden_size
        cell, (attention,) = packs.copies
        own = cast(_core.PackedAttention, attention)
        states = (before, after)
        kept = _core.look_forward(cell, own, sweep, looks, inputs, y[..., :H], states)
        if self.spec.output == "concat":
            y[..., H:] = looks.context
        return kept

    def _inputs(self, given: Given, *, keep: bool) -> Array:
        """Return the cell's input, with room for the context."""
        spec, (T, B, I) = self.spec, given.x.shape
        if not spec.looks_before:
            return given.x.copy() if keep else given.x
        inputs = np.zeros((T, B, I + spec.memory_size), spec.dtype)
        inputs[..., :I] = given.x
        return inputs

    def _new_found(self, given: Given, inputs: Array, *, keep: bool) -> Found:
        """Return where looks put what they find."""
        spec, (T, B, I) = self.spec, given.x.shape
        S, M, Q = len(given.memory), spec.memory_size, spec.form["Q"]
        if spec.looks_before:
            context = inputs[..., I:]
        else:
            context = np.zeros((T, B, M), spec.dtype)
        alpha = np.zeros((T, B, S), spec.dtype)
        if not keep:
            return Found(context, alpha, None, None)
        queries = np.zeros((T, B, _core.padded(Q) if Q else 0), spec.dtype)
        sums = np.zeros((T, B, M), spec.dtype) if spec.selector else None
        return Found(context, alpha, queries, sums)

    def run_back(
        self, run: DecoderRun, given: GivenBack
    ) -> tuple[Array, Array, tuple[Array, ...], dict[str, Array]]:
        """Return the gradients of input, memory, initial states and weights."""
        spec, (T, B, _) = self.spec, run.shape
        packs = self.store.packs(engine.isa(), backward=True)
        _checks.check_version(run.version, packs.version)
        dx = np.zeros((T, B, spec.input_size), spec.dtype)
        dmemory = np.zeros_like(run.memory)
        shapes = spec.cell.weight_shapes
        weights = {name: np.zeros(shape, spec.dtype) for name, shape in shapes.items()}
        own = self._new_gradients()
        dstate = self.new_states(B)
        if run.kept is None:
            before = given.dstate or tuple(np.zeros_like(part) for part in dstate)
            dstate = tuple(part.copy() for part in before)
        else:
            cell, (attention,) = packs.copies
            kept = run.kept, cast(_core.PackedAttention, attention)
            names = spec.cell.weight_groups[0][0]
            by_role = tuple(None if n is None else weights[n] for n in names)
            H = spec.cell.hidden_size
            dy, dcontext = given.dy, None
            if dy is not None and spec.output == "concat":
                dy, dcontext = dy[..., :H], dy[..., H:]
            _core.look_backward(
                cell,
                kept,
                run.inputs,
                _core.Looks(
                    run.memory, run.memory_lengths, run.keys, True, run.found.as_tuple()
                ),
                _core.GradientsIn(dy, given.dstate, None),
                _core.GradientsOut(dx, dstate, None, (by_role,)),
                _core.LookGradients(given.dattention, dcontext, dmemory, own),
            )
        return dx, dmemory, dstate, {**weights, **spec.user_gradients(own)}

    def _new_gradients(self) -> tuple[Array | None, ...]:
        """Return zeros for the gradients of the attention's weights."""
        with self.store.read() as weights:
            own = self.spec.engine_weights(weights)
        return tuple(None if part is None else np.zeros_like(part) for part in own)
