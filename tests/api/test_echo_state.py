"""Echo state networks: reservoirs, ridge regression, free runs, and their bits (N9).

The judges are NumPy's LAPACK and, with matrices given to both, reservoirpy.
"""

import copy
import hashlib
import pickle

import numpy as np
import pytest
from arrays import draw, same_bits

import exactrnn as xr
from exactrnn._numeric import random
from exactrnn.layers import _reservoir

T, B, I, H, O = 40, 3, 2, 30, 4


def normal(*shape, seed=3):
    return random.normal(shape, random.make_generator(seed))


def network(**options):
    """Return a small network, by default with a leak, a bias and a washout."""
    some = {"leak": 0.7, "bias_scaling": 0.3, "washout": 5, "ridge": 1e-3, "seed": 1}
    return xr.EchoState(I, H, **{"dtype": "float64", **some, **options})


def data(*rows, dtype="float64", seed=0):
    return draw(T, *rows, I, dtype=dtype, seed=seed), draw(
        T, *rows, O, dtype=dtype, seed=seed + 1
    )


def fitted(*rows, dtype="float64", **options):
    x, y = data(*rows, dtype=dtype)
    return network(dtype=dtype, **options).fit(x, y), x, y


def mackey_glass(steps, delay=17, parts=10):
    """Return the series of Mackey and Glass by Euler's method, [steps, 1]."""
    x = [1.2] * (delay * parts)
    for _ in range((steps + 200) * parts):
        late = x[-delay * parts]
        x.append(x[-1] + (0.2 * late / (1 + late**10) - 0.1 * x[-1]) / parts)
    return np.array(x[(delay + 200) * parts :: parts][:steps])[:, None]


# The reservoir


def largest_eigenvalue(a):
    return np.abs(np.linalg.eigvals(a)).max()


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 1.0])
def test_reservoir_is_as_asked_for(density, dtype):
    options = {"spectral_radius": 1.3, "input_scaling": 0.5, "bias_scaling": 0.2}
    size = 60
    weights = xr.EchoState(
        40, size, density=density, dtype=dtype, seed=1, **options
    ).state_dict()
    R, W, b = weights["weight_hh"], weights["weight_ih"], weights["bias_ih"]
    kept = max(1, round(density * size))
    assert (np.count_nonzero(R, axis=1) == kept).all()
    precision = {"float32": 1e-6, "float64": 1e-9}[dtype]
    np.testing.assert_allclose(largest_eigenvalue(R.astype("float64")), 1.3, precision)
    assert 0.49 < np.abs(W).max() <= 0.5
    assert 0.17 < np.abs(b).max() <= 0.2
    assert list(weights) == ["weight_ih", "weight_hh", "bias_ih"]


def test_without_bias_scaling_there_is_no_bias():
    assert not xr.EchoState(I, H, seed=1).state_dict()["bias_ih"].any()


def test_connections_are_spread_over_all_columns():
    R = xr.EchoState(1, 400, density=0.1, seed=1).state_dict()["weight_hh"]
    counts = np.count_nonzero(R, axis=0)
    assert abs(counts.mean() - 40) < 1e-9
    assert 4 < counts.std() < 8  # binomial: 6


@pytest.mark.parametrize("seed", range(30))
def test_sparse_small_reservoirs_have_a_loop(seed):
    R = xr.EchoState(1, 4, dtype="float64", seed=seed).state_dict()["weight_hh"]
    assert abs(largest_eigenvalue(R) - 0.9) < 1e-9


def test_reservoir_without_a_loop_is_refused(monkeypatch):
    monkeypatch.setattr(_reservoir, "spectral_radius", lambda _: 0.0)
    with pytest.raises(ValueError, match="seed: expected one that gives a reservoir"):
        xr.EchoState(1, 4)


def test_spectral_radius_of_zero_takes_the_loops_away():
    assert not network(spectral_radius=0.0).state_dict()["weight_hh"].any()


def test_both_dtypes_have_one_reservoir():
    single, double = network(dtype="float32").state_dict(), network().state_dict()
    assert all(same_bits(single[n], double[n].astype("float32")) for n in double)


