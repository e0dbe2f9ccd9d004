"""Single steps: torch's `LSTMCell`, `GRUCell` and `RNNCell`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from exactrnn._spec.activations import ActivationLike
from exactrnn.interop.torch import _operators
from exactrnn.interop.torch._direct import step_at_once
from exactrnn.interop.torch._layers import check_kinship
from exactrnn.interop.torch._network import Network


class Cell(Network):
    """What all single steps do: one step of a batch or of one row."""

    input_size: int
    hidden_size: int
    bias: bool

    def _sizes(self) -> dict[str, object]:
        """Return what torch's own arguments say of the computation.

        Torch takes anything for the flag.
        """
        sizes = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        return {**sizes, "bias": bool(self.bias)}

    def _begin(self, options: dict[str, Any], device: Any, dtype: Any) -> None:
        """Become what is computed; with options of ours, with parameters of its own."""
        self._adopt(self._sizes(), options)
        if options:
            self._make_weights(device, dtype)
            self.reset_parameters()

    def forward(self, input: torch.Tensor, hx: Any = None) -> Any:  # noqa: A002
        """Do one step.

        Parameters
        ----------
        input : Tensor
            [B, I], or [I] of one row.
        hx : Tensor or tuple of Tensor, optional
            The state: `h` [B, H], of an LSTM `(h, c)`; [H] of one row; zeros by
            default.

        Returns
        -------
        Tensor or tuple of Tensor
            The next state.

        Raises
        ------
        ValueError, RuntimeError, TypeError, NotImplementedError
            As torch's own cells for what is wrong with the arguments; for memory that
            is not the CPU's, autocast, and what has no derivative here.
        """
        if not torch.compiler.is_compiling():
            found = self._step_at_once(input, hx)
            if found is not None:
                return found
        if input.dim() not in (1, 2):
            raise ValueError(
                f"{self.kind}: Expected input to be 1D or 2D, got {input.dim()}D "
                "instead"
            )
        weights, alone = self._weights(), input.dim() == 1
        x = input.unsqueeze(0) if alone else input
        self._check(x, weights)
        state = self._take_state(hx, x, alone)
        ends = self._compute(x, None, (state, (), weights), step=True)
        if alone:
            ends = [part.squeeze(0) for part in ends]
        return tuple(ends) if len(ends) > 1 else ends[0]

    def _step_at_once(self, x: Any, hx: Any) -> Any:
        """Return what `forward` does for a plain call, None if this is not one.

        It raises nothing: what is wrong with a call is found by the others.
        """
        if torch.is_grad_enabled() or _operators.is_watched():
            return None
        parts = len(self._widths)
        if hx is None:
            state: tuple[Any, ...] = ()
        elif parts == 1:
            state = (hx,)
        elif type(hx) in (tuple, list) and len(hx) == parts:
            state = tuple(hx)
        else:
            return None
        try:
            ends = step_at_once(self._line, x, state, self._weights())
        except RuntimeError:  # of a tensor that has no strides: sparse, nested
            return None
        if ends is None:
            return None
        return tuple(ends) if parts > 1 else ends[0]

    def _take_state(
        self, hx: Any, x: torch.Tensor, alone: bool
    ) -> Sequence[torch.Tensor]:
        """Return the parts of a state [B, n]; none for zeros."""
        if x.shape[1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {x.shape[1]}, expected "
                f"{self.input_size}"
            )
        if hx is None:
            return []
        state = list(hx) if len(self._widths) > 1 else [hx]
        if len(state) != len(self._widths):
            raise RuntimeError(
                f"hx: expected {len(self._widths)} tensors, got {len(state)}"
            )
        for place, width in enumerate(self._widths):
            part = state[place]
            if part.dim() not in (1, 2):
                raise ValueError(
                    f"{self.kind}: Expected hidden to be 1D or 2D, got {part.dim()}D "
                    "instead"
                )
            if alone:
                part = state[place] = part.unsqueeze(0)
            if part.dim() != 2 or part.shape[0] != x.shape[0]:
                raise RuntimeError(
                    f"Input batch size {x.shape[0]} doesn't match hidden{place} batch "
                    f"size {part.shape[0]}"
                )
            if part.shape[1] != width:
                raise RuntimeError(
                    f"hidden{place} has inconsistent hidden_size: got "
                    f"{part.shape[1]}, expected {width}"
                )
            check_kinship(x, part)
        return state


class LSTMCell(Cell, nn.LSTMCell):
    """`torch.nn.LSTMCell` on exactrnn's kernels.

    Parameters
    ----------
    input_size, hidden_size, bias, device, dtype
        As in `torch.nn.LSTMCell`.
    **options
        What `exactrnn.LSTMCell` has beyond.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> h, c = xrt.LSTMCell(3, 4)(torch.ones(2, 3))
    >>> h.shape, c.shape
    (torch.Size([2, 4]), torch.Size([2, 4]))
    """

    kind = "LSTMCell"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        nn.LSTMCell.__init__(self, input_size, hidden_size, bias, device, dtype)
        self._begin(options, device, dtype)


class GRUCell(Cell, nn.GRUCell):
    """`torch.nn.GRUCell` on exactrnn's kernels.

    Parameters
    ----------
    input_size, hidden_size, bias, device, dtype
        As in `torch.nn.GRUCell`.
    **options
        What `exactrnn.GRUCell` has beyond.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> xrt.GRUCell(3, 4)(torch.ones(3)).shape
    torch.Size([4])
    """

    kind = "GRUCell"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        nn.GRUCell.__init__(self, input_size, hidden_size, bias, device, dtype)
        self._begin(options, device, dtype)


class RNNCell(Cell, nn.RNNCell):
    """`torch.nn.RNNCell` on exactrnn's kernels.

    Parameters
    ----------
    input_size, hidden_size, bias, nonlinearity, device, dtype
        As in `torch.nn.RNNCell`; other nonlinearities are those of `exactrnn.RNNCell`.
    **options
        What `exactrnn.RNNCell` has beyond.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> xrt.RNNCell(3, 4, nonlinearity="relu")(torch.ones(2, 3)).shape
    torch.Size([2, 4])
    """

    kind = "RNNCell"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: ActivationLike = "tanh",
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        sizes = (input_size, hidden_size, bias, nonlinearity)
        nn.RNNCell.__init__(self, *sizes, device, dtype)
        self._begin(options, device, dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "nonlinearity" and "_line" in vars(self):  # torch reads it each time
            self._adopt({**self._sizes(), name: value}, self._own)
        super().__setattr__(name, value)

    def _sizes(self) -> dict[str, object]:
        return {**super()._sizes(), "nonlinearity": self.nonlinearity}
