"""What `torch.save` writes, read as a list of instructions: nothing is ever called.

A pickle is a program for a small stack machine, and Python's own interpreter of it
imports and calls whatever the program names. This one has the instructions that a
dictionary of tensors is written with, and of the names that a program may ask for it
knows those below: a dictionary, kinds of numbers, and the functions that say "a tensor
of this memory". They stand for themselves, as values of `Known`; where the program
calls one, `_make_tensor` writes down what is claimed. Any other instruction or name is
a ValueError, as is a stack that runs empty or a number of the wrong kind.

Each instruction adds at most one thing to stack or memo, and sizes are compared with
the bytes that are there when a tensor is read: memory and time stay within a small
multiple of the file's.

Source: the module `pickletools`, whose `genops` splits a pickle into instructions;
`torch.serialization` and `torch._utils` of PyTorch for what they mean.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from exactrnn._checks.limits import quote
from exactrnn.interop.checkpoints._entries import check_claim

MAX_PICKLE = 2**24
"""Bytes: tensors are not among them, their names and shapes are."""


class Known(Enum):
    """What a name stands for that is no kind of numbers."""

    DICTIONARY = "collections OrderedDict"
    TENSOR = "torch._utils _rebuild_tensor_v2"
    PARAMETER = "torch._utils _rebuild_parameter"
    SIZE = "torch Size"


class Numbers(NamedTuple):
    """A kind of numbers: its name, and the bytes that each takes."""

    name: str
    size: int


STORAGES = {
    "torch DoubleStorage": Numbers("float64", 8),
    "torch FloatStorage": Numbers("float32", 4),
    "torch HalfStorage": Numbers("float16", 2),
    "torch BFloat16Storage": Numbers("bfloat16", 2),
    "torch LongStorage": Numbers("int64", 8),
    "torch IntStorage": Numbers("int32", 4),
    "torch ShortStorage": Numbers("int16", 2),
    "torch CharStorage": Numbers("int8", 1),
    "torch ByteStorage": Numbers("uint8", 1),
    "torch BoolStorage": Numbers("bool", 1),
}
NAMES: dict[str, Known | Numbers] = {**{k.value: k for k in Known}, **STORAGES}


class Storage(NamedTuple):
    """Memory of a file: what numbers it holds, its key and how many they are."""

    numbers: Numbers
    key: str
    length: int


class Claim(NamedTuple):
    """A tensor as a pickle describes it; nothing is compared with its memory yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


