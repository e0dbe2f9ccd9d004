"""Measure exactrnn beside whatever rivals are installed, in one process.

    python benchmarks/run.py                          the default rows, one thread
    python benchmarks/run.py --rows 'gru-*' --threads 2
    python benchmarks/run.py --quick --json out.json

Every row is measured in rounds; in each round every contender runs for a few
milliseconds in turn, so that a machine that slows down slows all of them. Reported are
medians over the rounds. Before anything is timed, the outputs are compared (to 1e-4):
only the same computation is worth timing. The process is pinned to as many cores as
it has threads.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import shapes

TOLERANCE = 1e-4
BLOCK_SECONDS = 0.01
REST_SECONDS = 0.02


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description="Measure exactrnn beside the rivals that are installed.",
        epilog="rows: " + ", ".join(row.name for row in shapes.ROWS),
    )
    parser.add_argument("--threads", type=int, default=1, help="threads (default 1)")
    parser.add_argument(
        "--rows", nargs="+", default=["*"], metavar="PATTERN", help="rows to measure"
    )
    parser.add_argument(
        "--rivals", nargs="*", metavar="NAME", help="rivals to measure (default: all)"
    )
    parser.add_argument(
        "--isa", help="instruction set for exactrnn (default: the best)"
    )
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="per row and library"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument(
        "--no-pin", action="store_true", help="leave cores to the system"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error("--threads: expected 1 or more")
    options.selected = [
        row
        for row in shapes.ROWS
        if any(fnmatch(row.name, pattern) for pattern in options.rows)
    ]
    if not options.selected:
        parser.error(f"--rows: no row matches {options.rows}")
    return options


def pin_process(threads):
    """Keep the process on its first `threads` cores; return them, or None.

    Called before any of the libraries is imported: their thread pools are sized and
    placed at import.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < threads:
        return None
    # The last ones: the first core serves most interrupts.
    os.sched_setaffinity(0, cores[-threads:])
    return cores[-threads:]


def load_contenders(wanted):
    """Return ([module], {name: version}) of the libraries that can be imported."""
    import rivals

    contenders, versions = [], {}
    for module in rivals.CONTENDERS:
        own = module.NAME == "exactrnn"
        if not own and wanted is not None and module.NAME not in wanted:
            continue
        try:
            versions[module.NAME] = module.version()
        except ImportError as error:
            if own or wanted is not None:
                raise
            print(f"{module.NAME} is left out: {error}", file=sys.stderr)
            continue
        contenders.append(module)
    return contenders, versions


def make_problem(row):
    """Return (weights, x): random and distinct, the same for every library."""
    import numpy as np
    from rivals.exactrnn_rival import make_layer

    rng = np.random.default_rng(32023)
    bound = row.H**-0.5
    weights = {
        name: rng.uniform(-bound, bound, array.shape).astype(row.dtype)
        for name, array in make_layer(row).state_dict().items()
    }
    return weights, rng.standard_normal((row.T, row.B, row.I)).astype(row.dtype)


def as_output(y, row):
    """Return y as [T, B, D*H] whatever the layout of the library, as a copy."""
    import numpy as np

    y = np.asarray(y).copy()
    if y.ndim == 4:
        y = y.transpose(0, 2, 1, 3)
    return y.reshape(row.T, row.B, row.directions * row.H)


def check_agreement(row, runs):
    """Raise unless every library computes what exactrnn computes.

    A step row is called a few times: a state that is not carried would show.
    """
    import numpy as np

    for _ in range(4 if row.task == "step" else 1):
        outputs = {name: as_output(run(), row) for name, run in runs.items()}
        for name, y in outputs.items():
            error = np.abs(y - outputs["exactrnn"]).max()
            if not error <= TOLERANCE:
                raise AssertionError(f"{row.name}: {name} differs by {error}")


