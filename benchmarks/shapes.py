"""The rows of the benchmark, as data, in groups that can be run by themselves.

Letters: T time steps, B rows of the batch, I inputs, H hidden units. What a row is
stands in `exactrnn.bench.rows`; a cell joins a group by its name in a list, and the
group `cells` by its line in `exactrnn.bench.cells`.
"""

from exactrnn.bench.cells import CELLS
from exactrnn.bench.rows import TRAINING, Row
from exactrnn.layers import NETWORKS

FORWARD = (
    *((1, 1, H) for H in (64, 128, 256, 512)),
    *((100, 1, H) for H in (32, 64, 128, 256, 512)),
    (50, 1, 1024),
    (100, 8, 128),
    (100, 16, 256),
    (100, 32, 512),
    (100, 64, 256),
    (50, 64, 512),
    (35, 128, 1024),
)

GRADIENTS = (
    (100, 1, 32),
    (100, 1, 128),
    (100, 8, 64),
    (100, 16, 128),
    (100, 32, 256),
    (50, 64, 512),
    (35, 20, 650),
)

# T, B, I, H: sizes that fit no tile, batches between the round ones, inputs
# narrower and wider than the state.
ODD = (
    (100, 1, 37, 37),
    (100, 1, 100, 100),
    (100, 1, 200, 200),
    (50, 1, 650, 650),
    (100, 3, 37, 37),
    (100, 5, 100, 100),
    (100, 7, 200, 200),
    (35, 20, 650, 650),
    (100, 3, 1, 128),
    (100, 1, 1, 32),
    (100, 1, 7, 64),
    (100, 5, 40, 128),
    (50, 1, 1024, 256),
    (50, 20, 1024, 100),
)


# T, B, I, H: sizes that nothing was tuned for (issue 11).
HELD_OUT = (
    (12, 256, 64, 128),
    (40, 48, 100, 300),
    (20, 20, 300, 650),
    (30, 5, 512, 37),
)


def square(task, cells, shapes, **options):
    """Return rows whose input is as wide as their state."""
    return tuple(
        Row(task, cell, T, B, H, H, **options) for cell in cells for T, B, H in shapes
    )


def dense_and_ragged(task, cells, shapes):
    """Return every row twice, with full lengths and with mean length 0.62 T."""
    pairs = zip(
        square(task, cells, shapes),
        square(task, cells, shapes, ragged=True),
        strict=True,
    )
    return tuple(row for pair in pairs for row in pair)


def every_cell(shapes):
    """Return the rows of all cells, forward and gradients, beside the plain LSTM.

    Cells whose layers differ have two layers, and so has the LSTM beside them.
    """
    rows = ()
    for cell in CELLS:
        layers = NETWORKS[cell].record.example_layers if cell in NETWORKS else 1
        for task in ("forward", "gradients"):
            rows += square(task, (cell,), shapes, layers=layers, beside="lstm")
    return rows


BOTH = ("lstm", "gru")
MIDDLE = ((100, 1, 128), (100, 8, 128), (100, 32, 256))

GROUPS = {
    # The rows of README.md.
    "readme": square(
        "forward", BOTH, ((100, 1, 32), (100, 1, 128), (100, 8, 128), (100, 32, 512))
    )
    + square("step", BOTH, ((1, 1, 64),)),
    # G1, G2, G7: inference.
    "g1": square("forward", BOTH, FORWARD),
    # G3: single steps from Python, the state carried.
    "g3": square("step", BOTH, ((1, 1, 64), (1, 1, 256), (1, 8, 128))),
    # G4: forward and backward.
    "g4": square("gradients", BOTH, GRADIENTS),
    # A whole training step of the model that `exactrnn lm` makes by default.
    "training": (Row(TRAINING, "lstm", 64, 32, 64, 256),),
    # G6: batches of unequal lengths, each beside the same batch with full lengths.
    "g6": dense_and_ragged("forward", BOTH, ((100, 16, 128), (100, 32, 256)))
    + dense_and_ragged("gradients", ("lstm",), ((100, 16, 128),)),
    # G8: double precision. (Its other half, AVX2, is `--group avx2`.)
    "g8": square("forward", BOTH, MIDDLE, dtype="float64")
    + square("gradients", BOTH, ((100, 16, 128),), dtype="float64"),
    "odd": tuple(Row("forward", cell, *shape) for cell in BOTH for shape in ODD)
    + tuple(Row("gradients", cell, 100, 7, 40, 100) for cell in BOTH),
    # G5: every cell and main option; the clockwork beside the RNN that is all clocks.
    "cells": every_cell(((100, 1, 128), (100, 16, 256)))
    + square("forward", ("clockwork",), ((256, 1, 512),), beside="rnn"),
    "held_out": tuple(
        Row("forward", cell, *shape) for cell in BOTH for shape in HELD_OUT
    ),
    # Directions, stacks, and the cells that torch or ONNX have too.
    "more": square("forward", ("rnn", "gru_before"), MIDDLE)
    + square("gradients", ("rnn", "gru_before"), ((100, 16, 128),))
    + square("forward", BOTH, ((100, 1, 128), (100, 16, 128)), layers=2)
    + square("forward", BOTH, ((100, 1, 128), (100, 16, 128)), directions=2)
    + square("gradients", BOTH, ((100, 16, 128),), layers=2, directions=2),
}

# Groups that say how to measure, so that they are run by themselves (`run.py` knows
# what each asks for): beside a busy process; held to AVX2 where there is AVX-512.
CONDITIONS = {
    "busy": square("forward", BOTH, ((100, 1, 128), (100, 8, 128), (100, 16, 256)))
    + square("step", BOTH, ((1, 1, 64), (1, 1, 256))),
    "avx2": GROUPS["g1"] + GROUPS["g3"] + GROUPS["g4"],
}

# All but the group `cells`, which is measured by itself: `run.py --all-cells`.
ROWS = tuple(
    dict.fromkeys(row for name in GROUPS if name != "cells" for row in GROUPS[name])
)
