"""Losses against torch in float64; lengths and weights; schedules and metrics.

Their bits are those of contract N9.
"""

import math
import time

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn import train

T, B, O = 5, 3, 4
LENGTHS = np.array([5, 2, 0])


def wide(loss, **options):
    return lambda y, target, **more: loss(y, target, **options, **more)


def halves(torch, y, target):
    m, v = y[..., :O], y[..., O:]
    loss = torch.nn.GaussianNLLLoss(full=True, reduction="none", eps=1e-12)
    return loss(m, target, v.exp())


def pinball(torch, y, target):
    d, q = target[..., None] - y, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    return torch.maximum(d * q, d * (q - 1))


LOSSES = {
    "squares": (train.mean_squared_error, O, lambda _, y, x: (y - x) ** 2),
    "absolute": (train.mean_absolute_error, O, lambda _, y, x: (y - x).abs()),
    "huber": (
        wide(train.huber_loss, delta=0.7),
        O,
        lambda t, y, x: t.nn.functional.huber_loss(y, x, reduction="none", delta=0.7),
    ),
    "quantiles": (wide(train.quantile_loss, quantiles=(0.1, 0.5, 0.9)), 3, pinball),
    "gaussian": (train.gaussian_likelihood, 2 * O, halves),
    "binary": (
        train.binary_cross_entropy,
        O,
        lambda t, y, x: t.nn.functional.binary_cross_entropy_with_logits(
            y, x, reduction="none"
        ),
    ),
    "cross-entropy": (
        train.softmax_cross_entropy,
        O,
        lambda t, y, x: t.nn.functional.cross_entropy(
            y.movedim(-1, 1), x, reduction="none"
        ),
    ),
    "smoothed": (
        wide(train.softmax_cross_entropy, label_smoothing=0.2),
        O,
        lambda t, y, x: t.nn.functional.cross_entropy(
            y.movedim(-1, 1), x, reduction="none", label_smoothing=0.2
        ),
    ),
}


def problem(name, dtype="float64"):
    """Return an output and a target."""
    y = draw(T, B, LOSSES[name][1], dtype=dtype, seed=1) * 2
    if name == "quantiles":
        return y, draw(T, B, dtype=dtype, seed=2)
    if name in ("cross-entropy", "smoothed"):
        return y, np.random.default_rng(2).integers(0, O, (T, B))
    target = draw(T, B, O, dtype=dtype, seed=2)
    return y, np.abs(np.tanh(target)) if name == "binary" else target


def options_for(kind, dtype="float64"):
    weights = np.abs(draw(T, B, dtype=dtype, seed=3)).astype(dtype)
    weights[1, 0] = 0
    own = {"lengths": LENGTHS, "weights": weights}
    return {name: own[name] for name in kind.split()}


def expected_of(name, kind):
    torch = pytest.importorskip("torch")
    y, target = problem(name)
    output = torch.tensor(y, requires_grad=True)
    each = LOSSES[name][2](torch, output, torch.tensor(target))
    by = np.ones((T, B))
    given = options_for(kind)
    if "lengths" in given:
        by *= np.arange(T)[:, None] < LENGTHS
    by = by * given.get("weights", 1.0)
    by = torch.tensor(by.reshape(T, B, *[1] * (each.ndim - 2))).expand(each.shape)
    loss = (each * by).sum() / by.sum()
    loss.backward()
    return float(loss.detach()), output.grad.numpy()


