"""What the fuzzer calls of training: losses with lengths and weights, data in batches.

Each function gives what `fuzzed.py` makes a `Case` of.
"""

import itertools

import exactrnn as xr
from exactrnn import train

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
    arguments = {
        "x": source(T, 7, I),
        "y": source(T, 7, 2),
        "size": 3,
        "seed": 1,
        "lengths": source.integers(0, T + 1, 7),
        "weights": source(7),
    }

    def make(**given):
        return [
            tuple(part for part in batch if part is not None)
            for batch in itertools.islice(train.batches(**given), MANY)
        ]

    return {"arguments": arguments, "make": make}


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


# Attention


@functools.cache
def cached_decoder(cell, dtype, query):
    return xr.AttentionDecoder(
        cell, I, H, 3, query=query, output="concat", selector=True, dtype=dtype, seed=1
    )


def decoder_of(source):
    cell, query = ("gru", "lstm")[source.coin()], ("previous", "new")[source.coin()]
    return cached_decoder(cell, source.dtype, query)


def decoder_given(decoder, source):
    """Return x, a memory, a state and lengths of both."""
    parts = 1 + (decoder.cell == "lstm")
    state = tuple(source(1, B, H) for _ in range(parts))
    return {
        "x": source(T, B, I),
        "memory": source(5, B, 3),
        "state": state if parts > 1 else state[0],
        "memory_lengths": source.integers(0, 6, B),
        "lengths": source.integers(0, T + 1, B),
    }


def decoder_call(source):
    decoder = decoder_of(source)
    return Case(decoder_given(decoder, source), decoder, weights_of(decoder))


def decoder_backward(source):
    decoder = decoder_of(source)
    given = decoder_given(decoder, source)
    y, state, cache = decoder.forward(**given)
    arguments = {"dy": source(*y.shape), "dstate": state}
    arguments["dattention"] = source(T, B, 5)

    def make(**given):
        return decoder.backward(cache, **given)

    return Case(arguments, make, weights_of(decoder))


def decoder_step(source):
    decoder = decoder_of(source)
    given = decoder_given(decoder, source)
    arguments = {name: given[name] for name in ("memory", "memory_lengths")}
    arguments |= {"x": source(B, I), "state": given["state"]}

    def make(x, state, **known):
        stream = decoder.stream(**known)
        stream.state = state
        return stream.step(x), stream.state

    return Case(arguments, make, weights_of(decoder))


def streams_of_text(source):
    arguments = {"sequence": source.integers(0, 9, 30), "batch_size": 2, "length": 5}

    def make(**given):
        found = train.stream_batches(**given)
        return [tuple(chunk) for chunk in itertools.islice(found, MANY)]

    return {"arguments": arguments, "make": make}


BUILDS = (
    *(more_losses, likelihoods, cut_series, cut_batches),
    *(chunks, streams_of_text),
)
