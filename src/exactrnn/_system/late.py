"""Modules of higher floors, for what is handed over to them whole.

A lower floor imports nothing of a higher one. The package itself, which knows all,
says here how its modules are found when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_finders: list[Callable[[str], Any]] = []


def finds(find: Callable[[str], Any]) -> None:
    """Take the function that finds a module of the package by its name."""
    _finders[:] = [find]


def module(name: str) -> Any:
    """Return a module of the package, which is imported if it has not been."""
    [find] = _finders
    return find(name)
