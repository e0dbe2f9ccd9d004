"""What the programs in examples/ learn from, and that the test has none of it."""

import importlib.util

import numpy as np
import pytest
from variants import ROOT


def load_program(name, package):
    """Return a program as a module, if what it reads is installed."""
    pytest.importorskip(package, reason=f"needs {package}: examples/README.md")
    pytest.importorskip("matplotlib", reason="needs matplotlib: extra examples")
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/{name}.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


@pytest.mark.parametrize("name", ["captions", "handwriting"])
def test_digits_of_the_test_are_none_that_were_learnt(name):
    digits = load_program(name, "sklearn").read_digits(seed=3)
    learnt, kept = ({image.tobytes() for image, _ in part} for part in digits)
    assert [*map(len, digits)] == [1400, 397]
    assert len(learnt) == 1400
    assert not learnt & kept


def test_lines_hold_the_digits_that_their_labels_say():
    program = load_program("handwriting", "sklearn")
    digits = [(np.full((8, 8), label, "float32"), label) for label in range(1, 11)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        columns, labels = program.string_together(digits, rng, leaning=0.0)
        assert columns.shape[1] == program.HEIGHT
        seen = columns.max(axis=1)
        assert np.count_nonzero(seen) == 8 * len(labels)
        assert seen[seen > 0][::8].tolist() == labels
        assert 3 <= len(labels) <= 8


def test_captions_say_what_stands_where():
    program = load_program("captions", "sklearn")
    for places, digits, right in (
        ([0, 3, 5], [7, 2, 9], "a seven above a two , left of a nine"),
        ([1, 3], [8, 1], "an eight above and right of a one"),
        ([2, 7], [0, 8], "a zero above and right of an eight"),
        ([0, 4], [5, 6], "a five above and left of a six"),
        ([0, 6], [3, 4], "a three above a four"),
        ([6, 8], [3, 4], "a three left of a four"),
    ):
        assert program.as_text(program.describe(places, digits)) == right


def test_scenes_hold_the_digits_of_their_captions_in_order():
    program = load_program("captions", "sklearn")
    digits = [(np.full((8, 8), 1 + digit, "float32"), digit) for digit in range(10)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        cells, caption = program.make_scene(digits, 2, 4, rng)
        seen = cells.max(axis=(1, 2))
        places = np.flatnonzero(seen).tolist()
        found = [int(seen[place]) - 1 for place in places]
        assert program.describe(places, found) == caption
        assert 2 <= len(places) <= 4


def test_vowels_are_those_of_the_paper():
    program = load_program("vowels", "aeon")
    learnt, kept = (program.read_utterances(part) for part in ("TRAIN", "TEST"))
    assert [len(learnt), len(kept)] == [270, 370]
    steps = {len(frames) for frames, _ in learnt + kept}
    assert (min(steps), max(steps)) == (7, 29)
    assert {frames.shape[1] for frames, _ in learnt + kept} == {12}
    assert np.bincount([man for _, man in learnt]).tolist() == [0] + [30] * 9
    rng = np.random.default_rng(0)
    [(frames, men)] = program.string_together(kept, [4], rng, noise=0.0)
    rng = np.random.default_rng(0)
    chosen = [kept[k] for k in rng.integers(370, size=4)]
    assert men == [man for _, man in chosen]
    assert np.array_equal(frames, np.concatenate([own for own, _ in chosen]))
