"""`exactrnn.torch` under autograd, compilers and writers: right, or an error.

Gradients against central differences; weights that are written to in every way that
torch and NumPy have; what has no derivative says so; `torch.compile`, `torch.export`
and `torch.jit.trace` give the bits of eager calls.
"""

import copy
import gc
import io
import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs torch: extra torch")

from torch.autograd import forward_ad  # noqa: E402 (torch first)
from torch.nn.utils import (  # noqa: E402  # noqa: E402
    parameters_to_vector,
    parametrizations,
    vector_to_parameters,
    weight_norm,
)
from torch.nn.utils.rnn import PackedSequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch_pairs import (  # noqa: E402
    CELLS,
    LAYERS,
    OTHERS,
    B,
    H,
    I,
    T,
    draw_input,
    flat,
    gradients,
    largest_difference,
    make_pair,
)

import exactrnn.torch as xrt  # noqa: E402
from exactrnn._weights.foreign import ForeignStore  # noqa: E402
from exactrnn._weights.packs import LayerStore  # noqa: E402
from exactrnn.interop.torch import _plans  # noqa: E402

ALL = {kind: {} for kind in LAYERS} | OTHERS


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


def stock_of(ours):
    """Return torch's module with the weights that ours has now."""
    made = getattr(torch.nn, ours.kind)(ours.input_size, ours.hidden_size)
    made.load_state_dict(ours.state_dict())
    return made


# Gradients


@pytest.mark.parametrize("kind", [*ALL, *CELLS])
def test_gradients_are_those_of_central_differences(kind):
    options = ALL.get(kind, {})
    if kind in CELLS:
        module, x = getattr(xrt, kind)(I, H, dtype=torch.float64), torch.randn(B, I)
    else:
        shared = {"num_layers": 2, "bidirectional": True, "batch_first": True}
        module = getattr(xrt, kind)(I, H, **shared, **options, dtype=torch.float64)
        x = torch.randn(B, T, I)
    x = x.double().requires_grad_()
    with torch.no_grad():
        state = [torch.randn_like(s) for s in flat(module(x)) if s.is_floating_point()]
    state = state if kind in CELLS else state[1:]

    def call(x, *tensors):
        parts = list(tensors[: len(state)])
        if kind == "ClockworkRNN":
            parts.append(torch.tensor([0, 1, 5]))
        hx = tuple(parts) if len(parts) > 1 else parts[0]
        given = dict(zip(weights, tensors[len(state) :], strict=True))
        found = torch.func.functional_call(module, given, (x, hx))
        return tuple(t for t in flat(found) if t.is_floating_point())

    if kind == "ClockworkRNN":  # which has no gradient where it has no connection
        module.weight_hh_l0.requires_grad_(False)
    weights = {n: w for n, w in module.named_parameters() if w.requires_grad}
    tensors = [*(s.requires_grad_() for s in state), *weights.values()]
    assert torch.autograd.gradcheck(call, (x, *tensors))


@pytest.mark.parametrize("form", ["batch", "unsorted"])
def test_gradient_of_a_sum_is_that_of_ones(form):
    _, module = make_pair("LSTM", num_layers=2, bidirectional=True)
    x = draw_input(form)
    weights = list(module.parameters())
    y = flat(module(x))[0]
    once = torch.autograd.grad(y.sum(), weights, retain_graph=True)  # strides of 0
    ones = torch.autograd.grad(y, weights, torch.ones_like(y), retain_graph=True)
    turned = torch.ones(*y.shape[::-1]).permute(*range(y.dim())[::-1])
    again = torch.autograd.grad(y, weights, turned)
    for first, second, third in zip(once, ones, again, strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first, third)


