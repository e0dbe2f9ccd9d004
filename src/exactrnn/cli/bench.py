"""``exactrnn bench``: how fast a shape runs here, beside other libraries and the limit.

Rows are all combinations of the sizes given. The measurement is that of the project's
own benchmarks.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exactrnn import engine
from exactrnn._checks.limits import check_memory
from exactrnn.bench.bars import format_bars, warn_if_rough
from exactrnn.bench.busy import MOST_BUSY
from exactrnn.bench.cells import CELLS
from exactrnn.bench.picture import save_picture
from exactrnn.bench.report import format_report, format_summary
from exactrnn.bench.rivals import RIVALS
from exactrnn.bench.rows import TASKS, Row
from exactrnn.bench.session import Settings, run_session
from exactrnn.cli._arguments import (
    CommandError,
    HelpFormatter,
    add_engine_options,
    add_json_option,
    apply_engine_options,
    check_json_option,
    check_writable,
    natural_int,
    positive_float,
    positive_int,
    wants_words,
    write_json,
)
from exactrnn.cli._output import colour, on_terminal, say

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers

PICTURES = (".png", ".svg", ".pdf")
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "task": ("forward",),
    "cell": ("lstm", "gru"),
    "steps": (100,),
    "batch": (1, 16),
    "hidden": (128,),
}

DESCRIPTION = """\
Measure exactrnn on this machine, side by side with those of torch, onnxruntime,
openvino and jax that are installed. Each option of `rows` takes several values; all
combinations are measured. The outputs are compared before anything is timed. The order
of the libraries is drawn anew for each round, and a second copy of exactrnn, the
control, runs among them.

On a terminal each library has a bar, the time of a call: short is fast. Elsewhere, and
with --table, a table in Markdown is printed.

Its columns: medians in microseconds; the best rival's time divided by exactrnn's, and
what that comes to: "equal" where the control is as far away, "unclear" if that is far;
the part of the time that the machine's limit allows at best, from its multiply-add peak
and the bandwidth of the memory that holds the weights, both measured in the same run;
spread, the interquartile range divided by the median; the control's time divided by
exactrnn's, with the margin within which rivals are equal. Rows of single steps, and all
rows with --busy, have p50, p90 and p99 of single calls in a second table.
"""
EXAMPLES = """\
examples:
  exactrnn bench
  exactrnn bench --cell gru --batch 1 8 64 --hidden 256 --threads 2
  exactrnn bench --task gradients --steps 35 --batch 20 --hidden 650
  exactrnn bench --task step --hidden 64 --inputs 40 --alone
  exactrnn bench --threads 2 --busy 1
  exactrnn bench --plot speed.png --json speed.json
