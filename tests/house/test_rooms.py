"""The rooms of the package: each has a floor, and imports stay inside or go down.

docs/figures/rooms.py says which rooms there are and reads the imports; a picture of
them is in docs/architecture.md. Each check is seen to fail on a planted fault.
"""

import re

import pytest
import rooms
from sources import ROOT

SOURCES = rooms.read_package()
ARROWS = rooms.arrows_of(SOURCES)


def lines(arrows):
    return "\n".join(map(str, arrows))


def test_every_module_lives_in_a_room():
    assert rooms.homeless(SOURCES) == []


def test_every_room_is_lived_in():
    assert {rooms.room_of(module) for module in SOURCES} >= rooms.LEVELS.keys()


def test_imports_go_down():
    assert lines(rooms.upward(ARROWS)) == ""


def test_no_modules_import_each_other():
    assert rooms.circles(ARROWS) == []


PLANTED = {
    "exactrnn": "from exactrnn.layers import LSTM\nfrom exactrnn.io import save",
    "exactrnn.layers": "from exactrnn.layers._module import Module",
    "exactrnn.layers._module": "import numpy\nfrom exactrnn import engine, _checks",
    "exactrnn.io": "from exactrnn.layers import LSTM",
    "exactrnn.plot": "from exactrnn._checks.limits import quote",
    "exactrnn.engine": "from exactrnn import _core",
    "exactrnn._checks": "from exactrnn._checks.limits import quote",
    "exactrnn._checks.limits": "",
    "exactrnn._core": "from libc.string cimport memcpy\nimport os",
}


def faults_with(**planted):
    """Return the arrows and circles that are wrong once these modules say this."""
    renamed = {f"exactrnn.{name}": source for name, source in planted.items()}
    arrows = rooms.arrows_of(PLANTED | renamed)
    return lines(rooms.upward(arrows)), rooms.circles(arrows)


def test_imports_of_every_form_are_seen():
    assert faults_with() == ("", [])
    found = {(arrow.user, arrow.used) for arrow in rooms.arrows_of(PLANTED)}
    assert found == {
        ("exactrnn", "exactrnn.layers"),
        ("exactrnn", "exactrnn.io"),
        ("exactrnn.layers", "exactrnn.layers._module"),
        ("exactrnn.layers._module", "exactrnn.engine"),
        ("exactrnn.layers._module", "exactrnn._checks"),
        ("exactrnn.io", "exactrnn.layers"),
        ("exactrnn.plot", "exactrnn._checks.limits"),
        ("exactrnn.engine", "exactrnn._core"),
        ("exactrnn._checks", "exactrnn._checks.limits"),
    }


UPWARD = {
    "from exactrnn.io import load": "exactrnn.io",
    "from exactrnn import io": "exactrnn.io",
    "import exactrnn.layers._module as m": "exactrnn.layers._module",
    "def f():\n    from exactrnn import layers": "exactrnn.layers",
    "if TYPE_CHECKING:\n    from exactrnn.layers import LSTM": "exactrnn.layers",
    "importlib.import_module('exactrnn.io')": "exactrnn.io",
    "import exactrnn as xr": "exactrnn",
    "from exactrnn import LSTM": "exactrnn",
}


@pytest.mark.parametrize("text", UPWARD)
def test_import_upward_is_found(text):
    said, _ = faults_with(engine=text)
    line = text.count("\n") + 1
    assert said == f"exactrnn.engine:{line} imports {UPWARD[text]}"


def test_import_of_a_room_on_the_same_floor_is_found():
    said, _ = faults_with(plot="from exactrnn.io import load")
    assert said == "exactrnn.plot:1 imports exactrnn.io"


def test_upward_import_of_cython_is_found():
    said, _ = faults_with(_core="import os\n    from exactrnn.engine cimport isa")
    assert said == "exactrnn._core:2 imports exactrnn.engine"


def test_circle_in_a_room_is_found():
    circle = {"layers._module": "from exactrnn.layers._stream import Stream"}
    circle["layers._stream"] = "from exactrnn.layers import LSTM"
    said, found = faults_with(**circle)
    assert said == ""
    names = ["exactrnn.layers", "exactrnn.layers._module", "exactrnn.layers._stream"]
    assert found == [names]


def test_module_without_a_room_is_found():
    sources = PLANTED | {"exactrnn._attic": "", "exactrnn.shed.spade": ""}
    assert rooms.homeless(sources) == ["exactrnn._attic", "exactrnn.shed.spade"]
    assert faults_with(engine="import exactrnn._attic", _attic="")[0]


# Pages


def test_pages_name_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    downwards = [room for floor in reversed(rooms.FLOORS) for room in floor]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == downwards
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.split("## Where things live")[1].split("| `tests/` |")[0]
    named = re.findall(r"`(?:src/)?(\w+)(?:/|\.pyx?)`", table)
    assert {*named} - {"csrc", "vec"} == {*downwards}
