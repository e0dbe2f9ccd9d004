"""Time the candidates of examples/search.py beside the same loop in eager torch.

    python benchmarks/search.py --threads 2

A candidate is trained on both tasks; here it is the GRU, whose step torch has as a loop
of its own. Both sides get the same batches, Adam, clipping and number of steps, one
thread for each candidate and as many candidates at a time as threads are asked for.
"""

import argparse
import importlib.util
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import exactrnn as xr

PROGRAM = Path(__file__).parents[1] / "examples" / "search.py"


def load_program():
    spec = importlib.util.spec_from_file_location("search_program", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def time_ours(steps, _):
    """Return the seconds that a candidate takes."""
    program = load_program()
    begin = time.perf_counter()
    program.judge(program.GRU, steps, 0)
    return time.perf_counter() - begin


def time_torch(steps, _):
    """Return the seconds that it takes in torch."""
    import torch

    from exactrnn.bench.rivals.torch_loop_rival import make_loop

    program = load_program()
    torch.set_num_threads(1)
    cell, H = program.Tree(program.GRU), program.H
    begin = time.perf_counter()
    for task, I, O in program.TASKS.values():
        rng, readout = np.random.default_rng(0), torch.nn.Linear(H, O)
        first = xr.Layer(cell, I, H, seed=0).state_dict()
        weights = {k: torch.tensor(w, requires_grad=True) for k, w in first.items()}
        trained = [*weights.values(), *readout.parameters()]
        optimizer = torch.optim.Adam(trained, 0.01)
        for _ in range(steps):
            x, target, _ = task(rng)
            loop = make_loop(weights, "Layer", {"cell": cell}, (1, 1))
            y = readout(loop(torch.from_numpy(x), None, None)[0])
            right = torch.from_numpy(target).reshape(-1)
            loss = torch.nn.functional.cross_entropy(y.reshape(-1, O), right)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="candidates at a time")
    parser.add_argument("--steps", type=int, default=300, help="of training, each task")
    parser.add_argument("--rounds", type=int, default=3)
    parsed = parser.parse_args()
    sides = {"exactrnn": time_ours, "torch": time_torch}
    rates = {name: [] for name in sides}
    with ProcessPoolExecutor(parsed.threads, get_context("spawn")) as pool:
        for side in sides.values():  # imports
            list(pool.map(partial(side, 1), range(parsed.threads)))
        for _ in range(parsed.rounds):
            for name, side in sides.items():
                times = list(
                    pool.map(partial(side, parsed.steps), range(parsed.threads))
                )
                rates[name].append(60 * parsed.threads / max(times))
    for name, found in rates.items():
        print(f"{name}: {np.median(found):.1f} candidates a minute")
    print(f"ratio: {np.median(rates['exactrnn']) / np.median(rates['torch']):.1f}")


if __name__ == "__main__":
    main()
