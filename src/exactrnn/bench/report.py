"""A report in words: the table, and what it comes to.

Everything here reads the report that `run_session` returns, or its JSON file.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from exactrnn.bench.control import PERCENTILES, verdict_of
from exactrnn.bench.measure import OWN

Measured: TypeAlias = Mapping[str, Any]
"""One row of a report."""


def format_report(report: Mapping[str, Any]) -> str:
    """Return heading, table and percentiles where there are some, in Markdown."""
    about = report["about"]
    plural = "s" if about["threads"] > 1 else ""
    libraries = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    parts = [
        f"{about['processor']}, {about['isa']}, {about['threads']} thread{plural}\n"
        f"{libraries}; Python {about['python']}, NumPy {about['numpy']}"
        + "".join(f"\n{line}" for line in circumstances_of(about)),
        format_table(report["rows"], about["versions"]),
        format_percentiles(report["rows"], about["versions"]),
    ]
    return "\n\n".join(part for part in parts if part)


def circumstances_of(about: Mapping[str, Any]) -> list[str]:
    """Return what has to be known beside the machine, a line each; old reports less."""
    lines = []
    best = about.get("best_isa", about["isa"])
    if best != about["isa"]:
        lines.append(
            f"{OWN} is held to {about['isa']} on a machine that has {best}; "
            "the other libraries may use that"
        )
    if about.get("busy"):
        plural = "es" if about["busy"] > 1 else ""
        where = "on the same cores" if about["pinned_to"] else "not pinned to cores"
        lines.append(f"beside {about['busy']} busy process{plural}, {where}")
    if "seed" in about:
        lines.append(f"order of the libraries in each round: seed {about['seed']}")
    return lines


def format_table(rows: Sequence[Measured], names: Collection[str]) -> str:
    """Return the Markdown table of the measured rows; a rival without any is absent."""
    rivals = [name for name in measured_names(rows, names) if name != OWN]
    head = ["T, B, H", f"{OWN} µs", *(f"{name} µs" for name in rivals)]
    head += [f"best rival / {OWN}", "verdict"] if rivals else []
    beside = any("per_flop" in row for row in rows)
    head += ["beside", "time", "per flop"] if beside else []
    head += ["of limit", "GFLOP/s", "spread", "control"]
    lines = ["| | " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        own = row["figures"][OWN]
        times = [own, *(row["figures"].get(name) for name in rivals)]
        cells = [label_of(row), sizes_of(row), *map(format_time, times)]
        if rivals:
            cells += [format_ratio(row["ratio"]), verdict_of(row) or "–"]
        if beside:
            cells += [row.get("beside") or "–", *map(format_ratio, relative_times(row))]
        cells += [f"{row['fraction']:.2f}", f"{own['gflops']:.1f}"]
        cells += [f"{own['spread']:.1%}", format_control(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured_names(rows: Sequence[Measured], names: Collection[str]) -> list[str]:
    """Return those of the libraries that some row has figures of."""
    return [name for name in names if any(name in row["figures"] for row in rows)]


def format_control(row: Measured) -> str:
    """Return the control's ratio and the margin; – where none was measured."""
    if "margin" not in row:
        return "–"
    return f"{row['control_ratio']:.2f} ± {row['margin'] - 1:.1%}"


