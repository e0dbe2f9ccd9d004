"""Clockwork RNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from exactrnn._checks import Array, DTypeLike, Lengths
from exactrnn._spec import option_checks
from exactrnn._spec.activations import Activation, ActivationLike
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.options import simple_fields
from exactrnn._spec.record import Record
from exactrnn._spec.recurrent import Config
from exactrnn._spec.rules import InitLike
from exactrnn.layers._named import TwoBiases
from exactrnn.layers._recurrent import RecurrentLayer
from exactrnn.layers._unzoned import without_zoneout

__all__ = ["ClockworkRNN"]


def _check_periods(_: str, value: object, __: Arguments) -> tuple[int, ...]:
    return option_checks.check_periods(value)


def _check_sizes(_: str, value: object, given: Arguments) -> tuple[int, ...] | None:
    periods, hidden_size = given["periods"], given["hidden_size"]
    return option_checks.check_module_sizes(value, periods, hidden_size)


def _check_phase(_: str, value: object, __: Arguments) -> int:
    return option_checks.check_phase(value)


def share_units(units: int, periods: tuple[int, ...]) -> tuple[int, ...]:
    """Return equal sizes of modules; what is left over goes to the faster ones."""
    count = len(periods)
    each, left = divmod(units, count)
    fastest = sorted(range(count), key=lambda module: periods[module])[:left]
    return tuple(each + (module in fastest) for module in range(count))


def example_periods(H: int) -> tuple[int, ...]:
    """Return a period for each 16 units, but from three to eight, at most H."""
    return tuple(2**k for k in range(min(H, max(3, min(8, H // 16)))))


class ClockworkRNN(TwoBiases, RecurrentLayer[tuple[Array, Lengths], Array]):
    """Clockwork RNN: modules of units, each of which takes part in every n-th step.

    The hidden units form modules, each with a period. At step t, counted from 0, a
    module i with units u is active if t is a multiple of its period T_i::

        h_t[u] = φ(W x_t + b_ih + (M ∘ R) h_{t-1} + b_hh)[u]     if t mod T_i = 0
        h_t[u] = h_{t-1}[u]                                      else

    Module i hears module j if T_i <= T_j: M is 1 there, else 0. So slow modules feed
    fast ones and themselves. The output is all of h. Modules that are not active, and
    blocks of R that do not exist, cost no arithmetic.

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    periods : tuple of int
        The period of each module, 1 or more, in the order of their units; any numbers
        in any order.
    module_sizes : tuple of int, optional
        Units of each module, H together. By default they are equal, and units that are
        left over go to the faster modules.
    phase : int
        What the clock of a new state shows. With 0 all modules take part in the first
        step.
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
    Weights as in `RNN`. `weight_hh_l0` [H, H] holds zeros where there is no connection:
    they are zeros at first, what `load_state_dict` gets for them is left out, and
    nothing reads them. `num_parameters` counts the others.

    The state is `(h, clock)`: `clock` [B], int64, is the number of steps that each row
    has done, the same for all layers and directions (one integer unbatched). The
    reverse direction counts from the end of the row, where it starts. A clock has no
    gradient: `dstate`, and `state` of the gradients, are those of `h` alone.

    After a reset a clock shows `phase`. As there is one for both directions, it goes
    with the first: it enters a row's first episode and is that of the last (if the
    layer reads in reverse alone, the other way round).

    Source: J. Koutník, K. Greff, F. Gomez, J. Schmidhuber, "A Clockwork RNN", ICML
    2014, PMLR 32, arXiv 1402.3511.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.ClockworkRNN(1, 64, periods=(1, 2, 4, 8, 16, 32, 64, 128), seed=1)
    >>> layer.module_sizes
    (8, 8, 8, 8, 8, 8, 8, 8)
    >>> y, (h, clock) = layer(np.ones((5, 2, 1), np.float32), lengths=[5, 3])
    >>> y.shape, h.shape, clock.tolist()
    ((5, 2, 64), (1, 2, 64), [5, 3])
    """

    record = Record(
        name="clockwork",
        cell="rnn",
        forms={"clockwork": {"periods": example_periods}},
        meanings={"a": "activation"},
        checks={
            "periods": _check_periods,
            "module_sizes": _check_sizes,
            "phase": _check_phase,
        },
    )

    periods: tuple[int, ...]
    phase: int
    nonlinearity: Activation | tuple[Activation, Activation]

    @without_zoneout("the units of a clockwork network rest by their clocks")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        periods: Sequence[int],
        module_sizes: Sequence[int] | None = None,
        phase: int = 0,
        nonlinearity: ActivationLike | tuple[ActivationLike, ActivationLike] = "tanh",
        clip: float | None = None,
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

    @property
    def module_sizes(self) -> tuple[int, ...]:
        """Units of each module, in the order of `periods`."""
        spec = cast(Config, self._spec)
        return tuple(size for size, _ in spec.options["modules"])

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        sizes, periods = given["module_sizes"], given["periods"]
        sizes = sizes or share_units(given["hidden_size"], periods)
        modules = tuple(zip(sizes, periods, strict=True))
        own = {"options": {"modules": modules}, "phase": given["phase"]}
        return own | simple_fields(given, "nonlinearity")
