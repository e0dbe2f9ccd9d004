"""From here to torch: a layer's weights and options as torch has them.

    xr.LSTM, GRU, RNN, their cells, Linear, Embedding -> torch.nn's own
    a composite                                       -> a module of its parts
    every layer, with stock=False                     -> a module of exactrnn.torch

Weights have the same names, shapes and order of gates on both sides, so their bits go
over as they are.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from exactrnn import layers, train
from exactrnn._checks import check_flag, describe
from exactrnn._checks.limits import quote
from exactrnn._spec.activations import with_parameters
from exactrnn.interop.torch import _cells, _layers, _others
from exactrnn.layers._module import Module

STOCK: dict[type[Module], type[nn.Module]] = {
    layers.LSTM: nn.LSTM,
    layers.GRU: nn.GRU,
    layers.RNN: nn.RNN,
    layers.LSTMCell: nn.LSTMCell,
    layers.GRUCell: nn.GRUCell,
    layers.RNNCell: nn.RNNCell,
    train.Linear: nn.Linear,
    train.Embedding: nn.Embedding,
}
"""Our classes and torch's."""
OURS: dict[type[Module], type[nn.Module]] = {
    layers.LSTM: _layers.LSTM,
    layers.GRU: _layers.GRU,
    layers.RNN: _layers.RNN,
    layers.LSTMCell: _cells.LSTMCell,
    layers.GRUCell: _cells.GRUCell,
    layers.RNNCell: _cells.RNNCell,
    layers.LSTM1997: _others.LSTM1997,
    layers.DepthGatedLSTM: _others.DepthGatedLSTM,
    layers.MUT1: _others.MUT1,
    layers.MUT2: _others.MUT2,
    layers.MUT3: _others.MUT3,
    layers.JordanRNN: _others.JordanRNN,
    layers.LeakyRNN: _others.LeakyRNN,
    layers.ClockworkRNN: _others.ClockworkRNN,
    train.Linear: nn.Linear,
    train.Embedding: nn.Embedding,
}
"""Our classes, and those of `exactrnn.torch`."""
TAKEN = frozenset(
    {
        *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
        *("bidirectional", "proj_size", "in_features", "out_features"),
        *("num_embeddings", "embedding_dim"),
    }
)
"""Arguments that torch's classes have too."""
FIRST = frozenset({"init", "forget_bias", "dtype"})
"""Arguments that say how weights were first drawn, and what they are of."""
PLAIN = {
    "peepholes": "",
    "coupled": None,
    "omit": "",
    "full_gate_recurrence": False,
    "layer_norm": False,
    "clip": None,
    "reset_after": True,
    "reverse": False,
}
"""Arguments that torch's classes have not, as they must be."""
UNKNOWN = ("recurrent_dropout", "zoneout")
"""Arguments that `exactrnn.torch` has not either; 0 asks for nothing."""
PLAIN_STEP, PLAIN_TABLE = {"proj_size": 0}, {"dropout": 0.0}
"""Likewise of single steps, and of embeddings."""
FIXED = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}
"""Activations of torch's classes that leave no choice."""
NONLINEARITIES = ("tanh", "relu")


def to_torch(model: Any, *, stock: bool = True) -> nn.Module:
    """Make a torch module with the weights and options of a layer or model.

    Parameters
    ----------
    model : layer, Linear, Embedding or Composite
        A layer becomes the module of its class. A composite becomes a module whose
        parts have the same names, so that its `state_dict` has; it has no `forward`.
    stock : bool
        Whether modules are `torch.nn`'s own. False: recurrent ones are those of
        `exactrnn.torch`, which has layers and options that torch lacks.

    Returns
    -------
    torch.nn.Module
        In training mode, with weights of its own. torch's random numbers stay where
        they are.

    Raises
    ------
    TypeError
        If torch has no such class.
    ValueError
        If torch's class lacks an option, naming it.

    See Also
    --------
    exactrnn.from_torch : the way back

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.to_torch(xr.LSTM(3, 4, num_layers=2, seed=0))
    LSTM(3, 4, num_layers=2)
    >>> xr.to_torch(xr.LSTM(3, 4, peepholes="io", seed=0))
    Traceback (most recent call last):
    ...
    ValueError: model: expected peepholes '', since torch.nn.LSTM has none, got 'io'; \
stock=False gives a module of exactrnn.torch
    >>> xr.to_torch(xr.LSTM(3, 4, peepholes="io", seed=0), stock=False)
    LSTM(3, 4, peepholes='io')
    """
    return _module("model", model, check_flag("stock", stock))


