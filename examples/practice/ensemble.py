"""An ensemble of small forecasters over many series of different lengths at once.

Series of statsmodels, 55 to 309 values long, are one ragged batch; a row has the bits
that it has alone. Each forecaster is a GRU of 16 units with a seed of its own, and says
the next value; the ensemble says their mean, and how far they are apart. The last 12
values of each series are held out; forecasts are from one value to the next.

    python examples/practice/ensemble.py
    python examples/practice/ensemble.py --members 16 --epochs 60
"""

import argparse
from pathlib import Path

import numpy as np
import statsmodels.api as sm  # pip install '.[examples]'
from matplotlib.figure import Figure

import exactrnn as xr
from exactrnn import train

HELD_OUT = 12


def read_series():
    """Return the series by name; those that are positive by their logarithms."""
    found = {}
    sets = ("sunspots", "nile", "macrodata", "interest_inflation", "danish_data")
    for name in sets:
        table = getattr(sm.datasets, name).load_pandas().data
        for column in table.columns.difference(["YEAR", "year", "quarter"], sort=False):
            values = table[column].to_numpy(float)
            found[column.lower()] = np.log(values) if values.min() > 0 else values
    return found


def make_batch(series):
    """Return the changes [T, B], scaled row by row, the scales, and the lengths."""
    lengths = np.array([len(values) - 1 for values in series.values()])
    changes = np.zeros((lengths.max(), len(series)), np.float32)
    scales = []
    for row, values in enumerate(series.values()):
        steps = np.diff(values)
        scales.append(steps[:-HELD_OUT].std())
        changes[: len(steps), row] = steps / scales[-1]
    return changes, np.array(scales), lengths


def learn(changes, lengths, epochs, seed):
    """Return a forecaster of the next change that has not seen the last ones."""
    model = train.Sequential(xr.GRU(1, 16), train.Linear(16, 1), seed=seed)
    x, y = changes[:-1, :, None], changes[1:, :, None]
    train.fit(
        model,
        train.batches(
            x, y, lengths=lengths - 1 - HELD_OUT, size=8, seed=seed, axes=(1, 1)
        ),
        train.mean_absolute_error,
        train.AdamW(model, lr=0.01, weight_decay=0.01),
        epochs=epochs,
        clip=1.0,
        progress=False,
    )
    return model


def errors_of(forecast, changes, scales, lengths):
    """Return the mean absolute error of each row's last values, in its own units."""
    rows = np.arange(len(lengths))
    places = lengths[:, None] - 1 - np.arange(HELD_OUT)
    wrong = np.abs(forecast[places - 1, rows[:, None]] - changes[places, rows[:, None]])
    return wrong.mean(1) * scales


def draw(names, forecasts, changes, lengths, path):
    figure = Figure((9, 5), layout="constrained")
    for axes, row in zip(
        figure.subplots(2, 2).flat, range(0, len(names), 4), strict=False
    ):
        end = lengths[row]
        time = np.arange(end - 4 * HELD_OUT, end)
        low, high = (
            np.percentile(forecasts[:, time - 1, row], q, axis=0) for q in (0, 100)
        )
        axes.plot(time, changes[time, row], color="black", lw=1, label="is")
        axes.fill_between(time, low, high, alpha=0.4, label="said, all members")
        axes.axvspan(end - HELD_OUT, end - 1, color="0.93", zorder=0)
        axes.set_title(names[row], loc="left", fontsize=9)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle("Changes from one value to the next; grey: held out", fontsize=10)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("ensemble.png"))
    parsed = parser.parse_args()
    parsed.out.parent.mkdir(parents=True, exist_ok=True)
    series = read_series()
    changes, scales, lengths = make_batch(series)
    print(f"{len(series)} series, {lengths.min() + 1} to {lengths.max() + 1} values")
    forecasts = []
    for seed in range(parsed.members):
        model = learn(changes, lengths, parsed.epochs, seed)
        forecasts.append(model(changes[..., None], lengths=lengths)[0][..., 0])
    forecasts = np.stack(forecasts)
    data = (changes, scales, lengths)
    naive = errors_of(np.zeros_like(changes), *data)  # the next value is as this one
    members = np.stack([errors_of(one, *data) for one in forecasts]) / naive
    together = errors_of(forecasts.mean(0), *data) / naive
    print("\n| error, of the naive forecast's | ensemble | members |\n|---|---:|---:|")
    for name, mean, each in zip(series, together, members.T, strict=True):
        print(f"| {name} | {mean:.2f} | {each.min():.2f} to {each.max():.2f} |")
    best, worst = members.mean(1).min(), members.mean(1).max()
    print(f"| **all** | **{together.mean():.2f}** | {best:.2f} to {worst:.2f} |")
    draw([*series], forecasts, changes, lengths, parsed.out)
    print(f"\npicture: {parsed.out}")


if __name__ == "__main__":
    main()
