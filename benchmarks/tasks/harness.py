"""What every task does: run all contestants over seeds, print, judge, draw.

    python benchmarks/tasks/adding.py [--seeds 3] [--quick] [--png FILE] [--json FILE]

A task is data: what the paper says, the contestants, and what is expected of their
scores. Expected are orderings with a margin over all seeds, never exact values, for
those depend on the seeds. The exit status is 1 if one of them does not hold.

A contestant is a function of a `Job` that returns an `Outcome`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

import exactrnn as xr


def spell(number):
    """Return three digits of a number, or all before its point."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.3g}"


class Job(NamedTuple):
    """One run of one contestant; `tick` is told the fraction of it that is done."""

    seed: int
    quick: bool
    tick: Callable[[float], None]


@dataclass(frozen=True)
class Outcome:
    """What one run of one contestant found.

    `curve` holds the points of the plot, `parameters` counts what is trained with the
    two biases of a layer as one, as papers do.
    """

    score: float
    curve: list[tuple[float, float]]
    parameters: int
    extra: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Ordering:
    """Every score of `low`, times a factor, is at most every score of `high`.

    With `of` "mean" the means over the seeds are compared instead: for contestants
    that lie near each other.
    """

    low: str
    high: str
    factor: float = 1.0
    of: str = "every seed"

    def judge(self, scores):
        """Return (whether it holds, the ordering in words)."""
        if self.of == "mean":
            low, high = np.mean(scores[self.low]), np.mean(scores[self.high])
        else:
            low, high = np.max(scores[self.low]), np.min(scores[self.high])
        margin = "" if self.factor == 1 else f"{self.factor:g} times "
        words = f"{margin}{self.low} at most {self.high}, {self.of}: "
        words += f"{spell(low * self.factor)} <= {spell(high)}"
        return bool(low * self.factor <= high), words


@dataclass(frozen=True)
class Limit:
    """Every score of one contestant lies between two numbers."""

    name: str
    at_least: float = -np.inf
    at_most: float = np.inf

    def judge(self, scores):
        """Return (whether it holds, the limits in words)."""
        low, high = np.min(scores[self.name]), np.max(scores[self.name])
        words = [self.name]
        if self.at_least > -np.inf:
            words.append(f"at least {spell(self.at_least)}")
        if self.at_most < np.inf:
            words.append(f"at most {spell(self.at_most)}")
        words.append(f"every seed: {spell(low)} to {spell(high)}")
        return bool(self.at_least <= low and high <= self.at_most), ", ".join(words)


@dataclass(frozen=True)
class Task:
    """One result of the literature at small scale."""

    name: str
    title: str
    source: str
    claim: str
    score: str
    chance: str
    contestants: dict[str, Callable[[Job], Outcome]]
    expected: list[Ordering | Limit]
    draw: Callable


class Bar:
    """How far all runs are: a bar on a terminal, a line for each run elsewhere."""

    def __init__(self, runs):
        self._done, self._runs, self._bar = 0, runs, None
        if not sys.stderr.isatty():
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        layout = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}<{remaining}"
        self._bar = tqdm(total=runs, bar_format=layout, dynamic_ncols=True, leave=False)

    def begin(self, name, seed):
        if self._bar is not None:
            self._bar.set_description_str(f"{name}, seed {seed}")

    def tick(self, fraction):
        if self._bar is not None:
            self._bar.update(self._done + fraction - self._bar.n)

    def end(self, name, seed, score):
        self._done += 1
        self.tick(0.0)
        if self._bar is None:
            words = f"{self._done}/{self._runs}  {name}, seed {seed}: {spell(score)}"
            print(words, file=sys.stderr, flush=True)

    def close(self):
        if self._bar is not None:
            self._bar.close()


