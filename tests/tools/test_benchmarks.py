"""The benchmark: every library computes the same, and the figures add up."""

import functools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import compare
import numpy as np
import pytest
import run
import shapes
from variants import PUBLIC, ROOT

from exactrnn import _core
from exactrnn.bench import limit, load_rivals, measure, measure_row, picture, rivals
from exactrnn.bench.cells import CELLS as MEASURABLE
from exactrnn.bench.limit import Probe
from exactrnn.bench.report import format_report, format_summary, format_table
from exactrnn.bench.rivals.torch_loop_rival import has_loop
from exactrnn.bench.rows import SYMBOLS, TASKS, TRAINING, Row, make_layer, make_problem
from exactrnn.bench.session import (
    Settings,
    describe_commit,
    run_session,
    show_progress,
)

TINY = [
    Row("forward", "lstm", 5, 2, 3, 17),
    Row("forward", "gru", 5, 2, 17, 17, directions=2),
    Row("forward", "gru", 6, 4, 3, 17, layers=2, directions=2, ragged=True),
    Row("forward", "lstm", 5, 2, 3, 17, dtype="float64"),
    Row("forward", "gru_before", 4, 1, 3, 16),
    Row("forward", "rnn", 5, 3, 4, 16, layers=2),
    Row("step", "lstm", 1, 1, 8, 8),
    Row("step", "gru", 1, 2, 8, 8),
    Row("step", "gru", 1, 2, 8, 8, layers=2),
    Row("gradients", "rnn", 5, 2, 3, 17),
    Row("gradients", "lstm", 5, 2, 3, 17),
    Row("gradients", "gru", 5, 2, 3, 17),
    Row("gradients", "lstm", 6, 4, 3, 17, ragged=True),
    Row("gradients", "gru", 5, 2, 3, 17, layers=2, directions=2),
    Row(TRAINING, "lstm", 5, 2, 3, 17),
    Row(TRAINING, "gru", 5, 2, 3, 17, layers=2),
    Row(TRAINING, "rnn", 5, 2, 3, 17, dtype="float64"),
]
MORE = [
    Row(task, cell, 5, 2, 3, 17, layers=2, directions=2, ragged=ragged)
    for cell in MEASURABLE
    for task, ragged in (("forward", True), ("gradients", False))
]
MEASUREMENTS = sorted((ROOT / "benchmarks").glob("*.py"))
LIMITS = {"peak": Probe(lambda: None, 10**6), "read": Probe(lambda: None, 10**6)}

# Which of the tiny rows a library must compute; the others it lacks.
COMPUTES = {
    "torch": lambda row: (
        row.cell != "gru_before" and (row.task != "step" or row.layers == 1)
    ),
    "onnxruntime": lambda row: (
        not row.goes_back
        and row.dtype == "float32"
        and (row.task != "step" or row.layers == 1)
    ),
    "jax": lambda row: row.task == "gradients" and row.layers == 1 and not row.ragged,
}
COMPUTES["openvino"] = COMPUTES["onnxruntime"]


@pytest.fixture(params=rivals.RIVALS)
def rival(request):
    try:
        contenders, _ = load_rivals([request.param])
    except ImportError:
        pytest.skip(f"{request.param} is not installed (extra rivals)")
    return contenders[1]


def rounds(seed=0):
    return measure.Rounds(random.Random(seed))


def exactrnn_alone():
    return load_rivals([])[0][0]


@pytest.mark.filterwarnings("default")  # of the libraries' own making
@pytest.mark.parametrize("row", TINY, ids=lambda row: row.name)
def test_library_computes_what_exactrnn_computes(rival, row):
    problem = make_problem(row)
    prepared = rival.prepare(problem)
    assert (prepared is not None) == COMPUTES[rival.NAME](row)
    if prepared is not None:
        ours = exactrnn_alone().prepare(problem)
        measure.check_agreement(problem, {"exactrnn": ours, rival.NAME: prepared})


