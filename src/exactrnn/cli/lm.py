"""``exactrnn lm``: train a character language model, and let it write.

The default run is meant as a demonstration that ends within a minute on two cores: an
LSTM of 256 units reads the documentation topics that CPython ships, and writes
something that looks like them.  With equal text, options and seed the model file is the
same, byte for byte, on every machine; its SHA-256 is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from exactrnn import engine
from exactrnn.cli._arguments import (
    INTERRUPTED,
    CommandError,
    HelpFormatter,
    add_engine_options,
    apply_engine_options,
    natural_float,
    natural_int,
    positive_float,
    positive_int,
)
from exactrnn.cli._progress import make_reporter
from exactrnn.train import LanguageModel

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers

HELD_OUT = 0.05
DEFAULT_STEPS = 1300
FIRST_LINE = 80

TRAIN_HELP = """\
Train a character language model on a text and print a sample of what it writes.

The text is --text FILE, or the documentation topics that CPython ships; its last 5 %
are held out and measured at the end. Ctrl-C stops early and keeps the model (exit
status 130); a second one stops at once.
"""
TRAIN_EXAMPLES = """\
examples:
  exactrnn lm
  exactrnn lm --cell gru --layers 2 --seconds 120
  exactrnn lm --text war-and-peace.txt --hidden 512 --out tolstoy.safetensors
  exactrnn lm sample tolstoy.safetensors --prompt "Well, Prince"
