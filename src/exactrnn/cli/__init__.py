"""The command line: ``exactrnn lm``, ``verify``, ``bench`` and ``info``.

Exit status: 0 for success, also if the reader of the output has gone, as with ``|
head``; 1 if ``verify`` found a difference; 2 for wrong arguments, input or output, with
one line that says what was wrong; 130 if Ctrl-C ended a command, also after ``lm`` has
kept its model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from exactrnn.cli import bench, info, lm, verify
from exactrnn.cli._arguments import INTERRUPTED, CommandError, Parser
from exactrnn.cli._output import complain, failure, say, standard_streams

__all__ = ["main"]

REFUSED = 2

DESCRIPTION = """\
Recurrent cells for the CPU: fast, and the same bits everywhere.

  exactrnn lm          train a character language model on real text, in a minute
  exactrnn lm sample   let a trained model write
  exactrnn verify      prove the bits on this machine against the published ones
  exactrnn bench       measure a shape here, beside what else is installed
  exactrnn info        versions, instruction sets and threads, for reports
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
        prog="exactrnn",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, title="commands"
    )
    for module in (lm, verify, bench, info):
        module.add_command(commands)
    return parser
