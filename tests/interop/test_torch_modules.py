"""`exactrnn.torch` beside `torch.nn`: what goes in, what comes out, what is refused.

The cases are those of torch's own tests of RNN, LSTM, GRU and their cells, as shapes
and properties. Results are compared within what the docs page promises, and with the
bits of `exactrnn`'s own layers.
"""

import copy
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: extra torch")

from torch.nn.utils.rnn import PackedSequence, pack_sequence  # noqa: E402
from torch_pairs import (  # noqa: E402 (torch first)
    CELLS,
    FORMS,
    LAYERS,
    OTHERS,
    TOLERANCE,
    B,
    H,
    I,
    T,
    draw_input,
    draw_state,
    flat,
    gradients,
    largest_difference,
    layer_options,
    leaves,
    make_pair,
)

import exactrnn as xr  # noqa: E402
import exactrnn.torch as xrt  # noqa: E402


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


# Beside torch's own


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported:UserWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_agree_with_torch(kind, form):
    for dtype, options in ((d, o) for d in TOLERANCE for o in layer_options(kind)):
        stock, ours = make_pair(kind, dtype=dtype, **options)
        x = draw_input(form, options["batch_first"], dtype)
        for state in (None, draw_state(stock, form, dtype)):
            inputs = leaves(x) + ([] if state is None else leaves(state))
            expected, found = stock(x, state), ours(x, state)
            results = flat(expected), flat(found)
            assert largest_difference(*results) < TOLERANCE[dtype], options
            grads = gradients(stock, expected, *inputs), gradients(ours, found, *inputs)
            assert largest_difference(*grads) < 20 * TOLERANCE[dtype], options
            with torch.no_grad():
                assert largest_difference(flat(ours(x, state)), flat(found)) == 0


@pytest.mark.parametrize("kind", CELLS)
def test_cells_agree_with_torch(kind):
    relu = [{"nonlinearity": "relu"}] if kind == "RNNCell" else []
    for dtype, options in (
        (d, o) for d in TOLERANCE for o in ({}, {"bias": False}, *relu)
    ):
        stock, ours = make_pair(kind, dtype=dtype, **options)
        for lead in ((B,), (), (0,)):
            x = torch.randn(*lead, I, dtype=dtype, requires_grad=True)
            parts = [torch.randn(*lead, H, dtype=dtype) for _ in range(2)]
            for state in (None, tuple(parts) if kind == "LSTMCell" else parts[0]):
                expected, found = stock(x, state), ours(x, state)
                results = flat(expected), flat(found)
                assert largest_difference(*results) < TOLERANCE[dtype]
                grads = gradients(stock, expected, x), gradients(ours, found, x)
                assert largest_difference(*grads) < 20 * TOLERANCE[dtype]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_drops_what_torch_drops(kind, form):
    stock, ours = make_pair(kind, num_layers=3, dropout=0.5, batch_first=True)
    x = draw_input(form, batch_first=True)
    for share in (0.5, 0.1, 1.0, 0.0):
        stock.dropout = ours.dropout = share  # which may be changed
        results = []
        for module in (stock, ours):
            torch.manual_seed(7)
            results.append(module(x))
        assert largest_difference(*map(flat, results)) < 1e-5
        grads = [
            gradients(module, found, *leaves(x))
            for module, found in zip((stock, ours), results, strict=True)
        ]
        assert largest_difference(*grads) < 2e-4
    ours.dropout = 0.5
    with torch.no_grad():
        torch.manual_seed(7)
        dropped = ours(x)[0]
        kept = ours.eval()(x)[0]
    assert largest_difference(flat(dropped)[:1], flat(kept)[:1]) > 1e-3


@pytest.mark.parametrize("kind", LAYERS + CELLS)
def test_first_weights_are_torchs_for_the_same_seed(kind):
    made = []
    for package in (torch.nn, xrt):
        torch.manual_seed(3)
        made.append(getattr(package, kind)(I, H).state_dict())
    assert list(made[0]) == list(made[1])
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


@pytest.mark.parametrize("kind", LAYERS)
def test_constructor_takes_torchs_positional_arguments(kind):
    arguments = [2, "relu"] if kind == "RNN" else [2]
    arguments += [False, True, 0.25, True]
    stock = getattr(torch.nn, kind)(I, H, *arguments)
    ours = getattr(xrt, kind)(I, H, *arguments)
    assert repr(ours) == repr(stock)
    assert list(ours.state_dict()) == list(stock.state_dict())
    for name in (
        "mode",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
    ):
        assert getattr(ours, name) == getattr(stock, name)
    pairs = zip(ours.all_weights, stock.all_weights, strict=True)
    assert all([w.shape for w in a] == [w.shape for w in b] for a, b in pairs)
    assert ours.flatten_parameters() is None


