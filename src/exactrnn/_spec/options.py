"""From the options of LSTM, GRU and simple networks to what the kernels are told.

Layers and single steps have the same options: their checks, for the records of both,
and what a `Config` has of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exactrnn import _checks
from exactrnn._spec import option_checks
from exactrnn._spec.arguments import Arguments, Check, as_activations, as_flag

SHARED = (
    *("clip", "bias", "bidirectional", "reverse", "dtype", "init", "forget_bias"),
    *("input_size", "hidden_size", "num_layers", "batch_first", "dropout"),
    *("recurrent_dropout", "zoneout"),
)
LSTM_OPTIONS = ("proj_size", "peepholes", "coupled", "omit", "full_gate_recurrence")
LSTM_USES = ("gates", "candidate", "output")
GRU_USES = ("gates", "candidate")


def _omit(name: str, value: object, _: Arguments) -> str:
    return option_checks.check_letters(name, value)


def _coupled(_: str, value: object, given: Arguments) -> str | None:
    return option_checks.check_coupled(value, given["omit"])


def _peepholes(_: str, value: object, given: Arguments) -> str:
    return option_checks.check_peepholes(value, given["omit"], given["coupled"])


def _gate_recurrence(name: str, value: object, given: Arguments) -> bool:
    links = _checks.check_flag(name, value)
    return option_checks.check_gate_recurrence(links, given["omit"])


def _proj_size(_: str, value: object, __: Arguments) -> int:
    return option_checks.check_proj_size(value)


LSTM_CHECKS: Mapping[str, Check] = {
    "omit": _omit,
    "coupled": _coupled,
    "peepholes": _peepholes,
    "full_gate_recurrence": _gate_recurrence,
    "proj_size": _proj_size,
    "activations": as_activations(LSTM_USES),
}
GRU_CHECKS: Mapping[str, Check] = {
    "reset_after": as_flag,
    "activations": as_activations(GRU_USES),
}


def lstm_fields(given: Arguments) -> dict[str, Any]:
    """Return what only an LSTM has of a config."""
    chosen = {name: given[name] for name in LSTM_OPTIONS}
    options = {name: value for name, value in chosen.items() if value}
    if "proj_size" in options:
        options["output_size"] = options.pop("proj_size")
    return {"options": options, **activation_fields(given, LSTM_USES)}


def gru_fields(given: Arguments) -> dict[str, Any]:
    """Return what only a GRU has of a config, its cell among them."""
    cell = "gru" if given["reset_after"] else "gru_before"
    return {"cell": cell, **activation_fields(given, GRU_USES)}


def shared_fields(given: Arguments) -> dict[str, Any]:
    """Return what the arguments that all networks share are in a config.

    Those that a class does not have are left at the config's own defaults.
    """
    found = {name: given[name] for name in SHARED if name in given}
    return {"record": given.record, **found}


def activation_fields(given: Arguments, uses: tuple[str, ...]) -> dict[str, Any]:
    """Return what the activations in these places are in a config."""
    chosen = given["activations"]
    return {"activations": chosen, "directed": len(chosen) > len(uses)}


def simple_fields(given: Arguments, *names: str) -> dict[str, Any]:
    """Return what the nonlinearities of these names are in a config."""
    chosen = [option_checks.each_direction(given[name]) for name in names]
    directed = any(len(found) == 2 for found in chosen)
    return {
        "activations": tuple(
            found[min(direction, len(found) - 1)]
            for direction in range(1 + directed)
            for found in chosen
        ),
        "directed": directed,
    }
