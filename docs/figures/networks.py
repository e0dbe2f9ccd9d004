"""Pictures of how cells stand together: clocks, grids, directions, stacks; a curve."""

import math

from svg import BLUE, BLUE_FILL, GREY_FILL, INK, MUTED, ORANGE, ORANGE_FILL, Drawing

SHADES = ("#0c3554", "#1b6ca8", "#6fb1dd", "#b9d9ee")


def draw_clockwork(title):
    """Draw which module hears which, and which takes part in which step."""
    periods = (1, 2, 4, 8)
    d = Drawing(690, 262, title)
    d.text(24, 28, "R: who hears whom", bold=True, anchor="start")
    left, top, size = 84, 66, 40
    for i, own in enumerate(periods):
        d.text(left - 8, top + size * i + 25, f"T={own}", size=11, anchor="end")
        d.text(left + size * i + size / 2, top - 8, f"T={own}", size=11)
        for j, other in enumerate(periods):
            fill = SHADES[i] if other >= own else GREY_FILL
            d.rect(left + size * j + 1, top + size * i + 1, size - 2, size - 2, fill)
    d.text(left + 80, top + 180, "from module (columns)", size=11, color=MUTED)
    d.text(24, top - 8, "to (rows)", size=11, color=MUTED, anchor="start")
    left, step = 350, 34
    d.text(left - 36, 28, "who takes part in step t", bold=True, anchor="start")
    for t in range(9):
        d.text(left + step * t + step / 2, top - 8, str(t), size=11)
    for i, own in enumerate(periods):
        d.text(left - 8, top + size * i + 25, f"T={own}", size=11, anchor="end")
        for t in range(9):
            x, y = left + step * t, top + size * i
            if t % own == 0:
                d.rect(x + 4, y + 6, step - 8, size - 12, SHADES[i], radius=6)
            else:
                d.rect(x - 4, y + size / 2 - 2, step + 8, 4, SHADES[i], radius=0)
    d.text(left + 153, top + 180, "line: the module keeps its h", size=11, color=MUTED)
    return d


def draw_memory_block(title):
    """Draw a block of two cells, which share an input gate and an output gate."""
    d = Drawing(680, 372, title)
    d.card(84, 28, 500, 300)
    heights, boxes, gate, merge, out = (92, 148), (170, 330), 250, 36, 500
    s, x = 292, 310
    d.line((24, s), (out - 8, s), kind="h")
    d.text(26, s - 10, "h, i, o_{t−1}", anchor="start")
    d.line((116, 348), (116, x), (out + 8, x))
    d.text(116, 363, "x_{t}")
    for place in (*boxes, 250, out):
        d.dot(place - 8, s, "h")
        d.dot(place + 8, x)
        d.line((place - 8, s), (place - 8, gate + 20), arrow=True)
        d.line((place + 8, x), (place + 8, gate + 20), arrow=True, hop=True)
    for number, height in enumerate(heights, 1):
        d.line((24, height), (644, height), kind="c", arrow=True)
        d.text(26, height - 9, f"c_{{{number}, t−1}}", anchor="start")
        d.text(642, height - 9, f"c_{{{number}, t}}", anchor="end")
    for number, (height, place) in enumerate(zip(heights, boxes, strict=True), 1):
        d.line((250, 196), (place + (10 if place < 250 else -10), 196), arrow=True)
        d.line((place, gate - 20), (place, height + 10), arrow=True, hop=True)
        d.circle(place, 196, "×")
        d.circle(place, height, "+")
        d.box(place, gate, f"g_{{{number}}}", "4σ−2", "candidate")
    d.line((250, gate - 20), (250, 196))
    d.dot(250, 196)
    d.box(250, gate, "i", "σ")
    d.box(out, gate, "o", "σ")
    d.line((out, gate - 20), (out, 206), arrow=True)
    d.dot(out, 218)
    d.line((out + 10, 196), (644, 196), kind="h", arrow=True)
    path = ((out, 218), (552, 218), (552, merge + 20), (out + 10, merge + 20))
    d.line(*path, arrow=True, hop=True)
    for height, end in zip(heights, (merge + 20, 196), strict=True):
        d.dot(430, height, "c")
        d.line((430, height), (430, end), (out - 10, end), arrow=True)
        d.pill(456, end, "2σ−1", 44)
        d.circle(out, end, "×")
    d.line((out, 46), (out, 40), (644, 40), kind="h", arrow=True)
    d.text(642, 31, "h_{1, t}", anchor="end")
    d.text(642, 187, "h_{2, t}", anchor="end")
    return d


def draw_grid(title):
    """Draw one block of two dimensions, and blocks side by side."""
    d = Drawing(760, 356, title)
    d.text(24, 28, "one block", bold=True, anchor="start")
    d.card(84, 56, 268, 228)
    for y, letter in ((128, "m"), (158, "h")):
        kind = "c" if letter == "m" else "h"
        d.line((24, y), (244, y), kind=kind, arrow=True)
        d.line((316, y), (412, y), kind=kind, arrow=True)
        d.text(28, y - 8, letter, anchor="start")
        d.text(408, y - 8, f"{letter}'", anchor="end")
    for x, letter in ((152, "m"), (184, "h")):
        kind = "c" if letter == "m" else "h"
        d.line((x, 324), (x, 244), kind=kind, arrow=True)
        d.line((x, 194), (x, 34), kind=kind, arrow=True, hop=True)
        d.text(x + 8, 316, letter, anchor="start")
        d.text(x + 8, 48, f"{letter}'", anchor="start")
    d.rect(244, 108, 72, 70, BLUE_FILL, BLUE, 9)
    d.text(280, 140, "LSTM", size=13, bold=True)
    d.text(280, 157, "time", size=11, color=MUTED)
    d.rect(132, 194, 72, 50, ORANGE_FILL, ORANGE, 9)
    d.text(168, 216, "LSTM", size=13, bold=True)
    d.text(168, 232, "depth", size=11, color=MUTED)
    d.line((110, 158), (110, 219), (132, 219), arrow=True)
    d.dot(110, 158, "h")
    d.dot(184, 268, "h")
    d.line((184, 268), (280, 268), (280, 178), arrow=True)
    d.text(218, 306, "without priority:", size=11, color=MUTED, anchor="start")
    d.text(218, 320, "both see both old h", size=11, color=MUTED, anchor="start")
    _draw_lattice(d, 468)
    return d


