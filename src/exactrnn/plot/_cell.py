"""The graph of a cell's equations: what is computed in a step, from left to right.

Boxes stand in columns, each behind all that it reads (the longest way there), and a
line that passes a column has a place of its own in it. Within a column the order is
that of the neighbours' mean heights, gone over a few times in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from exactrnn._graph.definition import Definition
from exactrnn._graph.form import Form, form_of
from exactrnn._graph.symbols import Cell, definition_of
from exactrnn.layers.defined import Layer
from exactrnn.plot._bands import STYLE, import_matplotlib, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from typing_extensions import TypeVar

    AnyFigure = TypeVar("AnyFigure", bound=Figure | SubFigure, default=Figure)

__all__ = ["cell"]

COLORS = {
    "state": "#dbe9f4",
    "new": "#dbe9f4",
    "sum": "#fbe3cf",
    "weight": "#fdf3e7",
    "function": "#ffffff",
}
LINE, INK = "#7c8894", "#24303b"
LETTER, ROW, GAP, BOX = 0.075, 0.42, 0.34, 0.26
"""Inches: of a letter's width, from row to row, between columns, of a box's height."""
SWEEPS = 12
"""How often heights are settled."""
LETTERS = "abcdefgh"
"""Of sources: as many as are normalised together."""

SHORT = {"sigmoid": "σ", "moments": "mean, scale", "norm": "normed"}
TWO = {"add": "+", "mul": "×", "gained": "×"}
ORDERED = {
    "sub": "{0} − {1}",
    "div": "{0} ÷ {1}",
    "lt": "{0} < {1}",
    "le": "{0} ≤ {1}",
    "eq": "{0} = {1}",
    "min": "min({0}, {1})",
    "max": "max({0}, {1})",
    "fma": "{0}·{1} + {2}",
    "mix": "{0}·{1} + (1 − {0})·{2}",
    "where": "{0} ? {1} : {2}",
}


@dataclass
class Box:
    """A value that is drawn, or the place where a line passes a column: no label.

    In the label {0}, {1}, … stand for the sources by number.
    """

    label: str
    kind: str
    sources: list[int] = field(default_factory=list)
    column: int = 0
    height: float = 0.0
    drawn: bool = True
    width: float = 0.0

    def __post_init__(self) -> None:
        letters = len(self.label.format(*LETTERS))
        self.width = max(BOX, 0.12 + LETTER * letters) if self.drawn else 0.0


def cell(
    cell: Cell | type[Cell] | Mapping[str, Any] | Layer,
    *,
    figure: AnyFigure | None = None,
) -> AnyFigure:
    """Draw the graph of a cell that is written down as equations.

    A step runs from left to right: from the states before it, marked by ', and the
    sums of products, over everything that is computed unit by unit, to the states
    after it. Letters a, b, c in a box are what comes in, from top to bottom.

    Parameters
    ----------
    cell : Cell, mapping or Layer
        The cell, its class, its definition as data, or a layer that runs it.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure or SubFigure
        The figure drawn into.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If it is no cell, or one that the kernels cannot run.

    Examples
    --------
    >>> import exactrnn as xr
    >>> figure = xr.plot.cell(xr.cells.MGU)                  # doctest: +SKIP
    >>> figure.savefig("mgu.png")                            # doctest: +SKIP
    """
    given = cell.arguments()["cell"] if isinstance(cell, Layer) else cell
    definition = definition_of(given)
    boxes = boxes_of(form_of(definition))
    columns = arrange(boxes)
    places, width = places_of(boxes, columns)
    heights = [box.height for box in boxes]
    height = max(heights) - min(heights) + 2 * BOX
    mpl = import_matplotlib()
    with mpl.rc_context(STYLE):
        target = cast("AnyFigure", figure or new_figure(mpl, width + 0.3, height + 0.3))
        axes = target.subplots()
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_title(title_of(definition), loc="left")
        draw_lines(mpl, axes, boxes, places)
        draw_boxes(mpl, axes, boxes, places)
        axes.set_xlim(-0.1, width + 0.1)
        axes.set_ylim(max(heights) + BOX, min(heights) - BOX)
    return target


def title_of(definition: Definition) -> str:
    """Return the name, and how many heads there are."""
    heads = definition.num_heads
    return definition.name + (f", {heads} heads" if heads > 1 else "")


# What is drawn


def boxes_of(form: Form) -> list[Box]:
    """Return a box for each value and each new state, in an order of computing."""
    names = form.definition.states
    place: dict[int, int] = {}
    boxes: list[Box] = []
    first = next(
        (n for n, v in enumerate(form.values) if v.kind == "prev" and v.place == 0), -1
    )
    for number, value in enumerate(form.values):
        if value.kind == "const":
            continue
        if value.kind == "copy" and value.inputs[0] in place:
            place[number] = place[value.inputs[0]]
            continue
        if value.kind == "prev":
            box = Box(f"{names[value.place]}'", "state")
        elif value.kind == "vector":
            box = Box(f"v {form.vectors[value.place]}", "weight")
        elif value.kind == "sum":
            own = form.sums[value.place]
            seen = first if own.operand is None else own.operand
            box = Box(sum_label(own), "sum", [place[seen]] if own.has_r else [])
        else:
            label, inputs = function_label(form, value.kind, value.inputs)
            box = Box(label, "function", [place[a] for a in inputs])
        place[number] = len(boxes)
        boxes.append(box)
    for name, number in zip(names, form.outputs, strict=True):
        boxes.append(Box(name, "new", [place[number]]))
    return boxes


def sum_label(own: Any) -> str:
    """Return what a sum of products is made of."""
    parts = [
        letters
        for letters, has in (("W x", own.has_w), ("R ·", own.has_r), ("b", own.has_b))
        if has
    ]
    return f"{own.name}: {' + '.join(parts)}"


def function_label(
    form: Form, kind: str, inputs: Sequence[int]
) -> tuple[str, list[int]]:
    """Return what a function is called, and the inputs that are no numbers."""
    names: list[str] = []
    lines: list[int] = []
    for a in inputs:
        value = form.values[a]
        if value.kind == "const":
            names.append(f"{value.constant:.3g}")
            continue
        if a not in lines:
            lines.append(a)
        names.append(f"{{{lines.index(a)}}}")
    numbers = [name for name in names if not name.startswith("{")]
    if kind in TWO and len({*names}) == 1:
        return f" {TWO[kind]} ".join(names), lines
    if kind in TWO:
        return " ".join([TWO[kind], *numbers]), lines
    if kind in ORDERED:
        return ORDERED[kind].format(*names), lines
    if kind == "copy":  # of a number
        return names[0], lines
    if kind == "neg":
        return f"−{names[0]}", lines
    return SHORT.get(kind, kind), lines


# Where it stands


def arrange(boxes: list[Box]) -> list[list[int]]:
    """Put boxes into columns and settle their heights; adds places that lines pass.

    Returns the numbers of the boxes in each column, from top to bottom.
    """
    for box in boxes:
        box.column = 1 + max((boxes[a].column for a in box.sources), default=-1)
    last = max(box.column for box in boxes)
    for number in range(len(boxes)):
        if boxes[number].kind == "new":
            boxes[number].column = last
        if boxes[number].kind == "weight":
            users = [b.column for b in boxes if number in b.sources]
            boxes[number].column = max(0, min(users) - 1)
    pass_columns(boxes)
    columns: list[list[int]] = [[] for _ in range(last + 1)]
    for number, box in enumerate(boxes):
        columns[box.column].append(number)
    for column in columns:
        spread(boxes, column)
    readers_of = readers(boxes)
    for sweep in range(SWEEPS):
        ahead = sweep % 2 == 0
        for column in columns if ahead else reversed(columns):
            settle(boxes, column, readers_of, ahead)
    for box in boxes:
        name_sources(boxes, box)
    return columns


def name_sources(boxes: list[Box], box: Box) -> None:
    """Call the sources of a box a, b, c from top to bottom, in its label too."""
    heights = [boxes[a].height for a in box.sources]
    order = sorted(range(len(heights)), key=heights.__getitem__)
    letters = dict(zip(order, LETTERS, strict=False))
    box.label = box.label.format(*(letters[k] for k in range(len(heights))))
    box.sources = [box.sources[k] for k in order]


def pass_columns(boxes: list[Box]) -> None:
    """Give lines that are longer than a column a place in each that they pass."""
    passes: dict[tuple[int, int], int] = {}
    for number in range(len(boxes)):
        for k, source in enumerate(boxes[number].sources):
            at = source
            for column in range(boxes[source].column + 1, boxes[number].column):
                if (source, column) not in passes:
                    passes[source, column] = len(boxes)
                    passing = Box("", "line", [at], column, drawn=False)
                    boxes.append(passing)
                at = passes[source, column]
            boxes[number].sources[k] = at


def readers(boxes: list[Box]) -> list[list[int]]:
    """Return who reads each box."""
    found: list[list[int]] = [[] for _ in boxes]
    for number, box in enumerate(boxes):
        for source in box.sources:
            found[source].append(number)
    return found


def spread(boxes: list[Box], column: Iterable[int]) -> None:
    """Give the boxes of a column heights one row apart, around 0."""
    listed = list(column)
    for k, number in enumerate(listed):
        boxes[number].height = ROW * (k - (len(listed) - 1) / 2)


def settle(
    boxes: list[Box], column: list[int], readers_of: list[list[int]], ahead: bool
) -> None:
    """Order a column by its neighbours' mean heights, and move it to their middle."""
    wanted: dict[int, float] = {}
    for number in column:
        near = boxes[number].sources if ahead else readers_of[number]
        near = near or readers_of[number] or boxes[number].sources
        heights = [boxes[a].height for a in near]
        wanted[number] = sum(heights) / len(heights) if heights else 0.0
    column.sort(key=lambda number: (wanted[number], number))
    spread(boxes, column)
    middle = sum(wanted.values()) / len(wanted)
    for number in column:
        boxes[number].height += middle


