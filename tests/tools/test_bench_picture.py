"""Pictures of benchmarks: whatever was measured, no text lies on another one."""

import itertools

import pytest

from exactrnn.bench import picture

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")

SIZES = {"T": 100, "B": 8, "I": 64, "H": 64, "layers": 1, "directions": 1}
LONG = {"T": 1000, "I": 1024, "H": 1000, "layers": 12, "directions": 2, "ragged": True}
RATIOS = {
    "usual": (0.8, 1.01, 1.3, 2.2, 8.0, 4.1),
    "large": (120, 350, 0.9, 1.2, 45, 1800),
    "huge": (25000.0, 3.0, None, 1.0, 1.0, 2e5),
    "small": (0.01, 0.2, 1, 1.1, 0.9, 0.02),
    "tiny": (0.0004, 0.2, None, 1.1, 0.9, 0.02),
    "wide": (0.002, 900, 1, 3, 0.5, 30),
    "below": (0.02, 0.1, 0.5, 1, 1.9, 1),
    "one": (1.0,) * 6,
}


def report_of(ratios, threads=1, libraries=3, **sizes):
    rows = [
        {
            "name": f"row {k}",
            "cell": ("lstm", "gru")[k // 3],
            "task": "forward",
            "dtype": "float64",
            "ragged": False,
            "ratio": ratio,
            "fraction": 0.3,
            "margin": 1.02,
            **SIZES,
            **sizes,
        }
        for k, ratio in enumerate(ratios)
    ]
    about = {"threads": threads, "isa": "avx512", "processor": "A Processor 9999"}
    about["versions"] = {f"library{k}": "1.2.3+cpu" for k in range(libraries)}
    return {"rows": rows, "about": about}


def boxes(texts):
    return [(text.get_text(), text.get_window_extent()) for text in texts]


def check_texts(runs):
    """Raise if a text of a picture lies on another one, or is cut off."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with rc_context(picture.STYLE):
        figure = picture.draw(runs)
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    ends = [text for text in left.texts if text.get_ha() == "left"]
    scale = left.get_xticklabels()
    rows = [*left.get_yticklabels(), *(set(left.texts) - {*ends})]
    texts = [*ends, *scale, *rows, *figure.texts, *right.get_xticklabels()]
    found = boxes(text for text in texts if text.get_text())
    for (one, box), (other, other_box) in itertools.combinations(found, 2):
        assert not box.overlaps(other_box), (one, other)
    for text, box in found:
        assert figure.bbox.x0 <= box.x0, text
        assert box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0, text
    for text, box in boxes(ends):
        assert box.x1 < right.bbox.x0, text
    names = [text.get_text() for text in scale]
    assert "1×" in names
    assert 2 <= len(names) <= 12


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("name", RATIOS)
def test_no_text_of_a_picture_lies_on_another(name, runs):
    reports = [
        report_of([r and r * (1 + k / 5) for r in RATIOS[name]], 1 + k)
        for k in range(runs)
    ]
    check_texts(reports)


def test_long_names_and_many_libraries_have_room():
    check_texts([report_of(RATIOS["large"], libraries=8, **LONG)])


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.00042, "0.0004"),
        (0.056, "0.06"),
        (0.5, "0.50"),
        (1.0, "1.00"),
        (9.876, "9.88"),
        (12.34, "12.3"),
        (345.6, "346"),
        (12345.6, "12,346"),
    ],
)
def test_ratios_have_as_many_digits_as_say_something(ratio, text):
    assert picture.spell(ratio) == text
