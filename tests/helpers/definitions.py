"""Random cells: equations of any kind that the kernels run."""

from exactrnn._graph.definition import from_data
from exactrnn._graph.program import compile_definition


def options_of(cell):
    """Return the options with which a layer runs a cell."""
    compiled = compile_definition(cell.definition)
    return {"program": compiled.program, "compiled": compiled}


def add_normed(rng, listed, used):
    """Normalise one to three values together; return the nodes nobody else may read."""
    kinds = ("const", "v", "scalar", "moments")
    free = [
        n for n, node in enumerate(listed) if n not in used and node[0] not in kinds
    ]
    chosen = [
        int(n) for n in rng.choice(free, min(len(free), rng.integers(1, 4)), False)
    ]
    moments = len(listed)
    listed.append(("moments", *chosen))
    for value in chosen[: rng.integers(1, len(chosen) + 1)]:
        listed.append(("v", f"gain{len(listed)}", (1.0).hex()))
        listed.append(("norm", value, moments, len(listed) - 1))
    return {moments}


ONE = ("neg", "abs", "tanh", "sigmoid", "relu", "softplus", "stop", "tanh", "sigmoid")
TWO = ("add", "sub", "mul", "min", "max", "lt", "le", "eq")
THREE = ("fma", "mix", "where")


def random_cell(rng, nodes=24, rows=False):
    """Return the definition of a random cell; its values stay of moderate size.

    With `rows` it has layer normalisations and scalars.
    """
    states = tuple("hcnmpq"[: rng.integers(1, 7)])
    listed = [("prev", state) for state in states]
    listed += [("const", float(rng.choice([0.5, -1.0, 0.25])).hex()), ("v", "v")]
    listed += [("W", "a"), ("R", "a", 0), ("b", "a")]
    first = len(listed)
    listed += [("add", first - 3, first - 2), ("add", first, first - 1)]
    listed += [("tanh", first + 1), ("R", "k", first + 2), ("b", "k")]
    listed += [("add", first + 3, first + 4), ("W", "u")]
    used = {first - 3, first - 2, first - 1, first, first + 3, first + 4}
    if rng.random() < 0.5:
        listed += [("sigmoid", first + 5), ("R", "l", len(listed))]
    if rows:
        listed.append(("scalar", "k", (0.5).hex()))
    while len(listed) < nodes:
        if rows and rng.random() < 0.2 and len(listed) < nodes - 5:
            used |= add_normed(rng, listed, used)
            continue
        functions = (ONE, TWO, THREE)[rng.integers(3)]
        count = {ONE: 1, TWO: 2, THREE: 3}[functions]
        free = [n for n in range(len(listed)) if n not in used]
        chosen = [int(n) for n in rng.choice(free, count)]
        listed.append((str(rng.choice(functions)), *chosen))
    outputs, listed = [len(listed)], [*listed, ("mul", first + 2, len(listed) - 1)]
    if listed[-1][2] in used:
        listed[-1] = ("neg", first + 2)
    for _ in states[1:]:
        listed.append(("tanh", int(rng.integers(first + 2, nodes))))
        if listed[-1][1] in used:
            listed[-1] = ("tanh", len(listed) - 2)
        outputs.append(len(listed) - 1)
    data = {
        "version": 3 if rows else 1,
        "name": "Random",
        "states": states,
        "nodes": listed,
    }
    return from_data(data | {"outputs": outputs}).data
