"""Zoneout and recurrent dropout of one layer in one direction, for every cell.

Zoneout (Krueger et al.): the point functions propose the states after a step. In
training a unit whose mask says so stays as it was; without a mask the step takes

    fma(p, old, (1 - p) * proposed), flushed

the mean, which is what inference computes. Of the state's gradient the unit that stays,
or the share p, goes to the state before at once:

    kept = p * dstate;    dproposed = (1 - p) * dstate;    dprev = flush(dprev + kept)

Recurrent dropout (Gal & Ghahramani): what R multiplies, h before the step or an operand
of a later stage, is multiplied with the row's mask before, and what comes back through
R after: fma(mask, the chain from +0.0, what else comes to h), flushed.

Twin: ``csrc/kernels/layer/masks.h``, ``masks_backward.h`` and ``csrc/base/masks.c``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from exactrnn._numeric.random import hashed
from exactrnn._run.episodes import Group
from exactrnn._spec.recurrent import Config
from exactrnn.reference.arith import flush, fma
from exactrnn.reference.cells._cell import Array, Arrays
from exactrnn.reference.direction import Block, Bools, Direction


class DirectionMasks(NamedTuple):
    """The masks of one layer in one direction; none by default.

    Parameters
    ----------
    recurrent : Array, optional
        Factors of what R multiplies, [B, O].
    stays : Mapping
        By the letter of a state which units stay as they were, booleans [T, B, n].
    """

    recurrent: Array | None = None
    stays: Mapping[str, Bools] = {}

    def heard(self, block: Block, values: Array) -> Array:
        """Return what a block multiplies, [..., B, n]."""
        if self.recurrent is None or block.matrix != "w_hh":
            return values
        return values * self.recurrent


NO_MASKS = DirectionMasks()


class Masks(NamedTuple):
    """What a call drops.

    Parameters
    ----------
    between : tuple of Array
        The masks between the layers [T, B, D*O]; empty where there is no dropout.
    states : Mapping
        Those of recurrent dropout [B, O] and zoneout [T, B, n], by name and suffix.
    """

    between: tuple[Array, ...] = ()
    states: Mapping[str, Array] = {}

    @classmethod
    def of(cls, given: Sequence[Array] | Mapping[str, Any]) -> Masks:
        """Return masks as `reference.forward` is given them."""
        if not isinstance(given, Mapping):
            return cls(tuple(given))
        states = {name: mask for name, mask in given.items() if name != "between"}
        return cls(tuple(given.get("between", ())), states)

    def gather(self, group: Group) -> Masks:
        """Return those of the episodes of a group, which are rows then."""
        return Masks(
            tuple(group.gather(mask) for mask in self.between),
            {
                name: mask[group.rows] if mask.ndim == 2 else group.gather(mask)
                for name, mask in self.states.items()
            },
        )


def masks_of(named: Mapping[str, Array], suffix: str) -> DirectionMasks:
    """Return those of one layer and direction, by what follows their names."""
    own = {
        name[: -len(suffix)]: mask
        for name, mask in named.items()
        if name.endswith(suffix)
    }
    recurrent = own.pop("recurrent", None)
    return DirectionMasks(recurrent, cast(Mapping[str, Bools], own))


def shares(direction: Direction) -> dict[str, Any]:
    """Return which share of each state stays in the mean, by letter; no zero."""
    h, others = direction.options.get("zoneout", (0.0, 0.0))
    gates = {state for _, state in direction.cell.links}
    given = {name: others for name in direction.cell.states if name not in gates}
    given[direction.output] = h
    number = direction.dtype.type
    return {name: number(share) for name, share in given.items() if share != 0.0}


def mix(share: Any, stays: Bools | None, old: Array, proposed: Array) -> Array:
    """Return a state after a step."""
    if stays is not None:
        return np.where(stays, old, proposed)
    return flush(fma(share, old, (share.dtype.type(1) - share) * proposed))


def part(share: Any, stays: Bools | None, dstate: Array) -> tuple[Array, Array]:
    """Return the gradient of what was proposed, and what goes to the state before."""
    if stays is None:
        return (share.dtype.type(1) - share) * dstate, share * dstate
    zero = dstate.dtype.type(0)
    return np.where(stays, zero, dstate), np.where(stays, dstate, zero)


def part_all(
    direction: Direction, masks: DirectionMasks, t: int, dstate: Arrays
) -> Arrays:
    """Leave in `dstate` the gradients of what was proposed in step t.

    Returns
    -------
    dict
        What is kept for the states before, by letter.
    """
    kept = {}
    for name, share in shares(direction).items():
        stays = masks.stays.get(name)
        own = None if stays is None else stays[t]
        dstate[name], kept[name] = part(share, own, dstate[name])
    return kept


# How masks are drawn


def draw_next_masks(layer: Any, T: int, B: int) -> Arrays:
    """Return the masks of the layer's next call of training, which stay to be drawn.

    Parameters
    ----------
    layer : Layer
        Without dropout between layers, which is drawn before.
    T, B : int
        Steps and rows.
    """
    if not layer._spec.drops_in_time:
        return {}
    generator = np.random.PCG64(0)
    generator.state = layer._generator_state()
    return draw_state_masks(layer._spec, int(generator.random_raw()), T, B)


def draw_state_masks(spec: Config, key: int, T: int, B: int) -> Arrays:
    """Return the masks of a call of training, by name and suffix.

    Parameters
    ----------
    spec : exactrnn._spec.recurrent.Config
        What the layer is.
    key : int
        Of the call: one raw integer of the layer's generator.
    T, B : int
        Steps and rows.
    """
    found = Arrays()
    for depth in range(spec.num_layers):
        for d in range(spec.directions):
            suffix, share = spec.suffix(depth, d), spec.recurrent_dropout
            rows = _numbers(_key(key, (depth, d), 0), B)
            if share != 0.0:
                scale = spec.dtype.type(1 / (1 - share))
                bits = _numbers(rows[:, None], spec.output_size)
                factors = np.where(_below(bits, share), spec.dtype.type(0), scale)
                found["recurrent" + suffix] = factors
            for name, zone in spec.zones.items():
                width = spec.state_sizes[spec.state_names.index(name)]
                rows = _numbers(_key(key, (depth, d), 1 + zone), B)
                steps = _numbers(rows[:, None], T).T
                bits = _numbers(steps[:, :, None], width)
                if spec.zone_shares[zone] != 0.0:
                    found[name + suffix] = cast(
                        Array, _below(bits, spec.zone_shares[zone])
                    )
    return found


def _key(key: int, place: tuple[int, int], use: int) -> Array:
    """Return the key [1] of a use in a layer and direction: recurrent, h, others."""
    layer, direction = place
    return np.array([hashed(key, (layer * 2 + direction) * 3 + use)], np.uint64)


def _numbers(keys: Array, count: int) -> Array:
    """Return numbers 0 to count - 1 of each key [..., 1], as [..., count]."""
    z = keys + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def _below(bits: Any, share: float) -> Bools:
    """Tell where the first 53 of 64 bits are, as a fraction, below a share."""
    return np.asarray(bits >> np.uint64(11) < np.uint64(math.ceil(share * 2.0**53)))
