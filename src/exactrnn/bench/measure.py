"""The measurement: agreement first, then interleaved rounds, then medians.

Every library runs for some milliseconds in each round, so that a machine that slows
down slows all of them; the loops that find the machine's limit run in the same rounds,
and so does a second copy of exactrnn, the control. The order is drawn anew for each
round: whoever always ran after the same neighbour would have its caches and its clock.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn.bench.busy import busy_processes
from exactrnn.bench.control import (
    CONTROL,
    compare_control,
    percentiles_of,
    spread_of,
)
from exactrnn.bench.limit import Probe, limit_seconds, make_probes
from exactrnn.bench.rivals import Contender, Prepared
from exactrnn.bench.rows import Problem, Row, make_problem

TOLERANCE = 1e-4
BURST_SECONDS = 0.01
PROBE_SECONDS = 0.002
REST_SECONDS = 0.06  # the threads of ONNX Runtime 1.32 spin on for 40 ms
LEAST_ROUNDS = 5
PROBE_ROUNDS = 20

OWN = "exactrnn"
BESIDE = "beside"


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[list[int] | None]:
    """Keep the process on `threads` cores; gives them, or None where it cannot.

    To be entered before other libraries are imported: their pools are sized then.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    # The last ones: the first core serves most interrupts.
    cores = sorted(allowed)[-threads:] if len(allowed) >= threads else None
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        if cores:
            os.sched_setaffinity(0, allowed)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def measure_row(
    row: Row,
    contenders: Sequence[Contender],
    threads: int,
    seconds: float,
    *,
    seed: int = 0,
    busy: int = 0,
) -> dict[str, Any]:
    """Measure one row.

    Parameters
    ----------
    row : Row
        What to compute; with `beside`, that cell of exactrnn runs in the same rounds.
    contenders : sequence of Contender
        The libraries, exactrnn first.
    threads : int
        Threads of each.
    seconds : float
        Time for each library.
    seed : int
        What the orders of the rounds are drawn from, together with the row's name.
    busy : int
        Busy processes that run beside the libraries; every call is timed by itself
        then, as those of `step` rows always are, and the limit is measured before.

    Returns
    -------
    dict
        The row's fields, figures by library, the limit and the ratio: see `summarise`.

    Raises
    ------
    AssertionError
        If a library computes something else than exactrnn.
    """
    problem = make_problem(row, threads)
    prepared: dict[str, Prepared] = {}
    for contender in contenders:
        made = contender.prepare(problem)
        if made is not None:
            prepared[contender.NAME] = made
    check_agreement(problem, prepared)
    runs = {name: made.run for name, made in prepared.items()}
    again = contenders[0].prepare(problem)
    assert again is not None
    runs[CONTROL] = again.run
    if row.beside:
        other = contenders[0].prepare(make_problem(row.yardstick, threads))
        assert other is not None
        runs[BESIDE] = other.run
    probes = make_probes(row, threads)
    singly = busy > 0 or row.task == "step"
    how = Rounds(random.Random(f"{seed} {row.name}"), REST_SECONDS * (threads > 1))
    if busy:
        # The machine's limit is that of the machine alone.
        samples = measure_alone(probes)
        with busy_processes(busy):
            samples |= measure(runs, {}, seconds, how, singly=singly)
    else:
        samples = measure(runs, probes, seconds, how, singly=singly)
    return summarise(row, samples, probes, singly=singly)


def check_agreement(problem: Problem, prepared: Mapping[str, Prepared]) -> None:
    """Raise unless every library computes what exactrnn computes.

    A step row is called a few times: a state that is not carried would show.
    """
    row = problem.row
    for _ in range(4 if row.task == "step" else 1):
        outcomes = {name: made.read(made.run()) for name, made in prepared.items()}
        own = outcomes[OWN]
        for name, outcome in outcomes.items():
            for key in outcome:
                error = difference(outcome[key], own[key])
                if not error <= TOLERANCE:
                    raise AssertionError(
                        f"{row.name}: {key} of {name} is off by {error}"
                    )


def difference(array: Array, own: Array) -> float:
    """Return the largest difference, relative to the largest element if that is > 1."""
    scale = max(1.0, float(np.abs(own).max()))
    return float(np.abs(array - own).max()) / scale


