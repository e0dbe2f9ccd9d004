"""One step at a time of an attention decoder, with the state kept inside.

What runs it is a `_core.LookStepper`, which makes the keys of the memory at its first
step; another one takes its place when the weights have changed. So a step pays for one
look and one step of the cell, and here for a lookup that the packed weights are still
the decoder's and one that the shape is right. Only what the kernels refuse comes to the
checks.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _checks, engine
from exactrnn._checks import Array, Lengths
from exactrnn._run.attention import Decoder
from exactrnn._run.layout import TIME_MAJOR
from exactrnn._run.protocol import States
from exactrnn._run.states import pack_state, take_state
from exactrnn._spec.attention import AttentionSpec

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
        "_lengths",
        "_memory",
        "_packs",
        "_shapes",
        "_spec",
        "_stepper",
        "_store",
    )

    def __init__(
        self, decoder: Owner, memory: Array, memory_lengths: Lengths | None
    ) -> None:
        spec, run = decoder._spec, decoder._decoder
        B = memory.shape[1]
        self._decoder, self._spec, self._store = decoder, spec, run.store
        self._memory, self._lengths = memory, memory_lengths
        self._shapes = (B, spec.input_size), (B, spec.output_size)
        self._packs = self._store.packs(engine.isa())
        self._stepper = run.new_stepper(self._packs, memory, memory_lengths)

    def __reduce__(self) -> tuple[Any, ...]:
        with self._stepper as stepper:
            state = tuple(part.copy() for part in stepper.state)
            own = self._memory, self._lengths, state, stepper.alpha.copy()
        return _restore, (type(self), self._decoder, *own)

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
        with self._stepper as stepper:
            return pack_state([part.copy() for part in stepper.state], None, TIME_MAJOR)

    @state.setter
    def state(self, state: object) -> None:
        if state is None:
            raise TypeError("state: expected an array or a tuple of them, got None")
        parts, _ = take_state(self._spec.cell, state, self.batch_size, TIME_MAJOR)
        assert parts is not None
        self._set_state(parts)

    def _set_state(self, parts: States, attention: Array | None = None) -> None:
        with self._stepper as stepper:
            for own, part in zip(stepper.state, parts, strict=True):
                own[...] = part
            if attention is not None:
                stepper.alpha[...] = attention

    @property
    def attention(self) -> Array:
        """The attention of the last step, `[B, S]`, a copy; zeros before the first."""
        with self._stepper as stepper:
            found: Array = stepper.alpha[0].copy()
            return found

    def reset(self) -> None:
        """Go back to a state of zeros; the memory stays.

        Raises
        ------
        RuntimeError
            If another thread is inside this stream.
        """
        with self._stepper as stepper:
            for part in (*stepper.state, stepper.alpha):
                part[...] = 0

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
        if self._store.fresh.get(engine._active) is not self._packs:
            self._renew()
        given: Any = x  # whatever it is: the kernels refuse what is no fitting array
        shape, result = self._shapes
        try:
            if given.shape == shape:
                out = np.empty(result, self._spec.dtype)
                return self._stepper.step(given, out)
        except (TypeError, ValueError, BufferError, AttributeError):
            pass
        return self._step_checked(x)

    def _step_checked(self, x: object) -> Array:
        """Do a step with an array that the kernels cannot take, or say why not."""
        given = _checks.as_array("x", x, self._spec.dtype)
        shape, result = self._shapes
        _checks.check_shape("x", given, B=shape[0], I=shape[1])
        inputs = np.ascontiguousarray(_checks.make_readable(given))
        out = np.empty(result, self._spec.dtype)
        return self._stepper.step(inputs, out) if shape[0] else out

    def _renew(self) -> None:
        """Take over changed weights, or another instruction set, with the state."""
        packs = self._store.packs(engine.isa())
        if packs is self._packs:
            return
        before, run = self._stepper, self._decoder._decoder
        stepper = run.new_stepper(packs, self._memory, self._lengths)
        before.take()  # and keep: a thread that still holds it must not step it
        try:
            had = (*before.state, before.alpha)
            for own, part in zip((*stepper.state, stepper.alpha), had, strict=True):
                own[...] = part
            self._stepper, self._packs = stepper, packs
        except BaseException:
            before.give()
            raise


def _restore(
    kind: type[DecoderStream],
    decoder: Owner,
    memory: Array,
    lengths: Lengths | None,
    state: tuple[Array, ...],
    attention: Array | None = None,
) -> DecoderStream:
    """Make a stream for a copy or a pickle; older ones have no attention."""
    stream = kind(decoder, memory, lengths)
    stream._set_state(state, attention)
    return stream
