"""Fitting and asking `exactrnn.sklearn.SequenceClassifier`, beside the same in torch.

The rival is what a user of torch writes in scikit-learn's manner (or has skorch write):
`fit(X, y)` and `predict(X)` over a list of arrays, batches in another order in every
epoch, padded and packed where lengths differ, cross-entropy, AdamW, gradients clipped.
Both start from the same weights, with which they give the same answers. What is
reported are medians of whole calls in turns: milliseconds for an epoch of `fit` and
for `predict`, and the ratio. 512 sequences of 8 values, 32 a batch; a name ends with
the number of hidden units; `even-...` are all of 35 steps, `ragged-...` of 10 to 60.

    python benchmarks/sklearn_fits.py
    python benchmarks/sklearn_fits.py --threads 2 --models 'ragged-*' --rounds 9
"""

import argparse
import json
import statistics
import time
from fnmatch import fnmatch

import numpy as np
import torch
from arguments import output
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import exactrnn as xr
from exactrnn.sklearn import SequenceClassifier

COUNT, VALUES, ROWS, EPOCHS = 512, 8, 32, 2
RATE, CLIP = 0.01, 1.0
REST = 0.02
"""Seconds before a call, in which threads of the other library go to sleep."""
MODELS = {
    f"{lengths}-{cell}-{size}": (lengths, cell, size)
    for lengths in ("even", "ragged")
    for cell in ("lstm", "gru")
    for size in (32, 128)
}


def draw_data(lengths, rng):
    """Return sequences, and which of their first two values has the larger mean."""
    steps = [35] * COUNT if lengths == "even" else rng.integers(10, 61, COUNT)
    X = [rng.standard_normal((n, VALUES)).astype("float32") for n in steps]
    return X, np.array([int(x[:, 0].mean() > x[:, 1].mean()) for x in X])


class TorchClassifier:
    """The rival: torch in scikit-learn's manner.

    Parameters
    ----------
    model : torch.nn.Module
        With a recurrent `layer` and a linear `readout`.
    """

    def __init__(self, model):
        self.model = model

    def logits(self, batch):
        """Return the logits of a dense batch [T, B, I], or of a packed one."""
        y, state = self.model.layer(batch)
        if isinstance(y, torch.Tensor):
            return self.model.readout(y[-1])
        h = state[0] if isinstance(state, tuple) else state
        return self.model.readout(h[-1])

    @staticmethod
    def batches_of(X):
        """Return what makes a batch of rows: of sequences that are as long, at once."""
        tensors = [torch.from_numpy(x) for x in X]
        if len({len(x) for x in X}) == 1:
            dense = torch.stack(tensors, 1)
            return lambda rows: dense[:, rows]
        return lambda rows: pack_sequence(
            [tensors[row] for row in rows], enforce_sorted=False
        )

    def fit(self, X, y, epochs):
        """Train for some epochs."""
        batch, y = self.batches_of(X), torch.from_numpy(y)
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=RATE, weight_decay=0.0
        )
        for _ in range(epochs):
            for rows in torch.randperm(len(X)).split(ROWS):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.logits(batch(rows)), y[rows])
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
                optimizer.step()
                loss.item()  # which a history is made of

    def predict(self, X):
        """Return the likeliest class of each sequence."""
        return self.predict_proba(X).argmax(1)

    @torch.inference_mode()
    def predict_proba(self, X):
        """Return the probability of each class."""
        batch = self.batches_of(X)(torch.arange(len(X)))
        return self.logits(batch).softmax(1).numpy()


def make_estimator(cell, size, **options):
    """Return an estimator that leaves the data as they are, as the rival does."""
    given = {"hidden_size": size, "batch_size": ROWS, "lr": RATE, "clip": CLIP}
    return SequenceClassifier(
        cell, **given | options, standardize=False, random_state=0
    )


def timed(call, *given):
    """Return the time of a call in ms, and what it returned."""
    time.sleep(REST)
    start = time.perf_counter()
    found = call(*given)
    return 1e3 * (time.perf_counter() - start), found


def measure(name, rounds):
    """Return median times in ms, ours and torch's: of an epoch, and of `predict`."""
    lengths, cell, size = MODELS[name]
    X, y = draw_data(lengths, np.random.default_rng(0))
    first = make_estimator(cell, size, lr=0.0, epochs=1).fit(X, y)
    rival = TorchClassifier(xr.to_torch(first.model_))
    assert np.abs(rival.predict_proba(X) - first.predict_proba(X)).max() < 1e-5
    times = {"fit": [], "predict": []}
    for _ in range(rounds + 1):
        ours = make_estimator(cell, size, epochs=EPOCHS)
        theirs = TorchClassifier(xr.to_torch(first.model_))
        own, _ = timed(ours.fit, X, y)
        their, _ = timed(theirs.fit, X, y, EPOCHS)
        times["fit"].append((own, their))
        answers = timed(ours.predict, X), timed(theirs.predict, X)
        times["predict"].append(tuple(time for time, _ in answers))
    share = {"fit": EPOCHS, "predict": 1}
    return {
        what: [statistics.median(t) / share[what] for t in zip(*pairs[1:], strict=True)]
        for what, pairs in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--isa", help="instruction set of exactrnn: see xr.isas()")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    xr.set_num_threads(parsed.threads)
    torch.manual_seed(0)
    if parsed.isa:
        xr.use_isa(parsed.isa)
    found = {}
    print(f"{parsed.threads} threads, {xr.isa()}, torch {torch.__version__}")
    print("| ms | epoch | torch | ratio | predict | torch | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in MODELS:
        if any(fnmatch(name, pattern) for pattern in parsed.models):
            found[name] = measure(name, parsed.rounds)
            cells = "".join(
                f" {ours:.1f} | {theirs:.1f} | {theirs / ours:.2f} |"
                for ours, theirs in found[name].values()
            )
            print(f"| {name} |{cells}", flush=True)
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