@pytest.mark.parametrize("kind", ["", "lengths", "weights", "lengths weights"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_those_of_torch(name, kind):
    y, target = problem(name)
    loss, dy = LOSSES[name][0](y, target, **options_for(kind))
    expected, gradient = expected_of(name, kind)
    assert math.isclose(loss, expected, rel_tol=1e-12)
    assert np.allclose(dy, gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", ["lengths", "lengths weights"])
@pytest.mark.parametrize("name", LOSSES)
def test_padding_reaches_no_result(name, kind, dtype):
    y, target = problem(name, dtype)
    given = options_for(kind, dtype)
    loss, dy = LOSSES[name][0](y, target, **given)
    past = np.arange(T)[:, None] >= LENGTHS
    y[past] = np.nan
    target = target.copy()
    target[past] = 99 if target.dtype.kind == "i" else np.inf
    if "weights" in given:
        given["weights"][past] = 7
    other, same = LOSSES[name][0](y, target, **given)
    assert loss == other
    assert same_bits(dy, same)
    assert not dy[past].any()
    flipped = {**given, "batch_first": True}
    if "weights" in flipped:
        flipped["weights"] = np.ascontiguousarray(given["weights"].T)
    swapped = [np.ascontiguousarray(np.swapaxes(a, 0, 1)) for a in (y, target)]
    again, turned = LOSSES[name][0](*swapped, **flipped)
    assert math.isclose(again, loss, rel_tol=1e-5)
    assert np.allclose(np.swapaxes(turned, 0, 1), dy, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_that_counts_is_a_loss_of_zero(name):
    y, target = problem(name)
    for given in ({"lengths": [0] * B}, {"weights": np.zeros((T, B))}):
        loss, dy = LOSSES[name][0](y, target, **given)
        assert loss == 0.0
        assert not dy.any()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_same_bits_everywhere(name, dtype):
    y, target = problem(name, dtype)
    given = options_for("lengths weights", dtype)
    found = []
    for isa in xr._core.isas():
        for count in (1, 2):
            with xr.use_isa(isa), xr.threads(count):
                found.append(LOSSES[name][0](y, target, **given))
    assert all(loss == found[0][0] for loss, _ in found)
    assert all(same_bits(dy, found[0][1]) for _, dy in found)


def test_formulas_are_those_of_the_docstrings(dtype):
    number = np.dtype(dtype).type
    y, target = problem("absolute", dtype)
    d = y - target
    _, dy = train.mean_absolute_error(y, target)
    assert same_bits(dy, np.sign(d) * (number(1) / number(d.size)))
    weights = options_for("weights", dtype)["weights"]
    _, dy = train.mean_squared_error(y, target, weights=weights)
    own = np.ascontiguousarray(np.broadcast_to(weights[..., None], d.shape))
    total = number(xr._core.long_sum(own.reshape(-1), xr.isa()))
    assert same_bits(dy, d * (own * (number(2) / total)))


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_the_first_axes_count_for_all_behind_them(name, dtype):
    y, target = problem(name, dtype)
    loss = LOSSES[name][0]
    for own in (draw(T, dtype=dtype) ** 2, np.array(2.0, dtype)):
        whole = np.broadcast_to(own.reshape(-1, 1), (T, B))
        few, many = (loss(y, target, weights=w, lengths=LENGTHS) for w in (own, whole))
        assert few[0] == many[0]
        assert same_bits(few[1], many[1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"weights": np.ones((B, T))}, ValueError, "weights: expected"),
        ({"weights": -np.ones((T, B))}, ValueError, "weights: expected finite"),
        ({"weights": np.full((T, B), np.nan)}, ValueError, "weights: expected finite"),
        ({"weights": np.ones((T, B), np.float32)}, TypeError, "weights: expected"),
        ({"lengths": [1, 2]}, ValueError, "lengths: expected"),
        ({"lengths": [6, 2, 1]}, ValueError, r"lengths\[0\]: expected"),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_lengths_and_weights_that_do_not_fit_are_named(name, call, error, message):
    with pytest.raises(error, match=message):
        LOSSES[name][0](*problem(name), **call)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y: train.huber_loss(y, y, delta=0.0), "delta: expected"),
        (lambda y: train.quantile_loss(y, y[..., 0], quantiles=(0.5,)), "y: expected"),
        (lambda y: train.quantile_loss(y, y, quantiles=(0.0,) * O), "quantiles.0"),
        (lambda y: train.quantile_loss(y, y, quantiles=(1.0,) * O), "below 1, got 1.0"),
        (lambda y: train.gaussian_likelihood(y[..., :3], y), "y: expected"),
        (lambda y: train.binary_cross_entropy(y, y[0]), "target: expected"),
        (
            lambda y: train.softmax_cross_entropy(y, [0] * T, label_smoothing=2),
            "targets: expected|label_smoothing",
        ),
    ],
)
def test_arguments_of_losses_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(draw(T, B, O, dtype="float64"))


# Schedules


def test_the_cosine_is_that_of_mathematics_and_falls():
    for share in np.linspace(0, 1, 1001).tolist():
        found = train.schedules.cos_pi(share)
        assert abs(found - math.cos(math.pi * share)) < 4e-16
    schedule = train.Cosine(0.5, steps=10, end=0.1)
    rates = [schedule.rate(step) for step in range(12)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[10], rates[11]) == (0.5, 0.1, 0.1)


def test_a_cosine_has_published_bits():
    rates = [train.Cosine(1.0, steps=7).rate(step).hex() for step in (1, 3, 6)]
    assert rates == [
        "0x1.e6a5e54e5ae38p-1",
        "0x1.38f721c6048b0p-1",
        "0x1.95a1ab1a51c80p-5",
    ]


def test_warm_up_ends_where_the_other_begins():
    schedule = train.WarmUp(train.StepDecay(1.0, every=2, factor=0.5), steps=1)
    assert [schedule.rate(k) for k in range(6)] == [0.5, 1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.3, 0.9, 0.999, 1.0])
def test_step_decay_is_the_product_whatever_was_asked_before(factor):
    lr, rates = 0.7, []
    for _ in range(3000):
        rates.append(lr)
        lr = lr * factor
    schedule = train.StepDecay(0.7, every=1, factor=factor)
    asked = [*range(0, 3000, 7), *np.random.default_rng(0).integers(0, 3000, 300)]
    assert [schedule.rate(int(k)) for k in asked] == [rates[k] for k in asked]
    schedule.rate(1)
    schedule.lr = 0.5
    assert schedule.rate(2) == 0.5 * factor * factor


def test_step_decay_takes_no_time_for_the_steps_before():
    schedule = train.StepDecay(1.0, every=1, factor=1 - 2**-40)
    schedule.rate(1_000_000)
    begin = time.perf_counter()
    for step in range(1_000_000, 1_001_000):
        schedule.rate(step)
    assert time.perf_counter() - begin < 5  # 30 s or more if each began anew


