"""Recurrent layers for JAX on exactrnn's kernels: `import exactrnn.jax as xrj`.

`lstm`, `gru` and `rnn` are functions of an input and of weights named as in torch.nn,
under `jit`, `grad` and `vmap`; `run` is the same for any layer of `exactrnn`. They give
the bits that the layers give.
"""

from __future__ import annotations

try:
    import jax  # noqa: F401 (asked for first, to say what to do)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "exactrnn.jax needs JAX: pip install 'exactrnn[jax]'", name=error.name
    ) from error

# isort: split
from exactrnn._system import shown
from exactrnn.interop.jax._functions import gru, lstm, rnn, run

__all__ = ["gru", "lstm", "rnn", "run"]
__dir__ = shown.lists(globals())
