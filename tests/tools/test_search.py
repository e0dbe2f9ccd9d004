"""The search of examples/search.py: its tasks are right, its children run."""

import importlib.util

import numpy as np
import pytest
from variants import ROOT

import exactrnn as xr

PROGRAM = ROOT / "examples" / "search.py"


@pytest.fixture(scope="module")
def search():
    pytest.importorskip("matplotlib", reason="needs matplotlib: extra examples")
    spec = importlib.util.spec_from_file_location("search_example", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_latch_asks_for_the_bit_that_was_written_last(search):
    x, target, counts = search.latch(np.random.default_rng(0))
    held = np.zeros(search.B)
    for x_t, target_t, counts_t in zip(x, target, counts, strict=True):
        held = np.where(x_t[:, 0] == 1, x_t[:, 1] > 0, held)
        np.testing.assert_array_equal(target_t, held)
        np.testing.assert_array_equal(counts_t, x_t[:, 0] == 0)


def test_tags_close_in_the_order_of_a_stack(search):
    x, target, counts = search.tags(np.random.default_rng(0))
    depths = set()
    for row in range(search.B):
        opened = []
        for x_t, which, closes in zip(
            x[:, row], target[:, row], counts[:, row], strict=True
        ):
            assert x_t.sum() == 1
            assert closes == (x_t[4] == 1)
            if closes:
                assert opened.pop() == which
            else:
                opened.append(which)
                assert x_t[which] == 1
            depths.add(len(opened))
    assert depths == {0, 1, 2, 3, 4}


def test_children_are_cells_that_differ_and_run(search):
    rng, seen = np.random.default_rng(0), {search.GRU, search.LSTM}
    for _ in range(30):
        child = search.breed([search.GRU, search.LSTM], seen, rng)
        assert child not in seen
        seen.add(child)
        y, _ = xr.Layer(search.Tree(child), 2, 4)(np.ones((3, 1, 2), np.float32))
        assert y.shape == (3, 1, 4)


def test_part_of_a_tree_is_replaced_where_its_path_leads(search):
    for trees in (search.GRU, search.LSTM):
        for path, part in search.places(trees):
            assert search.replace(trees, path, part) == trees
            if path:
                changed = search.replace(trees, path, "new")
                assert dict(search.places(changed))[path] == "new"
