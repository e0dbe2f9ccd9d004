"""Counting: a^n b^n, trained on short strings, tried on long ones.

F. Gers, J. Schmidhuber, "LSTM Recurrent Networks Learn Simple Context-Free and
Context-Sensitive Languages", IEEE Transactions on Neural Networks 12(6), 2001; the
peepholes are those of "Recurrent Nets that Time and Count", IJCNN 2000. Input S a^n b^n
symbol by symbol; T ends the string. Wanted are at every step the symbols that may come
next, each by a logistic output: a or b after an a, for how many there will be cannot be
known; from the first b on exactly one, by counting. A string is accepted if at every
step the right symbols and no others are above 1/2.

The score is the largest N such that all strings with n = 1 ... N are accepted, counted
up to 1000, after training with n up to 10 alone.

    python benchmarks/tasks/anbn.py
"""

import harness
import numpy as np
from drawing import draw_curves, label_axes, mark_level
from learning import Batch, Model, Plan, Trainer, make_sources, one_hot, train

import exactrnn as xr

SYMBOLS = "SabT"
S, A, B, T = range(4)
LONGEST_TRAINED = 10
LONGEST_TRIED = 1000
LONGEST_BETWEEN = 100  # of the tests during training
H = 4
FORGET_BIAS = 3.0
PLAN = Plan(steps=10_000, batch=16, lr=2e-2, tests=30)


def make_batch(counts):
    """Return S a^n b^n [T, B, 4] and what may come next: 1 or 0, -1 past the end."""
    counts = np.asarray(counts)
    t = np.arange(2 * counts.max() + 1)[:, None]
    lengths = 2 * counts + 1
    text = np.where(t == 0, S, np.where(t <= counts, A, B))
    target = np.zeros((*text.shape, len(SYMBOLS)), np.float32)
    target[..., A] = t <= counts
    target[..., B] = (t >= 1) & (t < lengths - 1)
    target[..., T] = t == lengths - 1
    target[t >= lengths] = -1
    return Batch(one_hot(text, len(SYMBOLS)), target, lengths)


def logistic_loss(answer, target):
    """Return the mean cross-entropy of logistic outputs, and its gradient."""
    known = target >= 0
    count = np.float32(known.sum())
    surprise = np.logaddexp(0, np.where(target > 0, -answer, answer))
    likely = np.exp(-np.logaddexp(0, -answer))
    slope = np.where(known, (likely - target) / count, np.float32(0))
    return float(surprise.sum(where=known) / count), slope


def accepted(answer, target):
    """Return which strings [B] are accepted."""
    return ((target < 0) | ((answer > 0) == (target > 0))).all(axis=(0, 2))


def longest_accepted(model, longest):
    """Return the largest N up to `longest` such that n = 1 ... N are accepted."""
    for first in range(1, longest + 1, LONGEST_BETWEEN):
        counts = np.arange(first, min(first + LONGEST_BETWEEN, longest + 1))
        batch = make_batch(counts)
        answer, _ = model(batch.x, lengths=batch.lengths)
        right = accepted(answer, batch.target)
        if not right.all():
            return first - 1 + int(right.argmin())
    return longest


def contestant(cell, **options):
    def run(job):
        plan, sources = PLAN.shortened(job.quick), make_sources(job.seed)
        layer = cell(len(SYMBOLS), H, seed=sources.layer, **options)
        model = Model(layer, len(SYMBOLS), sources.readout, all_steps=True)
        draws = sources.training
        curve = train(
            Trainer(model, logistic_loss, plan),
            lambda: make_batch(draws.integers(1, LONGEST_TRAINED + 1, plan.batch)),
            plan,
            lambda: longest_accepted(model, LONGEST_BETWEEN),
            job.tick,
        )
        longest = longest_accepted(model, LONGEST_TRIED)
        return harness.Outcome(longest, curve, model.num_parameters)

    return run


def draw(figure, outcomes):
    axes = figure.subplots()
    draw_curves(axes, outcomes)
    mark_level(axes, LONGEST_TRAINED, "longest in training")
    label_axes(
        axes, "training sequences", f"accepted up to n (tried to {LONGEST_BETWEEN})"
    )


TASK = harness.Task(
    name="anbn",
    title="a^n b^n, trained with n up to 10",
    source="F. Gers, J. Schmidhuber 2001",
    claim="LSTM with peepholes learns to count: trained with n up to 10 it accepts n "
    "up to 1000",
    score=f"all n up to this are accepted (tried to {LONGEST_TRIED})",
    chance="0",
    contestants={
        "peepholes": contestant(xr.LSTM, peepholes="ifo", forget_bias=FORGET_BIAS),
        "LSTM": contestant(xr.LSTM, forget_bias=FORGET_BIAS),
        "RNN": contestant(xr.RNN),
    },
    expected=[
        harness.Ordering("LSTM", "peepholes", factor=3, of="mean"),
        harness.Ordering("RNN", "peepholes", factor=10, of="mean"),
    ],
    draw=draw,
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