def test_given_matrices_are_taken_as_they_are():
    W, R = normal(H, I), normal(H, H)
    weights = network(w_in=W, w=R).state_dict()
    assert same_bits(weights["weight_ih"], W)
    assert same_bits(weights["weight_hh"], R)
    drawn = network().state_dict()
    assert same_bits(weights["bias_ih"], drawn["bias_ih"])
    assert same_bits(network(w=R).state_dict()["weight_ih"], drawn["weight_ih"])
    assert same_bits(network(w_in=W).state_dict()["weight_hh"], drawn["weight_hh"])


@pytest.mark.parametrize("leak", [1.0, 0.3])
def test_states_are_those_of_leaky_units(leak):
    reservoir, (x, _) = network(leak=leak), data(B)
    W, R, b = reservoir.state_dict().values()
    h, expected = np.zeros((B, H)), []
    for x_t in x:
        h = (1 - leak) * h + leak * np.tanh(x_t @ W.T + h @ R.T + b)
        expected.append(h)
    states, final = reservoir(x)
    np.testing.assert_allclose(states, expected, atol=1e-13)
    assert same_bits(final[0], states[-1])
    assert same_bits(reservoir.states(x), states)


# The readout


def solve_stacked(z, y, ridge):
    """Return W and b of the stacked least squares, in which b is not penalised."""
    K = z.shape[1]
    penalty = np.sqrt(ridge) * np.eye(K)
    left = np.block([[z, np.ones((len(z), 1))], [penalty, np.zeros((K, 1))]])
    right = np.concatenate([y, np.zeros((K, y.shape[1]))])
    solution = np.linalg.lstsq(left, right, rcond=None)[0]
    return solution[:-1].T, solution[-1]


