"""Layers as a caller sees them: layouts, kinds of arrays, states, caches, dropout.

That the bits themselves are right is for other files; here the same computation is
asked for in two ways and has to give the same bits.
"""

import array
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from arrays import as_tuple, draw, same_bits
from layer_kinds import KINDS as LAYERS
from layer_kinds import as_gradient, draw_gradient, draw_state, make_kind, move_axis

import exactrnn as xr
from exactrnn import _checks

T, B, I, H = 5, 3, 4, 6
GATES = {
    "rnn": "",
    "lstm": "ifgo",
    "lstm-nig": "fgo",
    "lstm-cifg": "igo",
    "lstm-proj": "ifgo",
    "lstm-fgr-cifg-clip": "fgo",
    "gru": "rznv",
    "gru_before": "rzn",
    "mut1": "rznx",
    "mut2": "rzn",
    "mut3": "rzn",
    "clockwork": "",
}

of_every_kind = pytest.mark.parametrize("kind", LAYERS)


# Layouts


@of_every_kind
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_shapes_are_those_of_torch(kind, dtype, num_layers, bidirectional):
    options = {"num_layers": num_layers, "bidirectional": bidirectional}
    layer = make_kind(kind, I, H, dtype=dtype, **options)
    directions = 1 + bidirectional
    y, state, cache = layer.forward(draw(T, B, I, dtype=dtype))
    assert (y.shape, y.dtype) == ((T, B, directions * layer.output_size), dtype)
    widths = layer.state_sizes
    for part, width in zip(as_tuple(as_gradient(layer, state)), widths, strict=True):
        assert part.shape == (num_layers * directions, B, width)
    grads = layer.backward(cache, np.ones_like(y))
    assert grads.x.shape == (T, B, I)
    shapes = {name: weight.shape for name, weight in layer.state_dict().items()}
    assert {name: dw.shape for name, dw in grads.weights.items()} == shapes


@of_every_kind
@pytest.mark.parametrize("bidirectional", [False, True])
def test_batch_first_is_time_major_transposed(kind, bidirectional):
    plain = make_kind(kind, I, H, bidirectional=bidirectional)
    turned = make_kind(kind, I, H, bidirectional=bidirectional, batch_first=True)
    x, state, lengths = draw(B, T, I), draw_state(plain, B), [2, 5, 0]
    y, final, cache = turned.forward(x, state, lengths=lengths, gates=True)
    y_plain, final_plain, cache_plain = plain.forward(
        x.transpose(1, 0, 2), state, lengths=lengths, gates=True
    )
    assert same_bits(y, y_plain.transpose(1, 0, 2))
    assert same_bits(turned(x, state, lengths=lengths), (y, final))
    assert same_bits(as_tuple(final), as_tuple(final_plain))
    for name, gate in cache_plain.gates.items():
        assert same_bits(cache.gates[name], gate.transpose(1, 0, 2))
    dy = draw(*y.shape, seed=9)
    dstate = as_gradient(turned, final)
    grads = turned.backward(cache, dy, dstate)
    grads_plain = plain.backward(cache_plain, dy.transpose(1, 0, 2), dstate)
    assert same_bits(grads.x, grads_plain.x.transpose(1, 0, 2))
    assert same_bits(as_tuple(grads.state), as_tuple(grads_plain.state))
    assert same_bits(grads.weights, grads_plain.weights)


@of_every_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched_is_a_batch_of_one(kind, batch_first):
    layer = make_kind(kind, I, H, num_layers=2, batch_first=batch_first)
    axis = 0 if batch_first else 1
    x, state = draw(T, I), draw_state(layer)
    rows = move_axis(layer, state, lambda part: part[:, None])
    if layer.cell == "clockwork":
        rows = (rows[0], [rows[1]])
    y, final, cache = layer.forward(x, state, lengths=4)
    y_rows, final_rows, cache_rows = layer.forward(
        np.expand_dims(x, axis), rows, lengths=[4]
    )
    assert same_bits(y, y_rows.squeeze(axis))
    assert same_bits(layer(x, state, lengths=4)[0], y)
    if layer.cell == "clockwork":
        assert (final[1], final_rows[1].tolist()) == (5 + 4, [5 + 4])
        assert final[1].shape == ()
    dstate, dstate_rows = as_gradient(layer, final), as_gradient(layer, final_rows)
    for part, part_rows in zip(as_tuple(dstate), as_tuple(dstate_rows), strict=True):
        assert same_bits(part, part_rows[:, 0])
    grads = layer.backward(cache, y, dstate)
    grads_rows = layer.backward(cache_rows, y_rows, dstate_rows)
    assert same_bits(grads.x, grads_rows.x.squeeze(axis))
    assert same_bits(grads.weights, grads_rows.weights)
    for part, rows in zip(
        as_tuple(grads.state), as_tuple(grads_rows.state), strict=True
    ):
        assert same_bits(part, rows[:, 0])


