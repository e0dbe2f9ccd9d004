"""The reservoir of an echo state network: what is random in it, and what runs it.

Contract N9: raw integers of PCG64 (`_numeric/random.py`), for each weight from a stream
of its own, in float64; then rounded to the dtype, so that both have the same reservoir
up to rounding:

    weight_ih   W [H, I], uniform within ±input_scaling
    bias_ih     b [H], uniform within ±bias_scaling
    weight_hh   R [H, H], uniform within ±1; then one raw integer for each element of R:
                a row keeps the n = max(1, round(density * H)) whose integers are least,
                the first of equal ones. R * (spectral_radius / ρ(R)) is what is used

Every row keeps as many, so that every unit listens to some: with independent choices a
small or sparse reservoir may have no loop at all, and then ρ(R) = 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, FloatType, naming
from exactrnn._checks.limits import check_weights
from exactrnn._checks.numbers import check_number
from exactrnn._numeric.algebra import spectral_radius
from exactrnn._numeric.random import FLOAT64, Seed, symmetric
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.record import Record
from exactrnn._system.mode import ieee_mode
from exactrnn.layers.leaky import LeakyRNN
from exactrnn.layers.rnn import RNN

Reservoir: TypeAlias = RNN | LeakyRNN
"""The layer that runs the units; an RNN is a layer of leaky ones with α = 1."""
READOUT = ("weight_out", "bias_out")


def _at_least_zero(name: str, value: object, _: Arguments) -> float:
    expected = "a finite number >= 0"
    number = check_number(name, value, expected)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}: expected {expected}, got {number}")
    return number


def _share(name: str, value: object, given: Arguments) -> float:
    expected = "a number in (0, 1]"
    number = check_number(name, value, expected)
    if not 0 < number <= 1 or not given["dtype"].type(number) > 0:
        raise ValueError(f"{name}: expected {expected}, got {number}")
    return number


def _washout(name: str, value: object, _: Arguments) -> int:
    washout = _checks.check_integer(name, value)
    if washout < 0:
        raise ValueError(f"{name}: expected an integer >= 0, got {washout}")
    return washout


RECORD = Record(
    name="echo_state",
    checks={
        "spectral_radius": _at_least_zero,
        "leak": _share,
        "density": _share,
        "input_scaling": _at_least_zero,
        "bias_scaling": _at_least_zero,
        "washout": _washout,
        "ridge": _at_least_zero,
    },
)
OPTIONS = ("input_size", "hidden_size", *RECORD.checks, "dtype")
"""What a network remembers of its constructor's arguments."""


def check_arguments(given: Mapping[str, object]) -> dict[str, Any]:
    """Return the arguments of a network, checked and made plain."""
    naming.check_names("arguments", given, OPTIONS)
    taken = Arguments({name: given[name] for name in OPTIONS}, RECORD)
    I, H, dtype = (taken[name] for name in ("input_size", "hidden_size", "dtype"))
    spelled = f"input_size={I}, hidden_size={H}"
    check_weights(spelled, 3, H * (I + H + 1), dtype.itemsize)
    return dict(taken)


