"""Translation: numbers in words, from one language into another, letter by letter.

A bidirectional GRU reads "seventy-nine thousand and eight", an LSTM that looks back at
what was read (D. Bahdanau, K. Cho, Y. Bengio, arXiv 1409.0473) writes "neunundsiebzig-
tausendacht". `num2words` spells the numbers, in dozens of languages.

    python examples/translation.py                            # English to German
    python examples/translation.py --languages de fr
    python examples/translation.py --say "six thousand"       # alone: reads lines

Of the numbers below 100,000 those are held out whose SHA-256 is 0 to 9 modulo 100;
learnt from are the others below 1,000, and more of them in the order of their SHA-256.
Right is what has no wrong letter: the best of a beam of 4.
"""

import argparse
import hashlib
import math
import sys
import time
from pathlib import Path

from num2words import num2words  # pip install '.[examples]'

import exactrnn as xr
from exactrnn import train

HIDDEN = 128
EDGE = 0  # the symbol before the first letter and after the last
LETTERS = "\0abcdefghijklmnopqrstuvwxyzàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþßœő' ,-"
KNOWN = "ca cy da de en es fi fr fr_BE fr_CH hu id is it nl no pt pt_BR sv tet"
SHOWN = 79308


def hash_of(number):
    return int(hashlib.sha256(str(number).encode()).hexdigest(), 16)


def read(text):
    """Return the letters of a text in numbers, without those that are not known."""
    return [LETTERS.index(letter) for letter in text.lower() if letter in LETTERS]


def write(symbols):
    return "".join(LETTERS[k] for k in symbols)


def make_batch(pairs):
    """Return what `Translator.forward` takes, letters to write, how many they are."""
    texts, translations = zip(*pairs, strict=True)
    letters, places = train.pad(texts)
    previous, lengths = train.pad([[EDGE, *text] for text in translations])
    target, _ = train.pad([[*text, EDGE] for text in translations])
    return (letters, places, previous), target, lengths


