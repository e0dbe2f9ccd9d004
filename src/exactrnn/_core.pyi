from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
States: TypeAlias = tuple[Array, ...]

class CellInfo(TypedDict):
    w_blocks: int
    r_blocks: int
    states: int
    stages: int
    cells: int
    heard: int
    sums: tuple[tuple[str, int | None, int | None, int], ...]
    keeps_sums: bool
    vectors: int
    links: int
    projects: bool
    takes_lower: bool

def numerics_version() -> int: ...
def isas() -> tuple[str, ...]: ...
def cells() -> tuple[str, ...]: ...
def cell_info(cell: str, options: Mapping[str, Any] | None = None) -> CellInfo: ...
def max_cells() -> int: ...
def padded(units: int) -> int: ...
def thread_limit() -> int: ...
def max_threads() -> int: ...
def max_threads_now() -> int: ...
def thread_wish() -> tuple[int, bool]: ...
def wish_threads(threads: int, chosen: bool = True) -> None: ...
def watch_quota(quota: str, period: str | None = None) -> bool: ...
def thread_work(limits: tuple[int, int] | None = None) -> tuple[int, int]: ...
def stop_pace(
    limits: tuple[int, int] | None = None, handler: Callable[[], object] | None = None
) -> tuple[int, int]: ...

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
    def output_size(self) -> int: ...
    @property
    def has_backward(self) -> bool: ...
    def equals(self, other: Packed) -> bool: ...

def same_bytes(one: Array, other: Array) -> bool: ...
def pack(
    isa: str,
    dtype: str,
    cell: str,
    weights: tuple[Array | None, ...],
    activations: tuple[tuple[str, float, float], ...],
    clip: float | None,
    options: Mapping[str, Any] | None,
    backward: bool,
) -> Packed: ...

@final
class LayerCache:
    threads: int
    def gates(self, direction: int) -> dict[str, Array]: ...
    def states(self, direction: int) -> States: ...
    def content(self) -> tuple[Any, ...]: ...

def restore_cache(
    packs: tuple[Packed, ...], content: tuple[Any, ...]
) -> LayerCache: ...
def forward(
    packs: tuple[Packed, ...],
    x: Array,
    y: Array,
    states: tuple[States | None, States],
    rows: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None, bool],
    threads: int,
    keep: bool,
    cells: tuple[Array | None, Array | None] | None = None,
) -> LayerCache | None: ...
def backward(
    packs: tuple[Packed, ...],
    cache: LayerCache,
    x: Array,
    dy: Array | None,
    dstate: States | None,
    gradients: tuple[Array, States, tuple[tuple[Array | None, ...], ...]],
    truncated: bool = False,
    cells: tuple[Array | None, Array | None, Array | None] | None = None,
) -> None: ...

class Turn:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def take(self) -> None: ...
    def give(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

@final
class Stepper(Turn):
    @property
    def state(self) -> States: ...
    @property
    def clock(self) -> NDArray[np.int64] | None: ...
    def __init__(
        self,
        packs_per_layer: tuple[tuple[Packed, ...], ...],
        batch_size: int,
        clock0: int = 0,
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

@final
class Ieee:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

Updated: TypeAlias = tuple[Array, Array | None, Array | None, Array | None]
RuleNumbers: TypeAlias = tuple[float, tuple[float, float], float, float]

def update(
    rule: str,
    arrays: tuple[Updated, ...],
    numbers: RuleNumbers,
    isa: str,
    holder: list[Any] | None = None,
    state: object = None,
) -> None: ...
def fma_loop(isa: str, dtype: str, rounds: int, threads: int) -> int: ...
def read_loop(x: Array, isa: str, rounds: int, threads: int) -> int: ...

Borders: TypeAlias = tuple[tuple[Array | None, Array | None], ...]
GridShape: TypeAlias = tuple[tuple[int, ...], int, tuple[int, ...]]

def grid_dims() -> int: ...

@final
class GridBlock:
    @property
    def isa(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def kinds(self) -> tuple[str | tuple[str, float, float], ...]: ...
    def __init__(
        self,
        isa: str,
        dtype: str,
        hidden_size: int,
        kinds: tuple[str | tuple[str, float, float], ...],
        phases: tuple[int, ...],
        tanh_outside: bool,
    ) -> None: ...

@final
class GridPacked:
    @property
    def has_backward(self) -> bool: ...
    def equals(self, other: GridPacked) -> bool: ...

def grid_pack(
    block: GridBlock, k: int, w: Array, b: Array | None, backward: bool
) -> GridPacked: ...

@final
class GridCache:
    threads: int
    def states(self, k: int) -> tuple[Array, Array | None]: ...
    def gates(self, k: int) -> dict[str, Array]: ...
    def content(self) -> tuple[Any, ...]: ...

def restore_grid_cache(
    packs: tuple[tuple[GridPacked, ...], ...], content: tuple[Any, ...]
) -> GridCache: ...
def grid_forward(
    packs: tuple[tuple[GridPacked, ...], ...],
    shape: GridShape,
    borders: Borders,
    ends: Borders,
    lengths: NDArray[np.int64] | None,
    threads: int,
    keep: bool,
) -> GridCache | None: ...
def grid_backward(
    packs: tuple[tuple[GridPacked, ...], ...],
    cache: GridCache,
    dends: Borders,
    dborders: Borders,
    dweights: tuple[tuple[tuple[Array, Array | None], ...], ...],
) -> None: ...

@final
class GridStepper:
    def __init__(
        self,
        packs: tuple[tuple[GridPacked, ...], ...],
        shape: GridShape,
        borders: Borders,
        ends: Borders,
    ) -> None: ...
    def run(self) -> None: ...
