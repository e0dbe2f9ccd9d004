"""Engines for tests: of Ray only where it is installed."""

import importlib.util
from pathlib import Path

import pytest

from exactrnn.distributed import RayEngine

HELPERS = str(Path(__file__).parent)

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs ray: extra distributed"
)


def make_ray_engine(**options):
    """Begin Ray; it hangs where actors take all CPUs that it was told of.

    Its processes do not know where tests have their helpers.
    """
    environment = {"env_vars": {"PYTHONPATH": HELPERS}}
    return RayEngine(num_cpus=6, runtime_env=environment, **options)
