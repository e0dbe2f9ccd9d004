"""Truncated BPTT and the language model: traps of training, and defined bits (N9)."""

import hashlib

import numpy as np
import pytest
from bits import every_thread_used

import exactrnn as xr
from exactrnn.train import LanguageModel, mean_squared_error, stream_batches
from exactrnn.train import truncated_bptt as bptt
from exactrnn.train.sampling import pick

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30
ALPHABET = "".join(sorted(set(TEXT)))
RNG = np.random.default_rng(40)


def small_model(**options):
    sizes = {"hidden_size": 24, "embedding_size": 8, "seed": 3}
    return LanguageModel(ALPHABET, **(sizes | options))


def test_streams_stay_in_their_rows_and_are_seen_once():
    chunks = list(stream_batches(np.arange(41), 4, 3))
    inputs = np.concatenate([chunk.inputs for chunk in chunks])
    targets = np.concatenate([chunk.targets for chunk in chunks])
    np.testing.assert_array_equal(inputs.T, np.arange(40).reshape(4, 10))
    np.testing.assert_array_equal(targets, inputs + 1)
    assert [len(chunk.inputs) for chunk in chunks] == [3, 3, 3, 1]


def test_streams_need_a_step_each():
    with pytest.raises(ValueError, match="N > batch_size=4"):
        stream_batches(np.arange(4), 4, 3)
    with pytest.raises(ValueError, match="length"):
        stream_batches(np.arange(9), 4, 0)


def test_chunks_carry_the_state():
    layer = xr.LSTM(2, 3, seed=0)
    x = RNG.standard_normal((10, 2, 2)).astype(np.float32)
    whole, last = layer(x)
    chunks = list(bptt(layer, x, length=4))
    np.testing.assert_array_equal(np.concatenate([c.y for c in chunks]), whole)
    np.testing.assert_array_equal(chunks[-1].state[1], last[1])
    assert [(c.start, c.stop) for c in chunks] == [(0, 4), (4, 8), (8, 10)]


@pytest.mark.parametrize("batch_first", [False, True])
def test_depth_of_all_steps_is_the_full_gradient(batch_first):
    layer = xr.GRU(2, 3, dtype="float64", batch_first=batch_first, seed=0)
    x = RNG.standard_normal((2, 12, 2) if batch_first else (12, 2, 2))
    y, _, cache = layer.forward(x)
    dy = RNG.standard_normal(y.shape)
    full = layer.backward(cache, dy).weights

    def total(depth):
        weights = {name: np.zeros_like(w) for name, w in full.items()}
        for chunk in bptt(layer, x, length=3, depth=depth):
            steps = slice(chunk.start, chunk.stop)
            found = chunk.backward(dy[:, steps] if batch_first else dy[steps])
            for name, gradient in found.weights.items():
                weights[name] += gradient
        return weights

    for name, gradient in total(12).items():
        np.testing.assert_allclose(gradient, full[name], atol=1e-12)
    truncated = total(3)["weight_hh_l0"]
    assert np.abs(truncated - full["weight_hh_l0"]).max() > 1e-3


def test_depth_uses_the_weights_of_the_moment():
    layer = xr.RNN(1, 2, seed=0)
    optimizer = xr.train.SGD(layer, lr=0.1)
    x = RNG.standard_normal((9, 1, 1)).astype(np.float32)
    for chunk in bptt(layer, x, length=3, depth=6):
        assert chunk.y.shape == (3, 1, 2)
        optimizer.step(chunk.backward(np.ones_like(chunk.y)).weights)


def test_bptt_names_what_is_wrong():
    layer = xr.RNN(1, 2, seed=0)
    x = np.zeros((4, 1, 1), np.float32)
    with pytest.raises(ValueError, match="depth: expected a multiple of length=2"):
        bptt(layer, x, length=2, depth=3)
    chunk = next(bptt(layer, x, length=2))
    with pytest.raises(ValueError, match="dy"):
        chunk.backward(np.zeros((1, 1, 2), np.float32))


