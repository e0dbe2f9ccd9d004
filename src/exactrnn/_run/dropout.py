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
from typing import Any, TypeVar, cast

import numpy as np

from exactrnn._checks import Array
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
        What the layer is; `spec.dropout` is the share of values to drop. None for a
        grid of N dimensions, which drops none.
    generator : numpy.random.PCG64
        Taken over.
    """

    def __init__(self, spec: SequenceSpec | None, generator: np.random.PCG64) -> None:
        super().__init__(generator)
        self._spec = spec

    @contextmanager
    def drawn(self, steps: int, rows: int) -> Iterator[list[Array]]:
        """Give the masks [T, B, D*O] of one call, one between any two layers."""
        spec = self._spec
        if spec is None or not is_dropping(spec.dropout):
            yield []
            return
        shape = (steps, rows, spec.directions * spec.output_size)

        def draw(generator: np.random.PCG64) -> list[Array]:
            return [
                first.draw_mask(shape, spec.dropout, spec.dtype, generator)
                for _ in range(spec.num_layers - 1)
            ]

        with self.drawing(draw) as masks:
            yield masks


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
