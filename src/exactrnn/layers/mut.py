"""The three best architectures of a search by mutation."""

from __future__ import annotations

from exactrnn._checks import Array, DTypeLike
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._named import TwoBiases
from exactrnn.layers._recurrent import RecurrentLayer

__all__ = ["MUT1", "MUT2", "MUT3"]


def _record(name: str, **meanings: str) -> Record:
    """Return what one of the three says; `meanings` are of what it alone has."""
    shared = {
        "r": "reset gate: what the candidate sees of h",
        "z": "update gate: what is written",
        "n": "candidate: what h may become",
        "s": "r * h: what the candidate sees of h",
    }
    return Record(
        name=name,
        activations=("sigmoid", "tanh"),
        gates="rz",
        meanings=shared | meanings,
    )


class _Mutation(TwoBiases, RecurrentLayer[Array, Array]):
    """What the three have in common: arguments."""

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
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())


class MUT1(_Mutation):
    """The architecture MUT1 that a search among ten thousand found.

    For each time step, with `σ` the logistic function and `*` elementwise::

        z = σ(W_z x_t + b_ih_z)
        r = σ(W_r x_t + b_ih_r + R_r h_{t-1} + b_hh_r)
        n = tanh(R_n (r * h_{t-1}) + tanh(W_n x_t) + b_ih_n + b_hh_n)
        h_t = (1 - z) * h_{t-1} + z * n

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
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
    Weights as in `RNN`, but W has 3H rows, those of r, z, n, and R has 2H, those of r
    and n: 3*H*(I + 1) + 2*H*(H + 1) in one layer.

    In the paper the sizes are equal, I = H, and the input enters once without a matrix
    of its own; here it is projected, as public implementations do it. The update gate
    `z` writes: it has the opposite sense of the `GRU`'s.

    Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of
    Recurrent Network Architectures", ICML 2015, PMLR 37:2342-2350.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.MUT1(3, 4, seed=1)
    >>> y, h = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, layer.num_parameters
    ((5, 2, 4), 88)
    """

    record = _record("mut1", x="tanh(W x): what the candidate sees of x")


class MUT2(_Mutation):
    """The architecture MUT2 that a search among ten thousand found.

    For each time step, with `σ` the logistic function and `*` elementwise::

        r = σ(W_r x_t + b_ih_r + R_r h_{t-1} + b_hh_r)
        z = σ(W_z x_t + b_ih_z + R_z h_{t-1} + b_hh_z)
        n = tanh(W_n x_t + b_ih_n + R_n (r * h_{t-1}) + b_hh_n)
        h_t = (1 - z) * h_{t-1} + z * n

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
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
    Weights as in `RNN`, with 3H rows: those of r, z, n; 3*H*(I + H + 2) in one layer.

    In the paper the sizes are equal, I = H, and the input enters once without a matrix
    of its own; here it is projected, as public implementations do it. The update gate
    `z` writes: it has the opposite sense of the `GRU`'s.

    Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of
    Recurrent Network Architectures", ICML 2015, PMLR 37:2342-2350.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.MUT2(3, 4, seed=1)
    >>> y, h = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, layer.num_parameters
    ((5, 2, 4), 108)
    """

    record = _record("mut2")


class MUT3(_Mutation):
    """The architecture MUT3 that a search among ten thousand found.

    For each time step, with `σ` the logistic function and `*` elementwise::

        r = σ(W_r x_t + b_ih_r + R_r h_{t-1} + b_hh_r)
        z = σ(W_z x_t + b_ih_z + R_z tanh(h_{t-1}) + b_hh_z)
        n = tanh(W_n x_t + b_ih_n + R_n (r * h_{t-1}) + b_hh_n)
        h_t = (1 - z) * h_{t-1} + z * n

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
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
    Weights as in `RNN`, with 3H rows: those of r, z, n; 3*H*(I + H + 2) in one layer.

    In the paper the sizes are equal, I = H, and the input enters once without a matrix
    of its own; here it is projected, as public implementations do it. The update gate
    `z` writes: it has the opposite sense of the `GRU`'s.

    Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of
    Recurrent Network Architectures", ICML 2015, PMLR 37:2342-2350.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.MUT3(3, 4, seed=1)
    >>> y, h = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, layer.num_parameters
    ((5, 2, 4), 108)
    """

    record = _record("mut3", q="tanh(h): what the update gate sees of h")
