"""The library itself, measured by the same frame as the others."""

from __future__ import annotations

from importlib import metadata

from exactrnn import engine
from exactrnn._checks import Array
from exactrnn.bench.rivals import Outcome, Prepared
from exactrnn.bench.rows import Problem, make_layer
from exactrnn.layers._results import Gradients

NAME = "exactrnn"


def version() -> str:
    """Return the version of the package."""
    return metadata.version("exactrnn")


def prepare(problem: Problem) -> Prepared:
    """Make the row ready."""
    engine.set_num_threads(problem.threads)
    row, x, dy = problem.row, problem.x, problem.dy
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
