"""An engine of one process: calls are done where they are made, at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from exactrnn.distributed.engine import WorkerLost, as_tuple

__all__ = ["InlineEngine"]


class _Value:
    """What a call has given, or the error that it raised."""

    def __init__(self, value: object = None, error: Exception | None = None) -> None:
        self.value, self.error = value, error

    def get(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class _Here:
    """A worker in this process; it can be lost by `lose` alone."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make, self.object, self.is_lost = make, make(), False


class InlineEngine:
    """Does everything in the process that asks for it.

    For tests, and where there is nothing to be gained by processes. What other engines
    do with processes that die, `lose` does here.

    Examples
    --------
    >>> from exactrnn.distributed import InlineEngine
    >>> with InlineEngine() as engine:
    ...     one, other = engine.place(list, 2)
    ...     done = engine.call(one, "append", 5)
    ...     number = engine.call(one, "pop")
    ...     engine.fetch(engine.call(other, "__len__")), engine.fetch(number)
    (0, 5)
    """

    def __repr__(self) -> str:
        return "InlineEngine()"

    def place(self, make: Callable[[], Any], count: int) -> list[Any]:
        """Make workers."""
        return [_Here(make) for _ in range(count)]

    def put(self, value: object) -> Any:
        """Hand a value over."""
        return _Value(value)

    def call(self, worker: Any, method: str, *args: object, returns: int = 1) -> Any:
        """Do it, and keep what it gives or raises."""
        values: tuple[Any, ...]
        try:
            if worker.is_lost:
                raise WorkerLost("a worker has died")
            given = [a.get() if isinstance(a, _Value) else a for a in args]
            found = getattr(worker.object, method)(*given)
            values = tuple(map(_Value, as_tuple(found, method, returns)))
        except Exception as error:
            values = (_Value(error=error),) * returns
        return values[0] if returns == 1 else values

    def fetch(self, ref: Any) -> Any:
        """Return a value, or raise what its call has raised."""
        return ref.get()

    def wait(
        self, refs: Sequence[Any], timeout: float | None = None, count: int = 1
    ) -> tuple[list[Any], list[Any]]:
        """Return `refs`: all have ended."""
        if timeout and count > len(refs):
            time.sleep(timeout)
        return list(refs), []

    def alive(self, worker: Any) -> bool:
        """Tell whether nobody has called `lose`."""
        return not worker.is_lost

    def lose(self, worker: Any) -> None:
        """Lose a worker, as if its process had died."""
        worker.is_lost, worker.object = True, None

    def replace(self, worker: Any) -> Any:
        """Make another worker in its place."""
        self.lose(worker)
        return _Here(worker.make)

    def dismiss(self, workers: Sequence[Any]) -> None:
        """Lose these workers."""
        for worker in workers:
            self.lose(worker)

    def close(self) -> None:
        """Do nothing: values go with their refs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
