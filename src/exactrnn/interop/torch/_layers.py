"""Layers: torch's own three, and the library's other networks in their manner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from exactrnn._spec.activations import ActivationLike
from exactrnn.interop.torch._network import Network

SIZES = ("input_size", "hidden_size", "num_layers", "bias", "bidirectional")
"""Arguments that torch has too and that say what is computed."""


class Layer(Network, nn.RNNBase):
    """What all layers do: run over a sequence, padded, packed or without a batch.

    They are `torch.nn.RNNBase`s but not subclasses of `torch.nn.LSTM` and so on:
    `torch.compile` refuses to look into those.
    """

    def _sizes(self) -> dict[str, object]:
        """Return what torch's own arguments say of the computation."""
        return {name: getattr(self, name) for name in SIZES}

    def _replace_weights(self, device: Any, dtype: Any) -> None:
        """Give a network that torch does not have its own parameters."""
        if self.like_torch and not self._own:
            return
        self._make_weights(device, dtype)
        spec = self._plan().spec
        self._flat_weights_names = list(self._names)
        self._all_weights = [
            [name for name in spec.weight_names(layer, direction) if name]
            for layer in range(spec.num_layers)
            for direction in range(spec.directions)
        ]
        self._init_flat_weights()
        self.reset_parameters()

    def flatten_parameters(self) -> None:
        """Do nothing: weights are packed where they are used."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 (torch's name)
        """Run over a sequence.

        Parameters
        ----------
        input : Tensor or PackedSequence
            [T, B, I], [B, T, I] with `batch_first`, or [T, I] without a batch.
        hx : Tensor or tuple of Tensor, optional
            The initial state: `h` [L*D, B, H], of an LSTM `(h, c)`; [L*D, H] without a
            batch; zeros by default.

        Returns
        -------
        output : Tensor or PackedSequence
            [T, B, D*H], laid out as the input.
        state : Tensor or tuple of Tensor
            The final state, shaped as the initial one.

        Raises
        ------
        ValueError, RuntimeError, TypeError, NotImplementedError
            As torch's own layers for what is wrong with the arguments; for memory that
            is not the CPU's, autocast, and what has no derivative here.
        """
        weights = self._weights()
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx, weights)
        if input.dim() not in (2, 3):
            raise ValueError(
                f"{self.kind}: Expected input to be 2D or 3D, got {input.dim()}D "
                "instead"
            )
        if input.dim() == 2:
            output, state = self._run_alone(input, hx, weights)
        else:
            self._check(input, weights)
            rows, steps = input.shape[:2]
            if not self.batch_first:
                rows, steps = steps, rows
            state = self._take_state(hx, 3, rows, input)
            output, *state = self._run(input, steps, rows, state, weights)
        return output, self._give_state(state)

    def _run_alone(
        self, x: torch.Tensor, hx: Any, weights: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run over a sequence without a batch."""
        self._check(x, weights)
        state = self._take_state(hx, 2, 1, x)
        axis = 0 if self.batch_first else 1
        output, *state = self._run(x.unsqueeze(axis), x.shape[0], 1, state, weights)
        ends = [part.squeeze(1) for part in state[: len(self._widths)]]
        ends += [clock.squeeze(0) for clock in state[len(self._widths) :]]
        return output.squeeze(axis), ends

    def _run_packed(
        self, packed: PackedSequence, hx: Any, weights: Sequence[torch.Tensor]
    ) -> tuple[PackedSequence, Any]:
        """Run over a packed sequence."""
        x, sizes, sorted_indices, unsorted_indices = packed
        if x.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {x.dim()}")
        self._check(x, weights)
        rows = int(sizes[0])
        state = self._take_state(hx, 3, rows, x)
        if hx is None:
            state = state or self._zeros(rows, x)
        elif sorted_indices is not None:
            state = self._reordered(state, sorted_indices)
        masks = self._draw_masks(x, x.shape[:1])
        output, *state = self._compute(x, sizes, (state, masks, weights))
        if unsorted_indices is not None:
            state = self._reordered(state, unsorted_indices)
        result = PackedSequence(output, sizes, sorted_indices, unsorted_indices)
        return result, self._give_state(state)

    def _reordered(
        self, state: Sequence[torch.Tensor], index: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the rows of a state in another order."""
        return [part.index_select(min(1, part.dim() - 1), index) for part in state]

    def _run(
        self,
        x: torch.Tensor,
        steps: int,
        rows: int,
        state: Sequence[torch.Tensor],
        weights: Sequence[torch.Tensor],
    ) -> Sequence[torch.Tensor]:
        """Return the output and the parts of the final state of a padded batch."""
        if steps == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        masks = self._draw_masks(x, (steps, rows))
        return self._compute(
            x, None, (state, masks, weights), batch_first=self.batch_first
        )

    def _draw_masks(self, x: torch.Tensor, lead: Sequence[int]) -> list[torch.Tensor]:
        """Return the masks of dropout between the layers, none where none is asked for.

        They are drawn as torch draws its own: the same seed drops the same values.
        """
        share = self.dropout if self.training else 0.0
        if share == 0.0:
            return []
        masks = []
        for _ in range(self.num_layers - 1):
            mask = x.new_empty((*lead, self._width))
            if share < 1.0:
                masks.append(mask.bernoulli_(1.0 - share).div_(1.0 - share))
            else:
                masks.append(mask.zero_())
        return masks

    # States

    def _zeros(self, rows: int, x: torch.Tensor) -> list[torch.Tensor]:
        """Return a state of zeros, its clock at the first phase."""
        planes = self.num_layers * (1 + self.bidirectional)
        state = [x.new_zeros((planes, rows, width)) for width in self._widths]
        if self._clocked:
            clock = x.new_full((rows,), self._phase, dtype=torch.int64)
            state.append(clock)
        return state

    def _take_state(
        self, hx: Any, axes: int, rows: int, x: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the parts of an initial state [L*D, B, n]; none for zeros."""
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {x.shape[-1]}"
            )
        if hx is None:
            return self._zeros(rows, x) if self._clocked else []
        count = len(self._widths) + self._clocked
        state = list(hx) if count > 1 else [hx]
        if len(state) != count:
            raise RuntimeError(f"hx: expected {count} tensors, got {len(state)}")
        planes = self.num_layers * (1 + self.bidirectional)
        for place, width in enumerate(self._widths):
            part = state[place]
            if part.dim() != axes:
                batched = "batched 3-D" if axes == 3 else "unbatched 2-D"
                raise RuntimeError(
                    f"For {batched} input, hx should also be {axes}-D but got "
                    f"{part.dim()}-D tensor"
                )
            if axes == 2:
                part = state[place] = part.unsqueeze(1)
            if part.shape != (planes, rows, width):
                raise RuntimeError(
                    f"Expected hidden{'' if count == 1 else f'[{place}]'} size "
                    f"{(planes, rows, width)}, got {list(part.shape)}"
                )
            check_kinship(x, part)
        if self._clocked:
            state[-1] = take_clock(state[-1], rows)
        return state

    def _give_state(self, state: Sequence[torch.Tensor]) -> Any:
        """Return a state as the caller has it."""
        return tuple(state) if len(state) > 1 else state[0]


