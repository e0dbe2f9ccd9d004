"""Estimators in the manner of scikit-learn: `from exactrnn.sklearn import …`.

`SequenceClassifier` and `SequenceRegressor` answer sequences, `Forecaster` goes on with
series. They are trained by `exactrnn.train.fit`, so that data, options and
`random_state` give a fitted model its bits.
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401 (asked for first, to say what to do)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "exactrnn.sklearn needs scikit-learn: pip install 'exactrnn[sklearn]'",
        name=error.name,
    ) from error

# isort: split
from exactrnn._system import shown
from exactrnn.interop.sklearn._classifier import SequenceClassifier
from exactrnn.interop.sklearn._forecaster import Forecaster
from exactrnn.interop.sklearn._regressor import SequenceRegressor

__all__ = ["Forecaster", "SequenceClassifier", "SequenceRegressor"]
__dir__ = shown.lists(globals())
