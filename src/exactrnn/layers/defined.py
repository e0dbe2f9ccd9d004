"""Layers of a cell from its equations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from exactrnn._checks import DTypeLike
from exactrnn._graph.program import Compiled, compile_definition
from exactrnn._graph.symbols import Cell, definition_of
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._named import DefinedWeights
from exactrnn.layers._recurrent import RecurrentLayer

__all__ = ["Layer"]


def _check_cell(_: str, value: object, __: Arguments) -> Compiled:
    if isinstance(value, Compiled):
        return value
    return compile_definition(definition_of(cast("Cell", value)))


class Layer(DefinedWeights, RecurrentLayer[Any, Any]):
    """Layers of a cell that is written down as equations, a `Cell`.

    It is like the other layers: stacks, directions, lengths, gradients, streams, files;
    on the kernels, with the same bits everywhere.

    Parameters
    ----------
    cell : Cell or mapping
        The cell; or its definition as data, as `arguments()["cell"]` and files have it.
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    bias : bool
        Whether there are the biases that the cell asks for.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, H] in any case.
    dropout : float
        Share of values dropped between layers by `forward`, 0 <= p < 1.
    recurrent_dropout : float
        Share of h that `forward` hides from R, 0 <= p < 1: by one mask for each row,
        the same in all steps (Notes of `RNN`).
    zoneout : float or tuple of two floats
        Share of units that stay as they were in a step, 0 <= p < 1, or that of h and
        that of all other states: drawn anew in each step of `forward`; a plain call
        takes the mean (Notes of `RNN`).
    bidirectional : bool
        Whether a second direction runs from each row's end to its start (D = 2).
    reverse : bool
        Whether the only direction runs from each row's end to its start; y[t] is
        still that of step t. Not with `bidirectional`.
    init : {"uniform", "orthogonal", "glorot"}
        How first weights are drawn: uniform in ±1/sqrt(H), as in torch; with orthogonal
        recurrent matrices; or uniform in Glorot's limits.
    dtype : {"float32", "float64"}
        Of weights, inputs, states and outputs.
    seed : int, optional
        Of the first weights and of dropout.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or the cell's equations cannot be run; the
        message then has the line that says so.

    Notes
    -----
    Weights: `weight_ih_l0` [G*H, I] with a row block for each `s.W`, `weight_hh_l0`
    [G*H, H] for each `s.R`; `bias_ih_l0` with a block for each bias of a sum with a W,
    `bias_hh_l0` for each other one; `weight_unit_l0` [V, H] with a row for each `s.v`;
    each if there are any. Blocks are in the order in which the sums are finished in
    `step`, each where its last part is added. With `num_heads` heads `weight_hh_l0` is
    [G*H, H / num_heads]: the row of a unit sees the units of its head.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> class Leaky(xr.Cell):
    ...     def step(self, s):
    ...         u = s.tanh(s.W("a") + s.R("a", s.h) + s.b("a"))
    ...         return s.mix(0.25, u, s.h)
    >>> layer = xr.Layer(Leaky(), 3, 4, seed=1)
    >>> y, h = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape, layer.num_parameters
    ((5, 2, 4), (1, 2, 4), 32)
    """

    record = Record(
        name="layer",
        cell="program",
        defined=True,
        checks={"cell": _check_cell},
    )

    recurrent_dropout: float
    zoneout: float | tuple[float, float]

    def __init__(
        self,
        cell: Cell | Mapping[str, Any],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        bidirectional: bool = False,
        reverse: bool = False,
        init: InitLike = "uniform",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        compiled: Compiled = given["cell"]
        heads, H = compiled.form.num_heads, given["hidden_size"]
        if H % heads:
            raise ValueError(
                f"hidden_size: expected a multiple of the cell's num_heads = {heads}, "
                f"got {H}"
            )
        options = {"program": compiled.program, "compiled": compiled}
        return {"cell": compiled.form.definition.name, "options": options}

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, but for the seed, as plain values.

        Returns
        -------
        dict of str to object
            Sizes, options, the name of the dtype, and the cell as data.
        """
        found = super().arguments()
        compiled: Compiled = found["cell"]
        return {**found, "cell": compiled.form.definition.data}
