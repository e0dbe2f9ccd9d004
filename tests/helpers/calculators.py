"""A worker for tests of engines: adds, remembers, fails, dies."""

import os
import signal
import time

import numpy as np


class Calculator:
    def __init__(self, start=0):
        self.total = start

    def add(self, *numbers):
        for number in numbers:
            self.total = self.total + number
        return self.total

    def forget(self):
        self.total = 0

    def halves(self, values):
        middle = len(values) // 2
        return values[:middle] * 1, values[middle:] * 1

    def zeros(self, count):
        return np.zeros(count)

    def fail(self, words):
        raise KeyError(words)

    def fail_strangely(self):
        class StrangeError(Exception):
            pass

        raise StrangeError("no other process knows it")

    def fail_unknown(self):
        kind = type("UnknownError", (Exception,), {"__module__": __name__})
        globals()["UnknownError"] = kind
        raise kind("only this process knows it")

    def sleep(self, seconds):
        time.sleep(seconds)
        return os.getpid()

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


def refuse():
    raise ValueError("start: expected another one")


def die_at_first(path, times):
    """Make a worker; but the first times kill the process that should."""
    before = path.read_text() if path.exists() else ""
    if len(before) < times:
        path.write_text(before + ".")
        os.kill(os.getpid(), signal.SIGKILL)
    return Calculator()
