"""Latency: a stream answers each value as it comes; how long does an answer take?

The values are the weekly CO2 at Mauna Loa (statsmodels), one after the other, over and
over; the model is an LSTM of random weights, or a saved one of yours. Timed is a step
as a program has it, from the value to the answer, thousands of times; --pause waits
between two values, so that caches cool as they do in life.

    python examples/practice/latency.py
    python examples/practice/latency.py --units 32 256 --pause 1
    python examples/practice/latency.py --model layer.safetensors
"""

import argparse
import time
from pathlib import Path

import numpy as np
import statsmodels.api as sm  # pip install '.[examples]'
from matplotlib.figure import Figure

import exactrnn as xr

PERCENTILES = (50, 90, 99, 99.9, 100)


def read_values():
    series = sm.datasets.co2.load_pandas().data["co2"].interpolate().to_numpy()
    return ((series - series.mean()) / series.std()).astype(np.float32)


def load_layer(parser, path):
    try:
        layer = xr.load(path)
    except (OSError, ValueError) as error:
        parser.error(f"--model: {str(error).removeprefix('path: ')}")
    if not hasattr(layer, "stream") or not hasattr(layer, "input_size"):
        parser.error(f"--model: expected one layer, got a {type(layer).__name__}")
    return layer


def time_steps(layer, values, steps, pause):
    """Return the times of single steps, in microseconds."""
    stream = layer.stream()
    x = np.zeros((1, layer.input_size), layer.dtype)
    times = np.empty(steps)
    for k in range(-100, steps):  # the first hundred warm up
        x[:] = values[k % len(values)]
        if pause:
            time.sleep(pause / 1000)
        begin = time.perf_counter_ns()
        stream.step(x)
        if k >= 0:
            times[k] = (time.perf_counter_ns() - begin) / 1000
    return times


def draw(found, path):
    """Draw what part of the steps takes longer than a time."""
    figure = Figure((7, 4), layout="constrained")
    axes = figure.subplots()
    for name, times in found.items():
        axes.plot(np.sort(times), 1 - np.arange(len(times)) / len(times), label=name)
    axes.set(xscale="log", yscale="log", xlabel="µs", ylabel="steps that take longer")
    axes.set_title("Time of a step", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--model", type=Path, help="a layer that xr.save has written")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--pause", type=float, default=0, metavar="MS", help="between")
    parser.add_argument("--out", type=Path, default=Path("latency.png"))
    parsed = parser.parse_args()
    parsed.out.parent.mkdir(parents=True, exist_ok=True)
    layers = {f"LSTM {units}": xr.LSTM(1, units, seed=0) for units in parsed.units}
    if parsed.model is not None:
        layers = {parsed.model.stem: load_layer(parser, parsed.model)}
    values = read_values()
    found = {
        name: time_steps(layer, values, parsed.steps, parsed.pause)
        for name, layer in layers.items()
    }
    print(
        "| µs a step |" + "".join(f" p{p:g} |" for p in PERCENTILES[:-1]) + " worst |"
    )
    print("|---|" + "---:|" * len(PERCENTILES))
    for name, times in found.items():
        cells = (f" {v:.1f} |" for v in np.percentile(times, PERCENTILES))
        print(f"| {name} |{''.join(cells)}")
    draw(found, parsed.out)
    print(f"picture: {parsed.out}")


if __name__ == "__main__":
    main()