@pytest.mark.parametrize("ridge", [0.0, 1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("rows", [(), (B,)])
def test_readout_is_that_of_the_stacked_system(ridge, rows):
    x, y = data(*rows, seed=7)
    x, y = np.tile(x, (8, *[1] * len(rows), 1)), draw(8 * T, *rows, O, dtype="float64")
    x += draw(*x.shape, dtype="float64", seed=8)
    trained = network(ridge=ridge).fit(x, y)
    z = np.concatenate([x, trained.states(x)], axis=-1)[5:].reshape(-1, I + H)
    W, b = solve_stacked(z, y[5:].reshape(-1, O), ridge)
    weights = trained.state_dict()
    np.testing.assert_allclose(weights["weight_out"], W, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(weights["bias_out"], b, rtol=1e-6, atol=1e-7)
    predicted = trained.predict(x)[0]
    expected = np.concatenate([x, trained.states(x)], axis=-1) @ W.T + b
    np.testing.assert_allclose(predicted, expected, rtol=1e-6, atol=1e-7)


def test_constant_is_not_penalised():
    x, y = data()
    plain = network(ridge=1e8).fit(x, y)
    moved = network(ridge=1e8).fit(x, y + 1000)
    difference = moved.predict(x)[0] - plain.predict(x)[0]
    np.testing.assert_allclose(difference, 1000, rtol=1e-9)


def test_many_samples_are_fitted_in_blocks():
    # More rows than are held at once, and not a multiple of them.
    x = draw(5000, 2, I, dtype="float64")
    y = draw(5000, 2, O, dtype="float64", seed=1)
    trained = network().fit(x, y)
    z = np.concatenate([x, trained.states(x)], axis=-1)[5:].reshape(-1, I + H)
    W, b = solve_stacked(z, y[5:].reshape(-1, O), 1e-3)
    np.testing.assert_allclose(trained.state_dict()["weight_out"], W, atol=1e-9)
    np.testing.assert_allclose(trained.state_dict()["bias_out"], b, atol=1e-9)


def test_washout_and_padding_are_not_read():
    x, y = data(B)
    lengths = [T, 6, 17]
    plain = network().fit(x, y, lengths=lengths)
    x_odd, y_odd = x.copy(), y.copy()
    y_odd[:5] = np.nan
    for row, length in enumerate(lengths):
        x_odd[length:, row] = y_odd[length:, row] = np.nan
    odd = network().fit(x_odd, y_odd, lengths=lengths)
    assert same_bits(odd.state_dict(), plain.state_dict())
    predicted, state = plain.predict(x_odd, lengths=lengths)
    for row, length in enumerate(lengths):
        alone, end = plain.predict(x[:length, row])
        assert same_bits(predicted[:length, row], alone)
        assert same_bits(state[:, row], end)
        assert not predicted[length:, row].any()


def test_washout_and_ridge_can_be_set_before_a_fit():
    x, y = data()
    changed = network(washout=0, ridge=1.0)
    changed.washout, changed.ridge = 5, 1e-3
    assert same_bits(changed.fit(x, y).state_dict(), network().fit(x, y).state_dict())
    assert repr(changed) == repr(network())
    assert changed.arguments() == network().arguments()


# Predictions, streams, free runs


def test_one_prediction_equals_that_of_its_parts(dtype):
    trained, x, _ = fitted(B, dtype=dtype)
    whole, end = trained.predict(x)
    first, state = trained.predict(x[:13])
    second, state = trained.predict(x[13:], state)
    assert same_bits(np.concatenate([first, second]), whole)
    assert same_bits(state, end)
    assert whole.shape == (T, B, O)
    assert whole.dtype == dtype


def test_one_prediction_equals_T_single_steps(dtype):
    trained, x, _ = fitted(B, dtype=dtype)
    whole, end = trained.predict(x)
    stream = trained.stream(B)
    out = np.empty((T, B, O), dtype)
    for t in range(T):
        result = stream.step(x[t], out=out[t]) if t % 2 else stream.step(x[t])
        out[t] = result
    assert same_bits(out, whole)
    assert same_bits(stream.state, end)
    stream.reset(rows=[1])
    assert not stream.state[0, 1].any()
    stream.state = end
    assert same_bits(stream.state, end)
    assert repr(stream) == f"<stream of {trained!r}, B=3>"
    single = trained.stream()
    assert single.batch_size == 1
    assert same_bits(single.step(x[0, 1]), whole[0, 1])


def test_stream_takes_over_a_new_readout():
    trained, x, y = fitted(B)
    stream = trained.stream(B)
    trained.fit(x, 2 * y)
    assert same_bits(stream.step(x[0]), trained.predict(x)[0][0])


def test_stream_keeps_its_state_when_a_step_is_refused():
    trained, x, _ = fitted(B)
    stream = trained.stream(B)
    stream.step(x[0])
    before = stream.state
    read_only = np.zeros((B, O))
    read_only.flags.writeable = False
    for arguments in ((x[0, :2],), (x[0], read_only), (x[0], np.zeros((B, H)))):
        with pytest.raises(ValueError, match="expected"):
            stream.step(*arguments)
    assert same_bits(stream.state, before)


@pytest.mark.parametrize("rows", [(), (B,)])
def test_free_run_feeds_predictions_back(rows):
    x = draw(T, *rows, I, dtype="float64")
    trained = network().fit(x[:-1], x[1:])
    y, state = trained.predict(x)
    run, end = trained.run(7, state, y[-1])
    expected, given = [], y[-1]
    for _ in range(7):
        out, state = trained.predict(given[None], state)
        given = out[-1]
        expected.append(given)
    assert same_bits(run, np.stack(expected))
    assert same_bits(end, state)


def test_free_run_may_begin_with_nothing():
    x = draw(T, I, dtype="float64")
    trained = network().fit(x[:-1], x[1:])
    y, state = trained.run(3)
    assert y.shape == (3, I)
    assert same_bits(y[0], trained.predict(np.zeros((1, I)))[0][0])
    assert same_bits(trained.run(3, np.zeros((1, H)))[0], y)
    assert same_bits(trained.run(3, x0=np.zeros((B, I)))[0][:, 1], y)
    assert same_bits(trained.run(3, np.zeros((1, B, H)))[1][:, 1], state)
    nothing, state = trained.run(0)
    assert nothing.shape == (0, I)
    assert not state.any()


@pytest.mark.parametrize("leak", [1.0, 0.3])
def test_mackey_glass_is_foretold(leak, dtype):
    series = np.tanh(mackey_glass(1600) - 1).astype(dtype)
    spread = series.std()
    trained = xr.EchoState(
        1,
        200,
        leak=leak,
        bias_scaling=0.2,
        washout=100,
        ridge=1e-8,
        dtype=dtype,
        seed=1,
    ).fit(series[:1199], series[1:1200])
    y, state = trained.predict(series[:1200])
    next_ones, _ = trained.predict(series[1200:-1], state)
    assert np.sqrt(np.mean((next_ones - series[1201:]) ** 2)) < 2e-3 * spread
    free, _ = trained.run(84, state, y[-1])
    assert np.sqrt(np.mean((free - series[1201:1285]) ** 2)) < 0.05 * spread


# Another library


@pytest.mark.parametrize("leak", [1.0, 0.3])
def test_states_and_readout_are_reservoirpys(leak):
    nodes = pytest.importorskip(
        "reservoirpy.nodes", reason="reservoirpy is not installed: nothing to compare"
    )
    W, R = normal(H, I), 0.1 * normal(H, H, seed=4)
    b = normal(H, seed=5)
    x, y = data()
    ours = network(leak=leak, w_in=W, w=R, ridge=1e-2)
    ours.load_state_dict({**ours.state_dict(), "bias_ih": b})
    theirs = nodes.Reservoir(W=R, Win=W, bias=b, lr=leak, activation="tanh")
    h = theirs.run(x)
    np.testing.assert_allclose(ours.states(x), h, atol=1e-12)
    ridge = nodes.Ridge(ridge=1e-2)
    z = np.concatenate([x, h], axis=1)
    ridge.fit(z, y, warmup=5)
    np.testing.assert_allclose(ours.fit(x, y).predict(x)[0], ridge.run(z), atol=1e-9)


# Bits


FROZEN = {
    "float32": "ed38fb3961f5d823",
    "float64": "d99f3f09d2a34623",
}


def digest(*arrays):
    content = b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays)
    return hashlib.sha256(content).hexdigest()[:16]


def digest_of_a_life(dtype):
    """Return the hash of a network from its first weights to a free run."""
    series = normal(300, B, I).astype(dtype)
    trained = xr.EchoState(
        I, 140, leak=0.5, washout=9, ridge=1e-3, bias_scaling=0.1, dtype=dtype, seed=1
    )
    first = trained.state_dict()
    trained.fit(series[:-1], series[1:])
    y, state = trained.predict(series)
    run = trained.run(5, state, y[-1])
    return digest(*first.values(), *trained.state_dict().values(), y, *run)


def test_bits_are_frozen_for_every_engine(isa, dtype, threads):
    # The fixtures are in force while everything is computed.
    assert digest_of_a_life(dtype) == FROZEN[dtype]


def test_seeds_differ():
    assert same_bits(network().state_dict(), network().state_dict())
    first, second = network().state_dict(), network(seed=2).state_dict()
    assert not any(np.array_equal(first[name], second[name]) for name in first)
    assert xr.EchoState(I, H).state_dict()["weight_ih"].any()


# Weights, copies, files


def copies(trained, folder):
    loaded = network(seed=9)
    loaded.load_state_dict(trained.state_dict())
    yield loaded
    yield copy.deepcopy(trained)
    yield pickle.loads(pickle.dumps(trained))
    yield xr.EchoState.restore(trained.arguments(), trained.state_dict())
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    xr.save(trained, folder / "network")
    yield xr.load(folder / "network")


@pytest.mark.parametrize("is_fitted", [False, True])
def test_copies_are_equal(tmp_path, is_fitted):
    x, y = data(B)
    trained = network()
    if is_fitted:
        trained.fit(x, y)
    for other in copies(trained, tmp_path):
        assert type(other) is xr.EchoState
        assert repr(other) == repr(trained)
        assert other.output_size == (O if is_fitted else None)
        assert same_bits(other.state_dict(), trained.state_dict())
        assert same_bits(other.states(x), trained.states(x))
        assert same_bits(
            other.fit(x, y).predict(x)[0], network().fit(x, y).predict(x)[0]
        )


def test_equal_networks_give_equal_files(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    xr.save(fitted(B)[0], tmp_path / "one")
    xr.save(fitted(B)[0], tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_damaged_files_are_refused(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    trained, *_ = fitted(B)
    weights, description = trained.state_dict(), {"class": "EchoState", "numerics": 1}
    arguments = trained.arguments()
    damaged = [
        (weights, {**arguments, "leak": 3.0}),
        (weights, {**arguments, "hidden_size": 31}),
        (weights, {}),
        ({k: weights[k] for k in weights if k != "weight_hh"}, arguments),
        ({k: weights[k] for k in weights if k != "bias_out"}, arguments),
        ({**weights, "bias_out": np.zeros(3)}, arguments),
    ]
    for arrays, told in damaged:
        path = tmp_path / "damaged"
        xr.io.write_file(path, arrays, {**description, "arguments": told})
        with pytest.raises(ValueError, match="path: not an exactrnn layer"):
            xr.load(path)


def test_state_dict_is_a_copy_of_all_weights():
    trained, *_ = fitted(B)
    shapes = {name: array.shape for name, array in trained.state_dict().items()}
    assert shapes == {
        "weight_ih": (H, I),
        "weight_hh": (H, H),
        "bias_ih": (H,),
        "weight_out": (O, I + H),
        "bias_out": (O,),
    }
    assert trained.num_parameters == sum(int(np.prod(s)) for s in shapes.values())
    trained.state_dict()["weight_out"][:] = 0
    trained.state_dict()["weight_hh"][:] = 0
    assert trained.state_dict()["weight_out"].any()
    assert trained.state_dict()["weight_hh"].any()


def test_loading_without_a_readout_takes_it_away():
    trained, x, _ = fitted(B)
    trained.load_state_dict(network().state_dict())
    assert trained.output_size is None
    with pytest.raises(ValueError, match="predict: expected a network with a readout"):
        trained.predict(x)


def test_nothing_is_loaded_where_something_is_wrong():
    trained, *_ = fitted(B)
    before = trained.state_dict()
    wrong = [
        ({**before, "weight_hh": np.zeros((H, I))}, ValueError, r"\[H=30, H=30\]"),
        ({**before, "weight_out": np.zeros((O, H))}, ValueError, r"\[O=4, K=32\]"),
        ({**before, "bias_ih": np.zeros(H, "float32")}, TypeError, "bias_ih"),
        ({**before, "weight_in": np.zeros(H)}, ValueError, "unknown 'weight_in'"),
        ({"weight_ih": before["weight_ih"]}, ValueError, "missing 'weight_hh'"),
    ]
    for weights, kind, message in wrong:
        with pytest.raises(kind, match=message):
            trained.load_state_dict(weights)
        assert same_bits(trained.state_dict(), before)


def test_repr_names_what_is_not_the_default():
    assert repr(xr.EchoState(2, 5)) == "EchoState(2, 5)"
    assert repr(xr.EchoState(2, 5, leak=0.5, dtype="float64", seed=3)) == (
        "EchoState(2, 5, leak=0.5, dtype='float64')"
    )


# Errors


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"spectral_radius": -1.0}, ValueError, "spectral_radius: expected a finite"),
        ({"spectral_radius": "1"}, TypeError, "spectral_radius: expected a finite"),
        ({"leak": 0.0}, ValueError, r"leak: expected a number in \(0, 1\], got 0.0"),
        ({"leak": 1e-60, "dtype": "float32"}, ValueError, "leak: expected a number"),
        ({"leak": 1.5}, ValueError, "leak: expected a number"),
        ({"density": 0}, ValueError, "density: expected a number"),
        ({"density": float("nan")}, ValueError, "density: expected a number"),
        ({"input_scaling": float("inf")}, ValueError, "input_scaling: expected"),
        ({"bias_scaling": -0.1}, ValueError, "bias_scaling: expected"),
        ({"washout": -1}, ValueError, "washout: expected an integer >= 0, got -1"),
        ({"washout": 1.0}, TypeError, "washout: expected an integer"),
        ({"ridge": -1e-6}, ValueError, "ridge: expected a finite number >= 0"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64"),
        ({"seed": -1}, ValueError, "seed: expected"),
        ({"w_in": np.zeros((H, H))}, ValueError, r"w_in: expected \[H=30, I=2\]"),
        ({"w": np.zeros((H, I))}, ValueError, r"w: expected \[H=30, H=30\]"),
        ({"w": np.zeros((H, H), "float32")}, TypeError, "w: expected float64"),
    ],
)
def test_wrong_options_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        network(**options)


@pytest.mark.parametrize("name", ["leak", "hidden_size", "spectral_radius", "dtype"])
def test_options_of_the_reservoir_cannot_change(name):
    trained = network()
    with pytest.raises(AttributeError, match=f"{name} cannot change: make a new"):
        setattr(trained, name, getattr(trained, name))
    with pytest.raises(AttributeError, match="output_size cannot change"):
        trained.output_size = 3
    with pytest.raises(ValueError, match="ridge: expected"):
        trained.ridge = -1.0
    assert trained.ridge == 1e-3
    trained.note = "mine"
    assert trained.note == "mine"


def test_wrong_fits_are_refused_and_change_nothing():
    trained, x, y = fitted(B)
    before = trained.state_dict()
    bad = y.copy()
    bad[7, 1, 2] = np.inf
    wrong = [
        ((x, y[1:]), {}, ValueError, r"y: expected \[T=40, B=3, O\]"),
        ((x, y[:, 0]), {}, ValueError, r"y: expected \[T=40, B=3, O\]"),
        ((x[:, 0], y), {}, ValueError, r"y: expected \[T=40, O\]"),
        ((x, y[..., :0]), {}, ValueError, "y: expected"),
        ((x, y.astype("float32")), {}, TypeError, "y: expected float64"),
        ((x[..., :1], y), {}, ValueError, "x: expected"),
        ((x, bad), {}, ValueError, "x, y: expected finite numbers"),
        ((x[:5], y[:5]), {}, ValueError, "washout: expected less than .* 5 steps"),
        ((x[:0], y[:0]), {}, ValueError, "washout: expected less than .* 0 steps"),
        ((x, y), {"lengths": [1, 2, 5]}, ValueError, "washout: expected less than"),
        ((x, y), {"lengths": [1, 2, 50]}, ValueError, "lengths"),
    ]
    for arguments, options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            trained.fit(*arguments, **options)
        assert same_bits(trained.state_dict(), before)


def test_dependent_features_need_a_penalty():
    x, y = np.zeros((T, I)), draw(T, O, dtype="float64")
    with pytest.raises(ValueError, match=r"ridge: expected more than 0\.0,"):
        network(ridge=0.0).fit(x, y)
    assert (
        not network(ridge=1e-6, bias_scaling=0.0)
        .fit(x, y)
        .state_dict()["weight_out"]
        .any()
    )


@pytest.mark.parametrize("call", ["predict", "run", "stream"])
def test_what_needs_a_readout_says_so(call):
    arguments = {"predict": (data()[0],), "run": (3,), "stream": ()}[call]
    with pytest.raises(ValueError, match=f"{call}: expected a network with a readout"):
        getattr(network(), call)(*arguments)


def test_wrong_runs_are_refused():
    trained, x, _ = fitted(B)
    with pytest.raises(ValueError, match="run: expected a readout of I=2 values"):
        trained.run(3)
    trained.fit(x[:-1], x[1:])
    wrong = [
        ((-1,), ValueError, "steps: expected an integer >= 0"),
        ((2.0,), TypeError, "steps: expected an integer"),
        ((2, np.zeros((1, H)), np.zeros((B, I))), ValueError, "state: expected"),
        ((2, np.zeros((1, B, I))), ValueError, r"state: expected \[L=1, B=3, H=30\]"),
        ((2, None, np.zeros(H)), ValueError, r"x0: expected \[I=2\]"),
        ((2, None, np.zeros(I, "float32")), TypeError, "x0: expected float64"),
    ]
    for arguments, kind, message in wrong:
        with pytest.raises(kind, match=message):
            trained.run(*arguments)
