"""What a language model computes, one way and back.

symbols [T, B] -> embedding [T, B, E] -> recurrent layers [T, B, H]
-> logits [T, B, V]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrnn import _core, engine
from exactrnn._checks import Array, check_lengths, check_one_way, describe
from exactrnn._checks.arrays import Index, check_index
from exactrnn._checks.limits import shorten
from exactrnn._system.mode import ieee_mode
from exactrnn.layers._dense import ModuleGradients
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.layers._module import Module
from exactrnn.train._units import Alphabet
from exactrnn.train.losses import IGNORED, row_losses, softmax_cross_entropy

PARTS = ("embedding", "recurrent", "readout")


class ModelCache(NamedTuple):
    """What `backward` needs, of each part."""

    embedding: Any
    recurrent: Any
    readout: Any


class Passes(Module):
    """A model of the three parts: its calls."""

    alphabet: Alphabet
    embedding: Embedding
    recurrent: Any
    readout: Linear

    def loss_and_gradients(
        self, inputs: ArrayLike, targets: ArrayLike, state: Any = None
    ) -> tuple[float, dict[str, Array], Any]:
        """Run forward and back over one chunk.

        Parameters
        ----------
        inputs, targets : array_like of int, ``[T, B]``
            Characters and those that follow them.
        state : tuple of ndarray or ndarray, optional
            The recurrent layers' state to begin with; zeros by default.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats.
        gradients : dict of str to ndarray
            By the names of `parameters`.
        state : tuple of ndarray or ndarray
            The state after the chunk.
        """
        logits, state, cache = self.forward(inputs, state)
        loss, dlogits = softmax_cross_entropy(logits, targets)
        return loss, self.backward(cache, dlogits).weights, state

    def __call__(
        self, index: ArrayLike, state: Any = None, *, lengths: ArrayLike | None = None
    ) -> tuple[Array, Any]:
        """Return logits of what follows each symbol, and the state: for inference.

        Parameters
        ----------
        index : array_like of int, ``[T, B]``
            Places of symbols in the alphabet, as `encode` gives them.
        state : tuple of ndarray or ndarray, optional
            The recurrent layers' state to begin with; zeros by default.
        lengths : array_like of int, ``[B]``, optional
            Steps of each row.

        Returns
        -------
        logits : ndarray, ``[T, B, V]``
        state : tuple of ndarray or ndarray
            After the last step of each row.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Examples
        --------
        >>> import exactrnn as xr
        >>> model = xr.train.LanguageModel("abc", hidden_size=8, seed=0)
        >>> logits, state = model(model.encode("cab")[:, None])
        >>> logits.shape
        (3, 1, 3)
        """
        check_one_way("recurrent", self.recurrent)
        embedded = self.embedding(self._check_steps(index))
        hidden, state = self.recurrent(embedded, state, lengths=lengths)
        return self.readout(hidden), state

    def forward(
        self, index: ArrayLike, state: Any = None, *, lengths: ArrayLike | None = None
    ) -> tuple[Array, Any, ModelCache]:
        """Return what a call does, and what `backward` needs.

        Arguments and errors are those of a call. With it the model goes through
        `exactrnn.train.fit` as a layer does.

        Returns
        -------
        logits : ndarray, ``[T, B, V]``
        state : tuple of ndarray or ndarray
        cache : object
        """
        check_one_way("recurrent", self.recurrent)
        embedded, first = self.embedding.forward(self._check_steps(index))
        hidden, state, second = self.recurrent.forward(embedded, state, lengths=lengths)
        logits, third = self.readout.forward(hidden)
        return logits, state, ModelCache(first, second, third)

    def _check_steps(self, index: ArrayLike) -> Index:
        """Return symbols ``[T, B]``, or raise."""
        checked = check_index("index", index, 0, len(self.alphabet))
        if checked.ndim != 2:
            raise ValueError(f"index: expected [T, B], got {shorten(checked.shape)}")
        return checked

    def backward(self, cache: ModelCache, dy: ArrayLike) -> ModuleGradients:
        """Return the gradients of the weights.

        Parameters
        ----------
        cache : object
            From `forward`.
        dy : array_like, ``[T, B, V]``
            Gradient of the logits.

        Returns
        -------
        ModuleGradients
            ``x`` is None, ``weights`` has the names of `parameters`.

        Raises
        ------
        TypeError, ValueError
            If `cache` is none of this model, or `dy` is not as described.
        """
        if not isinstance(cache, ModelCache):
            raise TypeError(f"cache: expected one of forward, got {describe(cache)}")
        readout = self.readout.backward(cache.readout, dy)
        recurrent = self.recurrent.backward(cache.recurrent, readout.x)
        embedding = self.embedding.backward(cache.embedding, recurrent.x)
        found = (embedding.weights, recurrent.weights, readout.weights)
        gradients = {
            f"{part}.{name}": array
            for part, weights in zip(PARTS, found, strict=True)
            for name, array in weights.items()
        }
        return ModuleGradients(None, gradients)

    @ieee_mode()
    def log_probability(
        self, index: ArrayLike, *, lengths: ArrayLike | None = None
    ) -> Array:
        """Return how likely sequences are, from a state of zeros, in nats.

        Parameters
        ----------
        index : array_like of int, ``[T, B]``
            Places of symbols in the alphabet, as `encode` gives them.
        lengths : array_like of int, ``[B]``, optional
            Steps of each row.

        Returns
        -------
        ndarray, ``[B]``
            The sum over the symbols after the first one of their log-probability, what
            comes before them being given: a long sum (N3) in the model's dtype. 0 for a
            row of one symbol, or none.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Examples
        --------
        >>> import exactrnn as xr
        >>> model = xr.train.LanguageModel("ab", hidden_size=8, seed=0)
        >>> model.log_probability(model.encode("aba")[:, None]).shape
        (1,)
        """
        checked = self._check_steps(index)
        T, B = checked.shape
        counts = np.full(B, T)
        if lengths is not None:
            counts = check_lengths(lengths, T, B, batched=True)
        own = None if lengths is None else np.maximum(counts - 1, 0)
        logits, _ = self(checked[:-1], lengths=own)
        following = np.arange(1, T)[:, None] < counts
        targets = np.where(following, checked[1:], IGNORED)
        losses = row_losses(logits, targets, None, 0.0).reshape(targets.shape)
        return _sums_of_rows(losses, counts)


def _sums_of_rows(losses: Array, counts: NDArray[np.int64]) -> Array:
    """Return minus the sum of each column, of one fewer than its count."""
    found: Array = np.zeros(len(counts), losses.dtype)
    for b, count in enumerate(counts.tolist()):
        own = np.ascontiguousarray(losses[: max(count - 1, 0), b])
        found[b] = 0.0 - _core.long_sum(own, engine.isa())
    return found
