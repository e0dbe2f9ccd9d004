"""Workers that sleep are woken on CPUs of their own, and keep the CPUs they may use."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import exactrnn as xr
from exactrnn import _core

if sys.platform != "linux":
    pytest.skip("CPUs of threads are Linux's here", allow_module_level=True)
if len(os.sched_getaffinity(0)) < 2:
    pytest.skip("this processor has one CPU for us", allow_module_level=True)

TASKS = Path("/proc/self/task")
PAUSE = 0.004
"""Seconds: workers sleep after 0.1 ms."""


@pytest.fixture
def crowded():
    """A call is shared by two threads, and sleepers are kept from the caller's CPU."""
    work, noted = _core.thread_work((0, 0)), _core.crowded(noted=True)
    with xr.threads(2):
        yield
    _core.crowded(noted=noted)
    _core.thread_work(work)


@pytest.fixture
def call():
    layer = xr.LSTM(8, 64, seed=1)
    x = np.ones((200, 9, 8), np.float32)
    return lambda: layer(x)


def tasks():
    return [int(task.name) for task in TASKS.iterdir()]


def affinities():
    return {task: os.sched_getaffinity(task) for task in tasks()}


def last_cpu(task):
    after_name = (TASKS / str(task) / "stat").read_text().rpartition(")")[2]
    return int(after_name.split()[36])


def times_woken(task):
    text = (TASKS / str(task) / "status").read_text()
    [count] = [int(s.split()[1]) for s in text.splitlines() if s.startswith("volun")]
    return count


@pytest.mark.usefixtures("crowded")
def test_sleepers_have_their_cpus_back(call):
    call()
    before = affinities()
    for _ in range(50):
        time.sleep(PAUSE)
        call()
    after = affinities()
    assert {task: after[task] for task in before if task in after} == before


@pytest.mark.usefixtures("crowded")
def test_bound_workers_stay_bound(call):
    call()
    workers = [task for task in tasks() if task != os.getpid()]
    before = affinities()
    [cpu, *_] = os.sched_getaffinity(0)
    try:
        for worker in workers:
            os.sched_setaffinity(worker, {cpu})
        for _ in range(50):
            time.sleep(PAUSE)
            call()
        assert all(os.sched_getaffinity(worker) == {cpu} for worker in workers)
    finally:
        for worker in workers:
            os.sched_setaffinity(worker, before[worker])


@pytest.mark.usefixtures("crowded")
def test_workers_wake_where_the_caller_is_not(call):
    call()
    own, apart = os.getpid(), 0
    for _ in range(15):
        time.sleep(0.2)  # kernels that put them there do so after a while
        before = {task: times_woken(task) for task in tasks() if task != own}
        call()
        came = [task for task, times in before.items() if times_woken(task) > times]
        apart += len(came) > 0 and all(last_cpu(task) != last_cpu(own) for task in came)
    assert apart >= 12  # others may be busy here


def test_a_worker_on_the_callers_cpu_is_noticed(call):
    """Where there is no other CPU, a worker is on the caller's."""
    work, noted = _core.thread_work((0, 0)), _core.crowded(noted=False)
    before = affinities()
    [cpu, *_] = os.sched_getaffinity(0)
    try:
        with xr.threads(2):
            call()
            for task in tasks():
                os.sched_setaffinity(task, {cpu})
            until = time.monotonic() + 30
            while not _core.crowded() and time.monotonic() < until:
                time.sleep(PAUSE)
                call()
        assert _core.crowded()
    finally:
        for task in tasks():
            os.sched_setaffinity(task, before.get(task, before[os.getpid()]))
        _core.crowded(noted=noted)
        _core.thread_work(work)
