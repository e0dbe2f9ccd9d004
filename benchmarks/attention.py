"""An attention decoder beside the same decoder as a loop of torch.

    python benchmarks/attention.py
    python benchmarks/attention.py --cells lstm --threads 2 --isa avx2

`gradients` is forward and backward of T = S = 30 steps and places of 32 rows, into
input, memory, state and all weights; `step` one greedy step of a stream of one row. A
step of torch's loop is its cell, products, `tanh`, `softmax` and `bmm`, and the keys
are made once, as ours are: what one writes with care. In `tutorial` they are made in
every step, as in PyTorch's own tutorial on translation ("NLP From Scratch"), by its
`BahdanauAttention`. How it is measured is said in pairs.py.

At the end stands for each cell how many operations the products of `gradients` have,
and how long they take at least at so many GFLOP/s (`--peak`): of both libraries, as no
order of them has fewer. What is left of torch's time above that is all that a decoder
could save.
"""

import numpy as np
import pairs

import exactrnn as xr

CELLS = ("gru", "lstm")
T = S = 30
B, STEP_CALLS, UNITS = 32, 50, 256


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

    return {"gradients": gradients, "tutorial": gradients, "step": step}


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


def run_torch(torch, decoder, x, memory, dy):
    """Return the same calls of torch; none where it is absent."""
    if torch is None:
        return {}
    loop = TorchLoop(torch, decoder)
    x, memory, dy = (torch.tensor(array) for array in (x, memory, dy))
    leaves = [*loop.own, *loop.cell.parameters()]
    with torch.no_grad():
        one, keys = loop.keys(memory[:, :1])
    state = [loop.first(1)]

    def gradients(in_each_step=False):
        inputs = [array.clone().requires_grad_() for array in (x, memory)]
        rows, own = loop.keys(inputs[1])
        now, found = loop.first(B), []
        for x_t in inputs[0]:
            if in_each_step:
                own = rows @ loop.own[1].T + loop.own[2]
            now = loop.step(x_t, rows, own, now)
            found.append(now if loop.is_gru else now[0])
        y = torch.stack(found)
        torch.autograd.grad(y, [*inputs, *leaves], dy)
        return y.detach().numpy()

    def step():
        with torch.no_grad():
            state[0] = loop.step(x[0, :1], one, keys, state[0])
        return (state[0] if loop.is_gru else state[0][0]).numpy()

    return {
        "gradients": gradients,
        "tutorial": lambda: gradients(in_each_step=True),
        "step": step,
    }


def least_work(cell, units):
    """Return the operations of all products of `gradients`.

    Each is one of a row with a matrix of `units` squared, forward and twice back, into
    its two sides: of gates with x, context and h, of a key with its place, of a query.
    """
    gates = {"gru": 3, "lstm": 4}[cell]
    return 3 * 2 * units**2 * (T * B * (3 * gates + 1) + S * B)


def make_pairs(torch, cells=CELLS, units=UNITS):
    """Yield a pair for each cell and task."""
    for cell in cells:
        problem = make_problem(cell, units)
        theirs = run_torch(torch, *problem)
        for task, call in run_own(*problem).items():
            calls = STEP_CALLS if task == "step" else 1
            yield pairs.Pair(cell, task, call, theirs.get(task), calls)


def main():
    parser = pairs.make_parser(__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--units", type=int, default=UNITS, help="I = H = M = A")
    parser.add_argument("--peak", type=float, default=112.0, help="GFLOP/s of a core")
    parsed = parser.parse_args()
    pairs.run(parsed, lambda torch: make_pairs(torch, parsed.cells, parsed.units))
    for cell in parsed.cells:
        work = least_work(cell, parsed.units) / 1e9
        least = work / (parsed.peak * parsed.threads) * 1e3
        print(f"{cell}: {work:.2f} GFLOP in products, {least:.1f} ms at the peak")


if __name__ == "__main__":
    main()
