"""What the compiler made of the sources: no library mathematics, no stray instruction.

The installed module is stripped, so instructions are looked up in the object files that
the build left behind in build/; without a build folder those tests skip.
That nothing but our own arithmetic is called is contract N2.
"""

import platform
import re
import shutil
import subprocess

import pytest
from variants import DTYPES, KNOWN_ISAS, ROOT

from exactrnn import _core

LIBRARY_MATH = re.compile(
    r"^(?:exp|exp2|expm1|log|log1p|log2|pow|tanh|sinh|cosh|sin|cos|tan|erf|fma|sqrt|"
    r"cbrt|hypot|fmod|fmin|fmax|round|roundeven|rint|nearbyint|floor|ceil|trunc|ldexp|"
    r"scalbn|scalbln|frexp|logb|ilogb|fabs|copysign)[fl]?(?:@.*)?$"
)

# Registers and mask registers that AVX2 does not have.
AVX512_ONLY = re.compile(r"%zmm|%k[0-7]|%[xy]mm(?:1[6-9]|2\d|3[01])")


def run_tool(name, *arguments):
    tool = shutil.which(name)
    if tool is None:
        pytest.skip(f"{name} is not installed (package binutils)")
    answer = subprocess.run(
        [tool, *arguments], capture_output=True, text=True, check=True
    )
    return answer.stdout


def undefined_symbols(path, *options):
    return [
        line.split()[-1] for line in run_tool("nm", "-u", *options, path).splitlines()
    ]


def object_files(target):
    """Return the object files of a CMake target, of every build in build/."""
    paths = sorted(ROOT.glob(f"build/*/CMakeFiles/{target}.dir/**/*.o"))
    if not paths:
        pytest.skip(f"build/ holds no objects of {target}")
    return paths


def instructions(path):
    """Return [(mnemonic, operands)] of an object file."""
    listing = run_tool("objdump", "-d", "--no-show-raw-insn", path)
    found = re.findall(r"^\s+[0-9a-f]+:\t(\S+)[ \t]*(.*)$", listing, re.MULTILINE)
    assert found, f"{path}: no instructions"
    return found


def needs_x86():
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("this processor is not x86-64")


def test_module_calls_no_library_mathematics():
    called = undefined_symbols(_core.__file__, "-D")
    assert called
    assert [name for name in called if LIBRARY_MATH.match(name)] == []


def test_library_mathematics_would_be_found():
    names = ["expf", "tanh", "fmaf@GLIBC_2.2.5", "memcpy", "omp_get_max_threads"]
    assert [n for n in names if LIBRARY_MATH.match(n)] == names[:3]


def test_module_exports_what_is_looked_up_alone():
    lines = run_tool("nm", "-D", "--defined-only", _core.__file__).splitlines()
    names = {line.split()[-1] for line in lines}
    ours = {name for name in names if not name.startswith("__pyx_")}
    assert ours == {"PyInit__core", "RegisterCustomOps"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", KNOWN_ISAS)
def test_kernels_export_descriptors_alone(isa, dtype):
    if isa == "neon" and platform.machine() not in ("aarch64", "arm64"):
        pytest.skip("this processor is not aarch64")
    if isa in ("avx2", "avx512"):
        needs_x86()
    for path in object_files(f"kernels_{isa}_{dtype}"):
        symbols = run_tool("nm", "-g", "--defined-only", path).split("\n")
        names = [line.split()[-1] for line in symbols if line]
        assert [n for n in names if not n.endswith(f"_{isa}_{dtype}")] == []
        assert [n for n in undefined_symbols(path) if LIBRARY_MATH.match(n)] == []


@pytest.mark.parametrize(
    "target",
    [
        *("exactrnn_base", "exactrnn_onnxruntime", "_core"),
        *("kernels_scalar_f32", "kernels_scalar_f64"),
    ],
)
def test_baseline_code_runs_on_every_x86(target):
    needs_x86()
    for path in object_files(target):
        wide = [
            (mnemonic, operands)
            for mnemonic, operands in instructions(path)
            if mnemonic.startswith("v") or "ymm" in operands or "zmm" in operands
        ]
        assert wide == [], path


@pytest.mark.parametrize("dtype", DTYPES)
def test_avx2_code_runs_without_avx512(dtype):
    needs_x86()
    for path in object_files(f"kernels_avx2_{dtype}"):
        text = instructions(path)
        assert [pair for pair in text if AVX512_ONLY.search(pair[1])] == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_avx512_code_is_found_where_it_belongs(dtype):
    needs_x86()
    texts = [instructions(path) for path in object_files(f"kernels_avx512_{dtype}")]
    assert any("%zmm" in operands for text in texts for _, operands in text)
