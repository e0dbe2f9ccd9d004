"""benchmarks/tasks: the data are what the papers say, and the verdicts can fail.

Whether the orderings hold is for the tasks themselves, which take minutes; here each
runs for a moment.
"""

import functools
import json
import re
import sys
from dataclasses import replace

import adding
import anbn
import greff
import harness
import learning
import mackey_glass
import numpy as np
import pytest
import reber
import sequence_generation
import temporal_order
import vanishing

import exactrnn as xr

TASKS = [adding, temporal_order, reber, anbn, sequence_generation, greff, vanishing]
TASKS += [mackey_glass]


def generator(seed=0):
    return np.random.default_rng(seed)


def ignore(fraction):
    assert 0 <= fraction <= 1


# ---- adding


def test_adding_marks_one_step_in_each_half_and_asks_for_their_sum():
    x, target, lengths = adding.draw_batch(generator(), 21, 50)
    assert x.shape == (21, 50, 2)
    assert x.dtype == np.float32
    assert target.shape == (50, 1)
    assert lengths is None
    assert 0 <= x[..., 0].min() < 0.01 < 0.99 < x[..., 0].max() < 1
    assert set(np.unique(x[..., 1])) == {0, 1}
    assert (x[:10, :, 1].sum(axis=0) == 1).all()
    assert (x[10:, :, 1].sum(axis=0) == 1).all()
    assert np.allclose((x[..., 0] * x[..., 1]).sum(axis=0), target[:, 0], atol=1e-7)


def test_chance_of_adding_is_a_sixth_and_not_what_is_often_printed():
    target = adding.draw_batch(generator(), 4, 400_000).target
    squared = float(np.mean((target.astype(np.float64) - 1) ** 2))
    assert adding.CHANCE == 1 / 6
    assert abs(squared - 1 / 6) < 0.001
    assert abs(squared - 0.1767) > 0.005


# ---- temporal order


def order_of(x, length):
    """Read a sequence as a person would."""
    text = "".join(temporal_order.SYMBOLS[i] for i in x[:length].argmax(-1))
    assert re.fullmatch(r"E[abcdXY]+B", text)
    return re.sub("[^XY]", "", text)


@pytest.mark.parametrize("count", [2, 3])
def test_temporal_order_asks_for_the_order_of_x_and_y(count):
    x, target, lengths = temporal_order.draw_batch(generator(), 300, count)
    classes = [f"{n:0{count}b}".translate({48: "X", 49: "Y"}) for n in range(2**count)]
    assert x.shape == (110, 300, 8)
    assert (x.sum(axis=-1) == 1).all()
    assert set(lengths) == set(range(100, 111))
    for b in range(300):
        assert order_of(x[:, b], lengths[b]) == classes[target[b]]


def test_the_first_network_has_the_papers_size_and_begins_as_it_did():
    layer = temporal_order.first_network(3)
    readout = xr.train.Linear(layer.hidden_size, 4)
    assert layer.num_parameters + readout.num_parameters == 156
    weights = layer.state_dict()
    assert weights["bias_ih_l0"][:2].tolist() == [-2.0, -4.0]
    weights["bias_ih_l0"][:2] = 0
    for weight in weights.values():
        assert 0.05 < np.abs(weight).max() <= np.float32(0.1)


def test_every_class_of_temporal_order_is_as_likely():
    target = temporal_order.draw_batch(generator(), 40_000).target
    counts = np.bincount(target, minlength=4) / 40_000
    assert np.abs(counts - 1 / 4).max() < 0.01


# ---- Reber, against the grammar written as a regular expression

AFTER_X = "(?:XT*VP)*(?:S|XT*VV)"
INNER = re.compile(f"B(?:TS*X{AFTER_X}|PT*V(?:V|P{AFTER_X}))E")
OUTER = re.compile(r"B([TP])(B[TPSXV]+E)\1E")


def is_outer(string):
    match = OUTER.fullmatch(string)
    return bool(match and INNER.fullmatch(match[2]))


def test_reber_strings_are_accepted_by_an_automaton_of_another_making():
    numbers = generator()
    strings = [reber.draw_outer(numbers) for _ in range(2000)]
    assert all(map(is_outer, strings))
    assert len(set(strings)) > 300


