"""More than one process: what it brings, what it moves, what a death costs.

    python benchmarks/scale.py
    python benchmarks/scale.py --parts map training --units 128 --json scale.json
    python benchmarks/scale.py --png scale.png --gbits 25 --delay 0.05
    python benchmarks/scale.py --quick              # a few seconds, rougher

    map        `map_sequences` with 1 and 2 worker processes of this machine, in turn
    training   `distributed.fit` with 0 (this process), 1 and 2: a batch's time, its
               bytes on the wire
    deaths     the same with a worker that is killed (kill -9): what it costs
    hosts      the same by MPI, between two hosts: network namespaces that are joined
               with a delay (root and mpich needed)
    model      a step on 8, 64 and 1,024 machines, from the parts measured here

One thread for each worker. All workers of this machine, and the process that reads and
hands out, share its cores: with as many workers as cores the ratio is less than their
number by what that process does. Ratios are of runs in turn, medians of several.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import signal
import statistics
import threading
import time
from typing import NamedTuple

import numpy as np
import scale_model
import two_hosts
from arguments import output

import exactrnn as xr
from exactrnn.distributed import LocalEngine, _host
from exactrnn.distributed.local import _Process
from exactrnn.distributed.shards import Node, TreeSum, shard_gradient

PARTS = ("map", "training", "deaths", "hosts", "model")
SHARDS = 8


class Sizes(NamedTuple):
    """How much is measured.

    Attributes
    ----------
    units : list of int
        I = H of the LSTMs that are mapped; the last one is trained.
    seconds : float
        That one run of a map lasts.
    runs : int
        Runs of each kind, in turn.
    batches : int
        Batches of a training.
    workers : tuple of int
        With how many the work of this process is measured.
    """

    units: list[int]
    seconds: float
    runs: int
    batches: int
    workers: tuple[int, ...] = (8, 16, 32, 64)


# Maps


def sequences_of(units):
    """Return sequences of 50 to 150 steps."""
    source = np.random.default_rng(0)
    lengths = source.integers(50, 151, 100)
    return [source.standard_normal((T, units)).astype(np.float32) for T in lengths]


def mapped_steps(layer, sequences, workers, seconds):
    """Return the steps in a second once the workers are at work, and our share."""
    # A list, whose items need no copies. None ends it, not of few units either, and it
    # is no longer than that asks for: the collector of cycles goes through it again and
    # again.
    source = sequences * round((200 + 300 * seconds) * max(1, 128 / layer.hidden_size))
    given = {"workers": workers, "threads": 1, "memory": 1 << 26}
    with xr.distributed.map_sequences(layer, source, **given) as mapped:
        next(mapped)
        until = time.perf_counter() + max(seconds / 3, 0.4)
        while time.perf_counter() < until:
            next(mapped)
        begin, own, steps = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() < begin + seconds:
            steps += len(next(mapped).y)
        took = time.perf_counter() - begin
        return steps / took, (time.process_time() - own) / took


def measure_maps(sizes):
    """Return throughput by units: of 1 and 2 workers, and the ratio."""
    found = {}
    for units in sizes.units:
        layer, sequences = xr.LSTM(units, units, seed=1), sequences_of(units)
        runs = {1: [], 2: []}
        for _ in range(sizes.runs):
            for workers, rates in runs.items():
                rates.append(mapped_steps(layer, sequences, workers, sizes.seconds))
        one, two = (statistics.median(r for r, _ in runs[w]) for w in runs)
        ratio = statistics.median(
            b[0] / a[0] for a, b in zip(runs[1], runs[2], strict=True)
        )
        share = statistics.median(s for _, s in runs[1])
        found[units] = {"one": one, "two": two, "ratio": ratio, "share": share}
    return found


def print_maps(found):
    print("\n| map: units | 1 worker, steps/s | 2 workers | ratio | our own share |")
    print("|---:|---:|---:|---:|---:|")
    for units, row in found.items():
        print(
            f"| {units} | {row['one']:,.0f} | {row['two']:,.0f} | {row['ratio']:.2f} "
            f"| {row['share']:.2f} |"
        )


# Training


def make_training(units, batches):
    """Return a model, and batches of symbols to foretell."""
    layers = xr.train.Embedding(64, units), xr.LSTM(units, units)
    model = xr.train.Sequential(*layers, xr.train.Linear(units, 64), seed=1)
    source = np.random.default_rng(0)
    symbols = source.integers(0, 64, (65, 32 * batches))
    return model, xr.train.batches(symbols[:-1], symbols[1:], size=32)


def train(units, batches, workers, at=None, clock=time.process_time, **options):
    """Return what `watch` was told, seconds of batches, our own, and the weights.

    `at` is called with the number of batches that are done, `clock` says which time is
    our own.
    """
    model, data = make_training(units, batches)
    told, times, own = [], [], []

    def watch(exchange):
        told.append(exchange)
        times.append(time.perf_counter())
        own.append(clock())
        if at is not None:
            at(len(told))

    with xr.threads(1):
        xr.distributed.fit(
            model,
            data,
            xr.train.softmax_cross_entropy,
            xr.train.SGD(model, lr=0.1),
            epochs=1,
            workers=workers,
            progress=False,
            watch=watch,
            **{"shards": SHARDS, **options},
        )
    return told, np.diff(times), np.diff(own), model.state_dict()


def measure_training(sizes, **options):
    """Return a batch's seconds and bytes by the number of workers."""
    units, found = sizes.units[-1], {}
    taken = {workers: ([], [], []) for workers in (0, 1, 2)}
    for _ in range(sizes.runs):
        for workers, (seconds, shards, own) in taken.items():
            told, times, used, _ = train(units, sizes.batches, workers, **options)
            seconds += times.tolist()
            shards += [max(one.seconds) for one in told]
            own += used.tolist()
            found[workers] = {"received": max(told[-1].received)}
    for workers, lists in taken.items():
        medians = map(statistics.median, lists)
        found[workers] |= zip(("seconds", "shards", "own"), medians, strict=True)
    return found


