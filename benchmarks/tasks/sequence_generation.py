"""Generating a sequence from nothing: clockwork against simple RNN and LSTM.

J. Koutnik, K. Greff, F. Gomez, J. Schmidhuber, "A Clockwork RNN", ICML 2014, arXiv
1402.3511, section 4.1. The network has no input and has to produce 320 points, all
frequencies of them, out of its own state. The paper's snippets of music are not free;
here the target is a sum of four sine waves with periods of 8, 32, 80 and 160 steps,
with phases that depend on the seed, scaled to [-1, 1]. All networks have about 2500
parameters; the layers' input is one zero at every step. Each learns at the rate that
was best for it on seeds 0 and 1, of 1e-2, 3e-3 and 1e-3, for LSTM and RNN also 3e-4; in
the paper, too, LSTM has its own.

The score is the error relative to the target's variance: 1 for its mean.

    python benchmarks/tasks/sequence_generation.py
"""

from dataclasses import replace

import harness
import numpy as np
from drawing import COLORS, INK, draw_curves, label_axes, mark_level
from learning import Batch, Model, Plan, Trainer, make_sources, train

import exactrnn as xr

T = 320
WAVES = (8, 32, 80, 160)
PERIODS = (1, 2, 4, 8, 16, 32, 64, 128)
PLAN = Plan(steps=2000, batch=1, lr=0.0, tests=50)  # each has a rate of its own


def make_target(generator):
    """Return the sequence [T, 1, 1], its largest value 1 in size."""
    phases = generator.uniform(0, 2 * np.pi, len(WAVES))
    t = np.arange(T)[:, None]
    wave = np.sin(2 * np.pi * t / np.array(WAVES) + phases).sum(axis=1)
    return (wave / np.abs(wave).max()).astype(np.float32)[:, None, None]


def contestant(make_layer, lr):
    def run(job):
        plan, sources = PLAN.shortened(job.quick), make_sources(job.seed)
        plan = replace(plan, lr=lr)
        model = Model(make_layer(sources.layer), 1, sources.readout, all_steps=True)
        target = make_target(sources.test)
        batch = Batch(np.zeros_like(target), target)

        def measure():
            answer, _ = model(batch.x)
            return float(np.mean((answer - target) ** 2) / np.var(target))

        trainer = Trainer(model, xr.train.mean_squared_error, plan)
        curve = train(trainer, lambda: batch, plan, measure, job.tick)
        answer, _ = model(batch.x)
        extra = {"target": target.ravel().tolist(), "answer": answer.ravel().tolist()}
        return harness.Outcome(curve[-1][1], curve, model.num_parameters, extra)

    return run


def draw(figure, outcomes):
    left, right = figure.subplots(1, 2)
    left.set_yscale("log")
    draw_curves(left, outcomes)
    mark_level(left, 1, "the mean")
    label_axes(left, "training steps", "squared error / variance")
    for k, (name, runs) in enumerate(outcomes.items()):
        extra = runs[0].extra
        if k == 0:
            right.plot(extra["target"], color=INK, linewidth=2, alpha=0.35)
        right.plot(extra["answer"], color=COLORS[k], linewidth=0.9, label=name)
    label_axes(right, "time step", "target (grey) and output, seed 0")


TASK = harness.Task(
    name="sequence_generation",
    title="Generating 320 points of four sine waves",
    source="J. Koutnik, K. Greff, F. Gomez, J. Schmidhuber 2014, section 4.1",
    claim="error relative to the variance, largest networks: clockwork 0.007, LSTM "
    "0.04, RNN 0.46",
    score="squared error relative to the variance of the target",
    chance="1 (the target's mean)",
    contestants={
        "clockwork": contestant(
            lambda seed: xr.ClockworkRNN(1, 64, periods=PERIODS, seed=seed), 1e-2
        ),
        "LSTM": contestant(
            lambda seed: xr.LSTM(1, 24, forget_bias=5.0, seed=seed), 1e-3
        ),
        "RNN": contestant(lambda seed: xr.RNN(1, 48, seed=seed), 3e-4),
    },
    expected=[
        harness.Ordering("clockwork", "LSTM", factor=10),
        harness.Ordering("LSTM", "RNN", factor=1.2),
    ],
    draw=draw,
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
