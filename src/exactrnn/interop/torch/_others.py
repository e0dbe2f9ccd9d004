"""The library's other layers as torch modules: those that torch does not have.

Their arguments are those of `exactrnn`, in torch's order where torch has them; weights
have the names and shapes of `exactrnn`, and are drawn as it draws them, from torch's
random numbers.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from exactrnn.interop._lines import describe
from exactrnn.interop.torch._layers import Layer
from exactrnn.interop.torch._plans import network_of


class Other(Layer):
    """A layer that torch does not have.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As in `torch.nn.RNN`.
    device, dtype
        As there; it computes on the CPU, in float32 and float64.
    **options
        What the class of the same name in `exactrnn` has beyond.
    """

    like_torch = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        given = {**locals(), **options}
        names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first")
        torch_names = (*names, "dropout", "bidirectional")
        line = describe(self.kind, {n: given[n] for n in (*torch_names, *options)})
        kind, arguments = network_of(line)
        kind(**arguments, seed=0)  # which checks all of them, and may warn
        nn.Module.__init__(self)
        self.mode, self.proj_size = self.kind, 0
        for name in torch_names:
            setattr(self, name, given[name])
        self._adopt(self._sizes(), options)
        self._replace_weights(device, dtype)


class LSTM1997(Other):
    """`exactrnn.LSTM1997`, the LSTM of the paper, as a torch module."""

    kind = "LSTM1997"


class DepthGatedLSTM(Other):
    """`exactrnn.DepthGatedLSTM` as a torch module."""

    kind = "DepthGatedLSTM"


class MUT1(Other):
    """`exactrnn.MUT1` as a torch module."""

    kind = "MUT1"


class MUT2(Other):
    """`exactrnn.MUT2` as a torch module."""

    kind = "MUT2"


class MUT3(Other):
    """`exactrnn.MUT3` as a torch module."""

    kind = "MUT3"


class JordanRNN(Other):
    """`exactrnn.JordanRNN`, whose output is fed back, as a torch module."""

    kind = "JordanRNN"


class LeakyRNN(Other):
    """`exactrnn.LeakyRNN` as a torch module; a leak that is learned is a parameter."""

    kind = "LeakyRNN"


class ClockworkRNN(Other):
    """`exactrnn.ClockworkRNN` as a torch module.

    Its state is `(h, clock)`: the clock, int64 [B], counts the steps of each row and
    has no gradient.
    """

    kind = "ClockworkRNN"
