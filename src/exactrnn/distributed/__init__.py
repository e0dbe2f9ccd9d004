"""More than one process or machine, with the bits of one.

`Engine` is what moves bytes, places work and brings workers back; `LocalEngine` has
processes of this machine, `RayEngine` (extra ``distributed``) those of a cluster,
`MPIEngine` the ranks of a program that MPI has begun, `InlineEngine` none. What is
computed does not depend on it (contract N10).
"""

from exactrnn._system import shown
from exactrnn.distributed.columns import RayColumn
from exactrnn.distributed.engine import Engine, EngineError, WorkerLost
from exactrnn.distributed.fitting import Exchange, Spreading, fit
from exactrnn.distributed.inline import InlineEngine
from exactrnn.distributed.language import shared_training as shared_training
from exactrnn.distributed.local import LocalEngine
from exactrnn.distributed.mapping import (
    Mapped,
    MappedSequence,
    MappedSequences,
    SequenceError,
    map_sequences,
)
from exactrnn.distributed.mpi import MPIEngine
from exactrnn.distributed.ray import RayEngine

__all__ = [
    "Engine",
    "EngineError",
    "Exchange",
    "InlineEngine",
    "LocalEngine",
    "MPIEngine",
    "Mapped",
    "MappedSequence",
    "MappedSequences",
    "RayColumn",
    "RayEngine",
    "SequenceError",
    "Spreading",
    "WorkerLost",
    "fit",
    "map_sequences",
]
__dir__ = shown.lists(globals())
