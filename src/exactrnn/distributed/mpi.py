"""An engine of MPI's ranks, for clusters that have no Ray.

    mpiexec -n 5 python -m exactrnn.distributed program.py [arguments]

Rank 0 runs the program, in which `MPIEngine()` is an engine; the other ranks are its
workers. A value stays with the rank that has made it and goes from there to whoever
needs it:

    rank 0    to 2: do this with value a; to 1: send a to rank 2
    rank 1    ---------------- sends a ----------------> rank 2
    rank 2    waits for a, does it, tells rank 0 that it has, or what it raised

Orders reach each rank in the order in which calls are made, and a call needs values of
calls before it alone; sending does not wait. So no ranks wait for each other. A rank
that dies takes all with it, as MPI has it: there is nothing to replace it.
"""

from __future__ import annotations

import itertools
import pickle
import runpy
import sys
import time
import types
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from exactrnn.distributed.engine import (
    EngineError,
    as_tuple,
    check_versions,
    own_versions,
    unpickled,
)

__all__ = ["MPIEngine", "main"]

HELLO, ORDERS, ANSWERS, VALUES = 1, 2, 3, 4
"""Tags of messages: versions, orders to workers, what became of them, values."""
EAGER = 1e-3
"""Seconds that a rank looks for a message all the time."""
NAP = 1e-4
"""Seconds between looks afterwards: waiting ranks leave their cores to others."""


class Make(NamedTuple):
    """A worker is to be made."""

    key: int
    packed: bytes


class Do(NamedTuple):
    """A method is to be called; an argument may be a `Held`."""

    keys: tuple[int, ...]
    method: str
    packed: bytes


class Held(NamedTuple):
    """An argument that a rank has, or will have."""

    key: int
    rank: int


class Send(NamedTuple):
    """A value that another rank waits for."""

    key: int
    rank: int


class Drop(NamedTuple):
    """Values that nobody refers to."""

    keys: tuple[int, ...]


class Forget(NamedTuple):
    """The worker and all its values are not needed any more."""


class Stop(NamedTuple):
    """The program has ended."""


class Done(NamedTuple):
    """A call that has ended, by its values, and what it raised."""

    keys: tuple[int, ...]
    error: bytes | None = None


# Rank 0


class _Ref:
    """A value: which rank has it, and whether it is there."""

    def __init__(self, key: int, rank: int) -> None:
        self.key, self.rank = key, rank
        self.is_settled = False
        self.error: Exception | None = None
        self.value: Any = None


class _Rank(NamedTuple):
    """A worker."""

    number: int


_keys = itertools.count(1)
"""Of values: no two of a process have the same, whichever engine they are of."""


