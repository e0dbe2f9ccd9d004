"""The C library under gcc's sanitizers: nothing out of bounds, no race, the same bits.

The programs of tests/c/ run layers, grids and dense kernels in memory that ends where
the library's own sizes say. Each tool is seen to find what was planted for it.
"""

import functools
import shutil
import subprocess

import numpy as np
import pytest
from bits import random_array
from c_programs import ACTIVATIONS, Build, Case, Programs, describe_run
from c_programs import make_problem as make_layer_problem
from decoders import PAPERS, draw_problem, given_to, make_decoder, twin_of
from grids import make_grid, random_borders, random_sides, run_twin
from variants import DTYPES, NETWORKS, VARIANTS

import exactrnn as xr
from exactrnn._spec.attention import QUERIES, SCORES
from exactrnn.reference import ctc as ctc_twin
from exactrnn.reference import decoder_backward, decoder_forward
from exactrnn.reference import dense as dense_twin

pytestmark = pytest.mark.slow

SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
# The best instruction set of this machine, and the one whose every access is checked:
# the tools do not see loads and stores under a mask. The emulated fma of float32, which
# is inlined, takes gcc a minute under these flags: float32 has the processor's own.
BEST, PLAIN = xr.isas()[0], "scalar"
OWN_FMA = ("-mfma",) if BEST in ("avx2", "avx512") else ()
FLOAT32 = {BEST: (BEST, "f32"), PLAIN: (PLAIN, "f32", *OWN_FMA)}
KERNELS = {
    "address": (*FLOAT32.values(), (PLAIN, "f64")),
    "thread": tuple(FLOAT32.values()),
}
SYSTEMS = {"address": "posix", "thread": "linux"}
"""Each of csrc/base/system_*.c runs here, the one of other systems too."""
THREADS = {"address": (1, 2), "thread": (2, 3)}
RUNS = [(tool, *kernel[:2]) for tool in SANITIZERS for kernel in KERNELS[tool]]
every_run = pytest.mark.parametrize(
    ("tool", "isa", "c_dtype"), RUNS, ids=["-".join(run) for run in RUNS]
)

# T, B, I, H, D: rows shared among threads, then directions, then units.
SIZES = [(5, 3, 17, 33, 2), (3, 9, 16, 16, 1), (4, 1, 1, 50, 1)]
LAYERS = [Case(cell, *sizes) for cell in NETWORKS for sizes in SIZES]
LAYERS += [Case(cell, 2, 1, 5, 16, 2, bare=True) for cell in NETWORKS]
LAYERS += [Case(variant, 3, 2, 3, 18, 1) for variant in VARIANTS]
# Enough rows for x and h to go together, and one more than a tile's rows at once.
LAYERS += [Case(cell, 2, 25, 3, 17, 2) for cell in ("rnn", "lstm")]
# Zoneout, and masks of h, of operands of later stages, of several of them.
LAYERS += [Case("lstm-everything", *sizes, drops="mean") for sizes in SIZES]
LAYERS += [
    Case(name, *sizes, drops="masks")
    for name in ("lstm-everything", "gru_before", "jordan")
    for sizes in SIZES
]
# As few rows as repeats are looked for among, of which x goes ahead of h or with it.
LAYERS += [Case("rnn", T, B, 16, 5, 2, symbols=7) for T, B in ((171, 3), (22, 24))]

