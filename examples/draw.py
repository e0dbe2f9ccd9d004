"""DRAW paints digits on a canvas, step by step, without attention.

The DRAW network of K. Gregor et al. (arXiv 1502.04623): an LSTM reads the image, what
is wrong with the canvas so far, and the state of the LSTM that paints; what it has read
is a latent variable z, of which the other one adds to the canvas. The two are one
recurrent loop, there and back by single steps.

    python examples/draw.py                        # trains, prints, draws, saves

Data are scikit-learn's 1,797 digits of 8 x 8, whose pixels count black ones among 16:
1,200 to learn from, 297 to choose the epoch, 300 held out for the bound on -log p. The
VAE beside it: the same parts, which paint once, as many latent variables.
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
SIZES = (1, 32, 64), (8, 4, 64)  # steps, latent variables of each, hidden units
PAPERS = "Kingma & Welling 2013", "Gregor et al. 2015 (larger digits)"


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


def total(steps):
    """Return the gradients of a part in all steps together."""
    return {name: sum(step[name] for step in steps) for name in steps[0]}


class DRAW(train.Composite):
    """From images [B, 64] to a bound on -log p of each."""

    def __init__(self, steps, latent, hidden, seed):
        pixels, self.steps, self.H = SIDE * SIDE, steps, hidden
        self.reader = xr.LSTM(2 * pixels + hidden, hidden, dtype=DTYPE)
        self.posterior = train.Linear(hidden, 2 * latent, dtype=DTYPE)
        self.painter = xr.LSTM(latent, hidden, dtype=DTYPE)
        self.write = train.Linear(hidden, pixels, dtype=DTYPE)
        self.seed_parts(seed)
        self.rng = np.random.default_rng(seed)

    def __call__(self, x):
        return self.forward(x)[0]

    def forward(self, x):
        canvas, h = np.zeros_like(x), np.zeros((len(x), self.H), DTYPE)
        read = painted = None
        kept, bound = [], 0.0
        for _ in range(self.steps):
            shown = 1 / (1 + np.exp(-canvas))
            seen = np.concatenate((x, x - shown, h), axis=1)
            r, read, one = self.reader.step(seen, read)
            q, two = self.posterior.forward(r)
            z, noise = sample(self.rng, q)
            h, painted, three = self.painter.step(z, painted)
            paint, four = self.write.forward(h)
            canvas, (kl, dq) = canvas + paint, divergence(q)
            bound = bound + kl.sum(1)
            kept.append((one, two, three, four, shown * (1 - shown), noise, dq))
        cost, dcanvas = binomial(canvas, x)
        return bound + cost.sum(1), (kept, dcanvas)

    def backward(self, cache, dbound):
        kept, dcanvas = cache
        scale = dbound[:, None].astype(DTYPE)
        dcanvas = dcanvas.astype(DTYPE) * scale
        dh = np.zeros((len(scale), self.H), DTYPE)
        dread = dpainted = dreader = dpainter = None
        pixels, posteriors, writes = dcanvas.shape[1], [], []
        for one, two, three, four, slope, noise, dq in reversed(kept):
            write = self.write.backward(four, dcanvas)
            dz, dpainted, dpainter = self.painter.step_back(
                three, write.x + dh, dpainted, dpainter
            )
            dz = np.concatenate((dz, dz * noise), axis=1)
            posterior = self.posterior.backward(two, dz + dq * scale)
            dseen, dread, dreader = self.reader.step_back(
                one, posterior.x, dread, dreader
            )
            dcanvas = dcanvas - dseen[:, pixels : 2 * pixels] * slope
            dh = dseen[:, 2 * pixels :]
            posteriors.append(posterior.weights)
            writes.append(write.weights)
        grads = {"posterior": total(posteriors), "write": total(writes)}
        grads |= {"reader": dreader, "painter": dpainter}
        return train.ModuleGradients(None, grads)

    def draw(self, count):
        """Yield images with an edge, as shares of black, after each step."""
        stream = self.painter.stream(count)
        canvas, latent = np.zeros((count, SIDE * SIDE), DTYPE), self.painter.input_size
        for _ in range(self.steps):
            z = self.rng.standard_normal((count, latent)).astype(DTYPE)
            canvas += self.write(stream.step(z))
            shares = (1 / (1 + np.exp(-canvas))).reshape(count, SIDE, SIDE)
            yield np.pad(shares, ((0, 0), (1, 1), (1, 1)))


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
    parser.add_argument("--out", type=Path, default=Path("draw"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=150)
    parsed = parser.parse_args()
    epochs = min(parsed.epochs, 20 if parsed.quick else 10_000)
    xr.set_num_threads(parsed.threads)
    parsed.out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(1797)
    data = np.split(load_digits().data[order].astype(DTYPE) / BLACK, [1200, 1497])
    runs = {"VAE": [], "DRAW": []}
    for seed in parsed.seed:
        for found, sizes in zip(runs.values(), SIZES, strict=True):
            found.append(learn(model := DRAW(*sizes, seed), data, epochs, seed))
    print_table(runs)
    xr.save(model.parts, parsed.out / "draw.safetensors")
    picture = np.vstack([np.hstack(images) for images in model.draw(16)])
    picture = picture.repeat(5, axis=0).repeat(5, axis=1)
    image.imsave(parsed.out / "draw.png", picture, cmap="gray_r")
    print(f"\npicture: {parsed.out / 'draw.png'}")
    pairs = zip(*runs.values(), strict=True)
    return not parsed.quick and any(own >= vae for (vae, _), (own, _) in pairs)


if __name__ == "__main__":
    raise SystemExit(main())
