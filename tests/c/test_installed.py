"""The C library as a stranger installs it: plain CMake, no Python, then linked.

Built with the scalar kernels alone, which takes about a minute.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import test_cimport
from test_abi import functions
from variants import ROOT

import exactrnn as xr

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")
pytestmark = pytest.mark.deep

EXAMPLE = ROOT / "examples" / "c"
FOLDERS = ("csrc", "cmake", "examples")
FILES = ("CMakeLists.txt", "pyproject.toml")


def run(*words, **options):
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module", params=["AUTO", "OFF"], ids=["openmp", "threads"])
def installed(request, tmp_path_factory):
    """Where it is installed; the sources are gone by then."""
    for tool in ("cmake", "gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    folder = tmp_path_factory.mktemp("installed")
    source, build, place = folder / "source", folder / "build", folder / "place"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    # Whoever asks for Python or Cython finds none.
    none = ["-DCMAKE_DISABLE_FIND_PACKAGE_Python=ON", "-DEXACTRNN_WERROR=ON"]
    chosen = ["-DEXACTRNN_ISAS=scalar", f"-DEXACTRNN_OPENMP={request.param}"]
    run("cmake", "-S", source, "-B", build, *none, *chosen)
    run("cmake", "--build", build, "-j", "2")
    run("cmake", "--install", build, "--prefix", place)
    shutil.rmtree(source)
    return place


@pytest.fixture(scope="module")
def library(installed):
    [found] = [p for p in installed.rglob("libexactrnn.so") if p.is_symlink()]
    return found


def check_program(program, folder, library):
    model = folder / "model.safetensors"
    xr.save(xr.GRU(2, 20, seed=1), model)
    x = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    done = subprocess.run(
        [str(program), str(model)],
        input=x.tobytes(),
        capture_output=True,
        check=True,
        env=environment,
    )
    stream = xr.load(model).stream()
    y = np.concatenate([stream.step(row[None]) for row in x])
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(y).digest()


@pytest.mark.parametrize("target", ["exactrnn", "static"])
def test_a_cmake_project_finds_it(installed, library, tmp_path, target):
    project = shutil.copytree(EXAMPLE, tmp_path / "project")
    file = project / "CMakeLists.txt"
    text = file.read_text().replace("exactrnn::exactrnn)", f"exactrnn::{target})")
    assert f"exactrnn::{target})" in text
    file.write_text(text)
    run(
        "cmake", "-S", project, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={installed}"
    )
    run("cmake", "--build", tmp_path / "b")
    check_program(tmp_path / "b" / "stream", tmp_path, library)


@pytest.mark.parametrize("package", ["OpenMP", "Threads"])
def test_who_links_the_shared_library_needs_none_of_its_threads(
    installed, library, tmp_path, package
):
    options = (
        f"-DCMAKE_PREFIX_PATH={installed}",
        f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON",
    )
    run("cmake", "-S", EXAMPLE, "-B", tmp_path / "b", *options)
    run("cmake", "--build", tmp_path / "b")
    check_program(tmp_path / "b" / "stream", tmp_path, library)


@pytest.mark.parametrize("static", [(), ("--static",)], ids=["shared", "static"])
def test_pkg_config_finds_it(installed, library, tmp_path, static):
    if shutil.which("pkg-config") is None:
        pytest.skip("there is no pkg-config here")
    [file] = installed.rglob("exactrnn.pc")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(file.parent)}
    words = ("pkg-config", "--cflags", "--libs", *static, "exactrnn")
    flags = run(*words, env=environment).split()
    if static:
        flags = [
            str(library.with_suffix(".a")) if f == "-lexactrnn" else f for f in flags
        ]
    program = tmp_path / "stream"
    run("gcc", "-std=c11", EXAMPLE / "stream.c", *flags, "-o", program)
    check_program(program, tmp_path, library)
    version = run("pkg-config", "--modversion", "exactrnn", env=environment)
    assert version.strip() == xr.__version__


def test_a_module_that_cimports_gives_the_bits(library, tmp_path):
    source = test_cimport.translate(tmp_path)
    folder = str(library.parent)
    flags = (f"-L{folder}", f"-Wl,-rpath,{folder}", "-lexactrnn")
    path = test_cimport.compile_module(source, *flags)
    spec = importlib.util.spec_from_file_location("none", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layer = xr.GRU(2, 20, seed=1)
    xr.save(layer, tmp_path / "model.safetensors")
    x = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    y = np.zeros((9, 20), np.float32)
    name, *sizes = module.answer(os.fsencode(tmp_path / "model.safetensors"), x, y)
    assert (name, sizes) == ("GRU", [20, 20])
    expected, _ = layer(x[:, None])
    assert np.array_equal(y.view(np.uint32), expected[:, 0].view(np.uint32))
    with pytest.raises(ValueError, match="nowhere"):
        module.answer(b"nowhere", x, y)


def test_public_functions_alone_are_exported(library):
    listed = run("nm", "-D", "--defined-only", library)
    exported = sorted(re.findall(r" [A-Za-z] (\S+)$", listed, re.MULTILINE))
    assert exported == functions()


def test_what_is_installed_names_no_folder_of_the_build(installed):
    for path in installed.rglob("*"):
        if path.is_file():
            assert b"/source/csrc" not in path.read_bytes(), path