@pytest.mark.parametrize("fault", ["first", "last", "inner", "loop"])
def test_broken_reber_strings_are_refused(fault):
    broken = {
        "first": "BTBTXSEPE",
        "last": "BPBPVVEPB",
        "inner": "BTBTSVVETE",
        "loop": "BTBTTXSETE",
    }[fault]
    assert not is_outer(broken)
    assert is_outer("BTBTXSETE")
    assert is_outer("BPBPTTVPXTVVEPE")


EDGES = [(s, way) for s, ways in enumerate(reber.INNER) for way in range(len(ways))]


@pytest.mark.parametrize(("state", "way"), EDGES)
def test_one_wrong_letter_in_the_grammar_is_noticed(state, way, monkeypatch):
    ways = list(reber.INNER[state])
    letter, target = ways[way]
    ways[way] = ("XS"[letter == "X"], target)
    faulty = [*reber.INNER[:state], ways, *reber.INNER[state + 1 :]]
    monkeypatch.setattr(reber, "INNER", faulty)
    numbers = generator()
    assert not all(is_outer(reber.draw_outer(numbers)) for _ in range(200))


def test_every_way_through_the_grammar_is_as_likely():
    numbers = generator()
    strings = [reber.draw_inner(numbers) for _ in range(20_000)]
    shares = [np.mean([s == known for s in strings]) for known in ("BTXSE", "BPVVE")]
    assert np.allclose(shares, 1 / 8, atol=0.01)
    choice = [reber.draw_outer(numbers)[1] == "T" for _ in range(20_000)]
    assert abs(np.mean(choice) - 1 / 2) < 0.01


def spell(x):
    return "".join(reber.SYMBOLS[i] for i in x.argmax(-1))


def test_streams_go_on_from_chunk_to_chunk():
    streams = reber.Streams(generator(), 3)
    chunks = [streams.next(7) for _ in range(30)]
    for b in range(3):
        text = "".join(spell(batch.x[:, b]) for batch, _ in chunks)
        targets = [reber.SYMBOLS[i] for batch, _ in chunks for i in batch.target[:, b]]
        marks = np.concatenate([marks[:, b] for _, marks in chunks])
        assert text[1:] == "".join(targets)[:-1]
        ends = [m.end() for m in re.finditer(r"E[TP]E", text)]
        strings = [text[i:j] for i, j in zip([0, *ends[:-1]], ends, strict=True)]
        assert len(strings) > 5
        assert all(map(is_outer, strings))
        # the target at t is the symbol at t + 1; the choice is the last but one
        assert {t for t in np.flatnonzero(marks) if t < ends[-1]} == {
            end - 3 for end in ends
        }


# ---- a^n b^n


def test_anbn_batches_spell_their_strings():
    x, target, lengths = anbn.make_batch([1, 3])
    assert x.shape == target.shape == (7, 2, 4)
    assert lengths.tolist() == [3, 7]
    for b, string in enumerate(["Sab", "Saaabbb"]):
        index = x[: lengths[b], b].argmax(-1)
        assert "".join(anbn.SYMBOLS[i] for i in index) == string


def test_anbn_wants_what_may_come_next():
    target = anbn.make_batch([1, 3]).target
    letters = np.array(list(anbn.SYMBOLS))
    for b, wanted in enumerate(["a ab T    ", "a ab ab ab b b T"]):
        named = ["".join(letters[step == 1]) for step in target[:, b]]
        assert " ".join(named) == wanted
    assert (target[3:, 0] == -1).all()
    assert set(np.unique(target[:, 1])) == {0, 1}


def test_anbn_accepts_the_possible_symbols_and_nothing_else():
    target = anbn.make_batch([2, 4]).target
    answer = np.where(target > 0, 0.1, -0.1)
    answer[5:, 0] = 7  # past the end
    assert anbn.accepted(answer, target).tolist() == [True, True]
    for t in range(9):
        for symbol in range(4):
            broken = answer.copy()
            broken[t, 1, symbol] *= -1
            assert anbn.accepted(broken, target).tolist() == [True, False]


