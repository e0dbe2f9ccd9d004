"""Engines: what each of them promises, by the same questions.

Those that a plain run asks of processes share one engine, because each process takes a
second to begin.
"""

import errno
import functools
import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from calculators import Calculator, die_at_first, refuse
from engines import HELPERS, make_ray_engine, needs_ray

from exactrnn.distributed import (
    EngineError,
    InlineEngine,
    LocalEngine,
    RayEngine,
    WorkerLost,
)
from exactrnn.distributed import engine as seam

MAKERS = {"inline": InlineEngine, "local": LocalEngine, "ray": make_ray_engine}
ENGINES = [
    "inline",
    "local",
    pytest.param("ray", marks=[needs_ray, pytest.mark.deep]),
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    with MAKERS[request.param]() as made:
        yield made


@pytest.fixture(scope="module")
def two(engine):
    """Two workers, which tests leave alive; what they remember is forgotten."""
    return engine.place(Calculator, 2)


@pytest.fixture(autouse=True)
def forgotten(request):
    if "two" in request.fixturenames:
        engine, two = request.getfixturevalue("engine"), request.getfixturevalue("two")
        for worker in two:
            engine.fetch(engine.call(worker, "forget"))


def test_calls_of_a_worker_are_done_in_their_order(engine, two):
    refs = [engine.call(two[0], "add", k) for k in (1, 10, 100, 1000, 10000)]
    assert [engine.fetch(ref) for ref in refs[::-1]] == [11111, 1111, 111, 11, 1]
    assert engine.fetch(engine.call(two[1], "add", 5)) == 5


def test_refs_are_arguments_of_other_workers(engine, two):
    first = engine.call(two[0], "add", 3)
    second = engine.call(two[1], "add", first, engine.put(4))
    third = engine.call(two[0], "add", second, second)
    assert [engine.fetch(ref) for ref in (third, second, first)] == [17, 7, 3]


def test_several_values_have_a_ref_each(engine, two):
    values = np.arange(200_000.0)
    left, right = engine.call(two[0], "halves", values, returns=2)
    total = engine.call(two[1], "add", right, left)
    assert np.array_equal(engine.fetch(total), values[:100_000] * 2 + 100_000)
    assert np.array_equal(engine.fetch(left), values[:100_000])
    with pytest.raises(TypeError, match="halves: expected it to return a tuple of 3"):
        engine.fetch(engine.call(two[0], "halves", values, returns=3)[1])


def test_what_a_call_raises_is_raised_where_it_is_fetched(engine, two):
    wrong = engine.call(two[0], "fail", "words")
    later = engine.call(two[1], "add", wrong)
    for ref in (wrong, later):
        with pytest.raises(KeyError, match="words"):
            engine.fetch(ref)
    with pytest.raises(Exception, match="no other process knows it"):
        engine.fetch(engine.call(two[0], "fail_strangely"))
    assert engine.fetch(engine.call(two[0], "add", 1)) == 1


def test_waiting_ends_with_the_time_or_with_the_calls(engine, two):
    short = engine.call(two[0], "sleep", 0.0)
    long = engine.call(two[1], "sleep", 0.5)
    assert engine.wait([long, short], count=2) == ([long, short], [])
    assert engine.wait([]) == ([], [])
    if not isinstance(engine, InlineEngine):
        long = engine.call(two[1], "sleep", 2.0)
        begin = time.monotonic()
        assert engine.wait([long], timeout=0.1) == ([], [long])
        assert time.monotonic() - begin < 1.5
        assert engine.fetch(long) not in (os.getpid(), engine.fetch(short))


def kill(engine, worker):
    if isinstance(engine, InlineEngine):
        engine.lose(worker)
    else:
        ref = engine.call(worker, "die")
        with pytest.raises(WorkerLost):
            engine.fetch(ref)


def test_a_lost_worker_is_said_and_replaced(engine):
    start = np.ones(30_000)
    worker, other = engine.place(functools.partial(Calculator, start), 2)
    before = engine.call(worker, "add", start)
    engine.wait([before])
    kill(engine, worker)
    lost = engine.call(worker, "add", 1)
    later = engine.call(other, "add", lost)
    for ref in (lost, later):
        with pytest.raises(WorkerLost, match="worker"):
            engine.fetch(ref)
    assert np.array_equal(engine.fetch(before), start + 1)
    assert not engine.alive(worker)
    assert engine.alive(other)
    worker = engine.replace(worker)
    assert engine.alive(worker)
    for one in (worker, other):
        assert engine.fetch(engine.call(one, "add", 1.0))[0] == 2.0


def test_a_dismissed_worker_is_gone_and_the_others_stay(engine, two):
    [worker] = engine.place(Calculator, 1)
    value = engine.call(worker, "zeros", 50_000)
    engine.wait([value])
    engine.dismiss([worker])
    assert not engine.alive(worker)
    assert engine.fetch(value).shape == (50_000,)
    with pytest.raises(WorkerLost, match="worker"):
        engine.fetch(engine.call(worker, "add", 1))
    total = engine.call(two[0], "add", value, 1)
    assert engine.fetch(total)[0] == 1


def test_another_version_is_refused_with_both_named(engine, monkeypatch):
    found = seam.own_versions()
    if isinstance(engine, InlineEngine):
        assert engine.place(Calculator, 1)  # one process has one version
        return
    monkeypatch.setattr(seam, "own_versions", lambda: found._replace(package="9.8.7"))
    message = rf"expected exactrnn 9\.8\.7 \(.*\), .*, got exactrnn {found.package} "
    with pytest.raises(EngineError, match=message):
        engine.place(Calculator, 1)


def test_what_cannot_be_made_says_why(engine):
    with pytest.raises(ValueError, match="start: expected another one"):
        engine.place(refuse, 1)


# Processes of this machine


@pytest.fixture(scope="module")
def local():
    with LocalEngine() as made:
        yield made


def files_of(engine):
    return [*engine._folder.iterdir()]


def test_large_values_are_there_once_and_go_with_their_refs(local):
    [worker] = local.place(Calculator, 1)
    before = files_of(local)
    ref = local.call(worker, "zeros", 100_000)
    value = local.fetch(ref)
    assert not value.flags.writeable
    assert len(files_of(local)) == len(before) + 1
    copies = [local.call(worker, "add", ref) for _ in range(3)]
    local.wait(copies, count=3)
    assert len(files_of(local)) == len(before) + 4
    del ref, copies
    gc.collect()
    assert files_of(local) == before
    assert value.sum() == 0
    local.dismiss([worker])


def test_a_worker_may_be_killed_as_it_begins(local, tmp_path):
    make = functools.partial(die_at_first, tmp_path / "deaths", 2)
    [worker] = local.place(make, 1)
    (tmp_path / "deaths").write_text(".", encoding="utf-8")  # one is left
    with pytest.raises(WorkerLost, match="was killed as it began"):
        local.replace(worker)
    assert not local.alive(worker)
    worker = local.replace(worker)
    assert local.fetch(local.call(worker, "add", 1)) == 1
    local.dismiss([worker])


def test_an_error_of_an_unknown_class_is_one_of_its_call_alone(local):
    [worker] = local.place(Calculator, 1)
    unknown = local.call(worker, "fail_unknown")
    after = local.call(worker, "add", 2)
    assert local.fetch(after) == 2
    with pytest.raises(AttributeError, match="UnknownError"):
        local.fetch(unknown)
    local.dismiss([worker])


def test_lambdas_are_refused_by_their_name(local):
    with pytest.raises(TypeError, match=r"^make: expected what another process can be"):
        local.place(lambda: 1, 1)


def test_closing_ends_all(tmp_path):
    engine = LocalEngine()
    [worker] = engine.place(Calculator, 1)
    busy = engine.call(worker, "sleep", 30.0)
    folder, begin = engine._folder, time.monotonic()
    engine.close()
    assert time.monotonic() - begin < 15
    assert not folder.exists()
    with pytest.raises(WorkerLost):
        engine.fetch(busy)
    with pytest.raises(EngineError, match="a closed one"):
        engine.place(Calculator, 1)


ABANDONED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from calculators import Calculator
from exactrnn.distributed import LocalEngine

if __name__ == "__main__":
    engine = LocalEngine()
    [worker] = engine.place(Calculator, 1)
    ref = engine.put(bytes(1 << 20))
    print(engine._folder, worker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_process_that_was_killed(tmp_path):
    script = tmp_path / "abandoned"
    script.write_text(ABANDONED, encoding="utf-8")
    command = [sys.executable, script, HELPERS]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    folder, pid = ran.stdout.split()
    until = time.monotonic() + 120
    while (Path(folder).exists() or is_there(pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert not is_there(pid)


def is_there(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


UNGUARDED = """
from exactrnn.distributed import LocalEngine
LocalEngine().place(list, 1)
"""


def test_a_script_without_a_guard_is_told(tmp_path):
    script = tmp_path / "unguarded"
    script.write_text(UNGUARDED, encoding="utf-8")
    command = [sys.executable, script]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "if __name__ == '__main__':" in ran.stderr.splitlines()[-1]


OWN = """
from exactrnn.distributed import LocalEngine
class Own: pass
if __name__ == "__main__":
    LocalEngine().place(Own, 1)
"""
NO_FILE = {
    "stdin": "EngineError: workers: expected a program in a file, .* got '<stdin>'",
    "-c": "TypeError: workers: expected functions .* does not find: .* 'Own'",
}


@pytest.mark.parametrize("how", NO_FILE)
def test_a_program_in_no_file_is_told(how):
    command, given = (
        ([sys.executable, "-"], OWN)
        if how == "stdin"
        else ([sys.executable, "-c", OWN], None)
    )
    ran = subprocess.run(
        command, input=given, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr.count("Traceback") <= 2
    assert re.search(NO_FILE[how], ran.stderr.splitlines()[-1])


def test_a_daemonic_process_has_no_workers(local, monkeypatch):
    config = multiprocessing.current_process()._config
    monkeypatch.setitem(config, "daemon", True)
    with pytest.raises(EngineError, match=r"^workers: expected a process that may "):
        local.place(Calculator, 1)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM])
def test_what_the_system_refuses_is_said(local, monkeypatch, number):
    def start(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start)
    message = rf"worker \d+ to begin, but the system refused .*{os.strerror(number)}"
    with pytest.raises(EngineError, match=message):
        local.place(Calculator, 1)


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # jax, if it is there
def test_a_forked_process_takes_nothing_along(local):
    [worker] = local.place(Calculator, 1)
    values = local.put(np.ones(50_000))
    child = os.fork()
    if not child:
        try:
            values._waiters.clear()
            local.close()
            del values
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    total = local.call(worker, "add", values)
    assert local.fetch(total)[-1] == 1
    assert local.alive(worker)
    local.dismiss([worker])


SLOW_TO_BEGIN = """
import os
import time
from exactrnn.distributed import LocalEngine
if __name__ == "__main__":
    LocalEngine().place(list, 3)
os.write(1, b"begun\\n")  # at once, whatever the others write
time.sleep(60)
"""


def test_ctrl_c_while_workers_begin_is_this_process_alone(tmp_path):
    script = tmp_path / "slow"
    script.write_text(SLOW_TO_BEGIN, encoding="utf-8")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, script],
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    ) as ran:
        try:
            begun = [ran.stdout.readline() for _ in range(3)]
        finally:
            os.killpg(ran.pid, signal.SIGINT)  # as a terminal does
        _, err = ran.communicate(timeout=60)
    assert begun == ["begun\n"] * 3
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'exactrnn\[distributed\]'"):
        RayEngine()
