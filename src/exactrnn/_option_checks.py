"""Checks of the options of single classes, and their error messages.

As in `_checks`: a message names the argument, what was expected and what came. What is
returned is plain: strings, ints, floats and tuples of them, as the repr of a layer and
its file show them; so lists, which files hold for tuples, are taken as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from exactrnn import _core
from exactrnn._checks import (
    FloatType,
    check_choice,
    check_integer,
    check_size,
    describe,
)
from exactrnn._mode import ieee_mode

ACTIVATIONS = ("sigmoid", "hard_sigmoid", "tanh", "relu", "softsign", "identity")
GATES = "ifo"
COUPLED_AWAY = {"input": "f", "forget": "i"}
"""The gate that is 1 minus the one named."""
INITS = ("uniform", "orthogonal", "glorot")
PAPER_CELLS = ("rnn", "lstm", "depth_gated")
CHRONO_CELLS = ("lstm", "gru", "gru_before", "depth_gated")
MAX_PERIOD = 2**62


def check_number(name: str, value: object, expected: str) -> float:
    """Return `value` as a float; a bool or a text is none."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.number
    ):
        raise TypeError(f"{name}: expected {expected}, got {describe(value)}")
    if isinstance(value, np.complexfloating):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    return float(value)


def rounded_leak(
    leak: float | tuple[float, ...], dtype: FloatType
) -> float | tuple[float, ...]:
    """Return the leak as the kernels will see it.

    Once for all calls, and in the library's own mode.
    """
    if isinstance(leak, tuple):
        return tuple(_rounded(value, dtype) for value in leak)
    return _rounded(leak, dtype)


def _rounded(value: float, dtype: FloatType) -> float:
    """Return `value` as the kernels will see it."""
    with ieee_mode():
        return float(dtype.type(value))


