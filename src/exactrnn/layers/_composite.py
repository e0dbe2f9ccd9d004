"""Composites: modules of modules under one set of names, for `exactrnn.train`.

A composite keeps no weights of its own: `parameters`, `state_dict` and optimisers see
those of its parts, each name behind that of the part and a dot, as in torch. Nothing is
differentiated behind the user's back: a part has `forward` and `backward` already, and
a composite calls them one after the other, `Sequential` by itself, others as their
author writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import numpy as np

from exactrnn._checks import Array, ArrayLike, check_seed
from exactrnn._checks.naming import check_weight_names, take_named
from exactrnn._numeric.random import Seed, kind_of
from exactrnn._run.dropout import without_dropout
from exactrnn._system.mode import ieee_mode
from exactrnn._weights.store import ParameterStore, edit_together
from exactrnn._weights.views import Leases, editing, marked
from exactrnn.layers._module import IncompatibleKeys, Module
from exactrnn.layers._weightless import Weightless

__all__ = ["Composite"]

Leaf: TypeAlias = Module | Weightless
Part: TypeAlias = "Leaf | Composite"


class Composite:
    """A model of several modules, which are its attributes.

    Layers, cells, `Embedding`, `Linear` and other composites are its parts, in the
    order in which they were assigned; in a list, a tuple or a dict they are parts too,
    named by their place. A part that has two names counts under the first.

    Derived classes assign parts in ``__init__`` and say in `forward` and `backward`
    how one leads to the next. `forward` returns the output first and what `backward`
    needs last, `backward` takes that and the gradient of the output, and returns what
    has ``weights``: the gradients of each part by its name, or of each weight. Then
    `fit`, optimisers and clipping take the model as they take a layer. A call of the
    model is `forward` without dropout, unless its author writes another.

    Attributes
    ----------
    parts : dict of str to module
        The parts, without those of parts.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> class Tagger(xr.train.Composite):
    ...     def __init__(self, seed):
    ...         self.embedding = xr.train.Embedding(10, 4)
    ...         self.layers = [xr.GRU(4, 8), xr.GRU(8, 8)]
    ...         self.seed_parts(seed)
    >>> model = Tagger(seed=1)
    >>> sorted(model.parameters())[:3]
    ['embedding.weight', 'layers.0.bias_hh_l0', 'layers.0.bias_ih_l0']
    >>> model
    Tagger(
      embedding=Embedding(10, 4),  # 40
      layers.0=GRU(4, 8),  # 336
      layers.1=GRU(8, 8),  # 432
    )  # 808 parameters
    >>> optimizer = xr.train.Adam(model, frozen=["embedding"])
    """

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by name."""
        found: dict[str, Part] = {}
        seen = {id(self)}
        for name, part in _parts_in(self.__dict__, ""):
            if id(part) not in seen:
                seen.add(id(part))
                if name in found:
                    raise ValueError(f"{name}: expected one part of this name, got two")
                found[name] = part
        return found

    def _modules(self) -> dict[str, Module]:
        """Return the modules of all depths that own weights, each once."""
        return {n: own for n, own in self._leaves().items() if isinstance(own, Module)}

    def _weightless(self) -> dict[str, Weightless]:
        """Return the parts of all depths that have no weights, each once."""
        leaves = self._leaves().items()
        return {n: own for n, own in leaves if isinstance(own, Weightless)}

    def _leaves(self) -> dict[str, Module | Weightless]:
        """Return the parts of all depths that are no composites, each once."""
        return dict(self._walk("", set()))

    def _walk(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Leaf]]:
        """Yield parts that were not seen, also where parts refer to each other."""
        seen.add(id(self))
        for name, part in self.parts.items():
            if isinstance(part, Composite) and id(part) not in seen:
                yield from part._walk(f"{prefix}{name}.", seen)
            elif isinstance(part, Module | Weightless) and id(part) not in seen:
                seen.add(id(part))
                yield prefix + name, part

    def _stores(self) -> dict[str, ParameterStore]:
        """Return what owns the weights, by what goes before their names."""
        return {
            f"{name}.{prefix}": store
            for name, module in self._modules().items()
            for prefix, store in module._stores().items()
        }

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run `forward` without dropout: for inference.

        Parameters
        ----------
        *inputs, **options
            Those of `forward`.

        Returns
        -------
        ndarray, or tuple
            What `forward` returns, but for what `backward` needs: the output alone, or
            the output and what stands behind it, as a state.
        """
        forward = getattr(self, "forward", None)
        if forward is None:
            raise TypeError(f"{type(self).__name__}: expected a method forward")
        with without_dropout():
            *found, _ = forward(*inputs, **options)
        return found[0] if len(found) == 1 else tuple(found)

    def __repr__(self) -> str:
        text = "\n".join(_lines_of(self, frozenset()))
        return f"{text}  # {self.num_parameters:,} parameters" if self.parts else text

    @property
    def num_parameters(self) -> int:
        """Number of weights of all parts together."""
        return sum(module.num_parameters for module in self._modules().values())

    def parameters(self, *, writable: bool = False) -> dict[str, Array]:
        """Return the weights of all parts themselves, as a layer's `parameters` does.

        Parameters
        ----------
        writable : bool
            Whether anything may write to the arrays' memory.

        Returns
        -------
        dict of str to ndarray
            By the name of the part, a dot, and the part's own name.
        """
        return {
            prefix + name: array
            for prefix, store in self._stores().items()
            for name, array in store.give(writable).items()
        }

    def editing(self) -> AbstractContextManager[Leases]:
        """Lend the weights for a block in which anything may write to them.

        Returns
        -------
        context manager of a mapping of str to ndarray
            As a layer's `editing`.
        """
        lent = self.parameters(writable=True)
        return editing(lent, lambda name, value: self._assign({name: value}))

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the weights.

        Returns
        -------
        dict of str to ndarray
            By the names of `parameters`.
        """
        copies = {
            prefix + name: array
            for prefix, store in self._stores().items()
            for name, array in store.copies().items()
        }
        return marked(copies)

    def load_state_dict(
        self,
        state_dict: Mapping[str, ArrayLike],
        strict: bool = True,
        *,
        prefix: str = "",
    ) -> IncompatibleKeys:
        """Copy weights into the parts, all of them or none.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            By the names of `state_dict`, of the parts' dtypes.
        strict : bool
            Whether every name must be there and no other; False passes them over.
        prefix : str
            What stands before the names; others are another model's, and are left.

        Returns
        -------
        IncompatibleKeys
            The names passed over.

        Raises
        ------
        TypeError, ValueError
            If a dtype or shape is wrong, or with `strict` a name; nothing is changed.
        """
        names = list(self._shapes())
        given = take_named("state_dict", state_dict, prefix)
        if strict:
            check_weight_names("state_dict", given, tuple(names))
        self._assign({name: v for name, v in given.items() if name in names})
        missing = [name for name in names if name not in given]
        return IncompatibleKeys(missing, [n for n in given if n not in names])

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{name}.{own}": shape
            for name, module in self._modules().items()
            for own, shape in module._spec.weight_shapes.items()
        }

    def _assign(self, values: Mapping[str, object]) -> None:
        """Copy checked values into the weights, all of them or none."""
        taken: dict[str, dict[str, Array]] = {}
        modules = self._modules()
        for name, module in modules.items():
            take = module._spec.take_weight
            own = {n: f"{name}.{n}" for n in module._spec.weight_shapes}
            taken[name] = {
                n: take(n, values[full]) for n, full in own.items() if full in values
            }
        with edit_together(self._stores().values()):
            for name, module in modules.items():
                module._assign(taken[name])

    def seed_parts(self, seed: int | None) -> None:
        """Draw the weights of all parts anew, each from a seed of its own.

        Two parts of one kind and size get different weights, and one seed gives the
        whole model the same bits everywhere. Random numbers of dropout begin anew too.

        Parameters
        ----------
        seed : int or None
            None takes one from the operating system.

        Raises
        ------
        TypeError, ValueError
            If it is none.
        """
        leaves: dict[str, Leaf] = {**self._modules(), **self._weightless()}
        seeds = Seed(check_seed(seed), kind_of(type(self))).of_parts(len(leaves))
        with ieee_mode():
            drawn: dict[str, Array] = {}
            for own, (name, leaf) in zip(seeds, leaves.items(), strict=True):
                part = Seed(own, kind_of(type(leaf)))
                if isinstance(leaf, Module):
                    weights = leaf._draw_weights(leaf._spec, part)
                    drawn |= {f"{name}.{n}": array for n, array in weights.items()}
                leaf._set_generator_state(dict(part.stream("dropout").state))
        self._assign(drawn)

    def _generator_states(self) -> dict[str, dict[str, Any]]:
        """Return where the random numbers of each part stand that draws any."""
        states = {n: own._generator_state() for n, own in self._leaves().items()}
        return {name: state for name, state in states.items() if state is not None}

    def _set_generator_states(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Let the random numbers of each part go on from there."""
        leaves = self._leaves()
        for name, state in states.items():
            leaves[name]._set_generator_state(state)


def _lines_of(part: Any, around: frozenset[int]) -> list[str]:
    """Return how a part is shown, inside of those composites that are around it."""
    if not isinstance(part, Composite):
        return repr(part).split("\n")
    kind = type(part).__name__
    if id(part) in around:
        return [f"{kind}(...)"]
    lines = []
    for name, inner in part.parts.items():
        first, *rest = _lines_of(inner, around | {id(part)})
        count = getattr(inner, "num_parameters", 0)
        own = [f"{name}={first}", *rest]
        own[-1] += f",  # {count:,}" if count else ","
        lines += [f"  {line}" for line in own]
    return [f"{kind}(", *lines, ")"] if lines else [f"{kind}()"]


def _parts_in(values: object, prefix: str) -> Iterator[tuple[str, Part]]:
    """Yield modules and composites, among them those in lists, tuples and dicts."""
    items: Any = ()
    if isinstance(values, Mapping):
        items = values.items()
    elif type(values) in (list, tuple):  # a named tuple is a result
        items = enumerate(values)  # type: ignore[arg-type]
    for key, value in items:
        name = f"{prefix}{key}"
        if isinstance(value, Module | Weightless | Composite):
            yield name, value
        elif type(value) in (list, tuple, dict):
            yield from _parts_in(value, f"{name}.")


def first_output(given: object) -> Array:
    """Return the output of a call of a model, which stands first in a tuple."""
    return np.asarray(given[0] if isinstance(given, tuple) else given)