WRONG_ARGUMENTS = (
    {"hidden_size": 0},
    {"hidden_size": -1},
    {"hidden_size": 1.5},
    {"input_size": 0},
    {"num_layers": 0},
    {"bias": 1},
    {"batch_first": "yes"},
    {"dropout": 1.5},
    {"dropout": True},
)


@pytest.mark.parametrize("wrong", WRONG_ARGUMENTS, ids=str)
@pytest.mark.parametrize("kind", LAYERS)
def test_constructor_raises_what_torch_raises(kind, wrong):
    arguments = {"input_size": I, "hidden_size": H, **wrong}
    with pytest.raises(Exception) as expected:  # noqa: PT011 (torch says which)
        getattr(torch.nn, kind)(**arguments)
    with pytest.raises(type(expected.value)):
        getattr(xrt, kind)(**arguments)


def test_unused_dropout_warns_as_torch_does():
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but"):
        xrt.GRU(I, H, dropout=0.5)


def wrong_calls(kind):
    """Return calls of a layer that torch refuses: input, state."""
    x, alone = torch.randn(T, B, I), torch.randn(T, I)
    calls = [
        (torch.randn(I), None),
        (torch.randn(1, T, B, I), None),
        (torch.randn(T, B, I + 1), None),
        (torch.randn(0, B, I), None),
        (x.double(), None),
        (x.long(), None),
    ]
    if kind == "LSTM":
        h = torch.randn(1, B, H)
        calls += [
            (x, (h[0], h[0])),
            (x, (torch.randn(1, B + 1, H), h)),
            (x, (h, torch.randn(1, B, H + 1))),
            (x, (h.double(), h.double())),
            (alone, (h, h)),
        ]
    else:
        calls += [
            (x, torch.randn(B, H)),
            (x, torch.randn(2, B, H)),
            (x, torch.randn(1, B, H + 1)),
            (x, torch.randn(1, B, H).double()),
            (alone, torch.randn(1, B, H)),
        ]
    return calls


@pytest.mark.parametrize("kind", LAYERS)
def test_calls_raise_what_torch_raises(kind):
    stock, ours = make_pair(kind)
    for x, state in wrong_calls(kind):
        with pytest.raises(Exception) as expected:  # noqa: PT011 (torch says which)
            stock(x, state)
        with pytest.raises(type(expected.value)):
            ours(x, state)


@pytest.mark.parametrize("kind", CELLS)
def test_cells_raise_what_torch_raises(kind):
    stock, ours = make_pair(kind)
    x = torch.randn(B, I)
    wrong = [torch.randn(B + 1, H), torch.randn(B, H + 1), torch.randn(1, B, H)]
    calls = [(torch.randn(B, I + 1), None), (torch.randn(1, B, I), None)]
    calls += [(x, (h, h) if kind == "LSTMCell" else h) for h in wrong]
    for x, state in calls:
        with pytest.raises(Exception) as expected:  # noqa: PT011 (torch says which)
            stock(x, state)
        with pytest.raises(type(expected.value)):
            ours(x, state)


def leave_shape(module, name):
    weight = module._parameters[name]
    setattr(module, name, torch.nn.Parameter(weight.to("meta")))


def take_memory(module, name):
    """Do what FSDP does between two calls."""
    module._parameters[name].untyped_storage().resize_(0)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("change", [leave_shape, take_memory])
@pytest.mark.parametrize("kind", [*LAYERS, *CELLS, "MUT1"])
def test_weights_without_memory_are_an_error(kind, change, grad):
    said = r"not at the same device|^weights: expected memory of the CPU, got none"
    for name in getattr(xrt, kind)(I, H).state_dict():
        module = getattr(xrt, kind)(I, H)
        change(module, name)
        for lead in [(B,)] if kind in CELLS else [(T, B), (1, B)]:
            with torch.set_grad_enabled(grad), pytest.raises(RuntimeError, match=said):
                module(torch.randn(*lead, I))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_sparse_inputs_are_an_error_with_a_way_out():
    x = torch.randn(B, I)
    for kind in ("LSTM", "GRUCell"):
        module = getattr(xrt, kind)(I, H)
        for given in (x.to_sparse(), x.to_sparse_csr(), x.to_mkldnn()):
            for grad in (True, False):
                with (
                    torch.set_grad_enabled(grad),
                    pytest.raises(
                        NotImplementedError,
                        match=r"^input: expected a dense .*to_dense",
                    ),
                ):
                    module(given)


def test_packed_sequences_that_hold_something_else_are_refused():
    module, data = xrt.GRU(I, H), torch.randn(5, I)
    for sizes in ([2, 2], [2, 3], [3, 0, 2], [3, 2, 0], [3, 2, -1, 1]):
        packed = PackedSequence(data, torch.tensor(sizes))
        with pytest.raises(RuntimeError, match=r"^input: expected a packed .* got"):
            module(packed)


