"""What everything with weights offers alike, over the one list of it.

Options as attributes that cannot be set, arguments and a repr that make it anew,
weights by name, loading that is strict or not, behind a prefix, rounded if asked,
files. A class that lacks one of these is found here; copies are in test_copies.py.
"""

import inspect
import io
import json
import re

import numpy as np
import pytest
from arrays import draw, same_bits
from modules import CACHES, WEIGHTED, flat, input_of

import exactrnn as xr
from exactrnn.layers import CLASSES

every_one = pytest.mark.parametrize("name", WEIGHTED)
not_fitted = pytest.mark.parametrize("name", [n for n in WEIGHTED if n != "echo-state"])
"""All but the network whose weights are fixed or fitted, not trained."""


def public_classes():
    """Return the public classes whose objects have weights and arguments.

    Composites have none of their own: their parts have.
    """
    public = {
        getattr(package, n) for package in (xr, xr.train) for n in package.__all__
    }
    return {c for c in public if isinstance(c, type) and hasattr(c, "record")}


def option_names(module):
    """Return the constructor's parameters that say what a module is."""
    names = [n for n in inspect.signature(type(module)).parameters if n != "seed"]
    return [
        n for n in names if n not in ("w_in", "w")
    ]  # an echo state network's matrices


def test_the_list_has_every_class_with_weights():
    made = {type(make()) for make in WEIGHTED.values()}
    assert made == public_classes()
    assert set(CLASSES.values()) == made - {xr.train.LanguageModel}


# Options


@every_one
def test_arguments_make_it_anew_and_are_plain(name):
    module = WEIGHTED[name]()
    arguments = module.arguments()
    assert sorted(arguments) == sorted(option_names(module))
    for given in (arguments, json.loads(json.dumps(arguments))):
        twin = type(module)(**given, seed=1)
        assert twin.arguments() == arguments
        weights, own = twin.state_dict(), module.state_dict()
        shapes = {n: w.shape for n, w in own.items() if not n.endswith("_out")}
        assert {n: w.shape for n, w in weights.items()} == shapes


@every_one
def test_the_repr_makes_it_anew(name):
    module = WEIGHTED[name]()
    assert repr(module).startswith(f"{type(module).__name__}(")
    known = {**vars(xr.cells), type(module).__name__: type(module)}
    twin = eval(repr(module), known)
    assert twin.arguments() == module.arguments()
    assert repr(twin) == repr(module)


@every_one
def test_options_are_attributes_that_cannot_change(name):
    module, weights = WEIGHTED[name](), WEIGHTED[name]().state_dict()
    for option in option_names(module):
        if option in weights:  # the bias of a linear layer
            continue
        value = getattr(module, option)
        if option in ("washout", "ridge"):  # which the next fit reads
            continue
        for other in (value, None, 7):
            with pytest.raises(AttributeError, match=f"^{option} cannot change: make"):
                setattr(module, option, other)
        assert getattr(module, option) == value
    assert isinstance(module.dtype, np.dtype)
    module.remark = "mine"
    assert module.remark == "mine"


# Weights


def attributes_of(module):
    """Return the weights that are attributes, behind a dot those of parts."""
    found = {}
    for name in module.state_dict():
        *parts, own = name.split(".")
        owner = getattr(module, parts[0]) if parts else module
        found[name] = getattr(owner, own)
    return found


@not_fitted
def test_weights_are_views_by_name(name):
    module = WEIGHTED[name]()
    weights, own = module.state_dict(), module.parameters()
    assert list(own) == list(weights)
    assert same_bits(own, weights)
    assert same_bits(attributes_of(module), weights)
    for key, weight in attributes_of(module).items():
        assert np.shares_memory(weight, own[key])
        assert not np.shares_memory(weights[key], own[key])
    counted = sum(weight.size for weight in weights.values())
    assert module.num_parameters == counted or "clockwork" in name
    own.clear()
    del weight


