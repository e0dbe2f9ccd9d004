from typing import Any, TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
States: TypeAlias = tuple[Array, ...]

class CellInfo(TypedDict):
    gates: int
    states: int
    stages: int
    sums: tuple[tuple[str, int | None, int | None, int], ...]
    keeps_sums: bool

def numerics_version() -> int: ...
def isas() -> tuple[str, ...]: ...
def cells() -> tuple[str, ...]: ...
def cell_info(cell: str) -> CellInfo: ...
def max_threads() -> int: ...
def set_threads(threads: int) -> None: ...
def thread_work(limits: tuple[int, int] | None = None) -> tuple[int, int]: ...

@final
class Packed:
    @property
    def isa(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def cell(self) -> str: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def has_backward(self) -> bool: ...
    def equals(self, other: Packed) -> bool: ...

def pack(
    isa: str,
    dtype: str,
    cell: str,
    weights: tuple[Array | None, ...],
    activations: tuple[str, ...],
    clip: float | None,
    backward: bool,
) -> Packed: ...

@final
class LayerCache:
    threads: int
    def gates(self, direction: int) -> dict[str, Array]: ...

def forward(
    packs: tuple[Packed, ...],
    x: Array,
    y: Array,
    state: States | None,
    state_out: States,
    lengths: NDArray[np.int64] | None,
    threads: int,
    keep: bool,
) -> LayerCache | None: ...
def backward(
    packs: tuple[Packed, ...],
    cache: LayerCache,
    x: Array,
    dy: Array | None,
    dstate: States | None,
    dx: Array,
    dstate_out: States,
    dweights: tuple[tuple[Array | None, ...], ...],
) -> None: ...

@final
class Stepper:
    @property
    def state(self) -> States: ...
    def __init__(
        self, packs_per_layer: tuple[tuple[Packed, ...], ...], batch_size: int
    ) -> None: ...
    def step(self, x: Array, out: Array) -> Array: ...

def elementary(name: str, x: Array, out: Array, isa: str) -> None: ...
def fma(a: Array, b: Array, c: Array, out: Array, isa: str) -> None: ...
def linear_forward(
    x: Array, w: Array, b: Array | None, y: Array, isa: str, threads: int
) -> None: ...
def linear_backward(
    x: Array,
    w: Array,
    dy: Array,
    dx: Array | None,
    dw: Array,
    db: Array | None,
    isa: str,
    threads: int,
) -> None: ...
def softmax_xent(
    logits: Array,
    target: NDArray[np.int64],
    loss: Array,
    dlogits: Array | None,
    scale: float,
    isa: str,
    threads: int,
) -> None: ...
def embedding_backward(
    index: NDArray[np.int64], dy: Array, dw: Array, isa: str, threads: int
) -> None: ...
def long_sum(x: Array, isa: str) -> np.floating[Any]: ...
def long_sum_squares(
    x: Array, init: float | np.floating[Any], isa: str
) -> np.floating[Any]: ...
def fma_loop(isa: str, dtype: str, rounds: int, threads: int) -> int: ...
def read_loop(x: Array, isa: str, rounds: int, threads: int) -> int: ...
