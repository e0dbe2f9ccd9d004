"""The command line: ``exactrnn verify``, ``bench``, ``lm`` and the rest.

Exit status: 0 for success, also if the reader of the output has gone, as with ``|
head``; 1 if ``verify`` found a difference; 2 for wrong arguments, input or output, with
one line that says what was wrong; 130 if Ctrl-C ended a command, also after ``lm`` has
kept its model.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence

from exactrnn._system import shown
from exactrnn.cli import bench, completion, doctor, info, lm, verify
from exactrnn.cli._arguments import (
    INTERRUPTED,
    REFUSED,
    CommandError,
    HelpFormatter,
    Parser,
    fill,
)
from exactrnn.cli._output import complain, failure, say, standard_streams
from exactrnn.engine import version

__all__ = ["main"]
__dir__ = shown.lists(globals())

DESCRIPTION = "Recurrent cells for the CPU: fast, and the same bits everywhere."
THREE_THINGS = """
Three things to try:

  exactrnn verify   prove the bits on this machine; half a minute
  exactrnn bench    measure it beside what else is installed here; half a minute
  exactrnn lm       train a language model on text and see it write; a minute

exactrnn --help lists all commands.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after ``exactrnn``; the process's own by default.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        From ``argparse``: for ``--help`` and for arguments it cannot read.
    """
    with standard_streams():
        try:
            parsed = _make_parser().parse_args(arguments)
        except SystemExit as end:
            say(end="")  # flushes the help
            if end.code or not failure():
                raise
            return _end("exactrnn", 0)
        if parsed.command is None:
            welcome = f"exactrnn {version()}. {DESCRIPTION}\n{THREE_THINGS}"
            say(fill(welcome, shutil.get_terminal_size().columns))
            return _end("exactrnn", 0)
        command = f"exactrnn {parsed.command}"
        return _end(command, _run(command, parsed))


def _run(command: str, parsed: argparse.Namespace) -> int:
    """Run a command; what the user or the machine does wrong is one line."""
    try:
        return int(parsed.run(parsed))
    except CommandError as error:
        complain(f"{command}: error: {error}")
    except MemoryError as error:
        complain(f"{command}: error: out of memory: {error}")
    except OSError as error:
        complain(f"{command}: error: {error}")
    except KeyboardInterrupt:
        complain(f"{command}: stopped by Ctrl-C")
        return INTERRUPTED
    return REFUSED


def _end(command: str, status: int) -> int:
    """Return the exit status, in which output that could not be written counts."""
    reason = failure()
    if reason and status in (0, REFUSED):
        complain(f"{command}: error: standard output: {reason}")
        return REFUSED
    return status


def _make_parser() -> Parser:
    parser = Parser(
        prog="exactrnn", description=DESCRIPTION, formatter_class=HelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"exactrnn {version()}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands"
    )
    parser.set_defaults(whole=parser)
    for module in (verify, bench, doctor, info, lm, completion):
        module.add_command(commands)
    return parser
