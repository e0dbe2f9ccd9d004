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
    module = make_module(row, weights)
    x = torch.from_numpy(x)
    if row.task == "step":
        return step_runner(module, x)

    def run():
        with torch.inference_mode():
            return module(x)[0]

    return run


def step_runner(module, x):
    """Return a function that makes one step and keeps the state for its next call."""
    import torch

    state = None

    def run():
        nonlocal state
        with torch.inference_mode():
            y, state = module(x, state)
            return y

    return run
