"""A batch in shards, and the sum of their gradients: what contract N10 defines.

Nothing here knows of workers. A batch of N rows is cut into S shards of rows that
follow each other; each shard's gradient is computed alone, of its share in the batch's
loss; the gradients are added by a tree over the shards, which S alone decides:

    shard     0   1   2   3   4   5   6
    level 1     +       +       +     |       neighbours are added, the left one first;
    level 2         +             +           one without a neighbour goes up as it is
    level 3                +

A node of level l and place i stands for the shards from i * 2**l on. A worker adds
those nodes whose shards are all its own, and hands on these sums; whoever has all that
is left adds the rest. The sums are elementwise additions, so they may be taken in
slices of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import Array, describe
from exactrnn._numeric.random import make_generator
from exactrnn._system.mode import ieee_mode
from exactrnn.layers._gradients import GradientsLike, as_gradient, weights_of
from exactrnn.train._models import check_carried, check_loss, set_generator_states
from exactrnn.train._stored import FileRows, read
from exactrnn.train.batches import Batch
from exactrnn.train.losses import IGNORED

__all__ = ["count_targets", "cut"]

Axes: TypeAlias = tuple[int | tuple[int, ...], int]
Count: TypeAlias = Callable[..., float]
States: TypeAlias = Mapping[int, Any] | None
"""States by the numbers of their shards; None if none are carried."""


class Shard(NamedTuple):
    """Some rows of a batch, and their share in its loss.

    Attributes
    ----------
    number : int
        Which shard.
    rows : Batch
        Copies of the rows.
    share : float
        What of the batch is counted in them, from 0 to 1.
    """

    number: int
    rows: Batch
    share: float

    def read(self) -> Shard:
        """Return it with all that lies in files read."""
        x, y, lengths, weights = self.rows
        return self._replace(rows=Batch(read(x), read(y), lengths, weights))


# Cutting


def bounds(rows: int, shards: int) -> list[tuple[int, int]]:
    """Return where the shards begin and end that have rows.

    Each has ``rows // shards`` of them, and the first ``rows % shards`` one more: the
    last shards are shorter, and of fewer rows than shards the last have none.
    """
    size, more = divmod(rows, shards)
    found, begin = [], 0
    for k in range(min(rows, shards)):
        end = begin + size + (k < more)
        found.append((begin, end))
        begin = end
    return found


def cut(
    batch: Batch, shards: int, axes: Axes = (1, 1), count: Count | None = None
) -> list[Shard]:
    """Cut a batch into shards.

    Parameters
    ----------
    batch : Batch
        Of N rows.
    shards : int
        How many.
    axes : tuple of two ints
        Where rows lie in `x` and in `y`, as for `batches`; the first may be a tuple,
        of one for each array of `x`.
    count : callable, optional
        What a loss divides by, as `count_targets`.

    Returns
    -------
    list of Shard
        Those that have rows: of fewer rows than shards one for each row.
    """
    rows = rows_in(batch.x, axes[0])
    if rows == 0:
        raise ValueError("batches: expected rows in each, got a batch without any")
    parts = [_rows_of(batch, axes, *span) for span in bounds(rows, shards)]
    counts = [_count(part, axes, count) for part in parts]
    total = math.fsum(counts)
    return [
        Shard(k, part, own / total if total else 0.0)
        for k, (part, own) in enumerate(zip(parts, counts, strict=True))
    ]


def rows_in(x: Any, axis: int | tuple[int, ...]) -> int:
    """Return how many rows an array has, or the first of several."""
    if isinstance(x, tuple | list) and x:
        return rows_in(x[0], axis if isinstance(axis, int) else axis[0])
    if not isinstance(axis, int):
        raise ValueError(f"axes[0]: expected an integer for one array, got {axis}")
    shape = np.shape(x)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axes[0]: expected an axis of x {shape}, got {axis}")
    rows: int = shape[axis]
    return rows


def _rows_of(batch: Batch, axes: Axes, begin: int, end: int) -> Batch:
    x, y, lengths, weights = batch
    own = None
    if weights is not None:
        given = np.asarray(weights)
        own = _slice(given, axes[1] if given.ndim > axes[1] else 0, begin, end)
    return Batch(
        _slice(x, axes[0], begin, end),
        _slice(y, axes[1], begin, end),
        None if lengths is None else np.asarray(lengths)[begin:end],
        own,
    )


def _slice(value: Any, axis: int | tuple[int, ...], begin: int, end: int) -> Any:
    """Return rows of an array, or of each array in a tuple or list."""
    if isinstance(value, FileRows) and axis == value.axis:
        return value.part(begin, end)
    if isinstance(value, tuple | list):
        places = (axis,) * len(value) if isinstance(axis, int) else axis
        if len(places) != len(value):
            raise ValueError(
                f"axes[0]: expected one for each of {len(value)} arrays, got {axis}"
            )
        pairs = zip(value, places, strict=True)
        return tuple(_slice(one, place, begin, end) for one, place in pairs)
    if not isinstance(axis, int):
        raise ValueError(f"axes[0]: expected an integer for one array, got {axis}")
    array = np.asarray(value)
    index: list[Any] = [slice(None)] * array.ndim
    index[axis] = slice(begin, end)
    return np.ascontiguousarray(array[tuple(index)])


def _count(part: Batch, axes: Axes, count: Count | None) -> float:
    if count is None:
        return count_targets(part, axes)
    given = {"lengths": part.lengths, "weights": part.weights}
    own = count(read(part.y), **{n: v for n, v in given.items() if v is not None})
    try:
        number = float(own)
    except (TypeError, ValueError):
        raise TypeError(f"count: expected a number, got {describe(own)}") from None
    if not 0 <= number < math.inf:
        raise ValueError(f"count: expected finite numbers of at least 0, got {own!r}")
    return number


def count_targets(batch: Batch, axes: Axes = (1, 1)) -> float:
    """Return what a loss of this package divides by: its targets that count.

    Numbers of `y`, but for those past a row's length where `y` has a step for each of
    `x`, and but for integers of -1; with weights the sum of those of the rest.

    Parameters
    ----------
    batch : Batch
        Of arrays.
    axes : tuple of two ints
        Where rows lie in `x` and in `y`.
    """
    is_plain = batch.lengths is None and batch.weights is None
    given: Any = batch.y
    if is_plain and isinstance(given, FileRows) and given.dtype.kind not in "iu":
        return float(given.size)
    y = np.asarray(given)
    counts = np.ones(y.shape, bool)
    if y.dtype.kind in "iu":
        counts &= y != IGNORED
    if batch.lengths is not None and _has_steps(batch, axes):
        steps = np.arange(y.shape[1 - axes[1]])
        before = steps[:, None] < np.asarray(batch.lengths)
        own = before if axes[1] == 1 else before.T
        counts &= own.reshape(own.shape + (1,) * (y.ndim - 2))
    if batch.weights is None:
        return float(np.count_nonzero(counts))
    weights = np.asarray(batch.weights)
    if weights.shape != y.shape[: weights.ndim]:
        raise ValueError(
            f"weights: expected the first axes of y {y.shape}, got {weights.shape}"
        )
    wide = weights.reshape(weights.shape + (1,) * (y.ndim - weights.ndim))
    # Exact, and rounded once: the order of the numbers is no matter.
    return math.fsum(np.where(counts, wide, 0).ravel().tolist())


def _has_steps(batch: Batch, axes: Axes) -> bool:
    """Tell whether `y` has an answer for each step; lengths of several x are of y."""
    own, other = axes
    y = np.shape(batch.y)
    if other not in (0, 1) or len(y) < 2:
        return False
    if isinstance(batch.x, tuple | list):
        return True
    x = np.shape(batch.x)
    return own == other and len(x) >= 2 and x[1 - other] == y[1 - other]


# One shard


class Layout(NamedTuple):
    """Which gradients stand one after the other in a vector."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def as_gradients(self, vector: Array) -> dict[str, Array]:
        """Return views of a vector by name."""
        found, begin = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            end = begin + math.prod(shape)
            found[name] = vector[begin:end].reshape(shape)
            begin = end
        return found


