"""A small pen for diagrams of cells: boxes, circles, lines with hops, as SVG text.

Coordinates are pixels, y downwards. The signs mean the same in every picture:

    rounded box, blue      a gate: a sum of products through a logistic function
    rounded box, orange    a candidate: the same through tanh or another activation
    rounded box, grey      a sum of products without an activation
    circle                 an elementwise product or sum of two lines
    pill                   a function of one line: 1 -, tanh, a constant factor
    thick blue line        the cell state c
    thick dark line        the state h
    thin line              x, and values inside of a step
    dashed line            a weight of its own for each unit (a peephole)
    dot                    a line branches here

Where two lines cross without a dot, the one drawn later hops over the other.
"""

from html import escape

INK, MUTED, PAPER, CARD = "#1f2933", "#7b8794", "#ffffff", "#f4f6f8"
BLUE, BLUE_FILL = "#1b6ca8", "#dcebf7"
ORANGE, ORANGE_FILL = "#c2410c", "#fde8da"
GREY_FILL = "#e4e7eb"

BOXES = {
    "gate": (BLUE_FILL, BLUE),
    "candidate": (ORANGE_FILL, ORANGE),
    "sum": (GREY_FILL, MUTED),
}
LINES = {
    "c": (BLUE, 3.0, ""),
    "h": (INK, 2.4, ""),
    "x": (INK, 1.3, ""),
    "peephole": (ORANGE, 1.3, "4 3"),
    "gates": (MUTED, 1.3, "2 2"),
}
FONT = "DejaVu Sans, Verdana, Segoe UI, sans-serif"


