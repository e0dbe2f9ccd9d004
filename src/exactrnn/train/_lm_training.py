"""A training of a language model, step by step: it can be stopped, kept, and go on.

A run file has all that the steps to come depend on: weights, the optimiser, the carried
state, how many steps were done; and what of the text and the options must be the same.
A run that goes on from it ends with the bytes that it would have had.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from exactrnn._checks import Array
from exactrnn._checks.arrays import Index
from exactrnn._checks.limits import quote, shorten
from exactrnn._system.mode import ieee_mode
from exactrnn.engine import NUMERICS_VERSION
from exactrnn.io import (
    Source,
    Target,
    bad_content,
    name_of,
    read_file,
    write_file,
)
from exactrnn.train._checkpoint import joined_optimizer, split_optimizer
from exactrnn.train.bptt import StreamChunk, stream_batches
from exactrnn.train.clipping import clip_global_norm
from exactrnn.train.rules import Adam

__all__ = ["Progress", "Training"]

LN2 = 0.6931471805599453
KIND = "language model training"
RUN_FILE = "a run file of this training"


class OtherRunError(ValueError):
    """A run file of another training than the one that is to go on.

    Parameters
    ----------
    path : str, path-like, bytes-like or binary file
    differing : mapping of str to tuple of two objects
        What is another, by name: here, and in the file; None where there is no such.
    """

    def __init__(
        self, path: Source, differing: Mapping[str, tuple[object, object]]
    ) -> None:
        said = "; ".join(
            f"{name}: expected {quote(here)}, got {quote(there)}"
            for name, (here, there) in differing.items()
        )
        super().__init__(f"path: not {RUN_FILE}: {name_of(path)} ({shorten(said)})")
        self.differing = differing


@dataclass(frozen=True)
class Progress:
    """One step of training.

    Attributes
    ----------
    step : int
        Steps done.
    fraction : float
        Share of the training that is done, 0 to 1.
    bits : float
        Loss of this step in bits per character, or per symbol of another unit.
    norm : float
        Global norm of the gradients before clipping.
    skipped : int
        Steps left out so far because the norm was infinite or NaN.
    characters : int
        Characters, or symbols of another unit, trained on so far.
    seconds : float
        Time since training began, without breaks.
    unit : str
        What a symbol is: `"characters"`, `"bytes"` or `"words"`.
    remark : str
        A worker that is slow; empty where none is.
    """

    step: int
    fraction: float
    bits: float
    norm: float
    skipped: int
    characters: int
    seconds: float
    unit: str = "characters"
    remark: str = ""


class Plan(NamedTuple):
    """What a training is to do; one of `steps` and `seconds` is None."""

    steps: int | None
    seconds: float | None
    batch_size: int
    length: int
    lr: float
    clip: float


class Training:
    """The steps of one training; made by `model.training`.

    A loop over it trains. Between two steps it can be kept in a file.
    `exactrnn.distributed` derives from it one that workers share.

    Parameters
    ----------
    model : LanguageModel
        What is trained.
    sequence : ndarray
        The symbols of the text.
    plan : Plan
        Checked.
    """

    def __init__(self, model: Any, sequence: Index, plan: Plan) -> None:
        self._model, self._sequence, self._plan = model, sequence, plan
        self._optimizer = Adam(model, plan.lr)
        self._state: Any = None
        self._step = self._skipped = self._characters = 0
        self._fraction = 0.0
        self._remark = ""
        self._said: dict[str, str | int | float] = {}
        self._chunks = _endless_chunks(sequence, plan.batch_size, plan.length)
        self._begin = time.perf_counter()

    def __repr__(self) -> str:
        return f"<training of {self._model!r}, step {self._step}>"

    def __iter__(self) -> Iterator[Progress]:
        return self

    def __next__(self) -> Progress:
        """Do a step."""
        if self._step == 0:
            self._begin = time.perf_counter()
        if self._fraction >= 1.0:
            self.close()
            raise StopIteration
        chunk, restart = next(self._chunks)
        loss, gradients, state = self._find(chunk, None if restart else self._state)
        norm = clip_global_norm(gradients, self._plan.clip)
        self.apply(gradients, norm, state, chunk.inputs.size)
        self._tell()
        with ieee_mode():
            bits = loss / LN2
        return Progress(
            step=self._step,
            fraction=self._fraction,
            bits=bits,
            norm=norm,
            skipped=self._skipped,
            characters=self._characters,
            seconds=time.perf_counter() - self._begin,
            unit=self._model.unit,
            remark=self._remark,
        )

    def _find(self, chunk: StreamChunk, state: Any) -> tuple[float, Any, Any]:
        """Return the loss of a chunk, its gradients, and the state after it."""
        found: tuple[float, Any, Any] = self._model.loss_and_gradients(
            chunk.inputs, chunk.targets, state
        )
        return found

    def _tell(self) -> None:
        """Tell whoever shares the training that a step was done: here nobody."""

    def close(self) -> None:
        """End what computes elsewhere, if anything does; it begins anew if need be."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def apply(
        self, gradients: dict[str, Array], norm: float, state: Any, symbols: int
    ) -> None:
        """Change all that a step changes; Ctrl-C is to come before or after it."""
        if math.isfinite(norm):
            with ieee_mode():
                self._optimizer.lr = self._plan.lr * (1.0 - self._fraction)
            self._optimizer.step(gradients)
        else:
            self._skipped += 1
        self._step += 1
        self._characters += symbols
        self._state = state
        steps, elapsed = self._plan.steps, time.perf_counter() - self._begin
        with ieee_mode():
            done = (
                self._step / steps if steps else elapsed / (self._plan.seconds or 1.0)
            )
            self._fraction = min(1.0, done)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    # The run file

    def fix(self, **options: str | float) -> None:
        """Say what else must be the same when the run goes on; `save` keeps it.

        Parameters
        ----------
        **options : str, int or float
            As the seed that gave the model its first weights.
        """
        self._said.update(options)

    def save(self, path: Target) -> None:
        """Keep the run as it stands, completely or not at all.

        Parameters
        ----------
        path : str, path-like or binary file

        Raises
        ------
        ValueError
            If the training ends by the clock: it could not go on as it was.
        ImportError
            If the package safetensors is missing.
        OSError
            If the file cannot be written.
        """
        self._check_counted()
        slots, rest = split_optimizer(self._optimizer.state_dict())
        parts = _parts_of(self._state)
        groups: dict[str, Mapping[str, Array]] = {
            "model": self._model.state_dict(),
            "optimizer": slots,
            "state": {str(k): part for k, part in enumerate(parts)},
        }
        arrays = {
            f"{g}.{n}": array for g, own in groups.items() for n, array in own.items()
        }
        counts = [self._step, self._skipped, self._characters]
        description = {
            "kind": KIND,
            "numerics": NUMERICS_VERSION,
            "fixed": self._fixed(),
            "optimizer": rest,
            "counts": counts,
            "seconds": time.perf_counter() - self._begin,
        }
        write_file(path, arrays, description)

    def load(self, path: Source) -> None:
        """Go on from a file that `save` wrote: model and training are as then.

        Parameters
        ----------
        path : str, path-like, bytes-like or binary file

        Raises
        ------
        ValueError
            If it is no such file, or of another text, model or plan, or if something
            that was given to `fix` differs; nothing changes.
        ImportError
            If the package safetensors is missing.
        OSError
            If the file cannot be read.
        """
        self._check_counted()
        arrays, description = read_file(path)
        before = self._model.state_dict()
        with bad_content(path, RUN_FILE):
            differing = self._compare(description)
        if differing:
            raise OtherRunError(path, differing)
        with bad_content(path, RUN_FILE):
            try:
                self._restore(arrays, description)
            except BaseException:
                self._model.load_state_dict(before)
                raise

    def _check_counted(self) -> None:
        if self._plan.steps is None:
            raise ValueError(
                "steps: expected a training with steps, which can go on as it was; got "
                "one with seconds"
            )

    def _fixed(self) -> dict[str, Any]:
        """Return what must be the same when the run goes on, as a file gives it."""
        digest = hashlib.sha256(np.ascontiguousarray(self._sequence, "<i8").tobytes())
        plan = {n: v for n, v in self._plan._asdict().items() if n != "seconds"}
        own = {**self._model.config, "unit": self._model.unit, **plan, **self._said}
        return {**own, "text": digest.hexdigest()}

    def _compare(
        self, description: Mapping[str, Any]
    ) -> dict[str, tuple[object, object]]:
        """Return what is another here than in a file; the text is, where the unit is.

        Raises
        ------
        ValueError
            If the file is of something else.
        """
        if description["kind"] != KIND:
            raise ValueError(f"it holds a {quote(description['kind'])}")
        if description["numerics"] != NUMERICS_VERSION:
            raise ValueError(f"it is of numerics {quote(description['numerics'])}")
        own, given = self._fixed(), dict(description["fixed"])
        pairs = {name: (own.get(name), given.get(name)) for name in {**own, **given}}
        differing = {name: both for name, both in pairs.items() if both[0] != both[1]}
        if "unit" in differing:
            differing.pop("text", None)
        return differing

    def _restore(
        self, arrays: Mapping[str, Array], description: Mapping[str, Any]
    ) -> None:
        groups: dict[str, dict[str, Array]] = {
            "model": {},
            "optimizer": {},
            "state": {},
        }
        for name, array in arrays.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = array
        step, skipped, characters = map(int, description["counts"])
        seconds, steps = float(description["seconds"]), self._plan.steps or 1
        if not 0 < step <= steps:
            raise ValueError(f"counts: expected 1..{steps} steps, got {step}")
        parts = tuple(groups["state"][str(k)] for k in range(len(groups["state"])))
        state = parts if len(parts) > 1 else parts[0]
        self._model.recurrent(self._probe(), state)  # which judges its shape
        self._model.load_state_dict(groups["model"])
        self._optimizer.load_state_dict(
            joined_optimizer(
                groups["optimizer"],
                description["optimizer"],
                self._optimizer.state_dict(),
            )
        )
        self._state = state
        self._step, self._skipped, self._characters = step, skipped, characters
        with ieee_mode():
            self._fraction = min(1.0, step / steps)
        own_chunks = _endless_chunks(self._sequence, *self._plan[2:4])
        self._chunks = itertools.islice(own_chunks, step, None)
        self._begin = time.perf_counter() - seconds

    def _probe(self) -> Array:
        """Return an input of no steps for the recurrent layers."""
        width = self._model.embedding_size
        return np.zeros((0, self._plan.batch_size, width), self._model.dtype)


def _parts_of(state: Any) -> tuple[Array, ...]:
    """Return the arrays of a state; none before the first step."""
    if state is None:
        return ()
    return tuple(state) if isinstance(state, tuple) else (state,)


def _endless_chunks(
    sequence: Index, batch_size: int, length: int
) -> Iterator[tuple[StreamChunk, bool]]:
    """Walk the streams again and again; True where they start over."""
    while True:
        restart = True
        for chunk in stream_batches(sequence, batch_size, length):
            yield chunk, restart
            restart = False