def print_training(found):
    print("\n| training: workers | batch, ms | shards | our own | received, MB |")
    print("|---:|---:|---:|---:|---:|")
    for workers, row in found.items():
        print(
            f"| {workers} | {1e3 * row['seconds']:.1f} | {1e3 * row['shards']:.1f} "
            f"| {1e3 * row['own']:.2f} | {row['received'] / 1e6:.2f} |"
        )


# Deaths


def kill_one():
    """Kill a worker of this process."""
    os.kill(multiprocessing.active_children()[-1].pid, signal.SIGKILL)


def measure_deaths(sizes):
    """Return the seconds that a killed worker costs a training, and a map."""
    units, batches = sizes.units[-1], max(sizes.batches, 6)
    middle = batches // 2
    _, quiet, _, truth = train(units, batches, 2)
    kill = lambda count: kill_one() if count == middle else None  # noqa: E731
    told, times, _, weights = train(units, batches, 2, at=kill)
    same = all(np.array_equal(truth[name], weights[name]) for name in truth)
    longest = float(times.max() - statistics.median(quiet))
    return {
        "training": longest,
        "begun anew": sum(one.lost for one in told),
        "same weights": same,
        "map": map_with_a_death(sizes),
    }


def map_with_a_death(sizes):
    """Return by how much a killed worker prolongs a map."""
    units = sizes.units[0]
    layer, sequences = xr.LSTM(units, units, seed=1), sequences_of(units)
    count = max(8, round(sizes.seconds * 4)) * len(sequences)
    source = list(itertools.islice(itertools.cycle(sequences), count))
    took = []
    for kills in (False, True):
        mapped = xr.distributed.map_sequences(layer, source, workers=2, threads=1)
        next(mapped)
        begin = time.perf_counter()
        for one in mapped:
            if kills and one.index == count // 4:
                kill_one()
        took.append(time.perf_counter() - begin)
    return took[1] - took[0]


def print_deaths(found):
    print("\n| a worker killed with -9 | |\n|---|---:|")
    print(f"| training: its batch takes longer by | {found['training']:.2f} s |")
    print(f"| batches begun anew | {found['begun anew']} |")
    print(f"| weights are those of the undisturbed run | {found['same weights']} |")
    print(f"| map: it all takes longer by | {found['map']:.2f} s |")


# Parts of the model


def timed(call, seconds=0.05):
    """Return the seconds of a call, the median of some."""
    found, until = [], time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < until:
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


class Pretended(LocalEngine):
    """Has threads for workers, which this process can have many of."""

    def _begin(self, number, make):
        ours, theirs = multiprocessing.Pipe()
        folder = self._folder / f"{self._folder.name}-{number}"
        folder.mkdir()
        given = theirs, folder, make
        thread = PretendedProcess(target=_host.answer, args=given, daemon=True)
        thread.start()
        return _Process(number, thread, ours, make)


