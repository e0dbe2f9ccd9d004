"""Layers, cells and models of them on disk, as safetensors files.

A file holds the weights under their names and one metadata entry `exactrnn`, a JSON
object: `class`, `arguments` of the constructor, `numerics` (the version of the numerics
contract under which it was written), `generator` (the state from which dropout goes on)
and `sha256`. It is one entry because the order of several is not fixed in the file: so
equal layers give equal files, to the byte.

`sha256` is the checksum of all else: of the entry without it, and by name in sorted
order of each array's name, dtype, shape and little-endian bytes (`_digest`). The text
of the entry has one form, too, so that no bit of a file can change unseen. A file from
before there were checksums has none and is taken as it is; but not if it has an entry
that files had not then, as a damaged name is.

A file of several parts has, instead of class, arguments and generator, `parts`: a list
of pairs, the name of a part and a description of these three. Its weights are named
`encoder.weight_ih_l0`, as torch names those of a model's modules.

A `Sequential` has as its class that name and `parts`, a list of pairs too, in which
parts may be `Sequential` again, or `Last`. Of any other composite a file holds no
wiring, which is code: its class is `Composite`, `modules` are pairs of the names that
modules have in the whole, with dots, and their descriptions, and `load` copies them
into a model that the caller has made. `layers/_described.py` makes descriptions, and
models of them.

`write_file` and `read_file` are the same for anything else that is made of named arrays
and a description, such as the language model. What damaged or hostile content raises,
`bad_content` makes a `ValueError` that names the file; sizes that it claims are
compared with the arrays that are there before anything is allocated for them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO, RawIOBase, TextIOBase
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np

from exactrnn._checks import Array, describe
from exactrnn._checks.limits import quote, quote_names, shorten
from exactrnn._system import files, shown
from exactrnn.engine import NUMERICS_VERSION
from exactrnn.layers import _described
from exactrnn.layers._composite import Composite
from exactrnn.layers._described import Model, Part, describe_layer, restore_layer

__all__ = [
    "bad_content",
    "content_of",
    "describe_layer",
    "load",
    "read_file",
    "restore_layer",
    "save",
    "write_file",
]
__dir__ = shown.lists(globals())

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""What can be read: a path, a file's content, or a binary file."""
Target: TypeAlias = str | os.PathLike[str] | BinaryIO
"""Where a model can go."""

ENTRY = "exactrnn"
CHECKSUM = "sha256"
OLD_ENTRIES = {"class", "arguments", "numerics", "generator", "alphabet"}
"""What the descriptions of files without a checksum hold."""
HDF5_START = b"\x89HDF\r\n\x1a\n"
ONNX_START = re.compile(
    rb"\x08[\x01-\x1f](?:[\x12\x1a\x22\x32\x3a\x42]|\x28.)", re.DOTALL
)
"""An ONNX file has no mark: it begins with a small version, and one of its fields."""
LONGEST_NAME = 300
BAD_CONTENT: tuple[type[Exception], ...] = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(RecursionError, MemoryError),
)
"""What parsing a damaged description or building a layer from it may raise."""
BAD_ZIP: tuple[type[Exception], ...] = (
    *BAD_CONTENT,
    *(zipfile.BadZipFile, EOFError, RuntimeError, struct.error, zlib.error),
)
"""What listing a damaged zip file, or reading out of one, may raise."""

SAFETENSORS_ADVICE = (
    "reading and writing models needs safetensors: pip install 'exactrnn[lm]'"
)
_KERAS = "exactrnn.keras.from_keras takes models that Keras saved"
_ONNX = "exactrnn.onnx.from_onnx takes the recurrent nodes of ONNX models"


