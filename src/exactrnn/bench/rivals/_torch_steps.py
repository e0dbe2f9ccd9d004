"""One step of every cell in plain torch, as its users write it.

A class has the weights of one layer and direction, by name without suffix, and the
layer's options. `project` makes the input product of all steps at once; `step` goes
from one step's part of it and the state to the next state, whose first array is the
output. Row blocks are in the order of exactrnn's weights.

Written from the papers' equations, apart from the kernels and their twins: the tests
compare them in float64, gradients by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch.nn import functional
from torch.nn.functional import linear, softsign

State: TypeAlias = tuple[Any, ...]

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda a, p=0.2, q=0.5: (p * a + q).clamp(0, 1),
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": softsign,
    "identity": lambda a: a,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": lambda a: functional.softplus(a, threshold=100),
    "scaled_tanh": lambda a, p=1.0, q=1.0: p * torch.tanh(q * a),
    "thresholded_relu": lambda a, p=1.0: functional.threshold(a, p, 0.0),
    "affine": lambda a, p=1.0, q=0.0: p * a + q,
}


def find_activation(activation: Any) -> Callable[[Any], Any]:
    """Return the function of a name, or of a name with parameters."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation]
    name, *parameters = activation
    return lambda a: ACTIVATIONS[name](a, *parameters)


class Cell:
    """Weights, options and activations of a cell; `RNN` is the shortest example."""

    default_activations: tuple[str, ...] = ()
    nonlinearities: tuple[str, ...] = ()

    def __init__(self, weights: Mapping[str, Any], options: Mapping[str, Any]):
        self.weights, self.options = weights, options
        self.W, self.R = weights["weight_ih"], weights["weight_hh"]
        self.b_ih, self.b_hh = weights.get("bias_ih"), weights.get("bias_hh")
        names = options.get("activations", self.default_activations)
        chosen = [options.get(key, "tanh") for key in self.nonlinearities]
        self.activations = [find_activation(one) for one in chosen or names]
        self.clip = options.get("clip")
        self.prepare()

    def prepare(self) -> None:
        """Take what only this cell has."""

    def split_recurrent(self, blocks: int) -> None:
        """Take R and its bias apart, for cells that multiply several operands."""
        self.Rs = self.R.chunk(blocks)
        self.bs = [None] * blocks if self.b_hh is None else self.b_hh.chunk(blocks)

    def limit(self, a: Any) -> Any:
        """Return the pre-activation within ±clip."""
        return a if self.clip is None else a.clamp(-self.clip, self.clip)

    def project(self, x: Any) -> Any:
        """Return the input products of a sequence, with their bias."""
        return linear(x, self.W, self.b_ih)

    def zeros(self, B: int) -> State:
        """Return the state before the first step."""
        return (self.W.new_zeros(B, self.R.shape[1]),)

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        raise NotImplementedError


class RNN(Cell):
    """h = φ(W x + R h' + b)."""

    nonlinearities = ("nonlinearity",)

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [h] = state
        [activate] = self.activations
        return (activate(self.limit(a + linear(h, self.R, self.b_hh))),)


class LSTM(Cell):
    """Long short-term memory, with every option; gates i f g o but for those absent."""

    default_activations = ("sigmoid", "tanh", "tanh")

    def prepare(self) -> None:
        """Take what only this cell has."""
        self.coupled = self.options.get("coupled")
        replaced = {None: "", "input": "f", "forget": "i"}[self.coupled]
        absent = self.options.get("omit", "") + replaced
        self.blocks = [k for k in "ifgo" if k not in absent]
        self.gates = [k for k in self.blocks if k != "g"]
        seen = [k for k in self.gates if k in self.options.get("peepholes", "")]
        self.p = dict(zip(seen, self.weights.get("weight_peephole", ()), strict=True))
        self.V = self.weights.get("weight_hr")
        self.between_gates = self.weights.get("weight_gates")

    def zeros(self, B: int) -> State:
        """Return the state before the first step."""
        linked = self.gates if self.between_gates is not None else []
        H = self.W.shape[0] // len(self.blocks)
        return (*super().zeros(B), *(self.W.new_zeros(B, H) for _ in ["c", *linked]))

    def gate(self, k: str, a: Mapping[str, Any], c: Any) -> Any:
        """Return a gate, which sees c if it has a peephole; 1 if it is omitted."""
        if k not in a:
            return 1.0
        sum_ = a[k] + self.p[k] * c if k in self.p else a[k]
        return self.activations[0](self.limit(sum_))

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        h, c, *before = state
        parts = (a + linear(h, self.R, self.b_hh)).chunk(len(self.blocks), -1)
        a = dict(zip(self.blocks, parts, strict=True))
        if before:
            sent = linear(torch.cat(before, -1), self.between_gates)
            for k, part in zip(self.gates, sent.chunk(len(before), -1), strict=True):
                a[k] = a[k] + part
        i, f = self.gate("i", a, c), self.gate("f", a, c)
        if self.coupled == "input":
            f = 1 - i
        elif self.coupled == "forget":
            i = 1 - f
        c = f * c + i * self.activations[1](self.limit(a["g"]))
        o = self.gate("o", a, c)
        h = o * self.activations[2](c)
        if self.V is not None:
            h = linear(h, self.V)
        now = {"i": i, "f": f, "o": o}
        return (h, c, *(now[k] for k in self.gates if before))


