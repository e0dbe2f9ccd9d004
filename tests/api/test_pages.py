"""Memory of calls stays with the process: its pages are not cleared with each call."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource

import numpy as np

import exactrnn as xr

model = xr.train.LanguageModel("".join(map(chr, range(96))), seed=0)
optimizer = xr.train.Adam(model, 1e-3)
text = np.random.default_rng(0).integers(0, 96, (20, 65, 32))
state = None


def faults(chunks):
    global state
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for chunk in chunks:
        _, gradients, state = model.loss_and_gradients(chunk[:-1], chunk[1:], state)
        xr.train.clip_global_norm(gradients, 1.0)
        optimizer.step(gradients)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


xr.set_num_threads(1)
faults(text[:10])
print(*[faults(text[i : i + 10]) for i in (10, 0, 10, 0, 10)])
"""


LARGE = """
import resource

import numpy as np

import exactrnn as xr

layer = xr.LSTM(16, 16, seed=0)


def call(B):
    y, _, cache = layer.forward(np.zeros((200, B, 16), np.float32))
    layer.backward(cache, y)


xr.set_num_threads(1)
for _ in range(3):
    call(512)
"""
FAULTS_OF_LARGE = (
    LARGE
    + """
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
call(512)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
)
LITTLE_ROOM = (
    LARGE
    + """
with open("/proc/self/statm") as file:
    pages, *_ = map(int, file.read().split())
limit = pages * resource.getpagesize() + 16 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
layer.forward(np.zeros((200, 560, 16), np.float32))
"""
)


def printed(program):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc learns from what is freed"
)
def test_training_finds_its_pages_again():
    # Over 1000 of every ten steps before. Where an array does not fit between others,
    # the heap grows once more, in some layouts after dozens of steps: not each time.
    assert min(map(int, printed(STEPS).split())) < 300


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is offered pages")
def test_a_large_cache_finds_its_pages_again():
    assert int(printed(FAULTS_OF_LARGE)) < 3000  # of 9,600 of the cache


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cache_that_waits_makes_room_for_another():
    # 40 MB wait, and are not enough; with them there is no room for 44.
    printed(LITTLE_ROOM)
