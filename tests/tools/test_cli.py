"""The command line: what a user sees, and what happens to mistakes and to Ctrl-C."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import exactrnn as xr
from exactrnn.cli import bench, lm, main, verify
from exactrnn.cli._progress import BarReporter, PlainReporter, make_reporter
from exactrnn.train import LanguageModel, Progress

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = ["--hidden", "24", "--embedding", "8", "--batch", "4", "--length", "16"]


pytestmark = pytest.mark.usefixtures("settings_are_put_back")


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def train(text_file, tmp_path):
    """Return a function that trains a small model and gives status and file."""
    pytest.importorskip("safetensors")

    def run(*options):
        out = tmp_path / "model.safetensors"
        arguments = ["lm", "--text", str(text_file), "--out", str(out), *SMALL]
        return main([*arguments, *options]), out

    return run


def last_error(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


def test_training_says_what_it_does_and_keeps_the_model(train, capsys):
    status, out = train("--steps", "40", "--threads", "1", "--isa", "scalar")
    printed = capsys.readouterr().out
    assert status == 0
    assert "1,800 characters, 29 different, last 5% held out" in printed
    assert "LSTM 1 x 24" in printed
    assert "scalar, 1 thread\n" in printed
    assert "100%  step 40" in printed
    assert "bits per character" in printed
    assert "exactrnn lm sample" in printed
    assert LanguageModel.load(out).num_parameters == 4221


def test_equal_runs_write_equal_files(train):
    contents = set()
    for isa in xr.isas():
        status, out = train("--steps", "5", "--isa", isa, "--cell", "gru")
        assert status == 0
        contents.add(out.read_bytes())
    assert len(contents) == 1
    train("--steps", "5", "--seed", "1", "--cell", "gru")
    assert out.read_bytes() not in contents


def test_training_by_the_clock(train, capsys):
    status, _ = train("--seconds", "0.1", "--cell", "rnn", "--layers", "2")
    assert status == 0
    assert "RNN 2 x 24" in capsys.readouterr().out


class Interrupting(PlainReporter):
    """A reporter during which the user presses Ctrl-C at a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def show(self, progress):
        if progress.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_the_model(train, capsys, monkeypatch):
    monkeypatch.setattr(lm, "make_reporter", lambda: Interrupting(3))
    before = signal.getsignal(signal.SIGINT)
    status, out = train("--steps", "100")
    printed = capsys.readouterr().out
    assert status == 130
    assert "stopped by Ctrl-C at step 3" in printed
    assert "bits per character" in printed
    assert LanguageModel.load(out).alphabet == "".join(sorted(set(TEXT)))
    assert signal.getsignal(signal.SIGINT) is before


def test_second_ctrl_c_stops_at_once(train, capsys, monkeypatch):
    def interrupted(content, path):
        os.kill(os.getpid(), signal.SIGINT)
        return path, ""

    monkeypatch.setattr(lm, "make_reporter", lambda: Interrupting(3))
    monkeypatch.setattr(lm, "keep", interrupted)
    status, out = train("--steps", "100")
    assert status == 130
    assert "stopped by Ctrl-C" in last_error(capsys)
    assert not out.exists()


def test_training_works_outside_the_main_thread(train):
    with ThreadPoolExecutor(1) as pool:
        status, out = pool.submit(train, "--steps", "2").result()
    assert status == 0
    assert out.exists()


def test_steps_left_out_are_reported(train, capsys, monkeypatch):
    find = LanguageModel.loss_and_gradients

    def overflowing(*given):
        loss, gradients, state = find(*given)
        return loss, {n: np.full_like(g, np.inf) for n, g in gradients.items()}, state

    monkeypatch.setattr(LanguageModel, "loss_and_gradients", overflowing)
    status, _ = train("--steps", "1")
    assert status == 0
    assert "1 steps left out: gradients not finite" in capsys.readouterr().out


def test_sampling_from_a_file(train, capsys):
    _, out = train("--steps", "150", "--lr", "0.02")
    capsys.readouterr()
    arguments = ["lm", "sample", str(out), "--prompt", "the quick", "--length", "30"]
    for options in (["--temperature", "0"], ["--seed", "7"], ["--seed", "7"]):
        assert main([*arguments, *options]) == 0
    texts = capsys.readouterr().out.split("the quick")[1:]
    assert len(texts) >= 3
    assert texts[0].startswith(" brown")
    assert texts[-1] == texts[-2]


def test_unknown_characters_in_a_prompt(train, capsys):
    _, out = train("--steps", "1")
    capsys.readouterr()
    assert main(["lm", "sample", str(out), "--prompt", "Ω?"]) == 2
    printed, complaint = capsys.readouterr()
    expected = "exactrnn lm: error: --prompt: characters unknown to the model"
    assert complaint.startswith(expected)
    assert printed == ""


def test_broken_model_files_are_one_line(tmp_path, capsys):
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    assert main(["lm", "sample", str(path)]) == 2
    assert "No such file" in last_error(capsys)
    path.write_bytes(b"nonsense")
    assert main(["lm", "sample", str(path)]) == 2
    assert "not a model file" in last_error(capsys)
    xr.save(xr.RNN(1, 1), path)
    assert main(["lm", "sample", str(path)]) == 2
    assert "not a language model" in last_error(capsys)


