"""The command line in processes of its own, for tests that break what is around it."""

import subprocess
import sys

TEXT = "the quick brown fox jumps over the lazy dog: ünïcödé, 語.\n" * 20
SMALL = ["--hidden", "8", "--embedding", "4", "--batch", "4", "--length", "8"]
SMALL += ["--steps", "5"]
EXACTRNN = [sys.executable, "-m", "exactrnn"]
SECONDS = 60


def make_training(folder):
    """Write a text; return the arguments of a short training in a folder."""
    text, out = folder / "text.txt", folder / "model.safetensors"
    text.write_text(TEXT, encoding="utf-8")
    return ["lm", "--text", str(text), "--out", str(out), *SMALL]


def timed(training, seconds):
    """Return the arguments of a training that takes that many seconds."""
    return [*training[: training.index("--steps")], "--seconds", str(seconds)]


def run(arguments, *, limits="", shell="", **options):
    """Run the command in a process; `shell` follows it, as a redirection does.

    `limits` are set before, by the shell: a fork of this process would be one of all
    the libraries that other tests have imported.
    """
    own = ["bash", *EXACTRNN, *map(str, arguments)]
    command = ["bash", "-c", f'{limits} "$@" {shell}', *own]
    return subprocess.run(
        command,
        check=False,
        timeout=SECONDS,
        **{"capture_output": True, "encoding": "utf-8", "errors": "replace"} | options,
    )


def only_line(errors):
    """Return the one line of standard error."""
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert len(lines[0]) < 24 * 80
    return lines[0]
