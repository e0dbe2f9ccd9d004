"""A model's recurrent modules by those of this library, in place, and back.

A module stays the object it is: it changes its class and keeps its parameters, hooks
and attributes, so that optimisers, checkpoints and whoever refers to it find it as it
was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from exactrnn.interop.torch import _cells, _layers
from exactrnn.interop.torch._network import Network, named_modules
from exactrnn.interop.torch._plans import DTYPES

HERE: dict[type[nn.Module], type[Network]] = {
    nn.LSTM: _layers.LSTM,
    nn.GRU: _layers.GRU,
    nn.RNN: _layers.RNN,
    nn.LSTMCell: _cells.LSTMCell,
    nn.GRUCell: _cells.GRUCell,
    nn.RNNCell: _cells.RNNCell,
}
"""torch's classes and ours."""
THERE = {ours: theirs for theirs, ours in HERE.items()}
RECURRENT = {kind.__name__ for kind in HERE}
MADE = "_line"
"""The attribute by which a module is known to compute here."""


@dataclass(frozen=True)
class Swapped:
    """What `swap` or `unswap` did.

    Attributes
    ----------
    swapped : dict of str to str
        The class that a module has now, by its name in the model.
    left : dict of str to str
        Why a recurrent module was left as it is, likewise.
    """

    swapped: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        said = {name: f"left, {why}" for name, why in self.left.items()}
        lines = [
            f"{name or '(the model)'}: {what}"
            for name, what in {**self.swapped, **said}.items()
        ]
        return "\n".join(lines) or "no recurrent modules"


def swap(model: nn.Module) -> Swapped:
    """Let a model's recurrent modules compute on exactrnn's kernels.

    Each stays the same object, with the same parameters, hooks and names; optimisers
    and checkpoints go on as before. Results agree with torch's to 1e-5 in float32,
    1e-12 in float64.

    Parameters
    ----------
    model : torch.nn.Module
        The model; it may be a recurrent module itself.

    Returns
    -------
    Swapped
        What was swapped, and what was left, with the reason.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> model = torch.nn.ModuleDict({"reader": torch.nn.GRU(3, 4)})
    >>> print(xrt.swap(model))
    reader: exactrnn.torch.GRU
    """
    done = Swapped()
    for name, module in named_modules(model):
        reason = reason_to_leave(module)
        if reason is not None:
            done.left[name] = reason
        elif type(module) in HERE:
            reason = take_over(module)
            if reason is None:
                done.swapped[name] = f"exactrnn.torch.{type(module).__name__}"
            else:
                done.left[name] = reason
    return done


def unswap(model: nn.Module) -> Swapped:
    """Undo `swap`: what it has swapped is torch's again.

    Modules that were made here stay.

    Parameters
    ----------
    model : torch.nn.Module
        The model.

    Returns
    -------
    Swapped
        What is torch's again, and what stays since it has become of another class.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> import torch
    >>> import exactrnn.torch as xrt
    >>> layer = torch.nn.LSTM(3, 4)
    >>> report = xrt.swap(layer), xrt.unswap(layer)
    >>> type(layer)
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    done = Swapped()
    for name, module in named_modules(model):
        if not module.__dict__.get("_swapped"):
            continue
        if type(module) in THERE:
            give_back(module)
            done.swapped[name] = f"torch.nn.{type(module).__name__}"
        else:
            done.left[name] = reason_to_stay(module)
    return done


def reason_to_leave(module: nn.Module) -> str | None:
    """Return why a recurrent module cannot be swapped; None also for all others."""
    kind = type(module)
    if kind not in HERE:
        return reason_of_class(module)
    if "forward" in vars(module):
        return "its forward was replaced"
    for name, weight in vars(module)["_parameters"].items():
        if weight is None:
            continue
        if weight.device.type != "cpu":
            return f"its {name} is on {weight.device}, not on the CPU"
        if weight.dtype not in DTYPES:
            return f"its {name} is of {weight.dtype}, not of float32 or float64"
        if weight.layout is not torch.strided:
            return f"its {name} is {weight.layout}, not dense"
        if type(weight.data) is not torch.Tensor:
            return f"its {name} is a {type(weight.data).__name__}"
    return None


def reason_of_class(module: nn.Module) -> str | None:
    """Return why a module of a class that is not torch's own is left."""
    kind = type(module)
    if isinstance(module, Network):
        return None
    if isinstance(module, torch.jit.ScriptModule):
        scripted = getattr(module, "original_name", "")
        return "it is compiled TorchScript" if scripted in RECURRENT else None
    if ".quantized" in kind.__module__ or ".quantizable" in kind.__module__:
        return "it is quantised" if kind.__name__ in RECURRENT else None
    if hasattr(module, "parametrizations") and isinstance(module, tuple(HERE)):
        return "it is parametrized: swap first, then register the parametrization"
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return f"{kind.__name__} is a class of its own, which may compute otherwise"
    return None


def reason_to_stay(module: nn.Module) -> str:
    """Return why a module that was swapped cannot be torch's again."""
    if hasattr(module, "parametrizations"):
        return "it is parametrized: remove the parametrizations first"
    return f"{type(module).__name__} is a class that it was given after swap"


def take_over(module: nn.Module) -> str | None:
    """Make a module of torch's one of ours, or return why it stays torch's."""
    kind = type(module)
    network: Any = module
    network.__class__ = HERE[kind]
    try:
        network._adopt(network._sizes(), {})
    except (TypeError, ValueError) as error:
        network.__class__ = kind
        return str(error)
    network._swapped = True
    return None


def give_back(module: nn.Module) -> None:
    """Make a module that was swapped one of torch's again."""
    for name in [*Network.__annotations__, "_swapped"]:
        module.__dict__.pop(name, None)
    module.__class__ = THERE[type(module)]
