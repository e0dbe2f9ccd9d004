"""Two hosts on one machine: network namespaces, and a wire between them with a delay.

    python benchmarks/scale.py --parts hosts --wire 1

A host is a namespace with one device, of the kind TUN, whose packets a process of ours
carries to the other one after a delay: the kernel's own delay (netem) is not on every
machine. MPI's ranks run in them: rank 0 and worker 1 on one host, worker 2 on the
other. Root is needed, `ip`, /dev/net/tun, and mpich with mpi4py; `missing` says what is
not there.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

DEVICE = "xr0"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
LARGEST = 65000
"""Bytes of a packet: few large ones, because a process of Python carries them."""
PLACES = "xr-hosts"
TIMEOUT = 300
WIRED = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": DEVICE, "FI_TCP_IFACE": DEVICE}
"""Keeps mpich from memory that the two hosts share, being one machine."""
START = '{"order": '
"""What the line with the figures begins with."""


# The wire


def open_device(space):
    """Return a new TUN device of a namespace, as a file."""
    with Path(f"/run/netns/{space}").open("rb") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {space}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI)
    fcntl.ioctl(device, TUNSETIFF, request)
    return device


def carry(spaces, delay):
    """Carry packets between the devices of two namespaces, each `delay` seconds later.

    Until standard input ends, which it does with whoever began this.
    """
    ends = [open_device(space) for space in spaces]
    print("ready", flush=True)
    other = dict(zip(ends, ends[::-1], strict=True))
    due = deque()  # (when, where to, packet): the delay is equal for all
    while True:
        left = None if not due else max(0.0, due[0][0] - time.monotonic())
        ready, _, _ = select.select([*ends, sys.stdin], [], [], left)
        if sys.stdin in ready:
            return
        now = time.monotonic()
        for end in ends:
            with contextlib.suppress(BlockingIOError):
                while end in ready:
                    due.append((now + delay, other[end], os.read(end, 1 << 16)))
        while due and due[0][0] <= time.monotonic():
            _, end, packet = due.popleft()
            with contextlib.suppress(OSError):  # as a wire loses what is too much
                os.write(end, packet)


def command(*words):
    """Run a command that must succeed."""
    done = subprocess.run([*words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def two_hosts(delay):
    """Have two namespaces with a wire between them; give their names."""
    spaces = [f"{PLACES}-{os.getpid()}-{k}" for k in range(2)]
    with contextlib.ExitStack() as until:
        for space in spaces:
            command("ip", "netns", "add", space)
            until.callback(command, "ip", "netns", "del", space)
        wire = until.enter_context(
            subprocess.Popen(
                [sys.executable, __file__, "carry", *spaces, str(delay)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        until.callback(wire.stdin.close)
        if wire.stdout.readline() != "ready\n":
            raise RuntimeError("the devices of the two hosts could not be made")
        for space, address in zip(spaces, ADDRESSES, strict=True):
            inside = ("ip", "-n", space)
            command(*inside, "addr", "add", f"{address}/24", "dev", DEVICE)
            command(*inside, "link", "set", DEVICE, "mtu", str(LARGEST), "up")
            command(*inside, "link", "set", "lo", "up")
        yield spaces


def missing():
    """Say what this machine lacks for two hosts; None if it has all."""
    if os.geteuid():
        return "root"
    for name in ("ip", "mpiexec"):
        if shutil.which(name) is None:
            return name
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun"
    asked = [sys.executable, "-c", "from mpi4py import MPI"]
    done = subprocess.run(asked, env=environment(), capture_output=True, check=False)
    return "mpi4py with an MPI" if done.returncode else None


def environment():
    """Return an environment in which the MPI beside `mpiexec` is found."""
    folder = Path(shutil.which("mpiexec")).resolve().parent.parent / "lib"
    path = os.environ.get("LD_LIBRARY_PATH")
    paths = [str(folder), *([path] if path else [])]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(paths), "OMP_NUM_THREADS": "1"}


# What runs on them


def launched(sizes, spaces, folder):
    """Run `program` on two hosts, or with no spaces on this one; return its figures."""
    words = ["mpiexec"]
    if spaces:
        words = ["ip", "netns", "exec", spaces[0], *words]
        shell = Path(folder) / "shell"
        cases = zip(ADDRESSES, spaces, strict=True)
        lines = [f'{a}) exec ip netns exec {s} sh -c "$*" ;;' for a, s in cases]
        text = (
            '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\n'
            "host=$1; shift\ncase $host in\n" + "\n".join(lines) + "\nesac\n"
        )
        shell.write_text(text, encoding="utf-8")
        shell.chmod(0o755)
        hosts = f"{ADDRESSES[0]}:2,{ADDRESSES[1]}:1"
        words += ["-launcher", "ssh", "-launcher-exec", str(shell), "-hosts", hosts]
        words += ["-iface", DEVICE]
    words += ["-n", "3", sys.executable, "-m", "exactrnn.distributed", __file__]
    words += ["run", json.dumps(sizes._asdict())]
    done = subprocess.run(
        words,
        env=environment() | (WIRED if spaces else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith(START)]
    if done.returncode or not found:
        said = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(words)}: ended with {done.returncode}: {said}")
    return json.loads(found[0])


def program(given):
    """Print what `fit` and an order take by MPI."""
    import scale

    from exactrnn.distributed import MPIEngine

    sizes = scale.Sizes(**given)
    with MPIEngine() as engine:
        worker = engine.place(dict, 2)[-1]
        took = []
        for _ in range(50):
            begin = time.perf_counter()
            engine.fetch(engine.call(worker, "__len__"))
            took.append(time.perf_counter() - begin)
    training = scale.measure_training(sizes, engine="mpi")
    print(json.dumps({"order": statistics.median(took), "training": training}))


def measure(sizes, delay):
    """Return the figures on one host and on two, or what is missing for them."""
    lacking = missing()
    if lacking is not None:
        return {"missing": lacking}
    with tempfile.TemporaryDirectory() as folder:
        one = launched(sizes, None, folder)
        with two_hosts(delay) as spaces:
            two = launched(sizes, spaces, folder)
    return {"delay": delay, "one host": one, "two hosts": two}


def print_hosts(found):
    """Print a table."""
    if "missing" in found:
        print(f"\ntwo hosts: not measured, this machine lacks {found['missing']}")
        return
    print(f"\nMPI; the wire between two hosts has {1e3 * found['delay']:g} ms each way")
    print("\n| | an order and its answer, ms | batch of 1 worker, ms | of 2, ms |")
    print("|---|---:|---:|---:|")
    for name in ("one host", "two hosts"):
        row = found[name]
        shown = (row["training"][workers]["seconds"] for workers in ("1", "2"))
        print(
            f"| {name} | {1e3 * row['order']:.2f} | "
            + " | ".join(f"{1e3 * seconds:.1f}" for seconds in shown)
            + " |"
        )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1] == "carry":
        carry(sys.argv[2:4], float(sys.argv[4]))
    else:
        program(json.loads(sys.argv[2]))
