"""Carried states on workers are those of their shards (contract N10).

`distributed.fit` with ``carry=True``, and the training of a language model. Processes
are in one test of each; what a lost worker costs is tried in this process.
"""

import hashlib
import io
import os
import signal

import numpy as np
import pytest
from arrays import draw, same_bits
from spread import Counting, Unlucky

import exactrnn as xr
from exactrnn import distributed, train
from exactrnn.distributed import EngineError, LocalEngine, _team
from exactrnn.distributed import shards as n10

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

TEXT = "a shard is some streams, and what they carry goes with them. " * 12


# fit


def fitted(fit=distributed.fit, **options):
    """Return the weights and the history of a training on two streams' chunks."""
    text = np.random.default_rng(0).integers(0, 9, 500)
    chunks = [*train.stream_batches(text, batch_size=7, length=9)]
    layers = train.Embedding(9, 4), xr.LSTM(4, 5, 2, dropout=0.2), train.Linear(5, 9)
    model = train.Sequential(*layers, seed=0)
    history = fit(
        model,
        chunks,
        train.softmax_cross_entropy,
        train.Adam(model, lr=0.02),
        **{"epochs": 2, "carry": True, **options},
    )
    return model.state_dict(), history


def test_carried_states_do_not_depend_on_workers():
    expected = fitted(shards=4)
    for workers in (1, 2, 3, 4):
        found = fitted(shards=4, workers=workers, engine="inline")
        assert same_bits([*found], [*expected])
    assert not same_bits(fitted(shards=4, carry=False)[0], expected[0])
    assert not same_bits(fitted(shards=5)[0], expected[0])


def test_one_shard_carries_what_fit_does():
    layer = {"shards": 1, "workers": 1, "engine": "inline"}
    chunks = [(draw(6, 4, 3, seed=k), draw(6, 4, 5, seed=k + 9)) for k in range(4)]
    found = []
    for options in ({}, layer):
        model = xr.GRU(3, 5, seed=1)
        loss, optimizer = train.mean_squared_error, train.SGD(model, lr=0.3)
        train.fit(model, chunks, loss, optimizer, epochs=2, carry=True, **options)
        found.append(model.state_dict())
    assert same_bits(*found)


@pytest.mark.parametrize("what", ["worker", "answer", "order"])
def test_states_come_back_with_what_was_lost_at_any_call(what):
    options = {"shards": 3, "workers": 2, "epochs": 1}
    quiet = Unlucky()
    expected = fitted(**options, engine=quiet)
    assert same_bits(expected[0], fitted(**options | {"workers": 0})[0])
    for number in range(1, quiet.calls + 1, 3):
        engine = Unlucky([number, number + 8], what=what)
        assert same_bits(fitted(**options, engine=engine)[0], expected[0])
        assert engine.losses


