"""The bar of `fit`, on a terminal, drawn by tqdm where that is installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

LOST = (OSError, ValueError)
"""What drawing on a terminal raises that has gone; training goes on."""


class Show(Protocol):
    """Shows one step: the words before the bar, and whether an epoch begins."""

    def __call__(self, words: str) -> None:
        """Show it."""


@contextmanager
def shown(wanted: bool | None, total: int | None) -> Iterator[Show]:
    """Give what shows a step; on a terminal alone if `wanted` is None."""
    bar = _make(total) if wanted or (wanted is None and _on_terminal()) else None

    def show(words: str) -> None:
        if bar is not None:
            with contextlib.suppress(*LOST):
                bar.set_description_str(words, refresh=False)
                bar.update()

    try:
        yield show
    finally:
        if bar is not None:
            with contextlib.suppress(*LOST):
                bar.close()


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _make(total: int | None) -> Any:
    """Return a bar, or None where tqdm is not installed."""
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return None
    with contextlib.suppress(*LOST):
        return tqdm(total=total, dynamic_ncols=True, file=sys.stderr, unit=" steps")
    return None