def time_block(run, calls):
    """Return the seconds of one call, the mean of `calls` of them."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def choose_calls(run):
    """Return how many calls fill a block."""
    calls = 1
    while calls < 2**20:
        seconds = time_block(run, calls) * calls
        if seconds >= BLOCK_SECONDS / 2:
            return max(1, round(calls * BLOCK_SECONDS / seconds))
        calls *= 2
    return calls


def measure(runs, seconds, threads):
    """Return {name: [seconds of one call, for each round]}, interleaved."""
    calls = {name: choose_calls(run) for name, run in runs.items()}
    samples = {name: [] for name in runs}
    end = time.perf_counter() + seconds * len(runs)
    while len(samples["exactrnn"]) < 5 or time.perf_counter() < end:
        for name, run in runs.items():
            if threads > 1:
                # Idle workers of the pool used last still spin for some milliseconds.
                time.sleep(REST_SECONDS)
            run()
            samples[name].append(time_block(run, calls[name]))
    return samples


def summarise(row, samples):
    """Return the figures of a row: medians, spreads, rates and the ratio."""
    figures = {}
    for name, values in samples.items():
        median = statistics.median(values)
        quartiles = statistics.quantiles(values, n=4)
        figures[name] = {
            "median_us": median * 1e6,
            "best_us": min(values) * 1e6,
            "spread": (quartiles[2] - quartiles[0]) / median,
            "gflops": row.flops / median * 1e-9,
            "rounds": len(values),
        }
    own = figures["exactrnn"]["median_us"]
    others = {n: f["median_us"] for n, f in figures.items() if n != "exactrnn"}
    best = min(others, key=others.get) if others else None
    ratio = others[best] / own if best else None
    return row.as_dict() | {"figures": figures, "best_rival": best, "ratio": ratio}


def measure_row(row, contenders, options):
    """Return the figures of one row."""
    weights, x = make_problem(row)
    runs = {}
    for module in contenders:
        run = module.prepare(row, weights, x, options.threads)
        if run is not None:
            runs[module.NAME] = run
    check_agreement(row, runs)
    seconds = options.seconds / 10 if options.quick else options.seconds
    return summarise(row, measure(runs, seconds, options.threads))


def read_command(*command):
    """Return the output of a command, or None where it cannot be run."""
    try:
        answer = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def describe_processor():
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe_run(options, versions, cores):
    """Return machine, versions, threads and commit, for the table's head and JSON."""
    import numpy as np

    import exactrnn as xr

    changed = read_command("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/run.py " + " ".join(sys.argv[1:]),
        "processor": describe_processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "versions": versions,
        "isa": xr.isa(),
        "numerics_version": xr.NUMERICS_VERSION,
        "threads": options.threads,
        "pinned_to": cores,
        "commit": read_command("git", "rev-parse", "HEAD"),
        "commit_changed": bool(changed),
    }


def format_table(rows, names):
    """Return the Markdown table of the measured rows."""
    rivals = [name for name in names if name != "exactrnn"]
    head = ["T, B, I=H", "exactrnn µs", *(f"{name} µs" for name in rivals)]
    head += ["best rival / exactrnn", "GFLOP/s", "spread"]
    lines = ["| | " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        figures = row["figures"]
        inputs = "" if row["I"] == row["H"] else f" (I={row['I']})"
        own = figures["exactrnn"]
        cells = [
            f"{row['cell']} {row['task']}",
            f"{row['T']}, {row['B']}, {row['H']}{inputs}",
            format_time(own),
            *(format_time(figures.get(name)) for name in rivals),
            f"{row['ratio']:.2f}" if row["ratio"] else "–",
            f"{own['gflops']:.1f}",
            f"{own['spread']:.1%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def format_time(figures):
    """Return microseconds with three digits or more; – where there is no time."""
    if figures is None:
        return "–"
    median = figures["median_us"]
    return (
        f"{median:.2f}"
        if median < 10
        else f"{median:.1f}"
        if median < 1000
        else f"{median:.0f}"
    )


def main():
    options = parse_arguments()
    cores = None if options.no_pin else pin_process(options.threads)

    import tqdm

    import exactrnn as xr

    if options.isa:
        xr.use_isa(options.isa)
    contenders, versions = load_contenders(options.rivals)
    about = describe_run(options, versions, cores)
    rows = []
    with tqdm.tqdm(options.selected, unit="row") as progress:
        for row in progress:
            progress.set_description(row.name)
            rows.append(measure_row(row, contenders, options))
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{about['processor']}, {about['isa']}, {options.threads} thread(s)")
    print(f"{libraries}; Python {about['python']}, NumPy {about['numpy']}\n")
    print(format_table(rows, versions))
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
