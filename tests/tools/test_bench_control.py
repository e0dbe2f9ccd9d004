"""The order of the libraries is drawn, exactrnn is measured against itself."""

import itertools
import json
import random
import sys
import time

import compare
import numpy as np
import pytest
import run
import shapes

import exactrnn as xr
from exactrnn.bench import control, load_rivals, measure, measure_row, picture
from exactrnn.bench.limit import Probe
from exactrnn.bench.report import format_report, format_summary, format_table
from exactrnn.bench.rivals import Prepared
from exactrnn.bench.rows import Row
from exactrnn.bench.session import Settings, run_session
from exactrnn.cli import main

ROW = Row("forward", "lstm", 5, 2, 3, 17)
STEP = Row("step", "lstm", 1, 1, 8, 8)
LIMITS = {"peak": Probe(lambda: None, 10**6), "read": Probe(lambda: None, 10**6)}
NAMES = ("exactrnn", "a", "b", "c")


def orders_of(seed, rounds=12, *, burst=2e-3):
    """Return the order of the libraries in each round."""
    begun = []

    def spend(name):
        begun.append(name)
        time.sleep(burst)

    runs = {name: lambda name=name: spend(name) for name in NAMES}
    how = measure.Rounds(random.Random(seed))
    measure.measure(runs, {}, rounds * burst * 4, how)
    return [name for k, name in enumerate(begun) if k == 0 or begun[k - 1] != name]


def measured(own, other, again):
    """Return a row with medians in seconds; every sample of a library is the same."""
    samples = {"exactrnn": [own] * 8, "rival": [other] * 8, "control": [again] * 8}
    limits = {name: [1.0, 1.0] for name in LIMITS}
    return measure.summarise(ROW, samples | limits, LIMITS)


def order_seen(monkeypatch, row, seed):
    """Return the orders in which `measure` would go through ten names."""
    seen = []

    def watch(runs, probes, seconds, how, *, singly):
        names = list("abcdefghij")
        for _ in range(3):
            how.order.shuffle(names)
            seen.append("".join(names))
        return {name: [1.0, 1.0] for name in (*runs, *probes)}

    monkeypatch.setattr(measure, "measure", watch)
    measure_row(row, load_rivals([])[0], 1, 0.01, seed=seed)
    return seen


def test_every_round_has_an_order_of_its_own():
    bursts = orders_of(1)[-40:]
    followers = {name: set() for name in NAMES}
    for name, after in itertools.pairwise(bursts):
        followers[name].add(after)
    assert all(len(names) > 1 for names in followers.values())


def test_the_order_follows_the_seed_and_the_row(monkeypatch):
    first = order_seen(monkeypatch, ROW, 1)
    assert len(set(first)) == 3
    assert order_seen(monkeypatch, ROW, 1) == first
    assert order_seen(monkeypatch, ROW, 2) != first
    assert order_seen(monkeypatch, Row("forward", "gru", 5, 2, 3, 17), 1) != first


def test_a_seed_is_new_each_time_and_can_be_given(capsys, tmp_path):
    assert Settings().seed != Settings().seed
    out = tmp_path / "out.json"
    small = ["--steps", "2", "--batch", "1", "--hidden", "4", "--cell", "rnn"]
    command = ["bench", "--alone", "--seconds", "0.01", "--seed", "77"]
    assert main([*command, *small, "--json", str(out)]) == 0
    assert "order of the libraries in each round: seed 77\n" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["about"]["seed"] == 77
    assert {"control_us", "control_ratio", "margin"} <= set(report["rows"][0])
    assert run.parse_arguments(["--seed", "5"]).seed == 5


def test_the_control_is_a_second_copy_in_the_same_rounds():
    class Counted:
        NAME = "exactrnn"
        made = 0

        def prepare(self, problem):
            ours = load_rivals([])[0][0].prepare(problem)
            self.made += 1
            if self.made == 1:
                return ours

            def slowly():
                time.sleep(1e-3)
                return ours.run()

            return Prepared(slowly, ours.read)

    contender = Counted()
    found = measure_row(ROW, [contender], 1, 0.05)
    assert contender.made == 2
    assert list(found["figures"]) == ["exactrnn"]
    assert found["control_us"] > 1000
    assert found["margin"] >= found["control_ratio"] > 2


