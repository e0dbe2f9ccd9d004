"""Names in mappings that callers hand in: of weights, of arguments.

A mapping is read once, into a dict of our own: what is judged is what is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from exactrnn._checks import describe
from exactrnn._checks.limits import list_names, quote, quote_names, shorten

LONGEST_PROBLEM = 400
LONGEST_REPORT = 1800
MOST_PROBLEMS = 12


class Problems:
    """What is wrong in a mapping, gathered until all of it has been looked at.

    One problem is raised as it came; more are one error, a line for each: a TypeError
    if all of them are.
    """

    def __init__(self) -> None:
        self._found: list[ValueError | TypeError] = []

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Keep the ValueError or TypeError that a block raises."""
        try:
            yield
        except (ValueError, TypeError) as error:
            self._found.append(error)

    def raise_all(self) -> None:
        """Raise if there is anything."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            lines = [shorten(e, LONGEST_PROBLEM) for e in self._found[:MOST_PROBLEMS]]
            more = len(self._found) - len(lines)
            lines += [f"... ({more} more)"] if more else []
            text = shorten("\n".join(lines), LONGEST_REPORT)
            if all(isinstance(error, TypeError) for error in self._found):
                raise TypeError(text)
            raise ValueError(text)


def check_names(name: str, given: Iterable[object], expected: Iterable[str]) -> None:
    """Raise unless `given` holds exactly the names `expected`."""
    came, wanted = dict.fromkeys(given), dict.fromkeys(expected)
    missing = [key for key in wanted if key not in came]
    unknown = [key for key in came if key not in wanted]
    if missing or unknown:
        problems = [f"missing {quote_names(missing)}"] if missing else []
        problems += [f"unknown {quote_names(unknown)}"] if unknown else []
        raise ValueError(
            f"{name}: expected {list_names(wanted)}; got {'; '.join(problems)}"
        )


def take_named(name: str, given: object, prefix: object = "") -> dict[Any, object]:
    """Return the entries of a mapping whose names begin with `prefix`, without it."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {describe(given)}")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected a string, got {describe(prefix)}")
    entries = dict(given)
    if not prefix:
        return entries
    length = len(prefix)
    own = [k for k in entries if isinstance(k, str) and k.startswith(prefix)]
    return {key[length:]: entries[key] for key in own}


def check_weight_names(
    name: str, given: Mapping[str, object], expected: Sequence[str]
) -> None:
    """Raise unless `given` holds exactly these names; know them behind a prefix."""
    prefix = _find_prefix(given, expected)
    if prefix:
        written = quote(prefix)
        raise ValueError(
            f"{name}: expected {list_names(expected)}; got names that begin with "
            f"{written}: strip it, or load_state_dict(..., prefix={written})"
        )
    check_names(name, given, expected)


def _find_prefix(given: Mapping[Any, object], expected: Sequence[str]) -> str:
    """Return what stands before all of the names expected, "" if nothing does."""
    for key in given:
        if isinstance(key, str) and key.endswith(expected[0]):
            prefix = key.removesuffix(expected[0])
            if prefix and all(prefix + part in given for part in expected):
                return prefix
    return ""