class PretendedProcess(threading.Thread):
    """A thread that is asked what processes are asked."""

    exitcode = pid = None

    def kill(self):
        """Let it be: it ends with its pipe."""


def measure_orders(sizes):
    """Return the seconds that this process spends on a worker.

    Of a small model, with as many workers as a cluster has: what they compute does not
    matter, only what the thread that asks them does meanwhile; the least of it,
    because nothing makes it less than it is.
    """
    own = []
    for workers in sizes.workers:
        with Pretended() as engine:
            given = {"engine": engine, "shards": workers, "clock": time.thread_time}
            own.append(min(train(8, 12, workers, **given)[2]))
    return max(float(np.polyfit(sizes.workers, own, 1)[0]), 0.0)


def measure_parts(sizes, training):
    """Return what the model of many machines is made of."""
    from exactrnn.distributed.shards import Place, cut

    model, data = make_training(sizes.units[-1], 1)
    [batch] = data
    loss = xr.train.softmax_cross_entropy
    shard = cut(batch, SHARDS, (1, 1), None)[0]
    with xr.threads(1):
        once = lambda: shard_gradient(model, loss, shard, Place(0, 0), {})  # noqa: E731
        one = timed(once)
        _, layout, vector, _ = once()
        optimizer = xr.train.SGD(model, lr=0.1)
        step = timed(lambda: optimizer.step(layout.as_gradients(vector)))

    def add():
        tree = TreeSum()
        tree.add(Node(0, 0), vector)
        tree.add(Node(0, 1), vector)

    order = measure_orders(sizes)
    return scale_model.Parts(
        shard=one,
        gradient=vector.nbytes,
        add=timed(add) / vector.nbytes,
        base=training[1]["own"] - order,
        order=order,
        step=step,
    )


# The program


def parse_arguments(given=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--units", nargs="+", type=int, default=[128, 256], help="I = H of the LSTMs"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of a map's run")
    parser.add_argument("--runs", type=int, default=3, help="of each kind, in turn")
    parser.add_argument("--batches", type=int, default=20, help="of a training")
    parser.add_argument("--wire", type=float, default=1.0, help="of the hosts, in ms")
    parser.add_argument("--shards", type=int, default=1024, help="of the model")
    parser.add_argument(
        "--gbits", type=float, default=10.0, help="of the model's links"
    )
    parser.add_argument("--delay", type=float, default=0.05, help="theirs one way, ms")
    parser.add_argument("--quick", action="store_true", help="a few seconds, rougher")
    parser.add_argument("--json", type=output, metavar="FILE", help="write the figures")
    parser.add_argument("--png", type=output, metavar="FILE", help="draw the model")
    parsed = parser.parse_args(given)
    for name in ("units", "seconds", "runs", "batches", "shards", "gbits"):
        if np.min(getattr(parsed, name)) <= 0:
            parser.error(f"--{name}: expected more than 0")
    return parsed


def main():
    parsed = parse_arguments()
    sizes = Sizes(parsed.units, parsed.seconds, parsed.runs, parsed.batches)
    if parsed.quick:
        sizes = Sizes(parsed.units[:1], 0.2, 1, 6, (2, 4, 8))
    found = {}
    if "map" in parsed.parts:
        found["map"] = measure_maps(sizes)
        print_maps(found["map"])
    if {"training", "model"} & {*parsed.parts}:
        found["training"] = measure_training(sizes)
        print_training(found["training"])
    if "deaths" in parsed.parts:
        found["deaths"] = measure_deaths(sizes)
        print_deaths(found["deaths"])
    if "hosts" in parsed.parts:
        found["hosts"] = two_hosts.measure(sizes, parsed.wire * 1e-3)
        two_hosts.print_hosts(found["hosts"])
    if "model" in parsed.parts:
        parts = measure_parts(sizes, found["training"])
        link = scale_model.Link(parsed.gbits * 1e9 / 8, parsed.delay * 1e-3)
        found["model"] = parts._asdict()
        print(f"\nA model of {parsed.shards} shards, of {parts}, with {link}:\n")
        print("\n".join(scale_model.table_of(parts, link, parsed.shards)))
        if parsed.png:
            scale_model.draw(parts, link, parsed.shards).savefig(parsed.png, dpi=100)
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
