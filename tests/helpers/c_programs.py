"""The C library by itself: built for a processor or a tool, run on layers, compared.

The programs of tests/c/ call the C interface alone. Numbers go in and come out as raw
arrays, and every bit is compared with the twins.
"""

import functools
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from bits import assert_same_bits
from builds import skip_without
from variants import CELLS, CSRC, DTYPES, ROOT, TESTS, make_layer

from exactrnn._spec.activations import with_parameters
from exactrnn.reference import direction_backward, direction_forward
from exactrnn.reference.layers import StackTwin
from exactrnn.reference.masks import draw_state_masks, masks_of

SOURCES = TESTS / "c"
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno")
INCLUDES = (f"-I{CSRC}", f"-I{CSRC / 'include'}")
WARNINGS = ("-Wall", "-Wextra", "-Werror")

OF_A_SYSTEM = ("region_", "system_", "threads_")

# The numbers that exactrnn.h gives these names.
ACTIVATIONS = ("tanh", "relu", "sigmoid", "hard_sigmoid", "softsign", "identity")
ACTIVATIONS += ("leaky_relu", "elu", "softplus", "scaled_tanh", "thresholded_relu")
ACTIVATIONS += ("affine",)
GATES = {"i": 1, "f": 2, "o": 4}
COUPLED = (None, "input", "forget")


@dataclass(frozen=True)
class Build:
    """How programs are made of the C library, and run."""

    name: str
    compiler: str
    kernels: tuple[tuple[str, ...], ...]
    """Instruction set, element type as in the names of C, and flags of its own."""
    flags: tuple[str, ...] = ()
    cell_flags: tuple[str, ...] = ()
    """For csrc/kernels/cells alone, after `flags`."""
    link: tuple[str, ...] = ("-fopenmp",)
    runner: tuple[str, ...] = ()
    """What stands before the program on the command line."""
    byte_order: str = "<"
    region: str = "openmp"
    """Where threads come from, as in the names of csrc/base/region_*.c."""
    system: str = "linux"
    """What is a system's own, as in the names of csrc/base/system_*.c."""


def isa_flags(isa):
    """Return the flags that the table in CMakeLists.txt gives an instruction set."""
    table = (ROOT / "CMakeLists.txt").read_text()
    line = re.search(rf'^exactrnn_isa\({isa}\s+"[^"]*"([^)]*)\)', table, re.MULTILINE)
    return line[1].split()


def compile_file(build, source, folder, *flags):
    """Return the object file of one source; the folder keeps its variants apart."""
    output = folder / f"{source.stem}.o"
    folder.mkdir(parents=True, exist_ok=True)
    openmp = ["-fopenmp"] if build.region == "openmp" else []
    command = [*build.compiler.split(), "-std=gnu11", *openmp, *INCLUDES]
    command += [*FLAGS, *WARNINGS, *build.flags, *flags]
    subprocess.run([*command, "-c", str(source), "-o", str(output)], check=True)
    return output


def compile_library(build, folder):
    """Compile everything for a processor, as CMake does; return the object files."""
    threads = "" if build.system == "windows" else "threads_posix"
    chosen = {f"region_{build.region}", f"system_{build.system}", threads}
    base = [
        source
        for source in (CSRC / "base").glob("*.c")
        if source.stem in chosen or not source.stem.startswith(OF_A_SYSTEM)
    ]
    jobs = [(source, folder) for source in sorted(base)]
    kernels = [s for s in (CSRC / "kernels").glob("*/*.c") if s.parent.name != "cells"]
    cells = [CSRC / "kernels" / "cells" / f"{cell}.c" for cell in CELLS]
    for isa, dtype, *own in build.kernels:
        flags = [f"-DXR_ISA={isa}", f"-DXR_ISA_{isa}", *isa_flags(isa), *own]
        flags += [f"-DXR_DTYPE={dtype}", f"-DXR_DTYPE_{dtype}"]
        place = folder / f"{isa}_{dtype}"
        jobs += [(source, place, *flags, *build.cell_flags) for source in cells]
        jobs += [(source, place, *flags) for source in kernels]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda job: compile_file(build, *job), jobs))


