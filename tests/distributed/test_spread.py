"""`distributed.fit` (contract N10): one SHA-256 for any workers, engines and losses.

A plain run has processes in one test; what a lost worker costs is tried in this
process, at every single call. `pytest -m deep` has all numbers of workers and threads,
Ray, and workers that are killed for minutes.
"""

import contextlib
import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from arrays import draw, same_bits
from engines import make_ray_engine, needs_ray
from spread import (
    MODELS,
    Counting,
    Unlucky,
    failing_loss,
    language_model,
    run,
    text_batches,
)

import exactrnn as xr
from exactrnn import distributed, train
from exactrnn.distributed import EngineError, InlineEngine, LocalEngine

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


class Killer:
    """Kills a worker at some batches, at random moments of them."""

    def __init__(self, engine, batches):
        self.engine, self.batches, self.killed = engine, set(batches), 0
        self.seen = 0

    def __call__(self, _):
        if self.seen in self.batches:
            worker = random.choice(self.engine._workers)
            threading.Timer(random.random() / 100, self.kill, (worker.pid,)).start()
        self.seen += 1

    def kill(self, pid):
        self.killed += 1
        os.kill(pid, signal.SIGKILL)


@every_model
def test_any_number_of_workers_gives_the_bytes_of_none(name, path):
    seen = []
    expected, history = run(name, path)
    for workers in (1, 2, 3, 5):
        found = run(name, path, workers=workers, engine="inline", watch=seen.append)
        assert found[0] == expected
        assert same_bits(found[1], history)
    assert {exchange.lost for exchange in seen} == {0}
    assert run(name, path, shards=4)[0] != expected


def test_processes_threads_and_a_killed_worker_do_not_show(path):
    expected = {name: run(name, path)[0] for name in MODELS}
    with LocalEngine() as engine:
        for name, digest in expected.items():
            seen = []
            options = {"workers": 2, "threads": 2, "engine": engine}
            assert run(name, path, **options, watch=seen.append)[0] == digest
            assert {exchange.lost for exchange in seen} == {0}
        killer = Killer(engine, [3])
        assert run(name, path, workers=2, engine=engine, watch=killer)[0] == digest
        assert killer.killed == 1


# Losses, at every call


@pytest.mark.parametrize("what", ["worker", "answer", "order"])
def test_anything_may_be_lost_at_any_call(path, what):
    options = {"workers": 2, "shards": 3, "epochs": 1, "size": 15, "accumulate": 2}
    quiet = Unlucky()
    expected, _ = run("language", path, engine=quiet, **options)
    assert run("language", path, **options | {"workers": 0})[0] == expected
    seen = []
    for number in range(1, quiet.calls + 1):
        engine = Unlucky([number, number + 5], what=what)
        found, _ = run("language", path, engine=engine, **options, watch=seen.append)
        assert (found, engine.losses > 0) == (expected, True)
    assert {exchange.lost for exchange in seen} >= {0, 1}


def test_a_batch_that_always_loses_its_worker_is_given_up(path):
    engine = Unlucky(method="gradients")
    with pytest.raises(EngineError, match=r"^workers: batch 0 of epoch 0 lost one 10 "):
        run("language", path, workers=2, engine=engine)
    assert not path.exists()


@pytest.mark.parametrize("method", ["take", "step", "add_up"])
def test_what_goes_wrong_on_a_worker_is_raised_here(path, method, monkeypatch):
    def fail(*_):
        raise LookupError(method)

    monkeypatch.setattr(distributed.training.Trainer, method, fail)
    with pytest.raises(LookupError, match=method):
        run("language", path, workers=2, engine="inline")


def test_a_loss_that_fails_is_raised_here_and_its_worker_ends(path):
    with LocalEngine() as engine:
        with pytest.raises(LookupError, match="this loss fails"):
            run("language", path, loss=failing_loss, workers=1, engine=engine)
        assert engine._workers == []


# Checkpoints


def test_a_run_goes_on_with_another_number_of_workers(path, tmp_path):
    options = {"average": train.WeightAverage(language_model(), 0.5), "patience": 3}
    expected, history = run("language", path, epochs=4, **fresh(options))
    other = tmp_path / "other"
    for epochs, workers in ((1, 3), (2, 0), (4, 2)):
        found = run(
            "language",
            other,
            epochs=epochs,
            workers=workers,
            engine="inline",
            resume=True,
            **fresh(options),
        )
    assert found[0] == expected
    assert same_bits(found[1], history)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_needs_no_seed_of_its_model(path, workers):
    expected, _ = run("language", path, epochs=2)
    path.unlink()
    run("language", path, epochs=1)
    other = language_model()
    other.seed_parts(7)
    options = {"model": other, "resume": True, "workers": workers, "engine": "inline"}
    assert run("language", path, epochs=2, **options)[0] == expected


