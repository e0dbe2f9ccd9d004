"""Read pytest's JUnit files of several runs and judge the skipped tests.

    check_skips.py FIRST.xml SECOND.xml ...   fail if a test was skipped in every run
    check_skips.py --again FIRST.xml          print the test files that hold a skip

A test that never runs anywhere proves nothing: each has to run in one of the
environments that CI makes. With `--allow WORD` (may be repeated) a skip whose reason
contains WORD is accepted: for what a machine itself lacks.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def read_outcomes(path):
    """Return {test id: reason of the skip, or None if the test ran}."""
    outcomes = {}
    for case in ElementTree.parse(path).iter("testcase"):
        skipped = case.find("skipped")
        # An expected failure is a run; JUnit files it under skipped.
        ran = skipped is None or skipped.get("type") == "pytest.xfail"
        name = f"{case.get('classname')}::{case.get('name')}"
        reason = "" if ran else f"{skipped.get('message')} {skipped.text or ''}"
        outcomes[name] = None if ran else reason
    return outcomes


def files_with_skips(outcomes):
    """Return the paths of the test files in which something was skipped."""
    files = set()
    for name, reason in outcomes.items():
        if reason is None:
            continue
        parts = name.split("::")[0] or name.split("::")[1]
        path = Path(*parts.split(".")).with_suffix(".py")
        while not path.is_file() and path != Path(".py"):
            path = path.parent.with_suffix(".py")
        files.add(path)
    return sorted(files)


def skipped_everywhere(runs, allowed):
    """Return {test id: reason} of the tests that ran in none of the runs."""
    never = {}
    for name in sorted(set().union(*runs)):
        reasons = [run[name] for run in runs if name in run]
        if all(reason is not None for reason in reasons):
            never[name] = reasons[-1]
    # A module that cannot be imported is one skip at collection. It counts as run
    # once another run has tests of that module.
    ran = {name.split("::")[0] for run in runs for name in run if run[name] is None}
    return {
        name: reason
        for name, reason in never.items()
        if not (name.startswith("::") and name[2:] in ran)
        and not any(word in reason for word in allowed)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("junit", nargs="+", type=Path)
    parser.add_argument("--again", action="store_true", help="print files to run again")
    parser.add_argument("--allow", action="append", default=[], metavar="WORD")
    parsed = parser.parse_args()
    runs = [read_outcomes(path) for path in parsed.junit]
    if parsed.again:
        print(*files_with_skips(runs[0]), sep="\n")
        return 0
    never = skipped_everywhere(runs, parsed.allow)
    for name, reason in never.items():
        print(f"skipped in every run: {name}: {reason}", file=sys.stderr)
    print(f"{len(never)} tests skipped in every one of {len(runs)} runs")
    return 1 if never else 0


if __name__ == "__main__":
    sys.exit(main())
