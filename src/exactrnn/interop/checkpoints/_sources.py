"""Named entries of whatever holds weights: files, state_dicts, modules of torch.

A file is a safetensors file or what `torch.save` has written since torch 1.6: a zip
file with a pickle, `data.pkl`, and the memory of each tensor in a member of its own,
uncompressed. A zip file can claim more than it has, in several ways: a member that is
compressed, or twice there, or members that together are larger than the file are
refused. Whether a member is whole its checksum tells, which `zipfile` looks at.
"""

from __future__ import annotations

import contextlib
import functools
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import as_exported, describe
from exactrnn._checks.limits import quote, quote_names
from exactrnn._numeric.rounding import BFLOAT16, type_name, widen_bfloat16
from exactrnn.interop.checkpoints._entries import Entry, check_claim, flatten
from exactrnn.interop.checkpoints._pickles import Claim, read_pickle
from exactrnn.io import BAD_ZIP, SAFETENSORS_ADVICE, bad_content, content_of

ZIP_START = b"PK\x03\x04"
PICKLE_START = b"\x80"
WHAT = "a file of torch or safetensors weights"
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What safetensors calls the dtypes that are taken."""


def entries_of(source: Any) -> dict[str, Entry]:
    """Return the tensors of a source by name.

    Raises
    ------
    ValueError
        If it is a file, and damaged, hostile or of another kind.
    TypeError
        If it is nothing that could hold weights.
    """
    if isinstance(source, Mapping):
        return flatten(source, _entry_of)
    if is_module(source):
        return flatten(source.state_dict(), _entry_of)
    try:
        content = content_of(source)
    except TypeError:
        raise TypeError(
            "source: expected a path, bytes, a binary file, a mapping of tensors or a "
            f"torch.nn.Module, got {describe(source)}"
        ) from None
    except ValueError as error:
        reason = str(error).removeprefix("path: ")
        raise ValueError(f"source: {reason}") from None
    with bad_file(source):
        if content.startswith(ZIP_START):
            return _read_archive(content)
        if content.startswith(PICKLE_START):
            raise ValueError(
                "it is a pickle, which torch.save wrote before torch 1.6: "
                "load it in torch and save it again"
            )
    return _read_safetensors(source, content)


def is_module(source: object) -> bool:
    """Tell whether a source has the manners of a torch.nn.Module."""
    return hasattr(source, "state_dict") and hasattr(source, "named_modules")


@contextlib.contextmanager
def bad_file(source: Any) -> Iterator[None]:
    """Make a ValueError of whatever the content of a file raises."""
    with bad_content(source, WHAT, *BAD_ZIP, argument="source"):
        yield


def _entry_of(name: str, value: Any) -> Entry | None:
    """Return the entry of an array or tensor; None of anything else."""
    if isinstance(value, bytes | str | int | float | list | type | None):
        return None
    dtype, shape = type_name(value), getattr(value, "shape", None)
    if not dtype or not isinstance(shape, tuple):  # an array only when it is asked
        try:
            value = as_exported(name, value)
        except TypeError:
            return None
        dtype, shape = type_name(value), value.shape
    return Entry(dtype, tuple(shape), functools.partial(_read_exported, name, value))


def _read_exported(name: str, value: Any) -> NDArray[Any]:
    """Return a tensor of a mapping; bfloat16 stays what `as_floats` widens."""
    if hasattr(value, "detach"):  # of torch: a parameter is no array while it is one
        value = value.detach()
    return value if type_name(value) == BFLOAT16 else as_exported(name, value)


# Files of torch.save


def _read_archive(content: bytes) -> dict[str, Entry]:
    """Return the tensors of a zip file that torch.save wrote."""
    archive = zipfile.ZipFile(BytesIO(content))
    members = archive.infolist()
    names = [member.filename for member in members]
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if not pickles:
        raise ValueError(f"it is a zip file of {quote_names(names)}")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in names:
        raise ValueError(
            "it is a TorchScript program, whose weights are with torch.jit.load(path)"
            ".state_dict()"
        )
    _check_members(members, len(content))

    def read(name: str) -> bytes:
        return archive.read(folder + name)

    order = read("byteorder").decode() if f"{folder}byteorder" in names else "little"
    if order not in ("little", "big"):
        raise ValueError(f"it has the byte order {quote(order)}")
    tree = read_pickle(read("data.pkl"))
    if isinstance(tree, Claim):
        tree = {"": tree}
    if not isinstance(tree, Mapping):
        raise ValueError("it holds no dictionary of tensors")

    def as_entry(_: str, value: object) -> Entry | None:
        if not isinstance(value, Claim):
            return None
        numbers = functools.partial(_read_claim, value, read, order == "big")
        return Entry(value.storage.numbers.name, value.shape, numbers)

    return flatten(tree, as_entry)


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Raise if members are compressed, not unique or larger than the file."""
    if len({member.filename for member in members}) != len(members):
        raise ValueError("it is a zip file with members of the same name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is a zip file with compressed members")
    if sum(member.file_size for member in members) > size:
        raise ValueError("it is a zip file with members larger than itself")


def _read_claim(claim: Claim, read: Callable[[str], bytes], big: bool) -> NDArray[Any]:
    """Return the numbers of a tensor, after a look at whether they are all there."""
    storage, shape = claim.storage, claim.shape
    key = f"data/{storage.key}"
    memory = read(key)
    if len(memory) != storage.length * storage.numbers.size:
        raise ValueError(f"its member {quote(key)} is not as large as data.pkl says")
    used = claim.offset + sum(
        (size - 1) * step for size, step in zip(shape, claim.strides, strict=True)
    )
    if math.prod(shape) and (
        used >= storage.length or math.prod(shape) > storage.length - claim.offset
    ):
        raise ValueError(
            f"it has a tensor of shape {shape} in {storage.length} numbers"
        )
    name = storage.numbers.name
    stored = np.dtype(np.uint16 if name == BFLOAT16 else name)
    stored = stored.newbyteorder(">" if big else "<")
    numbers = np.frombuffer(memory, stored)[claim.offset :]
    steps = [step * stored.itemsize for step in claim.strides]
    found = np.lib.stride_tricks.as_strided(numbers, shape, steps, writeable=False)
    return widen_bfloat16(found) if name == BFLOAT16 else found


# safetensors


def _read_safetensors(source: Any, content: bytes) -> dict[str, Entry]:
    """Return the tensors of a safetensors file."""
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise ImportError(SAFETENSORS_ADVICE) from error
    parse: Callable[[bytes], Any] = deserialize
    with bad_content(source, WHAT, SafetensorError, argument="source"):
        found = {}
        for name, tensor in parse(content):
            dtype = DTYPES.get(tensor["dtype"], tensor["dtype"])
            shape = check_claim(tensor["shape"])
            read = functools.partial(_read_tensor, dtype, shape, tensor["data"])
            found[name] = Entry(dtype, shape, read)
        return found


def _read_tensor(dtype: str, shape: tuple[int, ...], data: bytes) -> NDArray[Any]:
    """Return an array over bytes whose number safetensors has compared."""
    if dtype == BFLOAT16:
        return widen_bfloat16(np.frombuffer(data, "<u2")).reshape(shape)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
