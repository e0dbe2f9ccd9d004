"""What the fuzzer calls of attention decoders.

Each function gives what `fuzzed.py` makes a `Case` of.
"""

import functools

import exactrnn as xr

T, B, I, H = 4, 3, 2, 6


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
    given = decoder_given(decoder, source)
    return {"arguments": given, "make": decoder, "memory": decoder.state_dict}


def decoder_backward(source):
    decoder = decoder_of(source)
    given = decoder_given(decoder, source)
    y, state, cache = decoder.forward(**given)
    arguments = {"dy": source(*y.shape), "dstate": state}
    arguments["dattention"] = source(T, B, 5)

    def make(**given):
        return decoder.backward(cache, **given)

    return {"arguments": arguments, "make": make, "memory": decoder.state_dict}


def decoder_step(source):
    decoder = decoder_of(source)
    given = decoder_given(decoder, source)
    arguments = {name: given[name] for name in ("memory", "memory_lengths")}
    arguments |= {"x": source(B, I), "state": given["state"]}

    def make(x, state, **known):
        stream = decoder.stream(**known)
        stream.state = state
        return stream.step(x), stream.state

    return {"arguments": arguments, "make": make, "memory": decoder.state_dict}


BUILDS = (decoder_call, decoder_backward, decoder_step)
