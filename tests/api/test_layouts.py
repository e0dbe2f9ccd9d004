"""The caller's layout is handled once, below the public classes (`_run/layout.py`).

That every layout gives the same bits is in test_layers_api.py and test_errors.py.
"""

import copy
import pickle
import sys

import numpy as np
import pytest
from arrays import draw
from layer_kinds import CELL_KINDS, KINDS, make_cell, make_kind

import exactrnn as xr
from exactrnn._run import layout as layouts

T, B, I, H = 4, 3, 2, 6
LAYERS = {kind: lambda kind=kind: make_kind(kind, I, H) for kind in KINDS}
LAYERS["grid"] = lambda: xr.TimeDepthGridLSTM(I, H, 2, seed=0)


def frames_of(subject, call):
    """Return the names of the methods of `subject` that a call goes into."""
    names = []

    def see(frame, event, _):
        if event == "call" and frame.f_locals.get("self") is subject:
            names.append(frame.f_code.co_name)

    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(None)
    return names


@pytest.mark.parametrize("kind", LAYERS)
def test_a_call_enters_its_layer_once(kind):
    layer = LAYERS[kind]()
    x, out = draw(T, B, I), np.empty((T, B, layer.output_size), np.float32)
    y, state, cache = layer.forward(x)
    assert frames_of(layer, lambda: layer(x)) == ["__call__"]
    assert frames_of(layer, lambda: layer(x[:, 0])) == ["__call__"]
    assert frames_of(layer, lambda: layer(x, state, lengths=[4, 0, 2])) == ["__call__"]
    assert frames_of(layer, lambda: layer(x, out=out)) == ["__call__"]
    assert frames_of(layer, lambda: layer.forward(x)) == ["forward"]
    assert frames_of(layer, lambda: layer.backward(cache, y)) == ["backward"]


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_a_step_enters_its_cell_once(kind):
    cell, x = make_cell(kind, I, H), draw(B, I)
    state, cache = cell.forward(x)
    assert frames_of(cell, lambda: cell(x, state)) == ["__call__"]
    assert frames_of(cell, lambda: cell.forward(x[0])) == ["forward"]
    assert frames_of(cell, lambda: cell.backward(cache, state)) == ["backward"]


@pytest.mark.parametrize("layout", layouts.LAYOUTS, ids=lambda one: one.axes or "none")
def test_layouts_go_in_and_out_as_views(layout):
    rows = B if layout.batched else 1
    steps = T if "T" in layout.axes else 1
    sequence = draw(*layout.shape(steps, rows, I))
    inward = layout.inward(sequence)
    assert inward.shape == (steps, rows, I)
    assert np.shares_memory(inward, sequence)
    assert layout.outward(inward).shape == sequence.shape
    assert np.array_equal(layout.outward(inward), sequence)
    planes = 2 if "L_D" in layout.state_axes else 1
    part = draw(*layout.state_sizes(planes, rows).values(), H)
    inward = layout.state_inward(part)
    assert inward.shape == (planes, rows, H)
    assert np.array_equal(layout.state_outward(inward), part)


@pytest.mark.parametrize("layout", layouts.LAYOUTS, ids=lambda one: one.axes or "none")
def test_copies_of_a_layout_are_the_one(layout):
    assert copy.deepcopy(layout) is layout
    assert pickle.loads(pickle.dumps(layout)) is layout


def test_a_call_enters_a_grid_of_any_dimensions_once():
    grid, x = xr.GridLSTM(I, H, seed=0), draw(T, B, I)
    ends, cache = grid.forward(x, sizes=(T, 2))
    assert frames_of(grid, lambda: grid(x, sizes=(T, 2))) == ["__call__"]
    assert frames_of(grid, lambda: grid.forward(x, sizes=(T, 2))) == ["forward"]
    assert frames_of(grid, lambda: grid.backward(cache, ends)) == ["backward"]
