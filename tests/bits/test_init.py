"""First weights: what each rule of `init` draws, in bits that never change (N9)."""

import hashlib
import itertools
import math

import numpy as np
import pytest
from arrays import same_bits, stream_of

import exactrnn as xr
from exactrnn._numeric import random

I, H, O = 7, 16, 5
PERIODS = (4, 1, 2)


def maker(kind, *sizes, **options):
    """Return a function that makes a layer, from the options that a test adds."""
    return lambda **added: kind(*sizes, **options, **{"seed": 1, **added})


LAYERS = {
    "rnn": maker(xr.RNN, I, H, 2),
    "lstm": maker(xr.LSTM, I, H, 2, bidirectional=True),
    "lstm-peepholes": maker(xr.LSTM, I, H, peepholes="ifo"),
    "lstm-projected": maker(xr.LSTM, I, H, proj_size=O),
    "lstm-gates": maker(xr.LSTM, I, H, full_gate_recurrence=True),
    "lstm-omit-i": maker(xr.LSTM, I, H, omit="i"),
    "lstm-omit-o": maker(xr.LSTM, I, H, omit="o"),
    "lstm-coupled-forget": maker(xr.LSTM, I, H, coupled="forget"),
    "lstm-coupled-input": maker(xr.LSTM, I, H, coupled="input"),
    "lstm-omit-f": maker(xr.LSTM, I, H, omit="f"),
    "lstm-cell": maker(xr.LSTMCell, I, H),
    "depth-gated": maker(xr.DepthGatedLSTM, I, H, 3),
    "1997": maker(xr.LSTM1997, I, H, block_size=2),
    "gru": maker(xr.GRU, I, H, 2),
    "gru-before": maker(xr.GRU, I, H, reset_after=False),
    "gru-cell": maker(xr.GRUCell, I, H),
    "mut1": maker(xr.MUT1, I, H),
    "mut2": maker(xr.MUT2, I, H),
    "mut3": maker(xr.MUT3, I, H),
    "jordan": maker(xr.JordanRNN, I, H, output_size=O),
    "leaky": maker(xr.LeakyRNN, I, H, leak=0.5, learn_leak=True),
    "clockwork": maker(xr.ClockworkRNN, I, H, periods=PERIODS),
}
FORGETTING = [kind for kind in LAYERS if kind.startswith(("lstm", "depth"))]
FORGETTING.remove("lstm-omit-f")
KEEPING = [*FORGETTING, "gru", "gru-before", "gru-cell"]
PAPER = [kind for kind in LAYERS if kind.startswith(("lstm", "depth"))]
RECURRENT = ("weight_hh", "weight_hr", "weight_ho", "weight_gates")
CHRONO = ("chrono", 100)

# SHA-256 of the weights in hexadecimal, its first 16 digits: a change of a bit here is
# a new version of the numerics contract. `rnn` stands for "paper" with relu.
FROZEN = {
    "rnn/uniform/float32": "08375d9804a549f7",
    "lstm/uniform/float32": "d83aef662702c10c",
    "1997/uniform/float32": "230fcde83b5adba8",
    "1997/orthogonal/float64": "18db9335255d5388",
    "gru/uniform/float64": "17ce928a81286a5d",
    "lstm-peepholes/glorot/float32": "ab662d748afb6b67",
    "leaky/glorot/float32": "65e9d13cbb08cf05",
    "mut1/glorot/float64": "b9ffa6160a8199cb",
    "lstm/orthogonal/float32": "3bc6996dd029e4c6",
    "lstm/orthogonal/float64": "bccaeda77245a3b0",
    "lstm-projected/orthogonal/float32": "c02081fe9b097168",
    "lstm-gates/orthogonal/float32": "ca74ff711adb72cc",
    "jordan/orthogonal/float64": "3322ad4bd561059b",
    "clockwork/orthogonal/float32": "b2f1104027c0fdea",
    "mut1/orthogonal/float32": "57fde2af3bd3d9f5",
    "rnn/paper/float32": "0752709f75953217",
    "rnn/paper/float64": "d727340de35262e0",
    "lstm/paper/float32": "a7b7b060a53d4c7a",
    "lstm-coupled-input/paper/float32": "d3376006dc3d3901",
    "depth-gated/chrono/float32": "a835011cdedefad2",
    "lstm-coupled-input/chrono/float64": "c78e8f296cdf397d",
    "gru/chrono/float64": "7e2093a2f48ced8a",
}
LARGE = "00515ede84a1e8d5"


