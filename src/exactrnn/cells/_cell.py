"""What a cell tells the reference, and what a point function sees of one step.

A cell is elementwise mathematics between sums of products.  One time step runs in
one or two stages; each stage first finishes its sums over a recurrent operand and
then calls a point function:

    stage 0:  a = bias + W x_t + R h_prev      ->  point_forward_0
    stage 1:  a = bias + W x_t + R operand     ->  point_forward_1

Backward goes through the stages in the opposite order.  Everything else (the time
loop, the sums, lengths, directions, gradients of weights) is in ``reference.py`` and
the same for all cells.

Twin: ``csrc/kernels/cell.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
Arrays: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Sum:
    """One sum of products [H]: a pre-activation, or one part of it.

    Parameters
    ----------
    name : str
        The letter of the sum; a gate's own letter where the gate has just one.
    w, r : int or None
        Row block of ``W`` and of ``R``; None where the sum has no such part.
        The sum starts at ``b_ih[w] + b_hh[r]``, or at the one of them it has.
    stage : int
        The stage whose operand ``R`` is multiplied with.
    """

    name: str
    w: int | None
    r: int | None
    stage: int = 0


@dataclass
class Step:
    """The values of one time step of all rows, by letter; arrays are [B, H].

    ``point_forward`` reads `a` and `prev` and fills `slots` and, in the last stage,
    `state`.  ``point_backward`` reads those and `dstate`, and fills `da` and `dprev`.

    Parameters
    ----------
    activations : tuple of str
        The layer's activations, in the order of ``Cell.activations``.
    prev, state : dict
        States before and after the step.
    slots : dict
        What forward keeps for backward, and the operand of the second stage.
    a : dict
        Finished sums; before the last stage only those of the stages so far.
    dstate : dict
        Gradients with respect to `state`, everything included.
    da : dict
        Gradients with respect to the sums, flushed.
    dprev : dict
        Gradients with respect to `prev`: finished and flushed; but for the state that
        stage 0 multiplies with ``R``: where the chain over the rows of ``R`` starts.
    doperand : Array
        Gradient with respect to the operand of the stage above; for ``point_backward``
        of stage 0 in a cell of two stages.
    """

    activations: tuple[str, ...]
    prev: Arrays
    state: Arrays = field(default_factory=dict)
    slots: Arrays = field(default_factory=dict)
    a: Arrays = field(default_factory=dict)
    dstate: Arrays = field(default_factory=dict)
    da: Arrays = field(default_factory=dict)
    dprev: Arrays = field(default_factory=dict)
    doperand: Array = field(init=False)


PointFunction: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True)
class Cell:
    """Description of a cell; one per file of this package.

    Parameters
    ----------
    name : str
        The stem of the cell's files and its name in ``cells.def``.
    gates : tuple of str
        Letters of the row blocks of ``W`` and ``R``, in storage order.
    states : tuple of str
        What is carried from step to step; the first is the output.
    sums : tuple of Sum
        The sums of a step.
    slots : tuple of str
        Values besides the states that forward keeps for backward: ``cache.gates``.
    operands : tuple of str
        For each stage, the state (stage 0) or slot that ``R`` is multiplied with.
    activations : tuple of tuple of str
        What each activation may be; the first of each is the default.
    forward, backward : tuple of callable
        A point function for each stage.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    sums: tuple[Sum, ...]
    slots: tuple[str, ...]
    operands: tuple[str, ...]
    activations: tuple[tuple[str, ...], ...]
    forward: tuple[PointFunction, ...]
    backward: tuple[PointFunction, ...]

    @property
    def stages(self) -> int:
        """Number of stages of a step."""
        return len(self.operands)

    @property
    def default_activations(self) -> tuple[str, ...]:
        """The activations of a layer that asks for none."""
        return tuple(choices[0] for choices in self.activations)

    def w_rows(self) -> list[tuple[int, str]]:
        """Return the row blocks of ``W`` with the sums they belong to, in order."""
        return sorted((s.w, s.name) for s in self.sums if s.w is not None)

    def r_rows(self, stage: int) -> list[tuple[int, str]]:
        """Return the row blocks of ``R`` of a stage with their sums, in order."""
        of_stage = (s for s in self.sums if s.stage == stage)
        return sorted((s.r, s.name) for s in of_stage if s.r is not None)
