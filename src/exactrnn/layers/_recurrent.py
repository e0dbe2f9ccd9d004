"""What all layers do with a sequence; the public classes are in `layers/`.

Calls go to `_run/call.py`, where the caller's layout is handled.
"""

from __future__ import annotations

from typing import Any, Generic

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn._run import call as _call
from exactrnn._run import steps as _steps
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.options import shared_fields
from exactrnn._spec.recurrent import Config
from exactrnn.layers._module import RecurrentModule, S
from exactrnn.layers._results import Cache, D, Gradients
from exactrnn.layers._stream import Stream


class RecurrentLayer(RecurrentModule[S], Generic[S, D]):
    """What all layers do: run, keep, go back, stream.

    A call with checked arguments changes nothing but its results. One layer may be
    called from several Python threads at once.
    """

    @classmethod
    def _configure(cls, given: Arguments) -> Any:
        fields = {"cell": cls.record.name, "activations": cls.record.activations}
        return Config(**fields | cls._own_fields(given) | shared_fields(given))

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:  # noqa: ARG003
        """Return what only layers of this class have of a config."""
        return {}

    def __call__(
        self,
        x: ArrayLike,
        state: S | None = None,
        *,
        lengths: object = None,
        mask: object = None,
        resets: object = None,
        out: ArrayLike | None = None,
    ) -> tuple[Array, S]:
        """Run over a sequence, for inference: without dropout, keeping nothing.

        Parameters
        ----------
        x : array_like
            Input [T, B, I], [B, T, I] with `batch_first`, or [T, I] unbatched, of the
            layer's dtype; any strides.
        state : array_like or tuple of array_like, optional
            Initial state: `h` [L*D, B, H], or the tuple that the class names, such as
            `(h, c)` for an LSTM; [L*D, H] unbatched; zeros by default. L layers, D
            directions.
        lengths : array_like of int, optional
            Steps of each row, [B], 0 to T each, in any order. Padding is never read.
        mask : array_like of bool, optional
            Which steps there are: [T, B], [B, T] with `batch_first`, [T] unbatched. A
            step that is False is never read; it leaves the state as it is and its
            output is 0. With `lengths`, what is past a row's length is False too.
        resets : array_like of bool, optional
            Before which steps a row starts anew, in the same shape: from a state of
            zeros and a clock at its phase, whether that step is masked or not. In
            reverse it starts anew after that step. Values past a row's length are not
            read.
        out : ndarray, optional
            Where to put `y`: its shape, the layer's dtype, apart from the inputs. If a
            signal handler ends the call (Ctrl-C), what it holds is undefined.

        Returns
        -------
        y : ndarray
            Output [T, B, D*H], laid out as `x`; zeros past a row's length and where a
            step is masked. D*O wide from cells whose output is O wide.
        state : ndarray or tuple of ndarrays
            Each row's state at its own end, shaped as the initial state. A row of
            length 0 returns its initial state. With `resets` that is the state of what
            follows the last of them (in reverse: of what comes before the first).

        Raises
        ------
        ValueError
            If a shape or a length is wrong or `out` overlaps an input.
        TypeError
            If something is not an array or not of the layer's dtype, or a mask not of
            bool.

        Examples
        --------
        Padding on the left, and two episodes in one row:

        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.GRU(3, 4, seed=1)
        >>> x = np.ones((5, 3), np.float32)
        >>> y, h = layer(x, mask=np.array([False, False, True, True, True]))
        >>> bool((y[2:] == layer(x[2:])[0]).all())
        True
        >>> y, h = layer(x, resets=np.arange(5) == 3)
        >>> bool((y[3:] == layer(x[3:])[0]).all())
        True
        """
        if out is not None:
            return _call.run_into(self._stack, out, x, state, lengths, mask, resets)
        return _call.run(self._stack, x, state, lengths, mask, resets)

    def forward(
        self,
        x: ArrayLike,
        state: S | None = None,
        *,
        lengths: object = None,
        mask: object = None,
        resets: object = None,
        gates: bool = False,
    ) -> tuple[Array, S, Cache]:
        """Run over a sequence, for training: with dropout, keeping what backward needs.

        Parameters
        ----------
        x, state, lengths, mask, resets
            As in a plain call.
        gates : bool
            Whether `cache.gates` is wanted.

        Returns
        -------
        y, state
            As in a plain call.
        cache : Cache
            For `backward`; owns a copy of `x`.

        Raises
        ------
        ValueError, TypeError
            As in a plain call.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.GRU(3, 4, seed=1)
        >>> x = np.ones((5, 2, 3), np.float32)
        >>> y, h, cache = layer.forward(x, gates=True)
        >>> cache.gates["z_l0"].shape
        (5, 2, 4)
        >>> grads = layer.backward(cache, np.ones_like(y))
        >>> grads.x.shape, grads.state.shape, grads.weights["weight_ih_l0"].shape
        ((5, 2, 3), (1, 2, 4), (12, 3))
        """
        gates = _checks.check_flag("gates", gates)
        (y, final), run, layout = _call.run_keeping(
            self._stack, x, state, lengths, mask, resets
        )
        return y, final, Cache(self, run, layout, gates)

    def backward(
        self, cache: Cache, dy: ArrayLike | None, dstate: D | None = None
    ) -> Gradients[D]:
        """Go back through time, from gradients of outputs to gradients of inputs.

        Parameters
        ----------
        cache : Cache
            From this layer's `forward`; the weights must be those of then.
        dy : array_like or None
            Gradient of `y`, in its shape; None for none, if `dstate` is given. Values
            past a row's length and of masked steps are not read.
        dstate : array_like or tuple of array_like, optional
            Gradient of the final state, in its shape; one of several may be None, for
            zeros.

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
        """
        return go_back(self, cache, dy, dstate)

    def step(
        self, x: ArrayLike, state: S | None = None, *, gates: bool = False
    ) -> tuple[Array, S, Cache]:
        """Do one step for training, in a loop that feeds states as it likes.

        The bits are those of the same step in a call of a whole sequence, but for
        dropout, which draws anew at each step. For inference alone a stream is faster.

        Parameters
        ----------
        x : array_like
            Input [B, I] or [I], of the layer's dtype; any strides.
        state : array_like or tuple of array_like, optional
            As in a plain call: `h` [L, B, H], or the tuple; [L, H] for an input [I];
            zeros by default.
        gates : bool
            Whether `cache.gates` is wanted: arrays [B, H] or [H].

        Returns
        -------
        y : ndarray
            Output [B, H] or [H], O wide from cells whose output is O wide.
        state : ndarray or tuple of ndarrays
            The next state, shaped as the one before.
        cache : Cache
            For `step_back`; owns a copy of `x`.

        Raises
        ------
        ValueError
            If a shape is wrong, or the layer reads rows from their ends.
        TypeError
            If something is not an array or not of the layer's dtype.

        Examples
        --------
        A layer that reads its own output, there and back:

        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.GRU(4, 4, seed=1)
        >>> y, h, caches = np.ones((2, 4), np.float32), None, []
        >>> for t in range(5):
        ...     y, h, cache = layer.step(y, h)
        ...     caches.append(cache)
        >>> dy, dh, dweights = np.ones_like(y), None, None
        >>> for cache in reversed(caches):
        ...     dy, dh, dweights = layer.step_back(cache, dy, dh, dweights)
        >>> dweights["weight_hh_l0"].shape
        (12, 4)
        """
        if self.bidirectional or self.reverse:
            _checks.check_one_way("step", self)
        gates = _checks.check_flag("gates", gates)
        (y, final), run, layout = _steps.keep(self._stack, x, state)
        return y, final, Cache(self, run, layout, gates)

    def step_back(
        self,
        cache: Cache,
        dy: ArrayLike | None,
        dstate: D | None = None,
        weights: dict[str, Array] | None = None,
    ) -> Gradients[D]:
        """Go back one step; gradients of weights add up over the steps of a loop.

        Parameters
        ----------
        cache : Cache
            From this layer's `step`; the weights must be those of then.
        dy : array_like or None
            Gradient of `y`, in its shape; None for none, if `dstate` is given.
        dstate : array_like or tuple of array_like, optional
            Gradient of the next state, in its shape; one of several may be None, for
            zeros.
        weights : dict of str to ndarray, optional
            The gradients of the weights so far: those of this step are added to these
            arrays, in place. Zeros by default. If a signal handler ends the call
            (Ctrl-C), what they hold is undefined.

        Returns
        -------
        Gradients
            `x`, `state` (the one given to `step`) and `weights` by name: the argument
            itself, if it was given.

        Raises
        ------
        ValueError
            If a shape or a name is wrong, the cache is of `forward` or another layer's,
            the weights have changed since `step`, or an array of `weights` is
            read-only or shares memory with another argument.
        TypeError
            If something is not an array or not of the layer's dtype.

        Notes
        -----
        A gradient of a weight is one long sum (N3) over all the calls that added to
        it, in their order, which begins anew with each: over the rows of the batch in
        each, 256 and what remains. In a call of the whole sequence it runs over steps
        first, so its bits are others; those of all other gradients are the same.
        """
        return step_back(self, cache, (dy, dstate), weights)

    def stream(self, batch_size: int = 1) -> Stream[S]:
        """Make a stream: one time step at a time, with the state kept inside.

        Parameters
        ----------
        batch_size : int
            Number of rows that go on side by side.

        Returns
        -------
        Stream
            With state zero; it follows later changes of the weights.

        Raises
        ------
        ValueError, TypeError
            If the layer reads rows from their ends, or `batch_size` is not an integer
            of at least 1.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> layer = xr.GRU(3, 4, seed=1)
        >>> x = np.ones((5, 3), np.float32)
        >>> stream = layer.stream()
        >>> steps = [stream.step(x_t) for x_t in x]
        >>> bool((np.stack(steps) == layer(x)[0]).all())
        True
        """
        return Stream(self, batch_size)


def go_back(
    layer: RecurrentLayer[S, D],
    cache: Cache,
    dy: object,
    dstate: object,
    truncated: bool = False,
) -> Gradients[D]:
    """Do what `layer.backward` says; `truncated` as in `LSTM.backward`."""
    _checks.check_owner(cache, layer)
    run, layout = cache._run, cache._layout
    return Gradients(
        *_call.run_back(layer._stack.spec, run, layout, dy, dstate, truncated)
    )


def step_back(
    layer: RecurrentLayer[S, D],
    cache: Cache,
    gradients: tuple[object, object],
    weights: object,
    truncated: bool = False,
) -> Gradients[D]:
    """Do what `layer.step_back` says; `truncated` as in `LSTM.backward`."""
    _checks.check_owner(cache, layer, "step")
    run, layout = cache._run, cache._layout
    return Gradients(
        *_steps.back(layer._spec, run, layout, gradients, weights, truncated)
    )