MARK = object()
"""Where on the stack a tuple or some items begin."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
MAKERS: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE"),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = {"PROTO", "FRAME"}


def read_pickle(program: bytes) -> object:
    """Return what a pickle of tensors describes, tensors as `Claim`.

    Raises
    ------
    ValueError
        If it is too long, damaged, or anything else than a description of tensors.
    """
    if len(program) > MAX_PICKLE:
        raise ValueError(f"its data.pkl has more than {MAX_PICKLE} bytes")
    machine = _Machine()
    for instruction, argument, _ in pickletools.genops(program):
        if instruction.name == "STOP":
            return machine.pop()
        machine.do(instruction.name, argument)
    raise ValueError("its data.pkl has no end")


class _Machine:
    """A stack and a memo."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """Do what one instruction says."""
        if name in LITERALS:
            self._stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._top()
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name in MAKERS:
            self._stack.append(MAKERS[name]())
        elif name in CONSTANTS:
            self._stack.append(CONSTANTS[name])
        elif name in TUPLES:
            items = [self.pop() for _ in range(TUPLES[name])]
            self._stack.append(tuple(reversed(items)))
        elif name not in IGNORED:
            step = _STEPS.get(name)
            if step is None:
                raise ValueError(f"its data.pkl has the instruction {name}")
            step(self, argument)

    def pop(self) -> Any:
        """Take what is on top of the stack."""
        value = self._stack.pop()
        if value is MARK:
            raise ValueError("its data.pkl is damaged")
        return value

    def _top(self) -> Any:
        value = self._stack[-1]
        if value is MARK:
            raise ValueError("its data.pkl is damaged")
        return value

    def _pop_items(self) -> list[Any]:
        """Take all that is above the last mark, and the mark."""
        items = []
        while (value := self._stack.pop()) is not MARK:
            items.append(value)
        return items[::-1]

    def _mark(self, _: object) -> None:
        self._stack.append(MARK)

    def _make_tuple(self, _: object) -> None:
        self._stack.append(tuple(self._pop_items()))

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._top()

    def _set_item(self, _: object) -> None:
        value, key = self.pop(), self.pop()
        self._fill([key, value])

    def _set_items(self, _: object) -> None:
        self._fill(self._pop_items())

    def _fill(self, items: list[Any]) -> None:
        """Put keys and values into the dictionary on top."""
        target = _expect(self._top(), dict)
        target.update(zip(items[::2], items[1::2], strict=True))

    def _append(self, _: object) -> None:
        value = self.pop()
        _expect(self._top(), list).append(value)

    def _extend(self, _: object) -> None:
        items = self._pop_items()
        _expect(self._top(), list).extend(items)

    def _name(self, argument: str) -> None:
        """Put what a name stands for on the stack, if it is one of those known."""
        if argument not in NAMES:
            raise ValueError(
                f"it asks for {quote(argument.replace(' ', '.'))}, and only tensors "
                "are taken: save model.state_dict() instead"
            )
        self._stack.append(NAMES[argument])

    def _name_on_stack(self, _: object) -> None:
        name, module = (_expect(self.pop(), str) for _ in range(2))
        self._name(f"{module} {name}")

    def _find_storage(self, _: object) -> None:
        word, numbers, key, _, count = _expect(self.pop(), tuple)
        if word != "storage":
            raise ValueError(f"it has {quote(word)} for a storage")
        numbers, key = _expect(numbers, Numbers), _expect(key, str)
        self._stack.append(Storage(numbers, key, _as_count(count)))

    def _call(self, _: object) -> None:
        given, what = _expect(self.pop(), tuple), _expect(self.pop(), Known)
        if what is Known.TENSOR:
            self._stack.append(_make_tensor(given))
        elif what is Known.PARAMETER:
            self._stack.append(_expect(given[0], Claim))
        elif what is Known.SIZE:
            self._stack.append(check_claim(*given))
        elif given:
            raise ValueError("it has a dictionary with arguments")
        else:
            self._stack.append({})

    def _give_attributes(self, _: object) -> None:
        """Leave the attributes of a dictionary, as torch's `_metadata`."""
        self.pop()
        _expect(self._top(), dict)


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._mark,
    "TUPLE": _Machine._make_tuple,
    "MEMOIZE": _Machine._memoize,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._extend,
    "GLOBAL": _Machine._name,
    "STACK_GLOBAL": _Machine._name_on_stack,
    "BINPERSID": _Machine._find_storage,
    "REDUCE": _Machine._call,
    "BUILD": _Machine._give_attributes,
}


def _make_tensor(given: tuple[Any, ...]) -> Claim:
    """Return what the arguments of torch's `_rebuild_tensor_v2` claim."""
    storage, offset, shape, strides, *_ = given
    claim = Claim(
        _expect(storage, Storage),
        _as_count(offset),
        check_claim(_expect(shape, tuple)),
        tuple(map(_as_count, _expect(strides, tuple))),
    )
    if len(claim.shape) != len(claim.strides):
        raise ValueError(f"it has a tensor of shape {claim.shape} with other strides")
    return claim


def _as_count(value: object) -> int:
    [count] = check_claim((value,))
    return count


def _expect(value: Any, kind: type[Any]) -> Any:
    """Return a value of exactly this type."""
    if type(value) is not kind:
        got = type(value).__name__
        raise ValueError(f"it has a {got} where there should be a {kind.__name__}")
    return value
