"""What the import says when it cannot succeed."""

import importlib
import os
import shutil
import subprocess
import sys

import pytest
from builds import needs_openmp
from processes import run_python, start_python

from exactrnn import _core
from exactrnn._system import loading

MESSAGES = {
    "libgomp.so.1: cannot open shared object file: No such file or directory": (
        "apt-get install libgomp1",
        "No compiler is needed",
    ),
    "Error loading shared library libgomp.so.1: No such file or directory (needed by "
    "_core.so)": ("apk add libgomp",),
    "No module named 'exactrnn._core'": ("pip install .", "leave that directory"),
    "_core.so: undefined symbol: PyFoo": ("--force-reinstall",),
}


@pytest.mark.parametrize("text", MESSAGES)
def test_import_error_names_the_cure(text):
    message = loading.explain_failure(ImportError(text))
    assert text in message
    assert len(message) < 700
    for cure in MESSAGES[text]:
        assert cure in message
    assert ("compiler present" in message) == ("libgomp" not in text)


def test_import_error_of_a_missing_module_is_raised(monkeypatch):
    real = importlib.import_module

    def fail(name):
        if name == "exactrnn._core":
            raise ImportError("libgomp.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(loading.importlib, "import_module", fail)
    with pytest.raises(ImportError, match="apt-get install libgomp1"):
        loading.load_core()


def test_build_for_another_python_is_named(monkeypatch, tmp_path):
    missing = ModuleNotFoundError("No module named 'exactrnn._core'")
    monkeypatch.setattr(loading, "PACKAGE", tmp_path)
    assert "missing or broken" in loading.explain_failure(missing)
    (tmp_path / "_core.cpython-39-x86_64-linux-gnu.so").touch()
    words = loading.explain_failure(missing)
    for part in ("cpython-39", "this is Python 3.", f"{sys.executable} -m pip install"):
        assert part in words
    broken = ImportError("_core.so: undefined symbol: PyFoo")
    assert "missing or broken" in loading.explain_failure(broken)


def test_old_numpy_is_named(monkeypatch):
    np = importlib.import_module("numpy")
    monkeypatch.setattr(np, "__version__", "1.26.4")
    with pytest.raises(ImportError, match=r"NumPy 2.0 or newer, and found 1\.26\.4"):
        loading.load_core()
    for version in ("2.0.0", "2.4.0rc1", "10.1.0.dev0+git"):
        loading.check_numpy(version)


def test_build_for_other_processors_is_named(monkeypatch):
    monkeypatch.setattr(_core, "isas", list)
    with pytest.raises(ImportError, match="EXACTRNN_ISAS") as found:
        loading.load_core()
    assert "`scalar`" in str(found.value)


HIDE = """
set -e
for library in $(ldconfig -p | sed -n 's/.*libgomp.so.1 .*=> //p'); do
    mount --bind /dev/null "$(readlink -f "$library")"
done
exec "$@"
"""


@needs_openmp
def test_missing_libgomp_is_named_by_the_import():
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("hiding a library needs root and unshare")
    hide = ["unshare", "--mount", "sh", "-c", HIDE, "sh"]
    if subprocess.run([*hide, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount")
    done = subprocess.run(
        [*hide, sys.executable, "-c", "import exactrnn"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "apt-get install libgomp1" in done.stderr.splitlines()[-1]
    assert "ImportError: exactrnn needs libgomp" in done.stderr


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import sys, traceback
code = '''
try:
    import exactrnn
except ImportError as error:
    print("refused:", error, flush=True)
else:
    print("works", flush=True)
'''
run = getattr(interpreters, "exec", None) or interpreters.run_string
{first}
run(interpreters.create(), code)
import exactrnn as xr, numpy as np
print(xr.RNN(2, 3, seed=0)(np.ones((2, 1, 2), "float32"))[0].shape)
"""


@pytest.mark.parametrize("first", ["", "import exactrnn"], ids=["first", "second"])
def test_import_in_a_subinterpreter_is_refused_and_the_main_one_works(first):
    names = ("_interpreters", "_xxsubinterpreters")
    if not any(map(importlib.util.find_spec, names)):
        pytest.skip("this Python has no module for subinterpreters")
    lines = run_python(SUBINTERPRETER.format(first=first)).splitlines()
    assert lines[0].startswith("refused: exactrnn cannot be used in a subinterpreter")
    assert "mod_wsgi" in lines[0]
    assert lines[1] == "(2, 1, 3)"


def test_missing_numpy_speaks_for_itself():
    code = "import sys; sys.modules['numpy'] = None; import exactrnn"
    done = start_python(code)
    assert done.returncode == 1
    assert "numpy" in done.stderr.splitlines()[-1]
    assert "compiler" not in done.stderr


def test_bad_isa_is_one_clear_error():
    done = start_python("import exactrnn", EXACTRNN_ISA="avx1024")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    for part in ("ValueError: EXACTRNN_ISA", "'scalar'", "'avx1024'", "unset"):
        assert part in last
    assert _core.isas()[0] in last
    assert start_python("import exactrnn", EXACTRNN_ISA="").returncode == 0