class Translator(train.Composite):
    """Letters to a memory; letters so far, looking at it, to the next one."""

    def __init__(self, seed):
        self.source = train.Embedding(len(LETTERS), 32)
        self.encoder = xr.GRU(32, HIDDEN // 2, bidirectional=True)
        self.target = train.Embedding(len(LETTERS), 32)
        self.decoder = xr.AttentionDecoder("lstm", 32, HIDDEN, HIDDEN, output="concat")
        self.readout = train.Linear(2 * HIDDEN, len(LETTERS))
        self.seed_parts(seed)

    def forward(self, x, lengths):
        letters, places, previous = x
        e, one = self.source.forward(letters)
        memory, _, two = self.encoder.forward(e, lengths=places)
        e, three = self.target.forward(previous)
        rows = {"memory_lengths": places, "lengths": lengths}
        h, _, four = self.decoder.forward(e, memory, **rows)
        y, five = self.readout.forward(h)
        return y, (one, two, three, four, five)

    def backward(self, cache, dy):
        one, two, three, four, five = cache
        grads = {"readout": self.readout.backward(five, dy)}
        grads["decoder"] = self.decoder.backward(four, grads["readout"].x)
        grads["target"] = self.target.backward(three, grads["decoder"].x)
        grads["encoder"] = self.encoder.backward(two, grads["decoder"].memory)
        grads["source"] = self.source.backward(one, grads["encoder"].x)
        return train.ModuleGradients(None, grads)

    def translate(self, texts, width=4):
        """Return for each text, letters as numbers, what it may be, likeliest first."""
        letters, places = train.pad(texts)
        memory, _ = self.encoder(self.source(letters), lengths=places)
        memory, places = memory.repeat(width, axis=1), places.repeat(width)
        stream = self.decoder.stream(memory, memory_lengths=places)
        how = {"start": EDGE, "end": EDGE, "beam_width": width, "nbest": width}
        parts = stream, self.target, self.readout
        return train.beam_search(*parts, max_length=120, **how)


def learn(model, pairs, epochs, seed):
    """Train; return the minutes of one core that it has taken."""
    lengths = [len(text) + len(translation) for text, translation in pairs]
    data = train.ragged_batches(pairs, make_batch, 32, seed, lengths=lengths)
    rate = train.WarmUp(train.Cosine(4e-3, steps=epochs * len(data)), steps=100)
    loss, optimizer = train.softmax_cross_entropy, train.Adam(model)
    begin = time.process_time()
    train.fit(model, data, loss, optimizer, epochs=epochs, schedule=rate, clip=1.0)
    return (time.process_time() - begin) / 60


def evaluate(model, pairs):
    """Return how many in a hundred are right, and texts that are not."""
    wrong = []
    for k in range(0, len(pairs), 250):
        texts, translations = zip(*pairs[k : k + 250], strict=True)
        triples = zip(texts, translations, model.translate(texts), strict=True)
        for text, right, found in triples:
            if found[0].labels.tolist() != right:
                wrong.append((write(text), write(found[0].labels), write(right)))
    return 100 * (1 - len(wrong) / len(pairs)), wrong


def print_tables(languages, scores, budget, wrong):
    if wrong:
        print("\n| text | ours | right |\n|---|---|---|")
        print(*(f"| {' | '.join(line)} |" for line in wrong[:8]), sep="\n")
    print("\n| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---|---|---|---|---|---|---|")
    ours = ", ".join(f"{score:.2f}" for score in scores)
    what = f"numbers translated without a fault, {' to '.join(languages)}"
    row = (what, "none has these data", "-", "-", f"{ours} %", budget, "≥ 99 %")
    print(f"| {' | '.join(row)} |")


def draw(model, text, path):
    """Draw at which letters the model looks while it writes each of its own."""
    [found] = model.translate([text])
    x, _, lengths = make_batch([(text, written := found[0].labels.tolist())])
    _, (_, _, _, cache, _) = model.forward(x, lengths)
    target = [*write(written), "end"]
    figure = xr.plot.attention(cache, source=write(text), target=target)
    figure.axes[0].set(xlabel="reads", ylabel="writes")
    figure.savefig(path, dpi=80)
    print(f"\n{write(text)}: {write(written)}; picture: {path}")


def answer(model, texts):
    """Translate the texts of the command, or those that are typed, a line each."""
    for text in map(read, texts or sys.stdin):
        for found in model.translate([text])[0][:3] if text else ():
            print(f"{100 * math.exp(found.score):6.2f} %  {write(found.labels)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("translation"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--numbers", type=int, default=12_000, help="to learn from")
    languages = {"nargs": 2, "default": ["en", "de"], "choices": KNOWN.split()}
    parser.add_argument("--languages", metavar="NAME", **languages)
    parser.add_argument("--say", nargs="*", metavar="TEXT", help="by the saved model")
    parsed = parser.parse_args()
    if parsed.quick:
        parsed.numbers = min(parsed.numbers, 6000)
    xr.set_num_threads(parsed.threads)
    saved = parsed.out / "translation.safetensors"
    if parsed.say is not None:
        if not saved.is_file():
            parser.error(f"--say: no {saved} yet: train first, without --say")
        model = Translator(seed=0)
        vars(model).update(xr.load(saved))
        return answer(model, parsed.say)

    def pair_of(number):
        return [read(num2words(number, lang=name)) for name in parsed.languages]

    parsed.out.mkdir(parents=True, exist_ok=True)
    order = sorted(range(100_000), key=lambda n: (n >= 1000, hash_of(n)))
    known = [n for n in order if hash_of(n) % 100 >= 10][: parsed.numbers]
    held_out = sorted((n for n in order if hash_of(n) % 100 < 10), key=hash_of)
    held_out = held_out[: parsed.numbers // 4]
    print(f"{len(known)} numbers to learn from, {len(held_out)} held out")
    pairs, test = [[*map(pair_of, part)] for part in (known, held_out)]
    test.sort(key=lambda pair: len(pair[0]))
    scores, minutes = [], []
    for seed in parsed.seed:
        model = Translator(seed)
        minutes.append(f"{learn(model, pairs, parsed.epochs, seed):.1f}")
        score, wrong = evaluate(model, test)
        scores.append(score)
    xr.save(model.parts, saved)
    budget = f"{parsed.epochs} epochs, {', '.join(minutes)} core-minutes"
    print_tables(parsed.languages, scores, budget, wrong)
    draw(model, pair_of(SHOWN)[0], parsed.out / "translation.png")
    return not parsed.quick and min(scores) < 99


if __name__ == "__main__":
    raise SystemExit(main())
