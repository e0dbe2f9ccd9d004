"""Any activation for every layer that has a choice; one of its own for each direction.

How they are spelled, what a layer says of them, that copies and files keep them; what a
layer computes with them; what is refused. The functions are in test_activations.py.
"""

import copy
import json
import pickle
import re

import numpy as np
import pytest
from bits import (
    SPLITS,
    as_tuple,
    assert_same_bits,
    assert_same_results,
    every_thread_used,
    random_problem,
    run_layer,
    run_twin,
)
from variants import ACTIVATIONS, ISAS

import exactrnn as xr

LENGTHS = [5, 0, 3, 4, 1]
SIXTH = ("hard_sigmoid", 1 / 6, 0.5)
LEAKY = ("leaky_relu", 0.1)

# Class, own options, and for each direction its activations, by argument.
SIMPLE = ({"nonlinearity": LEAKY}, {"nonlinearity": "sigmoid"})
DIRECTED = {
    "rnn": (xr.RNN, {}, *SIMPLE),
    "rnn-relu": (xr.RNN, {}, {"nonlinearity": "relu"}, {"nonlinearity": "tanh"}),
    "rnn-clip": (xr.RNN, {"clip": 0.5}, *SIMPLE),
    "leaky": (xr.LeakyRNN, {"leak": 0.3, "learn_leak": True}, *SIMPLE),
    "clockwork": (xr.ClockworkRNN, {"periods": (2, 1)}, *SIMPLE),
    "jordan": (
        xr.JordanRNN,
        {"output_size": 3},
        {"nonlinearity": "elu", "output_nonlinearity": LEAKY},
        {"nonlinearity": "tanh", "output_nonlinearity": "softplus"},
    ),
    "lstm": (
        xr.LSTM,
        {},
        {"activations": ("sigmoid", "tanh", "tanh")},
        {"activations": (SIXTH, LEAKY, "softsign")},
    ),
    "lstm-everything": (
        xr.LSTM,
        {"peepholes": "ifo", "full_gate_recurrence": True, "clip": 1.5, "proj_size": 3},
        {"activations": (SIXTH, "tanh", "elu")},
        {"activations": ("sigmoid", ("scaled_tanh", 1.5, 0.5), "tanh")},
    ),
    "gru": (
        xr.GRU,
        {},
        {"activations": (SIXTH, "tanh")},
        {"activations": ("sigmoid", ("elu", 0.5))},
    ),
    "gru_before": (
        xr.GRU,
        {"reset_after": False, "clip": 0.9},
        {"activations": ("sigmoid", "tanh")},
        {"activations": ("softsign", "relu")},
    ),
}
each_directed = pytest.mark.parametrize("name", DIRECTED)


def both_ways(forward, reverse):
    """Return the arguments of a layer of both directions."""
    if "activations" in forward:
        return {"activations": forward["activations"] + reverse["activations"]}
    return {key: (forward[key], reverse[key]) for key in forward}


def make_directed(name, dtype="float32", **options):
    """Return a layer whose directions differ."""
    kind, own, forward, reverse = DIRECTED[name]
    options = {**own, **both_ways(forward, reverse), "bidirectional": True, **options}
    return kind(4, 9, dtype=dtype, seed=1, **options)


@each_directed
def test_directions_of_their_own_equal_the_twins(name, isa, dtype):
    layer = make_directed(name, dtype, num_layers=2)
    problem = random_problem(layer, 5, 5, LENGTHS, seed=3)
    expected = run_twin(layer, **problem)
    assert_same_results(run_layer(layer, **problem), expected)
    with xr.threads(3):
        for split in SPLITS:
            with every_thread_used(split):
                assert_same_results(run_layer(layer, **problem), expected)
    y, _ = layer(problem["x"], problem["state"], lengths=LENGTHS)
    assert_same_bits("y of inference", y, expected["y"])


def direction_alone(name, layer, direction):
    """Return the layer of one direction alone, with the same weights."""
    kind, own, *chosen = DIRECTED[name]
    alone = kind(4, 9, dtype=layer.dtype, **own, **chosen[direction])
    end = "_l0" + "_reverse" * direction
    pairs = {n.removesuffix(end): w for n, w in layer.state_dict().items()}
    alone.load_state_dict({n: pairs[n.removesuffix("_l0")] for n in alone.state_dict()})
    return alone


