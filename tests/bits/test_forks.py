"""A forked child computes as its parent does: with the same bits, and with threads.

The programs run in processes of their own. A child that waits for threads which it does
not have is ended by its alarm, and the test is red.
"""

import ctypes.util
import os

import pytest
from processes import TEAM, run_python
from variants import HELPERS

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="no fork on this system"
)

# What the parent does before it forks; OpenMP's pools belong to the threads that begin
# regions, and are one matter for all libraries that use the same runtime.
USE_OPENMP = """
runtime = ctypes.CDLL("libgomp.so.1")
body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
runtime.GOMP_parallel(body, None, 3, 0)
"""
USE_TORCH = """
import torch
torch.set_num_threads(2)
assert torch.ones(1000, 1000).sum() == 1e6
"""
HISTORIES = {
    "nothing": "",
    "a call": "xr.set_num_threads(2); digest()",
    "a call by another thread": "xr.set_num_threads(2); in_thread(digest)",
    "another library": "import ctypes" + USE_OPENMP,
    "another library and a call": "import ctypes" + USE_OPENMP + "digest()",
    "torch": USE_TORCH,
    "torch and a call": USE_TORCH + "xr.set_num_threads(2); digest()",
}

# Who forks, and who computes in the child.
CHECK = """
xr.set_num_threads(2)
def check():
    assert xr.get_num_threads() == 2
    for _ in range(3):
        assert digest() == expected
        assert team() == 2, team()
    xr.set_num_threads(4)
    assert team() == 4, team()
    xr.set_num_threads(2)
    assert team() == 2, team()
"""
FORKS = {
    "main thread": "fork(check)",
    "another thread": "in_thread(lambda: fork(check))",
    "twice": "fork(check); fork(check)",
    "child of a child": "fork(lambda: fork(check))",
    "child of a child that computed": """
def check_and_fork():
    check()
    fork(lambda: (check(), fork(check)))
    check()
fork(check_and_fork)
""",
    "thread of a child": "fork(lambda: (in_thread(check), check(), in_thread(check)))",
    "threads of a child at once": """
def check_all():
    threads = [threading.Thread(target=lambda: done.append(digest() == expected))
               for _ in range(4)]
    done = [digest() == expected]
    for thread in threads:
        thread.start()
    done.append(digest() == expected)
    for thread in threads:
        thread.join()
    assert done == [True] * 6, done
fork(check_all)
""",
    "child of a child's thread": """
fork(lambda: (check(), in_thread(lambda: (check(), fork(check), check())), check()))
""",
}


def needs_for(history):
    if "torch" in history:
        pytest.importorskip("torch", reason="needs torch")
    if "library" in history and ctypes.util.find_library("gomp") is None:
        pytest.skip("libgomp is not found by its name here")


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("who", ["main thread", "another thread"])
def test_child_uses_its_threads_whatever_the_parent_did(history, who):
    needs_for(history)
    code = TEAM + HISTORIES[history] + CHECK + FORKS[who]
    run_python(code + "\nassert digest() == expected\nassert team() == 2")


@pytest.mark.parametrize("who", list(FORKS)[2:])
def test_children_of_any_descent_use_their_threads(who):
    code = TEAM + HISTORIES["a call"] + CHECK + FORKS[who]
    run_python(code + "\nassert digest() == expected\nassert team() == 2")


def test_workers_of_a_warm_parent_use_their_threads():
    """What gunicorn does with preload: load, warm up, fork, serve."""
    run_python(
        TEAM
        + """
xr.set_num_threads(2)
digest()
workers = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        ok = all(digest() == expected and team() == 2 for _ in range(5))
        os._exit(0 if ok else 1)
    workers.append(child)
assert digest() == expected
assert [os.waitpid(child, 0)[1] for child in workers] == [0, 0, 0]
"""
    )


# A handler of signals forks, and in the child the call goes on where it was. Its other
# threads, which sleep with each item that they have begun, are not there.
FORK_IN_A_CALL = """
class Fork:
    "Forks when it is asked for the n-th time, and others have had time to come."
    def __init__(self, n):
        self.left, self.child = n, None
    def __call__(self):
        self.left -= 1
        if self.left == 0:
            time.sleep(2e-3)
            self.child = os.fork()

def forked(call, n):
    "Return what comes of a call that forks, and the child, 0 inside it."
    fork = Fork(n)
    before = _core.stop_pace((0, 0), fork)
    try:
        return call(), fork.child
    except RuntimeError as error:
        return str(error), fork.child
    finally:
        _core.stop_pace(before)

def is_right(call, found, expected):
    "In the child: it has the bits or an error, and computes as it should from now on."
    if found != expected:
        assert "forked during a call that several threads share" in found, found
    _core.worker_delay((0, 0, 0))
    for threads in (1, 4):
        xr.set_num_threads(threads)
        assert call() == expected
    return found == expected

def fork_in(call):
    "Fork at one question after another; return the statuses of the children."
    statuses, expected = set(), call()
    for n in (1, 2, 3, 6, 12, 24):
        found, child = forked(call, n)
        if child == 0:
            signal.alarm(60)
            try:
                os._exit(0 if is_right(call, found, expected) else 7)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        assert found == expected
        if child is None:
            return statuses
        statuses.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return statuses
"""
IN_A_CALL = {
    "rows": "lambda: rows(x)[0].tobytes()",
    "everything": "digest",
    "a stream": "step",
}


