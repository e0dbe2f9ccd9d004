"""The C library on Windows, to the same bits: compiled by clang, run under wine.

csrc/base/system_windows.c brings its threads, clocks and sleep. The package ziglang has
the compiler and the headers of Windows; `apt-get install wine64` brings the rest.
"""

import functools
import importlib.util
import shutil
import sys

import pytest
from c_programs import Build, Case, Programs
from variants import DTYPES, NETWORKS

import exactrnn as xr

TARGET = "x86_64-windows-gnu"
KERNELS = [("avx2", "f32"), ("avx2", "f64"), ("scalar", "f32")]
KERNELS = [kernel for kernel in KERNELS if kernel[0] in xr.isas()]
# T, B, I, H, D; threads, as of other processors.
SIZES = {(5, 3, 17, 33, 2): 3, (3, 9, 16, 16, 1): 2}
CASES = [Case(cell, *sizes) for cell in NETWORKS for sizes in SIZES]
CASES += [Case("lstm-everything", *next(iter(SIZES)))]


@functools.cache
def wine():
    """Return the program that runs those of Windows, None if there is none."""
    return shutil.which("wine64") or shutil.which("wine")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    if importlib.util.find_spec("ziglang") is None or wine() is None:
        pytest.skip("cross tools for Windows are missing: ziglang, wine")
    build = Build(
        name="windows",
        compiler=f"{sys.executable} -m ziglang cc -target {TARGET}",
        kernels=tuple(KERNELS),
        flags=("-O1", "-Wno-enum-float-conversion"),
        link=("-lapi-ms-win-core-synch-l1-2-0",),
        runner=(wine(),),
        region="threads",
        system="windows",
    )
    return Programs(build, tmp_path_factory.mktemp("windows"))


@pytest.mark.deep
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    ("isa", "c_dtype"), KERNELS, ids=["-".join(kernel) for kernel in KERNELS]
)
def test_windows_gives_the_same_bits(programs, isa, c_dtype, case):
    program = programs.path("layer")
    programs.check_layer(program, case, DTYPES[c_dtype], isa, SIZES[case[1:6]])