def check_activations(value: object, uses: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the activations, one for each of `uses`."""
    wanted = f"{len(uses)} names ({', '.join(uses)})"
    if not isinstance(value, tuple | list):
        raise TypeError(f"activations: expected {wanted}, got {describe(value)}")
    if len(value) != len(uses):
        raise ValueError(f"activations: expected {wanted}, got {tuple(value)}")
    return tuple(
        check_choice(f"activations[{index}]", name, ACTIVATIONS)
        for index, name in enumerate(value)
    )


def check_clip(value: object, dtype: FloatType) -> float | None:
    """Return the limit of pre-activations, None for none."""
    if value is None:
        return None
    expected = f"None or a finite number > 0 of {dtype}"
    clip = check_number("clip", value, expected)
    if not 0 < _rounded(clip, dtype) < math.inf:
        raise ValueError(f"clip: expected {expected}, got {clip}")
    return clip


# LSTM


def check_letters(name: str, value: object) -> str:
    """Return a subset of the gates, in the order i, f, o."""
    expected = f"{name}: expected different letters of {GATES!r}"
    if not isinstance(value, str):
        raise TypeError(f"{expected}, got {describe(value)}")
    if len(set(value)) != len(value) or not set(value) <= set(GATES):
        raise ValueError(f"{expected}, got {value!r}")
    return "".join(gate for gate in GATES if gate in value)


def check_coupled(value: object, omit: str) -> str | None:
    """Return which gate replaces which: "input", "forget" or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        got = describe(value)
        raise TypeError(f"coupled: expected None, 'input' or 'forget', got {got}")
    if value not in COUPLED_AWAY:
        raise ValueError(f"coupled: expected None, 'input' or 'forget', got {value!r}")
    both = [gate for gate in "if" if gate in omit]
    if both:
        raise ValueError(
            f"coupled: expected None because omit={omit!r} leaves no gate {both[0]!r}, "
            f"got {value!r}"
        )
    return value


def present_gates(omit: str, coupled: str | None) -> str:
    """Return which of the gates i, f, o have weights of their own."""
    away = omit + COUPLED_AWAY.get(coupled or "", "")
    return "".join(gate for gate in GATES if gate not in away)


def check_peepholes(value: object, omit: str, coupled: str | None) -> str:
    """Return the gates with peepholes, in the order i, f, o."""
    letters = check_letters("peepholes", value)
    present = present_gates(omit, coupled)
    for gate in letters:
        if gate not in present:
            reason = f"omit={omit!r}" if gate in omit else f"coupled={coupled!r}"
            raise ValueError(
                f"peepholes: expected letters of {present!r} because {reason} leaves "
                f"no gate {gate!r}, got {value!r}"
            )
    return letters


def check_gate_recurrence(value: bool, omit: str) -> bool:
    """Return whether gates see each other; there must be one."""
    if value and set(omit) == set(GATES):
        raise ValueError(
            f"full_gate_recurrence: expected False because omit={omit!r} leaves no "
            "gate, got True"
        )
    return value


def check_proj_size(value: object, hidden_size: int) -> int:
    """Return the width of the projected output, 0 for none."""
    size = check_integer("proj_size", value)
    if not 0 <= size < hidden_size:
        raise ValueError(
            f"proj_size: expected 0..{hidden_size - 1}, less than "
            f"hidden_size={hidden_size}, got {size}"
        )
    return size


def check_block_size(value: object, hidden_size: int) -> int:
    """Return the number of cells in each memory block."""
    size = check_integer("block_size", value)
    most = _core.max_cells()
    if not 1 <= size <= most:
        raise ValueError(f"block_size: expected 1..{most} cells in a block, got {size}")
    if hidden_size % size:
        raise ValueError(
            f"block_size: expected a divisor of hidden_size={hidden_size}, got {size}"
        )
    return size


# First weights


def check_init(value: object, cell: str, bias: bool) -> str | tuple[str, int]:
    """Return how first weights are drawn."""
    chrono = cell in CHRONO_CELLS
    names = (*INITS, "paper") if cell in PAPER_CELLS else INITS
    listed = ", ".join(map(repr, names)) + (" or ('chrono', T)" if chrono else "")
    expected = f"init: expected one of {listed}"
    if isinstance(value, tuple | list):
        if not chrono or len(value) != 2 or value[0] != "chrono":
            raise ValueError(f"{expected}, got {tuple(value)}")
        steps = check_integer("init[1]", value[1])
        if steps < 2:
            raise ValueError(f"init[1]: expected T >= 2, got {steps}")
        if not bias:
            raise ValueError(f"{expected}, got 'chrono', which needs bias=True")
        return "chrono", steps
    if not isinstance(value, str):
        raise TypeError(f"{expected}, got {describe(value)}")
    if value not in names:
        raise ValueError(f"{expected}, got {value!r}")
    return value


def check_forget_bias(
    value: object, *, bias: bool, has_forget: bool, chrono: bool
) -> float | None:
    """Return the first bias of the forget gate, None for one like the others."""
    if value is None:
        return None
    number = check_number("forget_bias", value, "None or a finite number")
    if not math.isfinite(number):
        raise ValueError(f"forget_bias: expected a finite number, got {number}")
    reasons = {
        "there are no biases": not bias,
        "there is no forget gate": not has_forget,
        "init='chrono' sets it": chrono,
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(
                f"forget_bias: expected None because {reason}, got {number}"
            )
    return number


# Clockwork


def check_periods(value: object) -> tuple[int, ...]:
    """Return the periods of the modules, each an int of at least 1."""
    return _sizes("periods", value)


def check_modules(
    sizes: object, periods: tuple[int, ...], hidden_size: int
) -> tuple[tuple[int, int], ...]:
    """Return (size, period) of each module.

    Without sizes they are equal; units that are left over go to the faster modules.
    """
    count = len(periods)
    if sizes is None:
        if hidden_size < count:
            raise ValueError(
                f"hidden_size: expected at least one unit for each of {count} periods, "
                f"got {hidden_size}"
            )
        each, left = divmod(hidden_size, count)
        fastest = sorted(range(count), key=lambda module: periods[module])[:left]
        found = tuple(each + (module in fastest) for module in range(count))
    else:
        found = _sizes("module_sizes", sizes)
        if len(found) != count or sum(found) != hidden_size:
            raise ValueError(
                f"module_sizes: expected {count} sizes, one for each period, that add "
                f"up to hidden_size={hidden_size}, got {found}"
            )
    return tuple(zip(found, periods, strict=True))


def check_phase(value: object) -> int:
    """Return what the clock of a new state shows."""
    phase = check_integer("phase", value)
    if not 0 <= phase <= MAX_PERIOD:
        raise ValueError(f"phase: expected 0..{MAX_PERIOD}, got {phase}")
    return phase


def _sizes(name: str, value: object) -> tuple[int, ...]:
    """Return a sequence of ints of at least 1, itself not empty."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name}: expected a tuple of integers, got {describe(value)}")
    if not value:
        raise ValueError(f"{name}: expected at least one integer, got ()")
    found = tuple(check_size(f"{name}[{k}]", item) for k, item in enumerate(value))
    if max(found) > MAX_PERIOD:
        raise ValueError(f"{name}: expected 1..{MAX_PERIOD}, got {max(found)}")
    return found


# Leaky units


def check_leak(
    value: object, hidden_size: int, dtype: FloatType, learned: bool
) -> float | tuple[float, ...]:
    """Return the leak: a float, or a tuple of one per unit."""
    ends = "(0, 1) with learn_leak=True" if learned else "(0, 1]"
    expected = f"a number in {ends}, or [H={hidden_size}] of them"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, tuple | list):
        leak = check_number("leak", value, expected)
        _check_leaks((leak,), expected, dtype, learned)
        return leak
    if len(value) != hidden_size:
        raise ValueError(f"leak: expected {expected}, got {len(value)} of them")
    leaks = tuple(check_number("leak", item, expected) for item in value)
    _check_leaks(leaks, expected, dtype, learned)
    return leaks


def _check_leaks(
    leaks: tuple[float, ...], expected: str, dtype: FloatType, learned: bool
) -> None:
    """Raise for a leak outside, also where only its rounding to the dtype is."""
    for leak in leaks:
        alpha = _rounded(leak, dtype)
        if not 0 < alpha <= 1 or (learned and alpha == 1):
            raise ValueError(f"leak: expected {expected}, got {leak}")