class LSTM1997(Cell):
    """Memory blocks: gates i o of a block for all its cells, and every sum sees all."""

    def prepare(self) -> None:
        """Take what only this cell has."""
        self.cells = self.options.get("block_size", 1)
        self.blocks = len(self.R) // (self.cells + 2)

    def zeros(self, B: int) -> State:
        """Return the state before the first step."""
        N, H = self.blocks, self.blocks * self.cells
        return tuple(self.W.new_zeros(B, width) for width in (H, H, N, N))

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        h, c, *gates = state
        N, rows = self.blocks, (-1, self.cells, self.blocks)
        a = a + linear(torch.cat([h, *gates], -1), self.R)
        i, o = torch.sigmoid(a[:, : 2 * N]).chunk(2, -1)
        g = 4 * torch.sigmoid(a[:, 2 * N :].reshape(rows)) - 2
        c = c.reshape(rows) + i[:, None] * g
        h = o[:, None] * (2 * torch.sigmoid(c) - 1)
        return (h.flatten(1), c.flatten(1), i, o)


class DepthGated(LSTM):
    """An upper layer of a depth-gated LSTM: `lower` is c of the layer below."""

    def prepare(self) -> None:
        """Take what only this cell has."""
        self.blocks, self.between_gates = list("ifgod"), None
        self.p_all = self.weights["weight_peephole"].unbind(0)

    def step(self, a: Any, state: State, lower: Any = None) -> State:
        """Return the next state."""
        h, c = state
        p_i, p_f, p_o, w_cd, w_ld = self.p_all
        ai, af, ag, ao, ad = a.chunk(5, -1)
        ri, rf, rg, ro = linear(h, self.R, self.b_hh).chunk(4, -1)
        i = torch.sigmoid(ai + ri + p_i * c)
        f = torch.sigmoid(af + rf + p_f * c)
        d = torch.sigmoid(ad + w_cd * c + w_ld * lower)
        c = d * lower + f * c + i * torch.tanh(ag + rg)
        o = torch.sigmoid(ao + ro + p_o * c)
        return (o * torch.tanh(c), c)


class GRU(Cell):
    """Gated recurrent unit, reset after the product; gates r z n."""

    default_activations = ("sigmoid", "tanh")

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [h] = state
        gate, activate = self.activations
        ar, az, an = a.chunk(3, -1)
        hr, hz, v = linear(h, self.R, self.b_hh).chunk(3, -1)
        r, z = gate(self.limit(ar + hr)), gate(self.limit(az + hz))
        n = activate(self.limit(an + r * v))
        return (z * h + (1 - z) * n,)


class GRUBefore(GRU):
    """Gated recurrent unit, reset before the product; gates r z n."""

    def prepare(self) -> None:
        """Take what only this cell has."""
        self.split_recurrent(3)

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [h] = state
        gate, activate = self.activations
        ar, az, an = a.chunk(3, -1)
        r = gate(self.limit(ar + linear(h, self.Rs[0], self.bs[0])))
        z = gate(self.limit(az + linear(h, self.Rs[1], self.bs[1])))
        n = activate(self.limit(an + linear(r * h, self.Rs[2], self.bs[2])))
        return (z * h + (1 - z) * n,)


