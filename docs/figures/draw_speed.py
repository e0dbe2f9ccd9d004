"""Draw how fast it is, from the README's table: python docs/figures/draw_speed.py

A bar for each library, the time of a call divided by exactrnn's: short is fast. Rows of
one cell are below each other.
"""

import re
from pathlib import Path

from svg import BLUE, GREY_FILL, INK, MUTED, Drawing

FOLDER = Path(__file__).parent
README = FOLDER.parents[1] / "README.md"
TABLE = re.compile(r"<!-- speed:.*?-->\n\n(.*?)\\\n.*?(\| \|.*?)\n\n", re.DOTALL)

LEFT, TOP, COLUMN, NAMES = 16, 60, 360, 80
UNIT, MOST = 20, 10
"""Pixels of exactrnn's own time, and of how many such times a bar is at most."""
HEAD, BAR, GAP = 14, 12, 12


def read_rows():
    """Return what was measured on, and {cell: [(row, {library: µs})]}."""
    about, table = TABLE.search(README.read_text(encoding="utf-8")).groups()
    head, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
    ]
    libraries = {k: name[:-3] for k, name in enumerate(head) if name.endswith(" µs")}
    rows = {}
    for cells in lines:
        times = {name: float(cells[k]) for k, name in libraries.items()}
        row = (f"{cells[0]}, T, B, H = {cells[1]}", times)
        rows.setdefault(cells[0].split()[0], []).append(row)
    return about, rows


def draw_speed(title):
    """Draw a column for each cell, a group of bars for each of its rows."""
    about, rows = read_rows()
    heights = [HEAD + len(times) * BAR + GAP for _, times in rows["lstm"]]
    d = Drawing(LEFT + COLUMN * len(rows), TOP + sum(heights), title)
    d.text(LEFT, 22, "time of a call, in exactrnn's: short is fast", anchor="start")
    d.text(LEFT, 40, about, size=10, color=MUTED, anchor="start")
    for column, own in enumerate(rows.values()):
        for k, row in enumerate(own):
            _draw_row(d, LEFT + COLUMN * column, TOP + sum(heights[:k]), row)
    return d


def _draw_row(d, left, top, row):
    """Draw a row's name, and its bars below that, each with its number."""
    name, times = row
    d.text(left, top + 8, name, size=11, color=INK, anchor="start")
    for k, (library, time) in enumerate(times.items()):
        y, ratio = top + HEAD + k * BAR, time / times["exactrnn"]
        x, width = left + NAMES, UNIT * min(ratio, MOST)
        d.rect(x, y, width, BAR - 2, BLUE if library == "exactrnn" else GREY_FILL)
        d.text(x - 6, y + 8, library, size=10, color=MUTED, anchor="end")
        said = f"{ratio:.1f}{' →' * (ratio > MOST)}"
        if library == "exactrnn":
            said = f"{time:,.0f} µs" if time > 100 else f"{time:.3g} µs"
        d.text(x + width + 5, y + 8, said, size=10, color=MUTED, anchor="start")


def pictures():
    """Return the picture by its file's stem."""
    return {"speed": draw_speed("Time of a call beside other libraries, row by row")}


if __name__ == "__main__":
    for stem, drawing in pictures().items():
        (FOLDER / f"{stem}.svg").write_text(drawing.svg(), encoding="utf-8")