@each_directed
def test_a_layer_of_both_directions_is_two_layers(name):
    layer = make_directed(name)
    problem = random_problem(layer, 6, 3, None, seed=3)
    x, dy = problem["x"], problem["dy"]
    found = run_layer(layer, **problem)
    width = found["y"].shape[2] // 2
    total = 0
    for direction in (0, 1):
        alone = direction_alone(name, layer, direction)
        turn = slice(None, None, -1) if direction else slice(None)
        part = slice(direction, direction + 1)

        def take(state, part=part):
            if state is None:
                return None
            if layer.cell == "clockwork" and isinstance(state, tuple):
                return state[0][part], state[1]
            parts = tuple(s[part] for s in as_tuple(state))
            return parts if len(parts) > 1 else parts[0]

        columns = slice(direction * width, (direction + 1) * width)
        mine = run_layer(
            alone,
            x=x[turn],
            state=take(problem["state"]),
            lengths=None,
            dy=dy[turn][..., columns],
            dstate=take(problem["dstate"]),
        )
        assert_same_bits("y", found["y"][..., columns], mine["y"][turn])
        total = total + mine["dx"][turn]
        end = "_l0" + "_reverse" * direction
        for key, value in mine.items():
            if "state" in key and value.ndim > 1:
                assert_same_bits(key, found[key][part], value)
            if not (key.startswith("d") and key.endswith("_l0")):
                continue
            other = found[key.removesuffix("_l0") + end]
            if direction == 0:
                assert_same_bits(key, other, value)
            else:  # its terms are added in another order of time
                np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-5)
    assert_same_bits("dx", found["dx"], total)


# Spelling

WAYS = [
    (xr.RNN, {"nonlinearity": ["elu", 0.5]}, ("elu", 0.5)),
    (xr.RNN, {"nonlinearity": ("elu", 1)}, "elu"),
    (xr.RNN, {"nonlinearity": ("elu",)}, "elu"),
    (xr.RNN, {"nonlinearity": ("hard_sigmoid", 0.25)}, ("hard_sigmoid", 0.25, 0.5)),
    (xr.RNN, {"nonlinearity": ("hard_sigmoid", 0.2, 0.5)}, "hard_sigmoid"),
    (xr.RNN, {"nonlinearity": np.array("tanh").item()}, "tanh"),
    (xr.RNN, {"nonlinearity": ("affine", np.float32(0.5))}, ("affine", 0.5, 0.0)),
    (xr.RNN, {"nonlinearity": ("leaky_relu", 0)}, ("leaky_relu", 0.0)),
    (
        xr.RNN,
        {"nonlinearity": ["tanh", ["elu", 1.0]], "bidirectional": True},
        ("tanh", "elu"),
    ),
    (
        xr.LeakyRNN,
        {"nonlinearity": (("elu", 2), "relu"), "bidirectional": True},
        (("elu", 2.0), "relu"),
    ),
    (xr.ClockworkRNN, {"nonlinearity": "softplus", "periods": (1,)}, "softplus"),
    (xr.JordanRNN, {"nonlinearity": SIXTH, "output_nonlinearity": "relu"}, SIXTH),
    (xr.RNNCell, {"nonlinearity": LEAKY}, LEAKY),
]


@pytest.mark.parametrize(("kind", "options", "plain"), WAYS, ids=str)
def test_an_activation_is_kept_in_its_plain_form(kind, options, plain, tmp_path):
    layer = kind(2, 3, **options)
    assert layer.nonlinearity == plain
    assert_kept(layer, tmp_path, "nonlinearity")


@each_directed
def test_activations_of_both_directions_are_kept(name, tmp_path):
    layer = make_directed(name)
    _, _, forward, reverse = DIRECTED[name]
    wanted = [one for way in (forward, reverse) for one in way.values()]
    if "activations" in forward:
        wanted = [*wanted[0], *wanted[1]]
    assert layer.activations == tuple(wanted)
    key = "activations" if "activations" in forward else "nonlinearity"
    assert_kept(layer, tmp_path, key)


