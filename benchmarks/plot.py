"""Draw JSON files of run.py: the ratio to the best rival and the part of the limit.

    python benchmarks/plot.py one.json two.json --png performance.png

Each file is one run, for example with 1 and with 2 threads; rows stand in the order of
the first. Needs matplotlib (extra `plot`).
"""

import argparse
import json
from pathlib import Path

from arguments import output

from exactrnn.bench.picture import save_picture


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="JSON")
    parser.add_argument("--png", type=output, required=True, metavar="FILE")
    parsed = parser.parse_args()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in parsed.runs]
    save_picture(runs, parsed.png)


if __name__ == "__main__":
    main()