class MPIEngine:
    """Workers are the ranks from 1 on of a program that MPI has begun.

    It is for rank 0 of ``mpiexec -n 5 python -m exactrnn.distributed program.py``,
    which runs the program. A rank that dies ends all of them.

    Raises
    ------
    ImportError
        If mpi4py is not installed.
    EngineError
        If this is another rank than 0, there is no other, or one has another version of
        exactrnn.
    """

    _greeted = False

    def __init__(self) -> None:
        self._world = _import_mpi().COMM_WORLD
        if self._world.rank or self._world.size < 2:
            raise EngineError(
                "MPIEngine: expected rank 0 of several, got rank "
                f"{self._world.rank} of {self._world.size}; begin the program by "
                "mpiexec -n 3 python -m exactrnn.distributed program.py"
            )
        self._greet()
        self._free = [*range(1, self._world.size)]
        self._open: dict[int, _Ref] = {}
        self._dropped: dict[int, list[int]] = {}
        self._sending: list[Any] = []

    def __repr__(self) -> str:
        return f"<MPIEngine: ranks={self._world.size - 1}, free={len(self._free)}>"

    def _greet(self) -> None:
        """Wait until all ranks have said what they are."""
        if not MPIEngine._greeted:
            for number in range(1, self._world.size):
                check_versions(number, self._world.recv(source=number, tag=HELLO))
        MPIEngine._greeted = True

    def place(self, make: Callable[[], Any], count: int) -> list[Any]:
        """Have ranks make a worker each, and wait for them."""
        if count > len(self._free):
            raise EngineError(
                f"workers: expected at most {len(self._free)}, the ranks beside rank 0 "
                f"that are free, got {count}"
            )
        packed = _packed("make", make)
        ranks = [_Rank(self._free.pop(0)) for _ in range(count)]
        made = [self._new_ref(rank.number) for rank in ranks]
        for ref in made:
            self._send(ref.rank, Make(ref.key, packed))
        try:
            for ref in made:
                self.fetch(ref)
        except BaseException:
            self.dismiss(ranks)
            raise
        return [*ranks]

    def put(self, value: object) -> Any:
        """Keep a value for calls to come."""
        ref = _Ref(0, 0)
        ref.value, ref.is_settled = value, True
        return ref

    def call(self, worker: Any, method: str, *args: object, returns: int = 1) -> Any:
        """Send an order, and one to send to whoever has a value that it needs."""
        number = worker.number
        given = [self._handed(arg, number) for arg in args]
        packed = _packed(method, given)
        refs = [self._new_ref(number) for _ in range(returns)]
        self._send(number, Do(tuple(ref.key for ref in refs), method, packed))
        return refs[0] if returns == 1 else tuple(refs)

    def _handed(self, arg: object, number: int) -> object:
        """Return an argument as it goes to a rank; order whoever has it to send it."""
        if not isinstance(arg, _Ref):
            return arg
        if arg.rank == 0:
            return arg.value
        if arg.rank != number:
            self._send(arg.rank, Send(arg.key, number))
        return Held(arg.key, arg.rank)

    def _new_ref(self, rank: int) -> _Ref:
        ref = _Ref(next(_keys), rank)
        self._open[ref.key] = ref
        dropped = self._dropped.setdefault(rank, [])
        weakref.finalize(ref, dropped.append, ref.key).atexit = False
        return ref

    def _send(self, rank: int, order: object) -> None:
        """Send an order without waiting, and one to drop what nobody refers to."""
        dropped = self._dropped.get(rank)
        if dropped:
            keys = tuple(dropped)
            del dropped[: len(keys)]
            self._post(rank, Drop(keys))
        self._post(rank, order)

    def _post(self, rank: int, order: object) -> None:
        self._sending = [one for one in self._sending if not one.Test()]
        self._sending.append(self._world.isend(order, dest=rank, tag=ORDERS))

    def fetch(self, ref: Any) -> Any:
        """Wait for a value and return it, or raise what its call has raised."""
        self.wait([ref])
        if ref.error is not None:
            raise ref.error
        if ref.rank == 0:
            return ref.value
        self._send(ref.rank, Send(ref.key, 0))
        return pickle.loads(_receive(self._world, ref.rank, VALUES))

    def wait(
        self, refs: Sequence[Any], timeout: float | None = None, count: int = 1
    ) -> tuple[list[Any], list[Any]]:
        """Wait until `count` of the calls have ended, well or not."""
        until = None if timeout is None else time.monotonic() + timeout
        wanted = min(count, len(refs))
        self._look(0.0)
        while sum(ref.is_settled for ref in refs) < wanted:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            self._look(left)
        ended = [ref for ref in refs if ref.is_settled]
        return ended, [ref for ref in refs if not ref.is_settled]

    def _look(self, timeout: float | None) -> None:
        """Take in what has been answered, or what is answered first."""
        anyone = _import_mpi().ANY_SOURCE
        done: Done | None = _receive(self._world, anyone, ANSWERS, timeout)
        while done is not None:
            error = None if done.error is None else _unpacked_error(done.error)
            for key in done.keys:
                ref = self._open.pop(key, None)  # None: of an engine before this one
                if ref is not None:
                    ref.is_settled, ref.error = True, error
            done = _receive(self._world, anyone, ANSWERS, 0.0)

    def alive(self, worker: Any) -> bool:
        """Tell that it is, if it was not dismissed: who dies takes this one along."""
        return worker.number not in self._free

    def replace(self, worker: Any) -> Any:
        """Raise: MPI cannot bring a rank back."""
        raise EngineError(
            f"workers: rank {worker.number} cannot be replaced by MPI, which ends all "
            "ranks with one; begin the program again: fit with resume=True goes on "
            "from its checkpoint"
        )

    def dismiss(self, workers: Sequence[Any]) -> None:
        """Let these ranks forget what they have; they are free for others then."""
        for worker in workers:
            self._send(worker.number, Forget())
            self._free.append(worker.number)

    def close(self) -> None:
        """Let all ranks forget what they have."""
        busy = {*range(1, self._world.size)} - {*self._free}
        self.dismiss([_Rank(number) for number in sorted(busy)])
        for sending in self._sending:
            sending.wait()
        self._sending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


# Other ranks


