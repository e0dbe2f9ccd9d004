"""The fixed cases whose bits are published, and how they are hashed.

A case is computed by one of two sides: `KernelSide` goes through the public API, in
whatever instruction set and number of threads are in force, and `ReferenceSide` through
the NumPy twins.  Both return the same list of arrays.

Inputs and weights come from PCG64 by exact operations, apart from the rule by which new
layers draw theirs; that rule is in the case "training" alone.  Nothing here depends on
a library function whose bits may vary.  The hash of a case is SHA-256 over the bytes of
all its arrays in little-endian order, -0.0 and +0.0 distinct, every NaN taken as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np

from exactrnn import reference
from exactrnn._checks import Array, FloatType
from exactrnn._checks.arrays import Index
from exactrnn.layers.attention import AttentionDecoder
from exactrnn.reference import ctc, dense
from exactrnn.reference.masks import draw_next_masks
from exactrnn.train import (
    Adam,
    Embedding,
    LanguageModel,
    Linear,
    clip_global_norm,
    ctc_loss,
    softmax_cross_entropy,
    stream_batches,
)
from exactrnn.train._lm_passes import PARTS
from exactrnn.train.clipping import clip_factor
from exactrnn.verify import attention_cases, grid_cases
from exactrnn.verify.grid_cases import GRID_CASES, GridCase
from exactrnn.verify.layer_cases import LAYER_CASES, LayerCase
from exactrnn.verify.uniform import UniformSource

Arrays: TypeAlias = list[Array]
Labels: TypeAlias = tuple[Index, Index, Index]

TRAINING_STEPS = 12
TRAINING_TEXT = "the quick brown fox jumps over the lazy dog; " * 8
TRAINING_CLIP = 0.25


class Side(Protocol):
    """One way to compute the cases."""

    @property
    def optimizer(self) -> type[Adam]:
        """What trains the case "training"."""

    def layer(self, case: LayerCase, layer: Any, inputs: Arrays) -> Arrays:
        """Return output, final states and all gradients."""

    def grid(self, case: GridCase, layer: Any, inputs: list[list[Arrays]]) -> Arrays:
        """Return far borders and all gradients, from borders and gradients."""

    def linear(self, layer: Linear, x: Array, dy: Array) -> Arrays:
        """Return output and gradients of a linear layer."""

    def embedding(self, layer: Embedding, k: Index, dy: Array) -> Arrays:
        """Return the gradient of an embedding."""

    def softmax(self, logits: Array, targets: Index) -> Arrays:
        """Return mean loss and gradient of the cross-entropy."""

    def ctc(self, logits: Array, labels: Labels) -> Arrays:
        """Return losses and gradient of connectionist temporal classification."""

    def attention(self, decoder: AttentionDecoder, inputs: Arrays) -> Arrays:
        """Return output, attention, final states and all gradients."""

    def train_step(
        self, model: LanguageModel, optimizer: Adam, chunk: Any, state: Any
    ) -> tuple[float, float, Any]:
        """Train one step and return loss, norm and state."""


class KernelSide:
    """The compiled kernels, through the public API."""

    optimizer = Adam

    def layer(self, case: LayerCase, layer: Any, inputs: Arrays) -> Arrays:
        """Return output, final states and all gradients."""
        x, dy, *states = inputs
        state, dstate = _split(layer, states)
        y, last, cache = layer.forward(x, state, lengths=_lengths(case))
        plain, _ = layer(x, state, lengths=_lengths(case))
        return [plain, *_collect(y, last, layer.backward(cache, dy, dstate))]

    def grid(self, case: GridCase, layer: Any, inputs: list[list[Arrays]]) -> Arrays:
        """Return far borders and all gradients, from borders and gradients."""
        return grid_cases.run_kernels(case, layer, *inputs)

    def linear(self, layer: Linear, x: Array, dy: Array) -> Arrays:
        """Return output and gradients of a linear layer."""
        y, cache = layer.forward(x)
        gradients = layer.backward(cache, dy)
        assert gradients.x is not None
        return [y, gradients.x, *gradients.weights.values()]

    def embedding(self, layer: Embedding, k: Index, dy: Array) -> Arrays:
        """Return the gradient of an embedding."""
        return [layer.backward(layer.forward(k)[1], dy).weights["weight"]]

    def softmax(self, logits: Array, targets: Index) -> Arrays:
        """Return mean loss and gradient of the cross-entropy."""
        loss, dlogits = softmax_cross_entropy(logits, targets)
        return [np.array(loss, logits.dtype), dlogits]

    def ctc(self, logits: Array, labels: Labels) -> Arrays:
        """Return losses and gradient of connectionist temporal classification."""
        return list(ctc_loss(logits, *labels))

    def attention(self, decoder: AttentionDecoder, inputs: Arrays) -> Arrays:
        """Return output, attention, final states and all gradients."""
        return attention_cases.run_kernels(decoder, inputs)

    def train_step(
        self, model: LanguageModel, optimizer: Adam, chunk: Any, state: Any
    ) -> tuple[float, float, Any]:
        """Train one step and return loss, norm and state."""
        loss, gradients, state = model.loss_and_gradients(
            chunk.inputs, chunk.targets, state
        )
        norm = clip_global_norm(gradients, TRAINING_CLIP)
        optimizer.step(gradients)
        return loss, norm, state


class TwinAdam(Adam):
    """Adam by its NumPy twin."""

    def _update(self, arrays: Any, numbers: Any, state: Any) -> None:
        for before, own in zip(arrays, numbers, strict=True):
            after = dense.update(self._rule, before, own)
            for array, new in zip(before, after, strict=True):
                if array is not new:
                    array[...] = new
        self._state[0] = state


class ReferenceSide:
    """The NumPy twins."""

    optimizer = TwinAdam

    def layer(self, case: LayerCase, layer: Any, inputs: Arrays) -> Arrays:
        """Return output, final states and all gradients."""
        x, dy, *states = inputs
        state, dstate = _split(layer, states)
        lengths = _lengths(case)
        masks = draw_next_masks(layer, *x.shape[:2])
        y, last, cache = reference.forward(
            layer, x, state, lengths=lengths, dropout_masks=masks
        )
        plain = y
        if masks:
            plain, *_ = reference.forward(layer, x, state, lengths=lengths)
        gradients = reference.backward(layer, cache, dy, dstate)
        return [plain, *_collect(y, last, gradients)]

    def grid(self, case: GridCase, layer: Any, inputs: list[list[Arrays]]) -> Arrays:
        """Return far borders and all gradients, from borders and gradients."""
        return grid_cases.run_twin(case, layer, *inputs)

    def linear(self, layer: Linear, x: Array, dy: Array) -> Arrays:
        """Return output and gradients of a linear layer."""
        y = dense.linear_forward(x, layer.weight, layer.bias)
        return [y, *_linear_gradients(layer, x, dy)]

    def embedding(self, layer: Embedding, k: Index, dy: Array) -> Arrays:
        """Return the gradient of an embedding."""
        dw = np.zeros_like(layer.weight)
        return [dense.embedding_backward(k, dy, dw)]

    def softmax(self, logits: Array, targets: Index) -> Arrays:
        """Return mean loss and gradient of the cross-entropy."""
        number = logits.dtype.type
        count = number(np.count_nonzero(targets >= 0))
        scale = float(number(1) / count)
        losses, dlogits = dense.softmax_xent(logits, targets, scale)
        total = number(dense.long_sum_of(losses))
        return [np.asarray(total / count), dlogits]

    def ctc(self, logits: Array, labels: Labels) -> Arrays:
        """Return losses and gradient of connectionist temporal classification."""
        return list(ctc.ctc_loss(logits, *labels, blank=0))

    def attention(self, decoder: AttentionDecoder, inputs: Arrays) -> Arrays:
        """Return output, attention, final states and all gradients."""
        return attention_cases.run_twin(decoder, inputs)

    def train_step(
        self, model: LanguageModel, optimizer: Adam, chunk: Any, state: Any
    ) -> tuple[float, float, Any]:
        """Train one step and return loss, norm and state."""
        T, B = chunk.inputs.shape
        embedding, readout = model.embedding, model.readout
        x = embedding.weight[chunk.inputs]
        y, state, cache = reference.forward(model.recurrent, x, state)
        rows = y.reshape(T * B, -1)
        logits = dense.linear_forward(rows, readout.weight, readout.bias)
        loss, dlogits = self.softmax(logits, chunk.targets.reshape(-1))
        dy, dw, db = _linear_gradients(readout, rows, dlogits)
        back = reference.backward(model.recurrent, cache, dy.reshape(y.shape))
        index, dx = chunk.inputs.reshape(-1), back.x.reshape(T * B, -1)
        found = (
            {"weight": self.embedding(embedding, index, dx)[0]},
            back.weights,
            {"weight": dw, "bias": db},
        )
        gradients = {
            f"{part}.{name}": array
            for part, weights in zip(PARTS, found, strict=True)
            for name, array in weights.items()
        }
        norm = _clip(gradients)
        optimizer.step(gradients)
        return float(loss), norm, state


def _clip(gradients: dict[str, Array]) -> float:
    total = 0.0
    for array in gradients.values():
        total = dense.long_sum_squares(array.reshape(-1), total)
    dtype = next(iter(gradients.values())).dtype
    norm = float(np.sqrt(dtype.type(total)))
    factor = clip_factor(norm, TRAINING_CLIP, dtype)
    if factor < 1.0:
        for array in gradients.values():
            np.multiply(array, factor, out=array)
    return norm


def _linear_gradients(layer: Linear, x: Array, dy: Array) -> Arrays:
    assert layer.bias is not None
    dw, db = np.zeros_like(layer.weight), np.zeros_like(layer.bias)
    dx, dw, total = dense.linear_backward(x, layer.weight, dy, dw, db)
    assert total is not None
    return [dx, dw, total]


def _split(layer: Any, states: Arrays) -> tuple[Any, Any]:
    """Return the state and its gradient from the list of both.

    A clock is part of the state alone; each row's is its own.
    """
    half = len(states) // 2
    state, dstate = tuple(states[:half]), tuple(states[half:])
    if layer.counts_steps:
        clock = 3 * np.arange(states[0].shape[1], dtype=np.int64)
        return (state[0], clock), dstate[0]
    return (state, dstate) if half > 1 else (state[0], dstate[0])


def _lengths(case: LayerCase) -> Any:
    return None if case.lengths is None else np.array(case.lengths)


def _collect(y: Array, last: Any, gradients: Any) -> Arrays:
    pairs = (last, gradients.state)
    states = [s for p in pairs for s in (p if isinstance(p, tuple) else (p,))]
    return [y, *states, gradients.x, *gradients.weights.values()]


def put_weights(layer: Any, source: UniformSource) -> None:
    """Give a layer weights from one stream, in their order, within ±1/sqrt(H).

    Logits of learned leaks stay as they are.
    """
    config, number = layer._spec, layer.dtype.type
    bound = number(1) / np.sqrt(number(config.hidden_size))
    drawn = {
        weight.name: source.symmetric(weight.shape, bound, layer.dtype)
        for weight in config.weights
        if weight.kind != "leak_logit"
    }
    layer.load_state_dict(drawn, strict=False)


def run_layer(side: Side, case: LayerCase, dtype: FloatType) -> Arrays:
    """Compute the case of a recurrent layer."""
    layer = case.make(case.I, case.H, dtype=dtype, seed=0, **case.options)
    put_weights(layer, UniformSource(1))
    source, config = UniformSource(2), layer._spec
    D = config.directions
    shapes = [(case.T, case.B, case.I), (case.T, case.B, D * config.output_size)]
    sizes = 2 * config.state_sizes
    shapes += [(config.num_layers * D, case.B, width) for width in sizes]
    return side.layer(case, layer, [source.symmetric(s, 1.5, dtype) for s in shapes])


def run_grid(side: Side, case: GridCase, dtype: FloatType) -> Arrays:
    """Compute the case of a grid."""
    layer = case.make(dtype=dtype, seed=0)
    put_weights(layer, UniformSource(9))
    source, shapes = UniformSource(10), case.border_shapes(layer)
    inputs = [
        [[source.symmetric(shape, 1.5, dtype) for shape in pair] for pair in shapes]
        for _ in ("borders", "their gradients")
    ]
    return side.grid(case, layer, inputs)


def run_linear(side: Side, dtype: FloatType) -> Arrays:
    """Compute a linear layer: large enough for threads, and one of odd sizes."""
    source, arrays = UniformSource(3), []
    for N, K, O in ((300, 33, 29), (3, 1, 5)):
        layer, weights = Linear(K, O, dtype=dtype, seed=0), UniformSource(4)
        bound = float(1.0 / np.sqrt(float(K)))
        layer.weight = weights.symmetric((O, K), bound, dtype)
        layer.bias = weights.symmetric((O,), bound, dtype)
        x = source.symmetric((N, K), 2.0, dtype)
        arrays += side.linear(layer, x, source.symmetric((N, O), 2.0, dtype))
    return arrays


def run_embedding(side: Side, dtype: FloatType) -> Arrays:
    """Compute the gradient of an embedding, with a symbol that never occurs."""
    source = UniformSource(5)
    layer = Embedding(7, 37, dtype=dtype, seed=0)
    index = (source.unit((2000,), dtype) * dtype.type(6)).astype(np.int64)
    return side.embedding(layer, index, source.symmetric((2000, 37), 1.0, dtype))


def run_softmax(side: Side, dtype: FloatType) -> Arrays:
    """Compute the cross-entropy, with rows left out."""
    source = UniformSource(7)
    logits = source.symmetric((500, 35), 9.0, dtype)
    targets = (source.unit((500,), dtype) * dtype.type(36)).astype(np.int64) - 1
    return side.softmax(logits, targets)


def run_ctc(side: Side, dtype: FloatType) -> Arrays:
    """Compute CTC: rows of many lengths, one of them without labels."""
    source = UniformSource(11)
    logits = source.symmetric((40, 5, 12), 6.0, dtype)
    symbols = 1 + (source.unit((5, 9), dtype) * dtype.type(11)).astype(np.int64)
    lengths, sizes = np.array([40, 33, 7, 21, 12]), np.array([9, 5, 2, 0, 6])
    return side.ctc(logits, (symbols, lengths, sizes))


def run_attention(side: Side, dtype: FloatType) -> Arrays:
    """Compute attention decoders of several settings, with lengths of both kinds."""
    source, found = UniformSource(12), []
    for decoder in attention_cases.make_decoders(dtype):
        drawn = {
            name: source.symmetric(shape, 0.5, dtype)
            for name, shape in decoder._spec.weight_shapes.items()
        }
        decoder.load_state_dict(drawn)
        shapes = attention_cases.shapes_of(decoder)
        inputs = [source.symmetric(shape, 1.5, dtype) for shape in shapes]
        found += side.attention(decoder, inputs)
    return found


def run_training(side: Side, dtype: FloatType) -> Arrays:
    """Train a language model for some steps and return its weights."""
    alphabet = "".join(sorted(set(TRAINING_TEXT)))
    model = LanguageModel(
        alphabet, hidden_size=19, embedding_size=6, dtype=dtype, seed=8
    )
    optimizer = side.optimizer(model, lr=0.01)
    sequence, state, trace = model.encode(TRAINING_TEXT), None, []
    chunks = list(stream_batches(sequence, 4, 8))
    for step in range(TRAINING_STEPS):
        chunk = chunks[step % len(chunks)]
        loss, norm, state = side.train_step(model, optimizer, chunk, state)
        trace += [loss, norm]
    return [np.array(trace, dtype), *model.state_dict().values()]


def run_case(side: Side, name: str, dtype: FloatType) -> Arrays:
    """Compute one case by name."""
    if name in LAYER_CASES:
        return run_layer(side, LAYER_CASES[name], dtype)
    if name in GRID_CASES:
        return run_grid(side, GRID_CASES[name], dtype)
    return OTHER_CASES[name](side, dtype)


OTHER_CASES: dict[str, Callable[[Side, FloatType], Arrays]] = {
    "linear": run_linear,
    "embedding": run_embedding,
    "softmax cross-entropy": run_softmax,
    "ctc": run_ctc,
    "attention": run_attention,
    "training": run_training,
}
CASE_NAMES = (*LAYER_CASES, *GRID_CASES, *OTHER_CASES)


def hash_arrays(arrays: Iterable[Array]) -> str:
    """Return the SHA-256 of the bits of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        canonical = np.where(np.isnan(array), np.nan, array)
        digest.update(canonical.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def hash_case(side: Side, name: str, dtype: FloatType) -> str:
    """Return the SHA-256 of one case."""
    return hash_arrays(run_case(side, name, dtype))