def run_contestants(task, seeds, quick):
    """Return {contestant: [Outcome of each seed]}."""
    outcomes = {name: [] for name in task.contestants}
    bar = Bar(len(seeds) * len(outcomes))
    try:
        with xr.threads(1):  # the matrices are small: threads would only wait
            for name, run in task.contestants.items():
                for seed in seeds:
                    bar.begin(name, seed)
                    outcome = run(Job(seed, quick, bar.tick))
                    outcomes[name].append(outcome)
                    bar.end(name, seed, outcome.score)
    finally:
        bar.close()
    return outcomes


def scores_of(outcomes):
    """Return {contestant: its scores [seeds]}."""
    return {name: np.array([o.score for o in runs]) for name, runs in outcomes.items()}


def format_table(task, outcomes, seeds):
    """Return the scores of every contestant and seed as lines."""
    width = max(len(name) for name in outcomes)
    head = [f"seed {seed}" for seed in seeds] + ["mean"]
    cells = "".join(f"{word:>11}" for word in ["parameters", *head])
    lines = [f"{task.score}", f"{'':{width}}{cells}"]
    for name, scores in scores_of(outcomes).items():
        numbers = [*scores, scores.mean()]
        cells = "".join(f"{spell(number):>11}" for number in numbers)
        parameters = outcomes[name][0].parameters
        lines.append(f"{name:{width}}{parameters:>11,}{cells}")
    return lines


def judge(task, outcomes):
    """Return [(whether it holds, words)] of all that is expected."""
    scores = scores_of(outcomes)
    return [expectation.judge(scores) for expectation in task.expected]


def save_plot(task, outcomes, path):
    """Draw and save; return what to say about it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "none: it needs matplotlib, pip install 'exactrnn[plot]'"
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    task.draw(figure, outcomes)
    figure.suptitle(task.title, fontsize=10)
    figure.savefig(path)
    return str(path)


def save_json(path, task, outcomes, report):
    """Write all figures, so that runs can be compared."""
    runs = {
        name: [asdict(outcome) for outcome in group] for name, group in outcomes.items()
    }
    about = {
        "task": task.name,
        "exactrnn": xr.__version__,
        "numerics_version": xr.NUMERICS_VERSION,
        "isa": xr.isa(),
    }
    content = json.dumps(about | report | {"outcomes": runs}, indent=1)
    path.write_text(f"{content}\n", encoding="utf-8")


def parse(task, arguments):
    parser = argparse.ArgumentParser(description=f"{task.title}. {task.source}.")
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="run seeds 0 to N-1"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few steps to see that it runs: nothing is judged",
    )
    parser.add_argument(
        "--png", type=Path, default=Path(f"{task.name}.png"), metavar="FILE"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parsed = parser.parse_args(arguments)
    if parsed.seeds < 1:
        parser.error(f"--seeds: expected at least 1, got {parsed.seeds}")
    for path in (parsed.png, parsed.json):
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"{path}: there is no directory {path.absolute().parent}")
    return parsed


def main(task, arguments=None):
    """Run a task from the command line; return the exit status."""
    parsed = parse(task, arguments)
    seeds = list(range(parsed.seeds))
    print(f"{task.title}\n{task.source}")
    print(f"paper   {task.claim}\nchance  {task.chance}\n", flush=True)
    begin = time.perf_counter()
    outcomes = run_contestants(task, seeds, parsed.quick)
    seconds = time.perf_counter() - begin
    print("\n".join(format_table(task, outcomes, seeds)), end="\n\n")
    verdicts = [] if parsed.quick else judge(task, outcomes)
    for holds, words in verdicts:
        print(f"{'holds' if holds else 'FAILS'}   {words}")
    if parsed.quick:
        print("quick   too short a training to judge")
    print(f"plot    {save_plot(task, outcomes, parsed.png)}")
    print(f"time    {seconds:.0f} s")
    if parsed.json:
        report = {"seconds": seconds, "quick": parsed.quick, "verdicts": verdicts}
        save_json(parsed.json, task, outcomes, report)
    failed = sum(not holds for holds, _ in verdicts)
    if failed:
        count = f"{failed} of {len(verdicts)}"
        print(f"{task.name}: {count} orderings do not hold", file=sys.stderr)
    return 1 if failed else 0
