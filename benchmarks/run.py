"""Measure exactrnn beside the rivals that are installed and the machine's limit.

    python benchmarks/run.py                          the rows of the README, one thread
    python benchmarks/run.py --group g1 g4 --threads 2
    python benchmarks/run.py --rows 'gru-*' --quick --json out.json
    python benchmarks/run.py --all-cells              every cell beside LSTM and loop
    python benchmarks/run.py --group busy             beside a busy process
    python benchmarks/run.py --group attention ctc    beside the same in torch
    python benchmarks/run.py --group pools            after calls of other libraries

The measurement itself is `exactrnn.bench`, which `exactrnn bench` uses too; README.md
here says how it is done.
"""

import argparse
import json
from fnmatch import fnmatch
from functools import partial
from operator import ge, le
from pathlib import Path

import attention
import ctc
import pairs
import pools
import shapes
from arguments import natural_int, output, positive_float, thread_count

import exactrnn as xr
from exactrnn.bench.busy import MOST_BUSY
from exactrnn.bench.cells import DEFINITIONS
from exactrnn.bench.measure import OWN
from exactrnn.bench.report import format_report, format_summary
from exactrnn.bench.rivals import LOOP, RIVALS
from exactrnn.bench.session import Settings, run_session

QUICK_SECONDS, QUICK_ROUNDS = 0.1, 3
PAIRED = {"attention": attention.make_pairs, "ctc": ctc.make_pairs}
"""Groups that are measured beside torch alone, by themselves (pairs.py)."""
POOLS = "pools"
"""The group of pools.py, by itself too."""

# G5: the most time per operation beside the plain LSTM, the least factor before a loop
# of torch at one size, the most time of a clockwork RNN beside the dense one.
PER_FLOP, LOOP_FACTOR, LOOP_SIZE, CLOCKWORK = 1.25, 10, (100, 1, 128), 0.35

# The same of cells from their equations: time per operation by size, and the loop.
DEFINED_PER_FLOP = {(100, 1, 128): 1.3, (100, 16, 256): 1.15}
DEFINED_LOOP_FACTOR = 8


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description="Measure exactrnn beside the rivals that are installed.",
        epilog="rows: " + ", ".join(row.name for row in shapes.ROWS),
    )
    parser.add_argument(
        "--threads",
        type=thread_count,
        help="threads (default 1; 2 for --group busy or pools)",
    )
    parser.add_argument(
        "--group",
        nargs="+",
        choices=[*shapes.GROUPS, *PAIRED, POOLS, *shapes.CONDITIONS, "all"],
        help="rows to measure, by group (default: readme, or all with --rows); busy: "
        "beside a busy process; avx2: --isa avx2 on a machine with AVX-512; these two "
        "by themselves, as are attention and ctc, beside torch, and pools, after calls "
        "of other libraries",
    )
    parser.add_argument(
        "--rows", nargs="+", default=["*"], metavar="PATTERN", help="of these, by name"
    )
    parser.add_argument(
        "--all-cells",
        action="store_true",
        help=f"--group cells --rivals {LOOP}, and what G5 asks",
    )
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=[*RIVALS, LOOP],
        help="rivals to measure (default: all that are installed)",
    )
    parser.add_argument(
        "--isa", choices=xr.isas(), help="instruction set of exactrnn (default: best)"
    )
    parser.add_argument(
        "--busy",
        type=int,
        metavar="N",
        help="run N busy processes beside, on the same cores, and time single calls "
        f"(default 0; 1 for --group busy; at most {MOST_BUSY})",
    )
    parser.add_argument(
        "--seed",
        type=natural_int,
        metavar="N",
        help="draw the order of the libraries from N (default: another every time)",
    )
    parser.add_argument(
        "--seconds",
        type=positive_float,
        default=1.0,
        help="per row and library (default 1)",
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"--seconds {QUICK_SECONDS}"
    )
    parser.add_argument("--json", type=output, metavar="FILE", help="write all figures")
    parser.add_argument("--table", type=output, metavar="FILE", help="write the tables")
    parsed = parser.parse_args(arguments)
    apply_condition(parser, parsed)
    if not 0 <= parsed.busy <= MOST_BUSY:
        parser.error(f"--busy: expected 0 to {MOST_BUSY}")
    if parsed.all_cells:
        parsed.group = ["cells"]
        parsed.rivals = [LOOP] if parsed.rivals is None else parsed.rivals
    if {POOLS, *PAIRED} & {*(parsed.group or ())}:
        check_paired(parser, parsed)
        return parsed
    parsed.selected = select_rows(parsed)
    if not parsed.selected:
        parser.error(f"--rows: no row matches {parsed.rows}")
    return parsed


def apply_condition(parser, parsed):
    """Set what the groups that say how to measure ask for, and the defaults."""
    alone = {POOLS, *shapes.CONDITIONS}
    conditions = [name for name in parsed.group or () if name in alone]
    if conditions and len(parsed.group) > 1:
        parser.error(f"--group {conditions[0]}: it is measured by itself")
    busy = conditions == ["busy"]
    if conditions == ["avx2"]:
        if "avx512" not in xr.isas():
            parser.error(
                "--group avx2: it is for machines with AVX-512; the best instruction "
                f"set here is {xr.isas()[0]}, with which any other group is measured"
            )
        if parsed.isa not in (None, "avx2"):
            parser.error(f"--group avx2: not with --isa {parsed.isa}")
        parsed.isa = "avx2"
    if parsed.threads is None:
        parsed.threads = 2 if busy or conditions == [POOLS] else 1
    if parsed.busy is None:
        parsed.busy = 1 if busy else 0


