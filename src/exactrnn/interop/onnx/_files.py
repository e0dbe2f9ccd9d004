"""ONNX models as they come: a path, bytes or a ModelProto; the numbers of tensors.

A model is read without what lies beside it, and no more of that than is asked for:
external data are read tensor by tensor, from files in the model's own folder or below
it. What a tensor claims is compared with what is there before memory is taken for it.
What damaged content raises, `reading` makes a ValueError that names the file.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from exactrnn._checks import Array, describe
from exactrnn._checks.limits import check_memory, quote, shorten
from exactrnn._system import files
from exactrnn.io import BAD_CONTENT, bad_content

Model: TypeAlias = str | os.PathLike[str] | bytes | Any
"""A path, a file's content, or a `ModelProto`."""

READ = frozenset(
    {
        *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"),
        *("INT8", "UINT8", "INT16", "UINT16", "INT32", "INT64"),
    }
)
"""Types of tensors that are read."""

_ADVICE = "ONNX models need onnx: pip install 'exactrnn[onnx]'"


class RefusedError(ValueError):
    """What cannot be taken, in words of ours that need no others around them."""


def import_onnx() -> Any:
    """Return the module onnx, or raise an error that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(_ADVICE) from error
    return onnx


class Source:
    """A model and where its tensors' numbers are.

    Attributes
    ----------
    model : ModelProto
        Functions of its own are inlined.
    stored : int
        Bytes that are there, of the model and of external data read so far.
    """

    def __init__(self, model: Any, folder: Path | None) -> None:
        self.model, self._folder = model, folder
        self.stored = int(model.ByteSize())
        self._onnx = import_onnx()

    def read(self, tensor: Any) -> Array:
        """Return the numbers of a TensorProto."""
        kinds = self._onnx.TensorProto.DataType
        known = tensor.data_type in kinds.values()
        kind = kinds.Name(tensor.data_type) if known else tensor.data_type
        if kind not in READ:
            raise RefusedError(f"numbers of type {quote(kind)} are not read here")
        if any(size < 0 for size in tensor.dims):
            raise RefusedError(f"its shape is {shorten(tuple(tensor.dims), 40)}")
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            return self._read_external(tensor)
        found: Array = self._onnx.numpy_helper.to_array(tensor)
        return found

    def _read_external(self, tensor: Any) -> Array:
        """Return numbers that lie in a file beside the model."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._beside(location)
        dtype = self._onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        dims = tuple(tensor.dims)
        size = math.prod(dims) * dtype.itemsize
        claimed = int(entries.get("length", size))
        offset = int(entries.get("offset", 0))
        if claimed != size or offset < 0:
            got = f"{claimed} at {offset}"
            raise RefusedError(f"expected {size} bytes of {quote(location)}, got {got}")
        check_memory(f"a tensor of shape {dims}", "external data", size)
        content = _read_part(path, offset, size)
        if len(content) < size:
            raise RefusedError(
                f"expected {size} bytes of {quote(location)} at {offset}, got "
                f"{len(content)}"
            )
        self.stored += size
        little = dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype
        return np.frombuffer(content, little).reshape(dims)

    def _beside(self, location: str) -> Path:
        """Return the file that a tensor names: in the model's folder or below it."""
        if self._folder is None:
            file = quote(location)
            raise RefusedError(f"its numbers are in {file}: give the model's path")
        parts = PurePosixPath(location)
        folder = self._folder.resolve()
        path = (folder / parts).resolve()
        if not location or parts.is_absolute() or not path.is_relative_to(folder):
            got = quote(location)
            raise RefusedError(f"expected a file in the model's folder, got {got}")
        return path


def _read_part(path: Path, offset: int, size: int) -> bytes:
    """Return bytes of a regular file, as many as there are."""
    files.check_regular(path, path.stat().st_mode)
    opened = os.open(path, files.TO_READ)
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        files.check_regular(path, found.st_mode)
        file.seek(offset)
        return file.read(min(size, max(0, found.st_size - offset)))


def take_content(model: Model) -> tuple[Any, Path | None]:
    """Return bytes or a `ModelProto`, and the folder of a path."""
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model), None
    if isinstance(model, str | os.PathLike):
        return files.read_whole(model), Path(model).parent
    if not isinstance(model, import_onnx().ModelProto):
        got = describe(model)
        expected = "a path, bytes or an onnx.ModelProto"
        raise TypeError(f"model: expected {expected}, got {got}")
    return model, None


def open_model(content: Any, folder: Path | None) -> Source:
    """Return a model that has a graph, its own functions inlined."""
    onnx = import_onnx()
    model = _parsed(onnx, content) if isinstance(content, bytes) else content
    if not model.HasField("graph") or not model.opset_import:
        raise RefusedError("not an ONNX model: it has no graph or no opset")
    return Source(_inlined(onnx, model) if model.functions else model, folder)


def _inlined(onnx: Any, model: Any) -> Any:
    """Return a model whose graphs have what is in its functions.

    Functions of another opset are brought to the model's, for which onnx has to know
    the types of what they read; those for which it cannot stay functions.
    """
    from onnx import inliner

    plain = inliner.inline_local_functions(model)
    if not plain.functions:
        return plain
    try:
        typed = onnx.shape_inference.infer_shapes(plain)
        known = {given.name for given in (*typed.graph.value_info, *typed.graph.input)}
        typed.graph.value_info.extend(
            onnx.helper.make_tensor_value_info(own.name, own.data_type, own.dims)
            for own in typed.graph.initializer
            if own.name not in known
        )
        return inliner.inline_local_functions(typed, convert_version=True)
    except RuntimeError:
        return plain


def _parsed(onnx: Any, content: bytes) -> Any:
    """Return the model that bytes are."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # a class of protobuf, which is not imported for it
        raise RefusedError(f"not an ONNX model ({shorten(error)})") from error
    return model


@contextlib.contextmanager
def reading(model: Model) -> Iterator[None]:
    """Make a ValueError of what content raises; ours stay as they are."""
    more = (RuntimeError,)  # of onnx's reference implementation
    by_path = isinstance(model, str | os.PathLike)
    name = shorten(os.fspath(model), 300) if by_path else type(model).__name__
    try:
        yield
    except RefusedError as error:
        raise ValueError(f"model: {name}: {error}") from error
    except BAD_CONTENT + more as error:
        if by_path:
            with bad_content(model, "an ONNX model", *more):
                raise
        reason = f"{type(error).__name__}: {shorten(error)}"
        raise ValueError(f"model: not an ONNX model: {name} ({reason})") from error
