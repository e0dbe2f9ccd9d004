"""LSTM and GRU with layer normalisation, as definitions: what `layer_norm=True` runs.

J. Ba, J. Kiros, G. Hinton, arXiv 1607.06450, supplement. All gates' products with x are
normalised together, those with h apart; the candidate of the GRU on its own, its part
of h before the reset. Biases that would be added to each other are one.

A bias is called as its gate, whose value then lies in its place (`program.py`).
"""

from __future__ import annotations

from functools import cache

from exactrnn._graph.program import Compiled, compile_definition
from exactrnn._graph.symbols import Cell, Step
from exactrnn._graph.values import Symbol


class NormedLSTM(Cell):
    """The LSTM; `forget_bias` is the forget gate's first bias."""

    states = ("h", "c")

    def __init__(self, forget_bias: float = 0.0) -> None:
        self.forget_bias = forget_bias

    def step(self, s: Step) -> tuple[Symbol, Symbol]:
        """Return the new h and c."""
        x, h = normed_x(s, "ifgo"), normed_h(s, "ifgo")
        firsts = {"f": self.forget_bias}
        a = {k: x[k] + h[k] + s.v(k, firsts.get(k, 0.0)) for k in "ifgo"}
        i, f, o = (s.sigmoid(a[k]) for k in "ifo")
        c = s.fma(f, s.c, i * s.tanh(a["g"]))
        return o * s.tanh(s.layer_norm(c, "c")), c


class NormedGRU(Cell):
    """The GRU that resets after the product."""

    states = ("h",)

    def step(self, s: Step) -> Symbol:
        """Return the new h."""
        x, h = normed_x(s, "rz") | normed_x(s, "n"), normed_h(s, "rz")
        r, z = (s.sigmoid(x[k] + h[k] + s.v(k, 0.0)) for k in "rz")
        v = normed_h(s, "n")["n"] + s.v("v", 0.0)
        n = s.tanh(s.fma(r, v, x["n"] + s.v("n", 0.0)))
        return s.mix(z, s.h, n)


def normed_x(s: Step, gates: str) -> dict[str, Symbol]:
    """Return the products of some gates with x, normalised together."""
    names = tuple(f"x{k}" for k in gates)
    normed = s.layer_norm(tuple(map(s.W, names)), names, bias=False)
    return dict(zip(gates, normed, strict=True))


def normed_h(s: Step, gates: str) -> dict[str, Symbol]:
    """Return the products of some gates with h, normalised together."""
    names = tuple(f"h{k}" for k in gates)
    products = tuple(s.R(name, s.h) for name in names)
    return dict(zip(gates, s.layer_norm(products, names, bias=False), strict=True))


@cache
def normed_lstm(forget_bias: float) -> Compiled:
    """Return what the LSTM comes to."""
    return compile_definition(NormedLSTM(forget_bias).definition)


@cache
def normed_gru() -> Compiled:
    """Return what the GRU comes to."""
    return compile_definition(NormedGRU().definition)
