"""Losses, modules, optimisers, clipping: against plain formulas and differences.

Optimisers against their written order, to the bit: contract N9.
"""

import math

import numpy as np
import pytest

import exactrnn as xr
from exactrnn.train import (
    SGD,
    Adam,
    Embedding,
    Linear,
    clip_global_norm,
    global_norm,
    mean_squared_error,
    softmax_cross_entropy,
)

RNG = np.random.default_rng(20)


def central_difference(function, x, step=1e-6):
    """Return the gradient of a scalar function of a float64 array."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        kept = x[place]
        x[place] = kept + step
        above = function(x)
        x[place] = kept - step
        below = function(x)
        x[place] = kept
        gradient[place] = (above - below) / (2 * step)
    return gradient


def test_cross_entropy_is_the_textbooks():
    logits, targets = RNG.standard_normal((4, 3, 6)), RNG.integers(0, 6, (4, 3))
    loss, dlogits = softmax_cross_entropy(logits, targets)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    picked = np.take_along_axis(p, targets[..., None], -1)
    assert loss == pytest.approx(-np.log(picked).mean(), rel=1e-13)
    np.testing.assert_allclose(dlogits, (p - np.eye(6)[targets]) / 12, rtol=1e-12)


def test_cross_entropy_gradient_is_the_difference_quotient():
    logits, targets = RNG.standard_normal((3, 4)), np.array([1, -1, 3])
    _, dlogits = softmax_cross_entropy(logits, targets)
    numeric = central_difference(lambda x: softmax_cross_entropy(x, targets)[0], logits)
    np.testing.assert_allclose(dlogits, numeric, atol=1e-9)


def test_ignored_targets_do_not_count():
    logits, targets = RNG.standard_normal((4, 5)), np.array([0, -1, 2, -1])
    loss, dlogits = softmax_cross_entropy(logits, targets)
    counted_loss, counted = softmax_cross_entropy(logits[[0, 2]], targets[[0, 2]])
    assert loss == counted_loss
    np.testing.assert_array_equal(dlogits[[0, 2]], counted)
    assert not dlogits[[1, 3]].any()
    nothing, zero = softmax_cross_entropy(logits, np.full(4, -1))
    assert nothing == 0.0
    assert not zero.any()


def test_cross_entropy_of_huge_logits_is_finite():
    loss, dlogits = softmax_cross_entropy(np.array([[1e4, -1e4]], np.float32), [1])
    assert loss == 2e4
    np.testing.assert_array_equal(dlogits, np.array([[1, -1]], np.float32))


def test_mean_squared_error_and_its_gradient():
    y, target = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 3, 4))
    loss, dy = mean_squared_error(y, target)
    assert loss == pytest.approx(((y - target) ** 2).mean(), rel=1e-14)
    numeric = central_difference(lambda x: mean_squared_error(x, target)[0], y)
    np.testing.assert_allclose(dy, numeric, atol=1e-9)
    assert mean_squared_error(np.zeros((0, 2)), np.zeros((0, 2)))[0] == 0.0


@pytest.mark.parametrize("loss", [softmax_cross_entropy, mean_squared_error])
def test_losses_name_what_is_wrong(loss):
    with pytest.raises(TypeError, match="expected float32 or float64, got int64"):
        loss(np.zeros((2, 3), int), np.zeros(2, int))
    with pytest.raises((TypeError, ValueError), match="target"):
        loss(np.zeros((2, 3)), np.zeros((2, 4), np.float32))


def test_cross_entropy_rejects_targets_out_of_range():
    for target in (-2, 3):
        with pytest.raises(ValueError, match="targets: expected integers from -1 to 2"):
            softmax_cross_entropy(np.zeros((1, 3)), [target])
    with pytest.raises(ValueError, match="logits"):
        softmax_cross_entropy(np.zeros((3, 0)), [0, 0, 0])


def test_linear_is_the_matrix_product(dtype):
    layer = Linear(7, 5, dtype=dtype, seed=0)
    x = RNG.standard_normal((2, 3, 7)).astype(dtype)
    np.testing.assert_allclose(layer(x), x @ layer.weight.T + layer.bias, rtol=1e-4)
    assert layer.num_parameters == 40


def test_linear_gradients_are_difference_quotients():
    layer = Linear(4, 3, dtype="float64", seed=1)
    x, target = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 3, 3))

    def loss(_=None):
        return mean_squared_error(layer(x), target)[0]

    y, cache = layer.forward(x)
    gradients = layer.backward(cache, mean_squared_error(y, target)[1])
    np.testing.assert_allclose(gradients.x, central_difference(loss, x), atol=1e-9)
    for name, weight in layer.parameters().items():
        numeric = central_difference(loss, weight)
        np.testing.assert_allclose(gradients.weights[name], numeric, atol=1e-9)


def test_linear_without_bias():
    layer = Linear(2, 1, bias=False, seed=0)
    assert layer.bias is None
    assert list(layer.parameters()) == ["weight"]
    _, cache = layer.forward(np.ones((1, 2), np.float32))
    gradients = layer.backward(cache, np.ones((1, 1), np.float32))
    assert list(gradients.weights) == ["weight"]
    with pytest.raises(AttributeError, match="bias cannot change: make a new Linear"):
        layer.bias = np.zeros(1, np.float32)


def test_embedding_takes_and_returns_rows(dtype):
    layer = Embedding(5, 3, dtype=dtype, seed=2)
    index = np.array([[0, 4], [4, 4]])
    y, cache = layer.forward(index)
    np.testing.assert_array_equal(y, layer.weight[index])
    dy = RNG.standard_normal(y.shape).astype(dtype)
    expected = np.zeros((5, 3))
    np.add.at(expected, index, dy)
    gradients = layer.backward(cache, dy)
    assert gradients.x is None
    np.testing.assert_allclose(gradients.weights["weight"], expected, rtol=1e-5)
    assert abs(float(np.std(Embedding(400, 50, seed=0).weight)) - 1.0) < 0.02


def test_modules_name_what_is_wrong():
    layer, embedding = Linear(4, 3, seed=0), Embedding(5, 3, seed=0)
    with pytest.raises(ValueError, match=r"x: expected \[\.\.\., K=4\], got \(2, 5\)"):
        layer(np.zeros((2, 5), np.float32))
    with pytest.raises(TypeError, match="x: expected float32, got float64"):
        layer(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="index: expected integers from 0 to 4"):
        embedding([5])
    with pytest.raises(TypeError, match="index: expected integers"):
        embedding([0.0])
    _, cache = layer.forward(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="dy: expected shape"):
        layer.backward(cache, np.zeros((2, 4), np.float32))


@pytest.mark.parametrize(
    "make", [lambda s: Linear(4, 3, seed=s), lambda s: Embedding(4, 3, seed=s)]
)
def test_state_dict_goes_there_and_back(make):
    first, second = make(1), make(2)
    second.load_state_dict(first.state_dict())
    for name, array in first.state_dict().items():
        np.testing.assert_array_equal(array, second.parameters()[name])
    with pytest.raises(ValueError, match=r"state_dict: .* unknown 'other'"):
        second.load_state_dict(first.state_dict() | {"other": np.zeros(1)})
    with pytest.raises(TypeError, match="weight: expected float32"):
        second.load_state_dict(
            {name: array.astype(float) for name, array in first.state_dict().items()}
        )
    second.weight = np.zeros_like(first.weight)
    assert not second.weight.any()


def problem(dtype):
    """Return weights and gradients of three steps."""
    shapes = {"a": (3, 4), "b": (5,), "c": (20_000,)}
    rng = np.random.default_rng(30)
    draws = [
        {
            name: rng.standard_normal(shape).astype(dtype)
            for name, shape in shapes.items()
        }
        for _ in range(4)
    ]
    return draws[0], draws[1:]


def plain_sgd(weights, steps, lr, momentum):
    number = next(iter(weights.values())).dtype.type
    velocity = {name: np.zeros_like(w) for name, w in weights.items()}
    for gradients in steps:
        for name, g in gradients.items():
            velocity[name] = velocity[name] * number(momentum) + g
            direction = velocity[name] if momentum else g
            weights[name] = weights[name] - direction * number(lr)
    return weights


def plain_adam(weights, steps, lr, betas, eps):
    number = next(iter(weights.values())).dtype.type
    m = {name: np.zeros_like(w) for name, w in weights.items()}
    v = {name: np.zeros_like(w) for name, w in weights.items()}
    q1 = q2 = 1.0
    for gradients in steps:
        q1, q2 = q1 * betas[0], q2 * betas[1]
        for name, g in gradients.items():
            m[name] = m[name] * number(betas[0]) + g * number(1 - betas[0])
            v[name] = v[name] * number(betas[1]) + g * g * number(1 - betas[1])
            root = np.sqrt(v[name] / number(1 - q2)) + number(eps)
            weights[name] = weights[name] - m[name] * number(lr / (1 - q1)) / root
    return weights


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_has_the_bits_of_its_formula(dtype, momentum):
    weights, steps = problem(dtype)
    expected = plain_sgd(dict(weights), steps, 0.1, momentum)
    optimizer = SGD(weights, lr=0.1, momentum=momentum)
    for gradients in steps:
        optimizer.step(gradients)
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array)


def test_adam_has_the_bits_of_its_formula(dtype):
    weights, steps = problem(dtype)
    expected = plain_adam(dict(weights), steps, 0.01, (0.9, 0.999), 1e-8)
    optimizer = Adam(weights, lr=0.01)
    for gradients in steps:
        optimizer.step(gradients)
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array)


def test_optimizers_agree_with_torch_in_float64():
    torch = pytest.importorskip("torch")
    for make, twin in (
        (
            lambda p: SGD(p, lr=0.1, momentum=0.9),
            lambda p: torch.optim.SGD(p, 0.1, 0.9),
        ),
        (lambda p: Adam(p, lr=0.01), lambda p: torch.optim.Adam(p, 0.01)),
    ):
        weights, steps = problem("float64")
        theirs = {n: torch.tensor(w, requires_grad=True) for n, w in weights.items()}
        ours, other = make(weights), twin(list(theirs.values()))
        for gradients in steps:
            ours.step(gradients)
            for name, tensor in theirs.items():
                tensor.grad = torch.tensor(gradients[name])
            other.step()
        for name, tensor in theirs.items():
            np.testing.assert_allclose(weights[name], tensor.detach(), 1e-12, 1e-15)


def test_optimizer_changes_a_layer_through_its_parameters():
    layer = xr.GRU(2, 3, seed=0)
    x = RNG.standard_normal((4, 2, 2)).astype(np.float32)
    before = layer(x)[0]
    y, _, cache = layer.forward(x)
    optimizer = SGD(layer, lr=0.5)
    optimizer.step(layer.backward(cache, np.ones_like(y)).weights)
    after = layer(x)[0]
    assert after.sum() < before.sum()
    restored = xr.GRU(2, 3, seed=1)
    restored.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(restored(x)[0], after)


def test_a_step_that_raises_changes_nothing():
    weights, (gradients, *_) = problem("float32")
    before = {name: array.copy() for name, array in weights.items()}
    optimizer = Adam(weights)
    wrong = [
        (ValueError, {k: v for k, v in gradients.items() if k != "b"}),
        (ValueError, gradients | {"d": np.zeros(1)}),
        (ValueError, gradients | {"c": np.zeros(3, np.float32)}),
        (TypeError, gradients | {"c": gradients["c"].astype(float)}),
    ]
    for error, bad in wrong:
        with pytest.raises(error, match="gradients"):
            optimizer.step(bad)
    assert optimizer.num_steps == 0
    for name, array in before.items():
        np.testing.assert_array_equal(weights[name], array)


def test_parameters_that_cannot_be_written_are_refused():
    fixed = np.zeros(3)
    fixed.flags.writeable = False
    for array in (fixed, np.zeros((3, 3))[:, :2]):
        optimizer = SGD({"w": array}, lr=0.1)
        with pytest.raises(ValueError, match="w: expected a writable C-contiguous"):
            optimizer.step({"w": np.zeros(array.shape)})


@pytest.mark.parametrize("lr", [-1.0, math.nan, math.inf])
def test_learning_rates_are_checked(lr):
    with pytest.raises(ValueError, match="lr"):
        SGD({}, lr)
    with pytest.raises(ValueError, match="betas"):
        Adam({}, betas=(1.0, 0.9))


def test_clipping_is_by_one_norm_over_all(dtype):
    gradients = {"a": np.array([3.0, 0.0], dtype), "b": np.array([[4.0]], dtype)}
    assert global_norm(gradients) == 5.0
    assert clip_global_norm(gradients, 10.0) == 5.0
    assert gradients["a"][0] == 3.0
    assert clip_global_norm(gradients, 0.5) == 5.0
    assert global_norm(gradients) == pytest.approx(0.5, rel=1e-6)
    assert gradients["a"][0] / gradients["b"][0, 0] == pytest.approx(0.75)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_leaves_gradients_that_are_not_finite(bad):
    gradients = {"a": np.array([bad, 2.0])}
    assert not math.isfinite(clip_global_norm(gradients, 1.0))
    assert gradients["a"][1] == 2.0


def test_clipping_names_what_is_wrong():
    good = np.zeros((2, 2))
    assert clip_global_norm({}, 1.0) == 0.0
    with pytest.raises(ValueError, match="limit"):
        clip_global_norm({"a": good}, 0.0)
    with pytest.raises(TypeError, match="b: expected float64, got float32"):
        global_norm({"a": good, "b": good.astype(np.float32)})
    with pytest.raises(TypeError, match="a: expected float32 or float64"):
        global_norm({"a": np.zeros(2, int)})
    with pytest.raises(ValueError, match="a: expected a C-contiguous array"):
        global_norm({"a": good[:, :1]})
