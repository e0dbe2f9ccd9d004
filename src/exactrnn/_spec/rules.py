"""How a weight is drawn first, as the weight itself carries it.

What draws (`_weights/first.py`) knows no cell and no network: a `Rule` says on which
path a weight lies, what makes one gate's part of it, and which biases are set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Init: TypeAlias = str | tuple[str, int]
InitLike: TypeAlias = (
    Literal["uniform", "orthogonal", "glorot", "paper"] | tuple[Literal["chrono"], int]
)
"""What an argument takes: to a type checker the names are few."""
Signs: TypeAlias = Mapping[str, int]

NO_SIGNS: Signs = {}
NO_ROWS: Mapping[int, float] = {}
PAPER_FORGET_BIAS = 1.0


class Rule(NamedTuple):
    """How one weight is drawn first.

    Parameters
    ----------
    path : {"input", "recurrent", "vector", "given"}
        A matrix that data pass, one that a state passes on its way to the next step,
        numbers of one per unit, or what is not drawn but made by `first`.
    tile : tuple of int
        Rows and columns of the part of a matrix that makes one gate's sum.
    paper : {"", "identity", "small", "zeros"}
        What `init="paper"` makes of it, where that is not "uniform".
    signs : mapping of str to int
        The gates, among the blocks of a bias, whose bias is set: to the value (1), to
        its opposite (-1), or to 0.
    bias : float or None
        The value; None for one that is drawn for each unit, by "chrono".
    parts : tuple of int
        Heights of the parts of a matrix whose rows have the same connections, where
        not all exist.
    connected : callable, optional
        What tells which connections exist, of all rows and columns; None for all.
    first : callable, optional
        What makes a weight that is not drawn.
    rows : mapping of int to float
        Rows that are not drawn, and what fills them.
    """

    path: str
    tile: tuple[int, int] = (0, 0)
    paper: str = ""
    signs: Signs = NO_SIGNS
    bias: float | None = None
    parts: tuple[int, ...] = ()
    connected: Callable[[], NDArray[np.bool_]] | None = None
    first: Callable[[], NDArray[Any]] | None = None
    rows: Mapping[int, float] = NO_ROWS


def forget_bias_of(init: Init, forget_bias: float | None, paper: str) -> float | None:
    """Return the bias that keeps the state at first, None for one like the others."""
    if forget_bias is None and init == "paper" and paper == "forget":
        return PAPER_FORGET_BIAS
    return forget_bias


def set_biases(
    blocks: tuple[str, ...], init: Init, bias: float | None, signs: tuple[Signs, Signs]
) -> Rule:
    """Return the rule of the bias of these row blocks.

    `signs` are those of the gates that "chrono" sets, and of the one that `bias` is
    for; they may be of gates that are not there.
    """
    keeps, forgets = signs
    chosen = forgets if bias is not None else NO_SIGNS
    if isinstance(init, tuple):
        chosen, bias = keeps, None
    own = {gate: sign for gate, sign in chosen.items() if gate in blocks}
    return Rule("vector", signs=own, bias=bias)
