"""Layers and cells as objects, and the package they come in.

First weights, options as attributes, copies, single steps, what an import does.
"""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from arrays import as_state, as_tuple, draw, same_bits, stream_of
from layer_kinds import (
    CELL_KINDS,
    KINDS,
    absent_connections,
    draw_state,
    make_cell,
    make_kind,
)
from variants import options_of

import exactrnn as xr

T, B, I, H = 5, 3, 4, 6
of_every_kind = pytest.mark.parametrize("kind", KINDS)


# First weights


@pytest.mark.parametrize(
    ("dtype", "shift", "scale"), [("float32", 40, 2.0**-24), ("float64", 11, 2.0**-53)]
)
def test_first_weights_are_those_of_the_documented_generator(dtype, shift, scale):
    layer = xr.LSTM(2, 3, bidirectional=True, dtype=dtype, seed=7)
    number = np.dtype(dtype).type
    bound = number(1) / np.sqrt(number(3))
    for name, weight in layer.state_dict().items():
        generator = stream_of(layer, name, seed=7)
        for value in weight.ravel():
            u = number(int(generator.random_raw()) >> shift) * number(scale)
            assert value == (number(2) * u - number(1)) * bound


@of_every_kind
def test_first_weights_are_drawn_from_streams_of_their_own(kind):
    layer = make_kind(kind, 2, 5, num_layers=2, bidirectional=True, seed=7)
    bound = np.float32(1) / np.sqrt(np.float32(5))
    for name, weight in layer.state_dict().items():
        if "leak_logit" in name:
            assert np.allclose(1 / (1 + np.exp(-weight)), layer.leak, rtol=1e-6)
            continue
        raw = stream_of(layer, name, seed=7).random_raw(weight.size)
        u = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        drawn = ((2 * u - 1) * bound).reshape(weight.shape)
        if layer.cell == "clockwork" and "weight_hh" in name:
            drawn[absent_connections(layer)] = 0
        assert np.array_equal(weight, drawn)


def test_seeds_tell_layers_apart_and_no_seed_is_a_new_one():
    weights = [xr.RNN(2, 3, seed=s).weight_ih_l0 for s in (1, 1, 2, None, None)]
    same = [same_bits(weights[0], weight) for weight in weights]
    assert same == [True, True, False, False, False]
    assert not same_bits(weights[3], weights[4])


# The layer as an object


def test_repr_names_what_is_not_default():
    assert repr(xr.LSTM(3, 4)) == "LSTM(3, 4)"
    layer = xr.GRU(3, np.int64(4), 2, reset_after=False, dtype=np.float64, seed=3)
    assert repr(layer) == "GRU(3, 4, num_layers=2, reset_after=False, dtype='float64')"
    assert "T=5, B=3" in repr(layer.forward(draw(T, B, 3, dtype="float64"))[2])
    assert repr(xr.RNNCell(3, 4, bias=False)) == "RNNCell(3, 4, bias=False)"
    layer = xr.LSTM(3, 4, proj_size=2, peepholes="oi", coupled="input", clip=1)
    options = "proj_size=2, peepholes='io', coupled='input', clip=1.0"
    assert repr(layer) == f"LSTM(3, 4, {options})"
    layer = xr.GRU(3, 4, activations=["hard_sigmoid", "tanh"], init=["chrono", 9])
    options = "activations=('hard_sigmoid', 'tanh'), init=('chrono', 9)"
    assert repr(layer) == f"GRU(3, 4, {options})"
    layer = xr.LSTMCell(3, 4, init="orthogonal", forget_bias=1)
    assert repr(layer) == "LSTMCell(3, 4, init='orthogonal', forget_bias=1.0)"
    layer = xr.ClockworkRNN(3, 4, 2, periods=[1, 2])
    assert repr(layer) == "ClockworkRNN(3, 4, num_layers=2, periods=(1, 2))"
    assert repr(xr.JordanRNN(3, 4)) == "JordanRNN(3, 4)"
    assert repr(xr.LeakyRNN(3, 2, leak=np.float64(0.5))) == "LeakyRNN(3, 2, leak=0.5)"
    leaks = np.array([0.5, 0.25], np.float32)
    assert repr(xr.LeakyRNN(3, 2, leak=leaks)) == "LeakyRNN(3, 2, leak=(0.5, 0.25))"


