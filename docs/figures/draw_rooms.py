"""Draw the rooms of the package: python docs/figures/draw_rooms.py

Stairs of boxes, the highest floor first. A mark right of a box and above another says
that the first room imports the second: imports go down, so there is none at the left.
"""

from pathlib import Path

import rooms
from svg import BLUE, BLUE_FILL, INK, MUTED, Drawing

FOLDER = Path(__file__).parent
LEFT, TOP, LINE, GAP = 24, 70, 30, 6
JOBS, COLUMN, BOX = 300, 36, (88, 22)
"""Widths: of what rooms are for, of a column of marks; the size of a room's box."""


def places():
    """Return {room: (x, y)}, the right end and the middle of its box."""
    found, top = {}, TOP
    for floor in reversed(rooms.FLOORS):
        for room in floor:
            x = LEFT + JOBS + BOX[0] + COLUMN * len(found)
            found[room] = (x, top + LINE / 2)
            top += LINE
        top += GAP
    return found


def uses_of_rooms():
    """Return {(user, used)} of the rooms that import another one."""
    arrows = rooms.arrows_of(rooms.read_package())
    pairs = {(rooms.room_of(a.user), rooms.room_of(a.used)) for a in arrows}
    return {(user, used) for user, used in pairs if user != used}


def draw_rooms(title):
    """Draw floors, rooms and what each is for, and who imports whom."""
    place = places()
    (last_x, last_y), width = [*place.values()][-1], 2 * LEFT
    d = Drawing(last_x + width, round(last_y + LINE / 2 + LEFT), title)
    d.text(LEFT, 30, "right of a room: whom it imports", size=12, anchor="start")
    d.text(LEFT, 48, "above a room: who imports it", size=12, anchor="start")
    for floor in rooms.FLOORS:
        top = min(place[room][1] for room in floor) - LINE / 2
        d.card(LEFT / 2, top, last_x + LEFT, LINE * len(floor))
    uses = uses_of_rooms()
    for room, (x, y) in place.items():
        used = [place[other] for user, other in uses if user == room]
        users = [place[user] for user, other in uses if other == room]
        if used:
            d.line((x, y), (max(right for right, _ in used) - COLUMN / 2, y))
        if users:
            d.line((x - COLUMN / 2, y), (x - COLUMN / 2, min(top for _, top in users)))
    for user, used in sorted(uses):
        x, y = place[used][0] - COLUMN / 2, place[user][1]
        d.rect(x - 5, y - 5, 10, 10, BLUE, radius=5)
    for floor in rooms.FLOORS:
        for room, job in floor.items():
            _draw_room(d, room, job, place[room])
    return d


def _draw_room(d, room, job, place):
    """Draw the box of a room, and what it is for at the left."""
    (x, y), (width, height) = place, BOX
    d.rect(x - width, y - height / 2, width, height, BLUE_FILL, BLUE, radius=6)
    d.text(x - width / 2, y + 4, room, size=12, color=INK, bold=True)
    d.text(LEFT, y + 4, job, size=11, color=MUTED, anchor="start")


def pictures():
    """Return the picture by its file's stem."""
    return {"rooms": draw_rooms("The rooms of the package, and who imports whom")}


if __name__ == "__main__":
    for stem, drawing in pictures().items():
        (FOLDER / f"{stem}.svg").write_text(drawing.svg(), encoding="utf-8")
