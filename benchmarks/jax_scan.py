"""Recurrent layers in JAX: `exactrnn.jax` beside `jax.lax.scan`, both under `jit`.

The scan is what one writes in JAX: the product of all inputs before it, one product and
the gates in each step. A call and a gradient of the weights are timed in turns on the
same arrays; what is reported are medians, and the ratio.

    python benchmarks/jax_scan.py
    taskset -c 1 python benchmarks/jax_scan.py --shapes 'lstm-1x*' --rounds 50
"""

import argparse
import json
import statistics
import time
from fnmatch import fnmatch

import jax
import jax.numpy as jnp
import numpy as np
from arguments import output

import exactrnn as xr
import exactrnn.jax as xrj

SHAPES = {
    f"{kind}-{B}x{T}x{H}": (kind, B, T, H)
    for kind in ("lstm", "gru")
    for B, T, H in ((1, 1, 64), (1, 100, 64), (16, 100, 64), (16, 100, 256))
}
"""Rows, steps, and units, which are as many as inputs."""


def scan_lstm(x, w):
    """Return y of an LSTM over x [T, B, I]."""

    def step(carry, sums):
        h, c = carry
        i, f, g, o = jnp.split(sums + h @ w["weight_hh_l0"].T, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    sums = x @ w["weight_ih_l0"].T + (w["bias_ih_l0"] + w["bias_hh_l0"])
    zeros = jnp.zeros((x.shape[1], w["weight_hh_l0"].shape[1]), x.dtype)
    return jax.lax.scan(step, (zeros, zeros), sums)[1]


def scan_gru(x, w):
    """Return y of a GRU over x [T, B, I]."""

    def step(h, sums):
        recurrent = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        r_x, z_x, n_x = jnp.split(sums, 3, axis=-1)
        r_h, z_h, n_h = jnp.split(recurrent, 3, axis=-1)
        r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
        n = jnp.tanh(n_x + r * n_h)
        h = n + z * (h - n)
        return h, h

    sums = x @ w["weight_ih_l0"].T + w["bias_ih_l0"]
    zeros = jnp.zeros((x.shape[1], w["weight_hh_l0"].shape[1]), x.dtype)
    return jax.lax.scan(step, zeros, sums)[1]


def ours_lstm(x, w):
    return xrj.lstm(x, w)[0]


def ours_gru(x, w):
    return xrj.gru(x, w)[0]


PAIRS = {"lstm": (scan_lstm, ours_lstm), "gru": (scan_gru, ours_gru)}


def gradient_of(function):
    return jax.jit(jax.grad(lambda x, w: (function(x, w) ** 2).sum(), argnums=1))


def timed(function, x, weights):
    start = time.perf_counter()
    jax.block_until_ready(function(x, weights))
    return time.perf_counter() - start


def measure(name, rounds):
    """Return median times in µs: scan and ours, of a call and of a gradient."""
    kind, B, T, H = SHAPES[name]
    layer = {"lstm": xr.LSTM, "gru": xr.GRU}[kind](H, H, seed=1)
    weights = jax.tree.map(jnp.asarray, layer.state_dict())
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((T, B, H), np.float32))
    functions = [jax.jit(f) for f in PAIRS[kind]]
    functions += [gradient_of(f) for f in PAIRS[kind]]
    scanned, ours = (np.asarray(f(x, weights)) for f in functions[:2])
    assert np.abs(scanned - ours).max() < 1e-5
    times = [[] for _ in functions]
    for number in range(rounds + 3):
        order = range(4) if number % 2 else reversed(range(4))
        for k in order:
            times[k].append(timed(functions[k], x, weights))
    return [1e6 * statistics.median(found[3:]) for found in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--isa", help="instruction set of exactrnn: see xr.isas()")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    if parsed.isa:
        xr.use_isa(parsed.isa)
    found = {}
    print(f"{xr.isa()}, jax {jax.__version__}; µs")
    print("| kind-BxTxH | scan | ours | ratio | grad: scan | ours | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in SHAPES:
        if any(fnmatch(name, pattern) for pattern in parsed.shapes):
            one, two, three, four = found[name] = measure(name, parsed.rounds)
            print(
                f"| {name} | {one:.0f} | {two:.0f} | {one / two:.2f} | {three:.0f} | "
                f"{four:.0f} | {three / four:.2f} |"
            )
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
