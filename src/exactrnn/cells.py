"""Cells from the literature as definitions, for `Layer`.

Each is the equations of its paper, in the operations of `Step`; products with
matrices and biases are named by the gate. To change one, copy its `step`.
"""

from __future__ import annotations

from typing import Literal

from exactrnn._graph.symbols import Cell, Step
from exactrnn._graph.values import Symbol
from exactrnn._system import shown

__all__ = ["JANET", "MGU", "SLSTM", "SRU", "UGRNN", "IndRNN", "MinGRU", "MinLSTM"]
__dir__ = shown.lists(globals())


class MGU(Cell):
    """The minimal gated unit: one gate that forgets and resets.

    G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, arXiv 1603.09420::

        f = σ(W_f x + R_f h' + b_f)
        n = tanh(W_n x + R_n (f * h') + b_n)
        h = (1 - f) * h' + f * n

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.MGU(), 3, 4).num_parameters == 2 * 4 * (3 + 4 + 1)
    True
    """

    states = ("h",)

    def step(self, s: Step) -> Symbol:
        """Return the new h."""
        f = s.sigmoid(s.W("f") + s.R("f", s.h) + s.b("f"))
        n = s.tanh(s.W("n") + s.R("n", f * s.h) + s.b("n"))
        return s.mix(f, n, s.h)


class UGRNN(Cell):
    """The update gate network: a simple network whose state a gate keeps.

    J. Collins, J. Sohl-Dickstein, D. Sussillo, arXiv 1611.09913::

        g = σ(W_g x + R_g h' + b_g)
        n = tanh(W_n x + R_n h' + b_n)
        h = g * h' + (1 - g) * n

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.UGRNN(), 3, 4).gate_names
    ('g', 'n')
    """

    states = ("h",)

    def step(self, s: Step) -> Symbol:
        """Return the new h."""
        g = s.sigmoid(s.W("g") + s.R("g", s.h) + s.b("g"))
        n = s.tanh(s.W("n") + s.R("n", s.h) + s.b("n"))
        return s.mix(g, s.h, n)


class JANET(Cell):
    """An LSTM of a forget gate alone, which what is written is coupled to.

    J. van der Westhuizen, J. Lasenby, arXiv 1804.04849::

        s = W_s x + R_s h' + b_s        n = tanh(W_n x + R_n h' + b_n)
        h = σ(s) * h' + (1 - σ(s - β)) * n

    Parameters
    ----------
    beta : float
        β, by how much less is written than forgotten; at 0 the two are 1 together.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.JANET(), 3, 4).num_parameters == 2 * 4 * (3 + 4 + 1)
    True
    """

    states = ("h",)

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def step(self, s: Step) -> Symbol:
        """Return the new h."""
        kept = s.W("s") + s.R("s", s.h) + s.b("s")
        n = s.tanh(s.W("n") + s.R("n", s.h) + s.b("n"))
        written = 1 - s.sigmoid(kept - self.beta)
        return s.fma(s.sigmoid(kept), s.h, written * n)


class IndRNN(Cell):
    """Independent units: each sees of the state only its own.

    S. Li, W. Li, C. Cook, C. Zhu, Y. Gao, arXiv 1803.04831::

        h = relu(W x + u * h' + b)

    The paper keeps the size of u below a bound; that is the trainer's to do.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.IndRNN(), 3, 4).weight_unit_l0.shape
    (1, 4)
    """

    states = ("h",)

    def step(self, s: Step) -> Symbol:
        """Return the new h."""
        return s.relu(s.fma(s.v("u"), s.h, s.W("a") + s.b("a")))


class SRU(Cell):
    """The simple recurrent unit: all matrix products are with the input.

    T. Lei, Y. Zhang, S. I. Wang, H. Dai, Y. Artzi, arXiv 1709.02755::

        f = σ(W_f x + v_f * c' + b_f)        r = σ(W_r x + v_r * c' + b_r)
        c = f * c' + (1 - f) * W_u x
        h = r * c + (1 - r) * W_x x

    Where I = H the paper takes x itself in the place of W_x x; here it is projected
    in any case.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.SRU(), 3, 4).state_names
    ('h', 'c')
    """

    states = ("h", "c")

    def step(self, s: Step) -> tuple[Symbol, Symbol]:
        """Return the new h and c."""
        f = s.sigmoid(s.fma(s.v("f"), s.c, s.W("f") + s.b("f")))
        r = s.sigmoid(s.fma(s.v("r"), s.c, s.W("r") + s.b("r")))
        c = s.mix(f, s.c, s.W("u"))
        return s.mix(r, c, s.W("x")), c


