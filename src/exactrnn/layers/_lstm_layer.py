"""What the layers of the LSTM family have in common: gradients as they were in 1997."""

from __future__ import annotations

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn.layers._recurrent import RecurrentLayer, go_back, step_back
from exactrnn.layers._results import Cache, Gradients

MEANINGS = {
    "i": "input gate: what is written",
    "f": "forget gate: what c keeps",
    "g": "candidate: what may be written",
    "o": "output gate: what is shown of c",
    "m": "o * tanh(c), before the projection",
    "c": "cell state",
}
"""What the gates of these cells are, for pictures."""


class LSTMLayer(RecurrentLayer[tuple[Array, ...], tuple[Array, ...]]):
    """A layer with a cell state, along which alone errors may go back in time."""

    def backward(
        self,
        cache: Cache,
        dy: ArrayLike | None,
        dstate: tuple[Array, ...] | None = None,
        *,
        truncated: bool = False,
    ) -> Gradients[tuple[Array, ...]]:
        """Go back through time, from gradients of outputs to gradients of inputs.

        Parameters
        ----------
        cache : Cache
            From this layer's `forward`; the weights must be those of then.
        dy : array_like or None
            Gradient of `y`, in its shape; None for none, if `dstate` is given. Values
            past a row's length and of masked steps are not read.
        dstate : tuple of array_like, optional
            Gradient of the final state, in its shape.
        truncated : bool
            Whether errors go back in time along the cell state alone, as in the paper
            of 1997: what arrives at the gates and the candidate changes the weights,
            and goes down to the input, but not on to the step before, neither through
            the recurrent matrices nor through peepholes.

        Returns
        -------
        Gradients
            `x`, `state` (of the initial state) and `weights` by name. Gradients of
            padding and of masked steps are zeros; none passes a reset.

        Raises
        ------
        ValueError
            If a shape is wrong, the cache is another layer's or the weights have
            changed since `forward`.
        TypeError
            If something is not an array or not of the layer's dtype.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.LSTM(3, 4, omit="f", seed=1)
        >>> y, (h, c), cache = layer.forward(np.ones((100, 1, 3), np.float32))
        >>> dstate = np.zeros_like(h), np.ones_like(c)
        >>> dh_0, dc_0 = layer.backward(cache, None, dstate, truncated=True).state
        >>> dc_0.tolist()  # the constant error carousel: 100 steps, factor 1
        [[[1.0, 1.0, 1.0, 1.0]]]
        """
        truncated = _checks.check_flag("truncated", truncated)
        return go_back(self, cache, dy, dstate, truncated)

    def step_back(
        self,
        cache: Cache,
        dy: ArrayLike | None,
        dstate: tuple[Array, ...] | None = None,
        weights: dict[str, Array] | None = None,
        *,
        truncated: bool = False,
    ) -> Gradients[tuple[Array, ...]]:
        """Go back one step; gradients of weights add up over the steps of a loop.

        Parameters
        ----------
        cache, dy, dstate, weights
            As in `RNN.step_back`.
        truncated : bool
            As in `backward`: nothing but the gradient of the cell state goes on to the
            step before.

        Returns
        -------
        Gradients
            As in `RNN.step_back`.

        Raises
        ------
        ValueError, TypeError
            As in `RNN.step_back`.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.LSTM(3, 4, seed=1)
        >>> y, state, cache = layer.step(np.ones((2, 3), np.float32))
        >>> dx, (dh, dc), dweights = layer.step_back(cache, np.ones_like(y))
        >>> dx.shape, dc.shape
        ((2, 3), (1, 2, 4))
        """
        truncated = _checks.check_flag("truncated", truncated)
        return step_back(self, cache, (dy, dstate), weights, truncated)
