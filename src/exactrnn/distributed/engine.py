"""What an engine offers: workers somewhere, calls of their methods, and results.

A worker is an object that `make` has made in a process of its own, perhaps on another
machine. An engine moves bytes, places work and brings workers back; it computes
nothing, so that no number depends on it. Three are here: `inline.py` (this process),
`local.py` (processes of this machine) and `ray.py` (Ray's actors).

What they have in common:

- Calls of one worker are done one after the other, in the order in which they were
  made. A call may be made before its arguments are there: a `Ref` among them stands
  for its value, which goes from the worker that has it to the one that needs it.
- A value is there until nobody refers to its `Ref`. Arrays in it may be read-only, and
  neither side changes what it has handed over.
- If a worker dies, what it was asked for and has not given raises `WorkerLost`, and so
  does what was to be made of that. What it gave before stays. It is not brought back
  by itself, because what it knew is lost: `replace` makes another one in its place.
- An engine belongs to the thread that has made it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

from exactrnn.engine import NUMERICS_VERSION

__all__ = ["Engine", "EngineError", "Ref", "Versions", "Worker", "WorkerLost"]

Worker: TypeAlias = Any
"""Where a worker is, as its engine knows it."""

Ref: TypeAlias = Any
"""A value that a call will give, or has given, as its engine knows it."""


class EngineError(RuntimeError):
    """Workers cannot be placed, or are not what this process is."""


class WorkerLost(EngineError):  # noqa: N818 (an event, as KeyboardInterrupt)
    """A worker died before it gave what it was asked for."""


class Engine(Protocol):
    """Places workers and moves bytes between them."""

    def place(self, make: Callable[[], Any], count: int) -> list[Worker]:
        """Make workers, each by a call of `make` in its own process.

        Parameters
        ----------
        make : callable
            Without arguments, and such that it can be pickled: a class, a function of
            a module, or a ``functools.partial`` of one.
        count : int
            How many.

        Raises
        ------
        EngineError
            If there is no room for so many, or one has another version of exactrnn;
            a `WorkerLost` if one was killed as it began.
        """

    def put(self, value: object) -> Ref:
        """Hand a value over once, to be an argument of many calls."""

    def call(self, worker: Worker, method: str, *args: object, returns: int = 1) -> Any:
        """Have a worker do something, and go on without waiting for it.

        Parameters
        ----------
        worker : Worker
            Who does it.
        method : str
            What: a method of what `make` has made.
        *args : object
            Its arguments; a `Ref` stands for its value.
        returns : int
            1: what it returns has one `Ref`. More: it returns a tuple of so many, which
            have a `Ref` each, in a tuple.
        """

    def fetch(self, ref: Ref) -> Any:
        """Wait for a value and return it, or raise what its call has raised."""

    def wait(
        self, refs: Sequence[Ref], timeout: float | None = None, count: int = 1
    ) -> tuple[list[Ref], list[Ref]]:
        """Wait until some calls have ended, well or not.

        Parameters
        ----------
        refs : sequence of Ref
            Whose calls.
        timeout : float, optional
            Seconds after which waiting ends in any case; None waits on.
        count : int
            How many are to have ended.

        Returns
        -------
        ended, others : list of Ref
            In the order of `refs`.
        """

    def alive(self, worker: Worker) -> bool:
        """Tell whether a worker is there, as far as this is known."""

    def replace(self, worker: Worker) -> Worker:
        """End a worker, if need be, and make another one in its place."""

    def dismiss(self, workers: Sequence[Worker]) -> None:
        """End these workers; what they were asked for and have not given is lost."""

    def close(self) -> None:
        """End all workers, and let go of all values."""

    def __enter__(self) -> Self:
        """Return the engine, which is closed at the end of the block."""

    def __exit__(self, *error: object) -> None:
        """Close it."""


class Versions(NamedTuple):
    """What a process has of this package."""

    package: str
    numerics: int

    def __str__(self) -> str:
        return f"exactrnn {self.package} (numerics version {self.numerics})"


def own_versions() -> Versions:
    """Return those of this process."""
    return Versions(metadata.version("exactrnn"), NUMERICS_VERSION)


def check_versions(number: int, found: Sequence[Any]) -> None:
    """Raise if a worker has another version than this process."""
    own, given = own_versions(), Versions(*found)
    if given != own:
        raise EngineError(
            f"workers: expected {own}, that of this process, got {given} in worker "
            f"{number}"
        )


def unpickled(packed: bytes, buffers: Iterable[Any] | None = None) -> Any:
    """Return what another process has pickled, or say what this one has not.

    Raises
    ------
    TypeError
        If a function or a class is not found here by its name.
    """
    try:
        return pickle.loads(packed, buffers=buffers)
    except (AttributeError, ImportError) as error:
        raise TypeError(
            "workers: expected functions and classes that a worker finds by their "
            "names: in a file that it can read, not in a notebook or `python -c`, got "
            f"one that it does not find: {error}"
        ) from error


def as_tuple(value: object, method: str, returns: int) -> tuple[Any, ...]:
    """Return the values of a call, one for each `Ref`, or raise."""
    if returns == 1:
        return (value,)
    if not isinstance(value, tuple) or len(value) != returns:
        raise TypeError(
            f"{method}: expected it to return a tuple of {returns}, got "
            f"{type(value).__name__}"
        )
    return value
