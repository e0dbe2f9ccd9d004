"""``exactrnn lm``: train a language model, and let it write.

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
import io
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from exactrnn import engine
from exactrnn._checks.limits import shorten
from exactrnn._system.files import replace_file
from exactrnn.cli._arguments import (
    INTERRUPTED,
    CommandError,
    HelpFormatter,
    add_engine_options,
    apply_engine_options,
    check_writable,
    natural_float,
    natural_int,
    positive_float,
    positive_int,
)
from exactrnn.cli._interrupts import Interrupts, note_interrupts
from exactrnn.cli._output import is_read, say
from exactrnn.cli._progress import make_reporter
from exactrnn.cli._run_file import RunFile, run_path
from exactrnn.cli._text import default_text, read_text
from exactrnn.train import LanguageModel, Training
from exactrnn.train._model_spec import CELLS
from exactrnn.train._sharing import Sharing
from exactrnn.train._units import UNITS

if TYPE_CHECKING:
    from exactrnn.cli._arguments import Subparsers

HELD_OUT = 0.05
LEAST_HELD_OUT = 2
"""Characters: one to read and the one that follows it."""
LONGEST_STEM = 50
DEFAULT_STEPS = 1300
SHARDS = 8
"""Of workers, unless the caller says otherwise."""
FIRST_LINE = 80
MODEL = Path("exactrnn-lm.safetensors")
"""Where a model goes, and where one is looked for."""

TRAIN_HELP = """\
Train a language model of characters, bytes or words on a text and print a sample of
what it writes.

The text is --text FILE, or the documentation topics that CPython ships; its last 5 %
are held out and measured at the end. Ctrl-C stops early and keeps the model (exit
status 130); a second one stops at once. What was begun is kept beside the model, in
MODEL.run, every minute and at Ctrl-C: --resume goes on from there and ends with the
bytes of a run without a break. FILE may be a pipe, or - for standard input. If
the model cannot be written where --out says, as on a full disk, it goes into another
folder and the exit status is 2.
"""
COSTS = {
    "0.25": ("clockwork", "indrnn", "mingru", "minlstm"),
    "0.4": ("jordan", "leaky", "rnn", "sru"),
    "0.5": ("janet", "mgu", "ugrnn"),
    "0.75": ("gru", "gru_before", "mut1"),
    "0.9": ("lstm_1997", "mut2", "mut3"),
    "1": ("lstm", "slstm"),
    "1.2": ("depth_gated",),
    "3": ("grid",),
}
"""Time of a step with each cell, as a share of that with an LSTM, about."""
TRAIN_EXAMPLES = """\
One of the 1300 steps (32 streams of 64 symbols, one layer of 256 units) takes about 60
ms with an LSTM on one core of Zen 4. With other cells, as a share of that:

{costs}

Time and memory grow as --batch, --length and --layers do, time also nearly as the
square of --hidden. With --unit words each of the words is a row of --hidden weights.

examples:
  exactrnn lm
  exactrnn lm --cell gru --layers 2 --seconds 120
  exactrnn lm --unit words --cell mingru --steps 5000
  exactrnn lm --steps 5000 --resume
  exactrnn lm --hidden 1024 --batch 64 --workers 2
  exactrnn lm --text war-and-peace.txt --hidden 512 --out tolstoy.safetensors
  exactrnn lm sample tolstoy.safetensors --prompt "Well, Prince"
