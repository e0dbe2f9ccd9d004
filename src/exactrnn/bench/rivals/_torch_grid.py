"""The grid LSTM of time and depth in plain torch, point by point.

Every point has a transform along the depth and one along the time, both of [h_depth;
h_time]; the docstring of `TimeDepthGridLSTM` has the equations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch.nn.functional import linear

from exactrnn.bench.rivals._torch_steps import State, find_activation

Pair: TypeAlias = tuple[Any, Any]
"""h and m."""


class Grid:
    """One direction: weights by name, without `_reverse`, and the layer's options."""

    def __init__(
        self, weights: Mapping[str, Any], options: Mapping[str, Any], layers: int
    ):
        self.weights, self.layers = weights, layers
        self.depth = options.get("depth", "lstm")
        self.priority = options.get("priority", "depth")
        self.tanh_outside = options.get("output", "tanh(o*m)") == "tanh(o*m)"
        memories = 2 if self.depth == "lstm" else 1
        self.units = weights["weight_ih"].shape[0] // memories
        self.dimension = "" if options.get("tied") else "_{}"
        self.place = "" if options.get("shared") else "_l{}"

    def transform(self, along: str, layer: int, h: Any, m: Any) -> Pair:
        """Return (h, m) after one point along a dimension; h is that of both."""
        name = "hh" + self.dimension.format(along) + self.place.format(layer)
        sums = linear(
            h, self.weights[f"weight_{name}"], self.weights.get(f"bias_{name}")
        )
        if along == "depth" and self.depth != "lstm":
            return find_activation(self.depth)(sums), m
        i, f, g, o = sums.chunk(4, -1)
        m = torch.sigmoid(f) * m + torch.sigmoid(i) * torch.tanh(g)
        o = torch.sigmoid(o)
        return (torch.tanh(o * m) if self.tanh_outside else o * torch.tanh(m)), m

    def point(self, layer: int, depth: Pair, time: Pair) -> tuple[Pair, Pair]:
        """Return what a point hands on along the depth and along the time."""
        old = torch.cat([depth[0], time[0]], -1)
        if self.priority == "depth":
            new_time = self.transform("time", layer, old, time[1])
            seen = torch.cat([depth[0], new_time[0]], -1)
            return self.transform("depth", layer, seen, depth[1]), new_time
        new_depth = self.transform("depth", layer, old, depth[1])
        seen = torch.cat([new_depth[0], time[0]], -1)
        seen = seen if self.priority == "time" else old
        return new_depth, self.transform("time", layer, seen, time[1])

    def run(
        self, x: Any, states: list[Pair], lengths: Any, reverse: bool
    ) -> tuple[Any, list[Pair]]:
        """Run over a sequence, with (h, m) of the time for each layer.

        Returns the output [T, B, H], zero beyond a row's length, and the last states.
        """
        inputs = linear(x, self.weights["weight_ih"], self.weights.get("bias_ih"))
        steps = list(enumerate(inputs.unbind(0)))
        y: list[Any] = [None] * len(steps)
        for t, given in reversed(steps) if reverse else steps:
            h, m = given.chunk(2, -1) if self.depth == "lstm" else (given, None)
            after = []
            for layer, state in enumerate(states):
                (h, m), state = self.point(layer, (h, m), state)
                after.append(state)
            if lengths is not None:
                runs = (t < lengths)[:, None]
                h = torch.where(runs, h, 0.0)
                pairs = zip(after, states, strict=True)
                after = [choose(runs, new, old) for new, old in pairs]
            y[t], states = h, after
        return torch.stack(y), states


def choose(runs: Any, new: Pair, old: Pair) -> Pair:
    """Return the new state of rows that run, the old one of others."""
    return torch.where(runs, new[0], old[0]), torch.where(runs, new[1], old[1])


def run_grid(
    grids: list[Grid], x: Any, state: State | None = None, lengths: Any = None
) -> tuple[Any, State]:
    """Run the grids of one direction or two; the state is [L*D, B, H] twice."""
    D, L = len(grids), grids[0].layers
    if state is None:
        H = grids[0].units
        state = (x.new_zeros(L * D, x.shape[1], H),) * 2
    outputs, finals = [], []
    for d, grid in enumerate(grids):
        start = list(zip(*(part[d::D].unbind(0) for part in state), strict=True))
        y, last = grid.run(x, start, lengths, d == 1)
        outputs.append(y)
        finals.append(last)
    ordered = [finals[d][layer] for layer in range(L) for d in range(D)]
    h, m = zip(*ordered, strict=True)
    return torch.cat(outputs, -1), (torch.stack(h), torch.stack(m))


def make_grids(
    weights: Mapping[str, Any], options: Mapping[str, Any], size: tuple[int, int]
) -> list[Grid]:
    """Return the grid of each direction; `size` is (layers, directions)."""
    layers, directions = size
    reverse = {k.removesuffix("_reverse"): w for k, w in weights.items() if "_rev" in k}
    forward = {k: w for k, w in weights.items() if "_rev" not in k}
    return [Grid(own, options, layers) for own in (forward, reverse)[:directions]]
