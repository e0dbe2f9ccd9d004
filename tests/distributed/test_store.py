"""Values between processes when memory or disk is full: nothing hangs or is left."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from calculators import Calculator
from test_engines import is_there

from exactrnn.distributed import LocalEngine, _store

HELPERS = str(Path(__file__).parents[1] / "helpers")
VALUE = np.arange(100_000.0)


@pytest.fixture
def fill(monkeypatch, tmp_path):
    """Return a function after which memory is full, and the disk if that is wanted."""
    monkeypatch.setattr(_store.tempfile, "gettempdir", lambda: str(tmp_path))
    write = _store.Store._write

    def full(*, disk):
        def written(store, place, parts):
            if disk or place == store._folder:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(store, place, parts)

        monkeypatch.setattr(_store.Store, "_write", written)

    return full


def test_what_memory_has_no_room_for_is_on_the_disk_and_goes_with_the_engine(
    fill, tmp_path
):
    with LocalEngine() as engine:
        [worker] = engine.place(Calculator, 1)
        fill(disk=False)
        ref = engine.put(VALUE)
        [spare] = tmp_path.iterdir()
        assert spare.name == engine._folder.name
        assert spare.stat().st_mode & 0o777 == 0o700
        assert np.array_equal(engine.fetch(ref), VALUE)
        halves = engine.call(worker, "halves", VALUE, returns=2)
        assert np.array_equal(np.concatenate([*map(engine.fetch, halves)]), VALUE)
    assert [*tmp_path.iterdir()] == []
    assert not engine._folder.exists()


def test_full_memory_and_a_full_disk_are_a_sentence(fill, tmp_path):
    with LocalEngine() as engine:
        [worker] = engine.place(Calculator, 1)
        fill(disk=True)
        memory = engine._folder.parent
        for name, call in {
            "value": lambda: engine.put(VALUE),
            "halves: argument 0": lambda: engine.call(worker, "halves", VALUE),
        }.items():
            with pytest.raises(OSError, match="expected room") as caught:
                call()
            assert caught.value.errno == errno.ENOSPC
            places = " or ".join(map(str, dict.fromkeys((memory, tmp_path))))
            assert f"{name}: expected room for 781." in str(caught.value)
            assert f" kB in {places}, got too little" in str(caught.value)
        assert engine.fetch(engine.call(worker, "add", 1)) == 1
    assert [*tmp_path.iterdir()] == []
    assert not engine._folder.exists()


def test_a_folder_of_another_user_is_not_written_to(fill, tmp_path, monkeypatch):
    with LocalEngine() as engine:
        fill(disk=False)
        (tmp_path / engine._folder.name).mkdir()
        monkeypatch.setattr(_store.os, "getuid", lambda: 12345)
        with pytest.raises(PermissionError):
            engine.put(VALUE)


KILLED = """
import errno, os, signal, sys, tempfile
tempfile.tempdir = sys.argv[2]
sys.path.insert(0, sys.argv[1])
from calculators import Calculator
from exactrnn.distributed import LocalEngine, _store

def written(store, place, parts, write=_store.Store._write):
    if place == store._folder:
        raise OSError(errno.ENOSPC, "No space left on device")
    return write(store, place, parts)

if __name__ == "__main__":
    engine = LocalEngine()
    workers = engine.place(Calculator, 2)
    _store.Store._write = written
    ref = engine.put(bytes(1 << 20))
    busy = engine.call(workers[0], "sleep", 1.0)
    print(engine._folder, *(worker.pid for worker in workers), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_neither_workers_nor_files(tmp_path):
    script, disk = tmp_path / "killed", tmp_path / "disk"
    script.write_text(KILLED, encoding="utf-8")
    disk.mkdir()
    command = [sys.executable, script, HELPERS, disk]
    environment = {**os.environ, "TMPDIR": str(disk)}
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    folder, *pids = ran.stdout.split()
    until = time.monotonic() + 60
    while time.monotonic() < until and (
        Path(folder).exists() or [*disk.iterdir()] or any(map(is_there, pids))
    ):
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert [*disk.iterdir()] == []
    assert not any(map(is_there, pids))