def test_unusable_texts_are_one_line(tmp_path, train, capsys, text_file):
    for content, expected in (
        (None, "No such file"),
        (b"", "text.txt: expected a text, got nothing"),
        (b"abc\xff", "not UTF-8 at byte 3"),
        (b"short", "expected at least 7 characters, more than 4 to learn in 4 stre"),
    ):
        text_file.unlink(missing_ok=True)
        if content is not None:
            text_file.write_bytes(content)
        assert train("--steps", "1")[0] == 2
        assert expected in last_error(capsys)


def test_a_place_that_cannot_be_written_is_known_before_training(train, capsys):
    assert train("--out", "/no/such/folder/model")[0] == 2
    assert "--out: /no/such/folder/model: No such file" in last_error(capsys)


def test_missing_safetensors_is_known_before_training(train, capsys, monkeypatch):
    monkeypatch.setattr(lm.importlib.util, "find_spec", {}.get)
    assert train()[0] == 2
    assert "pip install 'exactrnn[lm]'" in last_error(capsys)


COMMANDS = ["", "verify", "bench", "doctor", "info", "lm", "lm sample", "completion"]

WRONG = {
    "lm --steps 0": "--steps: expected an integer >= 1, got '0'",
    "lm --steps ten": "--steps: expected an integer >= 1, got 'ten'",
    "lm --steps 5 --seconds 5": "--seconds: not allowed with argument --steps",
    "lm --lr -1": "--lr: expected a number >= 0, got '-1'",
    "lm --lr 10x": "--lr: expected a number >= 0, got '10x'",
    "lm --lr inf": "--lr: expected a number >= 0, got 'inf'",
    "lm --clip 0": "--clip: expected a number above 0, got '0'",
    "lm --seed -1": "--seed: expected an integer >= 0, got '-1'",
    "lm --cell elman": "--cell: expected gru, gru_before, lstm, ",
    "lm --isa sse9": f"--isa: expected {', '.join(xr.isas()[:-1])} or scalar",
    "lm smaple": "ACTION: expected sample, got 'smaple' (did you mean sample?)",
    "bench --cell lsmt": "got 'lsmt' (did you mean lstm?)",
    "bench --hidden 0": "--hidden: expected an integer >= 1, got '0'",
    "bench --alone --rivals torch": "--rivals: not allowed with argument --alone",
    "info --jsn": "unrecognized arguments: --jsn (did you mean --json?)",
    "verify --fast": "unrecognized arguments: --fast",
    "bench lstm --alone": "unrecognized arguments: lstm",
    "doctor --dtype float32": "unrecognized arguments: --dtype",
    "completion bash zsh": "unrecognized arguments: zsh",
    "lm sample model text": "unrecognized arguments: text",
    "lm --layer 2 --bach 3": "arguments: --bach (did you mean --batch?)",
    "lm --epochs=3 sample": "unrecognized arguments: --epochs=3",
    "lm -o model": "unrecognized arguments: -o",
    "--threads 2 info": "unrecognized arguments: --threads",
    "--quick": "unrecognized arguments: --quick",
    "completion fish": "SHELL: expected bash, zsh or tcsh, got 'fish'",
    "frobnicate": "COMMAND: expected verify, bench",
    "verfy": "got 'verfy' (did you mean verify?)",
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG.items())
def test_a_wrong_argument_is_one_line_that_says_what_is_right(
    arguments, expected, capsys
):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert expected in line
    named = [name for name in COMMANDS if f"{arguments} ".startswith(f"{name} ")]
    command = f"exactrnn {max(named, default='')}".strip()
    assert line.startswith(f"{command}: error: ")
    assert line.endswith(f"; see {command} --help")  # where what it takes is listed


