"""``exactrnn info``: what is installed here and what it will use."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from exactrnn.cli._output import say
from exactrnn.engine import describe_config

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    text = "Print versions, instruction sets and threads, for reports."
    parser = commands.add_parser("info", help=text, description=text)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command."""
    del parsed
    for label, value in describe_config().items():
        say(f"{label:8} {value}")
    return 0
