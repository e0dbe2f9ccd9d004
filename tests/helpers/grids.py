"""Random grids, and their results by the kernels and by the twin, by name."""

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from bits import random_array
from hypothesis import strategies as st

from exactrnn import _core
from exactrnn._spec.activations import with_parameters
from exactrnn.reference import grid as twin
from exactrnn.reference.dense import linear_backward, linear_forward


def set_steps(sizes, unshared):
    """Return how the number of a point's set grows along each dimension."""
    steps, step = [], 1
    for k in reversed(range(len(sizes))):
        steps.insert(0, step if k in unshared else 0)
        step *= sizes[k] if k in unshared else 1
    return tuple(steps)


def make_weights(rng, kinds, H, sets, dtype, *, bias=True, tied=False, scale=0.6):
    """Return weights by set and dimension; one pair for all dimensions if `tied`."""
    weights = []
    for _ in range(sets):
        pairs = []
        for kind in kinds:
            G = 4 if kind == "lstm" else 1
            W = random_array(rng, (G * H, len(kinds) * H), dtype, scale)
            pairs.append((W, random_array(rng, (G * H,), dtype) if bias else None))
        weights.append(tuple(pairs[:1] * len(kinds) if tied else pairs))
    return weights


def make_grid(sizes, H, **options):
    """Return a grid of the twin with random weights.

    Options: kinds, phases, tanh_outside, unshared, tied, bias, lengths, dtype, seed.
    """
    kinds = options.get("kinds", ("lstm",) * len(sizes))
    dtype = options.get("dtype", "float64")
    unshared = options.get("unshared", ())
    rng = np.random.default_rng(options.get("seed", 0))
    weights = make_weights(
        rng,
        kinds,
        H,
        prod(sizes[k] for k in unshared),
        dtype,
        bias=options.get("bias", True),
        tied=options.get("tied", False),
    )
    return twin.Grid(
        kinds,
        options.get("phases", (0,) * len(sizes)),
        options.get("tanh_outside", True),
        weights,
        tuple(sizes),
        set_steps(sizes, unshared),
        options.get("lengths"),
    )


KINDS = ("lstm", "lstm", "tanh", "sigmoid", "softsign", "hard_sigmoid", "identity")
KINDS += (("elu", 0.5), ("scaled_tanh", 1.5, 0.75))


@st.composite
def any_grid(draw, size, H, dtype="float64"):
    """Any combination of the options, in at most three dimensions, for 2 batch rows."""
    dims = draw(st.integers(1, 3))
    tied = draw(st.booleans())
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=dims, max_size=dims))
    order = draw(st.permutations(range(dims)))[: draw(st.integers(0, dims))]
    lengths = None
    if draw(st.booleans()):
        row = st.lists(st.integers(0, size), min_size=dims, max_size=dims)
        lengths = np.array([draw(row), draw(row)])
    return make_grid(
        (size,) * dims,
        H,
        kinds=(draw(st.sampled_from(["lstm", "tanh"])),) * dims
        if tied
        else tuple(kinds),
        phases=tuple(order.index(k) + 1 if k in order else 0 for k in range(dims)),
        tanh_outside=draw(st.booleans()),
        unshared=tuple(k for k in range(dims) if draw(st.booleans())),
        tied=tied,
        bias=draw(st.booleans()),
        lengths=lengths,
        dtype=dtype,
        seed=draw(st.integers(0, 99)),
    )


def random_borders(rng, grid, B, scale=0.5):
    """Return random (h, m) at one border of every dimension."""
    dtype = grid.weights[0][0][0].dtype
    pairs = []
    for k, kind in enumerate(grid.kinds):
        shape = (*twin.line_of(grid.sizes, k), B, grid.hidden_size)
        h = random_array(rng, shape, dtype, scale)
        m = random_array(rng, shape, dtype, scale) if kind == "lstm" else None
        pairs.append((h, m))
    return tuple(pairs)