@pytest.mark.parametrize("prompt", ["--- a", "-x y", "-", "a -b", "--prompt it"])
def test_a_prompt_may_begin_as_an_option_does(prompt, train, capsys):
    _, model = train("--steps", "1")
    assert main(["lm", "sample", str(model), "--prompt", prompt]) in (0, 2)
    assert "arguments" not in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_as_wide_as_the_terminal(
    command, columns, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: exactrnn" in printed
    assert "(default: )" not in printed
    assert max(map(len, printed.splitlines())) <= columns


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_the_same_commands_on_a_narrow_terminal(
    command, columns, capsys, monkeypatch
):
    found = []
    for width in (200, columns):
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        head, _, examples = capsys.readouterr().out.partition("examples:")
        assert "\\" not in head  # a table is no command
        found.append(shlex.split(examples.replace("\\\n", "\n")))
    assert found[0] == found[1]


@pytest.mark.parametrize("columns", [60, 80])
def test_without_a_command_three_things_to_try_are_shown(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n  exactrnn ") == 3
    assert max(map(len, printed.splitlines())) <= columns
    for command in re.findall(r"^  exactrnn (\w+)", printed, re.MULTILINE):
        assert command in COMMANDS


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"exactrnn {xr.__version__}\n"


def test_a_sample_is_of_the_model_that_was_written_last(
    train, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["lm", "sample"]) == 2
    assert "`exactrnn lm` makes one" in last_error(capsys)
    _, out = train("--steps", "1")
    out.rename(lm.MODEL)
    capsys.readouterr()
    assert main(["lm", "sample", "--length", "5"]) == 0
    assert len(capsys.readouterr().out) == 6


def test_completion_knows_the_options(capsys):
    pytest.importorskip("shtab", reason="needs shtab: extra completion")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "--temperature" in script


def test_completion_says_what_it_needs(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "zsh"]) == 2
    assert "pip install 'exactrnn[completion]'" in last_error(capsys)


def test_the_default_text_is_real_and_large():
    text, source = lm.default_text()
    assert source == "CPython's topics"
    assert len(text) > 300_000
    assert 'The "if" statement' in text


def test_a_python_without_documentation_is_one_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert main(["lm"]) == 2
    assert "give --text FILE" in last_error(capsys)


def test_info_names_the_instruction_sets(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert " ".join(xr.isas()) in printed
    assert "numerics 1" in printed


QUICK = ["bench", "--alone", "--seconds", "0.01", "--threads", "1"]


def test_bench_measures_all_combinations(tmp_path, capsys):
    out = tmp_path / "figures.json"
    sizes = ["--steps", "5", "--hidden", "16", "17", "--inputs", "3", "--layers", "2"]
    tasks = ["--task", "forward", "step", "--batch", "2", "--dtype", "float64"]
    assert main([*QUICK, *sizes, *tasks, "--isa", "scalar", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert ", scalar, 1 thread\n" in printed
    assert "| gru step 2 layers float64 | 1, 2, 17 (I=3) |" in printed
    assert "mean: 8 rows; " in printed
    report = json.loads(out.read_text())
    assert {(row["T"], row["I"], row["H"]) for row in report["rows"]} == {
        (5, 3, 16),
        (5, 3, 17),
        (1, 3, 16),
        (1, 3, 17),
    }


def test_data_take_the_place_of_words(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "differences", lambda *_: [])
    small = ["--steps", "2", "--batch", "1", "--hidden", "4", "--cell", "rnn"]
    for command in (["info"], ["verify"], ["doctor"], [*QUICK, *small]):
        assert main([*command, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        out = tmp_path / "data.json"
        assert main([*command, "--json", str(out)]) == 0
        assert capsys.readouterr().out
        assert type(json.loads(out.read_text())) is type(data)
        assert main([*command, "--json", "/no/such/folder/f"]) == 2
        assert "--json: /no/such/folder/f: No such file" in last_error(capsys)


def test_verify_names_in_its_data_what_differs(capsys, monkeypatch):
    def differences(side, dtype, hashes):
        del side, hashes
        return ["x"] * (dtype == "float64")

    monkeypatch.setattr(verify, "differences", differences)
    assert main(["verify", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["verified"] is False
    for line in data["lines"]:
        assert line["different"] == ["x"] * (line["dtype"] == "float64")


def test_bench_saves_a_picture(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")
    small = [*QUICK, "--steps", "2", "--batch", "1", "--hidden", "4", "--cell", "rnn"]
    path = tmp_path / "speed.png"
    assert main([*small, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert main([*small, "--plot", "speed.txt"]) == 2
    assert "ends in .png, .svg, .pdf, got speed.txt" in last_error(capsys)
    monkeypatch.setattr(bench.importlib.util, "find_spec", {}.get)
    assert main([*small, "--plot", str(path)]) == 2
    assert "pip install 'exactrnn[plot]'" in last_error(capsys)


def test_bench_says_what_cannot_be_measured(capsys, monkeypatch):
    assert main([*QUICK, "--task", "step", "--bidirectional"]) == 2
    assert "a stream has one direction" in last_error(capsys)
    small = ["--steps", "1", "--batch", "1", "--hidden", "4"]
    assert main([*QUICK, *small, "--json", "/no/such/folder/f"]) == 2
    assert "--json: /no/such/folder/f: No such file" in last_error(capsys)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["bench", "--rivals", "torch", *small]) == 2
    assert "exactrnn bench: error: --rivals:" in last_error(capsys)


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "exactrnn", "info"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout


def test_a_reader_that_goes_away_is_no_error(train):
    _, out = train("--steps", "1")
    command = [sys.executable, "-m", "exactrnn", "lm", "sample", str(out)]
    process = subprocess.Popen(
        [*command, "--length", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 0


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar(monkeypatch):
    pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with make_reporter() as reporter:
        assert isinstance(reporter, BarReporter)
        reporter.show(Progress(1, 0.5, 2.0, 1.0, 0, 3000, 2.0))
    shown = terminal.getvalue()
    assert "2.000 bits/char  1,500 chars/s  0:02 left" in shown
    assert "50%" in shown


def test_without_tqdm_lines_are_printed(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert isinstance(make_reporter(), PlainReporter)
    assert "exactrnn[lm]" in terminal.getvalue()