def shapes_of(arguments: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return letters and sizes of the axes of each weight of the reservoir."""
    H, I = arguments["hidden_size"], arguments["input_size"]
    return {
        "weight_ih": {"H": H, "I": I},
        "weight_hh": {"H": H, "H_": H},
        "bias_ih": {"H": H},
    }


def take_array(name: str, value: object, dtype: FloatType, **sizes: int) -> Array:
    """Return a weight as an array of its own."""
    array = _checks.as_array(name, value, dtype)
    if array.shape != tuple(sizes.values()):
        spelled = ", ".join(f"{k.rstrip('_')}={size}" for k, size in sizes.items())
        raise _checks.shape_error(name, spelled, array.shape)
    return np.array(array, dtype, order="C")


def take_weights(
    name: str, given: Mapping[str, object], arguments: Mapping[str, Any]
) -> dict[str, Array]:
    """Return the reservoir's weights as arrays of their own; names must be right."""
    expected = [*shapes_of(arguments)]
    if any(str(key).endswith(READOUT) for key in given):
        expected += READOUT
    problems = naming.Problems()
    with problems.noting():
        naming.check_weight_names(name, given, expected)
    taken: dict[str, Array] = {}
    for key, sizes in shapes_of(arguments).items():
        with problems.noting():
            if key in given:
                taken[key] = take_array(key, given[key], arguments["dtype"], **sizes)
    problems.raise_all()
    return taken


def take_readout(
    given: Mapping[str, object], arguments: Mapping[str, Any]
) -> tuple[Array, Array] | None:
    """Return the readout's weights as arrays of their own, None where it has none."""
    if "weight_out" not in given:
        return None
    dtype = arguments["dtype"]
    bias = _checks.as_array("bias_out", given["bias_out"], dtype)
    outputs = math.prod(bias.shape)
    features = arguments["input_size"] + arguments["hidden_size"]
    return (
        take_array("weight_out", given["weight_out"], dtype, O=outputs, K=features),
        take_array("bias_out", bias, dtype, O=outputs),
    )


# Drawing


@ieee_mode()
def draw_reservoir(
    arguments: Mapping[str, Any], given: Mapping[str, object], seed: object
) -> dict[str, Array]:
    """Return the weights of a new reservoir; `given` may hold matrices to take."""
    own = Seed(_checks.check_seed(seed), "EchoState")
    H, I, dtype = arguments["hidden_size"], arguments["input_size"], arguments["dtype"]
    scaling = arguments["bias_scaling"]
    b = symmetric((H,), scaling, FLOAT64, own.stream("bias_ih"))
    weights = {"bias_ih": b.astype(dtype)}
    if given["w_in"] is None:
        scaling = arguments["input_scaling"]
        W = symmetric((H, I), scaling, FLOAT64, own.stream("weight_ih"))
        weights["weight_ih"] = W.astype(dtype)
    else:
        weights["weight_ih"] = take_array("w_in", given["w_in"], dtype, H=H, I=I)
    if given["w"] is None:
        R = _draw_sparse(H, arguments["density"], own.stream("weight_hh"))
        weights["weight_hh"] = _scale(R, arguments).astype(dtype)
    else:
        weights["weight_hh"] = take_array("w", given["w"], dtype, H=H, H_=H)
    return {name: weights[name] for name in shapes_of(arguments)}


def _draw_sparse(size: int, density: float, generator: np.random.PCG64) -> Array:
    """Return R [H, H] with an equal number of connections in each row."""
    R = symmetric((size, size), 1.0, FLOAT64, generator)
    order = generator.random_raw(size * size).reshape(size, size)
    kept = max(1, round(density * size))
    columns = np.argsort(order, axis=1, kind="stable")[:, :kept]
    sparse = np.zeros_like(R)
    np.put_along_axis(sparse, columns, np.take_along_axis(R, columns, axis=1), axis=1)
    return sparse


def _scale(R: Array, arguments: Mapping[str, Any]) -> Array:
    """Return R with the spectral radius that is asked for."""
    target = arguments["spectral_radius"]
    if target == 0:
        return np.zeros_like(R)
    radius = spectral_radius(R)
    if radius == 0:
        raise ValueError(
            f"seed: expected one that gives a reservoir with a loop, which "
            f"spectral_radius={target} can scale, got a reservoir without"
        )
    return np.asarray(R * (target / radius))


# Running


def make_layer(arguments: Mapping[str, Any], weights: Mapping[str, Array]) -> Reservoir:
    """Return the layer that runs a reservoir with these weights."""
    sizes = (arguments["input_size"], arguments["hidden_size"])
    dtype, leak = arguments["dtype"], arguments["leak"]
    if dtype.type(leak) == 1:
        layer: Reservoir = RNN(*sizes, dtype=dtype, seed=0)
    else:
        layer = LeakyRNN(*sizes, leak=leak, dtype=dtype, seed=0)
    # Two biases are one sum: the kernels add them before anything else.
    zeros = np.zeros_like(weights["bias_ih"])
    named = {f"{name}_l0": array for name, array in weights.items()}
    layer.load_state_dict({**named, "bias_hh_l0": zeros})
    return layer


def weights_of(layer: Reservoir) -> dict[str, Array]:
    """Return a copy of the weights of a reservoir, by their names in the network."""
    return {
        name.removesuffix("_l0"): array
        for name, array in layer.state_dict().items()
        if name != "bias_hh_l0"
    }
