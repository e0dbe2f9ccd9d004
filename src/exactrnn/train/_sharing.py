"""Options of a training that several workers share, and who is asked for them.

Whoever trains hands a run with such options over to `exactrnn.distributed`, where they
are explained. That is a higher floor, which nothing here imports: it is asked for by
its name, of whoever knows all (`_system/late.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from exactrnn._checks.naming import check_names
from exactrnn._system import late


class Sharing(TypedDict, total=False):
    """Options of trainings that are cut into shards."""

    shards: int
    workers: int
    engine: Any
    threads: int
    axes: tuple[int | tuple[int, ...], int] | None
    count: Callable[..., float] | None
    watch: Callable[[Any], object] | None


SHARING = tuple(Sharing.__annotations__)


def check_sharing(argument: str, options: Mapping[str, Any]) -> bool:
    """Tell whether there are any options; raise if one is none of these."""
    check_names(argument, {*SHARING, *options}, SHARING)
    return bool(options)


def hand_over(name: str, *args: Any, **options: Any) -> Any:
    """Return what a function of `exactrnn.distributed` does with this."""
    return getattr(late.module("distributed"), name)(*args, **options)
