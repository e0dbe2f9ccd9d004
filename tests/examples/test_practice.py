"""Every program in examples/practice/: it runs and says what it is there to say."""

import importlib.util
import re
import subprocess
import sys

import pytest
from variants import ROOT

import exactrnn as xr

FOLDER = ROOT / "examples" / "practice"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py"))
PACKAGES = {
    "audit": ["sklearn", "safetensors"],
    "ensemble": ["statsmodels", "matplotlib"],
    "gates": ["matplotlib", "safetensors"],
    "latency": ["statsmodels", "matplotlib", "safetensors"],
    "swap": ["sklearn", "torch"],
}


def run(name, *arguments, folder, status=0):
    """Run a program as a person does; return what it prints."""
    for package in PACKAGES[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: extra examples, or torch")
    command = [sys.executable, "-W", "error", FOLDER / f"{name}.py", *arguments]
    done = subprocess.run(
        [*map(str, command)],
        check=False,
        timeout=300,
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status in (0, 1) else done.stderr


def rows_of(printed):
    """Return the rows of the table that is printed, without its head."""
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_every_program_is_here_and_listed():
    listed = (ROOT / "examples" / "README.md").read_text("utf-8")
    assert [*PACKAGES] == PROGRAMS
    assert re.findall(r"\(practice/(\w+)\.py\)", listed) == [
        *("audit", "latency", "swap", "ensemble", "gates")
    ]
    for name in PROGRAMS:
        text = (FOLDER / f"{name}.py").read_text("utf-8")
        assert f"python examples/practice/{name}.py" in text
        assert f"test_{name}" in "".join(globals())


def test_audit_gives_one_line_everywhere(tmp_path):
    short = ("--epochs", "1")
    alone = run("audit", *short, "--out", "new/one.safetensors", folder=tmp_path)
    assert (tmp_path / "new/one.safetensors").is_file()
    other = ("--isa", xr.isas()[-2 if len(xr.isas()) > 2 else 0], "--threads", "2")
    elsewhere = run("audit", *short, *other, folder=tmp_path)
    [line] = re.findall(r"checkpoint (\w{64})", alone)
    assert f"checkpoint {line}" in elsewhere
    said = run("audit", *short, "--expect", line, folder=tmp_path)
    assert "the same bits" in said
    said = run("audit", *short, "--expect", line[::-1], folder=tmp_path, status=1)
    assert "DIFFERENT" in said


@pytest.mark.deep
@pytest.mark.parametrize("isa", xr.isas())
def test_audit_gives_what_is_published(isa, tmp_path):
    assert "the same bits" in run("audit", "--isa", isa, folder=tmp_path)


def test_latency_of_models_made_and_saved(tmp_path):
    picture = tmp_path / "new" / "picture.png"
    few = ("--steps", "200", "--out", picture)
    printed = run("latency", "--units", "8", "16", *few, folder=tmp_path)
    assert [row[0] for row in rows_of(printed)] == ["LSTM 8", "LSTM 16"]
    for row in rows_of(printed):
        times = [float(cell) for cell in row[1:]]
        assert times == sorted(times)
        assert 0.1 < times[0] < 1000
    assert picture.read_bytes().startswith(b"\x89PNG")
    xr.save(xr.GRU(1, 4, dtype="float64"), tmp_path / "own.safetensors")
    printed = run("latency", "--model", "own.safetensors", *few, folder=tmp_path)
    assert [row[0] for row in rows_of(printed)] == ["own"]


def test_swap_learns_what_stock_learns(tmp_path):
    printed = run("swap", "--hidden", "8", "--epochs", "2", folder=tmp_path)
    (stock, swapped) = rows_of(printed)
    assert (stock[0], swapped[0]) == ("stock", "swapped")
    pairs = zip(stock[1].split(", "), swapped[1].split(", "), strict=True)
    assert all(abs(float(a) - float(b)) < 0.01 for a, b in pairs)


def test_ensemble_has_a_row_for_each_series(tmp_path):
    short = ("--members", "2", "--epochs", "1", "--out", "new/ensemble.png")
    printed = run("ensemble", *short, folder=tmp_path)
    rows = rows_of(printed)
    assert len(rows) == 22
    assert all(0 < float(row[1].strip("*")) < 3 for row in rows)
    assert (tmp_path / "new/ensemble.png").is_file()


def test_gates_of_a_model_along_a_text(tmp_path):
    text = 'a "b" c\n' * 40
    model = xr.train.LanguageModel(' "abc\n', hidden_size=8, embedding_size=4, seed=0)
    pytest.importorskip("safetensors", reason="needs safetensors: extra lm")
    model.save(tmp_path / "model.safetensors")
    given = ("model.safetensors", "--text", text[:20])
    printed = run("gates", *given, folder=tmp_path)
    assert "a space" in printed
    assert (tmp_path / "gates.png").is_file()
    said = run("gates", given[0], "--text", "xyz", folder=tmp_path, status=2)
    assert "--text: the model does not know 'xyz'" in said
    xr.save(xr.GRU(1, 4), tmp_path / "other.safetensors")
    assert "error: " in run("gates", "other.safetensors", folder=tmp_path, status=2)
