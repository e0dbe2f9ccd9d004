"""Trainings for tests of `distributed.fit`: models, data, and the bytes of a run.

What workers are sent has to be found by them: it is here, not in a test.
"""

import hashlib

import numpy as np

import exactrnn as xr
from exactrnn import distributed, train
from exactrnn.distributed import InlineEngine

SYMBOLS = 12


def language_model():
    """Embedding, LSTM with dropout, readout."""
    return train.Sequential(
        train.Embedding(SYMBOLS, 6),
        xr.LSTM(6, 8, 2, dropout=0.3),
        train.Linear(8, SYMBOLS),
        seed=1,
    )


class AttentionModel(train.Composite):
    """Reads symbols in both directions, and again while it looks at what it read."""

    def __init__(self):
        self.embedding = train.Embedding(SYMBOLS, 6)
        self.encoder = xr.GRU(6, 5, bidirectional=True)
        self.decoder = xr.AttentionDecoder("lstm", 6, 7, 10)
        self.readout = train.Linear(7, SYMBOLS)
        self.seed_parts(2)

    def forward(self, x, lengths=None):
        embedded, first = self.embedding.forward(x)
        memory, _, second = self.encoder.forward(embedded, lengths=lengths)
        y, _, third = self.decoder.forward(
            embedded, memory, memory_lengths=lengths, lengths=lengths
        )
        y, fourth = self.readout.forward(y)
        return y, (first, second, third, fourth)

    def backward(self, cache, dy):
        readout = self.readout.backward(cache[3], dy)
        decoder = self.decoder.backward(cache[2], readout.x)
        encoder = self.encoder.backward(cache[1], decoder.memory)
        embedding = self.embedding.backward(cache[0], decoder.x + encoder.x)
        weights = {"embedding": embedding, "encoder": encoder}
        weights |= {"decoder": decoder, "readout": readout}
        return train.ModuleGradients(None, weights)


MODELS = {"language": language_model, "attention": AttentionModel}
LENGTHS = {"language": None, "attention": "ragged"}


def text_batches(name, size=10, count=60):
    """Return batches of windows of a text; those of the attention model are ragged."""
    draw = np.random.default_rng(0)
    text = draw.integers(0, SYMBOLS, count + 9)
    x = np.stack([text[k : k + 8] for k in range(count)], 1)
    y = np.stack([text[k + 1 : k + 9] for k in range(count)], 1)
    lengths = draw.integers(1, 9, count) if LENGTHS[name] else None
    return train.batches(x, y, size, seed=3, lengths=lengths)


def run(name, path, *, epochs=2, size=10, model=None, **options):
    """Train, and return the SHA-256 of the checkpoint and the history."""
    model = model or MODELS[name]()
    history = distributed.fit(
        model,
        text_batches(name, size),
        options.pop("loss", train.softmax_cross_entropy),
        train.Adam(model, lr=0.02),
        epochs=epochs,
        clip=0.2,
        schedule=train.WarmUp(train.Cosine(0.03, steps=60), steps=4),
        checkpoint=path,
        **{"shards": 5, **options},
    )
    return hashlib.sha256(path.read_bytes()).hexdigest(), history


class Unlucky(InlineEngine):
    """Loses something in the calls of these numbers, or of this name.

    `what` says what is lost: the "worker" before the call, the worker after it and so
    the "answer", or the "order", so that the worker lives on and knows nothing of it.
    """

    def __init__(self, numbers=(), method=None, what="worker"):
        self.numbers, self.method, self.what = set(numbers), method, what
        self.calls = self.losses = 0

    def call(self, worker, method, *args, returns=1):
        self.calls += 1
        if self.calls not in self.numbers and method != self.method:
            return super().call(worker, method, *args, returns=returns)
        self.losses += 1
        if self.what == "answer":
            super().call(worker, method, *args, returns=returns)
        if self.what == "order":
            [elsewhere] = self.place(dict, 1)
            self.lose(elsewhere)
            return super().call(elsewhere, method, returns=returns)
        self.lose(worker)
        return super().call(worker, method, *args, returns=returns)


class Counting(InlineEngine):
    """Counts the bytes of arrays that workers get from each other."""

    def __init__(self):
        self.received, self.owner = {}, {}

    def call(self, worker, method, *args, returns=1):
        found = super().call(worker, method, *args, returns=returns)
        for ref in found if returns > 1 else (found,):
            self.owner[ref] = worker
        for arg in args:
            owner = self.owner.get(arg) if not isinstance(arg, list) else None
            if owner not in (None, worker) and isinstance(arg.value, np.ndarray):
                before = self.received.get(worker, 0)
                self.received[worker] = before + arg.value.nbytes
        return found


def failing_loss(output, y, **_):
    raise LookupError("this loss fails")
