"""Steps of `exactrnn.torch` straight from the weights: the bits, and whose weights.

Without gradients a step of a few rows reads the weights of the module themselves, with
gradients it reads a packed copy of them: the two have to give the same bits.
"""

import itertools

import pytest
from arrays import same_bits

torch = pytest.importorskip("torch", reason="needs torch: extra torch")

from torch_pairs import CELLS, flat  # noqa: E402

import exactrnn as xr  # noqa: E402
import exactrnn.torch as xrt  # noqa: E402
from exactrnn import _core  # noqa: E402
from exactrnn.interop.torch import _plans  # noqa: E402
from exactrnn.interop.torch._plans import Packed  # noqa: E402

ROWS = _core.DIRECT_ROWS
WIDTHS = ((1, 1), (5, 7), (40, 16), (37, 33), (16, 100), (130, 67))
"""I and H: with and without a rest of each vector length, more columns than a panel
takes at a time."""


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


@pytest.fixture
def never_packed(monkeypatch):
    """Let no call compare weights, nor pack them."""

    def refuse(*_):
        raise AssertionError("weights were compared")

    monkeypatch.setattr(Packed, "follow", refuse)


def numbers(result):
    return [tensor.detach().numpy() for tensor in flat(result)]


def state_like(module, rows):
    """Return a state of some rows for a module, a layer's or a single step's."""
    lead = ()
    if not module.kind.endswith("Cell"):
        lead = (module.num_layers * (1 + module.bidirectional),)
    dtype = next(module.parameters()).dtype
    h, c = torch.randn(2, *lead, rows, module.hidden_size, dtype=dtype)
    return (h, c) if module.kind.startswith("LSTM") else h


def both_ways(module, x, state):
    """Return the results without gradients and those that autograd gets."""
    with torch.no_grad():
        alone = module(x, state)
    return numbers(alone), numbers(module(x, state))


@pytest.mark.parametrize("isa", xr.isas())
@pytest.mark.parametrize("kind", CELLS)
def test_single_steps_have_the_bits_of_packed_weights(kind, isa):
    dtypes, rows = (torch.float32, torch.float64), (1, 3, ROWS)
    with xr.use_isa(isa):
        for (I, H), dtype, B, bias in itertools.product(
            WIDTHS, dtypes, rows, (True, False)
        ):
            cell = getattr(xrt, kind)(I, H, bias=bias, dtype=dtype)
            x = torch.randn(B, I, dtype=dtype)
            for state in (state_like(cell, B), None):
                assert same_bits(*both_ways(cell, x, state)), (I, H, dtype, B, bias)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layers_of_one_step_have_them_too(kind, bidirectional, batch_first):
    options = {"bidirectional": bidirectional, "batch_first": batch_first}
    module = getattr(xrt, kind)(5, 19, 3, **options)
    for rows in (1, ROWS, ROWS + 1):
        x = torch.randn((rows, 1, 5) if batch_first else (1, rows, 5))
        for state in (state_like(module, rows), None):
            assert same_bits(*both_ways(module, x, state))
        with torch.no_grad():
            y, *ends = flat(module(x))
            kept = [end.clone() for end in ends]
            y.zero_()  # which is memory of its own
        assert same_bits(numbers(ends), numbers(kept))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTMCell", {"coupled": "input"}),
        ("LSTMCell", {"omit": "io", "clip": 0.5}),
        ("LSTMCell", {"activations": ("hard_sigmoid", "softsign", "tanh")}),
        ("LSTMCell", {"peepholes": "ifo"}),
        ("LSTMCell", {"full_gate_recurrence": True}),
        ("GRUCell", {"reset_after": False}),
        ("RNNCell", {"nonlinearity": ("leaky_relu", 0.3)}),
    ],
)
def test_options_change_nothing_of_that(kind, options):
    cell = getattr(xrt, kind)(6, 21, **options)
    x, state = torch.randn(2, 6), None
    with torch.no_grad():
        own = cell(x)
    state = tuple(own) if isinstance(own, tuple) else own
    assert same_bits(*both_ways(cell, x, state))


