"""A build that cannot succeed ends in one sentence that says what to do."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from variants import KNOWN_ISAS, ROOT

for tool in ("cmake", "gcc"):
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here", allow_module_level=True)

REFUSES = """#!/bin/sh
for word; do case $word in {word}) echo "what is $word?" >&2; exit 1;; esac; done
exec gcc "$@"
"""


def configure(build, *words, **environment):
    """Return the exit status and the words of CMake, their lines joined."""
    plain = {n: v for n, v in os.environ.items() if n not in ("CC", "CFLAGS")}
    done = subprocess.run(
        ["cmake", "-S", ROOT, "-B", build, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**plain, **environment},
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def check_refused(outcome, *parts):
    status, words = outcome
    assert status != 0, words
    for part in parts:
        assert part in words
    # CMake's own errors would stand beside ours.
    assert words.count("CMake Error") == 1


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """A build that can succeed; it knows its compiler, so that others are quick."""
    build = tmp_path_factory.mktemp("build")
    status, words = configure(build, "-DEXACTRNN_ISAS=scalar")
    assert status == 0, words
    return build


OPTIONS = {
    "-DEXACTRNN_ISAS=avx1024": ("expected some of", ", got avx1024"),
    "-DEXACTRNN_ISAS=scalar,scalar": ("with ; between them", "got scalar,scalar"),
    "-DEXACTRNN_ISAS=scalar;Scalar": ("expected some of", "got Scalar"),
    "-DEXACTRNN_OPENM=OFF": ("EXACTRNN_OPENMP,", "got EXACTRNN_OPENM"),
    "-DEXACTRNN_OPENMP=never": ("ON, OFF,", "AUTO, got never"),
    "-DEXACTRNN_OPENMP=": ("ON, OFF,", "AUTO, got"),
    "-DEXACTRNN_POSIX=AUTO": ("EXACTRNN_POSIX: expected", "got AUTO"),
    "-DEXACTRNN_OLD_GLIBC=2.17": ("EXACTRNN_OLD_GLIBC: expected", "got 2.17"),
    "-DEXACTRNN_WERROR=y e s": ("EXACTRNN_WERROR: expected", "got y e s"),
}


@pytest.mark.parametrize("word", OPTIONS)
def test_option_that_is_none_is_refused(configured, word):
    check_refused(configure(configured, "-UEXACTRNN_*", word), *OPTIONS[word])


def test_every_option_of_the_build_is_known_by_its_list():
    text = (ROOT / "cmake" / "Options.cmake").read_text()
    declared = re.findall(r"^(?:option|set)\((EXACTRNN_\w+) .*(?:CACHE| O)", text, re.M)
    [switches] = re.findall(r"set\(EXACTRNN_SWITCHES([^)]*)\)", text)
    assert {*switches.split(), "EXACTRNN_ISAS"} == set(declared)
    for path in (ROOT / "CMakeLists.txt", *(ROOT / "cmake").glob("*.cmake")):
        if path.name != "Options.cmake":
            assert not re.search(r"^ *option\(|CACHE (STRING|BOOL)", path.read_text())


def test_instruction_sets_of_other_processors_alone_are_refused(configured):
    status, words = configure(configured, "-UEXACTRNN_*", "-DEXACTRNN_ISAS=scalar")
    assert status == 0, words
    machine = os.uname().machine
    others = "avx2" if machine in ("aarch64", "arm64") else "neon"
    assert others in KNOWN_ISAS
    outcome = configure(configured, f"-DEXACTRNN_ISAS={others}")
    check_refused(outcome, f"of {machine}, got {others}", "scalar is one everywhere")


def tools_alone(folder):
    """Return a folder of all programs that this process finds, but compilers."""
    folder.mkdir()
    for place in map(Path, os.get_exec_path()):
        for program in place.iterdir() if place.is_dir() else ():
            link = folder / program.name
            if program.name not in ("cc", "gcc", "clang") and not link.is_symlink():
                link.symlink_to(program)
    return folder


def test_missing_compiler_is_named(tmp_path):
    outcome = configure(tmp_path / "named", CC="/no/such/gcc-99 -m64")
    check_refused(outcome, "/no/such/gcc-99", "apt-get install gcc", "CC=clang")
    check_refused(
        configure(tmp_path / "none", PATH=str(tools_alone(tmp_path / "bin"))),
        "none of cc, gcc and clang is here",
        "apt-get install gcc",
    )


COMPILERS = {
    "-std=gnu11": ((), ("does not compile C11 with atomics", "CC=clang")),
    "-mavx2": (("-DEXACTRNN_ISAS=avx2;scalar",), ("for avx2 (-mavx2", "leave avx2")),
    "-fopenmp*": (("-DEXACTRNN_OPENMP=ON",), ("has no OpenMP", "AUTO takes threads")),
}


@pytest.mark.parametrize("word", COMPILERS)
def test_compiler_that_cannot_is_named(tmp_path, word):
    options, parts = COMPILERS[word]
    if word == "-mavx2" and os.uname().machine not in ("x86_64", "AMD64"):
        pytest.skip("AVX2 is of other processors")
    compiler = tmp_path / "old-gcc"
    compiler.write_text(REFUSES.format(word=word))
    compiler.chmod(0o755)
    options = options or ("-DEXACTRNN_ISAS=scalar",)
    check_refused(configure(tmp_path / "build", *options, CC=str(compiler)), *parts)


def test_compiler_without_openmp_gets_threads_of_our_own(tmp_path):
    compiler = tmp_path / "no-openmp"
    compiler.write_text(REFUSES.format(word="-fopenmp*"))
    compiler.chmod(0o755)
    options = ["-DEXACTRNN_ISAS=scalar"]
    status, words = configure(tmp_path / "build", *options, CC=str(compiler))
    assert status == 0, words
    assert "exactrnn: threads of its own, without OpenMP" in words


# By pip

BUILD = """
import sys
from scikit_build_core.build import build_wheel
build_wheel(sys.argv[1], {"build-dir": sys.argv[1], "cmake.define.EXACTRNN_ISAS": "x"})
"""


def settings():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    return project, project["tool"]["scikit-build"]


@pytest.mark.parametrize("compiler", ["gcc", "/no/such/gcc-99"])
def test_failed_install_ends_in_what_it_needs(tmp_path, compiler):
    pytest.importorskip(
        "scikit_build_core", reason="needs scikit-build-core: extra dev"
    )
    done = subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "CC": compiler},
    )
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("exactrnn was not built: what is amiss stands above")
    assert "apt-get install gcc" in last


def test_old_python_is_refused_in_our_words():
    project, build = settings()
    oldest = project["project"]["requires-python"].removeprefix(">=")
    [override] = [o for o in build["overrides"] if "python-version" in o["if"]]
    assert override["if"]["python-version"] == f"<{oldest}"
    assert override["fail"] is True
    words = override["messages"]["after-failure"].format(sys=sys)
    assert words.strip().startswith(f"exactrnn needs Python {oldest} or newer, and")
    assert "Python {}.{}:".format(*sys.version_info) in words


def test_pip_of_old_pythons_can_read_the_project():
    """Before 20.1 it reads no dotted keys, and fails before it looks at the Python."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.findall(r"^[\w\"-]+(?:\.[\w-]+)+ *=", text, re.MULTILINE)
    assert not re.findall(r"\{ *[\w-]+\.[\w-]+ *=", text)
