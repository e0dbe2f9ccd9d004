"""A recurrent decoder that looks at a memory at each step, in NumPy: the kernel's bits.

D. Bahdanau, K. Cho, Y. Bengio, arXiv 1409.0473 (additive, query before the step); M.
Luong, H. Pham, C. Manning, arXiv 1508.04025 (general and dot, query after it); K. Xu et
al., arXiv 1502.03044 (selector).  For one row, with memory e_s, s < its own length:

    p_s  = U e_s (+ b)                        the keys, once a call; e_s itself for dot
    u    = W h,  β = σ(w h + b)               of the query h, in one product
    z_s  = v . tanh(p_s + u)   or   h . p_s
    α_s  = flush(exp(z_s - max) / sum over s of exp(z_s - max))
    ẑ    = sum over s of α_s e_s              c = β ẑ, or ẑ without a selector

All dots are chains (contract N3) in the order of their index, the sum of the softmax
ascends over s.  Backward, from dc and what else came to α:

    dβ   = dc . ẑ                             dẑ = β dc     da_β = flush(dβ β (1 - β))
    dα_s = dẑ . e_s (+ what came)             D = sum over s of α_s dα_s
    dz_s = flush(α_s (dα_s - D))
    additive, with q_s = tanh(p_s + u):       dp_s = (dz_s v) (1 - q_s q_s)
        du = flush(sum over s of dp_s)        dv = sum over s of dz_s q_s
        dh = [W w]ᵀ [du da_β]
    else:                                     dp_s = dz_s h
        dh = sum over s of dz_s p_s, and on with w da_β
    de_s = α_s dẑ                             in the end on with Uᵀ dp_s

dp and de of a row are long sums over the steps in the order in which backward walks
them; gradients of weights are long sums over k = t*B + b, those of U and b over
k = s*B + b.

Twin: ``csrc/kernels/layer/attention_forward.h`` and ``attention_backward.h``.  Letters
besides those of the layers: S places of the memory, M its width, K that of a key, Q
rows of the product with the query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn.reference.arith import (
    CHUNK,
    chain,
    exp,
    flush,
    fma,
    long_sum,
    sigmoid,
    tanh,
)
from exactrnn.reference.cells._cell import Array
from exactrnn.reference.direction import Direction, Weights
from exactrnn.reference.masks import NO_MASKS
from exactrnn.reference.sequence import (
    DirectionCache,
    active_rows,
    direction_forward,
    flat,
)
from exactrnn.reference.sequence_backward import (
    cached_step,
    spread_back,
    step_backward,
    weight_gradients,
)

Bools: TypeAlias = NDArray[np.bool_]

__all__ = ["Attention", "AttentionWeights", "decoder_backward", "decoder_forward"]


class AttentionWeights(NamedTuple):
    """The weights of an attention, or their gradients; None if absent.

    Parameters
    ----------
    query, query_bias : Array
        ``[W; w]`` [Q, H] and a bias [Q] for each row, which is zero but for w.
    memory, memory_bias : Array
        ``U`` [K, M] and b [K].
    score : Array
        ``v`` [K].
    """

    query: Array | None = None
    query_bias: Array | None = None
    memory: Array | None = None
    memory_bias: Array | None = None
    score: Array | None = None


@dataclass(frozen=True)
class Attention:
    """What a decoder does with its memory.

    Parameters
    ----------
    score : str
        ``"additive"``, ``"general"`` or ``"dot"``.
    query : str
        ``"previous"``, the state before the step, or ``"new"``, that after it.
    selector : bool
        Whether the context is multiplied by β.
    weights : AttentionWeights
        All of one dtype.
    """

    score: str
    query: str
    selector: bool
    weights: AttentionWeights

    @property
    def is_additive(self) -> bool:
        """Whether keys go through tanh."""
        return self.score == "additive"


class Memory(NamedTuple):
    """A memory as steps see it: `rows` [B, S, M], `keys` [B, S, K], which are `inside`.

    What is not inside, booleans [B, S], is +0.0.
    """

    rows: Array
    keys: Array
    inside: Bools


class Look(NamedTuple):
    """What one step found: [B, ...], of rows that take no part +0.0.

    `query` h, `u` [B, Q] with β as the last with a selector, `alpha` [B, S], `context`
    [B, M] before the selector.
    """

    query: Array
    u: Array
    alpha: Array
    context: Array


class DecoderCache(NamedTuple):
    """What `decoder_forward` keeps: by step, and the memory."""

    attention: Attention
    cell: DirectionCache
    memory: Memory
    looks: tuple[Look, ...]


class DecoderGradients(NamedTuple):
    """What `decoder_backward` returns.

    Parameters
    ----------
    x, memory : Array
        Gradients of the input [T, B, I] and of the memory [S, B, M].
    state : tuple of Array
        Of the initial states.
    weights : Weights
        Of the cell.
    attention : AttentionWeights
        Of the attention.
    """

    x: Array
    memory: Array
    state: tuple[Array, ...]
    weights: Weights
    attention: AttentionWeights


def make_memory(
    attention: Attention, memory: Array, lengths: NDArray[Any] | None
) -> Memory:
    """Return a memory [S, B, M] with its keys."""
    S, B, M = memory.shape
    inside = active_rows(S, B, lengths).T
    zero = memory.dtype.type(0)
    rows = np.where(inside[:, :, None], memory.transpose(1, 0, 2), zero)
    U, b = attention.weights.memory, attention.weights.memory_bias
    if U is None:
        return Memory(rows, rows, inside)
    start = np.zeros(len(U), U.dtype) if b is None else b
    keys = chain(start, rows.reshape(B * S, M), U).reshape(B, S, len(U))
    return Memory(rows, np.where(inside[:, :, None], keys, zero), inside)


def look(attention: Attention, h: Array, memory: Memory) -> Look:
    """Take one look with the queries h [B, H]."""
    weights = attention.weights
    u = np.zeros((len(h), 0), h.dtype)
    if weights.query is not None and weights.query_bias is not None:
        u = chain(weights.query_bias, h, weights.query)
    alpha = softmax(_scores(attention, h, u, memory), memory.inside)
    context = np.zeros((len(h), memory.rows.shape[2]), h.dtype)
    for s in range(alpha.shape[1]):
        more = fma(alpha[:, s, None], memory.rows[:, s], context)
        context = np.where(memory.inside[:, s, None], more, context)
    if attention.selector:
        u = np.concatenate([u[:, :-1], sigmoid(u[:, -1:])], axis=1)
    return Look(h, u, alpha, context)


def _scores(attention: Attention, h: Array, u: Array, memory: Memory) -> Array:
    """Scores [B, S] before the softmax."""
    B, S, K = memory.keys.shape
    score = np.zeros((B, S), h.dtype)
    v = attention.weights.score
    for k in range(K):
        if v is not None:
            z = tanh(memory.keys[:, :, k] + u[:, k, None])
            score = fma(z, v[k], score)
        else:
            score = fma(memory.keys[:, :, k], h[:, k, None], score)
    return score


def softmax(score: Array, inside: Bools) -> Array:
    """The softmax of each row [B, S] over what is inside; +0.0 elsewhere."""
    B, S = score.shape
    most = np.full(B, -np.inf, score.dtype)
    for s in range(S):
        most = np.where(inside[:, s] & (score[:, s] > most), score[:, s], most)
    e = exp(score - most[:, None])
    total = np.zeros(B, score.dtype)
    for s in range(S):
        total = np.where(inside[:, s], total + e[:, s], total)
    alpha = flush(e / total[:, None])
    return np.where(inside, alpha, score.dtype.type(0))


def selected(attention: Attention, found: Look) -> Array:
    """The context as it goes on, [B, M]."""
    if attention.selector:
        return np.asarray(found.u[:, -1:] * found.context)
    return found.context


@np.errstate(all="ignore")
def decoder_forward(
    direction: Direction,
    attention: Attention,
    x: Array,
    memory: Array,
    state: tuple[Array, ...] | None = None,
    *,
    memory_lengths: NDArray[np.integer[Any]] | None = None,
    lengths: NDArray[np.integer[Any]] | None = None,
) -> tuple[Array, Array, tuple[Array, ...], DecoderCache]:
    """Run a decoder.

    Parameters
    ----------
    direction : Direction
        The cell, whose input is x and, with the query ``"previous"``, the context.
    attention : Attention
        What it does with its memory.
    x : Array
        Input [T, B, I].
    memory : Array
        [S, B, M].
    state : tuple of Array, optional
        Initial states [B, H]; zeros by default.
    memory_lengths, lengths : NDArray, optional
        Integers [B], 0 to S and 0 to T; all by default.

    Returns
    -------
    y, context : Array
        [T, B, H] and [T, B, M], +0.0 past a row's length.
    state : tuple of Array
        States at each row's own end.
    cache : DecoderCache
        For `decoder_backward`.
    """
    T, B, _ = x.shape
    seen = make_memory(attention, memory, memory_lengths)
    active = active_rows(T, B, lengths)
    zero = x.dtype.type(0)
    x = np.where(active[:, :, None], x, zero)
    if state is None:
        cell = direction.cell
        state = tuple(
            np.zeros((B, direction.state_width(name)), x.dtype) for name in cell.states
        )
    parts: list[DirectionCache] = []
    looks: list[Look] = []
    contexts = np.zeros((T, B, memory.shape[2]), x.dtype)
    for t in range(T):
        rows = active[t][:, None]
        x_t = x[t]
        if attention.query == "previous":
            found = look(attention, state[0], seen)
            found = Look(*(np.where(rows, part, zero) for part in found))
            contexts[t] = selected(attention, found)
            x_t = np.concatenate([x_t, contexts[t]], axis=1)
        taken = active[t].astype(np.int64)
        _, state, part = direction_forward(direction, x_t[None], state, taken)
        parts.append(part)
        if attention.query == "new":
            found = look(attention, state[0], seen)
            found = Look(*(np.where(rows, part, zero) for part in found))
            contexts[t] = selected(attention, found)
        looks.append(found)
    cache = _joined(direction, x, contexts, parts, attention)
    y = cache.state[direction.output].copy()
    return y, contexts, state, DecoderCache(attention, cache, seen, tuple(looks))


def _joined(
    direction: Direction,
    x: Array,
    contexts: Array,
    parts: list[DirectionCache],
    attention: Attention,
) -> DirectionCache:
    """One cache of the cell from those of single steps."""
    if attention.query == "previous":
        x = np.concatenate([x, contexts], axis=2)
    if not parts:
        return direction_forward(direction, x)[2]

    def join(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], dict):
            return {k: np.concatenate([v[k] for v in values]) for k in values[0]}
        return np.concatenate(values)

    names = ("active", "ticks", "prev", "state", "slots", "proposed")
    return DirectionCache(
        direction=direction,
        x=x,
        lower=None,
        masks=NO_MASKS,
        **{name: join(name) for name in names},
    )


class _Sums:
    """A long sum over the steps that backward walks, row by row: [B, S, ...]."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.total = np.zeros(shape, dtype)
        self.part = np.zeros(shape, dtype)

    def begin(self, walked: NDArray[Any]) -> None:
        """Begin a step of rows that have `walked` [B] so many before."""
        full = ((walked > 0) & (walked % CHUNK == 0))[:, None, None]
        self.total = np.where(full, self.total + self.part, self.total)
        self.part = np.where(full, self.part.dtype.type(0), self.part)

    def finished(self) -> Array:
        """The sum."""
        return np.asarray(self.total + self.part)


