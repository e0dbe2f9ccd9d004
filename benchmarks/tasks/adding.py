"""The adding problem: remember two of a hundred numbers and add them.

S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997,
experiment 4, in the form of Q. Le, N. Jaitly, G. Hinton, arXiv 1504.00941, 2015: at
every step a number from U(0, 1) and a marker; one step of the first half and one of the
second are marked, and the sum of their numbers is asked for after the last step.

Always answering 1 gives a mean squared error of 1/6: the variance of the sum of two
uniform numbers. (0.1767, which is often printed, is a mistake that was copied.)

    python benchmarks/tasks/adding.py
"""

import harness
import numpy as np
from drawing import learning_curves
from learning import Batch, Model, Plan, Trainer, make_sources, squared_error, train

import exactrnn as xr

T = 100
H = 8
CHANCE = 1 / 6
PLAN = Plan(steps=8000, batch=32, lr=5e-3)
TEST_SIZE = 1000


def draw_batch(generator, steps, rows):
    """Return numbers and markers [T, B, 2], and sums [B, 1]."""
    x = np.zeros((steps, rows, 2), np.float32)
    x[..., 0] = generator.random((steps, rows), np.float32)
    half, every = steps // 2, np.arange(rows)
    marked = (generator.integers(half, size=rows),)
    marked += (generator.integers(half, steps, size=rows),)
    target = np.zeros((rows, 1), np.float32)
    for t in marked:
        x[t, every, 1] = 1
        target[:, 0] += x[t, every, 0]
    return Batch(x, target)


def learn(layer, sources, plan, steps, tick):
    """Train a layer on sequences of so many steps; return the outcome."""
    model = Model(layer, 1, sources.readout)
    test = draw_batch(sources.test, steps, TEST_SIZE)
    trainer = Trainer(model, xr.train.mean_squared_error, plan)
    curve = train(
        trainer,
        lambda: draw_batch(sources.training, steps, plan.batch),
        plan,
        lambda: squared_error(model, test),
        tick,
    )
    return harness.Outcome(curve[-1][1], curve, model.num_parameters)


def contestant(cell):
    def run(job):
        sources = make_sources(job.seed)
        layer = cell(2, H, seed=sources.layer)
        return learn(layer, sources, PLAN.shortened(job.quick), T, job.tick)

    return run


TASK = harness.Task(
    name="adding",
    title=f"Adding problem, T = {T}",
    source="S. Hochreiter, J. Schmidhuber 1997, experiment 4",
    claim="LSTM (93 weights) solves it after 74,000 sequences, with at most 3 of 2560 "
    "wrong; a simple recurrent network does not",
    score="mean squared error on 1000 test sequences",
    chance="1/6 = 0.1667 (always answering 1)",
    contestants={"LSTM": contestant(xr.LSTM), "RNN": contestant(xr.RNN)},
    expected=[
        harness.Limit("LSTM", at_most=CHANCE / 20),
        harness.Ordering("LSTM", "RNN", factor=10),
    ],
    draw=learning_curves(score="test MSE", chance=CHANCE, words="chance, 1/6"),
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
