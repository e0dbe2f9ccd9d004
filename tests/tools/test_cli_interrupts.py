"""Ctrl-C: the first one keeps a whole model, a command ends in one line."""

import os
import signal
import subprocess
import sys
import time

import pytest
from commands import EXACTRNN, SECONDS, SMALL, TEXT, make_training, only_line, timed

from exactrnn._system import files
from exactrnn.cli import _interrupts, lm, main
from exactrnn.train import LanguageModel, Optimizer

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")


@pytest.fixture
def training(tmp_path):
    return make_training(tmp_path)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "model.safetensors"


def test_ctrl_c_in_a_process_keeps_the_model(training, out):
    command = [*EXACTRNN, *timed(training, 60)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not process.stdout.readline().startswith("engine"):
        pass
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=SECONDS)
    assert errors == ""
    assert "stopped by Ctrl-C at step" in printed
    assert process.returncode == 130
    LanguageModel.load(out)


@pytest.mark.parametrize("after", ["opening", "reading"])
def test_ctrl_c_before_training_is_one_line(after, out, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [*EXACTRNN, "lm", "--text", str(fifo), "--out", str(out), *SMALL]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with fifo.open("wb", buffering=0) as writer:  # waits until the command reads
        if after == "reading":
            writer.write(b"text")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=SECONDS)[1]
    assert only_line(errors) == "exactrnn lm: stopped by Ctrl-C"
    assert process.returncode == 130


def test_ctrl_c_while_the_model_is_written_does_not_lose_it(
    training, out, monkeypatch, capsys
):
    replace = files.replace_file

    def interrupted(path, content):
        os.kill(os.getpid(), signal.SIGINT)
        replace(path, content)

    monkeypatch.setattr(lm, "replace_file", interrupted)
    assert main(training) == 130
    LanguageModel.load(out)


def press_while_changing(monkeypatch, step, times):
    """Press Ctrl-C so often just before the weights of a step are changed."""
    update, steps = Optimizer._update, []

    def interrupted(self, *arguments):
        steps.append(1)
        for _ in range(times if len(steps) == step else 0):
            assert _interrupts.is_changing(sys._getframe())
            os.kill(os.getpid(), signal.SIGINT)
        update(self, *arguments)

    monkeypatch.setattr(Optimizer, "_update", interrupted)


@pytest.mark.parametrize("where", ["computing", "changing"])
def test_ctrl_c_within_a_step_leaves_a_whole_step(
    where, training, out, monkeypatch, capsys
):
    compute, calls = LanguageModel.loss_and_gradients, []

    def interrupted(self, *arguments):
        calls.append(1)
        loss, gradients, state = compute(self, *arguments)
        if where == "computing" and len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)  # a long call
        return loss, gradients, state

    monkeypatch.setattr(LanguageModel, "loss_and_gradients", interrupted)
    if where == "changing":
        press_while_changing(monkeypatch, step=2, times=1)
    begin = time.monotonic()
    assert main([*training, "--steps", "50"]) == 130
    assert time.monotonic() - begin < 20
    assert "stopped by Ctrl-C at step 2" in capsys.readouterr().out
    monkeypatch.undo()
    twin = LanguageModel(
        "".join(sorted(set(TEXT))), hidden_size=8, embedding_size=4, seed=0
    )
    cut = len(TEXT) - int(len(TEXT) * lm.HELD_OUT)
    steps = twin.training(TEXT[:cut], steps=50, batch_size=4, length=8, lr=5e-3)
    for _ in range(2):
        next(steps)
    found = LanguageModel.load(out).state_dict()
    for name, weight in twin.state_dict().items():
        assert weight.tobytes() == found[name].tobytes(), name


def test_a_second_ctrl_c_while_weights_change_stops_at_once(
    training, out, monkeypatch, capsys
):
    press_while_changing(monkeypatch, step=1, times=2)
    assert main(training) == 130
    assert only_line(capsys.readouterr().err) == "exactrnn lm: stopped by Ctrl-C"
    assert not out.exists()


def test_ctrl_c_in_the_first_step_is_said(training, out, monkeypatch, capsys):
    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    monkeypatch.setattr(LanguageModel, "loss_and_gradients", interrupted)
    assert main(training) == 130
    assert "stopped by Ctrl-C in the first step" in capsys.readouterr().out
    LanguageModel.load(out)
