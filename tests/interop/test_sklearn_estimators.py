"""`exactrnn.sklearn`: scikit-learn's manners, forms of data, bits of what is fitted."""

import copy
import hashlib
import pickle
import re
import warnings

import numpy as np
import pytest
from arrays import draw, same_bits
from variants import ISAS

pytest.importorskip("sklearn", reason="needs scikit-learn: extra sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import exactrnn as xr
from exactrnn.interop.sklearn import _base, _model, _sequences
from exactrnn.layers import NETWORKS
from exactrnn.sklearn import (
    Forecaster,
    SequenceClassifier,
    SequenceRegressor,
)

N, I = 24, 2
LENGTHS = [3 + k % 5 for k in range(N)]
SMALL = {"hidden_size": 6, "epochs": 3, "batch_size": 8, "random_state": 0}
LISTS = [draw(length, I, dtype="float64", seed=k) for k, length in enumerate(LENGTHS)]
LABELS = np.array(["no", "yes"])[[int(x[-1, 0] > 0) for x in LISTS]]
NUMBERS = np.array([x[-1].sum() for x in LISTS])
KINDS = {"classifier": SequenceClassifier, "regressor": SequenceRegressor}
TARGETS = {"classifier": LABELS, "regressor": NUMBERS}
both = pytest.mark.parametrize("kind", KINDS)


def make(kind, **options):
    return KINDS[kind](**{**SMALL, **options})


def fitted(kind, X=LISTS, y=None, sample_weight=None, **options):
    y = TARGETS[kind] if y is None else y
    return make(kind, **options).fit(X, y, sample_weight)


def answer(estimator, X=LISTS):
    """Return what an estimator says as numbers."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(X)
    return estimator.predict(X)


def digest(estimator):
    """Return the SHA-256 of the fitted weights."""
    found = hashlib.sha256()
    for name, array in estimator.model_.state_dict().items():
        found.update(name.encode() + array.tobytes())
    return found.hexdigest()


# scikit-learn's own checks

WEIGHTS = "training goes by batches in an order of its own: two copies are not weight 2"
STEPS = "predict takes a horizon, not data"
FAILING = {
    "SequenceClassifier": {"check_sample_weight_equivalence_on_dense_data": WEIGHTS},
    "SequenceRegressor": {"check_sample_weight_equivalence_on_dense_data": WEIGHTS},
    "Forecaster": {
        "check_n_features_in_after_fitting": STEPS,
        "check_estimators_dtypes": STEPS,
        "check_dtype_object": STEPS,
        "check_estimators_nan_inf": STEPS,
        "check_estimators_pickle": STEPS,
        "check_f_contiguous_array_estimator": STEPS,
        "check_methods_sample_order_invariance": STEPS,
        "check_methods_subset_invariance": STEPS,
        "check_dict_unchanged": STEPS,
        "check_fit_idempotent": STEPS,
        "check_fit2d_predict1d": STEPS,
        "check_fit2d_1sample": "a series has window + horizon steps at least",
        "check_fit1d": "a series may be one number per step",
    },
}
"""Checks of scikit-learn that cannot hold, and why; docs/sklearn.md has them too."""
CHECKED = (
    SequenceClassifier(hidden_size=8, epochs=12, lr=0.03, random_state=0),
    SequenceRegressor(hidden_size=8, epochs=25, lr=0.03, random_state=0),
    Forecaster(window=2, hidden_size=4, epochs=1, random_state=0),
)


@pytest.mark.parametrize("estimator", CHECKED, ids=lambda e: type(e).__name__)
def test_scikit_learns_checks_pass_but_for_those_named(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks fit columns as labels and the like
        found = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {check["check_name"] for check in found if check["status"] == "failed"}
    assert failed == FAILING[type(estimator).__name__].keys()
    assert sum(check["status"] == "passed" for check in found) > 25


# Forms of data


def forms():
    """Return equal sequences of one value in every form that is taken."""
    table = draw(N, 4, dtype="float64", seed=1)
    cube = table[:, :, None]
    as_objects = np.empty(N, object)
    as_objects[:] = [*cube]
    return {
        "table": table,
        "nested": table.tolist(),
        "cube": cube,
        "nested cube": cube.tolist(),
        "flat list": [*table],
        "list": [*cube],
        "tuple": tuple(cube),
        "objects": as_objects,
        "Fortran": np.asfortranarray(cube),
    }


@pytest.mark.parametrize("form", forms())
def test_every_form_of_the_same_data_gives_the_same_bits(form):
    labels = np.arange(N) % 2
    X = forms()[form]
    ours = fitted("classifier", X, labels, epochs=1)
    plain = fitted("classifier", forms()["cube"], labels, epochs=1)
    assert digest(ours) == digest(plain)
    assert same_bits(answer(ours, X), answer(plain, forms()["cube"]))


def test_frames_are_tables_and_their_columns_have_names():
    pandas = pytest.importorskip("pandas", reason="needs pandas: extra test")
    frame = pandas.DataFrame(forms()["table"], columns=list("abcd"))
    labels = pandas.Series(np.arange(N) % 2)
    ours = fitted("classifier", frame, labels, epochs=1)
    assert ours.feature_names_in_.tolist() == [*"abcd"]
    assert ours.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame[["b", "a", "c", "d"]])
    ours.fit(LISTS, LABELS)
    assert not hasattr(ours, "feature_names_in_")
    frames = [pandas.DataFrame(x) for x in LISTS]
    assert digest(fitted("classifier", frames)) == digest(fitted("classifier"))


def test_tensors_are_sequences_and_series_too():
    torch = pytest.importorskip("torch", reason="needs torch: extra torch")
    tensors = [torch.from_numpy(x) for x in LISTS]
    assert digest(fitted("classifier", tensors)) == digest(fitted("classifier"))
    cube = torch.from_numpy(forms()["cube"])
    plain = fitted("regressor", forms()["cube"], NUMBERS)
    assert same_bits(plain.predict(cube), plain.predict(forms()["cube"]))


def test_axis_order_swaps_steps_and_values():
    cube = draw(N, 4, I, dtype="float64")
    labels = np.arange(N) % 2
    plain = fitted("classifier", cube, labels)
    swapped = np.ascontiguousarray(cube.transpose(0, 2, 1))
    for X in (swapped, [*swapped]):
        other = fitted("classifier", X, labels, axis_order="NIT")
        assert digest(other) == digest(plain)
        assert same_bits(answer(other, X), answer(plain, cube))


@both
def test_an_answer_does_not_depend_on_who_is_asked_beside(kind, monkeypatch):
    estimator = fitted(kind)
    whole = answer(estimator)
    alone = np.concatenate([answer(estimator, [x]) for x in LISTS])
    assert same_bits(whole, alone)
    monkeypatch.setattr(_base, "NUMBERS_AT_ONCE", 100)  # some rows at a time
    assert same_bits(whole, answer(estimator))


BAD_DATA = {
    "X[1]: expected [T, I] or [T]": [LISTS[0], np.zeros((0, I))],
    "X[2]: expected I=2": [*LISTS[:2], np.zeros((3, 1))],
    "X[0]: expected [T, I]": [np.zeros((2, 2, 2)), LISTS[0]],
    "X contains NaN": [LISTS[0], LISTS[1] * np.nan],
    "X contains infinity or a value too large": np.full((4, 3, 1), np.inf),
    "Expected 2D array, got 1D array": np.zeros(4),
    "X: expected [n, T, I]": np.zeros((4, 0, 1)),
    "Complex data not supported": [LISTS[0] * 1j, LISTS[1]],
    "could not convert string": [np.array([["a", "b"]]), LISTS[0]],
    "inconsistent numbers of samples": LISTS[:5],
}


@pytest.mark.parametrize("words", BAD_DATA)
def test_data_that_are_none_are_refused_and_nothing_has_changed(words):
    estimator = fitted("classifier")
    before = pickle.dumps(vars(estimator))
    X = BAD_DATA[words]
    y = LABELS if "inconsistent" in words else LABELS[: len(X)]
    with pytest.raises(ValueError, match=re.escape(words)):
        estimator.fit(X, y)
    assert pickle.dumps(vars(estimator)) == before


def test_sequences_of_another_width_are_refused_by_predict():
    estimator = fitted("classifier")
    with pytest.raises(ValueError, match=r"X: expected sequences of I=2 .* got 1"):
        estimator.predict([x[:, :1] for x in LISTS])
    table = fitted("classifier", forms()["table"], np.arange(N) % 2)
    with pytest.raises(ValueError, match="X has 3 features, but"):
        table.predict(forms()["table"][:, :3])
    assert table.predict(forms()["table"][:, :3, None]).shape == (N,)


@pytest.mark.parametrize("name", ["X", "y"])
def test_numbers_beyond_the_dtype_are_refused(name):
    huge = {"X": [1e300 * x for x in LISTS], "y": 1e300 * NUMBERS}
    given = {"X": LISTS, "y": NUMBERS} | {name: huge[name]}
    estimator = make("regressor", standardize=False)
    with pytest.raises(
        ValueError, match=rf"Input {name} .* too large for dtype\('floa"
    ):
        estimator.fit(**given)
    assert not hasattr(estimator, "model_")
    with pytest.raises(NotFittedError):
        estimator.predict(LISTS)


# Parameters


STRANGE = (object(), "strange", -1, 0.5j, [[]])


@both
def test_every_parameter_that_is_none_is_refused_by_its_name(kind):
    for name in make(kind).get_params():
        for value in STRANGE:
            estimator = make(kind, **{name: value})
            if (name, value) == ("n_jobs", -1):
                continue  # all processors
            with pytest.raises((TypeError, ValueError)) as error:
                estimator.fit(LISTS, TARGETS[kind])
            assert name in str(error.value), value
            assert not vars(estimator).keys() - estimator.get_params().keys()


@both
@pytest.mark.parametrize("share", [0, 1, -0.5, "half"])
def test_share_that_is_held_out_is_between_none_and_all(kind, share):
    with pytest.raises((TypeError, ValueError), match="validation_fraction: expected"):
        fitted(kind, validation_fraction=share)


OPTIONS = {
    "among nonlinearity": ("rnn", {"peepholes": "i"}),
    "expected options among": ("lstm", {"hidden_size": 4}),
    "peepholes: expected": ("lstm", {"peepholes": "x"}),
    "expected a mapping": ("lstm", [1]),
    "cell: expected one of 'gru'": ("elman", None),
}


@pytest.mark.parametrize("words", OPTIONS)
def test_options_of_a_cell_that_are_none_are_refused(words):
    cell, options = OPTIONS[words]
    with pytest.raises((TypeError, ValueError)) as error:
        fitted("classifier", cell=cell, cell_options=options)
    assert words in str(error.value)


@both
@pytest.mark.parametrize("make_copy", [copy.deepcopy, pickle.dumps])
def test_a_copy_answers_and_goes_on_as_the_original(kind, make_copy):
    estimator = fitted(kind, dropout=0.5, num_layers=2)
    twin = make_copy(estimator)
    twin = pickle.loads(twin) if isinstance(twin, bytes) else twin
    assert same_bits(answer(twin), answer(estimator))
    for one in (estimator, twin):
        one.partial_fit(LISTS, TARGETS[kind])
    assert digest(twin) == digest(estimator)


def test_a_clone_has_the_parameters_and_nothing_else():
    cell = xr.cells.MGU()
    estimator = fitted("classifier", cell=cell, cell_options={"bias": False})
    twin = clone(estimator)
    assert not hasattr(twin, "model_")
    ours, theirs = estimator.get_params(), twin.get_params()
    assert isinstance(theirs.pop("cell"), xr.cells.MGU)
    assert ours.pop("cell") is cell
    assert ours == theirs
    assert digest(twin.fit(LISTS, LABELS)) == digest(estimator)


def test_searches_and_pipelines_take_lists_of_sequences():
    halved = FunctionTransformer(lambda X: [x / 2 for x in X])
    grid = {"sequenceclassifier__cell": ["gru", "rnn"]}
    search = GridSearchCV(make_pipeline(halved, make("classifier")), grid, cv=2)
    search.fit(LISTS, LABELS)
    assert {*search.predict(LISTS)} <= {*LABELS}
    assert search.best_params_["sequenceclassifier__cell"] in ("gru", "rnn")
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    found = cross_val_predict(make("regressor"), LISTS, NUMBERS, cv=3, n_jobs=1)
    assert found.shape == (N,)


# Bits


@both
def test_neither_threads_nor_instruction_sets_show_in_what_is_fitted(kind):
    options = {"hidden_size": 48, "batch_size": 24, "epochs": 2}
    found = {digest(fitted(kind, n_jobs=n, **options)) for n in (1, 2, 3, -1)}
    for isa in ISAS:
        with xr.use_isa(isa):
            found.add(digest(fitted(kind, **options)))
    assert len(found) == 1
    assert digest(fitted(kind, **options, random_state=1)) not in found


@both
def test_every_random_number_comes_from_random_state(kind):
    first = {digest(fitted(kind, lr=0.0, random_state=k)) for k in range(3)}
    assert len(first) == 3  # weights that training leaves as they were drawn
    orders = set()
    for k in range(3):
        estimator = fitted(kind, lr=0.0, random_state=k, validation_fraction=0.25)
        examples = estimator._examples(
            estimator._read(LISTS, first=False), TARGETS[kind], None
        )
        orders.add((estimator._seeds.order, tuple(estimator._split(examples, 0.25)[1])))
    assert len(orders) == 3
    once = np.random.RandomState(0)
    pairs = [digest(fitted(kind, random_state=once)) for _ in range(2)]
    assert pairs[0] != pairs[1]  # the generator goes on


def test_n_jobs_is_the_number_of_threads(monkeypatch):
    asked = []

    class Recorded(xr.threads):
        def __init__(self, n):
            asked.append(n)
            super().__init__(n)

    monkeypatch.setattr(_base.engine, "threads", Recorded)
    estimator = fitted("classifier", n_jobs=2)
    estimator.set_params(n_jobs=1).predict(LISTS)
    estimator.set_params(n_jobs=None).predict(LISTS)
    assert asked == [2, 1]


@both
def test_as_many_partial_fits_as_epochs_are_a_fit(kind):
    options = {"dropout": 0.3, "num_layers": 2}
    whole, pieces = fitted(kind, **options), make(kind, **options)
    for _ in range(SMALL["epochs"]):
        pieces.partial_fit(LISTS, TARGETS[kind])
    assert digest(pieces) == digest(whole)
    assert same_bits(pieces.history_.loss, whole.history_.loss)
    assert same_bits(answer(pieces), answer(whole))


@both
def test_a_dtype_counts_from_the_next_fit(kind):
    estimator, twin = fitted(kind), fitted(kind)
    estimator.set_params(dtype="float64")
    own = np.linspace(1, 2, N)
    for one in (estimator, twin):
        one.partial_fit(LISTS, TARGETS[kind], sample_weight=own)
    assert digest(estimator) == digest(twin)
    again = estimator.fit(LISTS, TARGETS[kind], own)
    wanted = fitted(kind, sample_weight=own, dtype="float64")
    assert digest(again) == digest(wanted)


def test_partial_fit_knows_classes_that_come_later():
    estimator = make("classifier")
    first = LABELS == "no"
    some = [x for x, chosen in zip(LISTS, first, strict=True) if chosen]
    estimator.partial_fit(some, LABELS[first], classes=["yes", "no"])
    assert estimator.classes_.tolist() == ["no", "yes"]
    estimator.partial_fit(LISTS, LABELS)
    with pytest.raises(ValueError, match=r"y: expected classes among .* got \['new'\]"):
        estimator.partial_fit(LISTS, ["new"] * N)
    estimator.set_params(class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight: expected a dict or None"):
        estimator.partial_fit(LISTS, LABELS)


# Weights


@both
def test_weight_of_zero_is_as_if_a_sequence_were_not_there(kind):
    weights = np.arange(N) % 3 > 0
    kept = [x for x, w in zip(LISTS, weights, strict=True) if w]
    scaled = [x * (1 if w else 1e6) for x, w in zip(LISTS, weights, strict=True)]
    without = fitted(kind, kept, TARGETS[kind][weights])
    ignoring = fitted(kind, scaled, sample_weight=weights)
    assert digest(ignoring) == digest(without)
    assert same_bits(answer(ignoring), answer(without))


def test_weights_of_classes_are_those_of_their_sequences():
    by_class = {"no": 1.0, "yes": 4.0}
    weights = np.array([by_class[label] for label in LABELS])
    ours = fitted("classifier", class_weight=by_class)
    assert digest(ours) == digest(fitted("classifier", sample_weight=weights))
    own = np.linspace(0.5, 2, N)
    joint = fitted("classifier", class_weight=by_class, sample_weight=own)
    both_ways = fitted("classifier", sample_weight=(weights * own).astype("float32"))
    assert digest(joint) == digest(both_ways)
    counts = {label: np.sum(label == LABELS) for label in by_class}
    balanced = np.array([N / (2 * counts[label]) for label in LABELS])
    ours = fitted("classifier", class_weight="balanced")
    assert digest(ours) == digest(fitted("classifier", sample_weight=balanced))


def test_weights_that_are_none_are_refused():
    for weights in ([-1.0] * N, [1.0], np.ones((N, 1)), [np.nan] * N, [0.0] * N):
        with pytest.raises(ValueError, match="sample_weight"):
            fitted("classifier", sample_weight=weights)


# Training


@both
def test_what_is_held_out_ends_training_and_gives_the_best_weights(kind):
    estimator = fitted(kind, validation_fraction=0.25, patience=2, epochs=60, lr=0.1)
    history = estimator.history_
    assert history.stopped == "patience"
    assert history.best == np.argmin(history.validation) == len(history.loss) - 3
    assert history.metrics.keys() == ({"accuracy"} if kind == "classifier" else set())
    shorter = {"validation_fraction": 0.25, "epochs": int(history.best) + 1, "lr": 0.1}
    assert digest(estimator) == digest(fitted(kind, **shorter))


def test_what_is_held_out_has_the_shares_of_the_classes():
    y = np.array([0] * 20 + [1] * 4)
    for seed in range(5):
        estimator = fitted("classifier", y=y, random_state=seed, epochs=1)
        examples = _sequences.Examples(estimator._read(LISTS, first=False), y)
        kept, held = estimator._split(examples, 0.25)
        assert sorted([*kept, *held]) == [*range(N)]
        assert np.bincount(y[held]).tolist() == [5, 1]


def test_the_history_goes_on_after_fit():
    estimator = fitted("classifier", validation_fraction=0.25)
    estimator.partial_fit(LISTS, LABELS)
    history = estimator.history_
    assert len(history.loss) == len(history.metrics["accuracy"]) == 4
    assert np.isnan(history.validation).tolist() == [False] * 3 + [True]


def test_interrupt_leaves_an_estimator_that_answers(monkeypatch):
    estimator, calls = make("classifier"), []
    loss = estimator._loss

    def interrupted(*given, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(*given, **options)

    monkeypatch.setattr(estimator, "_loss", interrupted)
    with pytest.warns(UserWarning, match="interrupted by the user"):
        estimator.fit(LISTS, LABELS)
    assert estimator.history_.stopped == "interrupt"
    assert len(estimator.predict(LISTS)) == N


def test_defaults_learn_which_of_two_came_first():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    X = []
    for label in labels:
        x = 0.1 * rng.standard_normal((rng.integers(8, 20), 2))
        early, late = sorted(rng.choice(len(x), 2, replace=False))
        x[early, label], x[late, 1 - label] = 3, 3
        X.append(x)
    estimator = SequenceClassifier(random_state=0).fit(X[:80], labels[:80])
    assert estimator.score(X[80:], labels[80:]) > 0.9


def test_a_regressor_learns_targets_in_units_of_their_own():
    X = draw(80, 6, 1, dtype="float64")
    y = np.stack([1e6 + 1e3 * X.sum((1, 2)), 1e-3 * X[:, -1, 0]], axis=1)
    for loss in ("squared", "absolute", "huber"):
        estimator = SequenceRegressor(loss=loss, random_state=0).fit(X, y)
        assert estimator.predict(X).shape == (80, 2)
        assert estimator.score(X, y) > 0.9
    with pytest.raises(ValueError, match=r"y: expected O=2 numbers .* got 1"):
        estimator.partial_fit(X, y[:, :1])
    with pytest.raises(ValueError, match="loss: expected one of"):
        SequenceRegressor(loss="log").fit(X, y)


# The model


@pytest.mark.parametrize("cell", [*NETWORKS, "MGU"])
def test_every_network_is_a_cell_of_an_estimator(cell):
    given = xr.cells.MGU() if cell == "MGU" else cell
    estimator = fitted("classifier", cell=given, epochs=1, bidirectional=True)
    layer = estimator.model_.layer
    assert cell == "MGU" or isinstance(layer, NETWORKS[cell].kind)
    found = estimator.predict_proba(LISTS)
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-5
    logs = estimator.predict_log_proba(LISTS)
    assert np.abs(np.exp(logs) - found).max() < 1e-6


@pytest.mark.parametrize("directions", ["ahead", "bidirectional", "reverse"])
def test_answers_are_read_where_each_direction_ends(directions):
    ways = {} if directions == "ahead" else {directions: True}
    layer = xr.GRU(I, 4, dtype="float64", seed=1, **ways)
    model = _model.SequenceModel(layer, 3)
    padded = _sequences.Padded(draw(6, 2, I, dtype="float64"), np.array([6, 4]))
    _, state = layer(padded.x, lengths=padded.lengths)  # of each direction at its end
    ends = np.concatenate([*state], axis=-1)
    assert same_bits(model(padded), model.readout(ends))


@pytest.mark.parametrize("lengths", [None, [5, 1, 3]], ids=("even", "ragged"))
def test_gradients_of_the_model_are_central_differences(lengths):
    layer = xr.LSTM(I, 3, 2, bidirectional=True, dtype="float64", seed=1)
    model = _model.SequenceModel(layer, 2)
    lengths = None if lengths is None else np.array(lengths)
    padded = _sequences.Padded(draw(5, 3, I, dtype="float64"), lengths)
    dy = draw(3, 2, dtype="float64", seed=1)
    _, cache = model.forward(padded)
    found = model.backward(cache, dy).weights
    chosen = {
        "layer": ("weight_ih_l1", "weight_hh_l0_reverse"),
        "readout": ("weight", "bias"),
    }
    for part, names in chosen.items():
        for name in names:
            with model.editing() as weights:
                array = weights[f"{part}.{name}"]
                array.flat[1] += 1e-6
            above = np.sum(model(padded) * dy)
            with model.editing() as weights:
                array = weights[f"{part}.{name}"]
                array.flat[1] -= 2e-6
            slope = (above - np.sum(model(padded) * dy)) / 2e-6
            assert abs(slope - found[part].weights[name].flat[1]) < 1e-7


def test_the_layer_streams_what_the_estimator_answers():
    estimator = fitted("classifier")
    mean, deviation = estimator.scaling_
    stream = estimator.model_.layer.stream()
    for step in ((LISTS[4] - mean) / deviation).astype("float32"):
        h = stream.step(step[None])
    logits = estimator.model_.readout(h)
    assert same_bits(logits, estimator._answers(LISTS[4:5]))
