"""A forked child computes as its parent does: with the same bits, and with threads.

The programs run in processes of their own. A child that waits for threads which it does
not have is ended by its alarm, and the test is red.
"""

import ctypes.util
import os
import random
import threading

import pytest
from processes import TEAM, run_python

from exactrnn import _locks

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
