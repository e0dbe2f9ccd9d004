"""How fast: exactrnn beside what else is installed, and beside the machine's limit.

`exactrnn bench` measures a user's own shape with it, `benchmarks/run.py` the fixed
suite. Other libraries are in `rivals`; none of them is needed.
"""

from exactrnn._system import shown
from exactrnn.bench.measure import measure_row
from exactrnn.bench.rivals import load_rivals
from exactrnn.bench.rows import Row

__all__ = ["Row", "load_rivals", "measure_row"]
__dir__ = shown.lists(globals())
