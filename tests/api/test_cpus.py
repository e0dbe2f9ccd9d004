"""How many threads there are: CPUs, quotas, claims, and threads that cannot be started.

The programs run in processes of their own, because they change what is theirs for good.
"""

import os
import threading
from pathlib import Path

import pytest
from builds import needs_openmp
from processes import TEAM, run_python

import exactrnn as xr
from exactrnn import _core
from exactrnn._system.quota import quota_files

SHOW = "import exactrnn as xr; print(xr.get_num_threads())"

needs_two_cpus = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="this process may use one CPU alone",
)


def without_claim(code, **environment):
    """Run code where OMP_NUM_THREADS says nothing."""
    return run_python(code, **{"OMP_NUM_THREADS": ""} | environment)


SHRINK = """
import os, threading, time
import exactrnn as xr
from exactrnn import _core
cpus = sorted(os.sched_getaffinity(0))
assert xr.get_num_threads() == len(cpus)
{choose}
os.sched_setaffinity(0, cpus[:1])
print(xr.get_num_threads())
time.sleep(0.05)
assert xr.engine.threads_for_calls() == xr.get_num_threads()
with xr.threads(len(cpus) + 1):
    assert xr.get_num_threads() == len(cpus) + 1
print(xr.get_num_threads())
"""


@needs_two_cpus
def test_default_follows_affinity():
    assert without_claim(SHRINK.format(choose="")) == "1\n1"


@needs_two_cpus
@pytest.mark.parametrize(
    "choose",
    [
        "xr.set_num_threads(5)",
        "xr.threads(5).__enter__()",
        pytest.param(
            "import threadpoolctl; "
            "threadpoolctl.threadpool_limits(5, user_api='openmp')",
            marks=needs_openmp,
        ),
        pytest.param(
            "import ctypes; ctypes.CDLL('libgomp.so.1').omp_set_num_threads(5)",
            marks=needs_openmp,
        ),
    ],
)
def test_number_that_was_chosen_does_not_follow_affinity(choose):
    if "threadpoolctl" in choose:
        pytest.importorskip("threadpoolctl", reason="needs threadpoolctl")
    assert without_claim(SHRINK.format(choose=choose)) == "5\n5"


@needs_two_cpus
def test_default_that_was_chosen_does_not_follow_affinity():
    choose = "xr.set_num_threads(len(cpus))"
    count = len(os.sched_getaffinity(0))
    assert without_claim(SHRINK.format(choose=choose)) == f"{count}\n{count}"


def test_default_is_of_a_new_thread_too():
    other = "import exactrnn as xr, threading\n"
    other += "t = threading.Thread(target=lambda: print(xr.get_num_threads()))\n"
    assert without_claim(other + "t.start(); t.join()") == without_claim(SHOW)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [("1", "1"), ("3", "3"), (" 3,2", "3"), ("1024", "1024")],
)
def test_omp_num_threads_is_believed_up_to_the_limit(claim, expected):
    assert run_python(SHOW, OMP_NUM_THREADS=claim) == expected


@pytest.mark.parametrize(
    "claim", ["1025", "100000", "2147483647", "99999999999999", "0", "-1", "many", ""]
)
def test_omp_num_threads_that_cannot_be_is_not_believed(claim):
    code = TEAM + "xr.set_num_threads(n); print(n, team(), digest() == expected)"
    code = code.replace("xr.set_num_threads(1)", "n = xr.get_num_threads()")
    default = without_claim(SHOW)
    assert run_python(code, OMP_NUM_THREADS=claim) == f"{default} {default} True"


def test_omp_thread_limit_limits_all():
    code = SHOW + "; xr.set_num_threads(5); print(xr.get_num_threads())"
    assert run_python(code, OMP_THREAD_LIMIT="2", OMP_NUM_THREADS="3") == "2\n2"


