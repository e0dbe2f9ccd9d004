"""Ray: what it has no room for, what it cannot reach, and what runs already."""

import pytest
from calculators import Calculator
from engines import make_ray_engine, needs_ray

from exactrnn.distributed import EngineError, RayEngine

pytestmark = [needs_ray, pytest.mark.deep]


def test_what_there_is_no_room_for_is_said_with_the_numbers():
    with make_ray_engine(threads=4, patience=3.0) as engine:
        message = r"each with 4 CPUs, got [01]: the cluster has 6 CPUs"
        with pytest.raises(EngineError, match=message):
            engine.place(Calculator, 2)
        with pytest.raises(EngineError, match="where Ray runs in this process already"):
            RayEngine("127.0.0.1:1")
        with RayEngine() as other:
            [worker] = other.place(Calculator, 1)
            shown = "<RayEngine(threads=1, patience=60.0): workers=1>"
            assert repr(other) == shown
            assert other.fetch(other.call(worker, "add", 3)) == 3
        assert engine.wait([engine.put(1)])


def test_a_head_node_that_cannot_be_reached_is_said():
    with pytest.raises(EngineError, match=r"a Ray cluster that can be reached at '127"):
        RayEngine("127.0.0.1:1")
