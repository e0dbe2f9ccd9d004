"""Python programs in processes of their own, and what several of them begin with."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap


def start_python(code, *arguments, timeout=300, **environment):
    """Run code in a fresh interpreter; return the finished process.

    What it has forked ends with it, and is not waited for. Python from 3.12 on warns of
    any fork beside other threads, which is what some of these programs are for.
    """
    command = [sys.executable, "-W", "ignore:.*fork:DeprecationWarning", "-c"]
    command += [textwrap.dedent(code), *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=err,
            env=os.environ | environment,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


def run_python(code, *arguments, **environment):
    """Run code that must succeed; return what it printed."""
    done = start_python(code, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# `digest` is of a call and its gradients by all threads that are allowed, as many as
# `team` counts in a region of the library.
TEAM = """
import hashlib, os, signal, sys, threading, traceback
import numpy as np
import exactrnn as xr
from exactrnn import _core

_core.thread_work((0, 0))
layer = xr.GRU(7, 40, num_layers=2, bidirectional=True, seed=1)
x = np.linspace(-1, 1, 9 * 4 * 7, dtype="float32").reshape(9, 4, 7)

def digest():
    y, state, cache = layer.forward(x)
    gradients = layer.backward(cache, y)
    parts = [y, gradients.x, *gradients.weights.values()]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

def team():
    once = _core.fma_loop("scalar", "float32", 1, 1)
    return _core.fma_loop("scalar", "float32", 1, xr.get_num_threads()) // once

def fork(check):
    "Run `check` in a child, which must end well, and soon."
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            check()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with status {status}"

def in_thread(work):
    "Run `work` in another thread, which must not raise."
    failed = []
    def guarded():
        try:
            work()
        except BaseException as error:
            failed.append(error)
    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert not failed, failed

xr.set_num_threads(1)
expected = digest()
"""