def test_empty_batch_is_empty():
    for kind in LAYERS:
        stock, ours = make_pair(kind)
        x = torch.randn(T, 0, I, requires_grad=True)
        expected, found = stock(x), ours(x)
        assert [t.shape for t in flat(found)] == [t.shape for t in flat(expected)]
        assert all((g == 0).all() for g in gradients(ours, found, x))


# Beside exactrnn's own


def own_layer(kind, module, dtype, **options):
    """Return a layer of `exactrnn` with a module's weights."""
    layer = getattr(xr, kind)(I, H, dtype=dtype, **options)
    layer.load_state_dict({n: w.detach() for n, w in module.state_dict().items()})
    return layer


NETWORKS = {kind: {} for kind in LAYERS} | OTHERS
NETWORKS_BOTH = {**NETWORKS, "LSTM-peep": {"peepholes": "io", "coupled": "input"}}
NETWORKS_BOTH["GRU-before"] = {"reset_after": False, "activations": ("sigmoid", "relu")}


@pytest.mark.parametrize("name", NETWORKS_BOTH)
def test_bits_are_those_of_exactrnn(name, isa, dtype, threads):
    kind, options = name.partition("-")[0], NETWORKS_BOTH[name]
    shared = {"num_layers": 2, "bidirectional": True}
    module = getattr(xrt, kind)(I, H, **shared, **options, dtype=getattr(torch, dtype))
    layer = own_layer(kind, module, dtype, **shared, **options)
    x = torch.randn(T, B, I, dtype=getattr(torch, dtype), requires_grad=True)
    y, *ends = flat(module(x))
    expected, state, cache = layer.forward(x.detach().numpy())
    states = state if isinstance(state, tuple) else (state,)
    for ours, theirs in zip((y, *ends), (expected, *states), strict=True):
        assert ours.detach().numpy().tobytes() == theirs.tobytes()
    dy = torch.randn_like(y)
    grads = layer.backward(cache, dy.numpy())
    y.backward(dy)
    assert x.grad.numpy().tobytes() == grads.x.tobytes()
    for key, weight in module.named_parameters():
        assert weight.grad.numpy().tobytes() == grads.weights[key].tobytes()


@pytest.mark.parametrize("name", NETWORKS_BOTH)
def test_packed_sequences_are_rows_with_lengths(name):
    kind, options = name.partition("-")[0], NETWORKS_BOTH[name]
    module = getattr(xrt, kind)(I, H, 2, **options)
    layer = own_layer(kind, module, "float32", num_layers=2, **options)
    packed = draw_input("unsorted")
    x, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed)
    output, ends = module(packed)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(output)
    expected, state = layer(x.detach().numpy(), lengths=lengths)
    states = state if isinstance(state, tuple) else (state,)
    assert padded.detach().numpy().tobytes() == expected.tobytes()
    for ours, theirs in zip(flat(ends), states, strict=True):
        assert ours.detach().numpy().tobytes() == theirs.tobytes()


@pytest.mark.parametrize("kind", OTHERS)
def test_other_networks_have_torchs_manners(kind):
    module = getattr(xrt, kind)(I, H, 2, True, True, 0.5, True, **OTHERS[kind])
    assert isinstance(module, torch.nn.RNNBase)
    assert module.dropout == 0.5
    assert module.batch_first
    assert kind in repr(module)
    names = list(
        getattr(xr, kind)(I, H, 2, bidirectional=True, **OTHERS[kind]).state_dict()
    )
    assert list(module.state_dict()) == names
    torch.manual_seed(1)
    first = getattr(xrt, kind)(I, H, **OTHERS[kind]).state_dict()
    torch.manual_seed(1)
    again = getattr(xrt, kind)(I, H, **OTHERS[kind]).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    module.eval()
    x = torch.randn(B, T, I)
    y, state = module(x)
    alone, _ = module(x[1])
    assert torch.equal(y[1], alone)
    halves = module(x[:, :2])[1]
    assert [t.shape for t in flat(halves)] == [t.shape for t in flat(state)]


