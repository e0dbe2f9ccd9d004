"""``exactrnn verify``: whether the bits on this machine are the published ones.

Forwards, gradients and a short training run are computed for every instruction set of
the machine, with 1, 2 and 3 threads, in float32 and float64, and by the NumPy
reference; the SHA-256 of each is compared with the one in the package.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from exactrnn import _core, engine
from exactrnn._checks import DTYPES
from exactrnn.cli._arguments import (
    HelpFormatter,
    add_json_option,
    check_json_option,
    wants_words,
    write_json,
)
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
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    add_json_option(parser)


def run(parsed: argparse.Namespace) -> int:
    """Run the command."""
    check_json_option(parsed)
    begin = time.perf_counter()
    tell = say if wants_words(parsed) else quiet
    tell(f"numerics version {engine.NUMERICS_VERSION}, {len(CASE_NAMES)} cases each")
    lines = []
    for line in compare():
        lines.append(line)
        tell(describe(line))
    elapsed = time.perf_counter() - begin
    differing = sum(bool(line["different"]) for line in lines)
    if differing:
        tell(
            f"DIFFERENT: {differing} of {len(lines)} lines are not the published bits."
        )
    else:
        tell(f"verified: the bits are the published ones ({elapsed:.0f} s).")
    about = {"numerics": engine.NUMERICS_VERSION, "cases": list(CASE_NAMES)}
    verdict = {"verified": not differing, "seconds": elapsed, "lines": lines}
    write_json(parsed, about | verdict)
    return DIFFERENT if differing else 0


def quiet(text: str) -> None:
    """Say nothing: data are printed in place of words."""


def compare() -> Iterator[dict[str, Any]]:
    """Yield where cases were computed, and the names of those that differ."""
    hashes = published()
    for dtype in DTYPES:
        for isa in engine.isas():
            for threads in THREADS:
                with every_split(), engine.use_isa(isa), engine.threads(threads):
                    found = differences(KernelSide(), dtype, hashes[dtype])
                where = {"by": isa, "dtype": dtype, "threads": threads}
                yield where | {"different": found}
        found = differences(ReferenceSide(), dtype, hashes[dtype])
        yield {"by": "reference", "dtype": dtype, "threads": 1, "different": found}


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


def describe(line: Mapping[str, Any]) -> str:
    """Return a line of `compare` in words."""
    count, found = line["threads"], line["different"]
    threads = f"{count} thread{'s' if count > 1 else ' '}"
    engine_of = "NumPy    " if line["by"] == "reference" else threads
    verdict = f"DIFFERENT: {', '.join(found)}" if found else "ok"
    return f"{line['by']:9}  {line['dtype']}  {engine_of}  {verdict}"