# Kinds of arrays


class GivesArray:
    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return self._values


class GivesDLPack:
    def __init__(self, values):
        self._values = values

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def with_gaps(values):
    wide = np.full((*values.shape[:-1], 2 * values.shape[-1]), np.nan, values.dtype)
    wide[..., ::2] = values
    return wide[..., ::2]


def misaligned(values):
    memory = np.zeros(values.nbytes + 1, np.uint8)[1:]
    view = memory.view(values.dtype).reshape(values.shape)
    view[...] = values
    assert not view.flags.aligned
    return view


def in_records(values):
    """Lay rows into records of 2 bytes more: strides no multiple of the element."""
    row = np.dtype([("row", values.dtype, values.shape[-1]), ("end", np.int16)])
    records = np.zeros(values.shape[:-1], row)
    records["row"] = values
    return records["row"]


def read_only(values):
    frozen = values.copy()
    frozen.flags.writeable = False
    return frozen


KINDS = {
    "fortran order": np.asfortranarray,
    "reversed time": lambda values: values[::-1].copy()[::-1],
    "gaps in the last axis": with_gaps,
    "other byte order": lambda values: values.astype(values.dtype.newbyteorder()),
    "misaligned": misaligned,
    "records": in_records,
    "read-only": read_only,
    "memoryview": memoryview,
    "__array__": GivesArray,
    "__dlpack__": GivesDLPack,
    "subclass": lambda values: values.view(np.recarray),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_array_gives_the_same_bits(kind):
    layer = xr.LSTM(I, H, bidirectional=True, seed=1)
    x, dy = draw(T, B, I), draw(T, B, 2 * H, seed=2)
    state = draw_state(layer, B)
    make = KINDS[kind]
    other = (make(x), tuple(make(part) for part in state))
    assert same_bits(layer(*other), layer(x, state))
    y, final, cache = layer.forward(x, state)
    y_other, _, cache_other = layer.forward(*other)
    assert same_bits(y_other, y)
    grads = layer.backward(cache, dy, final)
    grads_other = layer.backward(cache_other, make(dy), tuple(map(make, final)))
    assert same_bits(grads_other.x, grads.x)
    assert same_bits(grads_other.state, grads.state)
    assert same_bits(grads_other.weights, grads.weights)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_kernels_get_can_be_read_by_them(kind):
    x = draw(T, B, I)
    given = _checks.as_array("x", KINDS[kind](x), np.dtype("float32"))
    readable = _checks.make_readable(given)
    assert readable.flags.aligned
    assert readable.dtype.isnative
    assert readable.strides[-1] == readable.itemsize
    assert same_bits(readable, x)
    is_copy = not np.shares_memory(readable, given)
    wanted = "gaps in the last axis", "other byte order", "misaligned", "records"
    assert is_copy == (kind in (*wanted, "fortran order"))


def test_standard_library_arrays_are_taken():
    x = draw(T, I)
    values = memoryview(array.array("f", x.ravel())).cast("B").cast("f", [T, I])
    layer = xr.RNN(I, H, seed=1)
    assert same_bits(layer(values), layer(x))


def test_torch_tensors_are_taken():
    torch = pytest.importorskip("torch")
    layer = xr.GRU(I, H, seed=1)
    x, h = draw(T, B, I), draw(1, B, H)
    tensors = torch.from_numpy(x), torch.from_numpy(h)
    assert same_bits(layer(*tensors), layer(x, h))
    out = torch.empty(T, B, H)
    layer(tensors[0], out=out)
    assert same_bits(out.numpy(), layer(x)[0])
    module = torch.nn.GRU(I, H)
    layer.load_state_dict(module.state_dict())
    assert list(module.state_dict()) == list(layer.state_dict())
    assert np.abs(layer(x)[0] - module(tensors[0])[0].detach().numpy()).max() < 1e-5


@pytest.mark.parametrize(
    "make", [list, tuple, np.array, lambda n: np.array(n, np.uint8)[::-1][::-1]]
)
def test_lengths_may_be_any_integers(make):
    layer = xr.GRU(I, H, seed=1)
    x, lengths = draw(T, B, I), [5, 0, 3]
    expected = layer(x, lengths=np.array(lengths, np.int64))
    assert same_bits(layer(x, lengths=make(lengths)), expected)


@of_every_kind
def test_full_lengths_are_no_lengths(kind):
    layer = make_kind(kind, I, H, bidirectional=True)
    x = draw(T, B, I)
    (y, final), (y_full, final_full) = layer(x), layer(x, lengths=[T] * B)
    assert same_bits(y, y_full)
    assert same_bits(as_tuple(final), as_tuple(final_full))


# States, empty calls


def x_of(steps, rows):
    return draw(steps, rows, I)


def move_gradient(dstate, move):
    """Apply `move` to each part of the gradient of a state."""
    if isinstance(dstate, tuple):
        return tuple(move(part) for part in dstate)
    return move(dstate)


@of_every_kind
def test_no_state_is_a_state_of_zeros(kind):
    layer = make_kind(kind, I, H, num_layers=2, bidirectional=True)
    x = draw(T, B, I)
    zeros = move_axis(layer, layer(x)[1], np.zeros_like)
    if layer.cell == "clockwork":
        zeros = (zeros[0], np.full(B, layer.phase))
    assert same_bits(layer(x)[0], layer(x, zeros)[0])


@of_every_kind
def test_pieces_with_the_state_carried_on_are_the_whole(kind):
    layer = make_kind(kind, I, H, num_layers=2)
    x = draw(T, B, I)
    y, final = layer(x)
    y_first, state = layer(x[:2])
    y_last, state = layer(x[2:], state)
    assert same_bits(np.concatenate([y_first, y_last]), y)
    assert same_bits(as_tuple(state), as_tuple(final))


@of_every_kind
def test_forward_computes_what_a_plain_call_does(kind):
    layer = make_kind(kind, I, H, num_layers=2, bidirectional=True)
    x, state = draw(T, B, I), draw_state(layer, B)
    y, final, _ = layer.forward(x, state)
    y_plain, final_plain = layer(x, state)
    assert same_bits(y, y_plain)
    assert same_bits(as_tuple(final), as_tuple(final_plain))


@of_every_kind
@pytest.mark.parametrize(("steps", "rows"), [(0, B), (T, 0), (0, 0)])
def test_an_empty_call_passes_the_state_through(kind, steps, rows):
    layer = make_kind(kind, I, H, num_layers=2, bidirectional=True, dropout=0.5)
    x, state = draw(steps, rows, I), draw_state(layer, rows)
    lengths = [0] * rows
    y, final, cache = layer.forward(x, state, lengths=lengths, gates=True)
    assert y.shape == (steps, rows, 2 * layer.output_size)
    assert same_bits(as_tuple(final), as_tuple(state))
    usual = layer.forward(x_of(1, 1), gates=True)[2].gates
    assert cache.gates.keys() == usual.keys()
    for name, gate in cache.gates.items():
        assert gate.shape == (steps, rows, usual[name].shape[2])
    dstate = draw_gradient(layer, rows, seed=5)
    grads = layer.backward(cache, y, dstate)
    assert grads.x.shape == x.shape
    assert same_bits(as_tuple(grads.state), as_tuple(dstate))
    assert not any(dw.any() for dw in grads.weights.values())
    _, final_plain = layer(x, state, lengths=lengths)
    assert same_bits(as_tuple(final_plain), as_tuple(state))
    for a, b in zip(as_tuple(final_plain), as_tuple(state), strict=True):
        assert not np.shares_memory(a, b)
    y_plain, final_plain = layer(x, lengths=lengths)
    assert y_plain.shape == y.shape
    assert not any(part.any() for part in as_tuple(as_gradient(layer, final_plain)))


@of_every_kind
def test_a_row_of_length_0_passes_its_state_through(kind):
    layer = make_kind(kind, I, H, num_layers=2)
    state = draw_state(layer, B)
    y, final = layer(draw(T, B, I), state, lengths=[T, 0, 2])
    assert not y[:, 1].any()
    assert not y[2:, 2].any()
    final, state = as_gradient(layer, final), as_gradient(layer, state)
    for part, part_before in zip(as_tuple(final), as_tuple(state), strict=True):
        assert same_bits(part[:, 1], part_before[:, 1])


# out=


@of_every_kind
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("make", [np.zeros, None], ids=["plain", "gaps"])
def test_out_is_filled_and_returned(kind, make, batch_first):
    layer = make_kind(kind, I, H, num_layers=2, batch_first=batch_first)
    x = draw(B, T, I)
    y, final = layer(x)
    if make is None:
        shape = (*y.shape[:-1], 2 * layer.output_size)
        out = np.full(shape, np.nan, np.float32)[..., ::2]
    else:
        out = make(y.shape, np.float32)
    got, final_out = layer(x, out=out)
    assert got is out
    assert same_bits(out, y)
    assert same_bits(as_tuple(final_out), as_tuple(final))


def test_out_may_have_large_strides_and_be_misaligned():
    layer = xr.LSTM(I, H, bidirectional=True, seed=1)
    x = draw(T, B, I)
    y, _ = layer(x)
    wide = np.zeros((T, B + 2, 4 * H), np.float32)
    layer(x, out=wide[:, 1:-1, H : 3 * H])
    assert same_bits(wide[:, 1:-1, H : 3 * H], y)
    assert not wide[:, 0].any()
    assert not wide[..., :H].any()
    odd = misaligned(np.zeros_like(y))
    layer(x, out=odd)
    assert same_bits(odd, y)


# The cache


@of_every_kind
def test_later_changes_of_the_arguments_change_no_gradient(kind):
    layer = make_kind(kind, I, H, num_layers=2)
    x, state, lengths = draw(T, B, I), draw_state(layer, B), np.array([5, 2, 4])
    y, _, cache = layer.forward(x, state, lengths=lengths)
    dy = draw(*y.shape, seed=3)
    before = layer.backward(cache, dy)
    x[...] = np.nan
    y[...] = np.nan
    lengths[...] = 0
    for part in as_tuple(state):
        part[...] = np.nan if part.dtype == np.float32 else 0
    after = layer.backward(cache, dy)
    assert same_bits(after.x, before.x)
    assert same_bits(as_tuple(after.state), as_tuple(before.state))
    assert same_bits(after.weights, before.weights)


@of_every_kind
def test_gradient_of_the_output_may_be_left_out(kind):
    layer = make_kind(kind, I, H, num_layers=2, bidirectional=True)
    y, _, cache = layer.forward(draw(T, B, I))
    dstate = draw_gradient(layer, B, seed=7)
    without = layer.backward(cache, None, dstate)
    zeros = layer.backward(cache, np.zeros_like(y), dstate)
    assert np.array_equal(without.x, zeros.x)
    assert without.x.any()
    assert same_bits(
        layer.backward(cache, y).x,
        layer.backward(cache, y, move_gradient(dstate, np.zeros_like)).x,
    )


@pytest.mark.parametrize("kind", GATES)
def test_gates_are_named_arrays_that_cannot_be_written(kind):
    layer = make_kind(kind, I, H, num_layers=2, bidirectional=True)
    _, _, cache = layer.forward(draw(T, B, I), gates=True)
    suffixes = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    expected = {gate + suffix for suffix in suffixes for gate in GATES[kind]}
    assert set(cache.gates) == expected
    for gate in cache.gates.values():
        assert gate.shape == (T, B, H)
        assert not gate.flags.writeable


def test_gates_make_up_the_output():
    layer = xr.LSTM(I, H, seed=1)
    y, (_, c), cache = layer.forward(draw(1, B, I), gates=True)
    gates = cache.gates
    assert np.allclose(c[0], gates["i_l0"][0] * gates["g_l0"][0], atol=1e-6)
    assert np.allclose(y[0], gates["o_l0"][0] * np.tanh(c[0]), atol=1e-6)


# Layers on top of each other, dropout


def split_stack(layer, kind):
    """Return two layers of one level each that hold the weights of a layer of two."""
    width = layer.output_size * (1 + layer.bidirectional)
    parts = []
    for level, size in enumerate((I, width)):
        part = make_kind(kind, size, H, bidirectional=layer.bidirectional)
        names = {name: name.replace("_l0", f"_l{level}") for name in part.state_dict()}
        weights = layer.state_dict()
        part.load_state_dict({name: weights[names[name]] for name in names})
        parts.append(part)
    return parts


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "depth_gated"])
@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_two_layers_are_one_on_top_of_the_other(kind, bidirectional, dropout):
    options = {"bidirectional": bidirectional, "dropout": dropout}
    layer = make_kind(kind, I, H, num_layers=2, **options)
    low, high = split_stack(layer, kind)
    x, lengths, directions = draw(T, B, I), [5, 1, 3], 1 + bidirectional
    y, final, cache = layer.forward(x, lengths=lengths, gates=True)
    mask = cache.masks[0] if dropout else np.float32(1)
    y_low, final_low, cache_low = low.forward(x, lengths=lengths)
    y_high, final_high, cache_high = high.forward(y_low * mask, lengths=lengths)
    assert same_bits(y, y_high)
    finals = [as_gradient(layer, state) for state in (final, final_low, final_high)]
    for part, a, b in zip(*map(as_tuple, finals), strict=True):
        assert same_bits(part[:directions], a)
        assert same_bits(part[directions:], b)
    dy = draw(*y.shape, seed=4)
    grads = layer.backward(cache, dy, finals[0])
    grads_high = high.backward(cache_high, dy, finals[2])
    grads_low = low.backward(cache_low, grads_high.x * mask, finals[1])
    assert same_bits(grads.x, grads_low.x)
    for name, dw in grads.weights.items():
        part = grads_low if "_l0" in name else grads_high
        assert same_bits(dw, part.weights[name.replace("_l1", "_l0")])
    for part, a, b in zip(
        *map(as_tuple, (grads.state, grads_low.state, grads_high.state)), strict=True
    ):
        assert same_bits(part, np.concatenate([a, b]))


