"""From the options of LSTM, GRU and simple networks to what the kernels are told.

Layers and single cells have the same options; here they are checked, in the order in
which one depends on another, and become fields of a `Config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exactrnn import _checks
from exactrnn._spec import option_checks

LSTM_USES = ("gates", "candidate", "output")
GRU_USES = ("gates", "candidate")


def lstm_fields(arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of an LSTM's config from its constructor's arguments."""
    omit = option_checks.check_letters("omit", arguments["omit"])
    coupled = option_checks.check_coupled(arguments["coupled"], omit)
    wanted = arguments["peepholes"]
    peepholes = option_checks.check_peepholes(wanted, omit, coupled)
    links = _checks.check_flag(
        "full_gate_recurrence", arguments["full_gate_recurrence"]
    )
    links = option_checks.check_gate_recurrence(links, omit)
    proj_size = option_checks.check_proj_size(arguments["proj_size"])
    given = {
        "proj_size": proj_size,
        "peepholes": peepholes,
        "coupled": coupled,
        "omit": omit,
        "full_gate_recurrence": links,
    }
    options = {name: value for name, value in given.items() if value}
    if "proj_size" in options:
        options["output_size"] = options.pop("proj_size")
    return {
        **_common(arguments, LSTM_USES),
        "given": given,
        "options": options,
        "forget_bias": forget_bias(arguments, has_forget="f" not in omit),
    }


def gru_fields(arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of a GRU's config, its cell among them."""
    after = _checks.check_flag("reset_after", arguments["reset_after"])
    return {
        **_common(arguments, GRU_USES),
        "cell": "gru" if after else "gru_before",
        "given": {"reset_after": after},
    }


def simple_fields(
    arguments: Mapping[str, object], names: tuple[str, ...] = ("nonlinearity",)
) -> dict[str, Any]:
    """Return what the nonlinearities of these names and the clip are in a config."""
    dtype = _checks.check_dtype(arguments["dtype"])
    both = _is_bidirectional(arguments)
    chosen = {
        name: option_checks.check_nonlinearity(name, arguments[name], dtype, both)
        for name in names
    }
    directed = any(len(found) == 2 for found in chosen.values())
    return {
        "activations": tuple(
            found[min(direction, len(found) - 1)]
            for direction in range(1 + directed)
            for found in chosen.values()
        ),
        "directed": directed,
        "clip": option_checks.check_clip(arguments["clip"], dtype),
        "given": {
            name: found[0] if len(found) == 1 else found
            for name, found in chosen.items()
        },
    }


def forget_bias(
    arguments: Mapping[str, object], *, has_forget: bool = True
) -> float | None:
    """Return the first bias of the forget gate that is asked for."""
    return option_checks.check_forget_bias(
        arguments["forget_bias"],
        bias=_checks.check_flag("bias", arguments["bias"]),
        has_forget=has_forget,
        chrono=not isinstance(arguments["init"], str),
    )


def _common(arguments: Mapping[str, object], uses: tuple[str, ...]) -> dict[str, Any]:
    dtype = _checks.check_dtype(arguments["dtype"])
    both = _is_bidirectional(arguments)
    wanted = arguments["activations"]
    chosen = option_checks.check_activations(wanted, uses, dtype, both)
    return {
        "activations": chosen,
        "directed": len(chosen) > len(uses),
        "clip": option_checks.check_clip(arguments["clip"], dtype),
    }


def _is_bidirectional(arguments: Mapping[str, object]) -> bool:
    """Return what a layer was told; a single cell has one direction."""
    wanted = arguments.get("bidirectional", False)
    return _checks.check_flag("bidirectional", wanted)
