"""A recurrent layer with a linear readout, and its training with Adam.

Every task trains in the same way: batches drawn anew for every step, gradients clipped
by their global norm, a learning rate that falls linearly to 0, and a test on sequences
that training does not see, at regular intervals. All randomness comes from the seed of
the run.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

import exactrnn as xr


class Batch(NamedTuple):
    """Sequences side by side, and what is wanted of them.

    x is [T, B, I]; `target` is [B, ...] for a model that reads the last outputs,
    [T, B, ...] for one that reads all. `lengths` [B] says where each sequence ends.
    """

    x: np.ndarray
    target: np.ndarray
    lengths: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; `tests` is how often to look."""

    steps: int
    batch: int
    lr: float
    clip: float = 1.0
    tests: int = 25

    def shortened(self, quick):
        """Return the plan, or what is left of it for a quick look."""
        return replace(self, steps=20, batch=8, tests=2) if quick else self


class Sources(NamedTuple):
    """Independent seeds and generators made from the seed of a run."""

    layer: int
    readout: int
    training: np.random.Generator
    test: np.random.Generator


def make_sources(seed):
    """Return what a run draws from; the test is the same for all contestants."""
    parts = np.random.SeedSequence(seed).spawn(4)
    layer, readout = (int(part.generate_state(1)[0]) for part in parts[:2])
    return Sources(layer, readout, *map(np.random.default_rng, parts[2:]))


def count_parameters(layer):
    """Return the trained values, with the two biases counted as the one they are."""
    weights = layer.state_dict()
    twice = sum(w.size for name, w in weights.items() if name.startswith("bias_hh"))
    return layer.num_parameters - twice


class Model:
    """A layer, and a linear readout of its last outputs or (`all_steps`) of all."""

    def __init__(self, layer, outputs, seed, *, all_steps=False):
        self.layer = layer
        self.all_steps = all_steps
        self.readout = xr.train.Linear(
            layer.hidden_size, outputs, dtype=layer.dtype, seed=seed
        )

    @property
    def num_parameters(self):
        """Trained values of layer and readout."""
        return count_parameters(self.layer) + self.readout.num_parameters

    def parameters(self):
        """Return the arrays that training changes."""
        layer, readout = self.layer.parameters(), self.readout.parameters()
        return self._named(layer, readout)

    def __call__(self, x, *, state=None, lengths=None):
        """Return what is read, and the state after the last step."""
        y, state = self.layer(x, state, lengths=lengths)
        return self.readout(y if self.all_steps else y[ends(y, lengths)]), state

    def loss_and_gradients(self, batch, loss, state=None):
        """Run forward and back; return loss, gradients by name and the new state."""
        y, state, cache = self.layer.forward(batch.x, state, lengths=batch.lengths)
        where = slice(None) if self.all_steps else ends(y, batch.lengths)
        answer, readout_cache = self.readout.forward(y[where])
        value, danswer = loss(answer, batch.target)
        readout = self.readout.backward(readout_cache, danswer)
        dy = np.zeros_like(y)
        dy[where] = readout.x
        weights = self.layer.backward(cache, dy).weights
        return value, self._named(weights, readout.weights), state

    def _named(self, layer, readout):
        named = {f"layer.{name}": array for name, array in layer.items()}
        return named | {f"readout.{name}": array for name, array in readout.items()}


def ends(y, lengths):
    """Return the index of the last output of every row of y [T, B, H]."""
    steps, rows, _ = y.shape
    last = np.full(rows, steps - 1) if lengths is None else lengths - 1
    return last, np.arange(rows)


class Trainer:
    """Adam's steps on one model: clipped gradients, a rate that falls to 0."""

    def __init__(self, model, loss, plan):
        self._model, self._loss, self._plan = model, loss, plan
        self._optimizer = xr.train.Adam(model, lr=plan.lr)
        self._steps = 0

    def step(self, batch, state=None):
        """Learn from one batch; return loss and the state after it.

        A step whose gradients are not finite is left out: clipping cannot mend it.
        """
        model, loss = self._model, self._loss
        value, gradients, state = model.loss_and_gradients(batch, loss, state)
        norm = xr.train.clip_global_norm(gradients, self._plan.clip)
        self._optimizer.lr = self._plan.lr * (1 - self._steps / self._plan.steps)
        self._steps += 1
        if math.isfinite(norm):
            self._optimizer.step(gradients)
        return value, state


def train(trainer, draw, plan, measure, tick):
    """Train on batches from `draw()`; return [(sequences seen, `measure()`)]."""
    curve = [(0, measure())]
    every = max(1, plan.steps // plan.tests)
    for step in range(1, plan.steps + 1):
        trainer.step(draw())
        if step % every == 0 or step == plan.steps:
            curve.append((step * plan.batch, measure()))
        tick(step / plan.steps)
    return curve


def one_hot(index, size):
    """Return float32 [..., size] with a one at each index."""
    return np.eye(size, dtype=np.float32)[index]


def squared_error(model, batch):
    """Return the mean squared error of a model on a batch."""
    answer, _ = model(batch.x, lengths=batch.lengths)
    return xr.train.mean_squared_error(answer, batch.target)[0]


def error_rate(model, batch):
    """Return the part of a batch that a model puts into a wrong class."""
    answer, _ = model(batch.x, lengths=batch.lengths)
    return float(np.mean(answer.argmax(-1) != batch.target))