@pytest.mark.parametrize(
    ("other", "verdict"),
    [(1.04, "equal"), (0.97, "equal"), (1.06, "faster"), (0.94, "behind")],
)
@pytest.mark.parametrize("again", [1.05, 1 / 1.05])
def test_a_rival_within_the_control_is_equal(other, verdict, again):
    row = measured(1.0, other, again)
    assert row["margin"] == pytest.approx(1.05)
    assert control.verdict_of(row) == verdict
    assert f"| {verdict} |" in format_table([row], ["exactrnn", "rival"])
    [line] = format_summary([row], {"all": [ROW.name]}).splitlines()
    named = f"1 {verdict}: {ROW.name}"
    assert (named in line) == (verdict != "faster")


def test_a_rough_run_calls_nothing_equal():
    row = measured(1.0, 0.5, 3.0)
    assert control.verdict_of(row) == "unclear"
    assert "0 behind; 0 equal; 1 unclear: " in format_summary([row], {"a": [ROW.name]})
    assert format_summary([row], {"a": [ROW.name]}).endswith(f"{ROW.name} 0.50")
    assert control.verdict_of(measured(1.0, 0.2, 3.0)) == "behind"


def test_the_margin_grows_with_the_noise():
    rng = np.random.default_rng(0)
    margins = []
    for noise in (0.001, 0.01, 0.1):
        own = rng.normal(1, noise, 50)
        found = control.compare_control(own, rng.permutation(own))
        assert found["control_ratio"] == 1
        margins.append(found["margin"])
    assert 1 < margins[0] < margins[1] < margins[2] < 1.3


def test_old_reports_have_no_control_and_are_read():
    old = measured(1.0, 1.01, 1.05)
    for key in ("control_us", "control_ratio", "control_spread", "margin"):
        del old[key]
    assert control.verdict_of(old) == "faster"
    about = {"processor": "P", "isa": "avx2", "threads": 1, "python": "3"}
    about |= {"numpy": "2", "versions": {"exactrnn": "1", "rival": "1"}}
    shown = format_report({"about": about, "rows": [old]})
    assert shown.startswith("P, avx2, 1 thread\nexactrnn 1, rival 1; Python 3, NumPy 2")
    assert "seed" not in shown
    assert shown.endswith("| – |")
    [(*_, verdict)] = compare.compare_rows({ROW.name: old}, {ROW.name: old})
    assert verdict == "equal"


def test_a_change_within_the_controls_is_equal_and_no_failure(tmp_path, monkeypatch):
    about = dict.fromkeys(("processor", "isa", "threads", "versions"))

    def compared(change):
        paths = []
        for name, row in (
            ("before", measured(1.0, 2.0, 1.04)),
            ("after", measured(change, 2.0, change * 1.03)),
        ):
            paths.append(tmp_path / f"{name}.json")
            paths[-1].write_text(json.dumps({"about": about, "rows": [row]}))
        command = ["compare.py", *map(str, paths), "--fail-above", "1.01"]
        monkeypatch.setattr(sys, "argv", command)
        return compare.main()

    assert compared(1.045) == 0  # 4 % and 3 % are 5 % together
    assert compared(1.06) == 1


@pytest.mark.parametrize(
    ("other", "color"),
    [(1.04, picture.EQUAL), (1.5, picture.AHEAD[0]), (0.5, picture.BEHIND)],
)
def test_a_picture_has_equal_rows_in_grey(other, color):
    figure = pytest.importorskip(
        "matplotlib.figure", reason="matplotlib is not installed (extra plot)"
    )
    lines, _ = picture.arrange_lines([{"rows": [measured(1.0, other, 1.05)]}])
    axes = figure.Figure().subplots()
    picture.draw_ratios(axes, lines)
    assert axes.lines[-1].get_color() == color


