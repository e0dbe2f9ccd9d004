"""Errors of the elementary functions, for every float32 or a sample of the float64.

    python benchmarks/elementary_exhaustive.py                  # minutes, two cores
    python benchmarks/elementary_exhaustive.py --step 1009      # seconds
    python benchmarks/elementary_exhaustive.py --float64 4000000

Prints, as a Markdown table and for every function: the largest error in units in the
last place of the exact value and where it occurs, how often the result decreases where
the argument grows, how many infinities, NaN and signs of zero differ from C99's Annex
F, and in how many results the other instruction sets differ from the first. The exact
value is float64 NumPy's for float32 (its error is below 2^-28 of the unit) and a
decimal of 60 digits for float64. tests/bits/test_elementary.py runs the same
measurement on a part of the inputs.
"""

from __future__ import annotations

import argparse
import decimal
import itertools
import math
import multiprocessing
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from exactrnn import _core

PIECE = 1 << 17  # stays in the L2
DIGITS = 60


def wide_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def wide_softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


WIDE = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "softplus": wide_softplus,
    "tanh": np.tanh,
    "sigmoid": wide_sigmoid,
}
FUNCTIONS = tuple(WIDE)


@dataclass
class Report:
    """What was found among `inputs` inputs; reports add up."""

    inputs: int = 0
    worst: float = 0.0
    worst_at: float = math.nan
    out_of_order: int = 0
    special_wrong: int = 0
    differing: dict[str, int] = field(default_factory=dict)

    def __add__(self, other):
        worse = max(self, other, key=lambda report: report.worst)
        isas = self.differing.keys() | other.differing.keys()
        return Report(
            self.inputs + other.inputs,
            worse.worst,
            worse.worst_at,
            self.out_of_order + other.out_of_order,
            self.special_wrong + other.special_wrong,
            {k: self.differing.get(k, 0) + other.differing.get(k, 0) for k in isas},
        )


def kernel(name, x, isa):
    """Return a function of 1-d `x` as the kernels of one instruction set compute it."""
    out = np.empty_like(x)
    _core.elementary(name, x, out, isa)
    return out


def differing_bits(y, other):
    """Return how many elements differ as integers, any NaN like any other."""
    integer = {4: np.uint32, 8: np.uint64}[y.itemsize]
    differs = y.view(integer) != other.view(integer)
    if not differs.any():
        return 0
    return int((differs & ~(np.isnan(y) & np.isnan(other))).sum())


def errors_f32(y, exact):
    """Return the errors of float32 `y` in ulp of the float64 `exact`; 0 where special.

    Infinity counts as 2^128, the value that it stands for in rounding, as does all
    that is greater.
    """
    exponent = exact.view(np.int64) & np.int64(0x7FF << 52)
    ulp = np.maximum(exponent.view(np.float64) * 2.0**-23, 2.0**-149)
    value, true = (np.clip(v, -(2.0**128), 2.0**128) for v in (y.astype(float), exact))
    with np.errstate(invalid="ignore"):
        error = np.abs(value - true) / ulp
    return np.where(np.isfinite(exact) & ~np.isnan(y), error, 0.0)


def count_out_of_order(x, y):
    """Return how often `y` decreases as `x` grows, of neighbours in the arrays."""
    if len(x) < 2:
        return 0
    falls = (x[1:] > x[:-1]) & (y[1:] < y[:-1])
    rises = (x[1:] < x[:-1]) & (y[1:] > y[:-1])
    return int((falls | rises).sum())


def count_special_wrong(x, y, exact):
    """Return how many NaN, infinities, zeros' signs are not as in `exact`."""
    wrong = np.isnan(y) != np.isnan(exact)
    special = ~np.isfinite(x) | (x == 0) | (np.isinf(exact))
    same = (y == exact.astype(y.dtype)) & (np.signbit(y) == np.signbit(exact))
    return int((wrong | (special & ~same & ~np.isnan(exact))).sum())


def measure_f32(name, isas, inputs):
    """Return the report on the float32 whose bits lie in the range `inputs`."""
    follows = inputs.stop % (1 << 31) != 0  # one more, for the order between pieces
    stop = inputs.stop + follows * inputs.step
    x = np.arange(inputs.start, stop, inputs.step, dtype=np.uint64)
    x = x.astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        exact = WIDE[name](x.astype(np.float64))
        first, *others = (kernel(name, x, isa) for isa in isas)
        error = errors_f32(first, exact)
        special_wrong = count_special_wrong(x, first, exact)
    at = int(error.argmax())
    return Report(
        len(inputs),
        float(error[at]),
        float(x[at]),
        count_out_of_order(x, first),
        special_wrong,
        dict(zip(isas[1:], (differing_bits(first, y) for y in others), strict=True)),
    )


def pieces_f32(step):
    """Yield ranges of bits that cover all floats, positive and negative ones apart."""
    for half in (0, 1 << 31):
        for start in range(0, 1 << 31, PIECE * step):
            stop = min(start + PIECE * step, 1 << 31)
            yield range(half + start, half + stop, step)


