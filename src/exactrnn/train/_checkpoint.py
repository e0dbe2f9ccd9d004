"""A training run as one file, and back (contract N9: equal runs give equal bytes).

The arrays are ``model.``, ``best.`` and ``average.`` with the names of the weights,
``optimizer.`` with a parameter's name and the number of its state array, ``history.``
with the names of `History`; all else is in the description. No time and no path is in
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from exactrnn._checks.naming import check_names
from exactrnn.engine import NUMERICS_VERSION
from exactrnn.io import Source, Target, bad_content, read_file, write_file

KIND = "training"


def write(
    path: Target,
    groups: Mapping[str, Mapping[str, Any]],
    description: Mapping[str, Any],
) -> None:
    """Write groups of arrays, `history` among them, completely or not at all."""
    arrays = {
        f"{group}.{name}": array
        for group, own in groups.items()
        for name, array in own.items()
    }
    whole = {"kind": KIND, "numerics": NUMERICS_VERSION, **description}
    write_file(path, arrays, whole)


def read(path: Source) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the groups of arrays and the description that `write` wrote."""
    arrays, description = read_file(path)
    with bad_content(path, "a checkpoint of fit"):
        if description.get("kind") != KIND:
            raise ValueError("it holds something else")
        numerics = description["numerics"]
        if numerics != NUMERICS_VERSION:
            raise ValueError(
                f"it is of numerics version {numerics}, this is {NUMERICS_VERSION}"
            )
        groups: dict[str, dict[str, Any]] = {}
        for name, array in arrays.items():
            group, _, own = name.partition(".")
            groups.setdefault(group, {})[own] = array
    return groups, description


def split_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the rest of an optimiser's `state_dict`."""
    slots = {
        f"{name}.{k}": slot
        for name, own in state["slots"].items()
        for k, slot in enumerate(own)
    }
    return slots, {key: value for key, value in state.items() if key != "slots"}


def joined_optimizer(
    arrays: Mapping[str, Any], rest: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a `state_dict` of the form of `own` from what `split_optimizer` gave."""
    wanted = [f"{n}.{k}" for n, mine in own["slots"].items() for k in range(len(mine))]
    check_names("optimizer", arrays, wanted)
    slots = {
        name: tuple(arrays[f"{name}.{k}"] for k in range(len(mine)))
        for name, mine in own["slots"].items()
    }
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in rest["options"].items()
    }
    return {**rest, "options": options, "powers": tuple(rest["powers"]), "slots": slots}


def as_curve(values: list[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return one number for each epoch as an array."""
    return np.array(values, np.float64)
