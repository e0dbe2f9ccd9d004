"""exactrnn.sklearn: what is given wrongly is named, with what was expected and came."""

import re

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: extra sklearn")

from scipy import sparse

from exactrnn.sklearn import Forecaster, SequenceClassifier, SequenceRegressor

N, T, I = 6, 5, 2
X = np.random.default_rng(0).standard_normal((N, T, I))
LABELS, NUMBERS = ["a", "b"] * 3, np.arange(N) / 2
SERIES = np.sin(np.arange(60) / 5)
SMALL = {"hidden_size": 3, "epochs": 1, "random_state": 0}
NO_NUMBERS = (object(), {}, (k for k in range(N)), "six")


def classifier(**options):
    return SequenceClassifier(**SMALL, **options)


def regressor():
    return SequenceRegressor(**SMALL)


def forecaster(**options):
    return Forecaster(window=4, **SMALL, **options)


def with_class_weight(value):
    classifier(class_weight=value).fit(X, LABELS)


def with_class_weight_in_pieces(value):
    classifier(class_weight=value).partial_fit(X, LABELS)


def with_classes(value):
    classifier().partial_fit(X, LABELS, classes=value)


def with_classes_again(value):
    classifier().partial_fit(X, LABELS).partial_fit(X, LABELS, classes=value)


def with_sample_weight(value):
    for estimator, y in ((classifier(), LABELS), (regressor(), NUMBERS)):
        estimator.fit(X, y, value)


def with_quantiles(value):
    forecaster(quantiles=value).fit(SERIES)


def with_target(value):
    forecaster(target=value).fit(SERIES)


def with_sequences(value):
    classifier().fit(value, LABELS)


def with_sequences_to_answer(value):
    regressor().fit(X, NUMBERS).predict(value)


def with_series(value):
    forecaster().fit(value)


def with_labels(value):
    classifier().fit(X, value)


def with_numbers(value):
    regressor().fit(X, value)


MAPS = (3, [1, 2], (), "bal", np.ones(2), {"z": 1}, {1: 2}, {"a": "x"}, {"a": -1})
NUMBERS_OF_CLASSES = ({"a": None}, {"a": np.nan}, {"a": np.inf}, {"a": [1, 2]})
CLASSES = ([], (), np.array([]), 5, "ab", {"a", "b"}, {"a": 1}, [1.5, 2], [None])
SCALARS = (2.0, 1, True, np.float64(3), np.array(2.0))
WEIGHTS = ([1.0] * 5, [-1.0] * N, [[1]] * N, ["a"] * N, [1j] * N, [1e300] * N)
BAD = {
    with_class_weight: (*MAPS, *NUMBERS_OF_CLASSES, {"a": 1e300}, object()),
    with_class_weight_in_pieces: (*MAPS, *NUMBERS_OF_CLASSES, "balanced"),
    with_classes: (*CLASSES, [["a", "b"]], [np.nan], sparse.csr_array([[1, 2]])),
    with_classes_again: (["a"], ["b", "c"], *CLASSES),
    with_sample_weight: (*SCALARS, *WEIGHTS, *NO_NUMBERS, sparse.csr_array([1.0] * N)),
    with_quantiles: (*SCALARS, 0.5, {0.5}, iter([0.5]), [], [0], [1], [2], [[0.1]]),
    with_target: (0.5, "a", [[0]], {0}, (), [True], np.array(0.0), 7),
    with_sequences: (5, None, *NO_NUMBERS, [*X[1:], None], [*X[1:], [[1, 2], [1]]]),
    with_sequences_to_answer: (5, *NO_NUMBERS, [*X[1:], "one"], [*X[1:], {}]),
    with_series: (5, *NO_NUMBERS, [SERIES, {}]),
    with_labels: (5, object(), np.array(3), [None] * N, NUMBERS / 3),
    with_numbers: (5, object(), np.array(3), "abcdef", [["a"]] * N),
}
NAMES = {
    with_class_weight_in_pieces: "class_weight",
    with_classes_again: "classes",
    with_sequences: "X",
    with_sequences_to_answer: "X",
    with_series: "X",
    with_labels: "y",
    with_numbers: "y",
}
"""Of arguments after which no function here is called."""


@pytest.mark.parametrize("call", BAD, ids=lambda call: call.__name__)
def test_messages_name_the_argument_and_what_was_expected_and_came(call):
    name = NAMES.get(call, call.__name__.removeprefix("with_"))
    for value in BAD[call]:
        with pytest.raises((TypeError, ValueError)) as caught:
            call(value)
        said = str(caught.value)
        assert re.match(rf"{name}(\[.+?\])?: expected (?s:.+), got .", said), value


DENSE = np.random.default_rng(1).standard_normal((20, I))
FORMATS = (sparse.csr_array, sparse.coo_matrix, sparse.lil_array, sparse.dok_matrix)
SPARSE = {
    "X[0]": lambda s: classifier().fit([s] * N, LABELS),
    "X[1]": lambda s: classifier().fit([DENSE, *[s] * (N - 1)], LABELS),
    "X[2]": lambda s: regressor().fit(X, NUMBERS).predict([DENSE, DENSE, s]),
    "X": lambda s: classifier().fit(s, [0, 1] * 10),
    "X[3]": lambda s: forecaster().fit([DENSE, DENSE, DENSE, s]),
    "y": lambda s: regressor().fit([DENSE] * 20, s),
    "sample_weight": lambda s: regressor().fit([DENSE] * 20, np.arange(20), s),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_matrices_are_called_sparse_wherever_they_stand(name):
    for kind in FORMATS:
        with pytest.raises(TypeError) as caught:
            SPARSE[name](kind(DENSE))
        said = f"{name}: expected a dense array, got a sparse {kind.__name__}; "
        assert str(caught.value).startswith(said)


def test_arrays_and_ranges_list_shares_and_columns():
    shares, wide = (0.1, 0.5), np.stack([SERIES, SERIES[::-1]], axis=1)
    as_tuple = forecaster(quantiles=shares, target=(0, 1)).fit(wide).predict()
    as_array = forecaster(quantiles=np.array(shares), target=np.arange(2)).fit(wide)
    assert np.array_equal(as_tuple, as_array.predict())
    as_range = forecaster(quantiles=shares, target=range(2)).fit(wide).predict()
    assert np.array_equal(as_tuple, as_range)


def test_classes_said_twice_are_classes_all_the_same():
    estimator = classifier().partial_fit(X, LABELS, classes=["b", "a", "a"])
    estimator.partial_fit(X, LABELS, classes=np.array(["a", "b"]))
    assert estimator.classes_.tolist() == ["a", "b"]


def test_products_of_weights_that_no_float32_holds_are_named():
    words = "class_weight times sample_weight: expected numbers that float32 holds"
    with pytest.raises(ValueError, match=words):
        classifier(class_weight={"a": 1e30, "b": 1}).fit(X, LABELS, [1e30] * N)
