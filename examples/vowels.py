"""Vowels: says which of nine men speaks, and who speaks in turn, untold when.

A bidirectional LSTM hears a vowel and says at each frame who speaks; the mean decides.
Another hears vowels in turn and learns from the order of the men alone, by CTC (A.
Graves et al., ICML 2006). Beside it, in the same way: a linear model of 25 frames.

    python examples/vowels.py                        # trains, prints, draws, saves

JapaneseVowels (M. Kudo, J. Toyama, M. Shimbo, 1999) has nine men who say /ae/: 12
cepstra in 7 to 29 frames, 270 utterances to learn from and 370 for the test. It comes
with `aeon`, of which nothing but these files is used: pip install --no-deps aeon.
Noise of half a cepstrum's deviation makes more utterances of the 270.
"""

import argparse
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # pip install '.[examples]'

import exactrnn as xr
from exactrnn import train

CEPSTRA, MEN, BLANK = 12, 9, 0  # the men are 1 to 9
REACH = 12
THEIRS = "Kudo et al. 1999 | 94.1 %, its HMM 96.2 % | not told"
ROWS = (
    (f"who speaks: accuracy | {THEIRS}", "≥ 97 %"),
    ("in turn: label error rate | - | - | -", "6 % fewer than linear"),
    ("in turn, linear: label error rate | - | - | -", "-"),
)


def read_utterances(part):
    """Return pairs of the frames [T, CEPSTRA] of an utterance and who speaks."""
    name = f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
    rows = (files("aeon") / name).read_text("utf-8").split("@data\n")[1].split()
    pairs = [row.rsplit(":", 1) for row in rows]
    cepstra = [[c.split(",") for c in row.split(":")] for row, _ in pairs]
    frames = [np.array(own, "float32").T for own in cepstra]
    return list(zip(frames, [int(man) for _, man in pairs], strict=True))


def string_together(utterances, sizes, rng, noise=0.5):
    """Return for each size a string of so many utterances: frames and men."""
    strings = []
    for size in sizes:
        chosen = [utterances[k] for k in rng.integers(len(utterances), size=size)]
        frames = np.concatenate([own for own, _ in chosen])
        frames += noise * rng.standard_normal(frames.shape, "float32")
        strings.append((frames, [man for _, man in chosen]))
    return strings


def make_batch(strings):
    """Return frames [T, B, CEPSTRA], men [B, L] with 0 behind them, and lengths."""
    frames, men = zip(*strings, strict=True)
    return train.pad(frames)[0], train.pad(men)[0].T, np.array([*map(len, frames)])


def make_network(seed, hidden=48):
    reader = xr.LSTM(CEPSTRA, hidden, bidirectional=True)
    return train.Sequential(reader, train.Linear(2 * hidden, 1 + MEN), seed=seed)


class Window(train.Composite):
    """A linear model of a frame and its neighbours, `REACH` before and behind."""

    def __init__(self, seed):
        self.linear = train.Linear(CEPSTRA * (2 * REACH + 1), 1 + MEN, seed=seed)

    def forward(self, x, lengths=None):  # noqa: ARG002 (zeros are behind each row)
        wide = np.pad(x, ((REACH, REACH), (0, 0), (0, 0)))
        heard = [wide[k : k + len(x)] for k in range(2 * REACH + 1)]
        return self.linear.forward(np.concatenate(heard, axis=2))

    __call__ = forward

    def backward(self, cache, dy):
        return train.ModuleGradients(None, {"linear": self.linear.backward(cache, dy)})


def each_frame(logits, men, lengths):
    """Cross-entropy of the frames of utterances, each of one man."""
    targets = np.broadcast_to(men[:, 0], logits.shape[:2])
    return train.softmax_cross_entropy(logits, targets, lengths=lengths)


def ctc(logits, men, lengths):
    """Mean loss of a string in nats, and its gradient."""
    counts = (men != BLANK).sum(axis=1)
    losses, dlogits = train.ctc_loss(logits, men, lengths, counts, blank=BLANK)
    return float(losses.mean()), dlogits / len(losses)


def learn(model, strings, loss, epochs, seed):
    """Train; return the minutes of one core that it has taken."""
    lengths = [len(frames) for frames, _ in strings]
    data = train.ragged_batches(strings, make_batch, 27, seed, lengths=lengths)
    rate = train.WarmUp(train.Cosine(0.01, steps=epochs * len(data)), steps=20)
    optimizer = train.Adam(model)
    begin = time.process_time()
    train.fit(model, data, loss, optimizer, epochs=epochs, schedule=rate, clip=5.0)
    return (time.process_time() - begin) / 60