@not_fitted
def test_a_weight_is_assigned_by_name_or_refused(name):
    module = WEIGHTED[name]()
    before = module.state_dict()
    key = next(iter(before))
    *parts, own = key.split(".")
    owner = getattr(module, parts[0]) if parts else module
    setattr(owner, own, 0.5 * before[key])
    assert same_bits(module.state_dict(), {**before, key: 0.5 * before[key]})
    for wrong, error in (
        (before[key][:0], ValueError),
        (before[key].astype("f8"), TypeError),
        (before[key].tolist(), TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error, match=f"^{own}: expected "):
            setattr(owner, own, wrong)
        with pytest.raises(error, match=f"^{re.escape(key)}: expected "):
            module.load_state_dict({**before, key: wrong})
    assert same_bits(module.state_dict(), {**before, key: 0.5 * before[key]})
    with pytest.raises(AttributeError, match="has no attribute 'weight_of_none'"):
        module.weight_of_none  # noqa: B018


# Loading


@not_fitted
def test_loading_has_the_same_arguments_everywhere(name):
    signature = inspect.signature(WEIGHTED[name]().load_state_dict)
    plain = {n: p.default for n, p in signature.parameters.items()}
    expected = {"state_dict": inspect.Parameter.empty, "strict": True}
    assert plain == {**expected, "prefix": "", "dtype": None}


@not_fitted
def test_loading_says_what_it_passed_over(name):
    module = WEIGHTED[name]()
    before = module.state_dict()
    first, *rest = before
    new = {n: 0.5 * weight for n, weight in before.items()}
    assert module.load_state_dict(new) == ([], [])
    assert same_bits(module.state_dict(), new)
    some = {n: before[n] for n in rest} | {"other": None}
    passed = module.load_state_dict(some, strict=False)
    assert (passed.missing_keys, passed.unexpected_keys) == ([first], ["other"])
    assert same_bits(module.state_dict(), {**before, first: new[first]})
    for wrong in (some, {}, {n: before[n] for n in rest}):
        with pytest.raises(ValueError, match=r"^state_dict: expected "):
            module.load_state_dict(wrong)
    prefixed = {f"net.{n}": weight for n, weight in before.items()}
    assert module.load_state_dict(prefixed | {"x": 0}, prefix="net.") == ([], [])
    assert same_bits(module.state_dict(), before)


@not_fitted
def test_weights_of_another_dtype_are_rounded_if_asked(name):
    module = WEIGHTED[name]()
    before = module.state_dict()
    exact = {
        n: weight.astype("f8") + draw(*weight.shape, dtype="float64", seed=k) * 1e-9
        for k, (n, weight) in enumerate(before.items())
    }
    if "clockwork" in name:  # absent connections stay 0
        exact = {n: np.where(before[n] == 0, 0, w) for n, w in exact.items()}
    with pytest.raises(TypeError, match="expected float32, got float64"):
        module.load_state_dict(exact)
    assert module.load_state_dict(exact, dtype="float32") == ([], [])
    rounded = {n: weight.astype("f4") for n, weight in exact.items()}
    assert same_bits(module.state_dict(), rounded)
    halves = {n: weight.astype(">f2") for n, weight in before.items()}
    module.load_state_dict(halves, dtype=module.dtype)
    widened = {n: weight.astype("f4") for n, weight in halves.items()}
    assert same_bits(module.state_dict(), widened)
    first = next(iter(before))
    for wrong, error, message in (
        (exact[first] + 1e39, ValueError, "expected numbers that float32 holds, got"),
        (exact[first].astype(int), TypeError, "expected float16, bfloat16, float32 or"),
        (exact[first][:0], ValueError, "expected "),
        (np.broadcast_to(0.0, (2**40, 7)), ValueError, "expected "),
        (exact[first].tolist(), TypeError, "expected a NumPy array"),
    ):
        with pytest.raises(error, match=f"^{re.escape(first)}: {message}"):
            module.load_state_dict({**exact, first: wrong}, dtype="float32")
    with pytest.raises(TypeError, match=r"^dtype: expected float32, that of the layer"):
        module.load_state_dict(exact, dtype="float64")
    with pytest.raises(TypeError, match=r"^dtype: expected float32 or float64, got"):
        module.load_state_dict(exact, dtype="float16")
    assert same_bits(module.state_dict(), widened)


def test_rounding_is_to_nearest_even_and_keeps_what_is_not_finite():
    layer = xr.train.Linear(3, 1, bias=False)
    tie, tiny = 1 + 2.0**-24, 2.0**-149
    for given, expected in (
        ([tie, 1 + 3 * 2.0**-24, tiny], [1, 1 + 2.0**-22, tiny]),
        ([np.inf, -np.inf, 0.75 * tiny], [np.inf, -np.inf, tiny]),
        ([-0.0, 3.4028235e38, 2.0**-151], [-0.0, 3.4028235e38, 0.0]),
    ):
        layer.load_state_dict({"weight": np.array([given])}, dtype="float32")
        assert same_bits(layer.state_dict()["weight"], np.float32([expected]))


# Files


@every_one
def test_a_file_holds_it_to_the_bit(name, tmp_path):
    pytest.importorskip("safetensors", reason="needs safetensors: extra lm")
    module = WEIGHTED[name]()
    if type(module) in CLASSES.values():
        file = io.BytesIO()
        xr.save(module, file)
        twin = xr.load(file.getvalue())
    else:
        module.save(tmp_path / "model")
        twin = type(module).load(tmp_path / "model")
    assert type(twin) is type(module)
    assert twin.arguments() == module.arguments()
    assert same_bits(twin.state_dict(), module.state_dict())


@every_one
def test_it_is_restored_from_its_parts_drawing_nothing(name):
    module = WEIGHTED[name]()
    arguments, weights = module.arguments(), module.state_dict()
    twin = type(module).restore(arguments, weights)
    assert twin.arguments() == arguments
    assert same_bits(twin.state_dict(), weights)
    first = next(iter(weights))
    for wrong in ({}, {**weights, "other": weights[first]}, {first: weights[first]}):
        if wrong.keys() != weights.keys():
            with pytest.raises(ValueError, match="weights: expected"):
                type(module).restore(arguments, wrong)


# Caches


@pytest.mark.parametrize("name", [n for n in CACHES if hasattr(CACHES[n](), "_kept")])
def test_a_cache_says_whose_it_is_and_what_it_read(name):
    module = CACHES[name]()
    x = input_of(module)
    cache = module.forward(x)[-1]
    assert cache.layer is module
    assert same_bits(flat(cache.x), flat(x))
    assert repr(module) in repr(cache)
