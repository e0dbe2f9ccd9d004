"""Recurrent layers over whole sequences: the public classes.

Each class gives its constructor, its equations, and the name of its cell in the
kernels. What they do with a sequence is in `_layer.RecurrentLayer`.
"""

from __future__ import annotations

from collections.abc import Mapping

from exactrnn import _checks
from exactrnn._checks import Array
from exactrnn._config import Config
from exactrnn._layer import RecurrentLayer

__all__ = ["GRU", "LSTM", "RNN"]


def _layer_config(
    cell: str, activations: tuple[str, ...], arguments: Mapping[str, object]
) -> Config:
    """Check the arguments that all layers share."""
    return Config(
        cell=cell,
        activations=activations,
        input_size=_checks.check_size("input_size", arguments["input_size"]),
        hidden_size=_checks.check_size("hidden_size", arguments["hidden_size"]),
        num_layers=_checks.check_size("num_layers", arguments["num_layers"]),
        bias=_checks.check_flag("bias", arguments["bias"]),
        batch_first=_checks.check_flag("batch_first", arguments["batch_first"]),
        dropout=_checks.check_dropout(arguments["dropout"]),
        bidirectional=_checks.check_flag("bidirectional", arguments["bidirectional"]),
        dtype=_checks.check_dtype(arguments["dtype"]),
    )


class RNN(RecurrentLayer[Array]):
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
    nonlinearity : {"tanh", "relu"}
        The function `φ`.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, H] in any case.
    dropout : float
        Share of values dropped between layers by `forward`, 0 <= p < 1.
    bidirectional : bool
        Whether a second direction runs from each row's end to its start (D = 2).
    dtype : {"float32", "float64"}
        Of weights, inputs, states and outputs.
    seed : int, optional
        Of the first weights, uniform in ±1/sqrt(H), and of dropout.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights, for each layer `_l0`, `_l1`, ... and with `_reverse` for the second
    direction: `weight_ih_l0` W [H, I], `weight_hh_l0` R [H, H], `bias_ih_l0` and
    `bias_hh_l0` [H]. As attributes they are views that can be written to.

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

    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: object = "float32",
        seed: int | None = None,
    ) -> None:
        arguments = {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "nonlinearity": nonlinearity,
            "bias": bias,
            "batch_first": batch_first,
            "dropout": dropout,
            "bidirectional": bidirectional,
            "dtype": dtype,
        }
        super().__init__(arguments, seed)

    @classmethod
    def _configure(cls, arguments: Mapping[str, object]) -> Config:
        wanted = arguments["nonlinearity"]
        chosen = _checks.check_choice("nonlinearity", wanted, ("tanh", "relu"))
        return _layer_config("rnn", (chosen,), arguments)


class LSTM(RecurrentLayer[tuple[Array, Array]]):
    """Long short-term memory with forget gate, without peepholes.

    For each time step, with `σ` the logistic function and `*` elementwise::

        i = σ(W_i x_t + b_ih_i + R_i h_{t-1} + b_hh_i)
        f = σ(W_f x_t + b_ih_f + R_f h_{t-1} + b_hh_f)
        g = tanh(W_g x_t + b_ih_g + R_g h_{t-1} + b_hh_g)
        o = σ(W_o x_t + b_ih_o + R_o h_{t-1} + b_hh_o)
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

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
    bidirectional : bool
        Whether a second direction runs from each row's end to its start (D = 2).
    dtype : {"float32", "float64"}
        Of weights, inputs, states and outputs.
    seed : int, optional
        Of the first weights, uniform in ±1/sqrt(H), and of dropout.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights as in `RNN`, with 4H rows: those of i, f, g, o. The state is `(h, c)`.

    Sources: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation
    9(8), 1997; F. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", Neural
    Computation 12(10), 2000.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.LSTM(3, 4, bidirectional=True, seed=1)
    >>> layer
    LSTM(3, 4, bidirectional=True)
    >>> y, (h, c) = layer(np.ones((5, 2, 3), np.float32), lengths=[5, 2])
    >>> y.shape, c.shape
    ((5, 2, 8), (2, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: object = "float32",
        seed: int | None = None,
    ) -> None:
        arguments = {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "bias": bias,
            "batch_first": batch_first,
            "dropout": dropout,
            "bidirectional": bidirectional,
            "dtype": dtype,
        }
        super().__init__(arguments, seed)

    @classmethod
    def _configure(cls, arguments: Mapping[str, object]) -> Config:
        return _layer_config("lstm", ("sigmoid", "tanh", "tanh"), arguments)


class GRU(RecurrentLayer[Array]):
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
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, H] in any case.
    dropout : float
        Share of values dropped between layers by `forward`, 0 <= p < 1.
    bidirectional : bool
        Whether a second direction runs from each row's end to its start (D = 2).
    dtype : {"float32", "float64"}
        Of weights, inputs, states and outputs.
    seed : int, optional
        Of the first weights, uniform in ±1/sqrt(H), and of dropout.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights as in `RNN`, with 3H rows: those of r, z, n. The cache's gates are `r`, `z`,
    `n` and, with `reset_after`, `v` = R_n h_{t-1} + b_hh_n.

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

    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: object = "float32",
        seed: int | None = None,
    ) -> None:
        arguments = {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "reset_after": reset_after,
            "bias": bias,
            "batch_first": batch_first,
            "dropout": dropout,
            "bidirectional": bidirectional,
            "dtype": dtype,
        }
        super().__init__(arguments, seed)

    @classmethod
    def _configure(cls, arguments: Mapping[str, object]) -> Config:
        after = _checks.check_flag("reset_after", arguments["reset_after"])
        cell = "gru" if after else "gru_before"
        return _layer_config(cell, ("sigmoid", "tanh"), arguments)
