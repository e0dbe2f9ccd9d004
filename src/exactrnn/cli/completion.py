"""``exactrnn completion``: the script by which a shell completes the commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from exactrnn.cli._arguments import CommandError, HelpFormatter
from exactrnn.cli._output import say

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers

SHELLS = ("bash", "zsh", "tcsh")
SUMMARY = "print the script by which a shell completes these commands"
DESCRIPTION = f"""\
Print the script by which a shell completes commands, options and their values. It is
made by shtab: pip install 'exactrnn[completion]'. Shells: {", ".join(SHELLS)}.
"""
EXAMPLES = """\
examples:
  exactrnn completion bash > ~/.local/share/bash-completion/completions/exactrnn
  exactrnn completion zsh > ~/.zfunc/_exactrnn
"""


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "completion",
        help=SUMMARY,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="which shell")


def run(parsed: argparse.Namespace) -> int:
    """Run the command."""
    try:
        import shtab
    except ImportError:
        raise CommandError(
            "completion needs shtab: pip install 'exactrnn[completion]'"
        ) from None
    say(shtab.complete(parsed.whole, parsed.shell))
    return 0
