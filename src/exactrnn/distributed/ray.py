"""An engine of Ray's actors, on this machine or on a cluster's.

Values lie in Ray's store of each machine and go from there to where they are needed.
An actor that died is not restarted by Ray (``max_restarts``): what it knew is lost, and
whoever has to teach it must know when there is a new one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from exactrnn._checks import check_size
from exactrnn._checks.numbers import check_real
from exactrnn.distributed.engine import (
    EngineError,
    WorkerLost,
    as_tuple,
    check_versions,
    own_versions,
    unpickled,
)

__all__ = ["RayEngine"]

PULSE = 5.0
"""Seconds in which a worker that lives says so; one that works longer lives too."""


class _Host:
    """What runs in an actor."""

    _worker: Any = None

    def versions(self) -> tuple[str, int]:
        package, numerics = own_versions()
        return package, numerics

    def begin(self, make: bytes) -> None:
        """Make the worker; not at once, for versions are compared before."""
        self._worker = unpickled(make)()

    def call(self, method: str, returns: int, *args: object) -> Any:
        found = getattr(self._worker, method)(*args)
        return found if returns == 1 else as_tuple(found, method, returns)


class _Actor(NamedTuple):
    """A worker: its number, Ray's handle, and how it was made."""

    number: int
    handle: Any
    make: Callable[[], Any]


class RayEngine:
    """Workers are actors of Ray.

    Parameters
    ----------
    address : str, optional
        Of a cluster, as ``"auto"`` or ``"ray://head:10001"``; None begins Ray on this
        machine. If Ray runs already in this process, that one is used and left.
    threads : int
        Threads, and so CPUs of the cluster, that a worker needs.
    patience : float
        Seconds in which workers must have been placed.
    **options
        Of ``ray.init``, such as ``num_cpus``.

    Raises
    ------
    ImportError
        If Ray is not installed.
    EngineError
        If the cluster cannot be reached.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        threads: int = 1,
        patience: float = 60.0,
        **options: Any,
    ) -> None:
        self._threads = check_size("threads", threads)
        self._patience = check_real("patience", patience, 0.0, open_below=True)
        self._ray = _import_ray()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            self._connect(address, options)
        elif address is not None or options:
            raise EngineError(
                "address: expected neither one nor options of ray.init where Ray runs "
                f"in this process already, got {address!r} and {sorted(options)}"
            )
        self._actors: list[_Actor] = []

    def __repr__(self) -> str:
        own = f"threads={self._threads}, patience={self._patience}"
        return f"<RayEngine({own}): workers={len(self._actors)}>"

    def _connect(self, address: str | None, options: dict[str, Any]) -> None:
        quiet = {"log_to_driver": False, "include_dashboard": False}
        own = options if address is not None else {**quiet, **options}
        try:
            _knock(address, self._patience)
            self._ray.init(address=address, **own)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise EngineError(
                f"address: expected a Ray cluster that can be reached at {address!r}, "
                f"got {type(error).__name__}: {error}"
            ) from error

    def place(self, make: Callable[[], Any], count: int) -> list[Any]:
        """Have Ray begin actors that make a worker each, and wait for them."""
        first = len(self._actors)
        made = [self._begin(first + k, make) for k in range(count)]
        try:
            self._greet(made)
        except BaseException:
            for actor in made:
                self._ray.kill(actor.handle)
            raise
        self._actors += made
        return [*made]

    def _begin(self, number: int, make: Callable[[], Any]) -> _Actor:
        kind = self._ray.remote(_Host).options(num_cpus=self._threads, max_restarts=0)
        return _Actor(number, kind.remote(), make)

    def _greet(self, actors: list[_Actor]) -> None:
        """Wait until Ray has placed all of them."""
        refs = [actor.handle.versions.remote() for actor in actors]
        ended, others = self.wait(refs, self._patience, len(refs))
        if others:
            there = self._ray.cluster_resources().get("CPU", 0)
            free = self._ray.available_resources().get("CPU", 0)
            raise EngineError(
                f"workers: expected {len(refs)} to be placed within "
                f"{self._patience:g} s, each with {self._threads} CPUs, got "
                f"{len(ended)}: the cluster has {there:g} CPUs, {free:g} free"
            )
        for actor, ref in zip(actors, refs, strict=True):
            check_versions(actor.number, self.fetch(ref))
        dumps = self._ray.cloudpickle.dumps
        begun = [actor.handle.begin.remote(dumps(actor.make)) for actor in actors]
        for ref in begun:
            self.fetch(ref)

    def put(self, value: object) -> Any:
        """Put a value into Ray's store."""
        return self._ray.put(value)

    def call(self, worker: Any, method: str, *args: object, returns: int = 1) -> Any:
        """Submit a call."""
        found = worker.handle.call.options(num_returns=returns).remote(
            method, returns, *args
        )
        return found if returns == 1 else tuple(found)

    def fetch(self, ref: Any) -> Any:
        """Wait for a value and return it, or raise what its call has raised."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except (errors.RayActorError, errors.ObjectLostError) as error:
            raise WorkerLost(f"a worker has ended: {error}") from None
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, errors.RayActorError | errors.ObjectLostError):
                raise WorkerLost(f"a worker has ended: {cause}") from None
            if isinstance(cause, Exception):
                raise cause from None
            raise

    def wait(
        self, refs: Sequence[Any], timeout: float | None = None, count: int = 1
    ) -> tuple[list[Any], list[Any]]:
        """Wait until `count` of the calls have ended, well or not."""
        if not refs:
            return [], []
        wanted = max(1, min(count, len(refs)))
        found, _ = self._ray.wait(
            list(refs), num_returns=wanted, timeout=timeout, fetch_local=False
        )
        done = set(found)
        return [r for r in refs if r in done], [r for r in refs if r not in done]

    def alive(self, worker: Any) -> bool:
        """Tell whether it says so, or is too busy to say anything."""
        ref = worker.handle.versions.remote()
        ended, _ = self.wait([ref], PULSE)
        try:
            return not ended or self.fetch(ref) is not None
        except WorkerLost:
            return False

    def replace(self, worker: Any) -> Any:
        """End a worker, if need be, and make another one in its place."""
        self._ray.kill(worker.handle)
        other = self._begin(worker.number, worker.make)
        self._actors[self._actors.index(worker)] = other
        self._greet([other])
        return other

    def dismiss(self, workers: Sequence[Any]) -> None:
        """End these workers."""
        for actor in workers:
            self._ray.kill(actor.handle)
            if actor in self._actors:
                self._actors.remove(actor)

    def close(self) -> None:
        """End the workers, and Ray if it was begun here."""
        if self._ray.is_initialized():
            for actor in self._actors:
                self._ray.kill(actor.handle)
            if self._is_ours:
                self._ray.shutdown()
        self._actors.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _knock(address: str | None, patience: float) -> None:
    """Raise OSError unless somebody answers at the address; Ray tries for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), patience).close()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "RayEngine needs Ray: pip install 'exactrnn[distributed]'"
        ) from error
    return ray
