"""Forecasts of a season ahead, with intervals, of sunspots, CO2 and the sea's warmth.

A linear autoregression of order p, fitted by least squares, runs a season into the
future. A GRU reads the last two seasons and that forecast, and learns the quantiles of
what the forecast leaves over (P. Zhang, Neurocomputing 50, 2003, has the mixture).

    python examples/series.py                      # trains, prints, draws, saves

Data come with `statsmodels`: sunspots of 309 years, CO2 above Mauna Loa in 526 months,
the Pacific's surface off Peru in 732 months. Each is cut once, in time: 60 % to learn
from, 20 % by which p and all sizes were chosen, 20 % to test what is fitted once more
to all before. Errors are MASE over every origin and step; three networks are averaged.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib import pyplot  # pip install '.[examples]'
from statsmodels import datasets

import exactrnn as xr
from exactrnn import train

QUANTILES = 0.05, 0.25, 0.5, 0.75, 0.95
ORDERS = (1, 2, 3, 6, 9, 12, 13, 18, 24, 25, 30, 36, 48)
HIDDEN, MEMBERS = 32, 3


def load_series():
    """Return by name values, steps of a season, and whether the level stays."""
    years = datasets.sunspots.load_pandas().data["SUNACTIVITY"]
    weeks = datasets.co2.load_pandas().data["co2"].resample("MS")
    months = datasets.elnino.load_pandas().data.drop(columns="YEAR")
    return {
        "sunspots": (years.to_numpy(), 11, True),
        "CO2": (weeks.mean().interpolate().to_numpy(), 12, False),
        "El Niño": (months.to_numpy().reshape(-1), 12, True),
    }


def fit_linear(known, order):
    """Return the weights of an autoregression, the constant last."""
    rows = np.lib.stride_tricks.sliding_window_view(known, order)[:-1]
    rows = np.column_stack([rows, np.ones(len(rows))])
    return np.linalg.lstsq(rows, known[order:], rcond=None)[0]


def run_linear(series, origins, weights, steps):
    """Return what the autoregression foretells at each origin, [N, steps]."""
    order = len(weights) - 1
    values = np.stack([series[o - order : o] for o in origins])
    for _ in range(steps):
        ahead = values[:, -order:] @ weights[:-1] + weights[-1]
        values = np.column_stack([values, ahead])
    return values[:, order:]


def targets(series, origins, steps):
    return np.stack([series[o : o + steps] for o in origins])


class Task:
    """A series of which `begin` values are known, and all up to `end` asked for."""

    def __init__(self, data, begin, end, order):
        series, self.season, self.stays = data
        season, known, self.series = self.season, series[:begin], series[:end]
        self.weights, self.order = fit_linear(known, order), order
        self.mean = known.mean()
        self.scale = np.abs(known[season:] - known[:-season]).mean()
        self.known = np.arange(max(order, 2 * season), begin - season + 1)
        self.asked = np.arange(begin, end - season + 1)

    def mase(self, forecast):
        wanted = targets(self.series, self.asked, self.season)
        return np.abs(forecast - wanted).mean() / self.scale

    def inside(self, forecast):
        wanted = targets(self.series, self.asked, self.season)
        return np.mean((forecast[..., 0] <= wanted) & (wanted <= forecast[..., -1]))

    def linear(self, origins):
        return run_linear(self.series, origins, self.weights, self.season)

    def inputs(self, origins):
        """Return two seasons and the linear forecast, with their places, [T, N, 5]."""
        season, ahead = self.season, self.linear(origins)
        past = targets(self.series, origins - 2 * season, 2 * season)
        level = past[:, season:].mean(axis=1, keepdims=True)
        values = (np.column_stack([past, ahead]) - level) / self.scale
        t = np.arange(-2 * season, season)
        phase = 2 * np.pi * ((origins[:, None] + t) % season) / season
        phase *= season == 12  # months: the sun keeps no calendar
        place = np.broadcast_to(np.maximum(t + 1, 0) / season, values.shape)
        state = (self.stays * (level - self.mean) / (3 * self.scale)).repeat(len(t), 1)
        x = np.stack([values, state, place, np.sin(phase), np.cos(phase)], axis=2)
        return x.swapaxes(0, 1).astype(np.float32)

    def loss(self, y, wanted):
        """Return the quantile loss of the steps ahead, its gradient at all steps."""
        dy = np.zeros_like(y)
        value, dy[-self.season :] = train.quantile_loss(
            y[-self.season :], wanted, quantiles=QUANTILES
        )
        return value, dy

    def learn(self, epochs, seed):
        """Return a network that knows the quantiles of what is left over."""
        left = targets(self.series, self.known, self.season) - self.linear(self.known)
        left = (left.T / self.scale).astype(np.float32)
        data = train.batches(self.inputs(self.known), left, size=32, seed=seed)
        model = train.Sequential(
            xr.GRU(5, HIDDEN), train.Linear(HIDDEN, len(QUANTILES)), seed=seed
        )
        rate = train.Cosine(0.01, steps=epochs * len(data))
        adam = train.AdamW(model, weight_decay=0.05)
        train.fit(model, data, self.loss, adam, epochs=epochs, schedule=rate, clip=1.0)
        return model

    def forecast(self, models):
        """Return the mean of the networks' quantiles, [N, season, Q]."""
        x = self.inputs(self.asked)
        left = np.mean([model(x)[0][-self.season :] for model in models], axis=0)
        return left.swapaxes(0, 1) * self.scale + self.linear(self.asked)[..., None]


