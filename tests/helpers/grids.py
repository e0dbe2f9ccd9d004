"""Random grids, and their results by the kernels and by the twin, by name."""

from itertools import product
from math import prod

import numpy as np
from bits import random_array
from hypothesis import strategies as st

from exactrnn import _core
from exactrnn._spec.activations import with_parameters
from exactrnn.reference import grid as twin


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


def run_twin(grid, borders, dends, dweights=None):
    """Forward and backward by the twin: every result by name."""
    ends, cache = twin.grid_forward(grid, borders)
    dborders, dweights = twin.grid_backward(cache, dends, dweights)
    results = {}
    by_name(results, "end", ends)
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


def pack_grid(grid, isa):
    """Return the grid's weights packed, shared ones once."""
    dtype = grid.weights[0][0][0].dtype.name
    kinds = tuple(k if k == "lstm" else with_parameters(k) for k in grid.kinds)
    block = _core.GridBlock(
        isa, dtype, grid.hidden_size, kinds, grid.phases, grid.tanh_outside
    )
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


def run_kernel(grid, borders, dends, isa, threads, dweights=None):
    """Forward and backward by the kernels: the names of `run_twin`."""
    B = borders[0][0].shape[-2]
    packs = pack_grid(grid, isa)
    shape = (grid.sizes, B, grid.set_steps)
    lengths = None if grid.lengths is None else np.asarray(grid.lengths, np.int64)
    ends, alone = empty_like(borders), empty_like(borders)
    cache = _core.grid_forward(packs, shape, borders, ends, lengths, threads, True)
    _core.grid_forward(packs, shape, borders, alone, lengths, threads, False)
    assert_equal_pairs(ends, alone)
    dborders = empty_like(borders)
    if dweights is None:
        dweights = twin.new_gradients(grid)
    arrays = tuple(tuple(dims) for dims in dweights)
    _core.grid_backward(packs, cache, dends, dborders, arrays)
    results = {}
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