def assert_kept(layer, folder, key):
    """Fail unless copies, files and the repr have the same activations and results."""
    path = folder / "layer.safetensors"
    xr.save(layer, path)
    twins = [copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    described = json.loads(json.dumps(layer.arguments()))
    twins += [xr.load(path), type(layer).restore(described, layer.state_dict())]
    named = eval(repr(layer), {type(layer).__name__: type(layer)})
    size = (5, layer.input_size)
    x = np.linspace(-2, 2, np.prod(size), dtype="float32").reshape(size)
    for twin in twins:
        assert getattr(twin, key) == getattr(layer, key)
        assert twin.activations == layer.activations
        assert twin.arguments() == layer.arguments()
        assert_same_bits("y", as_tuple(twin(x))[0], as_tuple(layer(x))[0])
    assert getattr(named, key) == getattr(layer, key)


def test_one_activation_is_that_of_both_directions():
    one = xr.GRU(3, 4, activations=(SIXTH, "elu"), bidirectional=True, seed=1)
    two = xr.GRU(3, 4, activations=(SIXTH, "elu") * 2, bidirectional=True, seed=1)
    x = np.linspace(-2, 2, 18, dtype="float32").reshape(6, 3)
    assert_same_bits("y", one(x)[0], two(x)[0])
    assert two.activations == (SIXTH, "elu") * 2
    assert one.activations == (SIXTH, "elu")


def test_a_jordan_network_may_have_two_of_one_kind_and_one_of_the_other():
    layer = xr.JordanRNN(
        3,
        4,
        nonlinearity=("elu", "relu"),
        output_nonlinearity=LEAKY,
        bidirectional=True,
    )
    assert layer.activations == ("elu", LEAKY, "relu", LEAKY)
    assert (layer.nonlinearity, layer.output_nonlinearity) == (("elu", "relu"), LEAKY)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_every_choice_takes_every_activation(activation):
    x = np.linspace(-2, 2, 12, dtype="float32").reshape(4, 3)
    made = [
        xr.RNN(3, 4, nonlinearity=activation, seed=1),
        xr.LeakyRNN(3, 4, leak=1.0, nonlinearity=activation, seed=1),
        xr.ClockworkRNN(3, 4, periods=(1,), nonlinearity=activation, seed=1),
    ]
    weights = made[0].state_dict()
    for layer in made:
        layer.load_state_dict(weights)
        assert_same_bits(type(layer).__name__, layer(x)[0], made[0](x)[0])
    cell, h = xr.RNNCell(3, 4, nonlinearity=activation), None
    cell.load_state_dict({n.removesuffix("_l0"): w for n, w in weights.items()})
    for x_t, y_t in zip(x, made[0](x)[0], strict=True):
        h = cell(x_t, h)
        assert_same_bits("cell", h, y_t)
    stream = made[0].stream()
    for x_t, y_t in zip(x, made[0](x)[0], strict=True):
        assert_same_bits("stream", stream.step(x_t), y_t)
    grid = xr.TimeDepthGridLSTM(3, 4, 2, depth=activation, seed=1)
    assert grid.depth == made[0].nonlinearity
    kinds = xr.GridLSTM(3, 4, dims=2, kinds=["lstm", activation]).kinds
    assert kinds == ("lstm", made[0].nonlinearity)
    assert np.isfinite(grid(x)[0]).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_one_activation_is_that_of_all_dimensions_of_a_grid(dims):
    layer = xr.GridLSTM(3, 4, dims=dims, kinds=LEAKY, seed=1)
    assert layer.kinds == LEAKY
    assert xr.GridLSTM.restore(layer.arguments(), layer.state_dict()).kinds == LEAKY


# Clip


@pytest.mark.parametrize("isa", ISAS)
def test_a_clip_limits_what_goes_into_the_nonlinearity(isa):
    layer = xr.RNN(1, 1, nonlinearity="identity", clip=0.5, bias=False)
    weights = {"weight_ih_l0": np.float32([[1]]), "weight_hh_l0": np.float32([[0]])}
    layer.load_state_dict(weights)
    x = np.float32([-9, -0.5, -0.25, 0.25, 0.5, 9]).reshape(1, 6, 1)
    with xr.use_isa(isa):
        y, _, cache = layer.forward(x)
        dx = layer.backward(cache, np.ones_like(y)).x
    assert y.ravel().tolist() == [-0.5, -0.5, -0.25, 0.25, 0.5, 0.5]
    assert dx.ravel().tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("isa", ISAS)
def test_a_clipped_relu_stops_an_infinite_gradient(isa):
    layer = xr.RNN(1, 1, nonlinearity="relu", clip=0.5, bias=False)
    weights = {"weight_ih_l0": np.float32([[1]]), "weight_hh_l0": np.float32([[0]])}
    layer.load_state_dict(weights)
    x = np.float32([-1, 0.25, 1]).reshape(1, 3, 1)
    with xr.use_isa(isa):
        y, _, cache = layer.forward(x)
        dx = layer.backward(cache, np.full_like(y, np.inf)).x
    assert dx.ravel().tolist() == [0, np.inf, 0]


@pytest.mark.parametrize("kind", [xr.RNN, xr.LeakyRNN, xr.JordanRNN, xr.RNNCell])
@pytest.mark.parametrize("clip", [0, -1.0, np.nan, np.inf, "1", True, 1e-60, 10**400])
def test_a_clip_that_is_none_is_refused(kind, clip):
    with pytest.raises(
        (ValueError, TypeError), match="clip: expected None or a finite"
    ):
        kind(3, 4, clip=clip)


# Refusals

SLOPE = "else its value would not tell its slope"
WRONG = [
    (("tanh", 1.0), ValueError, "expected 'tanh', which has no parameters, got"),
    (("elu", 1.0, 2.0), ValueError, "expected ('elu', alpha), got ('elu', 1.0, 2.0)"),
    (("affine", 1, 2, 3), ValueError, "expected ('affine', alpha, beta), got"),
    (("gelu", 1.0), ValueError, "[0]: expected one of "),
    (("elu", None), TypeError, "[1]: expected a finite number of float32, got None"),
    (("elu", True), TypeError, "[1]: expected a finite number of float32, got True"),
    (("elu", np.nan), ValueError, "[1]: expected a finite number of float32, got nan"),
    (("elu", np.inf), ValueError, "[1]: expected a finite number of float32, got inf"),
    (("elu", 1e39), ValueError, "[1]: expected a finite number of float32, got 1e+39"),
    (("elu", 10**400), ValueError, "[1]: expected a finite number of float32, got an"),
    (("affine", 1, 2j), TypeError, "[2]: expected a finite number of float32, got"),
    (("leaky_relu", -0.1), ValueError, f"expected alpha >= 0 ({SLOPE}"),
    (("elu", -1), ValueError, f"expected alpha >= 0 ({SLOPE}"),
    (("thresholded_relu", -1), ValueError, f"expected alpha >= 0 ({SLOPE}"),
    (("scaled_tanh", 0, 1), ValueError, f"expected alpha other than 0 ({SLOPE}"),
    (("scaled_tanh", 1e-60), ValueError, f"expected alpha other than 0 ({SLOPE}"),
    ((), TypeError, "expected one of "),
    (7, TypeError, "expected one of "),
    (np.tanh, TypeError, "expected one of "),
]


@pytest.mark.parametrize(("activation", "error", "message"), WRONG, ids=str)
def test_a_wrong_activation_is_refused(activation, error, message):
    makers = {
        "activations[1]": lambda: xr.GRU(3, 4, activations=("sigmoid", activation)),
        "activations[5]": lambda: xr.LSTM(
            3, 4, activations=("tanh",) * 5 + (activation,), bidirectional=True
        ),
        "nonlinearity[1]": lambda: xr.RNN(
            3, 4, nonlinearity=("tanh", activation), bidirectional=True
        ),
        "kinds[1]": lambda: xr.GridLSTM(3, 4, dims=2, kinds=["lstm", activation]),
        "depth": lambda: xr.TimeDepthGridLSTM(3, 4, depth=activation),
    }
    if not isinstance(activation, str | tuple):  # a name and no text: one activation
        del makers["nonlinearity[1]"], makers["kinds[1]"]
    for argument, make in makers.items():
        with pytest.raises(error, match=re.escape(message)) as caught:
            make()
        assert str(caught.value).startswith(argument)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (xr.RNN, {"nonlinearity": ("tanh", "relu")}, "nonlinearity: expected an "),
        (
            xr.RNN,
            {"nonlinearity": ("tanh",) * 999, "bidirectional": True},
            "or two, of each direction, got ('tanh', 'tanh', ",
        ),
        (xr.RNNCell, {"nonlinearity": ("tanh", "relu")}, "nonlinearity: expected an "),
        (
            xr.GRU,
            {"activations": ("sigmoid", "tanh") * 2},
            "activations: expected 2 activations (gates, candidate), got",
        ),
        (
            xr.GRU,
            {"activations": ("tanh",) * 3, "bidirectional": True},
            "expected 2 activations (gates, candidate) or 4, those of the reverse",
        ),
        (
            xr.GRUCell,
            {"activations": ("sigmoid", "tanh") * 2},
            "expected 2 activations",
        ),
        (xr.LSTM, {"activations": ("tanh",) * 999}, "expected 3 activations (gates"),
        (
            xr.GRU,
            {"activations": ("hard_sigmoid", 0.2)},
            "activations[1]: expected one",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_number_of_activations_is_refused(kind, options, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)) as caught:
        kind(3, 4, **options)
    assert len(str(caught.value)) < 400