def choose_order(data, begin, end):
    """Return the order whose forecasts of the validation part are best."""
    tasks = [Task(data, begin, end, order) for order in ORDERS]
    return min(tasks, key=lambda task: task.mase(task.linear(task.asked))).order


def draw(axes, name, task, forecast):
    """Draw the last seasons of the test part, each foretold at its beginning."""
    end, season = len(task.series), task.season
    shown = np.arange(max(task.asked[0], end - 8 * season), end)
    axes.plot(shown, task.series[shown], color="black", linewidth=1)
    for k in range(len(task.asked) - 1, -1, -season)[:8]:
        t = task.asked[k] + np.arange(season)
        low, lower, middle, upper, high = forecast[k].T
        axes.fill_between(t, low, high, color="tab:blue", alpha=0.2, linewidth=0)
        axes.fill_between(t, lower, upper, color="tab:blue", alpha=0.3, linewidth=0)
        axes.plot(t, middle, color="tab:blue", linewidth=1)
    axes.set_title(f"{name}: what came, and 50 % and 90 % of what was expected")


def print_tables(rows, epochs):
    for name, _, runs, _ in rows:
        shares = ", ".join(f"{100 * run[1]:.0f} %" for run in runs)
        print(f"{name}: {shares} within the interval of 90 %")
    print("\n| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---|---|---|---|---|---|---|")
    for name, order, runs, (naive, linear) in rows:
        ours = ", ".join(f"{run[0]:.3f}" for run in runs)
        times = ", ".join(f"{run[2]:.2f}" for run in runs)
        row = f"MASE, {name} | seasonal naive; AR({order}) | {naive:.3f}; {linear:.3f}"
        row += f" | - | {ours} | {epochs} epochs, {times} core-minutes | < {linear:.3f}"
        print(f"| {row} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("series"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=20)
    parsed = parser.parse_args()
    xr.set_num_threads(parsed.threads)
    parsed.out.mkdir(parents=True, exist_ok=True)
    epochs = min(parsed.epochs, 2 if parsed.quick else 10_000)
    figure, axes = pyplot.subplots(3, figsize=(8, 6), layout="constrained")
    rows, parts = [], {}
    for own, (name, data) in zip(axes, load_series().items(), strict=True):
        middle, last, end = (int(share * len(data[0])) for share in (0.6, 0.8, 1))
        task, runs = Task(data, last, end, choose_order(data, middle, last)), []
        for seed in parsed.seed:
            begin = time.process_time()
            models = [task.learn(epochs, MEMBERS * seed + k) for k in range(MEMBERS)]
            minutes = (time.process_time() - begin) / 60
            forecast = task.forecast(models)
            runs.append((task.mase(forecast[..., 2]), task.inside(forecast), minutes))
        naive = targets(task.series, task.asked - task.season, task.season)
        rivals = task.mase(naive), task.mase(task.linear(task.asked))
        rows.append((name, task.order, runs, rivals))
        for k, (gru, readout) in enumerate(models):
            parts |= {f"{name} {k} gru": gru, f"{name} {k} readout": readout}
        draw(own, name, task, forecast)
    print_tables(rows, epochs)
    xr.save(parts, parsed.out / "series.safetensors")
    figure.savefig(picture := parsed.out / "series.png", dpi=66)
    print(f"\npicture: {picture}")
    missed = any(r[0] >= min(rivals) for *_, runs, rivals in rows for r in runs)
    return not parsed.quick and missed


if __name__ == "__main__":
    raise SystemExit(main())
