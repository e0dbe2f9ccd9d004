"""`map_sequences` with processes: the bits of one, killed or not; nothing is left."""

import contextlib
import errno
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from arrays import same_bits
from engines import make_ray_engine, needs_ray
from mapped_models import (
    DEADLY,
    Deadly,
    SteeredEngine,
    alone_by_gru,
    flat_of,
    gru,
    three,
)

import exactrnn as xr
from exactrnn.distributed import LocalEngine, SequenceError, _crew, map_sequences

SOURCE = three()
TRUTH = alone_by_gru(SOURCE)


@pytest.fixture(scope="module")
def local():
    """Processes: one engine, whose workers come and go."""
    with LocalEngine() as engine:
        yield engine


@pytest.fixture
def slots(monkeypatch):
    """The shared memory of maps, as they make it."""
    made = []

    class Noted(_crew.Slots):
        def __init__(self, count, size):
            super().__init__(count, size)
            self.count, self.laid = count, []
            made.append(self)

        def lay(self, group):
            rows = super().lay(group)
            self.laid.append(rows)
            return rows

    monkeypatch.setattr(_crew, "Slots", Noted)
    return made


@pytest.mark.parametrize(
    ("workers", "threads", "memory"), [(1, 2, 1), (3, None, 1 << 16)]
)
def test_processes_give_the_bits_of_one(local, slots, workers, threads, memory):
    # With little memory the last one is too large for what processes share.
    source = [*SOURCE, np.concatenate(SOURCE)]
    given = {"workers": workers, "threads": threads, "memory": memory}
    found = map_sequences(gru(), source, engine=local, **given)
    assert same_bits([flat_of(one) for one in found], alone_by_gru(source))
    assert local._workers == []
    [shared] = slots
    assert len(shared._free) == shared.count == 2 * workers
    assert [rows is None for rows in shared.laid].count(True) == (memory == 1)


def test_each_array_of_a_state_has_its_own_place(local):
    layer = xr.LSTM(3, 40, 3, bidirectional=True, seed=0)
    given = {"workers": 1, "engine": local, "returns": "state"}
    found = [one.state for one in map_sequences(layer, SOURCE, **given)]
    for x, state in zip(SOURCE, found, strict=True):
        assert same_bits([*state], [*layer(x)[1]])


def test_where_no_memory_can_be_shared_groups_go_by_value(local, monkeypatch):
    def refused(*_):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(_crew, "Slots", refused)
    found = map_sequences(gru(), SOURCE, workers=1, engine=local)
    assert same_bits([flat_of(one) for one in found], TRUTH)


@needs_ray
@pytest.mark.deep
def test_ray_gives_the_bits_of_one_whoever_is_killed(tmp_path):
    (tmp_path / "reason").touch()
    source = [x.copy() for x in SOURCE]
    source[20][0, 0] = DEADLY
    truth = alone_by_gru(source)
    with make_ray_engine() as ray:
        for model, workers in ((gru(), 1), (Deadly(tmp_path), 2)):
            given = {"workers": workers, "engine": ray, "memory": 1 << 15}
            found = [flat_of(one) for one in map_sequences(model, source, **given)]
            assert same_bits(found, truth)
        assert not [*tmp_path.iterdir()]
        mapped = map_sequences(Deadly(), source, on_error="skip", **given)
        assert len([*mapped]) == len(source) - 1
        assert [bad.index for bad in mapped.bad] == [20]


def test_a_killed_worker_is_replaced_and_its_group_done_again(local, tmp_path):
    reasons = [tmp_path / name for name in "ab"]
    for reason in reasons:
        reason.touch()
    source = [x.copy() for x in SOURCE]
    source[20][0, 0] = DEADLY
    with map_sequences(
        Deadly(tmp_path), source, workers=2, engine=local, memory=1 << 15
    ) as mapped:
        found = [flat_of(one) for one in mapped]
    assert not any(reason.exists() for reason in reasons)
    assert same_bits(found, alone_by_gru(source))


def test_a_sequence_that_kills_its_workers_is_bad(local):
    source = [x.copy() for x in SOURCE[:12]]
    source[7][0, 0] = DEADLY
    mapped = map_sequences(
        Deadly(), source, workers=1, engine=local, on_error="skip", memory=1 << 15
    )
    places = [one.index for one in mapped]
    assert places == [k for k in range(12) if k != 7]
    [bad] = mapped.bad
    assert str(bad) == ("source[7]: its worker died 2 times when it was alone with it")
    assert local._workers == []


def test_workers_end_with_their_iterator():
    mapped = map_sequences(gru(), SOURCE, workers=1, memory=1 << 13)
    next(mapped)
    assert len(multiprocessing.active_children()) == 1
    del mapped
    assert multiprocessing.active_children() == []
    engine = SteeredEngine()
    for end in ("close", "with", "last", "raise"):
        source = SOURCE if end != "raise" else [*SOURCE, None]
        mapped = map_sequences(gru(), source, workers=2, engine=engine)
        next(mapped)
        assert len(engine.there) == 2
        if end == "close":
            mapped.close()
        elif end == "with":
            with mapped:
                pass
        else:
            with contextlib.suppress(SequenceError):
                for _ in mapped:
                    pass
        assert engine.there == []


INTERRUPTED = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import itertools
    import numpy as np
    import exactrnn as xr
    from exactrnn.distributed import map_sequences

    if __name__ == "__main__":
        layer = xr.LSTM(64, 128, seed=1)
        source = itertools.repeat(np.ones((500, 64), np.float32))
        mapped = map_sequences(layer, source, workers=2, memory=1 << 22)
        for one in mapped:
            print(one.index, flush=True)
"""


def ended(group, seconds=20):
    """Tell whether the processes of a group are gone after a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_ctrl_c_ends_workers_and_leaves_nothing(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert process.stdout.readline() == "0\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert re.findall(r"^Traceback", err, re.MULTILINE) == ["Traceback"]
    assert ended(process.pid)
