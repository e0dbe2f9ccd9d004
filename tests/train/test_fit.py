"""`fit`: what it does is what a loop by hand does, whole, resumed and interrupted.

The bytes of a run are those of contract N9.
"""

import hashlib
import os

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn import train

pytest.importorskip("safetensors")

SERIES = np.sin(np.arange(120) * 0.4).astype("float32") + draw(120) / 10


def data(size=16, seed=0, part=slice(0, 90)):
    x, y = train.windows(SERIES[part], 12, 2)
    return train.batches(x, y, size, seed, axes=(1, 0))


HELD_OUT = data(64, None, slice(78, 120))


def make_model(seed=3):
    return train.Sequential(
        xr.LSTM(1, 6, 2, dropout=0.3), train.Last(), train.Linear(6, 2), seed=seed
    )


def everything(model):
    """Return options that use all there is."""
    return {
        "validation": HELD_OUT,
        "metrics": {"rmse": train.rmse},
        "schedule": train.WarmUp(train.Plateau(0.02, patience=1), steps=3),
        "clip": 0.2,
        "accumulate": 2,
        "average": train.WeightAverage(model, 0.8),
        "patience": 4,
    }


def run(epochs, batches=None, model=None, options=everything, **more):
    model = model or make_model()
    optimizer = train.AdamW(model, lr=0.02, weight_decay=0.1)
    history = train.fit(
        model,
        data() if batches is None else batches,
        train.mean_squared_error,
        optimizer,
        epochs=epochs,
        **options(model),
        **more,
    )
    return model, history


def test_it_does_what_a_loop_by_hand_does():
    by_hand, batches = make_model(), data()
    optimizer, losses, norms = train.Adam(by_hand, lr=0.02), [], []
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            y, _, cache = by_hand.forward(batch.x)
            loss, dy = train.mean_squared_error(y, batch.y)
            gradients = by_hand.backward(cache, dy)
            norms.append(train.clip_global_norm(gradients, 0.5))
            optimizer.step(gradients)
            losses.append((epoch, loss, batch.y.size))
    model = make_model()
    history = train.fit(
        model,
        data(),
        train.mean_squared_error,
        train.Adam(model, lr=0.02),
        epochs=2,
        clip=0.5,
    )
    assert same_bits(model.state_dict(), by_hand.state_dict())
    for epoch in range(2):
        own = [(loss, n) for e, loss, n in losses if e == epoch]
        mean = sum(loss * n for loss, n in own) / sum(n for _, n in own)
        assert np.isclose(history.loss[epoch], mean, rtol=1e-14)
    assert np.isclose(history.norm.mean(), np.mean(norms))
    assert np.isnan(history.validation).all()
    assert (history.stopped, history.skipped.tolist()) == ("epochs", [0, 0])


def test_validation_and_metrics_are_those_of_inference_with_the_average():
    model = make_model()
    average = train.WeightAverage(model, 0.8)
    history = train.fit(
        model,
        data(),
        train.mean_squared_error,
        train.Adam(model, lr=0.02),
        epochs=1,
        **everything(model) | {"average": average, "patience": None},
    )
    [batch] = HELD_OUT.epoch(0)
    with average.applied():
        y, _ = model(batch.x)
    assert history.validation[0] == train.mean_squared_error(y, batch.y)[0]
    assert history.metrics["rmse"][0] == train.rmse(y, batch.y)
    other, _ = model(batch.x)
    assert not same_bits(y, other)


