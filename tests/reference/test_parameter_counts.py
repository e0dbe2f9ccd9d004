"""Cells have as many parameters as the literature says, by formulas and by examples."""

import numpy as np
import pytest
from directions import make_direction, weight_shapes

import exactrnn as xr
from exactrnn.reference.cells import CELLS
from exactrnn.train import Linear


def count(name, input_size, hidden_size, second_biases=False, **options):
    """Return how many parameters a cell has, with one bias per gate or with two."""
    cell = CELLS[name].adapted(options)
    shapes = weight_shapes(cell, options, input_size, hidden_size)
    if not second_biases:
        del shapes["b_hh"]
    return sum(int(np.prod(shape)) for shape in shapes.values())


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 5), (28, 128)])
def test_parameters_are_as_many_as_the_literature_says(n, m):
    P = m // 2 + 1
    assert count("rnn", n, m) == m * (n + m + 1)
    assert count("leaky", n, m) == m * (n + m + 1) + m
    assert count("lstm", n, m) == 4 * m * (n + m + 1)
    assert count("lstm", n, m, second_biases=True) == 4 * m * (n + m + 2)
    assert count("lstm", n, m, peepholes="ifo") == 4 * m * (n + m + 1) + 3 * m
    for gate in "ifo":
        others = "ifo".replace(gate, "")
        without = count("lstm", n, m, peepholes=others, omit=gate)
        assert without == 3 * m * (n + m + 1) + 2 * m
    coupled = count("lstm", n, m, peepholes="io", coupled="input")
    assert coupled == 3 * m * (n + m + 1) + 2 * m
    assert count("lstm", n, m, peepholes="of", coupled="forget") == coupled
    linked = count("lstm", n, m, peepholes="ifo", full_gate_recurrence=True)
    assert linked == count("lstm", n, m, peepholes="ifo") + 9 * m * m
    assert count("lstm", n, m, output_size=P) == 4 * m * (n + P + 1) + P * m
    for size in (1, 2, 3):
        units = m * size + 2 * m
        assert count("lstm_1997", n, m, cells=size) == units * (n + units + 1)
    assert count("gru_before", n, m) == 3 * m * (n + m + 1)
    assert count("gru", n, m, second_biases=True) == 3 * m * (n + m + 2)
    assert count("mut1", n, m) == 3 * n * m + 2 * m * m + 3 * m
    assert count("mut2", n, m) == count("mut3", n, m) == 3 * m * (n + m + 1)
    assert count("jordan", n, m, output_size=P) == m * (n + P + 1) + P * (m + 1)
    upper = count("depth_gated", m, m) - count("lstm", m, m, peepholes="ifo")
    assert upper == m * m + 3 * m


@pytest.mark.parametrize(
    ("task", "sizes", "blocks", "weights"),
    [
        ("adding", (2, 1), (2, 2), 93),
        ("temporal order of two", (8, 4), (2, 2), 156),
        ("temporal order of three", (8, 8), (3, 2), 308),
    ],
    ids=str,
)
def test_the_networks_of_1997_have_the_papers_weights(task, sizes, blocks, weights):
    (inputs, outputs), (number, size) = sizes, blocks
    layer = xr.LSTM1997(inputs, number * size, block_size=size)
    readout = Linear(number * size, outputs)
    assert layer.num_parameters + readout.num_parameters == weights, task
    assert sum(w.size for w in layer.state_dict().values()) == layer.num_parameters


@pytest.mark.parametrize(("number", "size", "weights"), [(4, 1, 264), (3, 2, 276)])
def test_embedded_reber_networks_have_biases_at_gates_alone(number, size, weights):
    layer = xr.LSTM1997(7, number * size, block_size=size, bias=False)
    readout = Linear(number * size, 7, bias=False)
    biases = 2 * number
    assert layer.num_parameters + readout.num_parameters + biases == weights


def clockwork_count(sizes, periods):
    """Return how many recurrent weights a clockwork layer computes with."""
    modules = tuple(zip(sizes, periods, strict=True))
    direction = make_direction(
        "rnn", sizes=(1, sum(sizes)), options={"modules": modules}
    )
    blocks = direction.recurrent_blocks
    return sum(direction.entries(block).size for block in blocks)


def test_a_clockwork_network_has_the_parameters_that_others_print():
    recurrent = clockwork_count((8,) * 8, [2**k for k in range(8)])
    assert recurrent == 8 * 8 * 8 * 9 // 2
    inputs, biases, readout = 64, 64, 64 + 1
    assert recurrent + inputs + biases + readout == 2497


@pytest.mark.parametrize(
    ("hidden", "parameters"), [(11, 91), (19, 240), (27, 460), (40, 971)]
)
def test_surplus_units_in_the_faster_modules_give_the_papers_sizes(hidden, parameters):
    size, surplus = divmod(hidden, 9)
    sizes = [size + (k < surplus) for k in range(9)]
    recurrent = clockwork_count(sizes, [2**k for k in range(9)])
    biases, readout = hidden, hidden + 1
    assert recurrent + biases + readout == parameters