# A control group's files, as the kernel shows them.
V2_MOUNT = "30 23 0:26 {root} {mount} rw,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1_MOUNT = "31 23 0:27 {root} {mount} rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
OTHER_MOUNTS = (
    "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
    "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "broken line\n"
)


def show_groups(folder, mount_line, root, groups):
    """Write what /proc/self and the mounted tree hold; return (proc, tree)."""
    process, tree = folder / "proc", folder / "tree"
    process.mkdir()
    tree.mkdir()
    line = mount_line.format(root=root, mount=tree)
    (process / "mountinfo").write_text(OTHER_MOUNTS + line)
    (process / "cgroup").write_text(groups)
    return process, tree


def write_quota(folder, text, *, is_v2):
    folder.mkdir(parents=True, exist_ok=True)
    if is_v2:
        (folder / "cpu.max").write_text(text)
        return
    quota, period = text.replace("max", "-1").split()
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize("is_v2", [True, False], ids=["v2", "v1"])
@pytest.mark.parametrize(
    ("root", "group", "expected"),
    [
        ("/", "/", [""]),
        ("/", "/a/b", ["a/b", "a", ""]),
        ("/docker/7", "/docker/7", [""]),
        ("/docker/7", "/docker/7/inner", ["inner", ""]),
        ("/docker/7", "/other", [""]),  # as the host names it
    ],
)
def test_quotas_of_a_group_and_those_around_it_are_found(
    tmp_path, is_v2, root, group, expected
):
    lines = "9:name=systemd:/x\n4:memory:/m\n1:cpu,cpuacct:{v1}\n0::{v2}\nbroken\n"
    groups = lines.format(v1="/-" if is_v2 else group, v2=group if is_v2 else "/-")
    mount = V2_MOUNT if is_v2 else V1_MOUNT
    process, tree = show_groups(tmp_path, mount, root, groups)
    for folder in expected:
        write_quota(tree / folder, "max 100000", is_v2=is_v2)
    found = [Path(quota).parent for quota, _ in quota_files(process)]
    assert found == [tree / folder for folder in expected]
    assert all((period is None) == is_v2 for _, period in quota_files(process))


def test_no_control_groups_are_no_error(tmp_path):
    assert quota_files(tmp_path / "nothing") == []
    process, _ = show_groups(tmp_path, V2_MOUNT, "/", "0::/gone\n")
    assert quota_files(process) == []
    (process / "cgroup").write_bytes(b"\xff\xfe")
    assert quota_files(process) == []


QUOTA = """
import sys, time
import exactrnn as xr
from exactrnn import _core
assert _core.watch_quota(sys.argv[1], sys.argv[2] or None)
def write(quota, period):
    with open(sys.argv[1], "w") as first:
        if sys.argv[2]:
            open(sys.argv[2], "w").write(period)
            first.write(quota.replace("max", "-1"))
        else:
            first.write(f"{quota} {period}")
def show():
    time.sleep(1.1)
    print(xr.get_num_threads(), xr.engine.threads_for_calls())
"""


@needs_two_cpus
@pytest.mark.parametrize("is_v2", [True, False], ids=["v2", "v1"])
def test_default_follows_quota(tmp_path, is_v2):
    quota, period = tmp_path / "quota", "" if is_v2 else tmp_path / "period"
    code = QUOTA + "write('max', '100000')\n" + SHOW + "\n"
    for text in ("50000", "100000", "100001", "900000", "junk", "0", "max"):
        code += f"write('{text}', '100000'); show()\n"
    count = len(os.sched_getaffinity(0))
    code += "xr.set_num_threads(3)\nwrite('50000', '100000'); show()\n"
    shown = run_python(code, quota, period, OMP_NUM_THREADS="").splitlines()
    expected = [1, 1, 2, min(9, count), count, count, count]
    assert shown == [str(count), *(f"{n} {n}" for n in expected), "3 3"]


