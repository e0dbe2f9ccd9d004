"""What a notebook shows of a module: name, diagram, weights, shapes."""

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


class Stacked(Shown, Protocol):
    """A stack of recurrent layers, as far as it is drawn."""

    input_size: int
    hidden_size: int
    output_size: int
    num_layers: int
    bidirectional: bool
    reverse: bool

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Return the names of the gates."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """Return the names of the states."""


MOST_LAYERS = 4
"""Layers that are drawn; of more the first and the last are."""
BOX, STEP, ROW = 150, 220, 84


def describe_in_html(module: Shown, diagram: str = "") -> str:
    """Return a diagram and a table, which open at a click, below a line of facts."""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td>"
        f"<td>{' × '.join(map(str, array.shape))}</td></tr>"
        for name, array in module.state_dict().items()
    )
    title = escape(shorten(repr(module)))
    return (
        f"<details><summary><code>{title}</code>: {module.num_parameters:,} "
        f"parameters, {module.dtype.name}</summary>{diagram}<table>{rows}</table>"
        "</details>"
    )


def draw_stack(module: Stacked) -> str:
    """Return an SVG of the layers in a row: widths between them, states that come back.

    Strokes and letters have the colour of the text around, on light and dark pages.
    """
    directions = ["reads forward"]
    if module.reverse:
        directions = ["reads backward"]
    if module.bidirectional:
        directions = ["reads forward", "reads backward"]
    width = module.output_size * len(directions)
    layers = [*range(module.num_layers)]
    if len(layers) > MOST_LAYERS:
        layers = [0, -1, module.num_layers - 1]
    middle = 65 + ROW * (len(directions) - 1) / 2
    parts = [_text(30, middle - 8, f"x {module.input_size}")]
    for place, layer in enumerate(layers):
        left = 60 + STEP * place
        parts.append(_arrow(left - 60 if place == 0 else left - 70, left, middle))
        if layer < 0:
            parts.append(_text(left + BOX / 2, middle + 4, "…"))
        for row, says in enumerate(directions if layer >= 0 else []):
            parts.append(_box(module, left, 40 + ROW * row, f"layer {layer}, {says}"))
        label = f"y {width}" if layer == layers[-1] else str(width)
        parts.append(_text(left + BOX + 35, middle - 8, label))
    right = 60 + STEP * len(layers)
    parts.append(_arrow(right - 70, right - 4, middle))
    size = f'width="{right}" height="{20 + ROW * len(directions)}"'
    return (
        f'<svg {size} font-family="sans-serif" font-size="12" fill="currentColor" '
        f'stroke="none" role="img"><title>layers: {module.num_layers}</title>'
        f"{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, says: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle">{escape(says)}</text>'


def _path(drawn: str) -> str:
    return f'<path d="{drawn}" fill="none" stroke="currentColor"/>'


def _arrow(left: float, right: float, y: float) -> str:
    return _path(f"M{left:g} {y:g}H{right:g}m-6 -4l6 4l-6 4")


def _box(module: Stacked, left: float, top: float, says: str) -> str:
    """Return a layer in one direction: units, gates, and the states that come back."""
    middle, right = left + BOX / 2, left + BOX
    units = f"{type(module).__name__} {module.hidden_size}"
    gates = " ".join(module.gate_names) or "no gates"
    back = f"M{right - 20:g} {top:g}v-10H{left + 20:g}v10m-4 -6l4 6l4 -6"
    return "".join(
        [
            f'<rect x="{left:g}" y="{top:g}" width="{BOX}" height="50" rx="6" '
            'fill="none" stroke="currentColor"/>',
            _text(middle, top + 15, says),
            _text(middle, top + 30, shorten(units, 22)),
            _text(middle, top + 44, shorten(gates, 22)),
            _path(back),
            _text(middle, top - 14, " ".join(module.state_names)),
        ]
    )
