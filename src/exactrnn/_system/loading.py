"""Loading the extension: imported before everything else of the package.

What can go wrong is said in the words of its cure. And the importing thread keeps its
CPUs: libgomp, which the module needs, binds the thread that loads it to one of them if
OMP_PROC_BIND is set, and all threads and processes begun by it would inherit that.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SUBINTERPRETER = (
    "exactrnn cannot be used in a subinterpreter: its compiled module and NumPy exist "
    "once in a process, for the main interpreter. Import it there (mod_wsgi: "
    "WSGIApplicationGroup %{GLOBAL}), and let threads or processes share the work."
)
LIBGOMP = (
    "exactrnn needs libgomp, the OpenMP runtime of gcc, which this system lacks "
    "({error}). Install it: `apt-get install libgomp1` (Debian, Ubuntu), `dnf install "
    "libgomp` (Fedora, RHEL), `apk add libgomp` (Alpine), `zypper install libgomp1` "
    "(SUSE) or `conda install libgomp`. No compiler is needed."
)
BROKEN = (
    "exactrnn's compiled module exactrnn._core is missing or broken ({error}). "
    "Install the package with a C compiler present: `pip install .` in a copy of "
    "the sources, or `pip install --force-reinstall exactrnn`. When Python runs "
    "inside the sources, leave that directory: its src/exactrnn is not built."
)

OTHER_PYTHON = (
    "exactrnn was built for another Python: its compiled module here is {found}, and "
    "this is Python {python}. Install the package with this Python: `{executable} -m "
    "pip install .` in a copy of the sources."
)
OLD_NUMPY = (
    "exactrnn needs NumPy 2.0 or newer, and found {found}: `pip install --upgrade "
    "numpy`."
)
FOREIGN = (
    "exactrnn's compiled module has no instruction set that this processor runs: it "
    "was built for others alone, by EXACTRNN_ISAS. Install the package without that "
    "option, or with `scalar` among its names, which every processor runs."
)


def explain_failure(error: ImportError) -> str:
    """Return what to do when the extension could not be loaded."""
    if "libgomp" in str(error):
        return LIBGOMP.format(error=error)
    built = sorted(PACKAGE.glob("_core.*.so")) + sorted(PACKAGE.glob("_core.*.pyd"))
    own = {f"_core{suffix}" for suffix in EXTENSION_SUFFIXES}
    is_foreign = bool(built) and own.isdisjoint(file.name for file in built)
    if isinstance(error, ModuleNotFoundError) and is_foreign:
        return OTHER_PYTHON.format(
            found=built[0].name,
            python=".".join(map(str, sys.version_info[:2])),
            executable=sys.executable,
        )
    return BROKEN.format(error=error)


def check_numpy(version: str) -> None:
    """Raise ImportError for a NumPy that is too old; pip warns of it and goes on."""
    if int(version.partition(".")[0]) < 2:
        raise ImportError(OLD_NUMPY.format(found=version))


def is_main_interpreter() -> bool:
    """Tell whether this is the interpreter that the process has begun with."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


def load_core() -> None:
    """Import `exactrnn._core`.

    Raises
    ------
    ImportError
        That says what to do.
    """
    if not is_main_interpreter():
        raise ImportError(SUBINTERPRETER)
    numpy = importlib.import_module("numpy")  # its failures speak for themselves
    check_numpy(numpy.__version__)
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        core = importlib.import_module("exactrnn._core")
    except ImportError as error:
        raise ImportError(explain_failure(error)) from error
    if not core.isas():
        raise ImportError(FOREIGN)
    if cpus is not None and os.sched_getaffinity(0) != cpus:
        os.sched_setaffinity(0, cpus)


load_core()
