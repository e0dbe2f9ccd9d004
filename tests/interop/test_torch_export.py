"""`exactrnn.to_torch`: torch's modules out of layers, with the bits of weights."""

import re

import numpy as np
import pytest
from arrays import draw, same_bits
from layer_kinds import CELL_KINDS, KINDS, make_cell, make_kind

torch = pytest.importorskip("torch", reason="needs torch: extra torch")

import torch_pairs  # noqa: E402 (torch first)

import exactrnn as xr  # noqa: E402
import exactrnn.torch as xrt  # noqa: E402
from exactrnn.interop.torch import _export  # noqa: E402

T, B, I, H = 5, 3, 4, 6
STOCK = {
    "LSTM": xr.LSTM,
    "GRU": xr.GRU,
    "RNN": xr.RNN,
}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def weights_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def flat(result):
    """Return the arrays of a result of a layer or a module, in order."""
    if isinstance(result, torch.Tensor):
        return [result.detach().numpy()]
    if isinstance(result, np.ndarray):
        return [result]
    return [array for part in result for array in flat(part)]


def check_equal(layer, module, x):
    """Raise unless a module has the bits of a layer's weights and its answers."""
    assert same_bits(weights_of(module), layer.state_dict())
    assert [*module.state_dict()] == [*layer.state_dict()]
    theirs = flat(module(torch.from_numpy(x)))
    for one, other in zip(flat(layer(x)), theirs, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < TOLERANCE[layer.dtype.name]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@DTYPES
@pytest.mark.parametrize("kind", STOCK)
def test_every_option_that_torch_has_goes_over(kind, dtype):
    for options in torch_pairs.layer_options(kind):
        layer = STOCK[kind](I, H, seed=1, dtype=dtype, **options)
        module = xr.to_torch(layer)
        assert type(module) is getattr(torch.nn, kind)
        x = draw(T, B, I, dtype=dtype)
        check_equal(layer, module, x)
        back = xr.from_torch(module)
        assert repr(back) == repr(layer)
        assert same_bits(back.state_dict(), layer.state_dict())


@DTYPES
def test_single_steps_and_readouts_go_over(dtype):
    x = draw(B, I, dtype=dtype)
    for kind in ("LSTMCell", "GRUCell", "RNNCell"):
        for bias in (True, False):
            cell = getattr(xr, kind)(I, H, bias=bias, dtype=dtype, seed=1)
            module = xr.to_torch(cell)
            assert type(module) is getattr(torch.nn, kind)
            check_equal(cell, module, x)
    for bias in (True, False):
        linear = xr.train.Linear(I, H, bias=bias, dtype=dtype, seed=1)
        check_equal(linear, xr.to_torch(linear), x)
    embedding = xr.train.Embedding(7, I, dtype=dtype, seed=1)
    check_equal(embedding, xr.to_torch(embedding), np.array([[3, 6], [0, 1]]))


def test_what_torch_trained_comes_back_as_it_was():
    for kind in ("LSTM", "GRU", "RNN"):
        module = getattr(torch.nn, kind)(I, H, 2, bidirectional=True)
        with torch.no_grad():
            module.weight_hh_l1_reverse[0, 0] = -0.0
            module.bias_ih_l0[0] = 1e-42
        again = xr.to_torch(xr.from_torch(module))
        assert same_bits(weights_of(again), weights_of(module))
        assert repr(again) == repr(module)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "grid"])
def test_every_layer_that_has_a_module_goes_over_with_its_bits(kind):
    layer = make_kind(kind, I, H, seed=1, num_layers=2, bidirectional=True)
    module = xr.to_torch(layer, stock=False)
    assert type(module) is getattr(xrt, type(layer).__name__)
    assert same_bits(weights_of(module), layer.state_dict())
    x = draw(T, B, I)
    assert same_bits(flat(module(torch.from_numpy(x))), flat(layer(x)))


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_every_single_step_goes_over_with_its_bits(kind):
    cell = make_cell(kind, I, H, seed=1)
    module = xr.to_torch(cell, stock=False)
    x = draw(B, I)
    assert same_bits(flat(module(torch.from_numpy(x))), flat(cell(x)))


