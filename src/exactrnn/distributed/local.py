"""An engine of processes of this machine, begun afresh (multiprocessing's "spawn").

This process sends orders and gets answers through a pipe for each worker; arrays go by
files in memory (`_store.py`) and are read where they lie, by whichever worker needs
them. There are no threads in it: what comes is looked at whenever something is asked.

A worker has at most `AHEAD` orders that it has not answered, so that it need not wait
for the next one, and no pipe is ever full; the others wait here. An order waits too for
the values among its arguments. Whatever comes is looked at once, and wakes those whose
next order waits for it alone: what this process does grows with the orders and their
arguments, not with the number of workers besides.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from selectors import EVENT_READ, BaseSelector, DefaultSelector
from typing import Any, NamedTuple, Self

from exactrnn.distributed._host import Answer, Order, ctrl_c_held, serve
from exactrnn.distributed._store import (
    Packed,
    Store,
    discard,
    make_folder,
    pickled,
    remove_folder,
    unpack,
)
from exactrnn.distributed.engine import EngineError, WorkerLost, check_versions

__all__ = ["LocalEngine"]

AHEAD = 2
GRACE = 2.0
"""Seconds that a worker has to end by itself."""
TRIES = 5
"""Processes that are begun for a worker if each is killed as it begins."""
GUARD = (
    "if this is a script, what it does must stand below `if __name__ == '__main__':`, "
    "because each worker reads the file too"
)


class _Ref:
    """A value that will come, has come, or cannot come; some workers wait for it."""

    __slots__ = ("__weakref__", "_waiters", "error", "packed")

    def __init__(self) -> None:
        self.packed: Packed | None = None
        self.error: Exception | None = None
        self._waiters: list[_Process] = []

    @property
    def is_settled(self) -> bool:
        return self.packed is not None or self.error is not None

    def settle(self, packed: Packed) -> None:
        """Keep the value for as long as anybody refers to this."""
        self.packed = packed
        if packed.path is not None:
            weakref.finalize(self, discard, packed, os.getpid())
        self._wake()

    def fail(self, error: Exception) -> None:
        """Raise this for whoever asks."""
        self.error = error
        self._wake()

    def wakes(self, worker: _Process) -> None:
        """Have a worker looked at when this is settled."""
        self._waiters.append(worker)

    def _wake(self) -> None:
        for worker in self._waiters:
            worker.wake()
        self._waiters.clear()


class _Call:
    """A call that a worker has not answered yet."""

    def __init__(
        self, number: int, method: str, args: list[_Ref], refs: tuple[_Ref, ...]
    ) -> None:
        self.number, self.method, self.args, self.refs = number, method, args, refs
        self._settled = 0

    def waits_for(self) -> _Ref | None:
        """Return the first argument that has not come; None if all have."""
        while self._settled < len(self.args):
            if not self.args[self._settled].is_settled:
                return self.args[self._settled]
            self._settled += 1
        return None

    def fail(self, error: Exception) -> None:
        """Let all that it was to give raise this."""
        for ref in self.refs:
            ref.fail(error)


class _Watch(NamedTuple):
    """What an engine looks at: ends of pipes, and workers that may be sent an order."""

    ends: BaseSelector
    awake: deque[_Process]


class _Process:
    """A worker: its process, our end of its pipe, its calls."""

    def __init__(
        self, number: int, process: BaseProcess, pipe: Connection, make: bytes
    ) -> None:
        self.number, self.process, self.pipe, self.make = number, process, pipe, make
        self.waiting: deque[_Call] = deque()
        self.sent: deque[_Call] = deque()
        self.is_lost = False
        self._watch: _Watch | None = None

    def watched_by(self, watch: _Watch) -> None:
        """Have what comes from it seen, now that it is at work."""
        self._watch = watch
        watch.ends.register(self.pipe, EVENT_READ, self)

    def wake(self) -> None:
        """Have its next order looked at: it may be ready."""
        if self._watch is not None:
            self._watch.awake.append(self)

    @property
    def pid(self) -> int | None:
        """Of the operating system."""
        return self.process.pid

    def lose(self) -> None:
        """Let all that it was asked for raise `WorkerLost`."""
        if self.is_lost:
            return
        self.is_lost = True
        if self._watch is not None:
            self._watch.ends.unregister(self.pipe)
        self.pipe.close()
        self.process.join(GRACE)
        code = self.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"({code})"
        error = WorkerLost(f"worker {self.number} has ended {how} before it answered")
        for call in (*self.sent, *self.waiting):
            call.fail(error)
        self.sent.clear()
        self.waiting.clear()

    def ask_to_end(self) -> None:
        """Have the process end after what it is doing."""
        if not self.is_lost:
            with contextlib.suppress(OSError):
                self.pipe.send(None)

    def end(self, patience: float = GRACE) -> None:
        """End the process, by force if it has not ended in so many seconds."""
        self.ask_to_end()
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.lose()


class LocalEngine:
    """Workers are processes of this machine.

    A worker imports the module of which this program is the main one, as processes of
    ``multiprocessing`` do. A worker has a ``pid``.

    Examples
    --------
    >>> from exactrnn.distributed import LocalEngine
    >>> with LocalEngine() as engine:
    ...     [worker] = engine.place(list, 1)
    ...     done = engine.call(worker, "append", 5)
    ...     engine.fetch(engine.call(worker, "pop"))
    5
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._folder = make_folder()
        self._store = Store(self._folder)
        self._workers: list[_Process] = []
        self._calls = 0
        self._watch = _Watch(DefaultSelector(), deque())
        self._owner = os.getpid()
        self._removed = weakref.finalize(self, remove_folder, self._folder, self._owner)

    def __repr__(self) -> str:
        state = f"workers={len(self._workers)}" if self._removed.alive else "closed"
        return f"<LocalEngine: {state}>"

    def place(self, make: Callable[[], Any], count: int) -> list[Any]:
        """Begin processes that make a worker each, and wait for them."""
        first, made = len(self._workers), list[_Process]()
        packed = pickled("make", make)
        try:
            for k in range(count):
                made.append(self._begin(first + k, packed))
            for k in range(count):
                self._greet_one(made, k)
        except BaseException:
            for worker in made:
                worker.process.kill()  # none has done anything yet
            self.dismiss(made)
            raise
        for worker in made:
            worker.watched_by(self._watch)
        self._workers += made
        return [*made]

    def _begin(self, number: int, make: bytes) -> _Process:
        if not self._removed.alive:
            raise EngineError("engine: expected one that is open, got a closed one")
        _check_program()
        try:
            return self._started(number, make)
        except BrokenPipeError:
            raise WorkerLost(f"worker {number} was killed as it began") from None
        except OSError as error:
            raise EngineError(
                f"workers: expected worker {number} to begin, but the system refused "
                f"its process: {error}"
            ) from error

    def _started(self, number: int, make: bytes) -> _Process:
        """Start a process, and return it as a worker."""
        with ExitStack() as until, ctrl_c_held():
            ours, theirs = self._context.Pipe()
            until.callback(ours.close)
            process = self._context.Process(
                target=serve,
                args=(theirs, self._folder, make),
                name=f"exactrnn-worker-{number}",
                daemon=True,
            )
            with theirs:
                process.start()
            until.pop_all()
            return _Process(number, process, ours, make)

    def _greet_one(self, made: list[_Process], k: int) -> None:
        """Wait for a worker, or for another one if it was killed as it began."""
        for left in reversed(range(TRIES)):
            try:
                return self._greet(made[k])
            except WorkerLost:
                if not left:
                    raise
                made[k] = self._begin(made[k].number, made[k].make)
        return None

    def _greet(self, worker: _Process) -> None:
        """Wait until a worker has been made."""
        try:
            check_versions(worker.number, worker.pipe.recv())
            answer: Answer = worker.pipe.recv()
        except (EOFError, OSError):
            worker.lose()
            if (worker.process.exitcode or 0) < 0:
                words = f"worker {worker.number} was killed as it began"
                raise WorkerLost(words) from None
            raise EngineError(
                f"workers: expected worker {worker.number} to begin, but its process "
                f"ended with code {worker.process.exitcode}; {GUARD}"
            ) from None
        except EngineError:
            worker.end()
            raise
        if answer.error is not None:
            worker.end()
            raise unpack(answer.error)

    def put(self, value: object) -> Any:
        """Write a value down once."""
        ref = _Ref()
        ref.settle(self._store.pack("value", value))
        return ref

    def call(self, worker: Any, method: str, *args: object, returns: int = 1) -> Any:
        """Send an order, as soon as the worker and its arguments are ready."""
        given = [
            arg
            if isinstance(arg, _Ref)
            else self._packed(f"{method}: argument {k}", arg)
            for k, arg in enumerate(args)
        ]
        refs = tuple(_Ref() for _ in range(returns))
        self._calls += 1
        call = _Call(self._calls, method, given, refs)
        if worker.is_lost:
            call.fail(WorkerLost(f"worker {worker.number} has ended"))
        else:
            worker.waiting.append(call)
            self._send_ready(worker)
        return refs[0] if returns == 1 else refs

    def _packed(self, what: str, value: object) -> _Ref:
        ref = _Ref()
        ref.settle(self._store.pack(what, value))
        return ref

    def _send_ready(self, worker: _Process) -> None:
        """Send orders whose arguments are there, in their order."""
        while worker.waiting and len(worker.sent) < AHEAD:
            call = worker.waiting[0]
            missing = call.waits_for()
            if missing is not None:
                missing.wakes(worker)
                return
            worker.waiting.popleft()
            error = next((ref.error for ref in call.args if ref.error), None)
            if error is not None:
                call.fail(error)
                continue
            args = tuple(ref.packed for ref in call.args if ref.packed is not None)
            worker.sent.append(call)
            try:
                worker.pipe.send(Order(call.number, call.method, args, len(call.refs)))
            except OSError:
                worker.lose()

    def _send_awake(self) -> None:
        """Send what has become ready."""
        while self._watch.awake:
            self._send_ready(self._watch.awake.popleft())

    def _look(self, timeout: float | None) -> None:
        """Take in what has come, or what comes first."""
        self._send_awake()
        if not any(worker.sent for worker in self._workers):
            return
        for key, _ in self._watch.ends.select(timeout):
            self._take(key.data)
        self._send_awake()

    def _take(self, worker: _Process) -> None:
        """Take in one answer of a worker, or its end."""
        try:
            answer: Answer = worker.pipe.recv()
        except (EOFError, OSError):
            worker.lose()
            return
        call = worker.sent.popleft()
        worker.wake()
        if answer.error is not None:
            try:
                call.fail(unpack(answer.error))
            except Exception as unknown:  # of a class that this process has not
                call.fail(unknown)
            discard(answer.error, os.getpid())
            return
        for ref, packed in zip(call.refs, answer.values, strict=True):
            ref.settle(packed)

    def fetch(self, ref: Any) -> Any:
        """Wait for a value and return it, or raise what its call has raised."""
        self.wait([ref])
        if ref.error is not None:
            raise ref.error
        return unpack(ref.packed)

    def wait(
        self, refs: Sequence[Any], timeout: float | None = None, count: int = 1
    ) -> tuple[list[Any], list[Any]]:
        """Wait until `count` of the calls have ended, well or not."""
        until = None if timeout is None else time.monotonic() + timeout
        wanted = min(count, len(refs))
        while sum(ref.is_settled for ref in refs) < wanted:
            left = None if until is None else max(0.0, until - time.monotonic())
            self._look(left)
            if left == 0.0:
                break
        ended = [ref for ref in refs if ref.is_settled]
        return ended, [ref for ref in refs if not ref.is_settled]

    def alive(self, worker: Any) -> bool:
        """Tell whether its process is there."""
        return not worker.is_lost and bool(worker.process.is_alive())

    def replace(self, worker: Any) -> Any:
        """End a worker, if need be, and make another one in its place."""
        worker.process.kill()
        worker.end()
        other = self._begin(worker.number, worker.make)
        self._greet(other)
        other.watched_by(self._watch)
        self._workers[self._workers.index(worker)] = other
        return other

    def dismiss(self, workers: Sequence[Any]) -> None:
        """End these workers."""
        if os.getpid() != self._owner:  # in a forked process, where they are not its
            return
        for worker in workers:
            worker.ask_to_end()  # all of them, before the first is waited for
        until = time.monotonic() + GRACE
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))
            if worker in self._workers:
                self._workers.remove(worker)

    def close(self) -> None:
        """End all workers and remove all files."""
        self.dismiss([*self._workers])
        self._watch.ends.close()
        self._removed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _check_program() -> None:
    """Raise if this process can have no workers, which read the program's file too."""
    if multiprocessing.current_process().daemon:
        raise EngineError(
            "workers: expected a process that may have others, got a daemonic one, as "
            "those of multiprocessing.Pool are; use workers=0 there"
        )
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:
        return
    folder = getattr(multiprocessing.process, "ORIGINAL_DIR", None)
    if not Path(folder or "", file).exists():
        raise EngineError(
            "workers: expected a program in a file, which each worker reads, got "
            f"{file!r}; write it to a file, or use workers=0"
        )
