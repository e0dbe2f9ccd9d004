"""What the fuzzer calls of training: losses with lengths and weights, data in batches.

Each function gives what `fuzzed.py` makes a `Case` of.
"""

import itertools

import exactrnn as xr
from exactrnn import distributed, train

T, B, I, H = 4, 3, 2, 6
MANY = 20
"""Chunks that are asked of an iterator, which may have billions."""


def more_losses(source):
    loss = (
        *(train.softmax_cross_entropy, train.mean_squared_error, train.huber_loss),
        *(train.mean_absolute_error, train.binary_cross_entropy),
    )[source.integers(0, 5)]
    own = loss is train.softmax_cross_entropy
    target = source.integers(-1, 5, T, B) if own else source(T, B, 5)
    arguments = {
        "y": source(T, B, 5),
        "target": target,
        "lengths": source.integers(0, T + 1, B),
        "weights": abs(source(T, B)),
    }

    def make(y, target, **more):
        return loss(y, target, **more)

    return {"arguments": arguments, "make": make, "words": ("logits", "targets")}


def likelihoods(source):
    arguments = {"y": source(T, B, 6), "target": source(T, B, 3)}
    return {"arguments": arguments, "make": train.gaussian_likelihood}


def cut_series(source):
    arguments = {"series": source(20, 2), "length": 4, "horizon": 2, "stride": 3}
    return {"arguments": arguments, "make": train.windows}


def cut_batches(source):
    axes = ((1, 1, 0), 1) if source.integers(0, 2) else (1, 1)
    x = source(T, 7, I)
    arguments = {
        "x": x if axes == (1, 1) else [x, source(2, 7), source(7)],
        "y": source(T, 7, 2),
        "size": 3,
        "seed": 1,
        "lengths": source.integers(0, T + 1, 7),
        "weights": source(7),
    }

    def make(**given):
        return [
            tuple(part for part in batch if part is not None)
            for batch in itertools.islice(train.batches(**given, axes=axes), MANY)
        ]

    return {"arguments": arguments, "make": make}


def side_by_side(source):
    arguments = {"sequences": [source(3, I), source(0, I), source(5, I)]}
    return {"arguments": arguments, "make": train.pad}


def cut_ragged(source):
    arguments = {
        "examples": [source(n, I) for n in range(7)],
        "size": 3,
        "seed": 1,
        "lengths": source.integers(0, T + 1, 7),
    }

    def make(examples, **given):
        data = train.ragged_batches(examples, train.pad, **given)
        return list(itertools.islice(data, MANY))

    return {"arguments": arguments, "make": make, "words": ("sequences",)}


def searched(source):
    embedding = train.Embedding(5, I, dtype=source.dtype, seed=1)
    layer = xr.GRU(I, H, dtype=source.dtype, seed=1)
    readout = train.Linear(H, 5, dtype=source.dtype, seed=1)
    arguments = {"start": 0, "end": 1, "max_length": 3, "beam_width": 2, "nbest": 2}

    def make(max_length, **given):
        found = train.beam_search(
            *(layer.stream(4), embedding, readout),
            **given,
            max_length=min(max_length, MANY) if type(max_length) is int else max_length,
        )
        return [(r.labels, r.score, r.ended) for results in found for r in results]

    return {"arguments": arguments, "make": make, "words": ("index",)}


def chunks(source):
    layer = xr.GRU(I, H, seed=1, dtype=source.dtype)
    arguments = {
        "x": source(2 * T, B, I),
        "length": 2,
        "depth": 4,
        "state": source(1, B, H),
    }

    def make(**given):
        found = train.truncated_bptt(layer, **given)
        return [chunk.y for chunk in itertools.islice(found, MANY)]

    return {"arguments": arguments, "make": make}


def streams_of_text(source):
    arguments = {"sequence": source.integers(0, 9, 30), "batch_size": 2, "length": 5}

    def make(**given):
        found = train.stream_batches(**given)
        return [tuple(chunk) for chunk in itertools.islice(found, MANY)]

    return {"arguments": arguments, "make": make}


def mapped(source):
    layer = xr.GRU(I, H, seed=1, dtype=source.dtype)
    arguments = {
        "source": source(7, T, I),
        "memory": 2000,
        "threads": 1,
        "returns": "both",
        "on_error": "raise",
        "column": None,
        "progress": False,
    }

    def make(**given):
        found = distributed.map_sequences(layer, **given)
        results = [one[1:] for one in itertools.islice(found, MANY)]
        return [tuple(p for p in parts if p is not None) for parts in results]

    return {"arguments": arguments, "make": make}


BUILDS = (
    *(more_losses, likelihoods, cut_series, cut_batches),
    *(side_by_side, cut_ragged, searched),
    *(chunks, streams_of_text, mapped),
)
