"""A character language model: embedding, recurrent layers, linear readout.

    characters [T, B] -> embedding [T, B, E] -> recurrent layers [T, B, H]
        -> logits [T, B, V]

Everything in it is inside the numerics contract (N9), so that training with equal text,
sizes, seed and steps gives the same model bit for bit on every machine.

Over 400 lines because half of it is the documentation of one class.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrnn._checks import (
    check_one_way,
    check_seed,
    check_size,
    describe,
)
from exactrnn._checks.limits import quote
from exactrnn._checks.naming import check_names, check_weight_names, take_named
from exactrnn._system.mode import ieee_mode
from exactrnn._weights.store import ParameterStore, edit_together
from exactrnn.engine import NUMERICS_VERSION
from exactrnn.io import Source, Target, bad_content, read_file, write_file
from exactrnn.train._checks import (
    FloatArray,
    IndexArray,
    check_index,
    check_real,
    take_parameter,
)
from exactrnn.train._sizes import CELLS, Sizes, check_alphabet, check_sizes
from exactrnn.train.bptt import StreamChunk, stream_batches
from exactrnn.train.clipping import clip_global_norm
from exactrnn.train.losses import (
    counted_targets,
    mean_of_rows,
    row_losses,
    softmax_cross_entropy,
)
from exactrnn.train.modules import Embedding, Linear
from exactrnn.train.optimizers import Adam
from exactrnn.train.sampling import pick

__all__ = ["LanguageModel", "Progress"]

PARTS = ("embedding", "recurrent", "readout")
LN2 = 0.6931471805599453
EVALUATION_STREAMS = 8
EVALUATION_LENGTH = 256


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
        Loss of this step in bits per character.
    norm : float
        Global norm of the gradients before clipping.
    skipped : int
        Steps left out so far because the norm was infinite or NaN.
    characters : int
        Characters trained on so far.
    seconds : float
        Time since training began.
    """

    step: int
    fraction: float
    bits: float
    norm: float
    skipped: int
    characters: int
    seconds: float


