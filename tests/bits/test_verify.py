"""``exactrnn verify`` and the published hashes.

The command's own test recomputes every case by the reference too. What a hash tells
apart is contract N8.
"""

import json

import numpy as np
import pytest

import exactrnn as xr
from exactrnn import _core
from exactrnn.cli import main, verify
from exactrnn.verify import published
from exactrnn.verify.cases import (
    CASE_NAMES,
    LAYER_CASES,
    KernelSide,
    hash_arrays,
    hash_case,
    run_case,
)


@pytest.mark.parametrize("name", CASE_NAMES)
def test_kernels_have_the_published_bits(name, isa, dtype):
    with verify.every_split(), xr.threads(7):
        digest = hash_case(KernelSide(), name, np.dtype(dtype))
    assert digest == published()[dtype][name]


def test_every_case_is_published_and_no_other():
    assert {dtype: set(hashes) for dtype, hashes in published().items()} == {
        "float32": set(CASE_NAMES),
        "float64": set(CASE_NAMES),
    }


def test_every_cell_has_a_case():
    cases = LAYER_CASES.values()
    layers = [case.make(case.I, case.H, **case.options) for case in cases]
    configs = [layer._spec for layer in layers]
    cells = {c.cell_of(k) for c in configs for k in range(c.num_layers)}
    assert cells == set(_core.cells())


UNREAD = {"sru defined": 1}
"""States that a cell does not read: their gradients are 0."""


@pytest.mark.parametrize("name", CASE_NAMES)
def test_cases_are_finite_and_not_trivial(name):
    arrays = [*run_case(KernelSide(), name, np.dtype("float32"))]
    assert all(np.isfinite(array).all() for array in arrays)
    assert sum(not array.any() for array in arrays) == UNREAD.get(name, 0)


def test_hashes_tell_signs_of_zero_but_not_of_nan_apart():
    def digest(*values):
        return hash_arrays([np.array(values, np.float32)])

    assert digest(0.0) != digest(-0.0)
    assert digest(np.nan) == digest(-np.nan)
    assert digest(1.0) != digest(1.0 + 2.0**-23)
    assert digest(1.0) == hash_arrays([np.array([1.0], ">f4")])


def test_verify_prints_a_line_each_and_a_verdict(capsys):
    assert main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    results = [line for line in lines if line.endswith("  ok")]
    assert len(results) == 2 * (3 * len(xr.isas()) + 1)
    assert any(
        line.split() == ["scalar", "float32", "3", "threads", "ok"] for line in lines
    )
    assert any(
        line.split() == ["reference", "float64", "NumPy", "ok"] for line in lines
    )
    assert lines[-1].startswith("verified: the bits are the published ones")


def test_verify_sees_one_different_bit(capsys, monkeypatch):
    layer = KernelSide.layer

    def faulty(self, case, module, inputs):
        arrays = layer(self, case, module, inputs)
        if case is LAYER_CASES["gru"]:
            arrays[1].reshape(-1)[-1] = np.nextafter(arrays[1].reshape(-1)[-1], 9)
        return arrays

    monkeypatch.setattr(KernelSide, "layer", faulty)
    monkeypatch.setattr(xr.engine, "isas", lambda: ("scalar",))
    monkeypatch.setattr(verify, "ReferenceSide", KernelSide)
    assert main(["verify"]) == verify.DIFFERENT
    printed = capsys.readouterr().out
    assert "scalar     float32  1 thread   DIFFERENT: gru\n" in printed
    assert "DIFFERENT: 8 of 8 lines are not the published bits." in printed


def test_published_file_names_its_version():
    path = verify.published.__globals__["files"]("exactrnn.verify") / "hashes.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["numerics_version"] == xr.NUMERICS_VERSION
