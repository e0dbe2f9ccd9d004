"""The file in which `exactrnn lm` keeps a training that is not done: MODEL.run."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

from exactrnn._checks.limits import shorten
from exactrnn.cli._arguments import CommandError
from exactrnn.cli._output import complain, say
from exactrnn.train import Training

KEPT_EVERY = 60.0
"""Seconds from one writing of the file to the next."""


def run_path(out: Path) -> Path:
    """Return where the training of a model is kept."""
    return out.with_name(f"{out.name}.run")


class RunFile:
    """Where a training is kept until it is done: beside the model.

    Parameters
    ----------
    parsed : argparse.Namespace
        With `out` and `resume`.
    """

    def __init__(self, parsed: argparse.Namespace) -> None:
        self._path = run_path(parsed.out)
        self._counted = "seconds" not in parsed
        self._training: Training | None = None
        self._next = 0.0
        if parsed.resume and not self._counted:
            raise CommandError("--resume: expected --steps with it, got --seconds")

    def begin(self, training: Training, resume: bool) -> None:
        """Go on from the file, if that is wanted and there is one."""
        self._training = training
        self._next = time.monotonic() + KEPT_EVERY
        if not resume or not self._path.exists():
            return
        try:
            training.load(self._path)
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix("path: ")
            raise CommandError(f"--resume: {reason}") from None
        say(f"resumed   at step {training.step}, from {self._path}")

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
