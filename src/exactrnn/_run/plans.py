"""The plans of plain calls (`_core_plain.pxi`), and when they are made anew.

A plan holds packed weights: it is that of a layer as long as the store says that these
are fresh, which is one lookup. A call of a layer keeps the last plan alone: who changes
weights or instruction sets at every call makes one each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from exactrnn import _core, engine
from exactrnn._weights.store import Packs, ParameterStore

P = TypeVar("P", bound=_core.AnyPlan | _core.SpacePlan)


class Plans(Generic[P]):
    """Where what runs a layer has its plan.

    Parameters
    ----------
    store : ParameterStore
        The owner of the weights.
    make : callable
        Returns a plan with these packed weights; does not hold who has the plans, so
        that a layer goes as soon as nobody has it.
    """

    __slots__ = ("_latest", "_make", "_store")

    def __init__(self, store: ParameterStore, make: Callable[[Packs], P]) -> None:
        self._store = store
        self._make = make
        self._latest: P | None = None

    def current(self, *, backward: bool = False) -> P:
        """Return the plan with the weights as they are now."""
        plan = self._latest
        fresh = self._store.fresh.get(engine._active)
        if (
            plan is not None
            and (not backward or plan.packs.has_backward)
            and fresh is plan.packs
        ):
            return plan
        packs = self._store.packs(engine.isa(), backward=backward)
        if plan is None or plan.packs is not packs:
            plan = self._latest = self._make(packs)
        return plan

    def run(self, x: object, state: object) -> Any:
        """Return what the caller of a plain call gets; None if it is not plain."""
        return self.current().run(x, state, engine.threads_for_calls())

    def keep(self, x: object, state: object) -> Any:
        """Return that, what is kept, and last the version of the weights."""
        plan = self.current(backward=True)
        found: Any = plan.keep(x, state, engine.threads_for_calls())
        return None if found is None else (*found, plan.packs.version)

    def keep_step(self: Plans[Any], x: object, state: object) -> Any:
        """Return the same of one step of a layer in time."""
        plan = self.current(backward=True)
        found: Any = plan.keep_step(x, state, engine.threads_for_calls())
        return None if found is None else (*found, plan.packs.version)
