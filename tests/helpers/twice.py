"""The cells of this library once more, as definitions, and how their weights compare.

`TWICE` has, for each form of a hand-written kernel, equations for `xr.Layer`. What no
definition can say stands in `ALONE`, with the reason.
"""

from dataclasses import dataclass, field

import numpy as np

import exactrnn as xr

H = 17
"""Units of the layers that are compared."""


def full_sum(s, name):
    return s.W(name) + s.R(name, s.h) + s.b(name)


class Tanh(xr.Cell):
    def step(self, s):
        return s.tanh(full_sum(s, "a"))


class Relu(xr.Cell):
    def step(self, s):
        return s.relu(full_sum(s, "a"))


class HardSigmoid(xr.Cell):
    def step(self, s):
        return s.hard_sigmoid(full_sum(s, "a"))


class Clipped(xr.Cell):
    def step(self, s):
        return s.tanh(s.max(-0.5, s.min(0.5, full_sum(s, "a"))))


class LSTM(xr.Cell):
    """An LSTM by the options of the literature: gates that are omitted are 1."""

    states = ("h", "c")

    def __init__(self, omit="", peepholes="", candidate="tanh", output="tanh"):
        self.omit, self.peepholes = omit, peepholes
        self.candidate, self.output = candidate, output

    def gate(self, s, name, a, seen):
        if name in self.omit:
            return None
        return s.sigmoid(s.fma(s.v(name), seen, a) if name in self.peepholes else a)

    def shape(self, s, name, a):
        return a if name == "identity" else getattr(s, name)(a)

    def step(self, s):
        """Write i after f, so that its peephole's gradient comes first, as by hand."""
        a = {k: full_sum(s, k) for k in "ifgo" if k not in self.omit}
        for name in self.peepholes:
            s.v(name)
        f = self.gate(s, "f", a.get("f"), s.c)
        i = self.gate(s, "i", a.get("i"), s.c)
        entry = self.shape(s, self.candidate, a["g"])
        entry = entry if i is None else i * entry
        c = s.c + entry if f is None else s.fma(f, s.c, entry)
        o = self.gate(s, "o", a.get("o"), c)
        shown = self.shape(s, self.output, c)
        return shown if o is None else o * shown, c


class CoupledInput(xr.Cell):
    states = ("h", "c")

    def step(self, s):
        i, g = s.sigmoid(full_sum(s, "i")), s.tanh(full_sum(s, "g"))
        o = s.sigmoid(full_sum(s, "o"))
        c = s.fma(1 - i, s.c, i * g)
        return o * s.tanh(c), c


class CoupledForget(xr.Cell):
    states = ("h", "c")

    def step(self, s):
        f, g = s.sigmoid(full_sum(s, "f")), s.tanh(full_sum(s, "g"))
        o = s.sigmoid(full_sum(s, "o"))
        c = s.fma(f, s.c, (1 - f) * g)
        return o * s.tanh(c), c


class Projected(xr.Cell):
    """With as many outputs as units: all of a definition's states have H."""

    states = ("h", "c")

    def step(self, s):
        m, c = LSTM().step(s)
        return s.R("p", m), c


class LinkedGates(xr.Cell):
    """Full gate recurrence, without an input gate: all three would be 13 sums."""

    states = ("h", "c", "f", "o")

    def gate(self, s, name):
        a = full_sum(s, name)
        return s.sigmoid(a + s.R(f"{name}_f", s.f) + s.R(f"{name}_o", s.o))

    def step(self, s):
        f = self.gate(s, "f")
        c = s.fma(f, s.c, s.tanh(full_sum(s, "g")))
        o = self.gate(s, "o")
        return o * s.tanh(c), c, f, o


class TruncatedPeepholes(xr.Cell):
    """As its paper learned: nothing goes back in time but along c."""

    states = ("h", "c")

    def gate(self, s, name, seen):
        a = s.W(name) + s.R(name, s.stop(s.h)) + s.b(name)
        return a if seen is None else s.sigmoid(s.fma(s.v(name), s.stop(seen), a))

    def step(self, s):
        i, f = self.gate(s, "i", s.c), self.gate(s, "f", s.c)
        c = s.fma(f, s.c, i * s.tanh(self.gate(s, "g", None)))
        return self.gate(s, "o", c) * s.tanh(c), c