def exact_f64(name, x):
    """Return the function of one finite float as a Decimal of about `DIGITS` digits."""
    value = decimal.Decimal(x)
    if name == "exp":
        return value.exp()
    if name == "expm1":
        return value.exp() - 1 if abs(x) > 1e-12 else value + value**2 / 2
    if name == "log":
        return value.ln()
    if name == "softplus":
        e = value.exp()
        return (1 + e).ln() if x > -30 else e - e**2 / 2 + e**3 / 3
    if name == "sigmoid":
        return 1 / (1 + (-value).exp())
    if abs(x) < 1e-12:
        return value - value**3 / 3
    e = (2 * value).exp()
    return (e - 1) / (e + 1)


def error_f64(name, x, y):
    """Return the error of float64 `y` in ulp of the exact value."""
    exact = exact_f64(name, x)
    unit = math.ulp(float(exact))
    if math.isinf(y) or math.isinf(unit):
        return 0.0 if math.isinf(y) and math.isinf(float(exact)) else math.inf
    return float(abs(decimal.Decimal(y) - exact) / decimal.Decimal(unit))


def sample_f64(rng, name, count):
    """Return float64 arguments in the places that matter, partly as runs of neighbours.

    Runs stand around the half multiples of log(2), where the reduction changes, and at
    random; other arguments are uniform over the working range or over the exponents.
    """
    part = count // 4
    if name == "log":
        free = np.abs(rng.integers(0, 1 << 63, part).view(np.float64))
        near_1 = 1 + rng.choice([-0.5, 1], part) * 2.0 ** -rng.uniform(0, 52, part)
        near_join = np.sqrt(2) * rng.choice([0.5, 1], part) * near_1
        parts = (free, near_1, near_join, 4 * rng.random(count - 3 * part))
    else:
        reach = rng.choice([2.0, 45.0, 760.0], part)
        sign = rng.choice([-1.0, 1.0], part)
        uniform = reach * rng.uniform(-1, 1, part)
        small = sign * 2.0 ** -rng.uniform(0, 60, part)
        halves = (rng.integers(-1080, 1080, part // 8) + 0.5) * np.log(2)
        if name == "tanh":
            halves = halves % 28 / 2
        starts = np.concatenate([halves, rng.uniform(-40, 40, count // 8)])
        runs = starts.view(np.int64)[:, None] + np.arange(-4, 4)
        parts = (uniform, small, runs.view(np.float64).ravel())
    x = np.concatenate(parts)
    return x[np.isfinite(x)]


def measure_f64(name, isas, seed, count):
    """Return the report on one sample of float64."""
    x = sample_f64(np.random.default_rng(seed), name, count)
    first, *others = (kernel(name, x, isa) for isa in isas)
    with decimal.localcontext() as context:
        context.prec = DIGITS
        pairs = zip(x.tolist(), first.tolist(), strict=True)
        error = [error_f64(name, *pair) for pair in pairs]
    at = int(np.argmax(error))
    special = np.array([-np.inf, -0.0, 0.0, np.inf, np.nan])
    with np.errstate(all="ignore"):
        wrong = count_special_wrong(
            special, kernel(name, special, isas[0]), WIDE[name](special)
        )
    return Report(
        len(x),
        error[at],
        float(x[at]),
        count_out_of_order(x, first),
        wrong,
        dict(zip(isas[1:], (differing_bits(first, y) for y in others), strict=True)),
    )


def with_progress(reports, total, name):
    """Show progress where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return reports
    return tqdm(reports, total=total, desc=name, leave=False)


def table_row(name, dtype, report):
    differing = ", ".join(f"{isa} {n}" for isa, n in sorted(report.differing.items()))
    cells = (
        name,
        dtype,
        f"{report.inputs:,}",
        f"{report.worst:.3f}",
        report.worst_at.hex(),
        str(report.out_of_order),
        str(report.special_wrong),
        differing or "-",
    )
    return "| " + " | ".join(cells) + " |"


TITLE = "| | dtype | inputs | max ulp | at | not monotone | special wrong | differing |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=FUNCTIONS)
    parser.add_argument("--isas", nargs="+", default=_core.isas(), help="first: truth")
    parser.add_argument("--step", type=int, default=1, help="every step-th float32")
    parser.add_argument("--float64", type=int, metavar="N", help="sample N float64")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    given = parser.parse_args()

    isas = tuple(given.isas)
    print(TITLE)
    print("|---" * 8 + "|")
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for name in given.functions:
            if given.float64:
                size = 20_000
                work = list(range(-(-given.float64 // size)))
                task = partial(measure_f64, name, isas, count=size)
            else:
                work = list(pieces_f32(given.step))
                task = partial(measure_f32, name, isas)
            reports = pool.imap_unordered(task, work)
            found = list(with_progress(reports, len(work), name))
            total = list(itertools.accumulate(found))[-1]
            dtype = "float64" if given.float64 else "float32"
            print(table_row(name, dtype, total), flush=True)


if __name__ == "__main__":
    main()
