"""An attention decoder beside the same decoder as a loop of torch.

    python benchmarks/attention.py
    python benchmarks/attention.py --cells lstm --threads 2 --isa avx2

`gradients` is forward and backward of T = S = 30 steps and places of 32 rows, into
input, memory, state and all weights; `step` one greedy step of a stream of one row. The
loop of torch makes the keys once, as ours does, and a step of it is its cell, `addmm`,
`tanh`, `softmax` and `bmm`: what one would write. A second run of ours in each round is
the control: how far its ratio is from 1 says what a difference is worth. Ratios are of
medians; the order of a round is drawn. One thread unless `--threads` says otherwise.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

import exactrnn as xr

CELLS = ("gru", "lstm")
T = S = 30
B, STEP_CALLS = 32, 50


def make_problem(cell, units):
    """Return a decoder with arrays for it."""
    draw = np.random.default_rng(0).standard_normal
    decoder = xr.AttentionDecoder(cell, units, units, units, seed=0)
    x, dy = (draw((T, B, units), np.float32) for _ in "xy")
    return decoder, x, draw((S, B, units), np.float32), dy


def run_own(decoder, x, memory, dy):
    """Return calls of ours, by name."""
    stream = decoder.stream(memory[:, :1])

    def gradients():
        y, _, cache = decoder.forward(x, memory)
        decoder.backward(cache, dy)
        return y

    def step():
        return stream.step(x[0, :1])

    return {"gradients": gradients, "step": step}


class TorchLoop:
    """The same decoder, with the same weights, in torch."""

    def __init__(self, torch, decoder):
        kind = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}[decoder.cell]
        width = decoder.input_size + decoder.memory_size
        self.torch, self.cell = torch, kind(width, decoder.hidden_size)
        weights = {n: torch.tensor(w) for n, w in decoder.state_dict().items()}
        own = {n: weights[f"{n}_l0"] for n in self.cell.state_dict()}
        self.cell.load_state_dict(own)
        names = ("weight_query", "weight_memory", "bias_attention", "weight_score")
        self.own = [weights[f"{n}_l0"].requires_grad_() for n in names]

    def keys(self, memory):
        """Memory as rows of the batch [B, S, M], and its keys [B, S, A]."""
        rows = memory.transpose(0, 1).contiguous()
        return rows, rows @ self.own[1].T + self.own[2]

    def step(self, x, rows, keys, state):
        """One step."""
        torch, h = self.torch, state if self.is_gru else state[0]
        query = h @ self.own[0].T
        score = torch.tanh(keys + query[:, None]) @ self.own[3]
        context = torch.bmm(torch.softmax(score, 1)[:, None], rows)[:, 0]
        return self.cell(torch.cat([x, context], 1), state)

    @property
    def is_gru(self):
        return isinstance(self.cell, self.torch.nn.GRUCell)

    def first(self, rows):
        zeros = self.torch.zeros(rows, self.cell.hidden_size)
        return zeros if self.is_gru else (zeros, zeros)


def run_torch(decoder, x, memory, dy):
    """Return the same calls of torch; none where it is absent."""
    try:
        import torch
    except ImportError:
        return {}
    loop = TorchLoop(torch, decoder)
    x, memory, dy = (torch.tensor(array) for array in (x, memory, dy))
    leaves = [*loop.own, *loop.cell.parameters()]
    with torch.no_grad():
        one, keys = loop.keys(memory[:, :1])
    state = [loop.first(1)]

    def gradients():
        inputs = [array.clone().requires_grad_() for array in (x, memory)]
        rows, own = loop.keys(inputs[1])
        now, found = loop.first(B), []
        for x_t in inputs[0]:
            now = loop.step(x_t, rows, own, now)
            found.append(now if loop.is_gru else now[0])
        y = torch.stack(found)
        torch.autograd.grad(y, [*inputs, *leaves], dy)
        return y.detach().numpy()

    def step():
        with torch.no_grad():
            state[0] = loop.step(x[0, :1], one, keys, state[0])
        return (state[0] if loop.is_gru else state[0][0]).numpy()

    return {"gradients": gradients, "step": step}


def time_of(call, calls):
    """Return the seconds of one call in a row of some."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def measure(calls, task, rounds):
    """Return the seconds of each round, by contender."""
    many = STEP_CALLS if task == "step" else 1
    order, found = np.random.default_rng(0), {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name in order.permutation(list(calls)):
            found[name].append(time_of(calls[name], many))
    return found


def measure_cell(cell, units, rounds):
    """Return a row of results for each task."""
    problem = make_problem(cell, units)
    own, torch = run_own(*problem), run_torch(*problem)
    results = []
    for task, call in own.items():
        calls = {"ours": call, "control": call}
        if torch:
            calls["torch"] = torch[task]
            np.testing.assert_allclose(call(), torch[task](), atol=1e-4)
        seconds = measure(calls, task, rounds)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        least = {f"{name}_min": min(times) for name, times in seconds.items()}
        results.append({"cell": cell, "task": task, **medians, **least})
    return results


def line_of(row):
    """Return a line of the table."""
    ratio = f"{row['torch'] / row['ours']:.2f}" if "torch" in row else "-"
    theirs = f"{row['torch'] * 1e6:.1f}" if "torch" in row else "-"
    return (
        f"| {row['cell']} | {row['task']} | {row['ours'] * 1e6:.1f} "
        f"| {row['ours_min'] * 1e6:.1f} | {theirs} | {ratio} "
        f"| {row['control'] / row['ours']:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--units", type=int, default=256, help="I = H = M = A")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--isa", choices=xr.isas(), help="of exactrnn (default: best)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    if parsed.isa:
        xr.use_isa(parsed.isa)
    xr.set_num_threads(parsed.threads)
    try:
        import torch

        torch.set_num_threads(parsed.threads)
    except ImportError:
        print("without torch")
    print(f"{xr.isa()}, {parsed.threads} threads, {parsed.units} units; times in µs")
    print("| cell | task | ours | least | torch | torch / ours | control |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for cell in parsed.cells:
        for row in measure_cell(cell, parsed.units, parsed.rounds):
            results.append(row)
            print(line_of(row))
    if parsed.json:
        parsed.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