GRIDS = {
    "1d": {"sizes": (4,), "H": 5, "B": 3},
    "1d-without-memory": {"sizes": (3,), "H": 3, "B": 1, "kinds": ("tanh",)},
    "2d": {"sizes": (3, 4), "H": 17, "B": 1},
    "2d-priority": {
        "sizes": (3, 2),
        "H": 6,
        "B": 3,
        "kinds": ("lstm", "relu"),
        "phases": (0, 1),
        "tanh_outside": False,
    },
    "2d-unshared": {"sizes": (4, 3), "H": 7, "B": 9, "unshared": (0,)},
    "2d-tied": {"sizes": (3, 3), "H": 4, "B": 2, "tied": True, "unshared": (1,)},
    "3d": {"sizes": (2, 3, 2), "H": 18, "B": 1, "phases": (1, 0, 2)},
    "3d-ragged": {
        "sizes": (3, 2, 2),
        "H": 5,
        "B": 3,
        "phases": (0, 0, 1),
        "unshared": (2,),
        "lengths": np.array([[3, 2, 2], [1, 2, 1], [3, 0, 2]]),
    },
    "1d-input": {"sizes": (3,), "H": 5, "B": 1, "inputs": (19,)},
    "2d-inputs": {
        "sizes": (2, 4),
        "H": 17,
        "B": 3,
        "kinds": ("lstm", "relu"),
        "inputs": (7, 33),
    },
    "2d-input-ragged": {
        "sizes": (3, 4),
        "H": 6,
        "B": 3,
        "lengths": np.array([[3, 4], [1, 2], [3, 0]]),
        "inputs": (4, None),
    },
    "2d-input, one row": {"sizes": (3, 5), "H": 17, "B": 1, "inputs": (20, None)},
}
DENSE_SIZES = [(5, 3, 17), (1, 1, 1), (300, 33, 5)]

TRIVIAL = "int main(void) { return 0; }\n"