class Programs:
    """The programs of one build, each made when first asked for."""

    def __init__(self, build, folder):
        self.build = build
        self._folder = folder
        self._library = None
        self._made = {}

    def path(self, *names, wrapped=None):
        """Return a program of the sources of these names in tests/c/.

        Calls of the function `wrapped` go to the one of that name in them.
        """
        skip_without(self.build.compiler.split()[0])
        if self._library is None:
            self._library = compile_library(self.build, self._folder)
        if names not in self._made:
            place = self._folder / "programs" / "-".join(names)
            sources = [SOURCES / f"{name}.c" for name in names]
            objects = [compile_file(self.build, s, place) for s in sources]
            objects = map(str, [*objects, *self._library])
            link = list(self.build.link)
            link += [] if wrapped is None else [f"-Wl,--wrap={wrapped}"]
            program = place / "program"
            command = [*self.build.compiler.split(), *objects, *link, "-lm"]
            command += ["-o", str(program)]
            subprocess.run(command, check=True)
            self._made[names] = program
        return self._made[names]

    def execute(self, program, words, arrays):
        """Run a program on arrays; return the finished process."""
        order = self.build.byte_order
        data = [a.astype(a.dtype.newbyteorder(order)).tobytes() for a in arrays]
        return subprocess.run(
            [*self.build.runner, str(program), *map(str, words)],
            input=b"".join(data),
            capture_output=True,
            check=False,
            timeout=300,
        )

    def check(self, program, words, arrays, expected):
        """Run a program and compare what it writes with the arrays `expected`."""
        answer = self.execute(program, words, arrays)
        assert answer.returncode == 0, answer.stderr.decode()
        assert not answer.stderr, answer.stderr.decode()
        dtype = expected[0].dtype
        numbers = np.frombuffer(
            answer.stdout, dtype.newbyteorder(self.build.byte_order)
        ).astype(dtype)
        ends = np.cumsum([array.size for array in expected])
        assert numbers.size == ends[-1]
        parts = np.split(numbers, ends[:-1])
        for k, (theirs, ours) in enumerate(zip(parts, expected, strict=True)):
            assert_same_bits(f"array {k}", theirs.reshape(ours.shape), ours)

    def check_layer(self, program, case, dtype, isa, threads):
        """Run tests/c/layer.c on a case and compare what it writes with the twin."""
        words, arrays = describe_run(make_problem(case, dtype), isa, threads)
        self.check(program, words, arrays, run_here(case, dtype))


DROPPED = {"recurrent_dropout": 0.25, "zoneout": 0.3}
KEY = 2**63 + 11


class Case(NamedTuple):
    """A cell or variant at a size; bare where all that may be missing is missing.

    `drops`: what of zoneout and recurrent dropout is computed, "mean" or "masks".
    `symbols`: of so many distinct rows is x made; 0: no two are alike.
    """

    name: str
    T: int
    B: int
    I: int
    H: int
    D: int
    bare: bool = False
    drops: str = ""
    symbols: int = 0

    def __str__(self):
        words = [self.name, "x".join(map(str, self[1:6])), *["bare"] * self.bare]
        words += [self.drops] * bool(self.drops)
        return "-".join(words + [f"{self.symbols} symbols"] * bool(self.symbols))


@dataclass(frozen=True)
class Problem:
    """One layer in all directions, and random arrays for it, in the program's order."""

    case: Case
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
    masks: dict


