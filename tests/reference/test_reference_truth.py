"""The reference against the truth: torch in float64.

Agreement of kernels and reference says nothing about either being right; this does. The
reference is compared with torch's own modules and autograd; where torch has no such
cell (the GRU with the reset before the product) with a plain torch expression of it.
Every cell against its equations in plain NumPy is in test_equations.py, gradients
against central differences, which need nobody, in test_twin_gradients.py.
"""

import numpy as np
import pytest
import variants

import exactrnn as xr
from exactrnn.reference.cells import CELLS

TOLERANCE = 1e-12
I, H, T, B = 3, 4, 6, 3
KINDS = ("rnn-tanh", "rnn-relu", "lstm", "gru", "gru_before")
LENGTHS = {"full": None, "ragged": (4, 6, 1)}


def make_layer(kind, **options):
    """Return a float64 layer whose weights are random, distinct and not small."""
    cell, _, nonlinearity = kind.partition("-")
    if nonlinearity:
        options["nonlinearity"] = nonlinearity
    layer = variants.make_layer(cell, I, H, dtype="float64", seed=0, **options)
    rng = np.random.default_rng(1)
    weights = layer.state_dict()
    layer.load_state_dict(
        {n: 0.6 * rng.normal(size=w.shape) for n, w in weights.items()}
    )
    return layer


def make_arrays(layer, lengths=None):
    """Return random x, state, dy, dstate; +0.0 in the padding of x and dy."""
    rng = np.random.default_rng(2)
    directions = 1 + layer.bidirectional
    shape = (layer.num_layers * directions, B, H)
    active = np.arange(T)[:, None, None] < np.reshape(lengths or [T] * B, (B, 1))
    x = np.where(active, rng.normal(size=(T, B, I)), 0.0)
    dy = np.where(active, rng.normal(size=(T, B, directions * H)), 0.0)
    states = len(CELLS[layer.cell].states)
    state = tuple(0.7 * rng.normal(size=shape) for _ in range(states))
    dstate = tuple(rng.normal(size=shape) for _ in range(states))
    return x, unpacked(state), dy, unpacked(dstate)


def unpacked(state):
    return state if len(state) > 1 else state[0]


def packed(state):
    return state if isinstance(state, tuple) else (state,)


def assert_close(got, want, tolerance=TOLERANCE):
    """Fail unless got is want up to tolerance, relative to want's largest element."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype == np.float64
    assert got.shape == want.shape
    assert np.isfinite(want).all()
    scale = np.abs(want).max()
    assert scale > 1e-3, "the case is too tame to show a fault"
    assert np.abs(got - want).max() <= tolerance * scale


def assert_all_close(got, want, tolerance=TOLERANCE):
    """Compare dictionaries of arrays."""
    assert list(got) == list(want)
    for name in want:
        try:
            assert_close(got[name], want[name], tolerance)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def assert_same(got, want):
    """Fail unless the values are equal, bit for bit but for the sign of zeros."""
    np.testing.assert_array_equal(got, want, strict=True)


def run_reference(layer, arrays, lengths=None, dropout_masks=None):
    """Return outputs, states and gradients of the reference by name."""
    x, state, dy, dstate = arrays
    y, final, cache = xr.reference.forward(
        layer, x, state, lengths=lengths, dropout_masks=dropout_masks
    )
    grads = xr.reference.backward(layer, cache, dy, dstate)
    return results(layer, y, final, grads.x, grads.state, grads.weights)


def results(layer, y, final, dx, dinitial, dweights):
    """Name everything that a forward and a backward return."""
    states = CELLS[layer.cell].states
    named = {"y": y, "dx": dx}
    named |= dict(zip((f"{s}_n" for s in states), packed(final), strict=True))
    named |= dict(zip((f"d{s}_0" for s in states), packed(dinitial), strict=True))
    return named | {f"d{name}": dweights[name] for name in dweights}


# Against torch


def run_torch(layer, arrays, lengths=None):
    """Return the same from torch's autograd."""
    torch = pytest.importorskip(
        "torch", reason="torch, the independent oracle, is absent"
    )
    x, state, dy, dstate = arrays
    names = layer.state_dict()
    leaf = {n: torch.tensor(w, requires_grad=True) for n, w in names.items()}
    x = torch.tensor(x, requires_grad=True)
    state = tuple(torch.tensor(s, requires_grad=True) for s in packed(state))
    run = run_expression if layer.cell == "gru_before" else run_module
    y, final = run(layer, leaf, x, state, lengths)
    loss = torch.sum(y * torch.tensor(dy))
    for s, ds in zip(final, packed(dstate), strict=True):
        loss = loss + torch.sum(s * torch.tensor(ds))
    loss.backward()
    return results(
        layer,
        y.detach().numpy(),
        tuple(s.detach().numpy() for s in final),
        x.grad.numpy(),
        tuple(s.grad.numpy() for s in state),
        {n: leaf[n].grad.numpy() for n in leaf},
    )