def check_kinship(x: torch.Tensor, part: torch.Tensor) -> None:
    """Raise, as torch does, unless a state has the dtype and device of the input."""
    if part.dtype != x.dtype:
        raise RuntimeError(
            "Input and hidden tensors are not the same dtype, found input tensor with "
            f"{x.dtype} and hidden tensor with {part.dtype}"
        )
    if part.device != x.device:
        raise RuntimeError(
            "Input and hidden tensors are not at the same device, found input tensor "
            f"at {x.device} and hidden tensor at {part.device}"
        )


def take_clock(clock: torch.Tensor, rows: int) -> torch.Tensor:
    """Return a clock as int64 [B]."""
    if clock.dtype != torch.int64 or clock.shape not in ((rows,), ()):
        raise RuntimeError(
            f"hx[-1]: expected a clock of torch.int64, [B={rows}], got {clock.dtype}, "
            f"{list(clock.shape)}"
        )
    return clock.reshape(rows)


# torch's own three


class LSTM(Layer):
    """`torch.nn.LSTM` on exactrnn's kernels, and every LSTM that `exactrnn.LSTM` is.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As in `torch.nn.LSTM`.
    proj_size, device, dtype
        As there; it computes on the CPU, in float32 and float64.
    **options
        What `exactrnn.LSTM` has beyond: `peepholes`, `coupled`, `omit`, `activations`,
        `full_gate_recurrence`, `clip`, `reverse`, `init`, `forget_bias`.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> layer = xrt.LSTM(3, 4, bidirectional=True)
    >>> y, (h, c) = layer(torch.ones(5, 2, 3))
    >>> y.sum().backward()
    >>> y.shape, layer.weight_hh_l0.grad.shape
    (torch.Size([5, 2, 8]), torch.Size([16, 4]))
    """

    kind = "LSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        arguments = (input_size, hidden_size, num_layers, bias, batch_first, dropout)
        more = (bidirectional, proj_size, device, dtype)
        nn.RNNBase.__init__(self, "LSTM", *arguments, *more)
        self._adopt(self._sizes(), options)
        self._replace_weights(device, dtype)

    def _sizes(self) -> dict[str, object]:
        return {**super()._sizes(), "proj_size": self.proj_size}