def save(layer: Model | Mapping[str, Part], path: Target) -> None:
    """Write a layer, a cell, a model, or several layers in one file.

    Parameters
    ----------
    layer : RNN, LSTM, ..., Embedding or Linear, Sequential, Composite, or a mapping
        What to write: weights, options, and where dropout's random numbers stand. A
        mapping of names to layers, a composite's `parts` too, is a model of several
        parts. Of a `Sequential` the
        file has the parts and their order; of another `Composite` the parts alone,
        never the code that joins them: `load` takes a model of the same parts for it.
    path : str, path-like or binary file
        Where it goes. An old file is replaced only when the new one is complete and on
        the disk; the new one has its mode, and stands where a symbolic link points.

    Raises
    ------
    TypeError
        If `layer`, or a part of it, is something else, as an object of a class derived
        from a layer's is.
    ValueError
        If a name of a part is empty or has a dot, one layer is two parts, or the path
        is that of a FIFO, a device or a socket.
    ImportError
        If the package safetensors is missing.
    OSError
        If the file cannot be written; what was there is there still.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import exactrnn as xr
    >>> layer = xr.GRU(3, 4, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "gru.safetensors"
    ...     xr.save(layer, path)
    ...     xr.load(path)
    GRU(3, 4)
    """
    if isinstance(layer, Mapping):
        parts = _described.as_parts(dict(layer))
        description = _described.describe_parts(parts)
        arrays = _described.weights_of_parts(parts)
    elif isinstance(layer, Composite):
        description, arrays = _described.describe_model(layer), layer.state_dict()
    else:
        description, arrays = describe_layer(layer), layer.state_dict()
    write_file(path, arrays, {**description, "numerics": NUMERICS_VERSION})


def load(path: Source, *, into: Any = None) -> Any:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str, path-like, bytes-like or binary file
        The file, its content, or an open file.
    into : layer, Sequential, Composite or mapping of names to layers, optional
        Takes over the weights and where dropout's random numbers stand, all of them or
        none, and is returned. Its layers must be those of the file: their names,
        classes and arguments, but for `dropout`, `init` and `forget_bias`. A model of a
        class of your own needs it, whose wiring no file holds.

    Returns
    -------
    RNN, LSTM, ..., EchoState, RNNCell, ..., Embedding, Linear, Sequential or dict
        Equal to what was written, to the bit; parts in their order. A dict if a mapping
        was written.

    Raises
    ------
    ValueError
        If the file is not such a file, or a single bit of it is not as it was written;
        if it holds other layers than `into`, or needs one.
        A file without a checksum, as all were once, is taken; damage to the values of
        its weights is not seen.
    TypeError
        If `into` is nothing that a file can hold.
    ImportError
        If the package safetensors is missing.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If it was written under another version of the numerics contract: the weights
        are the same, results may differ in bits.

    Examples
    --------
    >>> import io
    >>> import exactrnn as xr
    >>> file = io.BytesIO()
    >>> encoder, readout = xr.GRU(3, 4, seed=1), xr.train.Linear(4, 2, seed=1)
    >>> xr.save({"encoder": encoder, "readout": readout}, file)
    >>> xr.load(file.getvalue())
    {'encoder': GRU(3, 4), 'readout': Linear(4, 2)}
    """
    receiver = None if into is None else _described.Receiver(into)
    weights, description = read_file(path)
    what = "an exactrnn layer" if into is None else "a file of the layers of into"
    with bad_content(path, what):
        if receiver is not None:
            receiver.take(description, weights)
            found = into
        elif "class" not in description:
            found = _described.restore_parts(description["parts"], weights)
        else:
            found = _described.restore_model(description, weights)
        numerics = int(description["numerics"])
    if numerics != NUMERICS_VERSION:
        warnings.warn(
            f"{name_of(path)} was written under numerics version {quote(numerics)}, "
            f"this is version {NUMERICS_VERSION}: results may differ in bits",
            stacklevel=2,
        )
    return found


def write_file(
    path: Target, arrays: Mapping[str, Array], description: Mapping[str, Any]
) -> None:
    """Write named arrays and a description, completely or not at all."""
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise ImportError(SAFETENSORS_ADVICE) from error
    checked = {**description, CHECKSUM: _digest(arrays, description)}
    content = save(dict(arrays), metadata={ENTRY: _as_text(checked)})
    if isinstance(path, str | os.PathLike):
        files.replace_file(path, content)
    elif isinstance(cast(Any, path), TextIOBase) or not hasattr(path, "write"):
        got = describe(path)
        raise TypeError(f"path: expected a path or a binary file, got {got}")
    else:
        _write_all(path, content)


def _write_all(file: BinaryIO, content: bytes) -> None:
    """Write to a binary file; one without a buffer may take a part at a time."""
    left = memoryview(content)
    while left:
        written: Any = file.write(left)
        if written is None and not isinstance(cast(Any, file), RawIOBase):
            return  # a file of somebody's own, which says nothing
        if not written:
            raise BlockingIOError(f"path: {name_of(file)} takes no more bytes")
        left = left[written:]


def read_file(path: Source) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the named arrays and the description that `write_file` wrote."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError as error:
        raise ImportError(SAFETENSORS_ADVICE) from error
    content = content_of(path)
    with bad_content(path, "a model file", SafetensorError):
        try:
            arrays = load(content)
        except SafetensorError:
            _refuse_foreign(content)
            raise
        text = _entry_of(content, arrays)
        description = json.loads(text)
        if not isinstance(description, dict):
            raise TypeError("the description is not a JSON object")
        _check_digest(arrays, description, text)
    return arrays, description


@contextlib.contextmanager
def bad_content(
    path: Source, what: str, *more: type[Exception], argument: str = "path"
) -> Iterator[None]:
    """Make a ValueError that names the file of whatever its content raises."""
    kinds = BAD_CONTENT + more
    try:
        yield
    except kinds as error:
        reason = f"{type(error).__name__}: {shorten(error)}"
        name = name_of(path)
        raise ValueError(f"{argument}: not {what}: {name} ({reason})") from error


def name_of(path: Source) -> str:
    """Return what to call a file in a message."""
    if isinstance(path, str | os.PathLike):
        return shorten(os.fspath(path), LONGEST_NAME)
    return shorten(getattr(path, "name", None) or type(path).__name__, LONGEST_NAME)


def content_of(path: Source) -> bytes:
    """Return the bytes of a file, wherever they are."""
    if isinstance(path, str | os.PathLike):
        return files.read_whole(path)
    if not hasattr(path, "read"):
        return _bytes_of(path)
    content = cast(Any, path).read()
    if not isinstance(content, bytes):
        got = type(content).__name__
        raise TypeError(f"path: expected a binary file, got one of {got}")
    return content


def _bytes_of(buffer: Any) -> bytes:
    """Return the content of a buffer, of bytes without a copy."""
    try:
        return buffer if isinstance(buffer, bytes) else bytes(memoryview(buffer))
    except TypeError:
        raise TypeError(
            "path: expected a path, the content of a file or a binary file, got "
            f"{describe(buffer)}"
        ) from None


def _entry_of(content: bytes, arrays: Mapping[str, Array]) -> str:
    """Return the text of our entry in the metadata; safetensors has been over it."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size].decode("utf-8"))
    metadata = header.get("__metadata__") or {}
    if ENTRY not in metadata:
        raise ValueError(
            f"it is a safetensors file with {quote_names(arrays)}, but no layer that "
            "exactrnn.save wrote; exactrnn.from_torch(path) takes weights that are "
            "named as in torch.nn"
        )
    return cast(str, metadata[ENTRY])