def test_states_of_other_rows_are_refused():
    chunks = [(draw(5, n, 3), draw(5, n, 4)) for n in (6, 5)]
    for workers in (0, 2):
        model = xr.GRU(3, 4, seed=0)
        parts = model, chunks, train.mean_squared_error, train.SGD(model, lr=0.1)
        options = {"carry": True, "workers": workers, "engine": "inline", "shards": 8}
        with pytest.raises(ValueError, match=r"^carry: .* got 5 after 6$"):
            distributed.fit(*parts, **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_model_without_a_state_is_refused(workers):
    model = train.Linear(3, 4, seed=0)
    parts = [(draw(2, 3), draw(2, 4))], train.mean_squared_error
    options = {"carry": True, "workers": workers, "engine": "inline", "axes": (0, 0)}
    with pytest.raises(ValueError, match=r"^carry: expected a model that gives back"):
        distributed.fit(model, *parts, train.SGD(model, lr=0.1), **options)


def test_train_fit_hands_over():
    expected = fitted(shards=4)
    found = fitted(train.fit, shards=4, workers=2, engine="inline")
    assert same_bits([*found], [*expected])
    with pytest.raises(
        ValueError, match=r"^workers: expected at most shards=8, got 9$"
    ):
        fitted(train.fit, workers=9)


# Many workers


@pytest.mark.parametrize("workers", [9, 16, 17, 25])
def test_sums_in_groups_are_those_of_the_tree(workers, monkeypatch):
    monkeypatch.setattr(_team, "FAN", 4)
    x, y = draw(3, 30, 2), draw(3, 30, 3)
    found, told = [], []
    engine = Counting()
    options = {"workers": workers, "engine": engine, "watch": told.append}
    for own in ({}, options):
        model = xr.RNN(2, 3, seed=0)
        optimizer = train.SGD(model, lr=0.1)
        parts = model, [(x, y), (x[:, :19], y[:, :19])], train.mean_squared_error
        distributed.fit(*parts, optimizer, epochs=2, shards=25, **own)
        found.append(model.state_dict())
    assert same_bits(*found)
    totals = [sum(each) for each in zip(*(e.received for e in told), strict=True)]
    assert totals == [*engine.received.values()]


class Orders(distributed.InlineEngine):
    """Counts the values that this process has in its hands."""

    def __init__(self):
        self.values = 0

    def call(self, worker, method, *args, returns=1):
        self.values += returns + len(args)
        return super().call(worker, method, *args, returns=returns)


def test_orders_grow_with_workers_not_with_their_square():
    counts = {}
    for workers in (16, 64):
        engine = Orders()
        x, y = draw(2, 64, 2), draw(2, 64, 2)
        model = xr.RNN(2, 2, seed=0)
        parts = [(x, y)] * 4, train.mean_squared_error, train.SGD(model, lr=0.1)
        options = {"shards": 64, "workers": workers, "engine": engine, "epochs": 1}
        distributed.fit(model, *parts, **options)
        counts[workers] = engine.values / 4
    assert counts[64] < 4.4 * counts[16]
    assert counts[64] < 64 * 5 * _team.FAN


def test_states_of_shards_are_rows_of_those_of_all():
    state = draw(2, 7, 3), draw(2, 7, 3), np.arange(7)
    parts = n10.rows_of_states(state, 7, 3)
    assert [part[2].tolist() for part in parts.values()] == [[0, 1, 2], [3, 4], [5, 6]]
    assert same_bits([*n10.joined_states(parts)], [*state])
    assert same_bits(parts[1][0], np.ascontiguousarray(state[0][:, 3:5]))


# Language models


def model_of(cell="lstm"):
    alphabet = "".join(sorted(set(TEXT)))
    sizes = {"hidden_size": 8, "embedding_size": 4, "num_layers": 2}
    return train.LanguageModel(alphabet, cell=cell, seed=0, **sizes)


def steps_of(model, **options):
    return model.training(
        TEXT, **{"steps": 14, "batch_size": 9, "length": 20, "lr": 0.02, **options}
    )


def digest_of(model):
    file = io.BytesIO()
    model.save(file)
    return hashlib.sha256(file.getvalue()).hexdigest()


def trained(cell="lstm", **options):
    """Return the SHA-256 of a model file, and the bits of each step."""
    model = model_of(cell)
    bits = [progress.bits for progress in steps_of(model, **options)]
    return digest_of(model), bits


@pytest.mark.parametrize("cell", ["lstm", "gru", "clockwork", "mingru", "grid"])
def test_a_language_model_has_one_hash_for_any_workers(cell):
    expected = trained(cell, shards=4)
    for workers in (1, 3):
        found = trained(cell, shards=4, workers=workers, engine="inline")
        assert found == expected
    assert trained(cell, shards=1) == trained(cell)
    assert expected[0] != trained(cell)[0]


def test_processes_and_a_killed_worker_do_not_show():
    expected = trained(shards=4)
    model, bits = model_of(), []
    with LocalEngine() as engine:
        steps = steps_of(model, shards=4, workers=2, threads=2, engine=engine)
        for progress in steps:
            bits.append(progress.bits)
            if progress.step == 5:
                os.kill(engine._workers[1].pid, signal.SIGKILL)
        assert engine._workers == []  # which end with the last step
    assert (digest_of(model), bits) == expected


def test_a_run_goes_on_with_another_number_of_workers(tmp_path):
    expected, bits = trained(shards=4)
    path, found = tmp_path / "run", []
    for workers, last in ((2, 5), (0, 6), (3, 14)):
        model = model_of()
        options = {"engine": "inline"} if workers else {}
        with steps_of(model, shards=4, workers=workers, **options) as steps:
            if found:
                steps.load(path)
            for progress in steps:
                found.append(progress.bits)
                if progress.step == last:
                    break
            steps.save(path)
    assert (digest_of(model), found) == (expected, bits)
    for options in ({}, {"shards": 3}):
        model = model_of()
        before = model.state_dict()
        with pytest.raises(ValueError, match=r"shards: expected .*, got 4\)$"):
            steps_of(model, **options).load(path)
        assert same_bits(model.state_dict(), before)


@pytest.mark.parametrize("closes", [False, True])
def test_a_training_goes_on_from_a_file_with_the_workers_that_it_has(tmp_path, closes):
    expected, _ = trained(shards=4)
    model = model_of()
    steps = steps_of(model, shards=4, workers=2, engine="inline")
    for progress in steps:
        if progress.step == 3:
            steps.save(tmp_path / "run")
        if progress.step == 6:
            break
    steps.load(tmp_path / "run")
    if closes:
        steps.close()  # others are placed
    assert [progress.step for progress in steps] == [*range(4, 15)]
    assert digest_of(model) == expected


def test_a_step_that_was_broken_off_is_done_again(monkeypatch):
    expected, _ = trained(shards=4)
    model = model_of()
    steps = steps_of(model, shards=4, workers=2, engine="inline")
    real, seen = distributed.training.Trainer.add_up, []

    def add_up(self, *given):
        seen.append(0)
        if len(seen) == 9:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(distributed.training.Trainer, "add_up", add_up)
    chunks = steps._chunks = Noting(steps._chunks)
    with pytest.raises(KeyboardInterrupt):
        for _ in steps:
            pass
    chunks.again = True
    assert [progress.step for progress in steps] == [*range(5, 15)]
    assert digest_of(model) == expected


class Noting:
    """Chunks, the last of which is given again when `again` is set."""

    def __init__(self, chunks):
        self.chunks, self.again, self.last = chunks, False, None

    def __next__(self):
        if not self.again:
            self.last = next(self.chunks)
        self.again = False
        return self.last


def test_a_slow_worker_is_said(monkeypatch):
    real = distributed.training.Trainer.gradients

    def gradients(self, point, place, shards, slices):
        found, *rest = real(self, point, place, shards, slices)
        seconds = 2.5 if shards[0].number == 3 else 0.5
        return (found._replace(seconds=seconds), *rest)

    monkeypatch.setattr(distributed.training.Trainer, "gradients", gradients)
    steps = steps_of(model_of(), shards=4, workers=3, engine="inline", steps=1)
    [progress] = steps
    assert progress.remark == "  worker 2 2.5 s, others 0.5 s"


WRONG = {
    "workers: expected at most shards=3, got 4": {"workers": 4, "shards": 3},
    "workers: expected ": {"workers": -1},
    "shards: expected ": {"shards": 0},
    "threads: expected ": {"workers": 1, "threads": 0},
    "threads: expected 1..1024, got 1025": {"shards": 2, "threads": 1025},
    "engine: expected an Engine or its name, got 5": {"shards": 2, "engine": 5},
    "engine: expected 'inline', .* got 'none'": {"workers": 1, "engine": "none"},
    "workers: expected .*; got unknown 'worker'": {"worker": 1},
}


@pytest.mark.parametrize("message", WRONG)
def test_bad_options_are_named(message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        steps_of(model_of(), **WRONG[message])


def test_a_chunk_that_always_loses_its_worker_is_given_up():
    engine = Unlucky(method="gradients")
    with pytest.raises(EngineError, match=r"lost one 10 times"):
        trained(shards=2, workers=2, engine=engine)
