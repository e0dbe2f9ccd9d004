"""What the measurements are given on the command line, refused before time is spent."""

import argparse
from pathlib import Path

from exactrnn import _core
from exactrnn._system.files import check_target
from exactrnn.cli._arguments import natural_int, positive_float, positive_int

__all__ = ["natural_int", "output", "positive_float", "thread_count"]


def output(text):
    """Return the path of a file that can be written, or of a pipe or a device."""
    path = Path(text)
    if path.exists() and not path.is_file() and not path.is_dir():
        return path
    try:
        check_target(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        reason = str(error).removeprefix("path: ")
        raise argparse.ArgumentTypeError(reason) from None
    return path


def thread_count(text):
    """Return a number of threads that may be asked for."""
    number, limit = positive_int(text), _core.thread_limit()
    if number > limit:
        raise argparse.ArgumentTypeError(f"expected at most {limit}, got {number}")
    return number