class MUT1(Cell):
    """Row blocks of W: r z n, of R: r n; the bias of n is outside of tanh(W_n x)."""

    def prepare(self) -> None:
        """Take what only this cell has."""
        self.split_recurrent(2)
        self.b_n: Any = 0.0
        if self.b_ih is not None:
            b_r, b_z, self.b_n = self.b_ih.chunk(3)
            self.b_ih = torch.cat([b_r, b_z, torch.zeros_like(self.b_n)])

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [h] = state
        ar, az, xn = a.chunk(3, -1)
        r = torch.sigmoid(ar + linear(h, self.Rs[0], self.bs[0]))
        z = torch.sigmoid(az)
        an = linear(r * h, self.Rs[1], self.bs[1]) + self.b_n
        return ((1 - z) * h + z * torch.tanh(an + torch.tanh(xn)),)


class MUT2(Cell):
    """A GRU, reset before the product, whose z writes."""

    def prepare(self) -> None:
        """Take what only this cell has."""
        self.split_recurrent(3)

    def seen_by_z(self, h: Any) -> Any:
        """Return what R_z multiplies."""
        return h

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [h] = state
        ar, az, an = a.chunk(3, -1)
        r = torch.sigmoid(ar + linear(h, self.Rs[0], self.bs[0]))
        z = torch.sigmoid(az + linear(self.seen_by_z(h), self.Rs[1], self.bs[1]))
        n = torch.tanh(an + linear(r * h, self.Rs[2], self.bs[2]))
        return ((1 - z) * h + z * n,)


class MUT3(MUT2):
    """MUT2, but z sees tanh(h')."""

    def seen_by_z(self, h: Any) -> Any:
        """Return what R_z multiplies."""
        return torch.tanh(h)


class Jordan(Cell):
    """h = φ(W x + R y' + b), y = ψ(V h + c); the state is y."""

    nonlinearities = ("nonlinearity", "output_nonlinearity")

    def prepare(self) -> None:
        """Take what only this cell has."""
        self.V, self.c = self.weights["weight_ho"], self.weights.get("bias_ho")

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [y] = state
        activate, activate_output = self.activations
        h = activate(self.limit(a + linear(y, self.R, self.b_hh)))
        return (activate_output(self.limit(linear(h, self.V, self.c))),)


class Leaky(Cell):
    """h = (1-α) h' + α φ(W x + R h' + b)."""

    nonlinearities = ("nonlinearity",)

    def prepare(self) -> None:
        """Take what only this cell has."""
        learned = self.weights.get("leak_logit")
        given = torch.as_tensor(self.options["leak"], dtype=self.W.dtype)
        self.α = given if learned is None else torch.sigmoid(learned)

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        [h] = state
        [activate] = self.activations
        u = activate(self.limit(a + linear(h, self.R, self.b_hh)))
        return ((1 - self.α) * h + self.α * u,)


class Clockwork(Cell):
    """Modules that tick every T_i steps; fast ones read the slower and themselves.

    The second state is the clock of each row.
    """

    nonlinearities = ("nonlinearity",)

    def prepare(self) -> None:
        """Take what only this cell has."""
        periods = torch.tensor(self.options["periods"])
        sizes = self.options.get("module_sizes") or share_units(len(self.R), periods)
        self.period = periods.repeat_interleave(torch.as_tensor(sizes))
        self.phase = self.options.get("phase", 0)
        self.R = self.R * (self.period[:, None] <= self.period)

    def zeros(self, B: int) -> State:
        """Return the state before the first step."""
        return (*super().zeros(B), torch.full((B,), self.phase))

    def step(self, a: Any, state: State) -> State:
        """Return the next state."""
        h, clock = state
        [activate] = self.activations
        ticks = clock[:, None] % self.period == 0
        u = activate(self.limit(a + linear(h, self.R, self.b_hh)))
        return (torch.where(ticks, u, h), clock + 1)


def share_units(units: int, periods: Any) -> Any:
    """Return equal sizes of modules; what is left over goes to the faster ones."""
    sizes = torch.full_like(periods, units // len(periods))
    sizes[torch.argsort(periods, stable=True)[: units % len(periods)]] += 1
    return sizes


CLASSES: dict[str, type[Cell]] = {
    "RNN": RNN,
    "LSTM": LSTM,
    "LSTM1997": LSTM1997,
    "GRU": GRU,
    "MUT1": MUT1,
    "MUT2": MUT2,
    "MUT3": MUT3,
    "JordanRNN": Jordan,
    "LeakyRNN": Leaky,
    "ClockworkRNN": Clockwork,
    "DepthGatedLSTM": DepthGated,
}
"""The step of each public layer, by the layer's name."""
