"""Memory of calls stays with the process: its pages are not cleared with each call."""

import platform
import subprocess
import sys

import pytest

CALLS = """
import resource

import numpy as np

import exactrnn as xr

layer = xr.LSTM(64, 64, seed=0)
x = np.ones((100, 8, 64), np.float32)


def work():
    y, _, cache = layer.forward(x)
    layer.backward(cache, y)


for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc learns from what is freed"
)
def test_calls_find_their_pages_again():
    found = subprocess.run(
        [sys.executable, "-c", CALLS], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) < 100, "page faults of ten calls; there were over 500"
