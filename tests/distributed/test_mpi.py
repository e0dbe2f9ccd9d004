"""MPI as an engine: what engines promise, by a program that MPI runs in three ranks."""

import inspect
import os
import shutil
import subprocess
import sys

import mpi_program
import pytest
import two_hosts
from variants import HELPERS

from exactrnn.distributed import EngineError, MPIEngine, mpi

PATHS = [path for path in [os.environ.get("PYTHONPATH")] if path]
CHECKS = [
    name
    for name, check in vars(mpi_program).items()
    if inspect.isfunction(check)
    and [*inspect.signature(check).parameters][:1] == ["engine"]
]


@pytest.fixture(scope="module")
def finished():
    """The program, run once for all checks."""
    if shutil.which("mpiexec") is None:
        pytest.skip("mpiexec is not there: pip install 'exactrnn[mpi]' mpich")
    environment = two_hosts.environment()
    asked = [sys.executable, "-c", "from mpi4py import MPI"]
    done = subprocess.run(asked, env=environment, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mpi4py finds no MPI: pip install 'exactrnn[mpi]' mpich")
    program = mpi_program.__file__
    command = [
        "mpiexec",
        "-n",
        "3",
        sys.executable,
        "-m",
        "exactrnn.distributed",
        program,
    ]
    environment["PYTHONPATH"] = os.pathsep.join([str(HELPERS), *PATHS])
    return subprocess.run(
        [*command, program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("check", CHECKS)
def test_program_of_three_ranks(check, finished):
    assert check in finished.stdout.split(), finished.stderr


def test_program_ends_well(finished):
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_process_alone_is_told_how_to_begin(finished):
    program = "from exactrnn.distributed import MPIEngine; MPIEngine()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=two_hosts.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"{EngineError.__module__}.EngineError: MPIEngine: expected")
    assert "mpiexec -n 3 python -m exactrnn.distributed program.py" in said


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"^MPIEngine needs mpi4py and an MPI: pip"):
        MPIEngine()


def test_a_program_must_be_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mpi"])
    with pytest.raises(SystemExit, match=r"^usage: mpiexec -n 3 python -m exactrnn"):
        mpi.main()
