"""``exactrnn verify``: whether the bits on this machine are the published ones.

Forwards, gradients and a short training run are computed for every instruction set of
the machine, with 1, 2 and 3 threads, in float32 and float64, and by the NumPy
reference; the SHA-256 of each is compared with the one in the package.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import DTYPES
from exactrnn.cli._output import say
from exactrnn.verify import published
from exactrnn.verify.cases import CASE_NAMES, KernelSide, ReferenceSide, Side, hash_case

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers

THREADS = (1, 2, 3)
DIFFERENT = 1

DESCRIPTION = """\
Compute fixed forwards, gradients and a short training run, for every instruction set of
this machine, with 1, 2 and 3 threads, and by the NumPy reference, and compare the
SHA-256 of each with the published one. Exit status 0: all equal; 1: a difference.
"""


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify",
        help="prove the bits on this machine against the published ones",
        description=DESCRIPTION,
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command."""
    del parsed
    begin = time.perf_counter()
    hashes = published()
    say(f"numerics version {engine.NUMERICS_VERSION}, {len(CASE_NAMES)} cases each")
    lines = differing = 0
    for dtype in DTYPES:
        for isa in engine.isas():
            for threads in THREADS:
                with every_split(), engine.use_isa(isa), engine.threads(threads):
                    found = differences(KernelSide(), dtype, hashes[dtype])
                plural = "s" if threads > 1 else " "
                report(f"{isa:9}  {dtype}  {threads} thread{plural}", found)
                lines, differing = lines + 1, differing + bool(found)
        found = differences(ReferenceSide(), dtype, hashes[dtype])
        report(f"{'reference':9}  {dtype}  NumPy    ", found)
        lines, differing = lines + 1, differing + bool(found)
    elapsed = time.perf_counter() - begin
    if differing:
        say(f"DIFFERENT: {differing} of {lines} lines are not the published bits.")
        return DIFFERENT
    say(f"verified: the bits are the published ones ({elapsed:.0f} s).")
    return 0


@contextlib.contextmanager
def every_split() -> Iterator[None]:
    """Let calls use all threads, however small they are; the cases are small."""
    before = _core.thread_work((0, 0))
    try:
        yield
    finally:
        _core.thread_work(before)


def differences(side: Side, dtype: str, hashes: dict[str, str]) -> list[str]:
    """Return the names of the cases whose bits are not the published ones."""
    return [
        name
        for name in CASE_NAMES
        if hash_case(side, name, np.dtype(dtype)) != hashes.get(name)
    ]


def report(label: str, found: list[str]) -> None:
    """Print one line."""
    verdict = f"DIFFERENT: {', '.join(found)}" if found else "ok"
    say(f"{label}  {verdict}")
