"""What test_mpi.py has MPI run: each check prints its name when it holds."""

import itertools
import sys
import time

import numpy as np
from calculators import Calculator, refuse
from mapped_models import alone_by_gru, flat_of, gru, three

import exactrnn as xr
from exactrnn.distributed import EngineError, MPIEngine, map_sequences


class OwnError(Exception):
    """An error that the program itself defines."""


class Own:
    """A worker that the program itself defines."""

    def __init__(self):
        self.number = itertools.count()

    def next(self, *values):
        return next(self.number), *values

    def refuse(self):
        raise OwnError("words")

    def refuse_as_a_stranger(self):
        raise make_known()("words")


def make_known():
    """Define an error that only this process knows."""
    kind = type("Unknown", (Exception,), {"__module__": __name__})
    sys.modules[__name__].Unknown = kind
    return kind


def raised(call, *args):
    """Return what a call raises."""
    try:
        call(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def calls_and_values(engine, two):
    first = engine.call(two[0], "add", 3)
    second = engine.call(two[1], "add", first, engine.put(4))
    third = engine.call(two[0], "add", second, second)
    assert [engine.fetch(ref) for ref in (third, second, first)] == [17, 7, 3]
    for worker in two:
        engine.fetch(engine.call(worker, "forget"))
    refs = [engine.call(two[0], "add", k) for k in (1, 10, 100)]
    assert [engine.fetch(ref) for ref in refs[::-1]] == [111, 11, 1]
    large = np.arange(10**6)
    _, upper = engine.call(two[1], "halves", large, returns=2)
    low, _ = engine.call(two[0], "halves", upper, returns=2)
    assert np.array_equal(engine.fetch(low), large[500_000:750_000])


def errors_reach_who_asks(engine, two):
    bad = engine.call(two[0], "zeros", "word")
    after = engine.call(two[1], "add", bad)
    errors = [raised(engine.fetch, ref) for ref in (bad, after)]
    assert isinstance(errors[0], TypeError)
    assert str(errors[0]) == str(errors[1])
    unknown = raised(engine.fetch, engine.call(two[0], "unknown"))
    assert "has no attribute 'unknown'" in str(unknown)
    error = raised(engine.call, two[0], "add", lambda: 0)
    assert str(error).startswith("add: expected what another process can be sent")
    strange = raised(engine.fetch, engine.call(two[0], "fail_strangely"))
    assert str(strange) == "StrangeError: no other process knows it"
    engine.fetch(engine.call(two[0], "forget"))
    assert engine.fetch(engine.call(two[0], "add", 5)) == 5


def workers_come_and_go(engine, two):
    error = raised(engine.place, Calculator, 1)
    assert isinstance(error, EngineError)
    assert "expected at most 0, the ranks beside rank 0" in str(error)
    assert "cannot be replaced by MPI" in str(raised(engine.replace, two[0]))
    assert engine.alive(two[1])
    engine.dismiss(two)
    assert not engine.alive(two[1])
    assert isinstance(raised(engine.place, refuse, 2), ValueError)
    one, other = engine.place(Own, 2)
    found = engine.call(one, "next", 5, returns=2)
    assert [engine.fetch(ref) for ref in found] == [0, 5]
    assert engine.fetch(engine.call(other, "next")) == (0,)
    own = raised(engine.fetch, engine.call(one, "refuse"))
    assert (type(own), str(own)) == (OwnError, "words")
    unknown = raised(engine.fetch, engine.call(one, "refuse_as_a_stranger"))
    assert "'Unknown'" in str(unknown)
    assert engine.fetch(engine.call(one, "next")) == (1,)
    engine.call(other, "next")  # whose end comes when there is another engine
    engine.dismiss([one, other])


def waiting_ends_in_time(engine, two):
    slow = engine.call(two[0], "sleep", 0.3)
    fast = engine.call(two[1], "forget")
    ended, others = engine.wait([slow, fast], 5.0)
    assert (ended, others) == ([fast], [slow])
    begin = time.monotonic()
    assert engine.wait([slow], 0.05) == ([], [slow])
    assert time.monotonic() - begin < 0.25
    assert engine.wait([slow, fast], None, 2) == ([slow, fast], [])


def maps_and_trainings_have_their_bits(engine):
    sequences = three()
    truth = alone_by_gru(sequences)
    for workers, memory in ((1, 1 << 14), (2, 1 << 27)):
        given = {"workers": workers, "engine": engine, "memory": memory}
        for one in map_sequences(gru(), sequences, **given):
            assert all(map(same, flat_of(one), truth[one.index]))
        assert one.index == len(truth) - 1
    one, two = trained(0, "inline"), trained(2, engine)
    assert all(same(one[name], two[name]) for name in one)


def same(first, second):
    return first.tobytes() == second.tobytes()


def trained(workers, engine):
    x, y = xr.train.windows(np.sin(np.arange(100) * 0.3).astype("float32"), 20)
    layers = xr.GRU(1, 8), xr.train.Last(), xr.train.Linear(8, 1)
    model = xr.train.Sequential(*layers, seed=0)
    xr.distributed.fit(
        model,
        xr.train.batches(x, y, size=32, seed=0, axes=(1, 0)),
        xr.train.mean_squared_error,
        xr.train.Adam(model, lr=0.02),
        epochs=2,
        shards=4,
        workers=workers,
        engine=engine,
    )
    return model.state_dict()


def main():
    with MPIEngine() as engine:
        two = engine.place(Calculator, 2)
        ranks, free = engine._world.size - 1, engine._world.size - 3
        assert repr(engine) == f"<MPIEngine: ranks={ranks}, free={free}>"
        for check in (
            calls_and_values,
            errors_reach_who_asks,
            waiting_ends_in_time,
            workers_come_and_go,
        ):
            check(engine, two)
            print(check.__name__, flush=True)
    with MPIEngine() as engine:
        maps_and_trainings_have_their_bits(engine)
        print("maps_and_trainings_have_their_bits", flush=True)


if __name__ == "__main__":
    main()
