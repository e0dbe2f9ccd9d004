"""Temporal order: which of two symbols came first, long ago.

S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997,
experiments 6a and 6b. A sequence begins with E, ends with B and has random distractors
a b c d between, but for two (6b: three) places, each X or Y; after the last step the
class is asked for: one of XX XY YX YY (6b: one of eight). Lengths and places are the
paper's, and so is one of the networks: two memory blocks of two cells, whose input
gates are nearly shut at first; with their readout 156 weights. The LSTM of today begins
with forget gates that keep for long (chrono initialisation, C. Tallec, Y. Ollivier,
arXiv 1804.11188). Both learn from the whole gradient, by Adam.

    python benchmarks/tasks/temporal_order.py
"""

import harness
import numpy as np
from drawing import learning_curves
from learning import (
    Batch,
    Model,
    Plan,
    Trainer,
    error_rate,
    make_sources,
    one_hot,
    train,
)

import exactrnn as xr

SYMBOLS = "abcdXYEB"
LENGTHS = (100, 110)  # shortest and longest
PLACES = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}
COUNT = 2
H = 8
INIT = ("chrono", 100)  # forget gates that keep for up to 100 steps
BLOCKS, BLOCK_SIZE = 2, 2
SPREAD = 0.1  # of the paper's first weights
INPUT_GATES = (-2.0, -4.0)  # first biases, by block
PLAN = Plan(steps=1500, batch=32, lr=1e-2)
TEST_SIZE = 2560


def draw_batch(generator, rows, count=COUNT):
    """Return symbols [T, B, 8] with lengths [B], and classes [B].

    The class is the number whose binary digits, the first symbol's first, are 1 for Y.
    """
    shortest, longest = LENGTHS
    lengths = generator.integers(shortest, longest, rows, endpoint=True)
    every = np.arange(rows)
    symbols = generator.integers(4, size=(longest, rows))
    symbols[0] = SYMBOLS.index("E")
    symbols[lengths - 1, every] = SYMBOLS.index("B")
    target = np.zeros(rows, np.int64)
    for first, last in PLACES[count]:
        t = generator.integers(first, last, rows, endpoint=True)
        is_y = generator.integers(2, size=rows)
        symbols[t, every] = SYMBOLS.index("X") + is_y
        target = 2 * target + is_y
    return Batch(one_hot(symbols, len(SYMBOLS)), target, lengths)


def first_network(seed):
    """Return the paper's hidden layer, with first weights like the paper's."""
    cells = BLOCKS * BLOCK_SIZE
    layer = xr.LSTM1997(len(SYMBOLS), cells, block_size=BLOCK_SIZE, seed=seed)
    drawn = layer.state_dict()  # uniform in 1 / sqrt(cells)
    weights = {name: w * np.float32(SPREAD * cells**0.5) for name, w in drawn.items()}
    weights["bias_ih_l0"][:BLOCKS] = INPUT_GATES
    layer.load_state_dict(weights)
    return layer


def contestant(make):
    def run(job):
        plan, sources = PLAN.shortened(job.quick), make_sources(job.seed)
        layer = make(sources.layer)
        model = Model(layer, 2**COUNT, sources.readout)
        test = draw_batch(sources.test, TEST_SIZE)
        trainer = Trainer(model, xr.train.softmax_cross_entropy, plan)
        curve = train(
            trainer,
            lambda: draw_batch(sources.training, plan.batch),
            plan,
            lambda: error_rate(model, test),
            job.tick,
        )
        return harness.Outcome(curve[-1][1], curve, model.num_parameters)

    return run


TASK = harness.Task(
    name="temporal_order",
    title="Temporal order, two symbols in 100 to 110 steps",
    source="S. Hochreiter, J. Schmidhuber 1997, experiment 6a",
    claim="LSTM (156 weights) learns it in 31,390 sequences, with 1 of 2560 wrong",
    score="part of 2560 test sequences put into a wrong class",
    chance="3/4",
    contestants={
        "LSTM1997": contestant(first_network),
        "LSTM": contestant(lambda seed: xr.LSTM(len(SYMBOLS), H, init=INIT, seed=seed)),
        "RNN": contestant(lambda seed: xr.RNN(len(SYMBOLS), H, seed=seed)),
    },
    expected=[
        harness.Limit("LSTM1997", at_most=0.01),
        harness.Limit("LSTM", at_most=0.01),
        harness.Limit("RNN", at_least=0.4),
    ],
    draw=learning_curves(
        score="test error", chance=1 - 2**-COUNT, words="chance, 3/4", log=False
    ),
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
