"""Pictures of what a layer does: its gates and states over time, how far errors reach.

The functions return a matplotlib `Figure` and leave matplotlib's global state alone:
save it with `figure.savefig("gates.png")`, show it by returning it from a notebook's
cell, or pass a figure of your own, from `matplotlib.pyplot.figure()`, to be drawn into.

matplotlib is imported when a picture is drawn; `pip install 'exactrnn[plot]'` gets it.
"""

from exactrnn._system import shown
from exactrnn.plot._attention import attention
from exactrnn.plot._cell import cell
from exactrnn.plot._history import history
from exactrnn.plot.pictures import gates, gradient_flow, gradient_norms, grid

__all__ = [
    "attention",
    "cell",
    "gates",
    "gradient_flow",
    "gradient_norms",
    "grid",
    "history",
]
__dir__ = shown.lists(globals())
