"""The time of a training step on many machines, from parts that one machine measures.

`scale.py` measures the parts and draws this; nothing here is a measurement. With W
workers, S shards of equal size, P bytes of gradient (contract N10, `distributed.fit`):

    compute    ceil(S / W) of a shard's time, the sums in the worker's own subtree too
    add        what a worker gets to add in each round, at the measured rate of
               additions
    wire       bytes that a worker receives at the link's rate, and one-way delays: of
               the order, of each round, of sums and answer
    driver     what this process does in any case, its own optimiser's step among it,
               and for each worker, one after the other; the whole gradient on its wire

With L = min(W, 8) slices, a worker receives n P/L from each other one of its group, n
being how many sums its shards leave in the tree (one where S/W is a power of two);
groups have at most 8 members, and what they have made is added in rounds likewise; at
the end it receives the slices of the result. A plain ring all-reduce receives
2 P (W-1)/W in 2 (W-1) rounds.
"""

from typing import NamedTuple

import numpy as np

from exactrnn.distributed._team import FAN
from exactrnn.distributed.shards import bounds, merged_nodes, nodes_of, owners

MACHINES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHOWN = (8, 64, 1024)


class Parts(NamedTuple):
    """What was measured.

    Attributes
    ----------
    shard : float
        Seconds of a shard's gradient.
    gradient : int
        Its bytes.
    add : float
        Seconds to add a byte of another vector.
    base, order : float
        Seconds that this process computes in a step, and for each worker besides.
    step : float
        Seconds of the optimiser's step.
    """

    shard: float
    gradient: int
    add: float
    base: float
    order: float
    step: float


class Link(NamedTuple):
    """A network.

    Attributes
    ----------
    rate : float
        Bytes in a second, into a machine.
    delay : float
        Seconds one way.
    """

    rate: float
    delay: float


class Step(NamedTuple):
    """Where the seconds of a step go, and the bytes that a worker receives."""

    compute: float
    add: float
    wire: float
    driver: float
    received: float

    @property
    def seconds(self):
        """Of all together."""
        return self.compute + self.add + self.wire + self.driver


def rounds_of(shards, workers):
    """Return how many sums of a slice an adder gets at most in each round."""
    parts = [nodes_of(own) for own in owners(shards, workers)]
    slices, found = min(workers, FAN), []
    while len(parts) > 1:
        groups = [parts[a:b] for a, b in bounds(len(parts), -(-len(parts) // FAN))]
        got = max(sum(map(len, g)) - min(map(len, g)) for g in groups)
        # In the first round a member of a small group has two slices; after it each
        # slice of a part is with another worker.
        own = -(-slices // min(map(len, groups))) if not found else 1
        found.append(got * own)
        parts = [merged_nodes(group) for group in groups]
    return found


def step_of(parts, link, shards, workers):
    """Return a step of `distributed.fit`."""
    rounds = rounds_of(shards, workers)
    own = parts.gradient / min(workers, FAN)
    others = sum(rounds) * own
    received = others + parts.gradient - own if workers > 1 else 0.0
    hops = (3 + len(rounds)) * link.delay if workers > 1 else 0.0
    gathered = parts.gradient / link.rate if workers > 1 else 0.0
    return Step(
        compute=-(-shards // workers) * parts.shard,
        add=others * parts.add,
        wire=received / link.rate + hops,
        driver=parts.base + workers * parts.order + gathered,
        received=received,
    )


def ring_of(parts, link, shards, workers):
    """Return a step that adds by a plain ring, in whatever order, without a driver."""
    received = 2 * parts.gradient * (workers - 1) / workers
    return Step(
        compute=-(-shards // workers) * parts.shard,
        add=received / 2 * parts.add,
        wire=received / link.rate + 2 * (workers - 1) * link.delay,
        driver=parts.step,
        received=received,
    )


def table_of(parts, link, shards):
    """Return the lines of a table."""
    lines = [
        "| machines | compute, ms | add, ms | wire, ms | driver, ms | step, ms "
        "| received, MB | ring: step, ms | ring: received, MB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for workers in SHOWN:
        ours, ring = (f(parts, link, shards, workers) for f in (step_of, ring_of))
        shown = [*ours[:4], ours.seconds]
        lines.append(
            f"| {workers} | "
            + " | ".join(f"{1e3 * seconds:.2f}" for seconds in shown)
            + f" | {ours.received / 1e6:.2f} | {1e3 * ring.seconds:.2f} "
            f"| {ring.received / 1e6:.2f} |"
        )
    return lines


def draw(parts, link, shards):
    """Return a figure: the step's time over the number of machines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = [step_of(parts, link, shards, workers) for workers in MACHINES]
    for name in Step._fields[:4]:
        height = np.array([getattr(step, name) for step in steps]) * 1e3
        shown = np.where(height > 0, height, np.nan)  # one machine has no wire
        axes.plot(MACHINES, shown, "-o", markersize=3, linewidth=1, label=name)
    total = [step.seconds * 1e3 for step in steps]
    axes.plot(MACHINES, total, "k-", linewidth=2, label="step")
    ring = [ring_of(parts, link, shards, W).seconds * 1e3 for W in MACHINES]
    axes.plot(MACHINES, ring, "k--", label="step with a ring, any order")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="machines",
        ylabel="time of a step, ms",
        title=f"A model from measured parts: {shards} shards, "
        f"{link.rate * 8 / 1e9:g} Gbit/s, {link.delay * 1e3:g} ms",
    )
    axes.set_xticks(MACHINES, [str(W) for W in MACHINES])
    axes.minorticks_off()
    axes.set_ylim(bottom=0.02)
    axes.legend(loc="upper center", ncols=2)
    return figure
