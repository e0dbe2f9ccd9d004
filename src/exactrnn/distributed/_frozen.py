"""A model as bytes for workers: its weights once in a machine's memory, not in each.

A frozen model is a pickle whose arrays lie beside it. An engine hands both over once to
each machine, where workers map them; the layers of the model that a worker makes of
them have the mapped arrays for their weights, to read, and not copies. What kernels
read are packed copies, which each worker makes for itself.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import describe
from exactrnn._checks.limits import shorten
from exactrnn.distributed.engine import unpickled
from exactrnn.layers import _module
from exactrnn.layers._module import Module


class Frozen(NamedTuple):
    """A model as bytes.

    Attributes
    ----------
    head : bytes
        The pickle without its arrays.
    arrays : list of ndarray of uint8
        Their bytes, in the order of the pickle.
    """

    head: bytes
    arrays: list[NDArray[np.uint8]]


def freeze(model: Any) -> Frozen:
    """Return a model as bytes.

    Raises
    ------
    TypeError
        If it cannot be pickled.
    """
    arrays: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    try:
        _Freezer(file, buffer_callback=arrays.append).dump(model)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"model: expected one that can be pickled, got {describe(model)} "
            f"({shorten(error)})"
        ) from error
    return Frozen(file.getvalue(), [np.frombuffer(a.raw(), np.uint8) for a in arrays])


def thaw(frozen: Frozen) -> Any:
    """Return the model that was frozen; its weights are the arrays given, to read."""
    return unpickled(frozen.head, frozen.arrays)


class _Freezer(pickle.Pickler):
    """A pickler of models whose layers, made anew, have the arrays for weights."""

    def __init__(self, file: io.BytesIO, **options: Any) -> None:
        super().__init__(file, protocol=5, **options)

    def reducer_override(self, thing: Any) -> Any:
        """Say how a layer is made anew; of all else its class says it."""
        if not isinstance(thing, Module):
            return NotImplemented
        make, arguments, *state = thing.__reduce__()
        if make is not _module._restore:
            return NotImplemented
        return _restore_sharing, arguments, *state


def _restore_sharing(
    kind: type[Module],
    arguments: Mapping[str, object],
    weights: Mapping[str, Any],
    *rest: Any,
) -> Module:
    """Make a layer whose weights are these arrays, not copies of them."""
    module = _module._restore(kind, arguments, weights, *rest)
    [store] = module._stores().values()
    store.adopt(weights)
    return module