def test_training_learns_a_toy_text():
    model = small_model()
    losses = model.fit(TEXT, steps=250, batch_size=4, length=20, lr=0.02)
    assert losses[0] > 4.0
    assert losses[-1] < 0.6
    assert model.evaluate(TEXT) < 0.6
    written = "".join(model.sample("the quick", length=30, temperature=0.0))
    assert written.startswith(" brown fox jumps over")


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gradients_are_difference_quotients(cell):
    model = small_model(
        cell=cell, num_layers=2, hidden_size=3, embedding_size=2, dtype="float64"
    )
    chunk = next(stream_batches(model.encode(TEXT), 2, 4))
    _, gradients, _ = model.loss_and_gradients(*chunk)
    for name, gradient in gradients.items():
        place = tuple(RNG.integers(0, n) for n in gradient.shape)
        if name == "embedding.weight":
            place = (chunk.inputs[0, 0], 0)
        losses = []
        for sign in (1, -1):
            state = model.state_dict()
            state[name][place] += sign * 1e-5
            moved = small_model(
                cell=cell,
                num_layers=2,
                hidden_size=3,
                embedding_size=2,
                dtype="float64",
            )
            moved.load_state_dict(state)
            losses.append(moved.loss_and_gradients(*chunk)[0])
        numeric = (losses[0] - losses[1]) / 2e-5
        assert gradient[place] == pytest.approx(numeric, abs=1e-9), name


def test_training_is_the_written_sequence_of_steps():
    model, twin = small_model(), small_model()
    text, steps = TEXT[:121], 7
    model.fit(text, steps=steps, batch_size=2, length=16, lr=0.05, clip=0.5)
    optimizer = xr.train.Adam(twin, lr=0.05)
    passes = [list(stream_batches(twin.encode(text), 2, 16)) for _ in range(2)]
    assert [len(chunks) for chunks in passes] == [4, 4]
    step = 0
    for chunks in passes:
        state = None
        for chunk in chunks[: steps - step]:
            _, gradients, state = twin.loss_and_gradients(*chunk, state)
            xr.train.clip_global_norm(gradients, 0.5)
            optimizer.lr = 0.05 * (1.0 - step / steps)
            optimizer.step(gradients)
            step += 1
    assert step == steps
    assert digest(model) == digest(twin)


def digest(model):
    content = b"".join(array.tobytes() for array in model.state_dict().values())
    return hashlib.sha256(content).hexdigest()


def test_training_has_the_same_bits_everywhere():
    digests = set()
    for isa in xr.isas():
        for threads in (1, 2, 3):
            with every_thread_used(), xr.use_isa(isa), xr.threads(threads):
                model = small_model()
                model.fit(TEXT, steps=4, batch_size=16, length=16)
            digests.add(digest(model))
    assert len(digests) == 1


def test_a_step_without_a_finite_norm_is_left_out():
    model = small_model()
    model.readout.weight[0, 0] = np.nan
    before = digest(model)
    progress = list(model.training(TEXT, steps=3, batch_size=2, length=5))[-1]
    assert progress.skipped == 3
    assert digest(model) == before


def test_training_by_the_clock_ends_near_its_time():
    progress = list(small_model().training(TEXT, seconds=0.2, batch_size=2, length=5))
    assert progress[-1].fraction == 1.0
    assert 0.2 <= progress[-1].seconds < 2.0


def test_training_names_what_is_wrong():
    model = small_model()
    with pytest.raises(ValueError, match="exactly one of steps and seconds"):
        model.training(TEXT)
    with pytest.raises(ValueError, match="characters unknown to the model: '!~'"):
        model.training("~hello!", steps=1)
    with pytest.raises(ValueError, match="N > batch_size=32"):
        model.training("the", steps=1)
    with pytest.raises(ValueError, match="alphabet"):
        LanguageModel("aa")
    with pytest.raises(ValueError, match="cell"):
        LanguageModel("ab", cell="lsmt")


def test_encoding_goes_there_and_back():
    model = LanguageModel("zλa😀")
    assert model.encode("a😀λzz").tolist() == [2, 3, 1, 0, 0]
    assert model.decode(model.encode("a😀λzz")) == "a😀λzz"