def run_module(layer, leaf, x, state, lengths):
    """Run torch's module with these weights; ragged as a PackedSequence."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    modules = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    options = {"bias": layer.bias, "bidirectional": layer.bidirectional}
    if layer.cell == "rnn":
        options["nonlinearity"] = layer.activations[0]
    module = modules[layer.cell](
        layer.input_size, H, layer.num_layers, dtype=torch.float64, **options
    )
    if lengths is not None:
        x = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, final = torch.func.functional_call(module, leaf, (x, unpacked(state)))
    if lengths is not None:
        y, _ = pad_packed_sequence(y, total_length=T)
    return y, packed(final)


def run_expression(layer, leaf, x, state, lengths):
    """The GRU with the reset before the product, written out in torch."""
    import torch

    lengths = torch.tensor([T] * B if lengths is None else lengths)
    directions = 1 + layer.bidirectional
    final = []
    for depth in range(layer.num_layers):
        outputs = []
        for d in range(directions):
            suffix = f"_l{depth}" + "_reverse" * d
            W, R = leaf["weight_ih" + suffix], leaf["weight_hh" + suffix]
            b = leaf["bias_ih" + suffix] + leaf["bias_hh" + suffix] if layer.bias else 0
            h = state[0][depth * directions + d]
            y = [None] * T
            for t in reversed(range(T)) if d else range(T):
                a = x[t] @ W.T + b
                r, z = torch.sigmoid(a[:, : 2 * H] + h @ R[: 2 * H].T).chunk(2, 1)
                n = torch.tanh(a[:, 2 * H :] + (r * h) @ R[2 * H :].T)
                active = (t < lengths)[:, None]
                h = torch.where(active, z * h + (1 - z) * n, h)
                y[t] = torch.where(active, h, 0.0)
            outputs.append(torch.stack(y))
            final.append(h)
        x = torch.cat(outputs, 2)
    return x, (torch.stack(final),)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("num_layers", [1, 2], ids="{}layers".format)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_states_and_gradients_are_torchs(
    kind, num_layers, bidirectional, lengths
):
    layer = make_layer(kind, num_layers=num_layers, bidirectional=bidirectional)
    arrays = make_arrays(layer, lengths)
    want = run_torch(layer, arrays, lengths)
    assert_all_close(run_reference(layer, arrays, lengths), want)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_without_bias_are_torchs(kind):
    layer = make_layer(kind, bias=False, num_layers=2)
    arrays = make_arrays(layer)
    want = run_torch(layer, arrays)
    assert "dbias_ih_l0" not in want
    assert_all_close(run_reference(layer, arrays), want)


@pytest.mark.parametrize("kind", KINDS)
def test_initial_states_are_zero_unless_given(kind):
    layer = make_layer(kind, num_layers=2, bidirectional=True)
    x, state, dy, dstate = make_arrays(layer)
    zeros = unpacked(tuple(np.zeros_like(s) for s in packed(state)))
    want = run_torch(layer, (x, zeros, dy, dstate))
    assert_all_close(run_reference(layer, (x, None, dy, dstate)), want)


@pytest.mark.parametrize("missing", ["dy", "dstate"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_gradient_counts_as_zero(kind, missing):
    layer = make_layer(kind, num_layers=2, bidirectional=True)
    x, state, dy, dstate = make_arrays(layer)
    if missing == "dy":
        given, zeros = (None, dstate), (np.zeros_like(dy), dstate)
    else:
        given = (dy, None)
        zeros = (dy, unpacked(tuple(np.zeros_like(s) for s in packed(dstate))))
    want = run_torch(layer, (x, state, *zeros))
    assert_all_close(run_reference(layer, (x, state, *given)), want)


def test_dropout_multiplies_the_output_of_lower_layers():
    torch = pytest.importorskip(
        "torch", reason="torch, the independent oracle, is absent"
    )
    layer = make_layer("lstm", num_layers=2, bidirectional=True)
    arrays = make_arrays(layer)
    rng = np.random.default_rng(3)
    mask = np.where(rng.random((T, B, 2 * H)) < 0.3, 0.0, 1 / 0.7)
    got = run_reference(layer, arrays, dropout_masks=[mask])

    x, state, dy, dstate = ([torch.tensor(a) for a in packed(part)] for part in arrays)
    leaf = {
        n: torch.tensor(w, requires_grad=True) for n, w in layer.state_dict().items()
    }
    y, final = x[0].requires_grad_(), []
    for depth in (0, 1):
        own = {n.replace("_l1", "_l0"): w for n, w in leaf.items() if f"_l{depth}" in n}
        single = variants.make_layer("lstm", y.shape[2], H, bidirectional=True)
        part = tuple(s[2 * depth : 2 * depth + 2] for s in state)
        y, last = run_module(single, own, y, part, None)
        final.append(last)
        y = y * torch.tensor(mask) if depth == 0 else y
    ends = [torch.cat(pair) for pair in zip(*final, strict=True)]
    pairs = zip([y, *ends], [*dy, *dstate], strict=True)
    sum(torch.sum(a * da) for a, da in pairs).backward()

    assert_close(got["y"], y.detach().numpy())
    assert_close(got["c_n"], ends[1].detach().numpy())
    assert_close(got["dx"], x[0].grad.numpy())
    for name, weight in leaf.items():
        assert_close(got[f"d{name}"], weight.grad.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_float64_rounded_less_finely(kind):
    fine = make_layer(kind, num_layers=2, bidirectional=True)
    options = {"num_layers": 2, "bidirectional": True, "dtype": "float32"}
    if kind.startswith("rnn"):
        options["nonlinearity"] = kind.removeprefix("rnn-")
    coarse = variants.make_layer(fine.cell, I, H, **options)
    coarse.load_state_dict({n: w.astype("f4") for n, w in fine.state_dict().items()})
    arrays = make_arrays(fine)
    narrow = [unpacked(tuple(a.astype("f4") for a in packed(part))) for part in arrays]
    narrow = [a[0] if isinstance(a, tuple) and len(a) == 1 else a for a in narrow]
    want, got = run_reference(fine, arrays), run_reference(coarse, narrow)
    for array in got.values():
        assert array.dtype == np.float32
    assert_all_close({n: a.astype("f8") for n, a in got.items()}, want, tolerance=1e-5)


# Layouts, padding, rows of length 0: what torch has not, or has otherwise


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first_swaps_two_axes_and_nothing_else(kind):
    options = {"num_layers": 2, "bidirectional": True}
    lengths = LENGTHS["ragged"]
    layer = make_layer(kind, **options)
    x, state, dy, dstate = make_arrays(layer, lengths)
    want = run_reference(layer, (x, state, dy, dstate), lengths)
    swapped = (x.swapaxes(0, 1), state, dy.swapaxes(0, 1), dstate)
    got = run_reference(make_layer(kind, batch_first=True, **options), swapped, lengths)
    for name in want:
        axes = got[name].swapaxes(0, 1) if name in ("y", "dx") else got[name]
        assert_same(axes, want[name])


@pytest.mark.parametrize("kind", KINDS)
def test_unbatched_is_a_batch_of_one(kind):
    layer = make_layer(kind, num_layers=2, bidirectional=True)
    arrays = [[a[:, :1] for a in packed(part)] for part in make_arrays(layer)]
    batch = [unpacked(tuple(part)) for part in arrays]
    alone = [unpacked(tuple(a[:, 0] for a in part)) for part in arrays]
    want, got = run_reference(layer, batch), run_reference(layer, alone)
    for name in want:
        batched = not name.startswith(("dweight", "dbias"))
        assert_same(got[name], want[name][:, 0] if batched else want[name])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind):
    layer = make_layer(kind, num_layers=2, bidirectional=True)
    lengths = (4, 0, 1)
    x, state, dy, dstate = make_arrays(layer, lengths)
    want = run_reference(layer, (x, state, dy, dstate), lengths)
    padding = np.arange(T)[:, None] >= np.array(lengths)
    x[padding] = dy[padding] = np.nan
    got = run_reference(layer, (x, state, dy, dstate), lengths)
    for name in want:
        assert_same(got[name], want[name])
        assert np.isfinite(got[name]).all()
    for name in ("y", "dx"):
        assert_same(got[name][padding], np.zeros_like(got[name][padding]))
        assert not np.signbit(got[name][padding]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_length_0_keeps_its_state_and_changes_nothing(kind):
    layer = make_layer(kind, num_layers=2, bidirectional=True)
    lengths = (4, 0, 1)
    x, state, dy, dstate = make_arrays(layer, lengths)
    got = run_reference(layer, (x, state, dy, dstate), lengths)
    others = [[a[:, ::2] for a in packed(part)] for part in (x, state, dy, dstate)]
    others = [unpacked(tuple(part)) for part in others]
    want = run_reference(layer, others, (4, 1))
    for name in want:
        batched = not name.startswith(("dweight", "dbias"))
        assert_same(got[name][:, ::2] if batched else got[name], want[name])
    for letter, s, ds in zip("hc", packed(state), packed(dstate), strict=False):
        assert_same(got[f"{letter}_n"][:, 1], s[:, 1])
        assert_same(got[f"d{letter}_0"][:, 1], ds[:, 1])


@pytest.mark.parametrize(("steps", "rows"), [(0, 2), (3, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_do_leaves_the_state_and_no_gradients(kind, steps, rows):
    layer = make_layer(kind, num_layers=2, bidirectional=True)
    _, state, _, dstate = make_arrays(layer)
    state, dstate = ([s[:, :rows] for s in packed(part)] for part in (state, dstate))
    x, dy = np.zeros((steps, rows, I)), np.zeros((steps, rows, 2 * H))
    state, dstate = unpacked(tuple(state)), unpacked(tuple(dstate))
    got = run_reference(layer, (x, state, dy, dstate))
    for letter, s, ds in zip("hc", packed(state), packed(dstate), strict=False):
        assert_same(got[f"{letter}_n"], s)
        assert_same(got[f"d{letter}_0"], ds)
    assert got["y"].shape == dy.shape
    assert got["dx"].shape == x.shape
    assert not any(got[f"d{name}"].any() for name in layer.state_dict())


# The comparison itself


@pytest.mark.parametrize(
    "fault",
    [
        lambda a: a * (1 + 1e-11),
        lambda a: np.roll(a, 1, axis=0),
        lambda a: a.T,
        lambda a: a[:1],
        lambda a: a * np.nan,
        lambda a: a.astype("f4"),
    ],
    ids=["scaled", "rolled", "transposed", "short", "nan", "float32"],
)
def test_the_comparison_sees(fault):
    a = np.random.default_rng(4).normal(size=(5, 5))
    assert_close(a, a.copy())
    with pytest.raises(AssertionError):
        assert_close(fault(a), a)


def test_the_comparison_refuses_a_case_that_shows_nothing():
    with pytest.raises(AssertionError, match="too tame"):
        assert_close(np.zeros(3), np.zeros(3))
