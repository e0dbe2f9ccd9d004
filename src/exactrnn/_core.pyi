from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

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
def activation_kinds() -> dict[str, int]: ...
def max_cells() -> int: ...

NORM_EPS: float

def program_limits() -> dict[str, int]: ...

@final
class Program:
    def __init__(
        self,
        counts: dict[str, int],
        sums: tuple[tuple[str, int | None, int | None, int, int, tuple[str, int]], ...],
        vectors: tuple[int, ...],
        constants: tuple[float, ...],
        forward: tuple[Any, ...],
        backward: tuple[Any, ...],
    ) -> None: ...

def padded(units: int) -> int: ...
def thread_runtime() -> str: ...
def thread_limit() -> int: ...
def max_threads() -> int: ...
def max_threads_now() -> int: ...
def thread_wish() -> tuple[int, bool]: ...
def wish_threads(threads: int, chosen: bool = True) -> None: ...
def watch_quota(quota: str, period: str | None = None) -> bool: ...
def unwish_threads() -> None: ...
def worker_delay(delays: tuple[int, ...] | None = None) -> tuple[int, ...]: ...
def hand_overs() -> tuple[int, int]: ...
def exchanging(wanted: bool | None = None) -> bool: ...
def crowded(noted: bool | None = None) -> bool: ...
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
def same_at(arrays: tuple[Array, ...], addresses: tuple[int, ...]) -> bool: ...

DIRECT_ROWS: int

@final
class DirectStep:
    @property
    def possible(self) -> bool: ...
    def __init__(
        self,
        isa: str,
        dtype: str,
        cell: str,
        sizes: tuple[int, int],
        activations: tuple[tuple[str, float, float], ...],
        clip: float | None,
        options: Mapping[str, Any] | None,
    ) -> None: ...
    def run(
        self,
        rows: int,
        threads: int,
        x: int,
        weights: tuple[int, ...],
        state: tuple[int, ...],
        state_out: tuple[int, ...],
    ) -> None: ...

@final
class DirectCall:
    def __init__(
        self,
        step: DirectStep,
        places: tuple[int | None, ...],
        kinds: tuple[type[Any], type[Any]],
        dtype: object,
        shapes: tuple[tuple[int, ...], ...],
    ) -> None: ...
    def __call__(
        self, x: Any, state: tuple[Any, ...], weights: list[Any], threads: int
    ) -> list[Any] | None: ...

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
class Sweep:
    @property
    def lengths(self) -> NDArray[np.int64] | None: ...
    @property
    def clock(self) -> NDArray[np.int64] | None: ...
    @property
    def reverse(self) -> bool: ...
    @property
    def threads(self) -> int: ...
    @property
    def keep(self) -> bool: ...
    def __init__(
        self,
        lengths: NDArray[np.int64] | None,
        clock: NDArray[np.int64] | None,
        reverse: bool,
        threads: int,
        keep: bool,
    ) -> None: ...

@final
class GradientsIn:
    @property
    def dy(self) -> Array | None: ...
    @property
    def dstate(self) -> States | None: ...
    @property
    def dupper(self) -> Array | None: ...
    def __init__(
        self, dy: Array | None, dstate: States | None, dupper: Array | None
    ) -> None: ...

@final
class GradientsOut:
    @property
    def dx(self) -> Array | None: ...
    @property
    def dstate(self) -> States: ...
    @property
    def dlower(self) -> Array | None: ...
    @property
    def dweights(self) -> tuple[tuple[Array | None, ...], ...]: ...
    def __init__(
        self,
        dx: Array | None,
        dstate: States,
        dlower: Array | None,
        dweights: tuple[tuple[Array | None, ...], ...],
    ) -> None: ...

@final
class LayerCache:
    masks: tuple[Array | None, ...] | None
    def gates(self, direction: int) -> dict[str, Array]: ...
    def states(self, direction: int) -> States: ...
    def content(self) -> dict[str, Any]: ...
    def buffer(self) -> memoryview: ...