class MinGRU(Cell):
    """The minimal GRU, whose gate and candidate see the input alone.

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, arXiv 2410.01201::

        z = σ(W_z x + b_z)        n = W_n x + b_n
        h = (1 - z) * h' + z * n

    Parameters
    ----------
    positive : bool
        Whether n is the paper's g(W_n x + b_n), g(a) = a + 0.5 where a >= 0, else σ(a):
        the model that it runs in logarithms.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.MinGRU(), 3, 4).num_parameters == 2 * 4 * (3 + 1)
    True
    """

    states = ("h",)

    def __init__(self, positive: bool = False) -> None:
        self.positive = positive

    def step(self, s: Step) -> Symbol:
        """Return the new h."""
        z = s.sigmoid(s.W("z") + s.b("z"))
        return s.mix(z, _candidate(s, self.positive), s.h)


class MinLSTM(Cell):
    """The minimal LSTM, whose gates and candidate see the input alone.

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, arXiv 2410.01201::

        f = σ(W_f x + b_f)        i = σ(W_i x + b_i)        n = W_n x + b_n
        h = (f * h' + i * n) / (f + i)

    Parameters
    ----------
    positive : bool
        As in `MinGRU`.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.MinLSTM(positive=True), 3, 4).gate_names
    ('f', 'i', 'n')
    """

    states = ("h",)

    def __init__(self, positive: bool = False) -> None:
        self.positive = positive

    def step(self, s: Step) -> Symbol:
        """Return the new h."""
        f = s.sigmoid(s.W("f") + s.b("f"))
        i = s.sigmoid(s.W("i") + s.b("i"))
        n = _candidate(s, self.positive)
        return s.fma(f, s.h, i * n) / (f + i)


def _candidate(s: Step, positive: bool) -> Symbol:
    """Return n of the minimal networks."""
    a = s.W("n") + s.b("n")
    return s.where(a >= 0, a + 0.5, s.sigmoid(a)) if positive else a


class SLSTM(Cell):
    """The sLSTM: exponential gates, and a state by which they stay in range.

    M. Beck et al., xLSTM, arXiv 2405.04517::

        z = tanh(a_z)    o = σ(a_o)    a_k = W_k x + R_k h' + b_k
        l = ln σ(a_f)                  a_f itself where forget="exp"
        m = max(l + m', a_i)
        i = exp(a_i - m)               f = exp(l + m' - m)
        c = f * c' + i * z             n = f * n' + i
        h = o * c / n

    h does not depend on m, so the gradient takes m as a constant; a loss on c or n
    would have to do more. States of zeros, m too, start it; with them the first h is
    right as long as a_i is above -60.

    Parameters
    ----------
    forget : {"sigmoid", "exp"}
        What the forget gate is.
    num_heads : int
        Groups of units that R does not mix: each R_k is block-diagonal.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.Layer(xr.cells.SLSTM(), 3, 4).state_names
    ('h', 'c', 'n', 'm')
    >>> xr.Layer(xr.cells.SLSTM(num_heads=2), 3, 4).weight_hh_l0.shape
    (16, 2)
    """

    states = ("h", "c", "n", "m")

    def __init__(
        self, forget: Literal["sigmoid", "exp"] = "sigmoid", num_heads: int = 1
    ) -> None:
        if forget not in ("sigmoid", "exp"):
            raise ValueError(f"forget: expected 'sigmoid' or 'exp', got {forget!r}")
        self.forget = forget
        self.num_heads = num_heads

    def step(self, s: Step) -> tuple[Symbol, Symbol, Symbol, Symbol]:
        """Return the new h, c, n and m."""
        a = {k: s.W(k) + s.R(k, s.h) + s.b(k) for k in "zifo"}
        kept = a["f"] if self.forget == "exp" else -s.softplus(-a["f"])
        kept = kept + s.stop(s.m)
        m = s.stop(s.max(kept, a["i"]))
        i, f = s.exp(a["i"] - m), s.exp(kept - m)
        c = s.fma(f, s.c, i * s.tanh(a["z"]))
        n = s.fma(f, s.n, i)
        return s.sigmoid(a["o"]) * (c / s.max(n, SMALLEST)), c, n, m


SMALLEST = 2.0**-90
"""What n is divided by at least: it is larger but for a row that has seen nothing."""
