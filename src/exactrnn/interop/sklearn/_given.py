"""What callers hand in, read by scikit-learn's functions, whose errors get its name.

scikit-learn says what it could not do ("could not convert string to float"), and often
not with which argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse  # type: ignore[import-untyped]
from sklearn.utils import check_array

from exactrnn._checks import Array, FloatType, check_whole, describe
from exactrnn._checks.limits import shorten


@contextmanager
def naming(name: str, value: object, expected: str) -> Iterator[None]:
    """Make an error in a block say which argument it is about, unless it does."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if re.match(rf"(Input )?{re.escape(name)}(?!\w)", str(error)):
            raise
        kind = ValueError if isinstance(error, ValueError) else TypeError
        reason = shorten(error)
        raise kind(
            f"{name}: expected {expected}, got {describe(value)} ({reason})"
        ) from error


def check_plain(name: str, value: object) -> None:
    """Raise for what NumPy would read as another array than it is, or as none."""
    check_whole(name, value)
    if issparse(value):
        got = type(value).__name__
        raise TypeError(
            f"{name}: expected a dense array, got a sparse {got}; toarray() makes one"
        )


def read_array(name: str, value: object, expected: str, **options: Any) -> NDArray[Any]:
    """Return finite numbers, of `options` that `check_array` has, or raise."""
    check_plain(name, value)
    with naming(name, value, expected):
        found: NDArray[Any] = check_array(value, input_name=name, **options)
    return found


def as_listed(value: object) -> list[Any] | None:
    """Return the items of a sequence or of an array of one axis; None of all else."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [*value]
    if getattr(value, "ndim", 0) == 1 and not issparse(value):
        return [*np.asarray(value)]
    return None


def check_held(name: str, weights: Array, dtype: FloatType) -> Array:
    """Return weights in the dtype of the model, or raise for what that cannot hold."""
    with np.errstate(over="ignore"):
        held = weights.astype(dtype)
    if not np.isfinite(held).all():
        raise ValueError(
            f"{name}: expected numbers that {dtype} holds, got {weights.max():g}"
        )
    return held
