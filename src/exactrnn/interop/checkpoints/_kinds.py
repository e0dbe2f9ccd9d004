"""What weights are of, by their names and shapes as torch.nn has them.

    weight_ih_l0 [G*H, I]   weight_hh_l0 [G*H, H or P]   weight_hr_l0 [P, H]
    bias_ih_l0, bias_hh_l0 [G*H]   suffix _reverse; cells without _l0

G is 1 for a simple network, 3 for a GRU and 4 for an LSTM; layers, directions, biases
and projections are there or not. A matrix `weight` alone is that of an embedding or of
a linear layer, which has a `bias` as a rule.

What is made of them is compared with all the names and shapes afterwards, so a guess
from some of them can be wrong without harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal, TypeAlias

from exactrnn._checks.limits import list_names, quote, quote_names, shorten
from exactrnn.interop.checkpoints._entries import Entry

GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
RECURRENT = (*GATES.values(), *(f"{kind}Cell" for kind in GATES.values()))
DENSE = ("Embedding", "Linear")
MATRIX = "a matrix"
"""What is one or the other."""
Kind: TypeAlias = (
    Literal["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"]
    | Literal["Embedding", "Linear"]
)
KINDS = (*RECURRENT, *DENSE)
"""Classes that torch.nn has, too."""
LAYER = re.compile(r"weight_ih_l\d+")

Group = Mapping[str, Entry]
"""The entries of one module, by its own names."""


def groups_of(entries: Mapping[str, Entry]) -> Mapping[str, Group]:
    """Return the entries of each module that has any, by the prefix of its names."""
    found: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        prefix, dot, own = name.rpartition(".")
        found.setdefault(prefix + dot, {})[own] = entry
    return found


def kind_of(group: Group) -> str | None:
    """Return the class that a group could be the weights of; None if none is known."""
    for suffix, ending in (("_l0", ""), ("", "Cell")):
        gates = _gates_of(group, suffix)
        if gates is not None:
            kind = GATES.get(gates)
            return kind and kind + ending
    if "weight" in group and len(group["weight"].shape) == 2:
        return "Linear" if "bias" in group else MATRIX
    return None


def _gates_of(group: Group, suffix: str) -> int | None:
    """Return G of a recurrent group, 0 if it is no whole number; None of others."""
    if f"weight_ih{suffix}" not in group:
        return None
    rows, width = group[f"weight_ih{suffix}"].shape[:1], _hidden_of(group, suffix)
    if not rows or not width or rows[0] % width:
        return 0
    return rows[0] // width


def _hidden_of(group: Mapping[str, Any], suffix: str) -> int:
    """Return H of a recurrent group; 0 where the weights do not tell."""
    for name in (f"weight_hr{suffix}", f"weight_hh{suffix}"):
        if name in group and len(group[name].shape) == 2:
            return int(group[name].shape[1])
    return 0


def choose(entries: Mapping[str, Entry], prefix: str | None, kind: str | None) -> str:
    """Return the prefix of the module that is meant.

    Raises
    ------
    ValueError
        If nothing has this prefix; if none is given and not exactly one module could
        be meant.
    """
    if prefix is not None:
        if not any(name.startswith(prefix) for name in entries):
            names = quote_names(entries) or "no names at all"
            got = quote(prefix)
            raise ValueError(f"prefix: expected a beginning of {names}; got {got}")
        return prefix
    kinds = {name: kind_of(group) for name, group in groups_of(entries).items()}
    wishes = [RECURRENT] if kind is None else [(kind,)]
    wishes += [(MATRIX,)] if kind in DENSE else []
    choices = ([n for n, found in kinds.items() if found in wish] for wish in wishes)
    fitting = next(filter(None, choices), [])
    if len(fitting) == 1:
        return fitting[0]
    wanted = kind or "a recurrent module"
    if not fitting:
        got = quote_names(entries) or "nothing"
        raise ValueError(f"source: expected weights of {wanted}, got {got}")
    listed = list_names([f"{quote(name)} ({kinds[name]})" for name in fitting])
    raise ValueError(f"prefix: expected one of {listed}; got None")


def settle_kind(group: Group, kind: str | None) -> str:
    """Return the class to make of a group; `kind` is what the caller says it is."""
    found = kind_of(group)
    if found == MATRIX and kind in DENSE:
        return str(kind)
    if found == MATRIX:
        wanted = " or ".join(map(repr, DENSE))
        raise ValueError(f"kind: expected {wanted} for a matrix alone, got {kind!r}")
    if found is None:
        raise ValueError(
            "source: expected weight_ih_l0 [G*H, I] and weight_hh_l0 [G*H, H] with a G "
            f"of 1, 3 or 4, or other names and shapes of torch.nn; got {_shown(group)}"
        )
    if kind not in (None, found):
        raise ValueError(f"kind: expected {found!r} for these shapes, got {kind!r}")
    return found


def _shown(group: Group) -> str:
    """Write names and shapes of a group, the first of many."""
    pairs = (f"{quote(n)} {shorten(e.shape, 40)}" for n, e in islice(group.items(), 6))
    more = max(0, len(group) - 6)
    return ", ".join([*pairs, f"... ({more} more)"] if more else pairs)


def sizes_of(kind: str, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a class that names and shapes tell."""
    if kind in DENSE:
        rows, columns = group["weight"].shape
        if kind == "Embedding":
            return {"num_embeddings": rows, "embedding_dim": columns}
        bias = "bias" in group
        return {"in_features": columns, "out_features": rows, "bias": bias}
    single = kind.endswith("Cell")
    suffix = "" if single else "_l0"
    found: dict[str, Any] = {
        "input_size": group[f"weight_ih{suffix}"].shape[-1],
        "hidden_size": _hidden_of(group, suffix),
        "bias": any(name.startswith("bias_") for name in group),
    }
    if not single:
        found["num_layers"] = sum(LAYER.fullmatch(name) is not None for name in group)
        found["bidirectional"] = "weight_ih_l0_reverse" in group
        if kind == "LSTM" and "weight_hr_l0" in group:
            found["proj_size"] = group["weight_hr_l0"].shape[0]
    return found
