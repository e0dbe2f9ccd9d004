"""The masks of dropout, and the random numbers that they are drawn from.

Several Python threads may draw at once. What a call has drawn is given back if it
raises, so that it can be repeated with the same masks.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from exactrnn._checks import Array
from exactrnn._run import state_masks
from exactrnn._run.episodes import Group
from exactrnn._run.state_masks import StateMasks
from exactrnn._spec.recurrent import Config
from exactrnn._spec.sequence import SequenceSpec
from exactrnn._system.locks import make_lock
from exactrnn._system.mode import ieee_mode
from exactrnn._weights import first

M = TypeVar("M")

_inference: ContextVar[bool] = ContextVar("inference", default=False)
"""Whether this thread, or this task of it, is inside of `without_dropout`."""


@contextmanager
def without_dropout() -> Iterator[None]:
    """Let `forward` draw and drop nothing in this block, of whatever layer."""
    token = _inference.set(True)
    try:
        yield
    finally:
        _inference.reset(token)


def is_dropping(share: float) -> bool:
    """Tell whether a call is to drop this share of values."""
    return share != 0.0 and not _inference.get()


class Drawn(NamedTuple):
    """The masks of one call: [T, B, D*O] between any two layers, and of each layer.

    Empty where nothing is dropped.
    """

    between: tuple[Array, ...] = ()
    states: tuple[StateMasks, ...] = ()

    def gather(self, group: Group) -> Drawn:
        """Return those of the episodes of a group, which are rows then."""
        between = tuple(group.gather(mask) for mask in self.between)
        return Drawn(between, tuple(own.gather(group) for own in self.states))

    def show(self, spec: SequenceSpec) -> dict[str, Array]:
        """Return those of the layers by name and suffix."""
        if not isinstance(spec, Config):
            return {}
        return state_masks.show(spec, self.states)


NOTHING = Drawn()


class MaskSource:
    """Where masks are drawn, by one call after another.

    Parameters
    ----------
    generator : numpy.random.PCG64
        Taken over.
    """

    def __init__(self, generator: np.random.PCG64) -> None:
        self._generator = generator
        self._lock = make_lock()

    def generator_state(self) -> dict[str, Any]:
        """Return where the random numbers stand, as plain values."""
        with self._lock:
            return dict(self._generator.state)

    def set_generator_state(self, state: Mapping[str, Any]) -> None:
        """Go on from where `generator_state` was."""
        with self._lock:
            self._generator.state = cast(Any, state)

    @contextmanager
    def drawing(self, draw: Callable[[np.random.PCG64], M]) -> Iterator[M]:
        """Give what `draw` draws for one call.

        If the call raises, the numbers stand where they stood before; but not if
        another call has drawn since.
        """
        with self._lock:
            before = self._generator.state
            try:
                with ieee_mode():
                    masks = draw(self._generator)
            except BaseException:
                self._generator.state = before
                raise
            after = self._generator.state
        try:
            yield masks
        except BaseException:
            with self._lock:
                if self._generator.state == after:
                    self._generator.state = before
            raise


class Masks(MaskSource):
    """Where a layer draws its masks.

    Parameters
    ----------
    spec : SequenceSpec or None
        What the layer is, and so what it drops. None for a grid of N dimensions, which
        drops nothing.
    generator : numpy.random.PCG64
        Taken over.
    """

    def __init__(self, spec: SequenceSpec | None, generator: np.random.PCG64) -> None:
        super().__init__(generator)
        self._spec = spec

    @contextmanager
    def drawn(self, steps: int, rows: int) -> Iterator[Drawn]:
        """Give the masks of one call."""
        spec = self._spec
        if spec is None or _inference.get():
            yield NOTHING
            return
        shape = (steps, rows, spec.directions * spec.output_size)
        boundaries = spec.num_layers - 1 if spec.dropout else 0
        in_time = isinstance(spec, Config) and spec.drops_in_time

        def draw(generator: np.random.PCG64) -> tuple[tuple[Array, ...], int]:
            between = tuple(
                first.draw_mask(shape, spec.dropout, spec.dtype, generator)
                for _ in range(boundaries)
            )
            return between, int(generator.random_raw()) if in_time else 0

        with self.drawing(draw) as (between, key):
            states = (
                state_masks.draw(cast(Config, spec), layer, key, (steps, rows))
                for layer in range(spec.num_layers if in_time else 0)
            )
            yield Drawn(between, tuple(states))


def drop(values: Array, mask: Array) -> Array:
    """Return `values` times a mask."""
    with ieee_mode():
        return values * mask


def warn_unused(spec: SequenceSpec) -> None:
    """Warn of dropout in a layer that has no place for it, in the words of torch."""
    share = spec.dropout
    if share and spec.num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so "
            "non-zero dropout expects num_layers greater than 1, but got "
            f"dropout={share} and num_layers=1",
            stacklevel=_caller_level(),
        )


def _caller_level() -> int:
    """Return the `stacklevel` of the first caller that is not of this package."""
    package, level = __name__.partition(".")[0], 1
    frame = sys._getframe(1)
    while frame.f_back and _package_of(frame) == package:
        frame, level = frame.f_back, level + 1
    return level


def _package_of(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]