"""
SAMPLE_HELP = "Let a model that `exactrnn lm` has trained write on from a prompt."


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "lm",
        help="train a character language model, and let it write",
        description=TRAIN_HELP,
        epilog=TRAIN_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=train)
    _add_model_options(parser)
    _add_training_options(parser)
    add_engine_options(parser)
    actions = parser.add_subparsers(metavar="", title="then", dest="action")
    _add_sample_command(actions)


def _add_sample_command(actions: Subparsers) -> None:
    parser = actions.add_parser(
        "sample",
        help=SAMPLE_HELP,
        description=SAMPLE_HELP,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=sample)
    parser.add_argument("model", metavar="MODEL", type=Path, help="the model file")
    parser.add_argument(
        "--prompt", metavar="TEXT", default="", help="what comes before"
    )
    parser.add_argument(
        "--length", type=positive_int, default=1000, metavar="N", help="characters"
    )
    _add_temperature(parser)
    parser.add_argument(
        "--seed", type=natural_int, default=0, metavar="N", help="seed of the choices"
    )
    add_engine_options(parser)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--cell", choices=("lstm", "gru", "rnn"), default="lstm", help="recurrent cell"
    )
    for name, size, text in (
        ("layers", 1, "recurrent layers"),
        ("hidden", 256, "units of a layer"),
        ("embedding", 64, "width of the embedding"),
    ):
        group.add_argument(
            f"--{name}", type=positive_int, default=size, metavar="N", help=text
        )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument(
        "--text",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="text in UTF-8 (default: CPython's documentation topics)",
    )
    group.add_argument(
        "--out",
        type=Path,
        default=Path("exactrnn-lm.safetensors"),
        metavar="FILE",
        help="where the model goes",
    )
    until = group.add_mutually_exclusive_group()
    until.add_argument(
        "--steps", type=positive_int, default=DEFAULT_STEPS, metavar="N", help="steps"
    )
    until.add_argument(
        "--seconds",
        type=positive_float,
        default=argparse.SUPPRESS,
        metavar="S",
        help="train by the clock instead; the model then depends on the speed",
    )
    group.add_argument(
        "--batch", type=positive_int, default=32, metavar="N", help="streams at a time"
    )
    group.add_argument(
        "--length",
        type=positive_int,
        default=64,
        metavar="N",
        help="characters of each",
    )
    group.add_argument(
        "--lr",
        type=natural_float,
        default=5e-3,
        metavar="RATE",
        help="Adam's learning rate, falling linearly to 0",
    )
    group.add_argument(
        "--clip",
        type=positive_float,
        default=1.0,
        metavar="NORM",
        help="largest norm of the gradients",
    )
    group.add_argument(
        "--seed", type=natural_int, default=0, metavar="N", help="seed of everything"
    )
    _add_temperature(parser.add_argument_group("sampling"))


def _add_temperature(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
) -> None:
    parser.add_argument(
        "--temperature",
        type=natural_float,
        default=0.5,
        metavar="T",
        help="0 takes the likeliest character, 1 follows the model's probabilities",
    )


def train(parsed: argparse.Namespace) -> int:
    """Train, save, evaluate and write a sample."""
    apply_engine_options(parsed)
    check_model_files()
    text, source = read_text(parsed.text if "text" in parsed else None)
    check_writable(parsed.out)
    cut = len(text) - max(2, int(len(text) * HELD_OUT))
    training_text, held_out = text[:cut], text[cut:]
    if cut <= parsed.batch:
        raise CommandError(
            f"--text: expected more than {parsed.batch} characters to learn in "
            f"{parsed.batch} streams, got {cut}"
        )
    model = LanguageModel(
        "".join(sorted(set(text))),
        cell=parsed.cell,
        num_layers=parsed.layers,
        hidden_size=parsed.hidden,
        embedding_size=parsed.embedding,
        seed=parsed.seed,
    )
    describe_run(model, text, source)
    interrupted = run_training(model, training_text, parsed)
    model.save(parsed.out)
    digest = hashlib.sha256(parsed.out.read_bytes()).hexdigest()
    print(f"held out  {model.evaluate(held_out):.3f} bits per character")
    print(f"saved     {parsed.out} (SHA-256 {digest})")
    print(f"sample    temperature {parsed.temperature}\n")
    start = first_line(text)
    write_sample(model, start, 600, parsed.temperature, parsed.seed)
    print(f"\nmore      exactrnn lm sample {parsed.out} --prompt ...")
    return INTERRUPTED if interrupted else 0


def read_text(path: Path | None) -> tuple[str, str]:
    """Return the text to learn and what to call it."""
    if path is None:
        try:
            from pydoc_data.topics import topics
        except ImportError:
            raise CommandError(
                "this Python comes without its documentation: give --text FILE"
            ) from None
        return "".join(topics[name] for name in sorted(topics)), "CPython's topics"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--text: {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"--text: {path}: not UTF-8 at byte {error.start}") from None
    return text, str(path)


def first_line(text: str) -> str:
    """Return the first line of a text with its end, if it is not too long."""
    end = text.find("\n") + 1
    return text[:end] if 0 < end <= FIRST_LINE else text[:FIRST_LINE]


def check_model_files() -> None:
    """Raise if the package that model files need is missing."""
    if importlib.util.find_spec("safetensors") is None:
        raise CommandError(
            "model files need safetensors: pip install 'exactrnn[lm]', or pip install "
            "safetensors"
        )


def check_writable(path: Path) -> None:
    """Raise if a file at `path` cannot be written, before time is spent on it."""
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise CommandError(f"--out: {path}: {error.strerror}") from None
    if not existed:
        path.unlink()


def describe_run(model: LanguageModel, text: str, source: str) -> None:
    """Print what is about to happen."""
    sizes = model.config
    print(
        f"text      {source}: {len(text):,} characters, {len(model.alphabet)} "
        f"different, last {HELD_OUT:.0%} held out"
    )
    print(
        f"model     {str(sizes['cell']).upper()} {sizes['num_layers']} x "
        f"{sizes['hidden_size']}, {model.num_parameters:,} parameters"
    )
    count = engine.get_num_threads()
    plural = "s" if count > 1 else ""
    print(f"engine    {engine.isa()}, {count} thread{plural}", flush=True)


def run_training(model: LanguageModel, text: str, parsed: argparse.Namespace) -> bool:
    """Train with progress shown; return whether Ctrl-C stopped it."""
    timed = "seconds" in parsed
    steps = model.training(
        text,
        steps=None if timed else parsed.steps,
        seconds=parsed.seconds if timed else None,
        batch_size=parsed.batch,
        length=parsed.length,
        lr=parsed.lr,
        clip=parsed.clip,
    )
    progress, interrupted = None, False
    with note_interrupt() as stops, make_reporter() as reporter:
        for progress in steps:
            reporter.show(progress)
            if stops:
                interrupted = True
                break
    if progress is not None:
        at = "stopped by Ctrl-C at" if interrupted else "trained  "
        print(f"{at} step {progress.step}, {progress.seconds:.1f} s")
        if progress.skipped:
            print(f"warning   {progress.skipped} steps left out: gradients not finite")
    return interrupted


@contextlib.contextmanager
def note_interrupt() -> Iterator[list[int]]:
    """Collect the first Ctrl-C in a list, so that no step is cut in half.

    A second one raises KeyboardInterrupt as usual.
    """
    stops: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if stops:
            raise KeyboardInterrupt
        stops.append(number)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: signals go elsewhere
        yield stops
        return
    try:
        yield stops
    finally:
        signal.signal(signal.SIGINT, before)


def sample(parsed: argparse.Namespace) -> int:
    """Load a model and let it write."""
    apply_engine_options(parsed)
    check_model_files()
    try:
        model = LanguageModel.load(parsed.model)
    except OSError as error:
        raise CommandError(f"{parsed.model}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    write_sample(model, parsed.prompt, parsed.length, parsed.temperature, parsed.seed)
    return 0


def write_sample(
    model: LanguageModel, prompt: str, length: int, temperature: float, seed: int
) -> None:
    """Print the prompt and what the model writes, as it writes."""
    try:
        characters = model.sample(
            prompt, length=length, temperature=temperature, seed=seed
        )
    except ValueError as error:
        raise CommandError(f"--prompt: {error}") from None
    sys.stdout.write(prompt)
    for character in characters:
        sys.stdout.write(character)
        sys.stdout.flush()
    sys.stdout.write("\n")
