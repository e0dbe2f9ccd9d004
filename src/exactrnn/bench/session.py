"""A run of the benchmark: rows in, a report out.

Both doors, ``exactrnn bench`` and ``benchmarks/run.py``, lead here.
"""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from exactrnn import engine
from exactrnn.bench.busy import check_busy
from exactrnn.bench.measure import measure_row, pinned
from exactrnn.bench.rivals import load_rivals
from exactrnn.bench.rows import Row


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    threads : int
        Threads of every library.
    seconds : float
        Time for each row and library.
    rivals : collection of str or None
        Rivals to measure; None for all that are installed.
    seed : int
        What the order of the libraries in each round follows from; a new one each time
        if not given.
    busy : int
        Busy processes beside, on the same cores; every call is timed by itself then.
    """

    threads: int = 1
    seconds: float = 1.0
    rivals: Collection[str] | None = None
    seed: int = field(default_factory=lambda: secrets.randbits(32))
    busy: int = 0


def run_session(
    rows: Sequence[Row], settings: Settings, tree: Path | None = None
) -> dict[str, Any]:
    """Measure rows, with a progress bar.

    Parameters
    ----------
    rows : sequence of Row
        What to measure.
    settings : Settings
        How.
    tree : Path, optional
        A folder of the Git tree whose commit the report names.

    Returns
    -------
    dict
        `about`: machine, versions, threads, seed, commit; `rows`: see `measure_row`.

    Raises
    ------
    ImportError
        If a rival that was asked for is not installed.
    ValueError
        If there are too many busy processes.
    AssertionError
        If a library computes something else than exactrnn.
    """
    check_busy(settings.busy)
    with pinned(settings.threads) as cores:
        contenders, versions = load_rivals(settings.rivals)
        about = describe_run(settings, versions, cores) | describe_commit(tree)
        measured = [
            measure_row(
                row,
                contenders,
                settings.threads,
                settings.seconds,
                seed=settings.seed,
                busy=settings.busy,
            )
            for row in show_progress(rows)
        ]
    return {"about": about, "rows": measured}


def show_progress(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows: with a bar on a terminal if `tqdm` is installed, else quietly."""
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        yield from rows
        return
    with tqdm(rows, unit="row", dynamic_ncols=True, disable=None, leave=False) as bar:
        for row in bar:
            bar.set_description_str(row.name)
            yield row


def describe_run(
    settings: Settings, versions: dict[str, str], cores: list[int] | None
) -> dict[str, Any]:
    """Return machine, versions and threads."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "processor": describe_processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "versions": versions,
        "isa": engine.isa(),
        "best_isa": engine.isas()[0],
        "numerics_version": engine.NUMERICS_VERSION,
        "threads": settings.threads,
        "seconds": settings.seconds,
        "seed": settings.seed,
        "busy": settings.busy,
        "pinned_to": cores,
    }


def describe_processor() -> str:
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe_commit(tree: Path | None) -> dict[str, Any]:
    """Return the commit of a Git tree, and whether files differ from it."""
    if tree is None:
        return {"commit": None, "commit_changed": False}
    changed = ask_git(tree, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": ask_git(tree, "rev-parse", "HEAD"),
        "commit_changed": bool(changed),
    }


def ask_git(tree: Path, *arguments: str) -> str | None:
    """Return the output of a Git command, or None where it cannot be run."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=tree, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
