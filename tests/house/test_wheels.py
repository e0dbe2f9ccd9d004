"""The command that makes wheels chooses Pythons and sees what is wrong with a wheel."""

import os
import stat
import zipfile
from pathlib import Path

import pytest
from sources import load_script
from variants import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="for systems with a shell")
NAME = "exactrnn-1.2.3-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
MODULE = "exactrnn/_core.so"


@pytest.fixture(scope="module")
def wheels():
    return load_script(ROOT / ".ci" / "wheels.py")


@pytest.fixture
def pythons(monkeypatch, tmp_path):
    """Give programs in the place of Pythons, the only ones on PATH."""
    lines = {
        "python3.12": "echo 3.12",
        "python3.13": "echo 'shim: python3.13: not found' >&2; echo ask us >&2; exit 1",
        "python3.14": "printf 'Traceback:\\n  line 1\\nno pip\\n' >&2; exit 1",
        "old": "echo 3.6",
        "quiet": "exit 3",
    }
    for name, line in lines.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_pythons_at_hand_are_chosen(wheels, pythons, capsys):
    assert wheels.choose_pythons(["all"]) == ["python3.12"]
    left_out = capsys.readouterr().out.splitlines()
    assert left_out == [
        "left out: python3.11: No such file or directory",
        "left out: python3.13: shim: python3.13: not found",
        "left out: python3.14: no pip",
    ]


def test_python_that_is_named_has_to_be_there(wheels, pythons):
    assert wheels.choose_pythons(["python3.12"]) == ["python3.12"]
    with pytest.raises(SystemExit) as caught:
        wheels.choose_pythons(["python3.12", "old", "quiet", "python3.11"])
    versions = ", ".join(wheels.supported_versions())
    assert str(caught.value).splitlines() == [
        f"old: expected a version of {versions}, got 3.6",
        "quiet: status 3",
        "python3.11: No such file or directory",
    ]


def test_no_python_at_all_is_an_error(wheels, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"python3\.11: No such file"):
        wheels.choose_pythons(["all"])


def make_wheel(folder, *, name=NAME, without=None, **added):
    """Return a wheel that is as it should be, but for what is asked for."""
    files = {MODULE: b"\0.text\0", "exactrnn/py.typed": b""}
    files |= {
        f"exactrnn-1.2.3.dist-info/{name}": b""
        for name in ("licenses/LICENSE", "sboms/exactrnn.cdx.json")
    }
    named = ("verify/hashes.json", "include/exactrnn.h")
    files |= {f"exactrnn/{path}": b"" for path in named}
    files |= {"exactrnn/some.py": b"# /somewhere"} | added
    files.pop(without, None)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return folder / name


def test_wheel_as_it_should_be_passes(wheels, tmp_path, capsys):
    wheels.check_wheel(make_wheel(tmp_path), [tmp_path])
    assert NAME in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"name": NAME.replace("2_17", "2_39")}, "newer glibc"),
        ({"name": "exactrnn-1.2.3-cp312-cp312-linux_x86_64.whl"}, "newer glibc"),
        ({"exactrnn/big": b"0" * 3_000_000}, "bytes, more than"),
        ({"exactrnn/_core.pyx": b""}, "source in the wheel"),
        ({"exactrnn.libs/libgomp.so": b""}, "library in the wheel"),
        ({"without": "exactrnn/py.typed"}, "no exactrnn/py.typed"),
        (
            {"exactrnn/some.py": b"/the/folder/x"},
            "path of this machine in exactrnn/some",
        ),
        ({MODULE: str(Path.home()).encode() + b"/x"}, f"home in {MODULE}"),
        ({MODULE: b"\0.symtab\0"}, f"symbols for a debugger in {MODULE}"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_named(wheels, tmp_path, changed, fault):
    with pytest.raises(SystemExit) as caught:
        wheels.check_wheel(make_wheel(tmp_path, **changed), ["/the/folder"])
    [line] = str(caught.value).splitlines()
    assert fault in line


def test_builds_that_differ_are_named(wheels, tmp_path):
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir()
    one, same = (make_wheel(tmp_path / name) for name in ("one", "same"))
    same.write_bytes(one.read_bytes())
    wheels.compare_builds(one, same)
    other = make_wheel(tmp_path / "other", **{MODULE: b"else"})
    with pytest.raises(SystemExit, match=rf"differ: \['{MODULE}'\]"):
        wheels.compare_builds(one, other)


def test_no_compiler_is_in_reach(wheels, monkeypatch, tmp_path):
    compilers = ("gcc", "cc", "x86_64-linux-gnu-gcc-12", "clang-19", "g++", "tcc")
    others = ("git", "sh", "ccache-stats", "gcc-ar")
    place = tmp_path / "bin"
    place.mkdir()
    for name in (*compilers, *others):
        (place / name).touch()
    monkeypatch.setenv("PATH", os.pathsep.join([str(place), str(tmp_path / "none")]))
    shown = Path(wheels.hide_compilers(tmp_path / "programs"))
    assert {path.name for path in shown.iterdir()} == {*others}
