"""Mackey-Glass: an echo state network goes on with a chaotic series by itself.

H. Jaeger, H. Haas, "Harnessing Nonlinearity: Predicting Chaotic Systems and Saving
Energy in Wireless Communication", Science 304, 2004. The series (M. Mackey, L. Glass,
Science 197, 1977)

    x' = 0.2 x(t-17) / (1 + x(t-17)^10) - 0.1 x(t)

is shown for 3000 time units, as tanh(x - 1); then the network is fed its own
predictions. 1000 units, leak 0.3 and spectral radius 1.25 are those of a demonstration
of M. Lukoševičius that goes around; with a leak like this the states need some hundred
steps to forget where they began, so the washout is 300. Beside it a small reservoir,
and a linear prediction from the last 32 values.

The score is the root of the mean squared error 84 steps ahead, relative to the standard
deviation, over 25 later places of the series. At each the network has seen 1000 values.

    python benchmarks/tasks/mackey_glass.py
"""

import harness
import numpy as np
from drawing import COLORS, INK, draw_curves, label_axes, mark_level
from learning import make_sources

import exactrnn as xr

DELAY = 17
STEPS_A_UNIT = 10
SETTLING = 1000  # time units before the first one that is used

WASHOUT, SHOWN = 300, 3000
PLACES, APART, SEEN, AHEAD = 25, 60, 1000, 300
JUDGED = 84  # steps ahead
ORDER = 32  # values that the linear prediction sees
RIDGE = 1e-10
FAR = 10.0  # where a free run that has left the series for good is stopped


def mackey_glass(
    generator, size, steps_a_unit=STEPS_A_UNIT, *, settling=SETTLING, every=None
):
    """Return `size` values of the settled series, one for every time unit.

    With `every` there is one for so many steps instead.

    Runge-Kutta steps of fourth order; the delayed value in the middle of a step is a
    cubic through the four values around it. The history before the start is random.
    """
    lag, dt = DELAY * steps_a_unit, 1 / steps_a_unit
    count = (settling + size) * steps_a_unit
    x = [1.2 + 0.2 * float(generator.uniform(-1, 1))] * (lag + 1)

    def slope(value, delayed):
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * value

    for n in range(lag, lag + count - 1):
        before = x[max(n - lag - 1, 0)]
        begin, end, after = x[n - lag : n - lag + 3]
        middle = (9 * (begin + end) - before - after) / 16
        k1 = slope(x[n], begin)
        k2 = slope(x[n] + dt / 2 * k1, middle)
        k3 = slope(x[n] + dt / 2 * k2, middle)
        k4 = slope(x[n] + dt * k3, end)
        x.append(x[n] + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.array(x[lag + settling * steps_a_unit :: every or steps_a_unit])


def draw_series(generator):
    """Return the values shown [T, 1], and at every later place what is seen of the
    series [T, B, 1] and what comes then [T, B]."""
    size = SHOWN + PLACES * APART + SEEN + AHEAD
    series = np.tanh(mackey_glass(generator, size) - 1)
    steps = np.arange(SEEN + AHEAD)[:, None]
    later = series[steps + SHOWN + APART * np.arange(PLACES)]
    return series[:SHOWN, None], later[:SEEN, :, None], later[SEEN:]


def go_on_with_echoes(units):
    """Return a function that continues a series by an echo state network."""

    def go_on(shown, seen, job, seed):
        network = xr.EchoState(
            1,
            units // 10 if job.quick else units,
            spectral_radius=1.25,
            leak=0.3,
            input_scaling=1.0,
            bias_scaling=0.5,
            washout=WASHOUT,
            ridge=RIDGE,
            dtype="float64",
            seed=seed,
        )
        network.fit(shown[:-1], shown[1:])
        y, state = network.predict(seen)
        first = y[-1:]
        rest, _ = network.run(AHEAD - 1, state, x0=y[-1])
        return np.concatenate([first, rest])[..., 0], network.hidden_size + 2

    return go_on


def go_on_linearly(shown, seen, job, seed):
    """Continue a series by a linear prediction, fitted to the values shown."""
    del job, seed
    windows = np.lib.stride_tricks.sliding_window_view(shown[:, 0], ORDER)[:-1]
    inputs = np.column_stack([windows, np.ones(len(windows))])
    weights = np.linalg.lstsq(inputs, shown[ORDER:, 0], rcond=None)[0]
    values = list(seen[-ORDER:, :, 0])
    for _ in range(AHEAD):
        values.append(weights[:-1] @ np.array(values[-ORDER:]) + weights[-1])
    return np.array(values[ORDER:]), ORDER + 1


def contestant(go_on):
    def run(job):
        sources = make_sources(job.seed)
        shown, seen, wanted = draw_series(sources.test)
        answer, parameters = go_on(shown, seen, job, sources.layer)
        answer = np.clip(answer, -FAR, FAR)
        squares = np.mean((answer - wanted) ** 2, axis=1)
        errors = np.sqrt(squares) / np.std(shown)
        job.tick(1.0)
        curve = [(k + 1, float(error)) for k, error in enumerate(errors)]
        series = {"wanted": wanted[:, 0].tolist(), "answer": answer[:, 0].tolist()}
        return harness.Outcome(curve[JUDGED - 1][1], curve, parameters, series)

    return run


def draw(figure, outcomes):
    left, right = figure.subplots(1, 2)
    left.set_yscale("log")
    draw_curves(left, outcomes)
    mark_level(left, 1, "the mean")
    label_axes(left, "steps ahead", "error / standard deviation")
    for k, (name, runs) in enumerate(outcomes.items()):
        series = runs[0].extra
        if k == 0:
            right.plot(series["wanted"], color=INK, linewidth=2, alpha=0.35)
        right.plot(series["answer"], color=COLORS[k], linewidth=0.9, label=name)
    label_axes(right, "steps ahead", "series (grey) and prediction, seed 0")


TASK = harness.Task(
    name="mackey_glass",
    title="Mackey-Glass with a delay of 17, free run",
    source="H. Jaeger, H. Haas 2004",
    claim="an echo state network of 1000 units predicts 84 steps with an error of "
    "10^-4.2, 700 times better than anything before",
    score=f"error {JUDGED} steps ahead, relative to the standard deviation",
    chance="1 (the series' mean)",
    contestants={
        "ESN of 1000": contestant(go_on_with_echoes(1000)),
        "ESN of 100": contestant(go_on_with_echoes(100)),
        "linear": contestant(go_on_linearly),
    },
    expected=[
        harness.Limit("ESN of 1000", at_most=1e-3),
        harness.Ordering("ESN of 1000", "ESN of 100", factor=3),
        harness.Ordering("ESN of 1000", "linear", factor=100),
    ],
    draw=draw,
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
