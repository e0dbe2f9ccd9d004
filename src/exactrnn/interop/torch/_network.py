"""What layers and single steps of torch have in common here: who they are, weights.

A module keeps torch's own attributes, parameters and `state_dict`; beside them it has
the line that describes it (`_plans.py`) and what follows from that as plain values, so
that a compiler which reads its `forward` finds nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import nn

from exactrnn._checks.limits import quote
from exactrnn._numeric import random
from exactrnn._system.mode import ieee_mode
from exactrnn.interop._lines import describe
from exactrnn.interop.torch import _operators
from exactrnn.interop.torch._kernels import Tensors
from exactrnn.interop.torch._operators import Job
from exactrnn.interop.torch._plans import (
    DTYPES,
    network_of,
    plan_of,
    trusting,
)
from exactrnn.layers import CLASSES

WAYS_OUT = "swap back to torch.nn by exactrnn.torch.unswap"


class Network(nn.Module):
    """A module that is computed here: its line, its weights, its calls."""

    kind: ClassVar[str]
    like_torch: ClassVar[bool] = True
    """Whether torch has a class of this name, with these weights."""

    _line: str
    _own: Mapping[str, Any]
    _names: Sequence[str]
    _widths: Sequence[int]
    _clocked: bool
    _phase: int
    _width: int

    def _adopt(self, sizes: Mapping[str, object], own: Mapping[str, object]) -> None:
        """Become what is computed for these arguments; `own` torch does not have."""
        known = inspect.signature(CLASSES[self.kind]).parameters
        for name in own:
            if name not in known or name == "seed":
                raise TypeError(
                    f"{self.kind}: got an unexpected keyword argument {quote(name)}"
                )
        line = describe(self.kind, {**sizes, **own})
        spec = plan_of(line, torch.float32).spec
        self._line, self._own = line, dict(own)
        self._names = list(spec.weight_shapes)
        self._widths = list(spec.state_sizes)
        self._clocked, self._phase = spec.counts_steps, spec.phase
        self._width = spec.directions * spec.output_size

    # Weights

    def _make_weights(self, device: object, dtype: object) -> None:
        """Give the module parameters of the names and shapes of its line."""
        for name in list(self._parameters):
            del self._parameters[name]
        for name, shape in self._plan().spec.weight_shapes.items():
            empty = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(empty))

    def _draw_weights(self) -> None:
        """Draw first weights as the library does, from torch's random numbers."""
        kind, _ = network_of(self._line)
        drawn_seed = int(torch.randint(2**62, (), device="cpu"))
        seed = random.Seed(drawn_seed, random.kind_of(kind))
        with ieee_mode():
            drawn = kind._draw_weights(self._plan().spec, seed)
        with torch.no_grad():
            for name, array in drawn.items():
                getattr(self, name).copy_(torch.from_numpy(array))

    def _plan(self) -> Any:
        """Return what the line means in float32."""
        return plan_of(self._line, torch.float32)

    def _weights(self) -> list[torch.Tensor]:
        """Return the weights as they are now, whoever makes them."""
        own = self._parameters
        try:
            return [own[name] for name in self._names]
        except KeyError:  # of a parametrization, or of the old weight_norm
            return [getattr(self, name) for name in self._names]

    def reset_parameters(self) -> None:
        """Draw first weights anew: as torch does, unless torch has no such network."""
        if self.like_torch and not self.__dict__.get("_own"):
            super().reset_parameters()
        else:
            self._draw_weights()

    def extra_repr(self) -> str:
        """Return the arguments that are not torch's defaults."""
        own = [f"{name}={value!r}" for name, value in self._own.items()]
        return ", ".join([super().extra_repr(), *own])

    # Calls

    def _check(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> None:
        """Raise for what is not computed here, in a way that names another."""
        dtype = weights[0].dtype
        if x.dtype is not dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({dtype}), or convert model: "
                f"model.to({x.dtype})"
            )
        if dtype not in DTYPES:
            raise TypeError(
                f"input: expected torch.float32 or torch.float64, got {dtype}; convert "
                f"the module and its input, or {WAYS_OUT}"
            )
        if x.layout is not torch.strided:
            raise NotImplementedError(
                f"input: expected a dense tensor, got {x.layout}; convert it by "
                f".to_dense(), or {WAYS_OUT}"
            )
        if not (x.is_cpu and weights[0].is_cpu):
            check_devices(x, weights[0])
        if torch.is_autocast_enabled("cpu"):
            raise NotImplementedError(
                "autocast: expected float32 or float64 throughout, which autocast "
                "would lower; run the module within torch.autocast('cpu', "
                f"enabled=False), or {WAYS_OUT}"
            )

    def _compute(
        self,
        x: torch.Tensor,
        batch_sizes: torch.Tensor | None,
        tensors: tuple[Tensors, Tensors, Tensors],
        *,
        batch_first: bool = False,
        step: bool = False,
    ) -> Sequence[torch.Tensor]:
        """Return the output, but of a single step, and the final state's parts.

        `tensors` are the parts of the initial state, dropout masks and weights.
        """
        clock, parts = self._clocked, len(self._widths) + self._clocked
        state, masks, _ = tensors
        job = Job(self._line, batch_first, step, clock, parts, len(state), len(masks))
        return _operators.run(job, x, batch_sizes, tensors)


def check_devices(x: torch.Tensor, weight: torch.Tensor) -> None:
    """Raise for memory that the kernels cannot read; shapes alone are for anywhere."""
    for name, tensor in (("input", x), ("weights", weight)):
        if tensor.device.type not in ("cpu", "meta"):
            raise NotImplementedError(
                f"{name}: expected memory of the CPU, got {tensor.device}; move module "
                f"and input by .cpu(), or {WAYS_OUT}"
            )
    if x.device != weight.device:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found input "
            f"tensor at {x.device} and parameter tensor at {weight.device}"
        )


@contextmanager
def constant(model: nn.Module) -> Iterator[None]:
    """Promise that nothing writes to a model's recurrent weights within a block.

    Each call compares the weights with those that were packed, since they may have been
    written to in ways that nobody sees. That goes at the speed of memory, which shows
    where a call is a single step of a large layer. Within the block it is done once.
    Writes that torch counts (`copy_`, `load_state_dict`, optimisers that are not fused)
    are still seen, those through `.data` and NumPy are not.

    Parameters
    ----------
    model : torch.nn.Module
        The model; it may be a recurrent module itself.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> cell = xrt.GRUCell(3, 4)
    >>> h = torch.zeros(1, 4)
    >>> with torch.no_grad(), xrt.constant(cell):
    ...     for x in torch.ones(5, 1, 3):
    ...         h = cell(x, h)
    """
    networks = [m for _, m in named_modules(model) if isinstance(m, Network)]
    with trusting((network._line, network._weights()) for network in networks):
        yield


def named_modules(model: Any) -> list[tuple[str, nn.Module]]:
    """Return all modules of a model, each once."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model: expected a torch.nn.Module, got {type(model).__name__}"
        )
    return list(model.named_modules())
