"""Fixtures that run one test over cells, instruction sets, dtypes and threads.

Asking for `cell`, `isa`, `dtype`, `threads` in this order gives ids such as
`gru-avx2-f32-2threads`. `isa` and `threads` are in force while the test runs; what
they were before is restored afterwards.

Tests marked `deep` try a kind of fault for minutes: a plain run leaves them out, also
with `-m 'not slow'`; `pytest -m deep` runs them, and `pytest -m deep --share 20` a
twentieth of them, another one every day.
"""

import datetime
import re
import signal
import zlib

import pytest
import variants

import exactrnn as xr


@pytest.fixture(params=variants.NETWORKS)
def cell(request):
    """A cell's name in csrc/kernels/cells.def, or another network's."""
    return request.param


@pytest.fixture(params=variants.ISAS)
def isa(request):
    """An instruction set of this machine, in force during the test."""
    with xr.use_isa(request.param):
        yield request.param


@pytest.fixture(params=variants.DTYPES.values(), ids=variants.DTYPES.keys())
def dtype(request):
    """`float32` or `float64`."""
    return request.param


@pytest.fixture(params=variants.THREADS, ids=lambda n: f"{n}threads")
def threads(request):
    """A thread count, in force during the test."""
    with xr.threads(request.param):
        yield request.param


@pytest.fixture
def settings_are_put_back():
    """The settings of the engine are after the test what they were before."""
    isa, threads = xr.isa(), xr.get_num_threads()
    yield
    xr.use_isa(isa)
    xr.set_num_threads(threads)


def pytest_configure():
    """Let Ctrl-C reach what tests start, which a shell in the background forbids."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--share",
        type=int,
        default=1,
        metavar="N",
        help="of the tests marked deep, run the N-th part that is due today",
    )


def is_due(item, share):
    """Tell whether today is the day of a test: each has one in `share` days."""
    day = datetime.date.today().toordinal()
    return (zlib.crc32(item.nodeid.encode()) + day) % share == 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what is marked `deep` unless `-m` names that mark; then by share."""
    wanted = re.search(r"\bdeep\b", config.option.markexpr)
    share = config.getoption("share")
    left_out = [
        item
        for item in items
        if item.get_closest_marker("deep") and not (wanted and is_due(item, share))
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
