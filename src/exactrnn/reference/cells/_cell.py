"""What a cell tells the reference, and what a point function sees of one step.

A cell is elementwise mathematics between sums of products.  One time step runs in
one or more stages; each stage first finishes its sums over a recurrent operand and
then calls a point function:

    stage 0:  a = bias + W x_t + R h_prev [+ links]     ->  point_forward_0
    stage 1:  a = bias + W x_t + R s                    ->  point_forward_1

with s a value that stage 0 has made.  Backward goes through the stages in the opposite
order.  Everything else (the time loop, the sums, lengths, directions, modules,
gradients of weights) is the same for all cells and lies in the files of
``reference``.

Sizes: H units; O, the width of the output state, is H but for cells that project.

Twin: ``csrc/kernels/cells/cell.h``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._spec.activations import Activation

Array: TypeAlias = NDArray[np.floating[Any]]
Arrays: TypeAlias = dict[str, Array]
Options: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Sum:
    """One sum of products [H]: a pre-activation, or one part of it.

    The sum starts at its bias, runs over x and then over its recurrent operand.  One
    that has neither ``W`` nor ``R`` has no value that a point function would read; it
    is a place in ``Step.da`` for the gradient of a vector.

    Parameters
    ----------
    name : str
        The letter of the sum; a gate's own letter where the gate has just one.
    w, r : int or None
        Row block of ``W`` and of the recurrent matrix; None where the sum has no such
        part.
    stage : int
        The stage that finishes the sum.
    operand : str or None
        What the recurrent matrix is multiplied with: a slot that stage 0 makes; None
        for the first state before the step.
    matrix : str
        The recurrent matrix: ``"hh"``, that is ``R``, or ``"hr"`` [O, H], the one that
        projects; the sum is then [O].
    bias : str or tuple
        Where the sum starts: ``"own"`` at ``b_ih[w] + b_hh[r]``, or at the one of them
        it has (``b_hr`` with matrix ``"hr"``); ``"none"`` at +0.0; ``("x", block)`` at
        ``b_ih[block] + b_hh[r]``; ``("ih", block)`` at ``b_ih[block]`` alone and
        ``("hh", block)`` at ``b_hh[block]``.
    """

    name: str
    w: int | None
    r: int | None
    stage: int = 0
    operand: str | None = None
    matrix: str = "hh"
    bias: str | tuple[str, int] = "own"


@dataclass(frozen=True)
class Vector:
    """Weights of one per unit [H], as a peephole's: a row of ``weight_peephole``.

    The point functions multiply with it, ``Step.vectors[name]``.  Its gradient is the
    long sum over time and batch of ``da[sum] * factor``.

    Parameters
    ----------
    name : str
        The letter of the vector.
    sum : str
        The sum that the vector's product enters.
    factor : str
        What the vector is multiplied with: ``"prev:c"``, a state before the step;
        ``"next:c"``, a state after it; ``"lower"``; or ``"one"``.
    """

    name: str
    sum: str
    factor: str


@dataclass
class Step:
    """The values of one time step of all rows, by letter; arrays are [B, H].

    [B, O] are the output state, its gradient, and the sums that project.
    ``point_forward`` reads `a` and `prev` and fills `slots` and, in the last stage,
    `state`.  ``point_backward`` reads those and `dstate`, and fills `da` and `dprev`.

    Parameters
    ----------
    activations : tuple of str or tuple
        The layer's activations, in the order of ``Cell.activations``, as
        ``_activations.activate`` takes them.
    prev, state : dict
        States before and after the step.
    slots : dict
        What forward keeps for backward, and the operands of the second stage.
    a : dict
        Finished sums; before the last stage only those of the stages so far.
    dstate : dict
        Gradients with respect to `state`, everything included.
    da : dict
        Gradients with respect to the sums, flushed.
    dprev : dict
        Gradients with respect to `prev`: finished and flushed; but for a state that a
        matrix is multiplied with: where the chain over the rows of the matrix starts.
    doperands : dict
        Gradients with respect to the operands of the second stage, by slot; for
        ``point_backward`` of stage 0.
    vectors : dict
        The per-unit weights [H], by letter (``Cell.vectors``).
    lower, dlower : Array
        The cell state of the layer below at the same step, and the gradient with
        respect to it, flushed; for cells with ``takes_lower``.
    clip : float or None
        Limit of the pre-activations' size.
    options : Mapping
        The layer's options, as they were given to ``Cell.adapt``.
    truncated : bool
        Whether backward carries errors back along the cell state alone (1997).
    """

    activations: tuple[Activation, ...]
    prev: Arrays
    state: Arrays = field(default_factory=dict)
    slots: Arrays = field(default_factory=dict)
    a: Arrays = field(default_factory=dict)
    dstate: Arrays = field(default_factory=dict)
    da: Arrays = field(default_factory=dict)
    dprev: Arrays = field(default_factory=dict)
    doperands: Arrays = field(default_factory=dict)
    vectors: Arrays = field(default_factory=dict)
    lower: Array = field(init=False)
    dlower: Array = field(init=False)
    clip: float | None = None
    options: Options = field(default_factory=dict)
    truncated: bool = False


PointFunction: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True)
class Cell:
    """Description of a cell; one per file of this package.

    Parameters
    ----------
    name : str
        The stem of the cell's files and its name in ``cells.def``.
    gates : tuple of str
        Letters of the row blocks of ``W``, in storage order.
    states : tuple of str
        What is carried from step to step; the first is the output.
    sums : tuple of Sum
        The sums of a step.
    slots : tuple of str
        Values besides the states that forward keeps for backward: ``cache.gates``.
    activations : tuple of tuple of str
        What each activation may be; the first of each is the default.
    forward, backward : tuple of callable
        A point function for each stage.
    operands : tuple of str
        Slots made by stage 0 that the sums of stage 1 are multiplied with.
    r_gates : tuple of str, optional
        Letters of the row blocks of ``R``, where they are not those of ``W``.
    vectors : tuple of Vector
        The rows of ``weight_peephole``, in storage order.
    links : tuple of tuple of str
        Pairs (sum, state), one per row block and column block of ``weight_gates``:
        each of these sums runs, after its recurrent operand, over all of these states
        before the step.
    projects : bool
        Whether the output state is O wide: a second product makes it.
    takes_lower : bool
        Whether a step sees the cell state of the layer below, ``Step.lower``.
    cells : int
        Cells of a unit: 1, but where units are memory blocks.
    per_cell : tuple of str
        Letters of the sums, states and slots that each cell of a block has for itself:
        [B, cells*H], number 0 of every block first.
    heard : tuple of str
        States that ``R`` sees besides the output state, in the order of its columns.
    adapt : callable, optional
        From a layer's options to the cell that they make of this one.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    sums: tuple[Sum, ...]
    slots: tuple[str, ...]
    activations: tuple[tuple[str, ...], ...]
    forward: tuple[PointFunction, ...]
    backward: tuple[PointFunction, ...]
    operands: tuple[str, ...] = ()
    r_gates: tuple[str, ...] | None = None
    vectors: tuple[Vector, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    projects: bool = False
    takes_lower: bool = False
    cells: int = 1
    per_cell: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    adapt: Callable[[Options], Cell] | None = None

    @property
    def stages(self) -> int:
        """Number of stages of a step."""
        return len(self.forward)

    @property
    def default_activations(self) -> tuple[str, ...]:
        """The activations of a layer that asks for none."""
        return tuple(choices[0] for choices in self.activations)

    @property
    def recurrent_gates(self) -> tuple[str, ...]:
        """Letters of the row blocks of ``R``, in storage order."""
        return self.gates if self.r_gates is None else self.r_gates

    def values(self, letter: str) -> int:
        """Return how many values of this letter a unit has."""
        return self.cells if letter in self.per_cell else 1

    def adapted(self, options: Options) -> Cell:
        """Return the cell that a layer's options make of this one."""
        return self if self.adapt is None else self.adapt(options)

    def sums_by_row(self, part: str, matrix: str = "hh") -> list[Sum]:
        """Return the sums with a row block in a matrix, in storage order.

        Parameters
        ----------
        part : str
            ``"w"`` for ``W``, ``"r"`` for the recurrent matrix.
        matrix : str
            With ``"r"``: which one.
        """
        if part == "w":
            return sorted(
                (s for s in self.sums if s.w is not None), key=lambda s: s.w or 0
            )
        return sorted(
            (s for s in self.sums if s.r is not None and s.matrix == matrix),
            key=lambda s: s.r or 0,
        )
