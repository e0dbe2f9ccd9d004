"""Optimisers: what the rules of ``rules.py`` share (contract N9).

A rule's bits depend on neither the machine nor the blocks in which the arrays are
walked.  Hyperparameters are Python floats, rounded once to the parameters' dtype where
they meet an array.  The kernels are ``csrc/kernels/math/update.c``, the twin
``reference/dense.py``.

A step is whole or not at all.  What can fail comes first; then one call changes all
parameters and the state, while the stores of all layers concerned are held, so that a
call in another thread sees either the old weights or the new ones.

Views that a layer gave to read are enough: an optimiser opens them while it holds the
layer's store.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np

from exactrnn import _core
from exactrnn._checks import Array, check_integer, describe
from exactrnn._checks.arrays import make_plain
from exactrnn._checks.limits import list_names, quote
from exactrnn._checks.naming import check_names
from exactrnn._checks.numbers import check_real
from exactrnn._system.locks import make_lock
from exactrnn._system.mode import ieee_mode
from exactrnn._weights.store import edit_together, store_of, stores_in
from exactrnn._weights.views import is_copy, opened, root_of
from exactrnn.engine import isa
from exactrnn.layers._gradients import GradientsLike, as_gradient, weights_of
from exactrnn.train._sources import (
    ParameterSource,
    arrays_of,
    as_source,
    check_factors,
    chosen_names,
)

__all__ = ["Optimizer", "ParameterSource", "State"]


Slots: TypeAlias = Mapping[str, tuple[Array, ...]]


class State(NamedTuple):
    """What an optimiser knows between two steps, but for the arrays.

    ``powers`` are those of Adam's betas.
    """

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
    parameters : layer, model or mapping of str to ndarray, or several of them
        What is trained.  Anything with a method ``parameters()`` that returns a
        mapping is asked for its arrays at every step.  Several stand in a mapping,
        whose names with a dot go before theirs, or in a list, numbered; `step` takes
        their gradients in the same form.  A layer's ``state_dict()`` is refused: it
        holds copies, and training them would not change the layer.
    lr : float
        Learning rate, at least 0; the attribute ``lr`` may be changed between steps.
    slots : int
        Number of state arrays kept per parameter.
    frozen : list, tuple or set of str
        Names of parts or parameters that stay as they are, as ``"encoder"`` for all
        that begin with ``"encoder."``. Their gradients may be given or left out.
    lr_factors : mapping of str to float, optional
        By what the learning rate of a part or a parameter is multiplied, by its name;
        of several names that fit, the longest counts.

    Raises
    ------
    TypeError
        If `parameters` is nothing of the kind, or an array not float32 or float64.
    ValueError
        If arrays are copies, or two of them share memory; if nothing has a name in
        `frozen` or `lr_factors`, or nothing is left to train.
    """

    _rule: ClassVar[str]
    _options: ClassVar[Sequence[str]]

    def __init__(
        self,
        parameters: ParameterSource,
        lr: float,
        slots: int,
        *,
        frozen: Collection[str] = (),
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.lr = check_real("lr", lr, 0.0)
        self._source = as_source(parameters)
        self._frozen: frozenset[str] = frozenset()
        everything = self._fetch()
        self._frozen = chosen_names("frozen", frozen, everything)
        self._factors = check_factors(lr_factors, everything)
        found = self._fetch()
        if everything and not found:
            raise ValueError("frozen: expected something left to train, got every name")
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
        self._state = [State(0, (1.0, 1.0))]
        self._lock = make_lock()

    def __repr__(self) -> str:
        options = [f"{name}={getattr(self, name)!r}" for name in self._options]
        count = sum(math.prod(shape) for shape, _ in self._forms.values())
        return f"<{type(self).__name__}({', '.join(options)}) of {count:,} parameters>"

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
            state = self._next()
            numbers = self._all_numbers(state)
            with self._held() as parameters:
                taken = self._apart(taken, parameters)
                arrays = tuple(
                    (parameter.reshape(-1), taken[name].reshape(-1), *self._pair(name))
                    for name, parameter in parameters.items()
                )
                own = tuple(numbers[self._factors.get(n, 1.0)] for n in parameters)
                self._update(arrays, own, state)

    def _update(
        self,
        arrays: tuple[_core.Updated, ...],
        numbers: tuple[_core.RuleNumbers, ...],
        state: State,
    ) -> None:
        """Change arrays and state, all at once."""
        _core.update(self._rule, arrays, numbers, isa(), self._state, state)

    def _all_numbers(self, state: State) -> dict[float, _core.RuleNumbers]:
        """Return the numbers of the rule for each factor of the learning rate."""
        lr = check_real("lr", self.lr, 0.0)
        factors = {1.0, *self._factors.values()}
        return {factor: self._numbers(state, lr * factor) for factor in factors}

    def _next(self) -> State:
        """Return the state after this step."""
        steps, powers = self._state[0]
        return State(steps + 1, powers)

    def _numbers(self, state: State, lr: float) -> _core.RuleNumbers:
        """Return the numbers of the rule in the step to this state."""
        raise NotImplementedError

    def _momentum(self) -> float:
        """Return the momentum of a rule that has one, checked."""
        momentum = check_real("momentum", getattr(self, "momentum", None), 0.0, 1.0)
        if momentum and any(self._pair(name)[0] is None for name in self._slots):
            raise ValueError(
                f"momentum: expected 0, with which it was made, got {momentum}"
            )
        return momentum

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
                if prefix + name in self._forms
            }

    def _fetch(self) -> dict[str, Array]:
        """Return what the source hands out and is trained: array objects of our own."""
        given = arrays_of(self._source)
        found = {
            name: as_gradient(name, array)
            for name, array in given.items()
            if name not in self._frozen
        }
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
        if self._frozen:
            gradients = {n: g for n, g in gradients.items() if n not in self._frozen}
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

    # State as plain values

    def state_dict(self) -> dict[str, Any]:
        """Return what the optimiser knows, to go on from later.

        Returns
        -------
        dict
            ``rule``, the name of the class; ``num_steps``; ``powers``, of Adam's betas;
            ``options``, hyperparameters by name; and ``slots``, by the name of a
            parameter a tuple of copies of its state arrays, flat.
        """
        with self._lock:
            steps, powers = self._state[0]
            return {
                "rule": type(self).__name__,
                "num_steps": steps,
                "powers": powers,
                "options": {name: getattr(self, name) for name in self._options},
                "slots": {
                    name: tuple(slot.copy() for slot in own)
                    for name, own in self._slots.items()
                },
            }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where an optimiser was that gave this `state_dict`.

        Parameters
        ----------
        state : mapping
            Of an optimiser of the same class for parameters of the same names and
            sizes. Which are frozen, and factors, are those of this optimiser.

        Raises
        ------
        TypeError, ValueError
            If it does not fit; nothing is changed then.
        """
        taken = self._check_state(state)
        steps, powers = check_integer("num_steps", state["num_steps"]), state["powers"]
        first, second = (check_real("powers", power, 0.0, 1.0) for power in powers)
        trial = type(self).__new__(type(self))
        trial.__dict__.update(self.__dict__, **state["options"])
        with self._lock, ieee_mode():
            trial._all_numbers(State(1, (0.0, 0.0)))  # raises where an option is wrong
            self.__dict__.update(state["options"])
            self._slots, self._state = taken, [State(steps, (first, second))]

    def _check_state(self, state: object) -> Slots:
        """Return the state arrays of a `state_dict` that fits, as copies."""
        keys = {"rule", "num_steps", "powers", "options", "slots"}
        if not isinstance(state, Mapping) or state.keys() != keys:
            raise TypeError(
                "state: expected what state_dict of an optimiser returned, got "
                f"{describe(state)}"
            )
        if state["rule"] != type(self).__name__:
            got = quote(state["rule"])
            raise ValueError(f"state: expected one of {type(self).__name__}, got {got}")
        check_names("options", state["options"], self._options)
        slots = state["slots"]
        check_names("slots", slots, self._slots)
        return {
            name: tuple(_check_slots(name, slots[name], own))
            for name, own in self._slots.items()
        }

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


def _check_slots(name: str, given: object, own: tuple[Array, ...]) -> Iterator[Array]:
    """Yield copies of state arrays that are of the form of `own`."""
    arrays = given if isinstance(given, tuple | list) else ()
    forms = [(a.shape, a.dtype) for a in own]
    if [(getattr(a, "shape", 0), getattr(a, "dtype", 0)) for a in arrays] != forms:
        expected = ", ".join(f"{dtype} of shape {shape}" for shape, dtype in forms)
        raise ValueError(
            f"slots[{name!r}]: expected {len(own)} arrays ({expected}), got "
            f"{describe(given)}"
        )
    for array in arrays:
        yield np.array(array)


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
