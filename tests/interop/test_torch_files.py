"""`from_torch` on what torch itself has: its files, its modules, its tensors."""

import io

import numpy as np
import pytest
import torch_files as tf
from arrays import same_bits

torch = pytest.importorskip("torch", reason="needs torch: extra torch")

from torch import nn  # noqa: E402

import exactrnn as xr  # noqa: E402


class Reader(nn.Module):
    """A model as people have it."""

    def __init__(self):
        super().__init__()
        self.symbols = nn.Embedding(7, 3)
        self.rnn = nn.LSTM(
            3, 4, 2, batch_first=True, bidirectional=True, dropout=0.5, proj_size=2
        )
        self.readout = nn.Linear(4, 5)


KINDS = {
    "LSTM": lambda: nn.LSTM(3, 4, 2, bidirectional=True),
    "LSTM-proj": lambda: nn.LSTM(3, 4, proj_size=2, bias=False),
    "GRU": lambda: nn.GRU(3, 4, 2, dropout=0.5, dtype=torch.float64),
    "RNN": lambda: nn.RNN(3, 4, nonlinearity="relu", batch_first=True),
    "LSTMCell": lambda: nn.LSTMCell(3, 4, bias=False),
    "GRUCell": lambda: nn.GRUCell(3, 4),
    "RNNCell": lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
    "Linear": lambda: nn.Linear(3, 4),
    "Linear-no-bias": lambda: nn.Linear(3, 4, bias=False),
    "Embedding": lambda: nn.Embedding(3, 4),
}


def numbers_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def content_of(thing, **options):
    file = io.BytesIO()
    torch.save(thing, file, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", KINDS)
def test_a_module_gives_its_layer_options_and_all(name):
    module = KINDS[name]().eval()
    kind = name.partition("-")[0]
    layer = xr.from_torch(module, "", kind=kind)
    assert type(layer).__name__ == kind
    assert same_bits(layer.state_dict(), numbers_of(module))
    for option in ("nonlinearity", "batch_first", "dropout", "num_layers", "proj_size"):
        if hasattr(module, option) and hasattr(layer, option):
            assert getattr(layer, option) == getattr(module, option)
    if kind in ("Linear", "Embedding"):
        return
    x = torch.randn(2, 3, dtype=next(module.parameters()).dtype)
    with torch.no_grad():
        expected = module(x)
    while isinstance(expected, tuple):
        expected = expected[0]
    found = layer(x.numpy())
    while isinstance(found, tuple):
        found = found[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_that_torch_wrote_are_read(protocol):
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters())
    model.readout(model.rnn(model.symbols(torch.tensor([[1, 2]])))[0]).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "loss": 0.5,
        "done": None,
        "model": model.state_dict(),
        "own": dict(model.rnn.named_parameters()),
        "optimizer": optimizer.state_dict(),
        "shape": torch.Size([3]),
    }
    content = content_of(checkpoint, pickle_protocol=protocol)
    layer = xr.from_torch(content, "model.rnn.", batch_first=True, dropout=0.5)
    assert repr(layer) == repr(xr.from_torch(model))
    assert same_bits(layer.state_dict(), numbers_of(model.rnn))
    own = xr.from_torch(content, "own.", dtype="float32")
    assert same_bits(own.state_dict(), numbers_of(model.rnn))
    embedding = xr.from_torch(content, "model.symbols.", kind="Embedding")
    assert same_bits(embedding.state_dict(), numbers_of(model.symbols))
    with pytest.raises(ValueError, match=r"one of 'model\.rnn\.' \(LSTM\), 'own\.'"):
        xr.from_torch(content)


def test_tensors_of_every_layout_are_read():
    whole = torch.randn(12, 8)
    state = nn.GRU(4, 4).state_dict()
    state["weight_ih_l0"] = whole[:, ::2]
    state["weight_hh_l0"] = whole.T[:4].T
    assert not state["weight_ih_l0"].is_contiguous()
    expected = {name: tensor.numpy() for name, tensor in state.items()}
    for source in (state, content_of(state)):
        assert same_bits(xr.from_torch(source).state_dict(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_come_by_every_way(dtype, tmp_path):
    model = Reader().to(dtype)
    expected = {n: w.float().numpy() for n, w in model.rnn.state_dict().items()}
    state = model.state_dict()
    torch.save(state, tmp_path / "model.pt")
    sources = [model, state, tmp_path / "model.pt", dict(model.named_parameters())]
    try:
        from safetensors.torch import save

        sources.append(save(state))
    except ImportError:  # the other ways are there without it
        pass
    for source in sources:
        with pytest.raises(TypeError, match=r"^source: .*got b?float16; give dtype="):
            xr.from_torch(source)
        layer = xr.from_torch(source, dtype="float32")
        assert same_bits(layer.state_dict(), expected)
        exact = xr.from_torch(source, dtype="float64")
        wide = {name: weight.astype("f8") for name, weight in expected.items()}
        assert same_bits(exact.state_dict(), wide)
    layer = xr.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    with pytest.raises(TypeError, match="weight_ih_l0: expected"):
        layer.load_state_dict(state, prefix="rnn.")
    layer.load_state_dict(state, prefix="rnn.", dtype="float32")
    assert same_bits(layer.state_dict(), expected)


def test_what_is_no_dictionary_of_tensors_is_refused():
    for thing, says in (
        (nn.GRU(2, 3), r"'torch\.nn\.modules\.rnn\.GRU', and only tensors are taken"),
        ({"rate": np.float64(1)}, "and only tensors are taken"),
        ({"device": torch.device("cpu")}, "'torch.device', and only tensors are taken"),
        ([torch.ones(2)], "no dictionary of tensors"),
    ):
        with pytest.raises(ValueError, match=f"^source: not a file of torch.*{says}"):
            xr.from_torch(content_of(thing))
    old = content_of(nn.GRU(2, 3).state_dict(), _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"before torch 1\.6"):
        xr.from_torch(old)
    layer = nn.utils.parametrizations.weight_norm(nn.GRU(2, 3), "weight_hh_l0")
    with pytest.raises(ValueError, match="weight_hh_l0"):
        xr.from_torch(layer, "")


def test_modules_of_ours_in_torch_keep_their_options():
    import exactrnn.torch as xrt

    model = nn.Sequential(xrt.GRU(3, 4, reset_after=False, batch_first=True))
    layer = xr.from_torch(model)
    assert repr(layer) == "GRU(3, 4, reset_after=False, batch_first=True)"
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        assert same_bits(layer(x.numpy())[0], model(x)[0].numpy())


def test_files_made_for_tests_are_those_of_torch():
    state = nn.LSTM(3, 4).state_dict()
    content = tf.file_of({name: w.numpy() for name, w in state.items()})
    twin = torch.load(io.BytesIO(content), weights_only=True)
    assert [*twin] == [*state]
    assert all(torch.equal(twin[name], state[name]) for name in state)
