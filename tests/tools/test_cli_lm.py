"""`exactrnn lm` over cells and units, and what it goes on from after a break."""

import os
import signal

import pytest
from test_cli import SMALL, TEXT

from exactrnn.cli import _make_parser, _run_file, lm, main
from exactrnn.cli._progress import PlainReporter
from exactrnn.distributed import EngineError, LocalEngine
from exactrnn.train import LanguageModel, Training
from exactrnn.train._model_spec import CELLS

pytest.importorskip("safetensors")
pytestmark = pytest.mark.usefixtures("settings_are_put_back")


class Interrupting(PlainReporter):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def show(self, progress):
        if progress.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def train(tmp_path):
    """Return a function that trains a small model and gives status and file."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")

    def run(*options, out="model"):
        path = tmp_path / out
        arguments = ["lm", "--text", str(text), "--out", str(path), *SMALL, *options]
        return main(arguments), path

    return run


@pytest.fixture
def interrupt_at(monkeypatch):
    """Return a function that has the next trainings interrupted at a step, or none."""

    def put(step):
        make = PlainReporter if step is None else lambda: Interrupting(step)
        monkeypatch.setattr(lm, "make_reporter", make)

    return put


def error_of(capsys):
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--unit", "words"), "symbols (words)"),
        (("--unit", "bytes", "--cell", "mingru"), "256 symbols (bytes)"),
        (("--cell", "jordan", "--unit", "words", "--words", "3"), "32 symbols (words)"),
    ],
)
def test_units_are_said_learned_and_written(train, capsys, options, said):
    status, out = train(*options, "--steps", "10")
    printed = capsys.readouterr().out
    assert status == 0
    assert said in printed
    name = options[options.index("--unit") + 1]
    assert f"bits per {name[:-1]}, " in printed
    assert f"bits/{name[:-1]}" in printed
    assert LanguageModel.load(out).unit == name
    assert main(["lm", "sample", str(out), "--prompt", "the", "--length", "9"]) == 0
    assert capsys.readouterr().out.startswith("the")


def test_an_interrupted_run_goes_on_and_ends_with_the_bytes_of_a_whole_one(
    train, interrupt_at, capsys
):
    interrupt_at(None)
    options = ("--steps", "60", "--cell", "gru")
    _, whole = train(*options, out="whole")
    run = whole.with_name("model.run")
    for step in (7, 23):
        interrupt_at(step)
        status, out = train(*options, "--resume")
        assert status == 130
        assert run.is_file()
        assert "--resume goes on" in capsys.readouterr().out
    interrupt_at(None)
    status, out = train(*options, "--resume")
    assert status == 0
    assert "resumed   at step 23" in capsys.readouterr().out
    assert out.read_bytes() == whole.read_bytes()
    assert not run.exists()
    assert not whole.with_name("whole.run").exists()


def test_a_run_is_kept_while_it_goes(train, monkeypatch):
    kept, save = [], Training.save

    def noting(training, path):
        kept.append(training.step)
        save(training, path)

    monkeypatch.setattr(Training, "save", noting)
    monkeypatch.setattr(_run_file, "KEPT_EVERY", 0.0)
    status, out = train("--steps", "4")
    assert (status, kept) == (0, [1, 2, 3, 4])
    assert [path.name for path in out.parent.iterdir() if "run" in path.name] == []


def test_a_run_that_cannot_be_kept_goes_on_and_says_so(train, monkeypatch, capsys):
    monkeypatch.setattr(_run_file, "KEPT_EVERY", 0.0)
    monkeypatch.setattr(Training, "save", refuse)
    status, out = train("--steps", "2")
    assert status == 0
    assert out.exists()
    assert "warning: " in (said := error_of(capsys))
    assert "model.run" in said


def refuse(*_):
    raise OSError("disk full")


def test_what_cannot_go_on_is_refused(train, interrupt_at, capsys):
    interrupt_at(3)
    train("--steps", "60")
    interrupt_at(None)
    capsys.readouterr()
    assert train("--seconds", "5", "--resume")[0] == 2
    assert "--resume: expected --steps" in error_of(capsys)
    _, out = train("--steps", "5", out="other")
    out.with_name("other.run").write_bytes(b"nothing")
    assert train("--steps", "5", "--resume", out="other")[0] == 2
    assert "--resume: not a model file" in error_of(capsys)


FIXED = {
    "cell": ("gru", "lstm"),
    "layers": ("2", "1"),
    "hidden": ("7", "24"),
    "embedding": ("5", "8"),
    "unit": ("bytes", "characters"),
    "steps": ("50", "60"),
    "batch": ("3", "4"),
    "length": ("9", "16"),
    "lr": ("0.1", "0.005"),
    "clip": ("2", "1.0"),
    "seed": ("5", "0"),
    "shards": ("2", None),
}
"""Options that a run file fixes: another value, and that of the run."""
FREE = {"temperature": "0.7", "threads": "1", "isa": "scalar"}
"""Options that it does not fix, with a value of each."""
OF_RUNS = {"text", "words", "resume", "out", "seconds", "workers", "help"}
"""Options that are tried elsewhere, or are no matter of going on."""


@pytest.fixture
def begun(train, interrupt_at, capsys):
    """Return a function that goes on with a run of plain options."""
    interrupt_at(3)
    assert train("--steps", "60")[0] == 130
    interrupt_at(None)
    capsys.readouterr()
    return lambda *options: train("--steps", "60", *options, "--resume")


def test_every_option_is_fixed_by_a_run_or_not():
    [commands] = _make_parser()._subparsers._group_actions
    flags = [*commands.choices["lm"]._option_string_actions]
    options = {flag[2:] for flag in flags if flag.startswith("--")}
    assert options == {*FIXED, *FREE, *OF_RUNS}
    assert {*_run_file.OPTIONS.values()} == {
        f"--{n}" for n in (*FIXED, "text", "words")
    }


@pytest.mark.parametrize("name", FIXED)
def test_an_option_that_a_run_contradicts_is_named_alone(begun, capsys, name):
    other, own = FIXED[name]
    before = {"steps": ()}.get(name, ("--steps", "60"))
    status, out = begun(*before, f"--{name}", other)
    assert status == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    there = f"no --{name}" if own is None else f"--{name} {own}"
    given = {"clip": "2.0"}.get(name, other)
    run = out.with_name("model.run")
    assert printed.err == (
        f"exactrnn lm: error: --resume: {run} was begun with {there} instead of "
        f"{given}\n"
    )


def test_options_that_agree_with_a_run_or_do_not_matter_go_on(begun, capsys):
    same = [word for n, (_, own) in FIXED.items() if own for word in (f"--{n}", own)]
    free = [word for name, value in FREE.items() for word in (f"--{name}", value)]
    assert begun(*same, *free)[0] == 0
    assert "resumed   at step 3" in capsys.readouterr().out


def test_all_that_a_run_contradicts_is_said_at_once(begun, capsys, tmp_path):
    begun("--seed", "1", "--hidden", "3", "--unit", "words", "--shards", "2")
    said = error_of(capsys)
    for words in (
        "--hidden 24 instead of 3",
        "--unit characters instead of words",
        "--seed 0 instead of 1",
        "no --shards instead of 2",
    ):
        assert words in said
    assert "--words" not in said
    assert "--text" not in said
    other = tmp_path / "other.txt"
    other.write_text(TEXT + TEXT[:50], encoding="utf-8")
    begun("--text", str(other))
    assert error_of(capsys).endswith("was begun with another --text\n")


def test_a_run_of_words_fixes_how_many(train, interrupt_at, capsys):
    options = ("--unit", "words", "--steps", "60")
    interrupt_at(3)
    train(*options, "--words", "4")
    interrupt_at(None)
    capsys.readouterr()
    assert train(*options, "--words", "3", "--resume")[0] == 2
    assert error_of(capsys).endswith("was begun with --words 4 instead of 3\n")
    assert train(*options, "--words", "4", "--resume")[0] == 0


def test_help_has_every_cell_and_what_it_costs(capsys):
    assert sorted(cell for own in lm.COSTS.values() for cell in own) == sorted(CELLS)
    with pytest.raises(SystemExit):
        main(["lm", "--help"])
    printed = capsys.readouterr().out
    assert "takes about 60 ms with an LSTM" in " ".join(printed.split())
    words = " ".join(printed.split())
    assert "0.75 gru, gru_before, mut1 0.9 lstm_1997" in words
    assert f"one of {', '.join(CELLS)}" in words
    assert "--unit {characters,bytes,words}" in words


# Workers


def test_workers_give_the_file_of_none_that_has_the_shards(train, capsys):
    _, alone = train("--shards", "3", "--steps", "5", out="alone")
    _, whole = train("--steps", "5", out="whole")
    _, shared = train("--shards", "3", "--workers", "1", "--steps", "5", out="shared")
    said = capsys.readouterr().out
    assert said.count(", 3 shards\n") == 2
    assert said.count(", 1 worker of 1 thread, 3 shards\n") == 1
    assert alone.read_bytes() == shared.read_bytes() != whole.read_bytes()


def test_an_interrupted_run_goes_on_with_workers(train, interrupt_at, capsys):
    interrupt_at(None)
    options = ("--steps", "9", "--shards", "2")
    _, whole = train(*options, out="whole")
    interrupt_at(4)
    assert train(*options, "--workers", "0")[0] == 130
    interrupt_at(None)
    status, out = train(*options, "--workers", "1", "--resume")
    assert status == 0
    assert "resumed   at step 4" in capsys.readouterr().out
    assert out.read_bytes() == whole.read_bytes()


def test_what_workers_cannot_do_is_one_line(train, capsys, monkeypatch):
    assert train("--workers", "9")[0] == 2
    printed = capsys.readouterr()
    assert "--workers: expected at most shards=8, got 9" in printed.err
    assert printed.out == ""

    def place(*_):
        raise EngineError("workers: expected 2 to be placed, got none")

    monkeypatch.setattr(LocalEngine, "place", place)
    assert train("--workers", "2")[0] == 2
    line = "exactrnn lm: error: --workers: expected 2 to be placed, got none\n"
    assert error_of(capsys) == line


def test_a_last_word_alone_is_not_measured(tmp_path, capsys):
    text = tmp_path / "words"
    text.write_text("ab\n" * 12 + "ab", encoding="utf-8")
    sizes = ["--hidden", "4", "--embedding", "2", "--batch", "2", "--length", "4"]
    path = str(tmp_path / "model")
    options = ["--text", str(text), "--out", path, "--unit", "words", "--steps", "2"]
    assert main(["lm", *options, *sizes]) == 0
    assert "held out  one word, behind which nothing" in capsys.readouterr().out
