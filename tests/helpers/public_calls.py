"""Every public call of the modules in modules.py, each argument by its name.

A `Call` runs with a dict of arguments, made fresh by `values()`; the parts of a tuple
are arguments of their own. Tests put something else in the place of one of them.

`CALLS[module][call]` has every class once; of variants one with everything.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from arrays import as_state, as_tuple, draw
from layer_kinds import KINDS
from modules import CELLS, DENSE, GRIDS, LAYERS, B, H, I, T, fitted, input_of
from variants import PUBLIC

import exactrnn as xr


class Call(NamedTuple):
    """A public call: what it is given by name, and how it is made."""

    values: Callable[[], dict[str, Any]]
    run: Callable[[dict[str, Any]], Any]


def named(name, parts):
    """Return the parts of a state under names as in error messages."""
    if len(parts) == 1:
        return {name: parts[0]}
    return {f"{name}[{k}]": part for k, part in enumerate(parts)}


def together(arguments, name):
    """Return a state from the arguments that are its parts."""
    return as_state([v for k, v in arguments.items() if k.split("[")[0] == name])


def draw_parts(layer, *rows, seed=1):
    """Return the parts of a state that have a gradient."""
    lead = (layer.num_layers, *rows)
    parts = layer._spec.state_parts
    return [draw(*lead, width, seed=seed + k) for k, (_, _, width) in enumerate(parts)]


def draw_begin(layer, *rows):
    """Return the parts of a state."""
    clock = [np.arange(*rows)] if layer.counts_steps else []
    return draw_parts(layer, *rows) + clock


def lengths():
    return np.array([T, 2, 0])


def layer_calls(make):
    """Return the calls of a recurrent layer by name."""
    layer = make()
    x = draw(T, B, I)
    y, _, cache = layer.forward(x)
    state = draw_begin(layer, B)

    def given():
        copies = [part.copy() for part in state]
        return {"x": x.copy(), "lengths": lengths()} | named("state", copies)

    def parts_of(a):
        return a["x"], together(a, "state"), a["lengths"]

    def call(a):
        x, begin, ends = parts_of(a)
        return layer(x, begin, lengths=ends)

    def call_into(a):
        x, begin, ends = parts_of(a)
        return layer(x, begin, lengths=ends, out=a["out"])

    def forward(a):
        x, begin, ends = parts_of(a)
        y, final, _ = layer.forward(x, begin, lengths=ends)
        return y, final

    def refer(a):
        x, begin, ends = parts_of(a)
        return xr.reference.forward(layer, x, begin, lengths=ends)[:2]

    def gradients():
        parts = draw_parts(layer, B, seed=7)
        return {"dy": draw(*y.shape, seed=5)} | named("dstate", parts)

    def one_step():
        begin = [part[:, :B].copy() for part in state]
        return {"x": draw(B, I)} | named("state", begin)

    def step(a):
        return layer.step(a["x"], together(a, "state"))[:2]

    def step_gradients():
        parts = draw_parts(layer, B, seed=7)
        return {"dy": draw(*y[0].shape, seed=5)} | named("dstate", parts)

    twin_cache = xr.reference.forward(layer, x)[2]
    step_cache = layer.step(draw(B, I))[2]
    calls = {
        "call": Call(given, call),
        "call into out": Call(lambda: given() | {"out": np.zeros_like(y)}, call_into),
        "forward": Call(given, forward),
        "reference forward": Call(given, refer),
        "backward": Call(
            gradients,
            lambda a: layer.backward(cache, a["dy"], together(a, "dstate")),
        ),
        "step": Call(one_step, step),
        "step back": Call(
            step_gradients,
            lambda a: layer.step_back(step_cache, a["dy"], together(a, "dstate")),
        ),
        "reference backward": Call(
            gradients,
            lambda a: xr.reference.backward(
                layer, twin_cache, a["dy"], together(a, "dstate")
            ),
        ),
    }
    return calls | stream_calls(layer, state) | weight_calls(layer, x)


def stream_calls(module, state, dtype="float32"):
    """Return the calls of a stream."""
    width = module.output_size

    def step():
        return {"x": draw(B, I, dtype=dtype)}

    def step_into():
        return step() | {"out": np.zeros((B, width), dtype)}

    def set_state(a):
        stream = module.stream(B)
        stream.state = together(a, "state")
        return stream.state

    def stepped():
        stream = module.stream(B)
        stream.step(draw(B, I, dtype=dtype))
        return stream

    def reset(a):
        stream = stepped()
        stream.reset(a["rows"])
        return stream.state

    def step_rows(a):
        stream = stepped()
        return stream.step(a["x"], rows=a["rows"]), stream.state

    def leave(a):
        stream = stepped()
        stream.leave(a["rows"])
        return stream.state, stream.rows

    def set_rows(a):
        stream = stepped()
        stream.set_state(a["rows"], together(a, "state"))
        return stream.state

    def some():
        return {"rows": np.array([0, -1])}

    def some_states():  # a clock has no axis before that of the rows
        parts = [part[..., :2, :] if part.ndim > 1 else part[:2] for part in state]
        return some() | named("state", [part.copy() for part in parts])

    def clocks():  # of a stream, also for one row, [B]
        return named("state", [part.copy() for part in state])

    return {
        "step": Call(step, lambda a: module.stream(B).step(a["x"])),
        "step into out": Call(
            step_into, lambda a: module.stream(B).step(a["x"], a["out"])
        ),
        "set the state of a stream": Call(clocks, set_state),
        "step of rows": Call(
            lambda: some() | {"x": draw(2, I, dtype=dtype, seed=2)}, step_rows
        ),
        "leave": Call(some, leave),
        "state of rows": Call(some, lambda a: stepped().state_of(a["rows"])),
        "set the state of rows": Call(some_states, set_rows),
        "reset": Call(some, reset),
        "reset by mask": Call(lambda: {"rows": np.array([True, False, True])}, reset),
    }


def weight_calls(module, x):
    """Return the calls that take weights."""

    def load(a):
        twin = type(module).restore(module.arguments(), module.state_dict())
        twin.load_state_dict(a)
        return twin(x)

    def restore(a):
        return type(module).restore(module.arguments(), a)(x)

    def assign(a):
        twin = type(module).restore(module.arguments(), module.state_dict())
        for name, weight in a.items():
            setattr(twin, name, weight)
        return twin(x)

    calls = {
        "load_state_dict": Call(module.state_dict, load),
        "restore": Call(module.state_dict, restore),
    }
    if not isinstance(module, xr.EchoState):
        calls["assign weights"] = Call(module.state_dict, assign)
    return calls


def cell_calls(make):
    """Return the calls of a single step."""
    cell, x = make(), draw(B, I)
    final, cache = cell.forward(x)
    shapes = [part.shape for part in as_tuple(final)]

    def given():
        parts = [draw(*shape, seed=k + 1) for k, shape in enumerate(shapes)]
        return {"x": x.copy()} | named("state", parts)

    def gradients():
        parts = [draw(*shape, seed=k + 1) for k, shape in enumerate(shapes)]
        return named("dstate", parts)

    return {
        "call": Call(given, lambda a: cell(a["x"], together(a, "state"))),
        "forward": Call(given, lambda a: cell.forward(a["x"], together(a, "state"))[0]),
        "backward": Call(
            gradients, lambda a: cell.backward(cache, together(a, "dstate"))
        ),
    } | weight_calls(cell, x)


def grid_calls(make):
    """Return the calls of a grid of two dimensions, that of dimension 0 without input.

    Its sizes are T and 2; at the sides stand inputs, at other borders (h, m).
    """
    grid = make()
    sides = {0: (2, B), 1: (T, B)}  # the sizes along a border, and B
    inputs = {k: draw(*sides[k], I, seed=k) for k in grid.sides}
    kinds = [grid.kinds] * 2 if isinstance(grid.kinds, str) else grid.kinds
    free = [k for k in (0, 1) if k not in grid.sides]

    def given():
        found = named("x", [part.copy() for part in inputs.values()])
        for k in free:
            found |= {f"borders[{k}][{n}]": draw(*sides[k], H, seed=n) for n in (0, 1)}
        return found | {"lengths": np.array([[T, 2], [0, 1], [2, 2]])}

    def borders(a, name, which):
        if not which:
            return None
        found = [None, None]
        for k in which:
            parts = [v for n, v in a.items() if n.startswith(f"{name}[{k}]")]
            found[k] = as_state(parts)
        return found

    def arguments(a):
        return together(a, "x"), borders(a, "borders", free)

    ends, cache = grid.forward(*arguments(given()))

    def gradients():
        found = {}
        for k in (0, 1):
            parts = as_tuple(ends[k])
            lstm = kinds[k] == "lstm"
            for n, part in enumerate(parts):
                name = f"dends[{k}][{n}]" if lstm else f"dends[{k}]"
                found[name] = draw(*part.shape, seed=n + 3)
        return found

    def backward(a):
        return grid.backward(cache, borders(a, "dends", (0, 1)))

    x = as_state(tuple(inputs.values()))
    return {
        "call": Call(given, lambda a: grid(*arguments(a), lengths=a["lengths"])),
        "forward": Call(
            given, lambda a: grid.forward(*arguments(a), lengths=a["lengths"])[0]
        ),
        "reference forward": Call(
            given,
            lambda a: xr.reference.forward(grid, *arguments(a), lengths=a["lengths"])[
                0
            ],
        ),
        "backward": Call(gradients, backward),
    } | weight_calls(grid, x)


def dense_calls(make):
    """Return the calls of an embedding or a linear layer."""
    layer, reads = make(), "index" if "embedding_dim" in dir(make()) else "x"
    x = input_of(layer)

    def given():
        return {reads: x.copy()}

    def both():
        return given() | {"dy": draw(T, B, H, seed=5)}

    def there_and_back(a):
        _, cache = layer.forward(a[reads])
        return layer.backward(cache, a["dy"])

    return {
        "call": Call(given, lambda a: layer(a[reads])),
        "forward": Call(given, lambda a: layer.forward(a[reads])[0]),
        "forward and backward": Call(both, there_and_back),
    } | weight_calls(layer, x)


def network_calls():
    """Return the calls of an echo state network."""
    network = fitted()
    x = draw(T, B, I, dtype="f8")
    state = draw(1, B, 20, dtype="f8", seed=1)

    def given():
        return {"x": x.copy(), "lengths": lengths()}

    def onward():
        return given() | {"state": state.copy()}

    def targets():
        return given() | {"y": draw(T, B, 2, dtype="f8", seed=2)}

    def fit(a):
        twin = fitted()
        return twin.fit(a["x"], a["y"], lengths=a["lengths"]).state_dict()

    def alone():
        return {"state": state.copy(), "x0": draw(B, I, dtype="f8")}

    def matrices():
        return {"w_in": draw(20, I, dtype="f8"), "w": 0.1 * draw(20, 20, dtype="f8")}

    def take_matrices(a):
        return xr.EchoState(I, 20, dtype="float64", seed=1, **a).states(x)

    return (
        {
            "call": Call(
                onward, lambda a: network(a["x"], a["state"], lengths=a["lengths"])
            ),
            "states": Call(
                given, lambda a: network.states(a["x"], lengths=a["lengths"])
            ),
            "predict": Call(
                onward,
                lambda a: network.predict(a["x"], a["state"], lengths=a["lengths"]),
            ),
            "fit": Call(targets, fit),
            "run": Call(alone, lambda a: network.run(4, a["state"], a["x0"])),
            "matrices": Call(matrices, take_matrices),
        }
        | stream_calls(network, (state,), "float64")
        | weight_calls(network, x)
    )


def plot_calls():
    """Return the calls that look at layers."""
    layer = LAYERS["lstm"]()
    x, state = draw(T, I), draw_begin(layer)

    def given():
        parts = named("state", [part.copy() for part in state])
        return {"x": x.copy()} | parts | {"dy": draw(T, H, seed=2)}

    def norms(a):
        return xr.plot.gradient_norms(
            layer, a["x"], state=together(a, "state"), dy=a["dy"]
        )

    return {"gradient_norms": Call(given, norms)}


SAME_CLASS = set(KINDS) - set(PUBLIC) - {"lstm-everything"} | {"gru_before"}


def all_calls():
    """Return every call by the names of module and call."""
    found = {"plot": plot_calls(), "echo-state": network_calls()}
    for makers, calls_of in (
        (LAYERS, layer_calls),
        (CELLS, cell_calls),
        (GRIDS, grid_calls),
        (DENSE, dense_calls),
    ):
        for name, make in makers.items():
            if name.removesuffix(" cell") not in SAME_CLASS:
                found[name] = calls_of(make)
    return found


CALLS = all_calls()
