"""What a test may need of the build that it runs on."""

import pytest

from exactrnn import _core

needs_openmp = pytest.mark.skipif(
    _core.thread_runtime() != "OpenMP",
    reason="this build has threads of its own, and no OpenMP",
)
