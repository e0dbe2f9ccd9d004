"""What `dir` shows of a public module: its public names, and nothing it imports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def lists(module: Mapping[str, Any], *others: str) -> Callable[[], list[str]]:
    """Return the `__dir__` of a module: `__all__`, these others, and Python's own."""

    def names() -> list[str]:
        special = {name for name in module if name.startswith("__")}
        return sorted({*module["__all__"], *others, *special})

    return names
