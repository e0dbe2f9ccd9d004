"""`from_torch`: a layer out of weights that torch has trained, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from exactrnn._checks import (
    DTYPES,
    DTypeLike,
    check_choice,
    check_dtype,
    describe,
    naming,
)
from exactrnn._checks.limits import shorten
from exactrnn._numeric.rounding import TAKEN, as_floats, round_array
from exactrnn.interop.checkpoints._entries import Entry
from exactrnn.interop.checkpoints._kinds import (
    KINDS,
    Kind,
    choose,
    settle_kind,
    sizes_of,
)
from exactrnn.interop.checkpoints._sources import bad_file, entries_of, is_module
from exactrnn.io import Source
from exactrnn.layers import CLASSES

Options: TypeAlias = dict[str, Any]

ASKED = ("nonlinearity", "batch_first", "dropout")  # by the user; weights do not tell


def from_torch(
    source: Source | Mapping[str, Any] | Any,
    prefix: str | None = None,
    *,
    kind: Kind | None = None,
    nonlinearity: Literal["tanh", "relu"] | None = None,
    batch_first: bool | None = None,
    dropout: float | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Make a layer of weights that torch has trained.

    Neither torch nor an unpickler is needed: a file of `torch.save` is read by a reader
    of its own, which knows tensors and dictionaries of them alone. What a layer is, its
    sizes, layers, directions, biases and projection are read from names and shapes.

    Parameters
    ----------
    source : path, bytes, binary file, mapping or torch.nn.Module
        A file of `torch.save(model.state_dict(), …)`, of a checkpoint with such a
        dictionary in it, or a safetensors file; its content; a state_dict; a module.
        Dictionaries in dictionaries are named by the way to them: `"model.rnn."`.
    prefix : str, optional
        What stands before the weights' own names, `"encoder.rnn."`; all that is behind
        it must be of the layer. None means the only recurrent module there is, or the
        only one of `kind`.
    kind : str, optional
        `"LSTM"`, `"GRU"`, `"RNN"`, `"LSTMCell"`, `"GRUCell"`, `"RNNCell"`, `"Linear"`
        or `"Embedding"`. Needed where shapes do not tell: a matrix without a bias is an
        embedding or a linear layer.
    nonlinearity : {"tanh", "relu"}, optional
        Of an RNN: weights do not tell, nor do they the next two. Of a module all three
        are known. `"tanh"` by default.
    batch_first : bool, optional
        As in torch.nn; False by default.
    dropout : float, optional
        As in torch.nn; 0 by default.
    dtype : {"float32", "float64"}, optional
        Dtype of the layer, to which float16, bfloat16, float32 and float64 are rounded
        to nearest. Without it the weights have to have one that layers have.

    Returns
    -------
    LSTM, GRU, RNN, LSTMCell, GRUCell, RNNCell, Linear or Embedding
        The layer.

    Raises
    ------
    ValueError
        If a file is damaged or holds more than tensors; if names or shapes are not
        those of one layer, with all that is missing, unknown or misshapen; if a
        number is too large for `dtype`.
    TypeError
        If weights are of a dtype that was not asked to be rounded, or an argument is
        of the wrong type.
    ImportError
        If a safetensors file is to be read and the package is missing.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import exactrnn as xr
    >>> trained = xr.GRU(3, 4, 2, bidirectional=True, dtype="float64", seed=1)
    >>> state = {f"net.rnn.{n}": w for n, w in trained.state_dict().items()}
    >>> xr.from_torch(state)
    GRU(3, 4, num_layers=2, bidirectional=True, dtype='float64')
    >>> xr.from_torch(state, "net.rnn.", dtype="float32", batch_first=True)
    GRU(3, 4, num_layers=2, batch_first=True, bidirectional=True)
    """
    if prefix is not None and not isinstance(prefix, str):
        raise TypeError(f"prefix: expected a string or None, got {describe(prefix)}")
    if kind is not None:
        check_choice("kind", kind, KINDS)
    wanted = None if dtype is None else check_dtype(dtype)
    entries = entries_of(source)
    found = choose(entries, prefix, kind)
    group = {
        name.removeprefix(found): entry
        for name, entry in entries.items()
        if name.startswith(found)
    }
    own = settle_kind(group, kind)
    target = _settle_dtype(group) if wanted is None else wanted
    arguments = sizes_of(own, group) | {"dtype": target.name}
    asked: Options = {
        "nonlinearity": nonlinearity,
        "batch_first": batch_first,
        "dropout": dropout,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    arguments |= _options_of(source, found, own) | given
    _check_options(own, given)
    weights = _take_weights(source, own, arguments, group, target)
    return CLASSES[own].restore(arguments, weights)


def _settle_dtype(group: Mapping[str, Entry]) -> np.dtype[Any]:
    """Return the dtype that all weights have, if layers have it, too."""
    names = sorted({entry.dtype for entry in group.values()})
    if len(names) == 1 and names[0] in DTYPES:
        return np.dtype(names[0])
    got = shorten(", ".join(names))
    raise TypeError(
        f"source: expected weights of float32 or of float64, got {got}; "
        "give dtype= to have them rounded"
    )


def _options_of(source: Any, prefix: str, kind: str) -> Options:
    """Return what a live module says of itself that its weights do not tell."""
    if not is_module(source):
        return {}
    owner = dict(source.named_modules()).get(prefix.removesuffix("."))
    names = [*_parameters_of(kind)]
    options: Options = {
        name: getattr(owner, name)
        for name in ASKED
        if name in names and hasattr(owner, name)
    }
    # A module of exactrnn.torch has options that torch does not know.
    return options | dict(getattr(owner, "_own", {}))


def _parameters_of(kind: str) -> list[str]:
    """Return the names of the arguments of a class."""
    return [*CLASSES[kind]._given({})]


def _check_options(kind: str, given: Options) -> None:
    """Raise for an option that a class does not have."""
    for name in given:
        if name not in _parameters_of(kind):
            raise ValueError(f"{name}: expected None for {kind}, which has none")


def _take_weights(
    source: Any,
    kind: str,
    arguments: Options,
    group: Mapping[str, Entry],
    target: np.dtype[Any],
) -> dict[str, Any]:
    """Return the weights of a layer with these arguments, or say all that is wrong."""
    try:
        spec = CLASSES[kind]._configure(CLASSES[kind]._given(arguments))
    except ValueError as error:
        if str(error).startswith(ASKED):
            raise
        raise ValueError(f"source: {error}") from None  # sizes, which it has told
    problems = naming.Problems()
    with problems.noting():
        if spec.num_arrays > 2 * len(group):  # before they are listed
            raise ValueError(f"source: expected {spec.num_arrays} weights of {kind}")
        naming.check_names("source", group, spec.weight_shapes)
    taken = {}
    for name in (name for name in group if name in spec.weight_shapes):
        with problems.noting():
            if group[name].shape != spec.weight_shapes[name]:
                claimed = np.broadcast_to(target.type(0), group[name].shape)
                spec.take_weight(name, claimed)
            taken[name] = _read(source, name, group[name], target)
    problems.raise_all()
    return taken


def _read(source: Any, name: str, entry: Entry, target: np.dtype[Any]) -> Any:
    """Return the numbers of an entry, rounded to `target`."""
    if entry.dtype not in TAKEN:
        expected, got = ", ".join(TAKEN[:-1]), shorten(entry.dtype)
        raise TypeError(f"{name}: expected {expected} or {TAKEN[-1]}, got {got}")
    if isinstance(source, Mapping) or is_module(source):
        numbers: Any = as_floats(name, entry.read())
    else:
        with bad_file(source):
            numbers = entry.read()
    return round_array(name, numbers, target)
