"""Elman's simple recurrent network."""

from __future__ import annotations

from typing import Any

from exactrnn._checks import Array, DTypeLike
from exactrnn._spec.activations import Activation, ActivationLike
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.options import simple_fields
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._named import TwoBiases
from exactrnn.layers._recurrent import RecurrentLayer

__all__ = ["RNN"]


class RNN(TwoBiases, RecurrentLayer[Array, Array]):
    """Elman's simple recurrent network.

    For each time step, with `φ` the nonlinearity::

        h_t = φ(W x_t + b_ih + R h_{t-1} + b_hh)

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    nonlinearity : str or tuple
        The function `φ`, one of the activations of `LSTM`, such as "tanh", "relu" or
        ("leaky_relu", 0.1); two of them in a tuple are those of the two directions.
    clip : float, optional
        Limit ±clip of what goes into `φ`. The gradient of a limited value is 0.
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
    init : {"uniform", "orthogonal", "glorot", "paper"}
        How first weights are drawn: uniform in ±1/sqrt(H), as in torch; with orthogonal
        recurrent matrices; uniform in Glorot's limits; or, for "relu" alone, R the
        identity, W small and the biases zero (Le et al., arXiv 1504.00941).
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
    Weights, for each layer `_l0`, `_l1`, ... and with `_reverse` for the second
    direction: `weight_ih_l0` W [H, I], `weight_hh_l0` R [H, H], `bias_ih_l0` and
    `bias_hh_l0` [H]. As attributes they are views that can be written to. One layer has
    H*(I + H + 2) of them.

    Recurrent dropout is that of Y. Gal and Z. Ghahramani (arXiv 1512.05287): what
    `weight_hh` multiplies is multiplied with a mask of 0 and 1/(1-p) first. Zoneout is
    that of D. Krueger et al. (arXiv 1606.01305): a unit that stays has the state of the
    step before; the mean, for inference, is p * old + (1 - p) * new. Masks do not
    change with resets; `step` draws anew at each step.

    Source: J. L. Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.RNN(3, 4, nonlinearity="relu", seed=1)
    >>> y, h = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    record = Record(name="rnn", meanings={"a": "activation"}, paper="identity")

    nonlinearity: Activation | tuple[Activation, Activation]
    recurrent_dropout: float
    zoneout: float | tuple[float, float]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: ActivationLike | tuple[ActivationLike, ActivationLike] = "tanh",
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
        return simple_fields(given, "nonlinearity")
