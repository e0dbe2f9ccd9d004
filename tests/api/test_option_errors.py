"""Refusals of what only some classes have: options, clocks, widths, weights.

As in test_errors.py: the argument is named, what was expected and what came.
"""

import re

import numpy as np
import pytest

import exactrnn as xr

T, B, I, H = 5, 3, 4, 6


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


X = zeros(T, B, I)

CHOICES = (
    "'sigmoid', 'hard_sigmoid', 'tanh', 'relu', 'softsign', 'identity', 'leaky_relu', "
    "'elu', 'softplus', 'scaled_tanh', 'thresholded_relu', 'affine'"
)

# Options of one class: (class, options, error, message)
WRONG_OWN_OPTIONS = [
    (
        xr.RNN,
        {"nonlinearity": "sigmod"},
        ValueError,
        f"nonlinearity: expected one of {CHOICES}, got 'sigmod'",
    ),
    (xr.RNNCell, {"nonlinearity": None}, TypeError, "nonlinearity: expected one of"),
    (xr.GRU, {"reset_after": None}, TypeError, "reset_after: expected True or False"),
    (xr.GRUCell, {"reset_after": 1}, TypeError, "reset_after: expected True or False"),
    (xr.GRU, {"layer_norm": 1}, TypeError, "layer_norm: expected True or False"),
    *(
        (
            kind,
            {"layer_norm": True, **options},
            ValueError,
            "layer_norm: expected False",
        )
        for kind, options in (
            *((xr.GRU, {"reset_after": False}), (xr.GRU, {"clip": 1.0})),
            *((xr.GRU, {"bias": False}), (xr.GRU, {"init": ("chrono", 9)})),
            *((xr.GRU, {"activations": ("tanh", "tanh")}), (xr.LSTM, {"omit": "i"})),
            *((xr.LSTM, {"peepholes": "i"}), (xr.LSTM, {"coupled": "input"})),
            *((xr.LSTM, {"proj_size": 2}), (xr.LSTM, {"full_gate_recurrence": True})),
        )
    ),
    (
        xr.LSTM,
        {"peepholes": "ix"},
        ValueError,
        "peepholes: expected different letters of 'ifo', got 'ix'",
    ),
    (xr.LSTM, {"peepholes": "ii"}, ValueError, "different letters of 'ifo', got 'ii'"),
    (xr.LSTM, {"peepholes": ["i"]}, TypeError, "letters of 'ifo', got list"),
    (xr.LSTM, {"peepholes": True}, TypeError, "letters of 'ifo', got True"),
    (
        xr.LSTM,
        {"peepholes": "if", "omit": "f"},
        ValueError,
        "peepholes: expected letters of 'io' because omit='f' leaves no gate 'f', "
        "got 'if'",
    ),
    (
        xr.LSTMCell,
        {"peepholes": "f", "coupled": "input"},
        ValueError,
        "peepholes: expected letters of 'io' because coupled='input' leaves no gate",
    ),
    (
        xr.LSTM,
        {"peepholes": "ifo", "coupled": "forget"},
        ValueError,
        "peepholes: expected letters of 'fo' because coupled='forget' leaves no gate",
    ),
    (xr.LSTM, {"omit": "g"}, ValueError, "omit: expected different letters of 'ifo'"),
    (xr.LSTM, {"omit": None}, TypeError, "omit: expected different letters of 'ifo'"),
    (
        xr.LSTM,
        {"coupled": "input", "omit": "i"},
        ValueError,
        "coupled: expected None because omit='i' leaves no gate 'i', got 'input'",
    ),
    (
        xr.LSTM,
        {"coupled": "input", "omit": "of"},
        ValueError,
        "coupled: expected None because omit='fo' leaves no gate 'f', got 'input'",
    ),
    (
        xr.LSTM,
        {"coupled": "output"},
        ValueError,
        "coupled: expected None, 'input' or 'forget', got 'output'",
    ),
    (xr.LSTM, {"coupled": True}, TypeError, "coupled: expected None, 'input' or"),
    (
        xr.LSTM,
        {"activations": ("sigmoid", "tanh")},
        ValueError,
        "activations: expected 3 activations (gates, candidate, output), got ('sigm",
    ),
    (
        xr.GRU,
        {"activations": ("sigmoid", "tanh", "tanh")},
        ValueError,
        "activations: expected 2 activations (gates, candidate), got",
    ),
    (xr.GRUCell, {"activations": "tanh"}, TypeError, "activations: expected 2 "),
    (
        xr.LSTM,
        {"activations": ("sigmoid", "gelu", "elu")},
        ValueError,
        f"activations[1]: expected one of {CHOICES}, got 'gelu'",
    ),
    (
        xr.LSTM,
        {"activations": ("sigmoid", "tanh", np.tanh)},
        TypeError,
        f"activations[2]: expected one of {CHOICES}, got ufunc",
    ),
    (xr.LSTM, {"full_gate_recurrence": 1}, TypeError, "expected True or False, got 1"),
    (
        xr.LSTM,
        {"full_gate_recurrence": True, "omit": "ofi"},
        ValueError,
        "full_gate_recurrence: expected False because omit='ifo' leaves no gate",
    ),
    (xr.LSTM, {"proj_size": -1}, ValueError, "proj_size: expected 0 (none) or more"),
    (xr.LSTM, {"proj_size": 2.0}, TypeError, "proj_size: expected an integer, got 2.0"),
    *(
        (kind, {"clip": clip}, error, "clip: expected None or a finite number > 0 of")
        for kind in (xr.LSTM, xr.GRUCell)
        for clip, error in (
            (0, ValueError),
            (-1.0, ValueError),
            (float("inf"), ValueError),
            (float("nan"), ValueError),
            (1e-60, ValueError),
            (1e60, ValueError),
            (True, TypeError),
            ("1", TypeError),
            (1j, TypeError),
        )
    ),
    (
        xr.LSTM,
        {"init": "normal"},
        ValueError,
        "init: expected one of 'uniform', 'orthogonal', 'glorot', 'paper' or "
        "('chrono', T), got 'normal'",
    ),
    (xr.LSTM, {"init": None}, TypeError, "init: expected one of 'uniform'"),
    (xr.LSTM, {"init": ("chrono", 1)}, ValueError, "init[1]: expected T >= 2, got 1"),
    (xr.GRU, {"init": ("chrono", 2.5)}, TypeError, "init[1]: expected an integer"),
    (xr.GRU, {"init": ("chrono",)}, ValueError, "init: expected one of"),
    (
        xr.GRU,
        {"init": ("chrono", 9), "bias": False},
        ValueError,
        "got 'chrono', which needs bias=True",
    ),
    (xr.GRU, {"init": "paper"}, ValueError, "init: expected one of 'uniform'"),
    (xr.RNN, {"init": ("chrono", 9)}, ValueError, "'paper', got ('chrono', 9)"),
    (xr.LSTM, {"forget_bias": "1"}, TypeError, "forget_bias: expected None or a fin"),
    (
        xr.LSTM,
        {"forget_bias": float("nan")},
        ValueError,
        "forget_bias: expected a finite number, got nan",
    ),
    (
        xr.LSTM,
        {"forget_bias": 1, "omit": "f"},
        ValueError,
        "forget_bias: expected None because there is no forget gate, got 1.0",
    ),
    (
        xr.DepthGatedLSTM,
        {"forget_bias": 1, "bias": False},
        ValueError,
        "forget_bias: expected None because there are no biases, got 1.0",
    ),
    (
        xr.LSTM,
        {"forget_bias": 1, "init": ("chrono", 9)},
        ValueError,
        "forget_bias: expected None because init='chrono' sets it, got 1.0",
    ),
    (xr.LSTM1997, {"block_size": 0}, ValueError, "block_size: expected 1..4 cells in"),
    (xr.LSTM1997, {"block_size": 5}, ValueError, "1..4 cells in a block, got 5"),
    (
        xr.LSTM1997,
        {"block_size": 4},
        ValueError,
        "block_size: expected a divisor of hidden_size=6, got 4",
    ),
    (xr.LSTM1997, {"block_size": 1.5}, TypeError, "block_size: expected an integer"),
    (xr.LSTM1997, {"init": ("chrono", 9)}, ValueError, "got ('chrono', 9)"),
    (xr.JordanRNN, {"output_size": 0}, ValueError, "output_size: expected an integer"),
    (
        xr.JordanRNN,
        {"output_nonlinearity": "softmax"},
        ValueError,
        f"output_nonlinearity: expected one of {CHOICES}, got 'softmax'",
    ),
    (xr.JordanRNN, {"nonlinearity": 1}, TypeError, "nonlinearity: expected one of"),
    *(
        (xr.LeakyRNN, {"leak": leak, "learn_leak": learned}, error, message)
        for leak, learned, error, message in (
            (0.0, False, ValueError, "leak: expected a number in (0, 1], or [H=6] of"),
            (1.5, False, ValueError, "or [H=6] of them, got 1.5"),
            (float("nan"), False, ValueError, "leak: expected a number in (0, 1]"),
            (1e-60, False, ValueError, "leak: expected a number in (0, 1]"),
            (1e60, False, ValueError, "leak: expected a number in (0, 1]"),
            ([0.5] * 5, False, ValueError, "or [H=6] of them, got 5 of them"),
            ([0.5] * 5 + [0], False, ValueError, "or [H=6] of them, got 0.0"),
            (np.ones((6, 1)), False, TypeError, "or [H=6] of them, got list"),
            ("half", False, TypeError, "or [H=6] of them, got 'half'"),
            (True, False, TypeError, "or [H=6] of them, got True"),
            (1.0, True, ValueError, "leak: expected a number in (0, 1) with learn_le"),
            (1 - 1e-12, True, ValueError, "leak: expected a number in (0, 1) with le"),
            (0.5, 1, TypeError, "learn_leak: expected True or False, got 1"),
        )
    ),
    *(
        (xr.ClockworkRNN, options, error, message)
        for options, error, message in (
            ({"periods": ()}, ValueError, "periods: expected at least one integer"),
            ({"periods": (1, 0)}, ValueError, "periods[1]: expected an integer >= 1"),
            ({"periods": (1, -2)}, ValueError, "periods[1]: expected an integer >= 1"),
            ({"periods": (1, 2.0)}, TypeError, "periods[1]: expected an integer"),
            ({"periods": (True,)}, TypeError, "periods[0]: expected an integer"),
            ({"periods": 4}, TypeError, "periods: expected a tuple of integers, got 4"),
            ({"periods": "12"}, TypeError, "periods: expected a tuple of integers"),
            ({"periods": (2**63,)}, ValueError, f"periods: expected 1..{2**62}, got"),
            (
                {"periods": range(1, 8)},
                ValueError,
                "hidden_size: expected at least one unit for each of 7 periods, got 6",
            ),
            (
                {"periods": (1, 2), "module_sizes": (3, 4)},
                ValueError,
                "module_sizes: expected 2 sizes, one for each period, that add up to "
                "hidden_size=6, got (3, 4)",
            ),
            (
                {"periods": (1, 2), "module_sizes": (2, 2, 2)},
                ValueError,
                "module_sizes: expected 2 sizes",
            ),
            (
                {"periods": (1, 2), "module_sizes": (6, 0)},
                ValueError,
                "module_sizes[1]: expected an integer >= 1, got 0",
            ),
            (
                {"periods": (1, 2), "module_sizes": 3},
                TypeError,
                "module_sizes: expected a tuple of integers, got 3",
            ),
            ({"periods": (1,), "phase": -1}, ValueError, "phase: expected 0.."),
            ({"periods": (1,), "phase": 0.5}, TypeError, "phase: expected an integer"),
            ({"periods": (1,), "nonlinearity": ""}, ValueError, "nonlinearity: expe"),
        )
    ),
]


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    WRONG_OWN_OPTIONS,
    ids=[f"{kind.__name__} {options}" for kind, options, _, _ in WRONG_OWN_OPTIONS],
)
def test_wrong_option_of_one_class_is_named(kind, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        kind(I, H, **options)


def test_options_are_keywords_and_a_clock_needs_periods():
    with pytest.raises(TypeError):
        xr.LSTM(I, H, 1, True)
    with pytest.raises(TypeError, match="periods"):
        xr.ClockworkRNN(I, H)
    with pytest.raises(TypeError, match="truncated"):
        xr.GRU(I, H).backward(None, None, truncated=True)


def test_wrong_variants_are_named():
    with pytest.raises(
        ValueError, match=r"name: expected one of 'V', 'NIG', .*got 'v'"
    ):
        xr.greff_variant("v", I, H)
    with pytest.raises(
        ValueError, match="omit: expected no such option because name='NIG' fixes it"
    ):
        xr.greff_variant("NIG", I, H, omit="f")
    with pytest.raises(ValueError, match="peepholes: expected no such option because"):
        xr.greff_variant("NP", I, H, peepholes="i")


# What new kinds of states and weights are checked for


def test_wrong_clocks_are_named():
    layer = xr.ClockworkRNN(I, H, periods=(1, 2))
    h = zeros(1, B, H)
    refused = [
        (h, TypeError, "state: expected the tuple (h, clock), got an array of float32"),
        ((h,), TypeError, "state: expected the tuple (h, clock), got a tuple of 1"),
        ((h, zeros(B)), TypeError, "state[1]: expected integers, got an array of flo"),
        ((h, [True] * B), TypeError, "state[1]: expected integers"),
        ((h, 3), ValueError, "state[1]: expected [B=3], got ()"),
        ((h, [1, 2]), ValueError, "state[1]: expected [B=3], got (2,)"),
        ((h, [1, 2, -1]), ValueError, f"state[1][2]: expected 0..{2**62}, got -1"),
        ((h, [1, 2**63, 0]), TypeError, "state[1]: expected integers"),
        ((h[0], [1, 2, 3]), ValueError, "state[0]: expected [L*D=1, B=3, H=6], got"),
    ]
    for state, error, message in refused:
        for call in (layer, layer.forward):
            with pytest.raises(error, match=re.escape(message)):
                call(X, state)
    with pytest.raises(ValueError, match=r"state\[1\]: expected one integer, got \(1"):
        layer(X[:, 0], (h[:, 0], [1]))
    y, state, cache = layer.forward(X)
    with pytest.raises(TypeError, match=r"dstate: expected a NumPy array .* got tuple"):
        layer.backward(cache, y, state)


def test_messages_name_the_widths_and_states_of_a_cell():
    projected = xr.LSTM(I, H, proj_size=2)
    h, c = zeros(1, B, 2), zeros(1, B, H)
    with pytest.raises(ValueError, match=r"state\[0\]: expected \[L\*D=1, B=3, P=2\]"):
        projected(X, (c, c))
    with pytest.raises(ValueError, match=r"out: expected \[T=5, B=3, D\*P=2\], got"):
        projected(X, out=zeros(T, B, H))
    with pytest.raises(ValueError, match=r"state\[1\]: expected \[L\*D=1, B=3, H=6\]"):
        projected(X, (h, h))
    linked = xr.LSTM(I, H, full_gate_recurrence=True, omit="f")
    with pytest.raises(TypeError, match=r"state: expected the tuple \(h, c, i, o\)"):
        linked(X, (c, c))
    first = xr.LSTM1997(I, H, block_size=3)
    message = r"state\[2\]: expected \[L\*D=1, B=3, N=2\], got \(1, 3, 6\)"
    with pytest.raises(ValueError, match=message):
        first(X, (zeros(1, B, H),) * 4)
    jordan = xr.JordanRNN(I, H, output_size=2)
    with pytest.raises(ValueError, match=r"state: expected \[L\*D=1, B=3, O=2\], got"):
        jordan(X, c)
    y, _, cache = projected.forward(X)
    with pytest.raises(ValueError, match=r"dy: expected \[T=5, B=3, D\*P=2\], got"):
        projected.backward(cache, zeros(T, B, H))
    with pytest.raises(TypeError, match="truncated: expected True or False, got 1"):
        projected.backward(cache, y, truncated=1)


def test_wrong_weights_of_every_kind_are_named():
    refused = [
        (xr.LSTM(I, H, proj_size=2), "weight_hh_l0", "[G*H=24, P=2]"),
        (xr.LSTM(I, H, proj_size=2), "weight_hr_l0", "[P=2, H=6]"),
        (xr.LSTM(I, H, peepholes="io"), "weight_peephole_l0", "[V=2, H=6]"),
        (xr.LSTM(I, H, full_gate_recurrence=True), "weight_gates_l0", "[n*H=18, n*H=1"),
        (xr.LSTM1997(I, H, block_size=2), "weight_hh_l0", "[U=12, U=12]"),
        (xr.LSTM1997(I, H, block_size=2), "weight_ih_l0", "[U=12, I=4]"),
        (xr.JordanRNN(I, H, output_size=2), "weight_ho_l0", "[O=2, H=6]"),
        (xr.JordanRNN(I, H, output_size=2), "bias_ho_l0", "[O=2]"),
        (xr.LeakyRNN(I, H, leak=0.5, learn_leak=True), "leak_logit_l0", "[n=1]"),
        (xr.DepthGatedLSTM(I, H, 2), "weight_ih_l1", "[G*H=30, I=6]"),
        (xr.DepthGatedLSTM(I, H, 2), "bias_hh_l1", "[G*H=24]"),
        (xr.MUT1(I, H), "weight_hh_l0", "[G*H=12, H=6]"),
    ]
    for layer, name, expected in refused:
        before = layer.state_dict()
        message = re.escape(f"{name}: expected {expected}")
        with pytest.raises(ValueError, match=message):
            layer.load_state_dict({**before, name: zeros(1, 1)})
        with pytest.raises(ValueError, match=message):
            setattr(layer, name, zeros(7))
        with pytest.raises(TypeError, match=f"{name}: expected float32, got float64"):
            setattr(layer, name, before[name].astype("f8"))
        assert all((layer.state_dict()[key] == before[key]).all() for key in before)