def weights_of(layer):
    """Yield name, kind and array of each weight."""
    weights = layer.state_dict()
    for name, weight in layer._spec.weights_by_name.items():
        yield name, weight.kind, weights[name]


def gates_of(layer, name):
    """Return the blocks of a weight's rows by the letter of their gate."""
    letters = layer._spec.weights_by_name[name].blocks
    parts = np.split(layer.state_dict()[name], len(letters))
    return dict(zip(letters, parts, strict=True))


def recurrent_blocks(layer):
    """Yield the matrices of one gate each on the way of a state to the next step."""
    for name, kind, matrix in weights_of(layer):
        if kind not in RECURRENT:
            continue
        count = len(layer._spec.weights_by_name[name].blocks) or 1
        for block in np.split(matrix, count):
            yield from np.split(block, count if kind == "weight_gates" else 1, axis=1)


def digest(layer):
    content = hashlib.sha256()
    for name, array in layer.state_dict().items():
        content.update(name.encode())
        content.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return content.hexdigest()[:16]


# Numbers


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_normal_numbers_are_marsaglias(count):
    raw = iter(random.make_generator(3).random_raw(4 * count + 100))

    def draw():
        return 2 * ((int(next(raw)) >> 11) * 2.0**-53) - 1

    expected = []
    while len(expected) < count:
        u, v = draw(), draw()
        s = u * u + v * v
        if 0 < s < 1:
            factor = math.sqrt(-2 * math.log(s) / s)
            expected += [u * factor, v * factor]
    drawn = random.normal((count,), random.make_generator(3))
    np.testing.assert_allclose(drawn, expected[:count], rtol=1e-14)


def test_fewer_normal_numbers_are_the_first_ones():
    many = random.normal((50, 20), random.make_generator(3)).reshape(-1)
    few = random.normal((37,), random.make_generator(3))
    assert same_bits(few, many[:37])


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    z = random.normal((400_000,), random.make_generator(3))
    assert abs(z.mean()) < 0.01
    assert abs(z.var() - 1) < 0.01
    assert abs((z**3).mean()) < 0.03
    assert abs((z**4).mean() - 3) < 0.06
    assert abs(np.mean(np.abs(z) < 1) - 0.6827) < 0.003
    assert abs(np.mean(z[::2] * z[1::2])) < 0.01


# Rules


@pytest.mark.parametrize("kind", LAYERS)
def test_uniform_is_the_default_and_torchs(kind, dtype):
    layer, same = LAYERS[kind](dtype=dtype), LAYERS[kind](dtype=dtype, init="uniform")
    assert same_bits(layer.state_dict(), same.state_dict())
    bits = {"float32": 24, "float64": 53}[dtype]
    number = np.dtype(dtype).type
    for name, what, weight in weights_of(layer):
        if what == "leak_logit":
            continue
        raw = stream_of(layer, name).random_raw(weight.size) >> np.uint64(64 - bits)
        uniform = raw.astype(dtype) * number(2.0**-bits)
        bound = number(1) / np.sqrt(number(H))
        expected = ((2 * uniform - 1) * bound).reshape(weight.shape)
        if kind == "clockwork" and what == "weight_hh":
            expected[~layer._spec.hh_mask] = 0
        assert same_bits(weight, expected)


def rows_of_a_gate(kind):
    """Return the height of a row block: H, but for blocks of two cells."""
    return H // 2 if kind == "1997" else H


