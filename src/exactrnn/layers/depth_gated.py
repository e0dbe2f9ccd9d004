"""Depth-gated LSTM."""

from __future__ import annotations

from exactrnn._checks import Array, DTypeLike
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._lstm_layer import MEANINGS
from exactrnn.layers._named import Peepholes, TwoBiases
from exactrnn.layers._recurrent import RecurrentLayer

__all__ = ["DepthGatedLSTM"]


class DepthGatedLSTM(
    TwoBiases, Peepholes, RecurrentLayer[tuple[Array, ...], tuple[Array, ...]]
):
    """Depth-gated LSTM: a stack whose depth gates link the cells of its layers.

    The first layer is a peephole LSTM. In each layer above it, for each time step, with
    `σ` the logistic function, `*` elementwise, x_t the output and l_t the cell state of
    the layer below at the same step::

        i = σ(W_i x_t + b_ih_i + R_i h_{t-1} + b_hh_i + p_i * c_{t-1})
        f = σ(W_f x_t + b_ih_f + R_f h_{t-1} + b_hh_f + p_f * c_{t-1})
        g = tanh(W_g x_t + b_ih_g + R_g h_{t-1} + b_hh_g)
        d = σ(W_d x_t + b_ih_d + p_cd * c_{t-1} + p_ld * l_t)
        c_t = d * l_t + f * c_{t-1} + i * g
        o = σ(W_o x_t + b_ih_o + R_o h_{t-1} + b_hh_o + p_o * c_t)
        h_t = o * tanh(c_t)

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; with one this is the peephole LSTM.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, H] in any case.
    dropout : float
        Share of values dropped between layers by `forward`, 0 <= p < 1; from what goes
        up as input, not from cell states.
    recurrent_dropout : float
        Share of h that `forward` hides from R, 0 <= p < 1: by one mask for each row,
        the same in all steps (Notes of `RNN`).
    zoneout : float or tuple of two floats
        Share of units that stay as they were in a step, 0 <= p < 1, or that of h and
        that of the cell state: drawn anew in each step of `forward`; a plain call
        takes the mean (Notes of `RNN`).
    bidirectional : bool
        Whether a second direction runs from each row's end to its start (D = 2). Depth
        gates link the cells of the same direction.
    reverse : bool
        Whether the only direction runs from each row's end to its start; y[t] is
        still that of step t. Not with `bidirectional`.
    init : {"uniform", "orthogonal", "glorot", "paper"} or ("chrono", T)
        How first weights are drawn: uniform in ±1/sqrt(H), as in torch; with orthogonal
        recurrent matrices; uniform in Glorot's limits; uniform, but for a bias of 1 of
        the forget gate (Jozefowicz et al., ICML 2015); or uniform with gate biases for
        memories of up to T steps (Tallec, Ollivier, arXiv 1804.11188).
    forget_bias : float, optional
        First bias of the forget gates, stored in `bias_ih`.
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
    Weights of the first layer as in `LSTM(peepholes="ifo")`. Above it `weight_ih_l1`
    has 5H rows, those of i, f, g, o, d, and `bias_ih_l1` too; `weight_hh_l1` and
    `bias_hh_l1` have 4H; `weight_peephole_l1` [5, H] holds p_i, p_f, p_o, p_cd, p_ld.
    In one direction an upper layer has H² + 3H more of them than that of an LSTM with
    peepholes, for the depth gate. The state is `(h, c)`.

    Source: K. Yao, T. Cohn, K. Vylomova, K. Duh, C. Dyer, "Depth-Gated LSTM", arXiv
    1508.03790.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.DepthGatedLSTM(3, 4, num_layers=2, seed=1)
    >>> y, (h, c), cache = layer.forward(np.ones((5, 2, 3), np.float32), gates=True)
    >>> sorted(cache.gates)
    ['d_l1', 'f_l0', 'f_l1', 'g_l0', 'g_l1', 'i_l0', 'i_l1', 'o_l0', 'o_l1']
    """

    record = Record(
        name="depth_gated",
        activations=("sigmoid", "tanh", "tanh"),
        gates="ifod",
        meanings={**MEANINGS, "d": "depth gate: what comes from the c below"},
        keeps={"f": 1, "i": -1},
        paper="forget",
        vectors=("i", "f", "o", "cd", "ld"),
        bottom=("lstm", {"peepholes": "ifo"}),
        example_layers=2,
    )

    recurrent_dropout: float
    zoneout: float | tuple[float, float]

    def __init__(
        self,
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
        forget_bias: float | None = None,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())
