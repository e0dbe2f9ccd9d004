"""The loss of CTC with its gradient beside that of torch.

    python benchmarks/ctc.py
    python benchmarks/ctc.py --threads 2 --isa avx2

From logits to the gradient at the logits: torch's call is `log_softmax`, `ctc_loss` and
`backward`, on its CPU. Sizes are T x B x K x L: times, rows, symbols, labels of a row.
How it is measured is said in pairs.py.
"""

import numpy as np
import pairs

import exactrnn as xr

SHAPES = ((100, 16, 40, 20), (400, 8, 80, 50))


def make_pair(torch, shape):
    """Return the calls of one size; both give the losses of the rows."""
    T, B, K, L = shape
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((T, B, K)).astype(np.float32)
    labels = rng.integers(1, K, (B, L))
    name = "x".join(map(str, shape))

    def own():
        return xr.train.ctc_loss(logits, labels)[0]

    if torch is None:
        return pairs.Pair("ctc", name, own, None)
    given, targets = torch.tensor(logits), torch.tensor(labels)
    times, counts = torch.full((B,), T), torch.full((B,), L)

    def theirs():
        leaf = given.clone().requires_grad_()
        losses = torch.nn.functional.ctc_loss(
            leaf.log_softmax(2), targets, times, counts, reduction="none"
        )
        losses.sum().backward()
        return losses.detach().numpy()

    return pairs.Pair("ctc", name, own, theirs)


def make_pairs(torch, shapes=SHAPES):
    """Yield a pair for each size."""
    for shape in shapes:
        yield make_pair(torch, shape)


if __name__ == "__main__":
    pairs.run(pairs.make_parser(__doc__).parse_args(), make_pairs)
