"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import itertools
import json
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from exactrnn import engine
from exactrnn._checks.limits import shorten
from exactrnn._system import files
from exactrnn.cli._output import say

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

REFUSED = 2
"""Exit status for wrong arguments, input or output."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


STANDARD_OUTPUT = Path("-")

LEAST_WIDTH = 20
"""Of a column of words, however narrow the terminal is."""

OPTION = re.compile(r"(--?[A-Za-z][^=\s]*)(?!\S* )")
"""What argparse takes for an option's name: text with a space in it is a value."""


class CommandError(Exception):
    """What the user gave cannot be used; its text is the one line that they see."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line: the argument, what it takes, what came."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint, and exit."""
        text = shorten(message.removeprefix("argument "))
        self.exit(REFUSED, f"{self.prog}: error: {text}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read arguments, all of which this command must know: its help has them."""
        args = sys.argv[1:] if args is None else [*args]
        self._check_options(args)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def _check_options(self, args: Sequence[str]) -> None:
        """Refuse an option that is none, before its value is taken for an action."""
        own = [*self._option_string_actions]
        places = [action for action in self._actions if not action.option_strings]
        actions = [name for place in places for name in place.choices or ()]
        for word in itertools.takewhile(lambda word: word not in actions, args):
            if word == "--":
                return
            name = OPTION.match(word)
            if name and not any(option.startswith(name[1]) for option in own):
                self.error(f"unrecognized arguments: {word}{_hint(name[1], own)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise for a value that is none of the choices; of commands too."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        hint = _hint(str(value), choices)
        expected = " or ".join([", ".join(choices[:-1]), choices[-1]][-len(choices) :])
        raise argparse.ArgumentError(
            action, f"expected {expected}, got {shorten(repr(value))}{hint}"
        )


def _hint(value: str, choices: Sequence[str]) -> str:
    """Return which choice may have been meant; "" if none is like it."""
    similar = difflib.get_close_matches(value, choices, 1)
    return f" (did you mean {similar[0]}?)" if similar else ""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows defaults and is filled to the terminal's width."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Return paragraphs as wide as the terminal."""
        return textwrap.indent(fill(text, width), indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Return an option's help, with a default that says something."""
        if action.default is False or action.default == "":
            return action.help
        return super()._get_help_string(action)


def fill(text: str, width: int) -> str:
    """Return paragraphs filled to a width; indented lines that fit are left alone."""
    return "\n\n".join(
        "\n".join(_wrap_line(line, width) for line in block.splitlines())
        if re.search(r"^  ", block, re.MULTILINE)
        else _wrap(" ".join(block.split()), width)
        for block in text.strip("\n").split("\n\n")
    )


def _wrap(text: str, width: int, then: str = "", end: str = "") -> str:
    """Return text in lines: later ones begin with `then`, all but the last end so."""
    width = max(width - len(end), len(then) + LEAST_WIDTH)
    lines = textwrap.wrap(
        text,
        width,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{end}\n".join(lines)


def _wrap_line(line: str, width: int) -> str:
    """Return an indented line in as many as it takes.

    Words beside a name go on under each other, a command as a shell reads it.
    """
    if len(line) <= width:
        return line
    if name := re.match(r"  \S.*?  +(?=\S)", line):
        return _wrap(line, width, " " * len(name[0]))
    together = r'--[a-z-]+ (?=[^-])("[^"]*")?'
    held = re.sub(together, lambda words: words[0].replace(" ", "\0"), line)
    return _wrap(held, width, " " * 6, " \\").replace("\0", " ")


def read_number(
    text: str, kind: type[int] | type[float], expected: str, fits: Callable[[Any], bool]
) -> Any:
    """Read a number, or say which would be right."""
    with contextlib.suppress(ValueError):
        number = kind(text)
        if fits(number):
            return number
    raise argparse.ArgumentTypeError(f"expected {expected}, got {shorten(repr(text))}")


def positive_int(text: str) -> int:
    """Read an integer of at least 1."""
    return int(read_number(text, int, "an integer >= 1", lambda n: n >= 1))


def natural_int(text: str) -> int:
    """Read an integer of at least 0."""
    return int(read_number(text, int, "an integer >= 0", lambda n: n >= 0))


def positive_float(text: str) -> float:
    """Read a finite number above 0."""
    return float(read_number(text, float, "a number above 0", lambda x: 0 < x < inf))


def natural_float(text: str) -> float:
    """Read a finite number of at least 0."""
    return float(read_number(text, float, "a number >= 0", lambda x: 0 <= x < inf))


def check_writable(option: str, path: Path) -> None:
    """Raise if a file at `path` cannot be written, before time is spent on it."""
    try:
        files.check_target(path)
    except OSError as error:
        raise CommandError(f"{option}: {path}: {error.strerror}") from None
    except ValueError as error:
        reason = str(error).removeprefix("path: ")
        raise CommandError(f"{option}: {reason}") from None


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads`` and ``--isa``."""
    group = parser.add_argument_group("engine", "These change time, never a bit.")
    group.add_argument(
        "--threads",
        type=positive_int,
        metavar="N",
        default=argparse.SUPPRESS,
        help="threads to use (default: all cores, or OMP_NUM_THREADS)",
    )
    group.add_argument(
        "--isa",
        choices=engine.isas(),
        default=argparse.SUPPRESS,
        help="instruction set (default: the best of this machine)",
    )


def apply_engine_options(parsed: argparse.Namespace) -> None:
    """Put the options of `add_engine_options` into force."""
    if "threads" in parsed:
        try:
            engine.set_num_threads(parsed.threads)
        except (ValueError, OverflowError) as error:
            reason = str(error).removeprefix("n: ")
            raise CommandError(f"--threads: {reason}") from None
    if "isa" in parsed:
        engine.use_isa(parsed.isa)


def add_json_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--json``, with which a command prints data, or writes them to a file."""
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=STANDARD_OUTPUT,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="print JSON in place of words, or write it to FILE besides",
    )


def check_json_option(parsed: argparse.Namespace) -> None:
    """Raise if the file for the data cannot be written."""
    if "json" in parsed and parsed.json != STANDARD_OUTPUT:
        path = parsed.json
        if not path.exists() or path.is_file() or path.is_dir():  # else a pipe, or such
            check_writable("--json", path)


def wants_words(parsed: argparse.Namespace) -> bool:
    """Tell whether words are printed: not where data take their place."""
    return getattr(parsed, "json", None) != STANDARD_OUTPUT


def write_json(parsed: argparse.Namespace, data: object) -> None:
    """Print or write a command's data, if they were asked for."""
    if "json" not in parsed:
        return
    text = json.dumps(data, indent=1)
    if parsed.json == STANDARD_OUTPUT:
        say(text)
        return
    try:
        parsed.json.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--json: {parsed.json}: {error.strerror}") from None
