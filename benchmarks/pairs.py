"""Calls of ours beside those of torch, in rounds, for attention.py and ctc.py.

A second run of ours in each round is the control: how far its ratio is from 1 says what
a difference is worth. Ratios are of medians; the order of a round is drawn. One thread
unless `--threads` says otherwise.
"""

import argparse
import json
import statistics
import time
from typing import NamedTuple

import numpy as np
from arguments import output

import exactrnn as xr

ROUNDS = 15


class Pair(NamedTuple):
    """One row: a call of ours, the same of torch or None, and how often in a round."""

    name: str
    task: str
    own: object
    torch: object
    calls: int = 1


def import_torch(threads):
    """Return torch with so many threads, or None where it is absent."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


def time_of(call, calls):
    """Return the seconds of one call in a row of some."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def measure(pair, rounds):
    """Return a row of results: medians and least times in seconds."""
    calls = {"ours": pair.own, "control": pair.own}
    if pair.torch is not None:
        calls["torch"] = pair.torch
        np.testing.assert_allclose(pair.own(), pair.torch(), rtol=1e-4, atol=1e-4)
    order, found = np.random.default_rng(0), {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name in order.permutation(list(calls)):
            found[name].append(time_of(calls[name], pair.calls))
    medians = {name: statistics.median(times) for name, times in found.items()}
    least = {f"{name}_min": min(times) for name, times in found.items()}
    return {"cell": pair.name, "task": pair.task, **medians, **least}


def line_of(row):
    """Return a line of the table."""
    ratio = f"{row['torch'] / row['ours']:.2f}" if "torch" in row else "-"
    theirs = f"{row['torch'] * 1e6:.1f}" if "torch" in row else "-"
    return (
        f"| {row['cell']} | {row['task']} | {row['ours'] * 1e6:.1f} "
        f"| {row['ours_min'] * 1e6:.1f} | {theirs} | {ratio} "
        f"| {row['control'] / row['ours']:.2f} |"
    )


def measure_all(pairs, threads, rounds=ROUNDS):
    """Print the table of some pairs, and return their results."""
    print(f"{xr.isa()}, {threads} threads; times in µs")
    print("| what | task | ours | least | torch | torch / ours | control |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for pair in pairs:
        results.append(measure(pair, rounds))
        print(line_of(results[-1]), flush=True)
    return results


def make_parser(doc):
    """Return a parser with the options that all have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--isa", choices=xr.isas(), help="of exactrnn (default: best)")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    return parser


def run(parsed, make_pairs):
    """Do what the command line says with the pairs that `make_pairs(torch)` yields."""
    if parsed.isa:
        xr.use_isa(parsed.isa)
    xr.set_num_threads(parsed.threads)
    torch = import_torch(parsed.threads)
    if torch is None:
        print("without torch")
    results = measure_all(make_pairs(torch), parsed.threads, parsed.rounds)
    if parsed.json:
        parsed.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
