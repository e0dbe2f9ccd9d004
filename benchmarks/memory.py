"""Peak memory of forward and backward, exactrnn beside torch and JAX.

    python benchmarks/memory.py                            the rows of group g4
    python benchmarks/memory.py --rows 'gru-*' --table memory.md

Every row runs twice in a process of its own for each library: what is reported is how
far the resident memory rises above what weights, inputs and the loaded library take.
A tiny row goes first, so that code loaded with the first call is not counted. Linux
with glibc only: the peak is read, and reset, in /proc. JAX's figure includes compiling.
"""

import argparse
import ctypes
import json
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import shapes
from arguments import output
from tqdm import tqdm

from exactrnn.bench import load_rivals
from exactrnn.bench.rows import make_problem

LIBRARIES = ("exactrnn", "torch", "jax")
STATUS = Path("/proc/self/status")


def read_status(key):
    """Return a figure of this process's memory in bytes."""
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024


def measure_rise(name, library):
    """Return the bytes by which a row raises this process's memory; None if lacking."""
    [row] = [row for row in shapes.ROWS if row.name == name]
    wanted = [] if library == "exactrnn" else [library]
    contender = load_rivals(wanted)[0][-1]
    tiny = contender.prepare(make_problem(replace(row, T=2, B=1, I=8, H=8)))
    if tiny is None:
        return None
    tiny.run()
    prepared = contender.prepare(make_problem(row))
    ctypes.CDLL(None).malloc_trim(0)  # what is free must not serve unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use
    before = read_status("VmRSS")
    for _ in range(2):
        prepared.run()
    return read_status("VmHWM") - before


def ask_process(name, library):
    """Return what `measure_rise` finds in a fresh process; None without the library."""
    command = [sys.executable, __file__, "--one", name, library]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def format_rise(rise):
    return "–" if rise is None else f"{rise / 2**20:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parser.add_argument("--table", type=output, metavar="FILE", help="write the table")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.one:
        print(json.dumps(measure_rise(*parsed.one)))
        return
    found = {}
    lines = ["| MiB | " + " | ".join(LIBRARIES) + " |", "|---|" + "---:|" * 3]
    for row in tqdm(shapes.GROUPS["g4"], unit="row", disable=None, leave=False):
        if any(fnmatch(row.name, pattern) for pattern in parsed.rows):
            rises = {name: ask_process(row.name, name) for name in LIBRARIES}
            found[row.name] = rises
            cells = " | ".join(map(format_rise, rises.values()))
            lines.append(f"| {row.name} | {cells} |")
    table = "\n".join(lines)
    print(table)
    if parsed.table:
        parsed.table.write_text(f"{table}\n", encoding="utf-8")
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
