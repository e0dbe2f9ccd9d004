"""Kernels of other processors, cross-compiled and run under qemu, to the same bits.

aarch64 brings the `neon` kernels, which no x86 machine can run; s390x is big-endian and
runs `scalar`. emulated/driver.c calls the public C interface; what it computes is
compared with the reference, forward and back.

Debian and Ubuntu: apt-get install qemu-user gcc-aarch64-linux-gnu gcc-s390x-linux-gnu
"""

import functools
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bits import assert_same_bits
from variants import CELLS, CSRC, DTYPES, NETWORKS, ROOT, make_layer

import exactrnn as xr
from exactrnn.reference import direction_backward, direction_forward, layer_direction

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
VARIANTS = ("lstm-everything", "lstm-fgr-cifg-clip", "clockwork-unordered")
CASES = [(cell, sizes) for cell in NETWORKS for sizes in SIZES]
CASES += [(variant, SIZES[0]) for variant in VARIANTS]

# The numbers that exactrnn.h gives these names.
ACTIVATIONS = ("tanh", "relu", "sigmoid", "hard_sigmoid", "softsign", "identity")
GATES = {"i": 1, "f": 2, "o": 4}
COUPLED = (None, "input", "forget")


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
    driver = Path(__file__).parent / "emulated" / "driver.c"
    jobs = [(source, folder) for source in CSRC.glob("*.c")]
    jobs.append((driver, folder / "driver"))
    kernels = sorted((CSRC / "kernels").glob("*.c"))
    kernels += [CSRC / "kernels" / "cells" / f"{cell}.c" for cell in CELLS]
    for isa in target.isas:
        for dtype in DTYPES:
            names = [f"-DXR_ISA={isa}", f"-DXR_ISA_{isa}"]
            names += [f"-DXR_DTYPE={dtype}", f"-DXR_DTYPE_{dtype}", *isa_flags(isa)]
            place = folder / f"{isa}_{dtype}"
            jobs += [(source, place, *names) for source in kernels]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda job: compile_file(target, *job), jobs))
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


@dataclass(frozen=True)
class Problem:
    """One layer in all directions, and random arrays for it, in the driver's order."""

    config: object
    depth: int
    directions: list
    lengths: np.ndarray
    clock: np.ndarray
    x: np.ndarray
    states: list
    dy: np.ndarray
    dstates: list
    lower: np.ndarray
    dupper: np.ndarray


def make_problem(name, dtype, sizes):
    """Return a random problem: the top layer of a layer object."""
    T, B, I, H, D, _ = sizes
    rng = np.random.default_rng(7)
    layer = make_layer(name, I, H, bidirectional=D == 2, dtype=dtype, seed=1)
    config, depth = layer._stack.config, layer.num_layers - 1
    weights = layer.state_dict()
    lengths = rng.integers(0, T + 1, B)
    lengths[0] = T

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    return Problem(
        config=config,
        depth=depth,
        directions=[layer_direction(config, weights, depth, d) for d in range(D)],
        lengths=lengths,
        clock=rng.integers(0, 5, B),
        x=draw(T, B, config.input_size_of(depth)),
        states=[draw(D, B, width) for width in config.state_sizes],
        dy=draw(T, B, D * config.output_size),
        dstates=[draw(D, B, width) for width in config.state_sizes],
        lower=draw(D, T, B, H),
        dupper=draw(D, T, B, H),
    )


def takes_lower(problem):
    return problem.directions[0].cell.takes_lower