def find_runner(folder, flags):
    """Return what stands before instrumented programs, or None: they cannot run here.

    Older runtimes cannot place their shadow memory where the kernel places things
    entirely at random; `setarch -R` forbids it to.
    """
    if shutil.which("gcc") is None:
        return None
    source, program = folder / "trivial.c", folder / "trivial"
    source.write_text(TRIVIAL)
    command = ["gcc", "-fopenmp", *flags, str(source), "-o", str(program)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    for runner in ((), ("setarch", "-R")):
        if runner and shutil.which(runner[0]) is None:
            continue
        words = [*runner, str(program)]
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return runner
    return None


@pytest.fixture(scope="session")
def programs_of(tmp_path_factory):
    """A function from a tool to its programs, which are built when first asked for."""

    @functools.cache
    def make(tool):
        folder = tmp_path_factory.mktemp(tool)
        runner = find_runner(folder, SANITIZERS[tool])
        if runner is None:
            return None
        # Leaks are no question: the library allocates nothing. A second's sleep at the
        # end of each program would be most of the time.
        options = ("ASAN_OPTIONS=detect_leaks=0", "TSAN_OPTIONS=atexit_sleep_ms=0")
        environment = ("env", *options, *runner)
        # Most of the time is gcc's: -O0 halves it, but for cells, which are all inline.
        # -w: gcc guesses wrong about what instrumented code has initialised.
        build = Build(
            name=tool,
            compiler="gcc",
            kernels=KERNELS[tool],
            flags=("-O0", "-g1", "-w", *SANITIZERS[tool]),
            cell_flags=("-O1",),
            link=("-pthread", *SANITIZERS[tool]),
            runner=environment,
            region="threads",  # gcc's libgomp waits where the tools do not see it
            system=SYSTEMS[tool],
        )
        return Programs(build, folder)

    def get(tool):
        if make(tool) is None:
            pytest.skip(f"gcc has no runtime of the {tool} sanitizer here")
        return make(tool)

    return get


@every_run
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_layers_are_clean(programs_of, tool, isa, c_dtype, case):
    programs = programs_of(tool)
    program = programs.path("layer")
    for threads in THREADS[tool]:
        programs.check_layer(program, case, DTYPES[c_dtype], isa, threads)


@functools.cache
def grid_problem(name, dtype):
    """Return the words of tests/c/grid.c from H on, but for the number of threads.

    Then the arrays that it reads, and those that it writes, by the twin.
    """
    options = dict(GRIDS[name])
    B, tied = options.pop("B"), options.get("tied", False)
    inputs = options.pop("inputs", (None,) * len(options["sizes"]))
    grid = make_grid(dtype=dtype, **options)
    rng = np.random.default_rng(1)
    borders, dends = random_borders(rng, grid, B), random_borders(rng, grid, B, 1.0)
    sides = random_sides(rng, grid, B, inputs)
    ragged = grid.lengths is not None
    words = [int(grid.tanh_outside), int(tied), int(ragged), len(grid.weights)]
    for k, kind in enumerate(grid.kinds):
        words += [grid.sizes[k], grid.set_steps[k], grid.phases[k]]
        memory = kind == "lstm"
        words += [int(memory), 0 if memory else ACTIVATIONS.index(kind)]
        words += [inputs[k] or 0]
    arrays = [grid.lengths.astype(np.int64)] if ragged else []
    for pairs in grid.weights:
        arrays += [part for pair in pairs[: 1 if tied else None] for part in pair]
    for side in sides:
        arrays += [side.W, side.b, side.x]
    for pairs in (borders, dends):
        arrays += [part for pair in pairs for part in pair if part is not None]
    found = run_twin(grid, borders, dends, sides=sides)
    written = [
        array
        for name, array in found.items()
        if name.startswith(("end", "dborder"))
        or (name.startswith("set") and not (tied and not name.endswith("0")))
    ]
    written += [array for name, array in found.items() if name.startswith("side")]
    return (grid.hidden_size, B), words, arrays, written


@every_run
@pytest.mark.parametrize("name", GRIDS)
def test_grids_are_clean(programs_of, tool, isa, c_dtype, name):
    programs = programs_of(tool)
    program = programs.path("grid")
    sizes, words, arrays, expected = grid_problem(name, DTYPES[c_dtype])
    for threads in THREADS[tool]:
        programs.check(
            program, [isa, c_dtype, *sizes, threads, *words], arrays, expected
        )


@every_run
@pytest.mark.parametrize("sizes", DENSE_SIZES, ids=str)
def test_dense_kernels_are_clean(programs_of, tool, isa, c_dtype, sizes):
    programs = programs_of(tool)
    program = programs.path("dense")
    (N, K, O), dtype = sizes, DTYPES[c_dtype]
    rng = np.random.default_rng(2)
    shapes = ((N, K), (O, K), (O,), (N, O))
    x, w, b, dy = (random_array(rng, shape, dtype) for shape in shapes)
    target, index = rng.integers(-1, O, N), rng.integers(0, O, N)
    dlinear = dense_twin.linear_backward(x, w, dy, np.zeros_like(w), np.zeros_like(b))
    sums = (dense_twin.long_sum_of, dense_twin.long_sum_squares)
    expected = [
        dense_twin.linear_forward(x, w, b),
        *dlinear,
        *dense_twin.softmax_xent(dy, target, 0.5),
        dense_twin.embedding_backward(index, x, np.zeros_like(w)),
        np.array([long_sum(x.ravel()) for long_sum in sums], dtype),
    ]
    for rule in ("scale", "sgd", "adam", "rmsprop"):
        zeros, numbers = np.zeros_like(x), (0.5, (0.5, 0.25), 0.75, 0.125, 0.5)
        p, _, m, v = dense_twin.update(rule, (x, x, zeros, zeros), numbers)
        expected += [p, m, v]
    T = N // 3
    labels = (
        rng.integers(min(1, O - 1), O, (3, 4)),
        np.array([T, T // 2, T]),
        np.array([0, 2, 4]) if O > 1 else np.zeros(3, np.int64),
    )
    logits = dy[: 3 * T].reshape(T, 3, O)
    with np.errstate(all="ignore"):
        expected += ctc_twin.ctc_loss(logits, *labels, 0)
    arrays = [x, w, b, dy, target, index, *labels]
    for threads in THREADS[tool]:
        programs.check(program, [isa, c_dtype, *sizes, threads], arrays, expected)


DECODERS = {
    **PAPERS,
    "dot-before": {"cell": "gru", "score": "dot", "selector": True},
}
DECODER_SIZES = {"T": 3, "B": 3, "S": 18, "I": 3, "H": 17, "M": 18, "A": 19}


@every_run
@pytest.mark.parametrize("name", DECODERS)
def test_looks_at_a_memory_are_clean(programs_of, tool, isa, c_dtype, name):
    programs = programs_of(tool)
    program = programs.path("attention")
    decoder = make_decoder(DECODERS[name], DECODER_SIZES, DTYPES[c_dtype])
    words, arrays, expected = decoder_run(decoder, DECODER_SIZES)
    for threads in THREADS[tool]:
        programs.check(program, [isa, c_dtype, *words, threads], arrays, expected)


def decoder_run(decoder, sizes):
    """Return words, arrays and what tests/c/attention.c is to write, by the twin."""
    problem = draw_problem(decoder, sizes)
    direction, own = twin_of(decoder)
    form, lead = decoder._spec.form, (sizes["T"], sizes["B"])
    dcontext = random_array(
        np.random.default_rng(5), (*lead, decoder.memory_size), decoder.dtype
    )
    dy = problem["dy"][..., : decoder.hidden_size].copy()
    given = given_to(problem, "x", "memory", "memory_lengths", "lengths")
    y, context, _, cache = decoder_forward(direction, own, **given)
    back = decoder_backward(cache, dy, dcontext, dattention=problem["dattention"])
    words = [decoder.cell, SCORES.index(decoder.score), QUERIES.index(decoder.query)]
    words += [int(decoder.selector), *lead, sizes["S"], sizes["I"], sizes["H"]]
    words += [decoder.memory_size, form["K"]]
    arrays = [problem["lengths"], problem["memory_lengths"]]
    arrays += [w for w in direction.weights if w is not None]
    arrays += [w for w in own.weights if w is not None]
    arrays += [problem["x"], problem["memory"], dy, dcontext, problem["dattention"]]
    expected = [y, context, np.stack([look.alpha for look in cache.looks])]
    expected += [back.x, back.memory]
    gradients = (*back.weights, *back.attention)
    return words, arrays, expected + [g for g in gradients if g is not None]


def assert_reported(answer, report):
    text = answer.stderr.decode()
    assert answer.returncode != 0, "the planted fault was not seen"
    assert report in text, text


# Units shared by two threads, and a wavefront of points.
UNITS_SPLIT = Case("lstm", *SIZES[2])


@pytest.mark.parametrize("isa", FLOAT32)
def test_phases_of_a_layer_without_end_are_reported(programs_of, isa):
    programs = programs_of("thread")
    names = ("layer", "no_waiting")
    program = programs.path(*names, wrapped="xr_share")
    problem = make_layer_problem(UNITS_SPLIT, "float32")
    answer = programs.execute(program, *describe_run(problem, isa, 2))
    assert_reported(answer, "data race")


@pytest.mark.parametrize("isa", FLOAT32)
def test_phases_of_a_grid_without_end_are_reported(programs_of, isa):
    programs = programs_of("thread")
    names = ("grid", "no_waiting")
    program = programs.path(*names, wrapped="xr_share")
    sizes, words, arrays, _ = grid_problem("2d", "float32")
    answer = programs.execute(program, [isa, "f32", *sizes, 2, *words], arrays)
    assert_reported(answer, "data race")


@pytest.mark.parametrize("isa", FLOAT32)
def test_scratch_too_short_is_reported(programs_of, isa):
    programs = programs_of("address")
    names = ("layer", "short_scratch")
    program = programs.path(*names, wrapped="xr_scratch_bytes")
    problem = make_layer_problem(UNITS_SPLIT, "float32")
    answer = programs.execute(program, *describe_run(problem, isa, 1))
    # The kind of report depends on how much the first access beyond the end copies.
    assert_reported(answer, "ERROR: AddressSanitizer")


def test_overflowing_sizes_are_reported(programs_of):
    programs = programs_of("address")
    problem = make_layer_problem(Case("rnn", 1, 1, 2, 2, 1, bare=True), "float32")
    words, arrays = describe_run(problem, PLAIN, 1)
    words[3:5] = [2**31 - 1] * 2  # T and B: their product times 4 is more than 2**63
    words[8] = 2  # D
    answer = programs.execute(programs.path("layer"), words, arrays * 2)
    assert_reported(answer, "signed integer overflow")
