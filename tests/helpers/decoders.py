"""Attention decoders: every setting, problems for them, and what the twin makes of one.

A problem is a dict of arrays as `forward` and `backward` take them, with NaN wherever
nothing may be read.
"""

import itertools

import numpy as np
from bits import as_tuple, random_array

import exactrnn as xr
from exactrnn import reference
from exactrnn.reference.cells import CELLS

# T, B, S, I, H, M, A
SMALL = {"T": 5, "B": 3, "S": 7, "I": 3, "H": 5, "M": 6, "A": 4}

SETTINGS = [
    {"cell": cell, "score": score, "query": query, "selector": selector}
    for cell, score, query, selector in itertools.product(
        ("gru", "gru_before", "lstm"),
        ("additive", "general", "dot"),
        ("previous", "new"),
        (False, True),
    )
]
"""All of them; `output` is "concat" with a selector or a new query."""

FEW_SETTINGS = [
    {**setting, "cell": ("gru", "gru_before", "lstm")[k % 3]}
    for k, setting in enumerate(SETTINGS[:12])
]
"""Every score, query and selector, with a cell for each in turn."""

PAPERS = {
    "bahdanau": {"cell": "gru_before"},
    "luong-general": {"cell": "lstm", "score": "general", "query": "new"},
    "luong-dot": {"cell": "lstm", "score": "dot", "query": "new"},
    "xu": {"cell": "lstm", "selector": True},
}


def spell(setting):
    """Return an id of a setting."""
    words = [str(setting.get(n, "")) for n in ("cell", "score", "query")]
    return "-".join([w for w in words if w] + ["selector"] * setting.get("selector", 0))


def make_decoder(setting, sizes, dtype="float64", seed=1):
    """Return a decoder of these sizes by letter."""
    own = dict(setting)
    is_additive = own.get("score", "additive") == "additive"
    wide = own.get("query") == "new" or own.get("selector", False)
    return xr.AttentionDecoder(
        own.pop("cell"),
        sizes["I"],
        sizes["H"],
        sizes["H"] if own.get("score") == "dot" else sizes["M"],
        attention_size=sizes["A"] if is_additive else None,
        output="concat" if wide else "state",
        dtype=dtype,
        seed=seed,
        **own,
    )


def draw_problem(decoder, sizes, seed=0, *, ragged=True):
    """Return a problem with rows of all lengths, memories of 0 places among them."""
    rng, dtype = np.random.default_rng(seed), decoder.dtype
    T, B, S = sizes["T"], sizes["B"], sizes["S"]

    def draw(*shape):
        return random_array(rng, shape, dtype)

    parts = 2 if decoder.cell == "lstm" else 1
    lead = (1, B, decoder.hidden_size)
    problem = {
        "x": draw(T, B, decoder.input_size),
        "memory": draw(S, B, decoder.memory_size),
        "state": [draw(*lead) for _ in range(parts)],
        "memory_lengths": None,
        "lengths": None,
        "dy": draw(T, B, decoder.output_size),
        "dstate": [draw(*lead) for _ in range(parts)],
        "dattention": draw(T, B, S),
    }
    for name in ("state", "dstate"):
        problem[name] = problem[name][0] if parts == 1 else tuple(problem[name])
    if ragged:
        steps, places = rng.integers(0, T + 1, B), rng.integers(0, S + 1, B)
        steps[0], places[0], places[-1] = T, S, 0
        problem |= {"lengths": steps, "memory_lengths": places}
        for b in range(B):
            problem["x"][steps[b] :, b] = np.nan
            problem["dy"][steps[b] :, b] = np.nan
            problem["memory"][places[b] :, b] = np.nan
            problem["dattention"][steps[b] :, b] = np.nan
            problem["dattention"][:, b, places[b] :] = np.nan
    return problem


def given_to(problem, *names):
    """Return those of a problem's arrays by name."""
    return {name: problem[name] for name in names}


def run_kernels(decoder, problem):
    """Return all results and gradients of the kernels by name."""
    given = given_to(problem, "x", "memory", "state", "memory_lengths", "lengths")
    y, state, cache = decoder.forward(**given)
    grads = decoder.backward(cache, **given_to(problem, "dy", "dstate", "dattention"))
    found = {"y": y, "attention": cache.gates["attention_l0"], "dx": grads.x}
    found["contexts"] = cache.contexts
    found |= {f"state {k}": part for k, part in enumerate(as_tuple(state))}
    found |= {f"dstate {k}": part for k, part in enumerate(as_tuple(grads.state))}
    return {**found, "dmemory": grads.memory, **grads.weights}


def twin_of(decoder):
    """Return direction and attention of the twin with the decoder's weights."""
    weights, spec = decoder.state_dict(), decoder._spec
    direction = reference.Direction(
        CELLS[spec.cell.cell],
        reference.Weights.of(spec.cell.engine_weights(weights, 0, 0)),
        spec.cell.activations,
    )
    own = reference.AttentionWeights(*spec.engine_weights(weights))
    return direction, reference.Attention(spec.score, spec.query, spec.selector, own)


def run_twin(decoder, problem):
    """Return the same of the twin."""
    H, spec = decoder.hidden_size, decoder._spec
    y, context, state, cache = reference.decoder_forward(
        *twin_of(decoder),
        problem["x"],
        problem["memory"],
        tuple(part[0] for part in as_tuple(problem["state"])),
        **given_to(problem, "memory_lengths", "lengths"),
    )
    dy, wide = problem["dy"], spec.output == "concat"
    grads = reference.decoder_backward(
        cache,
        dy[..., :H],
        dy[..., H:] if wide else None,
        tuple(part[0] for part in as_tuple(problem["dstate"])),
        dattention=problem["dattention"],
    )
    names = spec.cell.weight_groups[0][0]
    cell = {n: w for n, w in zip(names, grads.weights, strict=True) if n is not None}
    found = {"y": np.concatenate([y, context], axis=2) if wide else y}
    found["attention"] = np.stack([look.alpha for look in cache.looks])
    found |= {"dx": grads.x, "contexts": context}
    found |= {f"state {k}": part[None] for k, part in enumerate(state)}
    found |= {f"dstate {k}": part[None] for k, part in enumerate(grads.state)}
    own = spec.user_gradients(tuple(grads.attention))
    return {**found, "dmemory": grads.memory, **cell, **own}
