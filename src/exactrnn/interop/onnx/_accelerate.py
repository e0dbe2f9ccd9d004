"""Sessions of ONNX Runtime whose recurrent nodes are computed here: `accelerate`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import exactrnn._core as _core
from exactrnn import engine
from exactrnn._checks import check_flag
from exactrnn.interop.onnx._files import Model, open_model, reading, take_content
from exactrnn.interop.onnx._rewrite import DOMAIN, Setting, rewrite

OLDEST = (1, 21)
"""The first runtime that finds files beside a model given as bytes.

Its C interface has what our operators need since 1.17; register.c asks it for that.
"""
REGISTERED = f"{DOMAIN}.registered"
"""An entry of session options that says that they have our operators."""
FOLDER = "session.model_external_initializers_file_folder_path"
"""Where the runtime looks for files of numbers beside a model given as bytes."""
_ADVICE = "accelerate needs ONNX Runtime: pip install 'exactrnn[onnx]' onnxruntime"


def accelerate(
    model: Model,
    *,
    session_options: Any = None,
    providers: Any = None,
    dequantize: bool = False,
) -> Any:
    """Make a session of ONNX Runtime whose recurrent nodes are computed here.

    The session is one of ONNX Runtime, with the model's inputs and outputs; `LSTM`,
    `GRU` and `RNN` nodes, also those in branches of `If` and bodies of loops, are
    operators of this library in it. Their numbers have the same bits as a layer of
    `from_onnx`, whatever the threads.

    Parameters
    ----------
    model : str, path-like, bytes or onnx.ModelProto
        The model; it is not changed. Numbers that lie in files beside it are found by
        its path.
    session_options : onnxruntime.SessionOptions, optional
        As for `InferenceSession`; our operators are registered in them.
    providers : sequence, optional
        As for `InferenceSession`. Our operators run on the CPU.
    dequantize : bool
        Whether `DynamicQuantizeLSTM` nodes are taken too. Their weights are then the
        numbers that the integers stand for, and their activations are not quantised:
        nearer to the model before quantisation, and the same bits on every machine, but
        slower than the runtime's products of integers.

    Returns
    -------
    onnxruntime.InferenceSession
        The session. Its attribute `accelerated` is an `Accelerated`: which nodes are
        computed here, and which were left, with the reason.

    Raises
    ------
    ImportError
        If onnx or onnxruntime is missing, or the latter is older than 1.21.
    ValueError
        If the model is none, is damaged, or has operators of an opset that is not
        known here.
    TypeError
        If `model`, `session_options` or `dequantize` is something else.
    OSError
        If a file cannot be read.

    Notes
    -----
    The session keeps the instruction set that is in force, and uses as many threads in
    these nodes as `session_options.intra_op_num_threads` says, or else as
    `get_num_threads` says now; fewer where the calling thread may use fewer. They are
    this library's own threads and not those of the session.

    Source: the nodes are those of the ONNX operators, opset 7 and later.

    Examples
    --------
    >>> from exactrnn.onnx import accelerate
    >>> accelerate("model.onnx")
    Traceback (most recent call last):
        ...
    FileNotFoundError: [Errno 2] No such file or directory: 'model.onnx'
    """
    check_flag("dequantize", dequantize)
    content, folder = take_content(model)
    runtime = _import_runtime()
    options = _check_options(runtime, session_options)
    if not isinstance(content, bytes):
        content = content.SerializeToString()
    threads = options.intra_op_num_threads or engine.get_num_threads()
    with reading(model):
        source = open_model(content, folder)
        done = rewrite(source, Setting(engine.isa(), threads, dequantize))
        content = source.model.SerializeToString()
    if done.accelerated:
        _register(options)
    if folder is not None:
        _say_folder(options, folder)
    session = runtime.InferenceSession(content, options, providers=providers)
    session.accelerated = done
    return session


def _import_runtime() -> Any:
    """Return the module onnxruntime, or raise an error that says how to get it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(_ADVICE) from error
    _check_version(onnxruntime.__version__)
    return onnxruntime


def _check_version(version: str) -> None:
    """Raise for a runtime that is too old."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ImportError(f"onnxruntime: expected {oldest} or later, got {version}")


def _check_options(runtime: Any, options: Any) -> Any:
    """Return session options, new ones for None."""
    if options is None:
        return runtime.SessionOptions()
    if not isinstance(options, runtime.SessionOptions):
        got = type(options).__name__
        raise TypeError(
            f"session_options: expected onnxruntime.SessionOptions or None, got {got}"
        )
    return options


def _has_entry(options: Any, key: str) -> bool:
    """Tell whether session options have an entry."""
    try:
        options.get_session_config_entry(key)
    except RuntimeError:
        return False
    return True


def _register(options: Any) -> None:
    """Let sessions have our operators; the runtime would take them a second time."""
    if not _has_entry(options, REGISTERED):
        options.register_custom_ops_library(str(_core.__file__))
        options.add_session_config_entry(REGISTERED, "1")


def _say_folder(options: Any, folder: Path) -> None:
    """Say where files beside the model are, unless the caller has."""
    if not _has_entry(options, FOLDER):
        options.add_session_config_entry(FOLDER, str(folder.resolve()))
