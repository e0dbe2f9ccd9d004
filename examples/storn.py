"""Two recurrent networks write digits row by row: one reads, one writes.

The STORN of J. Bayer, C. Osendorfer (arXiv 1411.7610): a recognition network reads the
rows x_1 .. x_t and tells of the latent variable z_t, whose prior is N(0, 1) at every
step; a generating one makes h_t = tanh(W x_{t-1} + W' z_t + R h_{t-1} + b) of it, which
tells of the row x_t.

    python examples/storn.py                       # trains, prints, draws, saves

Data are scikit-learn's 1,797 digits of 8 x 8, whose pixels count black ones among 16:
1,200 to learn from, 297 to choose the epoch, 300 held out for the bound on -log p. The
VAE beside it: the same parts, the image as one row, as many latent variables.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
from matplotlib import image  # pip install '.[examples]'
from sklearn.datasets import load_digits

import exactrnn as xr
from exactrnn import train

SIDE, BLACK, DTYPE = 8, 16, "float32"
LOG_CHOICES = np.array([math.log(math.comb(BLACK, k)) for k in range(BLACK + 1)])
SIZES = (1, 32, 96), (SIDE, 4, 64)  # rows, latent variables of each, hidden units
PAPERS = "Kingma & Welling 2013", "Bayer & Osendorfer 2014 (music, motion)"


def binomial(logits, x):
    """Return -log p of shares x of black among 16, and the gradient at the logits."""
    likely = np.logaddexp(0, logits) - logits * x
    cost = BLACK * likely - LOG_CHOICES[np.rint(x * BLACK).astype(int)]
    return cost, BLACK * (1 / (1 + np.exp(-logits)) - x)


def divergence(q):
    """Return KL(q|N(0, 1)) of normal (mean, log scale), and the gradient."""
    m, s = np.split(q, 2, axis=-1)
    square = np.exp(2 * s)
    return (m * m + square - 1) / 2 - s, np.concatenate((m, square - 1), axis=-1)


def sample(rng, q):
    """Return a draw from a normal (mean, log scale), and its slope by the latter."""
    m, s = np.split(q, 2, axis=-1)
    noise = rng.standard_normal(m.shape).astype(q.dtype) * np.exp(s)
    return m + noise, noise


class Tanh:
    __call__ = staticmethod(np.tanh)

    def forward(self, x):
        return np.tanh(x), np.tanh(x)

    def backward(self, y, dy):
        return train.ModuleGradients(dy * (1 - y * y), {})


def net(inputs, hidden, *outputs):
    """Return one layer of tanh, and a linear one of outputs if there are some."""
    ends = [train.Linear(hidden, size, dtype=DTYPE) for size in outputs]
    return train.Sequential(train.Linear(inputs, hidden, dtype=DTYPE), Tanh(), *ends)


class STORN(train.Composite):
    """From images [B, 64] to a bound on -log p of each."""

    def __init__(self, rows, latent, hidden, seed):
        self.shape = (-1, rows, SIDE * SIDE // rows)
        width = self.shape[2]
        self.read = xr.RNN(width, hidden, dtype=DTYPE)
        self.posterior = net(hidden, hidden, 2 * latent)
        self.think = xr.RNN(width + latent, hidden, dtype=DTYPE)
        self.write = net(hidden, hidden, width)
        self.seed_parts(seed)
        self.rng = np.random.default_rng(seed)

    def __call__(self, x):
        return self.forward(x)[0]

    def forward(self, x):
        rows = np.ascontiguousarray(x.reshape(self.shape).swapaxes(0, 1))
        r, _, one = self.read.forward(rows)
        q, _, two = self.posterior.forward(r)
        z, noise = sample(self.rng, q)
        before = np.concatenate((np.zeros_like(rows[:1]), rows[:-1]))
        h, _, three = self.think.forward(np.concatenate((before, z), axis=2))
        logits, _, four = self.write.forward(h)
        (cost, dlogits), (kl, dq) = binomial(logits, rows), divergence(q)
        bound = cost.sum((0, 2)) + kl.sum((0, 2))
        return bound, (one, two, three, four, noise, dlogits, dq)

    def backward(self, cache, dbound):
        one, two, three, four, noise, *slopes = cache
        dlogits, dq = ((s * dbound[:, None]).astype(DTYPE) for s in slopes)
        write = self.write.backward(four, dlogits)
        think = self.think.backward(three, write.x)
        dz = think.x[:, :, self.shape[2] :]
        dz = np.concatenate((dz, dz * noise), axis=2)
        posterior = self.posterior.backward(two, dz + dq)
        read = self.read.backward(one, posterior.x)
        grads = {"read": read, "posterior": posterior, "think": think, "write": write}
        return train.ModuleGradients(None, grads)

    def draw(self, count):
        """Yield images with an edge, as shares of black, after each row."""
        stream, (_, rows, width) = self.think.stream(count), self.shape
        latent = self.think.input_size - width
        shares = np.zeros((count, rows, width), DTYPE)
        row = np.zeros((count, width), DTYPE)
        for t in range(rows):
            z = self.rng.standard_normal((count, latent)).astype(DTYPE)
            h = stream.step(np.concatenate((row, z), axis=1))
            shares[:, t] = 1 / (1 + np.exp(-self.write(h)))
            row = self.rng.binomial(BLACK, shares[:, t]).astype(DTYPE) / BLACK
            yield np.pad(shares.reshape(count, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))


def learn(model, data, epochs, seed):
    """Train; return the bound of what is held out, and the minutes of one core."""

    def mean_bound(bounds, _):
        return float(bounds.mean()), np.full(len(bounds), 1 / len(bounds))

    learnt, watched, held_out = data
    batches = train.batches(learnt, learnt, size=50, seed=seed, axes=(0, 0))
    watch = train.batches(watched, watched, size=300, axes=(0, 0))
    rate = train.Cosine(3e-3, steps=epochs * len(batches))
    optimizer, begin = train.AdamW(model, weight_decay=0.1), time.process_time()
    how = {"validation": watch, "patience": epochs, "schedule": rate, "clip": 100.0}
    train.fit(model, batches, mean_bound, optimizer, epochs=epochs, **how)
    minutes = (time.process_time() - begin) / 60
    return np.mean([model(held_out).mean() for _ in range(20)]), minutes


def print_table(runs):
    print("\n| what | paper | its figure | its budget | ours | our budget | to reach |")
    print("|---|---|---|---|---|---|---|")
    for (name, found), paper in zip(runs.items(), PAPERS, strict=True):
        bounds, times = ([f"{v:.1f}" for v in c] for c in zip(*found, strict=True))
        row = (f"bound, {name}", paper, "other data", "not told")
        row += (f"{', '.join(bounds)} nats", f"{', '.join(times)} core-minutes")
        print(f"| {' | '.join(row)} | {'-' if name == 'VAE' else 'below the VAE'} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, not judged")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="a run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("storn"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=150)
    parsed = parser.parse_args()
    epochs = min(parsed.epochs, 20 if parsed.quick else 10_000)
    xr.set_num_threads(parsed.threads)
    parsed.out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(1797)
    data = np.split(load_digits().data[order].astype(DTYPE) / BLACK, [1200, 1497])
    runs = {"VAE": [], "STORN": []}
    for seed in parsed.seed:
        for found, sizes in zip(runs.values(), SIZES, strict=True):
            found.append(learn(model := STORN(*sizes, seed), data, epochs, seed))
    print_table(runs)
    parts = [(n, getattr(p, "parts", {"0": p})) for n, p in model.parts.items()]
    named = {f"{n}-{k}": p for n, own in parts for k, p in own.items() if k != "1"}
    xr.save(named, parsed.out / "storn.safetensors")
    picture = np.vstack([np.hstack(images) for images in model.draw(16)])
    picture = picture.repeat(5, axis=0).repeat(5, axis=1)
    image.imsave(parsed.out / "storn.png", picture, cmap="gray_r")
    print(f"\npicture: {parsed.out / 'storn.png'}")
    pairs = zip(*runs.values(), strict=True)
    return not parsed.quick and any(own >= vae for (vae, _), (own, _) in pairs)


if __name__ == "__main__":
    raise SystemExit(main())