def as_vector(gradients: GradientsLike) -> tuple[Layout, Array]:
    """Return gradients one after the other, in their order, which `Layout` keeps."""
    arrays = {n: as_gradient(n, g) for n, g in weights_of(gradients).items()}
    dtypes = {array.dtype for array in arrays.values()}
    if len(dtypes) != 1:
        raise TypeError(
            "gradients: expected some, of one dtype, got "
            f"{', '.join(sorted(map(str, dtypes))) or 'none'}"
        )
    layout = Layout(tuple(arrays), tuple(array.shape for array in arrays.values()))
    return layout, np.concatenate([array.reshape(-1) for array in arrays.values()])


class Place(NamedTuple):
    """Which batch of a run: for its random numbers. States begin at batch 0."""

    epoch: int
    batch: int


class ShardGradient(NamedTuple):
    """What comes of a shard.

    Attributes
    ----------
    value : float
        What it adds to the batch's loss.
    layout : Layout
    vector : ndarray
        Its gradient.
    state : tuple of ndarray, ndarray or None
        The model's after its last step; None of a model that gives none.
    """

    value: float
    layout: Layout
    vector: Array
    state: Any


def shard_gradient(
    model: Any,
    loss: Callable[..., tuple[float, Any]],
    shard: Shard,
    place: Place,
    generators: Mapping[str, Any],
    state: Any = None,
) -> ShardGradient:
    """Return what a shard adds to the batch's loss, and its gradient as a vector.

    Random numbers of the model are those of this shard of this batch: they are drawn
    from where the generators stood as the run began, and from the place's numbers.
    A state is that of these rows; None begins at zeros.
    """
    rows = shard.rows
    set_generator_states(model, _generators_at(generators, place, shard.number))
    given = {} if rows.lengths is None else {"lengths": rows.lengths}
    more = given if rows.weights is None else {**given, "weights": rows.weights}
    before = {} if state is None else {"state": state}
    try:
        output, *rest, cache = model.forward(rows.x, **given, **before)
    finally:
        set_generator_states(model, generators)
    value, dy = check_loss(loss(output, rows.y, **more))
    with ieee_mode():
        value *= shard.share
    layout, vector = as_vector(model.backward(cache, _scaled(dy, shard.share)).weights)
    return ShardGradient(value, layout, vector, rest[0] if rest else None)


