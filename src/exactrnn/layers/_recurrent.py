"""What all layers do with a sequence; the public classes are in `layers/`.

The caller's layouts (time-major, batch first, unbatched) become time-major views here,
and `_stack.Stack` runs them.
"""

from __future__ import annotations

from typing import Any, Generic, cast

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike
from exactrnn._run import episodes as _episodes
from exactrnn._run import states
from exactrnn._run.stack import Call
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.options import shared_fields
from exactrnn._spec.recurrent import Config
from exactrnn.layers._module import Cache, D, Gradients, RecurrentModule, S
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
            return self._run_into(out, x, state, lengths, mask, resets)
        call: Call = self._begin(x, state, lengths, mask, resets)
        y = self._new_y(call)
        final = _episodes.run(self._stack, call, self._to_engine(y, call.batched))
        return y, self._pack_state(final, call)

    def _run_into(
        self,
        out: object,
        x: object,
        state: object,
        lengths: object,
        mask: object,
        resets: object,
    ) -> tuple[Array, S]:
        """Do what a plain call with `out` does."""
        given = _checks.as_array("x", x, self.dtype)
        call = self._begin(given, state, lengths, mask, resets)
        inputs = (given, *(call.state or ()))
        steps, rows, _ = call.x.shape
        sizes = self._y_sizes(steps, rows, call.batched)
        y = _checks.check_out(out, self.dtype, sizes, inputs)
        direct = _checks.make_readable(y) is y
        result = y if direct else self._new_y(call)
        final = _episodes.run(self._stack, call, self._to_engine(result, call.batched))
        if not direct:
            y[...] = result
        return _checks.as_given(out, y), self._pack_state(final, call)

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
        call = self._begin(x, state, lengths, mask, resets)
        if call.episodes is None:  # which gather what they read
            call = call._replace(x=call.x.copy())
        y = self._new_y(call)
        target = self._to_engine(y, call.batched)
        final, run = _episodes.run_keeping(self._stack, call, target)
        cache = Cache(self, run, call.batched, gates)
        return y, self._pack_state(final, call), cache

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
        return self._go_back(cache, dy, dstate)

    def _go_back(
        self,
        cache: Cache,
        dy: ArrayLike | None,
        dstate: object,
        truncated: bool = False,
    ) -> Gradients[D]:
        """Do what `backward` says; `truncated` as in `LSTM.backward`."""
        _checks.check_owner(cache, self)
        _checks.check_gradient_given(dy, dstate)
        run, batched = cache._run, cache._batched
        steps, rows = run.shape
        dy_taken = None
        if dy is not None:
            given = _checks.as_array("dy", dy, self.dtype)
            _checks.check_shape("dy", given, **self._y_sizes(steps, rows, batched))
            dy_taken = _checks.make_readable(self._to_engine(given, batched))
        taken = states.take_gradient(self._stack.config, dstate, rows, batched)
        dx, dinitial, dweights = _episodes.run_back(
            self._stack, run, dy_taken, taken, truncated
        )
        dstate_out = cast(D, states.pack_state(dinitial, None, batched))
        return Gradients(self._to_user(dx, batched), dstate_out, dweights)

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

    # Layouts

    def _begin(
        self,
        x: object,
        state: object,
        lengths: object = None,
        mask: object = None,
        resets: object = None,
    ) -> Call:
        """Check the arguments of a call and bring them into time-major views."""
        given = _checks.check_sequence(x, self.input_size, self.dtype, self.batch_first)
        batched = given.ndim == 3
        engine_x = _checks.make_readable(self._to_engine(given, batched))
        steps, rows, _ = engine_x.shape
        ends = None
        if lengths is not None:
            ends = _checks.check_lengths(lengths, steps, rows, batched)
        episodes = None
        if mask is not None or resets is not None:
            ends, episodes = _episodes.arrange(
                (steps, rows),
                ends,
                self._take_steps("mask", mask, steps, rows, batched),
                self._take_steps("resets", resets, steps, rows, batched),
            )
        config = self._stack.config
        parts, clock = states.take_state(config, state, rows, batched)
        return Call(engine_x, parts, ends, batched, clock, episodes)

    def _take_steps(
        self, name: str, value: object, steps: int, rows: int, batched: bool
    ) -> _episodes.Bools | None:
        """Return booleans of all steps as an array [T, B] of their own."""
        if value is None:
            return None
        sizes = {"T": steps, "B": rows}
        if not batched:
            del sizes["B"]
        elif self.batch_first:
            sizes = {"B": rows, "T": steps}
        own = _checks.check_booleans(name, value, sizes)
        return own.T if batched and self.batch_first else own.reshape(steps, rows)

    def _pack_state(self, parts: tuple[Array, ...], call: Call) -> S:
        """Return final states as the caller has them, the clock moved on."""
        clock = call.clock
        if clock is not None and call.episodes is not None:
            config = self._stack.config
            back = _episodes.directions_back(config)
            clock = call.episodes.moved_clock(clock, config.phase, back)
        elif clock is not None:
            clock = states.moved_clock(clock, call.x.shape[0], call.lengths)
        return cast(S, states.pack_state(parts, clock, call.batched))

    def _to_engine(self, array: Array, batched: bool) -> Array:
        """Return a view [T, B, ...] of an array in the caller's layout."""
        if not batched:
            return array[:, None, :]
        return array.transpose(1, 0, 2) if self.batch_first else array

    def _to_user(self, array: Array, batched: bool) -> Array:
        """Return a view in the caller's layout of an array [T, B, ...]."""
        if not batched:
            return array[:, 0, :]
        return array.transpose(1, 0, 2) if self.batch_first else array

    def _y_sizes(self, steps: int, rows: int, batched: bool) -> dict[str, int]:
        """Return the sizes of y in the caller's order of axes."""
        config = self._stack.config
        width = {f"D_{config.output_letter}": config.directions * config.output_size}
        if not batched:
            return {"T": steps, **width}
        if self.batch_first:
            return {"B": rows, "T": steps, **width}
        return {"T": steps, "B": rows, **width}

    def _new_y(self, call: Call) -> Array:
        steps, rows, _ = call.x.shape
        width = self._stack.config.directions * self.output_size
        shape: tuple[int, ...] = (steps, rows, width)
        if not call.batched:
            shape = (steps, width)
        elif self.batch_first:
            shape = (rows, steps, width)
        return _checks.allocate(shape, self.dtype)