@pytest.mark.parametrize(
    "row", [row for row in MORE if has_loop(row.layer_class)], ids=lambda row: row.name
)
def test_loop_of_torch_computes_every_cell(row):
    pytest.importorskip("torch", reason="torch is not installed (extra rivals)")
    loop = load_rivals([rivals.LOOP])[0][1]
    problem = make_problem(row)
    prepared = {"exactrnn": exactrnn_alone().prepare(problem)}
    prepared[loop.NAME] = loop.prepare(problem)
    measure.check_agreement(problem, prepared)


def test_loop_of_torch_has_no_single_steps():
    pytest.importorskip("torch", reason="torch is not installed (extra rivals)")
    loop = load_rivals([rivals.LOOP])[0][1]
    assert loop.prepare(make_problem(Row("step", "lstm", 1, 1, 8, 8))) is None


@pytest.mark.parametrize("task", [*TASKS, TRAINING])
def test_another_computation_is_not_timed(task):
    problem = make_problem(Row(task, "lstm", 1, 2, 3, 17))
    other = make_problem(problem.row)
    other.x[...] = np.roll(other.x, 1)
    prepare = exactrnn_alone().prepare
    runs = {"exactrnn": prepare(problem), "other": prepare(other)}
    with pytest.raises(AssertionError, match="of other is off by"):
        measure.check_agreement(problem, runs)


def test_a_missing_rival_is_left_out_unless_it_was_asked_for(monkeypatch):
    for name in ("torch", "onnx", "openvino", "jax"):
        monkeypatch.setitem(sys.modules, name, None)
    contenders, versions = load_rivals()
    assert [contender.NAME for contender in contenders] == ["exactrnn"]
    assert list(versions) == ["exactrnn"]
    with pytest.raises(ImportError, match="torch"):
        load_rivals(["torch"])


def test_ragged_rows_have_their_mean_length_and_zeros_behind():
    row = Row("forward", "gru", 100, 16, 3, 17, ragged=True)
    assert row.lengths.max() == row.T
    assert row.lengths.mean() == pytest.approx(0.62 * row.T, rel=0.01)
    assert row.active.sum() == row.lengths.sum()
    assert (np.diff(row.active) <= 0).all()
    problem = make_problem(row)
    for b, length in enumerate(row.lengths):
        assert problem.x[:length, b].all()
        assert not problem.x[length:, b].any()
        assert not problem.dy[length:, b].any()


def test_operations_are_counted():
    lstm = Row("forward", "lstm", 5, 2, 3, 17)
    assert lstm.flops == 2 * 5 * 2 * 4 * 17 * (3 + 17)
    deep = Row("gradients", "gru", 5, 2, 3, 17, layers=2, directions=2)
    per_step = 2 * 3 * 17 * (3 + 17) + 2 * 3 * 17 * (2 * 17 + 17)
    assert deep.flops == 3 * 2 * 5 * 2 * per_step
    step = Row(TRAINING, "lstm", 5, 2, 3, 17)
    assert step.flops == 3 * (lstm.flops + 2 * 5 * 2 * 17 * SYMBOLS)
    ragged = Row("forward", "rnn", 10, 4, 16, 16, ragged=True)
    assert ragged.flops == 2 * ragged.lengths.sum() * 16 * 32


def test_operations_of_every_matrix_are_counted():
    x, r, gates = 17 * 3, 17 * 17, 4
    size = (5, 2, 3, 17)
    per_step = 2 * 5 * 2
    assert Row("forward", "lstm_proj", *size).flops == per_step * (
        gates * (x + 17 * 8) + 8 * 17
    )
    linked = gates * (x + r) + 9 * r
    assert Row("forward", "lstm_fgr", *size).flops == per_step * linked
    peepholes = Row("gradients", "lstm_peephole", *size)
    assert peepholes.flops == 3 * per_step * gates * (x + r)
    assert Row("forward", "mut1", *size).flops == per_step * (3 * x + 2 * r)
    assert Row("forward", "leaky", *size).flops == per_step * (x + r)
    assert Row("forward", "jordan", *size).flops == per_step * (x + 2 * 17 * 8)
    grid = Row("forward", "grid", *size, layers=2)
    assert grid.flops == per_step * (2 * x + 2 * 2 * 4 * 17 * 34)