class _Host:
    """What a rank has: a worker, and values by their keys."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._worker: Any = None
        self._values: dict[int, Any] = {}
        self._sending: list[Any] = []

    def serve(self) -> None:
        """Do what rank 0 orders until it says that it has ended."""
        self._world.send(tuple(own_versions()), dest=0, tag=HELLO)
        while True:
            order = _receive(self._world, 0, ORDERS)
            self._sending = [one for one in self._sending if not one.Test()]
            if isinstance(order, Stop):
                return
            if isinstance(order, Make):
                self._answer((order.key,), partial(self._make, order))
            elif isinstance(order, Do):
                self._answer(order.keys, partial(self._do, order))
            elif isinstance(order, Send):
                packed = _packed("value", self._values[order.key])
                self._post(order.rank, packed, VALUES)
            elif isinstance(order, Drop):
                for key in order.keys:
                    self._values.pop(key, None)
            else:
                self._worker = None
                self._values.clear()

    def _answer(
        self, keys: tuple[int, ...], find: Callable[[], tuple[Any, ...]]
    ) -> None:
        """Keep what comes of an order, and say whether it went well."""
        try:
            self._values.update(zip(keys, find(), strict=True))
            self._post(0, Done(keys), ANSWERS)
        except Exception as error:
            self._values.update(dict.fromkeys(keys, _Failed(error)))
            self._post(0, Done(keys, _packed_error(error)), ANSWERS)

    def _make(self, order: Make) -> tuple[None]:
        self._worker = unpickled(order.packed)()
        return (None,)

    def _do(self, order: Do) -> tuple[Any, ...]:
        given = [self._found(arg) for arg in pickle.loads(order.packed)]
        for arg in given:
            if isinstance(arg, _Failed):
                raise arg.error
        found = getattr(self._worker, order.method)(*given)
        return as_tuple(found, order.method, len(order.keys))

    def _found(self, arg: Any) -> Any:
        """Return an argument; one that another rank has is on its way."""
        if not isinstance(arg, Held):
            return arg
        if arg.rank == self._world.rank:
            return self._values[arg.key]
        return pickle.loads(_receive(self._world, arg.rank, VALUES))

    def _post(self, rank: int, message: object, tag: int) -> None:
        self._sending.append(self._world.isend(message, dest=rank, tag=tag))


class _Failed(NamedTuple):
    """In the place of a value: why there is none."""

    error: Exception


# All ranks


def _packed(what: str, value: object) -> bytes:
    try:
        return pickle.dumps(value, 5)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise TypeError(
            f"{what}: expected what another process can be sent (functions of a "
            f"module, no lambda), got {type(value).__name__}: {error}"
        ) from error


def _packed_error(error: Exception) -> bytes:
    """Return an error as bytes: itself, or what it says if it cannot travel."""
    try:
        packed = pickle.dumps(error, 5)
        pickle.loads(packed)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"), 5)
    return packed


def _unpacked_error(packed: bytes) -> Exception:
    """Return an error of another rank, or why this one cannot read it."""
    try:
        error: Exception = pickle.loads(packed)
    except Exception as unknown:
        return unknown
    return error


def _receive(world: Any, rank: int, tag: int, timeout: float | None = None) -> Any:
    """Return the next message of this tag; None if none comes in time."""
    begin = time.monotonic()
    while True:
        message = world.improbe(source=rank, tag=tag)
        if message is not None:
            return message.recv()
        waited = time.monotonic() - begin
        if timeout is not None and waited >= timeout:
            return None
        time.sleep(NAP if waited > EAGER else 0.0)


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter without an MPI
        raise ImportError(
            "MPIEngine needs mpi4py and an MPI: pip install 'exactrnn[mpi]' mpich"
        ) from error
    return MPI


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a program in rank 0, and workers for it in all others.

    Parameters
    ----------
    arguments : sequence of str, optional
        The program's path and its arguments; those of the command line by default.
    """
    given = sys.argv[1:] if arguments is None else [*arguments]
    if not given:
        raise SystemExit("usage: mpiexec -n 3 python -m exactrnn.distributed FILE")
    program = given[0]
    world = _import_mpi().COMM_WORLD
    sys.argv = given
    sys.path.insert(0, str(Path(program).resolve().parent))
    if world.rank:
        _read_as_main(program)
        _Host(world).serve()
        return
    sys.modules["__mp_main__"] = _Program("__mp_main__")
    try:
        runpy.run_path(program, run_name="__main__")
    finally:
        for number in range(1, world.size):
            world.send(Stop(), dest=number, tag=ORDERS)


class _Program(types.ModuleType):
    """The program of rank 0 by the name that it has in the other ranks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules["__main__"], name)


def _read_as_main(program: str) -> None:
    """Know what the program defines, as processes of ``multiprocessing`` do."""
    module = types.ModuleType("__mp_main__")
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    module.__dict__.update(runpy.run_path(program, run_name="__mp_main__"))