class GRU(Layer):
    """`torch.nn.GRU` on exactrnn's kernels, and every GRU that `exactrnn.GRU` is.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As in `torch.nn.GRU`.
    device, dtype
        As there; it computes on the CPU, in float32 and float64.
    **options
        What `exactrnn.GRU` has beyond: `reset_after`, `activations`, `clip`, `reverse`,
        `init`.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> y, h = xrt.GRU(3, 4, 2, batch_first=True)(torch.ones(2, 5, 3))
    >>> y.shape, h.shape
    (torch.Size([2, 5, 4]), torch.Size([2, 2, 4]))
    """

    kind = "GRU"

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
        arguments = (input_size, hidden_size, num_layers, bias, batch_first, dropout)
        nn.RNNBase.__init__(
            self, "GRU", *arguments, bidirectional, device=device, dtype=dtype
        )
        self._adopt(self._sizes(), options)
        self._replace_weights(device, dtype)


class RNN(Layer):
    """`torch.nn.RNN` on exactrnn's kernels, and every one that `exactrnn.RNN` is.

    Parameters
    ----------
    input_size, hidden_size, num_layers
        As in `torch.nn.RNN`.
    nonlinearity : str
        "tanh", "relu", or another that `exactrnn.RNN` has.
    bias, batch_first, dropout, bidirectional
        As in `torch.nn.RNN`.
    device, dtype
        As there; it computes on the CPU, in float32 and float64.
    **options
        What `exactrnn.RNN` has beyond: `clip`, `reverse`, `init`.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> y, h = xrt.RNN(3, 4, 1, "relu")(torch.ones(5, 3))
    >>> y.shape, h.shape
    (torch.Size([5, 4]), torch.Size([1, 4]))
    """

    kind = "RNN"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: ActivationLike | tuple[ActivationLike, ActivationLike] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        mode = "RNN_RELU" if nonlinearity == "relu" else "RNN_TANH"
        arguments = (input_size, hidden_size, num_layers, bias, batch_first, dropout)
        nn.RNNBase.__init__(
            self, mode, *arguments, bidirectional, device=device, dtype=dtype
        )
        self.nonlinearity = nonlinearity
        self._adopt(self._sizes(), options)
        self._replace_weights(device, dtype)

    def _sizes(self) -> dict[str, object]:
        return {**super()._sizes(), "nonlinearity": self.nonlinearity}