class LSTM1997(xr.Cell):
    """Blocks of one cell; each sum sees all cells and gates of the step before."""

    states = ("h", "c", "i", "o")

    def __init__(self, truncated=False):
        self.truncated = truncated

    def heard(self, s, name):
        h, i, o = (s.stop(k) if self.truncated else k for k in (s.h, s.i, s.o))
        a = s.W(name) + s.R(name, h) + s.b(name)
        return a + s.R(f"{name}_i", i) + s.R(f"{name}_o", o)

    def step(self, s):
        i, o = s.sigmoid(self.heard(s, "i")), s.sigmoid(self.heard(s, "o"))
        g = 2 * s.tanh(0.5 * self.heard(s, "g"))
        c = s.fma(i, g, s.c)
        return o * s.tanh(0.5 * c), c, i, o


class GRU(xr.Cell):
    def step(self, s):
        r, z = s.sigmoid(full_sum(s, "r")), s.sigmoid(full_sum(s, "z"))
        n = s.tanh(s.fma(r, s.R("v", s.h) + s.b("v"), s.W("n") + s.b("n")))
        return s.mix(z, s.h, n)


def candidate_of(s, r):
    return s.tanh(s.W("n") + s.R("n", r * s.h) + s.b("n"))


class GRUBefore(xr.Cell):
    def step(self, s):
        r, z = s.sigmoid(full_sum(s, "r")), s.sigmoid(full_sum(s, "z"))
        return s.mix(z, s.h, candidate_of(s, r))


class MUT1(xr.Cell):
    def step(self, s):
        r, z = s.sigmoid(full_sum(s, "r")), s.sigmoid(s.W("z") + s.b("z"))
        x = s.tanh(s.W("x"))
        n = s.tanh(s.R("n", r * s.h) + s.b("n") + x)
        return s.mix(z, n, s.h)


class MUT2(xr.Cell):
    def step(self, s):
        r, z = s.sigmoid(full_sum(s, "r")), s.sigmoid(full_sum(s, "z"))
        return s.mix(z, candidate_of(s, r), s.h)


class MUT3(xr.Cell):
    def step(self, s):
        r = s.sigmoid(full_sum(s, "r"))
        z = s.sigmoid(s.W("z") + s.R("z", s.tanh(s.h)) + s.b("z"))
        return s.mix(z, candidate_of(s, r), s.h)


class Jordan(xr.Cell):
    """The state is the output; with as many outputs as units, see `Projected`."""

    states = ("y",)

    def step(self, s):
        hidden = s.tanh(s.W("a") + s.R("a", s.y) + s.b("a"))
        return s.tanh(s.R("y", hidden) + s.b("y"))


class Leaky(xr.Cell):
    def step(self, s):
        return s.mix(0.25, s.tanh(full_sum(s, "a")), s.h)


class LearnedLeak(xr.Cell):
    def step(self, s):
        u = s.tanh(full_sum(s, "a"))
        return s.mix(s.sigmoid(s.v("leak")), u, s.h)


class Clockwork(xr.Cell):
    """Each unit counts its steps; connections that do not exist have zeros in R."""

    states = ("h", "clock")

    def step(self, s):
        ticks = s.equal(s.clock, 0)
        h = s.where(ticks, s.tanh(full_sum(s, "a")), s.h)
        after = s.clock + 1
        return h, s.where(after >= s.stop(s.v("period")), 0, after)


# Weights: which rows of one are which of the other


def rows(name, count, columns=(0, 1)):
    """Return sources of `count` row blocks of a matrix, and of one column block."""
    return [((name, block, columns),) for block in range(count)]


def biases(*blocks):
    """Return sources of blocks of a bias: sums of the two that the kernels have."""
    whole = (0, 1)
    return [(("bias_ih", b, whole), ("bias_hh", b, whole)) for b in blocks]


def plain(gates, recurrent=None):
    """Return the sources of a cell whose blocks are in the same order."""
    return {
        "weight_ih": rows("weight_ih", gates),
        "weight_hh": rows("weight_hh", recurrent or gates),
        "bias_ih": biases(*range(gates)),
    }


