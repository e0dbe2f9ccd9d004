"""Training steps of whole torch models, stock against swapped.

Each model is an ordinary one: embedding or features in, recurrent layers, a linear
layer, cross-entropy, Adam, 32 rows a batch; a name ends with the number of hidden
units. Two copies with the same weights take steps on the same batches in turns, one as
torch made it, one after `exactrnn.torch.swap`; what is reported are medians of a step's
time, and the ratio. `packed-...` read a `PackedSequence` of sentences of 5 to 40 words.

    python benchmarks/torch_training.py
    python benchmarks/torch_training.py --threads 2 --models 'packed-*' --steps 40
"""

import argparse
import copy
import json
import statistics
import time
from fnmatch import fnmatch

import torch
from arguments import output
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import exactrnn as xr
import exactrnn.torch as xrt

WORDS, TAGS, CLASSES, FEATURES = 2000, 20, 10, 40
ROWS, WORDS_AT_MOST, STEPS_OF_SOUND = 32, 40, 100


class Tagger(nn.Module):
    """A tag for each word of packed sentences: two bidirectional layers."""

    def __init__(self, recurrent, size):
        super().__init__()
        self.words = nn.Embedding(WORDS, size)
        self.reader = recurrent(size, size, num_layers=2, bidirectional=True)
        self.tags = nn.Linear(2 * size, TAGS)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(self.words(words), lengths, enforce_sorted=False)
        return self.tags(self.reader(packed)[0].data)

    @staticmethod
    def draw_batch():
        """Return inputs, and the targets of all words in the order of packing."""
        lengths = torch.randint(5, WORDS_AT_MOST + 1, (ROWS,))
        words = torch.randint(WORDS, (WORDS_AT_MOST, ROWS))
        return (words, lengths), torch.randint(TAGS, (int(lengths.sum()),))


class Classifier(nn.Module):
    """A class for each sequence of feature vectors, from the final state."""

    def __init__(self, recurrent, size):
        super().__init__()
        self.reader = recurrent(FEATURES, size, batch_first=True)
        self.classes = nn.Linear(size, CLASSES)

    def forward(self, features):
        return self.classes(self.reader(features)[0][:, -1])

    @staticmethod
    def draw_batch():
        """Return inputs and the targets of all rows."""
        features = torch.randn(ROWS, STEPS_OF_SOUND, FEATURES)
        return (features,), torch.randint(CLASSES, (ROWS,))


MODELS = {
    f"{model}-{size}": (kind, recurrent, size)
    for model, kind, recurrent in (
        ("packed-lstm-tagger", Tagger, nn.LSTM),
        ("packed-gru-tagger", Tagger, nn.GRU),
        ("lstm-classifier", Classifier, nn.LSTM),
        ("gru-classifier", Classifier, nn.GRU),
    )
    for size in (32, 128)
}


class Trainer:
    """A model in training; `times` are those of its steps in seconds."""

    def __init__(self, model):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters())
        self.times = []

    def step(self, inputs, targets):
        """Take one step and return its loss."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(*inputs), targets)
        loss.backward()
        self.optimizer.step()
        self.times.append(time.perf_counter() - start)
        return loss.item()


def measure(name, steps):
    """Return the median times of a step in ms, stock and swapped."""
    kind, recurrent, size = MODELS[name]
    torch.manual_seed(0)
    stock = Trainer(kind(recurrent, size))
    model = copy.deepcopy(stock.model)
    report = xrt.swap(model)
    assert list(report.swapped) == ["reader"]
    swapped = Trainer(model)
    for number in range(steps + 2):
        batch = kind.draw_batch()
        order = (stock, swapped) if number % 2 else (swapped, stock)
        losses = [trainer.step(*batch) for trainer in order]
        if number == 0:  # the same computation; later steps grow apart by rounding
            assert abs(losses[0] - losses[1]) < 1e-5
    return [1e3 * statistics.median(t.times[2:]) for t in (stock, swapped)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--isa", help="instruction set of exactrnn: see xr.isas()")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    xr.set_num_threads(parsed.threads)
    if parsed.isa:
        xr.use_isa(parsed.isa)
    found = {}
    print(f"{parsed.threads} threads, {xr.isa()}, torch {torch.__version__}")
    print("| training step, ms | torch | swapped | ratio |\n|---|---:|---:|---:|")
    for name in MODELS:
        if any(fnmatch(name, pattern) for pattern in parsed.models):
            stock, swapped = found[name] = measure(name, parsed.steps)
            print(f"| {name} | {stock:.1f} | {swapped:.1f} | {stock / swapped:.2f} |")
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
