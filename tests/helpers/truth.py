"""Random layers and arrays whose results others compute too, and the comparison."""

import numpy as np
from variants import make_layer

TOLERANCE = 1e-12
T, B, I, H = 7, 3, 4, 10
LENGTHS = (5, 7, 2)
CLOCK = np.array([0, 3, 7])
"""What the clock of each row shows before the first step."""


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def assert_close(name, got, want, tolerance=TOLERANCE):
    """Fail unless got is want up to tolerance, relative to want's largest element."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, name
    scale = np.abs(want).max()
    assert scale > 1e-6, f"{name}: the case is too tame to show a fault"
    error = np.abs(got - want).max() / scale
    assert error <= tolerance, f"{name} is off by {error}"


def assert_all_close(got, want, tolerance=TOLERANCE):
    assert got.keys() == want.keys()
    for name in want:
        assert_close(name, got[name], want[name], tolerance)


def draw_layer(name, dtype="float64", sizes=(I, H), **options):
    """Return a layer whose weights are random, distinct and not small."""
    return draw_weights(make_layer(name, *sizes, dtype=dtype, seed=0, **options))


def draw_weights(layer):
    """Give a layer such weights, and return it."""
    rng = np.random.default_rng(1)
    weights = layer.state_dict()
    drawn = {n: 0.6 * rng.normal(size=w.shape) for n, w in weights.items()}
    layer.load_state_dict({n: w.astype(layer.dtype) for n, w in drawn.items()})
    return layer


def draw_arrays(layer, lengths=None):
    """Return random x, state, dy, dstate; 0 in the padding of x and dy."""
    rng = np.random.default_rng(2)
    config = layer._spec
    D = config.directions
    active = np.arange(T)[:, None, None] < np.reshape(lengths or [T] * B, (B, 1))
    x = np.where(active, rng.normal(size=(T, B, I)), 0)
    dy = np.where(active, rng.normal(size=(T, B, D * config.output_size)), 0)
    widths = [width for _, _, width in config.state_parts]
    shapes = [(config.num_layers * D, B, width) for width in widths]
    state, dstate = (tuple(0.7 * rng.normal(size=s) for s in shapes) for _ in "01")
    return tuple(
        [a.astype(layer.dtype) for a in part] for part in ((x,), state, (dy,), dstate)
    )


def run_layer(layer, arrays, lengths=None, **options):
    """Return outputs, states and gradients of the kernels by name."""
    [x], state, [dy], dstate = arrays
    names, counts = layer.state_names, layer.counts_steps
    state, dstate = (tuple(p) if len(p) > 1 else p[0] for p in (state, dstate))
    given = (state, CLOCK) if counts else state
    y, final, cache = layer.forward(x, given, lengths=lengths)
    grads = layer.backward(cache, dy, dstate, **options)
    final = as_tuple(final)[:1] if counts else as_tuple(final)
    found = {"y": y, "dx": grads.x}
    found |= {f"{s}_n": v for s, v in zip(names, final, strict=True)}
    found |= {f"d{s}_0": v for s, v in zip(names, as_tuple(grads.state), strict=True)}
    return found | {f"d{name}": dw for name, dw in grads.weights.items()}
