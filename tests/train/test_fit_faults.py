"""`fit` when something goes wrong: mistakes, numbers that are none, Ctrl-C anywhere."""

import linecache
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from arrays import draw

import exactrnn as xr
from exactrnn import train
from exactrnn.train import averages, fitting

pytest.importorskip("safetensors")

X, Y = draw(4, 6, 1), draw(6, 1, seed=1)
TRACED = {averages.__file__, fitting.__file__}


def make_model():
    return train.Sequential(
        xr.GRU(1, 2, dropout=0.0), train.Last(), train.Linear(2, 1), seed=3
    )


class Watched(train.AdamW):
    """Keeps the weights after each step."""

    def __init__(self, model):
        super().__init__(model, lr=0.1)
        self.model, self.seen = model, [bytes_of(model)]

    def step(self, gradients):
        super().step(gradients)
        self.seen.append(bytes_of(self.model))


def bytes_of(model):
    return b"".join(array.tobytes() for array in model.state_dict().values())


def run(path, **more):
    model = make_model()
    optimizer = Watched(model)
    try:
        found = fit(model, optimizer, path, **more)
    except KeyboardInterrupt:  # before the first step, or behind the last
        found = None
    return model, optimizer, found


def fit(model, optimizer, path, **more):
    options = {
        "epochs": 2,
        "validation": [(X, Y)],
        "metrics": {"rmse": train.rmse, "twice": train.rmse},
        "schedule": train.WarmUp(train.Plateau(0.1, patience=1), steps=2),
        "average": train.WeightAverage(model, 0.5),
        "patience": 3,
        "checkpoint": path,
    }
    batches = train.batches(X, Y, 3, seed=0, axes=(1, 0))
    return train.fit(
        model, batches, train.mean_squared_error, optimizer, **options | more
    )


class Tracer:
    """Counts how often lines are reached, and can end one of them in Ctrl-C."""

    def __init__(self, line=None, count=0):
        self.line, self.count = line, count
        self.counts = Counter()

    def __call__(self, frame, event, _):
        if frame.f_code.co_filename not in TRACED:
            return None
        here = frame.f_code.co_filename, frame.f_lineno
        if event == "line":
            self.counts[here] += 1
            if here == self.line and self.counts[here] == self.count:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self

    def watch(self, path):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return run(path)
        finally:
            sys.settrace(before)


