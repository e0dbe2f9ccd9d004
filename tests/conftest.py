"""Fixtures that run one test over cells, instruction sets, dtypes and threads.

Asking for `cell`, `isa`, `dtype`, `threads` in this order gives ids such as
`gru-avx2-f32-2threads`. `isa` and `threads` are in force while the test runs; what
they were before is restored afterwards.

Tests marked `deep` try a kind of fault for minutes: a plain run leaves them out, also
with `-m 'not slow'`; `pytest -m deep` runs them.
"""

import re

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what is marked `deep` unless `-m` names that mark."""
    if re.search(r"\bdeep\b", config.option.markexpr):
        return
    deep = [item for item in items if item.get_closest_marker("deep")]
    if deep:
        config.hook.pytest_deselected(items=deep)
        items[:] = [i for i in items if not i.get_closest_marker("deep")]