def _generators_at(
    generators: Mapping[str, Any], place: Place, number: int
) -> dict[str, Any]:
    words = ("shard", *map(str, place), str(number))
    return {
        name: dict(make_generator(int(at["state"]["state"]), name, *words).state)
        for name, at in generators.items()
    }


@ieee_mode()
def _scaled(dy: Any, share: float) -> Any:
    """Return the gradient of a share in a mean: as it is for all of it."""
    if isinstance(dy, tuple | list):
        return tuple(_scaled(one, share) for one in dy)
    if share == 1.0:
        return dy
    if not isinstance(dy, np.ndarray):
        raise TypeError(f"loss: expected arrays as gradient, got {describe(dy)}")
    return dy * dy.dtype.type(share)


# The tree


class Node(NamedTuple):
    """The sum of ``1 << level`` shards or less, from ``place << level`` on."""

    level: int
    place: int


class TreeSum:
    """Adds the shards' vectors, which come in the order of the shards."""

    def __init__(self) -> None:
        self._nodes: list[tuple[Node, NDArray[Any]]] = []

    @ieee_mode()
    def add(self, node: Node, vector: NDArray[Any]) -> None:
        """Take a sum in, and add it to its neighbour if both are whole."""
        while self._nodes:
            before, left = self._nodes[-1]
            if before != Node(node.level, node.place - 1) or node.place % 2 == 0:
                break
            self._nodes.pop()
            node, vector = Node(node.level + 1, node.place // 2), left + vector
        self._nodes.append((node, vector))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Those that wait for a neighbour."""
        return tuple(node for node, _ in self._nodes)

    @property
    def vectors(self) -> list[NDArray[Any]]:
        """Theirs."""
        return [vector for _, vector in self._nodes]

    @ieee_mode()
    def total(self) -> NDArray[Any]:
        """Return the sum of all, once the last shard is among them."""
        *others, (_, total) = self._nodes
        for _, left in others[::-1]:
            total = left + total
        return total


class ShardSums(NamedTuple):
    """What comes of neighbouring shards.

    Attributes
    ----------
    values : list of float
        What each adds to the batch's loss.
    layout : Layout or None
        None of no shards.
    tree : TreeSum
        Their part of the tree.
    states : dict of int to state, or None
        After the last step, by the shards' numbers, if states are carried.
    """

    values: list[float]
    layout: Layout | None
    tree: TreeSum
    states: States


def shard_gradients(
    model: Any,
    loss: Callable[..., tuple[float, Any]],
    shards: Sequence[Shard],
    place: Place,
    generators: Mapping[str, Any],
    states: States = None,
) -> ShardSums:
    """Return what neighbouring shards add to the loss, and their part of the tree.

    With `states` each shard begins with its own, at zeros where there is none, and
    leaves another one.
    """
    values, layout, tree = [], None, TreeSum()
    after: dict[int, Any] = {}
    for shard in shards:
        state = None if states is None else states.get(shard.number)
        found = shard_gradient(model, loss, shard, place, generators, state)
        if states is not None:
            after[shard.number] = check_carried(model, found.state)
        layout = found.layout
        values.append(found.value)
        tree.add(Node(0, shard.number), found.vector)
    return ShardSums(values, layout, tree, None if states is None else after)


def rows_of_states(state: Any, rows: int, shards: int) -> dict[int, Any]:
    """Return the state of each shard of so many rows, by their numbers."""
    return {
        k: _rows_of_state(state, *span) for k, span in enumerate(bounds(rows, shards))
    }


def _rows_of_state(state: Any, begin: int, end: int) -> Any:
    if isinstance(state, tuple):
        return tuple([_rows_of_state(part, begin, end) for part in state])
    return _slice(state, row_axis(state), begin, end)


def joined_states(states: Mapping[int, Any]) -> Any:
    """Return the state of all rows, of those of all shards."""
    own = [states[k] for k in sorted(states)]
    if isinstance(own[0], tuple):
        parts = zip(*own, strict=True)
        return tuple([joined_states(dict(enumerate(part))) for part in parts])
    return np.concatenate(own, row_axis(own[0]))


def row_axis(state: NDArray[Any]) -> int:
    """Return where the rows lie in an array of a state: ``[L, B, ...]`` or ``[B]``."""
    return min(1, state.ndim - 1)


def owners(shards: int, workers: int) -> list[range]:
    """Return which shards each worker has: neighbours, the first ones one more."""
    return [range(*span) for span in bounds(shards, workers)]


def edges(size: int, slices: int) -> list[int]:
    """Return where the slices of a vector begin, and where the last one ends."""
    return [size * k // slices for k in range(slices + 1)]


def merged(given: Iterable[tuple[Sequence[Node], NDArray[Any]]]) -> TreeSum:
    """Return what several workers have together, ``[nodes, slice]`` each, in order."""
    tree = TreeSum()
    for nodes, vectors in given:
        for node, vector in zip(nodes, vectors, strict=True):
            tree.add(node, vector)
    return tree


def nodes_of(shards: range) -> tuple[Node, ...]:
    """Return the sums that neighbouring shards leave."""
    nothing = np.zeros(0)
    return merged(([Node(0, k)], nothing[None]) for k in shards).nodes


def merged_nodes(given: Iterable[Sequence[Node]]) -> tuple[Node, ...]:
    """Return the sums that several workers leave together."""
    return merged((nodes, np.zeros((len(nodes), 0))) for nodes in given).nodes