@dataclass
class Side:
    """An input at the near side of dimension `k`, and its linear map: W, b or None."""

    k: int
    x: np.ndarray
    W: np.ndarray
    b: np.ndarray | None

    def border(self, grid):
        """Return (h, m) by the twin."""
        H = grid.hidden_size
        y = linear_forward(self.x.reshape(-1, self.x.shape[-1]), self.W, self.b)
        parts = [y[:, at : at + H] for at in range(0, y.shape[1], H)]
        h, *m = (part.reshape(*self.x.shape[:-1], H) for part in parts)
        return h, m[0] if m else None

    def gradients(self, dborder):
        """Return dx, dW and db by the twin, from zeros."""
        parts = [part.reshape(-1, part.shape[-1]) for part in dborder]
        x = self.x.reshape(-1, self.x.shape[-1])
        dW = np.zeros_like(self.W)
        db = None if self.b is None else np.zeros_like(self.b)
        dy = np.concatenate(parts, axis=1)
        dx, dW, db = linear_backward(x, self.W, dy, dW, db)
        return dx.reshape(self.x.shape), dW, db


def random_sides(rng, grid, B, widths, *, bias=True):
    """Return a side for each dimension that has a width; zeros where no row has a line.

    `widths` are by dimension, None without input.
    """
    sides, dtype = [], grid.weights[0][0][0].dtype
    for k, width in enumerate(widths):
        if width is None:
            continue
        x = random_array(rng, (*twin.line_of(grid.sizes, k), B, width), dtype)
        x[~lines_of(grid, k, B)] = 0
        rows = (2 if grid.kinds[k] == "lstm" else 1) * grid.hidden_size
        W = random_array(rng, (rows, width), dtype)
        b = random_array(rng, (rows,), dtype) if bias else None
        sides.append(Side(k, x, W, b))
    return tuple(sides)


def lines_of(grid, k, B):
    """Return which lines of a dimension each row has: [the other sizes, B]."""
    mask = np.ones((*twin.line_of(grid.sizes, k), B), bool)
    others = [j for j in range(grid.dims) if j != k]
    for *place, b in np.ndindex(mask.shape):
        if grid.lengths is not None:
            lengths = grid.lengths[b]
            mask[(*place, b)] = all(
                at < lengths[j] for at, j in zip(place, others, strict=True)
            )
    return mask


def sides_by_name(results, number, gradients):
    for name, array in zip(("dx", "dW", "db"), gradients, strict=True):
        if array is not None:
            results[f"side {number} {name}"] = array


def by_name(results, name, pairs, letters="hm"):
    """Add the arrays of pairs to `results` under names such as `end h0`."""
    for k, pair in enumerate(pairs):
        for letter, part in zip(letters, pair, strict=True):
            if part is not None:
                results[f"{name} {letter}{k}"] = part


def weights_by_name(results, dweights):
    for number, dimensions in enumerate(dweights):
        by_name(results, f"set {number}", dimensions, ("dW", "db"))


def kept_by_name(results, grid, B, gates, states):
    """Add gates and states, +0.0 where a row has no point."""
    mask = np.zeros((*grid.sizes, B), bool)
    for p in product(*(range(n) for n in grid.sizes)):
        mask[p] = grid.active(p, B)
    for k in range(grid.dims):
        for letter, gate in gates(k).items():
            results[f"gate {letter}{k}"] = np.where(
                mask[..., None], gate, gate.dtype.type(0)
            )
        for letter, steps in zip("hm", states(k), strict=True):
            if steps is not None:
                points = np.moveaxis(steps[1:], 0, k)
                points = np.where(mask[..., None], points, points.dtype.type(0))
                results[f"point {letter}{k}"] = points


