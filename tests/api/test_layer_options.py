"""What the options of layers mean, seen from outside: one layer against another.

That kernels and reference agree in bits, and both with the equations, is for other
files; here is what a user is told in the docstrings.
"""

from itertools import combinations, product

import numpy as np
import pytest
from arrays import as_tuple, draw, same_bits
from layer_kinds import (
    KINDS,
    absent_connections,
    as_gradient,
    class_of,
    draw_gradient,
    draw_state,
    make_kind,
)

import exactrnn as xr

T, B, I, H = 7, 3, 4, 6
LSTMS = [kind for kind in KINDS if class_of(kind) is xr.LSTM]


def run_both_ways(layer, x, **options):
    """Return everything that forward and backward give."""
    y, final, cache = layer.forward(x, **options)
    grads = layer.backward(cache, y, as_gradient(layer, final))
    return y, as_tuple(final), grads.x, as_tuple(grads.state), grads.weights


# LSTM


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("V", {"peepholes": "ifo"}),
        ("NIG", {"peepholes": "fo", "omit": "i"}),
        ("NFG", {"peepholes": "io", "omit": "f"}),
        ("NOG", {"peepholes": "if", "omit": "o"}),
        ("NIAF", {"peepholes": "ifo", "activations": ("sigmoid", "identity", "tanh")}),
        ("NOAF", {"peepholes": "ifo", "activations": ("sigmoid", "tanh", "identity")}),
        ("CIFG", {"peepholes": "io", "coupled": "input"}),
        ("NP", {}),
        ("FGR", {"peepholes": "ifo", "full_gate_recurrence": True}),
    ],
)
def test_a_variant_is_an_lstm_with_these_options(name, options):
    variant = xr.greff_variant(name, I, H, num_layers=2, bias=False, seed=1)
    layer = xr.LSTM(I, H, 2, bias=False, seed=1, **options)
    assert repr(variant) == repr(layer)
    assert same_bits(variant.state_dict(), layer.state_dict())


def subsets(letters):
    return ["".join(pick) for n in range(4) for pick in combinations(letters, n)]


@pytest.mark.parametrize("coupled", [None, "input", "forget"])
@pytest.mark.parametrize("omit", subsets("ifo"))
def test_every_combination_of_lstm_options_runs_or_is_refused(omit, coupled):
    x = draw(3, 2, I)
    away = omit + {None: "", "input": "f", "forget": "i"}[coupled]
    gates = [gate for gate in "ifo" if gate not in away]
    for peepholes, linked, size in product(subsets("ifo"), [False, True], [0, 2]):
        options = {"omit": omit, "coupled": coupled, "peepholes": peepholes}
        options |= {"full_gate_recurrence": linked, "proj_size": size}
        sensible = set(peepholes) <= set(gates) and (gates or not linked)
        if coupled is not None and set(omit) & set("if"):
            sensible = False
        if not sensible:
            with pytest.raises(ValueError, match=": expected"):
                xr.LSTM(I, H, **options)
            continue
        layer = xr.LSTM(I, H, seed=1, **options)
        y, final, cache = layer.forward(x, gates=True)
        grads = layer.backward(cache, y, final)
        n, O = len(gates), size or H
        assert y.shape == (3, 2, O)
        assert [part.shape for part in final] == [
            (1, 2, O),
            *[(1, 2, H)] * (1 + n * linked),
        ]
        assert sorted(cache.gates) == sorted(f"{gate}_l0" for gate in [*gates, "g"])
        assert layer.num_parameters == (
            (n + 1) * H * (I + O + 2)
            + size * H
            + len(peepholes) * H
            + linked * (n * H) ** 2
        )
        assert all(dw.any() for dw in grads.weights.values())
        assert repr(layer) == repr(xr.LSTM(**layer.arguments()))


def test_gates_of_the_cache_are_what_the_options_say():
    x = 5 * draw(T, B, I)
    coupled = xr.LSTM(
        I, H, coupled="input", activations=("hard_sigmoid", "relu", "relu")
    )
    y, _, cache = coupled.forward(x, gates=True)
    assert cache.gates["i_l0"].min() == 0
    assert cache.gates["i_l0"].max() == 1
    assert cache.gates["g_l0"].min() == 0 <= y.min()
    limited = xr.LSTM(I, H, clip=0.5, activations=("identity", "identity", "tanh"))
    _, _, cache = limited.forward(x, gates=True)
    for gate in cache.gates.values():
        assert (gate.min(), gate.max()) == (-0.5, 0.5)