def format_percentiles(rows: Sequence[Measured], names: Collection[str]) -> str:
    """Return the table of the rows whose calls were timed one by one; "" without."""
    rows = [row for row in rows if "p50_us" in row["figures"][OWN]]
    if not rows:
        return ""
    libraries = measured_names(rows, names)
    which = " / ".join(f"p{p}" for p in PERCENTILES)
    lines = [
        f"Single calls, {which} in µs:",
        "",
        "| | T, B, H | " + " | ".join(libraries) + " |",
        "|---|---|" + "---:|" * len(libraries),
    ]
    for row in rows:
        cells = [label_of(row), sizes_of(row)]
        for name in libraries:
            figures = row["figures"].get(name)
            times = [figures[f"p{p}_us"] for p in PERCENTILES] if figures else []
            cells.append(" / ".join(map(format_us, times)) or "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def label_of(row: Measured) -> str:
    """Return cell, task and what is special about a row."""
    return " ".join([row["cell"], row["task"], *extras_of(row)])


def extras_of(row: Measured) -> list[str]:
    """Return what is special about a row, in words."""
    words = [f"{row['layers']} layers"] if row["layers"] > 1 else []
    words += ["bidirectional"] if row["directions"] == 2 else []
    words += ["ragged"] if row["ragged"] else []
    words += [row["dtype"]] if row["dtype"] != "float32" else []
    return words


def sizes_of(row: Measured) -> str:
    """Return the sizes; the number of inputs where it is not H."""
    inputs = "" if row["I"] == row["H"] else f" (I={row['I']})"
    return f"{row['T']}, {row['B']}, {row['H']}{inputs}"


def format_time(figures: Mapping[str, float] | None) -> str:
    """Return the median; – where there is no time."""
    return "–" if figures is None else format_us(figures["median_us"])


def format_us(us: float) -> str:
    """Return microseconds with three digits or more."""
    if us < 10:
        return f"{us:.2f}"
    return f"{us:.1f}" if us < 1000 else f"{us:.0f}"


def relative_times(row: Measured) -> tuple[float | None, float | None]:
    """Return time, and time per operation, divided by those of the cell beside."""
    return row.get("relative"), row.get("per_flop")


def format_ratio(ratio: float | None) -> str:
    """Return a ratio with three digits; – where there is none."""
    return "–" if ratio is None else f"{ratio:.2f}"


def format_summary(
    rows: Sequence[Measured], groups: Mapping[str, Collection[str]]
) -> str:
    """Return a line for each group of row names: means, and rows that miss.

    Parameters
    ----------
    rows : sequence of dict
        Rows of a report.
    groups : mapping of str to collection of str
        Names of rows by group; groups without a measured row have no line.

    Returns
    -------
    str
        Geometric means of the ratio to the best rival and to each, of the fraction of
        the limit, and names and ratios of the rows that are behind the best rival, and
        of those that the control does not tell from it: equal, or unclear where the
        margin is wide.
    """
    lines = []
    for group, names in groups.items():
        chosen = [row for row in rows if row["name"] in names]
        if chosen:
            lines.append(f"{group}: {summarise_group(chosen)}")
    return "\n".join(lines)


def summarise_group(rows: Sequence[Measured]) -> str:
    """Return the means of some rows in words."""
    plural = "s" if len(rows) > 1 else ""
    fraction = statistics.geometric_mean(row["fraction"] for row in rows)
    words = [f"{len(rows)} row{plural}", f"{fraction:.2f} of the limit"]
    ratios = [row["ratio"] for row in rows if row["ratio"]]
    if ratios:
        beside = [f"best rival {statistics.geometric_mean(ratios):.2f}"]
        beside += [f"{n} {mean:.2f}" for n, mean in ratios_by_rival(rows).items()]
        words += [", ".join(beside)]
        for verdict in ("behind", "equal", "unclear"):
            found = [
                f"{row['name']} {row['ratio']:.2f}"
                for row in rows
                if verdict_of(row) == verdict
            ]
            listed = ": " * bool(found) + ", ".join(found)
            words += [f"{len(found)} {verdict}{listed}"]
    return "; ".join(words)


def ratios_by_rival(rows: Sequence[Measured]) -> dict[str, float]:
    """Return the geometric mean of each rival's time divided by exactrnn's."""
    ratios: dict[str, list[float]] = {}
    for row in rows:
        own = row["figures"][OWN]["median_us"]
        for name, figures in row["figures"].items():
            if name != OWN:
                ratios.setdefault(name, []).append(figures["median_us"] / own)
    return {name: statistics.geometric_mean(values) for name, values in ratios.items()}
