"""The gradients of `examples/draw.py`, `storn.py` and `vrnn.py` are wired by hand."""

import importlib.util

import numpy as np
import pytest
from variants import ROOT

SIZES = {"draw": (3, 2, 5), "storn": (8, 2, 5), "vrnn": (8, 2, 5)}
"""Steps, latent variables of each, hidden units; with one step it is the VAE."""
EPSILON = 1e-5


def load_model(name, sizes):
    """Return a model of a program, in float64."""
    for package in ("sklearn", "matplotlib"):
        pytest.importorskip(package, reason=f"needs {package}: extra examples")
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.DTYPE = "float64"
    return getattr(program, name.upper())(*sizes, seed=0)


def gradients_of(model, x, dbounds):
    """Return all gradients by the names of the weights."""
    model.rng = np.random.default_rng(5)
    _, cache = model.forward(x)
    found = {}
    for part, own in model.backward(cache, dbounds).weights.items():
        for name, dw in getattr(own, "weights", own).items():
            found[f"{part}.{name}"] = dw
    return found


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("steps", ["all", "one"])
def test_wired_gradients_are_central_differences(name, steps):
    sizes = SIZES[name] if steps == "all" else (1, *SIZES[name][1:])
    model, rng = load_model(name, sizes), np.random.default_rng(0)
    x, dbounds = rng.integers(0, 17, (3, 64)) / 16, rng.standard_normal(3)
    found, weights = gradients_of(model, x, dbounds), model.parameters()
    assert found.keys() == weights.keys()

    def loss():
        model.rng = np.random.default_rng(5)  # the same noise every time
        return float((model(x) * dbounds).sum())

    for key, weight in weights.items():
        for _ in range(3):
            place = tuple(rng.integers(size) for size in weight.shape)
            before = weight[place]
            weight[place] = before + EPSILON
            above = loss()
            weight[place] = before - EPSILON
            slope = (above - loss()) / (2 * EPSILON)
            weight[place] = before
            error = abs(found[key][place] - slope)
            assert error <= 1e-5 * (1 + abs(slope)), (key, place)
