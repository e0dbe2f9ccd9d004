"""Masks inside the time loop: of recurrent dropout and of zoneout.

They are rows of units as the kernels have them, padded. The bits of each are a hash of
the call's key and of the numbers of layer, direction, use, row, step and unit (contract
N9), so those of a row depend neither on the other rows nor on the number of steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from exactrnn import _core
from exactrnn._checks import Array
from exactrnn._numeric.random import hashed
from exactrnn._run.episodes import Group
from exactrnn._spec.dropping import ZONES
from exactrnn._spec.recurrent import Config

RECURRENT = 0
"""The use of recurrent dropout; those of zoneout follow, in the order of `ZONES`."""
USES = 1 + len(ZONES)
DIRECTIONS = 2


class StateMasks(NamedTuple):
    """Those of one layer; None for what it has none of.

    `recurrent` [D, B, Hp] are the factors of what R multiplies, `h` and `cells`
    [D, T, B, Hp] are 1 where a unit of h, or of the other states, stays as it was.
    """

    recurrent: Array | None
    h: Array | None
    cells: Array | None

    def gather(self, group: Group) -> StateMasks:
        """Return those of the episodes of a group, which are rows then."""
        recurrent = self.recurrent
        if recurrent is not None:
            recurrent = np.ascontiguousarray(recurrent[:, group.rows])
        return StateMasks(
            recurrent, _gathered(self.h, group), _gathered(self.cells, group)
        )


def _gathered(mask: Array | None, group: Group) -> Array | None:
    return None if mask is None else np.stack([group.gather(part) for part in mask])


def draw(spec: Config, layer: int, key: int, shape: tuple[int, int]) -> StateMasks:
    """Return the masks of one layer in a call of T steps and B rows, by the call's key.

    A row's factors of recurrent dropout are 0 with probability p, else 1 / (1 - p).
    """
    recurrent, (h, cells) = spec.recurrent_dropout, spec.zone_shares
    scale = 1.0 / (1.0 - recurrent)
    return StateMasks(
        _draw(spec, (layer, RECURRENT), key, (1, shape[1]), (recurrent, 0.0, scale)),
        _draw(spec, (layer, 1), key, shape, (h, 1.0, 0.0)),
        _draw(spec, (layer, 2), key, shape, (cells, 1.0, 0.0)),
    )


def _draw(
    spec: Config,
    place: tuple[int, int],
    key: int,
    shape: tuple[int, int],
    values: tuple[float, float, float],
) -> Array | None:
    """Return one mask: with a probability one value, else another; None for 0.

    `place` is the layer and the use.
    """
    (layer, use), (share, below, above) = place, values
    if share == 0.0:
        return None
    heads, is_output = spec.num_heads, use != USES - 1
    units = spec.output_size if is_output else spec.hidden_size
    width = heads * _core.padded(max(spec.hidden_size, spec.output_size) // heads)
    mask = np.zeros((spec.directions, *shape, width), spec.dtype)
    for direction, part in enumerate(mask):
        own = hashed(key, (layer * DIRECTIONS + direction) * USES + use)
        _core.draw_mask(
            part,
            own,
            math.ceil(share * 2.0**53),
            (below, above),
            use == RECURRENT,
            (units, heads),
        )
    return mask[:, 0] if use == RECURRENT else mask


def show(spec: Config, masks: tuple[StateMasks, ...]) -> dict[str, Array]:
    """Return all masks by name and suffix, without padding.

    `recurrent_l0` [B, O] are factors; under the name of a state [T, B, n] is True where
    a unit stays as it was.
    """
    found: dict[str, Array] = {}
    for layer, own in enumerate(masks):
        for direction in range(spec.directions):
            suffix = spec.suffix(layer, direction)
            if own.recurrent is not None:
                factors = own.recurrent[direction]
                found["recurrent" + suffix] = _units(spec, factors, spec.output_size)
            for name, zone in spec.zones.items():
                mask = own[1 + zone]
                if mask is not None:
                    width = spec.state_sizes[spec.state_names.index(name)]
                    units = _units(spec, mask[direction], width)
                    found[name + suffix] = units != 0
    return found


def _units(spec: Config, rows: Array, width: int) -> Array:
    """Return the units of padded rows, copied."""
    size = width // spec.num_heads
    if spec.num_heads == 1:
        return rows[..., :width].copy()
    padded = rows.shape[-1] // spec.num_heads
    parts = rows.reshape(*rows.shape[:-1], spec.num_heads, padded)[..., :size]
    return parts.reshape(*rows.shape[:-1], width).copy()
