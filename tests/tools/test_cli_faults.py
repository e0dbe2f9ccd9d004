"""Commands whose output, input or target fails: one line, a status, no model lost."""

import errno
import os
import select
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from commands import (
    EXACTRNN,
    SECONDS,
    SMALL,
    TEXT,
    make_training,
    only_line,
    run,
    timed,
)

from exactrnn._system import files
from exactrnn.cli import _output, lm, main, verify
from exactrnn.train import LanguageModel, Progress

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")


pytestmark = pytest.mark.usefixtures("settings_are_put_back")


@pytest.fixture(autouse=True)
def _streams_have_buffers(monkeypatch):
    """Let Python keep what it could not write, as it does unless it is told not to."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def training(tmp_path):
    return make_training(tmp_path)


@pytest.fixture
def text(training):
    return Path(training[training.index("--text") + 1])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    alphabet = "".join(sorted(set(TEXT)))
    LanguageModel(alphabet, hidden_size=8, embedding_size=4).save(path)
    return path


# Output that cannot be written

FULL = {"full": ">/dev/full", "closed": ">&-"}
REASONS = {"full": "No space left on device", "closed": "Bad file descriptor"}


@pytest.mark.parametrize("kind", FULL)
def test_output_that_fails_does_not_lose_a_model(kind, training, out):
    done = run(training, shell=FULL[kind])
    expected = f"exactrnn lm: error: standard output: {REASONS[kind]}"
    assert only_line(done.stderr) == expected
    assert done.returncode == 2
    assert LanguageModel.load(out).alphabet == "".join(sorted(set(TEXT)))


@pytest.mark.parametrize("lines", [0, 1, 4])
def test_a_reader_that_goes_away_does_not_lose_a_model(lines, training, out):
    done = run(training, shell=f"| head -n {lines}; exit ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == lines
    LanguageModel.load(out)


@pytest.mark.parametrize("shell", [">&- 2>&-", ">/dev/full 2>/dev/full", "2>&-"])
def test_streams_that_are_all_closed_do_not_lose_a_model(shell, training, out):
    done = run(training, shell=f"{shell} <&-")
    assert done.returncode == (0 if shell == "2>&-" else 2)
    LanguageModel.load(out)


BENCH = ["bench", "--alone", "--seconds", "0.01", "--steps", "2", "--batch", "1"]
BENCH += ["--hidden", "4", "--cell", "rnn"]


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("command", ["sample", "info", "bench", "help", "lm help"])
def test_output_that_fails_is_one_line_of_every_command(command, kind, model):
    arguments = {
        "sample": ["lm", "sample", model, "--length", "20000"],
        "info": ["info"],
        "bench": BENCH,
        "help": ["--help"],
        "lm help": ["lm", "--help"],
    }[command]
    done = run(arguments, shell=FULL[kind])
    assert only_line(done.stderr).endswith(f"error: standard output: {REASONS[kind]}")
    assert done.returncode == 2


def test_a_reader_that_goes_away_is_no_error_of_any_command(model):
    for arguments in (["lm", "sample", model, "--length", "100000"], ["info"], BENCH):
        done = run(arguments, shell="| head -c 1; exit ${PIPESTATUS[0]}")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("differing", "status"), [([], 2), (["case"], 1)])
def test_verify_says_what_it_found_though_nobody_reads(
    differing, status, monkeypatch, capsys
):
    monkeypatch.setattr(verify, "differences", lambda *_: differing)
    with open("/dev/full", "w") as full:  # noqa: PTH123 - the descriptor matters
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["verify"]) == status
        monkeypatch.undo()
    assert ("No space left" in capsys.readouterr().err) == (status == 2)


def test_figures_are_kept_though_nobody_reads(tmp_path):
    path = tmp_path / "figures.json"
    run([*BENCH, "--json", path], shell=">/dev/full")
    assert path.read_text().startswith("{")
    done = run([*BENCH, "--json", "/dev/stdout"])
    assert done.returncode == 0
    assert '"rows"' in done.stdout


# Terminals


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
    ],
    ids=lambda e: "-".join(e.values()),
)
def test_terminals_need_not_know_all_characters(environment, training, out, model):
    env = {**os.environ, **environment}
    done = run(training, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    for prompt in ("", "ü語"):
        done = run(["lm", "sample", model, "--prompt", prompt], env=env)
        assert "Traceback" not in done.stderr
        assert done.returncode == (2 if done.stderr else 0)
    for command in (["info"], ["bench", "--help"]):
        done = run(command, env=env)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_bar_on_a_terminal_of_ascii_is_drawn(training, out):
    pytest.importorskip("tqdm")
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.Popen(
        [*EXACTRNN, *training], stdout=subprocess.DEVNULL, stderr=slave, env=env
    )
    os.close(slave)
    drawn = b""
    while select.select([master], [], [], SECONDS)[0]:
        try:
            drawn += os.read(master, 10_000)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert done.wait(timeout=SECONDS) == 0
    assert b"100%" in drawn
    drawn.decode("ascii")
    LanguageModel.load(out)


def test_a_terminal_that_goes_away_does_not_lose_a_model(training, out):
    pytest.importorskip("tqdm")
    master, slave = os.openpty()
    done = subprocess.Popen(
        [*EXACTRNN, *timed(training, 1.5)],
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    os.read(master, 100)
    os.close(master)
    assert done.wait(timeout=SECONDS) == 2
    LanguageModel.load(out)


def test_a_broken_bar_does_not_stop_training(training, out, monkeypatch):
    class Broken:
        def __init__(self):
            self.closed = False

        def isatty(self):
            return True

        def write(self, *arguments):
            raise OSError(errno.EIO, f"Input/output error of {arguments}")

        flush = fileno = write

    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Broken())
    assert main(training) == 0
    LanguageModel.load(out)


# Disks


class Full:
    """A file system on which some folders take no data."""

    def __init__(self, monkeypatch, *folders):
        self.folders = [str(folder) for folder in folders]
        self.write = os.write
        monkeypatch.setattr(files.os, "write", self)

    def __call__(self, opened, data):
        name = str(Path(f"/proc/self/fd/{opened}").readlink())
        if any(name.startswith(folder) for folder in self.folders):
            self.write(opened, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.write(opened, data)


def test_a_disk_that_is_full_at_the_end_does_not_lose_a_model(
    training, out, tmp_path, monkeypatch, capsys
):
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    Full(monkeypatch, out)
    Full(monkeypatch, f"{tmp_path}/.model")
    assert main(training) == 2
    printed, errors = capsys.readouterr()
    (kept,) = other.iterdir()
    assert only_line(errors) == (
        f"exactrnn lm: error: --out: {out}: No space left on device; the model is in "
        f"{kept}"
    )
    assert f"saved     {kept} (SHA-256 " in printed
    assert "bits per character" in printed
    LanguageModel.load(kept)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "text.txt"]


def test_if_all_disks_are_full_it_is_one_line(training, out, monkeypatch, capsys):
    Full(monkeypatch, "/")
    assert main(training) == 2
    errors = only_line(capsys.readouterr().err)
    assert errors.endswith("No space left on device; no other folder takes the model")
    assert not out.exists()


def test_a_limit_on_the_size_of_files_is_one_line(training, out):
    done = run(training, limits="ulimit -f 1;", env={**os.environ, "HOME": "/"})
    assert done.returncode == 2
    assert only_line(done.stderr).endswith("no other folder takes the model")
    assert not list(out.parent.glob("*.part"))


def test_a_full_disk_of_the_system_is_survived(text, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        (folder / "old").write_bytes(b"x" * 2000)
        out = folder / "model"
        arguments = ["lm", "--text", text, "--out", out, *SMALL]
        done = run([*arguments, "--hidden", "64"], cwd=tmp_path)
        assert done.returncode == 2
        kept = Path(only_line(done.stderr).rpartition("the model is in ")[2])
        assert kept.parent == tmp_path
        LanguageModel.load(kept)
        assert [p.name for p in folder.iterdir()] == ["old"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# Targets


def test_targets_that_cannot_be_are_known_before_training(
    training, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(lm, "read_text", None)  # nothing is read before
    fifo, loop = tmp_path / "fifo", tmp_path / "loop"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    before = sorted(tmp_path.iterdir())
    for target, reason in {
        tmp_path: "Is a directory",
        fifo: "expected a regular file, got a FIFO",
        "/dev/null": "expected a regular file, got a character device",
        loop: "Too many levels of symbolic links",
        tmp_path / "none" / "model": "No such file or directory",
        tmp_path / "text.txt" / "model": "Not a directory",
        tmp_path / ("n" * 256): "File name too long",
        "/proc/model": "",
        "": "Is a directory",
    }.items():
        assert main([*training, "--out", str(target)]) == 2
        error = only_line(capsys.readouterr().err)
        assert error.startswith("exactrnn lm: error: --out: ")
        assert reason in error
    assert sorted(tmp_path.iterdir()) == before


def test_the_text_is_not_overwritten(training, text, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to(text)
    for target in (text, link):
        assert main([*training, "--out", str(target)]) == 2
        assert "--out: expected another file" in capsys.readouterr().err
    assert text.read_text(encoding="utf-8") == TEXT


def test_a_text_where_the_run_would_be_kept_is_not_taken_away(
    training, text, tmp_path, capsys
):
    named = text.rename(tmp_path / "novel.run")
    options = [str(named) if own == str(text) else own for own in training]
    assert str(named) in options
    assert main([*options, "--out", str(tmp_path / "novel")]) == 2
    error = only_line(capsys.readouterr().err)
    assert "--out: expected another file than --text" in error
    assert named.read_text(encoding="utf-8") == TEXT


def test_a_link_as_target_is_followed(training, tmp_path):
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    assert main([*training, "--out", str(link)]) == 0
    assert link.is_symlink()
    LanguageModel.load(target)


# Texts


@pytest.mark.parametrize(
    "shell",
    [
        "--text - < {text}",
        "--text /dev/stdin < {text}",
        "--text <(cat {text})",
        "--text /dev/stdin < <(cat {text})",
        "--text - < <(cat {text})",
    ],
)
def test_texts_come_from_pipes_and_standard_input(shell, text, out):
    done = run(["lm", "--out", out, *SMALL], shell=shell.format(text=text))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(TEXT):,} characters" in done.stdout
    assert LanguageModel.load(out).alphabet == "".join(sorted(set(TEXT)))


def test_a_fifo_is_a_text(out, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=(TEXT, "utf-8"))
    writer.start()
    assert main(["lm", "--text", str(fifo), "--out", str(out), *SMALL]) == 0
    writer.join()


@pytest.mark.parametrize(
    ("shell", "reason"),
    [
        ("--text /dev/zero", "/dev/zero: expected a file or a pipe, got a character"),
        ("--text - < /dev/zero", "standard input: expected a file or a pipe, got a"),
        ("--text - <&-", "standard input: it is closed"),
        ("--text /", "/: Is a directory"),
        ("--text ''", ".: Is a directory"),
        ("--text - < <(true)", "standard input: expected a text, got nothing"),
        ("--text - < <(printf abcdef)", "at least 7 characters, more than 4 to learn"),
        ("--text - < <(printf 'abc\\xff')", "standard input: not UTF-8 at byte 3"),
    ],
)
def test_texts_that_are_none_are_one_line(shell, reason, out):
    done = run(["lm", "--out", out, *SMALL], shell=shell)
    assert reason in only_line(done.stderr)
    assert done.returncode == 2
    assert not out.exists()


def test_a_text_larger_than_the_memory_is_one_line(training, monkeypatch, capsys):
    from exactrnn.cli import _text

    monkeypatch.setattr(_text, "memory_size", lambda: 160)
    assert main(training) == 2
    assert "expected at most 10 bytes" in only_line(capsys.readouterr().err)


def test_lines_may_end_in_any_way(training, text, capsys):
    text.write_bytes(b"abc\r\ndef\rghi\n" * 20)
    assert main(training) == 0
    assert "240 characters, 10 different" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/dev/zero", "/", "fifo", "none"])
def test_models_that_are_none_are_one_line(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert main(["lm", "sample", path]) == 2
    assert path in only_line(capsys.readouterr().err)


# Numbers

NINES = "9" * 5000
HUGE = [
    ["lm", "--hidden", "1000000000"],
    ["lm", "--hidden", "9" * 30],
    ["lm", "--layers", "1000000000"],
    ["lm", "--embedding", "1000000000000"],
    ["lm", "--batch", "1000000000000"],
    ["lm", "--length", "9" * 30],
    ["lm", "--steps", "9" * 30],
    ["lm", "--threads", "99999999999"],
    ["lm", "--workers", "99999999999"],
    ["lm", "--shards", "9" * 30],
    ["bench", "--alone", "--hidden", "1000000000"],
    ["bench", "--alone", "--steps", "1000000000000"],
    ["bench", "--alone", "--batch", "1000000000000"],
    ["bench", "--alone", "--inputs", "1000000000000"],
    ["bench", "--alone", "--layers", "1000000000"],
    ["bench", "--alone", "--task", "step", "--batch", "1000000000000"],
    ["bench", "--alone", "--threads", "99999999999"],
    ["bench", "--alone", "--hidden", "9" * 30],
]


@pytest.mark.parametrize("arguments", HUGE, ids=lambda a: "-".join(a)[:40])
def test_absurd_numbers_are_one_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    begin = time.monotonic()
    assert main(arguments) == 2
    assert time.monotonic() - begin < 10
    printed = capsys.readouterr()
    line = only_line(printed.err)
    assert line.startswith(f"exactrnn {arguments[0]}: error: ")
    assert printed.out == ""  # what is wrong is known before anything is said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--steps", "--batch", "--inputs"])
def test_absurd_rows_of_a_benchmark_are_named(option, capsys):
    assert main(["bench", "--alone", option, "1000000000000"]) == 2
    line = only_line(capsys.readouterr().err)
    assert f"{option} 1000000000000" in line
    assert "expected inputs and outputs of at most" in line


@pytest.mark.parametrize(
    "option", ["--hidden", "--threads", "--steps", "--lr", "--isa"]
)
def test_absurd_words_are_cut(option, capsys):
    for word in (NINES, "x" * 10**5):
        with pytest.raises(SystemExit) as caught:
            main(["lm", option, word])
        assert caught.value.code == 2
        assert len(capsys.readouterr().err) < 4000


def test_absurd_numbers_of_a_sample_are_one_line(model, capsys):
    for option in ("--length", "--threads"):
        assert main(["lm", "sample", str(model), option, "9" * 30]) == 2
        assert only_line(capsys.readouterr().err).startswith(
            f"exactrnn lm: error: {option}"
        )


def test_time_left_is_told_of_any_share(capsys):
    from exactrnn.cli._progress import describe

    for fraction in (0.0, 5e-324, 1e-300, 1.0):
        describe(Progress(1, fraction, float("nan"), 1.0, 0, 10, 0.0), 1.0)
        describe(Progress(1, fraction, float("inf"), 1.0, 0, 10, 1e9), 1.0)


@pytest.mark.parametrize("command", [EXACTRNN, ["exactrnn"]], ids=["module", "script"])
def test_a_wrong_instruction_set_is_one_line(command):
    environment = {**os.environ, "EXACTRNN_ISA": "mmx"}
    done = subprocess.run(
        [*command, "info"], env=environment, capture_output=True, text=True, check=False
    )
    line = only_line(done.stderr)
    assert line.startswith("exactrnn: error: EXACTRNN_ISA: expected one of ")
    assert done.returncode == 2


def test_out_of_memory_is_one_line(training, monkeypatch, capsys):
    def fail(self, *arguments, **options):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(LanguageModel, "training", fail)
    assert main(training) == 2
    expected = "exactrnn lm: error: out of memory: Unable to allocate 9 TiB"
    assert only_line(capsys.readouterr().err) == expected


def test_output_recovers_for_the_next_command(monkeypatch, capsys):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["info"]) == 2
        monkeypatch.undo()
    assert main(["info"]) == 0
    assert _output.failure() is None
