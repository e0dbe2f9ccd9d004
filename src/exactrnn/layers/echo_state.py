"""Echo state networks: a fixed random reservoir, and a readout fitted in one go.

The reservoir is a layer of leaky units, made and scaled in `_reservoir.py`; the fit is
in `_readout.py`. The file is long because of its docstrings.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from exactrnn import _checks
from exactrnn._checks import Array, ArrayLike, DTypeLike, FloatType, Lengths, naming
from exactrnn._checks.limits import check_memory
from exactrnn._run import layout as layouts
from exactrnn._run.layout import Layout
from exactrnn._spec.sequence import SequenceSpec
from exactrnn._system.mode import ieee_mode
from exactrnn._weights.views import marked
from exactrnn.layers import _reservoir
from exactrnn.layers._echo_stream import EchoStream
from exactrnn.layers._facts import SequenceFacts
from exactrnn.layers._notebook import describe_in_html
from exactrnn.layers._readout import Samples, apply_readout, fit_readout
from exactrnn.layers._unzoned import without_zoneout

__all__ = ["EchoState", "EchoStream"]


class EchoState(SequenceFacts):
    """Echo state network: leaky units with fixed weights, and a linear readout.

    For each time step::

        h_t = (1 - α) * h_{t-1} + α * tanh(W x_t + b + R h_{t-1})
        y_t = W_out [x_t; h_t] + b_out

    `W`, `b` and `R` are drawn once and stay; `fit` finds the readout by ridge
    regression. Calling the network gives the states, as calling a layer does; `predict`
    gives the readout's values, `run` feeds them back as inputs. Arrays are time-major,
    [T, B, ...], or [T, ...] for a single sequence.

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, units of the reservoir.
    spectral_radius : float
        Largest absolute eigenvalue of `R`, to which it is scaled; of `R` alone, not of
        the map (1 - α) + α R that a leak makes of it.
    leak : float
        α, 0 < α <= 1.
    density : float
        Share of the units that each unit listens to, 0 < density <= 1; at least one.
    input_scaling : float
        Bound of the uniform numbers in `W`.
    bias_scaling : float
        Bound of the uniform numbers in `b`.
    washout : int
        First steps of each sequence that `fit` leaves out. Can be set.
    ridge : float
        λ, the penalty on the squares of `W_out`; the sum of squared errors is not
        divided by the number of steps, and `b_out` is not penalised. Can be set.
    dtype : {"float32", "float64"}
        Of weights, inputs, states and outputs. The fit itself is in float64. Free runs
        over a long time and small penalties want float64.
    seed : int, optional
        Of the reservoir.
    w_in : array_like, optional
        `W` [H, I] itself, instead of random numbers.
    w : array_like, optional
        `R` [H, H] itself; `spectral_radius` and `density` do not act on it.

    Attributes
    ----------
    output_size : int or None
        O, values of the readout per step; None before `fit`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights: `weight_ih` W [H, I], `weight_hh` R [H, H], `bias_ih` b [H]; after `fit`
    also `weight_out` [O, I+H] and `bias_out` [O].

    A spectral radius below 1 is neither enough for the states to forget where they
    began nor needed: with inputs other than zero larger ones may do well.

    Everything has defined bits: also the spectral radius and the fit are the same on
    every machine, instruction set and number of threads.

    Sources: H. Jaeger, "The echo state approach to analysing and training recurrent
    neural networks", GMD Report 148, 2001; H. Jaeger, M. Lukoševičius, D. Popovici,
    U. Siewert, "Optimization and applications of echo state networks with
    leaky-integrator neurons", Neural Networks 20(3), 2007.

    Examples
    --------
    A sine that goes on by itself:

    >>> import numpy as np
    >>> import exactrnn as xr
    >>> wave = np.sin(0.2 * np.arange(400))[:, None]
    >>> network = xr.EchoState(1, 50, washout=50, dtype="float64", seed=1)
    >>> network.fit(wave[:299], wave[1:300])
    EchoState(1, 50, washout=50, dtype='float64')
    >>> y, state = network.predict(wave[:299])
    >>> y, state = network.run(100, state, x0=y[-1])
    >>> bool(np.abs(y - wave[300:]).max() < 0.01)
    True
    """

    record = _reservoir.RECORD

    input_size: int
    hidden_size: int
    spectral_radius: float
    leak: float
    density: float
    input_scaling: float
    bias_scaling: float
    washout: int
    ridge: float
    dtype: FloatType

    _layer: _reservoir.Reservoir
    _readout: tuple[Array, Array] | None
    _arguments: dict[str, Any]

    @without_zoneout("a reservoir is not trained through time")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        density: float = 0.1,
        input_scaling: float = 1.0,
        bias_scaling: float = 0.0,
        washout: int = 0,
        ridge: float = 1e-6,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
        w_in: ArrayLike | None = None,
        w: ArrayLike | None = None,
    ) -> None:
        named = locals()
        arguments = _reservoir.check_arguments(
            {name: named[name] for name in _reservoir.OPTIONS}
        )
        given = {"w_in": w_in, "w": w}
        weights = _reservoir.draw_reservoir(arguments, given, seed)
        self._assemble(arguments, weights, None)

    @classmethod
    def restore(
        cls,
        arguments: Mapping[str, object],
        weights: Mapping[str, object],
        generator_state: Mapping[str, Any] | None = None,  # noqa: ARG003 (as layers)
    ) -> Self:
        """Build a network from its parts, drawing nothing; all is checked as given.

        Parameters
        ----------
        arguments : mapping of str to object
            As `arguments` returns them.
        weights : mapping of str to array_like
            As `state_dict` returns them.
        generator_state : mapping, optional
            Of no use: nothing is drawn any more. Layers have it.

        Returns
        -------
        EchoState
            A new network.

        Raises
        ------
        ValueError, TypeError, KeyError
            If the parts are no network's.
        """
        checked = _reservoir.check_arguments(arguments)
        given = naming.take_named("weights", weights)
        network = cls.__new__(cls)
        taken = _reservoir.take_weights("weights", given, checked)
        network._assemble(checked, taken, _reservoir.take_readout(given, checked))
        return network

    def _assemble(
        self,
        arguments: dict[str, Any],
        weights: Mapping[str, Array],
        readout: tuple[Array, Array] | None,
    ) -> None:
        self.__dict__.update(
            arguments,
            _arguments=arguments,
            _layer=_reservoir.make_layer(arguments, weights),
            _readout=readout,
        )

    if not TYPE_CHECKING:  # to whom other names are mistakes

        def __setattr__(self, name: str, value: object) -> None:
            """Set an attribute; of the options only those that the next fit reads."""
            if "_arguments" not in self.__dict__:  # under construction
                super().__setattr__(name, value)
            elif name in ("washout", "ridge"):
                checked = _reservoir.check_arguments({**self._arguments, name: value})
                self.__dict__.update({name: checked[name]}, _arguments=checked)
            elif name in self._arguments or name == "output_size":
                raise AttributeError(f"{name} cannot change: make a new EchoState")
            else:
                super().__setattr__(name, value)

    def _repr_html_(self) -> str:
        return describe_in_html(self)

    def __repr__(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        parameters = inspect.signature(EchoState).parameters
        for name, value in [*self.arguments().items()][2:]:
            if value != parameters[name].default:
                parts.append(f"{name}={value!r}")
        return f"EchoState({', '.join(parts)})"

    @property
    def output_size(self) -> int | None:
        """O, values of the readout per step; None before `fit`."""
        return None if self._readout is None else len(self._readout[1])

    @property
    def _spec(self) -> SequenceSpec:
        return self._layer._spec

    def _generator_state(self) -> dict[str, Any]:
        """Return what stands in a file, as that of layers: it draws nothing more."""
        return self._layer._generator_state()

    # States and readout

    def __call__(
        self,
        x: ArrayLike,
        state: Array | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """Run the reservoir over a sequence.

        Parameters
        ----------
        x : array_like
            Input [T, B, I] or [T, I].
        state : array_like, optional
            Initial state [1, B, H] or [1, H]; zeros by default.
        lengths : array_like of int, optional
            Length of each row [B], 0 to T; T by default.

        Returns
        -------
        h : ndarray
            States [T, B, H] or [T, H]; zeros past a row's length.
        state : ndarray
            The state at each row's end.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.

        Examples
        --------
        >>> import numpy as np
        >>> import exactrnn as xr
        >>> h, state = xr.EchoState(1, 50, seed=1)(np.ones((5, 2, 1), np.float32))
        >>> h.shape, state.shape
        ((5, 2, 50), (1, 2, 50))
        """
        return self._layer(x, state, lengths=lengths)

    def states(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Return the states alone, from a state of zeros.

        Parameters
        ----------
        x : array_like
            Input [T, B, I] or [T, I].
        lengths : array_like of int, optional
            Length of each row [B], 0 to T; T by default.

        Returns
        -------
        ndarray
            [T, B, H] or [T, H]; zeros past a row's length.
        """
        return self(x, lengths=lengths)[0]

    @ieee_mode()
    def fit(
        self, x: ArrayLike, y: ArrayLike, *, lengths: ArrayLike | None = None
    ) -> Self:
        """Find the readout that gives `y`, from states that begin at zero.

        Parameters
        ----------
        x : array_like
            Input [T, B, I] or [T, I].
        y : array_like
            Targets [T, B, O] or [T, O].
        lengths : array_like of int, optional
            Length of each row [B], 0 to T; T by default. Later steps do not count.

        Returns
        -------
        EchoState
            The network itself; an old readout is replaced.

        Raises
        ------
        ValueError
            If a shape is wrong, no step is left after the washout, a number is not
            finite, or `ridge` is too small for these states, so that float64 does not
            tell what the readout is; the readout is then as it was.
        TypeError
            If something is not an array or not of the network's dtype; likewise.
        """
        given, steps = self._take(x, lengths)
        targets = _checks.as_array("y", y, self.dtype)
        _check_targets(targets, given)
        h = self._run(given, None, steps)[0]
        inward = layouts.of_sequence(given.ndim).inward
        parts = tuple(inward(part) for part in (given, h, targets))
        used = np.arange(len(h))[:, None] < steps
        used[: self.washout] = False
        if not used.any():
            raise ValueError(
                f"washout: expected less than the longest row, {steps.max(initial=0)} "
                f"steps, got {self.washout}"
            )
        W, b = fit_readout(Samples(parts, used), self.ridge)
        self.__dict__["_readout"] = (W.astype(self.dtype), b.astype(self.dtype))
        return self

    @ieee_mode()
    def predict(
        self,
        x: ArrayLike,
        state: Array | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """Run the reservoir over a sequence and read it out.

        Parameters
        ----------
        x : array_like
            Input [T, B, I] or [T, I].
        state : array_like, optional
            Initial state [1, B, H] or [1, H]; zeros by default.
        lengths : array_like of int, optional
            Length of each row [B], 0 to T; T by default.

        Returns
        -------
        y : ndarray
            [T, B, O] or [T, O]; zeros past a row's length.
        state : ndarray
            The state at each row's end, to go on from.

        Raises
        ------
        ValueError
            If a shape is wrong or there is no readout yet.
        TypeError
            If something is not an array or not of the network's dtype.
        """
        W, b = self._fitted("predict")
        given, steps = self._take(x, lengths)
        h, final = self._run(given, state, steps)
        z = np.concatenate([given, h], axis=-1, dtype=self.dtype)
        y = apply_readout(z.reshape(-1, z.shape[-1]), W, b)
        y = y.reshape(*z.shape[:-1], len(b))
        padding = np.arange(len(h))[:, None] >= steps
        layouts.of_sequence(y.ndim).inward(y)[padding] = 0
        return y, final

    @ieee_mode()
    def run(
        self,
        steps: int,
        state: Array | None = None,
        x0: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """Go on alone: each step's prediction is the next one's input.

        Parameters
        ----------
        steps : int
            Number of steps, at least 0.
        state : array_like, optional
            Initial state [1, B, H] or [1, H], as `predict` returns it; zeros by
            default.
        x0 : array_like, optional
            Input of the first step [B, I] or [I], as the last prediction; zeros by
            default.

        Returns
        -------
        y : ndarray
            [steps, B, O] or [steps, O].
        state : ndarray
            The state after the last step.

        Raises
        ------
        ValueError
            If a shape is wrong, there is no readout yet, or it does not have as many
            values as the input.
        TypeError
            If something is not an array or not of the network's dtype.
        """
        _, b = self._fitted("run")
        count = _checks.check_integer("steps", steps)
        if count < 0:
            raise ValueError(f"steps: expected an integer >= 0, got {count}")
        if len(b) != self.input_size:
            raise ValueError(
                f"run: expected a readout of I={self.input_size} values, which can be "
                f"inputs, got O={len(b)}"
            )
        dtype = self.dtype
        h = None if state is None else _checks.as_array("state", state, dtype)
        x = None if x0 is None else _checks.as_array("x0", x0, dtype)
        layout, rows = _layout_of(h, x)
        lead = (layouts.STEPS if layout.batched else layouts.STEP).sizes(1, rows)
        name = "state" if x is None else "x0"
        check_memory(f"{name}: B={rows}", "states", rows * self.hidden_size * 8)
        stream = self.stream(rows)
        if h is not None:
            _checks.check_shape("state", h, L=1, **lead, H=self.hidden_size)
            stream.state = h.reshape(1, rows, -1)
        if x is None:
            x = np.zeros((*lead.values(), self.input_size), dtype)
        _checks.check_shape("x0", x, **lead, I=self.input_size)
        x = x.reshape(rows, -1)
        y = _checks.allocate((count, rows, len(b)), self.dtype)
        for t in range(count):
            x = stream.step(x, out=y[t])
        final = stream.state
        return layout.outward(y), layout.state_outward(final)

    def stream(self, batch_size: int = 1) -> EchoStream:
        """Make a stream: one time step at a time, with the state kept inside.

        Parameters
        ----------
        batch_size : int
            Number of rows that go on side by side.

        Returns
        -------
        EchoStream
            With state zero.

        Raises
        ------
        ValueError, TypeError
            If there is no readout yet, or `batch_size` is not an integer of at least 1.
        """
        self._fitted("stream")
        return EchoStream(self, batch_size)

    def _fitted(self, what: str) -> tuple[Array, Array]:
        if self._readout is None:
            raise ValueError(f"{what}: expected a network with a readout: call fit")
        return self._readout

    def _take(self, x: object, lengths: object) -> tuple[Array, Lengths]:
        """Return the input, and the number of steps of each row [B]."""
        given = _checks.check_sequence(x, self.input_size, self.dtype, False)
        rows = 1 if given.ndim == 2 else given.shape[1]
        if lengths is None:
            return given, np.full(rows, len(given), np.int64)
        steps = _checks.check_lengths(lengths, len(given), rows, given.ndim == 3)
        return given, steps

    def _run(
        self, x: Array, state: Array | None, steps: Lengths
    ) -> tuple[Array, Array]:
        """Run the reservoir over what has been checked."""
        whole = (steps == len(x)).all()
        return self._layer(x, state, lengths=None if whole else steps)

    # Weights

    @property
    def num_parameters(self) -> int:
        """Number of weights, all arrays together."""
        return sum(array.size for array in self.state_dict().values())

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, but for seed and matrices, as values.

        Returns
        -------
        dict of str to object
            Sizes, options and the name of the dtype.
        """
        return {**self._arguments, "dtype": self.dtype.name}

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the weights.

        Returns
        -------
        dict of str to ndarray
            `weight_ih`, `weight_hh`, `bias_ih` and, after `fit`, `weight_out` and
            `bias_out`.
        """
        weights = _reservoir.weights_of(self._layer)
        if self._readout is not None:
            pairs = zip(_reservoir.READOUT, self._readout, strict=True)
            weights |= {name: array.copy() for name, array in pairs}
        return marked(weights)

    def load_state_dict(
        self, state_dict: Mapping[str, ArrayLike], *, prefix: str = ""
    ) -> None:
        """Copy weights into the network.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Names and shapes as in `state_dict`, of the network's dtype; without a
            readout the network has none afterwards.
        prefix : str
            What stands before the network's own names; others are left.

        Raises
        ------
        ValueError
            If a name or a shape is wrong; nothing is changed then.
        TypeError
            If a dtype is not the network's; nothing is changed then.
        """
        given = naming.take_named("state_dict", state_dict, prefix)
        weights = _reservoir.take_weights("state_dict", given, self._arguments)
        readout = _reservoir.take_readout(given, self._arguments)
        layer = _reservoir.make_layer(self._arguments, weights)
        self.__dict__.update(_layer=layer, _readout=readout)

    # Copies of the whole

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.arguments(), self.state_dict())
        return _restore, (type(self), *parts), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes that the library does not know."""
        own = {"_arguments", "_layer", "_readout", *self._arguments}
        return {n: v for n, v in self.__dict__.items() if n not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _restore(
    kind: type[EchoState], arguments: dict[str, Any], weights: dict[str, Array]
) -> EchoState:
    """Make a network for a copy or a pickle, without what the user has added."""
    return kind.restore(arguments, weights)


def _layout_of(state: Array | None, x0: Array | None) -> tuple[Layout, int]:
    """Return the layout of what `run` makes, and B; shapes are checked later."""
    for array, batched_axes in ((x0, 2), (state, 3)):
        if array is not None and array.ndim == batched_axes:
            return layouts.TIME_MAJOR, max(array.shape[-2], 1)
    return layouts.UNBATCHED, 1


def _check_targets(y: Array, x: Array) -> None:
    """Raise unless `y` has the rows of `x` and a width of its own."""
    if y.ndim == x.ndim and y.shape[:-1] == x.shape[:-1] and y.shape[-1] > 0:
        return
    letters = ("T", "B")[: x.ndim - 1]
    pairs = zip(letters, x.shape, strict=False)
    expected = ", ".join(f"{letter}={size}" for letter, size in pairs)
    raise _checks.shape_error("y", f"{expected}, O", y.shape)
