"""This library, measured by the same frame as the others."""

import exactrnn as xr

NAME = "exactrnn"


def version():
    return xr.__version__


def make_layer(row):
    """Return the layer of `row`."""
    layer_class = {"rnn": xr.RNN, "lstm": xr.LSTM}.get(row.cell, xr.GRU)
    options = {"reset_after": False} if row.cell == "gru_before" else {}
    if row.directions == 2:
        options["bidirectional"] = True
    return layer_class(row.I, row.H, dtype=row.dtype, **options)


def prepare(row, weights, x, threads):
    xr.set_num_threads(threads)
    layer = make_layer(row)
    layer.load_state_dict(weights)
    if row.task == "step":
        stream = layer.stream(batch_size=row.B)
        x_t = x[0]
        return lambda: stream.step(x_t)
    return lambda: layer(x)[0]
