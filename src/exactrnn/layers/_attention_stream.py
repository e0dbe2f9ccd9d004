"""One step at a time of an attention decoder, with the state kept inside.

The keys of the memory are made when the stream is, and anew when the weights have
changed: a step pays for one look and one step of the cell.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _checks, _core, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run.attention import Decoder
from exactrnn._run.layout import TIME_MAJOR
from exactrnn._run.states import pack_state, take_state
from exactrnn._spec.attention import AttentionSpec
from exactrnn._weights.store import Packs

__all__ = ["DecoderStream"]


class Owner(Protocol):
    """What a stream asks of its decoder."""

    _spec: AttentionSpec
    _decoder: Decoder


class DecoderStream:
    """An attention decoder that is fed one step at a time; made by `decoder.stream`.

    The bits are those of the whole sequence in one call. A change of the decoder's
    weights acts from the next step on. One stream belongs to one Python thread at a
    time, a second one gets a `RuntimeError`; a decoder may have many. `copy.copy` gives
    a stream of its own on the same decoder with an equal state, `copy.deepcopy` and
    `pickle` take the decoder along.

    Parameters
    ----------
    decoder : AttentionDecoder
        What decodes.
    memory : ndarray
        `[S, B, M]`, checked.
    memory_lengths : ndarray, optional
        Int64 `[B]`, likewise.
    """

    __slots__ = (
        "_decoder",
        "_inputs",
        "_keys",
        "_lengths",
        "_memory",
        "_packs",
        "_spec",
        "_state",
        "_sweep",
        "_turn",
        "_weights",
    )

    def __init__(
        self, decoder: Owner, memory: Array, memory_lengths: Lengths | None
    ) -> None:
        S, B, M = memory.shape
        self._decoder, self._spec = decoder, decoder._spec
        self._memory, self._lengths = memory, memory_lengths
        self._turn = _core.Turn()
        self._keys = decoder._decoder.new_keys(B, S)
        width = self._spec.input_size + (M if self._spec.looks_before else 0)
        self._inputs = np.zeros((1, B, width), decoder._spec.dtype)
        self._weights = np.zeros((1, B, S), decoder._spec.dtype)
        self._packs: Packs | None = None
        self._sweep: _core.Sweep | None = None
        self._state: tuple[Array, ...] = ()
        self.reset()

    def __reduce__(self) -> tuple[Any, ...]:
        with self._turn:
            memory, lengths = self._memory, self._lengths
            return _restore, (type(self), self._decoder, memory, lengths, self._state)

    def __repr__(self) -> str:
        S, B, _ = self._memory.shape
        return f"<stream of {self._decoder!r}, B={B}, S={S}>"

    @property
    def batch_size(self) -> int:
        """B."""
        return int(self._memory.shape[1])

    @property
    def state(self) -> Any:
        """A copy of the state: `h` `[1, B, H]`, or `(h, c)`. It can be set."""
        with self._turn:
            return pack_state([part.copy() for part in self._state], None, TIME_MAJOR)

    @state.setter
    def state(self, state: object) -> None:
        if state is None:
            raise TypeError("state: expected an array or a tuple of them, got None")
        parts, _ = take_state(self._spec.cell, state, self.batch_size, TIME_MAJOR)
        assert parts is not None
        with self._turn:
            self._state = tuple(part.copy() for part in parts)

    @property
    def attention(self) -> Array:
        """The attention of the last step, `[B, S]`, a copy; zeros before the first."""
        with self._turn:
            found: Array = self._weights[0].copy()
            return found

    def reset(self) -> None:
        """Go back to a state of zeros; the memory stays.

        Raises
        ------
        RuntimeError
            If another thread is inside this stream.
        """
        with self._turn:
            fresh = self._decoder._decoder.new_states(self.batch_size)
            for part in fresh:
                part[...] = 0
            self._state = fresh
            self._weights = np.zeros_like(self._weights)

    def step(self, x: ArrayLike) -> Array:
        """Go on by one step.

        Parameters
        ----------
        x : array_like
            Input `[B, I]` of the decoder's dtype.

        Returns
        -------
        ndarray
            `[B, H]`, or `[B, H+M]`.

        Raises
        ------
        ValueError
            If a shape is wrong; the state is unchanged.
        TypeError
            If `x` is not an array or not of the decoder's dtype; likewise.
        RuntimeError
            If another thread is inside this stream; likewise.
        """
        spec, B = self._spec, self.batch_size
        given = _checks.as_array("x", x, spec.dtype)
        _checks.check_shape("x", given, B=B, I=spec.input_size)
        with self._turn:
            self._inputs[0, :, : spec.input_size] = given
            y = np.empty((1, B, spec.output_size), spec.dtype)
            if B > 0:
                self._take_step(y)
        return np.asarray(y[0])

    def _take_step(self, y: Array) -> None:
        """Run the kernels over the input; the state changes when all is well."""
        run, inputs = self._decoder._decoder, self._inputs
        packs = run.store.packs(engine.isa())
        has_keys = packs is self._packs
        self._packs = None
        I, B = self._spec.input_size, len(y[0])
        context = inputs[..., I:]
        if not self._spec.looks_before:
            context = np.empty((1, B, self._spec.memory_size), inputs.dtype)
        alpha = np.zeros_like(self._weights)
        found = (context, alpha, None, None)
        looks = _core.Looks(self._memory, self._lengths, self._keys, has_keys, found)
        threads = engine.threads_for_calls()
        if self._sweep is None or self._sweep.threads != threads:
            self._sweep = _core.Sweep(None, None, False, threads, False)
        after = run.new_states(B)
        run.look(packs, self._sweep, looks, (inputs, y, self._state, after))
        self._packs, self._state, self._weights = packs, after, alpha


def _restore(
    kind: type[DecoderStream],
    decoder: Owner,
    memory: Array,
    lengths: Lengths | None,
    state: tuple[Array, ...],
) -> DecoderStream:
    """Make a stream for a copy or a pickle."""
    stream = kind(decoder, memory, lengths)
    stream._state = tuple(part.copy() for part in state)
    return stream