@pytest.mark.parametrize("kind", LAYERS)
def test_glorots_limits_are_those_of_one_gate(kind):
    layer = LAYERS[kind](init="glorot", dtype="float64")
    for _, what, weight in weights_of(layer):
        if what == "leak_logit":
            continue
        if weight.ndim == 1 or what == "weight_peephole":
            assert not weight.any()
            continue
        rows = O if what in ("weight_hr", "weight_ho") else rows_of_a_gate(kind)
        columns = H if what == "weight_gates" else weight.shape[1]
        limit = math.sqrt(6 / (rows + columns))
        assert 0.9 * limit < np.abs(weight).max() <= limit


@pytest.mark.parametrize("kind", LAYERS)
def test_recurrent_blocks_are_orthogonal(kind, dtype):
    layer = LAYERS[kind](init="orthogonal", dtype=dtype)
    tolerance = {"float32": 3e-7, "float64": 1e-15}[dtype]
    found = list(recurrent_blocks(layer))
    assert found
    if kind == "clockwork":
        found = modules_of(layer)
    for block in found:
        tall = block.astype("float64")
        if tall.shape[0] > tall.shape[1]:
            tall = tall.T
        assert np.abs(tall @ tall.T - np.eye(len(tall))).max() < 4 * tolerance
    for _, what, weight in weights_of(layer):
        if what in ("bias_ih", "bias_hh", "bias_ho", "weight_peephole"):
            assert not weight.any()
        if what == "weight_ih":
            limit = math.sqrt(6 / (rows_of_a_gate(kind) + weight.shape[1]))
            assert 0.9 * limit < np.abs(weight).max() <= np.float32(limit)


def modules_of(layer):
    """Return the connections that exist of each module of a clockwork layer."""
    R, mask = layer.state_dict()["weight_hh_l0"], layer._spec.hh_mask
    assert not R[~mask].any()
    sizes = [size for size, _ in layer._spec.options["modules"]]
    ends = np.cumsum(sizes)
    return [
        R[end - size : end, mask[end - 1]]
        for size, end in zip(sizes, ends, strict=True)
    ]


def test_gates_have_orthogonal_matrices_of_their_own():
    first, second, *_ = recurrent_blocks(LAYERS["lstm"](init="orthogonal"))
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("bias", [True, False])
def test_relu_paper_is_the_identity(bias):
    layer = xr.RNN(50, 40, nonlinearity="relu", init="paper", bias=bias, seed=1)
    weights = layer.state_dict()
    assert same_bits(weights["weight_hh_l0"], np.eye(40, dtype="float32"))
    assert abs(weights["weight_ih_l0"].std() - 0.001) < 0.0001
    assert all(not weights[name].any() for name in weights if name.startswith("bias"))


@pytest.mark.parametrize("kind", PAPER)
def test_lstm_paper_is_uniform_with_a_forget_bias_of_one(kind):
    options = {} if kind == "lstm-omit-f" else {"forget_bias": 1.0}
    paper = LAYERS[kind](init="paper")
    assert same_bits(paper.state_dict(), LAYERS[kind](**options).state_dict())


def test_forget_bias_goes_before_the_papers():
    both = LAYERS["lstm"](init="paper", forget_bias=3.0)
    assert same_bits(both.state_dict(), LAYERS["lstm"](forget_bias=3.0).state_dict())


@pytest.mark.parametrize("kind", KEEPING)
def test_chrono_spreads_the_time_that_gates_keep(kind):
    layer, plain = LAYERS[kind](init=CHRONO), LAYERS[kind]()
    signs = {"f": 1, "i": -1, "z": 1}
    for name, weight in layer.state_dict().items():
        if not name.startswith("bias"):
            assert same_bits(weight, plain.state_dict()[name])
            continue
        gates, unchanged = gates_of(layer, name), gates_of(plain, name)
        for gate, bias in gates.items():
            if gate not in signs:
                assert same_bits(bias, unchanged[gate])
            elif name.startswith("bias_hh"):
                assert not bias.any()
            else:
                times = np.exp(signs[gate] * bias.astype("float64"))
                assert (times >= 1).all()
                assert (times <= 99 + 1e-4).all()
        if "f" in gates and "i" in gates and name.startswith("bias_ih"):
            assert same_bits(gates["f"], -gates["i"])


