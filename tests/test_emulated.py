"""Kernels of other processors, cross-compiled and run under qemu, to the same bits.

aarch64 brings the `neon` kernels, which no x86 machine can run; s390x is big-endian and
runs `scalar`. emulated/driver.c calls the public C interface; what it computes is
compared with this machine's layers, forward and back.

Debian and Ubuntu: apt-get install qemu-user gcc-aarch64-linux-gnu gcc-s390x-linux-gnu
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from variants import CELLS, CSRC, DTYPES, ROOT, make_layer

import exactrnn as xr

FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]


@dataclass(frozen=True)
class Target:
    """A processor that this machine can emulate."""

    name: str
    byte_order: str
    isas: tuple[str, ...]

    @property
    def compiler(self):
        return f"{self.name}-linux-gnu-gcc"

    @property
    def emulator(self):
        return f"qemu-{self.name}"


TARGETS = {
    "aarch64": Target("aarch64", "<", ("neon", "scalar")),
    "s390x": Target("s390x", ">", ("scalar",)),
}
KERNELS = [(target, isa) for target in TARGETS for isa in TARGETS[target].isas]

# T, B, I, H, D, threads. 17 and 33 leave part of a vector on every instruction set.
SIZES = [(5, 3, 17, 33, 2, 1), (3, 9, 16, 16, 1, 2), (4, 1, 1, 50, 1, 2)]


def isa_flags(isa):
    """Return the flags that the table in CMakeLists.txt gives an instruction set."""
    table = (ROOT / "CMakeLists.txt").read_text()
    line = re.search(rf'^exactrnn_isa\({isa}\s+"[^"]*"([^)]*)\)', table, re.MULTILINE)
    return line[1].split()


def compile_file(target, source, folder, *flags):
    """Return the object file of one source; the folder keeps its variants apart."""
    output = folder / f"{source.stem}.o"
    folder.mkdir(parents=True, exist_ok=True)
    command = [target.compiler, "-std=gnu11", "-fopenmp", f"-I{CSRC}"]
    command += [*FLAGS, *WARNINGS, *flags, "-c", str(source), "-o", str(output)]
    subprocess.run(command, check=True)
    return output


def build_driver(target, folder):
    """Compile everything for a processor, as CMake does, and link it statically."""
    objects = [compile_file(target, source, folder) for source in CSRC.glob("*.c")]
    driver = Path(__file__).parent / "emulated" / "driver.c"
    objects.append(compile_file(target, driver, folder / "driver"))
    kernels = sorted((CSRC / "kernels").glob("*.c"))
    kernels += [CSRC / "kernels" / "cells" / f"{cell}.c" for cell in CELLS]
    for isa in target.isas:
        for dtype in DTYPES:
            names = [f"-DXR_ISA={isa}", f"-DXR_ISA_{isa}"]
            names += [f"-DXR_DTYPE={dtype}", f"-DXR_DTYPE_{dtype}", *isa_flags(isa)]
            place = folder / f"{isa}_{dtype}"
            objects += [compile_file(target, s, place, *names) for s in kernels]
    program = folder / "program"
    command = [target.compiler, "-static", "-fopenmp", *map(str, objects)]
    subprocess.run([*command, "-lm", "-o", str(program)], check=True)
    return program


@pytest.fixture(scope="session")
def drivers(tmp_path_factory):
    """Programs built so far, by processor: each is built when first asked for."""
    return {"folder": tmp_path_factory.mktemp("emulated")}


def driver_for(drivers, target):
    for tool in (target.compiler, target.emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"cross tools for {target.name} are missing: {tool}")
    if target.name not in drivers:
        folder = drivers["folder"] / target.name
        drivers[target.name] = build_driver(target, folder)
    return drivers[target.name]


def make_problem(cell, dtype, sizes):
    """Return (layer, x, lengths, states, dy, dstates), all random."""
    T, B, I, H, D, _ = sizes
    rng = np.random.default_rng(7)
    layer = make_layer(cell, I, H, bidirectional=D == 2, dtype=dtype, seed=1)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    lengths = rng.integers(0, T + 1, B)
    lengths[0] = T
    count = 2 if cell == "lstm" else 1
    states = [rng.standard_normal((D, B, H)).astype(dtype) for _ in range(count)]
    dy = rng.standard_normal((T, B, D * H)).astype(dtype)
    dstates = [rng.standard_normal((D, B, H)).astype(dtype) for _ in range(count)]
    return layer, x, lengths, states, dy, dstates


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def run_here(problem):
    """Return the arrays of emulated/driver.c, by this machine's best kernels."""
    layer, x, lengths, states, dy, dstates = problem
    pack = tuple if len(states) == 2 else lambda arrays: arrays[0]
    y, state, cache = layer.forward(x, pack(states), lengths=lengths)
    grads = layer.backward(cache, dy, pack(dstates))
    weights = [grads.weights[name] for name in layer.state_dict()]
    return [y, *as_tuple(state), grads.x, *as_tuple(grads.state), *weights]


def run_there(program, target, isa, problem, sizes):
    """Return the same arrays, computed by the driver under emulation."""
    layer, x, lengths, states, dy, dstates = problem
    weights = list(layer.state_dict().values())
    arrays = [lengths.astype(np.int64), *weights, x, *states, dy, *dstates]
    order = target.byte_order
    data = b"".join(a.astype(a.dtype.newbyteorder(order)).tobytes() for a in arrays)
    dtype = {"float32": "f32", "float64": "f64"}[x.dtype.name]
    command = [target.emulator, str(program), isa, dtype, layer.cell]
    command += [str(size) for size in sizes]
    answer = subprocess.run(
        command, input=data, capture_output=True, check=True, timeout=300
    )
    flat = np.frombuffer(answer.stdout, x.dtype.newbyteorder(order)).astype(x.dtype)
    shapes = [a.shape for a in [dy, *states, x, *states, *weights]]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    assert flat.size == ends[-1]
    parts = np.split(flat, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize(
    ("name", "isa"), KERNELS, ids=[f"{target}-{isa}" for target, isa in KERNELS]
)
def test_other_processor_gives_the_same_bits(drivers, name, isa, cell, dtype, sizes):
    target = TARGETS[name]
    program = driver_for(drivers, target)
    problem = make_problem(cell, dtype, sizes)
    there = run_there(program, target, isa, problem, sizes)
    here = run_here(problem)
    unsigned = np.uint32 if dtype == "float32" else np.uint64
    for ours, theirs in zip(here, there, strict=True):
        assert np.array_equal(ours.view(unsigned), theirs.view(unsigned))


def test_flags_are_those_of_the_build():
    kernels = (ROOT / "cmake" / "Kernels.cmake").read_text()
    assert " ".join(FLAGS) in kernels
    assert isa_flags("neon") == []
    assert "-mfma" in isa_flags("avx2")
    assert set(xr.isas()) <= {"avx512", "avx2", "neon", "scalar"}
