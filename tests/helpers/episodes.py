"""Masks and resets in tests: random ones, and what they mean, by hand.

`run_by_hand` cuts every row with plain loops, runs the episodes as batches with lengths
and puts everything back, as src/exactrnn/_run/episodes.py says it.
"""

import numpy as np
from bits import as_state, as_tuple, collect, random_problem
from variants import NETWORKS, VARIANTS, make_layer

import exactrnn as xr

GRIDS = {
    "grid": {},
    "grid-shared": {"shared": True, "priority": "time"},
    "grid-without-memory": {"depth": "tanh", "priority": "none"},
}
NAMES = (*NETWORKS, *VARIANTS, *GRIDS)
POISONS = {
    "float32": np.array(0x7FA00001, np.uint32).view(np.float32),
    "float64": np.array(0x7FF4000000000001, np.uint64).view(np.float64),
}
"""Signalling NaN: reading one is seen in every result that it reaches."""


def make_any(name, input_size, hidden_size, *, seed=0, **options):
    """Return a layer of a cell or variant, or a grid of time and depth, by name."""
    if name in GRIDS:
        own = {"seed": seed, **GRIDS[name], **options}
        return xr.TimeDepthGridLSTM(input_size, hidden_size, **own)
    return make_layer(name, input_size, hidden_size, seed=seed, **options)


def draw_steps(rng, T, B):
    """Return mask, resets and lengths: some rows without holes, without steps."""
    mask = rng.random((T, B)) < rng.choice([0.2, 0.8, 1.0], B)
    resets = rng.random((T, B)) < rng.choice([0.0, 0.1, 0.5, 1.0], B)
    return {"mask": mask, "resets": resets, "lengths": rng.integers(0, T + 1, B)}


def episode_problem(layer, T, B, seed=0):
    """Return the arguments of `run_layer`, with resets, and poison in holes."""
    problem = random_problem(layer, T, B, seed=seed)
    problem |= draw_steps(np.random.default_rng(seed), T, B)
    holes = ~taken_steps(problem)
    for name in ("x", "dy"):
        problem[name][holes] = POISONS[layer.dtype.name]
    return problem


def taken_steps(problem):
    """Return which steps [T, B] are not masked and not past a row's length."""
    T, B, _ = problem["x"].shape
    mask, lengths = problem.get("mask"), problem.get("lengths")
    mask = np.ones((T, B), bool) if mask is None else mask
    return mask if lengths is None else mask & (np.arange(T)[:, None] < lengths)


def run_layer(layer, x, state, dy, dstate, **steps):
    """Return all results of forward and backward by name."""
    y, final, cache = layer.forward(x, state, **steps)
    return collect(y, final, layer.backward(cache, dy, dstate), {})


def run_twin(layer, x, state, dy, dstate, **steps):
    """The same by the NumPy reference."""
    y, final, cache = xr.reference.forward(layer, x, state, **steps)
    gradients = xr.reference.backward(layer, cache, dy, dstate)
    return collect(y, final, gradients, {})


def cut_rows(problem):
    """Return for each row its episodes, which are lists of times."""
    taken, resets = taken_steps(problem), problem["resets"]
    rows = []
    for b in range(taken.shape[1]):
        lengths = problem["lengths"]
        end = len(taken) if lengths is None else lengths[b]
        episodes = [[]]
        for t in range(end):
            if resets[t, b]:
                episodes.append([])
            if taken[t, b]:
                episodes[-1].append(t)
        rows.append(episodes)
    return rows


def group_episodes(rows):
    """Return groups of episodes (row, number, times) in the order of the definition."""
    groups = [[(b, 0, episodes[0]) for b, episodes in enumerate(rows)]]
    later = [
        (b, n, times)
        for b, episodes in enumerate(rows)
        for n, times in enumerate(episodes)
        if n > 0 and times
    ]
    sizes = sorted({len(times).bit_length() for _, _, times in later}, reverse=True)
    groups += [[e for e in later if len(e[2]).bit_length() == size] for size in sizes]
    return groups


def run_by_hand(layer, **problem):
    """Return the same as `run_layer`, all of it by runs with lengths alone."""
    x, dy = problem["x"], problem["dy"]
    rows, config = cut_rows(problem), layer._spec
    back = [config.runs_back(d) for d in range(config.directions)] * config.num_layers
    floats = slice(None, -1 if config.counts_steps else None)
    state = as_tuple(problem["state"])
    clock = state[-1] if config.counts_steps else None
    state, dstate = state[floats], as_tuple(problem["dstate"])
    y, dx = np.zeros_like(dy), np.zeros_like(x)
    final, dinitial = ([np.zeros_like(s) for s in state] for _ in "01")
    moved = np.full(x.shape[1], config.phase)
    dweights = {}
    for group in group_episodes(rows):
        own = [([], []) for _ in "01"]  # of each direction: (slot, row) at its ends
        for slot, (b, number, _) in enumerate(group):
            if number == 0:
                own[0][0].append((slot, b))
                own[1][1].append((slot, b))
            if number == len(rows[b]) - 1:
                own[0][1].append((slot, b))
                own[1][0].append((slot, b))
        B, T = len(group), max(len(times) for _, _, times in group)
        part = {"x": np.zeros((T, B, x.shape[2]), x.dtype)}
        part["dy"] = np.zeros((T, B, dy.shape[2]), dy.dtype)
        for slot, (b, _, times) in enumerate(group):
            for name in ("x", "dy"):
                part[name][: len(times), slot] = problem[name][times, b]
        begins = [np.zeros((len(back), B, s.shape[2]), s.dtype) for s in state]
        ends = [np.zeros_like(s) for s in begins]
        move(state, begins, back, own, 0, to_rows=False)
        move(dstate, ends, back, own, 1, to_rows=False)
        clocks = np.full(B, config.phase)
        for slot, b in own[back[0]][0]:
            clocks[slot] = clock[b] if config.counts_steps else 0
        lengths = np.array([len(times) for _, _, times in group])
        part["state"] = (begins[0], clocks) if config.counts_steps else as_state(begins)
        found = run_layer(layer, **part, dstate=as_state(ends), lengths=lengths)
        for slot, (b, _, times) in enumerate(group):
            y[times, b] = found["y"][: len(times), slot]
            dx[times, b] = found["dx"][: len(times), slot]
        results = [found[f"state{k}"] for k in range(len(state))]
        move(results, final, back, own, 1, to_rows=True)
        for slot, b in own[back[0]][1]:
            moved[b] = clocks[slot] + lengths[slot]
        results = [found[f"dstate{k}"] for k in range(len(state))]
        move(results, dinitial, back, own, 0, to_rows=True)
        for name in layer.state_dict():
            dw = found[f"d{name}"]
            dweights[name] = dweights[name] + dw if name in dweights else dw
    results = {"y": y, "dx": dx} | {f"state{k}": s for k, s in enumerate(final)}
    if config.counts_steps:
        results[f"state{len(state)}"] = moved
    results |= {f"dstate{k}": s for k, s in enumerate(dinitial)}
    return results | {f"d{name}": dw for name, dw in dweights.items()}


def move(source, target, back, own, end, *, to_rows):
    """Copy the states at one end of each direction, from rows to slots or back."""
    for index, is_back in enumerate(back):
        for slot, b in own[is_back][end]:
            here, there = (slot, b) if to_rows else (b, slot)
            for from_, to in zip(source, target, strict=True):
                to[index, there] = from_[index, here]
