"""The order in which a caller has the axes of arrays; known here alone.

    layout       a sequence    a state       its steps    of whom
    TIME_MAJOR   [T, B, n]     [L*D, B, n]   [T, B]       layers
    BATCH_FIRST  [B, T, n]     [L*D, B, n]   [B, T]       layers with `batch_first`
    UNBATCHED    [T, n]        [L*D, n]      [T]          layers
    LAYER_STEPS  [B, n]        [L*D, B, n]   -            `step` of layers
    LAYER_STEP   [n]           [L*D, n]      -            `step` of layers
    STEPS        [B, n]        [B, n]        -            single steps
    STEP         [n]           [n]           -            single steps

What runs a layer knows the first alone; `inward` and `outward` give views between it
and the others. The last four are sequences of one step. The kernels read and write any
strides, so that plain calls need no views: `_core_plain.pxi` takes the order of the
axes from a layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Index: TypeAlias = tuple[slice | int | EllipsisType | None, ...]
T = TypeVar("T", bound=np.generic)

ALL: Index = (...,)
"""The index of a layout that has T and B: nothing to add, nothing to drop."""
INNER_ADD: Index = (slice(None), None)
INNER_DROP: Index = (slice(None), 0)
"""Those of a layout that lacks the axis before the last."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which of the axes T and B a caller has, and in which order.

    `axes` are the letters of those of a sequence, `state_axes` of those of a state, but
    for the last axis. `add` is the index that makes a view of a sequence with the axes
    that are missing, `drop` the one that takes them away again; `state_add` and
    `state_drop` do so with a state.
    """

    axes: str
    state_axes: tuple[str, ...]
    batched: bool
    add: Index = ALL
    drop: Index = ALL
    state_add: Index = ALL
    state_drop: Index = ALL

    def __reduce__(self) -> tuple[Any, ...]:
        return by_axes, (self.axes, self.state_axes)  # copies are the one itself

    @property
    def has_time(self) -> bool:
        """Whether sequences have an axis of steps: False for one step."""
        return "T" in self.axes

    def inward(self, array: NDArray[T]) -> NDArray[T]:
        """Return a view [T, B, ...] of a sequence, or of what its steps have."""
        if self.axes == "TB":
            return array
        view: NDArray[T] = (
            array.swapaxes(0, 1) if self.axes == "BT" else array[self.add]
        )
        return view

    def outward(self, array: NDArray[T]) -> NDArray[T]:
        """Return a view in this layout of an array [T, B, ...]."""
        if self.axes == "TB":
            return array
        view: NDArray[T] = (
            array.swapaxes(0, 1) if self.axes == "BT" else array[self.drop]
        )
        return view

    def state_inward(self, part: NDArray[T]) -> NDArray[T]:
        """Return a view [L*D, B, n] of a part of a state."""
        view: NDArray[T] = part[self.state_add]
        return view

    def state_outward(self, part: NDArray[T]) -> NDArray[T]:
        """Return a view in this layout of a part [L*D, B, n] of a state."""
        view: NDArray[T] = part[self.state_drop]
        return view

    def shape(self, steps: int, rows: int, width: int) -> tuple[int, ...]:
        """Return the shape of a sequence [T, B, width] in this layout."""
        if self.axes == "TB":
            return steps, rows, width
        if self.axes == "BT":
            return rows, steps, width
        if self.axes == "T":
            return steps, width
        return tuple(self.sizes(steps, rows, width=width).values())

    def sizes(self, steps: int, rows: int, **last: int) -> dict[str, int]:
        """Return the sizes of a sequence by letter, in the order of its axes.

        `last` are those of the axes after T and B.
        """
        sizes = {letter: steps if letter == "T" else rows for letter in self.axes}
        return sizes | last

    def state_sizes(self, planes: int, rows: int) -> dict[str, int]:
        """Return the sizes of a state's axes but the last likewise.

        `planes` are all layers and directions, L*D.
        """
        both = {"L_D": planes, "B": rows}
        if self.state_add is ALL:
            return both
        return {letter: both[letter] for letter in self.state_axes}


TIME_MAJOR = Layout("TB", ("L_D", "B"), batched=True)
BATCH_FIRST = Layout("BT", ("L_D", "B"), batched=True)
UNBATCHED = Layout("T", ("L_D",), False, *(INNER_ADD, INNER_DROP) * 2)
LAYER_STEPS = Layout("B", ("L_D", "B"), True, (None,), (0,))
LAYER_STEP = Layout("", ("L_D",), False, (None, None), (0, 0), INNER_ADD, INNER_DROP)
STEPS = Layout("B", ("B",), True, *((None,), (0,)) * 2)
STEP = Layout("", (), False, *((None, None), (0, 0)) * 2)


LAYOUTS = (
    *(TIME_MAJOR, BATCH_FIRST, UNBATCHED),
    *(LAYER_STEPS, LAYER_STEP, STEPS, STEP),
)


def by_axes(axes: str, state_axes: tuple[str, ...]) -> Layout:
    """Return the layout of sequences and states with these axes, by letter."""
    pair = axes, state_axes
    return next(one for one in LAYOUTS if (one.axes, one.state_axes) == pair)


def layouts_of(*, batch_first: bool, steps: bool) -> tuple[Layout, ...]:
    """Return the layouts that callers of a layer or, with `steps`, of a cell have.

    Of a layer those of sequences come first, then those of its single steps.
    """
    if steps:
        return STEPS, STEP
    whole = BATCH_FIRST if batch_first else TIME_MAJOR
    return whole, UNBATCHED, LAYER_STEPS, LAYER_STEP


def of_sequence(ndim: int, batch_first: bool = False) -> Layout:
    """Return the layout of a sequence with that many axes, 2 or 3."""
    if ndim == 2:
        return UNBATCHED
    return BATCH_FIRST if batch_first else TIME_MAJOR


def of_step(ndim: int) -> Layout:
    """Return the layout of a single step with that many axes, 1 or 2."""
    return STEP if ndim == 1 else STEPS


def of_layer_step(ndim: int) -> Layout:
    """Return the layout of one step of a layer, with that many axes likewise."""
    return LAYER_STEP if ndim == 1 else LAYER_STEPS
