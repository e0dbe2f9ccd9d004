"""CONTRIBUTING.md, "Adding a cell": its steps, taken from the page, really work.

They are applied to a copy of the tree; that copy is built and installed in a folder of
its own, and there the toy's own test, the rules of the house for its files and a
comparison of kernel and twin in bits have to pass.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from variants import ISAS, ROOT

STEP = re.compile(r"<!-- (file|change): (\S+) -->\n```\w+\n(.*?)^```$", re.M | re.S)
COPIED = ("src", "csrc", "cmake", "tests", "benchmarks", ".ci", "docs")

COMPARISON = """
import numpy as np
import exactrnn as xr
from variants import DTYPES, ISAS, make_layer

for dtype in DTYPES.values():
    layer = make_layer("toy", 5, 33, bidirectional=True, dtype=dtype, seed=3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 3, 5)).astype(dtype)
    y, h, cache = xr.reference.forward(layer, x, lengths=[7, 0, 4])
    dy = rng.standard_normal(y.shape).astype(dtype)
    grads = xr.reference.backward(layer, cache, dy)
    expected = [y, h, grads.x, grads.state, *grads.weights.values()]
    for isa in ISAS:
        with xr.use_isa(isa):
            y, h, cache = layer.forward(x, lengths=[7, 0, 4])
            grads = layer.backward(cache, dy)
        computed = [y, h, grads.x, grads.state, *grads.weights.values()]
        for ours, twin in zip(computed, expected, strict=True):
            assert ours.tobytes() == twin.tobytes(), (isa, dtype)
print("compared", *ISAS)
"""


def read_steps():
    """Return [(kind, path, text)] of the marked code blocks of CONTRIBUTING.md."""
    return STEP.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def change_text(text, change):
    """Apply a short diff: lines after '-' are replaced by those after '+' below them.

    Lines with '+' alone go to the end.
    """
    for old, new in re.findall(r"((?:^-.*\n)*)((?:^\+.*\n)+)", change, re.MULTILINE):
        before = re.sub("^-", "", old, flags=re.MULTILINE)
        after = re.sub(r"^\+", "", new, flags=re.MULTILINE)
        assert before in text, f"the page is out of date: {before!r}"
        text = text.replace(before, after, 1) if before else text + after
    return text


def copy_tree(folder):
    """Copy what a person has written, and nothing that was built."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "_core.c", ".*_cache")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder)


def apply_steps(folder):
    for kind, name, text in read_steps():
        path = folder / name
        if kind == "file":
            assert not path.exists()
            path.write_text(text, encoding="utf-8")
        else:
            changed = change_text(path.read_text(encoding="utf-8"), text)
            path.write_text(changed, encoding="utf-8")


def install(folder, target):
    """Build the copy for two instruction sets, or skip where no build tools come."""
    isas = ";".join({ISAS[0], "scalar"})
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"]
    command += [
        "--target",
        str(target),
        f"--config-settings=cmake.define.EXACTRNN_ISAS={isas}",
    ]
    answer = subprocess.run(
        [*command, str(folder)], capture_output=True, text=True, check=False
    )
    if "No module named pip" in answer.stderr or re.search(
        "No matching distribution|ConnectionError|NewConnectionError", answer.stderr
    ):
        pytest.skip("pip cannot fetch the build requirements")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def run_python(folder, target, *arguments):
    """Run Python in the copy, on what was built there; return what it prints."""
    paths = os.pathsep.join([str(target), str(folder / "tests" / "helpers")])
    answer = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.slow
def test_cell_of_the_page_builds_and_has_the_bits_of_its_twin(tmp_path):
    folder = tmp_path / "tree"
    target = tmp_path / "installed"
    folder.mkdir()
    copy_tree(folder)
    apply_steps(folder)
    install(folder, target)
    shutil.rmtree(folder / "src" / "exactrnn" / "__pycache__", ignore_errors=True)
    assert "compared" in run_python(folder, target, "-c", COMPARISON)
    pytest_command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy"]
    tests = ["tests/reference/cells", "tests/house/test_cells_listed.py"]
    tests += ["tests/house/test_house_rules.py"]
    assert "passed" in run_python(folder, target, *pytest_command, *tests)


def test_page_has_every_step():
    steps = {(kind, path) for kind, path, _ in read_steps()}
    assert steps == {
        ("file", "csrc/kernels/cells/toy.c"),
        ("change", "csrc/kernels/cells.def"),
        ("file", "src/exactrnn/reference/cells/toy.py"),
        ("change", "src/exactrnn/reference/cells/__init__.py"),
        ("file", "tests/reference/cells/test_toy.py"),
        ("change", "CHANGELOG.md"),
    }


def test_steps_still_fit_the_tree():
    for kind, name, text in read_steps():
        if kind == "change":
            assert change_text((ROOT / name).read_text(encoding="utf-8"), text)
