"""Leaky units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, DTypeLike
from exactrnn._spec import option_checks
from exactrnn._spec.activations import Activation, ActivationLike
from exactrnn._spec.arguments import Arguments, as_flag
from exactrnn._spec.options import simple_fields
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._named import Leak
from exactrnn.layers._recurrent import RecurrentLayer

__all__ = ["LeakyRNN"]


def _check_leak(_: str, value: object, given: Arguments) -> object:
    H, dtype, learned = (given[n] for n in ("hidden_size", "dtype", "learn_leak"))
    return option_checks.check_leak(value, H, dtype, learned)


class LeakyRNN(Leak, RecurrentLayer[Array, Array]):
    """Simple recurrent network of leaky units: each goes only a part of the way.

    For each time step, with `φ` the nonlinearity and `α` the leak::

        h_t = (1 - α) * h_{t-1} + α * φ(W x_t + b_ih + R h_{t-1} + b_hh)

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    leak : float or array_like of float
        `α` in (0, 1]: one for all units, or [H], one for each. With 1 this is `RNN`.
    learn_leak : bool
        Whether the leak is a weight: `leak_logit`, with α = σ(leak_logit), so that it
        stays in (0, 1). It starts at `leak`, which must then be below 1.
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
    Weights as in `RNN`; with `learn_leak` also `leak_logit_l0`, [1] or [H], as `leak`
    is one number or several.

    Source: H. Jaeger, M. Lukoševičius, D. Popovici, U. Siewert, "Optimization and
    applications of echo state networks with leaky-integrator neurons", Neural Networks
    20(3), 2007; here leak and gain are one, as in most reservoirs.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.LeakyRNN(3, 4, leak=[0.1, 0.2, 0.5, 0.9], learn_leak=True, seed=1)
    >>> y, h, cache = layer.forward(np.ones((5, 2, 3), np.float32))
    >>> layer.backward(cache, y).weights["leak_logit_l0"].shape
    (4,)
    """

    record = Record(
        name="leaky",
        forms={"leaky": {"leak": 0.3}},
        meanings={"a": "activation: what h moves towards"},
        checks={"leak": _check_leak, "learn_leak": as_flag},
    )

    leak: float | tuple[float, ...]
    learn_leak: bool
    recurrent_dropout: float
    zoneout: float | tuple[float, float]
    nonlinearity: Activation | tuple[Activation, Activation]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        leak: float | Sequence[float] | NDArray[np.floating] = 1.0,
        learn_leak: bool = False,
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
        leak = option_checks.rounded_leak(given["leak"], given["dtype"])
        own = {"leak": leak, "learn_leak": given["learn_leak"]}
        return own | simple_fields(given, "nonlinearity")
