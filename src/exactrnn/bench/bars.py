"""A report for a terminal: a bar for each library, as wide as there is room."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from exactrnn.bench.control import CLEAR_MARGIN, verdict_of
from exactrnn.bench.measure import OWN
from exactrnn.bench.report import (
    Measured,
    circumstances_of,
    format_us,
    label_of,
    measured_names,
    sizes_of,
)

NARROWEST = 40
TIME = 10
"""Characters of a time with its unit."""
BLOCK = "█"
HALF = "▌"

Paint = Callable[[str, str], str]
"""Gives a text a colour by its name."""


def format_bars(report: Mapping[str, Any], width: int, paint: Paint) -> str:
    """Return the rows as bars of time: short is fast.

    Parameters
    ----------
    report : dict
        What `run_session` returns.
    width : int
        Columns of the terminal.
    paint : callable
        `paint(text, "green")` gives the text that colour.
    """
    about = report["about"]
    names = measured_names(report["rows"], about["versions"])
    plural = "s" if about["threads"] > 1 else ""
    head = f"{about['processor']}, {about['isa']}, {about['threads']} thread{plural}"
    room = max(NARROWEST, width)
    rows = [format_row(row, names, room, paint) for row in report["rows"]]
    told = [
        line
        for text in (head, *circumstances_of(about))
        for line in textwrap.wrap(text, room, break_on_hyphens=False)
    ]
    return "\n\n".join(["\n".join(told), *rows])


def format_row(row: Measured, names: list[str], width: int, paint: Paint) -> str:
    """Return what was measured of a row, and what it comes to."""
    column = max(map(len, names))
    room = width - column - TIME - 4
    times = {n: row["figures"][n]["median_us"] for n in names if n in row["figures"]}
    slowest = max(times.values())
    lines = [paint(f"{label_of(row)}  T, B, H = {sizes_of(row)}", "bold")]
    for name, us in times.items():
        bar = draw_bar(us / slowest, room)
        shown = paint(bar, "green") if name == OWN else bar
        lines.append(f"  {name:{column}} {format_us(us) + ' µs':>{TIME}} {shown}")
    lines += textwrap.wrap(
        judge(row),
        width,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def draw_bar(part: float, room: int) -> str:
    """Return a bar of half characters; what is there is seen."""
    halves = max(1, round(part * room * 2))
    return BLOCK * (halves // 2) + HALF * (halves % 2)


def judge(row: Measured) -> str:
    """Return the ratio to the best rival and the part of the limit in words."""
    limit = f"{min(row['fraction'], 1.0):.0%} of the machine's limit"
    if row["ratio"] is None:
        return limit
    verdict = verdict_of(row)
    said = {
        "faster": f"{row['ratio']:.2f} times as fast as the best rival",
        "behind": f"behind: {row['ratio']:.2f} times as fast as the best rival",
        "equal": f"equal: {row['ratio']:.2f}, within what the control shows",
        "unclear": f"unclear ({row['ratio']:.2f}): the run was too rough to tell",
    }
    return f"{said[str(verdict)]}; {limit}"


def warn_if_rough(report: Mapping[str, Any]) -> str:
    """Return what to think of a run on a machine that others used too; "" if calm."""
    rows = report["rows"]
    rough = [row for row in rows if row.get("margin", 1.0) > CLEAR_MARGIN]
    if not rough:
        return ""
    return (
        f"In {len(rough)} of {len(rows)} rows exactrnn differs from itself by more "
        f"than {CLEAR_MARGIN - 1:.0%}: others use this machine, or its clock changes. "
        "Measure again when it is quiet, or with more --seconds; `exactrnn doctor` "
        "looks for reasons."
    )