def test_operations_of_modules_are_counted_where_they_tick():
    row = Row("forward", "clockwork", 6, 2, 3, 16)
    modules = [(6, 1), (5, 2), (5, 4)]
    count = 0
    for t in range(6):
        for size, period in modules:
            slower = sum(n for n, other in modules if other >= period)
            count += size * (3 + slower) * (t % period == 0)
    assert row.flops == 2 * 2 * count
    large = make_layer(Row("forward", "clockwork", 6, 2, 3, 128))
    assert large.periods == (1, 2, 4, 8, 16, 32, 64, 128)
    square = Row("forward", "clockwork", 6, 2, 16, 16)
    assert sum(w for w, _ in square.matrices()) > sum(r for _, r in square.matrices())


def test_limit_is_the_slower_of_arithmetic_and_reading():
    row = Row("forward", "lstm", 10, 2, 3, 16)
    w, r = 64 * 3, 64 * 16
    assert limit.limit_seconds(row, 1.0, np.inf) == row.flops
    assert limit.limit_seconds(row, np.inf, 1.0) == 4 * (w + 10 * r)
    back = Row("gradients", "lstm", 10, 2, 3, 16)
    assert limit.limit_seconds(back, 1.0, np.inf) == back.flops
    assert limit.limit_seconds(back, np.inf, 1.0) == 4 * (3 * w + 21 * r)
    wide = Row("forward", "lstm", 10, 2, 3, 16, dtype="float64")
    assert limit.limit_seconds(wide, np.inf, 1.0) == 8 * (w + 10 * r)
    # A batch of 2 rows is bound by one of the two in each product by itself.
    assert limit.limit_seconds(row, 1.0, 2.0) == max(40 * w, 2 * w) + 40 * r


def test_resident_weights_are_one_matrix_or_all_of_a_step():
    assert limit.resident_bytes(Row("forward", "gru", 9, 1, 8, 16)) == 4 * 48 * 16
    step = Row("step", "gru", 1, 1, 8, 16, layers=2, dtype="float64")
    assert limit.resident_bytes(step) == 8 * 48 * (8 + 3 * 16)


def test_loops_count_their_work(isa, dtype):
    threads = _core.max_threads()
    once = _core.fma_loop(isa, dtype, 1, 1)
    assert once > 0
    assert _core.fma_loop(isa, dtype, 3, 1) == 3 * once
    data = limit.aligned_ones(1 << 16, dtype)
    assert data.nbytes == 1 << 16
    assert data.ctypes.data % limit.ALIGNMENT == 0
    assert _core.read_loop(data, isa, 3, 1) == 2 * 3 * (1 << 16)
    if threads > 1:
        assert _core.fma_loop(isa, dtype, 1, 2) == 2 * once
        assert _core.read_loop(data, isa, 3, 2) == 2 * 3 * (1 << 16)


def test_loops_refuse_what_the_kernels_refuse():
    with pytest.raises(ValueError, match="isa: expected one of"):
        _core.fma_loop("sse9", "float32", 1, 1)
    with pytest.raises(TypeError, match="dtype: expected float32 or float64"):
        _core.read_loop(np.ones(4096, np.int32), _core.isas()[0], 1, 1)


def test_rates_of_this_machine_are_plausible():
    row = Row("forward", "lstm", 100, 1, 128, 128)
    probes = limit.make_probes(row, 1)
    samples = measure.measure({"exactrnn": lambda: None}, probes, 0.05, rounds())
    rates = {name: probes[name].work / min(samples[name]) for name in probes}
    assert 1e7 < rates["peak"] < 1e13
    assert 1e8 < rates["read"] < 1e13


