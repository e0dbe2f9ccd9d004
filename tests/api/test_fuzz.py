"""Strange arguments to every public call, in a child process that may die.

`fuzz_api.py` says what is tried and how outcomes are judged. The seed is the date, so
that every day tries others; a failure prints its call and can be repeated with it.
"""

import datetime
import os
import subprocess
import sys

import pytest
from variants import HELPERS

SECONDS = 45
CALLS = 100_000
PROGRAM = HELPERS / "fuzz_api.py"


def fuzz(folder, *options, timeout):
    """Run the fuzzer; returns its exit status and what it printed."""
    log = folder / "last_call.txt"
    seed = str(datetime.date.today().toordinal())
    command = [sys.executable, PROGRAM, "--seed", seed, "--log", log, *options]
    child = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
        check=False,
    )
    said = f"{child.stdout[-4000:]}\n{child.stderr[-2000:]}\nlast call: "
    return child.returncode, said + log.read_text(errors="replace")


def test_strange_arguments_end_in_an_exception_or_in_right_bits(tmp_path):
    status, said = fuzz(tmp_path, "--seconds", SECONDS, timeout=10 * SECONDS)
    assert status == 0, said


@pytest.mark.deep
def test_a_hundred_thousand_calls_with_strange_arguments(tmp_path):
    status, said = fuzz(tmp_path, "--calls", CALLS, timeout=3600)
    assert status == 0, said
    assert f"{CALLS} calls" in said
