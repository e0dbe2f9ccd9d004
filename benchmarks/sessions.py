"""A stream of many sessions: what a step of some rows costs beside a full batch.

    python benchmarks/sessions.py
    python benchmarks/sessions.py --units 64 --sessions 1000 --threads 2

Of S sessions on one stream, A drawn anew for each step have input:
`stream.step(x, rows=rows)`. Beside it runs a stream of A rows that all have input
(`full`), in turn with it and so in the same state of the machine; the ratio of the
medians is what picking rows costs. `of all` is the time of a row beside that of a step
of all S rows, which is as good as batches get. A second stream of A rows is the
control: how far its ratio is from 1 says what a difference is worth. One thread unless
`--threads` says otherwise.
"""

import argparse
import itertools
import json
import statistics
import time

import numpy as np
from arguments import output

import exactrnn as xr

CELLS = {"gru": xr.GRU, "lstm": xr.LSTM}
ACTIVE = (1, 10, 100, 500, 1000)
DRAWS = 64  # sets of rows that steps go through in turn
SLICE = 2e-3  # seconds that one contender runs for


def time_of(step, calls):
    """Return the seconds of one call in a row of some."""
    begin = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - begin) / calls


def calls_for(step):
    """Return how many calls fill a slice."""
    step()
    return max(1, round(SLICE / max(time_of(step, 1), 1e-7)))


def stepper(stream, x, rows=None):
    """Return a call that does one step into memory of its own."""
    out = np.empty_like(
        stream.step(x) if rows is None else stream.step(x, rows=rows[0])
    )
    if rows is None:
        return lambda: stream.step(x, out)
    turn = itertools.cycle(rows)
    return lambda: stream.step(x, out, rows=next(turn))


def contenders(layer, sessions, active):
    """Return what is measured, by name."""
    source = np.random.default_rng(active)
    x = source.standard_normal((sessions, layer.input_size), np.float32)
    rows = [source.permutation(sessions)[:active] for _ in range(DRAWS)]
    some = np.ascontiguousarray(x[:active])
    return {
        "rows": stepper(layer.stream(sessions), some, rows),
        "full": stepper(layer.stream(active), some),
        "control": stepper(layer.stream(active), some),
        "all": stepper(layer.stream(sessions), x),
    }


def measure(layer, sessions, active, rounds):
    """Return the median seconds of a step, by contender."""
    steps = contenders(layer, sessions, active)
    calls = {name: calls_for(step) for name, step in steps.items()}
    found = {name: [] for name in steps}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for name in order.permutation(list(steps)):
            found[name].append(time_of(steps[name], calls[name]))
    return {name: statistics.median(times) for name, times in found.items()}


def line_of(cell, sessions, active, medians):
    """Return a line of the table."""
    of_rows, full = medians["rows"], medians["full"]
    per_row = of_rows / active / (medians["all"] / sessions)
    return (
        f"| {cell} | {active} | {of_rows * 1e6:.1f} | {full * 1e6:.1f} "
        f"| {of_rows / full:.2f} | {medians['control'] / full:.2f} | {per_row:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=64, help="I = H")
    parser.add_argument("--sessions", type=int, default=1000, help="rows of the stream")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--json", type=output, metavar="FILE", help="write the medians")
    parsed = parser.parse_args()
    xr.set_num_threads(parsed.threads)
    found = {}
    print("| cell | A | rows=, µs | full, µs | ratio | control | of all |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for cell in parsed.cells:
        layer = CELLS[cell](parsed.units, parsed.units, seed=1)
        for active in ACTIVE:
            if active <= parsed.sessions:
                medians = measure(layer, parsed.sessions, active, parsed.rounds)
                found[f"{cell} {active}"] = medians
                print(line_of(cell, parsed.sessions, active, medians), flush=True)
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
