"""Choosing instruction sets and threads, and what the build says of itself."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import exactrnn as xr
from exactrnn import _core, engine


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture(autouse=True)
def _settings_stay_as_they_are():
    isa, threads = xr.isa(), xr.get_num_threads()
    yield
    assert xr.isa() == isa
    if xr.get_num_threads() != threads:
        xr.set_num_threads(threads)


def test_the_first_isa_is_in_force_by_default():
    done = run_python(
        "import exactrnn as xr; assert xr.isa() == xr.isas()[0]", EXACTRNN_ISA=""
    )
    assert done.returncode == 0, done.stderr
    assert xr.isas()[-1] == "scalar"


def test_the_environment_names_an_isa():
    code = "import exactrnn as xr; print(xr.isa())"
    for isa in xr.isas():
        assert run_python(code, EXACTRNN_ISA=isa).stdout == f"{isa}\n"
    done = run_python(code, EXACTRNN_ISA="mmx")
    assert done.returncode == 1
    assert "ValueError: EXACTRNN_ISA: expected one of " in done.stderr
    assert "got 'mmx'" in done.stderr
    assert "unset EXACTRNN_ISA" in done.stderr


def test_use_isa_is_a_function_and_a_context():
    before = xr.isa()
    for isa in xr.isas():
        with xr.use_isa(isa):
            assert xr.isa() == isa
            with xr.use_isa("scalar"):
                assert xr.isa() == "scalar"
            assert xr.isa() == isa
        assert xr.isa() == before
    xr.use_isa("scalar")
    assert xr.isa() == "scalar"
    xr.use_isa(before)


def test_use_isa_may_be_used_again():
    before = xr.isa()
    setting = xr.use_isa("scalar")
    for _ in range(3):
        with setting:
            assert xr.isa() == "scalar"
            with xr.use_isa(before):
                assert xr.isa() == before
                with setting, setting:
                    assert xr.isa() == "scalar"
                assert xr.isa() == before
            assert xr.isa() == "scalar"
        assert xr.isa() == before
        with pytest.raises(KeyError), setting:
            raise KeyError


def test_use_isa_puts_back_what_was_in_force_when_its_block_began():
    before = xr.isa()
    setting = xr.use_isa("scalar")
    xr.use_isa(before)
    with setting:
        assert xr.isa() == "scalar"
    assert xr.isa() == before
    xr.use_isa("scalar")
    with xr.use_isa(before):
        assert xr.isa() == before
    assert xr.isa() == "scalar"
    xr.use_isa(before)


def test_use_isa_restores_after_an_error():
    before = xr.isa()
    with pytest.raises(KeyError), xr.use_isa("scalar"):
        raise KeyError
    assert xr.isa() == before


@pytest.mark.parametrize(
    ("name", "error"), [("mmx", ValueError), ("", ValueError), (None, TypeError)]
)
def test_an_unknown_isa_is_refused(name, error):
    with pytest.raises(error, match=r"name: expected one of .*'scalar', got "):
        xr.use_isa(name)


def test_threads_is_a_context():
    before = xr.get_num_threads()
    setting = xr.threads(3)
    assert xr.get_num_threads() == before
    with setting:
        assert xr.get_num_threads() == 3
        with xr.threads(1), setting:
            assert xr.get_num_threads() == 3
        assert xr.get_num_threads() == 3
    assert xr.get_num_threads() == before


def test_set_num_threads_is_for_all_python_threads():
    before = xr.get_num_threads()
    found = []
    step = threading.Barrier(2, timeout=30)

    def look():
        for _ in range(2):
            step.wait()
            found.append(xr.get_num_threads())
            step.wait()

    other = threading.Thread(target=look)
    other.start()
    for number in (5, 2):
        xr.set_num_threads(number)
        assert xr.get_num_threads() == number
        step.wait()
        step.wait()
    other.join()
    assert found == [5, 2]
    xr.set_num_threads(before)


def test_threads_acts_in_its_own_python_thread_alone():
    before = xr.get_num_threads()
    found = []
    with xr.threads(before + 4):
        other = threading.Thread(target=lambda: found.append(xr.get_num_threads()))
        other.start()
        other.join()
    assert found == [before]


def test_one_threads_object_serves_several_python_threads():
    setting = xr.threads(3)
    step = threading.Barrier(2, timeout=30)
    found = {}

    def use(name, own):
        with xr.threads(own):
            step.wait()
            with setting:
                step.wait()
                found[name] = xr.get_num_threads()
            step.wait()
            assert xr.get_num_threads() == own
            found[name, "after"] = xr.get_num_threads()

    users = [threading.Thread(target=use, args=(k, k)) for k in (5, 6)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert found == {5: 3, 6: 3, (5, "after"): 5, (6, "after"): 6}


def test_set_num_threads_of_another_thread_waits_for_the_end_of_a_block():
    before = xr.get_num_threads()
    with xr.threads(3), xr.threads(4):
        other = threading.Thread(target=xr.set_num_threads, args=(5,))
        other.start()
        other.join()
        assert xr.get_num_threads() == 4
        with xr.threads(2):
            assert xr.get_num_threads() == 2
        assert xr.get_num_threads() == 4
    assert xr.get_num_threads() == 5
    with xr.threads(3):
        xr.set_num_threads(6)
        assert xr.get_num_threads() == 6
    assert xr.get_num_threads() == 6
    xr.set_num_threads(before)


def after_lines(count, act):
    """Return a tracer that acts once: so many lines into what it traces."""
    left = [count]

    def trace(frame, event, argument):
        left[0] -= event == "line"
        if left[0] == 0:
            sys.settrace(None)
            act()
        return trace

    return trace


def test_two_python_threads_that_set_the_number_at_once_agree_afterwards():
    """Wherever the other one comes between, its number or ours is that of both."""
    before, tracer = xr.get_num_threads(), sys.gettrace()
    found = []

    def set_and_look():
        xr.set_num_threads(3)
        came.set()
        go_on.wait(30)
        found.append(xr.get_num_threads())

    def start_other():
        other.start()
        assert came.wait(30)

    for lines in range(1, 30):
        came, go_on = threading.Event(), threading.Event()
        other = threading.Thread(target=set_and_look)
        sys.settrace(after_lines(lines, start_other))
        try:
            xr.set_num_threads(2)
        finally:
            sys.settrace(tracer)
        if not came.is_set():
            break
        found.append(xr.get_num_threads())
        go_on.set()
        other.join()
    xr.set_num_threads(before)
    assert len(found) > 10
    assert found[::2] == found[1::2]


def test_omp_num_threads_is_respected():
    code = "import exactrnn as xr; print(xr.get_num_threads())"
    assert run_python(code, OMP_NUM_THREADS="3").stdout == "3\n"


@pytest.mark.parametrize(
    ("n", "error"),
    [
        (0, ValueError),
        (-2, ValueError),
        (1025, ValueError),
        (2**31, ValueError),
        (2**40, ValueError),
        (-(2**80), ValueError),
        pytest.param(10**5000, ValueError, id="of 5000 digits"),
        (np.uint64(2**64 - 1), ValueError),
        (1.0, TypeError),
        (True, TypeError),
        (np.bool_(True), TypeError),
        (np.ones(2, int), TypeError),
        ("2", TypeError),
        (None, TypeError),
    ],
)
def test_a_wrong_number_of_threads_is_refused_and_not_kept(n, error):
    before = xr.get_num_threads()
    layer, x = xr.RNN(2, 3, seed=0), np.ones((2, 1, 2), np.float32)
    for choose in (xr.set_num_threads, xr.threads):
        with pytest.raises(error, match="n: expected an integer") as caught:
            choose(n)
        assert len(str(caught.value)) < 200
        assert xr.get_num_threads() == before
        layer(x)


@pytest.mark.parametrize("n", [np.int64(3), np.uint8(3), np.array(3), 1024])
def test_any_integer_is_a_number_of_threads(n):
    before = xr.get_num_threads()
    with xr.threads(n):
        assert xr.get_num_threads() == int(n)
    xr.set_num_threads(n)
    assert xr.get_num_threads() == int(n)
    xr.set_num_threads(before)


def test_show_config_names_what_a_report_needs(capsys):
    xr.show_config()
    lines = capsys.readouterr().out.splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
    assert shown["numerics"] == str(xr.NUMERICS_VERSION) == "1"
    assert shown["isas"].split() == list(xr.isas())
    assert shown["isa"] == xr.isa()
    chosen = _core.thread_wish()[1]
    kind = "" if chosen else " (auto)"
    assert shown["threads"] == f"{xr.get_num_threads()}{kind}"
    assert "_core" in shown["module"]


def test_show_config_runs_where_the_package_is_not_installed(monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert engine.describe_config()["exactrnn"] == "not installed"