def test_what_is_frozen_gets_no_gradient_and_changes_no_other():
    _, module = make_pair("GRU", num_layers=2, bidirectional=True)
    x = torch.randn(T, B, I)
    given = x.clone().requires_grad_()
    module(given)[0].square().sum().backward()
    all_grads = {name: w.grad.clone() for name, w in module.named_parameters()}
    module.zero_grad()
    module(x)[0].square().sum().backward()  # x is data
    for name, weight in module.named_parameters():
        assert torch.equal(weight.grad, all_grads[name])
    module.zero_grad()
    module.requires_grad_(False)
    frozen = x.clone().requires_grad_()
    module(frozen)[0].square().sum().backward()
    assert torch.equal(frozen.grad, given.grad)
    assert all(weight.grad is None for weight in module.parameters())
    module.bias_hh_l1.requires_grad_(True)
    module(x)[0].square().sum().backward()
    assert torch.equal(module.bias_hh_l1.grad, all_grads["bias_hh_l1"])
    assert module.weight_hh_l1.grad is None


def test_gradient_of_the_state_alone_and_of_nothing():
    stock, ours = make_pair("LSTM")
    x = torch.randn(T, B, I, requires_grad=True)
    for pick in (0, 1):
        found = [m(x)[1][pick].square().sum() for m in (stock, ours)]
        grads = [torch.autograd.grad(f, x)[0] for f in found]
        assert largest_difference(*[[g] for g in grads]) < 1e-5
    h = torch.zeros(1, B, H, requires_grad=True)
    ours(x.detach(), (h, torch.zeros(1, B, H)))[0].sum().backward()
    assert h.grad.abs().sum() > 0


