"""What a test may need of the build that it runs on."""

import os
import shutil

import pytest

from exactrnn import _core


def skip_without(program):
    """Skip the test where a compiler, or another program, is not there."""
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")


def chosen_compiler():
    """Return the compiler that builds are told to use; skip where it is not there."""
    compiler = os.environ.get("CC", "gcc")
    skip_without(compiler.split()[0])
    return compiler


needs_openmp = pytest.mark.skipif(
    _core.thread_runtime() != "OpenMP",
    reason="this build has threads of its own, and no OpenMP",
)
