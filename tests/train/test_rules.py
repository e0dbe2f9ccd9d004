"""AdamW and RMSprop against torch, state of optimisers, sums and means over steps."""

import copy

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn.train import SGD, Accumulator, Adam, AdamW, RMSprop, WeightAverage

RULES = {
    "sgd": lambda p, lr=0.1: SGD(p, lr),
    "momentum": lambda p, lr=0.1: SGD(p, lr, momentum=0.9),
    "adam": lambda p, lr=0.1: Adam(p, lr),
    "adamw": lambda p, lr=0.1: AdamW(p, lr, weight_decay=0.1),
    "rmsprop": lambda p, lr=0.1: RMSprop(p, lr, alpha=0.9),
    "rmsprop momentum": lambda p, lr=0.1: RMSprop(p, lr, momentum=0.9),
}
of_every_rule = pytest.mark.parametrize("rule", RULES)


def gradients(step, dtype="float64"):
    return {
        "w": draw(40, dtype=dtype, seed=step),
        "b": draw(3, dtype=dtype, seed=-step % 97),
    }


def weights(dtype="float64"):
    return {"w": draw(40, dtype=dtype, seed=98), "b": draw(3, dtype=dtype, seed=99)}


@pytest.mark.parametrize("rule", ["adamw", "rmsprop", "rmsprop momentum"])
def test_rules_agree_with_torch(rule):
    torch = pytest.importorskip("torch")
    make = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9),
        "rmsprop momentum": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
    }[rule]
    own = weights()
    theirs = {name: torch.tensor(a.copy()) for name, a in own.items()}
    optimizer, other = RULES[rule](own), make(theirs.values())
    for step in range(10):
        given = gradients(step)
        for name, tensor in theirs.items():
            tensor.grad = torch.tensor(given[name])
        other.step()
        optimizer.step(given)
    for name, array in own.items():
        assert np.allclose(array, theirs[name].numpy(), rtol=1e-12, atol=1e-13)


def test_adamw_without_decay_is_adam_to_the_bit():
    first, second = weights("float32"), weights("float32")
    adam, adamw = Adam(first), AdamW(second, weight_decay=0.0)
    for step in range(3):
        adam.step(gradients(step, "float32"))
        adamw.step(gradients(step, "float32"))
    assert same_bits(first, second)


def test_decay_that_turns_weights_round_is_refused():
    own = weights()
    optimizer = AdamW(own, lr=2.0, weight_decay=0.6)
    with pytest.raises(ValueError, match="weight_decay: expected lr \\* weight_decay"):
        optimizer.step(gradients(0))
    assert same_bits(own, weights())
    assert optimizer.num_steps == 0


@of_every_rule
def test_a_loaded_state_goes_on_with_the_same_bits(rule):
    own, twin = weights("float32"), weights("float32")
    optimizer, other = RULES[rule](own), RULES[rule](twin, lr=0.5)
    for step in range(3):
        optimizer.step(gradients(step, "float32"))
    state = optimizer.state_dict()
    twin["w"][:], twin["b"][:] = own["w"], own["b"]
    other.load_state_dict(copy.deepcopy(state))
    assert (other.num_steps, other.lr) == (3, 0.1)
    for step in range(3, 6):
        optimizer.step(gradients(step, "float32"))
        other.step(gradients(step, "float32"))
        assert same_bits(own, twin)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda _: None, TypeError, "state: expected what state_dict"),
        (lambda s: {**s, "more": 1}, TypeError, "state: expected what state_dict"),
        (lambda s: {**s, "rule": "SGD"}, ValueError, "state: expected one of Adam"),
        (lambda s: {**s, "num_steps": 0.5}, TypeError, "num_steps"),
        (lambda s: {**s, "powers": (2.0, 1.0)}, ValueError, "powers"),
        (lambda s: {**s, "options": {**s["options"], "lr": -1.0}}, ValueError, "lr"),
        (lambda s: {**s, "options": {}}, ValueError, "options: expected"),
        (
            lambda s: {**s, "slots": {"w": s["slots"]["w"]}},
            ValueError,
            "slots: expected",
        ),
        (
            lambda s: {**s, "slots": {**s["slots"], "b": ()}},
            ValueError,
            r"slots\['b'\]",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, message):
    own = weights()
    optimizer = Adam(own)
    optimizer.step(gradients(0))
    before = optimizer.state_dict()
    other = Adam(weights(), lr=0.7)
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(change(other.state_dict()))
    after = optimizer.state_dict()
    assert same_bits(after.pop("slots"), before.pop("slots"))
    assert after == before


def test_gradients_of_parts_of_a_batch_make_that_of_the_whole():
    layer = xr.GRU(3, 4, dtype="float64", seed=1)
    x, target = draw(5, 6, 3, dtype="float64"), draw(5, 6, 4, dtype="float64", seed=1)

    def back(rows):
        y, _, cache = layer.forward(np.ascontiguousarray(x[:, rows]))
        _, dy = xr.train.mean_squared_error(y, np.ascontiguousarray(target[:, rows]))
        return layer.backward(cache, dy).weights

    total = Accumulator()
    for rows in (slice(0, 2), slice(2, 4), slice(4, 6)):
        total.add(back(rows))
    assert total.count == 3
    found = total.take()
    for name, array in back(slice(None)).items():
        assert np.allclose(found[name], array, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="got none"):
        total.take()


def test_gradients_that_do_not_fit_are_not_added():
    total = Accumulator()
    total.add({"w": np.ones(3)})
    for bad in ({"w": np.ones(4)}, {"w": np.ones(3, np.float32)}, {"v": np.ones(3)}):
        with pytest.raises(ValueError, match="gradients"):
            total.add(bad)
    assert total.count == 1
    assert total.take()["w"].tolist() == [1.0] * 3


def test_the_average_of_weights_is_the_formula_and_gives_back_the_weights():
    layer = xr.train.Linear(2, 1, bias=False, dtype="float64", seed=1)
    layer.weight = np.array([[0.0, 8.0]])
    average = WeightAverage(layer, decay=0.75)
    for value in (4.0, 8.0):
        layer.weight = np.array([[value, value]])
        average.update()
    expected = np.array([[0.75 * 1.0 + 2.0, 0.75 * (0.75 * 8 + 1.0) + 2.0]])
    assert same_bits(average.state_dict()["weight"], expected)
    with average.applied():
        assert same_bits(layer.state_dict()["weight"], expected)
    assert layer.weight.tolist() == [[8.0, 8.0]]
    other = WeightAverage(layer, decay=0.75)
    other.load_state_dict(average.state_dict())
    assert same_bits(other.state_dict(), average.state_dict())
    with pytest.raises(ValueError, match="weight: expected"):
        other.load_state_dict({"weight": np.zeros((1, 3))})
