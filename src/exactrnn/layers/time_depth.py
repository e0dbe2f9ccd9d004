"""Grid LSTM of time and depth: the public class `TimeDepthGridLSTM`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from exactrnn import _checks, _core
from exactrnn._checks import Array
from exactrnn._run.time_depth import TimeDepthConfig, TimeDepthStack
from exactrnn._spec import grid_checks, option_checks
from exactrnn._spec.activations import Activation
from exactrnn._spec.recurrent import Init
from exactrnn._weights.store import Packs
from exactrnn.layers._recurrent import RecurrentLayer
from exactrnn.layers._stream import Stream
from exactrnn.layers.grid import GridModule

__all__ = ["TimeDepthGridLSTM"]

PRIORITIES = {"depth": (0,), "time": (1,), "none": ()}


class _TimeDepthStream(Stream[Any]):
    """A stream whose steps are grids of one point in time."""

    __slots__ = ()

    def _new_stepper(self, packs: Packs) -> _core.AnyStepper:
        stack: TimeDepthStack = cast(Any, self._layer._stack)
        return stack.new_stepper(packs, self.batch_size)


class TimeDepthGridLSTM(GridModule, RecurrentLayer[tuple[Array, Array], Any]):
    """Grid LSTM of time and depth: LSTMs along the time and along the layers.

    At time t and layer l stands a block with two transforms, one for each dimension, of
    `Hc = [h_depth; h_time]`, where `(h_time, m_time)` come from (t-1, l) and `(h_depth,
    m_depth)` from (t, l-1), with `σ` the logistic function and `*` elementwise::

        i = σ(W_i Hc + b_i)         f = σ(W_f Hc + b_f)
        g = tanh(W_g Hc + b_g)      o = σ(W_o Hc + b_o)
        m' = f * m + i * g          h' = tanh(o * m')  or  o * tanh(m')

    Below the first layer stands the projected input, `[h_depth; m_depth] = W_ih x_t +
    b_ih`; `h_depth` above the last is the output. With `priority="depth"` the transform
    along the depth reads the new `h_time`. Memory in both dimensions lets gradients
    pass many steps and many layers.

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, units of h and m in either dimension.
    num_layers : int
        L, points along the depth.
    depth : str or tuple
        `"lstm"`, or the α of a depth without memory, `h' = α(W Hc + b)`: one of the
        activations of `LSTM`, such as `"tanh"` or `("leaky_relu", 0.1)`.
    priority : {"depth", "time", "none"}
        The dimension that comes after the other and reads its new h.
    output : {"tanh(o*m)", "o*tanh(m)"}
        The paper's form, or that of public code and of the LSTM.
    shared : bool
        Whether all layers have the same weights (the paper's tied grid).
    tied : bool
        Whether both transforms of a block have the same weights.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, H] in any case.
    dropout : float
        Share of the values of `h_depth` dropped between layers by `forward`,
        0 <= p < 1; `m_depth` stays whole.
    bidirectional : bool
        Whether a second grid runs from each row's end to its start (D = 2).
    reverse : bool
        Whether the only direction runs from each row's end to its start; y[t] is
        still that of step t. Not with `bidirectional`.
    init : {"uniform", "orthogonal", "glorot"} or ("chrono", T)
        How first weights are drawn, as for `GridLSTM`.
    forget_bias : float, optional
        First bias of all forget gates; None for one like the others.
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
    The state is `(h, m)` of the time dimension, [L*D, B, H] each. Weights: `weight_ih`
    [2H, I], rows h, then m, and `bias_ih`; of each layer `weight_hh_depth_l0` and
    `weight_hh_time_l0` [4H, 2H], rows i f g o, columns h_depth, h_time, and their
    `bias_hh_...`; without `_l0` where shared, without the dimension where tied; the
    second direction's end in `_reverse`. `cache.gates` has `i_time_l0`, `i_depth_l0`
    and so on.

    Source: N. Kalchbrenner, I. Danihelka, A. Graves, "Grid Long Short-Term Memory",
    ICLR 2016, arXiv 1507.01526.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.TimeDepthGridLSTM(3, 4, num_layers=2, seed=1)
    >>> y, (h, m) = layer(np.ones((5, 2, 3), np.float32), lengths=[5, 2])
    >>> y.shape, m.shape
    ((5, 2, 4), (2, 2, 4))
    """

    depth: Activation
    output: str
    shared: bool
    tied: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        depth: Activation = "lstm",
        priority: str = "depth",
        output: str = "tanh(o*m)",
        shared: bool = False,
        tied: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reverse: bool = False,
        init: Init = "uniform",
        forget_bias: float | None = None,
        dtype: object = "float32",
        seed: int | None = None,
    ) -> None:
        arguments = {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "depth": depth,
            "priority": priority,
            "output": output,
            "shared": shared,
            "tied": tied,
            "bias": bias,
            "batch_first": batch_first,
            "dropout": dropout,
            "bidirectional": bidirectional,
            "reverse": reverse,
            "init": init,
            "forget_bias": forget_bias,
            "dtype": dtype,
        }
        super().__init__(arguments, seed)

    @classmethod
    def _configure(cls, arguments: Mapping[str, object]) -> Any:
        dtype = _checks.check_dtype(arguments["dtype"])
        depth = grid_checks.check_kind("depth", arguments["depth"], dtype)
        wanted = arguments["priority"]
        priority = _checks.check_choice("priority", wanted, tuple(PRIORITIES))
        bias = _checks.check_flag("bias", arguments["bias"])
        kinds = (depth, "lstm")
        init = grid_checks.check_init(arguments["init"], kinds, bias)
        bidirectional = _checks.check_flag("bidirectional", arguments["bidirectional"])
        reverse = option_checks.check_reverse(arguments["reverse"], bidirectional)
        return TimeDepthConfig(
            input_sizes=(
                _checks.check_size("input_size", arguments["input_size"]),
                None,
            ),
            hidden_size=_checks.check_size("hidden_size", arguments["hidden_size"]),
            kinds=kinds,
            priority=PRIORITIES[priority],
            output=grid_checks.check_output(arguments["output"]),
            sizes=(_checks.check_size("num_layers", arguments["num_layers"]), None),
            shared=(_checks.check_flag("shared", arguments["shared"]), True),
            tied=grid_checks.check_tied(arguments["tied"], kinds),
            bias=bias,
            dtype=dtype,
            init=init,
            forget_bias=grid_checks.check_forget_bias(
                arguments["forget_bias"], kinds, init, bias
            ),
            labels=("depth", "time"),
            place="l",
            side_labels=False,
            dropout=_checks.check_dropout(arguments["dropout"]),
            directions=1 + bidirectional,
            reverse=reverse,
            batch_first=_checks.check_flag("batch_first", arguments["batch_first"]),
        )

    @classmethod
    def _plain(cls, config: Any) -> dict[str, object]:
        names = {dims: name for name, dims in PRIORITIES.items()}
        return {
            "input_size": config.input_sizes[0],
            "hidden_size": config.hidden_size,
            "output_size": config.hidden_size,
            "num_layers": config.num_layers,
            "depth": config.kinds[0],
            "priority": names[config.priority],
            "output": config.output,
            "shared": config.shared[0],
            "tied": config.tied,
            "bias": config.bias,
            "batch_first": config.batch_first,
            "dropout": config.dropout,
            "bidirectional": config.directions == 2,
            "reverse": config.reverse,
            "init": config.init,
            "forget_bias": config.forget_bias,
        }

    @classmethod
    def _make_stack(
        cls, config: Any, weights: Mapping[str, Array], generator: np.random.PCG64
    ) -> Any:
        return TimeDepthStack(config, weights, generator)

    def stream(self, batch_size: int = 1) -> Stream[Any]:
        """Make a stream: one time step at a time, with the state kept inside.

        Parameters
        ----------
        batch_size : int
            Number of rows that go on side by side.

        Returns
        -------
        Stream
            With state zero; it follows later changes of the weights.

        Raises
        ------
        ValueError, TypeError
            If the layer reads rows from their ends, or `batch_size` is not an integer
            of at least 1.
        """
        return _TimeDepthStream(self, batch_size)
