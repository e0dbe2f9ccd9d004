"""The example in C, as its readers would build it; what a step asks of the system.

The programs are linked with the plain library, as it would be installed.
"""

import hashlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from c_library import build_program, library_objects, link
from variants import CSRC, ROOT

import exactrnn as xr

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

EXAMPLE = ROOT / "examples" / "c" / "stream.c"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
COMPILERS = [
    *((compiler, "-std=c11") for compiler in ("gcc", "clang")),
    *((compiler, "-std=c++17") for compiler in ("g++", "clang++")),
]
NOT_HERE = 77
HEADERS = sorted((CSRC / "include").glob("**/*.h"))
STRUCTS = re.findall(
    r"^struct (\w+) \{", "".join(path.read_text() for path in HEADERS), re.MULTILINE
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("real-time")


@pytest.fixture(scope="module")
def objects(folder):
    return library_objects(folder / "objects", "-O1")


@pytest.fixture(scope="module")
def shared(folder, objects):
    return link(objects, folder / "libexactrnn.so", "-shared", "-pthread")


@pytest.fixture(scope="module")
def model(folder):
    path = folder / "model.safetensors"
    xr.save(xr.LSTM(3, 40, 2, peepholes="ifo", seed=1), path)
    return path


both = pytest.mark.parametrize(
    ("compiler", "standard"), COMPILERS, ids=[compiler for compiler, _ in COMPILERS]
)


@both
def test_headers_are_of_both_languages(folder, compiler, standard):
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} here")
    language = "c++" if "++" in standard else "c"
    lines = [f"#include <{path.relative_to(CSRC / 'include')}>" for path in HEADERS]
    lines += [f"struct {name} a_{name};" for name in STRUCTS]
    # In C++ a struct is a type by its name alone, unless a function has that name.
    lines += [f"{name} b_{name};" for name in STRUCTS if language == "c++"]
    source = folder / "headers.c"
    source.write_text("\n".join(lines) + "\n")
    command = [compiler, "-x", language, standard, *STRICT, "-fsyntax-only"]
    subprocess.run([*command, f"-I{CSRC / 'include'}", str(source)], check=True)


@both
def test_example_gives_the_sha256_of_python(folder, shared, model, compiler, standard):
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} here")
    program = folder / f"stream-{compiler}"
    language = "c++" if "++" in standard else "c"
    command = [compiler, "-x", language, standard, *STRICT, f"-I{CSRC / 'include'}"]
    command += [
        str(EXAMPLE),
        "-x",
        "none",
        str(shared),
        f"-Wl,-rpath,{shared.parent}",
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    x = np.random.default_rng(2).standard_normal((50, 3)).astype(np.float32)
    done = subprocess.run(
        [str(program), str(model)], input=x.tobytes(), capture_output=True, check=True
    )
    stream = xr.load(model).stream()
    y = np.concatenate([stream.step(row[None]) for row in x])
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(y).digest()


def test_example_says_what_is_wrong(folder, shared, model):
    program = folder / "stream-gcc"
    assert program.exists()
    bad = folder / "bad.safetensors"
    bad.write_bytes(model.read_bytes()[:-1])
    for path, words in ((bad, "not a model file"), (folder / "none", "No such file")):
        done = subprocess.run(
            [str(program), str(path)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("stream: ")
        assert words in done.stderr


@pytest.fixture(scope="module")
def program(folder, objects):
    wrap = "-Wl,--wrap=pthread_mutex_lock"
    return build_program(folder, "real_time", objects, "-O1", wrap)


@pytest.fixture(scope="module", params=["LSTM", "ClockworkRNN", "DepthGatedLSTM"])
def any_model(request, folder):
    own = {"periods": (1, 2, 4)} if request.param == "ClockworkRNN" else {}
    path = folder / f"{request.param}.safetensors"
    xr.save(getattr(xr, request.param)(3, 130, 3, seed=1, **own), path)
    return path


def run(program, *words):
    command = [str(program), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_step_allocates_and_locks_nothing(program, any_model):
    assert run(program, any_model, 1000, "COUNT").stdout == "0 0\n"


def test_a_step_makes_no_system_call(program, any_model):
    done = run(program, any_model, 1000, "LOCKED")
    if done.returncode == NOT_HERE:
        pytest.skip("the kernel has no seccomp here")
    assert (done.returncode, done.stdout) == (0, "ok\n")


def test_every_allocation_that_fails_is_reported(program, any_model):
    done = run(program, any_model, 0, "STARVE")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_what_a_step_must_not_do_is_seen(program, model):
    assert run(program, model, 10, "COUNT", "allocate").stdout == "10 0\n"
    assert run(program, model, 10, "COUNT", "lock").stdout == "0 10\n"
    done = run(program, model, 10, "LOCKED", "ask")
    assert done.returncode == NOT_HERE or done.returncode < 0