def fresh(options):
    """Return options for a new model of the same kind."""
    model = language_model()
    validation = text_batches("language").epoch(0)
    own = {"model": model, "average": train.WeightAverage(model, 0.5)}
    return {**options, **own, "validation": [next(validation)]}


def test_a_checkpoint_of_other_shards_is_refused(path):
    run("language", path, epochs=1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"it is of shards=5, this run of 4\)$"):
        run("language", path, epochs=2, shards=4, resume=True)
    model = language_model()
    more = {"epochs": 2, "checkpoint": path, "resume": True}
    parts = text_batches("language"), train.softmax_cross_entropy, train.Adam(model)
    with pytest.raises(ValueError, match=r"it is of shards=5, this run of None\)$"):
        train.fit(model, *parts, **more)
    assert path.read_bytes() == before
    path.unlink()
    train.fit(model, *parts, **more)
    with pytest.raises(ValueError, match=r"it is of shards=None, this run of 5\)$"):
        run("language", path, epochs=2, resume=True)


# What is said of it


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_bytes_that_workers_get_are_said(path, workers):
    engine, seen, alone = Counting(), [], []
    options = {"workers": workers, "engine": engine, "watch": seen.append}
    run("language", path, epochs=1, **options)
    totals = [sum(each) for each in zip(*(e.received for e in seen), strict=True)]
    assert totals == [*engine.received.values()]
    run("language", path, epochs=1, watch=alone.append)
    assert {each.received for each in alone} == {(0,)}
    for told in (seen, alone):
        assert [each[:2] for each in told] == [(0, k) for k in range(6)]
    assert all(len(e.seconds) == workers and min(e.seconds) > 0 for e in seen)


class Bar:
    """Keeps what a bar would say."""

    def __init__(self, **_):
        self.said = []

    def set_description_str(self, words, refresh):
        assert not refresh
        self.said.append(words)

    def update(self):
        pass

    def close(self):
        pass


def test_a_slow_worker_is_on_the_bar(path, monkeypatch):
    bar = Bar()
    monkeypatch.setattr(train._bar, "_make", lambda _: bar)
    real = distributed.training.Trainer.gradients

    def gradients(self, point, place, shards, slices):
        found, *rest = real(self, point, place, shards, slices)
        seconds = 2.5 if (place.batch, shards[0].number) == (1, 2) else 0.5
        return (found._replace(seconds=seconds), *rest)

    monkeypatch.setattr(distributed.training.Trainer, "gradients", gradients)
    run("language", path, workers=3, engine="inline", epochs=1, progress=True)
    assert [words.partition("  worker ")[2] for words in bar.said[:3]] == [
        "",
        "1 2.5 s, others 0.5 s",
        "",
    ]


def test_rows_in_lists_of_batches_and_fewer_than_shards():
    x, y = draw(5, 7, 2), draw(7, 3)
    found = []
    for workers in (0, 3):
        model = train.Sequential(xr.GRU(2, 4), train.Last(), train.Linear(4, 3), seed=0)
        distributed.fit(
            model,
            [(x, y), (x[:, :2], y[:2])],
            train.mean_squared_error,
            train.SGD(model, lr=0.1, momentum=0.5),
            epochs=2,
            shards=4,
            axes=(1, 0),
            workers=workers,
            engine="inline",
        )
        found.append(model.state_dict())
    assert same_bits(*found)