def places_of(boxes: list[Box], columns: list[list[int]]) -> tuple[list[float], float]:
    """Return the middle of each box from the left, and the width of all, in inches."""
    places = [0.0] * len(boxes)
    x = 0.0
    for column in columns:
        width = max(boxes[number].width for number in column)
        for number in column:
            places[number] = x + width / 2
            if not boxes[number].drawn:
                boxes[number].width = width
        x += width + GAP
    return places, x - GAP


# Drawing


def draw_boxes(mpl: Any, axes: Axes, boxes: list[Box], places: list[float]) -> None:
    """Draw all boxes and what stands in them."""
    for box, x in zip(boxes, places, strict=True):
        if not box.drawn:
            continue
        corner = (x - box.width / 2, box.height - BOX / 2)
        shape = "round,pad=0,rounding_size=0.08"
        patch = mpl.patches.FancyBboxPatch(
            corner,
            box.width,
            BOX,
            boxstyle=shape,
            facecolor=COLORS[box.kind],
            edgecolor=LINE,
            linewidth=0.8,
            zorder=2,
        )
        axes.add_patch(patch)
        axes.text(
            x,
            box.height,
            box.label,
            ha="center",
            va="center",
            color=INK,
            fontsize=8,
            fontweight="bold" if box.kind in ("state", "new") else "normal",
            zorder=3,
        )


