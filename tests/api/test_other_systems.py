"""The package without what only POSIX systems have, as it would find itself on Windows.

The names that Windows lacks are taken away before the import; files are written and
read, and the commands that ask the machine most answer.
"""

import subprocess
import sys

import pytest

WITHOUT_POSIX = """
import os, sys
import multiprocessing, signal, subprocess, tempfile, threading, urllib.request
import numpy, pathlib, shutil, unittest.mock

ABSENT = '''O_NONBLOCK O_CLOEXEC O_DIRECTORY O_NOFOLLOW chown chroot confstr fchdir
fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid
getpriority getresuid getsid getuid initgroups killpg lchown lockf memfd_create mkfifo
mknod nice openpty pathconf pathconf_names fpathconf pipe2 posix_fadvise
posix_fallocate posix_spawn pread preadv pwrite pwritev readv register_at_fork
sched_getaffinity sched_setaffinity sched_yield sendfile setpriority setsid setuid sync
sysconf sysconf_names tcgetpgrp uname wait wait3 wait4 waitid writev'''.split()
for name in ABSENT:
    if hasattr(os, name):
        delattr(os, name)
os.O_BINARY = 0
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "syslog"):
    sys.modules[name] = None
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "pthread_sigmask",
             "pthread_kill", "setitimer", "sigwait"):
    if hasattr(signal, name):
        delattr(signal, name)
"""

PROGRAMS = {
    "a model in a file": """
import exactrnn as xr
layer = xr.GRU(3, 5, seed=1)
folder = pathlib.Path(tempfile.mkdtemp())
path = folder / "model.safetensors"
for seed in (1, 2):  # a new file, and over it
    xr.save(xr.GRU(3, 5, seed=seed), path)
assert list(folder.iterdir()) == [path]
read, wanted = xr.load(path).state_dict(), xr.GRU(3, 5, seed=2).state_dict()
assert all(numpy.array_equal(read[name], wanted[name]) for name in wanted)
x = numpy.ones((4, 2, 3), numpy.float32)
y, h = layer(x)
y, h, cache = layer.forward(x)
layer.backward(cache, y)
""",
    "info": "from exactrnn.cli import main; main(['info'])",
    "doctor": "from exactrnn.cli import main; main(['doctor'])",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_package_runs_without_posix(program, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_POSIX + program]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
