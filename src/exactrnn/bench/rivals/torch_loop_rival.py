"""A loop in PyTorch: what one writes where torch has no layer for a cell.

The steps are those of `_torch_steps.py`, `_torch_definition.py` and `_torch_grid.py`.
The loop is given what it can be given for nothing: the input product is taken out of
it, weights are split before it, inference runs in inference mode. It is measured where
it is asked for (`run.py --all-cells`), not beside the other rivals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from exactrnn.bench.rivals import Outcome, Prepared
from exactrnn.bench.rows import TRAINING, Problem

NAME = "torch_loop"


def version() -> str:
    """Return the version of torch."""
    import torch

    return str(torch.__version__)


def has_loop(layer_class: type[Any]) -> bool:
    """Tell whether a layer of this class is written as a loop, asking torch nothing."""
    text = files("exactrnn.bench.rivals").joinpath("_torch_steps.py").read_text("utf-8")
    name = layer_class.__name__
    return name in ("TimeDepthGridLSTM", "Layer") or f'    "{name}": ' in text


def prepare(problem: Problem) -> Prepared | None:
    """Make the row ready."""
    import torch

    row = problem.row
    if row.task in ("step", TRAINING) or not has_loop(row.layer_class):
        return None
    torch.set_num_threads(problem.threads)
    weights = {k: torch.from_numpy(w) for k, w in problem.weights.items()}
    x, dy = torch.from_numpy(problem.x), torch.from_numpy(problem.dy)
    lengths = None if row.lengths is None else torch.from_numpy(row.lengths)
    layer = (row.layer_class.__name__, row.options, (row.layers, row.directions))

    def forward() -> Any:
        return make_loop(weights, *layer)(x, None, lengths)[0]

    if row.task == "gradients":
        wanted = [x, *weights.values()]
        for tensor in wanted:
            tensor.requires_grad_()
        return Prepared(
            lambda: torch.autograd.grad(forward(), wanted, dy),
            lambda found: read_gradients(found, weights),
        )

    def run() -> Any:
        with torch.inference_mode():
            return forward()

    return Prepared(run, lambda y: {"y": y.numpy()})


def make_loop(
    weights: Mapping[str, Any],
    name: str,
    options: Mapping[str, Any],
    size: tuple[int, int],
) -> Callable[..., tuple[Any, tuple[Any, ...]]]:
    """Return a layer as a function of x, state and lengths; state None for zeros.

    Parameters
    ----------
    weights : mapping of str to Tensor
        As the layer has them.
    name : str
        Of the layer's class.
    options : mapping
        The layer's options beyond sizes.
    size : tuple of int
        Layers and directions.

    Returns
    -------
    callable
        Gives output and final state, as the layer does.
    """
    from exactrnn.bench.rivals import _torch_grid, _torch_stack

    if name == "TimeDepthGridLSTM":
        grids = _torch_grid.make_grids(weights, options, size)
        return partial(_torch_grid.run_grid, grids)
    cells = _torch_stack.make_cells(name, weights, options, size)
    return partial(_torch_stack.run_stack, cells)


def read_gradients(found: Any, names: Iterable[str]) -> Outcome:
    """Return the gradients by name."""
    dx, *dweights = found
    return {"x": dx.numpy()} | {
        name: d.numpy() for name, d in zip(names, dweights, strict=True)
    }
