"""Grid LSTM in N dimensions, forward and back: the executable definition, in NumPy.

Source: N. Kalchbrenner, I. Danihelka, A. Graves, "Grid Long Short-Term Memory", ICLR
2016, arXiv 1507.01526: blocks in section 3.1, priority dimensions in 3.2, dimensions
without memory in 3.3, input from several sides in 3.4, shared weights in 3.5.

At every point of the grid stands a block.  Along each dimension k it takes (h_k, m_k)
from the point before, or from the near border, and hands (h'_k, m'_k) on:

    Hc = [h_1; ...; h_N]          a_ = W_k_ Hc + b_k_           _ in i f g o
    i = sigmoid(ai)     f = sigmoid(af)     g = tanh(ag)     o = sigmoid(ao)
    m'_k = f * m_k + i * g
    h'_k = tanh(o * m'_k)         as in the paper, which calls i u
           o * tanh(m'_k)         as in public code, and in the LSTM

A dimension without memory has h'_k = alpha(W_k Hc + b_k).  Dimensions of phase 0 all
read the h that came in; those of phases 1, 2, ..., the priority dimensions, follow one
after the other, and each reads h'_j in the place of h_j for all j of earlier phases.

Letters: N dimensions, n_k points along dimension k, H units, B batch rows; G is 4 with
memory, rows i f g o, and 1 without.  A line of dimension k is what differs in
coordinate k alone; its steps 0 ... n_k are the near border and then the points.  A row
of the batch has the points whose coordinates all lie below its lengths; along a line it
keeps the state of its last one, and lines that it does not have are +0.0 at the far
border.

Twin: ``csrc/kernels/grid/grid.c`` and its headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._spec.activations import Activation
from exactrnn.reference.activations import activate, slope
from exactrnn.reference.arith import chain, flush, fma, long_sum, sigmoid, tanh

Array: TypeAlias = NDArray[np.floating[Any]]
Point: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[Array, Array | None]
"""h and m of one dimension; no m without memory."""
Weights: TypeAlias = tuple[Array, Array | None]
"""W [G*H, N*H] and b [G*H] or None of one dimension."""


@dataclass(frozen=True)
class Grid:
    """One grid: its blocks, its weights and its sizes.

    Parameters
    ----------
    kinds : tuple of str or tuple
        ``"lstm"``, or the activation of a dimension without memory.
    phases : tuple of int
        0, or the place among the priority dimensions, from 1.
    tanh_outside : bool
        Whether ``h' = tanh(o * m')``, else ``o * tanh(m')``.
    weights : sequence of sequence of tuple
        Weights by set, then by dimension; the same objects where they are shared.
    sizes : tuple of int
        n_1 ... n_N.
    set_steps : tuple of int
        Point p has the weights of set number ``sum of p[k] * set_steps[k]``.
    lengths : NDArray, optional
        Integers [B, N], 0 to n_k; all by default.
    """

    kinds: tuple[Activation, ...]
    phases: tuple[int, ...]
    tanh_outside: bool
    weights: Sequence[Sequence[Weights]]
    sizes: tuple[int, ...]
    set_steps: tuple[int, ...]
    lengths: NDArray[np.integer[Any]] | None = None

    @property
    def dims(self) -> int:
        """Number of dimensions."""
        return len(self.kinds)

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.weights[0][0][0].shape[1]) // self.dims

    def points(self) -> Iterator[Point]:
        """Visit the points in lexicographic order."""
        return product(*(range(size) for size in self.sizes))

    def set_of(self, p: Point) -> int:
        """Return the number of the set of weights at a point."""
        return sum(at * step for at, step in zip(p, self.set_steps, strict=True))

    def by_phase(self) -> list[int]:
        """Return the dimensions in the order in which a block works on them."""
        return sorted(range(self.dims), key=lambda k: self.phases[k])

    def reads_new(self, reader: int, k: int) -> bool:
        """Tell whether dimension `reader` takes h'_k, not h_k."""
        return self.phases[k] < self.phases[reader]

    def columns(self, k: int) -> slice:
        """Return the columns of W that meet h_k."""
        return slice(k * self.hidden_size, (k + 1) * self.hidden_size)

    def active(self, p: Point, B: int, but: int = -1) -> NDArray[np.bool_]:
        """Tell which rows have a point [B], whatever its coordinate `but`."""
        rows = np.ones(B, np.bool_)
        if self.lengths is not None:
            for k in range(self.dims):
                if k != but:
                    rows = rows & (p[k] < self.lengths[:, k])
        return rows


@dataclass(frozen=True)
class GridCache:
    """What `grid_forward` keeps.

    Parameters
    ----------
    grid : Grid
        What was run.
    h, m : list of Array
        By dimension k: [n_k + 1, the other sizes in order, B, H], steps first.
    gates : list of dict
        By dimension: arrays [n_1, ..., n_N, B, H] by letter, +0.0 where a row has no
        point; empty without memory.
    """

    grid: Grid
    h: list[Array]
    m: list[Array]
    gates: list[dict[str, Array]]


def line_of(p: Point, k: int) -> Point:
    """Return the line of a point along dimension k: its other coordinates."""
    return p[:k] + p[k + 1 :]


def point_forward(
    grid: Grid, a: Array, m_prev: Array
) -> tuple[Array, Array, dict[str, Array]]:
    """From ai, af, ag, ao, side by side in `a`, and m_prev to h, m and the gates."""
    ai, af, ag, ao = np.split(a, 4, axis=1)
    i = sigmoid(ai)
    f = sigmoid(af)
    g = tanh(ag)
    o = sigmoid(ao)
    m = flush(fma(f, m_prev, i * g))
    h = tanh(o * m) if grid.tanh_outside else o * tanh(m)
    return flush(h), m, {"i": i, "f": f, "g": g, "o": o}


def point_backward(
    grid: Grid, gates: dict[str, Array], states: tuple[Array, ...], dstates: Pair
) -> tuple[Array, Array]:
    """From dh and dm to dai, daf, dag, dao, side by side, and dm_prev.

    h = tanh(o*m):             s = dh * (1 - h*h)   do = s * m    dmt = dm + s * o
    h = o * y, y = tanh(m):                         do = dh * y
                                                    dmt = dm + dh * o * (1 - y*y)
    m = f * m_prev + i * g:    di = dmt * g         dg = dmt * i
                               df = dmt * m_prev    dm_prev = dmt * f
    each through its activation: sigmoid' = s * (1 - s), tanh' = 1 - g*g.
    """
    i, f, g, o = (gates[letter] for letter in "ifgo")
    m_prev, h, m = states
    dh, dm = dstates
    assert dm is not None
    if grid.tanh_outside:
        s = dh * fma(-h, h, 1)
        do = s * m
        dmt = fma(s, o, dm)
    else:
        y = tanh(m)
        do = dh * y
        dmt = fma(dh * o, fma(-y, y, 1), dm)
    dao = flush(do * (o * (1 - o)))
    dai = flush((dmt * g) * (i * (1 - i)))
    daf = flush((dmt * m_prev) * (f * (1 - f)))
    dag = flush((dmt * i) * fma(-g, g, 1))
    return np.concatenate([dai, daf, dag, dao], axis=1), flush(dmt * f)


def start_steps(grid: Grid, borders: Sequence[Pair], which: int) -> list[Array]:
    """Return h (`which` 0) or m (1) of all steps, with the near border filled in."""
    steps = []
    for k in range(grid.dims):
        border = borders[k][which]
        border = borders[k][0] if border is None else border
        steps.append(np.zeros((grid.sizes[k] + 1, *border.shape), border.dtype))
        steps[k][0] = border
    return steps


@np.errstate(all="ignore")
def grid_forward(
    grid: Grid, borders: Sequence[Pair]
) -> tuple[tuple[Pair, ...], GridCache]:
    """Run a grid from its near borders to its far ones.

    Parameters
    ----------
    grid : Grid
        What to run.
    borders : sequence of (Array, Array or None)
        By dimension, h and m at the near border: [the other sizes, B, H]; m is None in
        dimensions without memory.

    Returns
    -------
    ends : tuple of (Array, Array or None)
        Likewise at the far border.
    cache : GridCache
        For `grid_backward`.
    """
    N, H = grid.dims, grid.hidden_size
    B, dtype = borders[0][0].shape[-2], borders[0][0].dtype
    h, m = start_steps(grid, borders, 0), start_steps(grid, borders, 1)
    gates = [
        {letter: np.zeros((*grid.sizes, B, H), dtype) for letter in "ifgo"}
        if kind == "lstm"
        else {}
        for kind in grid.kinds
    ]
    for p in grid.points():
        rows = grid.active(p, B)
        old = [h[k][(p[k], *line_of(p, k))] for k in range(N)]
        new: dict[int, Array] = {}
        for k in grid.by_phase():
            step = (p[k] + 1, *line_of(p, k))
            m_prev = m[k][(p[k], *line_of(p, k))]
            W, b = grid.weights[grid.set_of(p)][k]
            Hc = [new[j] if grid.reads_new(k, j) else old[j] for j in range(N)]
            start = np.zeros(len(W), dtype) if b is None else b
            init = np.broadcast_to(start, (B, len(W)))
            a = chain(init, np.concatenate(Hc, axis=1), W)
            if grid.kinds[k] == "lstm":
                new[k], m_new, gates_new = point_forward(grid, a, m_prev)
                m[k][step] = np.where(rows[:, None], m_new, m_prev)
                for letter, gate in gates_new.items():
                    gates[k][letter][p][rows] = gate[rows]
            else:
                new[k] = flush(activate(grid.kinds[k], a))
            h[k][step] = np.where(rows[:, None], new[k], old[k])
    cache = GridCache(grid, h, m, gates)
    return tuple(far_border(cache, k) for k in range(N)), cache


def far_border(cache: GridCache, k: int) -> Pair:
    """Return h and m behind the last points, +0.0 on lines that a row does not have."""
    h = own_lines(cache.grid, k, cache.h[k][-1])
    m = own_lines(cache.grid, k, cache.m[k][-1])
    return h, m if cache.grid.kinds[k] == "lstm" else None


def own_lines(grid: Grid, k: int, border: Array) -> Array:
    """Return a border of dimension k, +0.0 on lines that a row does not have."""
    kept = np.zeros_like(border)
    for p in product(*(range(n) for n in line_of(grid.sizes, k))):
        rows = grid.active((*p[:k], 0, *p[k:]), border.shape[-2], but=k)
        kept[p][rows] = border[p][rows]
    return kept


def back_chain(
    grid: Grid, p: Point, k: int, da: list[Array], dh: Array | None
) -> Array:
    """Gradient of h'_k, which goes on from `dh`, or without one of h_k, from +0.0.

    One chain over the gate rows of all dimensions that have read it, dimensions
    ascending, each in storage order; flushed where there is any.
    """
    weights = grid.weights[grid.set_of(p)]
    is_new = dh is not None
    readers = [q for q in range(grid.dims) if grid.reads_new(q, k) == is_new]
    total = np.zeros((len(da[0][p]), grid.hidden_size), da[0].dtype)
    if dh is not None:
        total = dh
    for q in readers:
        total = chain(total, da[q][p], weights[q][0][:, grid.columns(k)].T)
    return flush(total) if readers else total


@np.errstate(all="ignore")
def grid_backward(
    cache: GridCache,
    dends: Sequence[Pair],
    dweights: Sequence[Sequence[Weights]] | None = None,
) -> tuple[tuple[Pair, ...], list[list[Weights]]]:
    """Back-propagate through a grid.

    Parameters
    ----------
    cache : GridCache
        From `grid_forward`.
    dends : sequence of (Array, Array or None)
        Gradients of the far borders.
    dweights : sequence of sequence of tuple, optional
        Gradients to add to, by set and dimension, changed in place; zeros by default.

    Returns
    -------
    dborders : tuple of (Array, Array or None)
        Gradients of the near borders.
    dweights : list of list of tuple
        Gradients of the weights, shaped like them; one array for weights that are one.
    """
    grid = cache.grid
    B = dends[0][0].shape[-2]
    dh = [own_lines(grid, k, dends[k][0]) for k in range(grid.dims)]
    dm = []
    for k in range(grid.dims):
        end = dends[k][1]
        dm.append(np.zeros_like(dh[k]) if end is None else own_lines(grid, k, end))
    da = [np.zeros((*grid.sizes, B, len(W)), W.dtype) for W, _ in grid.weights[0]]
    for p in reversed(list(grid.points())):
        rows = grid.active(p, B)
        for k in reversed(grid.by_phase()):
            line = line_of(p, k)
            dh_new = back_chain(grid, p, k, da, dh[k][line])
            h = cache.h[k][(p[k] + 1, *line)]
            if grid.kinds[k] == "lstm":
                gates = {letter: gate[p] for letter, gate in cache.gates[k].items()}
                m_prev, m = cache.m[k][(p[k], *line)], cache.m[k][(p[k] + 1, *line)]
                dstates = (dh_new, dm[k][line])
                da_k, dm_prev = point_backward(grid, gates, (m_prev, h, m), dstates)
                dm[k][line] = np.where(rows[:, None], dm_prev, dm[k][line])
            else:
                da_k = flush(dh_new * slope(grid.kinds[k], h))
            da[k][p][rows] = da_k[rows]
        for k in range(grid.dims):
            dh_prev = back_chain(grid, p, k, da, None)
            line = line_of(p, k)
            dh[k][line] = np.where(rows[:, None], dh_prev, dh[k][line])
    dborders = tuple(
        (dh[k], dm[k] if grid.kinds[k] == "lstm" else None) for k in range(grid.dims)
    )
    return dborders, weight_gradients(cache, da, dweights)


def weight_gradients(
    cache: GridCache, da: list[Array], dweights: Sequence[Sequence[Weights]] | None
) -> list[list[Weights]]:
    """Gradients of the weights: long sums over points, then batch rows.

    The points of a set in lexicographic order; one that a row does not have counts as
    +0.0 * +0.0.  Weights that are shared add up sets first to last, in a set dimensions
    first to last.
    """
    grid = cache.grid
    totals = [list(dimensions) for dimensions in dweights or new_gradients(grid)]
    for number, dimensions in enumerate(totals):
        for k, (dW, db) in enumerate(dimensions):
            a = of_set(grid, number, da[k])
            one = np.ones((len(a), 1), a.dtype)
            for j in range(grid.dims):
                read = of_set(grid, number, operand(cache, k, j))
                block = dW[:, grid.columns(j)]
                block[...] = long_sum(block, a, read)
            if db is not None:
                db[...] = long_sum(db[:, None], a, one)[:, 0]
    return totals


def new_gradients(grid: Grid) -> list[list[Weights]]:
    """Return zeros shaped like the weights, one array for weights that are one."""
    made: dict[int, Weights] = {}
    for dimensions in grid.weights:
        for W, b in dimensions:
            zero = np.zeros_like(W), None if b is None else np.zeros_like(b)
            made.setdefault(id(W), zero)
    return [[made[id(W)] for W, _ in dimensions] for dimensions in grid.weights]


def operand(cache: GridCache, k: int, j: int) -> Array:
    """Return what dimension k has read as h_j at all points, [n_1, ..., n_N, B, H]."""
    grid = cache.grid
    steps = slice(1, None) if grid.reads_new(k, j) else slice(0, -1)
    read = np.moveaxis(cache.h[j][steps], 0, j).copy()
    for p in grid.points():
        read[p][~grid.active(p, read.shape[-2])] = 0
    return read


def of_set(grid: Grid, number: int, values: Array) -> Array:
    """Return the rows of the points of a set, [points * B, ...]."""
    rows = [values[p] for p in grid.points() if grid.set_of(p) == number]
    if not rows:
        return np.zeros((0, values.shape[-1]), values.dtype)
    return np.concatenate(rows)
