"""What a path names is kept: links, modes, names; what is no regular file is refused.

Every door to files is tried: layers, echo states, grids, dense layers and language
models.
"""

import array
import contextlib
import io
import os
import random
import re
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import exactrnn as xr
from exactrnn._checks import describe
from exactrnn._system import files as _files
from exactrnn.train import LanguageModel

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

OLD, NEW = xr.GRU(3, 4, seed=1), xr.GRU(3, 5, seed=1)
MODEL = LanguageModel("abc", hidden_size=3, embedding_size=2)
SAVERS = {
    "layer": lambda path: xr.save(NEW, path),
    "cell": lambda path: xr.save(xr.LSTMCell(2, 2, seed=1), path),
    "echo state": lambda path: xr.save(xr.EchoState(1, 10, seed=1), path),
    "grid": lambda path: xr.save(xr.GridLSTM(2, 2, seed=1), path),
    "dense": lambda path: xr.save(xr.train.Linear(2, 2, seed=1), path),
    "model": MODEL.save,
}
LOADERS = {"layer": xr.load, "model": LanguageModel.load}
each_saver = pytest.mark.parametrize("save", SAVERS.values(), ids=SAVERS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def parts_in(folder):
    """Return what saving has left behind."""
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


# What the path names


@each_saver
def test_a_link_is_followed_to_its_target(save, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    target, link = folder / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(Path("folder", "target"))
    save(link)
    assert link.is_symlink()
    assert target.read_bytes() != b"old"
    assert parts_in(folder) + parts_in(tmp_path) == []


@each_saver
def test_a_dangling_link_makes_its_target(save, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(second)
    second.symlink_to(tmp_path / "target")
    save(first)
    assert first.is_symlink()
    assert second.is_symlink()
    assert (tmp_path / "target").stat().st_size > 0


def test_links_in_a_circle_are_an_os_error(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(second)
    second.symlink_to(first)
    for call in (*SAVERS.values(), *LOADERS.values()):
        with pytest.raises(OSError, match="first"):
            call(first)


@each_saver
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o1644])
def test_the_mode_of_a_file_stays(save, path, mode):
    path.touch()
    path.chmod(mode)
    save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@each_saver
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_the_mode_of_the_umask(save, path, umask, mode):
    before = os.umask(umask)
    try:
        save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_a_file_stays(path):
    path.touch()
    os.chown(path, 12345, 54321)
    xr.save(NEW, path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


@contextlib.contextmanager
def not_root():
    """Be somebody else for a while: root may write everywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_is_read_only_stays():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        path = Path(folder, "model")
        path.write_bytes(b"old")
        path.chmod(0o444)
        with not_root(), pytest.raises(PermissionError):
            xr.save(NEW, path)
        assert path.read_bytes() == b"old"


@each_saver
@pytest.mark.parametrize("letter", ["n", "é", "語"])
def test_names_may_be_as_long_as_the_file_system_allows(save, tmp_path, letter):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    name = letter * (longest // len(letter.encode()))
    save(tmp_path / name)
    save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(OSError, match="too long"):
        save(tmp_path / (name + 3 * letter))


def test_another_hard_link_keeps_the_old_file(path, tmp_path):
    other = tmp_path / "other"
    xr.save(OLD, path)
    other.hardlink_to(path)
    xr.save(NEW, path)
    assert repr(xr.load(other)) == repr(OLD)
    assert repr(xr.load(path)) == repr(NEW)


# What is no regular file


@contextlib.contextmanager
def special_files(folder):
    """Give a FIFO, a socket, devices, and links to them, by name."""
    fifo, link = folder / "fifo", folder / "link"
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(folder)  # names of sockets are short
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        yield {
            "a FIFO": fifo,
            "a FIFO by a link": link,
            "a socket": folder / "socket",
            "a character device": Path("/dev/zero"),
            "a character device that is full": Path("/dev/full"),
        }


@pytest.mark.parametrize(
    "call", [*SAVERS.values(), *LOADERS.values()], ids=[*SAVERS, "load", "load model"]
)
def test_what_is_no_regular_file_is_refused_at_once(call, tmp_path):
    with special_files(tmp_path) as files:
        begin = time.monotonic()
        for kind, file in files.items():
            mode = file.stat().st_mode
            said = kind.split(" by ")[0].split(" that ")[0]
            with pytest.raises(ValueError, match=f"path: .*got {said}: .*{file.name}"):
                call(file)
            assert file.stat().st_mode == mode
        assert time.monotonic() - begin < 2
    with pytest.raises(IsADirectoryError):
        call(tmp_path)
    with pytest.raises(FileNotFoundError):
        call(tmp_path / "none" / "file")
    with pytest.raises(NotADirectoryError):
        call(Path("/dev/null/file"))
    with pytest.raises(ValueError, match="null"):
        call(tmp_path / "a\0b")
    assert parts_in(tmp_path) == []


def test_a_file_that_becomes_a_fifo_is_refused(path, monkeypatch):
    xr.save(NEW, path)

    def swap(given, mode, check=_files.check_regular):
        check(given, mode)
        if path.is_file():
            path.unlink()
            os.mkfifo(path)

    monkeypatch.setattr(_files, "check_regular", swap)
    with pytest.raises(ValueError, match="got a FIFO"):
        xr.load(path)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_file_that_is_cut_short_while_it_is_read_is_a_value_error(
    kind, path, monkeypatch
):
    SAVERS[kind](path)
    content = path.read_bytes()

    def cut(given, mode, check=_files.check_regular):
        check(given, mode)
        cut.calls += 1
        if cut.calls == 2:  # after its size is known
            path.write_bytes(content[: len(content) // 2])

    cut.calls = 0
    monkeypatch.setattr(_files, "check_regular", cut)
    with pytest.raises(ValueError, match="cut short while it was read"):
        LOADERS[kind](path)


def test_a_file_may_be_cut_once_it_is_read(path):
    xr.save(NEW, path)
    layer = xr.load(path)
    os.truncate(path, 0)
    assert layer.state_dict()["weight_ih_l0"].any()


def test_a_file_larger_than_all_memory_is_refused_unread(path):
    with path.open("wb") as file:
        try:
            file.truncate(2**43)
        except OSError:
            pytest.skip("the file system has no files of 8 TB")
    for load in LOADERS.values():
        begin = time.monotonic()
        with pytest.raises(ValueError, match=r"expected a file of .* got 8 TB"):
            load(path)
        assert time.monotonic() - begin < 1


# Bytes and open files


@pytest.mark.parametrize("wrong", [None, 5, 5.0, [], {}, object])
def test_what_is_no_file_is_named(wrong):
    end = rf"a binary file, got {re.escape(describe(wrong))}$"
    for load in LOADERS.values():
        with pytest.raises(TypeError, match=r"^path: expected .*" + end):
            load(wrong)
    for save in SAVERS.values():
        with pytest.raises(TypeError, match=r"^path: expected a path or " + end):
            save(wrong)


@each_saver
def test_a_file_of_text_takes_no_model(save):
    with pytest.raises(TypeError, match=r"^path: expected a path or a binary file"):
        save(io.StringIO())


def test_any_buffer_is_read():
    file = io.BytesIO()
    xr.save(NEW, file)
    content = np.frombuffer(file.getvalue(), np.uint8)
    for same in (content, content.repeat(2)[::2], array.array("B", file.getvalue())):
        assert repr(xr.load(same)) == repr(NEW)


def test_bytes_and_files_are_read_and_written():
    file = io.BytesIO()
    xr.save(NEW, file)
    written = file.getvalue()  # getbuffer in a cycle ends Python 3.12.1: gh-111049
    for content in (written, bytearray(written), memoryview(written)):
        assert repr(xr.load(content)) == repr(NEW)
    file.seek(0)
    assert repr(xr.load(file)) == repr(NEW)
    with pytest.raises(ValueError, match="path: not a model file: BytesIO"):
        xr.load(file)
    with pytest.raises(TypeError, match="path: expected a binary file, got one of str"):
        xr.load(io.StringIO("text"))
    model = io.BytesIO()
    MODEL.save(model)
    assert LanguageModel.load(model.getvalue()).alphabet == "abc"


# Old or new, never half


def test_the_data_is_on_the_disk_before_the_name(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(opened):
        is_folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        calls.append("folder" if is_folder else os.fstat(opened).st_size)
        fsync(opened)

    def note_replace(part, target):
        calls.append("rename")
        return replace(part, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    xr.save(NEW, path)
    assert calls == [path.stat().st_size, "rename", "folder"]


FAILURES = {"write": (os, "write"), "fsync": (os, "fsync"), "rename": (Path, "replace")}


@pytest.mark.parametrize("where", FAILURES)
@pytest.mark.parametrize("error", [OSError(28, "disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("existed", [True, False], ids=["old", "none"])
def test_a_failed_save_leaves_what_was_there(where, error, existed, path, monkeypatch):
    if existed:
        xr.save(OLD, path)
    before = path.read_bytes() if existed else None

    def fail(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(*FAILURES[where], fail)
        with pytest.raises(type(error)) as caught:
            xr.save(NEW, path)
    if isinstance(error, OSError):
        assert caught.value.filename == str(path)
        assert caught.value.errno == 28
    assert [p.read_bytes() for p in path.parent.iterdir()] == [before] * existed


def test_a_folder_that_cannot_be_flushed_is_no_failure(path, monkeypatch):
    def refuse_folders(opened):
        if stat.S_ISDIR(os.fstat(opened).st_mode):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse_folders)
    xr.save(NEW, path)
    assert repr(xr.load(path)) == repr(NEW)


def test_many_threads_may_save_to_one_path(path):
    layers = [xr.GRU(3, 4, seed=seed) for seed in range(8)]
    threads = [threading.Thread(target=xr.save, args=(a, path)) for a in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    xr.load(path)
    assert list(path.parent.iterdir()) == [path]


SAVING = """
import os, sys, time
import exactrnn as xr

def write_slowly(opened, data, write=os.write):
    time.sleep(0.0005)
    return write(opened, data[:10_000])

os.write = write_slowly
layers = [xr.LSTM(64, 128, seed=seed) for seed in range(2)]
print("ready", flush=True)
while True:
    for layer in layers:
        xr.save(layer, sys.argv[1])
"""


def kill_while_saving(path, generator):
    """Kill a process at a random moment of its savings."""
    command = [sys.executable, "-c", SAVING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(generator.uniform(0.0, 0.05))
        process.kill()


@pytest.mark.parametrize(
    "kills", [3, pytest.param(60, marks=pytest.mark.deep)], ids=lambda n: f"{n}kills"
)
def test_a_kill_leaves_the_old_file_or_the_new_one(kills, path):
    whole = set()
    for seed in range(2):
        xr.save(xr.LSTM(64, 128, seed=seed), path)
        whole.add(path.read_bytes())
    generator = random.Random(1)
    for _ in range(kills):
        kill_while_saving(path, generator)
        assert path.read_bytes() in whole
        xr.load(path)
    left = parts_in(path.parent)
    assert all(name.startswith(".model.safetensors.") for name in left)
    assert len(left) <= 1  # later processes have taken the others away
    xr.save(OLD, path)
    assert parts_in(path.parent) == []


# What killed processes have left


def leave(path, number=1):
    """Make the file that a killed process leaves of a path that it writes."""
    part = path.with_name(f".{path.name}.{number:016x}.part")
    part.write_bytes(b"half")
    return part


@each_saver
@pytest.mark.parametrize(
    "name",
    ["model", "model.part", "m[o]d*l", "m" * 255, "é" * 99],
    ids=("plain", "part", "pattern", "long", "accents"),
)
def test_what_killed_processes_have_left_is_taken_away(save, name, tmp_path):
    target = tmp_path / name
    ends = [f".{number:016x}.part" for number in range(3)]
    longest = 255 - len("." + ends[0])
    for end in ends:
        begin = os.fsencode(name)[:longest].decode(errors="ignore")
        (tmp_path / f".{begin}{end}").write_bytes(b"half")
    save(target)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_links_have_their_targets_folder_cleared(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    left = leave(folder / "target")
    (tmp_path / "link").symlink_to(folder / "target")
    xr.save(OLD, tmp_path / "link")
    assert not left.exists()


def test_nothing_else_is_taken_away(path):
    digits = "0123456789abcdef"
    others = [
        path.with_name(name)
        for name in (
            f".other.{digits}.part",
            f".{path.name}.more.{digits}.part",
            f".{path.name}.{digits}.part.more",
            f".{path.name}.{digits}0.part",
            f".{path.name}.{digits.upper()}.part",
            f"{path.name}.{digits}.part",
        )
    ]
    for other in others:
        other.write_bytes(b"other")
    others += [path.with_name(f".{path.name}.{k:016x}.part") for k in range(3)]
    folder, fifo, link = others[-3:]
    folder.mkdir()
    os.mkfifo(fifo)
    link.symlink_to(others[0])
    xr.save(OLD, path)
    assert sorted(path.parent.iterdir()) == sorted([*others, path])


def test_what_a_living_process_writes_stays(path):
    halted = SAVING.replace("time.sleep(0.0005)", "print('half', flush=True); input()")
    command = [sys.executable, "-c", halted, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        while process.stdout.readline() != "half\n":
            pass
        [written] = parts_in(path.parent)
        dead = leave(path)
        xr.save(OLD, path)
        assert parts_in(path.parent) == [written]
        assert not dead.exists()
        process.kill()
    xr.save(OLD, path)
    assert parts_in(path.parent) == []


def test_threads_that_write_one_file_leave_each_others_alone(path):
    failed = []

    def work(seed):
        try:
            for _ in range(40):
                xr.save(xr.GRU(3, 4, seed=seed), path)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert parts_in(path.parent) == []


@pytest.mark.parametrize("moment", ["taken", "being taken"])
def test_a_file_that_was_taken_away_before_it_was_locked_is_made_anew(
    path, monkeypatch, moment
):
    fcntl = pytest.importorskip("fcntl", reason="needs a system with flock")
    lock, times = fcntl.flock, []

    def late(opened, how):
        times.append(opened)
        if len(times) > 1:
            return lock(opened, how)
        for name in parts_in(path.parent):
            (path.parent / name).unlink()
        if moment == "being taken":
            raise BlockingIOError
        return lock(opened, how)

    monkeypatch.setattr(fcntl, "flock", late)
    xr.save(OLD, path)
    assert len(times) == 2
    assert parts_in(path.parent) == []
    xr.load(path)


def test_without_locks_files_are_written_and_stay(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="needs a system with flock")

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = leave(path)
    xr.save(OLD, path)
    assert left.exists()
    monkeypatch.setattr(_files, "LOCKS", None)  # as on Windows
    xr.save(OLD, path)
    assert parts_in(path.parent) == []
    xr.load(path)


class Unbuffered(io.RawIOBase):
    """A file that takes at most so many bytes at a time, or none for now."""

    def __init__(self, most):
        self.most, self.content = most, b""

    def writable(self):
        return True

    def write(self, given):
        part = bytes(given)[: self.most]
        self.content += part
        return len(part) if self.most is not None else None


def test_files_without_a_buffer_get_every_byte():
    layer, whole = xr.GRU(3, 4, seed=1), io.BytesIO()
    xr.save(layer, whole)
    file = Unbuffered(100)
    xr.save(layer, file)
    assert file.content == whole.getvalue()
    for most in (0, None):
        with pytest.raises(OSError, match=r"path: .* takes no"):
            xr.save(layer, Unbuffered(most))
