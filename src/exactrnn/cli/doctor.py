"""``exactrnn doctor``: why this machine is slower than it could be, and what to do."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

from exactrnn._checks.limits import shorten
from exactrnn.cli._arguments import (
    CommandError,
    HelpFormatter,
    add_engine_options,
    add_json_option,
    apply_engine_options,
    check_json_option,
    wants_words,
    write_json,
)
from exactrnn.cli._checkups import CHECKS, Finding, Machine
from exactrnn.cli._output import colour, say

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers

SUMMARY = "why this machine is slower than it could be, and what to do"
DESCRIPTION = """\
Look at what makes exactrnn slow or its times unsteady on this machine: instruction set,
threads, CPUs that may be used, quotas of containers, other OpenMP runtimes, the mode of
small numbers, the clock, other processes; and measure what one thread and all threads
reach. Results have the same bits whatever is found.

Other libraries bring threads of their own: name those of your program with --with, and
they are imported first.
"""
EXAMPLES = """\
examples:
  exactrnn doctor
  exactrnn doctor --with torch sklearn
"""
LABEL = 14
NARROWEST = 40


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help=SUMMARY,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--with",
        dest="modules",
        nargs="+",
        metavar="MODULE",
        default=(),
        help="import these modules first (default: none)",
    )
    add_json_option(parser)
    add_engine_options(parser)


def run(parsed: argparse.Namespace) -> int:
    """Run the command."""
    apply_engine_options(parsed)
    check_json_option(parsed)
    for name in parsed.modules:
        import_module(name)
    findings = []
    for check in CHECKS:
        finding = check(Machine())
        if finding is not None:
            findings.append(finding)
            if wants_words(parsed):
                say(describe(finding))
    write_json(parsed, [asdict(finding) for finding in findings])
    if wants_words(parsed):
        advised = sum(bool(finding.advice) for finding in findings)
        say(f"\n{advised} to mend." if advised else "\nNothing to mend.")
    return 0


def import_module(name: str) -> None:
    """Import a module, whatever its own code does; what it prints is not ours."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            importlib.import_module(name)
    except (Exception, SystemExit) as error:
        reason = str(error) if isinstance(error, ImportError) else repr(error)
        raise CommandError(f"--with: {shorten(name)}: {reason}") from None


def describe(finding: Finding) -> str:
    """Return a finding in lines, with what to do below it."""
    width = max(NARROWEST, shutil.get_terminal_size().columns)
    mark = colour("!", "yellow") if finding.advice else colour("✓", "green")
    space = " " * (LABEL + 2)
    lines = textwrap.wrap(finding.text, width - len(space)) or [""]
    if finding.advice:
        lines += textwrap.wrap(
            finding.advice,
            width - len(space),
            initial_indent="→ ",
            subsequent_indent="  ",
        )
    return f"{mark} {finding.name:{LABEL}}" + f"\n{space}".join(lines)