def test_a_step_that_is_shared_has_the_bits_of_one_thread():
    cell, x = xrt.LSTMCell(70, 200), torch.randn(3, 70)
    expected = both_ways(cell, x, None)[1]
    before = _core.thread_work()
    torch_threads = torch.get_num_threads()
    try:
        _core.thread_work((0, 0))
        torch.set_num_threads(4)
        for threads in (2, 3, 4):
            with xr.threads(threads), torch.no_grad():
                assert same_bits(numbers(cell(x)), expected)
    finally:
        _core.thread_work(before)
        torch.set_num_threads(torch_threads)


@pytest.mark.usefixtures("never_packed")
@pytest.mark.parametrize("kind", [*CELLS, "LSTM", "GRU", "RNN"])
def test_what_anybody_has_written_counts_at_once(kind):
    module = getattr(xrt, kind)(4, 6)
    x = torch.randn(2, 4) if kind in CELLS else torch.randn(1, 2, 4)
    stock = getattr(torch.nn, kind)(4, 6)
    with torch.no_grad():
        module(x)
        for name, weight in module.named_parameters():
            weight.numpy()[...] += 0.25
            weight.data.mul_(0.5)
            stock.load_state_dict(module.state_dict())
            for ours, theirs in zip(flat(module(x)), flat(stock(x)), strict=True):
                assert (ours - theirs).abs().max() < 1e-6, name


def test_what_is_not_plain_is_taken_as_ever():
    cell = xrt.GRUCell(4, 6)
    x, h = torch.randn(3, 8)[:, ::2], torch.randn(6, 3).t()
    with torch.no_grad():
        expected = cell(x.contiguous(), h.contiguous())
        assert torch.equal(cell(x, h), expected)
        assert torch.equal(cell(x[0], h[0]), expected[0])
        assert torch.equal(torch._neg_view(cell(-x, h)), -cell(-x, h))
        assert torch.equal(cell(torch._neg_view(-x.contiguous()), h), expected)
        weight = cell.weight_hh.data
        cell.weight_hh.data = weight.t().contiguous().t()
        assert torch.equal(cell(x, h), expected)
        assert cell(torch.zeros(0, 4)).shape == (0, 6)
        with pytest.raises(RuntimeError, match="inconsistent input_size"):
            cell(torch.zeros(3, 5))
        with pytest.raises(RuntimeError, match="doesn't match hidden0 batch"):
            cell(torch.zeros(3, 4), torch.zeros(2, 6))
        with pytest.raises(ValueError, match="does not match weight dtype"):
            cell(torch.zeros(3, 4, dtype=torch.float64))
        with torch.autocast("cpu"), pytest.raises(NotImplementedError):
            cell(torch.zeros(3, 4))
        with pytest.raises(NotImplementedError, match="transform"):
            torch.func.vmap(cell)(torch.zeros(2, 3, 4))
        with torch.device("meta"):
            assert xrt.GRUCell(4, 6)(torch.zeros(3, 4)).device.type == "meta"


def test_within_constant_a_packed_copy_is_read(monkeypatch):
    cell, x = xrt.LSTMCell(4, 6), torch.randn(1, 4)
    packed, follow = [], Packed.follow
    monkeypatch.setattr(
        Packed, "follow", lambda self, w: packed.append(1) or follow(self, w)
    )
    with torch.no_grad():
        expected = numbers(cell(x))
        assert not packed
        with xrt.constant(cell):
            for _ in range(2):
                assert same_bits(numbers(cell(x)), expected)
            assert len(packed) == 2
        cell(x)
    assert len(packed) == 2
    assert not _plans._trusting


@pytest.mark.filterwarnings("ignore::Warning")  # of the tracer
def test_a_step_of_jit_and_of_a_compiler_is_the_same():
    cell, x = xrt.GRUCell(4, 6), torch.randn(2, 4)
    with torch.no_grad():
        expected = cell(x)
        traced = torch.jit.trace(cell, (x,), check_trace=False)
        assert torch.equal(traced(x), expected)
        compiled = torch.compile(cell, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x), expected)
        cell.weight_hh.numpy()[...] *= 2
        assert torch.equal(compiled(x), cell(x))


def test_what_has_a_direct_step_is_told_by_the_layer():
    sizes = ("scalar", "float32"), ((4, 6), (), None, None)
    assert _core.DirectStep(*sizes[0], "gru", *sizes[1]).possible
    assert not _core.DirectStep(*sizes[0], "gru_before", *sizes[1]).possible
