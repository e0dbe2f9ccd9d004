"""A language model of characters, bytes or words.

    symbols [T, B] -> embedding [T, B, E] -> recurrent layers [T, B, H]
        -> logits [T, B, V]

Everything in it is inside the numerics contract (N9), so that training with equal text,
sizes, seed and steps gives the same model bit for bit on every machine.

Over 400 lines because half of it is the documentation of one class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike

from exactrnn._checks import (
    Array,
    DTypeLike,
    check_choice,
    check_one_way,
    check_seed,
    check_size,
    describe,
)
from exactrnn._checks.arrays import Index, check_index
from exactrnn._checks.limits import quote
from exactrnn._checks.naming import check_names
from exactrnn._checks.numbers import check_real
from exactrnn._numeric.random import Seed, kind_of, make_generator
from exactrnn._spec.arguments import Arguments
from exactrnn._system.mode import ieee_mode
from exactrnn._weights.store import ParameterStore
from exactrnn.engine import NUMERICS_VERSION
from exactrnn.io import Source, Target, bad_content, read_file, write_file
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.layers._module import Module
from exactrnn.train._lm_passes import PARTS, Passes
from exactrnn.train._lm_training import LN2, Plan, Progress, Training
from exactrnn.train._model_spec import RECORD, SIZES, ModelSpec
from exactrnn.train._sharing import Sharing, check_sharing, hand_over
from exactrnn.train._units import UNITS, Alphabet, Unit, find_alphabet
from exactrnn.train.bptt import stream_batches
from exactrnn.train.losses import (
    counted_targets,
    mean_of_rows,
    row_losses,
)
from exactrnn.train.sampling import pick

__all__ = ["LanguageModel", "Progress", "Training"]

EVALUATION_STREAMS = 8
EVALUATION_LENGTH = 256


class LanguageModel(Passes):
    """Predicts the next character of a text, or the next byte or word.

    Parameters
    ----------
    alphabet : str, or sequence of str
        The symbols that it knows, each once, as `find_alphabet` gives them: characters;
        of bytes, those of their numbers; or words.
    unit : {"characters", "bytes", "words"}
        What a symbol is. Words have the space before them; those that the alphabet does
        not have, and all else, are read and written a character at a time.
    cell : str
        A cell that runs over sequences: a name in `exactrnn.layers.NETWORKS`, such as
        ``"lstm"``, or in small letters of a definition in `exactrnn.cells`, such as
        ``"mingru"``.
    num_layers, hidden_size, embedding_size : int
        Sizes.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int
        Seed of the initial weights.

    Attributes
    ----------
    embedding : Embedding
    recurrent : LSTM, GRU, ... or Layer
    readout : Linear

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Weights are those of the three parts, by names such as ``embedding.weight``,
    ``recurrent.weight_hh_l0`` and ``readout.bias``. An optimiser's step changes all of
    them at once for each part: a pass of another thread that is between two parts may
    see one as it was and the next as it is.

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

    record = RECORD

    alphabet: Alphabet
    unit: str
    cell: str
    num_layers: int
    hidden_size: int
    embedding_size: int
    embedding: Embedding
    recurrent: Any
    readout: Linear

    _spec: ModelSpec

    def __init__(
        self,
        alphabet: Alphabet,
        *,
        unit: Unit = "characters",
        cell: str = "lstm",
        num_layers: int = 1,
        hidden_size: int = 256,
        embedding_size: int = 64,
        dtype: DTypeLike = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _configure(cls, given: Arguments) -> ModelSpec:
        return ModelSpec(**given)

    @classmethod
    def _draw_weights(cls, spec: ModelSpec, seed: Seed) -> dict[str, Array]:
        found: dict[str, Array] = {}
        seeds = seed.of_parts(len(spec.parts))
        for own, (name, part) in zip(seeds, spec.parts.items(), strict=True):
            weights = part.kind._draw_weights(part.spec, Seed(own, kind_of(part.kind)))
            found |= {f"{name}.{key}": array for key, array in weights.items()}
        return found

    def _assemble(
        self,
        spec: ModelSpec,
        given: Arguments,
        weights: Mapping[str, Array],
        generator: np.random.PCG64,
    ) -> None:
        """Become a model of these parts."""
        parts: dict[str, Module] = {}
        for name, part in spec.parts.items():
            own = {key: weights[f"{name}.{key}"] for key in part.spec.weight_shapes}
            parts[name] = part.kind.__new__(part.kind)
            parts[name]._assemble(part.spec, part.arguments, own, generator)
        self._become(spec, dict(given), dict(given), **parts)

    def _stores(self) -> dict[str, ParameterStore]:
        return {
            f"{part}.{prefix}": store
            for part in PARTS
            for prefix, store in getattr(self, part)._stores().items()
        }

    # Copies: the parts stay parts, which an optimiser may have by themselves

    def __reduce__(self) -> tuple[Any, ...]:
        # What it is first, then what may refer to it: parts, and what users added.
        return _restore_hollow, (type(self), self.arguments()), self.__getstate__()

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.__dict__.update({part: copy(getattr(self, part)) for part in PARTS})
        return twin

    @staticmethod
    def find_alphabet(
        text: str, unit: Unit = "characters", most_words: int = 5000
    ) -> Alphabet:
        """Return the symbols that a model of a text needs.

        Parameters
        ----------
        text : str
            The text.
        unit : {"characters", "bytes", "words"}
            What a symbol is.
        most_words : int
            How many words there are at most: the most frequent ones, that occur twice.

        Returns
        -------
        str or tuple of str
            Characters sorted; all bytes; or characters, then words.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Examples
        --------
        >>> import exactrnn as xr
        >>> xr.train.LanguageModel.find_alphabet("to be or not to be", "words")
        (' ', 'b', 'e', 'n', 'o', 'r', 't', ' be')
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, got {describe(text)}")
        check_choice("unit", unit, UNITS)
        return find_alphabet(text, unit, check_size("most_words", most_words))

    @property
    def config(self) -> dict[str, str | int]:
        """The arguments that make a model of the same shape, but for `alphabet`."""
        return self._spec.sizes

    def encode(self, text: str) -> Index:
        """Return the places of the symbols of `text` in the alphabet, ``[N]``.

        Raises
        ------
        ValueError
            If a character is not in the alphabet; the message names it.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, got {describe(text)}")
        return self._spec.codec.encode(text)

    def decode(self, index: ArrayLike) -> str:
        """Return the text of places in the alphabet.

        Raises
        ------
        TypeError, ValueError
            If a place is no integer or outside the alphabet.
        """
        checked = check_index("index", index, 0, len(self.alphabet))
        return self._spec.codec.decode(checked.ravel().tolist())

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
        **workers: Unpack[Sharing],
    ) -> Training:
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
        **workers
            ``workers``, ``shards``, ``engine`` and ``threads`` as for
            `exactrnn.distributed.fit`: with any of them the streams are cut into
            shards, which decide the bits, and any number of workers has the same.

        Returns
        -------
        Training
            An iterator that gives a `Progress` after each step; `save` and `load` keep
            it between two steps, and let another process go on. Workers end with it,
            and with `close`.

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
        check_real("lr", lr, 0.0)
        check_real("clip", clip, 0.0, open_below=True)
        plan = Plan(steps, seconds, batch_size, length, lr, clip)
        if not check_sharing("workers", workers):
            return Training(self, sequence, plan)
        training: Training = hand_over(
            "shared_training", self, sequence, plan, **workers
        )
        return training

    def fit(self, text: str, **options: Any) -> list[float]:
        """Train to the end; the options are those of `training`.

        Returns
        -------
        list of float
            The loss of each step in bits per symbol.
        """
        return [progress.bits for progress in self.training(text, **options)]

    @ieee_mode()
    def evaluate(self, text: str) -> float:
        """Mean cross-entropy of `text` in bits per symbol: per character, by default.

        The text is read as up to 8 streams, each from a state of zeros.

        Raises
        ------
        ValueError
            If the text has fewer than two symbols, or unknown characters.
        """
        check_one_way("recurrent", self.recurrent)
        sequence = self.encode(text)
        if len(sequence) < 2:
            got = len(sequence)
            raise ValueError(f"text: expected at least two {self.unit}, got {got}")
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
        """Write on from `prompt`, one symbol at a time.

        Parameters
        ----------
        prompt : str
            What comes before; if empty, the alphabet's first symbol is read, which in a
            sorted alphabet of a text with lines is the line break; of bytes, that.
        length : int
            How many symbols.
        temperature : float
            Divides the logits: 0 always takes the likeliest character, 1 follows the
            model's own probabilities.
        seed : int
            Seed of the choices.

        Yields
        ------
        str
            The next symbol; of bytes, what has become whole characters with it.

        Raises
        ------
        ValueError
            If the prompt has unknown characters or an argument is out of range.
        """
        check_size("length", length)
        check_real("temperature", temperature, 0.0)
        read = self.encode(
            prompt or ("\n" if self.unit == "bytes" else self.alphabet[0])
        )
        places = self._write(read, length, temperature, check_seed(seed))
        return self._spec.codec.pieces(places)

    def _write(
        self, read: Index, length: int, temperature: float, seed: int | None
    ) -> Iterator[int]:
        generator = np.random.PCG64(np.random.SeedSequence(seed))
        stream = self.recurrent.stream(batch_size=1)
        hidden: Array = np.empty((1, self.recurrent.output_size), self.dtype)
        for index in read[:-1]:
            stream.step(self.embedding(index[None]), out=hidden)
        index = int(read[-1])
        for _ in range(length):
            stream.step(self.embedding([index]), out=hidden)
            raw = int(generator.random_raw())
            index = pick(self.readout(hidden)[0], temperature, raw)
            yield index

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
            arguments = dict(description["arguments"])
            unit = {"unit"} & {*arguments}  # which older files do not have
            check_names("arguments", arguments, [*SIZES, "dtype", *unit])
            arguments["alphabet"] = description["alphabet"]
            return cls.restore(arguments, arrays, make_generator(0).state)


def _restore_hollow(
    kind: type[LanguageModel], arguments: Mapping[str, object]
) -> LanguageModel:
    """Make a model for a copy or a pickle, which gets its parts afterwards."""
    given = kind._given(arguments)
    model = kind.__new__(kind)
    model._become(kind._configure(given), dict(given), dict(given))
    return model
