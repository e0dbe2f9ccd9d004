"""``exactrnn info``: what is installed here and what it will use."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from exactrnn.cli._arguments import (
    add_json_option,
    check_json_option,
    wants_words,
    write_json,
)
from exactrnn.cli._output import say
from exactrnn.engine import describe_config

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers


SUMMARY = "versions, instruction sets and threads, for reports"
HELP = "Print versions, instruction sets and threads, for reports."


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("info", help=SUMMARY, description=HELP)
    parser.set_defaults(run=run)
    add_json_option(parser)


def run(parsed: argparse.Namespace) -> int:
    """Run the command."""
    check_json_option(parsed)
    config = describe_config()
    write_json(parsed, config)
    if wants_words(parsed):
        for label, value in config.items():
            say(f"{label:8} {value}")
    return 0
