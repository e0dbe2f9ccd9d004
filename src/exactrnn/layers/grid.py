"""Grid LSTM over a grid of any number of dimensions: the public class `GridLSTM`.

The two-dimensional grid with the interface of a recurrent layer is in `time_depth.py`.
What calls the kernels is in `_run/grid.py`, checks in `_spec/grid_checks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike, DTypeLike, Lengths
from exactrnn._run.grid import GridRun, GridStack
from exactrnn._run.grid_call import begin_grid, check_gradients
from exactrnn._run.protocol import Owner
from exactrnn._spec.activations import Activation, KindLike
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.grid import GridConfig, Pair
from exactrnn._spec.grid_arguments import GRID_CHECKS
from exactrnn._spec.record import Record
from exactrnn._spec.rules import Init, InitLike
from exactrnn.layers._module import Module
from exactrnn.layers._named import GridWeights
from exactrnn.layers._results import KeptCache, read_only
from exactrnn.layers._unzoned import without_zoneout

__all__ = ["GridCache", "GridGradients", "GridLSTM"]

MEANINGS = {
    "i": "input gate: what is written",
    "f": "forget gate: what m keeps",
    "g": "candidate: what may be written",
    "o": "output gate: what is shown of m",
    "a": "activation",
    "m": "memory",
}
"""What the gates of a grid's blocks are, for pictures."""

Border: TypeAlias = Array | tuple[Array, Array]
"""`(h, m)` at a border of a dimension, or `h` where it has no memory."""


class GridGradients(NamedTuple):
    """What `GridLSTM.backward` returns.

    Attributes
    ----------
    x : ndarray, tuple of ndarray or None
        Gradient of the input of each side, as it was given.
    borders : tuple
        Gradients of the near borders, shaped as `GridLSTM` returns the far ones; None
        for a dimension with input.
    weights : dict of str to ndarray
        Gradient of each weight by name.
    """

    x: Array | tuple[Array, ...] | None
    borders: tuple[Border | None, ...]
    weights: dict[str, Array]


