"""The continual embedded Reber grammar: forget gate against none.

F. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget: Continual Prediction with
LSTM", Neural Computation 12(10), 2000. Strings of the embedded Reber grammar follow
each other without end and without a mark of where one begins; the next symbol is to be
predicted. Most of that is local, but the last symbol but one repeats the second, T or
P, from before an inner string that tells nothing about it. That choice is the score:
whether of the two the right one is thought likelier, 1/2 by chance.

The cells without forget gate cannot be emptied between strings: they fill up.

    outer   B T inner T E           inner   0 -B-> 1   1 -T-> 2   1 -P-> 3
            B P inner P E                   2 -S-> 2   2 -X-> 4   3 -T-> 3   3 -V-> 5
                                            4 -X-> 3   4 -S-> 6   5 -P-> 4   5 -V-> 6
                                            6 -E-> end

    python benchmarks/tasks/reber.py
"""

import harness
import numpy as np
from drawing import draw_curves, label_axes, mark_level
from learning import Batch, Model, Plan, Trainer, make_sources, one_hot

import exactrnn as xr

SYMBOLS = "BTSXPVE"
INNER = (  # of each state: the symbols and the states they lead to; 7 is the end
    (("B", 1),),
    (("T", 2), ("P", 3)),
    (("S", 2), ("X", 4)),
    (("T", 3), ("V", 5)),
    (("X", 3), ("S", 6)),
    (("P", 4), ("V", 6)),
    (("E", 7),),
)
H = 8
CHUNK = 50  # steps that gradients flow back
PLAN = Plan(steps=3000, batch=16, lr=1e-2, tests=30)
TEST_STEPS, TEST_ROWS = 5000, 16


def draw_inner(generator):
    """Return one string of the Reber grammar; every choice is even."""
    state, letters = 0, []
    while state < len(INNER):
        ways = INNER[state]
        letter, state = ways[int(generator.random() * len(ways))]
        letters.append(letter)
    return "".join(letters)


def draw_outer(generator):
    """Return one string of the embedded grammar."""
    letter = "TP"[generator.integers(2)]
    return f"B{letter}{draw_inner(generator)}{letter}E"


class Streams:
    """Endless strings side by side, drawn chunk by chunk."""

    def __init__(self, generator, rows):
        self._generator = generator
        self._waiting = [("", "") for _ in range(rows)]

    def next(self, steps):
        """Return (Batch, which targets are the long-range choice [T, B]).

        The symbol after each chunk is the first of the next one.
        """
        chunks = [self._advance(row, steps) for row in range(len(self._waiting))]
        index = np.array([[SYMBOLS.index(s) for s in text] for text, _ in chunks]).T
        marks = np.array([[mark == "!" for mark in marks] for _, marks in chunks]).T
        x = one_hot(index[:-1], len(SYMBOLS))
        return Batch(x, np.ascontiguousarray(index[1:])), marks[1:]

    def _advance(self, row, steps):
        text, marks = self._waiting[row]
        while len(text) <= steps:
            string = draw_outer(self._generator)
            text += string
            marks += "." * (len(string) - 2) + "!."
        self._waiting[row] = text[steps:], marks[steps:]
        return text[: steps + 1], marks[: steps + 1]


def measure_choices(model, batch, marks):
    """Return (part of wrong choices between T and P, norm of the last cells)."""
    answer, state = model(batch.x)
    asked, wanted = answer[marks], batch.target[marks]
    t, p = SYMBOLS.index("T"), SYMBOLS.index("P")
    chosen = np.where(asked[:, t] > asked[:, p], t, p)
    norm = float(np.linalg.norm(state[1], axis=-1).mean())
    return float(np.mean(chosen != wanted)), norm


def contestant(**options):
    def run(job):
        plan, sources = PLAN.shortened(job.quick), make_sources(job.seed)
        layer = xr.LSTM(len(SYMBOLS), H, seed=sources.layer, **options)
        model = Model(layer, len(SYMBOLS), sources.readout, all_steps=True)
        test = Streams(sources.test, TEST_ROWS).next(200 if job.quick else TEST_STEPS)
        trainer = Trainer(model, xr.train.softmax_cross_entropy, plan)
        streams, state = Streams(sources.training, plan.batch), None
        error, norm = measure_choices(model, *test)
        curve = [(0, error)]
        for step in range(1, plan.steps + 1):
            _, state = trainer.step(streams.next(CHUNK)[0], state)
            if step % (plan.steps // plan.tests) == 0:
                error, norm = measure_choices(model, *test)
                curve.append((step * plan.batch * CHUNK, error))
            job.tick(step / plan.steps)
        extra = {"cell_norm": norm}
        return harness.Outcome(error, curve, model.num_parameters, extra)

    return run


def draw(figure, outcomes):
    axes = figure.subplots()
    draw_curves(axes, outcomes)
    mark_level(axes, 0.5, "chance, 1/2")
    label_axes(axes, "training symbols", "wrong long-range choices")


TASK = harness.Task(
    name="reber",
    title="Continual embedded Reber grammar",
    source="F. Gers, J. Schmidhuber, F. Cummins 2000",
    claim="LSTM without forget gate fails on the continual stream, with forget gate "
    "it solves the task",
    score="part of wrong choices between T and P before the end of a string",
    chance="1/2",
    contestants={"forget gate": contestant(), "no forget gate": contestant(omit="f")},
    expected=[
        harness.Limit("forget gate", at_most=0.05),
        harness.Ordering("forget gate", "no forget gate", factor=4),
    ],
    draw=draw,
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
