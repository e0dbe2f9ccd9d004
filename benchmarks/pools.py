"""Calls in turn with those of other libraries that have threads of their own.

    python benchmarks/pools.py
    python benchmarks/pools.py --threads 2 --others onnxruntime --seconds 2

A program that uses two libraries has two pools, and an idle worker of ONNX Runtime or
OpenMP spins for a while after a call, on a core that a worker of ours is to share. So
each call of exactrnn comes directly after one of the other library, with one thread
and with `--threads` in turns of 20 calls, whose order is drawn. `nothing` has no call
before ours. Times are of single calls of ours; `one / more` is the mean time with one
thread divided by the mean with more, which is to be nowhere below 0.95.
"""

import argparse
import itertools
import json
import random
import time

import numpy as np
import shapes
from arguments import output, positive_float

import exactrnn as xr
from exactrnn.bench.control import PERCENTILES
from exactrnn.bench.measure import pinned
from exactrnn.bench.rivals import load_rivals
from exactrnn.bench.rows import make_problem

OTHERS = ("onnxruntime", "torch", "openvino")
SIZES = ((100, 1, 128), (100, 1, 256), (100, 8, 128), (100, 16, 256))
TURN = 20  # calls with one number of threads, half of them to settle
SECONDS = 1.0
ROWS = shapes.square("forward", ("lstm",), SIZES)


def do_nothing():
    """Be what comes before a call where no other library does."""


def time_turn(own, other, calls):
    """Return the seconds of each of some calls of ours behind calls of another."""
    seconds = []
    for _ in range(calls):
        other()
        begin = time.perf_counter()
        own()
        seconds.append(time.perf_counter() - begin)
    return seconds


def measure(own, other, threads, seconds):
    """Return the seconds of single calls of ours, by number of threads."""
    found = {number: [] for number in (1, threads)}
    order, spent = random.Random(0), 0.0
    while spent < seconds * len(found):
        for number in order.sample(list(found), len(found)):
            xr.set_num_threads(number)
            begin = time.perf_counter()
            time_turn(own, other, TURN // 2)
            found[number] += time_turn(own, other, TURN // 2)
            spent += time.perf_counter() - begin
    return found


def summarise(row, name, found):
    """Return a row of results, in µs."""
    result = {"row": row.name, "after": name}
    for number, seconds in found.items():
        times = np.array(seconds) * 1e6
        figures = {f"p{p}": np.percentile(times, p) for p in PERCENTILES}
        result[number] = {"mean": times.mean(), **figures}
    one, more = (result[number]["mean"] for number in found)
    return result | {"ratio": one / more}


def line_of(result, threads):
    """Return a line of the table."""
    cells = [result["row"], result["after"]]
    for number in (1, threads):
        figures = result[number]
        cells.append(" / ".join(f"{figures[f'p{p}']:.0f}" for p in PERCENTILES))
    return f"| {' | '.join(cells)} | {result['ratio']:.2f} |"


def measure_all(rows, others, threads, seconds):
    """Print the table of some rows, and return its results."""
    print(f"{xr.isa()}; single calls of exactrnn, p50 / p90 / p99 in µs")
    print(f"| row | after a call of | one thread | {threads} threads | one / more |")
    print("|---|---|---:|---:|---:|")
    results = []
    for row in rows:
        problem = make_problem(row, threads)
        own, *rest = [contender.prepare(problem) for contender in others.values()]
        made = zip(list(others)[1:], rest, strict=True)
        calls = {name: other.run for name, other in made if other is not None}
        for name, other in itertools.chain([("nothing", do_nothing)], calls.items()):
            found = measure(own.run, other, threads, seconds)
            results.append(summarise(row, name, found))
            print(line_of(results[-1], threads), flush=True)
    return results


def run(parsed, rows=None):
    """Do what the command line says."""
    if parsed.isa:
        xr.use_isa(parsed.isa)
    with pinned(parsed.threads):
        contenders, _ = load_rivals(parsed.rivals)
        named = {c.NAME: c for c in contenders if c.NAME not in ("jax",)}
        results = measure_all(rows or ROWS, named, parsed.threads, parsed.seconds)
    if parsed.json:
        parsed.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="2 or more (default 2)")
    parser.add_argument(
        "--others",
        dest="rivals",
        nargs="*",
        choices=OTHERS,
        help="libraries before ours (default: all that are installed)",
    )
    parser.add_argument(
        "--seconds",
        type=positive_float,
        default=SECONDS,
        help="per row and number of threads",
    )
    parser.add_argument("--isa", choices=xr.isas(), help="of exactrnn (default: best)")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    if parsed.threads < 2:
        parser.error("--threads: expected 2 or more")
    run(parsed)


if __name__ == "__main__":
    main()