def test_chrono_times_are_uniform():
    layer = xr.LSTM(1, 4000, init=("chrono", 101), dtype="float64", seed=1, proj_size=1)
    times = np.sort(np.exp(gates_of(layer, "bias_ih_l0")["f"]))
    expected = 1 + 99 * (np.arange(4000) + 0.5) / 4000
    assert np.abs(times - expected).max() < 3


def test_chrono_of_the_shortest_time_is_zero():
    gates = gates_of(xr.LSTM(1, 4, init=("chrono", 2)), "bias_ih_l0")
    zeros = np.zeros(4, "float32")
    assert same_bits(gates["f"], zeros)
    assert same_bits(gates["i"], zeros)


@pytest.mark.parametrize("init", ["uniform", "orthogonal", "glorot", "paper"])
@pytest.mark.parametrize("kind", FORGETTING)
def test_forget_bias_sits_in_the_gate_that_forgets(kind, init):
    layer = LAYERS[kind](init=init, forget_bias=2.5)
    base = "uniform" if init == "paper" else init
    plain = LAYERS[kind](init=base)
    gate, bias = ("i", -2.5) if kind == "lstm-coupled-input" else ("f", 2.5)
    seen = 0
    for name, weight in layer.state_dict().items():
        if not name.startswith("bias_"):
            assert same_bits(weight, plain.state_dict()[name])
            continue
        unchanged = gates_of(plain, name)
        for letter, part in gates_of(layer, name).items():
            if letter != gate:
                assert same_bits(part, unchanged[letter])
                continue
            value = bias if name.startswith("bias_ih") else 0.0
            assert same_bits(part, np.full(H, value, "float32"))
            seen += 1
    assert seen == 2 * layer._spec.num_layers * layer._spec.directions


def test_rules_do_not_move_the_masks_of_dropout():
    def state(**options):
        return LAYERS["lstm"](dropout=0.5, **options)._generator_state()

    rules = [{"forget_bias": 1.0}, {"init": "paper"}, {"init": CHRONO}]
    assert all(state(**options) == state() for options in rules)
    assert state() == stream_of(LAYERS["lstm"](), "dropout").state


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (maker(xr.RNN, I, H, init="paper"), "init: expected .* nonlinearity='tanh'"),
        (maker(xr.GRU, I, H, init="paper"), "init: expected .* got 'paper'"),
        (maker(xr.MUT1, I, H, init="paper"), "init: expected .* got 'paper'"),
        (
            maker(xr.LSTM, I, H, init="paper", bias=False),
            "init: expected .* bias=False",
        ),
        (maker(xr.LSTM, I, H, init=CHRONO, omit="f"), "init: expected .* forget gate"),
        (maker(xr.LSTM, I, H, init=CHRONO, bias=False), "init: expected .* bias=True"),
        (maker(xr.RNN, I, H, init=CHRONO), "init: expected .* got"),
        (maker(xr.LSTM, I, H, omit="f", forget_bias=1.0), "forget_bias: expected None"),
    ],
)
def test_rule_without_a_meaning_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# One seed, many modules


MODULES = {
    **LAYERS,
    "rnn-cell": maker(xr.RNNCell, I, H),
    "grid": maker(xr.GridLSTM, I, H, sizes=(None, 2)),
    "time-depth-grid": maker(xr.TimeDepthGridLSTM, I, H, num_layers=2),
    "echo-state": maker(xr.EchoState, I, H, density=1.0, bias_scaling=1.0),
    "linear": maker(xr.train.Linear, I, H),
    "embedding": maker(xr.train.Embedding, I, H),
}


