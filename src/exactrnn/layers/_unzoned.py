"""Layers that can have neither recurrent dropout nor zoneout, and say why."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from exactrnn._checks.limits import quote

P = ParamSpec("P")


def without_zoneout(reason: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Let a constructor refuse both with a reason instead of as unknown names."""

    def decorate(init: Callable[P, None]) -> Callable[P, None]:
        @wraps(init)
        def refusing(*args: P.args, **named: P.kwargs) -> None:
            for name in ("recurrent_dropout", "zoneout"):
                if name in named:
                    raise ValueError(
                        f"{name}: expected none, because {reason}, got "
                        f"{quote(named[name])}"
                    )
            init(*args, **named)

        return refusing

    return decorate