def test_graph_may_be_gone_back_twice():
    _, module = make_pair("LSTM", num_layers=2)
    x = draw_input("batch")
    loss = module(x)[0].square().sum()
    first = torch.autograd.grad(loss, [x, *module.parameters()], retain_graph=True)
    other = module(x.detach() * 2)[0].sum()
    other.backward()
    second = torch.autograd.grad(loss, [x, *module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_gives_the_same_gradients(reentrant):
    _, module = make_pair("GRU", num_layers=2, dropout=0.5)
    x, grads = draw_input("batch"), []
    for keep in (True, False):
        torch.manual_seed(5)
        y = (
            module(x)[0]
            if keep
            else checkpoint(lambda given: module(given)[0], x, use_reentrant=reentrant)
        )
        x.grad = None
        module.zero_grad()
        y.square().sum().backward()
        grads.append([x.grad, *(w.grad.clone() for w in module.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_hooks_of_modules_and_tensors_run():
    _, module = make_pair("RNN")
    seen = []
    module.register_forward_hook(lambda *_: seen.append("forward"))
    module.register_full_backward_hook(lambda *_: seen.append("backward"))
    module.weight_hh_l0.register_hook(lambda grad: seen.append("weight") or 0 * grad)
    x = draw_input("batch")
    module(x)[0].sum().backward()
    assert sorted(seen) == ["backward", "forward", "weight"]
    assert (module.weight_hh_l0.grad == 0).all()


def test_saved_tensors_may_be_moved_away():
    _, module = make_pair("LSTM", num_layers=2)
    x = draw_input("unsorted")
    expected = gradients(module, module(x))
    with torch.autograd.graph.save_on_cpu():
        moved = module(x)
    odd = torch.autograd.graph.saved_tensors_hooks(crooked, lambda tensor: tensor)
    with odd:
        crooked_ones = module(x)
    assert largest_difference(gradients(module, moved), expected) == 0
    assert largest_difference(gradients(module, crooked_ones), expected) == 0


def crooked(tensor):
    """Return a copy in memory that is aligned to its elements alone."""
    memory = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)
    memory[1:] = tensor.reshape(-1)
    return memory[1:].view(tensor.shape)


def test_memory_of_a_call_goes_with_its_graph():
    _, module = make_pair("LSTM")
    y = module(draw_input("batch"))[0]
    kept = torch.utils._pytree.tree_leaves(y.grad_fn.saved_tensors)
    assert len(kept) == 6  # the input, four weights, a cache
    del y, kept
    gc.collect()
    before = len(_plans._packed)
    del module
    gc.collect()
    assert len(_plans._packed) == before - 1


# Weights that are written to


def by_optimizer(module, **options):
    """Take a large step."""
    for weight in module.parameters():
        weight.grad = torch.ones_like(weight)
    torch.optim.Adam(module.parameters(), lr=0.3, **options).step()


def by_numpy(module):
    module.weight_hh_l0.detach().numpy()[1, 2] += 1


def by_vector(module):
    vector_to_parameters(
        1.5 * parameters_to_vector(module.parameters()), module.parameters()
    )


def by_new_memory(module):
    module.weight_ih_l0.data = torch.randn_like(module.weight_ih_l0)


def by_turned_memory(module):
    weight = torch.randn(module.weight_ih_l0.shape[::-1])
    module.weight_ih_l0.data = weight.t()


def by_new_parameter(module):
    module.bias_hh_l0 = torch.nn.Parameter(torch.randn_like(module.bias_hh_l0))


def by_assignment(module):
    state = {name: torch.randn_like(w) for name, w in module.state_dict().items()}
    module.load_state_dict(state, assign=True)


def one_bit(module):
    module.bias_ih_l0.data.view(torch.int32)[0] ^= 1 << 22


WRITES = {
    "optimiser": by_optimizer,
    "fused optimiser": lambda module: by_optimizer(module, fused=True),
    "foreach optimiser": lambda module: by_optimizer(module, foreach=True),
    ".data": lambda module: module.weight_hh_l0.data.mul_(2),
    "numpy": by_numpy,
    "vector_to_parameters": by_vector,
    "new memory": by_new_memory,
    "turned memory": by_turned_memory,
    "new parameter": by_new_parameter,
    "load_state_dict assign": by_assignment,
    "one bit": one_bit,
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("grad", [True, False])
def test_writes_are_seen_by_the_next_call(write, grad):
    _, module = make_pair("LSTM")
    x = torch.randn(T, B, I)
    with torch.set_grad_enabled(grad):
        for _ in range(3):
            before = module(x)[0].clone()
            WRITES[write](module)
            after = module(x)[0]
            assert not torch.equal(before, after)
            assert largest_difference([after], [stock_of(module)(x)[0]]) < 1e-5


def count_packs(monkeypatch):
    """Return a list that grows with every packing of weights."""
    packs, pack = [], LayerStore._pack

    def counted(self, isa, weights, backward):
        packs.append(isa)
        return pack(self, isa, weights, backward)

    monkeypatch.setattr(LayerStore, "_pack", counted)
    return packs


def test_nothing_is_packed_where_nothing_was_written(monkeypatch):
    packs = count_packs(monkeypatch)
    _, module = make_pair("LSTM")
    x = draw_input("batch")
    for _ in range(3):
        module(x)[0].sum().backward()
        with torch.no_grad():
            module(x)
    assert len(packs) == 1
    by_optimizer(module)
    module(x)[0].sum().backward()
    assert len(packs) == 2


def test_constant_weights_are_compared_once_and_counted_writes_seen(monkeypatch):
    module, x = xrt.GRUCell(I, H), torch.randn(B, I)
    compared, holds = [], ForeignStore.holds
    monkeypatch.setattr(
        ForeignStore, "holds", lambda self, at: compared.append(1) or holds(self, at)
    )
    with torch.no_grad():
        module(x)
        module.weight_ih.data.mul_(2)
        compared.clear()
        with xrt.constant(module):
            for _ in range(5):
                first = module(x)
            assert len(compared) == 1  # and it saw what came before the block
            assert largest_difference([first], [stock_of(module)(x)]) < 1e-5
            module.weight_hh.mul_(2)
            module.bias_hh.fill_(1)
            assert largest_difference([module(x)], [stock_of(module)(x)]) < 1e-5
        module.weight_ih.data.mul_(2)
        assert largest_difference([module(x)], [stock_of(module)(x)]) < 1e-5
        module.weight_ih.data.mul_(2)
        with xrt.constant(module):
            assert largest_difference([module(x)], [stock_of(module)(x)]) < 1e-5
    with pytest.raises(TypeError, match=r"^model: expected a torch.nn.Module, got int"):
        xrt.constant(3).__enter__()


def test_training_step_between_forward_and_backward_is_refused():
    _, module = make_pair("LSTM")
    loss = module(draw_input("batch"))[0].sum()
    by_optimizer(module)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_two_sets_of_weights_for_one_module_are_kept_apart():
    _, module = make_pair("GRU")
    x = draw_input("batch")
    shared = module.weight_ih_l0
    sets = [
        {n: shared if w is shared else torch.randn_like(w) for n, w in named}
        for named in [list(module.named_parameters())] * 2
    ]
    for weights in sets:
        for weight in weights.values():
            weight.requires_grad_()
    losses = [
        torch.func.functional_call(module, weights, (x,))[0].square().sum()
        for weights in sets
    ]
    for weights, loss in zip(sets, losses, strict=True):  # after both were called
        found = torch.autograd.grad(loss, list(weights.values()))
        alone = copy.deepcopy(module)
        alone.load_state_dict(weights)
        expected = torch.autograd.grad(
            alone(x)[0].square().sum(), list(alone.parameters())
        )
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("new", [True, False])
def test_weight_norm_is_trained_as_in_torch(new):
    stock, ours = make_pair("LSTM")
    for module in (stock, ours):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            norm = parametrizations.weight_norm if new else weight_norm
            norm(module, "weight_hh_l0")
    x = draw_input("batch")
    for _ in range(2):
        results = [module(x) for module in (stock, ours)]
        assert largest_difference(*map(flat, results)) < 1e-5
        grads = [gradients(m, r) for m, r in zip((stock, ours), results, strict=True)]
        assert largest_difference(*grads) < 1e-4
        for module in (stock, ours):
            with torch.no_grad():
                for weight in module.parameters():
                    weight.mul_(1.25)


# What there is no derivative of


def test_second_derivative_is_an_error_that_says_so():
    _, module = make_pair("LSTM")
    x = draw_input("batch")
    with pytest.raises(RuntimeError, match=r"without create_graph=True.*unswap"):
        torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)


def transforms(module):
    """Yield calls within torch.func's transforms and with tangents."""
    x = torch.randn(T, B, I)
    yield lambda: torch.func.vmap(lambda t: module(t)[0])(torch.stack([x, x]))
    yield lambda: torch.func.grad(lambda t: module(t)[0].sum())(x)
    yield lambda: torch.func.jvp(lambda t: module(t)[0], (x,), (x,))
    yield lambda: torch.autograd.functional.jacobian(
        lambda t: module(t)[0], x, vectorize=True
    )

    def dual(grad, state):
        with forward_ad.dual_level(), torch.set_grad_enabled(grad):
            tangent = forward_ad.make_dual(torch.zeros(1, B, H), torch.ones(1, B, H))
            given = forward_ad.make_dual(x, x)
            return module(x, tangent) if state else module(given)

    for grad in (True, False):
        for state in (True, False):
            yield lambda grad=grad, state=state: dual(grad, state)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_transforms_and_tangents_are_errors_that_say_so():
    _, module = make_pair("GRU")
    for call in transforms(module):
        with pytest.raises(
            NotImplementedError, match=r"^exactrnn: expected no .*unswap"
        ):
            call()
    with forward_ad.dual_level():  # no input has a tangent
        module(torch.randn(T, B, I))


def test_autocast_and_other_types_are_errors_with_a_way_out():
    _, module = make_pair("LSTM")
    x = torch.randn(T, B, I)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(NotImplementedError, match=r"^autocast: .*enabled=False"):
            module(x)
        with torch.autocast("cpu", enabled=False):
            module(x)
    with pytest.raises(TypeError, match=r"^input: expected torch.float32 or .*unswap"):
        module.bfloat16()(x.bfloat16())


def test_memory_of_a_gpu_is_an_error_with_a_way_out():
    _, module = make_pair("LSTM")
    mode = torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        x = torch._subclasses.FakeTensor(
            mode, torch.empty(T, B, I, device="meta"), torch.device("cuda")
        )
        match = r"^input: expected memory of the CPU, got cuda:0; .*\.cpu\(\).*unswap"
        with pytest.raises(NotImplementedError, match=match):
            module(x)


# Compilers


@pytest.fixture
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def check_compiled(module, compiled, inputs):
    """Compare results and gradients of a compiled module with those of the module."""
    for x in inputs:
        expected, found = module(x), compiled(x)
        pairs = zip(flat(expected), flat(found), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        grads = gradients(module, expected, x), gradients(module, found, x)
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
        with torch.no_grad():
            assert torch.equal(flat(compiled(x))[0], flat(expected)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [*LAYERS, *CELLS, "DepthGatedLSTM", "ClockworkRNN"])
def test_compiled_without_a_break_it_gives_the_same_bits(kind, fresh_dynamo):
    options = ALL.get(kind, {})
    if kind not in CELLS:
        options = {**options, "num_layers": 2, "batch_first": kind != "GRU"}
    module = getattr(xrt, kind)(I, H, **options)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    shapes = [(B, I), (B + 2, I)] if kind in CELLS else [(T, B, I), (T + 2, B + 1, I)]
    check_compiled(
        module, compiled, [torch.randn(s, requires_grad=True) for s in shapes]
    )


TWICE = {
    "GRUCell": lambda module, x: module(x, x),
    "LSTMCell": lambda module, x: module(x, (x, x))[0],
    "LSTM": lambda module, x: module(x[None], (x[None],) * 2)[0],
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", TWICE)
def test_a_tensor_that_is_given_twice_breaks_no_graph(kind, fresh_dynamo):
    module, x = getattr(xrt, kind)(H, H), torch.randn(B, H, requires_grad=True)
    compiled = torch.compile(TWICE[kind], backend="aot_eager", fullgraph=True)
    results = TWICE[kind](module, x), compiled(module, x)
    assert torch.equal(*results)
    wanted = [x, *module.parameters()]
    eager, traced = (torch.autograd.grad(y.sum(), wanted) for y in results)
    assert torch.allclose(eager[0], traced[0], atol=1e-6)  # torch adds three of x
    assert all(map(torch.equal, eager[1:], traced[1:]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_by_inductor_within_a_model_it_gives_the_same_bits(fresh_dynamo):
    model = torch.nn.Sequential(xrt.LSTM(I, H, 2, dropout=0.5, bidirectional=True))
    model.eval()
    compiled = torch.compile(model, fullgraph=True)
    inputs = [torch.randn(n, B, I, requires_grad=True) for n in (T, T + 1, T + 4)]
    check_compiled(model, compiled, inputs)
    model.train()
    flat(compiled(inputs[0]))[0].sum().backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_calls_see_writes_and_pack_nothing_anew(fresh_dynamo, monkeypatch):
    _, module = make_pair("GRU")
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = torch.randn(T, B, I)
    compiled(x)[0].sum().backward()
    packs = count_packs(monkeypatch)
    for _ in range(3):
        compiled(x)[0].sum().backward()
    assert packs == []
    module.weight_hh_l0.data.mul_(2)
    assert torch.equal(compiled(x)[0], module(x)[0])
    assert len(packs) == 1


class Tagger(torch.nn.Module):
    """A recurrent layer within a model."""

    def __init__(self):
        super().__init__()
        self.reader = xrt.GRU(I, H, 2, batch_first=True, bidirectional=True)
        self.tags = torch.nn.Linear(2 * H, 2)

    def forward(self, x):
        return self.tags(self.reader(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("strict", [True, False])
def test_exported_program_gives_the_same_bits(strict, fresh_dynamo):
    model = Tagger().eval()
    length = {1: torch.export.Dim("T", min=2, max=99)}
    program = torch.export.export(
        model, (torch.randn(B, T, I),), dynamic_shapes=(length,), strict=strict
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for steps in (2, T, 9):
        x = torch.randn(B, steps, I)
        assert torch.equal(program.module()(x), model(x))
        assert torch.equal(loaded(x), model(x))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("grad", [True, False])
def test_traced_module_gives_the_same_bits(grad):
    module = Tagger().eval()
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(module, (torch.randn(B, T, I),))
        x = torch.randn(B, T + 3, I)
        assert torch.equal(traced(x), module(x))


def test_shapes_alone_are_computed_anywhere():
    module = xrt.LSTM(I, H, 2, bidirectional=True, device="meta")
    packed = PackedSequence(torch.empty(6, I, device="meta"), torch.tensor([3, 2, 1]))
    y, (h, _) = module(torch.empty(T, B, I, device="meta"))
    assert (y.shape, h.shape) == ((T, B, 2 * H), (4, B, H))
    assert y.device.type == "meta"
    assert module(packed)[0].data.shape == (6, 2 * H)