class Drawing:
    """One picture, or one part of a picture that is placed in another."""

    def __init__(self, width, height, title):
        self.width, self.height, self.title = width, height, title
        self.lower, self.upper = [], []  # lines, and what stands on them

    # Lines

    def line(self, *points, kind="x", arrow=False, hop=False):
        """Draw through these points, with round corners; `hop`: over older lines."""
        color, width, dashes = LINES[kind]
        path = _rounded(points)
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        if hop:
            inner = _rounded(_shortened(points, 7))
            self.lower.append(
                f'<path d="{inner}" fill="none" stroke="{CARD}" '
                f'stroke-width="{width + 5:g}"/>'
            )
        self.lower.append(
            f'<path d="{path}" fill="none" stroke="{color}" '
            f'stroke-width="{width:g}"{dash}/>'
        )
        if arrow:
            self._arrow(points[-2], points[-1], color, width)

    def _arrow(self, before, end, color, width):
        dx, dy = _direction(before, end)
        size = 5 + width
        left = (
            end[0] - dx * size - dy * size * 0.5,
            end[1] - dy * size + dx * size * 0.5,
        )
        right = (
            end[0] - dx * size + dy * size * 0.5,
            end[1] - dy * size - dx * size * 0.5,
        )
        points = " ".join(f"{x:g},{y:g}" for x, y in (end, left, right))
        self.upper.append(f'<polygon points="{points}" fill="{color}"/>')

    def curve(self, points, color):
        """Draw a smooth line through many points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.upper.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" '
            'stroke-width="2.4" stroke-linejoin="round"/>'
        )

    def dot(self, x, y, kind="x"):
        """Mark that a line branches."""
        color, width, _ = LINES[kind]
        self.upper.append(
            f'<circle cx="{x}" cy="{y}" r="{2 + width / 2:g}" fill="{color}"/>'
        )

    # What stands on lines

    def card(self, x, y, width, height, label="", fill=CARD):
        """Draw the ground of a cell, below everything else."""
        self.lower.insert(
            0,
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="14" '
            f'fill="{fill}" stroke="#d5dbe1"/>',
        )
        if label:
            self.text(x + 12, y + 18, label, size=11, color=MUTED, anchor="start")

    def box(self, x, y, letter, activation="", kind="gate", size=(46, 40)):
        """Draw a gate around (x, y): its letter, and its activation below that."""
        fill, stroke = BOXES[kind]
        width, height = size
        self.upper.append(
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width}" '
            f'height="{height}" rx="9" fill="{fill}" stroke="{stroke}" '
            'stroke-width="1.5"/>'
        )
        if activation:
            self.text(x, y - 2, letter, size=15, bold=True)
            self.text(x, y + 13, activation, size=10, color=MUTED)
        else:
            self.text(x, y + 5, letter, size=15, bold=True)

    def circle(self, x, y, sign):
        """Draw a product or a sum at (x, y)."""
        self.upper.append(
            f'<circle cx="{x}" cy="{y}" r="10" fill="{PAPER}" stroke="{INK}" '
            'stroke-width="1.4"/>'
        )
        arms = [(-4, -4, 4, 4), (-4, 4, 4, -4)]
        if sign == "+":
            arms = [(-5, 0, 5, 0), (0, -5, 0, 5)]
        for x0, y0, x1, y1 in arms:
            self.upper.append(
                f'<line x1="{x + x0}" y1="{y + y0}" x2="{x + x1}" y2="{y + y1}" '
                f'stroke="{INK}" stroke-width="1.6"/>'
            )

    def pill(self, x, y, text, width=34):
        """Draw a function of one line at (x, y)."""
        self.upper.append(
            f'<rect x="{x - width / 2:g}" y="{y - 9:g}" width="{width}" height="18" '
            f'rx="9" fill="{PAPER}" stroke="{MUTED}" stroke-width="1.2"/>'
        )
        self.text(x, y + 4, text, size=11)

    def rect(self, x, y, width, height, fill, stroke="none", radius=2):
        """Draw a plain rectangle."""
        self.upper.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'rx="{radius}" fill="{fill}" stroke="{stroke}"/>'
        )

    def text(self, x, y, text, size=13, color=INK, anchor="middle", bold=False):
        """Write text; "_{...}" sets what it holds lower and smaller, "^{...}" higher.

        Such text is placed by its estimated width: viewers disagree on how to centre
        text of several pieces.
        """
        weight = ' font-weight="bold"' if bold else ""
        if "{" in text and anchor != "start":
            share = {"middle": 0.5, "end": 1.0}[anchor]
            x, anchor = x - share * _width_of(text, size), "start"
        self.upper.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}" '
            f'text-anchor="{anchor}"{weight}>{_spans(text, size)}</text>'
        )

    def place(self, other, x, y, scale):
        """Draw another picture in this one, its corner at (x, y)."""
        parts = "\n".join(other.lower + other.upper)
        self.upper.append(
            f'<g transform="translate({x:g} {y:g}) scale({scale:g})">\n{parts}\n</g>'
        )

    def svg(self):
        """Return the picture as the text of an SVG file."""
        body = "\n".join(self.lower + self.upper)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" '
            f'height="{self.height}" viewBox="0 0 {self.width} {self.height}" '
            f'role="img" font-family="{FONT}">\n'
            f"<title>{escape(self.title)}</title>\n"
            f'<rect width="100%" height="100%" fill="{PAPER}"/>\n{body}\n</svg>\n'
        )


def _spans(text, size):
    """Return text as SVG, "h_{t}" with a lowered t; "^{l}" is raised."""
    parts, at, back = [], 0, 0.0
    for (start, end), shift in _marks(text):
        parts.append(_shifted(text[at:start], back, ""))
        small = f' font-size="{size * 0.72:.3g}"'
        parts.append(_shifted(text[start + 2 : end], back + shift * size, small))
        at, back = end + 1, -shift * size
    return "".join([*parts, _shifted(text[at:], back, "")])


def _width_of(text, size):
    """Return about how wide a text is: lowered letters are smaller."""
    inner = sum(end - start - 2 for (start, end), _ in _marks(text))
    outer = len(text) - inner - 3 * sum(1 for _ in _marks(text))
    return size * 0.58 * (outer + 0.72 * inner)


def _shifted(text, by, attributes):
    """Return a piece of text `by` pixels lower than the piece before it."""
    if not text:
        return ""
    if not by and not attributes:
        return escape(text)
    return f'<tspan dy="{by:.3g}"{attributes}>{escape(text)}</tspan>'


def _marks(text):
    """Yield ((start, end), shift) of each lowered or raised part."""
    at = 0
    while at < len(text):
        if text[at : at + 2] in ("_{", "^{"):
            end = text.index("}", at)
            yield (at, end), 0.28 if text[at] == "_" else -0.38
            at = end
        at += 1


def _direction(start, end):
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    return dx / length, dy / length


def _shortened(points, by):
    """Return the points with both ends drawn in: no gap where lines should meet."""
    points = [tuple(point) for point in points]
    for end, other in ((0, 1), (-1, -2)):
        dx, dy = _direction(points[end], points[other])
        reach = abs(points[other][0] - points[end][0]) + abs(
            points[other][1] - points[end][1]
        )
        cut = min(by, reach / 2)
        points[end] = (points[end][0] + dx * cut, points[end][1] + dy * cut)
    return points


def _rounded(points, radius=7):
    """Return the path through the points, corners rounded."""
    path = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        lengths = [
            abs(corner[0] - p[0]) + abs(corner[1] - p[1]) for p in (before, after)
        ]
        reach = min(radius, *(length / 2 for length in lengths))
        into, out = _direction(before, corner), _direction(corner, after)
        start = (corner[0] - into[0] * reach, corner[1] - into[1] * reach)
        end = (corner[0] + out[0] * reach, corner[1] + out[1] * reach)
        path.append(f"L{start[0]:g} {start[1]:g}")
        path.append(f"Q{corner[0]:g} {corner[1]:g} {end[0]:g} {end[1]:g}")
    path.append(f"L{points[-1][0]:g} {points[-1][1]:g}")
    return " ".join(path)