def check_paired(parser, parsed):
    """Refuse what the groups with a frame of their own do not know."""
    is_pools = parsed.group == [POOLS]
    others = [name for name in parsed.group if name not in PAIRED]
    if others and not is_pools:
        parser.error(f"--group {others[0]}: not with {', '.join(PAIRED)}")
    for name, unknown in (
        ("--rows", parsed.rows != ["*"]),
        ("--rivals", parsed.rivals is not None and not is_pools),
        ("--threads 1", parsed.threads == 1 and is_pools),
        ("--busy", parsed.busy),
        ("--table", parsed.table),
    ):
        if unknown:
            parser.error(f"{name}: not with --group {parsed.group[0]}")


def run_pairs(parsed):
    """Measure the groups beside torch alone."""
    parsed.rounds = QUICK_ROUNDS if parsed.quick else pairs.ROUNDS

    def make_pairs(torch):
        for group in dict.fromkeys(parsed.group):
            yield from PAIRED[group](torch)

    pairs.run(parsed, make_pairs)


def select_rows(parsed):
    """Return the rows of the groups whose names match a pattern."""
    groups = parsed.group or (["readme"] if parsed.rows == ["*"] else ["all"])
    known = shapes.GROUPS | shapes.CONDITIONS | {"all": shapes.ROWS}
    rows = dict.fromkeys(row for group in groups for row in known[group])
    return [row for row in rows if any(fnmatch(row.name, name) for name in parsed.rows)]


def main():
    parsed = parse_arguments()
    if parsed.group == [POOLS]:
        parsed.seconds = QUICK_SECONDS if parsed.quick else parsed.seconds
        pools.run(parsed)
        return
    if {*(parsed.group or ())} & PAIRED.keys():
        run_pairs(parsed)
        return
    if parsed.isa:
        xr.use_isa(parsed.isa)
    settings = Settings(
        threads=parsed.threads,
        seconds=QUICK_SECONDS if parsed.quick else parsed.seconds,
        rivals=parsed.rivals,
        busy=parsed.busy,
        **({} if parsed.seed is None else {"seed": parsed.seed}),
    )
    report = run_session(parsed.selected, settings, tree=Path(__file__).parent)
    text = f"{format_report(report)}\n\n{summarise_groups(report)}\n"
    if parsed.all_cells:
        text += f"{summarise_cells(report['rows'])}\n"
    print(text, end="")
    if parsed.json:
        parsed.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if parsed.table:
        parsed.table.write_text(text, encoding="utf-8")


def summarise_groups(report):
    """Return a line for each group of which every row was measured, as a list."""
    measured = {row["name"] for row in report["rows"]}
    groups = {
        group: names
        for group, rows in shapes.GROUPS.items()
        if (names := {row.name for row in rows}) <= measured
    }
    groups |= {"all": measured}
    lines = format_summary(report["rows"], groups).splitlines()
    return "\n".join(f"- {line}" for line in lines)


def summarise_cells(rows):
    """Return a line for each part of G5, with the rows that miss it, as a list."""
    defined = [r for r in rows if r["cell"] in DEFINITIONS]
    rows = [r for r in rows if r["cell"] not in DEFINITIONS]
    lstm = {r["name"]: r["per_flop"] for r in rows if r.get("beside") == "lstm"}
    rnn = {r["name"]: r["relative"] for r in rows if r.get("beside") == "rnn"}
    loop = beside_loop(rows)
    parts = [
        (f"time per operation <= {PER_FLOP} of LSTM's", lstm, lambda r: r <= PER_FLOP),
        (f"torch loop >= {LOOP_FACTOR} times slower", loop, lambda r: r >= LOOP_FACTOR),
        (f"clockwork <= {CLOCKWORK} of the RNN", rnn, lambda r: r <= CLOCKWORK),
    ]
    lines = [f"- G5, {judge(*part)}" for part in parts]
    for size, most in DEFINED_PER_FLOP.items():
        found = {r["name"]: r["per_flop"] for r in defined if size_of(r) == size}
        goal = f"time per operation <= {most} of LSTM's at {size}"
        lines.append(f"- definitions, {judge(goal, found, partial(ge, most))}")
    goal = f"torch loop >= {DEFINED_LOOP_FACTOR} times slower"
    found = judge(goal, beside_loop(defined), partial(le, DEFINED_LOOP_FACTOR))
    return "\n".join([*lines, f"- definitions, {found}"])


def size_of(row):
    return row["T"], row["B"], row["H"]


def beside_loop(rows):
    """Return how many times slower the loop is, by the name of a row of its size."""
    return {
        r["name"]: r["figures"][LOOP]["median_us"] / r["figures"][OWN]["median_us"]
        for r in rows
        if LOOP in r["figures"] and size_of(r) == LOOP_SIZE
        if r["cell"] != r["beside"]
    }


def judge(goal, ratios, reached):
    """Return how many rows reach a goal, and the ratios of those that do not."""
    missed = [f"{n} {r:.2f}" for n, r in ratios.items() if not reached(r)]
    words = f"{goal}: {len(ratios) - len(missed)} of {len(ratios)} rows"
    return words + (f"; not {', '.join(missed)}" if missed else "")


if __name__ == "__main__":
    main()