def test_dropout_masks_have_the_share_and_scale_asked_for(dtype):
    layer = xr.GRU(I, 50, 3, dropout=0.2, dtype=dtype, seed=5)
    _, _, cache = layer.forward(draw(20, 10, I, dtype=dtype))
    assert len(cache.masks) == 2
    for mask in cache.masks:
        assert mask.dtype == dtype
        assert mask.shape == (20, 10, 50)
        assert set(np.unique(mask)) == {0, np.dtype(dtype).type(1.25)}
        assert 0.18 < (mask == 0).mean() < 0.22
    assert not same_bits(cache.masks[0], cache.masks[1])


def test_dropout_follows_the_seed_and_acts_in_forward_alone():
    first = xr.GRU(I, H, 2, dropout=0.5, seed=5)
    second = xr.GRU(I, H, 2, dropout=0.5, seed=5)
    x = draw(T, B, I)
    y, _, _ = first.forward(x)
    second(x)
    assert same_bits(second.forward(x)[0], y)
    assert not same_bits(first.forward(x)[0], y)
    assert same_bits(first(x), second(x))
    wide = xr.GRU(I, H, 2, dropout=0.5, seed=5, dtype="float64")
    narrow = xr.GRU(I, H, 2, dropout=0.5, seed=5)
    masks = [
        layer.forward(draw(T, B, I, dtype=layer.dtype))[2].masks[0]
        for layer in (wide, narrow)
    ]
    assert np.array_equal(*masks)


# Python threads


def test_one_layer_may_be_called_from_many_python_threads():
    layer = xr.LSTM(I, 32, 2, seed=1)
    inputs = [draw(20, B, I, seed=seed) for seed in range(24)]
    expected = [layer(x) for x in inputs]

    def both(x):
        y, final, cache = layer.forward(x)
        return layer(x), layer.backward(cache, y, final).weights

    gradients = [both(x)[1] for x in inputs]
    with ThreadPoolExecutor(6) as pool:
        for (found, dw), want, dw_want in zip(
            pool.map(both, inputs), expected, gradients, strict=True
        ):
            assert same_bits(found, want)
            assert same_bits(dw, dw_want)
