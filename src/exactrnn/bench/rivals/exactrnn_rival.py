"""The library itself, measured by the same frame as the others."""

from __future__ import annotations

import itertools
from importlib import metadata

import numpy as np

from exactrnn import engine
from exactrnn._checks import Array
from exactrnn.bench.rivals import Outcome, Prepared
from exactrnn.bench.rows import (
    CLIP,
    LEARNING_RATE,
    TRAINING,
    Problem,
    make_layer,
    make_model,
)
from exactrnn.layers._results import Gradients
from exactrnn.train import Adam, clip_global_norm

NAME = "exactrnn"


def version() -> str:
    """Return the version of the package."""
    return metadata.version("exactrnn")


def prepare(problem: Problem) -> Prepared:
    """Make the row ready."""
    engine.set_num_threads(problem.threads)
    row, x, dy = problem.row, problem.x, problem.dy
    if row.task == TRAINING:
        return prepare_training(problem)
    layer = make_layer(row)
    layer.load_state_dict(problem.weights)
    if row.task == "step":
        stream = layer.stream(batch_size=row.B)
        x_t = x[0]
        return Prepared(lambda: stream.step(x_t), lambda y: {"y": y[None].copy()})
    lengths = row.lengths
    if row.task == "forward":
        return Prepared(lambda: layer(x, lengths=lengths)[0], lambda y: {"y": y})

    def run() -> Gradients[Array]:
        cache = layer.forward(x, lengths=lengths)[2]
        gradients: Gradients[Array] = layer.backward(cache, dy)
        return gradients

    return Prepared(run, read_gradients)


def read_gradients(gradients: Gradients[Array]) -> Outcome:
    """Return the gradients by name."""
    return {"x": gradients.x, **gradients.weights}


def prepare_training(problem: Problem) -> Prepared:
    """Make the training steps of a character model ready, the state carried on."""
    model = make_model(problem.row)
    model.load_state_dict(problem.weights)
    optimizer = Adam(model, LEARNING_RATE)
    chunks = itertools.cycle(problem.x)
    state = None

    def run() -> tuple[float, dict[str, Array]]:
        nonlocal state
        chunk = next(chunks)
        loss, gradients, state = model.loss_and_gradients(chunk[:-1], chunk[1:], state)
        clip_global_norm(gradients, CLIP)
        optimizer.step(gradients)
        return loss, gradients

    return Prepared(run, lambda made: {"loss": np.array(made[0]), **made[1]})