def test_too_many_quotas_are_refused_quietly():
    code = "from exactrnn import _core\n"
    code += "print([_core.watch_quota('/nowhere') for _ in range(40)][-1])\n" + SHOW
    assert without_claim(code) == "False\n" + without_claim(SHOW)


@needs_two_cpus
def test_proc_bind_binds_neither_the_process_nor_its_callers():
    """libgomp binds the thread that loads it, and each that begins a region."""
    code = (
        "import os\nbefore = os.sched_getaffinity(0)\n"
        + TEAM
        + """
def check():
    xr.set_num_threads(2)
    assert digest() == expected
    assert team() == 2
    assert os.sched_getaffinity(0) == before, os.sched_getaffinity(0)
assert os.sched_getaffinity(0) == before, os.sched_getaffinity(0)
in_thread(check)
check()
in_thread(check)
fork(check)
"""
    )
    for binding in ("true", "close", "spread"):
        run_python(code, OMP_PROC_BIND=binding)
    counts = {run_python(SHOW, OMP_PROC_BIND=b, OMP_NUM_THREADS="") for b in "01"}
    assert counts == {without_claim(SHOW)}


# Limits that let no thread be started, or few. Root's processes are not counted.
LIMITS = """
import resource
def limit_processes(more):
    if os.getuid() == 0:
        os.setuid(54321)
        resource.setrlimit(resource.RLIMIT_NPROC, (1 + more, 1 + more))
    else:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
def limit_memory():
    "Leave room for what a call needs, but not for a thread's stack, of 8 MiB."
    pages = int(open("/proc/self/statm").read().split()[0])
    size = pages * resource.getpagesize() + 6 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
"""
# Of how many threads a team is then: the workers that were there stay.
LIMITED = {
    "before any call": ("", "check()", 1),
    "after a call": ("xr.set_num_threads(2); digest()", "check()", 2),
    "in a child": ("xr.set_num_threads(4); digest()", "fork(check)", 1),
    "in a thread": ("", "in_thread(check)", 1),
    "in a thread of a child": ("", "fork(lambda: in_thread(check))", 1),
}


@pytest.mark.parametrize("when", LIMITED)
def test_without_more_threads_a_call_runs_in_those_it_has(when):
    before, run, size = LIMITED[when]
    code = f"""
{before}
xr.set_num_threads(4)
def check():
    limit_processes(0)
    for _ in range(3):
        assert digest() == expected
        assert team() == {size}, team()
{run}
"""
    run_python(TEAM + LIMITS + code)


@pytest.mark.parametrize("when", LIMITED)
def test_without_memory_for_stacks_a_call_gives_the_same_bits(when):
    before, run, _ = LIMITED[when]
    code = f"""
{before}
xr.set_num_threads(4)
def check():
    limit_memory()
    for _ in range(3):
        assert digest() == expected
{run}
"""
    run_python(TEAM + LIMITS + code)


@pytest.mark.skipif(os.getuid() != 0, reason="others cannot count their processes")
@pytest.mark.parametrize("more", [3, 7, 9, 12, 40])
def test_calls_that_start_threads_at_once_do_not_end_the_process(more):
    """Python threads come and go at a limit that lets some of them have a team."""
    run_python(
        TEAM
        + LIMITS
        + f"xr.set_num_threads(4)\nlimit_processes({more})\n"
        + """
results = []
for _ in range(20):
    started = []
    for _ in range(6):
        thread = threading.Thread(target=lambda: results.append(digest()))
        try:
            thread.start()
        except RuntimeError:
            break
        started.append(thread)
    for thread in started:
        thread.join()
assert results and set(results) == {expected}
"""
        + ("assert team() == 4, team()" if more >= 40 else "")
    )


def test_limit_on_threads_is_the_libraries():
    assert _core.thread_limit() == 1024
    found = []
    with xr.threads(1024):
        other = threading.Thread(target=lambda: found.append(_core.max_threads()))
        other.start()
        other.join()
        assert _core.max_threads() == 1024
    assert found != [1024]