class GridModule(Module):
    """What layers of grids have in common: a stack of their own."""

    _stack: Owner

    def _assemble(
        self,
        spec: Any,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        options = self._attributes(given)
        self.__dict__.update(options)  # which `_shortest` reads
        stack = self._make_stack(spec, weights, generator)
        shown = {name: self._shortest(name, options[name]) for name in given}
        self._become(spec, options, shown, _stack=stack, _store=stack.store)

    def _generator_state(self) -> dict[str, Any]:
        return self._stack.masks.generator_state()

    def _set_generator_state(self, state: Mapping[str, Any]) -> None:
        self._stack.masks.set_generator_state(state)

    @classmethod
    def _make_stack(
        cls, spec: Any, weights: Mapping[str, Array], generator: np.random.PCG64
    ) -> Owner:
        """Return what runs the layer."""
        raise NotImplementedError

    def _attributes(self, given: Arguments) -> dict[str, object]:
        """Return options that can be read, as they were understood."""
        return dict(given)

    def _shortest(self, name: str, value: object) -> object:  # noqa: ARG002
        """Return a value of an argument that says the same in the shortest way."""
        return value


class GridCache(KeptCache["GridLSTM", GridRun]):
    """What `GridLSTM.forward` keeps for `backward`; valid until the weights change.

    It owns copies of the inputs and of the borders. `backward` leaves it as it is and
    may be called again. A deep copy or a pickle takes its grid along, as `Cache` does.

    Attributes
    ----------
    layer : GridLSTM
        The grid that it is of.
    x, sizes, batch_size, lengths, gates, points
        What was read, where it was, and what came out at each point.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        call = self._run.call
        return f"<cache of {self._owner!r}, sizes={call.sizes}, B={call.batch}>"

    @property
    def x(self) -> Array | tuple[Array, ...] | None:
        """The input of each side as `forward` was given it, read-only copies.

        +0.0 on lines that a row does not have; None where the grid has no sides.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> grid = xr.GridLSTM(3, 4, sizes=(None, 2), seed=1)
        >>> ends, cache = grid.forward(np.ones((5, 1, 3), np.float32))
        >>> cache.x.shape, cache.layer is grid
        ((5, 1, 3), True)
        """
        return _one_or_all([read_only(part.copy()) for part in self._run.call.inputs])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Points along each dimension, n_0, n_1, ..."""
        return self._run.call.sizes

    @property
    def batch_size(self) -> int:
        """B, the rows of the batch."""
        return self._run.call.batch

    @property
    def lengths(self) -> Lengths | None:
        """The lengths [B, N] that `forward` was given, read-only, or None."""
        lengths = self._run.call.lengths
        return None if lengths is None else read_only(lengths.copy())

    @property
    def gates(self) -> dict[str, Array]:
        """Gates by name, `i_d0`, `f_d0`, ..., read-only copies [n_0, ..., B, H]."""
        return {name: read_only(gate) for name, gate in self._run.gates().items()}

    @property
    def points(self) -> tuple[Border, ...]:
        """What each point hands on, `(h, m)` by dimension, copies [n_0, ..., B, H].

        +0.0 where a row has no point.
        """
        found = {name: read_only(part) for name, part in self._run.states().items()}
        return tuple(
            _to_user((found[f"h_d{k}"], found.get(f"m_d{k}")))
            for k in range(self._owner.dims)
        )


class GridLSTM(GridWeights, GridModule):
    """Grid LSTM: a block of LSTMs at every point of a grid of N dimensions.

    Along each dimension k a block takes `(h_k, m_k)` from the point before, or from the
    near border, and hands `(h'_k, m'_k)` on, with `σ` the logistic function and `*`
    elementwise::

        Hc = [h_0; ...; h_{N-1}]
        i = σ(W_i Hc + b_i)         f = σ(W_f Hc + b_f)         (the paper's u is i)
        g = tanh(W_g Hc + b_g)      o = σ(W_o Hc + b_o)
        m'_k = f * m_k + i * g
        h'_k = tanh(o * m'_k)       or  o * tanh(m'_k)

    with weights for each k. A dimension without memory has `h'_k = α(W Hc + b)`.
    Priority dimensions come after the others, one after the other, and read the new h
    of the dimensions before them.

    Data enter at the near borders: as `(h, m)`, or at the `sides` as an input that is
    projected, `[h; m] = W_ih x + b_ih`. An N-D array of values, as an image, is the
    input of one side of a grid of N + 1 dimensions; the far border opposite is its
    output.

    Parameters
    ----------
    input_size : int or tuple of int
        I, values per point of an input; one for all `sides` or one for each.
    hidden_size : int
        H, units of h and m in every dimension.
    dims : int
        N, dimensions of the grid, 1 to 6.
    sides : sequence of int, optional
        Dimensions whose near border is an input; the last one by default.
    kinds : str or sequence of str or tuple
        For each dimension `"lstm"`, or its α without memory: one of the activations of
        `LSTM`, such as `"tanh"` or `("leaky_relu", 0.1)`.
    priority : sequence of int
        Priority dimensions, in the order in which they are worked on.
    output : {"tanh(o*m)", "o*tanh(m)"}
        The paper's form, or that of public code and of the LSTM.
    sizes : sequence of int or None, optional
        Points along each dimension, None for any number; by default any.
    shared : bool or sequence of bool
        Whether all positions along a dimension have the same weights. False needs the
        dimension's size.
    tied : bool
        Whether all dimensions of a block have the same weights.
    bias : bool
        Whether there are biases.
    init : {"uniform", "orthogonal", "glorot"} or ("chrono", T)
        How first weights are drawn: uniform in ±1/sqrt(H), as in torch; with orthogonal
        blocks of `weight_hh`; uniform in Glorot's limits; or for sequences of about T
        points (Tallec, Ollivier, arXiv 1804.11188).
    forget_bias : float, optional
        First bias of all forget gates; None for one like the others.
    dtype : {"float32", "float64"}
        Of weights, inputs, states and outputs.
    seed : int, optional
        Of the first weights.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights, of dimension 0: `weight_hh_d0` [4H, N*H], rows i f g o, columns h_0, h_1,
    ...; [H, N*H] without memory; `bias_hh_d0`. Where dimensions have unshared weights,
    the positions along them follow, as in `weight_hh_d0_p2`. Tied weights are
    `weight_hh`. A side: `weight_ih_d0` [2H, I], rows h, then m, and `bias_ih_d0`.

    Two things are called tied in the literature: the same weights at all positions of a
    dimension, as the paper does along the depth, are `shared` here; the same weights in
    all dimensions of a block are `tied`.

    Source: N. Kalchbrenner, I. Danihelka, A. Graves, "Grid Long Short-Term Memory",
    ICLR 2016, arXiv 1507.01526.

    Examples
    --------
    An image of 6 by 5 points with 3 values each, 2 images, and a depth of 2:

    >>> import numpy as np
    >>> import exactrnn as xr
    >>> grid = xr.GridLSTM(3, 4, dims=3, sizes=(None, None, 2), priority=(2,), seed=1)
    >>> image = np.ones((6, 5, 2, 3), np.float32)
    >>> rows, columns, (h, m) = grid(image)
    >>> h.shape
    (6, 5, 2, 4)
    >>> rows[0].shape  # h at the lower border: [5 columns, depth, B, H]
    (5, 2, 2, 4)
    """

    record = Record(
        name="grid_lstm", gates="ifo", meanings=MEANINGS, checks=GRID_CHECKS
    )

    input_size: int | tuple[int, ...]
    hidden_size: int
    dims: int
    sides: tuple[int, ...]
    kinds: Activation | tuple[Activation, ...]
    priority: tuple[int, ...]
    output: str
    sizes: tuple[int | None, ...]
    shared: tuple[bool, ...]
    tied: bool
    bias: bool
    init: Init
    forget_bias: float | None

    _spec: GridConfig
    _stack: GridStack

    @without_zoneout("the states of a grid go along several dimensions")
    def __init__(
        self,
        input_size: int | Sequence[int],
        hidden_size: int,
        dims: int = 2,
        *,
        sides: Sequence[int] | None = None,
        kinds: KindLike | Sequence[KindLike] = "lstm",
        priority: Sequence[int] = (),
        output: Literal["tanh(o*m)", "o*tanh(m)"] = "tanh(o*m)",
        sizes: Sequence[int | None] | None = None,
        shared: bool | Sequence[bool] = True,
        tied: bool = False,
        bias: bool = True,
        init: InitLike = "uniform",
        forget_bias: float | None = None,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _make_stack(
        cls, spec: Any, weights: Mapping[str, Array], generator: np.random.PCG64
    ) -> GridStack:
        return GridStack(spec, weights, generator)

    @classmethod
    def _configure(cls, given: Arguments) -> Any:
        dims = given["dims"]
        widths = dict(zip(given["sides"], given["input_size"], strict=False))
        names = (
            *("hidden_size", "kinds", "priority", "output", "sizes", "shared"),
            *("tied", "bias", "init", "forget_bias", "dtype"),
        )
        return GridConfig(
            input_sizes=tuple(widths.get(k) for k in range(dims)),
            labels=tuple(f"d{k}" for k in range(dims)),
            **{name: given[name] for name in names},
        )

    def _attributes(self, given: Arguments) -> dict[str, object]:
        # What is the same for all is shown once.
        once = {
            name: given[name][0]
            for name in ("input_size", "kinds")
            if len(set(given[name])) == 1
        }
        return {**given, **once}

    def _shortest(self, name: str, value: Any) -> object:
        if name == "sides" and value == (self.dims - 1,):
            return None
        if name == "sizes" and value == (None,) * self.dims:
            return None
        if name == "shared" and len(set(value)) == 1:
            return value[0]
        return value

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Names in `cache.gates`: of the dimensions with memory.

        Examples
        --------
        >>> import exactrnn as xr
        >>> xr.GridLSTM(3, 4, kinds=("lstm", "tanh")).gate_names
        ('i_d0', 'f_d0', 'g_d0', 'o_d0')
        """
        return self._spec.gate_names

    def __call__(
        self,
        x: ArrayLike | Sequence[ArrayLike] | None = None,
        borders: Sequence[object] | None = None,
        *,
        sizes: Sequence[int | None] | None = None,
        lengths: object = None,
    ) -> tuple[Border, ...]:
        """Run over a grid, for inference: keeping nothing.

        Parameters
        ----------
        x : array_like or sequence of array_like, optional
            Input of the side: [the sizes of the other dimensions in order, B, I]; one
            for each of `sides` where these are several. Padding is never read.
        borders : sequence, optional
            For each dimension what stands at its near border: `(h, m)`, each
            [the other sizes, B, H] or None for zeros; `h` alone without memory; None
            for zeros. Dimensions with input take none.
        sizes : sequence of int or None, optional
            Points along each dimension, where neither the layer nor an array says it.
        lengths : array_like of int, optional
            [B, N]: row b has the points whose coordinates lie below its lengths.

        Returns
        -------
        tuple
            For each dimension `(h, m)`, or `h` without memory, at the far border:
            [the other sizes, B, H]; zeros on lines that a row does not have.

        Raises
        ------
        ValueError
            If a shape or a length is wrong, or a size is not known.
        TypeError
            If something is not an array or not of the layer's dtype.
        """
        if sizes is None and lengths is None:
            found: tuple[Border, ...] | None = self._stack.run_plain(x, borders)
            if found is not None:
                return found
        call = begin_grid(self._spec, x, borders, sizes, lengths)
        ends = self._stack.new_borders(call)
        self._stack.run(call, 0, ends)
        return tuple(_to_user(pair) for pair in ends)

    def forward(
        self,
        x: ArrayLike | Sequence[ArrayLike] | None = None,
        borders: Sequence[object] | None = None,
        *,
        sizes: Sequence[int | None] | None = None,
        lengths: object = None,
    ) -> tuple[tuple[Border, ...], GridCache]:
        """Run over a grid, for training: keeping what backward needs.

        Parameters
        ----------
        x, borders, sizes, lengths
            As in a plain call.

        Returns
        -------
        ends : tuple
            As in a plain call.
        cache : GridCache
            For `backward`; owns copies of `x` and `borders`.

        Raises
        ------
        ValueError, TypeError
            As in a plain call.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> grid = xr.GridLSTM(3, 4, sizes=(None, 2), shared=(True, False), seed=1)
        >>> ends, cache = grid.forward(np.ones((5, 2, 3), np.float32))
        >>> (time_h, time_m), (depth_h, depth_m) = ends
        >>> cache.gates["i_d0"].shape
        (5, 2, 2, 4)
        >>> grads = grid.backward(cache, (None, (np.ones_like(depth_h), None)))
        >>> grads.x.shape, grads.weights["weight_hh_d0_p1"].shape
        ((5, 2, 3), (16, 8))
        """
        if sizes is None and lengths is None:
            found = self._stack.keep_plain(x, borders)
            if found is not None:
                return found[0], GridCache(self, found[1])
        call = begin_grid(self._spec, x, borders, sizes, lengths)
        # Inputs were copied unless they were contiguous as they came.
        call = call._replace(inputs=tuple(np.array(part) for part in call.inputs))
        ends = self._stack.new_borders(call)
        run = self._stack.run_keeping(call, 0, ends)
        return tuple(_to_user(pair) for pair in ends), GridCache(self, run)

    def backward(self, cache: GridCache, dends: Sequence[object]) -> GridGradients:
        """Go back through the grid, from gradients of the far borders to all others.

        Parameters
        ----------
        cache : GridCache
            From this layer's `forward`; the weights must be those of then.
        dends : sequence
            Gradients of the far borders, shaped like them; None for zeros, also for one
            of `(h, m)`. Values on lines that a row does not have are not read.

        Returns
        -------
        GridGradients
            `x`, `borders` and `weights` by name.

        Raises
        ------
        ValueError
            If a shape is wrong, all gradients are None, the cache is another layer's or
            the weights have changed since `forward`.
        TypeError
            If something is not an array or not of the layer's dtype.
        """
        _checks.check_owner(cache, self)
        run = cache._run
        found = run.back_plain(dends)
        if found is not None:
            dinputs, borders, weights = found
            return GridGradients(_one_or_all(dinputs), borders, weights)
        config = self._stack.spec
        call = run.call
        taken = check_gradients(config, dends, call.sizes, call.batch)
        weights = self._stack.new_gradients()
        dinputs, dborders = run.back(taken, weights)
        borders = tuple(
            None if k in config.sides else _to_user(pair)
            for k, pair in enumerate(dborders)
        )
        return GridGradients(_one_or_all(dinputs), borders, weights)


def _one_or_all(parts: Sequence[Array]) -> Array | tuple[Array, ...] | None:
    """Return what all sides have as the caller has it: one array, several or none."""
    return tuple(parts) if len(parts) > 1 else parts[0] if parts else None


def _to_user(pair: Pair) -> Border:
    """Return `(h, m)`, or `h` without memory."""
    return cast(Border, pair if pair[1] is not None else pair[0])