def test_percentiles_of_known_samples():
    found = control.percentiles_of([k * 1e-6 for k in range(101)])
    assert found == pytest.approx({"p50_us": 50, "p90_us": 90, "p99_us": 99})


def test_single_steps_are_timed_one_by_one():
    calls = []
    runs = {"exactrnn": lambda: calls.append(0), "b": lambda: calls.append(1)}
    probes = {"peak": Probe(lambda: None, 1)}
    how = measure.Rounds(random.Random(0))
    samples = measure.measure(runs, probes, 0.0, how, singly=True)
    assert len(samples["peak"]) == measure.LEAST_ROUNDS
    assert len(samples["b"]) > 100 * measure.LEAST_ROUNDS
    found = measure_row(STEP, load_rivals([])[0], 1, 0.01)
    own = found["figures"]["exactrnn"]
    assert own["samples"] > 100 * measure.LEAST_ROUNDS
    assert own["best_us"] <= own["p50_us"] <= own["p90_us"] <= own["p99_us"]
    assert own["p50_us"] == pytest.approx(own["median_us"])
    sequence = measure_row(ROW, load_rivals([])[0], 1, 0.01)
    assert "p50_us" not in sequence["figures"]["exactrnn"]


def test_a_slow_call_among_steps_shows_in_the_percentiles():
    count = 0

    def sometimes():
        nonlocal count
        count += 1
        if count % 20 == 0:
            time.sleep(2e-3)

    how = measure.Rounds(random.Random(0))
    runs = {"exactrnn": sometimes}
    samples = measure.measure(runs, {}, 0.02, how, singly=True)
    found = control.percentiles_of(samples["exactrnn"])
    assert found["p50_us"] < 1000 < 2000 <= found["p99_us"]


def test_percentiles_have_a_table():
    report = run_session([ROW, STEP], Settings(seconds=0.01, rivals=()))
    head, table = format_report(report).split("Single calls, p50 / p90 / p99 in µs:")
    assert "| lstm step |" in head
    lines = table.strip().splitlines()
    assert lines[0] == "| | T, B, H | exactrnn |"
    assert len(lines) == 3
    own = report["rows"][1]["figures"]["exactrnn"]
    shown = " / ".join(f"{own[f'p{p}_us']:.2f}" for p in (50, 90, 99))
    assert own["p99_us"] >= 10 or shown in lines[2]


def test_a_session_names_the_best_instruction_set_beside_its_own():
    with xr.use_isa("scalar"):
        about = run_session([ROW], Settings(seconds=0.01, rivals=()))["about"]
    assert (about["isa"], about["best_isa"]) == ("scalar", xr.isas()[0])


def test_an_instruction_set_that_is_not_the_best_is_named():
    about = {"processor": "P", "threads": 1, "python": "3", "numpy": "2"}
    about |= {"versions": {"exactrnn": "1"}, "isa": "avx2", "best_isa": "avx512"}
    rows = [measured(1.0, 1.0, 1.0)]
    held = "exactrnn is held to avx2 on a machine that has avx512; the other libraries"
    assert held in format_report({"about": about, "rows": rows})
    about["best_isa"] = "avx2"
    assert "held" not in format_report({"about": about, "rows": rows})


def test_the_group_avx2_is_for_machines_with_more(monkeypatch, capsys):
    monkeypatch.setattr(xr, "isas", lambda: ("avx512", "avx2", "scalar"))
    parsed = run.parse_arguments(["--group", "avx2"])
    assert (parsed.isa, parsed.threads, parsed.busy) == ("avx2", 1, 0)
    assert parsed.selected == list(dict.fromkeys(shapes.CONDITIONS["avx2"]))
    for more in (["--isa", "scalar"], ["--rows", "none"]):
        with pytest.raises(SystemExit):
            run.parse_arguments(["--group", "avx2", *more])
    monkeypatch.setattr(xr, "isas", lambda: ("avx2", "scalar"))
    with pytest.raises(SystemExit):
        run.parse_arguments(["--group", "avx2"])
    assert "the best instruction set here is avx2" in capsys.readouterr().err
