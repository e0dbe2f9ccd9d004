"""What only the LSTM promises."""

from math import log

import numpy as np
import pytest

from exactrnn import _core
from exactrnn.reference import Direction, Weights, direction_backward, direction_forward
from exactrnn.reference.arith import fma, sigmoid
from exactrnn.reference.cells import CELLS
from exactrnn.reference.cells._cell import Step

LSTM = CELLS["lstm"]
ACTIVATIONS = ("sigmoid", "tanh", "tanh")

# Gates of one step as fractions: i = 3/4, f = 4/5, g = 1/2, o = 1/5, and tanh(c) = 1/2.
PRE_ACTIVATIONS = np.array([log(3), log(4), log(3) / 2, -log(4)])
C = log(3) / 2
C_PREV = (C - 3 / 8) / (4 / 5)


def make_direction(rng, hidden_size, forget_bias, recurrent=1.0):
    w_ih = rng.normal(size=(4 * hidden_size, 2))
    w_hh = recurrent * rng.normal(size=(4 * hidden_size, hidden_size))
    b_ih = rng.normal(size=4 * hidden_size)
    b_ih[hidden_size : 2 * hidden_size] = forget_bias
    return Direction(LSTM, Weights(w_ih, w_hh, b_ih, 0 * b_ih), ACTIVATIONS)


def test_one_step_by_hand_in_the_gate_order_i_f_g_o():
    # x = 2, h_prev = 3: a = (a/2)*2 + (-a/3)*3 + (3/4 + 1/4)*a
    a = PRE_ACTIVATIONS
    weights = Weights(a[:, None] / 2, -a[:, None] / 3, 3 * a / 4, a / 4)
    direction = Direction(LSTM, weights, ACTIVATIONS)
    x, state = np.array([[[2.0]]]), (np.array([[3.0]]), np.array([[C_PREV]]))
    y, (h, c), cache = direction_forward(direction, x, state)
    gates = [cache.slots[gate][0, 0, 0] for gate in LSTM.gates]
    assert gates == pytest.approx([3 / 4, 4 / 5, 1 / 2, 1 / 5], rel=1e-15)
    assert c[0, 0] == pytest.approx(C, rel=1e-15)
    assert y[0, 0, 0] == h[0, 0] == pytest.approx(1 / 10, rel=1e-15)

    # dh = 2, dc = 3:  dc becomes 3 + 2 * 1/5 * (1 - 1/4) = 33/10
    dstate = np.array([[2.0]]), np.array([[3.0]])
    dx, (dh_prev, dc_prev), dweights, _ = direction_backward(cache, None, dstate)
    da = np.array(
        [
            33 / 10 * 1 / 2 * 3 / 16,
            33 / 10 * C_PREV * 4 / 25,
            33 / 10 * 3 / 4 * 3 / 4,
            2 * 1 / 2 * 4 / 25,
        ]
    )
    assert dc_prev[0, 0] == pytest.approx(33 / 10 * 4 / 5, rel=1e-14)
    assert dweights[2] == pytest.approx(da, rel=1e-14)
    assert dweights[3] == pytest.approx(da, rel=1e-14)
    assert dweights[0][:, 0] == pytest.approx(2 * da, rel=1e-14)
    assert dweights[1][:, 0] == pytest.approx(3 * da, rel=1e-14)
    assert dx[0, 0, 0] == pytest.approx(sum(da * a / 2), rel=1e-14)
    assert dh_prev[0, 0] == pytest.approx(-sum(da * a / 3), rel=1e-14)


def test_without_R_the_cell_gradient_is_the_product_of_the_forget_gates():
    # The constant error carousel of the 1997 paper, with forget gates.
    rng = np.random.default_rng(0)
    direction = make_direction(rng, 3, forget_bias=3.0, recurrent=0.0)
    x = rng.normal(size=(100, 1, 2))
    _, _, cache = direction_forward(direction, x)
    dc = rng.normal(size=(1, 3))
    _, (_, dc_0), _, _ = direction_backward(cache, None, (np.zeros((1, 3)), dc))
    product = dc.copy()
    for f in reversed(cache.slots["f"]):
        product *= f
    np.testing.assert_array_equal(dc_0, product)
    assert (dc_0 != 0).all()


def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_cell_to_the_bit():
    rng = np.random.default_rng(1)
    direction = make_direction(rng, 3, forget_bias=900.0)
    direction.weights[2][:3] = -900.0
    c_0 = rng.normal(size=(2, 3))
    state = (rng.normal(size=(2, 3)), c_0.copy())
    _, (_, c), _ = direction_forward(direction, rng.normal(size=(100, 2, 2)), state)
    np.testing.assert_array_equal(c.view(np.int64), c_0.view(np.int64))


def test_the_output_is_bounded_by_1_and_the_cell_by_the_steps():
    rng = np.random.default_rng(2)
    direction = make_direction(rng, 4, forget_bias=2.0)
    y, _, cache = direction_forward(direction, 10 * rng.normal(size=(30, 2, 2)))
    steps = np.arange(1, 31)[:, None, None]
    assert (np.abs(y) <= 1).all()
    assert (np.abs(cache.state["c"]) <= steps).all()
    assert np.abs(cache.state["c"]).max() > 2