def test_a_resumed_run_ends_with_the_bytes_of_a_whole_one(tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    model, history = run(6, checkpoint=whole)
    for epochs in (1, 3, 4, 6):
        resumed, again = run(epochs, checkpoint=pieces, resume=True)
    assert whole.read_bytes() == pieces.read_bytes()
    assert same_bits(model.state_dict(), resumed.state_dict())
    assert same_bits(history[:5], again[:5])
    assert (history.best, history.stopped) == (again.best, again.stopped)


def test_a_checkpoint_has_one_sha_everywhere(tmp_path):
    found = set()
    for isa in xr._core.isas():
        for count in (1, 2):
            with xr.use_isa(isa), xr.threads(count):
                run(2, checkpoint=tmp_path / "run")
            found.add(hashlib.sha256((tmp_path / "run").read_bytes()).hexdigest())
    assert len(found) == 1


def test_patience_ends_it_and_gives_the_best_weights_back():
    model = make_model()
    seen = []

    def loss(y, target):
        value, dy = train.mean_squared_error(y, target)
        seen.append(value)
        return (0.0 if len(seen) <= 6 else 1.0), dy

    with np.errstate(all="ignore"):
        history = train.fit(
            model,
            data(),
            loss,
            train.SGD(model, lr=0.05),
            epochs=50,
            patience=2,
        )
    assert (history.stopped, history.best, len(history.loss)) == ("patience", 0, 3)
    other = make_model()
    train.fit(
        other, data(), train.mean_squared_error, train.SGD(other, lr=0.05), epochs=1
    )
    assert same_bits(model.state_dict(), other.state_dict())


class Interrupting:
    """Batches that end in Ctrl-C in the middle of an epoch."""

    def __init__(self, batches, epoch):
        self.batches, self.last = batches, epoch

    def __iter__(self):
        return self.epoch(0)

    def epoch(self, number):
        for k, batch in enumerate(self.batches.epoch(number)):
            if (number, k) == (self.last, 3):
                raise KeyboardInterrupt
            yield batch


def test_ctrl_c_ends_it_with_a_checkpoint_that_goes_on(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(4, checkpoint=whole)
    model, history = run(4, Interrupting(data(), 2), checkpoint=cut)
    assert (history.stopped, len(history.loss)) == ("interrupt", 2)
    assert all(np.isfinite(array).all() for array in model.state_dict().values())
    _, history = run(4, checkpoint=cut, resume=True)
    assert history.stopped == "epochs"
    assert cut.read_bytes() == whole.read_bytes()


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run"
    run(1, checkpoint=path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        run(2, checkpoint=path, resume=True)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_gradients_that_are_not_finite_are_left_out_and_counted():
    model = make_model()
    before = model.state_dict()
    batches = [(np.full((12, 2, 1), np.nan, np.float32), np.zeros((2, 2), np.float32))]
    optimizer = train.Adam(model)
    history = train.fit(model, batches, train.mean_squared_error, optimizer, epochs=2)
    assert history.skipped.tolist() == [1.0, 1.0]
    assert optimizer.num_steps == 0
    assert same_bits(model.state_dict(), before)


def test_lengths_and_weights_of_batches_reach_model_and_loss():
    model = train.Sequential(xr.GRU(3, 4), train.Linear(4, 2), seed=0)
    x, y = draw(6, 5, 3), draw(6, 5, 2, seed=1)
    lengths, weights = [6, 1, 3, 5, 2], np.abs(draw(5, seed=2))
    batches = train.batches(x, y, 5, lengths=lengths, weights=weights)
    told = []

    def loss(output, target, *, lengths, weights):
        told.append((lengths.tolist(), weights.tolist()))
        wide = np.broadcast_to(weights, target.shape[:2])
        return train.mean_squared_error(output, target, lengths=lengths, weights=wide)

    train.fit(model, batches, loss, train.Adam(model), epochs=1)
    assert told == [(lengths, weights.tolist())]


def carrying(kind):
    """Return a model that carries a state: a chain, a layer, or one of a user."""
    if kind == "layer":
        return xr.LSTM(1, 1, seed=4)
    chain = train.Sequential(xr.LSTM(1, 5), train.Linear(5, 1), seed=4)
    if kind == "chain":
        return chain

    class Own(train.Composite):
        def __init__(self):
            self.chain = chain

        def forward(self, x, state=None):
            return self.chain.forward(x, state)

        def backward(self, cache, dy):
            found = self.chain.backward(cache, dy)
            return train.ModuleGradients(found.x, {"chain": found.weights})

    return Own()


@pytest.mark.parametrize("kind", ["chain", "layer", "own"])
def test_carried_states_are_those_of_a_loop_by_hand(kind):
    series = np.sin(np.arange(200) * 0.3).astype("float32")[:, None]
    chunks = list(train.stream_batches(series, 3, 20))
    model, by_hand = carrying(kind), carrying(kind)
    optimizer, losses = train.Adam(by_hand, lr=0.02), []
    for _ in range(2):
        state = None
        for x, y in chunks:
            output, state, cache = by_hand.forward(x, state)
            loss, dy = train.mean_squared_error(output, y)
            optimizer.step(by_hand.backward(cache, dy).weights)
            losses.append((loss, y.size))
    history = train.fit(
        model,
        chunks,
        train.mean_squared_error,
        train.Adam(model, lr=0.02),
        epochs=2,
        carry=True,
        validation=chunks,
        metrics={"rmse": train.rmse},
    )
    assert same_bits(model.state_dict(), by_hand.state_dict())
    total = sum(loss * size for loss, size in losses[len(chunks) :])
    assert history.loss[1] == total / sum(size for _, size in losses[len(chunks) :])
    x = np.concatenate([x for x, _ in chunks])
    y = np.concatenate([y for _, y in chunks])
    whole = train.mean_squared_error(model(x)[0], y)[0]
    assert history.validation[-1] == pytest.approx(whole, rel=1e-5)
    assert history.metrics["rmse"].shape == (2,)


def test_a_model_without_a_state_has_nothing_to_carry():
    model = train.Sequential(train.Linear(1, 1), seed=1)
    chunks = [(draw(5, 2, 1), draw(5, 2, 1))]
    optimizer = train.Adam(model)
    with pytest.raises(ValueError, match="carry: expected a model that gives back its"):
        train.fit(model, chunks, train.mean_squared_error, optimizer, carry=True)


def test_several_inputs_are_cut_alike_and_lengths_are_those_of_the_targets():
    source, before = np.arange(14).reshape(2, 7), np.arange(21).reshape(3, 7)
    sizes, target = np.arange(7), np.arange(42).reshape(3, 7, 2)
    lengths = [3, 0, 1, 2, 3, 1, 2]
    inputs = (source, sizes, before)
    axes = ((1, 0, 1), 1)
    found = list(train.batches(inputs, target, 3, seed=1, axes=axes, lengths=lengths))
    assert [len(batch.x) for batch in found] == [3, 3, 3]
    order = np.concatenate([batch.x[1] for batch in found])
    assert sorted(order) == [*range(7)] != order.tolist()
    for name, array, axis in (("x0", source, 1), ("x2", before, 1), ("y", target, 1)):
        own = [b.y if name == "y" else b.x[int(name[1])] for b in found]
        assert same_bits(np.concatenate(own, axis), np.take(array, order, axis)), name
    assert np.concatenate([b.lengths for b in found]).tolist() == [
        lengths[k] for k in order
    ]
    single = train.batches(source, target, 3, seed=1, axes=(1, 1))
    assert same_bits(np.concatenate([b.x for b in single], 1), source[:, order])


def test_a_bare_layer_is_a_model_and_a_composite_with_nested_gradients_too():
    layer = xr.GRU(3, 4, seed=0)
    batches = [(draw(6, 5, 3), draw(6, 5, 4, seed=1))]
    history = train.fit(
        layer, batches, train.mean_squared_error, train.Adam(layer, 0.01), epochs=20
    )
    assert history.loss[-1] < history.loss[0]

    class Pair(train.Composite):
        def __init__(self):
            self.layers = [xr.GRU(3, 4, seed=1), train.Linear(4, 4, seed=1)]

        def forward(self, x):
            hidden, _, first = self.layers[0].forward(x)
            y, second = self.layers[1].forward(hidden)
            return y, (first, second)

        def backward(self, cache, dy):
            upper = self.layers[1].backward(cache[1], dy)
            lower = self.layers[0].backward(cache[0], upper.x)
            return train.ModuleGradients(lower.x, {"layers": [lower, upper]})

    pair = Pair()
    history = train.fit(
        pair,
        batches,
        train.mean_squared_error,
        train.Adam(pair, 0.01),
        epochs=20,
        accumulate=3,
        clip=1.0,
    )
    assert history.loss[-1] < history.loss[0]


def other_optimizer(path):
    model = make_model()
    return train.fit(
        model,
        data(),
        train.mean_squared_error,
        train.SGD(model, 0.1),
        epochs=2,
        checkpoint=path,
        resume=True,
        **everything(model),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_optimizer, "a checkpoint of this training"),
        (lambda p: run(2, options=lambda _: {}, checkpoint=p, resume=True), "metrics"),
        (
            lambda p: run(
                2,
                model=train.Sequential(
                    xr.LSTM(1, 5), train.Last(), train.Linear(5, 2), seed=1
                ),
                checkpoint=p,
                resume=True,
            ),
            "a checkpoint of this training",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, message, tmp_path):
    path = tmp_path / "run"
    run(1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        change(path)
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_no_checkpoint(tmp_path):
    path = tmp_path / "layer"
    xr.save(xr.GRU(2, 3), path)
    with pytest.raises(ValueError, match="not a checkpoint of fit"):
        run(1, checkpoint=path, resume=True)
    damaged = tmp_path / "run"
    run(1, checkpoint=damaged)
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        run(2, checkpoint=damaged, resume=True)


def fit_with(**changed):
    model = make_model()
    given = {
        "model": model,
        "batches": data(),
        "loss": train.mean_squared_error,
        "optimizer": train.Adam(model),
    }
    return train.fit(**given | changed)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"model": 1}, TypeError, "model: expected a layer or a model"),
        ({"carry": 1}, TypeError, "carry: expected True or False"),
        ({"batches": 1}, TypeError, "batches: expected batches"),
        ({"batches": iter([])}, TypeError, "batches: expected batches"),
        ({"batches": []}, ValueError, "batches: expected some"),
        ({"batches": [1]}, TypeError, "batches: expected \\(x, y\\)"),
        ({"loss": 1}, TypeError, "loss: expected a function"),
        ({"optimizer": 1}, TypeError, "optimizer: expected a Optimizer"),
        ({"epoch": 1}, ValueError, "options: expected"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"validation": 1}, TypeError, "validation: expected batches"),
        ({"validation": []}, ValueError, "validation: expected some"),
        ({"metrics": {"a": len}}, ValueError, "metrics: expected validation"),
        ({"metrics": {"a": 1}}, TypeError, "metrics..a..: expected a function"),
        ({"schedule": 0.1}, TypeError, "schedule: expected a schedule"),
        ({"clip": 0}, ValueError, "clip: expected"),
        ({"accumulate": 0}, ValueError, "accumulate"),
        ({"average": 0.9}, TypeError, "average: expected a WeightAverage"),
        ({"patience": 0}, ValueError, "patience"),
        ({"resume": True}, ValueError, "resume: expected a checkpoint"),
    ],
)
def test_arguments_that_do_not_fit_are_named(changed, error, message):
    with pytest.raises(error, match=message):
        fit_with(**changed)