def restore_cache(packs: tuple[Packed, ...], content: dict[str, Any]) -> LayerCache: ...
def view_cache(
    packs: tuple[Packed, ...], T: int, B: int, sweep: Sweep, memory: Array
) -> LayerCache: ...
def cache_bytes(
    cell: str,
    dtype: str,
    H: int,
    options: Mapping[str, Any] | None,
    sizes: tuple[int, int, int],
) -> int: ...
def xla_handlers() -> dict[str, object]: ...
def xla_layer(
    cell: str,
    units: int,
    activations: tuple[tuple[tuple[str, float, float], ...], ...],
    clip: float | None,
    options: Mapping[str, Any] | None,
) -> tuple[list[int], list[float]]: ...
def xla_call(
    numbers: list[int],
    reverse: bool,
    batch_first: bool,
    threads: int,
    roles: Iterable[int],
    parts: Iterable[str],
) -> list[int]: ...
def forward(
    packs: tuple[Packed, ...],
    sweep: Sweep,
    x: Array,
    y: Array,
    state: States | None,
    state_out: States,
    cells: tuple[Array | None, Array | None] = (None, None),
    masks: tuple[Array | None, ...] | None = None,
) -> LayerCache | None: ...
def draw_mask(
    out: Array, key: int, threshold: int, values: Any, timeless: bool, heads: Any
) -> None: ...
def backward(
    packs: tuple[Packed, ...],
    cache: LayerCache,
    x: Array,
    lower: Array | None,
    given: GradientsIn,
    wanted: GradientsOut,
    truncated: bool = False,
) -> None: ...

@disjoint_base
class AnyPlan:
    @property
    def packs(self) -> Any: ...
    def __init__(
        self,
        packs: object,
        spec: object,
        layouts: tuple[object, ...],
        steps: bool,
        gradients: Mapping[str, tuple[int, ...]],
    ) -> None: ...
    def run(self, x: object, state: object, threads: int) -> Any: ...
    def keep(self, x: object, state: object, threads: int) -> Any: ...
    def keep_step(self, x: object, state: object, threads: int) -> Any: ...

@final
class Plan(AnyPlan):
    def back(
        self,
        run: object,
        layout: object,
        dy: object,
        dstate: object,
        truncated: bool,
        totals: object = None,
    ) -> Any: ...

@final
class GridPlan(AnyPlan):
    def back(
        self,
        run: object,
        layout: object,
        dy: object,
        dstate: object,
        totals: object = None,
    ) -> Any: ...

@final
class SpacePlan:
    @property
    def packs(self) -> Any: ...
    def __init__(
        self, packs: object, spec: object, gradients: Mapping[str, tuple[int, ...]]
    ) -> None: ...
    def run(self, x: object, borders: object, threads: int) -> Any: ...
    def keep(self, x: object, borders: object, threads: int) -> Any: ...
    def back(self, run: object, dends: object) -> Any: ...

@disjoint_base
class Turn:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def take(self) -> None: ...
    def give(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

@disjoint_base
class AnyStepper(Turn):
    @property
    def state(self) -> States: ...
    @property
    def clock(self) -> NDArray[np.int64] | None: ...
    @property
    def used(self) -> NDArray[np.bool_]: ...
    @property
    def complete(self) -> bool: ...
    def mark(self, rows: NDArray[np.intp], in_use: bool) -> None: ...
    def step(self, x: Array, out: Array) -> Array: ...
    def step_rows(
        self, x: Array, out: Array | None, rows: NDArray[np.intp]
    ) -> Array: ...

@final
class Stepper(AnyStepper):
    def __init__(
        self,
        packs_per_layer: tuple[tuple[Packed, ...], ...],
        batch_size: int,
        clock0: int = 0,
        team: Callable[[], int] | None = None,
    ) -> None: ...

@final
class EchoStepper(AnyStepper):
    @property
    def readout(self) -> tuple[Array, Array]: ...
    def __init__(
        self,
        packs_per_layer: tuple[tuple[Packed, ...], ...],
        batch_size: int,
        readout: tuple[Array, Array],
        team: Callable[[], int] | None = None,
    ) -> None: ...

@final
class LookStepper(AnyStepper):
    @property
    def alpha(self) -> Array: ...
    def __init__(
        self,
        packs: tuple[Packed, ...],
        packed: PackedAttention,
        memory: Array,
        memory_lengths: NDArray[np.int64] | None,
        joined: bool,
        team: Callable[[], int] | None = None,
    ) -> None: ...

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

@final
class PackedAttention:
    def equals(self, other: PackedAttention) -> bool: ...

def pack_attention(
    isa: str, dtype: str, form: dict[str, Any], weights: tuple[Array | None, ...]
) -> PackedAttention: ...

@final
class Looks:
    @property
    def memory(self) -> Array: ...
    @property
    def memory_lengths(self) -> NDArray[np.int64] | None: ...
    @property
    def keys(self) -> Array | None: ...
    @property
    def has_keys(self) -> bool: ...
    @property
    def context(self) -> Array: ...
    @property
    def alpha(self) -> Array: ...
    @property
    def queries(self) -> Array | None: ...
    @property
    def sums(self) -> Array | None: ...
    def __init__(
        self,
        memory: Array,
        memory_lengths: NDArray[np.int64] | None,
        keys: Array | None,
        has_keys: bool,
        found: tuple[Array, Array, Array | None, Array | None],
    ) -> None: ...

@final
class LookGradients:
    @property
    def dalpha(self) -> Array | None: ...
    @property
    def dcontext(self) -> Array | None: ...
    @property
    def dmemory(self) -> Array: ...
    @property
    def dweights(self) -> tuple[Array | None, ...]: ...
    def __init__(
        self,
        dalpha: Array | None,
        dcontext: Array | None,
        dmemory: Array,
        dweights: tuple[Array | None, ...],
    ) -> None: ...

def look_forward(
    packs: tuple[Packed, ...],
    packed: PackedAttention,
    sweep: Sweep,
    looks: Looks,
    x: Array,
    y: Array,
    states: tuple[States | None, States],
) -> LayerCache | None: ...
def look_backward(
    packs: tuple[Packed, ...],
    kept: tuple[LayerCache, PackedAttention],
    x: Array,
    looks: Looks,
    given: GradientsIn,
    wanted: GradientsOut,
    more: LookGradients,
) -> None: ...
def ctc_loss(
    logits: Array,
    labels: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    loss: Array,
    dlogits: Array | None,
    blank: int,
    isa: str,
    threads: int,
) -> None: ...
def embedding_backward(
    index: NDArray[np.int64], dy: Array, dw: Array, isa: str, threads: int
) -> None: ...
def long_sum(x: Array, isa: str) -> np.floating[Any]: ...
def long_sum_squares(x: Array, init: Any, isa: str) -> np.floating[Any]: ...

@final
class Ieee:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

Updated: TypeAlias = tuple[Array, Array | None, Array | None, Array | None]
RuleNumbers: TypeAlias = tuple[float, tuple[float, float], float, float, float]

def update(
    rule: str,
    arrays: tuple[Updated, ...],
    numbers: tuple[RuleNumbers, ...],
    isa: str,
    holder: list[Any] | None = None,
    state: object = None,
) -> None: ...
def leak_gradient(logit: Array, dalpha: Array, isa: str) -> Array: ...
def fma_loop(isa: str, dtype: str, rounds: int, threads: int) -> int: ...
def read_loop(x: Array, isa: str, rounds: int, threads: int) -> int: ...

Borders: TypeAlias = tuple[tuple[Array | None, Array | None], ...]
Sets: TypeAlias = tuple[tuple[GridPacked, ...], ...]
Gradients: TypeAlias = tuple[tuple[Array, Array | None], ...]

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
        inputs: tuple[int | None, ...] = (),
    ) -> None: ...

