"""What a notebook shows of a module: its name, its weights and their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Protocol

from exactrnn._checks import Array, FloatType
from exactrnn._checks.limits import shorten


class Shown(Protocol):
    """A module, as far as it is shown."""

    @property
    def dtype(self) -> FloatType:
        """Return the dtype of the weights."""

    @property
    def num_parameters(self) -> int:
        """Return how many numbers there are."""

    def state_dict(self) -> Mapping[str, Array]:
        """Return the weights."""


def describe_in_html(module: Shown) -> str:
    """Return a table that opens at a click, below a line that says the most."""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td>"
        f"<td>{' × '.join(map(str, array.shape))}</td></tr>"
        for name, array in module.state_dict().items()
    )
    title = escape(shorten(repr(module)))
    return (
        f"<details><summary><code>{title}</code>: {module.num_parameters:,} "
        f"parameters, {module.dtype.name}</summary><table>{rows}</table></details>"
    )