# Data


def test_every_epoch_has_every_example_once_in_an_order_of_its_own():
    x, y = np.arange(23.0)[None], np.arange(23)
    batches = train.batches(x, y, 4, seed=1, axes=(1, 0))
    orders = [np.concatenate([b.y for b in batches]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != list(range(23))
    again = train.batches(x, y, 4, seed=1, axes=(1, 0))
    assert [b.y.tolist() for b in again.epoch(2)] == [
        b.y.tolist() for b in batches.epoch(2)
    ]
    assert all(b.x[0].tolist() == b.y.tolist() for b in batches)
    plain = train.batches(x, y, 4, axes=(1, 0))
    assert np.concatenate([b.y for b in plain]).tolist() == list(range(23))
    assert len(plain) == len(list(plain)) == 6


def test_windows_are_what_was_read_and_what_followed():
    series = np.arange(40.0).reshape(20, 2)
    x, y = train.windows(series, 4, 3, stride=2)
    assert (x.shape, y.shape) == ((4, 7, 2), (7, 3, 2))
    for n in range(7):
        assert same_bits(x[:, n], series[2 * n : 2 * n + 4])
        assert same_bits(y[n], series[2 * n + 4 : 2 * n + 7])
    assert same_bits(train.windows(series, 4, 3, stride=2, target=1)[1], y[..., 1])
    x, y = train.windows(series[:, 0], 4)
    assert (x.shape, y.shape) == ((4, 16, 1), (16, 1))
    x, y = train.windows(series, 18, 2)
    assert (x.shape, y.shape) == ((18, 1, 2), (1, 2, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: train.windows(np.zeros(5), 4, 2), ValueError, "series: expected"),
        (lambda: train.windows(np.zeros(5, int), 2), TypeError, "series"),
        (lambda: train.windows(np.zeros(5), 2, target=1), ValueError, "target"),
        (lambda: train.windows(np.zeros(5), 2, stride=0), ValueError, "stride"),
        (lambda: train.batches(X, X, axes=(1, 0)), ValueError, "y: expected as many"),
        (lambda: train.batches(X, X, axes=(2, 0)), ValueError, r"axes\[0\]"),
        (lambda: train.batches(X, X, axes=1), TypeError, "axes: expected two"),
        (
            lambda: train.batches(X, X, axes=((1, 1), 1)),
            ValueError,
            "x: expected 2 arr",
        ),
        (lambda: train.batches([X], X, axes=((1, 1), 1)), ValueError, "x: .* got 1"),
        (lambda: train.batches([], X, axes=((), 1)), ValueError, "x: .* at least one"),
        (lambda: train.batches([X, X.T], X, axes=((1, 1), 1)), ValueError, "y: expect"),
        (
            lambda: train.batches([X, X], X, axes=((1, 2), 1)),
            ValueError,
            r"s\[0\]\[1\]",
        ),
        (
            lambda: train.batches([X], X[0], axes=((1,), 0), lengths=[3] * 4),
            ValueError,
            "lengths: expected None where y has no steps",
        ),
        (lambda: train.batches(X, X, size=0), ValueError, "size"),
        (lambda: train.batches(X, X, seed=-1), ValueError, "seed"),
        (lambda: train.batches(X, X, lengths=[1]), ValueError, "lengths"),
        (lambda: train.batches(X, X, weights=[1.0]), ValueError, "weights"),
    ],
)
def test_data_that_does_not_fit_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


X = np.zeros((3, 4))
