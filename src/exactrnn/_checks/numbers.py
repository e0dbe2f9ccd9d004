"""Checks of real numbers: options of layers, learning rates and their like."""

from __future__ import annotations

import math

import numpy as np

from exactrnn._checks import as_float, check_integer, describe


def check_number(name: str, value: object, expected: str) -> float:
    """Return `value` as a float; a bool or a text is none."""
    real = int | float | np.integer | np.floating
    if isinstance(value, bool | np.bool_) or not isinstance(value, real):
        raise TypeError(f"{name}: expected {expected}, got {describe(value)}")
    return as_float(name, value, expected)


def check_count(name: str, value: object) -> int:
    """Return `value` as an int of at least 0."""
    number = check_integer(name, value)
    if number < 0:
        raise ValueError(f"{name}: expected an integer of at least 0, got {number}")
    return number


def check_real(
    name: str,
    value: object,
    lowest: float,
    highest: float = math.inf,
    *,
    open_below: bool = False,
    open_above: bool = False,
) -> float:
    """Return `value` as a finite float in the range, or raise."""
    bound = "above" if open_below else "at least"
    most = "below" if open_above else "at most"
    limit = "" if highest == math.inf else f" and {most} {highest:g}"
    expected = f"a finite number {bound} {lowest:g}{limit}"
    number = check_number(name, value, expected)
    below = number <= lowest if open_below else number < lowest
    beyond = number >= highest if open_above else number > highest
    if not math.isfinite(number) or below or beyond:
        raise ValueError(f"{name}: expected {expected}, got {number}")
    return number
