"""The check that pytorch issue 32023 asks for.

A GRU of width 512 runs over 100 rows, once as a whole batch and once row by row. The
two results have to be equal to the bit. torch, where it is installed, runs the same
weights and rows.

    python benchmarks/batch_invariance.py
"""

import numpy as np

import exactrnn as xr

T, B, I, H = 10, 100, 512, 512


def count_differing_bits(whole, by_row):
    """Return the number of elements whose bits differ."""
    return int((whole.view(np.uint32) != by_row.view(np.uint32)).sum())


def run_exactrnn(layer, x):
    """Return the final outputs [B, H] of the batch, and of every row run alone."""
    whole = layer(x)[0][-1]
    by_row = np.stack([layer(x[:, b : b + 1])[0][-1, 0] for b in range(x.shape[1])])
    return whole, by_row


def run_torch(layer, x):
    """Return the same of a torch GRU with the layer's weights."""
    import torch

    module = torch.nn.GRU(I, H).eval()
    weights = layer.state_dict()
    module.load_state_dict({k: torch.from_numpy(w) for k, w in weights.items()})
    x = torch.from_numpy(x)
    with torch.inference_mode():
        whole = module(x)[0][-1].numpy()
        alone = [module(x[:, b : b + 1])[0][-1, 0] for b in range(x.shape[1])]
        return whole, torch.stack(alone).numpy()


def report(name, whole, by_row):
    differing = count_differing_bits(whole, by_row)
    largest = np.abs(whole - by_row).max()
    print(
        f"{name}: {differing:,} of {whole.size:,} final outputs differ, "
        f"largest difference {largest:.3g}"
    )
    return differing


def main():
    layer = xr.GRU(I, H, seed=0)
    x = np.random.default_rng(0).standard_normal((T, B, I)).astype(np.float32)
    differing = 0
    for isa in xr.isas():
        with xr.use_isa(isa):
            name = f"exactrnn {xr.__version__} ({isa})"
            differing += report(name, *run_exactrnn(layer, x))
    try:
        import torch
    except ImportError:
        print("torch is not installed: not compared")
    else:
        report(f"torch {torch.__version__}", *run_torch(layer, x))
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
