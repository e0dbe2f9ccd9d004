"""Keras models: `predict` of Keras beside `exactrnn.keras.from_keras`.

Each model is an ordinary one: recurrent layers and a Dense layer with softmax over
features [B, T, 40]; a name ends with rows, steps and the units of a layer. Keras runs
on the backend that `--backend` names, and as fast as it can: `predict_on_batch` is its
compiled function alone, `predict` puts the loop over batches around it, with everything
in one batch here. All three get the same NumPy array and give one, in turns; what is
reported are medians, and ratios to ours.

`step` is one time step of one row, the state carried on: of Keras a stateful model that
is called with T = 1, here `chain.stream()`.

    python benchmarks/keras_predict.py
    taskset -c 1 python benchmarks/keras_predict.py --backend jax --models 'lstm-*'
"""

import argparse
import functools
import json
import os
import statistics
import time
from fnmatch import fnmatch

import numpy as np
from arguments import output

import exactrnn as xr
from exactrnn.keras import from_keras

FEATURES, CLASSES = 40, 10
MODELS = {
    f"{kind}-{B}x{T}x{H}": (kind, B, T, H)
    for kind in ("lstm", "gru", "bidirectional-lstm", "bidirectional-gru")
    for B, T, H in ((1, 100, 64), (32, 100, 64), (32, 100, 256))
} | {f"step-{kind}-1x1x{H}": (kind, 1, 1, H) for kind in ("lstm", "gru") for H in (64,)}


def make_model(keras, name):
    """Return a model of Keras with random weights."""
    kind, B, T, H = MODELS[name]
    step = name.startswith("step-")
    recurrent = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[
        kind[-4:].strip("-")
    ]
    options = {"return_sequences": step, "stateful": step}
    if kind.startswith("bidirectional"):
        first = keras.layers.Bidirectional(recurrent(H, return_sequences=True))
        layers = [first, keras.layers.Bidirectional(recurrent(H))]
    else:
        layers = [recurrent(H, **options)]
    readout = keras.layers.Dense(CLASSES, activation="softmax")
    shape = keras.Input(batch_shape=(B if step else None, T, FEATURES))
    return keras.Sequential([shape, *layers, readout])


def make_calls(model, name, x):
    """Return functions of x [B, T, 40] by name: two of Keras, and ours."""
    chain = from_keras(model)
    ours = chain
    if name.startswith("step-"):
        stream = chain.stream()

        def ours(x):
            return stream.step(x[:, 0])[:, None]

    predict = functools.partial(model.predict, batch_size=len(x), verbose=0)
    return {"predict": predict, "on_batch": model.predict_on_batch, "ours": ours}


def measure(keras, name, rounds):
    """Return the median times of a call in µs, of each function by name."""
    _, B, T, _ = MODELS[name]
    model = make_model(keras, name)
    x = np.random.default_rng(0).standard_normal((B, T, FEATURES), np.float32)
    calls = make_calls(model, name, x)
    one, two = (np.asarray(calls[key](x)) for key in ("predict", "ours"))
    assert np.abs(one - two).max() < 1e-5
    times = {key: [] for key in calls}
    for number in range(rounds + 3):
        for key in calls if number % 2 else reversed(calls):
            start = time.perf_counter()
            calls[key](x)
            times[key].append(time.perf_counter() - start)
    return {key: 1e6 * statistics.median(all_[3:]) for key, all_ in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--backend", default="jax", choices=("jax", "torch"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--isa", help="instruction set of exactrnn: see xr.isas()")
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parsed = parser.parse_args()
    os.environ["KERAS_BACKEND"] = parsed.backend  # read when keras is imported
    import keras

    if parsed.isa:
        xr.use_isa(parsed.isa)
    found = {}
    print(f"{xr.isa()}, keras {keras.__version__} on {keras.backend.backend()}; µs")
    print("| kind-BxTxH | predict | on_batch | ours | ratio | ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in MODELS:
        if any(fnmatch(name, pattern) for pattern in parsed.models):
            times = found[name] = measure(keras, name, parsed.rounds)
            predict, batch, ours = times.values()
            print(
                f"| {name} | {predict:.0f} | {batch:.0f} | {ours:.0f} | "
                f"{predict / ours:.1f} | {batch / ours:.1f} |"
            )
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
