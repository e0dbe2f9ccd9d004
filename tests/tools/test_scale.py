"""benchmarks/scale.py: what it measures, and the model of many machines."""

import json
import re
import subprocess
import sys

import pytest
import scale
import scale_model
import two_hosts
from variants import ROOT

PARTS = scale_model.Parts(1e-2, 8 * 10**6, 1e-10, 2e-3, 1e-4, 1e-3)
LINK = scale_model.Link(1e9, 1e-4)


def measured_scale(folder, *parts):
    """Return what scale.py prints and writes of these parts."""
    out = folder / "out.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "--quick"]
    command += ["--units", "8", "--json", str(out), "--parts", *parts]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, json.loads(out.read_text())


def test_maps_are_measured_as_a_program(tmp_path):
    said, found = measured_scale(tmp_path, "map")
    assert all(found["map"]["8"][name] > 0 for name in ("one", "two", "ratio", "share"))
    assert re.findall(r"^\| (\d+) \|", said, re.MULTILINE) == ["8"]


@pytest.mark.deep
def test_trainings_and_deaths_are_measured_as_a_program(tmp_path):
    said, found = measured_scale(tmp_path, "training", "deaths", "model")
    assert found["training"]["1"]["received"] == 0
    # Half of the gradient from the other, twice.
    assert found["training"]["2"]["received"] == found["model"]["gradient"]
    assert found["deaths"]["begun anew"] >= 1
    assert found["deaths"]["same weights"] is True
    tables = re.findall(r"^\| (\d+) \|", said, re.MULTILINE)
    assert tables == ["0", "1", "2", "8", "64", "1024"]


def test_model_of_many_machines_is_drawn():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")
    [axes] = scale_model.draw(PARTS, LINK, 64).axes
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    parts = ["compute", "add", "wire", "driver"]
    assert named == [*parts, "step", "step with a ring, any order"]


def test_model_of_many_machines_adds_up():
    one, two, many = (scale_model.step_of(PARTS, LINK, 64, W) for W in (1, 2, 64))
    assert one == (0.64, 0.0, 0.0, 2e-3 + 1e-4, 0.0)
    assert two.received == 8 * 10**6
    assert (two.compute, two.wire) == (0.32, pytest.approx(8e-3 + 4e-4))
    assert many.compute == 1e-2
    # Of the tree of eight shards as of a ring: all but the own slice, twice.
    ring = scale_model.ring_of(PARTS, LINK, 64, 8)
    assert scale_model.step_of(PARTS, LINK, 64, 8).received == ring.received
    # Of 64 there are two rounds: what remains after the first is added once more.
    assert many.received == pytest.approx(8e6 * 7 / 8 * 3)
    assert many.wire == pytest.approx(21e-3 + 5e-4)
    # Of three workers some have shards that leave several sums.
    assert scale_model.rounds_of(64, 3) == [8]
    assert scale_model.step_of(PARTS, LINK, 64, 3).received > ring.received


@pytest.mark.parametrize("workers", [2, 3, 7, 8, 9, 16, 20, 32])
def test_bytes_of_the_model_are_those_of_a_run(workers):
    told, _, _, weights = scale.train(8, 2, workers, shards=32, engine="inline")
    size = sum(weight.nbytes for weight in weights.values())
    parts = PARTS._replace(gradient=size)
    most = max(told[-1].received)
    model = scale_model.step_of(parts, LINK, 32, workers).received
    if workers in (2, 8, 16, 32):
        assert most == pytest.approx(model, rel=0.01)
    else:
        assert most == pytest.approx(model, rel=0.4)


@pytest.mark.parametrize(
    "given", [["--units", "0"], ["--parts", "none"], ["--runs", "0"]]
)
def test_wrong_arguments_of_scale_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        scale.parse_arguments(given)
    assert "error" in capsys.readouterr().err


@pytest.mark.deep
def test_two_hosts_have_a_wire_with_a_delay():
    lacking = two_hosts.missing()
    if lacking is not None:
        pytest.skip(f"this machine lacks {lacking}, for two hosts")
    found = two_hosts.measure(scale.Sizes([8], 0.1, 1, 4), 5e-3)
    assert found["two hosts"]["order"] > 10e-3
    assert found["two hosts"]["order"] > 5 * found["one host"]["order"]
    spaces = two_hosts.command("ip", "netns", "list")
    assert two_hosts.PLACES not in spaces
