"""The cells: one file each with equations, description and point functions.

The list is `cells.def`, which C reads: the twin of a cell `foo` is `FOO` in `foo.py`.
"""

from importlib import import_module

from exactrnn import _core
from exactrnn.reference.cells._cell import Cell, Step, Sum, Vector

__all__ = ["CELLS", "Cell", "Step", "Sum", "Vector"]


def _twin_of(cell: str) -> Cell:
    found: Cell = getattr(import_module(f"{__name__}.{cell}"), cell.upper())
    return found


CELLS = {cell: _twin_of(cell) for cell in _core.cells()}
