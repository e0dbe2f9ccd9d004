"""Networks without their weights as lines of JSON, equal where networks are.

Other libraries keep what they have compiled or exported by such lines: the name of a
class of `exactrnn.layers` and its arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from exactrnn import layers
from exactrnn._checks.limits import quote


def describe(kind: str, arguments: Mapping[str, object]) -> str:
    """Return the line that stands for a network, the same for equal arguments."""
    try:
        return json.dumps({"kind": kind, **arguments}, sort_keys=True, default=_plain)
    except TypeError:
        network: Any = layers.CLASSES[kind]
        network._configure(network._given(dict(arguments)))  # says what is wrong
        raise


def _plain(value: object) -> object:
    """Return an array, a tensor or a number of NumPy's as Python has them, or raise."""
    if isinstance(value, np.floating):
        return float(value)  # of a longdouble `tolist` is one
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"expected plain values as options, got {quote(value)}")