def _refuse_foreign(content: bytes) -> None:
    """Raise an error that says what a file is that another library wrote, if known."""
    if content.startswith(HDF5_START):
        raise ValueError(f"it is an HDF5 file, not a safetensors file; {_KERAS}")
    if ONNX_START.match(content):
        raise ValueError(f"it is an ONNX model, not a safetensors file; {_ONNX}")
    if not zipfile.is_zipfile(BytesIO(content)):
        return
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
    except BAD_ZIP:
        return
    if "data.pkl" in members:
        raise ValueError(
            "it is a file of torch.save; exactrnn.from_torch(path) takes its weights"
        )
    if "model.weights.h5" in members:
        raise ValueError(f"it is a Keras model, not a safetensors file; {_KERAS}")


# Checksum


def _as_text(description: Mapping[str, Any]) -> str:
    """Return the one form in which a description is written."""
    return json.dumps(description, sort_keys=True)


def _digest(arrays: Mapping[str, Array], description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a description and of arrays by name."""
    found = hashlib.sha256(_as_text(description).encode("ascii"))
    for name in sorted(arrays):
        array = arrays[name]
        order = array.dtype.newbyteorder("<")
        head = json.dumps([name, order.str, array.shape])
        found.update(f"\n{head}\n".encode("ascii"))
        found.update(cast(Any, np.ascontiguousarray(array, order)))
    return found.hexdigest()


def _check_digest(
    arrays: Mapping[str, Array], description: dict[str, Any], text: str
) -> None:
    """Raise unless all is as it was written; take the checksum out."""
    if CHECKSUM not in description:
        unknown = description.keys() - OLD_ENTRIES
        if unknown:
            names = quote_names(sorted(unknown))
            raise ValueError(f"it has no checksum, but entries {names}")
        return
    same_text = _as_text(description) == text
    expected = description.pop(CHECKSUM)
    if not same_text or expected != _digest(arrays, description):
        raise ValueError("its checksum differs: the file is damaged")
