"""The file in which `exactrnn lm` keeps a training that is not done: MODEL.run."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from exactrnn._checks.limits import quote, shorten
from exactrnn.cli._arguments import CommandError
from exactrnn.cli._output import complain, say
from exactrnn.train import Training
from exactrnn.train._lm_training import OtherRunError

KEPT_EVERY = 60.0
"""Seconds from one writing of the file to the next."""
OPTIONS = {
    "cell": "--cell",
    "num_layers": "--layers",
    "hidden_size": "--hidden",
    "embedding_size": "--embedding",
    "unit": "--unit",
    "words": "--words",
    "text": "--text",
    "steps": "--steps",
    "batch_size": "--batch",
    "length": "--length",
    "lr": "--lr",
    "clip": "--clip",
    "seed": "--seed",
    "shards": "--shards",
}
"""What a run file fixes, by its name there, and the option that says it."""


def run_path(out: Path) -> Path:
    """Return where the training of a model is kept."""
    return out.with_name(f"{out.name}.run")


class RunFile:
    """Where a training is kept until it is done: beside the model.

    Parameters
    ----------
    parsed : argparse.Namespace
        What the command was told.
    """

    def __init__(self, parsed: argparse.Namespace) -> None:
        self._path = run_path(parsed.out)
        self._counted = "seconds" not in parsed
        self._fixed = {"seed": parsed.seed}
        if parsed.unit == "words":
            self._fixed["words"] = parsed.words
        self._training: Training | None = None
        self._next = 0.0
        if parsed.resume and not self._counted:
            raise CommandError("--resume: expected --steps with it, got --seconds")

    def begin(self, training: Training, resume: bool) -> None:
        """Go on from the file, if that is wanted and there is one."""
        self._training = training
        training.fix(**self._fixed)
        if not resume or not self._path.exists():
            return
        try:
            training.load(self._path)
        except OtherRunError as error:
            said = _list_options(error.differing)
            raise CommandError(
                f"--resume: {self._path} was begun with {said}"
            ) from None
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix("path: ")
            raise CommandError(f"--resume: {reason}") from None

    def say_where(self) -> None:
        """Say from where the training goes on; now it does."""
        self._next = time.monotonic() + KEPT_EVERY
        if self._training is not None and self._training.step:
            say(f"resumed   at step {self._training.step}, from {self._path}")

    def keep_now_and_then(self) -> None:
        """Write the file if that was long ago."""
        if self._counted and time.monotonic() >= self._next:
            self._write()
            self._next = time.monotonic() + KEPT_EVERY

    def end(self, *, begun: bool) -> Path | None:
        """Write the file of what is only begun, and return it; else take it away."""
        if not self._counted or self._training is None:
            return None
        if begun and self._training.step:
            return self._path if self._write() else None
        with contextlib.suppress(OSError):
            self._path.unlink()
        return None

    def _write(self) -> bool:
        """Write the file; where that fails the training goes on without."""
        assert self._training is not None
        try:
            self._training.save(self._path)
        except (OSError, ValueError) as error:
            complain(f"warning: {self._path}: {shorten(error)}")
            return False
        return True


def _list_options(differing: Mapping[str, tuple[object, object]]) -> str:
    """Say what a file has and what was given, by the options of the command."""
    names = dict(differing)
    if "unit" in names:
        names.pop("words", None)
    if "words" in names:
        names.pop("text", None)
    return ", ".join(_in_words(name, *both) for name, both in names.items())


def _in_words(name: str, here: object, there: object) -> str:
    """Say what a file has of an option instead of what was given."""
    option = OPTIONS.get(name, name)
    if option == "--text":
        return "another --text"
    if there is None:
        return f"no {option} instead of {shorten(here)}"
    given = "none" if here is None else shorten(here)
    came = shorten(there if isinstance(there, str | float | int) else quote(there))
    return f"{option} {came} instead of {given}"