@np.errstate(all="ignore")
def decoder_backward(
    cache: DecoderCache,
    dy: Array | None = None,
    dcontext: Array | None = None,
    dstate: tuple[Array, ...] | None = None,
    *,
    dattention: Array | None = None,
) -> DecoderGradients:
    """Back-propagate through a decoder.

    Parameters
    ----------
    cache : DecoderCache
        From `decoder_forward`.
    dy, dcontext : Array, optional
        Gradients of the output [T, B, H] and of the contexts [T, B, M].
    dstate : tuple of Array, optional
        Gradients of the final states [B, H]; zeros by default.
    dattention : Array, optional
        Gradient of α itself, [T, B, S].

    Returns
    -------
    DecoderGradients
        Of input, memory, initial states and all weights.
    """
    attention, cell, memory, looks = cache
    direction, active = cell.direction, cell.active
    T, B, _ = cell.x.shape
    M, dtype = memory.rows.shape[2], direction.dtype
    names = direction.cell.states
    if dstate is None:
        dstate = tuple(np.zeros((B, direction.state_width(n)), dtype) for n in names)
    carry = dict(zip(names, dstate, strict=True))
    lengths = np.zeros(B, np.int64)
    for t in range(T):
        lengths = lengths + active[t]
    da = {
        s.name: np.zeros((T, B, direction.width(s)), dtype) for s in direction.cell.sums
    }
    dinput = np.zeros_like(cell.x)
    back = _AttentionBack(attention, memory, T)
    for t in range(T - 1, -1, -1):
        rows = active[t]
        step = cached_step(cell, t, carry)
        dc = np.zeros((B, M), dtype) if dcontext is None else dcontext[t]
        dalpha = None if dattention is None else dattention[t]
        walked = np.where(rows, lengths - 1 - t, 0)
        h = direction.output
        if dy is not None:
            step.dstate[h] = dy[t] + carry[h]
        if attention.query == "new":
            dh = back.step(t, looks[t], (dc, dalpha), rows, walked)
            step.dstate[h] = flush(step.dstate[h] + dh)
        step_backward(direction, step, cell.ticks[t])
        for s in direction.cell.sums:
            da[s.name][t] = np.where(rows[:, None], step.da[s.name], dtype.type(0))
        da_t = {name: da[name][t] for name in da}
        zero = np.zeros_like(cell.x[t])
        dinput[t] = spread_back(direction, "x", zero, da_t, cell.ticks[t])
        if attention.query == "previous":
            own = dinput[t][:, -M:]
            dc = own if dcontext is None else own + dc
            dh = back.step(t, looks[t], (dc, dalpha), rows, walked)
            step.dprev[h] = flush(step.dprev[h] + dh)
        carry = {
            name: np.where(rows[:, None], step.dprev[name], carry[name])
            for name in names
        }
    dx = dinput[:, :, :-M] if attention.query == "previous" else dinput
    return DecoderGradients(
        dx,
        back.memory_gradient(),
        tuple(carry.values()),
        weight_gradients(cell, da, None),
        back.weight_gradients(
            np.stack([one.query for one in looks]) if looks else None
        ),
    )