def test_rounds_are_interleaved():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in ("exactrnn", "b")}
    probe = Probe(lambda: order.append("probe"), 1)
    samples = measure.measure(runs, {"peak": probe}, 0.0, rounds())
    assert {len(values) for values in samples.values()} == {measure.LEAST_ROUNDS}
    changes = [a for a, b in zip(order, [*order[1:], None], strict=True) if a != b]
    assert {"probe", "exactrnn", "b"} == set(changes)
    assert len(changes) >= 2 * measure.LEAST_ROUNDS


def test_figures_and_table_of_a_row():
    samples = {"exactrnn": [1e-6, 2e-6, 3e-6], "slow": [4e-6] * 3, "slower": [8e-6] * 3}
    samples |= {"peak": [1e-3, 2e-3], "read": [1e-3, 1e-3]}
    figures = measure.summarise(TINY[0], samples, LIMITS)
    assert figures["best_rival"] == "slow"
    assert figures["ratio"] == pytest.approx(2)
    assert figures["figures"]["exactrnn"]["median_us"] == pytest.approx(2)
    assert figures["flops"] == 2 * 5 * 2 * 4 * 17 * (3 + 17)
    assert figures["peak_gflops"] == pytest.approx(1)
    seconds = limit.limit_seconds(TINY[0], 1e9, 1e9)
    assert figures["limit_us"] == pytest.approx(seconds * 1e6)
    assert figures["fraction"] == pytest.approx(seconds / 2e-6)
    table = format_table([figures], ["exactrnn", "slow", "slower", "absent"])
    lines = table.splitlines()
    assert "absent" not in table
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| lstm forward | 5, 2, 17 (I=3) | 2.00 | 4.00 | 8.00 |")
    alone = {key: [2e-6, 2e-6] for key in ("exactrnn", "peak", "read")}
    alone = measure.summarise(TINY[0], alone, LIMITS)
    assert alone["ratio"] is None
    assert "best rival" not in format_table([alone], ["exactrnn"])


def test_a_cell_beside_is_measured_in_the_same_rounds():
    row = Row("forward", "rnn", 5, 2, 8, 16, beside="lstm")
    assert row.name == Row("forward", "rnn", 5, 2, 8, 16).name
    found = measure_row(row, [exactrnn_alone()], 1, 0.01)
    assert list(found["figures"]) == ["exactrnn"]
    assert found["beside"] == "lstm"
    own = found["figures"]["exactrnn"]["median_us"]
    assert found["relative"] == pytest.approx(own / found["beside_us"])
    assert found["per_flop"] == pytest.approx(4 * found["relative"])
    samples = {name: [1.0, 1.0] for name in ("exactrnn", *LIMITS)}
    plain = measure.summarise(TINY[0], samples, LIMITS)
    lines = format_table([found, plain], ["exactrnn"]).splitlines()
    assert "| beside | time | per flop |" in lines[0]
    assert "| lstm |" in lines[2]
    assert "| – | – | – |" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_goals_of_every_cell_are_judged():
    def measured(cell, figures, **more):
        times = {name: {"median_us": time} for name, time in figures.items()}
        row = {"name": cell, "cell": cell, "T": 100, "B": 1, "H": 128}
        return row | {"figures": times, "beside": "lstm", "per_flop": 1.0} | more

    rows = [
        measured("lstm", {"exactrnn": 1.0, "torch_loop": 2.0}),
        measured("good", {"exactrnn": 1.0, "torch_loop": 20.0}),
        measured("slow", {"exactrnn": 4.0, "torch_loop": 20.0}, per_flop=1.5),
        measured("large", {"exactrnn": 4.0, "torch_loop": 8.0}, B=16),
        measured("clockwork", {"exactrnn": 4.0}, beside="rnn", relative=0.3),
        measured("mgu", {"exactrnn": 1.0, "torch_loop": 8.0}, per_flop=1.3),
        measured("sru", {"exactrnn": 1.0, "torch_loop": 7.0}, per_flop=1.31),
        measured("slstm", {"exactrnn": 1.0}, per_flop=1.2, B=16, H=256),
    ]
    flops, loop, clockwork, *defined = run.summarise_cells(rows).splitlines()
    assert flops.endswith("3 of 4 rows; not slow 1.50")
    assert loop.endswith("1 of 2 rows; not slow 5.00")
    assert clockwork.endswith("1 of 1 rows")
    assert defined[0].endswith("(100, 1, 128): 1 of 2 rows; not sru 1.31")
    assert defined[1].endswith("(100, 16, 256): 0 of 1 rows; not slstm 1.20")
    assert defined[2].endswith("8 times slower: 1 of 2 rows; not sru 7.00")


