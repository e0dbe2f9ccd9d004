"""The functions of `exactrnn.jax`: what comes is checked while JAX traces them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from exactrnn._checks import check_lengths, check_parts, describe, shape_error
from exactrnn._checks.limits import quote, shorten
from exactrnn._checks.naming import Problems, check_names, take_named
from exactrnn.interop import _lines
from exactrnn.interop.checkpoints import sizes_of
from exactrnn.interop.jax import _calls
from exactrnn.interop.jax._calls import Tracer
from exactrnn.interop.jax._operators import operator_of
from exactrnn.interop.jax._plans import Plan, plan_of
from exactrnn.layers._recurrent import RecurrentLayer

DTYPES = ("float32", "float64")
NO_OPTIONS = ("dropout", "recurrent_dropout", "init", "forget_bias", "proj_size")
"""Arguments of classes that are none of functions, beside what weights tell."""
MATRICES = {
    "weight_ih_l0": "G*H, I",
    "weight_hh_l0": "G*H, H",
    "weight_hr_l0": "P, H",
}
"""The weights whose shapes tell all sizes."""


def lstm(
    x: Tracer,
    weights: Mapping[str, Tracer],
    state: tuple[Tracer, ...] | None = None,
    *,
    lengths: Tracer | None = None,
    batch_first: bool = False,
    **options: Any,
) -> tuple[Tracer, tuple[Tracer, ...]]:
    """Run an LSTM over a sequence.

    Sizes, layers, directions, biases and projection are those of the weights.

    Parameters
    ----------
    x : array, `[T, B, I]`, `[B, T, I]` with `batch_first`, or `[T, I]`
        Input, of the dtype of the weights, float32 or float64.
    weights : mapping of str to array
        Named and shaped as in `exactrnn.LSTM(...).state_dict()` and in torch.nn.
    state : tuple of array, `[L*D, B, H]` or `[L*D, H]` each, optional
        `(h, c)` before the first step; zeros by default.
    lengths : integer array, `[B]`, optional
        0 to T; what is past a row's own is not read, and its output is 0.
    batch_first : bool
        Whether the batch is the first axis of input and output.
    **options
        Of `exactrnn.LSTM`: `peepholes`, `coupled`, `activations`, `reverse`, ...

    Returns
    -------
    y : array
        Output `[T, B, D*H]`, in the layout of `x`.
    state : tuple of array
        `(h, c)` after the last step.

    Raises
    ------
    ValueError, TypeError
        If a name, shape or dtype is wrong, while the function is traced. Of lengths out
        of range XLA raises its own error when it runs.

    Notes
    -----
    The bits are those of `exactrnn.LSTM` with these weights, under `jit` too; the
    gradients are those of its `backward`. There are no second derivatives and no
    forward mode.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import exactrnn as xr
    >>> import exactrnn.jax as xrj
    >>> weights = xr.LSTM(3, 4, seed=1).state_dict()
    >>> y, (h, c) = jax.jit(xrj.lstm)(jnp.ones((5, 2, 3)), weights)
    >>> y.shape, c.shape
    ((5, 2, 4), (1, 2, 4))
    """
    found: tuple[Tracer, tuple[Tracer, ...]] = _call(
        "LSTM", x, weights, state, lengths, {"batch_first": batch_first, **options}
    )
    return found


def gru(
    x: Tracer,
    weights: Mapping[str, Tracer],
    state: Tracer | None = None,
    *,
    lengths: Tracer | None = None,
    batch_first: bool = False,
    **options: Any,
) -> tuple[Tracer, Tracer]:
    """Run a GRU over a sequence: as `lstm`, with one state h.

    Parameters
    ----------
    x, weights, lengths, batch_first
        As of `lstm`; weights as in `exactrnn.GRU(...).state_dict()`.
    state : array, `[L*D, B, H]` or `[L*D, H]`, optional
        h before the first step; zeros by default.
    **options
        Of `exactrnn.GRU`: `reset_after`, `activations`, `clip`, `reverse`.

    Returns
    -------
    y, h : array
        Output, and the state after the last step.

    Raises
    ------
    ValueError, TypeError
        As of `lstm`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import exactrnn as xr
    >>> import exactrnn.jax as xrj
    >>> weights = xr.GRU(3, 4, seed=1).state_dict()
    >>> loss = lambda weights: xrj.gru(jnp.ones((5, 2, 3)), weights)[0].sum()
    >>> jax.grad(loss)(weights)["bias_hh_l0"].shape
    (12,)
    """
    found: tuple[Tracer, Tracer] = _call(
        "GRU", x, weights, state, lengths, {"batch_first": batch_first, **options}
    )
    return found


def rnn(
    x: Tracer,
    weights: Mapping[str, Tracer],
    state: Tracer | None = None,
    *,
    lengths: Tracer | None = None,
    batch_first: bool = False,
    **options: Any,
) -> tuple[Tracer, Tracer]:
    """Run a simple recurrent network over a sequence: as `gru`.

    Parameters
    ----------
    x, weights, state, lengths, batch_first
        As of `gru`; weights as in `exactrnn.RNN(...).state_dict()`.
    **options
        Of `exactrnn.RNN`: `nonlinearity`, `clip`, `reverse`.

    Returns
    -------
    y, h : array
        Output, and the state after the last step.

    Raises
    ------
    ValueError, TypeError
        As of `lstm`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import exactrnn as xr
    >>> import exactrnn.jax as xrj
    >>> weights = xr.RNN(3, 4, seed=1).state_dict()
    >>> y, h = xrj.rnn(jnp.ones((5, 2, 3)), weights, nonlinearity="relu")
    >>> h.shape
    (1, 2, 4)
    """
    found: tuple[Tracer, Tracer] = _call(
        "RNN", x, weights, state, lengths, {"batch_first": batch_first, **options}
    )
    return found


def run(
    layer: RecurrentLayer[Any, Any],
    x: Tracer,
    weights: Mapping[str, Tracer] | None = None,
    state: Any = None,
    *,
    lengths: Tracer | None = None,
) -> tuple[Tracer, Any]:
    """Run any layer over a sequence, with its own weights or with others.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, MUT1, MUT2, MUT3, JordanRNN, LeakyRNN, LSTM1997, ...
        Says what is computed: its class and options but for dropout, which there is
        none of here. Not one with zoneout, a clock, a learned leak, `layer_norm`
        or a cell from its equations.
    x, lengths
        As of `lstm`, in the layout of the layer.
    weights : mapping of str to array, optional
        By the names of `layer.state_dict()`; its own, as they are now, by default.
    state : array or tuple of array, optional
        As the layer takes it.

    Returns
    -------
    y, state
        As of the layer.

    Raises
    ------
    ValueError, TypeError
        As of `lstm`.
    NotImplementedError
        If the layer has zoneout, a clock, a learned leak, `layer_norm` or a cell from
        its equations.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import exactrnn as xr
    >>> import exactrnn.jax as xrj
    >>> layer = xr.MUT1(3, 4, seed=1)
    >>> loss = lambda weights, x: xrj.run(layer, x, weights)[0].sum()
    >>> grads = jax.jit(jax.grad(loss))(layer.state_dict(), jnp.ones((5, 2, 3)))
    >>> grads.keys() == layer.state_dict().keys()
    True
    """
    if not isinstance(layer, RecurrentLayer):
        raise TypeError(f"layer: expected a recurrent layer, got {describe(layer)}")
    drops = ("dropout", "recurrent_dropout")
    plain = {name: 0.0 for name in drops if hasattr(layer, name)}
    arguments = {**layer.arguments(), **plain}
    plan = plan_of(_lines.describe(type(layer).__name__, arguments))
    given = layer.state_dict() if weights is None else take_named("weights", weights)
    found: tuple[Tracer, Any] = _apply(plan, x, given, state, lengths)
    return found


def _call(
    kind: str,
    x: Tracer,
    weights: Mapping[str, Tracer],
    state: Any,
    lengths: Tracer | None,
    options: dict[str, Any],
) -> Any:
    """Run a class of networks whose sizes are those of its weights."""
    given = take_named("weights", weights)
    _check_matrices(given)
    arguments = {"dtype": _dtype_of("x", x), **sizes_of(kind, given)}
    for name in options:
        if name in {*arguments, *NO_OPTIONS}:
            raise ValueError(
                f"{name}: expected none of sizes, which the weights tell, of first "
                "weights and of dropout, which there is none of here"
            )
    arguments |= options
    plan = plan_of(_lines.describe(kind, arguments))
    return _apply(plan, x, given, state, lengths)


def _apply(
    plan: Plan, x: Tracer, weights: dict[str, Tracer], state: Any, lengths: Any
) -> Any:
    """Run a network, after a look at all that goes in."""
    spec = plan.spec
    _check_weights(plan, weights)
    batched = _check_input(plan, x)
    rows = x.shape[0 if spec.batch_first else 1] if batched else 1
    axis = 0 if spec.batch_first else 1
    parts = _check_state(plan, state, rows, batched)
    steps = x.shape[1 if spec.batch_first and batched else 0]
    counts = _check_lengths(lengths, steps, rows, batched)
    sequence = x if batched else jnp.expand_dims(x, axis)
    own = {name: jnp.asarray(weights[name]) for name in plan.names}
    if 0 in sequence.shape[:2]:
        y, final = _nothing(plan, sequence, parts)
    else:
        arguments = _calls.spread((sequence, counts, parts, own))
        y, final = operator_of(plan)(*arguments)
    if not batched:
        y, final = jnp.squeeze(y, axis), tuple(part[:, 0] for part in final)
    return y, (final if len(final) > 1 else final[0])


def _nothing(plan: Plan, x: Tracer, state: Any) -> tuple[Tracer, tuple[Tracer, ...]]:
    """Return what a call without steps or rows gives."""
    spec = plan.spec
    width = spec.directions * spec.output_size
    rows = x.shape[0 if spec.batch_first else 1]
    lead = (spec.num_layers * spec.directions, rows)
    zeros = tuple(jnp.zeros((*lead, n), spec.dtype) for n in spec.state_sizes)
    return jnp.zeros((*x.shape[:2], width), spec.dtype), state or zeros


# Checks; shapes and dtypes are known while a function is traced, numbers are not


def _dtype_of(name: str, array: Any) -> str:
    """Return the dtype of an array of floats."""
    dtype = str(getattr(array, "dtype", None) or describe(array))
    if dtype not in DTYPES or not hasattr(array, "shape"):
        expected = " or ".join(DTYPES)
        raise TypeError(
            f"{name}: expected an array of {expected}, got {shorten(dtype)}"
        )
    if dtype == "float64" and not jax.config.jax_enable_x64:
        raise TypeError(
            f"{name}: expected float32, got float64, which JAX rounds to float32 "
            "unless jax.config.update('jax_enable_x64', True) was called"
        )
    return dtype


def _check_dtype(name: str, array: Any, plan: Plan) -> None:
    dtype = _dtype_of(name, array)
    if dtype != plan.spec.dtype:
        raise TypeError(f"{name}: expected {plan.spec.dtype}, got {dtype}")


def _check_matrices(weights: Mapping[Any, Any]) -> None:
    """Raise unless there are names, and the matrices that tell all sizes."""
    if not {str}.issuperset(map(type, weights)):
        other = next(name for name in weights if type(name) is not str)
        raise TypeError(f"weights: expected names as keys, got {quote(other)}")
    if "weight_ih_l0" not in weights or "weight_hh_l0" not in weights:
        raise ValueError("weights: expected weight_ih_l0, weight_hh_l0 and their like")
    for name, axes in MATRICES.items():
        if name in weights and len(getattr(weights[name], "shape", ())) != 2:
            _dtype_of(name, weights[name])
            raise shape_error(name, axes, weights[name].shape)


def _check_weights(plan: Plan, weights: Mapping[str, Any]) -> None:
    """Raise for all names, dtypes and shapes that are wrong."""
    problems = Problems()
    shapes = plan.spec.weight_shapes
    with problems.noting():
        check_names("weights", weights, shapes)
    for name in (name for name in shapes if name in weights):
        with problems.noting():
            _check_dtype(name, weights[name], plan)
            if weights[name].shape != shapes[name]:
                expected, got = shapes[name], weights[name].shape
                raise ValueError(f"{name}: expected {expected}, got {shorten(got)}")
    problems.raise_all()


def _check_input(plan: Plan, x: Any) -> bool:
    """Tell whether an input has an axis for the batch; raise if it is no input."""
    _check_dtype("x", x, plan)
    if x.ndim not in (2, 3) or x.shape[-1] != plan.spec.input_size:
        axes = "B, T" if plan.spec.batch_first else "T, B"
        width = f"I={plan.spec.input_size}"
        raise shape_error("x", f"{axes}, {width}] or [T, {width}", x.shape)
    return bool(x.ndim == 3)


def _check_state(
    plan: Plan, state: Any, rows: int, batched: bool
) -> tuple[Tracer, ...] | None:
    """Return the parts of a state, [L*D, B, width] each."""
    if state is None:
        return None
    spec = plan.spec
    names = list(spec.state_names)
    given = (state,) if len(names) == 1 else check_parts("state", state, names)
    lead = spec.num_layers * spec.directions
    parts = []
    for name, part, width in zip(names, given, spec.state_sizes, strict=True):
        label = "state" if len(names) == 1 else f"state {name}"
        _check_dtype(label, part, plan)
        shape = (lead, rows, width) if batched else (lead, width)
        if part.shape != shape:
            raise ValueError(f"{label}: expected {shape}, got {shorten(part.shape)}")
        parts.append(jnp.asarray(part) if batched else jnp.asarray(part)[:, None])
    return tuple(parts)


def _check_lengths(lengths: Any, steps: int, rows: int, batched: bool) -> Tracer | None:
    """Return lengths [B] as int32 or int64."""
    if lengths is None:
        return None
    if not isinstance(lengths, jax.Array):  # which has its numbers already
        return _check_known(lengths, steps, rows, batched)
    array = lengths
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"lengths: expected integers, got {shorten(array.dtype)}")
    shape = (rows,) if batched else ()
    if array.shape != shape:
        raise ValueError(f"lengths: expected {shape}, got {shorten(array.shape)}")
    wide = array.dtype in (jnp.int64, jnp.uint32, jnp.uint64)
    target = jnp.int64 if wide and jax.config.jax_enable_x64 else jnp.int32
    return array.astype(target).reshape(rows)


def _check_known(lengths: Any, steps: int, rows: int, batched: bool) -> Tracer:
    """Return lengths whose numbers are there while the function is traced."""
    return jnp.asarray(check_lengths(lengths, steps, rows, batched).astype(np.int32))
