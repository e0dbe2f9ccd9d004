"""PyTorch: `torch.nn` modules in evaluation and inference mode."""

NAME = "torch"


def version():
    import torch

    return torch.__version__


def make_module(row, weights):
    """Return the torch module of `row` with the given weights."""
    import torch

    module_class = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    module = module_class[row.cell](
        row.I,
        row.H,
        bidirectional=row.directions == 2,
        dtype=getattr(torch, row.dtype),
    )
    module.load_state_dict({k: torch.from_numpy(w) for k, w in weights.items()})
    return module.eval()


def prepare(row, weights, x, threads):
    import torch

    if row.cell == "gru_before":
        return None
    torch.set_num_threads(threads)
    x = torch.from_numpy(x)
    if row.task == "step":
        return step_runner(make_cell(row, weights), x[0])
    module = make_module(row, weights)

    def run():
        with torch.inference_mode():
            return module(x)[0]

    return run


def make_cell(row, weights):
    """Return torch's cell module of `row`: for one step it is the faster of the two."""
    import torch

    cell_class = {"rnn": "RNNCell", "lstm": "LSTMCell", "gru": "GRUCell"}[row.cell]
    dtype = getattr(torch, row.dtype)
    cell = getattr(torch.nn, cell_class)(row.I, row.H, dtype=dtype)
    cell.load_state_dict(
        {k.removesuffix("_l0"): torch.from_numpy(w) for k, w in weights.items()}
    )
    return cell.eval()


def step_runner(cell, x_t):
    """Return a function that makes one step and keeps the state for its next call."""
    import torch

    state = None

    def run():
        nonlocal state
        with torch.inference_mode():
            state = cell(x_t, state)
            return state[0] if isinstance(state, tuple) else state

    return run
