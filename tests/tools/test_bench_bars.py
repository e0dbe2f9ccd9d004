"""Bars of ``exactrnn bench``: lengths, the terminal's width, what a row comes to."""

import re

import pytest

from exactrnn.bench import bars

WIDTHS = [20, 40, 80, 200]


def row_of(ratio, margin=1.02, fraction=0.5):
    times = {"exactrnn": 100.0, "torch": 100.0 * ratio, "onnxruntime": 1e4}
    return {
        "cell": "lstm",
        "task": "forward",
        "layers": 1,
        "directions": 1,
        "ragged": False,
        "dtype": "float32",
        "T": 5,
        "B": 2,
        "I": 3,
        "H": 4,
        "figures": {name: {"median_us": us} for name, us in times.items()},
        "ratio": ratio,
        "margin": margin,
        "fraction": fraction,
    }


def report_of(*rows):
    names = ("exactrnn", "torch", "onnxruntime")
    about = {"processor": "P", "isa": "avx2", "threads": 2}
    return {"about": {**about, "versions": dict.fromkeys(names, "1")}, "rows": rows}


def plain(text, name):
    del name
    return text


def painted(text, name):
    del text
    return f"<{name}>"


@pytest.mark.parametrize("width", WIDTHS)
def test_words_fit_the_terminal(width):
    rows = [row_of(2.0), row_of(0.5), row_of(1.01), row_of(1.1, margin=1.5)]
    report = report_of(*rows)
    report["about"] |= {
        "processor": "A processor of 64 cores and a long name",
        "seed": 7,
    }
    text = bars.format_bars(report, width, plain)
    assert max(map(len, text.splitlines())) <= max(width, bars.NARROWEST)
    assert text.count("of the machine's") + text.count("machine's\n") >= len(rows)


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_are_as_wide_as_the_terminal(width):
    text = bars.format_bars(report_of(row_of(2.0), row_of(0.5)), width, plain)
    drawn = [line for line in text.splitlines() if bars.BLOCK in line]
    longest = max(map(len, drawn))
    assert longest == max(width, bars.NARROWEST)


def test_bars_are_as_long_as_the_times():
    for part in (0.01, 0.25, 0.5, 1.0):
        bar = bars.draw_bar(part, 100)
        assert len(bar) == pytest.approx(100 * part, abs=0.5)
    assert bars.draw_bar(1e-9, 100) == bars.HALF


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (row_of(2.0), "2.00 times as fast as the best rival; 50% of the machine's"),
        (row_of(0.5), "behind: 0.50 times"),
        (row_of(1.01), "equal: 1.01"),
        (row_of(1.1, margin=1.5), "unclear (1.10)"),
        (row_of(2.0, fraction=1.2), "100% of the machine's limit"),
        ({**row_of(2.0), "ratio": None}, "50% of the machine's limit"),
    ],
)
def test_a_row_says_what_it_comes_to(row, words):
    assert words in bars.judge(row)


def test_the_own_bar_has_a_colour():
    text = bars.format_bars(report_of(row_of(2.0)), 80, painted)
    assert re.search(r"exactrnn .*<green>", text)
    assert text.count("<green>") == 1


def test_a_machine_that_others_use_is_said():
    calm, rough = row_of(2.0), row_of(2.0, margin=1.9)
    assert bars.warn_if_rough(report_of(calm)) == ""
    assert "In 1 of 2 rows" in bars.warn_if_rough(report_of(calm, rough))
