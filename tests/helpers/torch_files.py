"""Files as torch.save writes them, made without torch, right ones and wrong ones.

A pickle is put together from its instructions, so that each may be damaged by itself;
test_torch_files.py compares with what torch itself writes.
"""

import io
import pickle
import struct
import zipfile

import numpy as np

KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
}


def text(value):
    """Return the instruction that puts a text on the stack."""
    written = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(written)) + written


def number(value):
    if -(2**31) <= value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return pickle.LONG1 + bytes([size]) + value.to_bytes(size, "little", signed=True)


def name(module, own):
    return pickle.GLOBAL + f"{module}\n{own}\n".encode()


def several(*items):
    """Return the instructions of a tuple."""
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def call(function, *arguments):
    return function + several(*arguments) + pickle.REDUCE


def dictionary(items):
    pairs = b"".join(
        (number(key) if isinstance(key, int) else text(key)) + value
        for key, value in items.items()
    )
    return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS


def storage(kind, key, count):
    """Return the instructions that ask for memory of the file."""
    given = several(
        text("storage"),
        name("torch", KINDS[kind]),
        text(key),
        text("cpu"),
        number(count),
    )
    return given + pickle.BINPERSID


def tensor(kind, key, shape, *, count=None, offset=0, strides=None):
    """Return the instructions of a tensor; what is not given is as it should be."""
    steps = [int(np.prod(shape[k + 1 :])) for k in range(len(shape))]
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(kind, key, int(np.prod(shape)) if count is None else count),
        number(offset),
        several(*map(number, shape)),
        several(*map(number, steps if strides is None else strides)),
        pickle.NEWFALSE,
        name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE,
    )


def program_of(arrays):
    """Return the pickle of a dictionary of arrays, whose memory has their numbers."""
    tensors = {
        own: tensor(array.dtype.name, str(key), array.shape)
        for key, (own, array) in enumerate(arrays.items())
    }
    return finish(dictionary(tensors))


def finish(instructions):
    return pickle.PROTO + b"\x02" + instructions + pickle.STOP


def archive(
    program, memory, *, folder="archive", compression=zipfile.ZIP_STORED, **more
):
    """Return the content of a zip file with this pickle and these storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr(f"{folder}/data.pkl", program)
        made.writestr(f"{folder}/version", "3\n")
        for own, content in more.items():
            made.writestr(f"{folder}/{own}", content)
        for key, content in enumerate(memory):
            made.writestr(f"{folder}/data/{key}", content)
    return file.getvalue()


def file_of(arrays, **options):
    """Return the content of a file of arrays by name."""
    memory = [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    return archive(program_of(arrays), memory, **options)