@final
class GridPacked:
    @property
    def has_backward(self) -> bool: ...
    def equals(self, other: GridPacked) -> bool: ...

@final
class GridSweep:
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def batch(self) -> int: ...
    @property
    def set_steps(self) -> tuple[int, ...]: ...
    @property
    def lengths(self) -> NDArray[np.int64] | None: ...
    @property
    def threads(self) -> int: ...
    @property
    def keep(self) -> bool: ...
    def __init__(
        self,
        sizes: tuple[int, ...],
        batch: int,
        set_steps: tuple[int, ...],
        lengths: NDArray[np.int64] | None,
        threads: int,
        keep: bool,
    ) -> None: ...

@final
class GridGradients:
    @property
    def dinputs(self) -> tuple[Array, ...]: ...
    @property
    def dborders(self) -> Borders: ...
    @property
    def dsets(self) -> tuple[Gradients, ...]: ...
    @property
    def dsides(self) -> Gradients: ...
    def __init__(
        self,
        dinputs: tuple[Array, ...],
        dborders: Borders,
        dsets: tuple[Gradients, ...],
        dsides: Gradients,
    ) -> None: ...

def grid_pack(
    block: GridBlock, k: int, w: Array, b: Array | None, backward: bool
) -> GridPacked: ...
def grid_pack_side(
    block: GridBlock, k: int, w: Array, b: Array | None, backward: bool
) -> GridPacked: ...

@final
class GridCache:
    def states(self, k: int) -> tuple[Array, Array | None]: ...
    def gates(self, k: int) -> dict[str, Array]: ...
    def content(self) -> dict[str, Any]: ...

def restore_grid_cache(sets: Sets, content: dict[str, Any]) -> GridCache: ...
def grid_forward(
    sets: Sets,
    sides: tuple[GridPacked, ...],
    sweep: GridSweep,
    inputs: tuple[Array, ...],
    borders: Borders,
    ends: Borders,
) -> GridCache | None: ...
def grid_backward(
    sets: Sets,
    sides: tuple[GridPacked, ...],
    cache: GridCache,
    inputs: tuple[Array, ...],
    dends: Borders,
    wanted: GridGradients,
) -> None: ...

@final
class GridStepper(AnyStepper):
    def __init__(
        self,
        sets: Sets,
        side: GridPacked,
        sweep: GridSweep,
        team: Callable[[], int] | None = None,
    ) -> None: ...