def time_calls(run: Callable[[], object], calls: int) -> float:
    """Return the seconds of one call, the mean of `calls` of them."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def time_singly(run: Callable[[], object], calls: int) -> list[float]:
    """Return the seconds of each of some calls, timed one by one."""
    clock = time.perf_counter
    seconds = []
    for _ in range(calls):
        start = clock()
        run()
        seconds.append(clock() - start)
    return seconds


def choose_calls(run: Callable[[], object], burst: float) -> int:
    """Return how many calls fill a burst of so many seconds."""
    calls = 1
    while calls < 2**20:
        seconds = time_calls(run, calls) * calls
        if seconds >= burst / 2:
            return max(1, round(calls * burst / seconds))
        calls *= 2
    return calls


@dataclass(frozen=True)
class Rounds:
    """What the order of each round is drawn from, and the rest before a library."""

    order: random.Random
    rest: float = 0.0


def measure_alone(probes: Mapping[str, Probe]) -> dict[str, list[float]]:
    """Return {name: [seconds of one call]} of loops that run by themselves."""
    samples = {}
    for name, probe in probes.items():
        calls = choose_calls(probe.run, PROBE_SECONDS)
        samples[name] = [time_calls(probe.run, calls) for _ in range(PROBE_ROUNDS)]
    return samples


def measure(
    runs: Mapping[str, Callable[[], object]],
    probes: Mapping[str, Probe],
    seconds: float,
    how: Rounds,
    *,
    singly: bool = False,
) -> dict[str, list[float]]:
    """Return {name: [seconds of one call]}, interleaved in orders that are drawn.

    There is one figure for each round, the mean of its calls, or with `singly` one for
    each call of a library. `seconds` are for each library; probes have theirs besides.
    Idle workers of the pool used last still spin for a while: `how.rest` is waited
    between two libraries.
    """
    calls = {name: choose_calls(run, BURST_SECONDS) for name, run in runs.items()}
    work = {name: probe.run for name, probe in probes.items()} | dict(runs)
    calls |= {name: choose_calls(work[name], PROBE_SECONDS) for name in probes}
    samples: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    rounds, spent = 0, 0.0
    while rounds < LEAST_ROUNDS or spent < seconds * len(runs):
        rounds += 1
        how.order.shuffle(names)
        for name in names:
            run = work[name]
            start = time.perf_counter()
            if name in runs:
                time.sleep(how.rest)
            if name in probes or calls[name] > 1:
                run()  # brings into the caches what the run before has driven out
            if singly and name in runs:
                samples[name] += time_singly(run, calls[name])
            else:
                samples[name].append(time_calls(run, calls[name]))
            if name in runs:
                spent += time.perf_counter() - start
    return samples


def summarise(
    row: Row,
    samples: Mapping[str, Sequence[float]],
    probes: Mapping[str, Probe],
    *,
    singly: bool = False,
) -> dict[str, Any]:
    """Return the figures of a row.

    Parameters
    ----------
    row : Row
        What was measured.
    samples : mapping of str to sequence of float
        From `measure`.
    probes : mapping of str to Probe
        Those of the samples.
    singly : bool
        Whether the samples are single calls: figures have percentiles then.

    Returns
    -------
    dict
        The row's fields; `figures`, by library; `best_rival` and `ratio`, its time
        divided by exactrnn's, None without rivals; `peak_gflops` and `read_gbps`, the
        rates of the machine; `limit_us` and `fraction`, the limit and what part of
        exactrnn's time it is; what `compare_control` says of the second copy. For a
        row with `beside`: `beside_us`, the other cell's time, `relative`, exactrnn's
        time divided by it, and `per_flop`, the same of the times for an operation.
    """
    figures = {
        name: summarise_library(row, values)
        | (percentiles_of(values) if singly else {})
        for name, values in samples.items()
        if name not in probes and name not in (BESIDE, CONTROL)
    }
    own = figures[OWN]["median_us"]
    others = {name: f["median_us"] for name, f in figures.items() if name != OWN}
    best = min(others, key=others.__getitem__) if others else None
    rate = {n: probe.work / min(samples[n]) for n, probe in probes.items()}
    limit = limit_seconds(row, rate["peak"], rate["read"]) * 1e6
    return row.as_dict() | {
        "figures": figures,
        "best_rival": best,
        "ratio": others[best] / own if best else None,
        "peak_gflops": rate["peak"] * 1e-9,
        "read_gbps": rate["read"] * 1e-9,
        "limit_us": limit,
        "fraction": limit / own,
        **(
            compare_control(samples[OWN], samples[CONTROL])
            if CONTROL in samples
            else {}
        ),
        **compare_beside(row, own, samples.get(BESIDE)),
    }


def compare_beside(
    row: Row, own_us: float, samples: Sequence[float] | None
) -> dict[str, float]:
    """Return the figures of the cell that ran beside; none where none did."""
    if samples is None:
        return {}
    other = statistics.median(samples) * 1e6
    relative = own_us / other
    per_flop = relative * row.yardstick.flops / row.flops
    return {"beside_us": other, "relative": relative, "per_flop": per_flop}


def summarise_library(row: Row, values: Sequence[float]) -> dict[str, float]:
    """Return median, best, spread, rate and number of samples of one library."""
    median = statistics.median(values)
    return {
        "median_us": median * 1e6,
        "best_us": min(values) * 1e6,
        "spread": spread_of(values),
        "gflops": row.flops / median * 1e-9,
        "samples": len(values),
    }
