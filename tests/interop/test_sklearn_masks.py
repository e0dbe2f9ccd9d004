"""exactrnn.sklearn: masked arrays are refused wherever values are taken, by name."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: extra sklearn")

from exactrnn.sklearn import Forecaster, SequenceClassifier, SequenceRegressor

X = np.random.default_rng(0).standard_normal((4, 5, 2))
LABELS = [0, 1, 0, 1]


def masked(array):
    return np.ma.masked_greater(np.asarray(array, np.float64), 0.5)


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("X", lambda: SequenceClassifier().fit(masked(X), LABELS)),
        ("X", lambda: SequenceClassifier().fit(masked(X[..., 0]), LABELS)),
        ("X[1]", lambda: SequenceClassifier().fit([X[0], *map(masked, X[1:])], LABELS)),
        ("y", lambda: SequenceRegressor().fit(X, masked(LABELS))),
        ("sample_weight", lambda: SequenceRegressor().fit(X, LABELS, masked(LABELS))),
        ("X", lambda: Forecaster().fit(masked(X.reshape(-1)))),
        ("X[0]", lambda: Forecaster().fit([masked(X.reshape(-1))])),
    ],
    ids=["array", "table", "list", "y", "weights", "series", "several series"],
)
def test_masks_are_refused_wherever_values_are_taken(name, fit):
    with pytest.raises(TypeError) as caught:
        fit()
    assert str(caught.value).startswith(f"{name}: expected an array without a mask")
