"""Grid LSTM of time and depth: the public class `TimeDepthGridLSTM`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from exactrnn._checks import Array, DTypeLike
from exactrnn._run.time_depth import TimeDepthStack
from exactrnn._spec.activations import Activation, KindLike
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.grid_arguments import PRIORITIES, TIME_DEPTH_CHECKS, kinds_of
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn._spec.time_depth import TimeDepthConfig
from exactrnn.layers._named import TimeDepthWeights
from exactrnn.layers._recurrent import RecurrentLayer
from exactrnn.layers._unzoned import without_zoneout
from exactrnn.layers.grid import MEANINGS, GridModule

__all__ = ["TimeDepthGridLSTM"]


class TimeDepthGridLSTM(
    TimeDepthWeights, GridModule, RecurrentLayer[tuple[Array, Array], Any]
):
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

    record = Record(
        name="grid",
        gates="ifo",
        meanings=MEANINGS,
        example_layers=2,
        checks=TIME_DEPTH_CHECKS,
    )

    depth: Activation
    priority: str
    output: str
    shared: bool
    tied: bool

    _stack: TimeDepthStack

    @without_zoneout("the states of a grid go along several dimensions")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        depth: KindLike = "lstm",
        priority: Literal["depth", "time", "none"] = "depth",
        output: Literal["tanh(o*m)", "o*tanh(m)"] = "tanh(o*m)",
        shared: bool = False,
        tied: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reverse: bool = False,
        init: InitLike = "uniform",
        forget_bias: float | None = None,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _configure(cls, given: Arguments) -> Any:
        names = (
            *("hidden_size", "output", "tied", "bias", "dtype", "init"),
            *("forget_bias", "dropout", "reverse", "batch_first"),
        )
        return TimeDepthConfig(
            input_sizes=(given["input_size"], None),
            kinds=kinds_of(given),
            priority=PRIORITIES[given["priority"]],
            sizes=(given["num_layers"], None),
            shared=(given["shared"], True),
            labels=("depth", "time"),
            place="l",
            side_labels=False,
            directions=1 + given["bidirectional"],
            **{name: given[name] for name in names},
        )

    def _attributes(self, given: Arguments) -> dict[str, object]:
        return {**given, "output_size": given["hidden_size"]}

    @classmethod
    def _make_stack(
        cls, spec: Any, weights: Mapping[str, Array], generator: np.random.PCG64
    ) -> TimeDepthStack:
        return TimeDepthStack(spec, weights, generator)
