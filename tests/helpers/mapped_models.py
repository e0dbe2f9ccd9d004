"""Models and an engine for tests of `map_sequences`; workers import this file."""

import os
import signal

import numpy as np

import exactrnn as xr
from exactrnn.distributed import InlineEngine

DEADLY = np.float32(666)
"""The first value of a sequence that some models do not survive."""
TESTING = os.environ.setdefault("EXACTRNN_TESTING", str(os.getpid()))
"""The process that must not die: that of the tests."""


def gru():
    """Return a layer of three inputs."""
    return xr.GRU(3, 4, seed=1)


def three(count=40):
    """Return sequences [T, 3] of many lengths."""
    source = np.random.default_rng(0)
    lengths = source.integers(1, 30, count)
    return [source.standard_normal((T, 3)).astype(np.float32) for T in lengths]


def alone_by_gru(sequences):
    """Return output and state of each sequence, one after the other."""
    return [[*gru()(x)] for x in sequences]


def flat_of(result):
    """Return the arrays of what a map gives for one sequence."""
    return list(_arrays_in(tuple(result[1:])))


def _arrays_in(parts):
    for part in parts.values() if isinstance(parts, dict) else parts:
        if isinstance(part, tuple | list | dict):
            yield from _arrays_in(part)
        elif part is not None:
            yield part


class Mean(xr.train.Composite):
    """A model that has other parts than the library's: one answer to a sequence."""

    def __init__(self):
        self.layer = gru()

    def __call__(self, x):
        y, _ = self.layer(x)
        return y.mean(0)


class Turned(xr.train.Composite):
    """A model of one's own that has rows first, and states by name."""

    def __init__(self):
        self.layer = xr.LSTM(3, 4, batch_first=True, seed=1)

    def __call__(self, x):
        y, (h, c) = self.layer(x)
        return -y, {"c": c, "h": [h]}


class Deadly(xr.train.Composite):
    """Kills its process where a sequence begins with `DEADLY`, if there is a reason.

    Parameters
    ----------
    reason : path-like, optional
        A folder: each file in it is a reason once. Without it there always is one.
    """

    def __init__(self, reason=None):
        self.layer = gru()
        self.reason = reason

    def __call__(self, x):
        if (x[0, :, 0] == DEADLY).any() and self.has_reason():
            assert os.getpid() != int(TESTING)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layer(x)

    def has_reason(self):
        if self.reason is None:
            return True
        for path in sorted(self.reason.iterdir()):
            path.unlink()
            return True
        return False


class Choosy(xr.train.Composite):
    """Raises where a sequence has a negative first value; anything it gives is fine."""

    def __init__(self, error=RuntimeError):
        self.layer = gru()
        self.error = error

    def __call__(self, x):
        if (x[0, :, 0] < 0).any():
            raise self.error("negative")
        return self.layer(x)


class _Late:
    """A value that is computed when its turn has come."""

    def __init__(self, worker, compute):
        self.worker, self.compute, self.found = worker, compute, None


class SteeredEngine(InlineEngine):
    """Workers of this process that answer in any order, and die when they are told.

    Parameters
    ----------
    seed : int
        Of the order.
    losses : collection of int
        Which of all calls of `run`, counted from 0, end with the worker's death.

    Attributes
    ----------
    open_at_call, sizes : list of int
        Of each call of `run` in turn: how many its worker had then, itself among them,
        and how many sequences it is of.
    """

    def __init__(self, seed=0, losses=()):
        self.order, self.losses = np.random.default_rng(seed), set(losses)
        self.runs = self.lost = 0
        self.open, self.there = [], []
        self.open_at_call, self.sizes = [], []

    def place(self, make, count):
        found = super().place(make, count)
        self.there += found
        return found

    def replace(self, worker):
        other = super().replace(worker)
        self.there[self.there.index(worker)] = other
        return other

    def dismiss(self, workers):
        super().dismiss(workers)
        self.there = [worker for worker in self.there if worker not in workers]

    def call(self, worker, method, *args, returns=1):
        if method != "run":
            return super().call(worker, method, *args, returns=returns)
        late = _Late(
            worker, lambda: super(SteeredEngine, self).call(worker, "run", *args)
        )
        self.open.append(late)
        of_worker = sum(other.worker is worker for other in self.open)
        self.open_at_call.append(of_worker)
        self.sizes.append(len(args[0]))
        return late

    def wait(self, refs, timeout=None, count=1):  # noqa: ARG002
        late = [ref for ref in refs if isinstance(ref, _Late)]
        if late and timeout != 0.0 and all(ref.found is None for ref in late):
            firsts = {}
            for ref in self.open:
                firsts.setdefault(id(ref.worker), ref)
            self.do([*firsts.values()][self.order.integers(len(firsts))])
        ended = [r for r in refs if not isinstance(r, _Late) or r.found is not None]
        return ended, [r for r in refs if r not in ended]

    def do(self, late):
        number, self.runs = self.runs, self.runs + 1
        if number in self.losses:
            self.lost += 1
            self.lose(late.worker)
        late.found = late.compute()
        self.open.remove(late)
        if number in self.losses:
            for other in [o for o in self.open if o.worker is late.worker]:
                other.found = other.compute()
                self.open.remove(other)

    def fetch(self, ref):
        return super().fetch(ref.found if isinstance(ref, _Late) else ref)
