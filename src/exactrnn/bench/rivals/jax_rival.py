"""JAX: gradients by `jit` of a `scan` with the input product taken out of the loop.

JAX has no recurrent layers; the equations here are those of its users' code. The number
of threads is fixed when JAX starts, hence by the first row of a process. Unrolling the
scan by 2, 4 or 8 was measured: 2 to 50 % slower but for the smallest row, 10 % faster.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from exactrnn.bench.rivals import Outcome, Prepared
from exactrnn.bench.rows import Problem

NAME = "jax"


def version() -> str:
    """Return the version of jax."""
    import jax

    return str(jax.__version__)


def lstm_step(state: Any, a: Any, R: Any, b: Any) -> tuple[Any, Any]:
    """Return the state after a step, and its output."""
    import jax
    from jax import numpy as jnp

    h, c = state
    i, f, g, o = jnp.split(a + h @ R.T + b, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def gru_step(state: Any, a: Any, R: Any, b: Any) -> tuple[Any, Any]:
    """Return the state after a step, and its output."""
    import jax
    from jax import numpy as jnp

    (h,) = state
    ar, az, an = jnp.split(a, 3, axis=-1)
    hr, hz, hn = jnp.split(h @ R.T + b, 3, axis=-1)
    r, z = jax.nn.sigmoid(ar + hr), jax.nn.sigmoid(az + hz)
    n = jnp.tanh(an + r * hn)
    h = (1 - z) * n + z * h
    return (h,), h


def rnn_step(state: Any, a: Any, R: Any, b: Any) -> tuple[Any, Any]:
    """Return the state after a step, and its output."""
    from jax import numpy as jnp

    h = jnp.tanh(a + state[0] @ R.T + b)
    return (h,), h


STEPS: dict[str, tuple[Callable[..., tuple[Any, Any]], int]] = {
    "rnn": (rnn_step, 1),
    "lstm": (lstm_step, 2),
    "gru": (gru_step, 1),
}
"""The step of each cell, and the number of its states."""


def prepare(problem: Problem) -> Prepared | None:
    """Make the row ready."""
    row = problem.row
    plain = row.layers == 1 and row.directions == 1 and not row.ragged
    if not (row.task == "gradients" and row.cell in STEPS and plain):
        return None
    if row.dtype != "float32":
        return None
    set_threads(problem.threads)
    import jax

    step, states = STEPS[row.cell]
    start = (np.zeros((row.B, row.H), np.float32),) * states

    def weighted_output(x: Any, weights: Any, dy: Any) -> Any:
        W, R = weights["weight_ih_l0"], weights["weight_hh_l0"]
        sums = x @ W.T + weights["bias_ih_l0"]
        b = weights["bias_hh_l0"]
        _, y = jax.lax.scan(lambda s, a: step(s, a, R, b), start, sums)
        return (y * dy).sum()

    both = jax.jit(jax.value_and_grad(weighted_output, argnums=(0, 1)))
    given = jax.device_put((problem.x, problem.weights, problem.dy))

    def read(result: Any) -> Outcome:
        _, (dx, dweights) = result
        return {"x": np.asarray(dx), **{k: np.asarray(d) for k, d in dweights.items()}}

    return Prepared(lambda: jax.block_until_ready(both(*given)), read)


def set_threads(threads: int) -> None:
    """Size JAX's pool of threads; without effect once it has started."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["NPROC"] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