def run_twin(grid, borders, dends, dweights=None, sides=()):
    """Forward and backward by the twin: every result by name."""
    borders = list(borders)
    for side in sides:
        borders[side.k] = side.border(grid)
    ends, cache = twin.grid_forward(grid, borders)
    dborders, dweights = twin.grid_backward(cache, dends, dweights)
    results = {}
    by_name(results, "end", ends)
    for number, side in enumerate(sides):
        dborder = [part for part in dborders[side.k] if part is not None]
        sides_by_name(results, number, side.gradients(dborder))
        dborders = (*dborders[: side.k], (None, None), *dborders[side.k + 1 :])
    by_name(results, "dborder", dborders)
    weights_by_name(results, dweights)
    memory = [kind == "lstm" for kind in grid.kinds]
    kept_by_name(
        results,
        grid,
        borders[0][0].shape[-2],
        lambda k: cache.gates[k],
        lambda k: (cache.h[k], cache.m[k] if memory[k] else None),
    )
    return results


def grid_block(grid, isa, sides=()):
    """Return what a block of the grid is to the kernels."""
    dtype = grid.weights[0][0][0].dtype.name
    kinds = tuple(k if k == "lstm" else with_parameters(k) for k in grid.kinds)
    widths = {side.k: side.x.shape[-1] for side in sides}
    return _core.GridBlock(
        isa,
        dtype,
        grid.hidden_size,
        kinds,
        grid.phases,
        grid.tanh_outside,
        tuple(widths.get(k) for k in range(grid.dims)),
    )


def pack_grid(grid, block):
    """Return the grid's weights packed, shared ones once."""
    made = {}
    for dimensions in grid.weights:
        for k, (W, b) in enumerate(dimensions):
            if id(W) not in made:
                made[id(W)] = _core.grid_pack(block, k, W, b, True)
    return tuple(tuple(made[id(W)] for W, _ in dims) for dims in grid.weights)


def empty_like(pairs):
    """Return arrays like those of `pairs`, filled with NaN."""
    return tuple(
        tuple(None if part is None else np.full_like(part, np.nan) for part in pair)
        for pair in pairs
    )


def run_kernel(grid, borders, dends, isa, threads, dweights=None, sides=()):
    """Forward and backward by the kernels: the names of `run_twin`."""
    B = borders[0][0].shape[-2]
    block = grid_block(grid, isa, sides)
    sets = pack_grid(grid, block)
    packed = tuple(_core.grid_pack_side(block, s.k, s.W, s.b, True) for s in sides)
    inputs = tuple(side.x for side in sides)
    lengths = None if grid.lengths is None else np.asarray(grid.lengths, np.int64)
    ends, alone = empty_like(borders), empty_like(borders)

    def forward(to, keep):
        sweep = _core.GridSweep(grid.sizes, B, grid.set_steps, lengths, threads, keep)
        return _core.grid_forward(sets, packed, sweep, inputs, borders, to)

    cache = forward(ends, keep=True)
    forward(alone, keep=False)
    assert_equal_pairs(ends, alone)
    dborders = list(empty_like(borders))
    dsides = []
    for side in sides:
        dborders[side.k] = (None, None)
        zeros = None if side.b is None else np.zeros_like(side.b)
        dsides.append((np.zeros_like(side.W), zeros))
    dinputs = tuple(np.full_like(x, np.nan) for x in inputs)
    if dweights is None:
        dweights = twin.new_gradients(grid)
    arrays = tuple(tuple(dims) for dims in dweights)
    wanted = _core.GridGradients(dinputs, tuple(dborders), arrays, tuple(dsides))
    _core.grid_backward(sets, packed, cache, inputs, dends, wanted)
    results = {}
    for number, (dx, pair) in enumerate(zip(dinputs, dsides, strict=True)):
        sides_by_name(results, number, (dx, *pair))
    by_name(results, "end", ends)
    by_name(results, "dborder", dborders)
    weights_by_name(results, arrays)
    kept_by_name(results, grid, B, cache.gates, cache.states)
    return results


def assert_equal_pairs(first, second):
    """Inference, which keeps nothing, gives the bits of training."""
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None)
            assert a is None or a.tobytes() == b.tobytes()