WRONG = {
    "workers: expected at most shards=5, got 6": {"workers": 6},
    "workers: expected ": {"workers": -1},
    "shards: expected ": {"shards": 0},
    "threads: expected ": {"threads": 0},
    "engine: expected 'inline', 'local', 'mpi', 'ray' or an Engine, got 'dask'": {
        "engine": "dask"
    },
    "engine: expected an Engine or its name, got ": {"engine": 5},
    "engine: expected an Engine or its name, got type": {"engine": LocalEngine},
    "engine: expected 'inline', .* got 'none'": {"workers": 0, "engine": "none"},
    "threads: expected 1..1024, got 1025": {"threads": 1025},
    "threads: expected 1..1024, got 1026": {"workers": 0, "threads": 1026},
    "axes: expected two integers, got ": {"axes": 1},
    r"axes\[0\]: expected at least 0, got -1": {"axes": (-1, 0)},
    r"axes\[0\]: expected an axis of x ": {"axes": (2, 0)},
    "count: expected a function, got ": {"count": 3},
    "watch: expected a function, got ": {"watch": 3},
    "count: expected finite numbers of at least 0, got -1": {
        "count": lambda *_, **__: -1
    },
    "count: expected a number, got None": {"count": lambda *_, **__: None},
    "count: expected a number, got 'x'": {"count": lambda *_, **__: "x"},
    "options: expected ": {"worker": 1},
    "epochs: expected ": {"epochs": 0},
}


@pytest.mark.parametrize("message", WRONG)
def test_bad_options_are_named_and_nothing_is_changed(message, path):
    model = language_model()
    before = model.state_dict()
    options = {"workers": 1, "engine": "inline", **WRONG[message]}
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        run("language", path, model=model, **options)
    assert same_bits(model.state_dict(), before)
    assert not path.exists()


def test_what_cannot_be_sent_is_said():
    model = language_model()
    parts = model, text_batches("language"), lambda y, _: (0.0, y)
    optimizer = train.Adam(model)
    with pytest.raises(TypeError, match=r"^make: expected what another process can be"):
        distributed.fit(*parts, optimizer, workers=1)
    parts = model, text_batches("language"), train.softmax_cross_entropy
    optimizer = train.Adam(model.parameters())
    with pytest.raises(TypeError, match=r"^parameters: expected the layer itself"):
        distributed.fit(*parts, optimizer, workers=1, engine="inline")


class Interrupted(InlineEngine):
    """Ctrl-C comes while workers begin."""

    def place(self, *_):
        raise KeyboardInterrupt


def test_ctrl_c_while_workers_begin_leaves_what_came_so_far(path):
    _, before = run("language", path, epochs=1)
    options = {"workers": 2, "engine": Interrupted(), "resume": True}
    _, history = run("language", path, epochs=2, **options)
    assert history.stopped == "interrupt"
    assert same_bits(history.loss, before.loss)


def test_an_empty_batch_is_said():
    model = language_model()
    empty = [(np.zeros((3, 0), int), np.zeros((3, 0), int))]
    parts = model, empty, train.softmax_cross_entropy, train.Adam(model)
    with pytest.raises(ValueError, match=r"^batches: expected rows in each"):
        distributed.fit(*parts)


# What takes minutes


@pytest.mark.deep
@every_model
def test_sixty_steps_have_one_hash(name, path):
    found = {run(name, path, epochs=10)[0]}
    for workers in (1, 2, 3, 4):
        for threads in (1, 2):
            for kills in ((), (7, 31)):
                with LocalEngine() as engine:
                    killer = Killer(engine, kills)
                    digest, _ = run(
                        name,
                        path,
                        epochs=10,
                        workers=workers,
                        threads=threads,
                        engine=engine,
                        watch=killer,
                    )
                    found.add(digest)
                    assert killer.killed == len(kills)
    assert len(found) == 1


@pytest.mark.deep
def test_workers_may_be_killed_at_any_moment_for_minutes(path):
    expected, _ = run("language", path, epochs=150)
    with LocalEngine() as engine:
        stop, killed = threading.Event(), []

        def kill():
            while not stop.wait(random.uniform(0.5, 8)):
                with contextlib.suppress(IndexError, ProcessLookupError):
                    os.kill(random.choice(engine._workers).pid, signal.SIGKILL)
                    killed.append(time.monotonic())

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            begin = time.monotonic()
            while time.monotonic() - begin < 100:
                digest, _ = run("language", path, epochs=150, workers=3, engine=engine)
                assert digest == expected
        finally:
            stop.set()
            thread.join()
    assert len(killed) > 10


@needs_ray
@pytest.mark.deep
def test_ray_gives_the_same_bytes_when_an_actor_is_killed(path):
    expected, _ = run("attention", path)
    with make_ray_engine() as engine:
        for workers in (1, 2, 3):
            seen = []

            def watch(exchange, seen=seen):
                seen.append(exchange)
                if len(seen) == 3:
                    engine._ray.kill(engine._actors[0].handle)

            options = {"workers": workers, "engine": engine, "watch": watch}
            assert run("attention", path, **options)[0] == expected
            assert sum(exchange.lost for exchange in seen) >= 1