def row_with(own, other, row=TINY[0]):
    """Return a measured row with these medians in seconds."""
    samples = {"exactrnn": [own] * 2, "rival": [other] * 2}
    return measure.summarise(row, samples | {"peak": [1] * 2, "read": [1] * 2}, LIMITS)


def test_summary_has_means_and_names_what_misses():
    fast, slow = row_with(1e-6, 8e-6), row_with(4e-6, 2e-6, TINY[1])
    groups = {"both": [TINY[0].name, TINY[1].name], "none": ["unknown"]}
    groups["one"] = [TINY[0].name]
    both, one = format_summary([fast, slow], groups).splitlines()
    assert both.startswith("both: 2 rows; ")
    assert "best rival 2.00, rival 2.00; 1 behind: gru-forward" in both
    assert one.endswith("best rival 8.00, rival 8.00; 0 behind; 0 equal; 0 unclear")


def test_comparison_reads_what_run_writes(tmp_path, monkeypatch, capsys):
    about = dict.fromkeys(("processor", "isa", "threads", "versions"))
    paths = []
    for name, own in (("before", 1e-6), ("after", 3e-6)):
        paths.append(tmp_path / f"{name}.json")
        report = {"about": about, "rows": [row_with(own, 4e-6)]}
        paths[-1].write_text(json.dumps(report))
    before, after = (compare.read_rows(path)[0] for path in paths)
    [(name, *figures, verdict)] = compare.compare_rows(before, after)
    assert (name, verdict) == (TINY[0].name, "behind")
    assert figures == pytest.approx([1, 3, 3, 3])
    monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, paths)])
    assert compare.main() == 0
    assert "time 3.000, beside the rival 3.000" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--fail-above", "2.9"])
    assert compare.main() == 1


def test_rows_are_named_apart_and_can_be_chosen():
    assert len({row.name for row in shapes.ROWS}) == len(shapes.ROWS)
    by_name = run.parse_arguments(["--rows", "gru-step-1x1x*"]).selected
    assert [row.name for row in by_name] == ["gru-step-1x1x64", "gru-step-1x1x256"]
    by_group = run.parse_arguments(["--group", "g4"]).selected
    assert {row.task for row in by_group} == {"gradients"}
    assert run.parse_arguments(["--group", "all"]).selected == list(shapes.ROWS)
    assert run.parse_arguments([]).selected == list(shapes.GROUPS["readme"])
    options = run.parse_arguments(["--all-cells"])
    assert options.selected == list(shapes.GROUPS["cells"])
    assert options.rivals == [rivals.LOOP]
    some = run.parse_arguments(["--all-cells", "--rows", "mut1-*", "--rivals"])
    assert [row.cell for row in some.selected] == ["mut1"] * 4
    assert some.rivals == []


def test_rows_are_what_layers_can_compute():
    assert {row.cell for row in shapes.ROWS} <= set(MEASURABLE)
    assert {row.cell for row in shapes.GROUPS["cells"]} == set(MEASURABLE)
    assert set(PUBLIC) <= set(MEASURABLE)
    for row in (*shapes.ROWS, *shapes.GROUPS["cells"]):
        assert row.task in (*TASKS, TRAINING)
        assert (row.T, row.directions) == (1, 1) or row.task != "step"