def test_attributes_are_the_options():
    layer = xr.GRU(3, 4, 2, reset_after=False, bidirectional=True, dropout=0.25)
    assert (layer.input_size, layer.hidden_size, layer.num_layers) == (3, 4, 2)
    assert (layer.cell, layer.activations) == ("gru_before", ("sigmoid", "tanh"))
    assert (layer.bias, layer.bidirectional, layer.batch_first) == (True, True, False)
    assert (layer.dropout, layer.clip, layer.dtype) == (0.25, None, np.float32)
    assert layer.reset_after is False
    lstm = xr.LSTM(3, 4, proj_size=2, omit="of", activations=("relu",) * 3, clip=2)
    assert (lstm.output_size, lstm.proj_size, lstm.omit) == (2, 2, "fo")
    assert (lstm.activations, lstm.clip, lstm.coupled) == (("relu",) * 3, 2.0, None)
    assert (lstm.peepholes, lstm.full_gate_recurrence) == ("", False)
    assert (lstm.init, lstm.forget_bias, layer.output_size) == ("uniform", None, 4)
    jordan = xr.JordanRNN(3, 4, output_nonlinearity="relu")
    assert (jordan.output_size, jordan.activations) == (4, ("tanh", "relu"))
    clockwork = xr.ClockworkRNN(3, 8, periods=(4, 2, 1), phase=5)
    assert (clockwork.periods, clockwork.phase) == ((4, 2, 1), 5)
    assert clockwork.module_sizes == (2, 3, 3)  # surplus units to the faster ones
    leaky = xr.LeakyRNN(3, 2, leak=[0.5, 1])
    assert (leaky.leak, leaky.learn_leak) == ((0.5, 1.0), False)
    assert xr.RNN(3, 4, nonlinearity="relu").activations == ("relu",)
    assert {"weight_hh_l1_reverse", "dropout", "forward"} <= set(dir(layer))


def test_a_derived_class_may_add_attributes_and_arguments():
    class Named(xr.GRU):
        def __init__(self, name, *sizes, **options):
            self.name = name
            super().__init__(*sizes, **options)
            self.calls = 0

    layer = Named("mine", I, H, seed=1)
    layer.calls += 1
    assert (layer.name, layer.calls) == ("mine", 1)
    assert "Named" in repr(layer)
    twin = copy.deepcopy(layer)
    assert (twin.name, twin.calls) == ("mine", 1)
    assert same_bits(twin(draw(T, I)), xr.GRU(I, H, seed=1)(draw(T, I)))


def test_weights_have_the_names_and_shapes_of_torch():
    weights = xr.LSTM(3, 4, 2, bidirectional=True).state_dict()
    assert {name: weight.shape for name, weight in weights.items()} == {
        f"{kind}_l{level}{reverse}": shape
        for level, columns in ((0, 3), (1, 8))
        for reverse in ("", "_reverse")
        for kind, shape in (
            ("weight_ih", (16, columns)),
            ("weight_hh", (16, 4)),
            ("bias_ih", (16,)),
            ("bias_hh", (16,)),
        )
    }
    assert list(xr.GRU(3, 4, bias=False).state_dict()) == [
        "weight_ih_l0",
        "weight_hh_l0",
    ]


@of_every_kind
def test_options_cannot_be_set(kind):
    layer = make_kind(kind, I, H)
    before = repr(layer)
    own = options_of(kind, H)[1]
    for name in (*own, "hidden_size", "output_size", "init"):
        with pytest.raises(AttributeError, match=f"{name} cannot change: make a new"):
            setattr(layer, name, 3)
    assert repr(layer) == before


