"""Optimisers: elementwise ``+ - * / sqrt`` in a written order (contract N9).

Each rule is a sequence of operations whose result is fixed by IEEE-754, without fma, so
the bits depend on neither the machine nor the blocks in which the arrays are walked.
Hyperparameters are Python floats, rounded once to the parameters' dtype where they meet
an array.  The kernels are ``csrc/kernels/math/update.c``, the twin
``reference/dense.py``.

A step is whole or not at all.  What can fail comes first; then one call changes all
parameters and the state, while the stores of all layers concerned are held, so that a
call in another thread sees either the old weights or the new ones.

Views that a layer gave to read are enough: an optimiser opens them while it holds the
layer's store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias, cast

import numpy as np

from exactrnn import _core
from exactrnn._checks import Array, describe
from exactrnn._checks.arrays import make_plain
from exactrnn._checks.limits import list_names
from exactrnn._checks.numbers import check_real
from exactrnn._system.locks import make_lock
from exactrnn._system.mode import ieee_mode
from exactrnn._weights.store import edit_together, store_of, stores_in
from exactrnn._weights.views import is_copy, opened, root_of
from exactrnn.engine import isa
from exactrnn.train._gradients import GradientsLike, as_gradient, weights_of

__all__ = ["SGD", "Adam", "Optimizer"]


class HasParameters(Protocol):
    """A model or layer: hands out its arrays by name."""

    def parameters(self) -> Mapping[str, Array]:
        """Return the arrays that training changes, by name."""


ParameterSource: TypeAlias = HasParameters | Mapping[str, Array]

Slots: TypeAlias = Mapping[str, tuple[Array, ...]]


class _State(NamedTuple):
    """What an optimiser knows between two steps, but for the arrays."""

    num_steps: int
    powers: tuple[float, float]


class Optimizer:
    """What all optimisers share: fetching, checking and updating the parameters.

    A step is whole or not at all, for calls of the trained layers in other threads too.
    Where a source has several layers, each call of one of them sees the old weights or
    the new ones, and a pass through all of them may see some before and some after.

    An optimiser may be copied and pickled.  Together with its layer, as in
    ``copy.deepcopy((layer, optimizer))`` or one pickle of both, the copy trains the
    copied layer, alone a copy that it brings along; ``copy.copy`` gives one with a
    state of its own that trains the same layer.  One that was made from
    ``layer.parameters()`` refuses to be pickled or copied deeply: its arrays would be
    copies that no layer uses.

    Parameters
    ----------
    parameters : layer, model or mapping of str to ndarray
        What is trained.  Anything with a method ``parameters()`` that returns a
        mapping is asked for its arrays at every step.  A layer's ``state_dict()`` is
        refused: it holds copies, and training them would not change the layer.
    lr : float
        Learning rate, at least 0; the attribute ``lr`` may be changed between steps.
    slots : int
        Number of state arrays kept per parameter.

    Raises
    ------
    TypeError
        If `parameters` is nothing of the kind, or an array not float32 or float64.
    ValueError
        If arrays are copies, or two of them share memory.
    """

    _rule: ClassVar[str]

    def __init__(self, parameters: ParameterSource, lr: float, slots: int) -> None:
        self.lr = check_real("lr", lr, 0.0)
        self._source = _check_source(parameters)
        found = self._fetch()
        _check_lasting(found, self._fetch())
        _check_apart(found)
        self._forms = {
            name: (array.shape, array.dtype) for name, array in found.items()
        }
        self._slots: Slots = {
            name: tuple(np.zeros(array.size, array.dtype) for _ in range(slots))
            for name, array in found.items()
        }
        # In a list, where the kernels put it with the last array that they write.
        self._state = [_State(0, (1.0, 1.0))]
        self._lock = make_lock()

    @property
    def num_steps(self) -> int:
        """Steps done."""
        return self._state[0].num_steps

    def step(self, gradients: GradientsLike) -> None:
        """Update the parameters once; all of them, or none if it raises.

        Parameters
        ----------
        gradients : mapping of str to ndarray, or what `backward` returned
            One array for each parameter, of its name, shape and dtype.

        Raises
        ------
        ValueError
            If a name is missing or unknown, a shape differs, or an attribute such as
            ``lr`` has been set to a number out of range; nothing is changed.
        TypeError
            If a dtype differs; nothing is changed.
        """
        with self._lock, ieee_mode():
            taken = self._check(weights_of(gradients))
            state, numbers = self._next()
            with self._held() as parameters:
                taken = self._apart(taken, parameters)
                arrays = tuple(
                    (parameter.reshape(-1), taken[name].reshape(-1), *self._pair(name))
                    for name, parameter in parameters.items()
                )
                self._update(arrays, numbers, state)

    def _update(
        self,
        arrays: tuple[_core.Updated, ...],
        numbers: _core.RuleNumbers,
        state: _State,
    ) -> None:
        """Change arrays and state, all at once."""
        _core.update(self._rule, arrays, numbers, isa(), self._state, state)

    def _next(self) -> tuple[_State, _core.RuleNumbers]:
        """Return the state after this step, and the numbers of the rule."""
        raise NotImplementedError

    def _pair(self, name: str) -> tuple[Array | None, Array | None]:
        """Return the two state arrays of a parameter, None for those it lacks."""
        first, second, *_ = (*self._slots[name], None, None)
        return first, second

    @contextmanager
    def _held(self) -> Iterator[dict[str, Array]]:
        """Give the parameters by name while no call can read them."""
        own = stores_in(self._source)
        if own is None:
            parameters = {name: opened(array) for name, array in self._fetch().items()}
            self._check_parameters(parameters)
            found = {store_of(array) for array in parameters.values()}
            with edit_together(store for store in found if store is not None):
                yield parameters
            return
        with edit_together(own.values()):
            yield {
                prefix + name: array
                for prefix, store in own.items()
                for name, array in store.own.items()
            }

    def _fetch(self) -> dict[str, Array]:
        """Return what the source hands out: array objects of our own."""
        source = self._source
        given = source if isinstance(source, Mapping) else source.parameters()
        if not isinstance(cast(object, given), Mapping):
            raise TypeError(
                "parameters: expected parameters() to return a mapping of names to "
                f"arrays, got {describe(given)}"
            )
        found = {name: as_gradient(name, array) for name, array in given.items()}
        copies = [name for name, array in found.items() if is_copy(array)]
        if copies:
            raise ValueError(
                "parameters: expected a layer, or its parameters(); got copies that "
                f"state_dict() made ({list_names(copies)}): training them would not "
                "change the layer"
            )
        return found

    def _check_parameters(self, parameters: Mapping[str, Array]) -> None:
        """Raise unless these are arrays that the kernels can update."""
        _check_apart(parameters)
        if parameters.keys() != self._forms.keys():
            odd = sorted({*map(str, self._forms)} ^ {*map(str, parameters)})
            raise ValueError(f"parameters: missing or unknown names: {list_names(odd)}")
        for name, array in parameters.items():
            shape, dtype = self._forms[name]
            if (array.shape, array.dtype) != (shape, dtype):
                got = describe(array)
                raise ValueError(
                    f"{name}: expected {dtype} of shape {shape}, got {got}"
                )
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned and flags.writeable):
                raise ValueError(f"{name}: expected a writable C-contiguous array")

    def _check(self, gradients: Mapping[str, object]) -> dict[str, Array]:
        """Return gradients that have the names, shapes and dtypes of the parameters."""
        if gradients.keys() != self._forms.keys():
            odd = sorted({*map(str, self._forms)} ^ {*map(str, gradients)})
            raise ValueError(f"gradients: missing or unknown names: {list_names(odd)}")
        taken = {}
        for name, (shape, dtype) in self._forms.items():
            gradient = as_gradient(name, gradients[name], "gradients")
            if gradient.shape != shape:
                raise ValueError(
                    f"gradients[{name!r}]: expected shape {shape}, got {gradient.shape}"
                )
            if gradient.dtype != dtype:
                raise TypeError(
                    f"gradients[{name!r}]: expected {dtype}, got {gradient.dtype}"
                )
            taken[name] = make_plain(gradient)
        return taken

    def _apart(
        self, gradients: Mapping[str, Array], parameters: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Return the gradients, copied where they share memory with a parameter."""
        owned_by_stores = stores_in(self._source) is not None
        found = {}
        for name, gradient in gradients.items():
            # An array that owns its memory is none of a store's: those are private.
            apart = owned_by_stores and root_of(gradient) is None
            shares = not apart and any(
                np.may_share_memory(gradient, array) for array in parameters.values()
            )
            found[name] = gradient.copy() if shares else gradient
        return found

    # Copies

    def __copy__(self) -> Self:
        """Return an optimiser with a state of its own that trains the same arrays."""
        twin = type(self).__new__(type(self))
        with self._lock:
            twin.__setstate__(
                self.__dict__
                | {
                    "_state": list(self._state),
                    "_slots": {
                        name: tuple(slot.copy() for slot in own)
                        for name, own in self._slots.items()
                    },
                }
            )
        return twin

    def __getstate__(self) -> dict[str, Any]:
        source = self._source
        if isinstance(source, Mapping) and any(
            store_of(array) is not None for array in source.values()
        ):
            raise TypeError(
                "parameters: expected the layer itself in an optimiser that is to be "
                "copied or pickled, got arrays of its parameters(), whose copies no "
                f"layer uses: make it by {type(self).__name__}(layer, ...)"
            )
        with self._lock:
            return {name: v for name, v in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = make_lock()


def _check_source(parameters: object) -> ParameterSource:
    if not isinstance(parameters, Mapping) and not callable(
        getattr(parameters, "parameters", None)
    ):
        raise TypeError(
            "parameters: expected a layer, a model with parameters(), or a mapping of "
            f"names to arrays, got {describe(parameters)}"
        )
    return cast(ParameterSource, parameters)


def _extent(array: Array) -> tuple[int, int]:
    """Return where the memory of a contiguous array begins and ends."""
    begin: int = array.__array_interface__["data"][0]
    return begin, begin + array.nbytes


def _check_lasting(first: Mapping[str, Array], second: Mapping[str, Array]) -> None:
    """Raise unless the same memory is handed out twice: new arrays are nobody's."""
    fresh = [
        name
        for name, array in first.items()
        if name not in second or _extent(array) != _extent(second[name])
    ]
    if fresh:
        raise ValueError(
            "parameters: expected parameters() to return the arrays that the model "
            f"uses, got new ones in each call ({list_names(fresh)})"
        )


def _check_apart(parameters: Mapping[str, Array]) -> None:
    """Raise if two parameters share memory: each would undo the other's update."""
    extents = sorted(
        (*_extent(array), name)
        for name, array in parameters.items()
        if array.flags.c_contiguous and array.size
    )
    for (_, end, one), (begin, _, other) in pairwise(extents):
        if begin < end:
            raise ValueError(
                f"parameters: expected arrays apart, got memory that {one} and {other} "
                "share"
            )


class SGD(Optimizer):
    """Gradient descent, with momentum in the form of ``torch.optim.SGD``.

    Without momentum ``s = g * lr``, ``p = p - s``.  With momentum ``mu``:
    ``v = v * mu``, ``v = v + g``, ``s = v * lr``, ``p = p - s``; `v` starts at zero.

    Parameters
    ----------
    parameters : layer, model or mapping of str to ndarray
        What is trained.
    lr : float
        Learning rate, at least 0.
    momentum : float
        ``mu``, from 0 to 1; 0 is plain gradient descent.

    Raises
    ------
    ValueError
        If `lr` or `momentum` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> weights = {"w": np.array([1.0, 2.0])}
    >>> optimizer = xr.train.SGD(weights, lr=0.5)
    >>> optimizer.step({"w": np.array([1.0, -1.0])})
    >>> weights["w"].tolist()
    [0.5, 2.5]
    """

    _rule = "sgd"

    def __init__(
        self, parameters: ParameterSource, lr: float, *, momentum: float = 0.0
    ) -> None:
        self.momentum = check_real("momentum", momentum, 0.0, 1.0)
        super().__init__(parameters, lr, slots=1 if self.momentum else 0)

    def _next(self) -> tuple[_State, _core.RuleNumbers]:
        momentum = check_real("momentum", self.momentum, 0.0, 1.0)
        if momentum and not all(self._slots.values()):
            raise ValueError(
                f"momentum: expected 0, with which it was made, got {momentum}"
            )
        lr = check_real("lr", self.lr, 0.0)
        steps, powers = self._state[0]
        return _State(steps + 1, powers), (lr, (momentum, 0.0), 0.0, 0.0)


class Adam(Optimizer):
    """Adam (D. Kingma, J. Ba, arXiv 1412.6980), bias-corrected, epsilon outside.

    At step ``t = 1, 2, ...``, with ``q1 = beta1^t`` and ``q2 = beta2^t`` kept as
    float64 by one multiplication per step, all else in the parameters' dtype:

    1. ``m = m * beta1``, ``s = g * (1 - beta1)``, ``m = m + s``
    2. ``v = v * beta2``, ``s = g * g``, ``s = s * (1 - beta2)``, ``v = v + s``
    3. ``s = v / (1 - q2)``, ``s = sqrt(s)``, ``s = s + eps``
    4. ``u = m * (lr / (1 - q1))``, ``u = u / s``, ``p = p - u``

    Parameters
    ----------
    parameters : layer, model or mapping of str to ndarray
        What is trained.
    lr : float
        Learning rate, at least 0.
    betas : tuple of two floats
        Decay of the two moments, at least 0 and below 1.
    eps : float
        Added to the root, above 0.

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> weights = {"w": np.array([1.0, 2.0])}
    >>> optimizer = xr.train.Adam(weights, lr=0.125)
    >>> optimizer.step({"w": np.array([3.0, -1.0])})
    >>> weights["w"].round(6).tolist()
    [0.875, 2.125]
    """

    _rule = "adam"

    def __init__(
        self,
        parameters: ParameterSource,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.betas = _check_betas(betas)
        self.eps = check_real("eps", eps, 0.0, open_below=True)
        super().__init__(parameters, lr, slots=2)

    def _next(self) -> tuple[_State, _core.RuleNumbers]:
        beta1, beta2 = _check_betas(self.betas)
        lr = check_real("lr", self.lr, 0.0)
        eps = check_real("eps", self.eps, 0.0, open_below=True)
        steps, (first, second) = self._state[0]
        powers = first * beta1, second * beta2
        numbers = lr / (1.0 - powers[0]), (beta1, beta2), 1.0 - powers[1], eps
        return _State(steps + 1, powers), numbers


def _check_betas(betas: object) -> tuple[float, float]:
    """Return the decays of the two moments."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"betas: expected two numbers, got {describe(betas)}")
    below_one = 1.0 - 2.0**-53
    first, second = (
        check_real(f"betas[{i}]", beta, 0.0, below_one) for i, beta in enumerate(betas)
    )
    return first, second