class LanguageModel:
    """Predicts the next character of a text.

    Parameters
    ----------
    alphabet : str
        The characters it knows, each once.
    cell : str
        ``"lstm"``, ``"gru"`` or ``"rnn"``.
    num_layers, hidden_size, embedding_size : int
        Sizes.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int
        Seed of the initial weights.

    Attributes
    ----------
    embedding : Embedding
    recurrent : LSTM, GRU or RNN
    readout : Linear

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> import exactrnn as xr
    >>> text = "the cat sat on the mat. " * 40
    >>> model = xr.train.LanguageModel(
    ...     "".join(sorted(set(text))), hidden_size=32, embedding_size=8, seed=0
    ... )
    >>> losses = model.fit(text, steps=60, batch_size=4, length=16, lr=0.02)
    >>> losses[-1] < 1.0 < losses[0]
    True
    """

    def __init__(
        self,
        alphabet: str,
        *,
        cell: str = "lstm",
        num_layers: int = 1,
        hidden_size: int = 256,
        embedding_size: int = 64,
        dtype: Any = "float32",
        seed: int = 0,
    ) -> None:
        self.alphabet = check_alphabet(alphabet)
        self._sizes = check_sizes(cell, num_layers, hidden_size, embedding_size, dtype)
        self._sizes.check(len(alphabet))
        self._build(check_seed(seed))
        codes = _codes(alphabet)
        self._rank = np.argsort(codes, kind="stable")
        self._sorted_codes = codes[self._rank]

    def _build(self, seed: int | None) -> None:
        sizes, letters = self._sizes, len(self.alphabet)
        seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3)]
        self.embedding = Embedding(
            letters, sizes.embedding_size, dtype=sizes.dtype, seed=seeds[0]
        )
        self.recurrent = CELLS[sizes.cell](
            sizes.embedding_size,
            sizes.hidden_size,
            sizes.num_layers,
            dtype=sizes.dtype,
            seed=seeds[1],
        )
        self.readout = Linear(
            sizes.hidden_size, letters, dtype=sizes.dtype, seed=seeds[2]
        )

    @property
    def config(self) -> dict[str, str | int]:
        """The arguments that make a model of the same shape, but for `alphabet`."""
        return asdict(self._sizes)

    @property
    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(getattr(self, part).num_parameters for part in PARTS)

    def parameters(self) -> dict[str, FloatArray]:
        """Return the arrays that training changes; let go of them after writing.

        An optimiser's step changes all of them at once for each of the three parts: a
        pass of another thread that is between two parts may see one as it was and the
        next as it is.
        """
        return {
            f"{part}.{name}": array
            for part in PARTS
            for name, array in getattr(self, part).parameters().items()
        }

    def _stores(self) -> dict[str, ParameterStore]:
        """Return what owns the weights, by what goes before their names."""
        return {
            f"{part}.{prefix}": store
            for part in PARTS
            for prefix, store in getattr(self, part)._stores().items()
        }

    def state_dict(self) -> dict[str, FloatArray]:
        """Return copies of the parameters by name."""
        return {
            f"{part}.{name}": array
            for part in PARTS
            for name, array in getattr(self, part).state_dict().items()
        }

    def load_state_dict(
        self, mapping: Mapping[str, FloatArray], *, prefix: str = ""
    ) -> None:
        """Copy parameters from `mapping`, which has exactly the names of `state_dict`.

        With a `prefix` it has them behind that, and other names beside them.

        Raises
        ------
        ValueError
            If a name is missing or unknown or a shape differs; nothing is changed.
        TypeError
            If a dtype differs; nothing is changed.
        """
        values = take_named("state_dict", mapping, prefix)
        shapes, dtype = self._sizes.shapes(len(self.alphabet)), self._sizes.dtype
        check_weight_names("state_dict", values, tuple(shapes))
        taken = {
            name: take_parameter(name, values[name], shape, np.dtype(dtype))
            for name, shape in shapes.items()
        }
        stores = self._stores()
        with edit_together(stores.values()):
            for prefix, store in stores.items():
                for name, array in store.own.items():
                    array[...] = taken[prefix + name]

    def encode(self, text: str) -> IndexArray:
        """Return the places of the characters of `text` in the alphabet, ``[N]``.

        Raises
        ------
        ValueError
            If a character is not in the alphabet; the message names it.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, got {describe(text)}")
        codes = _codes(text)
        last = len(self._sorted_codes) - 1
        place = np.minimum(np.searchsorted(self._sorted_codes, codes), last)
        unknown = np.flatnonzero(self._sorted_codes[place] != codes)
        if unknown.size:
            letters = "".join(sorted({text[i] for i in unknown.tolist()}))
            raise ValueError(f"text: characters unknown to the model: {quote(letters)}")
        return np.asarray(self._rank[place], np.int64)

    def decode(self, index: ArrayLike) -> str:
        """Return the text of places in the alphabet.

        Raises
        ------
        TypeError, ValueError
            If a place is no integer or outside the alphabet.
        """
        checked = check_index("index", index, 0, len(self.alphabet))
        return "".join(self.alphabet[i] for i in checked.ravel().tolist())

    def loss_and_gradients(
        self, inputs: ArrayLike, targets: ArrayLike, state: Any = None
    ) -> tuple[float, dict[str, FloatArray], Any]:
        """Run forward and back over one chunk.

        Parameters
        ----------
        inputs, targets : array_like of int, ``[T, B]``
            Characters and those that follow them.
        state : tuple of ndarray or ndarray, optional
            The recurrent layers' state to begin with; zeros by default.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats.
        gradients : dict of str to ndarray
            By the names of `parameters`.
        state : tuple of ndarray or ndarray
            The state after the chunk.
        """
        check_one_way("recurrent", self.recurrent)
        embedded, embedding_cache = self.embedding.forward(inputs)
        hidden, state, recurrent_cache = self.recurrent.forward(embedded, state)
        logits, readout_cache = self.readout.forward(hidden)
        loss, dlogits = softmax_cross_entropy(logits, targets)
        readout = self.readout.backward(readout_cache, dlogits)
        recurrent = self.recurrent.backward(recurrent_cache, readout.x)
        embedding = self.embedding.backward(embedding_cache, recurrent.x)
        found = (embedding.weights, recurrent.weights, readout.weights)
        gradients = {
            f"{part}.{name}": array
            for part, weights in zip(PARTS, found, strict=True)
            for name, array in weights.items()
        }
        return loss, gradients, state

    def training(
        self,
        text: str,
        *,
        steps: int | None = None,
        seconds: float | None = None,
        batch_size: int = 32,
        length: int = 64,
        lr: float = 3e-3,
        clip: float = 1.0,
    ) -> Iterator[Progress]:
        """Train step by step; stop iterating to stop training.

        The text is cut into `batch_size` streams that are walked in chunks of `length`
        with carried state (truncated BPTT), again and again.  Adam's learning rate
        falls linearly from `lr` to 0, gradients are clipped by their global norm, and
        a step whose norm is infinite or NaN is left out and counted.

        Parameters
        ----------
        text : str
            What to learn.
        steps : int, optional
            How many steps.  Exactly one of `steps` and `seconds` is given.
        seconds : float, optional
            How long, by the clock: then the bits depend on the machine's speed.
        batch_size, length : int
            Streams, and characters per stream and step.
        lr : float
            Learning rate at the beginning.
        clip : float
            Largest norm of the gradients.

        Yields
        ------
        Progress
            After each step.

        Raises
        ------
        ValueError
            If the text is too short or has unknown characters, or an argument is out
            of range.
        """
        if (steps is None) == (seconds is None):
            raise ValueError("steps: expected exactly one of steps and seconds")
        if steps is not None:
            check_size("steps", steps)
        if seconds is not None:
            check_real("seconds", seconds, 0.0, open_below=True)
        sequence = self.encode(text)
        stream_batches(sequence, batch_size, length)
        optimizer = Adam(self, check_real("lr", lr, 0.0))
        check_real("clip", clip, 0.0, open_below=True)
        chunks = _endless_chunks(sequence, batch_size, length)
        return self._train(optimizer, chunks, steps, seconds, clip)

    def _train(
        self,
        optimizer: Adam,
        chunks: Iterator[tuple[StreamChunk, bool]],
        steps: int | None,
        seconds: float | None,
        clip: float,
    ) -> Iterator[Progress]:
        lr, begin, state = optimizer.lr, time.perf_counter(), None
        fraction, step, skipped, characters = 0.0, 0, 0, 0
        while fraction < 1.0:
            chunk, restart = next(chunks)
            loss, gradients, state = self.loss_and_gradients(
                chunk.inputs, chunk.targets, None if restart else state
            )
            norm = clip_global_norm(gradients, clip)
            if math.isfinite(norm):
                with ieee_mode():
                    optimizer.lr = lr * (1.0 - fraction)
                optimizer.step(gradients)
            else:
                skipped += 1
            step += 1
            characters += chunk.inputs.size
            elapsed = time.perf_counter() - begin
            with ieee_mode():
                done = step / steps if steps else elapsed / (seconds or 1.0)
                fraction, bits = min(1.0, done), loss / LN2
            yield Progress(step, fraction, bits, norm, skipped, characters, elapsed)

    def fit(self, text: str, **options: Any) -> list[float]:
        """Train to the end; the options are those of `training`.

        Returns
        -------
        list of float
            The loss of each step in bits per character.
        """
        return [progress.bits for progress in self.training(text, **options)]

    @ieee_mode()
    def evaluate(self, text: str) -> float:
        """Mean cross-entropy of `text` in bits per character.

        The text is read as up to 8 streams, each from a state of zeros.

        Raises
        ------
        ValueError
            If the text has fewer than two characters or unknown ones.
        """
        check_one_way("recurrent", self.recurrent)
        sequence = self.encode(text)
        wanted = (len(sequence) - 1) // EVALUATION_LENGTH
        streams = max(1, min(EVALUATION_STREAMS, wanted))
        total, count, state = 0.0, 0, None
        for chunk in stream_batches(sequence, streams, EVALUATION_LENGTH):
            hidden, state = self.recurrent(self.embedding(chunk.inputs), state)
            logits = self.readout(hidden)
            targets = np.ascontiguousarray(chunk.targets)
            number = counted_targets(targets)
            losses = row_losses(logits, targets, None, 0.0)
            total += mean_of_rows(losses, number) * number
            count += number
        return total / count / LN2

    def sample(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 0.5,
        seed: int = 0,
    ) -> Iterator[str]:
        """Write on from `prompt`, one character at a time.

        Parameters
        ----------
        prompt : str
            What comes before; if empty, the alphabet's first character is read, which
            in a sorted alphabet of a text with lines is the line break.
        length : int
            How many characters.
        temperature : float
            Divides the logits: 0 always takes the likeliest character, 1 follows the
            model's own probabilities.
        seed : int
            Seed of the choices.

        Yields
        ------
        str
            The next character.

        Raises
        ------
        ValueError
            If the prompt has unknown characters or an argument is out of range.
        """
        check_size("length", length)
        check_real("temperature", temperature, 0.0)
        read = self.encode(prompt or self.alphabet[0])
        return self._write(read, length, temperature, check_seed(seed))

    def _write(
        self, read: IndexArray, length: int, temperature: float, seed: int | None
    ) -> Iterator[str]:
        generator = np.random.PCG64(np.random.SeedSequence(seed))
        stream = self.recurrent.stream(batch_size=1)
        hidden: FloatArray = np.empty((1, self._sizes.hidden_size), self._sizes.dtype)
        for index in read[:-1]:
            stream.step(self.embedding(index[None]), out=hidden)
        index = int(read[-1])
        for _ in range(length):
            stream.step(self.embedding([index]), out=hidden)
            raw = int(generator.random_raw())
            index = pick(self.readout(hidden)[0], temperature, raw)
            yield self.alphabet[index]

    def save(self, path: Target) -> None:
        """Write the model as safetensors, with its alphabet and sizes as metadata.

        Equal models give equal files, to the byte. Paths are treated as `exactrnn.save`
        treats them.

        Raises
        ------
        ValueError
            If the path is that of a FIFO, a device or a socket.
        ImportError
            If the package safetensors is missing.
        OSError
            If the file cannot be written.
        """
        description = {
            "class": type(self).__name__,
            "alphabet": self.alphabet,
            "arguments": self.config,
            "numerics": NUMERICS_VERSION,
        }
        write_file(path, self.state_dict(), description)

    @classmethod
    def load(cls, path: Source) -> LanguageModel:
        """Read a model that `save` wrote.

        Raises
        ------
        ValueError
            If the file is not such a file, or is damaged.
        ImportError
            If the package safetensors is missing.
        OSError
            If the file cannot be read.
        """
        arrays, description = read_file(path)
        with bad_content(path, "a language model"):
            if description["class"] != cls.__name__:
                held = quote(description["class"])
                raise ValueError(f"it holds a {held}, which exactrnn.load reads")
            letters = len(check_alphabet(description["alphabet"]))
            arguments = dict(description["arguments"])
            check_names("arguments", arguments, [f.name for f in fields(Sizes)])
            sizes = check_sizes(**arguments)
            sizes.check_arrays(letters, arrays)
            model = cls(description["alphabet"], **asdict(sizes))
            model.load_state_dict(arrays)
        return model


def _codes(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _endless_chunks(
    sequence: IndexArray, batch_size: int, length: int
) -> Iterator[tuple[StreamChunk, bool]]:
    """Walk the streams again and again; True where they start over."""
    while True:
        restart = True
        for chunk in stream_batches(sequence, batch_size, length):
            yield chunk, restart
            restart = False
