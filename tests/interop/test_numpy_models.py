"""A model that a package ships as arrays for NumPy: weights in, the same answers out.

g2p-en spells words as phonemes: a GRU reads the letters, another one writes, each with
torch's weights in a file of NumPy's. The file is read where the package is installed,
which is not imported, as it would fetch data for other things that it does.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import exactrnn as xr

BEGIN, END, LONGEST = 2, 3, 20
"""Phonemes that open and close a word, and how many there are at most."""


@pytest.fixture(scope="module")
def arrays():
    found = find_spec("g2p_en")
    if found is None:
        pytest.skip("needs g2p-en: extra models")
    path = Path(found.submodule_search_locations[0]) / "checkpoint20.npz"
    with np.load(path) as stored:
        return dict(stored)


def letters_of(word):
    """Return the numbers of a word's letters and of its end, as the model has them."""
    return [3 + ord(letter) - ord("a") for letter in word] + [2]


def gru_of(arrays, part):
    """Return the GRU of a part of the model, from weights of torch's names."""
    kinds = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0"}
    kinds |= {"b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
    return xr.from_torch({ours: arrays[f"{part}_{n}"] for n, ours in kinds.items()})


def spell(arrays, word):
    """Return the phonemes of a word, a stream writing them one by one."""
    reader, writer = gru_of(arrays, "enc"), gru_of(arrays, "dec")
    _, h = reader(arrays["enc_emb"][letters_of(word)][:, None])
    stream, found, last = writer.stream(1), [], BEGIN
    stream.state = h
    while len(found) < LONGEST:
        y = stream.step(arrays["dec_emb"][[last]])
        last = int((y @ arrays["fc_w"].T + arrays["fc_b"]).argmax())
        if last == END:
            break
        found.append(last)
    return found, h[0]


def step(arrays, part, x, h):
    """Return h after a step of a part, in float64, as g2p-en computes it."""
    w_ih, w_hh, b_ih, b_hh = (
        arrays[f"{part}_{name}"].astype(float)
        for name in ("w_ih", "w_hh", "b_ih", "b_hh")
    )
    r_x, z_x, n_x = np.split(w_ih @ x + b_ih, 3)
    r_h, z_h, n_h = np.split(w_hh @ h + b_hh, 3)
    r, z = (1 / (1 + np.exp(-sums)) for sums in (r_x + r_h, z_x + z_h))
    return (1 - z) * np.tanh(n_x + r * n_h) + z * h


def spell_in_numpy(arrays, word):
    h = np.zeros(arrays["enc_w_hh"].shape[1])
    for x in arrays["enc_emb"][letters_of(word)]:
        h = step(arrays, "enc", x, h)
    found, last, state = [], BEGIN, h
    while len(found) < LONGEST:
        state = step(arrays, "dec", arrays["dec_emb"][last], state)
        last = int((arrays["fc_w"] @ state + arrays["fc_b"]).argmax())
        if last == END:
            break
        found.append(last)
    return found, h


@pytest.mark.parametrize("word", ["recurrent", "exact", "clockwork", "zoneout", "a"])
def test_words_are_spelled_as_before(arrays, word):
    (ours, h), (theirs, expected) = spell(arrays, word), spell_in_numpy(arrays, word)
    assert ours == theirs
    assert 0 < len(ours) < LONGEST
    assert np.abs(h - expected).max() < 1e-5