@pytest.mark.parametrize("call", IN_A_CALL)
def test_child_of_a_handler_in_a_call_is_right_or_is_told(call):
    """A fork finds workers in an item, before or after it, if they come at all."""
    code = f"""
import time
rows = xr.LSTM(7, 40, seed=2)
stream = rows.stream(640)
def step():
    before = [part.copy() for part in stream.state]
    try:
        return stream.step(np.ones((640, 7), np.float32)).tobytes()
    finally:
        stream.state = before
call = {IN_A_CALL[call]}
xr.set_num_threads(3)
_core.worker_delay((0, 1_000_000, 0))
end = time.monotonic() + 1
found = fork_in(call)
while 7 not in found and time.monotonic() < end:
    found |= fork_in(call)
assert found <= {{0, 7}}, found
"""
    run_python(TEAM + FORK_IN_A_CALL + code)


# Layers of all kinds, of which a thread trains one after the other.
TRAINING = """
import itertools, multiprocessing, time
sys.path.insert(0, sys.argv[1])
from layer_kinds import KINDS, make_kind
xr.set_num_threads(2)
layers = [
    *(make_kind(kind, 5, 12, num_layers=2) for kind in KINDS),
    xr.TimeDepthGridLSTM(5, 12, num_layers=2, dropout=0.5, seed=0),
    *(make(5, 12, num_layers=2, dropout=0.5, seed=0) for make in (xr.LSTM, xr.GRU)),
]
inputs = np.linspace(-1, 1, 6 * 3 * 5, dtype="float32").reshape(6, 3, 5)
old = [layer.state_dict() for layer in layers]
new = [{name: w / 2 for name, w in weights.items()} for weights in old]

def outputs(weights):
    for layer, values in zip(layers, weights):
        layer.load_state_dict(values)
    return [layer(inputs)[0].tobytes() for layer in layers]

allowed = list(zip(outputs(new), outputs(old)))

def whole(number):
    "Whether a layer computes with all old or all new weights."
    return layers[number](inputs)[0].tobytes() in allowed[number]

def write_slowly(layer, values):
    "As any change of weights, but a fork will find it half done."
    with layer._store.edit() as weights:
        for name, value in values.items():
            weights[name][...] = value
            time.sleep(1e-3)

def train():
    for weights in itertools.cycle([new, old]):
        for layer, values in zip(layers, weights):
            if stopped:
                return
            write_slowly(layer, values)
            layer.load_state_dict(values)
            y, state, cache = layer.forward(inputs)
            layer.backward(cache, y)
            del y, cache

stopped = False
sys.setswitchinterval(1e-6)  # a fork finds the other thread anywhere
trainer = threading.Thread(target=train, daemon=True)
trainer.start()
"""
END = """
stopped = True
trainer.join()
"""


def test_children_beside_a_training_thread_see_whole_weights():
    check = """
def check():
    assert all(map(whole, range(len(layers))))
    layers[0].weight_hh_l0[0] = 1
for _ in range(25):
    fork(check)
"""
    run_python(TEAM + TRAINING + check + END, HELPERS)


def test_pool_of_short_lived_workers_beside_a_training_thread():
    pool = """
context = multiprocessing.get_context("fork")
signal.alarm(200)  # the pool of a dead worker would wait for ever
with context.Pool(2, maxtasksperchild=1) as workers:
    results = [workers.apply_async(whole, (k % len(layers),)) for k in range(60)]
    assert [result.get(timeout=100) for result in results] == [True] * 60
"""
    run_python(TEAM + TRAINING + pool + END, HELPERS)


def test_fork_gets_all_locks_from_threads_that_never_hold_none():
    """Threads go along the locks, in each direction; new ones come up meanwhile."""
    run_python(
        TEAM
        + """
import time
from exactrnn._system.locks import make_lock
locks = [make_lock() for _ in range(20)]
made = []

def go_along(locks):
    while True:
        for first, second in zip(locks, locks[1:]):
            with first:
                time.sleep(0)
                with second:
                    pass

def make_more():
    while True:
        made[:] = [make_lock() for _ in range(100)]
        with made[-1]:
            time.sleep(0)

def take_all():
    for lock in (*locks, *made, make_lock()):
        assert lock.acquire(timeout=20)
        lock.release()

sys.setswitchinterval(1e-6)
threading.Thread(target=make_more, daemon=True).start()
for way in (locks[:10], locks[:10], locks[:9:-1]):
    threading.Thread(target=go_along, args=(way,), daemon=True).start()
signal.alarm(100)
for _ in range(15):
    with make_lock():  # of the forking thread
        fork(take_all)
in_thread(lambda: [fork(take_all) for _ in range(5)])
forkers = [threading.Thread(target=fork, args=(take_all,)) for _ in range(4)]
for forker in forkers:
    forker.start()
for forker in forkers:
    forker.join()
take_all()
"""
    )


def test_fork_that_is_interrupted_while_it_waits_holds_nothing():
    run_python(
        TEAM
        + """
import time
from exactrnn._system.locks import make_lock
locks = [make_lock() for _ in range(5)]
entered, leave = threading.Event(), threading.Event()
def hold():
    with locks[2]:
        entered.set()
        leave.wait()
thread = threading.Thread(target=hold)
thread.start()
entered.wait()
sys.unraisablehook = lambda unraisable: None  # Python's answer to a handler's error
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
fork(lambda: None)
leave.set()
thread.join()
def take_all():
    for lock in locks:
        assert lock.acquire(timeout=20)
        lock.release()
in_thread(take_all)
fork(take_all)
"""
    )
