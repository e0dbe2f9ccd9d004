"""Each cell of this library once more, as a definition: the hand-written kernel's bits.

Two ways to the same numbers that have nothing in common but the engine: a kernel and
its twin, written by hand, and equations whose gradient is derived. Forward the bits are
the same, and so are gradients, but for those that `TWICE` names.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from arrays import as_tuple
from bits import assert_same_bits
from twice import ALONE, TWICE, H, expected_gradient, make_both

import exactrnn as xr

RAGGED = [7, 0, 4]
LEFT_OUT = {"clockwork": ("weight_hh",)}
"""What the definition has a gradient for and the kernel, whose connections do not
exist, has none."""


def run(layer, dtype, states, truncated):
    """Return all results of a ragged batch, forward and back, by name."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 3, 5)).astype(dtype)
    y, final, cache = layer.forward(x, lengths=RAGGED)
    dy = rng.standard_normal(y.shape).astype(dtype)
    grads = layer.backward(cache, dy, **({"truncated": True} if truncated else {}))
    ahead = {"y": y} | dict(zip(states, as_tuple(final), strict=False))
    back = {"dx": grads.x}
    back |= {
        f"d{state}": a for state, a in zip(states, as_tuple(grads.state), strict=False)
    }
    return ahead, back, grads.weights


def assert_close(key, found, expected):
    close = 3e-5 if found.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, expected, close, close, err_msg=key)


def masked(name, weight, array, theirs):
    """Return a gradient where connections exist."""
    if weight.partition("_l")[0] in LEFT_OUT.get(name, ()):
        return np.where(getattr(theirs, weight) != 0, array, 0)
    return array


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TWICE)
def test_definition_has_the_bits_of_the_kernel_by_hand(name, dtype):
    twice = TWICE[name]
    options = {"num_layers": 2, "bidirectional": True, "seed": 1, "dtype": dtype}
    ours, theirs = make_both(name, **options)
    states = [s for s in theirs.state_names if s != "clock"]
    expected = run(ours, dtype, states, twice.truncated)
    found = run(theirs, dtype, states, False)
    same = assert_close if twice.rounded == "everything" else assert_same_bits
    for key in expected[0]:
        same(key, found[0][key], expected[0][key])
    same = assert_close if twice.rounded in ("all", "everything") else assert_same_bits
    for key in expected[1]:
        same(key, found[1][key], expected[1][key])
    compared = set()
    for weight, gradient in found[2].items():
        wanted = expected_gradient(name, weight, expected[2])
        if wanted is None:
            continue
        compared.add(weight.partition("_l")[0])
        is_rounded = weight.startswith(twice.rounded or "-")
        check = assert_close if is_rounded else same
        check(weight, masked(name, weight, gradient, theirs), wanted)
    assert compared == {*twice.weights} - (
        {"weight_unit"} if "clock" in name else set()
    )


def test_every_kernel_is_there_or_said_why_not():
    listed = Path(__file__).parents[2] / "csrc/kernels/cells.def"
    kernels = {*re.findall(r"XR_CELL\((\w+)\)", listed.read_text("utf-8"))}
    twice = {make_both(name)[0]._spec.cell_of(0) for name in TWICE}
    assert kernels == twice | {*ALONE} | {"program"}


def test_tiny_states_and_gradients_are_flushed_as_by_hand():
    ours, theirs = make_both("lstm", seed=1)
    x = np.full((6, 2, 5), 2.0**-110, "float32")
    for layer in (ours, theirs):
        weights = layer.state_dict()
        weights |= {n: 0 * w for n, w in weights.items() if "bias" in n}
        layer.load_state_dict(weights)
    y, (_, c), cache = theirs.forward(x)
    expected, (_, c_ours), cache_ours = ours.forward(x)
    assert_same_bits("y", y, expected)
    assert_same_bits("c", c, c_ours)
    assert not y.any()
    dy = np.full_like(y, 2.0**-99)
    grads, grads_ours = theirs.backward(cache, dy), ours.backward(cache_ours, dy)
    assert_same_bits("dx", grads.x, grads_ours.x)
    assert_same_bits("dh", grads.state[0], grads_ours.state[0])


def test_full_gate_recurrence_has_more_sums_than_a_definition():
    """The form of `TWICE` has no input gate: with one there are 13 sums."""

    class Linked(xr.Cell):
        states = ("h", "c", "i", "f", "o")

        def gate(self, s, name):
            a = s.W(name) + s.R(name, s.h) + s.b(name)
            for state in "ifo":
                a = a + s.R(f"{name}_{state}", getattr(s, state))
            return s.sigmoid(a)

        def step(self, s):
            i, f, o = (self.gate(s, name) for name in "ifo")
            c = s.fma(f, s.c, i * s.tanh(s.W("g") + s.R("g", s.h)))
            return o * s.tanh(c), c, i, f, o

    with pytest.raises(ValueError, match=r"at most 12 sums .* got 13"):
        xr.Layer(Linked, 5, H)