def heard(matrix, own, others, parts):
    """Return row blocks of R in the order of sums that hear one state, then others."""
    found = []
    for gate in range(own):
        found += [(("weight_hh", gate, (0, parts if matrix == "weight_hh" else 1)),)]
        if gate in others:
            block = others.index(gate) if matrix == "weight_gates" else gate
            first = 0 if matrix == "weight_gates" else 1
            found += [((matrix, block, (k, parts)),) for k in range(first, parts)]
    return found


@dataclass(frozen=True)
class Twice:
    """A cell in both forms.

    `weights` has, for each weight of the definition, where its row blocks come from:
    of several sources their sum. Gradients of `rounded` weights, or with "all" all
    gradients, or with "everything" results too, have other orders of rounding.
    """

    cell: object
    kind: type
    weights: dict
    options: dict = field(default_factory=dict)
    rounded: str = ""
    truncated: bool = False


UNIT = {"weight_unit": rows("weight_peephole", 3)}
BEFORE = {"reset_after": False}
PERIODS = (1, 2, 4)

TWICE = {
    "rnn": Twice(Tanh, xr.RNN, plain(1)),
    "relu": Twice(Relu, xr.RNN, plain(1), {"nonlinearity": "relu"}),
    "hard_sigmoid": Twice(
        HardSigmoid, xr.RNN, plain(1), {"nonlinearity": "hard_sigmoid"}
    ),
    "clip": Twice(Clipped, xr.RNN, plain(1), {"clip": 0.5}),
    "lstm": Twice(LSTM(), xr.LSTM, plain(4)),
    "lstm, no i": Twice(LSTM("i"), xr.LSTM, plain(3), {"omit": "i"}),
    "lstm, no f": Twice(LSTM("f"), xr.LSTM, plain(3), {"omit": "f"}),
    "lstm, no o": Twice(LSTM("o"), xr.LSTM, plain(3), {"omit": "o"}),
    "lstm, no g": Twice(
        LSTM(candidate="identity"),
        xr.LSTM,
        plain(4),
        {"activations": ("sigmoid", "identity", "tanh")},
    ),
    # dc + dh*o is rounded once here, twice there.
    "lstm, no h": Twice(
        LSTM(output="identity"),
        xr.LSTM,
        plain(4),
        {"activations": ("sigmoid", "tanh", "identity")},
        rounded="all",
    ),
    # The gradient of a peephole is a sum of rounded products here.
    "peepholes": Twice(
        LSTM(peepholes="ifo"),
        xr.LSTM,
        plain(4) | UNIT,
        {"peepholes": "ifo"},
        rounded="weight_unit",
    ),
    "truncated": Twice(
        TruncatedPeepholes,
        xr.LSTM,
        plain(4) | UNIT,
        {"peepholes": "ifo"},
        rounded="weight_unit",
        truncated=True,
    ),
    # di is dc*g - dc*c' here, dc*(g - c') there.
    "coupled": Twice(
        CoupledInput, xr.LSTM, plain(3), {"coupled": "input"}, rounded="all"
    ),
    "coupled forget": Twice(
        CoupledForget, xr.LSTM, plain(3), {"coupled": "forget"}, rounded="all"
    ),
    "projected": Twice(
        Projected,
        xr.LSTM,
        plain(4) | {"weight_hh": rows("weight_hh", 4) + rows("weight_hr", 1)},
        {"proj_size": H},
    ),
    # A sum over several states is one chain there, a sum of chains here.
    "linked gates": Twice(
        LinkedGates,
        xr.LSTM,
        plain(3) | {"weight_hh": heard("weight_gates", 3, (0, 2), 2)},
        {"omit": "i", "full_gate_recurrence": True},
        rounded="everything",
    ),
    "1997": Twice(
        LSTM1997(),
        xr.LSTM1997,
        plain(3) | {"weight_hh": heard("weight_hh", 3, (0, 1, 2), 3)},
        rounded="everything",
    ),
    "1997, truncated": Twice(
        LSTM1997(truncated=True),
        xr.LSTM1997,
        plain(3) | {"weight_hh": heard("weight_hh", 3, (0, 1, 2), 3)},
        rounded="everything",
        truncated=True,
    ),
    "gru": Twice(
        GRU,
        xr.GRU,
        plain(3)
        | {
            "bias_ih": [*biases(0, 1), (("bias_ih", 2, (0, 1)),)],
            "bias_hh": [(("bias_hh", 2, (0, 1)),)],
        },
    ),
    "gru_before": Twice(GRUBefore, xr.GRU, plain(3), BEFORE),
    "mut1": Twice(
        MUT1,
        xr.MUT1,
        plain(3, 2)
        | {
            "bias_ih": [biases(0)[0], (("bias_ih", 1, (0, 1)),)],
            "bias_hh": [(("bias_ih", 2, (0, 1)), ("bias_hh", 1, (0, 1)))],
        },
    ),
    "mut2": Twice(MUT2, xr.MUT2, plain(3)),
    "mut3": Twice(MUT3, xr.MUT3, plain(3)),
    "jordan": Twice(
        Jordan,
        xr.JordanRNN,
        plain(1)
        | {
            "weight_hh": rows("weight_hh", 1) + rows("weight_ho", 1),
            "bias_hh": rows("bias_ho", 1),
        },
        {"output_size": H},
    ),
    "leaky": Twice(Leaky, xr.LeakyRNN, plain(1), {"leak": 0.25}),
    # The slope of the leak's logit comes before the sum over time here, after it there.
    "learned leak": Twice(
        LearnedLeak,
        xr.LeakyRNN,
        plain(1) | {"weight_unit": rows("leak_logit", 1)},
        {"leak": np.linspace(0.1, 0.9, H), "learn_leak": True},
        rounded="weight_unit",
    ),
    "clockwork": Twice(
        Clockwork,
        xr.ClockworkRNN,
        plain(1) | {"weight_unit": rows("periods", 1)},
        {"periods": PERIODS},
    ),
}