""".format(costs="\n".join(f"  {k:6}{', '.join(own)}" for k, own in COSTS.items()))
SAMPLE_HELP = "Let a model that `exactrnn lm` has trained write on from a prompt."


def add_command(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "lm",
        help="train a language model, and let it write",
        description=TRAIN_HELP,
        epilog=TRAIN_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=train)
    _add_model_options(parser)
    _add_training_options(parser)
    add_engine_options(parser)
    _add_workers(parser)
    actions = parser.add_subparsers(metavar="ACTION", title="then", dest="action")
    _add_sample_command(actions)


def _add_sample_command(actions: Subparsers) -> None:
    parser = actions.add_parser(
        "sample",
        help=SAMPLE_HELP,
        description=SAMPLE_HELP,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=sample)
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        nargs="?",
        default=MODEL,
        help="the model file",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", default="", help="what comes before"
    )
    parser.add_argument(
        "--length", type=positive_int, default=1000, metavar="N", help="symbols"
    )
    _add_temperature(parser)
    parser.add_argument(
        "--seed", type=natural_int, default=0, metavar="N", help="seed of the choices"
    )
    add_engine_options(parser)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--cell",
        choices=CELLS,
        default="lstm",
        metavar="CELL",
        help="recurrent cell, one of " + ", ".join(CELLS),
    )
    group.add_argument(
        "--unit",
        choices=UNITS,
        default="characters",
        help="what is read and written at a time",
    )
    group.add_argument(
        "--words",
        type=positive_int,
        default=5000,
        metavar="N",
        help="with --unit words, the words that are symbols; others are spelt",
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
        help="text in UTF-8, - for standard input (default: CPython's documentation "
        "topics)",
    )
    group.add_argument(
        "--out",
        type=Path,
        default=MODEL,
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
        help="symbols of each",
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
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on from MODEL.run, if there is one, with the same options",
    )
    _add_temperature(parser.add_argument_group("sampling"))


def _add_workers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "workers",
        "Shards change the sums, and so the bits; workers never do: with equal "
        "--shards the model has the same SHA-256 for any number, 0 too.",
    )
    group.add_argument(
        "--workers",
        type=natural_int,
        default=argparse.SUPPRESS,
        metavar="N",
        help="processes that compute, with --threads each (default 1); at most one for "
        "each shard",
    )
    group.add_argument(
        "--shards",
        type=positive_int,
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"parts into which the streams are cut (default: {SHARDS} with --workers, "
        "else none)",
    )


def _add_temperature(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
) -> None:
    parser.add_argument(
        "--temperature",
        type=natural_float,
        default=0.5,
        metavar="T",
        help="0 takes the likeliest symbol, 1 follows the model's probabilities",
    )


def train(parsed: argparse.Namespace) -> int:
    """Train, save, evaluate and write a sample."""
    apply_engine_options(parsed)
    check_model_files()
    check_out(parsed)
    text, source = read_text(parsed.text) if "text" in parsed else default_text()
    training_text, held_out = split_text(text, source, parsed.batch)
    model = make_model(text, training_text, parsed)
    run = RunFile(parsed)
    steps = make_training(model, training_text, parsed)
    run.begin(steps, parsed.resume)
    describe_run(model, text, source, sharing_of(parsed))
    with note_interrupts() as interrupts:
        run_training(steps, interrupts, run)
        content = io.BytesIO()
        model.save(content)
        place, complaint = keep(content.getvalue(), parsed.out)
        kept = run.end(begun=bool(interrupts.count))
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    say(f"held out  {describe_bits(model, held_out)}")
    say(f"saved     {place} (SHA-256 {digest})")
    if kept:
        say(f"run       {kept}; the same command with --resume goes on")
    say(f"sample    temperature {parsed.temperature}\n")
    start = first_line(text)
    write_sample(model, start, 600, parsed.temperature, parsed.seed)
    say(f"\nmore      exactrnn lm sample {place} --prompt ...")
    if complaint:
        raise CommandError(complaint)
    return INTERRUPTED if interrupts.count else 0


def describe_bits(model: LanguageModel, text: str) -> str:
    """Return the loss of a text in words."""
    symbols = len(model.encode(text))
    if symbols < LEAST_HELD_OUT:
        return "one word, behind which nothing could be foretold"
    bits = model.evaluate(text)
    if model.unit == "characters":
        return f"{bits:.3f} bits per character"
    each = bits * (symbols - 1) / (len(text) - 1)
    return f"{bits:.3f} bits per {model.unit[:-1]}, {each:.3f} per character"


def check_out(parsed: argparse.Namespace) -> None:
    """Raise if the model cannot be written, or a file would replace the text."""
    check_writable("--out", parsed.out)
    for path in (parsed.out, run_path(parsed.out)):
        with contextlib.suppress(OSError):
            if "text" in parsed and path.samefile(parsed.text):
                raise CommandError(
                    f"--out: expected another file than --text {parsed.text}, which "
                    f"{path} would replace"
                )


def split_text(text: str, source: str, streams: int) -> tuple[str, str]:
    """Return the part to learn and the part to measure."""
    if not text:
        raise CommandError(f"--text: {source}: expected a text, got nothing")
    cut = len(text) - max(LEAST_HELD_OUT, int(len(text) * HELD_OUT))
    if cut <= streams:
        least = streams + 1 + LEAST_HELD_OUT
        raise CommandError(
            f"--text: {source}: expected at least {least} characters, more than "
            f"{streams} to learn in {streams} streams (--batch) and {LEAST_HELD_OUT} "
            f"to measure, got {len(text)}"
        )
    return text[:cut], text[cut:]


def make_model(
    text: str, training_text: str, parsed: argparse.Namespace
) -> LanguageModel:
    """Return a new model of the symbols of a text: its words are what it is taught."""
    alphabet = LanguageModel.find_alphabet(text, parsed.unit, parsed.words)
    if parsed.unit == "words":
        taught = LanguageModel.find_alphabet(training_text, "words", parsed.words)
        alphabet = (*sorted(set(text)), *(word for word in taught if len(word) > 1))
    try:
        return LanguageModel(
            alphabet,
            unit=parsed.unit,
            cell=parsed.cell,
            num_layers=parsed.layers,
            hidden_size=parsed.hidden,
            embedding_size=parsed.embedding,
            seed=parsed.seed,
        )
    except ValueError as error:
        raise CommandError(str(error)) from None


def keep(content: bytes, path: Path) -> tuple[Path, str]:
    """Write a trained model, elsewhere if need be; return where, and a complaint.

    The complaint is empty if the model is where it was wanted.

    Raises
    ------
    CommandError
        If there is no place for it.
    """
    try:
        replace_file(path, content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or shorten(error)
    else:
        return path, ""
    name = f"{path.stem[:LONGEST_STEM]}-{secrets.token_hex(4)}.safetensors"
    for find in (Path.cwd, lambda: Path(tempfile.gettempdir()), Path.home):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            other = find() / name
            replace_file(other, content)
            return other, f"--out: {path}: {reason}; the model is in {other}"
    raise CommandError(f"--out: {path}: {reason}; no other folder takes the model")


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


def sharing_of(parsed: argparse.Namespace) -> dict[str, int]:
    """Return what workers are told, as options of a training; none without any."""
    if not {"workers", "shards"} & {*vars(parsed)}:
        return {}
    return {
        "workers": getattr(parsed, "workers", 0),
        "shards": getattr(parsed, "shards", SHARDS),
        "threads": getattr(parsed, "threads", 1),
    }


def describe_run(
    model: LanguageModel, text: str, source: str, sharing: Mapping[str, int]
) -> None:
    """Print what is about to happen."""
    sizes = model.config
    what = "different" if model.unit == "characters" else f"symbols ({model.unit})"
    say(
        f"text      {source}: {len(text):,} characters, {len(model.alphabet):,} "
        f"{what}, last {HELD_OUT:.0%} held out"
    )
    say(
        f"model     {str(sizes['cell']).upper()} {sizes['num_layers']} x "
        f"{sizes['hidden_size']}, {model.num_parameters:,} parameters"
    )
    count = sharing.get("workers", 0)
    threads = counted(
        sharing["threads"] if count else engine.get_num_threads(), "thread"
    )
    who = f"{counted(count, 'worker')} of {threads}" if count else threads
    cut = f", {counted(sharing['shards'], 'shard')}" if sharing else ""
    say(f"engine    {engine.isa()}, {who}{cut}")


def counted(count: int, name: str) -> str:
    """Return how many there are in words."""
    return f"{count} {name}{'s' if count > 1 else ''}"


def make_training(
    model: LanguageModel, text: str, parsed: argparse.Namespace
) -> Training:
    """Return the steps of a training, or raise for an option."""
    timed = "seconds" in parsed
    try:
        return model.training(
            text,
            steps=None if timed else parsed.steps,
            seconds=parsed.seconds if timed else None,
            batch_size=parsed.batch,
            length=parsed.length,
            lr=parsed.lr,
            clip=parsed.clip,
            **cast(Sharing, sharing_of(parsed)),
        )
    except ValueError as error:
        reason = str(error)
        if reason.startswith("sequence: "):
            reason = f"text: expected more than {parsed.batch} {model.unit} (--batch)"
        raise CommandError(f"--{reason}") from None


def run_training(steps: Training, interrupts: Interrupts, run: RunFile) -> None:
    """Train with progress shown, to the end or the first Ctrl-C."""
    run.say_where()
    last = None
    with (
        contextlib.closing(steps),
        of_workers(),
        make_reporter() as reporter,
        interrupts.ending_steps(),
    ):
        for progress in steps:
            last = progress
            reporter.show(progress)
            if interrupts.count:
                break
            run.keep_now_and_then()
    if last is None:
        say("stopped by Ctrl-C in the first step")
        return
    at = "stopped by Ctrl-C at" if interrupts.count else "trained  "
    say(f"{at} step {last.step}, {last.seconds:.1f} s")
    if last.skipped:
        say(f"warning   {last.skipped} steps left out: gradients not finite")


@contextlib.contextmanager
def of_workers() -> Iterator[None]:
    """Say in one line what goes wrong with workers."""
    try:
        yield
    except RuntimeError as error:
        from exactrnn.distributed import EngineError  # which takes long to import

        if isinstance(error, EngineError):
            raise CommandError(f"--{error}") from None
        raise


def sample(parsed: argparse.Namespace) -> int:
    """Load a model and let it write."""
    apply_engine_options(parsed)
    check_model_files()
    try:
        model = LanguageModel.load(parsed.model)
    except OSError as error:
        hint = "; `exactrnn lm` makes one" if parsed.model == MODEL else ""
        raise CommandError(f"{parsed.model}: {error.strerror}{hint}") from None
    except ValueError as error:
        raise CommandError(str(error).removeprefix("path: ")) from None
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
        reason = str(error)
        if reason.startswith("text: "):
            reason = f"prompt: {reason.removeprefix('text: ')}"
        raise CommandError(f"--{reason}") from None
    say(prompt, end="")
    for character in characters:
        say(character, end="")
        if not is_read():
            return
    say()