def draw_lines(mpl: Any, axes: Axes, boxes: list[Box], places: list[float]) -> None:
    """Draw a curve from each box to each that reads it, with an arrow at its end."""
    for number, box in enumerate(boxes):
        count = len(box.sources)
        for k, source in enumerate(box.sources):
            begin = (places[source] + boxes[source].width / 2, boxes[source].height)
            drop = BOX * 0.62 * (k - (count - 1) / 2) / max(1, count - 1)
            end = (places[number] - box.width / 2, box.height + drop)
            draw_curve(mpl, axes, begin, end)
            if box.drawn:
                draw_arrow(mpl, axes, end)
        if not box.drawn:
            ends = (places[number] - box.width / 2, places[number] + box.width / 2)
            axes.plot(ends, (box.height, box.height), color=LINE, lw=0.9, zorder=1)


def draw_curve(
    mpl: Any, axes: Axes, begin: tuple[float, float], end: tuple[float, float]
) -> None:
    """Draw a curve that leaves and arrives level."""
    middle = (begin[0] + end[0]) / 2
    path = mpl.path.Path(
        [begin, (middle, begin[1]), (middle, end[1]), end], [1, 4, 4, 4]
    )
    axes.add_patch(
        mpl.patches.PathPatch(
            path, facecolor="none", edgecolor=LINE, linewidth=0.9, zorder=1
        )
    )


def draw_arrow(mpl: Any, axes: Axes, end: tuple[float, float]) -> None:
    """Draw the head of an arrow that points to the right."""
    x, y = end
    corners = [(x, y), (x - 0.07, y - 0.032), (x - 0.07, y + 0.032)]
    axes.add_patch(mpl.patches.Polygon(corners, color=LINE, linewidth=0, zorder=2))
