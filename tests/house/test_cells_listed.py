"""A cell stands in five places; the missing one is named (CONTRIBUTING.md).

Kernel and twin have the same functions in the same order: contract N5.
"""

import re

import pytest
from sources import PACKAGE
from variants import CELLS, CSRC, TESTS
from variants import NETWORKS as RUN_CELLS

from exactrnn.layers import CLASSES, NETWORKS

PUBLIC = {NETWORKS[name].record.cell or name for name in RUN_CELLS}
PUBLIC |= {kind.record.cell for kind in CLASSES.values() if kind.record.cell}
"""The cells that public networks run."""
CELL_TESTS = TESTS / "reference" / "cells"


def missing_places(cell):
    """Return what has to be added for a cell that is listed anywhere."""
    test_file = CELL_TESTS / f"test_{cell}.py"
    places = {
        "a line in csrc/kernels/cells.def": cell in CELLS,
        "its kernel csrc/kernels/cells/*.c": (
            CSRC / "kernels" / "cells" / f"{cell}.c"
        ).is_file(),
        "its twin src/exactrnn/reference/cells/*.py": (
            PACKAGE / "reference" / "cells" / f"{cell}.py"
        ).is_file(),
        "a public class with it in its record, named in exactrnn.layers": (
            cell in PUBLIC
        ),
        "its own tests in tests/reference/cells/test_*.py": test_file.is_file(),
    }
    return [place for place, present in places.items() if not present]


def cells_named_anywhere():
    kernels = {path.stem for path in (CSRC / "kernels" / "cells").glob("*.c")}
    twins = {
        path.stem
        for path in (PACKAGE / "reference" / "cells").glob("*.py")
        if not path.stem.startswith("_")
    }
    tests = {path.stem.removeprefix("test_") for path in CELL_TESTS.glob("test_*.py")}
    return sorted(kernels | twins | tests | set(CELLS) | PUBLIC)


@pytest.mark.parametrize("cell", cells_named_anywhere())
def test_cell_stands_in_every_place(cell):
    assert missing_places(cell) == []


def test_missing_places_are_named():
    missing = missing_places("foo")
    assert len(missing) == 5
    assert "a line in csrc/kernels/cells.def" in missing


@pytest.mark.parametrize("cell", CELLS)
def test_kernel_and_twin_name_each_other(cell):
    kernel = (CSRC / "kernels" / "cells" / f"{cell}.c").read_text()
    twin = (PACKAGE / "reference" / "cells" / f"{cell}.py").read_text()
    assert f"src/exactrnn/reference/cells/{cell}.py" in kernel
    assert f"csrc/kernels/cells/{cell}.c" in twin


@pytest.mark.parametrize("cell", CELLS)
def test_kernel_and_twin_have_the_same_functions_in_the_same_order(cell):
    kernel = (CSRC / "kernels" / "cells" / f"{cell}.c").read_text()
    twin = (PACKAGE / "reference" / "cells" / f"{cell}.py").read_text()
    in_c = re.findall(rf"^static void {cell}_(point_\w+)\(", kernel, re.MULTILINE)
    in_python = re.findall(r"^def (point_\w+)\(", twin, re.MULTILINE)
    assert in_c == in_python
