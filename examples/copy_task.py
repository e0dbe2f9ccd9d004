"""The least task with attention: read letters, and write them again.

A bidirectional GRU reads; a GRU that looks back at what was read writes, letter by
letter, until it writes the end. Rows have 3 to 20 letters of 8. It learns where to look
by itself: the picture of its attention shows the diagonal.

    python examples/copy_task.py                  # seconds, one thread
    python examples/copy_task.py --seed 0 1 2     # three runs

It prints the SHA-256 of the whole run's checkpoint: one on every machine, instruction
set and number of threads.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np

import exactrnn as xr
from exactrnn import train

LETTERS = "abcdefgh"
END, BEGIN = len(LETTERS), len(LETTERS) + 1
SYMBOLS = BEGIN + 1


class Copier(train.Composite):
    """Reads symbols, and writes symbols while it looks at what it has read."""

    def __init__(self, units, seed):
        self.embedding = train.Embedding(SYMBOLS, 16)
        self.encoder = xr.GRU(16, units, bidirectional=True)
        self.decoder = xr.AttentionDecoder("gru", 16, units, 2 * units)
        self.readout = train.Linear(units, SYMBOLS)
        self.seed_parts(seed)

    def forward(self, x, lengths=None):
        """Return scores [T, B, V] of `x`: what is read, and what was written before."""
        (source, before), first = self.embedding.forward(np.stack(x))
        memory, _, second = self.encoder.forward(source, lengths=lengths)
        ends = {"memory_lengths": lengths, "lengths": lengths}
        y, _, third = self.decoder.forward(before, memory, **ends)
        scores, fourth = self.readout.forward(y)
        return scores, (first, second, third, fourth)

    def backward(self, cache, dy):
        """Return the gradients of the weights, by part."""
        readout = self.readout.backward(cache[3], dy)
        decoder = self.decoder.backward(cache[2], readout.x)
        encoder = self.encoder.backward(cache[1], decoder.memory)
        dx = np.stack([encoder.x, decoder.x])
        embedding = self.embedding.backward(cache[0], dx)
        found = (embedding, encoder, decoder, readout)
        return train.ModuleGradients(None, dict(zip(self.parts, found, strict=True)))

    def write(self, source, lengths):
        """Return what it writes [T, B] to what it reads, and where it looked."""
        memory, _ = self.encoder(self.embedding(source), lengths=lengths)
        stream = self.decoder.stream(memory, lengths)
        symbols, written, looks = np.full(source.shape[1], BEGIN), [], []
        for _ in source:
            y = stream.step(self.embedding(symbols))
            symbols = self.readout(y).argmax(1)
            written.append(symbols)
            looks.append(stream.attention)
        return np.stack(written), np.stack(looks)


def draw(count, longest, seed):
    """Return sequences that end with END [T, N], the same one step later, lengths."""
    generator = np.random.PCG64(seed)
    raw = generator.random_raw(count * (longest + 1)).reshape(count, longest + 1)
    lengths = 3 + (raw[:, 0] % (longest - 2)).astype(np.int64)
    letters = np.zeros((longest + 1, count), np.int64)
    letters[:longest] = (raw[:, 1:] % len(LETTERS)).T
    steps = np.arange(longest + 1)[:, None]
    letters[steps >= lengths] = END
    before = np.concatenate([np.full((1, count), BEGIN), letters[:-1]])
    return letters, before, lengths + 1


def make_batches(count, longest, size, seed):
    """Return batches of pairs: what is read and was written before, what is written."""
    letters, before, lengths = draw(count, longest, seed)
    pairs = (letters, before)
    return train.batches(pairs, letters, size, 0, axes=((1, 1), 1), lengths=lengths)


def learn(seed=0, *, count=4000, longest=20, units=32, epochs=8, checkpoint=None):
    """Return a model that has learned to copy, and how that went."""
    model = Copier(units, seed)
    history = train.fit(
        model,
        make_batches(count, longest, 32, seed + 1),
        train.softmax_cross_entropy,
        train.Adam(model, lr=0.01),
        epochs=epochs,
        schedule=train.Cosine(0.01, steps=epochs * ((count + 31) // 32)),
        clip=1.0,
        checkpoint=checkpoint,
    )
    return model, history


def share_copied(model, count, longest, seed):
    """Return the share of new sequences that are written without a fault."""
    letters, _, lengths = draw(count, longest, seed)
    written, _ = model.write(letters, lengths)
    past = np.arange(len(letters))[:, None] >= lengths
    return float(((written == letters) | past).all(axis=0).mean())


def spell(symbols):
    """Return symbols as text, to the end."""
    text = "".join((LETTERS + ".")[k] for k in symbols)
    return text.partition(".")[0] + "."


def show(model, text, path):
    """Write one text, and draw where the model looked."""
    symbols = np.array([[*map(LETTERS.index, text), END]]).T
    written, looks = model.write(symbols, [len(symbols)])
    print(f"\nread {text}, written {spell(written[:, 0])}")
    print(f"looked at {' '.join(str(k) for k in looks[:, 0].argmax(1))}")
    before = np.concatenate([[[BEGIN]], symbols[:-1]])
    read = model.encoder(model.embedding(symbols))[0]
    cache = model.decoder.forward(model.embedding(before), read)[2]
    figure = xr.plot.attention(cache, source=text + ".", target=text + ".")
    figure.savefig(path)
    print(f"picture: {path}")


def print_table(shares, budget):
    """Print what was reached, as all examples do."""
    ours = ", ".join(f"{100 * share:.1f}" for share in shares)
    row = ("rows copied without a fault", "none has this task", "-", "-", f"{ours} %")
    print("\n| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---|---|---|---|---|---|---|")
    print(f"| {' | '.join((*row, budget, '≥ 98 %'))} |")


def main():
    """Learn, measure, show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short rows, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("copy_task"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=8)
    parsed = parser.parse_args()
    xr.set_num_threads(parsed.threads)
    sizes = {"count": 1500, "longest": 8} if parsed.quick else {}
    epochs = min(parsed.epochs, 5) if parsed.quick else parsed.epochs
    parsed.out.mkdir(parents=True, exist_ok=True)
    run, shares, minutes = parsed.out / "copy_task.run", [], []
    for seed in parsed.seed:
        begin = time.process_time()
        model, history = learn(seed, **sizes, epochs=epochs, checkpoint=run)
        minutes.append(f"{(time.process_time() - begin) / 60:.2f}")
        shares.append(share_copied(model, 500, sizes.get("longest", 20), seed + 2))
        digest = hashlib.sha256(run.read_bytes()).hexdigest()
        print(f"seed {seed}: loss {history.loss[-1]:.4f}, checkpoint SHA-256 {digest}")
    xr.save(model.parts, parsed.out / "copy_task.safetensors")
    print_table(shares, f"{epochs} epochs, {', '.join(minutes)} core-minutes")
    show(model, "headache", parsed.out / "copy_task.png")
    return not parsed.quick and min(shares) < 0.98


if __name__ == "__main__":
    raise SystemExit(main())
