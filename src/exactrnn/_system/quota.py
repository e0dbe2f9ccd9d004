"""Where the CPU time of this process is limited: files of Linux control groups.

A container or a service may use all CPUs, but only for a share of the time: its quota
in each period. The process's own group may have one, and every group around it.

    cgroup v2   <mount>/<group>/cpu.max              "150000 100000", or "max 100000"
    cgroup v1   <mount>/<group>/cpu.cfs_quota_us     "150000", or "-1"
                <mount>/<group>/cpu.cfs_period_us    "100000"

The process's groups are in /proc/self/cgroup. Where their trees are mounted, and which
part of them (a container sees its own part), is in /proc/self/mountinfo.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

V1_FILES = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


def quota_files(process: Path = Path("/proc/self")) -> list[tuple[str, str | None]]:
    """Return the files (quota, period) of the groups of a process, innermost first.

    The period is None where the first file holds it too. Nothing is found on systems
    that have no control groups, or do not show them.
    """
    try:
        groups = (process / "cgroup").read_text()
        mounts = (process / "mountinfo").read_text()
    except (OSError, UnicodeDecodeError):
        return []
    return [
        files
        for is_v2, root, mount in _trees(mounts)
        for group in _groups(groups, is_v2=is_v2)
        for folder in _folders(PurePosixPath(group), root, mount)
        if (files := _files_in(folder, is_v2=is_v2)) is not None
    ]


def _trees(mounts: str) -> Iterator[tuple[bool, PurePosixPath, Path]]:
    """Return (is it v2, the part that is mounted, where) of the trees for CPU time.

    A line is "36 35 98:0 /root /mount options [tags] - type source options".
    """
    for line in mounts.splitlines():
        place, _, kind = line.partition(" - ")
        fields, types = place.split(), kind.split()
        if len(fields) < 5 or len(types) < 3:
            continue
        is_v2 = types[0] == "cgroup2"
        if is_v2 or (types[0] == "cgroup" and "cpu" in types[2].split(",")):
            yield is_v2, PurePosixPath(fields[3]), Path(fields[4])


def _groups(groups: str, *, is_v2: bool) -> Iterator[str]:
    """Return the process's group in a tree; a line is "4:cpu,cpuacct:/group"."""
    for line in groups.splitlines():
        number, controllers, group = (*line.split(":", 2), "", "")[:3]
        if (number == "0") if is_v2 else ("cpu" in controllers.split(",")):
            yield group


def _folders(group: PurePosixPath, root: PurePosixPath, mount: Path) -> list[Path]:
    """Return the folders of a group and of those around it, as far as mounted.

    A group outside the mounted part is that of a container, as its host names it: what
    is mounted is the container's own.
    """
    inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
    folder = mount / inside
    return [folder, *(mount / part for part in inside.parents)]


def _files_in(folder: Path, *, is_v2: bool) -> tuple[str, str | None] | None:
    if is_v2:
        both = folder / "cpu.max"
        return (str(both), None) if both.is_file() else None
    quota, period = (folder / name for name in V1_FILES)
    return (str(quota), str(period)) if quota.is_file() and period.is_file() else None
