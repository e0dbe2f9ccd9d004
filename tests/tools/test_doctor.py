"""``exactrnn doctor``: each reason for slowness is found on a machine that has it."""

import ctypes.util
import json
import os
import sys

import numpy as np
import pytest
from builds import needs_openmp

import exactrnn as xr
from exactrnn.cli import _checkups, main
from exactrnn.cli._checkups import CHECKS, Finding, Machine


@pytest.fixture
def machine(tmp_path):
    """Return a function that makes a machine of files and variables."""

    def make(files=(), **environment):
        for path, text in dict(files).items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return Machine(tmp_path, environment)

    return make


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_machine_that_shows_nothing_is_no_error(check, machine):
    finding = check(machine())
    assert finding is None or isinstance(finding, Finding)


def test_an_instruction_set_that_is_not_the_best(machine):
    with xr.use_isa("scalar"):
        if xr.isas() == ("scalar",):
            pytest.skip("this processor has one instruction set")
        assert "has " + xr.isas()[0] in _checkups.check_isa(machine()).text
        found = _checkups.check_isa(machine(EXACTRNN_ISA="scalar"))
    assert found.advice == "unset EXACTRNN_ISA"
    assert _checkups.check_isa(machine()).advice == ""


def test_an_instruction_set_that_was_not_built(machine, monkeypatch):
    monkeypatch.setattr(_checkups.engine, "isas", lambda: ("scalar",))
    monkeypatch.setattr(_checkups.engine, "isa", lambda: "scalar")
    found = _checkups.check_isa(machine({"proc/cpuinfo": "flags : fpu avx2 fma\n"}))
    assert "lacks avx2" in found.text
    assert "EXACTRNN_ISAS" in found.advice


def test_cpus_that_are_one_core_or_not_for_this_process(machine, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(_checkups, "usable_cpus", lambda: 4)
    path = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    pairs = {path.format(k): f"{k % 2},{k % 2 + 2}\n" for k in range(4)}
    found = _checkups.check_cpus(machine(pairs))
    assert found == Finding("cpus", "4; 2 of them second threads of a core")
    monkeypatch.setattr(_checkups, "usable_cpus", lambda: 3)
    assert "3 of 4 may be used" in _checkups.check_cpus(machine()).text
    assert "taskset" in _checkups.check_cpus(machine()).advice


MOUNT = "36 35 98:0 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("limit", "advised"), [("50000 100000", True), ("max 100000", False)]
)
def test_a_quota_of_a_container(machine, limit, advised, monkeypatch):
    files = {"sys/fs/cgroup/cpu.max": limit}
    made = machine(files)
    quota = str(made.root / "sys/fs/cgroup/cpu.max")
    monkeypatch.setattr(_checkups, "quota_files", lambda _: [(quota, None)])
    found = _checkups.check_quota(Machine())
    assert (found is not None) is advised
    if found is not None:
        assert "0.5 CPUs" in found.text


def test_threads_that_are_too_many_or_too_few(machine, monkeypatch):
    monkeypatch.setattr(_checkups, "usable_cpus", lambda: 2)
    for threads, expected in ((1, "2 may be used"), (2, ""), (3, "use 2")):
        with xr.threads(threads):
            assert expected in _checkups.check_threads(machine()).advice
    found = _checkups.check_threads(machine(OMP_NUM_THREADS="1"))
    assert "OMP_NUM_THREADS=1" in found.text


def test_variables_by_which_threads_spin_or_are_bound(machine):
    assert _checkups.check_variables(machine(OMP_WAIT_POLICY="passive")) is None
    found = _checkups.check_variables(
        machine(OMP_WAIT_POLICY="ACTIVE", OMP_PROC_BIND="close")
    )
    assert found.text == "OMP_WAIT_POLICY=ACTIVE, OMP_PROC_BIND=close"
    assert "unset OMP_WAIT_POLICY, OMP_PROC_BIND" in found.advice