def test_clock_goes_on_from_call_to_call():
    module = xrt.ClockworkRNN(I, H, periods=(1, 3), phase=1)
    x = torch.randn(T, B, I)
    whole, (_, clock) = module(x)
    first, state = module(x[:2])
    second, (_, end) = module(x[2:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert clock.tolist() == end.tolist() == [1 + T] * B
    assert module(x[:, 0])[1][1].shape == ()
    with pytest.raises(
        RuntimeError, match=r"hx\[-1\]: expected a clock of torch.int64"
    ):
        module(x, (state[0], state[1].float()))


def test_modules_are_made_anywhere_and_count_where_they_are():
    for kind, options in {"LSTM": {"peepholes": "i"}, **OTHERS}.items():
        with torch.device("meta"):
            module = getattr(xrt, kind)(I, H, **options)
        assert all(weight.is_meta for weight in module.parameters())
        module.to_empty(device="cpu").reset_parameters()
        x = torch.randn(T, B, I)
        packed = pack_sequence([x[:4, 0], x[:2, 1]])
        with torch.device("meta"):
            found = flat((module(x), module(packed)))
        assert all(tensor.is_cpu for tensor in found)


def test_option_that_is_wrong_is_refused_by_exactrnns_message():
    with pytest.raises(ValueError, match=r"^peepholes: expected different letters"):
        xrt.LSTM(I, H, peepholes="x")
    with pytest.raises(ValueError, match=r"^periods: "):
        xrt.ClockworkRNN(I, H, periods=())


# Layouts


@pytest.mark.parametrize("kind", LAYERS)
def test_any_layout_of_memory_is_taken(kind):
    module = getattr(xrt, kind)(I, H)
    x = torch.randn(T, B, I)
    expected = module(x)[0]
    strange = {
        "transposed": x.transpose(0, 1).contiguous().transpose(0, 1),
        "gaps in rows": torch.cat([x, x], dim=2)[..., :I],
        "gaps in elements": torch.stack([x, x], dim=3)[..., 0],
        "turned": x.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        "negative bit": torch._neg_view(-x),
        "negative bit, gaps": torch.complex(x, -x).conj().imag,
    }
    for name, given in strange.items():
        assert torch.equal(given, x), name
        assert torch.equal(module(given)[0], expected), name
    same = x[:, :1].expand(T, B, I)
    assert torch.equal(module(same)[0], module(same.contiguous())[0])


def test_input_is_not_copied_nor_changed():
    module = xrt.GRU(I, H)
    x = torch.randn(T, B, I, requires_grad=True)
    before, (y, _) = x.detach().clone(), module(x)
    [sequence, *_] = y.grad_fn.saved_tensors
    assert sequence.data_ptr() == x.data_ptr()
    y.sum().backward()
    assert torch.equal(x, before)


def test_output_of_batch_first_is_contiguous():
    y, _ = xrt.GRU(I, H, batch_first=True)(torch.randn(B, T, I))
    assert y.is_contiguous()


# Copies, dtypes, workers


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS, *OTHERS])
def test_copies_are_the_same_module(kind):
    module = getattr(xrt, kind)(I, H, **OTHERS.get(kind, {}))
    x = torch.randn(B, I) if kind in CELLS else torch.randn(T, B, I)
    expected, file = flat(module(x)), io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    others = {
        "deepcopy": copy.deepcopy(module),
        "pickle": pickle.loads(pickle.dumps(module)),
        "save": torch.load(file, weights_only=False),
        "loaded": type(module)(I, H, **OTHERS.get(kind, {})),
    }
    others["loaded"].load_state_dict(module.state_dict())
    for name, other in others.items():
        assert largest_difference(flat(other(x)), expected) == 0, name
        for weight in other.parameters():
            torch.nn.init.zeros_(weight)
    assert largest_difference(flat(module(x)), expected) == 0
    double = copy.deepcopy(module).double()
    found = [t.float() for t in flat(double(x.double())) if t.is_floating_point()]
    assert (
        largest_difference(found, [t for t in expected if t.is_floating_point()]) < 1e-5
    )


class Read(torch.utils.data.Dataset):
    """What a module says of a few inputs, computed by whoever asks."""

    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 6

    def __getitem__(self, number):
        with torch.no_grad():
            return self.module(torch.full((T, I), 0.1 * number))[0]


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # jax, if it is there
def test_workers_of_a_data_loader_compute_the_same():
    data = Read(xrt.LSTM(I, H, 2))
    expected = torch.stack([data[number] for number in range(6)])
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2)
    assert torch.equal(torch.cat(list(loader)), expected)


def test_threads_are_no_more_than_torchs(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: asked.append(1) or 1)
    module = xrt.GRU(I, H)
    module(torch.randn(T, B, I))
    assert asked


def test_package_does_not_import_torch_by_itself():
    lines = "import sys, exactrnn; assert 'torch' not in sys.modules"
    more = "import exactrnn.torch as a; import exactrnn; assert exactrnn.torch is a"
    subprocess.run([sys.executable, "-c", f"{lines}; {more}"], check=True)


def test_without_torch_the_error_says_what_to_install():
    lines = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    import exactrnn.torch\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", lines], check=True, capture_output=True, text=True
    ).stdout
    assert said == "exactrnn.torch needs PyTorch: pip install 'exactrnn[torch]'\n"
    assert np.array_equal(xr.GRU(I, H, seed=1)(np.ones((1, I), "f4"))[0].shape, (1, H))
