"""The engine underneath: instruction sets, threads, and what this build is.

None of these settings changes a bit of any result; they change time alone. The first
instruction set of `isas()` is in force, unless the environment variable `EXACTRNN_ISA`
names another when the package is imported.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

import exactrnn._core as _core
from exactrnn._checks import check_choice, check_integer
from exactrnn._system import shown
from exactrnn._system.quota import quota_files

__all__ = [
    "NUMERICS_VERSION",
    "get_include",
    "get_num_threads",
    "isa",
    "isas",
    "set_num_threads",
    "show_config",
    "threads",
    "use_isa",
]
__dir__ = shown.lists(globals())

NUMERICS_VERSION = 1
"""Version of the numerics contract: results of equal version have equal bits."""

if _core.numerics_version() != NUMERICS_VERSION:
    raise ImportError(
        "exactrnn's compiled module exactrnn._core is of numerics version "
        f"{_core.numerics_version()}, the package of {NUMERICS_VERSION}: install anew"
    )


def get_include() -> str:
    """Folder of the C library's headers, of this version.

    Returns
    -------
    str
        What a compiler is told by ``-I``. The library itself is built by CMake from
        the same sources, without Python.

    Examples
    --------
    >>> import pathlib
    >>> import exactrnn as xr
    >>> (pathlib.Path(xr.get_include()) / "exactrnn" / "model.h").is_file()
    True
    """
    return str(Path(_core.__file__).parent / "include")


def isas() -> tuple[str, ...]:
    """Instruction sets that this machine can run, best first.

    Returns
    -------
    tuple of str
        Some of ``"avx512"``, ``"avx2"``, ``"neon"``, and always ``"scalar"``.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.isas()[-1]
    'scalar'
    """
    return tuple(_core.isas())


def _isa_at_import() -> str:
    wanted = os.environ.get("EXACTRNN_ISA")
    if not wanted:
        return isas()[0]
    try:
        return check_choice("EXACTRNN_ISA", wanted, isas())
    except ValueError as error:
        message = (
            f"{error}; this environment variable names the instruction set to use "
            "(`unset EXACTRNN_ISA` lets the best be taken)"
        )
        if not _is_command():
            raise ValueError(message) from None
        # The command line is not there yet to make one line of it.
        with contextlib.suppress(AttributeError, OSError):
            sys.stderr.write(f"exactrnn: error: {message}\n")
        raise SystemExit(2) from None


def _is_command() -> bool:
    """Tell whether this process is `exactrnn ...` or `python -m exactrnn ...`."""
    name = sys.argv[0] if sys.argv else ""
    if name == "-m":  # as it is while `python -m` imports the package
        return sys.orig_argv[sys.orig_argv.index("-m") + 1] == "exactrnn"
    return Path(name).name == "exactrnn"


_active = _isa_at_import()


def isa() -> str:
    """Name of the instruction set in force.

    Returns
    -------
    str
        One of `isas`.
    """
    return _active


class use_isa:  # noqa: N801 (a function to its users)
    """Choose an instruction set, for the process or for a `with` block.

    The call chooses at once, for all threads. As a context manager it puts back what
    was in force before; it may be kept and used again, also inside itself, and chooses
    anew each time. The bits of every result stay the same.

    Parameters
    ----------
    name : str
        One of `isas`.

    Raises
    ------
    TypeError, ValueError
        If `name` is not one of `isas`; nothing is changed.

    Examples
    --------
    >>> import exactrnn as xr
    >>> with xr.use_isa("scalar"):
    ...     xr.isa()
    'scalar'
    """

    _latest: use_isa | None = None
    """The one that chose last, as long as its block is still to come."""

    def __init__(self, name: str) -> None:
        self._name = check_choice("name", name, isas())
        self._before = [_active]
        self._choose()
        use_isa._latest = self

    def __repr__(self) -> str:
        return f"use_isa({self._name!r})"

    def __enter__(self) -> None:
        # `with use_isa(...)`: the call has chosen a moment ago, and what was in force
        # before it is what the block is to put back.
        if use_isa._latest is not self:
            self._before.append(_active)
        self._choose()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _active  # noqa: PLW0603
        _active = self._before.pop()
        use_isa._latest = None

    def _choose(self) -> None:
        global _active  # noqa: PLW0603 (one setting per process)
        _active = self._name
        use_isa._latest = None


class _Wish(NamedTuple):
    """What `set_num_threads` was given, once: an equal one is another wish."""

    threads: int | None
    """None is "auto"."""


# OpenMP keeps a number of threads for each thread that calls it, and threadpoolctl
# changes it there. `set_num_threads` is for the whole process, so each other thread
# takes it over at its next call.
_wish = _Wish(None)


class _Own(threading.local):
    """What a Python thread knows of the number of threads."""

    wish = _wish
    """The last wish that it took over, or put off."""
    blocks = 0
    """`threads` blocks that it is in: a wish of another thread waits for their end."""


_own = _Own()

for _files in quota_files():
    _core.watch_quota(*_files)


def _choose_threads(count: int | None) -> None:
    if count is None:
        _core.unwish_threads()
    else:
        _core.wish_threads(count)


def _take_wish() -> None:
    wish = _wish
    if not _own.blocks:
        _choose_threads(wish.threads)
    _own.wish = wish


def threads_for_calls() -> int:
    """Return `get_num_threads` as it was some milliseconds ago, without a system call.

    What a call of the library asks for.
    """
    if _own.wish is not _wish:
        _take_wish()
    return _core.max_threads()


def get_num_threads() -> int:
    """Greatest number of threads that a call from this Python thread may use.

    It is, in this order: what `threads`, `set_num_threads` or threadpoolctl have
    chosen; ``OMP_NUM_THREADS``, if it is not more than 1024; the CPUs that this thread
    may use. Of these the last alone follows the system while the process runs: the
    thread's affinity, and within a second the quota of CPU time of its control groups,
    that of a container for example, rounded up. ``OMP_THREAD_LIMIT`` limits them all.

    Small calls use fewer threads, and a call gets fewer if the system starts no more
    (``ulimit -u``, the limit on processes of a container). While sharing calls loses
    time, because other processes or other libraries' threads keep the CPUs busy, calls
    of some milliseconds or less use one; this number stays what it is. A forked child
    uses as many as its parent, whatever the parent has computed, and with what library.

    Returns
    -------
    int
        At least 1.
    """
    if _own.wish is not _wish:
        _take_wish()
    return _core.max_threads_now()


def _check_threads(n: object) -> int:
    """Return `n` as a number of threads that may be asked for."""
    number, limit = check_integer("n", n), _core.thread_limit()
    if not 1 <= number <= limit:
        shown = number if abs(number) < 10**20 else "a number of more than 20 digits"
        raise ValueError(f"n: expected an integer in 1..{limit}, got {shown}")
    return number


def set_num_threads(n: int | str) -> None:
    """Let calls from any Python thread use up to `n` threads.

    Small calls use fewer, and so may calls on a busy machine. The bits of every result
    stay the same. A thread that is inside a `threads` block takes the number over when
    it leaves the block, unless it is itself the one that calls.

    Parameters
    ----------
    n : int or "auto"
        1 to 1024; it may be more than there are CPUs. ``"auto"``, the default, stands
        for what `get_num_threads` says where nobody has chosen: ``OMP_NUM_THREADS`` or
        the CPUs, as their number changes.

    Raises
    ------
    TypeError, ValueError
        If `n` is neither; nothing is changed.

    Examples
    --------
    >>> import exactrnn as xr
    >>> before = xr.get_num_threads()
    >>> xr.set_num_threads(1)
    >>> xr.get_num_threads()
    1
    >>> xr.set_num_threads("auto")
    >>> xr.get_num_threads() == before
    True
    """
    global _wish  # noqa: PLW0603 (one setting per process)
    number = None if isinstance(n, str) and n == "auto" else _check_threads(n)
    # If another thread is at this too, `_wish` may be its own from here on: that one is
    # taken over by the next call.
    _wish = _own.wish = _Wish(number)
    _choose_threads(number)


class threads:  # noqa: N801 (a function to its users)
    """Let calls from this Python thread use up to `n` threads in a `with` block.

    The object may be kept and used again, also inside itself and in several threads.

    Parameters
    ----------
    n : int
        1 to 1024; it may be more than there are CPUs.

    Raises
    ------
    TypeError, ValueError
        If `n` is not such an integer.

    Examples
    --------
    >>> import exactrnn as xr
    >>> with xr.threads(1):
    ...     xr.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._n = _check_threads(n)
        self._blocks = _Blocks()

    def __repr__(self) -> str:
        return f"threads({self._n})"

    def __enter__(self) -> None:
        if _own.wish is not _wish:
            _take_wish()
        self._blocks.before.append((_own.wish, *_core.thread_wish()))
        _own.blocks += 1
        _core.wish_threads(self._n)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _own.blocks -= 1
        wish, number, chosen = self._blocks.before.pop()
        _core.wish_threads(number, chosen)
        if wish is not _wish:
            _take_wish()  # set_num_threads was called meanwhile


class _Blocks(threading.local):
    """The blocks of one `threads` object that a Python thread is in."""

    def __init__(self) -> None:
        self.before: list[tuple[_Wish, int, bool]] = []


def _describe_threads() -> str:
    number = get_num_threads()
    return f"{number}" if _core.thread_wish()[1] else f"{number} (auto)"


def version() -> str:
    """Return the version that is installed, as its metadata have it."""
    from importlib import metadata

    try:
        return metadata.version("exactrnn")
    except metadata.PackageNotFoundError:
        return "not installed"


def describe_config() -> dict[str, str]:
    """Return what `show_config` prints, as label and value."""
    return {
        "exactrnn": version(),
        "numerics": str(NUMERICS_VERSION),
        "isas": " ".join(isas()),
        "isa": isa(),
        "threads": _describe_threads(),
        "runtime": _core.thread_runtime(),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "module": str(getattr(_core, "__file__", "")),
    }


def show_config() -> None:
    """Print versions, instruction sets and threads, for reports.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.show_config()  # doctest: +ELLIPSIS
    exactrnn ...
    numerics 1
    ...
    """
    for label, value in describe_config().items():
        print(f"{label:8} {value}")
