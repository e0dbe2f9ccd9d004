"""Single steps in torch: its cells, and layers of one step, beside `exactrnn.torch`.

Each pair has the same weights, input and state and is called in turns without
gradients, a few calls at a time; what is reported are medians of a call's time in µs,
and the ratio of ours to stock. A name ends with the rows and the units, which are as
many as inputs.

    taskset -c 1 python benchmarks/torch_steps.py
    python benchmarks/torch_steps.py --steps 'GRUCell-1x*' --isa avx2
"""

import argparse
import json
import statistics
import time
from fnmatch import fnmatch

import torch
from arguments import output

import exactrnn as xr
import exactrnn.torch as xrt

CALLS = 5
STEPS = {
    f"{kind}-{rows}x{units}": (kind, rows, units)
    for kind in ("LSTMCell", "GRUCell", "RNNCell", "LSTM", "GRU")
    for units in (32, 64, 128, 256, 512)
    for rows in (1, 4, 16)
}


def make_pair(kind, units):
    """Return a module of torch's and one of ours with its weights."""
    torch.manual_seed(0)
    stock, ours = (getattr(nn, kind)(units, units) for nn in (torch.nn, xrt))
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def draw_arguments(kind, rows, units):
    """Return an input and a state."""
    lead = (rows,) if kind.endswith("Cell") else (1, rows)
    x, h, c = torch.randn(3, *lead, units)
    return x, ((h, c) if kind.startswith("LSTM") else h)


def timed(module, arguments):
    start = time.perf_counter()
    for _ in range(CALLS):
        module(*arguments)
    return (time.perf_counter() - start) / CALLS


def measure(name, rounds):
    """Return the median times of a call in µs, stock and ours."""
    kind, rows, units = STEPS[name]
    pair, arguments = make_pair(kind, units), draw_arguments(kind, rows, units)
    one, two = (module(*arguments)[0] for module in pair)
    assert (one - two).abs().max() < 1e-5
    times = {module: [] for module in pair}
    with torch.inference_mode():
        for number in range(rounds + 3):
            for module in pair if number % 2 else reversed(pair):
                times[module].append(timed(module, arguments))
    return [1e6 * statistics.median(times[module][3:]) for module in pair]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--isa", help="instruction set of exactrnn: see xr.isas()")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    xr.set_num_threads(parsed.threads)
    if parsed.isa:
        xr.use_isa(parsed.isa)
    found = {}
    print(f"{parsed.threads} threads, {xr.isa()}, torch {torch.__version__}")
    print("| a step, µs | torch | ours | ratio |\n|---|---:|---:|---:|")
    for name in STEPS:
        if any(fnmatch(name, pattern) for pattern in parsed.steps):
            stock, ours = found[name] = measure(name, parsed.rounds)
            print(f"| {name} | {stock:.1f} | {ours:.1f} | {ours / stock:.2f} |")
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
