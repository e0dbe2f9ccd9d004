"""Kernels of other processors, cross-compiled and run under qemu, to the same bits.

aarch64 brings the `neon` kernels, which no x86 machine can run; s390x is big-endian and
runs `scalar`. c/layer.c calls the public C interface; what it computes is compared with
the reference, forward and back: contract N2 on other hardware.

Debian and Ubuntu: apt-get install qemu-user gcc-aarch64-linux-gnu gcc-s390x-linux-gnu
"""

import shutil
from itertools import product

import pytest
from c_programs import FLAGS, Build, Case, Programs, isa_flags
from variants import DTYPES, NETWORKS, ROOT

import exactrnn as xr


def emulated(processor, byte_order, *isas):
    """Return the build for a processor that this machine can emulate."""
    return Build(
        name=processor,
        compiler=f"{processor}-linux-gnu-gcc",
        kernels=tuple(product(isas, DTYPES)),
        link=("-static", "-fopenmp"),
        runner=(f"qemu-{processor}",),
        byte_order=byte_order,
    )


BUILDS = {
    "aarch64": emulated("aarch64", "<", "neon", "scalar"),
    "s390x": emulated("s390x", ">", "scalar"),
}
KERNELS = [("aarch64", "neon"), ("aarch64", "scalar"), ("s390x", "scalar")]

# T, B, I, H, D; threads. 17 and 33 leave part of a vector on every instruction set.
SIZES = {(5, 3, 17, 33, 2): 1, (3, 9, 16, 16, 1): 2, (4, 1, 1, 50, 1): 2}
VARIANTS = ("lstm-everything", "lstm-fgr-cifg-clip", "clockwork-unordered")
CASES = [Case(cell, *sizes) for cell in NETWORKS for sizes in SIZES]
CASES += [Case(variant, *next(iter(SIZES))) for variant in VARIANTS]


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """What was built so far, by processor: each is built when first asked for."""
    folder = tmp_path_factory.mktemp("emulated")
    return {name: Programs(build, folder / name) for name, build in BUILDS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize(("name", "isa"), KERNELS, ids=["-".join(k) for k in KERNELS])
def test_other_processor_gives_the_same_bits(programs, name, isa, dtype, case):
    build = BUILDS[name]
    for tool in (build.compiler, *build.runner):
        if shutil.which(tool) is None:
            pytest.skip(f"cross tools for {name} are missing: {tool}")
    program = programs[name].path("layer")
    programs[name].check_layer(program, case, dtype, isa, SIZES[case[1:6]])


def test_flags_are_those_of_the_build():
    kernels = (ROOT / "cmake" / "Kernels.cmake").read_text()
    assert " ".join(FLAGS) in kernels
    assert isa_flags("neon") == []
    assert "-mfma" in isa_flags("avx2")
    assert set(xr.isas()) <= {"avx512", "avx2", "neon", "scalar"}
