"""Jordan's network."""

from __future__ import annotations

from typing import Any

from exactrnn import _checks
from exactrnn._checks import Array, DTypeLike
from exactrnn._spec.activations import Activation, ActivationLike
from exactrnn._spec.arguments import Arguments, as_nonlinearity
from exactrnn._spec.options import simple_fields
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._named import OutputLayer
from exactrnn.layers._recurrent import RecurrentLayer

__all__ = ["JordanRNN"]


def _check_output_size(name: str, value: object, _: Arguments) -> int | None:
    return None if value is None else _checks.check_size(name, value)


class JordanRNN(OutputLayer, RecurrentLayer[Array, Array]):
    """Jordan's network: the output, not the hidden state, is fed back.

    For each time step, with `φ` and `ψ` the two nonlinearities::

        s_t = φ(W x_t + b_ih + R y_{t-1} + b_hh)
        y_t = ψ(V s_t + b_ho)

    The state is y_{t-1}.

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    output_size : int, optional
        O, the width of the output y and so of the state; H by default.
    nonlinearity : str or tuple
        The function `φ`, one of the activations of `LSTM`, such as "tanh", "relu" or
        ("leaky_relu", 0.1); two of them in a tuple are those of the two directions.
    output_nonlinearity : str or tuple
        The function `ψ`, one of the same.
    clip : float, optional
        Limit ±clip of what goes into `φ` and `ψ`. The gradient of a limited value is 0.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, O] in any case.
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
    Weights as in `RNN`: W [H, I], R `weight_hh_l0` [H, O], the biases [H]; and V
    `weight_ho_l0` [O, H] with `bias_ho_l0` [O]: H*(I + O + 2) + O*(H + 1) in one layer.

    Source: M. I. Jordan, "Attractor Dynamics and Parallelism in a Connectionist
    Sequential Machine", Proceedings of the Eighth Annual Conference of the Cognitive
    Science Society, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.JordanRNN(3, 4, output_size=2, seed=1)
    >>> y, state = layer(np.ones((5, 1, 3), np.float32))
    >>> y.shape, state.shape, layer.weight_ho_l0.shape
    ((5, 1, 2), (1, 1, 2), (2, 4))
    """

    record = Record(
        name="jordan",
        forms={"jordan": {"output_size": lambda H: max(1, H // 2)}},
        meanings={
            "a": "hidden units",
            "s": "hidden units",
            "h": "output, which is fed back",
        },
        readout=True,
        checks={
            "output_size": _check_output_size,
            "output_nonlinearity": as_nonlinearity,
        },
    )

    nonlinearity: Activation | tuple[Activation, Activation]
    output_nonlinearity: Activation | tuple[Activation, Activation]
    recurrent_dropout: float
    zoneout: float | tuple[float, float]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        output_size: int | None = None,
        nonlinearity: ActivationLike | tuple[ActivationLike, ActivationLike] = "tanh",
        output_nonlinearity: ActivationLike
        | tuple[ActivationLike, ActivationLike] = "tanh",
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
        size = given["output_size"] or given["hidden_size"]
        own = {"options": {"output_size": size}}
        return own | simple_fields(given, "nonlinearity", "output_nonlinearity")