@pytest.mark.parametrize(
    "arguments", [["--threads", "0"], ["--rows", "nothing"], ["--group", "g99"]]
)
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        run.parse_arguments(arguments)
    assert "error" in capsys.readouterr().err


def test_process_is_pinned_and_let_go(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    with measure.pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.sched_getaffinity(0) == before
    assert "OMP_NUM_THREADS" not in os.environ
    with measure.pinned(len(before) + 1) as cores:
        assert cores is None
        assert os.sched_getaffinity(0) == before


def test_a_session_reports_where_and_what():
    report = run_session([TINY[0]], Settings(seconds=0.01, rivals=()), tree=ROOT)
    about, [row] = report["about"], report["rows"]
    assert about["threads"] == 1
    assert list(about["versions"]) == ["exactrnn"]
    assert row["name"] == TINY[0].name
    assert 0 < row["fraction"] < 1
    assert f"{about['isa']}, 1 thread\n" in format_report(report)
    json.dumps(report)


@pytest.mark.parametrize("bar", [True, False], ids=["tqdm", "no tqdm"])
def test_progress_yields_every_row(bar, monkeypatch):
    if bar:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(show_progress(TINY)) == TINY


def test_a_folder_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_commit(tmp_path) == describe_commit(None)


def test_suite_runs_as_a_program(tmp_path):
    out, table = tmp_path / "out.json", tmp_path / "table.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py")]
    command += ["--rows", "lstm-forward-100x1x32", "--rivals", "--seconds", "0.01"]
    command += ["--json", str(out), "--table", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| lstm forward | 100, 1, 32 |" in done.stdout
    assert table.read_text() == done.stdout
    assert "- all: 1 row;" in done.stdout
    assert json.loads(out.read_text())["rows"][0]["H"] == 32


def test_plot_shows_every_row(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")
    import plot

    alone = {key: [1.0, 1.0] for key in ("exactrnn", "peak", "read")}
    rows = [
        row_with(1e-6, 4e-6),
        row_with(2e-6, 1e-6, TINY[1]),
        measure.summarise(TINY[2], alone, LIMITS),
    ]
    about = {"threads": 1, "isa": "avx2", "processor": "P", "versions": {"a": "1"}}
    runs = [{"about": about, "rows": rows}, {"about": about, "rows": rows[:1]}]
    lines, headings = picture.arrange_lines(runs)
    assert [heading for _, heading in headings] == [
        "lstm forward",
        "gru forward",
    ]
    assert lines[2].label == "6, 4, 17 (I=3), 2 layers, bidirectional, ragged"
    assert len(list(picture.drawn(lines, "ratio"))) == 3
    assert len(list(picture.drawn(lines, "fraction"))) == 4
    legend = picture.draw(runs).legends[0]
    shown = {handle.get_color() for handle in legend.legend_handles}
    assert shown == {*picture.AHEAD, picture.EQUAL, picture.BEHIND}
    paths = [tmp_path / f"{k}.json" for k in range(2)]
    for path, report in zip(paths, runs, strict=True):
        path.write_text(json.dumps(report))
    png = tmp_path / "plot.png"
    monkeypatch.setattr(sys, "argv", ["plot.py", *map(str, paths), "--png", str(png)])
    plot.main()
    assert png.read_bytes().startswith(b"\x89PNG")


def test_measuring_a_row_uses_every_contender():
    class Half:
        NAME = "half"

        @staticmethod
        def prepare(problem):
            ours = exactrnn_alone().prepare(problem)
            return rivals.Prepared(lambda: [ours.run(), ours.run()][1], ours.read)

    row = Row("forward", "lstm", 20, 2, 64, 64)
    found = measure_row(row, [exactrnn_alone(), Half], 1, 0.05)
    assert found["best_rival"] == "half"
    assert found["ratio"] > 1.1


def test_memory_is_measured_in_a_process_of_its_own():
    pytest.importorskip("tqdm")
    import memory

    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this processor's system has no /proc/self/clear_refs to write")
    small = memory.ask_process("lstm-gradients-100x1x32", "exactrnn")
    large = memory.ask_process("lstm-gradients-100x16x128", "exactrnn")
    kept = 4 * 100 * 16 * (4 + 2) * 128  # the cache alone: four gates, two states
    assert small < kept < large < 10 * kept
    assert memory.ask_process("lstm-gradients-100x1x32", "none such") is None
    assert [memory.format_rise(rise) for rise in (None, 2**21)] == ["–", "2.0"]


def test_sessions_are_measured_as_a_program(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "sessions.py")]
    command += ["--units", "8", "--sessions", "10", "--rounds", "2", "--cells", "gru"]
    done = subprocess.run(
        [*command, "--json", str(out)], capture_output=True, text=True, check=True
    )
    assert re.findall(r"^\| gru \| (\d+) \|", done.stdout, re.MULTILINE) == ["1", "10"]
    medians = json.loads(out.read_text())["gru 10"]
    assert set(medians) == {"rows", "full", "control", "all"}
    assert all(0 < seconds < 1 for seconds in medians.values())


def test_attention_is_measured_as_a_program(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "attention.py")]
    command += ["--units", "8", "--rounds", "1", "--cells", "gru", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = re.findall(r"^\| gru \| (\w+) \|", done.stdout, re.MULTILINE)
    assert rows == ["gradients", "tutorial", "step"]
    for row in json.loads(out.read_text()):
        assert 0 < row["ours"] < 1


@pytest.mark.usefixtures("settings_are_put_back")
def test_attention_and_ctc_are_groups_of_the_suite(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.json"
    small = functools.partial(run.attention.make_pairs, cells=("gru",), units=8)
    monkeypatch.setitem(run.PAIRED, "attention", small)
    shapes_of_ctc = functools.partial(run.ctc.make_pairs, shapes=((9, 2, 5, 3),))
    monkeypatch.setitem(run.PAIRED, "ctc", shapes_of_ctc)
    command = ["run.py", "--group", "attention", "ctc", "--quick", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    run.main()
    rows = [(row["cell"], row["task"]) for row in json.loads(out.read_text())]
    of_gru = [("gru", task) for task in ("gradients", "tutorial", "step")]
    assert rows == [*of_gru, ("ctc", "9x2x5x3")]
    assert capsys.readouterr().out.count("\n| ") == 5
    for more in (["g1"], ["ctc", "--rows", "x"], ["ctc", "--busy", "1"]):
        with pytest.raises(SystemExit):
            run.parse_arguments(["--group", "attention", *more])
        assert "not with" in capsys.readouterr().err


WRONG = [
    *(["--threads", number] for number in ("0", "1025", "x")),
    *(["--seconds", number] for number in ("0", "-1", "nan", "inf")),
    ["--seed", "-1"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_measured_is_refused_at_once(words, capsys):
    with pytest.raises(SystemExit):
        run.parse_arguments(words)
    assert f"argument {words[0]}: expected" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--table"])
def test_a_file_that_cannot_be_written_is_refused_at_once(option, tmp_path, capsys):
    for path in (tmp_path, tmp_path / "none" / "out.json"):
        with pytest.raises(SystemExit):
            run.parse_arguments([option, str(path)])
        assert f"argument {option}: {path}: " in capsys.readouterr().err
    new, device = tmp_path / "out.json", Path(os.devnull)
    for path in (new, device):
        parsed = run.parse_arguments([option, str(path)])
        assert getattr(parsed, option[2:]) == path
    assert not new.exists()


@pytest.mark.parametrize("script", MEASUREMENTS, ids=lambda path: path.stem)
def test_every_measurement_looks_at_its_files_before_it_begins(script):
    asked = r'add_argument\(\s*"--(?:json|table|png)",[^)]*'
    written = re.findall(asked, script.read_text())
    assert all("type=output," in option for option in written)
