"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from exactrnn import engine
from exactrnn._checks.limits import shorten
from exactrnn._system import files

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class CommandError(Exception):
    """What the user gave cannot be used; its text is the one line that they see."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are short, whatever an argument holds."""

    def error(self, message: str) -> NoReturn:
        """Print usage and complaint, and exit."""
        super().error(shorten(message))


class HelpFormatter(
    argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter
):
    """Help that shows defaults and leaves the examples as they are written."""


def positive_int(text: str) -> int:
    """Read an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text}")
    return number


def natural_int(text: str) -> int:
    """Read an integer of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected an integer >= 0, got {text}")
    return number


def positive_float(text: str) -> float:
    """Read a finite number above 0."""
    number = float(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def natural_float(text: str) -> float:
    """Read a finite number of at least 0."""
    number = float(text)
    if not 0.0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number >= 0, got {text}")
    return number


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
