"""What is accepted, or answered with what to do, where users come from torch.

State dicts of models that a layer is a part of, gradients of a state in part, dropout
that has no place. Over the lists of modules.py.
"""

import copy
import functools
import pickle
import re
import warnings

import numpy as np
import pytest
from arrays import as_tuple, same_bits
from modules import CELLS, LAYERS, WEIGHTED, flat, input_of, keep

import exactrnn as xr

every_module = pytest.mark.parametrize("name", WEIGHTED)


# State dicts of larger models


def another(name):
    """Return a module, and weights for it that are not its own."""
    module = WEIGHTED[name]()
    return module, {n: 0.5 * weight for n, weight in module.state_dict().items()}


@pytest.mark.parametrize("prefix", ["rnn.", "module.encoder.rnn.", "x"])
@every_module
def test_a_prefix_finds_the_weights_among_others(name, prefix):
    module, new = another(name)
    model = {prefix + n: weight for n, weight in new.items()}
    model |= {"readout.weight": np.zeros(3), "weight_ih": "another's", "1": None}
    passed = module.load_state_dict(model, prefix=prefix)
    assert passed is None or passed == ([], [])
    assert same_bits(module.state_dict(), new)


@every_module
def test_behind_a_prefix_every_name_counts(name):
    module, new = another(name)
    before = module.state_dict()
    first = next(iter(new))
    model = {f"rnn.{n}": weight for n, weight in new.items()}
    less = {n: weight for n, weight in model.items() if n != f"rnn.{first}"}
    for wrong, message in (
        (less, f"missing '{first}'"),
        (model | {"rnn.other": np.zeros(3)}, "unknown 'other'"),
        (new, f"missing '{first}'"),
        ({}, f"missing '{first}'"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            module.load_state_dict(wrong, prefix="rnn.")
    with pytest.raises(TypeError, match=r"prefix: expected a string, got 3"):
        module.load_state_dict(model, prefix=3)
    assert same_bits(module.state_dict(), before)


@pytest.mark.parametrize("name", LAYERS)
def test_prefix_and_not_strict_go_together(name):
    module, new = another(name)
    first, *rest = new
    model = {f"rnn.{n}": new[n] for n in rest} | {"rnn.other": 0, "other": 0}
    before = module.state_dict()
    passed = module.load_state_dict(model, strict=False, prefix="rnn.")
    assert passed == ([first], ["other"])
    assert same_bits(module.state_dict(), {**new, first: before[first]})


@every_module
def test_a_prefix_that_was_not_expected_is_named(name):
    module, new = another(name)
    before = module.state_dict()
    message = re.escape(
        "got names that begin with 'rnn.': strip it, or "
        "load_state_dict(..., prefix='rnn.')"
    )
    model = {f"rnn.{n}": weight for n, weight in new.items()}
    for given in (model, model | {"readout.weight": np.zeros(3)}):
        with pytest.raises(ValueError, match=message):
            module.load_state_dict(given)
    # What only looks so is missing and unknown names, as ever.
    with pytest.raises(ValueError, match="missing"):
        module.load_state_dict(dict([*model.items()][1:]))
    assert same_bits(module.state_dict(), before)


# A gradient of a part of the state


def zeros_for(parts):
    return tuple(np.zeros_like(parts[k]) for k in range(len(parts)))


PARTLY = [n for n, make in {**LAYERS, **CELLS}.items() if "lstm" in n or "time" in n]


@pytest.mark.parametrize("name", PARTLY)
def test_none_is_zeros_in_the_gradient_of_a_state(name):
    module = {**LAYERS, **CELLS}[name]()
    cache, gradients = keep(module)
    *dy, dstate = gradients
    assert len(dstate) > 1
    for kept in range(len(dstate)):
        some = [part if k == kept else None for k, part in enumerate(dstate)]
        whole = [
            part if k == kept else np.zeros_like(part) for k, part in enumerate(dstate)
        ]
        expected = flat(module.backward(cache, *dy, tuple(whole)))
        for given in (tuple(some), some):
            assert same_bits(flat(module.backward(cache, *dy, given)), expected)
    if name in LAYERS:
        nothing = (None,) * len(dstate)
        expected = flat(module.backward(cache, *dy))
        assert same_bits(flat(module.backward(cache, *dy, nothing)), expected)
        with pytest.raises(ValueError, match="dy: expected an array because dstate"):
            module.backward(cache, None, nothing)
        with pytest.raises(TypeError, match=r"dstate: expected the tuple \("):
            module.backward(cache, *dy, nothing[1:])
    else:
        with pytest.raises(ValueError, match="dstate: expected at least one array"):
            module.backward(cache, (None,) * len(dstate))


@pytest.mark.parametrize("name", [n for n in PARTLY if n in LAYERS])
def test_none_is_zeros_for_the_reference_and_without_a_batch(name):
    layer = LAYERS[name](bidirectional=True)
    x = input_of(layer)[:, 0]
    y, state, cache = layer.forward(x)
    kept = xr.reference.forward(layer, x)[2]
    given = (state[0], *[None] * (len(as_tuple(state)) - 1))
    zeros = (state[0], *zeros_for(state[1:]))
    expected = flat(layer.backward(cache, y, zeros))
    assert same_bits(flat(layer.backward(cache, y, given)), expected)
    assert same_bits(flat(xr.reference.backward(layer, kept, y, given)), expected)


def test_an_initial_state_in_part_is_refused():
    layer = LAYERS["lstm"]()
    x = input_of(layer)
    h, _ = layer(x)[1]
    with pytest.raises(TypeError, match=r"state\[1\]: expected a NumPy array"):
        layer(x, (h, None))


# Dropout


def made_with_dropout(name, **options):
    """Return a layer of one layer and what was warned of, with the file's name."""
    kind = type(LAYERS[name]())
    if kind is xr.ClockworkRNN:
        options["periods"] = (1, 2)
    if kind is xr.Layer:
        kind = functools.partial(xr.Layer, xr.cells.MGU())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer = kind(4, 6, dropout=0.5, **options)
    return layer, caught


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_in_one_layer_is_warned_of_where_it_is_asked_for(name):
    layer, caught = made_with_dropout(name, num_layers=1)
    assert [w.category for w in caught] == [UserWarning]
    assert caught[0].filename == __file__
    assert str(caught[0].message) == (
        "dropout option adds dropout after all but last recurrent layer, so non-zero "
        "dropout expects num_layers greater than 1, but got dropout=0.5 and "
        "num_layers=1"
    )
    assert not made_with_dropout(name, num_layers=2)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.copy(layer)
        copy.deepcopy(layer)
        pickle.loads(pickle.dumps(layer))
        type(layer).restore(layer.arguments(), layer.state_dict())


def test_a_derived_class_is_told_at_its_own_line():
    class Derived(xr.LSTM):
        def __init__(self):
            super().__init__(4, 6, dropout=0.5)

    with pytest.warns(UserWarning, match="dropout option adds") as caught:
        Derived()
    assert caught[0].filename == __file__