@pytest.mark.parametrize("kind", LSTMS)
def test_the_truncated_gradient_goes_along_the_cell_state_alone(kind, dtype):
    options = {"num_layers": 2, "bidirectional": True, "dtype": dtype}
    layer = make_kind(kind, I, H, **options)
    x, lengths = draw(T, B, I, dtype=dtype), [7, 0, 4]
    state, dstate = draw_state(layer, B), draw_gradient(layer, B, seed=8)
    y, _, cache = layer.forward(x, state, lengths=lengths)
    full = layer.backward(cache, y, dstate)
    found = layer.backward(cache, y, dstate, truncated=True)
    assert same_bits(full.weights, layer.backward(cache, y, dstate).weights)
    _, _, twin_cache = xr.reference.forward(layer, x, state, lengths=lengths)
    wanted = xr.reference.backward(layer, twin_cache, y, dstate, truncated=True)
    assert same_bits(found.x, np.ascontiguousarray(wanted.x))
    assert same_bits(found.state, wanted.state)
    assert same_bits(found.weights, wanted.weights)
    dh, dc = found.state[:2]
    assert not dh[:, [0, 2]].any()
    assert same_bits(dh[:, 1], dstate[0][:, 1])  # the row of length 0
    assert dc.any()
    assert not same_bits(found.weights["weight_ih_l0"], full.weights["weight_ih_l0"])


def test_the_cell_of_1997_keeps_an_error_for_a_thousand_steps():
    layer = xr.LSTM(1, 2, omit="f", seed=1)
    _, (h, c), cache = layer.forward(draw(1000, 1, 1))
    dstate = np.zeros_like(h), draw(*c.shape, seed=3)
    grads = layer.backward(cache, None, dstate, truncated=True)
    assert same_bits(grads.state[1], dstate[1])


def test_a_depth_gated_stack_of_one_layer_is_a_peephole_lstm():
    x = draw(T, B, I)
    gated = xr.DepthGatedLSTM(I, H, bidirectional=True, forget_bias=1, seed=1)
    plain = xr.LSTM(I, H, peepholes="ifo", bidirectional=True)
    plain.load_state_dict(gated.state_dict())
    for found, wanted in zip(
        *(run_both_ways(l, x) for l in (gated, plain)), strict=True
    ):
        assert same_bits(found, wanted)


def test_depth_gates_see_the_cell_below_and_send_gradients_there():
    layer = xr.DepthGatedLSTM(I, H, 2, seed=1)
    x, (h, c) = draw(T, B, I), draw_state(layer, B)
    layer.weight_ih_l1[...] = 0  # nothing but the depth gate reads what is below
    y, _ = layer(x, (h, c))
    c[0] += 1
    assert not np.array_equal(layer(x, (h, c))[0], y)
    y, _, cache = layer.forward(x, (h, c))
    grads = layer.backward(cache, y)
    assert grads.state[1][0].any()
    assert grads.weights["weight_ih_l0"].any()


# Leaky units


def test_a_leak_of_one_is_a_simple_rnn():
    x = draw(T, B, I)
    leaky, plain = xr.LeakyRNN(I, H, 2, seed=1), xr.RNN(I, H, 2)
    plain.load_state_dict(leaky.state_dict())
    found, wanted = run_both_ways(leaky, x), run_both_ways(plain, x)
    for a, b in zip(found[:-1], wanted[:-1], strict=True):
        assert all(map(np.array_equal, a, b))
    assert all(map(np.array_equal, found[-1].values(), wanted[-1].values()))


@pytest.mark.parametrize("kind", ["leaky-learned", "leaky-per-unit"])
def test_a_learned_leak_is_the_sigmoid_of_its_weight(kind, dtype):
    layer = make_kind(kind, I, H, dtype=dtype)
    layer.leak_logit_l0 = draw(*layer.leak_logit_l0.shape, dtype=dtype, seed=5)
    leak = np.zeros_like(layer.leak_logit_l0)
    xr._core.elementary("sigmoid", layer.leak_logit_l0, leak, xr.isa())
    leak = leak.tolist() if leak.size > 1 else float(leak[0])
    options = {"nonlinearity": layer.nonlinearity, "dtype": dtype}
    fixed = xr.LeakyRNN(I, H, leak=leak, **options)
    weights = layer.state_dict()
    fixed.load_state_dict({name: weights[name] for name in fixed.state_dict()})
    x = draw(T, B, I, dtype=dtype)
    assert same_bits(layer(x), fixed(x))
    found, wanted = run_both_ways(layer, x), run_both_ways(fixed, x)
    assert same_bits(found[:-1], wanted[:-1])
    del found[-1]["leak_logit_l0"]
    assert same_bits(found[-1], wanted[-1])