def test_ctrl_c_at_any_line_leaves_a_whole_step_and_a_whole_history(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "fsync", lambda *_: None)  # hundreds of files
    every = Tracer()
    model, optimizer, _ = every.watch(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    allowed = {*optimizer.seen, bytes_of(model)}  # the last: the best weights
    assert len(every.counts) > 100
    for n, (line, count) in enumerate(every.counts.items()):
        if linecache.getline(*line).strip() == "try:":
            continue  # which does nothing: no signal is handled there
        path = tmp_path / str(n)
        model, _, found = Tracer(line, (count + 1) // 2).watch(path)
        assert bytes_of(model) in allowed, line
        if found is not None:
            curves = [found.loss, found.validation, found.skipped]
            curves += found.metrics.values()
            assert len({len(curve) for curve in curves}) == 1, line
            assert found.best < max(1, len(found.loss)), line
        run(path, resume=True)
        assert path.read_bytes() == whole, line


class Told:
    """A loss of which the numbers are told."""

    def __init__(self, values):
        self.values = list(values)

    def __call__(self, y, target):
        _, dy = train.mean_squared_error(y, target)
        return self.values.pop(0), dy


@pytest.mark.parametrize(
    ("values", "best", "epochs"),
    [
        ([np.nan, 3.0, 2.0, 1.0, 4.0, 4.0], 3, 6),
        ([np.nan, np.nan, 3.0], -1, 2),
        ([np.inf, 2.0, np.nan, np.nan, 0.0], 1, 4),
        ([2.0, np.nan, 1.0, np.nan, 3.0], 2, 5),
    ],
)
def test_a_loss_that_is_no_number_is_never_the_best(values, best, epochs):
    model = make_model()
    found = train.fit(
        model, [(X, Y)], Told(values), train.Adam(model), epochs=9, patience=2
    )
    assert (found.best, len(found.loss), found.stopped) == (best, epochs, "patience")


def test_a_run_that_gets_validation_later_is_judged_by_it(tmp_path):
    path = tmp_path / "run"
    run(path, validation=None, metrics=None)
    _, _, found = run(path, epochs=3, metrics=None, resume=True)
    assert np.isnan(found.validation).tolist() == [True, True, False]
    assert found.best == 2


class RateAlone:
    """No schedule: it has a rate and nothing else."""

    def rate(self, step):
        return 0.1 / (1 + step)


def path_in(folder):
    return Path(folder) / "missing" / "run"


OTHER = make_model()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"loss": lambda y, _: y.sum()}, TypeError, "loss: expected one that returns"),
        ({"loss": lambda *_: None}, TypeError, "loss: expected one that returns"),
        ({"loss": lambda y, t: (1.0, y, t)}, TypeError, "loss: .* got 3 values"),
        ({"loss": lambda y, _: (y[:, 0], y)}, TypeError, "loss: .* number .* array"),
        ({"loss": lambda y, _: ("1", y)}, TypeError, "loss: expected a number .* '1'"),
        (
            {"metrics": {"a": train.mean_squared_error}},
            TypeError,
            r"metrics\['a'\]: expected a number from it, got tuple",
        ),
        ({"metrics": {"a": lambda *_: None}}, TypeError, r"metrics\['a'\]: .* None"),
        ({"metrics": [train.rmse]}, TypeError, "metrics: expected functions by their"),
        ({"metrics": train.rmse}, TypeError, "metrics: expected functions by their"),
        ({"schedule": RateAlone()}, TypeError, "schedule: expected a schedule, .* got"),
        ({"schedule": train.Plateau}, TypeError, "schedule: expected a schedule"),
        ({"optimizer": train.Adam(OTHER)}, ValueError, "optimizer: .* of this model"),
        (
            {"optimizer": train.Adam([OTHER[0], OTHER[2]])},
            ValueError,
            "optimizer: .* of this model",
        ),
        ({"average": train.WeightAverage(OTHER)}, ValueError, "average: .* of this"),
        ({"checkpoint": 5}, TypeError, "checkpoint: expected a path, got 5"),
        ({"checkpoint": "."}, IsADirectoryError, "checkpoint: expected a file, got"),
        ({"checkpoint": path_in(".")}, FileNotFoundError, "checkpoint: .* exists, got"),
        ({"checkpoint": "a", "resume": "no"}, TypeError, "resume: expected True or"),
        ({"progress": "no"}, TypeError, "progress: expected True or False"),
    ],
)
def test_mistakes_are_named_before_a_step_is_done(changed, error, message):
    model = make_model()
    given = {
        "model": model,
        "batches": [(X, Y)],
        "loss": train.mean_squared_error,
        "optimizer": train.SGD(model, 0.0),
        "validation": [(X, Y)],
    }
    before = bytes_of(model)
    with pytest.raises(error, match=message):
        train.fit(**given | changed)
    assert bytes_of(model) == before


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ({"average": None}, {}, "average: expected a run with one"),
        ({"schedule": None}, {}, "state: expected rate, best, waited; got missing"),
        ({}, {"frozen": ["0"]}, "optimizer: expected .* got unknown"),
        ({"frozen": ["0"]}, {}, "optimizer: expected .* got missing"),
    ],
)
def test_a_checkpoint_that_lacks_a_part_changes_nothing(first, then, message, tmp_path):
    def go_on(own, optimizer, model, **more):
        options = {
            "schedule": train.Plateau(0.1),
            "average": train.WeightAverage(model, 0.5),
            **{name: value for name, value in own.items() if name != "frozen"},
        }
        return train.fit(
            model, [(X, Y)], train.mean_squared_error, optimizer, **options, **more
        )

    def make(own):
        model = make_model()
        return model, train.AdamW(model, frozen=own.get("frozen", ()))

    path = tmp_path / "run"
    model, optimizer = make(first)
    go_on(first, optimizer, model, epochs=1, checkpoint=path)
    model, optimizer = make(then)
    before = bytes_of(model), str(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        go_on(then, optimizer, model, epochs=2, checkpoint=path, resume=True)
    assert (bytes_of(model), str(optimizer.state_dict())) == before


def test_tensors_are_batches_too():
    torch = pytest.importorskip("torch")
    model, other = make_model(), make_model()
    tensors = [(torch.tensor(X), torch.tensor(Y))]
    for own, batches in ((model, tensors), (other, [(X, Y)])):
        train.fit(own, batches, train.mean_squared_error, train.Adam(own), epochs=2)
    assert bytes_of(model) == bytes_of(other)