def test_a_vanished_cell_is_stored_as_plus_zero():
    a = np.array([[0.0, 0.0]])
    c_prev = np.array([[-(2.0**-899), -(2.0**-900)]])
    prev = {"h": a, "c": c_prev}
    step = Step(ACTIVATIONS, prev=prev, a=dict.fromkeys("ifgo", a))
    LSTM.forward[0](step)
    np.testing.assert_array_equal(step.state["c"], [[-(2.0**-900), 0.0]])
    assert not np.signbit(step.state["c"][0, 1])


def adapt(**options):
    return LSTM.adapted(options)


def test_what_is_not_computed_has_no_rows():
    assert adapt(omit="i").gates == ("f", "g", "o")
    assert adapt(omit="ifo").gates == ("g",)
    assert adapt(coupled="input").gates == ("i", "g", "o")
    assert adapt(coupled="forget", omit="o").gates == ("f", "g")
    for cell in (adapt(), adapt(omit="f"), adapt(coupled="input", omit="o")):
        assert [(s.w, s.r) for s in cell.sums] == [
            (k, k) for k in range(len(cell.sums))
        ]


def test_vectors_and_links_are_those_of_computed_gates_in_the_order_i_f_o():
    assert [v.name for v in adapt(peepholes="oi").vectors] == ["i", "o"]
    assert [v.factor for v in adapt(peepholes="ifo").vectors] == [
        "prev:c",
        "prev:c",
        "next:c",
    ]
    linked = adapt(full_gate_recurrence=True, coupled="input")
    assert linked.states == ("h", "c", "i", "o")
    assert linked.links == (("i", "i"), ("o", "o"))


OPTIONS = [
    {},
    {"peepholes": "ifo"},
    {"peepholes": "o", "omit": "f"},
    {"coupled": "input", "full_gate_recurrence": True},
    {"coupled": "forget", "peepholes": "f", "output_size": 3},
    {"omit": "ifo", "output_size": 3},
    {"full_gate_recurrence": True, "peepholes": "io"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_kernel_adapts_as_the_twin_does(options):
    info, cell = _core.cell_info("lstm", options), adapt(**options)
    computed = [
        (name, w, r, stage)
        for name, w, r, stage in info["sums"]
        if (w, r) != (None, None)
    ]
    assert computed == [(s.name, s.w, s.r, s.stage) for s in cell.sums]
    assert info["w_blocks"] == info["r_blocks"] == len(cell.gates)
    assert (info["states"], info["stages"]) == (len(cell.states), cell.stages)
    assert (info["vectors"], info["links"]) == (len(cell.vectors), len(cell.links))
    assert info["projects"] == cell.projects


def first_step(options, clip=None, activations=ACTIVATIONS):
    """Run one unit with every pre-activation 2, c_prev 3 and all peepholes 1/2."""
    cell = adapt(**options)
    two = np.array([[2.0]])
    step = Step(activations, prev={"h": two, "c": two + 1}, clip=clip, options=options)
    step.a = {s.name: two for s in cell.sums}
    step.vectors = {v.name: np.array([0.5]) for v in cell.vectors}
    cell.forward[0](step)
    return step


def test_peepholes_see_the_cell_before_and_that_of_o_the_new_one():
    step = first_step({"peepholes": "ifo"})
    c = step.state["c"]
    np.testing.assert_array_equal(step.slots["i"], sigmoid(np.array([[3.5]])))
    np.testing.assert_array_equal(step.slots["f"], sigmoid(np.array([[3.5]])))
    np.testing.assert_array_equal(step.slots["o"], sigmoid(2 + c / 2))


def test_a_clip_limits_what_the_peephole_has_joined():
    step = first_step({"peepholes": "i"}, clip=2.5)
    np.testing.assert_array_equal(step.slots["i"], sigmoid(np.array([[2.5]])))
    np.testing.assert_array_equal(step.slots["f"], sigmoid(np.array([[2.0]])))
    step.dstate = {"h": np.array([[1.0]]), "c": np.array([[1.0]])}
    LSTM.backward[0](step)
    assert step.da["i"] == 0
    assert step.da["f"] != 0


def test_a_gate_that_is_left_out_is_one():
    step = first_step({"omit": "ifo"}, activations=("sigmoid", "identity", "identity"))
    np.testing.assert_array_equal(step.state["c"], [[5.0]])
    np.testing.assert_array_equal(step.state["h"], [[5.0]])
    assert set(step.slots) == {"g"}


@pytest.mark.parametrize(("coupled", "kept"), [("input", "i"), ("forget", "f")])
def test_coupled_gates_add_up_to_one(coupled, kept):
    step = first_step({"coupled": coupled}, activations=("sigmoid", "identity", "tanh"))
    gate = step.slots[kept]
    i, f = (gate, 1 - gate) if kept == "i" else (1 - gate, gate)
    np.testing.assert_array_equal(step.state["c"], fma(f, 3.0, i * 2.0))


def test_gates_are_states_where_they_are_linked():
    step = first_step({"full_gate_recurrence": True})
    for gate in "ifo":
        np.testing.assert_array_equal(step.state[gate], step.slots[gate])