def test_weights_of_options_have_the_shapes_of_the_documentation():
    layer = xr.LSTM(3, 4, 2, bidirectional=True, proj_size=2, peepholes="io")
    assert {
        name: weight.shape
        for name, weight in layer.state_dict().items()
        if name.endswith("_l1_reverse")
    } == {
        "weight_ih_l1_reverse": (16, 4),
        "weight_hh_l1_reverse": (16, 2),
        "bias_ih_l1_reverse": (16,),
        "bias_hh_l1_reverse": (16,),
        "weight_hr_l1_reverse": (2, 4),
        "weight_peephole_l1_reverse": (2, 4),
    }
    layer = xr.LSTM(3, 4, omit="i", full_gate_recurrence=True, bias=False)
    assert layer.weight_gates_l0.shape == (2 * 4, 2 * 4)
    layer = xr.JordanRNN(3, 4, 2, output_size=5)
    assert layer.weight_hh_l0.shape == (4, 5)
    assert layer.weight_ih_l1.shape == (4, 5)
    assert layer.weight_ho_l1.shape == (5, 4)
    assert layer.bias_ho_l1.shape == (5,)
    assert list(xr.JordanRNN(3, 4, bias=False).state_dict()) == [
        "weight_ih_l0",
        "weight_hh_l0",
        "weight_ho_l0",
    ]
    layer = xr.DepthGatedLSTM(3, 4, 2, bidirectional=True)
    assert layer.weight_ih_l0.shape == (16, 3)
    assert layer.weight_peephole_l0.shape == (3, 4)
    assert layer.weight_ih_l1_reverse.shape == (20, 8)
    assert layer.weight_hh_l1.shape == (16, 4)
    assert layer.bias_ih_l1.shape == (20,)
    assert layer.bias_hh_l1.shape == (16,)
    assert layer.weight_peephole_l1.shape == (5, 4)
    assert xr.MUT1(3, 4).weight_hh_l0.shape == (8, 4)


@of_every_kind
def test_num_parameters_counts_all_weights(kind):
    layer = make_kind(kind, 3, 6, num_layers=2, bidirectional=True)
    total = sum(weight.size for weight in layer.parameters().values())
    if layer.cell == "clockwork":
        total -= 4 * np.count_nonzero(absent_connections(layer))
    assert layer.num_parameters == total


def test_numbers_of_parameters_are_those_of_the_documentation():
    assert xr.GRUCell(3, 4).num_parameters == 3 * 4 * (3 + 4 + 2)
    assert xr.RNN(3, 4).num_parameters == 4 * (3 + 4 + 2)
    linked = xr.LSTM(3, 4, proj_size=2, peepholes="io", full_gate_recurrence=True)
    gates, peepholes, links = 4 * 4 * (3 + 2 + 2), 2 * 4, (3 * 4) ** 2
    assert linked.num_parameters == gates + 2 * 4 + peepholes + links
    assert xr.MUT1(3, 4).num_parameters == 3 * 4 * (3 + 1) + 2 * 4 * (4 + 1)
    assert xr.MUT2(3, 4).num_parameters == 3 * 4 * (3 + 4 + 2)
    jordan = xr.JordanRNN(3, 4, output_size=2)
    assert jordan.num_parameters == 4 * (3 + 2 + 2) + 2 * (4 + 1)
    plain = xr.LSTM(4, 4, peepholes="ifo").num_parameters
    gated = xr.DepthGatedLSTM(4, 4, 2).num_parameters
    assert gated == 2 * plain + 4**2 + 3 * 4
    clockwork = xr.ClockworkRNN(1, 64, periods=[2**k for k in range(8)])
    second_biases, readout = 64, 64 + 1
    assert clockwork.num_parameters - second_biases + readout == 2497