def first_numbers(kind, **options):
    """Return the first numbers of each weight, by class and name, up to a factor."""
    module, found = MODULES[kind](dtype="float64", **options), {}
    for name, weight in module.state_dict().items():
        first = weight.reshape(-1)[:5]
        if first.any() and not name.startswith("leak_logit"):
            found[f"{type(module).__name__}/{name}"] = first / np.abs(first).max()
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_one_seed_never_gives_the_same_numbers_twice(seed):
    found = {}
    for kind in MODULES:
        found |= first_numbers(kind, seed=seed)
    classes = {name.split("/")[0] for name in found}
    assert {"LSTM", "GRU", "RNN", "Linear", "Embedding", "RNNCell"} < classes
    assert {"GridLSTM", "TimeDepthGridLSTM", "EchoState", "LSTM1997"} < classes
    for (one, a), (other, b) in itertools.combinations(found.items(), 2):
        # In absolute values too: a weight might be another's with its sign turned.
        assert not np.allclose(np.abs(a), np.abs(b), rtol=1e-3), (one, other)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_masks_are_not_drawn_from_the_numbers_of_a_weight(kind):
    layer = MODULES[kind](dropout=0.5)
    masks = random.unit((20,), random.FLOAT64, stream_of(layer, "dropout"))
    for name in layer.state_dict():
        assert not np.isin(
            random.unit((20,), random.FLOAT64, stream_of(layer, name)), masks
        ).any()
    x = np.ones((3, 2, I), "float32")
    (mask,) = layer.forward(x)[2].masks
    again = random.unit(mask.shape, random.FLOAT64, stream_of(layer, "dropout"))
    assert same_bits(mask != 0, again >= 0.5)


def test_classes_derived_from_a_layer_have_its_weights():
    class Renamed(xr.LSTM):
        pass

    class RenamedLinear(xr.train.Linear):
        pass

    pairs = [(Renamed, xr.LSTM), (RenamedLinear, xr.train.Linear)]
    for derived, base in pairs:
        own, expected = derived(I, H, seed=1), base(I, H, seed=1)
        assert same_bits(own.state_dict(), expected.state_dict())


def test_modules_without_a_seed_differ():
    for kind in MODULES:
        first, second = (first_numbers(kind, seed=None) for _ in range(2))
        assert first
        for name, numbers in first.items():
            assert not np.array_equal(numbers, second[name])


# Bits


def rules_of(kind):
    rules = ["uniform", "orthogonal", "glorot"]
    rules += ["paper"] if kind in PAPER else []
    return rules + ([CHRONO] if kind in KEEPING else [])


CASES = [
    pytest.param(kind, rule, id=f"{kind}-{rule if isinstance(rule, str) else rule[0]}")
    for kind in LAYERS
    for rule in rules_of(kind)
]


@pytest.mark.parametrize(("kind", "rule"), CASES)
def test_bits_do_not_depend_on_the_engine(kind, rule):
    first = LAYERS[kind](init=rule).state_dict()
    for isa in xr.isas():
        for threads in (1, 3):
            with xr.use_isa(isa), xr.threads(threads):
                assert same_bits(LAYERS[kind](init=rule).state_dict(), first)


@pytest.mark.parametrize(("kind", "rule"), CASES)
def test_seeds_differ(kind, rule):
    first = LAYERS[kind](init=rule).state_dict()
    second = LAYERS[kind](init=rule, seed=2).state_dict()
    assert all(
        not np.array_equal(second[name], weight)
        for name, weight in first.items()
        if weight.any() and np.unique(weight).size > 2
    )


@pytest.mark.parametrize("name", FROZEN)
def test_bits_are_frozen(name):
    kind, rule, dtype = name.split("/")
    init = CHRONO if rule == "chrono" else rule
    options = {"nonlinearity": "relu"} if (kind, rule) == ("rnn", "paper") else {}
    layer = LAYERS[kind](init=init, dtype=dtype, **options)
    assert digest(layer) == FROZEN[name]


def test_bits_of_a_matrix_of_several_blocks_are_frozen(isa, threads):
    # The fixtures are in force while it is factorised.
    layer = xr.RNN(1, 100, init="orthogonal", dtype="float64", seed=1)
    assert digest(layer) == LARGE