LACKING = {
    "peepholes '', since torch.nn.LSTM": lambda: xr.LSTM(I, H, peepholes="i"),
    "coupled None": lambda: xr.LSTM(I, H, coupled="input"),
    "omit ''": lambda: xr.LSTM(I, H, omit="o"),
    "full_gate_recurrence False": lambda: xr.LSTM(I, H, full_gate_recurrence=True),
    "clip None, since torch.nn.RNN has": lambda: xr.RNN(I, H, clip=1.0),
    "reset_after True": lambda: xr.GRU(I, H, reset_after=False),
    "reverse False": lambda: xr.GRU(I, H, reverse=True),
    "activations ('sigmoid', 'tanh'),": lambda: xr.GRU(
        I, H, bidirectional=True, activations=("sigmoid", "tanh", "sigmoid", "relu")
    ),
    "nonlinearity 'tanh' or 'relu'": lambda: xr.RNN(I, H, nonlinearity="softsign"),
    "since torch.nn.RNN has none, got ('relu', 'tanh')": lambda: xr.RNN(
        I, H, nonlinearity=("relu", "tanh"), bidirectional=True
    ),
    "since torch.nn.GRUCell has none": lambda: xr.GRUCell(I, H, clip=2.0),
    "proj_size 0, since torch.nn.LSTMCell": lambda: xr.LSTMCell(I, H, proj_size=2),
    "layer_norm False, since torch.nn.GRU": lambda: xr.GRU(I, H, layer_norm=True),
}


@pytest.mark.parametrize("words", LACKING)
def test_options_that_torch_lacks_are_named(words):
    layer = LACKING[words]()
    with pytest.raises(ValueError, match=re.escape(words)):
        xr.to_torch(layer)
    assert isinstance(xr.to_torch(layer, stock=False), torch.nn.Module)


def test_every_option_of_the_classes_that_torch_has_is_known():
    known = _export.TAKEN | _export.FIRST | _export.PLAIN.keys()
    known |= {"activations", "nonlinearity", *_export.UNKNOWN}
    for kind in _export.STOCK:
        assert known >= {*kind._given({})}


REFUSED = {
    "expected a layer that torch.nn has, got MUT1; stock=False may": xr.MUT1(I, H),
    "expected a layer that torch.nn has, got EchoState": xr.EchoState(I, H),
    "expected a layer that torch.nn has, got 'LSTM'": "LSTM",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_layer_of_torch_is_refused(words):
    with pytest.raises(TypeError, match=re.escape(words)):
        xr.to_torch(REFUSED[words])


def test_weights_alone_are_there_for_every_layer():
    layer = xr.TimeDepthGridLSTM(I, H, seed=1)
    found = xrt.to_state_dict(layer)
    assert same_bits({n: w.numpy() for n, w in found.items()}, layer.state_dict())
    before = layer.state_dict()
    for tensor in found.values():
        tensor.zero_()
    assert same_bits(layer.state_dict(), before)
    with pytest.raises(TypeError, match="model: expected a layer or model, got"):
        xrt.to_state_dict({})
    with pytest.raises(TypeError, match=r"exactrnn\.torch has, got TimeDepthGridLSTM"):
        xr.to_torch(layer, stock=False)


class Tagger(xr.train.Composite):
    """A model of a user, with parts in a list and in a composite."""

    def __init__(self, cell="tanh"):
        self.embedding = xr.train.Embedding(7, I)
        self.layers = [xr.GRU(I, H), xr.RNN(H, H, nonlinearity=cell)]
        self.head = xr.train.Sequential(
            xr.LSTM(H, H), xr.train.Last(), xr.train.Linear(H, 2)
        )
        self.seed_parts(0)


def test_a_composite_becomes_modules_of_the_same_names():
    model = Tagger()
    module = xr.to_torch(model)
    assert same_bits(weights_of(module), model.state_dict())
    assert type(module.layers.get_submodule("0")) is torch.nn.GRU
    other = Tagger()
    other.seed_parts(1)
    other.load_state_dict(module.state_dict())
    assert same_bits(other.state_dict(), model.state_dict())
    words = r"model\.layers\.1: expected nonlinearity 'tanh' or 'relu'"
    with pytest.raises(ValueError, match=words):
        xr.to_torch(Tagger("softsign"))


def test_torchs_random_numbers_stay_where_they_are():
    layer = xr.LSTM(I, H, peepholes="ifo")
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    xr.to_torch(xr.GRU(I, H))
    xr.to_torch(layer, stock=False)
    assert torch.equal(torch.rand(3), wanted)


def test_embeddings_that_drop_symbols_are_not_torchs():
    with pytest.raises(ValueError, match=r"dropout 0\.0, since torch\.nn\.Embedding"):
        xr.to_torch(xr.train.Embedding(3, 4, dropout=0.5))