def to_state_dict(model: Any) -> dict[str, torch.Tensor]:
    """Give the weights of any layer or model as tensors, for torch's `load_state_dict`.

    Parameters
    ----------
    model : layer or Composite
        Where torch has such a class, names, shapes and order are torch's.

    Returns
    -------
    dict of str to Tensor
        With memory of their own.

    Raises
    ------
    TypeError
        If it has no weights by name.

    Examples
    --------
    >>> import torch
    >>> import exactrnn as xr
    >>> import exactrnn.torch as xrt
    >>> theirs = torch.nn.GRU(3, 4)
    >>> theirs.load_state_dict(xrt.to_state_dict(xr.GRU(3, 4, seed=0)))
    <All keys matched successfully>
    """
    if not isinstance(model, Module | train.Composite):
        raise TypeError(f"model: expected a layer or model, got {describe(model)}")
    return {name: torch.from_numpy(w) for name, w in model.state_dict().items()}


def _module(name: str, model: Any, stock: bool) -> nn.Module:
    """Return the module of a layer or composite; `name` is that in messages."""
    if isinstance(model, train.Composite):
        return _composite(name, model, stock)
    kind = (STOCK if stock else OURS).get(type(model))
    if kind is None:
        room = "torch.nn" if stock else "exactrnn.torch"
        more = "; stock=False may have it" if stock and type(model) in OURS else ""
        raise TypeError(
            f"{name}: expected a layer that {room} has, got {describe(model)}{more}"
        )
    for option in UNKNOWN:
        value = getattr(model, option, 0.0)
        if value:
            raise ValueError(
                f"{name}: expected {option} 0, which no module of torch has, got "
                f"{quote(value)}"
            )
    plain = stock or kind in STOCK.values()
    arguments = _stock_arguments(name, model) if plain else _own_arguments(model)
    with torch.random.fork_rng(devices=()):
        module = kind(**arguments, dtype=getattr(torch, model.dtype.name))
    module.load_state_dict(to_state_dict(model))
    return module


def _own_arguments(model: Module) -> dict[str, Any]:
    """Return the arguments of a class of `exactrnn.torch`, without needless ones."""
    plain = {
        name: parameter.default
        for name, parameter in inspect.signature(type(model)).parameters.items()
    }
    return {
        name: value
        for name, value in model._arguments.items()
        if name not in FIRST and (name in TAKEN or value != plain[name])
    }


def _stock_arguments(name: str, model: Module) -> dict[str, Any]:
    """Return the arguments of torch's class, or raise for what it lacks."""
    kind = type(model).__name__
    own: dict[str, Any] = PLAIN_STEP if kind.endswith("Cell") else {}
    own = PLAIN_TABLE if kind == "Embedding" else own
    taken, found = TAKEN - own.keys(), dict[str, Any]()
    plain = PLAIN | own
    for option, value in model._arguments.items():
        if option in taken:
            found[option] = value
        elif option == "nonlinearity":
            found[option] = _nonlinearity(name, kind, model)
        elif option == "activations":
            _check_activations(name, kind, model)
        elif option not in (*FIRST, *UNKNOWN) and value != plain[option]:
            raise _lacking(name, kind, option, repr(plain[option]), value)
    return found


def _nonlinearity(name: str, kind: str, model: Any) -> str:
    """Return what torch calls the activation of all directions."""
    used = {*map(with_parameters, model.activations)}
    for known in NONLINEARITIES:
        if used == {with_parameters(known)}:
            return known
    expected = " or ".join(map(repr, NONLINEARITIES))
    raise _lacking(name, kind, "nonlinearity", expected, model.activations)


def _check_activations(name: str, kind: str, model: Any) -> None:
    """Raise unless each direction has the activations of torch's class."""
    fixed = FIXED[kind.removesuffix("Cell")]
    used = tuple(map(with_parameters, model.activations))
    times = len(used) // len(fixed)
    if used != tuple(map(with_parameters, fixed)) * times:
        raise _lacking(name, kind, "activations", repr(fixed), model.activations)


def _lacking(
    name: str, kind: str, option: str, expected: str, value: object
) -> ValueError:
    """Return the error for an option that torch's class has not."""
    return ValueError(
        f"{name}: expected {option} {expected}, since torch.nn.{kind} has none, got "
        f"{quote(value)}; stock=False gives a module of exactrnn.torch"
    )


def _composite(name: str, model: train.Composite, stock: bool) -> nn.Module:
    """Return a module of modules, named as the parts are."""
    made = nn.Module()
    parts: dict[str, Any] = {**model.parts}
    for own, part in parts.items():
        if not isinstance(part, Module | train.Composite):
            continue  # without weights
        *way, last = own.split(".")
        level = made
        for step in way:
            if step not in level._modules:
                level.add_module(step, nn.Module())
            level = level.get_submodule(step)
        level.add_module(last, _module(f"{name}.{own}", part, stock))
    return made
