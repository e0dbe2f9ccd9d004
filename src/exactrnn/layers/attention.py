"""A recurrent decoder that looks at a memory at each step.

The equations are in the twin, `reference/attention.py`. Translation, speech and
captions are one network with other settings:

    D. Bahdanau, K. Cho, Y. Bengio, arXiv 1409.0473    score="additive"
    M. Luong, H. Pham, C. Manning, arXiv 1508.04025    query="new", output="concat",
                                                       score="general" or "dot"
    K. Xu et al., arXiv 1502.03044                     cell="lstm", selector=True
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _checks
from exactrnn._checks import Array, DTypeLike, Lengths
from exactrnn._checks.arrays import check_floats
from exactrnn._numeric.random import Seed, symmetric
from exactrnn._run.attention import (
    Decoder,
    DecoderRun,
    Given,
    GivenBack,
    restore_run,
)
from exactrnn._run.layout import TIME_MAJOR
from exactrnn._run.states import pack_state, take_gradient, take_state
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.attention import CHECKS, AttentionSpec
from exactrnn._spec.record import Record
from exactrnn._spec.recurrent import Config
from exactrnn._weights import first
from exactrnn.layers._attention_stream import DecoderStream
from exactrnn.layers._module import Module
from exactrnn.layers._named import DecoderWeights
from exactrnn.layers._results import read_only
from exactrnn.layers.gru import GRU
from exactrnn.layers.lstm import LSTM

__all__ = ["AttentionDecoder", "DecoderCache", "DecoderGradients"]

State = Array | tuple[Array, ...]
ACTIVATIONS = {"lstm": ("sigmoid", "tanh", "tanh")}


class DecoderGradients(NamedTuple):
    """What `AttentionDecoder.backward` returns.

    Attributes
    ----------
    x : ndarray
        Gradient of the input, `[T, B, I]`.
    memory : ndarray
        Gradient of the memory, `[S, B, M]`; zeros past a row's length.
    state : ndarray or tuple of ndarray
        Gradient of the initial state, in its shape.
    weights : dict of str to ndarray
        Gradient of each weight by name.
    """

    x: Array
    memory: Array
    state: State
    weights: dict[str, Array]


class DecoderCache:
    """What `AttentionDecoder.forward` keeps for `backward`, until the weights change.

    It owns copies of input, memory and states: changing the caller's arrays after
    `forward` cannot change a gradient. `backward` leaves it as it is and may be called
    again. A deep copy or a pickle takes its decoder along.
    """

    __slots__ = ("_owner", "_run")

    def __init__(self, owner: AttentionDecoder, run: DecoderRun) -> None:
        self._owner = owner
        self._run = run

    def __reduce__(self) -> tuple[Any, ...]:
        described = self._run.reduce(self._owner._decoder.store)
        return _restore_cache, (type(self), self._owner, described)

    def __copy__(self) -> DecoderCache:
        return type(self)(self._owner, self._run)

    def __repr__(self) -> str:
        T, B, S = self._run.shape
        return f"<cache of {self._owner!r}, T={T}, B={B}, S={S}>"

    @property
    def layer(self) -> AttentionDecoder:
        """The decoder whose `forward` made the cache, which alone takes it."""
        return self._owner

    @property
    def x(self) -> Array:
        """The input `[T, B, I]`, a read-only copy."""
        return read_only(self._run.inputs[..., : self._owner.input_size].copy())

    @property
    def memory(self) -> Array:
        """The memory `[S, B, M]`, a read-only copy."""
        return read_only(self._run.memory.copy())

    @property
    def memory_lengths(self) -> Lengths | None:
        """The lengths `[B]` of the memory that `forward` was given, or None."""
        lengths = self._run.memory_lengths
        return None if lengths is None else read_only(lengths.copy())

    @property
    def lengths(self) -> Lengths | None:
        """The lengths `[B]` that `forward` was given, or None."""
        lengths = self._run.lengths
        return None if lengths is None else read_only(lengths.copy())

    @property
    def contexts(self) -> Array:
        """The contexts `[T, B, M]`, after the selector; zeros past a row's length."""
        return read_only(self._run.found.context.copy())

    @property
    def gates(self) -> dict[str, Array]:
        """Read-only arrays by name: attention, selector, and the gates of the cell.

        `"attention_l0"` is `[T, B, S]`, the share of each place in each step's
        context: it sums to 1 over the places of a row's memory and is 0 behind them.
        `"selector_l0"` is `[T, B]`, where there is one. The cell's gates are
        `[T, B, H]`. Past a row's length there are zeros.
        """
        run, spec = self._run, self._owner._spec
        T, B, _ = run.shape
        found = {"attention_l0": read_only(run.found.alpha.copy())}
        if spec.selector and run.found.queries is not None:
            last = spec.form["Q"] - 1
            found["selector_l0"] = read_only(run.found.queries[..., last].copy())
        if run.kept is not None:
            kept = run.kept.gates(0)
        else:
            names = spec.cell.kept_gates(0)
            kept = {n: np.zeros((T, B, H), spec.dtype) for n, H in names.items()}
        return found | {f"{name}_l0": read_only(gate) for name, gate in kept.items()}

    @property
    def states(self) -> dict[str, Array]:
        """The states after each step `[T, B, H]`, read-only, by name: `h_l0`, ...

        Values past a row's length have no meaning.
        """
        run, cell = self._run, self._owner._spec.cell
        T, B, _ = run.shape
        if run.kept is None:
            shape = (T, B, cell.hidden_size)
            found: Any = tuple(np.zeros(shape, cell.dtype) for _ in cell.state_names)
        else:
            found = run.kept.states(0)
        return {
            f"{name}_l0": read_only(array)
            for name, array in zip(cell.state_names, found, strict=True)
        }


