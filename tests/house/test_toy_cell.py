"""CONTRIBUTING.md, "Adding a cell": its steps, taken from the page, really work.

They are applied to a copy of the tree; that copy is built and installed in a folder of
its own. There kernel and twin have the same bits, and what the generic tests find by
themselves has to pass: gradients by central differences, equations, files, pictures,
pages, benchmarks, published bits.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builds import chosen_compiler
from variants import ISAS, ROOT

STEP = re.compile(
    r"<!-- (file|change|run|stages|stages-change): (\S+) -->\n"
    r"(````?)\w+\n(.*?)^\3$",
    re.MULTILINE | re.DOTALL,
)
PAGES = ("CONTRIBUTING.md", "csrc/kernels/cells/README.md")
"""Where the steps stand: of a cell, and of its second form with two stages."""
MOST_FILES = 10
"""Files that a new public network touches, kernel and twin included."""
COPIED = ("src", "csrc", "cmake", "tests", "benchmarks", ".ci", "docs")

COMPARISON = """
import itertools

import numpy as np
import exactrnn as xr
from exactrnn.bench.cells import CELLS
from variants import DTYPES, make_layer

assert {"toy", "toy_before"} <= {*CELLS}
for name, dtype in itertools.product(("toy", "toy_before"), DTYPES.values()):
    layer = make_layer(name, 5, 33, bidirectional=True, dtype=dtype, seed=3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 3, 5)).astype(dtype)
    y, h, cache = xr.reference.forward(layer, x, lengths=[7, 0, 4])
    dy = rng.standard_normal(y.shape).astype(dtype)
    grads = xr.reference.backward(layer, cache, dy)
    expected = [y, h, grads.x, grads.state, *grads.weights.values()]
    y, h, cache = layer.forward(x, lengths=[7, 0, 4])
    grads = layer.backward(cache, dy)
    computed = [y, h, grads.x, grads.state, *grads.weights.values()]
    for ours, twin in zip(computed, expected, strict=True):
        assert ours.tobytes() == twin.tobytes(), (name, dtype)
print("compared", *xr.isas())
"""


def read_steps():
    """Return [(kind, path, text)] of the marked code blocks of the pages."""
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    return [(kind, path, body) for kind, path, _, body in STEP.findall(text)]


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
        if kind in ("file", "stages"):
            assert not path.exists()
            path.write_text(text, encoding="utf-8")
        elif kind != "run":
            changed = change_text(path.read_text(encoding="utf-8"), text)
            path.write_text(changed, encoding="utf-8")


def publish(folder, target):
    """Do the step that is a command, and install what it writes."""
    [(name, text)] = [step[1:] for step in read_steps() if step[0] == "run"]
    program, *arguments = shlex.split(text)
    assert program == "python"
    run_python(folder, target, *arguments)
    shutil.copy(folder / name, target / Path(name).relative_to("src"))


def install(folder, target):
    """Build the copy for the best instruction set; skip where no build tools come.

    For one only, as every second here is gcc's: the toy names no instructions.
    """
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"]
    command += [
        "--target",
        str(target),
        f"--config-settings=cmake.define.EXACTRNN_ISAS={ISAS[0]}",
    ]
    answer = subprocess.run(
        [*command, str(folder)], capture_output=True, text=True, check=False
    )
    if "No module named pip" in answer.stderr or re.search(
        "No matching distribution|ConnectionError|NewConnectionError", answer.stderr
    ):
        pytest.skip("pip cannot fetch the build requirements")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (target / "sitecustomize.py").write_text(OWN_LIBRARY, encoding="utf-8")


OWN_LIBRARY = """
import sys

finders = [f for f in sys.meta_path if "editable" not in type(f).__module__]
sys.meta_path[:] = finders
"""
"""Run when Python starts: what is installed in place would come before the path."""


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


GENERIC = (
    "tests/reference/cells",
    "tests/reference/test_layer_gradients.py",
    "tests/reference/test_twin_gradients.py",
    "tests/reference/test_equations.py",
    "tests/api/test_io.py",
    "tests/bits/test_verify.py",
    "tests/house/test_cells_listed.py",
    "tests/house/test_house_rules.py",
    "tests/house/test_networks.py",
    "tests/house/test_docs.py",
)
"""Tests that walk the lists; the toy is among what each of them runs over."""


@pytest.mark.slow
def test_cell_of_the_page_builds_and_has_the_bits_of_its_twin(tmp_path):
    chosen_compiler()
    folder = tmp_path / "tree"
    target = tmp_path / "installed"
    folder.mkdir()
    copy_tree(folder)
    apply_steps(folder)
    install(folder, target)
    shutil.rmtree(folder / "src" / "exactrnn" / "__pycache__", ignore_errors=True)
    assert "compared" in run_python(folder, target, "-c", COMPARISON)
    publish(folder, target)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy or Toy"]
    report = run_python(folder, target, *command, "-rA", *GENERIC)
    passed = re.findall(r"^PASSED (\S+?)::", report, re.MULTILINE)
    ran = {next(name for name in GENERIC if path.startswith(name)) for path in passed}
    assert ran == {*GENERIC}


def test_a_public_network_touches_ten_files():
    files = {path for kind, path, _ in read_steps() if not kind.startswith("stages")}
    assert len(files) <= MOST_FILES
    assert files == {
        "csrc/kernels/cells/toy.c",
        "csrc/kernels/cells.def",
        "src/exactrnn/reference/cells/toy.py",
        "src/exactrnn/layers/toy.py",
        "src/exactrnn/layers/__init__.py",
        "src/exactrnn/verify/hashes.json",
        "tests/reference/cells/test_toy.py",
        "docs/cells/toy.md",
        "docs/cells/index.md",
        "CHANGELOG.md",
    }


def test_steps_still_fit_the_tree():
    written = {name: text for kind, name, text in read_steps() if kind == "file"}
    for kind, name, text in read_steps():
        if kind.endswith("change"):
            path = ROOT / name
            before = written.get(name) or path.read_text(encoding="utf-8")
            assert change_text(before, text)