@functools.cache
def run_here(name, dtype, sizes):
    """Return the arrays of emulated/driver.c, by the reference."""
    problem = make_problem(name, dtype, sizes)
    linked, O = takes_lower(problem), problem.config.output_size
    runs = []
    for d, direction in enumerate(problem.directions):
        state = tuple(s[d] for s in problem.states)
        lower = problem.lower[d] if linked else None
        clock = problem.clock if problem.config.counts_steps else None
        y, final, cache = direction_forward(
            direction, problem.x, state, problem.lengths, clock, lower
        )
        dy = problem.dy[:, :, d * O : (d + 1) * O]
        dstate = tuple(s[d] for s in problem.dstates)
        dcells = problem.dupper[d] if linked else None
        grads = direction_backward(cache, dy, dstate, dcells=dcells)
        runs.append((y, final, cache, grads))
    ys, finals, caches, grads = zip(*runs, strict=True)
    dx = grads[0].x if len(runs) == 1 else grads[0].x + grads[1].x
    arrays = [np.concatenate(ys, axis=2)]
    arrays += [np.stack(parts) for parts in zip(*finals, strict=True)]
    arrays.append(dx)
    arrays += [np.stack(ds) for ds in zip(*(g.state for g in grads), strict=True)]
    arrays += [dw for g in grads for dw in g.weights if dw is not None]
    if linked:
        arrays.append(np.stack([cache.state["c"] for cache in caches]))
        arrays.append(np.stack([g.lower for g in grads]))
    return arrays


def describe_layer(problem):
    """Return the driver's arguments after the sizes and threads."""
    config, options = problem.config, problem.config.options_of(problem.depth)
    peepholes = sum(GATES[gate] for gate in options.get("peepholes", ""))
    omitted = sum(GATES[gate] for gate in options.get("omit", ""))
    words = [peepholes, omitted, COUPLED.index(options.get("coupled"))]
    words += [int(options.get("full_gate_recurrence", False)), config.clip or 0]
    chosen = [ACTIVATIONS.index(name) for name in config.activations]
    words += [*chosen, 0, 0][:3]
    return words + [n for module in options.get("modules", ()) for n in module]


def run_there(program, target, isa, problem, sizes):
    """Return the same arrays, computed by the driver under emulation."""
    T, B, _, H, D, threads = sizes
    arrays = [problem.lengths.astype(np.int64), problem.clock.astype(np.int64)]
    for direction in problem.directions:
        arrays += [w for w in direction.weights if w is not None]
    arrays += [problem.x, *problem.states, problem.dy, *problem.dstates]
    arrays += [problem.lower, problem.dupper] if takes_lower(problem) else []
    order, x = target.byte_order, problem.x
    data = b"".join(a.astype(a.dtype.newbyteorder(order)).tobytes() for a in arrays)
    dtype = {"float32": "f32", "float64": "f64"}[x.dtype.name]
    cell = problem.config.cell_of(problem.depth)
    words = [isa, dtype, cell, T, B, x.shape[2], H, problem.config.output_size, D]
    words += [threads, *describe_layer(problem)]
    answer = subprocess.run(
        [target.emulator, str(program), *map(str, words)],
        input=data,
        capture_output=True,
        check=True,
        timeout=300,
    )
    return np.frombuffer(answer.stdout, x.dtype.newbyteorder(order)).astype(x.dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "sizes"), CASES, ids=[f"{c}-{'x'.join(map(str, s))}" for c, s in CASES]
)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize(
    ("name", "isa"), KERNELS, ids=[f"{target}-{isa}" for target, isa in KERNELS]
)
def test_other_processor_gives_the_same_bits(drivers, name, isa, dtype, case, sizes):
    target = TARGETS[name]
    program = driver_for(drivers, target)
    there = run_there(program, target, isa, make_problem(case, dtype, sizes), sizes)
    here = run_here(case, dtype, sizes)
    ends = np.cumsum([array.size for array in here])
    assert there.size == ends[-1]
    parts = np.split(there, ends[:-1])
    for k, (ours, theirs) in enumerate(zip(here, parts, strict=True)):
        assert_same_bits(f"array {k}", theirs.reshape(ours.shape), ours)


def test_flags_are_those_of_the_build():
    kernels = (ROOT / "cmake" / "Kernels.cmake").read_text()
    assert " ".join(FLAGS) in kernels
    assert isa_flags("neon") == []
    assert "-mfma" in isa_flags("avx2")
    assert set(xr.isas()) <= {"avx512", "avx2", "neon", "scalar"}
