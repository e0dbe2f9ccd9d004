"""Checks of the options of single classes, and their error messages.

As in `_checks`: a message names the argument, what was expected and what came. What is
returned is plain: strings, ints, floats and tuples of them, as the repr of a layer and
its file show them; so lists, which files hold for tuples, are taken as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from exactrnn import _core
from exactrnn._checks import (
    FloatType,
    check_choice,
    check_dropout,
    check_flag,
    check_integer,
    check_positive,
    check_size,
    describe,
)
from exactrnn._checks.limits import quote
from exactrnn._checks.numbers import check_number
from exactrnn._spec.activations import ACTIVATIONS, PARAMETERS, Activation
from exactrnn._system.mode import ieee_mode

GATES = "ifo"
COUPLED_AWAY = {"input": "f", "forget": "i"}
"""The gate that is 1 minus the one named."""
INITS = ("uniform", "orthogonal", "glorot")
CHRONO = "('chrono', T)"
MAX_PERIOD = 2**62


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


# Activations


def is_one_activation(value: object) -> bool:
    """Tell one activation, ("elu", 0.5), from a sequence of them: by the numbers."""
    if not isinstance(value, tuple | list):
        return True
    return len(value) > 1 and not isinstance(value[1], str | tuple | list)


def check_activation(
    name: str, value: object, dtype: FloatType, others: tuple[str, ...] = ()
) -> Activation:
    """Return an activation: its name alone where its parameters are the usual ones.

    `others` are names that may stand in its place.
    """
    choices = (*others, *ACTIVATIONS)
    if not isinstance(value, tuple | list) or not value:
        return check_choice(name, value, choices)
    kind = check_choice(f"{name}[0]", value[0], choices)
    given, usual = value[1:], PARAMETERS.get(kind, ())
    if len(given) > len(usual):
        letters = "".join(f", {letter}" for letter in ("alpha", "beta")[: len(usual)])
        form = f"({kind!r}{letters})" if usual else f"{kind!r}, which has no parameters"
        raise ValueError(f"{name}: expected {form}, got {quote(value)}")
    numbers = [
        _check_parameter(f"{name}[{k}]", number, dtype)
        for k, number in enumerate(given, 1)
    ]
    alpha, beta, *_ = (*numbers, *usual[len(numbers) :], 0.0, 0.0)
    _check_alpha(name, kind, alpha, dtype)
    found = (alpha, beta)[: len(usual)]
    if found == usual:
        return kind
    return (kind, alpha, beta) if len(usual) == 2 else (kind, alpha)


def _check_parameter(name: str, value: object, dtype: FloatType) -> float:
    """Return a parameter of an activation as a float."""
    number = check_number(name, value, f"a finite number of {dtype}")
    if not math.isfinite(_rounded(number, dtype)):
        raise ValueError(f"{name}: expected a finite number of {dtype}, got {number}")
    return number


def _check_alpha(name: str, kind: str, alpha: float, dtype: FloatType) -> None:
    """Raise for an α with which the value would not tell the slope."""
    reason = "else its value would not tell its slope, and a layer keeps the value"
    if kind in ("leaky_relu", "elu", "thresholded_relu") and alpha < 0:
        raise ValueError(f"{name}: expected alpha >= 0 ({reason}), got {alpha}")
    if kind == "scaled_tanh" and _rounded(alpha, dtype) == 0:
        raise ValueError(f"{name}: expected alpha other than 0 ({reason}), got {alpha}")


def check_activations(
    value: object, uses: Sequence[str], dtype: FloatType, bidirectional: bool = False
) -> tuple[Activation, ...]:
    """Return the activations: one for each of `uses`, or for those of both directions.

    In ONNX's order: first all of the forward direction, then all of the other.
    """
    wanted = f"{len(uses)} activations ({', '.join(uses)})"
    if bidirectional:
        wanted += f" or {2 * len(uses)}, those of the reverse direction last"
    if not isinstance(value, tuple | list):
        raise TypeError(f"activations: expected {wanted}, got {describe(value)}")
    if len(value) not in (len(uses), len(uses) * (1 + bidirectional)):
        raise ValueError(f"activations: expected {wanted}, got {quote(value)}")
    return tuple(
        check_activation(f"activations[{index}]", item, dtype)
        for index, item in enumerate(value)
    )


def check_nonlinearity(
    name: str, value: object, dtype: FloatType, bidirectional: bool
) -> tuple[Activation, ...]:
    """Return the activation of both directions, or that of each."""
    if not isinstance(value, tuple | list) or len(value) == 1:
        return (check_activation(name, value, dtype),)
    if is_one_activation(value):
        return (check_activation(name, value, dtype),)
    if len(value) != 2 or not bidirectional:
        wanted = "an activation, such as 'tanh' or ('leaky_relu', 0.1)"
        wanted += ", or two, of each direction" if bidirectional else ""
        raise ValueError(f"{name}: expected {wanted}, got {quote(value)}")
    return tuple(
        check_activation(f"{name}[{direction}]", item, dtype)
        for direction, item in enumerate(value)
    )


def each_direction(found: Any) -> tuple[Activation, ...]:
    """Return the activation of both directions, or of each, of a checked argument."""
    return (found,) if is_one_activation(found) else tuple(found)


def check_clip(value: object, dtype: FloatType) -> float | None:
    """Return the limit of pre-activations, None for none."""
    if value is None:
        return None
    expected = f"None or a finite number > 0 of {dtype}"
    clip = check_number("clip", value, expected)
    if not 0 < _rounded(clip, dtype) < math.inf:
        raise ValueError(f"clip: expected {expected}, got {clip}")
    return clip


def check_zoneout(value: object) -> float | tuple[float, float]:
    """Return the share of units that stay as they were, or that of h and of c.

    Two of 0 are the same as one.
    """
    if not isinstance(value, tuple | list):
        return check_dropout(value, "zoneout")
    if len(value) != 2:
        raise ValueError(
            "zoneout: expected a number p with 0 <= p < 1, or two, of h and of the "
            f"cell state, got {quote(value)}"
        )
    h, cells = (check_dropout(p, f"zoneout[{k}]") for k, p in enumerate(value))
    return (h, cells) if h or cells else 0.0


# LSTM


def check_letters(name: str, value: object) -> str:
    """Return a subset of the gates, in the order i, f, o."""
    expected = f"{name}: expected different letters of {GATES!r}"
    if not isinstance(value, str):
        raise TypeError(f"{expected}, got {describe(value)}")
    if len(set(value)) != len(value) or not set(value) <= set(GATES):
        raise ValueError(f"{expected}, got {quote(value)}")
    return "".join(gate for gate in GATES if gate in value)


def check_coupled(value: object, omit: str) -> str | None:
    """Return which gate replaces which: "input", "forget" or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        got = describe(value)
        raise TypeError(f"coupled: expected None, 'input' or 'forget', got {got}")
    if value not in COUPLED_AWAY:
        raise ValueError(
            f"coupled: expected None, 'input' or 'forget', got {quote(value)}"
        )
    both = [gate for gate in "if" if gate in omit]
    if both:
        raise ValueError(
            f"coupled: expected None because omit={omit!r} leaves no gate {both[0]!r}, "
            f"got {quote(value)}"
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
                f"no gate {gate!r}, got {quote(value)}"
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


def check_proj_size(value: object) -> int:
    """Return the width of the projected output, 0 for none."""
    size = check_integer("proj_size", value)
    if size < 0:
        raise ValueError(f"proj_size: expected 0 (none) or more, got {size}")
    return check_size("proj_size", size) if size else 0


def check_reverse(value: object, bidirectional: bool) -> bool:
    """Return whether a layer's only direction reads rows from their ends."""
    reverse = check_flag("reverse", value)
    if reverse and bidirectional:
        raise ValueError(
            "reverse: expected False because bidirectional=True has both directions, "
            "got True"
        )
    return reverse


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


def init_rules(paper: bool, chrono: bool) -> tuple[str, ...]:
    """Return the ways to draw first weights that a network has."""
    return (*INITS, *("paper",) * paper, *(CHRONO,) * chrono)


def check_init(
    value: object, rules: tuple[str, ...], bias: bool
) -> str | tuple[str, int]:
    """Return how first weights are drawn: by one of `init_rules`."""
    chrono = CHRONO in rules
    names = [rule for rule in rules if rule != CHRONO]
    listed = ", ".join(map(repr, names)) + f" or {CHRONO}" * chrono
    expected = f"init: expected one of {listed}"
    if isinstance(value, tuple | list):
        if not chrono or len(value) != 2 or value[0] != "chrono":
            raise ValueError(f"{expected}, got {quote(value)}")
        steps = check_integer("init[1]", value[1])
        if steps < 2:
            raise ValueError(f"init[1]: expected T >= 2, got {steps}")
        if not bias:
            raise ValueError(f"{expected}, got 'chrono', which needs bias=True")
        return "chrono", steps
    if not isinstance(value, str):
        raise TypeError(f"{expected}, got {describe(value)}")
    if value not in names:
        raise ValueError(f"{expected}, got {quote(value)}")
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


def check_module_sizes(
    sizes: object, periods: tuple[int, ...], hidden_size: int
) -> tuple[int, ...] | None:
    """Return the units of each module, None for equal numbers."""
    count = len(periods)
    if sizes is None:
        if hidden_size < count:
            raise ValueError(
                f"hidden_size: expected at least one unit for each of {count} periods, "
                f"got {hidden_size}"
            )
        return None
    found = _sizes("module_sizes", sizes)
    if len(found) != count or sum(found) != hidden_size:
        raise ValueError(
            f"module_sizes: expected {count} sizes, one for each period, that add "
            f"up to hidden_size={hidden_size}, got {quote(found)}"
        )
    return found


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
    found = tuple(check_positive(f"{name}[{k}]", item) for k, item in enumerate(value))
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
