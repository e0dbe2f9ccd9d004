"""Call layers in several threads while others choose numbers of threads and engines.

Run by test_hand_overs.py in a process of its own, with a number of seconds and whether
threads exchange their items. Busy processes come and go, so that threads lose their
cores in the middle of items. Prints how many calls were made, and how often items were
taken over and handed on; fails if a bit differs, and says where all threads stand if a
call does not end.
"""

import faulthandler
import json
import random
import sys
import threading
import time

from bits import as_tuple, random_problem, to_bytes
from layer_kinds import make_kind

import exactrnn as xr
from exactrnn import _core
from exactrnn.bench.busy import busy_processes

CALLERS, MOST_THREADS, HANGS = 4, 4, 120.0
KINDS = ("lstm", "gru", "rnn", "lstm-proj", "mut1", "clockwork", "leaky-learned")
# T, B, H, directions: rows, directions, units, chunks of the weights' gradients.
SIZES = ((9, 5, 37, 1), (7, 1, 37, 2), (5, 1, 200, 1), (3, 230, 17, 1))


def make_case(kind, size, dtype):
    """Return a call, forward and back, that gives bytes."""
    T, B, H, directions = size
    two = {"bidirectional": directions == 2}
    layer = make_kind(kind, 5, H, dtype=dtype, seed=1, **two)
    problem = random_problem(layer, T, B, seed=2)

    def call():
        y, final, cache = layer.forward(problem["x"], problem["state"])
        gradients = layer.backward(cache, problem["dy"], problem["dstate"])
        weights = tuple(gradients.weights.values())
        return to_bytes((y, as_tuple(final), gradients.x, weights))

    return call


class Stress:
    """What all threads know."""

    def __init__(self, seconds):
        self.cases = [
            make_case(kind, size, dtype)
            for kind in KINDS
            for size in SIZES
            for dtype in ("float32", "float64")
        ]
        with xr.threads(1):
            self.expected = [call() for call in self.cases]
        self.calls, self.errors = [0] * CALLERS, []
        self.end = time.monotonic() + seconds

    def goes_on(self):
        return time.monotonic() < self.end and not self.errors

    def call(self, number):
        chance = random.Random(number)
        while self.goes_on():
            case = chance.randrange(len(self.cases))
            try:
                assert self.cases[case]() == self.expected[case], f"case {case}"
            except BaseException as error:
                self.errors.append(repr(error))
            self.calls[number] += 1

    def choose(self):
        chance = random.Random(0)
        while self.goes_on():
            xr.set_num_threads(chance.choice(["auto", *range(1, MOST_THREADS + 1)]))
            xr.use_isa(chance.choice(xr.isas()))
            time.sleep(chance.random() * 0.005)

    def disturb(self):
        while self.goes_on():
            with busy_processes(2):
                time.sleep(1)
            time.sleep(1)


def main(seconds, exchanged):
    faulthandler.dump_traceback_later(seconds + HANGS, exit=True)
    _core.thread_work((0, 0))
    _core.exchanging(exchanged)
    stress = Stress(seconds)
    threads = [threading.Thread(target=stress.call, args=(n,)) for n in range(CALLERS)]
    threads += [threading.Thread(target=stress.choose)]
    for thread in threads:
        thread.start()
    stress.disturb()
    for thread in threads:
        thread.join()
    assert not stress.errors, stress.errors
    print(json.dumps([sum(stress.calls), *_core.hand_overs()]))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2] == "exchanged")