class _AttentionBack:
    """The gradients of the attention, from one step to the one before."""

    def __init__(self, attention: Attention, memory: Memory, T: int) -> None:
        B, S, K = memory.keys.shape
        dtype = memory.rows.dtype
        query = attention.weights.query
        self.attention, self.memory = attention, memory
        self.dkeys = _Sums((B, S, K), dtype)
        self.drows = _Sums((B, S, memory.rows.shape[2]), dtype)
        self.du = np.zeros((T, B, 0 if query is None else len(query)), dtype)
        self.dv = np.zeros((T, B, K), dtype)

    def step(
        self,
        t: int,
        found: Look,
        given: tuple[Array, Array | None],
        rows: Bools,
        walked: NDArray[Any],
    ) -> Array:
        """Return dh [B, H] of the query of step t, from dc and what came to α."""
        dc, dalpha = given
        attention, memory = self.attention, self.memory
        da_beta = None
        if attention.selector:
            beta = found.u[:, -1]
            dbeta = _dots(found.context[:, None], dc)[:, 0]
            da_beta = flush(dbeta * (beta * (1 - beta)))
            dc = dc * found.u[:, -1:]
        dz = self._score_gradient(found, dc, dalpha)
        self.dkeys.begin(walked)
        self.drows.begin(walked)
        takes = (rows[:, None] & memory.inside)[:, :, None]
        drows = fma(found.alpha[:, :, None], dc[:, None], self.drows.part)
        self.drows.part = np.where(takes, drows, self.drows.part)
        if attention.is_additive:
            dh = self._additive_step(t, found, (dz, da_beta), rows)
        else:
            dkeys = fma(dz[:, :, None], found.query[:, None], self.dkeys.part)
            self.dkeys.part = np.where(takes, dkeys, self.dkeys.part)
            dh = np.zeros_like(found.query)
            for s in range(dz.shape[1]):
                more = fma(dz[:, s, None], memory.keys[:, s], dh)
                dh = np.where(memory.inside[:, s, None], more, dh)
            if da_beta is not None and attention.weights.query is not None:
                self.du[t] = np.where(rows[:, None], da_beta[:, None], self.du[t])
                dh = chain(dh, da_beta[:, None], attention.weights.query.T)
        return dh

    def _score_gradient(self, found: Look, dc: Array, given: Array | None) -> Array:
        """The gradient dz [B, S] of the scores, +0.0 outside."""
        inside, alpha = self.memory.inside, found.alpha
        dalpha = _dots(self.memory.rows, dc)
        if given is not None:
            dalpha = dalpha + given
        total = np.zeros(len(dc), dc.dtype)
        for s in range(alpha.shape[1]):
            more = fma(alpha[:, s], dalpha[:, s], total)
            total = np.where(inside[:, s], more, total)
        dz = flush(alpha * (dalpha - total[:, None]))
        return np.where(inside, dz, dc.dtype.type(0))

    def _additive_step(
        self, t: int, found: Look, given: tuple[Array, Array | None], rows: Bools
    ) -> Array:
        dz, da_beta = given
        weights, memory = self.attention.weights, self.memory
        assert weights.score is not None
        assert weights.query is not None
        K = len(weights.score)
        u, du = found.u[:, :K], np.zeros_like(found.u[:, :K])
        dv = np.zeros_like(du)
        for s in range(dz.shape[1]):
            q = tanh(memory.keys[:, s] + u)
            dp = (dz[:, s, None] * weights.score) * fma(-q, q, np.ones_like(q))
            takes = memory.inside[:, s, None]
            du = np.where(takes, du + dp, du)
            dv = np.where(takes, fma(dz[:, s, None], q, dv), dv)
            part = self.dkeys.part[:, s]
            self.dkeys.part[:, s] = np.where(takes & rows[:, None], part + dp, part)
        du = flush(du)
        if da_beta is not None:
            du = np.concatenate([du, da_beta[:, None]], axis=1)
        self.du[t] = np.where(rows[:, None], du, self.du[t])
        self.dv[t] = np.where(rows[:, None], dv, self.dv[t])
        return chain(np.zeros_like(found.query), du, weights.query.T)

    def memory_gradient(self) -> Array:
        """The gradient of the memory, [S, B, M]."""
        drows, dkeys = self.drows.finished(), self.dkeys.finished()
        B, S, M = drows.shape
        U = self.attention.weights.memory
        if U is None:
            total = flat(drows) + flat(dkeys)
        else:
            total = chain(flat(drows), flat(dkeys), U.T)
        inside = self.memory.inside[:, :, None]
        places = total.reshape(B, S, M)
        return np.where(inside, places, drows.dtype.type(0)).transpose(1, 0, 2)

    def weight_gradients(self, h: Array | None) -> AttentionWeights:
        """The gradients of the weights; `h` [T, B, H] are the queries."""
        weights = self.attention.weights
        if h is None:
            return AttentionWeights(
                *(None if own is None else np.zeros_like(own) for own in weights)
            )
        found: dict[str, Array] = {}
        if weights.query is not None:
            found["query"] = long_sum(
                np.zeros_like(weights.query), flat(self.du), flat(h)
            )
            found["query_bias"] = _row_sum(flat(self.du))
        if weights.score is not None:
            found["score"] = _row_sum(flat(self.dv))
        if weights.memory is not None:
            dkeys = flat(self.dkeys.finished().transpose(1, 0, 2))
            rows = flat(self.memory.rows.transpose(1, 0, 2))
            found["memory"] = long_sum(np.zeros_like(weights.memory), dkeys, rows)
            if weights.memory_bias is not None:
                found["memory_bias"] = _row_sum(dkeys)
        return AttentionWeights(**found)


def _dots(rows: Array, vector: Array) -> Array:
    """Chains over m of ``rows[b, s, m] * vector[b, m]`` from +0.0: [B, S]."""
    total = np.zeros(rows.shape[:2], rows.dtype)
    for m in range(rows.shape[2]):
        total = fma(rows[:, :, m], vector[:, m, None], total)
    return total


def _row_sum(rows: Array) -> Array:
    """The long sum of rows [K, n] over k."""
    one = np.ones((len(rows), 1), rows.dtype)
    total: Array = long_sum(np.zeros((rows.shape[1], 1), rows.dtype), rows, one)[:, 0]
    return total
