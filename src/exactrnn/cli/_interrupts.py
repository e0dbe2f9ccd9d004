"""Ctrl-C while a model is trained and written: the first one keeps the model.

It ends the step that is being computed, also in the middle of a long call: nothing of
the model has changed then. While weights are changed, or the file is written, it is
noted and acts when that is done. A second one raises KeyboardInterrupt as usual.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from exactrnn.train import Training, optimizers

WHOLE = (Training.apply.__code__, Training.save.__code__)
"""What is done whole before Ctrl-C ends a training."""


class Interrupts:
    """How often Ctrl-C was pressed, and what it does.

    Attributes
    ----------
    count : int
        How often.
    """

    def __init__(self) -> None:
        self.count = 0
        self._in_steps = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        del number
        self.count += 1
        if self.count > 1 or (self._in_steps and not is_changing(frame)):
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def ending_steps(self) -> Iterator[None]:
        """Have the first Ctrl-C end the block at once, as if it were done."""
        self._in_steps = True
        try:
            yield
        except KeyboardInterrupt:
            if self.count != 1:
                raise
        finally:
            self._in_steps = False


def is_changing(frame: FrameType | None) -> bool:
    """Tell whether what is done whole is being done where a signal has come."""
    while frame is not None:
        is_optimizer = frame.f_globals.get("__name__") == optimizers.__name__
        if is_optimizer or frame.f_code in WHOLE:
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def note_interrupts() -> Iterator[Interrupts]:
    """Take Ctrl-C for a while."""
    interrupts = Interrupts()
    try:
        before = signal.signal(signal.SIGINT, interrupts.note)
    except ValueError:  # not the main thread: signals go elsewhere
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