def confuse(model, utterances):
    """Return how often each man, a row, was taken for each, a column."""
    x, men, lengths = make_batch([(frames, [man]) for frames, man in utterances])
    logits = model(x, lengths=lengths)[0]
    found = [logits[:T, b, 1:].mean(axis=0).argmax() for b, T in enumerate(lengths)]
    table = np.zeros((MEN, MEN), int)
    np.add.at(table, (men[:, 0] - 1, found), 1)
    return table


def error_rate(model, strings):
    """Return the errors for each hundred utterances that were strung together."""
    x, _, lengths = make_batch(strings)
    heard = train.ctc_greedy_decode(model(x, lengths=lengths)[0], lengths, blank=BLANK)
    found = [own.labels.tolist() for own in heard]
    return 100 * train.label_error_rate(found, [men for _, men in strings])


def run(seed, epochs, learnt, kept):
    """Train; return networks, scores, who was confused, a string heard, minutes."""
    rng = np.random.default_rng(seed)
    single = string_together(learnt, [1] * 20 * len(learnt), rng)
    strings = string_together(learnt, rng.integers(3, 7, size=len(single)), rng)
    test = string_together(kept, rng.integers(3, 7, size=500), rng, noise=0.0)
    who, order, linear = make_network(seed), make_network(seed + 1), Window(seed)
    lessons = (who, single, each_frame), (order, strings, ctc), (linear, strings, ctc)
    minutes = [learn(*lesson, epochs, seed) for lesson in lessons]
    table = confuse(who, kept)
    rates = error_rate(order, test), error_rate(linear, test)
    scores = 100 * table.trace() / table.sum(), *rates
    return {"who": who, "order": order}, scores, table, test[0], minutes


def print_table(scores, epochs, minutes):
    print("\n| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---|---|---|---|---|---|---|")
    for (head, end), *numbers in zip(ROWS, scores, minutes, strict=True):
        ours, spent = (", ".join(f"{number:.2f}" for number in own) for own in numbers)
        print(f"| {head} | {ours} % | {epochs} epochs, {spent} core-minutes | {end} |")


def draw(model, table, string, path):
    """Draw who was taken for whom; a string, and who speaks at each of its frames."""
    figure = Figure(figsize=(11, 4.5), dpi=100, layout="constrained")
    view, image, curves = figure.subplot_mosaic("ab;ac", width_ratios=[4, 7]).values()
    shade = {"cmap": "Blues", "vmax": 2 * np.sqrt(table.max())}
    view.imshow(np.sqrt(table), extent=(0.5, 9.5, 9.5, 0.5), **shade)
    for (row, column), number in np.ndenumerate(table):
        view.text(column + 1, row + 1, number or "", ha="center", va="center")
    view.set(xlabel="is taken for", ylabel="who speaks")
    frames, spoken = string
    image.imshow(frames.T, cmap="PuOr", vmin=-3, vmax=3, aspect="auto")
    image.set(ylabel="cepstrum", title=f"in turn: {', '.join(map(str, spoken))}")
    logits = model(frames[:, None])[0]
    e = np.exp(logits[:, 0] - logits[:, 0].max(axis=1, keepdims=True))
    shares = e / e.sum(axis=1, keepdims=True)
    curves.plot(shares[:, BLANK], color="0.8", linestyle=":")
    [heard] = train.ctc_greedy_decode(logits, blank=BLANK)
    for frame, man in zip(heard.frames, heard.labels, strict=True):
        curves.plot(shares[:, man], color=f"C{man}")
        curves.annotate(str(man), (frame, 1.03), ha="center", color=f"C{man}")
    curves.set(xlim=image.get_xlim(), ylim=(0, 1.2), xlabel="frame; dotted: no one")
    figure.savefig(path)
    print(f"\npicture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("vowels"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=8)
    parsed = parser.parse_args()
    xr.set_num_threads(parsed.threads)
    parsed.out.mkdir(parents=True, exist_ok=True)
    heard = [read_utterances(part) for part in ("TRAIN", "TEST")]
    frames = np.concatenate([own for own, _ in heard[0]])
    mean, scale = frames.mean(axis=0), frames.std(axis=0)
    data = [[((f - mean) / scale, man) for f, man in part] for part in heard]
    epochs = min(parsed.epochs, 3) if parsed.quick else parsed.epochs
    runs = [run(seed, epochs, *data) for seed in parsed.seed]
    models, scores, tables, strings, minutes = zip(*runs, strict=True)
    print_table(zip(*scores, strict=True), epochs, zip(*minutes, strict=True))
    parts = [(n + k, p) for n, own in models[-1].items() for k, p in own.parts.items()]
    xr.save(dict(parts), parsed.out / "vowels.safetensors")
    draw(models[-1]["order"], tables[-1], strings[-1], parsed.out / "vowels.png")
    return not parsed.quick and any(a < 97 or b > 0.94 * c for a, b, c in scores)


if __name__ == "__main__":
    raise SystemExit(main())
