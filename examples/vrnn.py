"""A variational recurrent network writes digits row by row.

The VRNN of J. Chung et al. (arXiv 1506.02216): at each step a latent variable z, whose
prior and posterior know the state h of the rows before, and the row that z and h tell
of. The state goes on with both: h_t = GRU([φ(x_t); φ(z_t)], h_{t-1}).

    python examples/vrnn.py                        # trains, prints, draws, saves

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
PAPERS = "Kingma & Welling 2013", "Chung et al. 2015 (speech, handwriting)"


def binomial(logits, x):
    """Return -log p of shares x of black among 16, and the gradient at the logits."""
    likely = np.logaddexp(0, logits) - logits * x
    cost = BLACK * likely - LOG_CHOICES[np.rint(x * BLACK).astype(int)]
    return cost, BLACK * (1 / (1 + np.exp(-logits)) - x)


def divergence(q, p):
    """Return KL(q|p) of normal (mean, log scale), and the gradients at both."""
    (m, s), (m0, s0) = np.split(q, 2, axis=-1), np.split(p, 2, axis=-1)
    d, ratio = (m - m0) * np.exp(-s0), np.exp(2 * (s - s0))
    dm, cost = d * np.exp(-s0), s0 - s + (ratio + d * d - 1) / 2
    dq, dp = (dm, ratio - 1), (-dm, 1 - ratio - d * d)
    return cost, np.concatenate(dq, axis=-1), np.concatenate(dp, axis=-1)


def sample(rng, q):
    """Return a draw from a normal (mean, log scale), and its slope by the latter."""
    m, s = np.split(q, 2, axis=-1)
    noise = rng.standard_normal(m.shape).astype(q.dtype) * np.exp(s)
    return m + noise, noise


def total(steps):
    """Return the gradients of a part in all steps together."""
    return {name: sum(step[name] for step in steps) for name in steps[0]}


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


class VRNN(train.Composite):
    """From images [B, 64] to a bound on -log p of each."""

    def __init__(self, rows, latent, hidden, seed):
        self.shape, self.H = (-1, rows, SIDE * SIDE // rows), hidden
        self.see, self.feel = net(self.shape[2], hidden), net(latent, hidden)
        self.prior = net(hidden, hidden, 2 * latent)
        self.posterior = net(2 * hidden, hidden, 2 * latent)
        self.write = net(2 * hidden, hidden, self.shape[2])
        self.rnn = xr.GRU(2 * hidden, hidden, dtype=DTYPE)
        self.seed_parts(seed)
        self.rng = np.random.default_rng(seed)

    def __call__(self, x):
        return self.forward(x)[0]

    def forward(self, x):
        rows = np.ascontiguousarray(x.reshape(self.shape).swapaxes(0, 1))
        seen, _, first = self.see.forward(rows)
        h, steps, kept = np.zeros((1, len(x), self.H), DTYPE), [], []
        for seen_t in seen:
            q, _, one = self.posterior.forward(np.concatenate((seen_t, h[0]), axis=1))
            z, noise = sample(self.rng, q)
            felt, _, two = self.feel.forward(z)
            kept.append((h[0], q, felt))
            _, h, three = self.rnn.step(np.concatenate((seen_t, felt), axis=1), h)
            steps.append((one, two, three, noise))
        h, q, felt = map(np.stack, zip(*kept, strict=True))
        p, _, four = self.prior.forward(h)
        logits, _, five = self.write.forward(np.concatenate((felt, h), axis=2))
        (cost, dlogits), (kl, *slopes) = binomial(logits, rows), divergence(q, p)
        bound = cost.sum((0, 2)) + kl.sum((0, 2))
        return bound, (first, steps, four, five, dlogits, *slopes)

    def backward(self, cache, dbound):
        first, steps, four, five, *slopes = cache
        dlogits, dq, dp = ((s * dbound[:, None]).astype(DTYPE) for s in slopes)
        H, write = self.H, self.write.backward(five, dlogits)
        prior, dseen, feels, posteriors = self.prior.backward(four, dp), [], [], []
        dh, drnn = np.zeros((1, len(dbound), H), DTYPE), None
        for t in reversed(range(len(steps))):
            one, two, three, noise = steps[t]
            dx, dh, drnn = self.rnn.step_back(three, None, dh, drnn)
            feel = self.feel.backward(two, dx[:, H:] + write.x[t, :, :H])
            dz = np.concatenate((feel.x, feel.x * noise), axis=1)
            posterior = self.posterior.backward(one, dz + dq[t])
            dseen.insert(0, dx[:, :H] + posterior.x[:, :H])
            dh = dh + write.x[t, :, H:] + prior.x[t] + posterior.x[:, H:]
            feels.append(feel.weights)
            posteriors.append(posterior.weights)
        grads = {"feel": total(feels), "posterior": total(posteriors)}
        grads["see"] = self.see.backward(first, np.stack(dseen))
        grads |= {"write": write, "prior": prior, "rnn": drnn}
        return train.ModuleGradients(None, grads)

    def draw(self, count):
        """Yield images with an edge, as shares of black, after each row."""
        stream, h = self.rnn.stream(count), np.zeros((count, self.H), DTYPE)
        shares = np.zeros((count, *self.shape[1:]), DTYPE)
        for t in range(self.shape[1]):
            felt = self.feel(sample(self.rng, self.prior(h))[0])
            shares[:, t] = 1 / (1 + np.exp(-self.write(np.concatenate((felt, h), 1))))
            row = self.rng.binomial(BLACK, shares[:, t]).astype(DTYPE) / BLACK
            h = stream.step(np.concatenate((self.see(row), felt), axis=1))
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
    parser.add_argument("--out", type=Path, default=Path("vrnn"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=150)
    parsed = parser.parse_args()
    epochs = min(parsed.epochs, 20 if parsed.quick else 10_000)
    xr.set_num_threads(parsed.threads)
    parsed.out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(1797)
    data = np.split(load_digits().data[order].astype(DTYPE) / BLACK, [1200, 1497])
    runs = {"VAE": [], "VRNN": []}
    for seed in parsed.seed:
        for found, sizes in zip(runs.values(), SIZES, strict=True):
            found.append(learn(model := VRNN(*sizes, seed), data, epochs, seed))
    print_table(runs)
    parts = [(n, getattr(p, "parts", {"0": p})) for n, p in model.parts.items()]
    named = {f"{n}-{k}": p for n, own in parts for k, p in own.items() if k != "1"}
    xr.save(named, parsed.out / "vrnn.safetensors")
    picture = np.vstack([np.hstack(images) for images in model.draw(16)])
    picture = picture.repeat(5, axis=0).repeat(5, axis=1)
    image.imsave(parsed.out / "vrnn.png", picture, cmap="gray_r")
    print(f"\npicture: {parsed.out / 'vrnn.png'}")
    pairs = zip(*runs.values(), strict=True)
    return not parsed.quick and any(own >= vae for (vae, _), (own, _) in pairs)


if __name__ == "__main__":
    raise SystemExit(main())