"""


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="measure a shape here, beside other libraries and the machine's limit",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    _add_row_options(parser)
    _add_measuring_options(parser)
    add_engine_options(parser)


def _add_row_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rows")
    words: dict[str, Any] = {"nargs": "+", "default": argparse.SUPPRESS}
    group.add_argument(
        "--cell",
        choices=tuple(CELLS),
        metavar="CELL",
        help=f"of {', '.join(CELLS)} (default: {' '.join(DEFAULTS['cell'])})",
        **words,
    )
    group.add_argument(
        "--task",
        choices=TASKS,
        metavar="TASK",
        help="forward: inference over a sequence; gradients: forward and backward; "
        f"step: one step of a stream (default: {' '.join(DEFAULTS['task'])})",
        **words,
    )
    for name, meaning in (
        ("steps", "T, time steps"),
        ("batch", "B, rows"),
        ("hidden", "H, units"),
    ):
        default = " ".join(map(str, DEFAULTS[name]))
        group.add_argument(
            f"--{name}",
            type=positive_int,
            metavar="N",
            help=f"{meaning} (default: {default})",
            **words,
        )
    group.add_argument(
        "--inputs",
        type=positive_int,
        metavar="N",
        default=argparse.SUPPRESS,
        help="I (default: as many as units)",
    )
    group.add_argument(
        "--layers", type=positive_int, metavar="N", default=1, help="layers"
    )
    group.add_argument("--bidirectional", action="store_true", help="both directions")
    group.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="elements"
    )


def _add_measuring_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("measurement")
    rivals = group.add_mutually_exclusive_group()
    rivals.add_argument(
        "--rivals",
        nargs="+",
        choices=RIVALS,
        metavar="NAME",
        default=argparse.SUPPRESS,
        help=f"of {', '.join(RIVALS)} (default: all that are installed)",
    )
    rivals.add_argument(
        "--alone", action="store_true", help="measure exactrnn and the limit only"
    )
    group.add_argument(
        "--seconds",
        type=positive_float,
        metavar="S",
        default=1.0,
        help="time for each row and library",
    )
    group.add_argument(
        "--busy",
        type=natural_int,
        metavar="N",
        default=0,
        help="run N busy processes beside, on the same cores, and time single calls; "
        f"at most {MOST_BUSY}",
    )
    group.add_argument(
        "--seed",
        type=natural_int,
        metavar="N",
        default=argparse.SUPPRESS,
        help="draw the order of the libraries from N (default: another every time)",
    )
    group.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="save a picture; PNG, SVG or PDF by its ending (needs matplotlib)",
    )
    group.add_argument(
        "--table",
        action="store_true",
        help="print the table, as where standard output is no terminal",
    )
    add_json_option(group)


def run(parsed: argparse.Namespace) -> int:
    """Run the command."""
    apply_engine_options(parsed)
    rows = make_rows(parsed)
    check_json_option(parsed)
    if "plot" in parsed:
        check_plot(parsed.plot)
    settings = Settings(
        threads=engine.get_num_threads(),
        seconds=parsed.seconds,
        rivals=() if parsed.alone else getattr(parsed, "rivals", None),
        busy=parsed.busy,
        **({"seed": parsed.seed} if "seed" in parsed else {}),
    )
    try:
        report = run_session(rows, settings)
    except ImportError as error:
        raise CommandError(f"--rivals: {error}") from None
    except (ValueError, AssertionError, ChildProcessError) as error:
        raise CommandError(str(error)) from None
    write_json(parsed, report)
    if "plot" in parsed:
        save_plot(report, parsed.plot)
    if wants_words(parsed):
        show(report, rows, as_table=parsed.table or not on_terminal())
    return 0


def show(report: dict[str, Any], rows: list[Row], *, as_table: bool) -> None:
    """Print a report, its means, and a warning if the machine was busy."""
    columns = shutil.get_terminal_size().columns
    names = [row.name for row in rows]
    summary = format_summary(report["rows"], {"mean": names})
    if as_table:
        say(format_report(report))
    else:
        say(format_bars(report, columns, colour))
        summary = textwrap.fill(summary, columns, break_on_hyphens=False)
    say(f"\n{summary}")
    warning = warn_if_rough(report)
    if warning:
        say("\n" + colour(textwrap.fill(warning, columns), "yellow"))


def check_plot(path: Path) -> None:
    """Raise if no picture can be drawn, or not where it is wanted."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--plot needs matplotlib: pip install 'exactrnn[plot]'")
    if path.suffix.lower() not in PICTURES:
        expected = ", ".join(PICTURES)
        raise CommandError(
            f"--plot: expected a name that ends in {expected}, got {path}"
        )
    check_writable("--plot", path)


def save_plot(report: dict[str, Any], path: Path) -> None:
    """Draw a report."""
    try:
        save_picture([report], path)
    except OSError as error:
        raise CommandError(f"--plot: {path}: {error.strerror}") from None


def make_rows(parsed: argparse.Namespace) -> list[Row]:
    """Return the combinations of what was given, each once."""
    rows: dict[str, Row] = {}
    given = (getattr(parsed, name, default) for name, default in DEFAULTS.items())
    for task, cell, T, B, H in itertools.product(*given):
        if task == "step" and parsed.bidirectional:
            raise CommandError("--bidirectional: a stream has one direction")
        row = Row(
            task=task,
            cell=cell,
            T=1 if task == "step" else T,
            B=B,
            I=getattr(parsed, "inputs", H),
            H=H,
            layers=parsed.layers,
            directions=2 if parsed.bidirectional else 1,
            dtype=parsed.dtype,
        )
        check_row(row)
        rows[row.name] = row
    return list(rows.values())


def check_row(row: Row) -> None:
    """Raise if inputs and outputs of a row are more than the memory holds."""
    elements = row.T * row.B * (row.I + 2 * row.directions * row.H)
    sizes = f"--steps {row.T} --batch {row.B} --inputs {row.I} --hidden {row.H}"
    try:
        check_memory(sizes, "inputs and outputs", elements * row.itemsize)
    except ValueError as error:
        raise CommandError(str(error)) from None
