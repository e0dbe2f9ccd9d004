"""What the process around us does must not show: rounding modes, forks, threads.

Each hazard was met by other libraries; numbers of their issues stand in the tests.
Modes are contract N1, threads N7.
"""

import concurrent.futures
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from bits import assert_same_results, every_thread_used, random_problem, run_layer
from builds import needs_openmp
from float_mode import CONTROL_BITS, MODES, FloatingPointEnvironment, needs_mxcsr
from variants import NETWORKS, make_layer

import exactrnn as xr

# Options that are numbers, and weights that are not the kernels' own.
WITH_NUMBERS = ("lstm-clip", "leaky-learned", "leaky-per-unit")


@needs_mxcsr
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*NETWORKS, *WITH_NUMBERS])
def test_the_callers_mode_changes_nothing_and_is_found_again(name, isa, mode):
    environment = FloatingPointEnvironment()
    layer = make_layer(name, 3, 17, seed=1, bidirectional=True)
    problem = random_problem(layer, 5, 3, seed=2)
    problem["x"][:, 1] *= np.float32(1e-38)  # subnormal products
    expected = run_layer(layer, **problem)
    with environment.changed(MODES[mode]):
        layer.weight_hh_l0[...] = layer.weight_hh_l0  # packed again in this mode
        results = run_layer(layer, **problem)
        after = environment.get()
    assert after & CONTROL_BITS == (environment.get() | MODES[mode]) & CONTROL_BITS
    assert_same_results(results, expected)


def run_python(code, **environment):
    """Run code in a fresh interpreter and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


HASH = """
import hashlib
import numpy as np
import exactrnn as xr
from exactrnn import _core
_core.thread_work((0, 0))
layer = xr.GRU(7, 40, seed=1)
x = np.linspace(-1, 1, 9 * 4 * 7, dtype="float32").reshape(9, 4, 7)
def digest():
    y, state, cache = layer.forward(x)
    gradients = layer.backward(cache, y)
    parts = [y, gradients.x, *gradients.weights.values()]
    return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()
"""


@needs_mxcsr
def test_worker_threads_do_not_inherit_a_mode():
    """A pool started in flush-to-zero mode keeps that mode in its threads."""
    expected = run_python(HASH + "xr.set_num_threads(1); print(digest())")
    started_in_mode = """
    import ctypes
    libm = ctypes.CDLL("libm.so.6")
    memory = (ctypes.c_ubyte * 32)()
    libm.fegetenv(memory)
    memory[28:] = (int.from_bytes(bytes(memory[28:]), "little") | 0x8040 | 0x6000
                   ).to_bytes(4, "little")
    libm.fesetenv(memory)
    xr.set_num_threads(3)
    print(digest())
    """
    assert run_python(HASH + textwrap.dedent(started_in_mode)) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_the_same_bits():
    """libgomp's pool does not survive a fork: pytorch issue 123828."""
    code = """
    import os, signal
    xr.set_num_threads(2)
    before = digest()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs is not left behind
        os.write(writer, digest().encode())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert os.read(reader, 100).decode() == before
    assert digest() == before
    print("same")
    """
    assert run_python(HASH + textwrap.dedent(code)) == "same"


def test_python_threads_may_call_one_layer_at_once(cell, isa):
    layer = make_layer(cell, 5, 33, seed=3)
    problems = [random_problem(layer, 7, 1 + n % 5, seed=n) for n in range(16)]
    expected = [run_layer(layer, **problem) for problem in problems]
    with (
        every_thread_used(),
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        results = list(pool.map(lambda problem: run_layer(layer, **problem), problems))
    for result, wanted in zip(results, expected, strict=True):
        assert_same_results(result, wanted)


@needs_openmp
def test_threadpoolctl_sees_and_limits_our_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="needs threadpoolctl")
    before = xr.get_num_threads()
    pools = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "openmp"]
    assert pools, "no OpenMP runtime found"
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert xr.get_num_threads() == 1
    assert xr.get_num_threads() == before


def test_the_environment_sets_the_number_of_threads():
    code = "import exactrnn as xr; print(xr.get_num_threads())"
    assert run_python(code, OMP_NUM_THREADS="3") == "3"


@pytest.mark.parametrize("first", ["torch", "exactrnn"])
def test_two_openmp_runtimes_in_either_order(first):
    """Another OpenMP runtime in the process: pytorch issue 98836."""
    pytest.importorskip("torch", reason="needs torch")
    expected = run_python(HASH + "xr.set_num_threads(2); print(digest())")
    use_torch = "import torch\ntorch.ones(300, 300) @ torch.ones(300, 300)\n"
    ours = HASH + "xr.set_num_threads(2)\nfirst = digest()\n"
    code = use_torch + ours if first == "torch" else ours + use_torch
    assert run_python(code + "assert digest() == first\nprint(first)") == expected


def test_a_wish_for_many_threads_costs_a_small_call_nothing(cell):
    """Memory is taken for the threads that a call is worth, not for those allowed."""
    layer = make_layer(cell, 3, 17, seed=1)
    problem = random_problem(layer, 5, 3, seed=2)
    expected = run_layer(layer, **problem)
    with xr.threads(1024):
        assert_same_results(run_layer(layer, **problem), expected)
