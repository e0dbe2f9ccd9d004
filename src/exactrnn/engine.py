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

import numpy as np

from exactrnn._checks import check_choice, check_size

try:
    import exactrnn._core as _core
except ImportError as error:
    raise ImportError(
        f"exactrnn's compiled module exactrnn._core is missing or broken ({error}). "
        "Install the package with a C compiler present: `pip install .` in a copy of "
        "the sources, or `pip install --force-reinstall exactrnn`. When Python runs "
        "inside the sources, leave that directory: its src/exactrnn is not built."
    ) from error

__all__ = [
    "NUMERICS_VERSION",
    "get_num_threads",
    "isa",
    "isas",
    "set_num_threads",
    "show_config",
    "threads",
    "use_isa",
]

NUMERICS_VERSION = 1
"""Version of the numerics contract: results of equal version have equal bits."""

if _core.numerics_version() != NUMERICS_VERSION:
    raise ImportError(
        "exactrnn's compiled module exactrnn._core is of numerics version "
        f"{_core.numerics_version()}, the package of {NUMERICS_VERSION}: install anew"
    )


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
        if not _is_command():
            raise
        # The command line is not there yet to make one line of it.
        with contextlib.suppress(AttributeError, OSError):
            sys.stderr.write(f"exactrnn: error: {error}\n")
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

    The bits of every result stay the same.

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

    def __init__(self, name: str) -> None:
        global _active  # noqa: PLW0603 (one setting per process)
        self._before = _active
        _active = check_choice("name", name, isas())

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _active  # noqa: PLW0603
        _active = self._before


# OpenMP keeps its wish for a number of threads per calling thread, and threadpoolctl
# changes it there. `set_num_threads` is for the whole process, so each other thread
# takes it over at its next call: `_wish` is (number of the wish, threads).
_wish: tuple[int, int] = (0, 0)
_taken = threading.local()


def get_num_threads() -> int:
    """Greatest number of threads that a call from this Python thread may use.

    Without `set_num_threads` it is OpenMP's: ``OMP_NUM_THREADS`` or the number of
    cores, and what threadpoolctl sets.

    Returns
    -------
    int
        At least 1.
    """
    if getattr(_taken, "wish", 0) != _wish[0]:
        wish, number = _wish
        _core.set_threads(number)
        _taken.wish = wish
    return int(_core.max_threads())


def set_num_threads(n: int) -> None:
    """Let calls from any Python thread use up to `n` threads.

    Small calls use fewer. The bits of every result stay the same.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer of at least 1.

    Examples
    --------
    >>> import exactrnn as xr
    >>> before = xr.get_num_threads()
    >>> xr.set_num_threads(1)
    >>> xr.get_num_threads()
    1
    >>> xr.set_num_threads(before)
    """
    global _wish  # noqa: PLW0603 (one setting per process)
    _wish = (_wish[0] + 1, check_size("n", n))
    get_num_threads()


class threads:  # noqa: N801 (a function to its users)
    """Let calls from this Python thread use up to `n` threads in a `with` block.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer of at least 1.

    Examples
    --------
    >>> import exactrnn as xr
    >>> with xr.threads(1):
    ...     xr.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._n = check_size("n", n)
        self._before: list[int] = []

    def __enter__(self) -> None:
        self._before.append(get_num_threads())
        _core.set_threads(self._n)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _core.set_threads(self._before.pop())


def describe_config() -> dict[str, str]:
    """Return what `show_config` prints, as label and value."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("exactrnn")
    except PackageNotFoundError:
        release = "not installed"
    return {
        "exactrnn": release,
        "numerics": str(NUMERICS_VERSION),
        "isas": " ".join(isas()),
        "isa": isa(),
        "threads": str(get_num_threads()),
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
