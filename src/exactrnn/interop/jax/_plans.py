"""What a function of JAX computes: a network without its weights, ready for XLA.

A network is described by a line of JSON, the name of a class of `exactrnn.layers` and
its arguments; a `Plan` is what such a line means. Lines are equal where networks are,
so that one network has one plan, and JAX finds again what it has compiled for it.
"""

from __future__ import annotations

import inspect
import json
from functools import lru_cache
from typing import Any, NamedTuple

from exactrnn import _core, layers
from exactrnn._checks import Array
from exactrnn._checks.naming import check_names
from exactrnn._numeric import leak
from exactrnn._spec.activations import with_parameters
from exactrnn._spec.recurrent import LEAK_ROLE, Config


class LayerPlan(NamedTuple):
    """One layer of a stack.

    Attributes
    ----------
    cell : str
        Its name among the kernels.
    numbers, reals : list
        What it is, as `_core.xla_layer` says it.
    roles : tuple of int
        Which weights the kernels get.
    names : tuple of tuple of str or None
        Their names by direction; None for the fixed leak.
    takes_lower, hands_up : bool
        Whether cell states of the layer below are read, and given to the one above.
    cache_bytes : tuple of int
        Bytes that are kept for a step of a row, and for a row.
    """

    cell: str
    numbers: list[int]
    reals: list[float]
    roles: tuple[int, ...]
    names: tuple[tuple[str | None, ...], ...]
    takes_lower: bool
    hands_up: bool
    cache_bytes: tuple[int, int]


class Plan:
    """A network without its weights.

    Parameters
    ----------
    spec : Config
        What it is.

    Attributes
    ----------
    names : tuple of str
        Names of its weights, in the order of `state_dict`.
    layers : list of LayerPlan
        From the bottom up.
    leak : ndarray, `[1, H]`, or None
        The fixed leak of leaky units.
    """

    def __init__(self, spec: Config) -> None:
        self.spec = spec
        self.names = tuple(spec.weight_shapes)
        self.layers = [_plan_layer(spec, layer) for layer in range(spec.num_layers)]
        self.leak: Array | None = None
        if spec.leak is not None:
            self.leak = leak.leak_row(spec.leak, None, spec.hidden_size, spec.dtype)


@lru_cache(maxsize=256)
def plan_of(line: str) -> Plan:
    """Return what a line means."""
    arguments = json.loads(line)
    kind: Any = layers.CLASSES[arguments.pop("kind")]
    given = kind._given(arguments)
    known = [name for name in inspect.signature(kind).parameters if name != "seed"]
    check_names("options", dict.fromkeys(given), known)
    spec = kind._configure(given)
    if not isinstance(spec, Config) or not spec.suffixed:
        raise TypeError(f"layer: expected a recurrent layer, got {kind.__name__}")
    if spec.counts_steps or spec.learn_leak or spec.compiled is not None:
        raise NotImplementedError(
            f"layer: expected one without a clock, a learned leak, layer_norm and a "
            f"cell from its equations, got {kind.__name__}"
        )
    if spec.has_zones:
        raise NotImplementedError(
            f"zoneout: expected 0, as functions of JAX have none, got {spec.zoneout}"
        )
    return Plan(spec)


def _plan_layer(spec: Config, layer: int) -> LayerPlan:
    directions = range(spec.directions)
    options = dict(spec.options_of(layer))
    activations = tuple(
        tuple(map(with_parameters, spec.activations_of(d))) for d in directions
    )
    cell = spec.cell_of(layer)
    numbers, reals = _core.xla_layer(cell, spec.units, activations, spec.clip, options)
    roles = tuple(
        role
        for role, name in enumerate(spec.weight_names(layer, 0))
        if name is not None or (role == LEAK_ROLE and spec.leak is not None)
    )
    names = [spec.weight_names(layer, d) for d in directions]
    of_row, of_both = (
        _core.cache_bytes(
            cell, spec.dtype.name, spec.units, options, (steps, 1, spec.directions)
        )
        for steps in (0, 1)
    )
    return LayerPlan(
        cell,
        numbers,
        reals,
        roles,
        tuple(tuple(by_role[role] for role in roles) for by_role in names),
        takes_lower=spec.hands_cells_up and layer > 0,
        hands_up=spec.hands_cells_up and layer < spec.num_layers - 1,
        cache_bytes=(of_both - of_row, of_row),
    )