def make_problem(case, dtype):
    """Return a random problem: the top layer of a layer object."""
    name, T, B, I, H, D, bare = case[:7]
    rng = np.random.default_rng(7)
    options = {"bidirectional": D == 2, "dtype": dtype, "seed": 1}
    layer = make_layer(name, I, H, **options | (DROPPED if case.drops else {}))
    config, depth = layer._spec, layer.num_layers - 1
    twin = StackTwin(config, layer.state_dict())
    lengths = rng.integers(T if bare else 0, T + 1, B)
    lengths[0] = T

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    def draw_input():
        width = config.input_size_of(depth)
        if not case.symbols:
            return draw(T, B, width)
        return draw(case.symbols, width)[rng.integers(0, case.symbols, (T, B))]

    def draw_states():
        states = [draw(D, B, width) for width in config.state_sizes]
        return [np.zeros_like(s) for s in states] if bare else states

    return Problem(
        case=case,
        config=config,
        depth=depth,
        directions=[with_both_biases(twin.direction(depth, d), draw) for d in range(D)],
        lengths=lengths,
        clock=rng.integers(0, 1 if bare else 5, B),
        x=draw_input(),
        states=draw_states(),
        dy=draw(T, B, D * config.output_size),
        dstates=draw_states(),
        lower=draw(D, T, B, H),
        dupper=draw(D, T, B, H),
        masks=draw_state_masks(config, KEY, T, B) if case.drops == "masks" else {},
    )


def with_both_biases(direction, draw):
    """Return a direction with a second bias, which the kernels take for every cell."""
    weights = direction.weights
    if weights.b_hh is None:
        weights = weights._replace(b_hh=draw(len(weights.w_hh)))
    return replace(direction, weights=weights)


def takes_lower(problem):
    return problem.directions[0].cell.takes_lower


@functools.cache
def run_here(case, dtype):
    """Return the arrays that tests/c/layer.c writes, by the reference."""
    problem = make_problem(case, dtype)
    linked, O = takes_lower(problem), problem.config.output_size
    runs = []
    for d, direction in enumerate(problem.directions):
        state = tuple(s[d] for s in problem.states)
        lower = problem.lower[d] if linked else None
        clock = problem.clock if problem.config.counts_steps else None
        masks = masks_of(problem.masks, problem.config.suffix(problem.depth, d))
        y, final, cache = direction_forward(
            direction, problem.x, state, problem.lengths, clock, lower, masks
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
    """Return the words of tests/c/layer.c from its options on."""
    config, options = problem.config, problem.config.options_of(problem.depth)
    peepholes = sum(GATES[gate] for gate in options.get("peepholes", ""))
    omitted = sum(GATES[gate] for gate in options.get("omit", ""))
    words = [peepholes, omitted, COUPLED.index(options.get("coupled"))]
    words += [int(options.get("full_gate_recurrence", False)), config.clip or 0]
    words += [options.get("cells", 0), int("output_size" in options)]
    for direction in (0, config.directions - 1):
        chosen = map(with_parameters, config.activations_of(direction))
        given = [n for name, *ab in chosen for n in (ACTIVATIONS.index(name), *ab)]
        words += [*given, *[0] * 9][:9]
    words += [*config.zone_shares, config.recurrent_dropout]
    words += [KEY if problem.masks else 0]
    return words + [n for module in options.get("modules", ()) for n in module]


def describe_run(problem, isa, threads):
    """Return the words of tests/c/layer.c and the arrays that it reads."""
    case, config, x = problem.case, problem.config, problem.x
    top = problem.directions[0]
    units, outputs = top.hidden_size, top.output_size // top.cell.cells
    arrays = [problem.lengths.astype(np.int64), problem.clock.astype(np.int64)]
    arrays *= not case.bare
    for direction in problem.directions:
        arrays += [w for w in direction.weights if w is not None]
    arrays += [x, *([] if case.bare else problem.states), problem.dy]
    arrays += [] if case.bare else problem.dstates
    arrays += [problem.lower, problem.dupper] if takes_lower(problem) else []
    words = [isa, c_name(x.dtype), config.cell_of(problem.depth), case.T, case.B]
    words += [x.shape[2], units, outputs, case.D, threads, int(case.bare)]
    return words + describe_layer(problem), arrays


def c_name(dtype):
    """Return what the C side calls an element type."""
    names = {name: c for c, name in DTYPES.items()}
    return names[np.dtype(dtype).name]
