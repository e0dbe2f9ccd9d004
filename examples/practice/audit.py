"""An audit: two people train the same model on different machines, and compare a line.

Rows of handwritten digits (scikit-learn) are read one after the other, a GRU says which
digit it was. Data, seed and options give the checkpoint one SHA-256, whatever the
processor, its instruction set and the number of threads:

    python examples/practice/audit.py                          # here: as published?
    python examples/practice/audit.py --isa scalar --threads 2   # as if elsewhere
    python examples/practice/audit.py --epochs 9 --expect SHA-256   # theirs
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits  # pip install '.[examples]'

import exactrnn as xr
from exactrnn import train

PUBLISHED = "da425f4d62174c813ea1b1ad5a4f6ee1b1f70ae8e75df3731c0d7cacdf9ac05c"
"""Of 5 epochs, numerics 1."""


def digest(content):
    return hashlib.sha256(content).hexdigest()


def learn(epochs, path):
    """Train on all but the last 300 digits; return the accuracy on those."""
    digits = load_digits()
    x = np.ascontiguousarray(digits.images.transpose(1, 0, 2) / 16, np.float32)
    y = digits.target.astype(np.int64)
    print("data      ", digest(x.tobytes() + y.tobytes()))
    model = train.Sequential(xr.GRU(8, 32), train.Last(), train.Linear(32, 10), seed=0)
    train.fit(
        model,
        train.batches(x[:, :-300], y[:-300], size=32, seed=0, axes=(1, 0)),
        train.softmax_cross_entropy,
        train.Adam(model, lr=0.01),
        epochs=epochs,
    )
    xr.save({"gru": model[0], "readout": model[2]}, path)
    answers, _ = model(x[:, -300:])
    return (answers.argmax(1) == y[-300:]).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--isa", choices=xr.isas(), default=xr.isa())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--expect", metavar="SHA-256", help="what the other one has")
    parser.add_argument("--out", type=Path, default=Path("audit.safetensors"))
    parsed = parser.parse_args()
    parsed.out.parent.mkdir(parents=True, exist_ok=True)
    xr.use_isa(parsed.isa)
    xr.set_num_threads(parsed.threads)
    expected = parsed.expect or (PUBLISHED if parsed.epochs == 5 else None)
    print(f"machine    {parsed.isa}, {parsed.threads} threads")
    right = learn(parsed.epochs, parsed.out)
    found = digest(parsed.out.read_bytes())
    print(f"right      {right:.1%} of 300 digits that it has not seen")
    print(f"checkpoint {found}")
    if expected is None:
        return print("Send this SHA-256; the other one passes it with --expect.")
    print("the same bits" if found == expected else f"DIFFERENT: expected {expected}")
    return found != expected


if __name__ == "__main__":
    raise SystemExit(main())
