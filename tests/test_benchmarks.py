"""The benchmark's frame: every library computes the same, and the figures add up."""

import json

import compare
import pytest
import rivals
import run
from shapes import ROWS, Row

TINY = [
    Row("forward", "lstm", 5, 2, 3, 17),
    Row("forward", "gru", 5, 2, 17, 17, directions=2),
    Row("forward", "gru_before", 4, 1, 3, 16),
    Row("forward", "rnn", 5, 3, 4, 16, directions=2),
    Row("step", "lstm", 1, 1, 8, 8),
    Row("step", "gru", 1, 2, 8, 8),
]


@pytest.fixture(params=rivals.CONTENDERS, ids=lambda module: module.NAME)
def contender(request):
    try:
        request.param.version()
    except ImportError:
        pytest.skip(f"{request.param.NAME} is not installed (extra rivals)")
    return request.param


@pytest.mark.parametrize("row", TINY, ids=lambda row: row.name)
def test_library_computes_what_exactrnn_computes(contender, row):
    weights, x = run.make_problem(row)
    ours = rivals.exactrnn_rival.prepare(row, weights, x, 1)
    theirs = contender.prepare(row, weights, x, 1)
    if theirs is None:
        assert row.cell == "gru_before"
        return
    run.check_agreement(row, {"exactrnn": ours, contender.NAME: theirs})


def test_another_computation_is_not_timed():
    row = TINY[0]
    weights, x = run.make_problem(row)
    ours = rivals.exactrnn_rival.prepare(row, weights, x, 1)
    other = rivals.exactrnn_rival.prepare(row, weights, 2 * x, 1)
    with pytest.raises(AssertionError, match="other differs"):
        run.check_agreement(row, {"exactrnn": ours, "other": other})


def test_figures_and_table_of_a_row():
    samples = {"exactrnn": [1e-6, 2e-6, 3e-6], "slow": [4e-6] * 3, "slower": [8e-6] * 3}
    figures = run.summarise(TINY[0], samples)
    assert figures["best_rival"] == "slow"
    assert figures["ratio"] == pytest.approx(2)
    assert figures["figures"]["exactrnn"]["median_us"] == pytest.approx(2)
    assert figures["flops"] == 2 * 5 * 2 * 4 * 17 * (3 + 17)
    table = run.format_table([figures], ["exactrnn", "slow", "slower"]).splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert "| 2.00 | 4.00 | 8.00 | 2.00 |" in table[2]


def test_comparison_reads_what_run_writes(tmp_path):
    samples = {"exactrnn": [1e-6, 1e-6], "rival": [4e-6, 4e-6]}
    slower = {"exactrnn": [3e-6, 3e-6], "rival": [4e-6, 4e-6]}
    paths = []
    for name, values in (("before", samples), ("after", slower)):
        paths.append(tmp_path / f"{name}.json")
        rows = [run.summarise(TINY[0], values)]
        paths[-1].write_text(json.dumps({"about": {}, "rows": rows}))
    before, after = (compare.read_rows(path)[0] for path in paths)
    [(name, *figures)] = compare.compare_rows(before, after)
    assert name == TINY[0].name
    assert figures == pytest.approx([1, 3, 3, 3])


def test_rows_are_named_apart_and_can_be_chosen():
    assert len({row.name for row in ROWS}) == len(ROWS)
    chosen = run.parse_arguments(["--rows", "gru-step-*"]).selected
    assert [row.name for row in chosen] == ["gru-step-1x1x64"]
