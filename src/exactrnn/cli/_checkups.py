"""What `exactrnn doctor` looks at: each check is a function that gives one finding.

A check that does not apply to this machine, or cannot be made on it, gives None. The
files of the system are read below a root, so that tests can show other machines.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exactrnn import _core, engine
from exactrnn._system.quota import quota_files

ROUNDS = 5
ROUND_SECONDS = 0.02
STEADY = 0.1
"""Spread of the speed, (largest - smallest) / median, up to which it is steady."""
SHARED_GAIN = 0.7
"""Part of the speed of one thread that each of several should add at least."""
WIDE = (("avx512", "avx512f"), ("avx2", "avx2"))
"""Instruction sets, best first, and the flags by which /proc/cpuinfo names them."""
RUNTIME = re.compile(r"\S*/(?:lib(?:gomp|i?omp5?|omp)\b|vcomp)[^/\s]*", re.ASCII)
OWN_GOVERNORS = ("intel_pstate", "amd-pstate-epp")
"""Drivers whose "powersave" leaves the clock to the processor."""
SPINNING = "OMP_WAIT_POLICY"
BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Attributes
    ----------
    name : str
        What was looked at.
    text : str
        What is there.
    advice : str
        What to do to be faster, or to measure better; empty if nothing.
    """

    name: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Machine:
    """Where checks look: the system's files, and the environment."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def read(self, path: str) -> str:
        """Return a file's text; "" where it is not there or cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def usable_cpus() -> int:
    """Return the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_isa(machine: Machine) -> Finding:
    """Look whether the best instruction set is in use, and built."""
    used, best = engine.isa(), engine.isas()[0]
    flags = set(machine.read("proc/cpuinfo").split())
    known = [isa for isa, flag in WIDE if flag in flags]
    if used != best:
        chosen = machine.environment.get("EXACTRNN_ISA")
        way = "unset EXACTRNN_ISA" if chosen else f"leave --isa out, or use {best}"
        return Finding("instructions", f"{used}; the machine has {best}", way)
    if known and known[0] not in engine.isas():
        advice = "install a wheel, or build without EXACTRNN_ISAS"
        return Finding("instructions", f"{used}; this build lacks {known[0]}", advice)
    return Finding("instructions", f"{used}, the best of this machine")


def check_cpus(machine: Machine) -> Finding:
    """Look how many CPUs may be used, and whether two of them are one core."""
    there, usable = os.cpu_count() or 1, usable_cpus()
    text = f"{usable} of {there} may be used" if usable < there else f"{there}"
    shared = 0
    for cpu in range(there):
        path = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        first = re.match(r"\d+", machine.read(path))
        shared += first is not None and int(first[0]) != cpu
    if shared:
        text += f"; {shared} of them second threads of a core"
    if usable < there:
        return Finding("cpus", text, "taskset or a container keeps it from the others")
    return Finding("cpus", text)


def check_quota(machine: Machine) -> Finding | None:
    """Look for a limit of CPU time, as containers have it."""
    shares = []
    for quota, period in quota_files(machine.root / "proc/self"):
        words = machine.read(quota.lstrip("/")).split()
        if period is not None:
            words += machine.read(period.lstrip("/")).split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            shares.append(int(words[0]) / max(1, int(words[1])))
    if not shares or min(shares) >= usable_cpus():
        return None
    text = f"a container or service may use the time of {min(shares):.2g} CPUs"
    return Finding("quota", text, "raise it (docker: --cpus), or measure outside")


def check_threads(machine: Machine) -> Finding:
    """Look how many threads calls may use, and who has said so."""
    threads, usable = engine.get_num_threads(), usable_cpus()
    asked = machine.environment.get("OMP_NUM_THREADS")
    source = f", from OMP_NUM_THREADS={asked}" if asked else ""
    text = f"{threads}{source}; a call takes fewer where that is faster"
    if threads > usable:
        return Finding("threads", text, f"use {usable}: more threads than CPUs wait")
    if threads < usable:
        advice = f"xr.set_num_threads({usable}), --threads, or OMP_NUM_THREADS"
        return Finding("threads", text, f"{usable} may be used: {advice}")
    return Finding("threads", text)


def check_variables(machine: Machine) -> Finding | None:
    """Look for variables by which threads spin, or are bound to CPUs."""
    found = [name for name in BINDING if machine.environment.get(name)]
    spins = machine.environment.get(SPINNING, "").lower() == "active"
    names = [SPINNING] * spins + found
    if not names:
        return None
    shown = ", ".join(f"{name}={machine.environment[name]}" for name in names)
    return Finding("variables", shown, f"unset {', '.join(names)}, unless measured")


def check_runtimes(machine: Machine) -> Finding | None:
    """Look for OpenMP runtimes in this process: each has threads of its own."""
    maps = machine.read("proc/self/maps")
    found = sorted({Path(path).name for path in RUNTIME.findall(maps)})
    if not found:
        return None
    text = ", ".join(found)
    if len(found) == 1:
        return Finding("openmp", text)
    advice = "OMP_WAIT_POLICY=passive keeps the threads of one from delaying another's"
    return Finding("openmp", f"{len(found)} runtimes: {text}", advice)


def check_denormals(machine: Machine) -> Finding:
    """Look whether somebody has told the processor to flush small numbers to zero."""
    del machine
    smallest = np.full(1, np.finfo(np.float32).tiny, np.float32)
    if (smallest * np.float32(0.5))[0] != 0:
        return Finding("denormals", "kept, as IEEE 754 has them")
    text = "flushed to zero by another library; exactrnn puts that right in each call"
    return Finding("denormals", text, "torch.set_flush_denormal(False), or its like")


def check_load(machine: Machine) -> Finding | None:
    """Look whether others use the machine at the same time."""
    words = machine.read("proc/loadavg").split()
    if not words:
        return None
    load, cpus = float(words[0]), os.cpu_count() or 1
    text = f"{load:.1f} processes on {cpus} CPUs in the last minute"
    if load > 0.5 * cpus:
        return Finding("load", text, "others compute here too: times vary, calls rest")
    return Finding("load", text)


def check_clock(machine: Machine) -> Finding | None:
    """Look whether the clock is held down to save power."""
    path = "sys/devices/system/cpu/cpu0/cpufreq"
    governor = machine.read(f"{path}/scaling_governor").strip()
    driver = machine.read(f"{path}/scaling_driver").strip()
    if not governor:
        return None
    if governor == "powersave" and driver not in OWN_GOVERNORS:
        advice = "cpupower frequency-set -g performance"
        return Finding("clock", f"governor {governor} ({driver})", advice)
    return Finding("clock", f"governor {governor} ({driver})")


def check_speed(machine: Machine) -> Finding:
    """Measure multiply-adds with one thread, with all, and how steady they are."""
    del machine
    threads = engine.get_num_threads()
    alone, spread = measure_peak(1)
    text = f"{alone / 1e9:.0f} GFLOP/s with one thread, steady to {spread:.0%}"
    if spread > STEADY:
        return Finding("speed", text, "the clock changes, or others compute here too")
    if threads == 1:
        return Finding("speed", text)
    together, _ = measure_peak(threads)
    text += f"; {together / alone:.2f} times that with {threads}"
    if together < alone * (1 + SHARED_GAIN * (threads - 1)):
        advice = (
            "threads share cores, or others compute here: one thread may do as well"
        )
        return Finding("speed", text, advice)
    return Finding("speed", text)


def measure_peak(threads: int) -> tuple[float, float]:
    """Return float32 operations a second, the median of rounds, and their spread."""
    isa, loops = engine.isa(), 1024
    rates: list[float] = []
    while len(rates) < ROUNDS:
        start = time.perf_counter()
        operations = _core.fma_loop(isa, "float32", loops, threads)
        seconds = time.perf_counter() - start
        if seconds < ROUND_SECONDS:
            loops *= 2
        else:
            rates.append(operations / seconds)
    middle = statistics.median(rates)
    return middle, (max(rates) - min(rates)) / middle


CHECKS: tuple[Callable[[Machine], Finding | None], ...] = (
    check_isa,
    check_cpus,
    check_quota,
    check_threads,
    check_variables,
    check_runtimes,
    check_denormals,
    check_clock,
    check_load,
    check_speed,
)