@pytest.mark.parametrize("kind", ["leaky-learned", "leaky-per-unit"])
def test_the_gradient_of_a_learned_leak_is_a_central_difference(kind):
    options = {"num_layers": 2, "bidirectional": True, "dtype": "float64"}
    layer = make_kind(kind, I, H, **options)
    x, dy = draw(T, B, I, dtype="float64"), draw(T, B, 2 * H, dtype="float64", seed=2)
    _, _, cache = layer.forward(x, lengths=[7, 0, 4])
    grads = layer.backward(cache, dy).weights
    logits = {name: w for name, w in layer.state_dict().items() if "leak" in name}
    assert len(logits) == 4
    for name, logit in logits.items():
        for k in range(logit.size):
            sides = []
            for step in (1e-5, -1e-5):
                moved = logit.copy()
                moved[k] += step
                setattr(layer, name, moved)
                sides.append(np.sum(layer(x, lengths=[7, 0, 4])[0] * dy))
            setattr(layer, name, logit)
            wanted = (sides[0] - sides[1]) / 2e-5
            assert abs(grads[name][k] - wanted) < 1e-8 + 1e-6 * abs(wanted)


# Jordan


def test_a_jordan_network_feeds_its_output_back():
    layer = xr.JordanRNN(I, H, output_size=2, output_nonlinearity="identity", seed=1)
    x, y_0 = draw(2, B, I), draw(1, B, 2)
    weights = layer.state_dict()
    y = y_0[0]
    for x_t in x:
        a = x_t @ weights["weight_ih_l0"].T + y @ weights["weight_hh_l0"].T
        s = np.tanh(a + weights["bias_ih_l0"] + weights["bias_hh_l0"])
        y = s @ weights["weight_ho_l0"].T + weights["bias_ho_l0"]
    found, state = layer(x, y_0)
    assert np.allclose(found[-1], y, atol=1e-6)
    assert same_bits(found[-1:], state)


# Clockwork


def test_a_clockwork_layer_whose_modules_all_tick_is_a_simple_rnn():
    x = draw(T, B, I)
    plain = xr.RNN(I, H, 2, bidirectional=True, seed=1)
    clockwork = xr.ClockworkRNN(I, H, 2, periods=(1, 1, 1), bidirectional=True, seed=1)
    assert clockwork.num_parameters == plain.num_parameters
    clockwork.load_state_dict(plain.state_dict())
    y, (h, _), *gradients = run_both_ways(clockwork, x)
    assert same_bits([y, h], list(plain(x)))
    for found, wanted in zip(gradients, run_both_ways(plain, x)[2:], strict=True):
        assert same_bits(found, wanted)


def test_modules_move_in_the_steps_of_their_periods():
    layer = xr.ClockworkRNN(I, H, periods=(2, 1, 3), module_sizes=(1, 2, 3), seed=1)
    y, (_, clock) = layer(draw(T, 1, I))
    moved = (y != np.concatenate([np.zeros_like(y[:1]), y[:-1]]))[:, 0]
    steps = np.arange(T)
    for units, period in ((slice(0, 1), 2), (slice(1, 3), 1), (slice(3, 6), 3)):
        assert (moved[:, units] == (steps % period == 0)[:, None]).all()
    assert clock.tolist() == [T]


def test_the_phase_is_what_the_clock_of_a_new_state_shows():
    options = {"periods": (1, 2, 3), "num_layers": 2, "bidirectional": True, "seed": 1}
    x = draw(T, B, I)
    early, late = (
        xr.ClockworkRNN(I, H, **options),
        xr.ClockworkRNN(I, H, phase=4, **options),
    )
    zeros = np.zeros((4, B, H), np.float32)
    y, (_, clock) = late(x, lengths=[7, 0, 2])
    assert clock.tolist() == [11, 4, 6]
    y_early, (_, clock) = early(x, (zeros, [4] * B), lengths=[7, 0, 2])
    assert clock.tolist() == [11, 4, 6]
    assert same_bits(y, y_early)
    assert not same_bits(y, early(x, lengths=[7, 0, 2])[0])