def test_a_plateau_goes_on_from_its_state():
    losses = [3.0, 2.0, 2.0, 2.5, 1.0, math.nan, 1.0, 0.5, 0.5, 0.5, 0.5]
    first = train.Plateau(1.0, factor=0.5, patience=1, end=0.2)
    rates = []
    for k, loss in enumerate(losses):
        if k == 3:
            second = train.Plateau(1.0, factor=0.5, patience=1, end=0.2)
            second.load_state_dict(first.state_dict())
        first.observe(loss)
        if k >= 3:
            second.observe(loss)
            assert second.rate(0) == first.rate(0)
        rates.append(first.rate(k))
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: train.Constant(-1), ValueError, "lr"),
        (lambda: train.Constant(1).rate(-1), ValueError, "step"),
        (lambda: train.StepDecay(1, every=0), ValueError, "every"),
        (lambda: train.StepDecay(1, every=1, factor=2), ValueError, "factor"),
        (lambda: train.Cosine(1, steps=0.5), TypeError, "steps"),
        (lambda: train.WarmUp(0.1, steps=2), TypeError, "schedule: expected"),
        (lambda: train.Plateau(1, patience=-1), ValueError, "patience"),
        (lambda: train.Plateau(1).observe("low"), TypeError, "loss"),
    ],
)
def test_arguments_of_schedules_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


# Metrics


def test_metrics_are_their_definitions():
    y, target = problem("cross-entropy")
    right = y.argmax(-1) == target
    assert train.accuracy(y, target) == right.mean()
    counts = np.arange(T)[:, None] < LENGTHS
    found = train.accuracy(y, target, lengths=LENGTHS)
    assert found == right[counts].mean()
    assert train.accuracy(y, np.full((T, B), -1)) == 0.0
    y, target = problem("squares")
    assert np.isclose(train.rmse(y, target), np.sqrt(((y - target) ** 2).mean()))
    history = draw(30, dtype="float64")
    naive = np.abs(history[7:] - history[:-7]).mean()
    expected = np.abs(y - target).mean() / naive
    assert np.isclose(train.mase(y, target, history, season=7), expected)
    with pytest.raises(ValueError, match="history: expected"):
        train.mase(y, target, history[:7], season=7)


def edits(a, b):
    """The least number of edits, by the recursion itself."""
    if not a or not b:
        return len(a) + len(b)
    same = edits(a[1:], b[1:]) + (a[0] != b[0])
    return min(same, edits(a[1:], b) + 1, edits(a, b[1:]) + 1)


def test_label_error_rate_counts_the_least_edits():
    rng = np.random.default_rng(0)
    found = [rng.integers(0, 3, rng.integers(0, 6)).tolist() for _ in range(30)]
    right = [rng.integers(0, 3, rng.integers(0, 6)).tolist() for _ in range(30)]
    expected = sum(edits(a, b) for a, b in zip(found, right, strict=True))
    assert train.label_error_rate(found, right) == expected / sum(map(len, right))
    assert train.label_error_rate([[]], [[]]) == 0.0
    assert train.label_error_rate([[1]], [[]]) == math.inf
    with pytest.raises(ValueError, match="decoded: expected B=2"):
        train.label_error_rate([[1]], [[1], [2]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (train.ctc_greedy_decode(np.zeros((2, 1, 3))), r"decoded\[0\]: .* CTCLabels"),
        ([[1], 2], r"decoded\[1\]: expected a list of labels, got 2"),
        (np.zeros(2), r"decoded\[0\]: expected a list of labels"),
        (iter([[1]]), "decoded: expected a list of rows of labels"),
        (None, "decoded: expected a list of rows of labels, got None"),
    ],
)
def test_what_is_no_list_of_labels_is_named(rows, message):
    with pytest.raises(TypeError, match=message):
        train.label_error_rate(rows, [[1]])


def test_labels_may_be_arrays():
    found = train.label_error_rate([np.array([1, 2]), [np.int64(3)]], [[1, 3], [3]])
    assert (found, type(found)) == (1 / 3, float)
    assert train.label_error_rate(np.array([[1, 2]]), [np.array([1, 2])]) == 0.0


def test_root_of_squares_is_that_of_rows_first_too():
    y, target = problem("squares")
    rows_first = np.ascontiguousarray(y.swapaxes(0, 1)), target.swapaxes(0, 1)
    expected = train.rmse(y, target, lengths=LENGTHS)
    found = train.rmse(*rows_first, lengths=LENGTHS, batch_first=True)
    assert np.isclose(found, expected)


@pytest.mark.parametrize("dtype", ["M8[s]", float, bool, object])
def test_targets_that_are_no_integers_are_refused_with_lengths_too(dtype):
    with pytest.raises(TypeError, match="targets: expected integers"):
        train.softmax_cross_entropy(
            np.zeros((4, 3, 5)), np.zeros((4, 3), dtype), lengths=[4, 2, 0]
        )
