"""LSTM and GRU with layer normalisation in plain torch, as a user would write them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import layer_norm, linear

from exactrnn.bench.rivals._torch_steps import Cell, State


class NormedLSTM(Cell):
    """`LSTM(layer_norm=True)`: LN(W x) + LN(R h') + b, and LN(c) for the output."""

    def prepare(self) -> None:
        """Take gains and biases."""
        rows = self.weights["weight_norm"]
        self.H = self.R.shape[1]
        self.gain_x, self.gain_h, self.b = rows[:12].reshape(3, 4 * self.H)
        self.gain_c, self.bias_c = rows[12:]

    def zeros(self, B: int) -> State:
        """Return the state before the first step."""
        return (*super().zeros(B), *super().zeros(B))

    def project(self, x: Any) -> Any:
        """Return the input products of a sequence, normalised, with their bias."""
        a = linear(x, self.W)
        return layer_norm(a, (4 * self.H,), self.gain_x, self.b)

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        h, c = state
        a = a + layer_norm(linear(h, self.R), (4 * self.H,), self.gain_h)
        i, f, g, o = a.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        seen = layer_norm(c, (self.H,), self.gain_c, self.bias_c)
        return o.sigmoid() * seen.tanh(), c


class NormedGRU(Cell):
    """`GRU(layer_norm=True)`: r and z together, the candidate on its own."""

    def prepare(self) -> None:
        """Take gains and biases."""
        self.H = self.R.shape[1]
        rows = self.weights["weight_norm"]
        self.gain_x, self.gain_h, self.b = (
            rows[k : k + 2].reshape(-1) for k in (0, 3, 5)
        )
        self.gain_n, self.gain_v, self.b_v, self.b_n = rows[[2, 7, 8, 9]]

    def project(self, x: Any) -> Any:
        """Return the input products of a sequence, normalised, with their bias."""
        a, n = linear(x, self.W).split([2 * self.H, self.H], -1)
        a = layer_norm(a, (2 * self.H,), self.gain_x, self.b)
        return torch.cat([a, layer_norm(n, (self.H,), self.gain_n, self.b_n)], -1)

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [h] = state
        gates, v = linear(h, self.R).split([2 * self.H, self.H], -1)
        of_x, n = a.split([2 * self.H, self.H], -1)
        gates = of_x + layer_norm(gates, (2 * self.H,), self.gain_h)
        r, z = gates.sigmoid().chunk(2, -1)
        n = (n + r * layer_norm(v, (self.H,), self.gain_v, self.b_v)).tanh()
        return (torch.lerp(n, h, z),)