ALONE = {
    "depth_gated": "reads the cell state of the layer below: a definition sees the "
    "output of that layer alone, as its x; its bottom layer is an LSTM with peepholes",
}
"""Cells of `cells.def` that no definition can be, and why. Grids, which have no steps
but points, are none of them."""


def source_rows(given, source):
    """Return one row block of a weight, or of one column block of it."""
    name, block, (column, columns) = source
    array = given[name]
    array = array[None] if name in ("leak_logit", "periods") else array
    size = 1 if name in ("weight_peephole", "leak_logit", "periods") else H
    found = array[block * size : (block + 1) * size]
    width = found.shape[-1] // columns
    return found[..., column * width : (column + 1) * width]


def own_weights(layer, suffix):
    """Return the weights of one layer and direction by kind; where none, zeros."""
    ending = len(suffix)
    found = {
        name[:-ending]: array
        for name, array in layer.state_dict().items()
        if name.endswith(suffix)
    }
    found.setdefault("bias_hh", np.zeros_like(found["bias_ih"]))
    sizes = getattr(layer, "module_sizes", ())
    periods = np.repeat(PERIODS[: len(sizes)], sizes)
    return found | {"periods": periods.astype(layer.dtype)}


def make_both(name, **options):
    """Return a layer of the hand-written kernel and one of the definition.

    Their weights are the same.
    """
    twice = TWICE[name]
    ours = twice.kind(5, H, **twice.options, **options)
    theirs = xr.Layer(twice.cell, 5, H, **options)
    taken = {}
    for weight in theirs.state_dict():
        kind, _, ending = weight.partition("_l")
        given = own_weights(ours, f"_l{ending}")
        blocks = [
            sum(source_rows(given, source) for source in sources)
            for sources in twice.weights[kind]
        ]
        taken[weight] = np.concatenate(blocks)
    theirs.load_state_dict(taken)
    return ours, theirs


def expected_gradient(name, weight, gradients):
    """Return what the gradient of a weight of the definition has to be.

    Nothing for what the hand-written kernel has as a constant.
    """
    kind, _, ending = weight.partition("_l")
    blocks = []
    for (own, *place), *_ in TWICE[name].weights[kind]:
        key = f"{own}_l{ending}"
        if key not in gradients:
            return None
        blocks.append(source_rows({own: gradients[key]}, (own, *place)))
    return np.concatenate(blocks)