def test_runtimes_are_counted_by_their_files(machine):
    lines = [
        "7f0 r-xp 0 0:1 5 /usr/lib/x86_64-linux-gnu/libgomp.so.1.0.0",
        "7f1 r--p 0 0:1 5 /usr/lib/x86_64-linux-gnu/libgomp.so.1.0.0",
        "7f2 r-xp 0 0:1 5 /usr/lib/libc.so.6",
        "7f3 r-xp 0 0:1 5 /usr/lib/libcompress.so",
    ]
    maps = "proc/self/maps"
    assert _checkups.check_runtimes(machine({maps: lines[2] + "\n" + lines[3]})) is None
    one = _checkups.check_runtimes(machine({maps: "\n".join(lines)}))
    assert one == Finding("openmp", "libgomp.so.1.0.0")
    more = [*lines, "7f4 r-xp 0 0:1 5 /site-packages/torch/lib/libgomp-abc.so.1"]
    more += ["7f5 r-xp 0 0:1 5 /opt/intel/libiomp5.so", "7f6 r 0 0:1 5 /l/libomp.so.5"]
    found = _checkups.check_runtimes(machine({maps: "\n".join(more)}))
    assert found.text.startswith("4 runtimes: ")
    assert "passive" in found.advice


def test_small_numbers_that_are_flushed(machine):
    torch = pytest.importorskip("torch", reason="needs torch: extra rivals")
    assert _checkups.check_denormals(machine()).advice == ""
    assert torch.set_flush_denormal(True)
    try:
        found = _checkups.check_denormals(machine())
    finally:
        torch.set_flush_denormal(False)
    assert "flushed" in found.text


def test_others_that_compute(machine, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for load, advised in (("0.50", False), ("9.75", True)):
        found = _checkups.check_load(machine({"proc/loadavg": f"{load} 1 1 2/3 4"}))
        assert bool(found.advice) is advised


@pytest.mark.parametrize(
    ("governor", "driver", "advised"),
    [
        ("powersave", "acpi-cpufreq", True),
        ("powersave", "intel_pstate", False),
        ("performance", "acpi-cpufreq", False),
    ],
)
def test_a_clock_that_is_held_down(machine, governor, driver, advised):
    path = "sys/devices/system/cpu/cpu0/cpufreq"
    files = {f"{path}/scaling_governor": governor, f"{path}/scaling_driver": driver}
    assert bool(_checkups.check_clock(machine(files)).advice) is advised


@pytest.mark.parametrize(
    ("alone", "spread", "together", "advice"),
    [
        (1e11, 0.02, 1.9e11, ""),
        (1e11, 0.02, 1.1e11, "one thread may do as well"),
        (1e11, 0.30, 1.9e11, "the clock changes"),
    ],
)
def test_speed_that_is_not_steady_or_not_shared(
    machine, monkeypatch, alone, spread, together, advice
):
    peaks = {1: (alone, spread), 2: (together, 0.0)}
    monkeypatch.setattr(_checkups, "measure_peak", peaks.get)
    with xr.threads(2):
        found = _checkups.check_speed(machine())
    assert advice in found.advice
    assert bool(advice) is bool(found.advice)


def test_a_measured_peak_is_that_of_the_instruction_set():
    with xr.use_isa("scalar"):
        slow, _ = _checkups.measure_peak(1)
    fast, spread = _checkups.measure_peak(1)
    assert np.isfinite([slow, fast, spread]).all()
    assert fast >= slow if xr.isas() == ("scalar",) else fast > 2 * slow


def test_modules_are_imported_before(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert main(["doctor", "--with", "colorsys"]) == 0
    assert "colorsys" in sys.modules
    assert "instructions" in capsys.readouterr().out
    assert main(["doctor", "--with", "no_such_module"]) == 2
    assert "--with: no_such_module: No module named" in capsys.readouterr().err


BROKEN = {
    "": "Empty module name",
    ".neighbour": "relative import",
    "raises": "ValueError('odd')",
    "ends": "SystemExit(3)",
    "half": "never closed",
    "asserts": "AssertionError()",
}
"""What a module may do when it is imported, and what is said of it."""
SOURCES = {
    "raises": "raise ValueError('odd')",
    "ends": "raise SystemExit(3)",
    "half": "x = (",
    "asserts": "assert False",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_module_that_cannot_be_imported_is_one_line(
    name, tmp_path, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{name}.py").write_text(SOURCES.get(name, ""))
    assert main(["doctor", "--with", name]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"exactrnn doctor: error: --with: {name}: ")
    assert BROKEN[name] in line


def test_data_are_data_whatever_a_module_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    name = "talks_on_import"
    (tmp_path / f"{name}.py").write_text("print('hello')")
    assert main(["doctor", "--json", "--with", name]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["name"] == "instructions"
    assert printed.err == "hello\n"


@needs_openmp
@pytest.mark.skipif(ctypes.util.find_library("gomp") is None, reason="needs libgomp")
def test_the_own_runtime_is_seen():
    found = _checkups.check_runtimes(Machine())
    assert "gomp" in found.text
