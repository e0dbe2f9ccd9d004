"""Gates along a text: what a character model remembers, letter by letter.

Takes what `exactrnn lm` has saved, reads a text with it and draws, as a shade behind
each letter, the forget gates of the units that tell words, lines or quotation apart.

    exactrnn lm                                     # a minute; says where it saves
    python examples/practice/gates.py model.safetensors
    python examples/practice/gates.py model.safetensors --text "He said: \\"no\\"."
"""

import argparse
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from matplotlib.figure import Figure  # pip install '.[examples]'

import exactrnn as xr
from exactrnn.train import LanguageModel

TEXT = 'The "with" statement is used to wrap the execution of a block (see "for").'
LOOKED_AT = 20_000


def gates_along(model, text):
    """Return the forget gates [T, H] of the first layer over a text."""
    places = np.array([[model.alphabet.index(letter)] for letter in text])
    _, _, cache = model.recurrent.forward(model.embedding(places), gates=True)
    return cache.gates["f_l0"][:, 0]


def choose(gates, text):
    """Return by name the unit whose gate differs most in places of a kind."""
    letters = np.array([*text])
    kinds = {
        "a space": letters == " ",
        "a new line": letters == "\n",
        "between quotation marks": np.cumsum(letters == '"') % 2 == 1,
    }
    spread = gates.std(0) + 1e-6
    return {
        kind: int(np.argmax(np.abs(gates[at].mean(0) - gates[~at].mean(0)) / spread))
        for kind, at in kinds.items()
        if 0 < at.mean() < 1
    }


def draw(text, gates, units, path):
    size = (max(5, 0.13 * len(text) + 1), 0.7 * len(units) + 0.4)
    figure = Figure(size, layout="constrained")
    for axes, (kind, unit) in zip(
        np.atleast_1d(figure.subplots(len(units), 1)), units.items(), strict=True
    ):
        shown = axes.imshow(
            gates[None, :, unit], cmap="Blues", vmin=0, vmax=1.3, aspect="auto"
        )
        for place, letter in enumerate(text):
            axes.text(place, 0, letter, ha="center", va="center", family="monospace")
        axes.set_title(f"unit {unit} knows {kind}", loc="left", fontsize=8)
        axes.set(xticks=[], yticks=[])
    bar = figure.colorbar(shown, ax=figure.axes, label="forget gate", ticks=[0, 1])
    bar.ax.set_ylim(0, 1)  # letters are legible on these shades
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="of `exactrnn lm`, an LSTM")
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--out", type=Path, default=Path("gates.png"))
    parsed = parser.parse_args()
    parsed.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        model = LanguageModel.load(parsed.model)
    except (OSError, ValueError) as error:
        parser.error(str(error).removeprefix("path: "))
    if not isinstance(model.recurrent, xr.LSTM):
        parser.error(f"model: expected one of an LSTM, got {model.recurrent!r}")
    if not parsed.text:
        parser.error("--text: expected letters, got none")
    unknown = {*parsed.text} - {*model.alphabet}
    if unknown:
        parser.error(f"--text: the model does not know {''.join(sorted(unknown))!r}")
    whole = "".join(topics[name] for name in sorted(topics))
    known = "".join(letter for letter in whole if letter in model.alphabet)[:LOOKED_AT]
    units = choose(gates_along(model, known), known)
    if not units:
        parser.error("model: expected one that knows spaces, lines or quotation marks")
    draw(parsed.text, gates_along(model, parsed.text), units, parsed.out)
    print(*(f"unit {unit}: {kind}" for kind, unit in units.items()), sep="\n")
    print(f"picture: {parsed.out}")


if __name__ == "__main__":
    main()
