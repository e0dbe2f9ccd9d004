"""Single recurrent cells, one time step per call: torch's `RNNCell` and its kin.

A cell is a layer of one direction whose sequence has one step; the state is in the
caller's hands. For a stream of steps `layer.stream()` is faster.
"""

from __future__ import annotations

from typing import Any, Literal

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike, DTypeLike
from exactrnn._run import call as _call
from exactrnn._spec.activations import Activation, ActivationLike
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.options import gru_fields, lstm_fields, shared_fields, simple_fields
from exactrnn._spec.recurrent import Config
from exactrnn._spec.rules import InitLike
from exactrnn.layers._module import RecurrentModule, S
from exactrnn.layers._named import SingleLSTMWeights, SingleWeights
from exactrnn.layers._results import Cache, Gradients
from exactrnn.layers.gru import GRU
from exactrnn.layers.lstm import LSTM
from exactrnn.layers.rnn import RNN

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "SingleStep"]


class SingleStep(RecurrentModule[S]):
    """What all single steps do: one step forward and back.

    A class is that of the layer whose record it has, with one layer and direction.
    """

    @classmethod
    def _configure(cls, given: Arguments) -> Any:
        fields = {"cell": cls.record.name} | cls._own_fields(given)
        return Config(suffixed=False, **fields | shared_fields(given))

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        """Return what only cells of this class have of a config."""
        raise NotImplementedError

    def __call__(self, x: ArrayLike, state: S | None = None) -> S:
        """Do one step.

        Parameters
        ----------
        x : array_like
            Input [B, I] or [I], of the cell's dtype.
        state : array_like or tuple of array_like, optional
            `h` [B, H], or `(h, c)` and so on for an LSTM; [H] for an input [I]; zeros
            by default.

        Returns
        -------
        ndarray or tuple of ndarrays
            The next state; `h` is the output.

        Raises
        ------
        ValueError
            If a shape is wrong.
        TypeError
            If something is not an array or not of the cell's dtype.
        """
        found: S = _call.step(self._stack, x, state)
        return found

    def forward(
        self, x: ArrayLike, state: S | None = None, *, gates: bool = False
    ) -> tuple[S, Cache]:
        """Do one step and keep what `backward` needs.

        Parameters
        ----------
        x, state
            As in a plain call.
        gates : bool
            Whether `cache.gates` is wanted: arrays [B, H] or [H].

        Returns
        -------
        state
            As in a plain call.
        cache : Cache
            For `backward`; owns a copy of `x`.

        Raises
        ------
        ValueError, TypeError
            As in a plain call.
        """
        gates = _checks.check_flag("gates", gates)
        final, run, layout = _call.step_keeping(self._stack, x, state)
        return final, Cache(self, run, layout, gates)

    def backward(self, cache: Cache, dstate: S) -> Gradients[Any]:
        """Go back one step, from the gradient of the next state.

        Parameters
        ----------
        cache : Cache
            From this cell's `forward`; the weights must be those of then.
        dstate : array_like or tuple of array_like
            Gradient of the state that `forward` returned, in its shape; one of several
            may be None, for zeros.

        Returns
        -------
        Gradients
            `x`, `state` (the one given to `forward`) and `weights` by name.

        Raises
        ------
        ValueError
            If a shape is wrong, the cache is another cell's or the weights have
            changed since `forward`.
        TypeError
            If something is not an array or not of the cell's dtype.
        """
        _checks.check_owner(cache, self)
        run, layout = cache._run, cache._layout
        return Gradients(*_call.step_back(self._stack.spec, run, layout, dstate))


class RNNCell(SingleWeights, SingleStep[Array]):
    """One step of Elman's simple recurrent network; equations as in `RNN`.

    Parameters
    ----------
    input_size : int
        I, values per input.
    hidden_size : int
        H, hidden units.
    bias : bool
        Whether there are biases.
    nonlinearity : str or tuple
        The function of the units, as in `RNN` of one direction.
    clip : float, optional
        As in `RNN`.
    init : {"uniform", "orthogonal", "glorot", "paper"}
        How first weights are drawn, as in `RNN`.
    dtype : {"float32", "float64"}
        Of weights, inputs and states.
    seed : int, optional
        Of the first weights.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights: `weight_ih` [H, I], `weight_hh` [H, H], `bias_ih` and `bias_hh` [H].

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> cell = xr.RNNCell(3, 4, seed=1)
    >>> cell(np.ones((2, 3), np.float32)).shape
    (2, 4)
    """

    record = RNN.record

    nonlinearity: Activation

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        nonlinearity: ActivationLike = "tanh",
        clip: float | None = None,
        init: InitLike = "uniform",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        return simple_fields(given, "nonlinearity")


class LSTMCell(SingleLSTMWeights, SingleStep[tuple[Array, ...]]):
    """One step of an LSTM; equations and options as in `LSTM`.

    Parameters
    ----------
    input_size : int
        I, values per input.
    hidden_size : int
        H, hidden units.
    bias : bool
        Whether there are biases.
    proj_size, peepholes, coupled, omit, activations, full_gate_recurrence, clip
        As in `LSTM`.
    init : {"uniform", "orthogonal", "glorot", "paper"} or ("chrono", T)
        How first weights are drawn, as in `LSTM`.
    forget_bias : float, optional
        First bias of the forget gate, as in `LSTM`.
    dtype : {"float32", "float64"}
        Of weights, inputs and states.
    seed : int, optional
        Of the first weights.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights as in `RNNCell`, with 4H rows: those of i, f, g, o; more or fewer with the
    options, as in `LSTM`.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> cell = xr.LSTMCell(3, 4, peepholes="ifo", seed=1)
    >>> h, c = cell(np.ones((2, 3), np.float32))
    >>> h, c = cell(np.ones((2, 3), np.float32), (h, c))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    record = LSTM.record

    proj_size: int
    peepholes: str
    coupled: str | None
    omit: str
    full_gate_recurrence: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        proj_size: int = 0,
        peepholes: str = "",
        coupled: Literal["input", "forget"] | None = None,
        omit: str = "",
        activations: tuple[ActivationLike, ...] = ("sigmoid", "tanh", "tanh"),
        full_gate_recurrence: bool = False,
        clip: float | None = None,
        init: InitLike = "uniform",
        forget_bias: float | None = None,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        return lstm_fields(given)


class GRUCell(SingleWeights, SingleStep[Array]):
    """One step of a GRU; equations as in `GRU`.

    Parameters
    ----------
    input_size : int
        I, values per input.
    hidden_size : int
        H, hidden units.
    bias : bool
        Whether there are biases.
    reset_after : bool
        Whether the reset gate acts after the recurrent product.
    activations, clip
        As in `GRU`.
    init : {"uniform", "orthogonal", "glorot"} or ("chrono", T)
        How first weights are drawn, as in `GRU`.
    dtype : {"float32", "float64"}
        Of weights, inputs and states.
    seed : int, optional
        Of the first weights.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights as in `RNNCell`, with 3H rows: those of r, z, n.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> cell = xr.GRUCell(3, 4, seed=1)
    >>> h, cache = cell.forward(np.ones(3, np.float32), gates=True)
    >>> cache.gates["z"].shape
    (4,)
    >>> cell.backward(cache, np.ones_like(h)).weights["bias_hh"].shape
    (12,)
    """

    record = GRU.record

    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        reset_after: bool = True,
        activations: tuple[ActivationLike, ...] = ("sigmoid", "tanh"),
        clip: float | None = None,
        init: InitLike = "uniform",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        return gru_fields(given)
