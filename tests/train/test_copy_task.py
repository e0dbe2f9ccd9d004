"""The task that ends in a picture: an encoder and a decoder with attention, and `fit`.

examples/copy_task.py is imported, as it stands; here it learns short rows.
"""

import hashlib
import importlib.util

import numpy as np
import pytest
from arrays import same_bits
from variants import ISAS, ROOT

import exactrnn as xr
from exactrnn import train

SHORT = {"count": 1500, "longest": 8, "epochs": 5}
TINY = {"count": 96, "longest": 5, "units": 20, "epochs": 2}
TINY_DIGEST = "115ebe3e72f75b4f71c53c85fe71a0a6ac767b9106a3ebdb6032c793c0ccea92"


@pytest.fixture(scope="module")
def task():
    path = ROOT / "examples" / "copy_task.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def learned(task):
    return task.learn(seed=0, **SHORT)[0]


def test_it_writes_what_it_reads(task, learned):
    assert task.share_copied(learned, 300, SHORT["longest"], seed=9) > 0.9


def test_its_attention_runs_along_the_diagonal(task, learned):
    letters, before, lengths = task.draw(20, SHORT["longest"], seed=5)
    memory, _ = learned.encoder(learned.embedding(letters), lengths=lengths)
    inputs = learned.embedding(before)
    ends = {"memory_lengths": lengths, "lengths": lengths}
    cache = learned.decoder.forward(inputs, memory, **ends)[2]
    shares = cache.gates["attention_l0"]
    places = np.arange(shares.shape[2])
    counts = np.arange(len(letters))[:, None] < lengths
    where = (shares * places).sum(axis=2)
    off = np.abs(where - np.arange(len(letters))[:, None])[counts]
    assert off.mean() < 0.7
    assert np.corrcoef(where[counts], np.nonzero(counts)[0])[0, 1] > 0.95


def test_step_by_step_it_has_the_bits_of_the_whole(task, learned):
    letters, before, lengths = task.draw(20, SHORT["longest"], seed=6)
    whole = learned((letters, before), lengths=lengths)
    memory, _ = learned.encoder(learned.embedding(letters), lengths=lengths)
    stream = learned.decoder.stream(memory, lengths)
    for t, symbols in enumerate(before):
        y = learned.readout(stream.step(learned.embedding(symbols)))
        live = t < lengths
        assert same_bits(y[live], whole[t][live])


def test_its_checkpoint_has_one_sha_everywhere(task, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "copy"
    found = set()
    for isa in ISAS:
        for count in (1, 2):
            with xr.use_isa(isa), xr.threads(count):
                task.learn(seed=3, **TINY, checkpoint=path)
            found.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert found == {TINY_DIGEST}


def test_its_gradients_are_slopes_of_its_loss(task):
    """Each part's gradient reaches the loss through all that is behind it."""
    model = task.Copier(6, seed=1)
    letters, before, lengths = task.draw(3, 4, seed=2)
    pair = (letters, before)

    def loss():
        scores, cache = model.forward(pair, lengths=lengths)
        value, dy = train.softmax_cross_entropy(scores, letters, lengths=lengths)
        return value, cache, dy

    _, cache, dy = loss()
    gradients = model.backward(cache, dy).weights
    for name in model.parts:
        for own, gradient in gradients[name].weights.items():
            steepest = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
            weight = getattr(getattr(model, name), own)
            kept, values = weight[steepest], []
            for step in (-1e-2, 1e-2):
                weight[steepest] = kept + np.float32(step)
                values.append(loss()[0])
            weight[steepest] = kept
            slope = (values[1] - values[0]) / 2e-2
            assert slope == pytest.approx(gradient[steepest], rel=0.05), (name, own)
