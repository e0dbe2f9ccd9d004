"""Long short-term memory as it was first."""

from __future__ import annotations

from typing import Any

from exactrnn._checks import DTypeLike
from exactrnn._spec import option_checks
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._lstm_layer import MEANINGS, LSTMLayer
from exactrnn.layers._named import OneBias
from exactrnn.layers._unzoned import without_zoneout

__all__ = ["LSTM1997"]


def _check_block_size(_: str, value: object, given: Arguments) -> int:
    return option_checks.check_block_size(value, given["hidden_size"])


class LSTM1997(OneBias, LSTMLayer):
    """The hidden layer of the paper of 1997: memory blocks, and no forget gate.

    A memory block has `block_size` cells, which share its input gate and its output
    gate. The layer is fully connected: what a gate or a cell sees of the step before
    are all cells and all gates, `s_t = [h_t, i_t, o_t]`. For each time step, with `σ`
    the logistic function and `*` elementwise, each gate for all cells of its block::

        i_t = σ(W_i x_t + R_i s_{t-1} + b_i)
        o_t = σ(W_o x_t + R_o s_{t-1} + b_o)
        g = 4 σ(W_g x_t + R_g s_{t-1} + b_g) - 2
        c_t = c_{t-1} + i_t * g
        h_t = o_t * (2 σ(c_t) - 1)

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, cells per direction: `block_size` in each block.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    block_size : int
        Cells of a memory block, 1 to 4.
    bias : bool
        Whether cells and gates have biases, one each.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, ...] in any case.
    dropout : float
        Share of values dropped between layers by `forward`, 0 <= p < 1.
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
        If an argument is not as described.

    Notes
    -----
    With N = H / `block_size` blocks and U = H + 2*N cells and gates, the weights of one
    layer are `weight_ih_l0` [U, I], `weight_hh_l0` [U, U] and `bias_ih_l0` [U]:
    U*(I + U + 1). Rows: i [N], o [N], g [H]; columns of `weight_hh_l0`: h [H], i [N],
    o [N]. Cell number k of block n is unit k*N + n. The state is `(h, c, i, o)`, with
    c [L*D, B, H] and the gates [L*D, B, N].

    With `backward(..., truncated=True)` errors go back in time along the cells alone,
    as they did in the paper; the default is the whole gradient. A readout [O, H] with
    biases makes the networks of the paper with their numbers of weights: 93 for the
    adding problem, 156 and 308 for temporal order.

    Nothing limits c, which can drift away over long sequences: that is what the forget
    gate came for (`LSTM`).

    Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation
    9(8):1735-1780, 1997, where g and h are the squashing functions above.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.LSTM1997(2, 4, block_size=2, seed=1)
    >>> y, (h, c, i, o) = layer(np.ones((5, 1, 2), np.float32))
    >>> h.shape, i.shape
    ((1, 1, 4), (1, 1, 2))
    >>> layer.num_parameters + 4 + 1  # and a readout of one unit: the adding problem
    93
    """

    record = Record(
        name="lstm_1997",
        forms={"lstm_1997": {"block_size": lambda H: 2 - H % 2}},
        gates="io",
        meanings={
            **MEANINGS,
            "i": "input gate of each block: what is written",
            "o": "output gate of each block: what is shown of c",
        },
        checks={"block_size": _check_block_size},
    )

    block_size: int

    @without_zoneout("the memory blocks of 1997 share gates that are states")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        block_size: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reverse: bool = False,
        init: InitLike = "uniform",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        return {"options": {"cells": given["block_size"]}}
