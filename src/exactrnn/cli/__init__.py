"""The command line: ``exactrnn lm``, ``verify``, ``bench`` and ``info``.

Exit status: 0 for success; 1 if ``verify`` found a difference; 2 for wrong arguments or
input, with one line that says what was wrong; 130 if Ctrl-C ended a command, also after
``lm`` has kept its model.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from exactrnn.cli import bench, info, lm, verify
from exactrnn.cli._arguments import INTERRUPTED, CommandError

__all__ = ["main"]

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
    parsed = _make_parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except CommandError as error:
        print(f"exactrnn {parsed.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nexactrnn {parsed.command}: stopped by Ctrl-C", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `| head`; Python would complain once more when
        # it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