def test_logistic_loss_is_the_cross_entropy_and_has_its_gradient():
    target = anbn.make_batch([1, 3]).target
    answer = 3 * generator().standard_normal(target.shape)
    value, gradient = anbn.logistic_loss(answer, target)
    p = 1 / (1 + np.exp(-answer))
    known = target >= 0
    right = np.where(target > 0, p, 1 - p)[known]
    assert abs(value + np.log(right).mean()) < 1e-6
    assert (gradient[~known] == 0).all()
    for place in [(0, 0, 1), (2, 0, 3), (6, 1, 0)]:
        sides = []
        for side in (1e-5, -1e-5):
            moved = answer.copy()
            moved[place] += side
            sides.append(anbn.logistic_loss(moved, target)[0])
        assert abs((sides[0] - sides[1]) / 2e-5 - gradient[place]) < 1e-6
    # never knowing anything costs ln 2, and a sure mistake stays finite
    assert abs(anbn.logistic_loss(0 * answer, target)[0] - np.log(2)) < 1e-6
    assert np.isfinite(anbn.logistic_loss(answer * 1e4, target)[0])


def test_longest_accepted_stops_at_the_first_failure():
    def counts_to(limit):
        def model(x, lengths):
            answer = anbn.make_batch((lengths - 1) // 2).target - 0.5
            return np.where(lengths[:, None] // 2 == limit + 1, -answer, answer), None

        return model

    for limit in (0, 1, 99, 100, 101, 237):
        assert anbn.longest_accepted(counts_to(limit), 400) == limit
    assert anbn.longest_accepted(counts_to(400), 400) == 400


# ---- sequences and series


def test_generated_target_has_its_four_waves_alone():
    target = sequence_generation.make_target(generator())
    assert target.shape == (320, 1, 1)
    assert np.abs(target).max() == 1
    power = np.abs(np.fft.rfft(target.ravel())) ** 2
    waves = [320 // period for period in sequence_generation.WAVES]
    assert power[waves].sum() > 0.999999 * power.sum()


def test_mackey_glass_does_not_depend_on_the_size_of_the_steps():
    coarse = mackey_glass.mackey_glass(generator(), 150, 10, settling=0)
    fine = mackey_glass.mackey_glass(generator(), 150, 20, settling=0)
    assert coarse.shape == (150,)
    assert np.abs(coarse - fine).max() < 1e-4


def test_mackey_glass_obeys_its_equation():
    steps = 50
    x = mackey_glass.mackey_glass(generator(), 120, steps, settling=0, every=1)
    t = np.arange(40 * steps, 119 * steps)
    delayed = x[t - mackey_glass.DELAY * steps]
    slope = (x[t + 1] - x[t - 1]) * steps / 2
    assert np.allclose(slope, 0.2 * delayed / (1 + delayed**10) - 0.1 * x[t], atol=1e-4)


def test_mackey_glass_has_settled():
    x = mackey_glass.mackey_glass(generator(3), 1000)
    assert 0.2 < x.min() < 0.6
    assert 1.2 < x.max() < 1.5


# ---- all of them


DRAWS = {
    "adding": lambda g: adding.draw_batch(g, 20, 5).x,
    "temporal_order": lambda g: temporal_order.draw_batch(g, 5).x,
    "reber": lambda g: reber.Streams(g, 4).next(30)[0].x,
    "sequence_generation": sequence_generation.make_target,
    "mackey_glass": lambda g: mackey_glass.mackey_glass(g, 50),
}


@pytest.mark.parametrize("name", DRAWS)
def test_equal_seeds_draw_equal_data(name):
    first, again, other = (DRAWS[name](generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("module", TASKS, ids=lambda module: module.__name__)
def test_quick_look_at_a_task(module, tmp_path, capsys):
    png, figures = tmp_path / "plot.png", tmp_path / "figures.json"
    arguments = ["--quick", "--seeds", "2", "--png", str(png), "--json", str(figures)]
    assert harness.main(module.TASK, arguments) == 0
    printed = capsys.readouterr().out
    assert f"paper   {module.TASK.claim}" in printed
    assert "too short a training to judge" in printed
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert content["task"] == module.__name__
    assert list(content["outcomes"]) == list(module.TASK.contestants)
    for runs in content["outcomes"].values():
        assert len(runs) == 2
        assert all(len(run["curve"]) >= 2 for run in runs)
    if "none" not in printed:
        assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("module", TASKS, ids=lambda module: module.__name__)
def test_both_axes_of_every_plot_are_labelled(module):
    figures = pytest.importorskip("matplotlib.figure")
    with xr.threads(1):
        outcomes = {
            name: [run(harness.Job(0, True, ignore))]
            for name, run in module.TASK.contestants.items()
        }
    figure = figures.Figure()
    module.TASK.draw(figure, outcomes)
    assert figure.axes
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_equal_seeds_train_equal_models():
    run = adding.TASK.contestants["LSTM"]
    with xr.threads(1):
        first, again, other = [run(harness.Job(s, True, ignore)) for s in (1, 1, 2)]
    assert first == again
    assert first.score != other.score


def test_gradients_of_the_model_are_those_of_its_loss():
    model = learning.Model(xr.LSTM(2, 3, dtype="float64", seed=0), 1, seed=1)
    x = generator().standard_normal((6, 4, 2))
    lengths = np.array([6, 1, 4, 2])
    batch = learning.Batch(x, generator(1).standard_normal((4, 1)), lengths)
    loss = xr.train.mean_squared_error
    _, gradients, _ = model.loss_and_gradients(batch, loss)
    for name, gradient in gradients.items():
        values = model.parameters()[name].reshape(-1)
        for k in range(0, values.size, 7):
            kept, sides = values[k], []
            for side in (1e-6, -1e-6):
                values[k] = kept + side
                sides.append(model.loss_and_gradients(batch, loss)[0])
            values[k] = kept
            slope = (sides[0] - sides[1]) / 2e-6
            assert abs(slope - gradient.reshape(-1)[k]) < 1e-8, name


# ---- verdicts


def outcome(score):
    return harness.Outcome(score, [(0, score), (1, score)], 5)


def task_with(scores, expected):
    """Return a task whose contestants have these scores."""

    def give(values, job):
        job.tick(1.0)
        return outcome(values[job.seed])

    contestants = {n: functools.partial(give, values) for n, values in scores.items()}
    return replace(adding.TASK, contestants=contestants, expected=expected)


GOOD, BAD = [0.01, 0.02, 0.03], [0.2, 0.3, 0.07]
LOW = harness.Ordering("good", "bad", factor=2)
FAULTS = {
    "one seed is too near": ({"good": GOOD, "bad": [0.2, 0.3, 0.05]}, LOW),
    "the wrong way round": ({"good": BAD, "bad": GOOD}, LOW),
    "not a number": ({"good": [0.01, np.nan, 0.03], "bad": BAD}, LOW),
    "above the limit": ({"good": GOOD}, harness.Limit("good", at_most=0.029)),
    "below the limit": ({"good": GOOD}, harness.Limit("good", at_least=0.011)),
    "no limit for nan": ({"good": [np.nan] * 3}, harness.Limit("good", at_most=1)),
    "means": (
        {"good": [0.1, 0.1, 0.4], "bad": [0.1, 0.1, 0.1]},
        harness.Ordering("good", "bad", of="mean"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_ordering_that_does_not_hold_fails_the_task(fault, tmp_path, capsys):
    scores, expected = FAULTS[fault]
    task = task_with(scores, [expected])
    assert harness.main(task, ["--png", str(tmp_path / "plot.png")]) == 1
    printed = capsys.readouterr()
    assert "FAILS   " in printed.out
    assert "adding: 1 of 1 orderings do not hold" in printed.err


HOLDING = [
    ({"good": GOOD, "bad": BAD}, LOW),
    ({"good": GOOD}, harness.Limit("good", at_most=0.03, at_least=0.01)),
    (
        {"good": [0.1, 0.1, 0.4], "bad": [0.2, 0.2, 0.2]},
        harness.Ordering("good", "bad", of="mean"),
    ),
]


@pytest.mark.parametrize(("scores", "expected"), HOLDING)
def test_ordering_that_holds_passes_the_task(scores, expected, tmp_path, capsys):
    task = task_with(scores, [expected])
    assert harness.main(task, ["--png", str(tmp_path / "plot.png")]) == 0
    assert "holds   " in capsys.readouterr().out


def test_everything_expected_names_contestants():
    for module in TASKS:
        names = set(module.TASK.contestants)
        for expectation in module.TASK.expected:
            used = {getattr(expectation, k, None) for k in ("name", "low", "high")}
            assert used - {None} <= names, module.__name__


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0"], "--seeds: expected at least 1, got 0"),
        (["--png", "nowhere/plot.png"], "there is no directory"),
    ],
)
def test_mistakes_on_the_command_line_are_named(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        harness.main(adding.TASK, arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_task_without_matplotlib_prints_all_but_the_plot(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    task = task_with({"good": GOOD, "bad": BAD}, [LOW])
    assert harness.main(task, ["--png", str(tmp_path / "plot.png")]) == 0
    assert "pip install 'exactrnn[plot]'" in capsys.readouterr().out
    assert not (tmp_path / "plot.png").exists()