@of_every_kind
@pytest.mark.parametrize("make_copy", [copy.deepcopy, copy.copy, "pickle"])
def test_copies_compute_the_same_and_are_apart(make_copy, kind):
    if make_copy == "pickle":
        make_copy = lambda layer: pickle.loads(pickle.dumps(layer))  # noqa: E731
    layer = make_kind(kind, I, H, num_layers=2, dropout=0.5, batch_first=True)
    layer.remark = "mine"
    x = draw(B, T, I)
    layer.forward(x)
    twin = make_copy(layer)
    assert repr(twin) == repr(layer)
    assert twin.remark == "mine"
    assert same_bits(twin(x), layer(x))
    assert same_bits(twin.forward(x)[0], layer.forward(x)[0])
    twin.weight_hh_l0[...] = 0
    assert layer.weight_hh_l0.any()
    assert twin != layer
    assert len({twin, layer, layer}) == 2


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_a_cell_is_one_step_of_a_layer(kind, dtype):
    cell = make_cell(kind, I, H, dtype=dtype, seed=2)
    layer = make_kind(kind, I, H, dtype=dtype)
    layer.load_state_dict(
        {f"{k}_l0": weight for k, weight in cell.state_dict().items()}
    )
    for rows in ((B,), ()):
        x = draw(*rows, I, dtype=dtype)
        state = draw_state(layer, *rows)
        parts = as_state([part[0] for part in as_tuple(state)])
        expected = [part[0] for part in as_tuple(layer(x[None], state)[1])]
        assert same_bits(list(as_tuple(cell(x, parts))), expected)
        after, cache = cell.forward(x, parts, gates=True)
        assert same_bits(list(as_tuple(after)), expected)
        assert all(gate.shape == (*rows, H) for gate in cache.gates.values())
        _, final, layer_cache = layer.forward(x[None], state, gates=True)
        assert {f"{name}_l0" for name in cache.gates} == set(layer_cache.gates)
        x[...] = np.nan  # the caches have copies
        for part in as_tuple(parts):
            part[...] = np.nan
        grads = cell.backward(cache, after)
        layer_grads = layer.backward(layer_cache, None, final)
        assert same_bits(grads.x, layer_grads.x[0])
        for a, b in zip(
            as_tuple(grads.state), as_tuple(layer_grads.state), strict=True
        ):
            assert same_bits(a, b[0])
        for key, dw in grads.weights.items():
            assert same_bits(dw, layer_grads.weights[f"{key}_l0"])
        x = draw(*rows, I, dtype=dtype)
        zeros = as_state([np.zeros_like(part) for part in as_tuple(after)])
        assert same_bits(as_tuple(cell(x)), as_tuple(cell(x, zeros)))


def test_reset_before_cell_differs_from_reset_after():
    before, after = (xr.GRUCell(I, H, reset_after=r, seed=1) for r in (False, True))
    x, h = draw(B, I), draw(B, H)
    assert not same_bits(before(x, h), after(x, h))
    assert before.cell == "gru_before"


# The package


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


def test_import_brings_in_nothing_that_is_not_needed_yet():
    code = (
        "import sys, exactrnn as xr; "
        "assert not {'exactrnn.train', 'exactrnn.reference', 'safetensors', "
        "'tqdm', 'importlib.metadata'} & set(sys.modules), "
        "sorted(sys.modules); xr.train; xr.reference; xr.__version__"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_a_missing_extension_says_what_to_do():
    code = "import sys; sys.modules['exactrnn._core'] = None; import exactrnn"
    done = run_python(code)
    assert done.returncode == 1
    assert "ImportError: exactrnn's compiled module exactrnn._core" in done.stderr
    assert "pip install ." in done.stderr


def test_an_extension_of_another_version_says_what_to_do():
    code = (
        "import sys, types; "
        "core = types.SimpleNamespace(numerics_version=lambda: 9, isas=lambda: ['x']); "
        "sys.modules['exactrnn._core'] = core; import exactrnn"
    )
    done = run_python(code)
    assert done.returncode == 1
    assert "numerics version 9, the package of 1: install anew" in done.stderr


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'GURU'"):
        xr.GURU  # noqa: B018
    assert set(xr.__all__) <= set(dir(xr))
