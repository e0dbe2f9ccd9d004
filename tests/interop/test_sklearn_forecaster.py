"""`exactrnn.sklearn.Forecaster`: windows, units, quantiles, what comes after what."""

import pickle

import numpy as np
import pytest
from arrays import draw, same_bits

pytest.importorskip("sklearn", reason="needs scikit-learn: extra sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

import exactrnn as xr
from exactrnn.interop.sklearn import _series
from exactrnn.sklearn import Forecaster

S, T, P, O = 60, 6, 3, 2
SMALL = {"window": T, "horizon": P, "hidden_size": 6, "epochs": 2, "random_state": 0}
FLAT = np.sin(np.arange(S) / 3) + 0.1 * draw(S, dtype="float64")
WIDE = np.stack([FLAT, 5 + 3 * np.cos(np.arange(S) / 3)], axis=1)
QUANTILES = (0.1, 0.4, 0.9)


def fitted(X=FLAT, **options):
    return Forecaster(**{**SMALL, **options}).fit(X)


def weights(forecaster):
    return forecaster.model_.state_dict()


# Shapes

SHAPES = {
    "flat": (FLAT, {}, (P,)),
    "one column": (FLAT[:, None], {}, (P, 1)),
    "wide": (WIDE, {}, (P, O)),
    "one target": (WIDE, {"target": 1}, (P,)),
    "targets": (WIDE, {"target": [1]}, (P, 1)),
    "reordered": (WIDE, {"target": [1, 0]}, (P, O)),
}


@pytest.mark.parametrize("form", SHAPES)
def test_forecasts_have_the_form_of_the_series(form):
    X, options, shape = SHAPES[form]
    forecaster = fitted(X, **options, quantiles=QUANTILES)
    assert forecaster.predict().shape == shape
    found = forecaster.predict_quantiles()
    assert found.shape == (*shape, len(QUANTILES))
    assert (np.diff(found, axis=-1) >= 0).all()
    assert same_bits(found[..., 1], forecaster.predict())  # nearest to the median
    both = fitted([X, X[:30]], **options).predict()
    assert [forecast.shape for forecast in both] == [shape, shape]
    assert forecaster.n_features_in_ == (O if X is WIDE else 1)


def test_lists_and_frames_are_series_too():
    pandas = pytest.importorskip("pandas", reason="needs pandas: extra test")
    plain = fitted()
    for X in (FLAT.tolist(), pandas.Series(FLAT)):
        assert same_bits(fitted(X).predict(), plain.predict())
    frame = pandas.DataFrame(WIDE)
    assert same_bits(fitted(frame).predict(), fitted(WIDE).predict())


# Windows and units


@pytest.mark.parametrize("relative", [True, False])
def test_windows_are_those_of_train_windows(relative):
    series = [WIDE, WIDE[10:40]]
    cut = _series.read_series(series, T + P, None, None)
    forecaster = fitted(series, relative=relative, standardize=False, dtype="float64")
    examples = forecaster._examples(cut)
    rows = np.arange(len(examples.sequences))
    x, lengths = examples.sequences.padded(rows, np.dtype("float64"))
    assert lengths is None
    plain = [xr.train.windows(part, T, P) for part in series]
    wanted = np.concatenate([x for x, _ in plain], axis=1)
    targets = np.concatenate([y for _, y in plain])
    if relative:
        targets = targets - wanted[-1][:, None]
        wanted = wanted - wanted[-1]
    assert same_bits(x, wanted)
    assert same_bits(examples.targets, targets.reshape(len(rows), -1))


def test_relative_forecasts_move_with_the_series():
    forecaster = fitted(dtype="float64", epochs=5)
    moved = forecaster.predict(X=FLAT + 100) - 100
    assert np.abs(moved - forecaster.predict()).max() < 1e-10
    absolute = fitted(dtype="float64", epochs=5, relative=False)
    away = absolute.predict(X=FLAT + 100) - 100
    assert np.abs(away - absolute.predict()).max() > 1


def test_forecasts_are_in_the_units_of_the_series():
    forecaster = fitted(dtype="float64", epochs=5)
    scaled = fitted(1024 * FLAT, dtype="float64", epochs=5)  # a power of 2: exactly
    assert same_bits(scaled.predict(), 1024 * forecaster.predict())
    assert same_bits(weights(scaled), weights(forecaster))


# What comes after what


@pytest.mark.parametrize("target", [None, [1, 0]])
def test_far_forecasts_are_forecasts_upon_forecasts(target):
    forecaster = fitted(WIDE, target=target)
    order = [0, 1] if target is None else target
    first = forecaster.predict(X=WIDE)
    after = np.concatenate((WIDE, first[:, np.argsort(order)]))
    second = forecaster.predict(X=after)
    found = forecaster.predict(2 * P - 1)
    assert same_bits(found, np.concatenate((first, second))[: 2 * P - 1])
    assert same_bits(forecaster.predict(1), first[:1])


def test_predict_goes_on_from_what_came_last():
    forecaster = fitted(FLAT[:40])
    first = forecaster.predict()
    assert same_bits(first, forecaster.predict(X=FLAT[40 - T : 40]))
    assert same_bits(first, forecaster.predict(X=[FLAT[:40], FLAT])[0])
    forecaster.partial_fit(FLAT[40:])
    assert same_bits(forecaster.predict(), forecaster.predict(X=FLAT))


def test_options_count_from_the_next_fit():
    forecaster, twin = fitted(WIDE, target=np.int64(1)), fitted(WIDE, target=1)
    assert same_bits(forecaster.predict(), twin.predict())
    others = {"window": 4, "horizon": 2, "quantiles": (0.5,), "relative": False}
    forecaster.set_params(**others, target=None, dtype="float64")
    assert same_bits(forecaster.predict(), twin.predict())
    forecaster.partial_fit(WIDE)
    assert same_bits(weights(forecaster), weights(twin.partial_fit(WIDE)))
    assert same_bits(
        weights(forecaster.fit(WIDE)), weights(fitted(WIDE, **others, dtype="float64"))
    )


def test_as_many_partial_fits_as_epochs_are_a_fit():
    whole, pieces = fitted(epochs=3), Forecaster(**SMALL)
    for _ in range(3):
        pieces.partial_fit(FLAT)
    assert same_bits(weights(pieces), weights(whole))
    assert same_bits(pieces.predict(7), whole.predict(7))
    twin = pickle.loads(pickle.dumps(whole)).partial_fit(FLAT)
    assert same_bits(weights(twin), weights(whole.partial_fit(FLAT)))


# How good it is


def test_defaults_foretell_what_a_naive_forecast_does_not():
    t = np.arange(400)
    series = 0.05 * t + np.sin(t / 4)  # which goes on beyond what was seen
    forecaster = Forecaster(horizon=8, epochs=20, random_state=0).fit(series[:340])
    error = np.abs(forecaster.predict(40) - series[340:380]).mean()
    assert error < 0.2 < np.abs(series[339] - series[340:380]).mean()
    assert forecaster.score(series[300:]) > 0.95


def test_score_is_that_of_all_windows():
    forecaster = fitted(WIDE, target=1)
    found, came = [], []
    for end in range(T, S - P + 1):
        found.append(forecaster.predict(X=WIDE[:end]))
        came.append(WIDE[end : end + P, 1])
    assert abs(forecaster.score(WIDE) - r2_score(came, found)) < 1e-12


def test_quantiles_hold_the_shares_that_they_name():
    noise = draw(600, dtype="float64")
    forecaster = Forecaster(
        window=4, quantiles=(0.1, 0.5, 0.9), relative=False, epochs=12, random_state=0
    ).fit(noise)
    ends = range(4, len(noise))
    found = forecaster.predict_quantiles(1, [noise[:end] for end in ends])
    below = noise[4:, None] < np.array(found)[:, 0]
    assert np.abs(below.mean(axis=0) - (0.1, 0.5, 0.9)).max() < 0.06


def test_what_is_held_out_is_the_end_of_each_series():
    series, rest = _series.read_series([FLAT, FLAT[:40]], 9, None, None).divided(
        0.25, T, P
    )
    assert [len(part) for part in series.parts] == [45, 30]
    assert same_bits([*rest.parts], [FLAT[45 - T : 60, None], FLAT[30 - T : 40, None]])
    forecaster = fitted(validation_fraction=0.25, patience=2, epochs=40, lr=0.1)
    assert forecaster.history_.stopped == "patience"
    assert same_bits(forecaster.predict(), forecaster.predict(X=FLAT))


def test_searches_go_along_the_series():
    cv = TimeSeriesSplit(2, test_size=15)
    search = GridSearchCV(Forecaster(**SMALL), {"cell": ["gru", "rnn"]}, cv=cv)
    search.fit(FLAT)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.predict(4).shape == (4,)
    assert clone(search.best_estimator_).get_params()["window"] == T


# What is refused

REFUSED = {
    "X: expected [S] or [S, I] with S >= 9": lambda: fitted(FLAT[:8]),
    "X[1]: expected I=1 values per step, as in X[0]": lambda: fitted([FLAT, WIDE]),
    "X: expected I=2 values per step, as in fit": lambda: fitted(WIDE).predict(X=FLAT),
    "X contains NaN": lambda: fitted(FLAT * np.nan),
    "window: expected an integer >= 1": lambda: fitted(window=0),
    "horizon: expected an integer >= 1": lambda: fitted().predict(0),
    "horizon: expected at most 3": lambda: fitted(WIDE, target=1).predict(4),
    "target: expected 0..1": lambda: fitted(WIDE, target=2),
    "target: expected different values": lambda: fitted(WIDE, target=[0, 0]),
    "target: expected an integer": lambda: fitted(WIDE, target="a"),
    "quantiles: expected ascending": lambda: fitted(quantiles=(0.5, 0.1)),
    "quantiles[0]: expected": lambda: fitted(quantiles=("a",)),
    "quantiles: expected some": lambda: fitted().predict_quantiles(),
    "loss: expected one of": lambda: fitted(loss="log"),
    "validation_fraction: expected a share": lambda: fitted(validation_fraction=0.9),
    "relative: expected True or False": lambda: fitted(relative="no"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_series_or_no_option_is_refused(words):
    with pytest.raises((ValueError, TypeError)) as error:
        REFUSED[words]()
    assert words in str(error.value)


def test_a_forecaster_that_was_not_fitted_says_so():
    for method in (Forecaster().predict, lambda: Forecaster().score(FLAT)):
        with pytest.raises(NotFittedError):
            method()
    forecaster = fitted()
    before = forecaster.predict()
    with pytest.raises(ValueError, match="window"):
        forecaster.set_params(window=-1).fit(WIDE)
    assert same_bits(forecaster.set_params(window=T).predict(), before)
