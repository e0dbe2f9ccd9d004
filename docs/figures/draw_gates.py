"""Draw gates of a trained model: python docs/figures/draw_gates.py

A character model reads the documentation topics that CPython ships, for a minute. Of
its units those are drawn whose forget gate or memory tells spaces, line ends and
quotation best from the rest of the text. The same on every machine, to the bit.
"""

from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

import exactrnn as xr
from exactrnn.train import LanguageModel

FOLDER = Path(__file__).parent
STEPS = 1500
HELD_OUT = 20_000
LOOKED_AT = 30_000
SENTENCE = 'The "with" statement\nis used to wrap the\nexecution of a "for".\n'


def train(text):
    model = LanguageModel(
        "".join(sorted(set(text))), hidden_size=96, embedding_size=24, seed=0
    )
    for _ in model.training(text, steps=STEPS, batch_size=32, length=48, lr=8e-3):
        pass
    return model


def read(model, text):
    """Return the cache of the model's LSTM over a text, one row."""
    places = np.array([[model.alphabet.index(character)] for character in text])
    return model.recurrent.forward(model.embedding(places), gates=True)[2]


def find_unit(values, mask):
    """Return the unit, of values [T, H], that differs most where the mask is true."""
    apart = np.abs(values[mask].mean(0) - values[~mask].mean(0))
    return int(np.argmax(apart / (values.std(0) + 1e-6)))


def choose_units(cache, text):
    """Return the units that know about spaces, line ends and quotation."""
    letters = np.array(list(text))
    forget, memory = cache.gates["f_l0"][:, 0], cache.states["c_l0"][:, 0]
    quoted = np.cumsum(letters == '"') % 2 == 1
    return [
        find_unit(forget, letters == " "),
        find_unit(forget, letters == "\n"),
        find_unit(memory, quoted),
    ]


def main():
    text = "".join(topics[name] for name in sorted(topics))
    model = train(text[:-HELD_OUT])
    some = text[:LOOKED_AT]
    units = choose_units(read(model, some), some)
    labels = SENTENCE.replace("\n", "↵")
    cache = read(model, SENTENCE)
    figure = xr.plot.gates(cache, labels=labels, units=units, names="fc")
    figure.savefig(FOLDER / "gates.png")
    print(*units)


if __name__ == "__main__":
    main()
