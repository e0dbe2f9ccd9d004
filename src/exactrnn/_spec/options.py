"""From the options of LSTM, GRU and simple networks to what the kernels are told.

Layers and single steps have the same options: their checks, for the records of both,
and what a `Config` has of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exactrnn import _checks
from exactrnn._checks.limits import quote
from exactrnn._graph.normed import normed_gru, normed_lstm
from exactrnn._graph.program import Compiled
from exactrnn._spec import option_checks
from exactrnn._spec.arguments import Arguments, Check, as_activations, as_flag
from exactrnn._spec.rules import forget_bias_of

SHARED = (
    *("clip", "bias", "bidirectional", "reverse", "dtype", "init", "forget_bias"),
    *("input_size", "hidden_size", "num_layers", "batch_first", "dropout"),
    *("recurrent_dropout", "zoneout"),
)
LSTM_OPTIONS = ("proj_size", "peepholes", "coupled", "omit", "full_gate_recurrence")
LSTM_PLAIN: Mapping[str, object] = {
    "proj_size": 0,
    "peepholes": "",
    "coupled": None,
    "omit": "",
    "full_gate_recurrence": False,
    "clip": None,
    "bias": True,
}
GRU_PLAIN: Mapping[str, object] = {"reset_after": True, "clip": None, "bias": True}
"""What `layer_norm` goes with."""
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


def _layer_norm(name: str, value: object, given: Arguments) -> bool:
    chosen = _checks.check_flag(name, value)
    plain = {**LSTM_PLAIN, "activations": ("sigmoid", "tanh", "tanh")}
    if "reset_after" in given:
        plain = {**GRU_PLAIN, "activations": ("sigmoid", "tanh")}
    init = given["init"]
    others = {n: given[n] for n in plain if given[n] != plain[n]}
    others |= {"init": init} if isinstance(init, tuple) else {}
    for other, found in others.items() if chosen else ():
        raise ValueError(
            f"layer_norm: expected False with {other}={quote(found)}, got True"
        )
    return chosen


LSTM_CHECKS: Mapping[str, Check] = {
    "omit": _omit,
    "coupled": _coupled,
    "peepholes": _peepholes,
    "full_gate_recurrence": _gate_recurrence,
    "proj_size": _proj_size,
    "layer_norm": _layer_norm,
    "activations": as_activations(LSTM_USES),
}
GRU_CHECKS: Mapping[str, Check] = {
    "reset_after": as_flag,
    "layer_norm": _layer_norm,
    "activations": as_activations(GRU_USES),
}


def lstm_fields(given: Arguments) -> dict[str, Any]:
    """Return what only an LSTM has of a config."""
    if given.get("layer_norm"):
        bias = forget_bias_of(given["init"], given["forget_bias"], given.record.paper)
        return normed_fields(normed_lstm(bias or 0.0))
    chosen = {name: given[name] for name in LSTM_OPTIONS}
    options = {name: value for name, value in chosen.items() if value}
    if "proj_size" in options:
        options["output_size"] = options.pop("proj_size")
    return {"options": options, **activation_fields(given, LSTM_USES)}


def gru_fields(given: Arguments) -> dict[str, Any]:
    """Return what only a GRU has of a config, its cell among them."""
    if given.get("layer_norm"):
        return normed_fields(normed_gru())
    cell = "gru" if given["reset_after"] else "gru_before"
    return {"cell": cell, **activation_fields(given, GRU_USES)}


def normed_fields(compiled: Compiled) -> dict[str, Any]:
    """Return the same of a network with layer normalisation, which is a definition."""
    options = {"program": compiled.program, "compiled": compiled}
    return {"activations": (), "options": options}


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
