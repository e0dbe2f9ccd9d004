"""Busy processes beside a measurement: there while it runs, gone however it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pools
import pytest
import run
import shapes
from commands import EXACTRNN, SECONDS, only_line

from exactrnn.bench import load_rivals, measure, measure_row
from exactrnn.bench.busy import MOST_BUSY, busy_processes
from exactrnn.bench.report import format_report
from exactrnn.bench.rows import Row
from exactrnn.bench.session import Settings, run_session
from exactrnn.cli import main

ROW = Row("forward", "rnn", 2, 1, 4, 4)
SMALL = ["--cell", "rnn", "--steps", "2", "--batch", "1", "--hidden", "4"]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the system has no /proc"
)


def state_of(pid):
    """Return (state, parent, ticks of CPU) of a process; a zombie's state is Z."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "Z", None, 0
    return fields[0], int(fields[1]), int(fields[11]) + int(fields[12])


def children_of(pid):
    known = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [n for n in known if state_of(n)[:2] != ("Z", pid) and state_of(n)[1] == pid]


def two_children_of(pid):
    return found if len(found := children_of(pid)) == 2 else []


def wait_until(reached):
    """Wait, and return what was reached."""
    end = time.monotonic() + SECONDS
    while not (found := reached()):
        assert time.monotonic() < end, "never reached"
        time.sleep(0.01)
    return found


def all_gone(pids):
    return all(state_of(pid)[0] == "Z" for pid in pids)


def test_they_spin_on_the_same_cores_and_are_gone_afterwards():
    with measure.pinned(1) as cores, busy_processes(2) as pids:
        assert len(set(pids)) == 2
        for pid in pids:
            assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
            wait_until(lambda pid=pid: state_of(pid)[2] > 1)
        assert cores is None or os.sched_getaffinity(pids[0]) == set(cores)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_they_are_gone_after_an_exception(error):
    kept = []

    def fail():
        with busy_processes(2) as pids:
            kept.extend(pids)
            raise error

    with pytest.raises(error):
        fail()
    assert len(kept) == 2
    assert all_gone(kept)


def test_they_are_gone_if_another_cannot_begin(monkeypatch):
    begun = []
    begin = subprocess.Popen

    def fail_second(*arguments, **options):
        if begun:
            raise OSError("no more processes")
        begun.append(begin(*arguments, **options))
        return begun[0]

    monkeypatch.setattr(subprocess, "Popen", fail_second)
    with pytest.raises(OSError, match="no more"), busy_processes(2):
        pass
    assert begun[0].returncode is not None


def test_one_that_does_not_spin_is_told(monkeypatch):
    monkeypatch.setattr("exactrnn.bench.busy.PROGRAM", "")
    with pytest.raises(ChildProcessError, match="could not begin"), busy_processes(1):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_when_their_parent_is_killed(number):
    program = (
        "import time\n"
        "from exactrnn.bench.busy import busy_processes\n"
        "with busy_processes(2) as pids:\n"
        "    print(*pids, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not all_gone(pids)
        parent.send_signal(number)
    try:
        wait_until(lambda: all_gone(pids))
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_ctrl_c_ends_command_and_busy_processes():
    command = [*EXACTRNN, "bench", "--alone", "--busy", "2", "--seconds", "600"]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, *SMALL], start_new_session=True, **pipes) as asked:
        try:
            pids = wait_until(lambda: two_children_of(asked.pid))
            time.sleep(0.2)
            os.killpg(asked.pid, signal.SIGINT)  # as a terminal does: the whole group
            errors = asked.communicate(timeout=SECONDS)[1]
        finally:
            asked.kill()
    assert only_line(errors) == "exactrnn bench: stopped by Ctrl-C"
    assert asked.returncode == 130
    assert all_gone(pids)


def test_they_run_beside_the_libraries_alone(monkeypatch):
    seen = []

    def watch(runs, probes, seconds, how, *, singly):
        seen.append((len(children_of(os.getpid())) - before, list(probes), singly))
        return {name: [1.0, 1.0] for name in runs}

    before = len(children_of(os.getpid()))
    monkeypatch.setattr(measure, "measure", watch)
    found = measure_row(ROW, load_rivals([])[0], 1, 0.01, busy=2)
    assert seen == [(2, [], True)]
    assert found["limit_us"] > 0
    assert len(children_of(os.getpid())) == before


def test_a_session_says_so_and_has_percentiles():
    settings = Settings(seconds=0.01, rivals=(), busy=1)
    report = run_session([ROW], settings)
    assert report["about"]["busy"] == 1
    shown = format_report(report)
    assert "\nbeside 1 busy process, on the same cores\n" in shown
    assert "Single calls, p50 / p90 / p99 in µs:" in shown
    quiet = run_session([ROW], Settings(seconds=0.01, rivals=()))
    assert "busy" not in format_report(quiet)


@pytest.mark.parametrize("count", ["65", "9" * 30])
def test_too_many_are_refused_in_a_line(count, capsys):
    assert main(["bench", "--alone", "--busy", count, *SMALL]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("exactrnn bench: error: --busy: expected 0 to")
    with pytest.raises(ValueError, match=f"0 to {MOST_BUSY} processes, got -1"):
        run_session([ROW], Settings(busy=-1))
    for words in (["--busy", count], ["--busy", "-1"]):
        with pytest.raises(SystemExit):
            run.parse_arguments(words)


def test_the_group_has_its_conditions(capsys):
    parsed = run.parse_arguments(["--group", "busy"])
    assert (parsed.threads, parsed.busy) == (2, 1)
    assert parsed.selected == list(shapes.CONDITIONS["busy"])
    more = run.parse_arguments(["--group", "busy", "--busy", "2", "--threads", "1"])
    assert (more.threads, more.busy) == (1, 2)
    plain = run.parse_arguments([])
    assert (plain.threads, plain.busy) == (1, 0)
    with pytest.raises(SystemExit):
        run.parse_arguments(["--group", "busy", "g1"])
    assert "--group busy: it is measured by itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ask", "command"), [(main, ["bench"]), (run.parse_arguments, [])]
)
def test_help_names_the_options(ask, command, capsys):
    with pytest.raises(SystemExit):
        ask([*command, "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "--busy N run N busy processes beside, on the same cores" in words
    assert "--seed N draw the order of the libraries from N" in words


@pytest.mark.usefixtures("settings_are_put_back")
def test_pools_is_a_group_of_the_suite(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.json"
    monkeypatch.setattr(pools, "ROWS", [ROW])
    monkeypatch.setattr(pools, "TURN", 2)
    command = ["run.py", "--group", "pools", "--rivals", "--seconds", "0.02"]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(out)])
    run.main()
    [found] = json.loads(out.read_text())
    assert (found["row"], found["after"]) == (ROW.name, "nothing")
    assert found["ratio"] == found["1"]["mean"] / found["2"]["mean"]
    assert f"| {ROW.name} | nothing | " in capsys.readouterr().out
    for more in (["--threads", "1"], ["--busy", "1"], ["--group", "pools", "g1"]):
        with pytest.raises(SystemExit):
            run.parse_arguments(["--group", "pools", *more])


def test_a_call_of_another_library_precedes_each_of_ours():
    calls = []
    seconds = pools.time_turn(lambda: calls.append("own"), lambda: calls.append(0), 3)
    assert calls == [0, "own"] * 3
    assert len(seconds) == 3
