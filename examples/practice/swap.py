"""A torch model, as it is, and once more with these kernels under its LSTM.

The model and its training loop are plain torch: two bidirectional layers read rows of
handwritten digits (scikit-learn). `exactrnn.torch.swap(model)` is the only change.
Epochs of both alternate, so that a busy machine slows both.

    python examples/practice/swap.py
    python examples/practice/swap.py --hidden 128 --epochs 10
"""

import argparse
import time

import torch  # pip install '.[examples,torch]'
from sklearn.datasets import load_digits
from torch import nn

import exactrnn.torch


class Reader(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.rnn = nn.LSTM(8, hidden, 2, batch_first=True, bidirectional=True)
        self.readout = nn.Linear(2 * hidden, 10)

    def forward(self, images):
        read, _ = self.rnn(images)
        return self.readout(read.mean(1))


class Training:
    def __init__(self, hidden, images, targets, swapped):
        torch.manual_seed(0)
        self.model = Reader(hidden)
        if swapped:
            print(exactrnn.torch.swap(self.model))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-3)
        self.images, self.targets = images, targets
        self.seconds, self.losses = [], []

    def run_epoch(self, seed):
        order = torch.randperm(1497, generator=torch.Generator().manual_seed(seed))
        total, begin = 0.0, time.perf_counter()
        for rows in order.split(32):
            answers = self.model(self.images[rows])
            loss = nn.functional.cross_entropy(answers, self.targets[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(rows)
        self.seconds.append(time.perf_counter() - begin)
        self.losses.append(total / len(order))

    @torch.no_grad()
    def accuracy(self):
        answers = self.model(self.images[1497:]).argmax(1)
        return (answers == self.targets[1497:]).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    exactrnn.set_num_threads(parsed.threads)
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)
    data = (images, torch.tensor(digits.target))
    stock = Training(parsed.hidden, *data, swapped=False)
    swapped = Training(parsed.hidden, *data, swapped=True)
    for epoch in range(parsed.epochs):
        for training in (stock, swapped) if epoch % 2 else (swapped, stock):
            training.run_epoch(epoch)
    print("\n| | loss, by epoch | right of 300 | seconds an epoch |\n|---|---|---|---|")
    for name, training in (("stock", stock), ("swapped", swapped)):
        losses = ", ".join(f"{loss:.3f}" for loss in training.losses)
        middle = sorted(training.seconds)[parsed.epochs // 2]
        print(f"| {name} | {losses} | {training.accuracy():.1%} | {middle:.2f} |")


if __name__ == "__main__":
    main()
