"""What a language model reads and writes, a symbol at a time: `unit`.

    characters   code points of the text
    bytes        bytes of its UTF-8: no text has unknown ones
    words        words, each with the space before it; all else, and words that are not
                 in the alphabet, a character at a time

In each of them the symbols of a text, one after the other, are the text again.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import describe
from exactrnn._checks.limits import quote

Alphabet: TypeAlias = str | tuple[str, ...]
Unit: TypeAlias = Literal["characters", "bytes", "words"]

UNITS = ("characters", "bytes", "words")
TOKEN = re.compile(r" ?\w+|.", re.DOTALL)
LEAST_COUNT = 2
"""How often a word has to occur to be a symbol."""


def find_alphabet(text: str, unit: str, most_words: int) -> Alphabet:
    """Return the symbols of a text: characters sorted, then words, frequent ones first.

    Parameters
    ----------
    text : str
    unit : {"characters", "bytes", "words"}
    most_words : int
        How many words there are at most.
    """
    if unit == "bytes":
        return "".join(map(chr, range(256)))
    characters = sorted(set(text))
    if unit == "characters":
        return "".join(characters)
    counts = Counter(token for token in TOKEN.findall(text) if len(token) > 1)
    kept = [word for word, count in counts.items() if count >= LEAST_COUNT]
    kept.sort(key=lambda word: (-counts[word], word))
    return (*characters, *kept[:most_words])


def check_alphabet(alphabet: object, unit: str) -> Alphabet:
    """Return the symbols of a model, each once."""
    if unit == "words":
        return _check_words(alphabet)
    expected = "alphabet: expected a str of at least one character, each once"
    if not isinstance(alphabet, str):
        raise TypeError(f"{expected}, got {describe(alphabet)}")
    if not alphabet or len(set(alphabet)) != len(alphabet):
        raise ValueError(f"{expected}, got {quote(alphabet)}")
    if unit == "bytes" and max(alphabet) > "\xff":
        raise ValueError(
            "alphabet: expected characters up to '\\xff' with unit='bytes', got "
            f"{quote(max(alphabet))}"
        )
    return alphabet


def _check_words(alphabet: object) -> tuple[str, ...]:
    expected = "alphabet: expected words, at least one, each once"
    if isinstance(alphabet, str) or not isinstance(alphabet, Sequence):
        raise TypeError(f"{expected}, got {describe(alphabet)}")
    words = tuple(alphabet)
    for word in words:
        if not isinstance(word, str) or not word:
            raise ValueError(f"{expected}, got {describe(word)} among them")
    if not words or len(set(words)) != len(words):
        raise ValueError(f"{expected}, got {len(words)}, {len(set(words))} different")
    return words


class Codec:
    """Texts to places in an alphabet and back.

    Parameters
    ----------
    alphabet : str or tuple of str
        Checked.
    unit : {"characters", "bytes", "words"}
    """

    def __init__(self, alphabet: Alphabet, unit: str) -> None:
        self._alphabet = alphabet
        self._unit = unit
        if unit == "words":
            self._places = {word: k for k, word in enumerate(alphabet)}
            return
        codes = codes_of("".join(alphabet))
        self._ranks = np.argsort(codes, kind="stable")
        self._codes = codes[self._ranks]

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the places of the symbols of `text` in the alphabet."""
        if self._unit == "words":
            return self._encode_words(text)
        codes = codes_of(text)
        if self._unit == "bytes":
            content = text.encode("utf-8", "surrogatepass")
            codes = np.frombuffer(content, np.uint8).astype(np.uint32)
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        unknown = np.flatnonzero(self._codes[place] != codes)
        if unknown.size:
            raise unknown_error({chr(code) for code in codes[unknown].tolist()})
        return np.asarray(self._ranks[place], np.int64)

    def _encode_words(self, text: str) -> NDArray[np.int64]:
        places, found = self._places, list[int]()
        unknown = set[str]()
        for token in TOKEN.findall(text):
            if token in places:
                found.append(places[token])
                continue
            unknown.update(letter for letter in token if letter not in places)
            found += [places.get(letter, 0) for letter in token]
        if unknown:
            raise unknown_error(unknown)
        return np.array(found, np.int64)

    def decode(self, places: Sequence[int]) -> str:
        """Return the text of places in the alphabet."""
        return "".join(self.pieces(iter(places)))

    def pieces(self, places: Iterator[int]) -> Iterator[str]:
        """Yield the text of each symbol; of bytes, as soon as they are a character."""
        if self._unit != "bytes":
            for place in places:
                yield self._alphabet[place]
            return
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for place in places:
            yield decoder.decode(bytes([ord(self._alphabet[place])]))
        if rest := decoder.decode(b"", final=True):
            yield rest


def unknown_error(letters: set[str]) -> ValueError:
    """Return the error for a text with characters that no symbol is."""
    listed = quote("".join(sorted(letters)))
    return ValueError(f"text: characters unknown to the model: {listed}")


def codes_of(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
