"""Handwriting: reads lines of digits without being told where a digit begins.

A bidirectional LSTM goes over the columns of a line; connectionist temporal
classification (A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, ICML 2006) needs the
digits alone to learn from, not their places.

    python examples/handwriting.py                   # trains, prints, draws, saves

The lines are 3 to 8 of scikit-learn's 1,797 handwritten digits, 8 x 8 pixels each, one
a row or two higher than the other, with 0 to 3 empty columns between them. The seed
draws which 397 digits are kept for the lines of the test. Of the others half are turned
and stretched a little when they come to stand in a line, for 1,400 are few.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # pip install '.[examples]'
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits

import exactrnn as xr
from exactrnn import train

HEIGHT = 10
BLANK = 0  # the digit d has the label d + 1
KEPT = 397
TO_REACH = 3.0
PAPER = "Graves et al. 2009 (IEEE PAMI 31), bidirectional LSTM + CTC, English lines"


def read_digits(seed):
    """Return pairs of an image, 0 to 1, and its label: to learn from, and kept."""
    found = load_digits()
    images = (found.images / 16).astype("float32")
    digits = list(zip(images, (found.target + 1).tolist(), strict=True))
    order = np.random.default_rng(seed).permutation(len(digits))
    return [digits[k] for k in order[KEPT:]], [digits[k] for k in order[:KEPT]]


def lean(image, rng):
    """Turn, shear and stretch an image a little."""
    turn, shear = rng.uniform(-0.2, 0.2), rng.uniform(-0.1, 0.1)
    wide, high = rng.uniform(0.9, 1.1, size=2)
    matrix = np.array([[high, turn + shear], [shear - turn, wide]])
    return affine_transform(image, matrix, 3.5 - matrix @ [3.5, 3.5], order=1)


def string_together(digits, rng, leaning):
    """Return a line's columns [T, HEIGHT] and its labels."""
    columns, labels = [np.zeros((2, HEIGHT), "float32")], []
    for k in rng.integers(len(digits), size=rng.integers(3, 9)):
        image, label = digits[k]
        if rng.random() < leaning:
            image = lean(image, rng)
        top = rng.integers(HEIGHT - 7)
        drawn = np.zeros((8 + rng.integers(4), HEIGHT), "float32")
        drawn[:8, top : top + 8] = image.T
        columns.append(drawn)
        labels.append(label)
    return np.concatenate(columns), labels


def make_batch(lines):
    """Return columns [T, B, HEIGHT], labels [B, L] with 0 behind them, and lengths."""
    columns, labels = zip(*lines, strict=True)
    x, lengths = train.pad(columns)
    return x, train.pad(labels)[0].T, lengths


def make_model(seed, hidden=64):
    reader = xr.LSTM(HEIGHT, hidden, num_layers=2, bidirectional=True, dropout=0.2)
    return train.Sequential(reader, train.Linear(2 * hidden, 11), seed=seed)


def ctc(logits, labels, lengths):
    """Mean loss of a line in nats, and its gradient."""
    counts = (labels != BLANK).sum(axis=1)
    losses, dlogits = train.ctc_loss(logits, labels, lengths, counts, blank=BLANK)
    return float(losses.mean()), dlogits / len(losses)


def learn(model, lines, epochs, seed):
    """Train; return the minutes of one core that it has taken."""
    lengths = [len(columns) for columns, _ in lines]
    data = train.ragged_batches(lines, make_batch, 32, seed, lengths=lengths)
    rate = train.WarmUp(train.Cosine(0.01, steps=epochs * len(data)), steps=20)
    optimizer = train.Adam(model)
    begin = time.process_time()
    train.fit(model, data, ctc, optimizer, epochs=epochs, schedule=rate, clip=5.0)
    return (time.process_time() - begin) / 60


def evaluate(model, lines):
    """Return errors for each hundred digits, and lines that are read wrongly."""
    x, _, lengths = make_batch(lines)
    read = train.ctc_greedy_decode(model(x, lengths=lengths)[0], lengths, blank=BLANK)
    pairs = [
        (found.labels.tolist(), labels)
        for found, (_, labels) in zip(read, lines, strict=True)
    ]
    wrong = [
        (as_text(found), as_text(right)) for found, right in pairs if found != right
    ]
    return 100 * train.label_error_rate(*zip(*pairs, strict=True)), wrong


def as_text(labels):
    return "".join(str(label - 1) for label in labels)


def print_tables(rates, budget, wrong):
    print("\n| read | right |\n|---|---|")
    print(*(f"| {' | '.join(line)} |" for line in wrong[:8]), sep="\n")
    print("\n| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---|---|---|---|---|---|---|")
    ours = ", ".join(f"{rate:.2f}" for rate in rates)
    theirs = "74.1 % of words right", "not told"
    row = ("label error rate", PAPER, *theirs, f"{ours} %", budget, f"≤ {TO_REACH:g} %")
    print(f"| {' | '.join(row)} |")


def draw(model, lines, path):
    """Draw lines, and below each what the network takes every column for."""
    figure = Figure(figsize=(9, 2.2 * len(lines)), dpi=100, layout="constrained")
    views = figure.subplots(
        2 * len(lines), 1, sharex=True, height_ratios=[2, 3] * len(lines)
    )
    for b, (columns, _) in enumerate(lines):
        image, curves = views[2 * b : 2 * b + 2]
        image.imshow(columns.T, cmap="gray_r", aspect="auto", interpolation="nearest")
        image.set_axis_off()
        logits = model(columns[:, None])[0]
        [read] = train.ctc_greedy_decode(logits, blank=BLANK)
        e = np.exp(logits[:, 0] - logits[:, 0].max(axis=1, keepdims=True))
        shares = e / e.sum(axis=1, keepdims=True)
        curves.plot(shares[:, BLANK], color="0.8", linestyle=":")
        for label in set(read.labels):
            curves.plot(shares[:, label], color=f"C{label - 1}")
        for frame, label in zip(read.frames, read.labels, strict=True):
            place = {"ha": "center", "color": f"C{label - 1}"}
            curves.annotate(str(label - 1), (frame, 1.03), **place)
        curves.set(ylim=(0, 1.25), yticks=[0, 1])
        curves.spines[["top", "right"]].set_visible(False)
    views[-1].set_xlabel("column; how likely each digit is, dotted: none")
    figure.savefig(path)
    print(f"\npicture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("handwriting"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lines", type=int, default=8000, help="to learn from")
    parsed = parser.parse_args()
    if parsed.quick:
        parsed.epochs, parsed.lines = min(parsed.epochs, 8), min(parsed.lines, 3000)
    xr.set_num_threads(parsed.threads)
    parsed.out.mkdir(parents=True, exist_ok=True)
    rates, minutes = [], []
    for seed in parsed.seed:
        learnt, kept = read_digits(seed)
        rng = np.random.default_rng(seed)
        lines = [string_together(learnt, rng, 0.5) for _ in range(parsed.lines)]
        test = [string_together(kept, rng, 0.0) for _ in range(1000)]
        model = make_model(seed)
        minutes.append(f"{learn(model, lines, parsed.epochs, seed):.1f}")
        rate, wrong = evaluate(model, test)
        rates.append(rate)
    xr.save(model.parts, parsed.out / "handwriting.safetensors")
    budget = f"{parsed.epochs} epochs, {', '.join(minutes)} core-minutes"
    print_tables(rates, budget, wrong)
    draw(model, test[:3], parsed.out / "handwriting.png")
    return not parsed.quick and any(rate > TO_REACH for rate in rates)


if __name__ == "__main__":
    raise SystemExit(main())
