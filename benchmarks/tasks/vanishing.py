"""Vanishing gradients: a simple RNN against the constant error carousel.

S. Hochreiter, diploma thesis, 1991; Y. Bengio, P. Simard, P. Frasconi, IEEE
Transactions on Neural Networks 5(2), 1994; S. Hochreiter, J. Schmidhuber, Neural
Computation 9(8), 1997. Nothing is trained. The gradient of a loss on the last state,
of norm 1 there, is followed back over a distance: |dL/dh_0| of simple RNNs with an
orthogonal R times s, and |dL/dc_0| of LSTMs with weights as they are made.

- A simple RNN keeps at most s^distance, for tanh' is at most 1 and R has no singular
  value above s; in truth it keeps less.
- The cell of 1997, without forget gate and with truncated gradients, keeps exactly 1.
- With a forget gate the direct path keeps the product of the gates: 0.73 a step with a
  bias of 1, 0.993 with 5. The other paths, through R, are added to it and may grow.

    python benchmarks/tasks/vanishing.py
"""

import harness
import numpy as np
from drawing import draw_curves, label_axes
from learning import count_parameters, make_sources

import exactrnn as xr

I, H = 8, 32
DISTANCES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100)
WARM_UP = 50  # steps before the first one that is looked at


def draw_direction(generator):
    """Return a gradient [1, 1, H] of norm 1."""
    direction = generator.standard_normal((1, 1, H))
    return direction / np.linalg.norm(direction)


def draw_orthogonal(generator):
    """Return an orthogonal matrix [H, H], uniformly distributed."""
    q, r = np.linalg.qr(generator.standard_normal((H, H)))
    return q * np.sign(np.diag(r))


def follow_back(layer, sources, gradient_of, tick):
    """Return the norm of the gradient at every distance from the last step."""
    x = sources.test.standard_normal((WARM_UP + DISTANCES[-1], 1, I))
    direction = draw_direction(sources.test)
    curve = [(0, float(np.linalg.norm(direction)))]
    for distance in DISTANCES:
        _, state = layer(x[:-distance])
        _, _, cache = layer.forward(x[-distance:], state)
        norm = float(np.linalg.norm(gradient_of(layer, cache, direction)))
        curve.append((distance, norm))
        tick(distance / DISTANCES[-1])
    return harness.Outcome(curve[-1][1], curve, count_parameters(layer))


def simple(scale):
    def gradient_of(layer, cache, direction):
        return layer.backward(cache, None, direction).state

    def run(job):
        sources = make_sources(job.seed)
        layer = xr.RNN(I, H, dtype="float64", seed=sources.layer)
        layer.weight_hh_l0 = scale * draw_orthogonal(sources.training)
        return follow_back(layer, sources, gradient_of, job.tick)

    return run


def gated(*, truncated=False, **options):
    def gradient_of(layer, cache, direction):
        kept = {"truncated": True} if truncated else {}
        dstate = (np.zeros_like(direction), direction)
        return layer.backward(cache, None, dstate, **kept).state[1]

    def run(job):
        sources = make_sources(job.seed)
        layer = xr.LSTM(I, H, dtype="float64", seed=sources.layer, **options)
        return follow_back(layer, sources, gradient_of, job.tick)

    return run


def draw(figure, outcomes):
    axes = figure.subplots()
    axes.set_yscale("log")
    draw_curves(axes, outcomes)
    label_axes(axes, "distance in time steps", "norm of dL/dh_0 (RNN), dL/dc_0 (LSTM)")


TASK = harness.Task(
    name="vanishing",
    title="What is left of a gradient after 100 steps",
    source="S. Hochreiter 1991; S. Hochreiter, J. Schmidhuber 1997",
    claim="the error of a simple RNN vanishes exponentially; in the constant error "
    "carousel it stays exactly as it is",
    score="norm of the gradient after 100 steps, 1 at the end",
    chance=f"at most 0.9^100 = {0.9**100:.2g} for R of scale 0.9",
    contestants={
        "RNN, R of 0.9": simple(0.9),
        "RNN, R of 1.2": simple(1.2),
        "LSTM, bias 1": gated(forget_bias=1.0),
        "LSTM, bias 5": gated(forget_bias=5.0),
        "carousel": gated(omit="f", truncated=True),
    },
    expected=[
        harness.Limit("RNN, R of 0.9", at_most=0.9**100),
        harness.Limit("carousel", at_least=1.0, at_most=1.0),
        harness.Ordering("RNN, R of 0.9", "LSTM, bias 5", factor=1e6),
    ],
    draw=draw,
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