def test_evaluation_of_an_ignorant_model_is_the_chance_level():
    model = small_model()
    model.readout.weight = np.zeros_like(model.readout.weight)
    model.readout.bias = np.zeros_like(model.readout.bias)
    assert model.evaluate(TEXT) == pytest.approx(np.log2(len(ALPHABET)), rel=1e-5)
    assert model.evaluate("ab") == pytest.approx(np.log2(len(ALPHABET)), rel=1e-5)


def test_samples_depend_on_the_seed_alone():
    model, texts = small_model(), {1: set(), 2: set()}
    for isa in xr.isas():
        for threads in (1, 2):
            with xr.use_isa(isa), xr.threads(threads):
                for seed, seen in texts.items():
                    seen.add("".join(model.sample("the", length=40, seed=seed)))
    assert [len(seen) for seen in texts.values()] == [1, 1]
    assert texts[1] != texts[2]


def test_sampling_follows_the_probabilities():
    logits = np.log(np.array([0.1, 0.6, 0.3]))
    generator = np.random.PCG64(1)
    raws = [int(raw) for raw in generator.random_raw(4000)]
    counts = np.bincount([pick(logits, 1.0, raw) for raw in raws], minlength=3)
    np.testing.assert_allclose(counts / 4000, [0.1, 0.6, 0.3], atol=0.03)
    assert {pick(logits, 0.0, raw) for raw in raws[:20]} == {1}
    assert pick(np.array([-1e4, 0.0]), 1.0, 0) == 1  # a class of no weight
    cold = np.bincount([pick(logits, 0.25, raw) for raw in raws], minlength=3)
    assert cold[1] > 3700


def test_sample_names_what_is_wrong():
    model = small_model()
    with pytest.raises(ValueError, match="unknown to the model: '!'"):
        model.sample("!")
    with pytest.raises(ValueError, match="temperature"):
        model.sample("the", temperature=-1.0)


def test_a_saved_model_comes_back_to_the_bit(tmp_path):
    pytest.importorskip("safetensors")
    model = small_model(cell="gru", num_layers=2)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    model.save(first)
    loaded = LanguageModel.load(first)
    assert digest(loaded) == digest(model)
    assert (loaded.alphabet, loaded.config) == (model.alphabet, model.config)
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()


def test_parameters_of_another_model_are_refused():
    model = small_model()
    before = digest(model)
    state = model.state_dict()
    del state["readout.bias"]
    with pytest.raises(ValueError, match=r"state_dict: .* missing 'readout"):
        model.load_state_dict(state)
    with pytest.raises(ValueError, match="weight"):
        model.load_state_dict(small_model(hidden_size=25, seed=4).state_dict())
    assert digest(model) == before


def test_what_is_no_model_file_is_a_value_error(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="not a model file"):
        LanguageModel.load(path)
    xr.save(xr.GRU(1, 1), path)
    with pytest.raises(ValueError, match="not a language model"):
        LanguageModel.load(path)
    with pytest.raises(FileNotFoundError):
        LanguageModel.load(tmp_path / "absent")


def test_streams_of_real_numbers_can_be_learned():
    t = np.arange(401, dtype=np.float32)
    wave = (np.abs(t % 16 - 8) / 8).astype(np.float32)[:, None]
    chunks = list(stream_batches(wave, 4, 25))
    layer, readout = xr.LSTM(1, 12, seed=0), xr.train.Linear(12, 1, seed=0)
    fit_layer, fit_readout = xr.train.Adam(layer, 0.02), xr.train.Adam(readout, 0.02)
    losses = []
    for _ in range(15):
        state = None
        for x, target in chunks:
            hidden, state, cache = layer.forward(x, state)
            y, readout_cache = readout.forward(hidden)
            loss, dy = mean_squared_error(y, np.ascontiguousarray(target))
            back = readout.backward(readout_cache, dy)
            fit_layer.step(layer.backward(cache, back.x).weights)
            fit_readout.step(back.weights)
            losses.append(loss)
    assert losses[-1] < 0.1 * losses[0]
