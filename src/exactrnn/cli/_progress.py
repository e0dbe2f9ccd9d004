"""Showing how training goes: a bar on a terminal, plain lines elsewhere.

The bar is drawn by `tqdm`, which the extra ``exactrnn[lm]`` brings.  Without it, or
when standard error is not a terminal, a line is printed at every tenth of the way.
"""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from exactrnn.cli._output import complain, say

if TYPE_CHECKING:
    from exactrnn.train import Progress

SYMBOLS = {"characters": "char", "bytes": "byte", "words": "word"}
"""What a symbol is called, by the unit of a model."""
LOST = (OSError, ValueError)
"""What drawing on a terminal raises that has gone; training goes on."""
SMOOTHING = 0.95
"""Weight of the past in the loss that is shown; a step alone jumps about."""


LEAST = 1e-12
"""Share of the way below which the time left is a guess of another kind."""


class Reporter(Protocol):
    """Shows the progress of one training."""

    def __enter__(self) -> Reporter:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""

    def show(self, progress: Progress) -> None:
        """Show one step."""


class Smoothed:
    """A running mean of the loss that forgets."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0

    def update(self, bits: float) -> float:
        """Take in one value and return the mean."""
        self._sum = self._sum * SMOOTHING + bits * (1.0 - SMOOTHING)
        self._weight = self._weight * SMOOTHING + (1.0 - SMOOTHING)
        return self._sum / self._weight


def describe(progress: Progress, bits: float) -> tuple[str, str, str]:
    """Return loss, speed and time left in words."""
    rate = progress.characters / max(progress.seconds, 1e-9)
    left = progress.seconds * (1.0 / max(progress.fraction, LEAST) - 1.0)
    minutes, seconds = divmod(round(left), 60)
    name = SYMBOLS[progress.unit]
    return (
        f"{bits:.3f} bits/{name}",
        f"{rate:,.0f} {name}s/s",
        f"{minutes}:{seconds:02} left{progress.remark}",
    )


class PlainReporter:
    """A line at every tenth of the way."""

    def __init__(self) -> None:
        self._bits = Smoothed()
        self._next = 0.1

    def __enter__(self) -> PlainReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def show(self, progress: Progress) -> None:
        """Show one step."""
        bits = self._bits.update(progress.bits)
        if progress.fraction < self._next - 1e-9:
            return
        while self._next <= progress.fraction + 1e-9:
            self._next += 0.1
        words = "  ".join(describe(progress, bits))
        say(f"{progress.fraction:4.0%}  step {progress.step}  {words}")


class BarReporter:
    """A bar on the terminal, on standard error."""

    def __init__(self) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped]

        self._bits = Smoothed()
        self._done = 0.0
        self._bar = tqdm(
            total=1.0,
            bar_format="{desc}{percentage:3.0f}% |{bar}|",
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def __enter__(self) -> BarReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*LOST):
            self._bar.refresh()
            self._bar.close()

    def show(self, progress: Progress) -> None:
        """Show one step."""
        words = "  ".join(describe(progress, self._bits.update(progress.bits)))
        with contextlib.suppress(*LOST):
            self._bar.set_description_str(f"{words}  ", refresh=False)
            self._bar.update(progress.fraction - self._done)
        self._done = progress.fraction


def make_reporter() -> Reporter:
    """Return the bar if it can be shown, else the plain lines."""
    if not sys.stderr.isatty():
        return PlainReporter()
    try:
        return BarReporter()
    except ImportError:
        complain("(pip install 'exactrnn[lm]' shows a progress bar)")
    except LOST:
        pass  # no terminal to draw on after all
    return PlainReporter()