def test_each_row_has_a_clock_of_its_own():
    layer = xr.ClockworkRNN(I, H, periods=(1, 2, 5), bidirectional=True, seed=1)
    x, clocks, lengths = draw(T, B, I), np.array([0, 3, 2**40 + 1]), [7, 4, 6]
    h, _ = draw_state(layer, B)
    y, (_, after) = layer(x, (h, clocks), lengths=lengths)
    assert after.tolist() == [7, 7, 2**40 + 7]
    for b, length in enumerate(lengths):
        alone, _ = layer(x[:length, b], (h[:, b], clocks[b]))
        assert same_bits(y[:length, b], alone)
    assert clocks.tolist() == [0, 3, 2**40 + 1]


def test_the_reverse_direction_counts_from_the_end_of_the_row():
    both = xr.ClockworkRNN(I, H, periods=(1, 2, 5), bidirectional=True, seed=1)
    alone = xr.ClockworkRNN(I, H, periods=(1, 2, 5), seed=1)
    weights = both.state_dict()
    alone.load_state_dict({k: weights[f"{k}_reverse"] for k in alone.state_dict()})
    x = draw(T, B, I)
    y, _ = both(x, lengths=[7, 3, 6])
    for b, length in enumerate([7, 3, 6]):
        turned, _ = alone(x[:length, b][::-1])
        assert same_bits(y[:length, b, H:], turned[::-1])


def test_absent_connections_are_zeros_that_nothing_reads():
    layer = make_kind("clockwork-equal", I, H, num_layers=2)
    absent = absent_connections(layer)
    for name in ("weight_hh_l0", "weight_hh_l1"):
        weight = layer.state_dict()[name]
        assert not weight[absent].any()
        assert weight[~absent].all()
    x = draw(T, B, I)
    y, _ = layer(x)
    layer.weight_hh_l0[absent] = np.nan
    assert same_bits(layer(x)[0], y)
    weights = layer.state_dict()
    layer.load_state_dict({**weights, "weight_hh_l0": weights["weight_hh_l0"] + 1})
    assert not layer.weight_hh_l0[absent].any()
    _, _, cache = layer.forward(x)
    dweight = layer.backward(cache, y).weights["weight_hh_l0"]
    assert not dweight[absent].any()
    assert dweight[~absent].any()


# What the cache shows of the states


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_states_of_the_cache_are_those_after_each_step(kind, batch_first):
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    layer = make_kind(kind, I, H, **options)
    x = draw(B, T, I) if batch_first else draw(T, B, I)
    lengths = [7, 2, 5]
    y, final, cache = layer.forward(x, lengths=lengths)
    names = layer.state_names
    places = [f"_l{k}{end}" for k in range(2) for end in ("", "_reverse")]
    assert list(cache.states) == [name + place for place in places for name in names]
    assert cache.lengths.tolist() == lengths
    for index, place in enumerate(places):
        for name, part in zip(names, as_tuple(as_gradient(layer, final)), strict=True):
            state = cache.states[name + place]
            assert not state.flags.writeable
            state = state.swapaxes(0, 1) if batch_first else state
            for b, length in enumerate(lengths):
                last = 0 if "reverse" in place else length - 1
                assert same_bits(state[last, b], part[index, b])
    y = y.swapaxes(0, 1) if batch_first else y
    shown = [cache.states[f"h_l1{end}"] for end in ("", "_reverse")]
    shown = [h.swapaxes(0, 1) if batch_first else h for h in shown]
    for b, length in enumerate(lengths):
        top = np.concatenate([h[:length, b] for h in shown], axis=1)
        assert same_bits(top, y[:length, b])


def test_an_empty_call_shows_empty_states():
    layer = make_kind("lstm-everything", I, H)
    _, _, cache = layer.forward(np.zeros((0, B, I), np.float32))
    shapes = {name: state.shape for name, state in cache.states.items()}
    assert shapes["h_l0"] == (0, B, 3)
    assert shapes["c_l0"] == shapes["o_l0"] == (0, B, H)
    assert cache.lengths is None