def _draw_lattice(d, left):
    d.text(left - 16, 28, "two layers, three steps", bold=True, anchor="start")
    step, top, low = 84, 96, 200
    for y in (top, low):
        d.line((left - 24, y + 22), (left + 270, y + 22), kind="h", arrow=True)
    for k in range(3):
        x = left + 16 + step * k
        d.line((x + 28, 282), (x + 28, 62), kind="h", arrow=True)
        for y in (top, low):
            d.rect(x, y, 56, 44, "#ffffff", INK, 9)
            d.text(x + 28, y + 27, "block", size=11)
        d.text(x + 28, 300, f"x_{{{k}}}")
    d.text(left + 266, top - 18, "depth ↑", size=11, color=MUTED, anchor="end")
    d.text(left + 266, low + 62, "time →", size=11, color=MUTED, anchor="end")


def draw_bidirectional(title):
    """Draw two directions over a row of three steps and its padding."""
    d = Drawing(640, 336, title)
    d.card(96, 64, 420, 196)
    left, step, ahead, back = 140, 132, 202, 118
    places = [left + step * t for t in range(3)]
    d.line((70, ahead), (540, ahead), kind="h", arrow=True)
    d.line((540, back), (70, back), kind="h", arrow=True)
    d.text(548, ahead + 5, "h_{n}", size=12, anchor="start")
    d.text(548, back + 5, "h_{0}", size=12, anchor="start")
    d.text(10, ahead + 4, "forward", size=11, color=MUTED, anchor="start")
    d.text(10, back + 4, "reverse", size=11, color=MUTED, anchor="start")
    for t, x in enumerate(places):
        middle, other = x + 24, x + 48
        d.line((middle, 292), (middle, 276), (x, 276), (x, ahead + 22), arrow=True)
        points = [(middle, 276), (other, 276), (other, back + 22)]
        d.line(*points, arrow=True, hop=True)
        d.line((x, ahead - 22), (x, 48), arrow=True, hop=True)
        d.line((other, back - 22), (other, 48), arrow=True)
        for place, y, fill, edge in (
            (x, ahead, BLUE_FILL, BLUE),
            (other, back, ORANGE_FILL, ORANGE),
        ):
            d.rect(place - 22, y - 22, 44, 44, fill, edge, 9)
            d.text(place, y + 5, "h", size=14, bold=True)
        d.text(middle, 310, f"x_{{{t}}}")
        d.text(middle, 36, f"y_{{{t}}} [2H]")
    d.text(590, 310, "x_{3}: padding", size=11, color=MUTED)
    d.text(590, 36, "y_{3} = 0", size=11, color=MUTED)
    return d


def draw_stacked(title):
    """Draw two layers of two directions: both outputs are the next layer's input."""
    d = Drawing(560, 372, title)
    left, step = 130, 150
    for layer, top in ((0, 214), (1, 72)):
        d.card(70, top, 430, 92)
        d.text(24, top + 50, f"layer {layer}", size=11, color=MUTED, anchor="start")
        for t in range(3):
            x = left + step * t
            d.line((x, top + 92 + 40), (x, top + 92), arrow=True)
            d.rect(x - 46, top + 24, 40, 44, BLUE_FILL, BLUE, 9)
            d.rect(x + 6, top + 24, 40, 44, ORANGE_FILL, ORANGE, 9)
            d.text(x - 26, top + 51, "→", size=15, bold=True)
            d.text(x + 26, top + 51, "←", size=15, bold=True)
            if layer == 1:
                d.line((x, top), (x, top - 38), arrow=True)
                d.text(x, top - 44, f"y_{{{t}}}")
    for t in range(3):
        x = left + step * t
        d.text(x, 362, f"x_{{{t}}}")
        d.text(x + 8, 196, "[D·H]", size=10, color=MUTED, anchor="start")
    return d


def draw_forgetting(title):
    """Draw the share of c that is left after k steps of a forget gate σ(b)."""
    d = Drawing(640, 280, title)
    left, top, width, height, steps = 64, 40, 470, 180, 150
    d.text(left, 24, "share of c that is left after k steps", bold=True, anchor="start")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + height * (1 - share)
        d.rect(left, y - 0.5, width, 1, GREY_FILL, radius=0)
        d.text(left - 8, y + 4, f"{share:g}", size=11, anchor="end", color=MUTED)
    for k in range(0, steps + 1, 25):
        d.text(
            left + width * k / steps, top + height + 20, str(k), size=11, color=MUTED
        )
    d.text(left + width / 2, top + height + 40, "steps k", size=11, color=MUTED)
    for n, b in enumerate((5, 3, 2, 1)):
        kept = 1 / (1 + math.exp(-b))
        points = [
            (round(left + width * k / steps, 1), round(top + height * (1 - kept**k), 1))
            for k in range(steps + 1)
        ]
        d.curve(points, SHADES[n])
        y = top + 10 + 20 * n
        d.rect(left + width + 14, y - 6, 18, 4, SHADES[n])
        d.text(left + width + 38, y, f"b = {b}", size=11, anchor="start")
    return d
