"""`swap` and `unswap`: strangers' models, in place, reported, and back."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: extra torch")

from torch import nn  # noqa: E402 (torch first)
from torch.nn.utils import parametrizations  # noqa: E402
from torch.nn.utils.parametrize import remove_parametrizations  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402
from torch_pairs import (  # noqa: E402
    CELLS,
    LAYERS,
    TOLERANCE,
    B,
    H,
    I,
    T,
    flat,
    largest_difference,
)

import exactrnn.torch as xrt  # noqa: E402


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


class Own(nn.GRU):
    """A stranger's class, which may compute otherwise."""

    def forward(self, x, hx=None):
        y, h = super().forward(x, hx)
        return 2 * y, h


class Model(nn.Module):
    """A stranger's model: layers, cells, one shared, one in a plain list."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, I)
        self.encode = nn.LSTM(I, H, 2, bidirectional=True, dropout=0.3)
        self.cells = nn.ModuleList([nn.LSTMCell(2 * H, H), nn.GRUCell(H, H)])
        self.last = nn.RNN(H, H, nonlinearity="relu", batch_first=True)
        self.again = self.last
        self.unseen = [self.last]

    def forward(self, words):
        y, _ = self.encode(self.embed(words))
        h, states = y.new_zeros(y.shape[1], H), []
        state = h, h
        for step in y:
            state = self.cells[0](step, state)
            h = self.cells[1](state[0], h)
            states.append(h)
        return self.unseen[0](torch.stack(states, dim=1))[0]


WORDS = torch.arange(T * B).reshape(T, B)


@pytest.fixture(params=TOLERANCE, ids=str)
def default_dtype(request):
    """The dtype of all tensors that a test makes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def test_a_model_computes_the_same_swapped_and_back(default_dtype):
    model = Model().eval()
    expected = model(WORDS)
    before = {name: type(module) for name, module in model.named_modules()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    report = xrt.swap(model)
    assert largest_difference([expected], [model(WORDS)]) < TOLERANCE[default_dtype]
    assert report.swapped == {
        "encode": "exactrnn.torch.LSTM",
        "cells.0": "exactrnn.torch.LSTMCell",
        "cells.1": "exactrnn.torch.GRUCell",
        "last": "exactrnn.torch.RNN",
    }
    assert report.left == {}
    assert xrt.swap(model).swapped == {}
    back = xrt.unswap(model).swapped
    names = ("LSTM", "LSTMCell", "GRUCell", "RNN")
    assert [*back.values()] == [f"torch.nn.{name}" for name in names]
    assert {name: type(module) for name, module in model.named_modules()} == before
    left = {name: set(vars(module)) for name, module in model.named_modules()}
    assert left == attributes
    assert torch.equal(model(WORDS), expected)


def test_training_goes_on_with_the_same_parameters_and_optimizer():
    models = [Model(), None]
    models[1] = copy.deepcopy(models[0])
    optimizers = [torch.optim.Adam(model.parameters(), 0.01) for model in models]
    parameters = [*models[1].parameters()]
    for step in range(6):
        if step == 2:
            xrt.swap(models[1])
        if step == 4:
            xrt.unswap(models[1])
        losses = []
        for model, optimizer in zip(models, optimizers, strict=True):
            torch.manual_seed(step)
            optimizer.zero_grad()
            losses.append(model(WORDS).square().mean())
            losses[-1].backward()
            optimizer.step()
        assert abs(float(losses[0].detach() - losses[1].detach())) < 1e-5
    assert all(a is b for a, b in zip(parameters, models[1].parameters(), strict=True))
    weights = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert max(float((a - b).detach().abs().max()) for a, b in weights) < 1e-4


def test_model_that_is_a_layer_itself_is_swapped_in_place():
    for kind in LAYERS + CELLS:
        module = getattr(nn, kind)(I, H)
        report = xrt.swap(module)
        assert str(report) == f"(the model): exactrnn.torch.{kind}"
        assert type(module) is getattr(xrt, kind)
        assert repr(module) == f"{kind}({I}, {H})"
        copied = copy.deepcopy(module)
        xrt.unswap(copied)
        assert type(copied) is getattr(nn, kind)
    made = xrt.LSTM(I, H)
    assert xrt.swap(made).swapped == xrt.unswap(made).swapped == {}
    assert type(made) is xrt.LSTM


def test_hooks_stay_and_run():
    layer, seen = nn.GRU(I, H), []
    layer.register_forward_pre_hook(lambda *_: seen.append("before"))
    layer.register_forward_hook(lambda *_: seen.append("after"))
    assert "" in xrt.swap(layer).swapped
    layer(torch.randn(T, B, I))
    assert seen == ["before", "after"]


def strange_modules():
    """Return recurrent modules that are left, and a word of the reason for each."""
    replaced = nn.LSTM(I, H)
    replaced.forward = lambda x: x
    with torch.device("meta"):
        elsewhere = nn.GRU(I, H)
    normed = parametrizations.weight_norm(nn.LSTM(I, H), "weight_hh_l0")
    sparse = nn.RNNCell(I, H)
    sparse.weight_hh = nn.Parameter(sparse.weight_hh.detach().to_sparse())
    return {
        "own": (Own(I, H), "Own is a class of its own"),
        "replaced": (replaced, "its forward was replaced"),
        "elsewhere": (elsewhere, "its weight_ih_l0 is on meta, not on the CPU"),
        "half": (nn.GRU(I, H).bfloat16(), "of torch.bfloat16, not of float32"),
        "normed": (normed, "it is parametrized: swap first"),
        "sparse": (sparse, "its weight_hh is torch.sparse_coo, not dense"),
        "empty": (nn.GRUCell(0, H), "input_size: expected an integer >= 1, got 0"),
        "unknown": (nn.RNNCell(I, H, nonlinearity="gelu"), "nonlinearity: expected"),
    }


STRANGE = ("own", "replaced", "elsewhere", "half", "normed", "sparse", "empty")


@pytest.mark.parametrize("name", [*STRANGE, "unknown"])
def test_what_cannot_be_swapped_is_left_and_reported(name):
    module, reason = strange_modules()[name]
    kind, model = type(module), nn.ModuleDict({"part": module})
    report = xrt.swap(model)
    assert report.swapped == {}
    assert reason in report.left["part"]
    assert str(report) == f"part: left, {report.left['part']}"
    assert type(module) is kind
    assert "_line" not in vars(module)
    assert xrt.unswap(model).swapped == {}


def test_modules_of_another_class_than_swap_gave_them_are_left_by_unswap():
    normed, sharded = nn.GRU(I, H), nn.LSTMCell(I, H)
    model = nn.ModuleDict({"normed": normed, "sharded": sharded, "plain": nn.RNN(I, H)})
    xrt.swap(model)
    parametrizations.weight_norm(normed, "weight_hh_l0")
    sharded.__class__ = type("FSDPLSTMCell", (type(sharded),), {})  # as fully_shard
    x = torch.randn(T, B, I)
    before = normed(x)[0]
    report = xrt.unswap(model)
    assert report.swapped == {"plain": "torch.nn.RNN"}
    assert report.left == {
        "normed": "it is parametrized: remove the parametrizations first",
        "sharded": "FSDPLSTMCell is a class that it was given after swap",
    }
    assert torch.equal(normed(x)[0], before)
    remove_parametrizations(normed, "weight_hh_l0")
    assert xrt.unswap(normed).swapped == {"": "torch.nn.GRU"}
    assert (normed(x)[0] - before).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported:UserWarning")
def test_sizes_and_flags_of_any_kind_that_torch_takes_are_taken():
    two = np.int64(2)
    for kind, sizes, options in (
        ("LSTM", (I, H, two), {"proj_size": two}),
        ("GRU", (I, H, two), {}),
        ("GRUCell", (np.int64(I), np.int32(H)), {}),
        ("LSTMCell", (I, H), {"bias": np.False_}),
        ("RNNCell", (I, H), {"bias": 1}),
        ("RNNCell", (I, H), {"bias": None}),
    ):
        stock = getattr(nn, kind)(*sizes, **options)
        x = torch.randn(B, I) if kind in CELLS else torch.randn(T, B, I)
        expected, module = stock(x), getattr(xrt, kind)(*sizes, **options)
        module.load_state_dict(stock.state_dict())
        xrt.swap(stock)
        for found in (stock(x), module(x)):
            assert largest_difference(flat(expected), flat(found)) < 1e-5


def test_a_nonlinearity_that_is_changed_counts_from_the_next_step_on():
    stock = nn.RNNCell(I, H)
    swapped, x = copy.deepcopy(stock), torch.randn(B, I)
    xrt.swap(swapped)
    for cell in (stock, swapped):
        cell.nonlinearity = "relu"
    assert largest_difference([stock(x)], [swapped(x)]) < 1e-5
    with pytest.raises(ValueError, match="nonlinearity: expected one of"):
        swapped.nonlinearity = "gelu"
    assert swapped.nonlinearity == "relu"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_and_scripted_modules_are_left():
    quantised = torch.ao.nn.quantized.dynamic.LSTM(I, H)
    scripted = torch.jit.script(nn.GRU(I, H))
    report = xrt.swap(nn.ModuleDict({"q": quantised, "s": scripted}))
    assert report.left == {"q": "it is quantised", "s": "it is compiled TorchScript"}


def test_model_without_recurrent_modules_is_reported_so():
    assert str(xrt.swap(nn.Linear(2, 2))) == "no recurrent modules"
    for function in (xrt.swap, xrt.unswap):
        with pytest.raises(TypeError, match=r"^model: expected a torch.nn.Module, got"):
            function([nn.GRU(I, H)])


def test_swapped_layer_reads_packed_sequences_with_states():
    layer = nn.LSTM(I, H, 2, proj_size=2)
    packed = pack_sequence([torch.randn(n, I) for n in (2, 5, 3)], enforce_sorted=False)
    state = torch.randn(2, 3, 2), torch.randn(2, 3, H)
    expected = layer(packed, state)
    xrt.swap(layer)
    assert largest_difference(flat(expected), flat(layer(packed, state))) < 1e-5