def _restore_cache(
    kind: type[DecoderCache], owner: AttentionDecoder, described: Mapping[str, Any]
) -> DecoderCache:
    """Make a cache for a copy or a pickle, of the copy of its decoder."""
    return kind(owner, restore_run(owner._decoder.store, described))


class AttentionDecoder(DecoderWeights, Module):
    """A recurrent decoder that looks at a memory at each step.

    The query h asks each place e_s of a row's memory for a score, the softmax of the
    scores is the attention α, and the context c = Σ α_s e_s goes into the gates:

        score_s = v · tanh(W h + U e_s + b)        "additive"
        score_s = h · (U e_s)                      "general"
        score_s = h · e_s                          "dot"

    With ``query="previous"`` the query is the state before the step, and the gates see
    x_t and c_t (Bahdanau: reset-before GRU; Xu: LSTM). With ``query="new"`` it is the
    state after the step, and c_t stands beside it in the output (Luong; the readout
    there is ``tanh(Wc [c; h])``, a `exactrnn.train.Linear`). With a selector the
    context is multiplied by β = σ(w · h + b) (Xu).

    Where papers and this class differ: Bahdanau's GRU is ``cell="gru_before"``, its z
    is 1 - z here; his and Xu's readouts see context and state, and x, and are left to
    the caller (``output="concat"``); Luong's input feeding, where the gates see the
    last readout, is left out; a score has no bias of its own, which the softmax would
    not show.

    Parameters
    ----------
    cell : {"gru", "gru_before", "lstm"}
        The cell: a GRU with the reset after or before the product, or an LSTM.
    input_size, hidden_size, memory_size : int
        Widths I, H and M of input, state and memory; with ``score="dot"`` M is H.
    attention_size : int, optional
        Units A of an additive score; H by default. None for the other scores.
    score : {"additive", "general", "dot"}
        How a place is compared with the query.
    query : {"previous", "new"}
        The state that asks: before or after the step.
    selector : bool
        Whether the context is multiplied by a number of its own.
    output : {"state", "concat"}
        Whether y is h [T, B, H], or h and the context [T, B, H+M], which
        ``query="new"`` needs.
    dtype : str or dtype
        `"float32"` or `"float64"`.
    seed : int, optional
        Seed of the first weights, uniform within `1/sqrt(H)`; a fresh one from the
        operating system if None.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : ndarray
        Of the cell, as in `GRU` and `LSTM`; with ``query="previous"`` `weight_ih_l0` is
        `[G*H, I+M]`.
    weight_query_l0 : ndarray, `[A, H]`
        W; it, `bias_attention_l0` `[A]` and `weight_score_l0` `[A]` (b and v) are those
        of an additive score.
    weight_memory_l0 : ndarray, `[A, M]` or `[H, M]`
        U.
    weight_selector_l0, bias_selector_l0 : ndarray, `[H]` and `[1]`

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> decoder = xr.AttentionDecoder("gru", 3, 4, 5, seed=1)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> memory = np.ones((6, 2, 5), np.float32)
    >>> y, h, cache = decoder.forward(x, memory, memory_lengths=[6, 4])
    >>> y.shape, cache.gates["attention_l0"].shape
    ((7, 2, 4), (7, 2, 6))
    >>> grads = decoder.backward(cache, np.ones_like(y))
    >>> grads.memory.shape
    (6, 2, 5)
    """

    record = Record(
        name="attention_decoder",
        meanings={
            "attention": "share of each place",
            "selector": "size of the context",
        },
        checks=CHECKS,
    )

    cell: str
    input_size: int
    hidden_size: int
    memory_size: int
    attention_size: int | None
    score: str
    query: str
    selector: bool
    output: str

    _spec: AttentionSpec
    _decoder: Decoder

    def __init__(
        self,
        cell: Literal["gru", "gru_before", "lstm"],
        input_size: int,
        hidden_size: int,
        memory_size: int,
        *,
        attention_size: int | None = None,
        score: Literal["additive", "general", "dot"] = "additive",
        query: Literal["previous", "new"] = "previous",
        selector: bool = False,
        output: Literal["state", "concat"] = "state",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _configure(cls, given: Arguments) -> AttentionSpec:
        own = given["memory_size"] if given["query"] == "previous" else 0
        cell = given["cell"]
        config = Config(
            cell=cell,
            record=LSTM.record if cell == "lstm" else GRU.record,
            activations=ACTIVATIONS.get(cell, ("sigmoid", "tanh")),
            input_size=given["input_size"] + own,
            hidden_size=given["hidden_size"],
            bias=True,
            dtype=given["dtype"],
        )
        return AttentionSpec(
            cell=config,
            units=given["attention_size"],
            **{n: given[n] for n in ("memory_size", "score", "query")},
            **{n: given[n] for n in ("selector", "output")},
        )

    @classmethod
    def _draw_weights(cls, spec: AttentionSpec, seed: Seed) -> dict[str, Array]:
        bound = 1.0 / sqrt(spec.cell.hidden_size)
        return first.draw_weights(spec.cell, seed) | {
            name: symmetric(shape, bound, spec.dtype, seed.stream(name))
            for name, shape in spec.own_shapes.items()
        }

    def _assemble(
        self,
        spec: AttentionSpec,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,  # noqa: ARG002 (no call draws)
    ) -> None:
        decoder = Decoder(spec, weights)
        options = dict(given)
        self._become(spec, options, options, _decoder=decoder, _store=decoder.store)

    @property
    def output_size(self) -> int:
        """Width of y: H, or H + M."""
        return self._spec.output_size

    def __call__(
        self,
        x: ArrayLike,
        memory: ArrayLike,
        state: Any = None,
        *,
        memory_lengths: object = None,
        lengths: object = None,
    ) -> tuple[Array, Any]:
        """Run over a sequence, for inference: keeping nothing.

        Parameters
        ----------
        x : array_like
            Input `[T, B, I]` of the decoder's dtype; any strides.
        memory : array_like
            What it looks at, `[S, B, M]`, as an encoder's output.
        state : array_like or tuple of array_like, optional
            Initial state: `h` `[1, B, H]`, or `(h, c)` of an LSTM; zeros by default.
        memory_lengths : array_like of int, optional
            Places of each row, `[B]`, 0 to S each, in any order. What is behind them is
            never read. Of a row without places attention and context are 0.
        lengths : array_like of int, optional
            Steps of each row, `[B]`, 0 to T each. Padding is never read.

        Returns
        -------
        y : ndarray
            `[T, B, H]`, or `[T, B, H+M]`; zeros past a row's length.
        state : ndarray or tuple of ndarray
            Each row's state at its own end.

        Raises
        ------
        ValueError
            If a shape is wrong or a length out of range.
        TypeError
            If something is not an array or not of the decoder's dtype.
        """
        given = self._take(x, memory, state, memory_lengths, lengths)
        y, after, _ = self._decoder.run(given, keep=False)
        return y, pack_state(after, None, TIME_MAJOR)

    def forward(
        self,
        x: ArrayLike,
        memory: ArrayLike,
        state: Any = None,
        *,
        memory_lengths: object = None,
        lengths: object = None,
    ) -> tuple[Array, Any, DecoderCache]:
        """Run over a sequence and keep what `backward` needs.

        Parameters and the first two results are those of a call.

        Returns
        -------
        y, state
            As a call returns them.
        cache : DecoderCache
            For `backward`; its `gates` have the attention.

        Raises
        ------
        ValueError, TypeError
            As a call does.
        """
        given = self._take(x, memory, state, memory_lengths, lengths)
        own = given._replace(memory=np.array(given.memory, order="C"))
        y, after, run = self._decoder.run(own, keep=True)
        assert run is not None
        return y, pack_state(after, None, TIME_MAJOR), DecoderCache(self, run)

    def _take(
        self,
        x: object,
        memory: object,
        state: object,
        memory_lengths: object,
        lengths: object,
    ) -> Given:
        """Return the arguments of a call, checked."""
        inputs = _checks.as_array("x", x, self.dtype)
        if inputs.ndim != 3 or inputs.shape[2] != self.input_size:
            expected = f"T, B, I={self.input_size}"
            raise _checks.shape_error("x", expected, inputs.shape)
        T, B, _ = inputs.shape
        places = self._take_memory(memory, B)
        before, _ = take_state(self._spec.cell, state, B, TIME_MAJOR)
        return Given(
            _checks.make_readable(inputs),
            places,
            before,
            take_memory_lengths(memory_lengths, len(places), B),
            None if lengths is None else _checks.check_lengths(lengths, T, B, True),
        )

    def _take_memory(self, memory: object, rows: int | None = None) -> Array:
        """Return a memory [S, B, M], checked, as kernels can read it."""
        array = _checks.as_array("memory", memory, self.dtype)
        M = self.memory_size
        fits = array.ndim == 3 and array.shape[2] == M
        if not fits or rows not in (None, array.shape[1]):
            batch = "B" if rows is None else f"B={rows}"
            raise _checks.shape_error("memory", f"S, {batch}, M={M}", array.shape)
        return _checks.make_readable(array)

    def backward(
        self,
        cache: DecoderCache,
        dy: ArrayLike | None = None,
        dstate: Any = None,
        *,
        dattention: ArrayLike | None = None,
    ) -> DecoderGradients:
        """Return the gradients of all that `forward` has read.

        Parameters
        ----------
        cache : DecoderCache
            From `forward`.
        dy : array_like, optional
            Gradient of the output, in its shape; zeros by default. What is past a row's
            length is not read.
        dstate : array_like or tuple of array_like, optional
            Gradient of the final state; of a tuple, parts may be None.
        dattention : array_like, optional
            Gradient of the attention itself, `[T, B, S]`: of a penalty that the loss
            has for it, such as Xu's doubly stochastic one, λ Σ_s (1 - Σ_t α_ts)², whose
            gradient is -2 λ (1 - Σ_t α_ts).

        Returns
        -------
        DecoderGradients
            Of input, memory, initial state and weights.

        Raises
        ------
        ValueError
            If a shape is wrong, all gradients are None, the cache is another decoder's
            or the weights have changed since.
        TypeError
            If something is not an array or not of the decoder's dtype.
        """
        _checks.check_owner(cache, self)
        if dattention is None:
            _checks.check_gradient_given(dy, dstate)
        T, B, S = cache._run.shape
        given = GivenBack(
            self._take_gradient("dy", dy, (T, B, self.output_size)),
            take_gradient(self._spec.cell, dstate, B, TIME_MAJOR),
            self._take_gradient("dattention", dattention, (T, B, S)),
        )
        dx, dmemory, before, weights = self._decoder.run_back(cache._run, given)
        state = pack_state(before, None, TIME_MAJOR)
        return DecoderGradients(dx, dmemory, state, weights)

    def _take_gradient(
        self, name: str, value: object, shape: tuple[int, ...]
    ) -> Array | None:
        """Return a gradient of that shape, or None."""
        if value is None:
            return None
        array = check_floats(name, value, self.dtype)
        letter = "S" if name == "dattention" else self._output_letter()
        _checks.check_shape(name, array, T=shape[0], B=shape[1], **{letter: shape[2]})
        return array

    def _output_letter(self) -> str:
        return "H+M" if self.output == "concat" else "H"

    def stream(self, memory: ArrayLike, memory_lengths: object = None) -> DecoderStream:
        """Return what decodes one step at a time, looking at one memory.

        Parameters
        ----------
        memory : array_like
            `[S, B, M]`; it is copied, and its keys are made once.
        memory_lengths : array_like of int, optional
            Places of each row, `[B]`.

        Returns
        -------
        DecoderStream
            At a state of zeros.

        Raises
        ------
        ValueError, TypeError
            As a call does.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> decoder = xr.AttentionDecoder("lstm", 3, 4, 5, seed=1)
        >>> stream = decoder.stream(np.ones((6, 1, 5), np.float32))
        >>> stream.step(np.ones((1, 3), np.float32)).shape
        (1, 4)
        >>> stream.attention.shape
        (1, 6)
        """
        places = self._take_memory(memory)
        S, B, _ = places.shape
        counts = take_memory_lengths(memory_lengths, S, B)
        return DecoderStream(self, np.array(places, order="C"), counts)


def take_memory_lengths(value: object, places: int, rows: int) -> Lengths | None:
    """Return the lengths [B] of a memory, checked, or None."""
    if value is None:
        return None
    return _checks.check_lengths(
        value, places, rows, True, name="memory_lengths", letter="S"
    )
