"""Gated recurrent unit, in both of its forms."""

from __future__ import annotations

from typing import Any

from exactrnn._checks import Array, DTypeLike
from exactrnn._spec.activations import ActivationLike
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.options import GRU_CHECKS, gru_fields
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._named import Normed, TwoBiases
from exactrnn.layers._recurrent import RecurrentLayer

__all__ = ["GRU"]


class GRU(TwoBiases, Normed, RecurrentLayer[Array, Array]):
    """Gated recurrent unit, with the reset gate after or before the product.

    For each time step, with `σ` the logistic function and `*` elementwise::

        r = σ(W_r x_t + b_ih_r + R_r h_{t-1} + b_hh_r)
        z = σ(W_z x_t + b_ih_z + R_z h_{t-1} + b_hh_z)
        n = tanh(W_n x_t + b_ih_n + r * (R_n h_{t-1} + b_hh_n))    reset_after=True
        n = tanh(W_n x_t + b_ih_n + R_n (r * h_{t-1}) + b_hh_n)    reset_after=False
        h_t = z * h_{t-1} + (1 - z) * n

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    reset_after : bool
        Whether the reset gate acts after the recurrent product, as in torch and cuDNN,
        or before it, as in Cho's final paper and ONNX's default.
    layer_norm : bool
        Whether products are normalised over the units of each row, as the notes say.
        Not with `reset_after=False`, `activations`, `clip`, `bias=False` or
        `init=("chrono", T)`.
    activations : tuple of two
        In the places of σ and of tanh, each one of those of `LSTM`. A bidirectional
        layer takes four as well: the last two are those of the reverse direction.
    clip : float, optional
        Limit ±clip of what goes into the gates and the candidate, before the
        activation. The gradient of a limited value is 0.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, H] in any case.
    dropout : float
        Share of values dropped between layers by `forward`, 0 <= p < 1.
    recurrent_dropout : float
        Share of h that `forward` hides from R, 0 <= p < 1: by one mask for each row,
        the same in all steps (Notes of `RNN`).
    zoneout : float or tuple of two floats
        Share of units that stay as they were in a step, 0 <= p < 1: drawn anew
        in each step of `forward`; a plain call takes the mean (Notes of `RNN`).
    bidirectional : bool
        Whether a second direction runs from each row's end to its start (D = 2).
    reverse : bool
        Whether the only direction runs from each row's end to its start; y[t] is
        still that of step t. Not with `bidirectional`.
    init : {"uniform", "orthogonal", "glorot"} or ("chrono", T)
        How first weights are drawn: uniform in ±1/sqrt(H), as in torch; with orthogonal
        recurrent matrices; uniform in Glorot's limits; or uniform with gate biases for
        memories of up to T steps (Tallec, Ollivier, arXiv 1804.11188).
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
    Weights as in `RNN`, with 3H rows: those of r, z, n; 3*H*(I + H + 2) in one layer.
    The cache's gates are `r`, `z`, `n` and, with `reset_after`, `v` = R_n h_{t-1} +
    b_hh_n.

    With `layer_norm`, as in the supplement of Ba, Kiros and Hinton, whose z is our
    1 - z::

        [a_r a_z] = LN(W_rz x_t) + LN(R_rz h_{t-1}) + b
        v = LN(R_n h_{t-1}) + b_v
        n = tanh(LN(W_n x_t) + b_n + σ(a_r) * v)
        h_t = σ(a_z) * h_{t-1} + (1 - σ(a_z)) * n

    LN is that of `LSTM`, over the 2H units of the two gates together and over H for the
    candidate. `weight_norm_l0` [10, H] has the gains of LN(W x) and then of LN(R h) for
    r and z, the biases of r and z, the gain of LN(R_n h) and b_v, and the gain of
    LN(W_n x) and b_n; gains are 1 at first, biases 0.

    Source: K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder",
    arXiv 1406.1078, whose first version resets after and whose third resets before.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.GRU(3, 4, num_layers=2, batch_first=True, seed=1)
    >>> y, h = layer(np.ones((2, 5, 3), np.float32))
    >>> y.shape, h.shape
    ((2, 5, 4), (2, 2, 4))
    """

    record = Record(
        name="gru",
        forms={"gru": {}, "gru_before": {"reset_after": False}},
        gates="rz",
        meanings={
            "r": "reset gate: what the candidate sees of h",
            "z": "update gate: what h keeps",
            "n": "candidate: what h may become",
            "v": "recurrent part of the candidate, before the reset",
            "s": "r * h: what the candidate sees of h",
        },
        keeps={"z": 1},
        checks=GRU_CHECKS,
    )

    reset_after: bool
    layer_norm: bool
    recurrent_dropout: float
    zoneout: float | tuple[float, float]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        layer_norm: bool = False,
        activations: tuple[ActivationLike, ...] = ("sigmoid", "tanh"),
        clip: float | None = None,
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
        return gru_fields(given)
