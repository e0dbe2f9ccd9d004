"""A search for cells: equations are mutated and crossed, and the best are kept.

R. Jozefowicz, W. Zaremba, I. Sutskever, An Empirical Exploration of Recurrent Network
Architectures (ICML 2015), tried ten thousand cells so, and found MUT1 to MUT3. Here it
goes on at small scale. A candidate is a tree of equations, trained on two tasks for as
many steps as every other; its worth is the paper's: how right it is beside the GRU, on
the task where that is less.

    python examples/search.py --threads 2        # trains, prints, draws, saves
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from operator import add, mul
from pathlib import Path

import matplotlib  # noqa: F401 (for the end; pip install '.[examples]')
import numpy as np
import safetensors  # noqa: F401 (for the end, too)

import exactrnn as xr
from exactrnn import train

T, B, H, KEPT = 30, 32, 24, 8
KINDS = {1: ("tanh", "sigmoid", "relu"), 2: ("mul", "add", "max"), 3: ("mix", "fma")}
ARITY = {kind: count for count, kinds in KINDS.items() for kind in kinds}
PAPER = "Jozefowicz, Zaremba & Sutskever 2015 (ICML), MUT1 beside the GRU"


class Tree(xr.Cell):
    """A cell from trees: (function, ...), ("sum", name, operand), or a state."""

    def __init__(self, trees):
        self.trees, self.states = trees, ("h", "c")[: len(trees)]

    def value(self, s, tree):
        if isinstance(tree, str):
            return getattr(s, tree)
        if tree[0] == "sum":
            return s.W(tree[1]) + s.R(tree[1], self.value(s, tree[2])) + s.b(tree[1])
        function = {"add": add, "mul": mul}.get(tree[0]) or getattr(s, tree[0])
        return function(*(self.value(s, part) for part in tree[1:]))

    def step(self, s):
        return tuple(self.value(s, tree) for tree in self.trees)


def gate(name):
    return ("sigmoid", ("sum", name, "h"))


RNN = (("tanh", ("sum", "a", "h")),)
GRU = (("mix", gate("z"), "h", ("tanh", ("sum", "n", ("mul", gate("r"), "h")))),)
MEMORY = ("fma", gate("f"), "c", ("mul", gate("i"), ("tanh", ("sum", "g", "h"))))
LSTM = (("mul", gate("o"), ("tanh", MEMORY)), MEMORY)


def latch(rng):
    """Return x, which bit was written last [T, B], and where it is not told."""
    writes, bits = rng.random((T, B)) < 0.15, rng.integers(0, 2, (T, B))
    writes[0] = True
    last = np.maximum.accumulate(np.where(writes, np.arange(T)[:, None], 0))
    x = np.float32(np.stack([writes, 2 * bits - 1], axis=2))
    return x, np.take_along_axis(bits, last, 0), ~writes


def tags(rng):
    """Return x, which tag of nested ones opens or closes, and where one closes."""
    which, closes = rng.integers(0, 4, (T, B)), rng.random((T, B)) < 0.5
    for row, opened in enumerate([] for _ in range(B)):
        for t in range(T):
            if not opened or not (closes[t, row] or len(opened) == 4):
                opened.append(which[t, row])
                closes[t, row] = False
            else:
                which[t, row], closes[t, row] = opened.pop(), True
    return np.eye(5, dtype="float32")[np.where(closes, 4, which)], which, closes


TASKS = {"latch": (latch, 2, 2), "tags": (tags, 5, 4)}


def learn(trees, name, steps, seed):
    """Train a cell on a task; return it, and how often it is right."""
    task, I, O = TASKS[name]
    parts = xr.Layer(Tree(trees), I, H), train.Linear(H, O)
    model = train.Sequential(*parts, seed=seed)
    optimizer, rng = train.Adam(model, 0.01), np.random.default_rng(seed)
    for x, target, _ in (task(rng) for _ in range(steps)):
        y, _, cache = model.forward(x)
        loss, dy = train.softmax_cross_entropy(y, target)
        grads = model.backward(cache, dy)
        if not np.isfinite(loss + train.clip_global_norm(grads, 1.0)):
            return model, 0.0
        optimizer.step(grads)
    tests = [task(np.random.default_rng(1000 + k)) for k in range(8)]
    right = [((model(x)[0].argmax(2) == y)[counts]).mean() for x, y, counts in tests]
    return model, float(np.mean(right))


def judge(trees, steps, seed):
    xr.set_num_threads(1)
    return {name: learn(trees, name, steps, seed)[1] for name in TASKS}


def places(tree, path=()):
    """Yield each part of a tree, and the way to it."""
    yield path, tree
    for k, part in enumerate(tree) if isinstance(tree, tuple) else ():
        if k >= (1 if tree[0] in ARITY else 2 if tree[0] == "sum" else 0):
            yield from places(part, (*path, k))


def replace(tree, path, new):
    for k in path[:1]:
        new = replace(tree[k], path[1:], new)
    return (*tree[: path[0]], new, *tree[path[0] + 1 :]) if path else new


def change(trees, other, rng):
    """Return a cell that differs from this one in one place."""
    parts = [place for place in places(trees) if place[0]]
    path, part = parts[rng.integers(len(parts))]
    if isinstance(part, tuple) and part[0] in ARITY and rng.random() < 0.4:
        kind = rng.choice(KINDS[ARITY[part[0]]])
        return replace(trees, path, (str(kind), *part[1:]))
    crossed = [found for way, found in places(other) if way]
    new = crossed[rng.integers(len(crossed))]
    grown = (str(rng.choice(KINDS[2])), part, new)
    fresh = ("sum", f"s{rng.integers(100)}", part)
    shrunk = part[-1] if isinstance(part, tuple) else "h"
    return replace(trees, path, (new, grown, fresh, shrunk)[rng.integers(4)])


def breed(ranked, seen, rng):
    """Return a cell that the kernels can run; the better are parents more often."""
    while True:
        parent, other = (ranked[int(len(ranked) * rng.random() ** 2)] for _ in range(2))
        child = change(parent, other, rng)
        with suppress(ValueError, AttributeError):  # too large; c where there is none
            xr.Layer(Tree(child), 2, H)
            if child not in seen:
                return child


def search(parsed, seed):
    """Return the best cell that was found, and how right it is beside the GRU."""
    rng, seen, waiting = np.random.default_rng(seed), {}, [RNN, GRU, LSTM]
    one = partial(judge, steps=parsed.steps, seed=seed)
    with ProcessPoolExecutor(parsed.threads, get_context("spawn")) as pool:
        while waiting:
            seen |= zip(waiting, pool.map(one, waiting), strict=True)
            worths = {t: min(seen[t][k] / seen[GRU][k] for k in TASKS) for t in seen}
            found = sorted(seen, key=worths.get, reverse=True)
            print(f"{len(seen):4} tried, best {worths[found[0]]:.3f}", flush=True)
            waiting = []
            while len(waiting) < min(KEPT, parsed.candidates - len(seen)):
                waiting.append(breed(found[:KEPT], {*seen, *waiting}, rng))
    return found[0], {k: seen[found[0]][k] / seen[GRU][k] for k in TASKS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1, help="candidates at a time")
    parser.add_argument("--out", type=Path, default=Path("search"))
    parser.add_argument("--candidates", type=int, default=100)
    parsed = parser.parse_args()
    most, parsed.steps = (20, 100) if parsed.quick else (10_000, 300)
    parsed.candidates = max(3, min(parsed.candidates, most))  # RNN, GRU and LSTM
    parsed.out.mkdir(parents=True, exist_ok=True)
    ours, begin, spent = [], os.times().elapsed, [0.0]
    for seed in parsed.seed:
        best, found = search(parsed, seed)
        ours.append(found)
        spent.append(sum(os.times()[:4]) / 60)
    rate = parsed.candidates * len(ours) * 60 / (os.times().elapsed - begin)
    minutes = ", ".join(f"{minute:.1f}" for minute in np.diff(spent))
    budget = f"{parsed.candidates} candidates, {minutes} core-minutes"
    print(f"\n{rate:.0f} candidates a minute\n")
    print("| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---" * 7 + "|")
    for name in TASKS:
        found = ", ".join(f"{worths[name]:.3f}" for worths in ours)
        row = (f"{name}, best beside GRU", PAPER, "1.028", "10,000 candidates", found)
        print(f"| {' | '.join(row)} | {budget} | ≥ 1 |")
    model, _ = learn(best, "tags", parsed.steps, parsed.seed[-1])
    xr.save(model.parts, parsed.out / "search.safetensors")
    xr.plot.cell(Tree(best)).savefig(parsed.out / "search.png", dpi=160)
    print(f"\npicture: {parsed.out / 'search.png'}")
    return not parsed.quick and any(w < 1 for worths in ours for w in worths.values())


if __name__ == "__main__":
    raise SystemExit(main())
