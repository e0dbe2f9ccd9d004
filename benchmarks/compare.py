"""Compare two JSON files of run.py, row by row.

    python benchmarks/compare.py before.json after.json
    python benchmarks/compare.py before.json after.json --fail-above 1.05

Absolute times of a shared machine drift; where both files hold a rival, the change is
also given relative to it (`beside the rival`), which is the figure to trust. A row is
"equal" where the change is no larger than what the two runs' controls show; it does not
fail then. Files from before there was a control have none: any change counts.
"""

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

from exactrnn.bench.control import judge_ratio


def read_rows(path):
    """Return ({row name: figures}, what is said about the run)."""
    report = json.loads(path.read_text())
    return {row["name"]: row for row in report["rows"]}, report["about"]


def own_time(row):
    return row["figures"]["exactrnn"]["median_us"]


def compare_rows(before, after):
    """Return [(name, µs before, µs after, change, beside the rival or None, verdict)].

    "faster" and "behind" say what has become of the row.
    """
    table = []
    for name, new in after.items():
        old = before.get(name)
        if old is None:
            continue
        change = own_time(new) / own_time(old)
        beside = old["ratio"] / new["ratio"] if old["ratio"] and new["ratio"] else None
        verdict = judge_ratio(1 / (beside or change), joint_margin(old, new))
        table.append((name, own_time(old), own_time(new), change, beside, verdict))
    return table


def joint_margin(*rows):
    """Return the margin of a change; those of the rows are independent."""
    return math.exp(math.hypot(*(math.log(row.get("margin", 1.0)) for row in rows)))


def format_table(table):
    """Return the comparison as a Markdown table."""
    lines = ["| row | before µs | after µs | time | beside the rival | |"]
    lines.append("|---|---:|---:|---:|---:|---|")
    for name, old, new, change, beside, verdict in table:
        relative = "–" if beside is None else f"{beside:.3f}"
        figures = f"{old:.2f} | {new:.2f} | {change:.3f} | {relative}"
        lines.append(f"| {name} | {figures} | {verdict} |")
    return "\n".join(lines)


def format_means(table):
    """Return the geometric means of the two changes in words."""
    alone = statistics.geometric_mean(change for *_, change, _, _ in table)
    words = f"geometric mean: time {alone:.3f}"
    ratios = [beside for *_, beside, _ in table if beside is not None]
    if ratios:
        words += f", beside the rival {statistics.geometric_mean(ratios):.3f}"
    return words


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--fail-above",
        type=float,
        metavar="RATIO",
        help="exit with 1 if a row that is not equal takes longer by more than this",
    )
    parsed = parser.parse_args()
    before, old_about = read_rows(parsed.before)
    after, new_about = read_rows(parsed.after)
    for key in ("processor", "isa", "threads", "versions"):
        if old_about[key] != new_about[key]:
            print(f"{key} differs: {old_about[key]} and {new_about[key]}")
    table = compare_rows(before, after)
    if not table:
        parser.error("the two files have no row in common")
    print(f"{format_table(table)}\n\n{format_means(table)}")
    changes = [
        beside or change for *_, change, beside, word in table if word != "equal"
    ]
    return 1 if parsed.fail_above and max(changes, default=1) > parsed.fail_above else 0


if __name__ == "__main__":
    sys.exit(main())
