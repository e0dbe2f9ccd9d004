"""What is measured side by side: one short file per library.

A contender is a module with ::

    NAME                what the table calls it
    version()           its version; ImportError where it is not installed
    prepare(problem)    the row made ready, or None where the library lacks it

All that can be done once is done in `prepare`: weights converted, models compiled,
inputs in the library's own form. `Prepared.run` computes the row once and nothing else;
for a `step` row it makes one step with x[0], the state carried on from its last call.
`Prepared.read` turns what `run` returned into arrays as exactrnn has them, for the
comparison that precedes every measurement; it is not timed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol, TypeAlias

from exactrnn._checks import Array
from exactrnn.bench.rows import Problem

Outcome: TypeAlias = dict[str, Array]
"""`y` [T, B, D*H], or the gradients: `x` [T, B, I] and the weights by name; of a
training step, `loss` and the clipped gradients of the weights."""

RIVALS = ("torch", "onnxruntime", "openvino", "jax")
"""Libraries that are measured wherever they are installed."""

LOOP = "torch_loop"
"""A loop over single operations of torch: measured where it is asked for."""


class Prepared(NamedTuple):
    """A row made ready in one library."""

    run: Callable[[], Any]
    read: Callable[[Any], Outcome]


class Contender(Protocol):
    """A module of this package."""

    NAME: str

    def version(self) -> str:
        """Return the library's version; ImportError where it is not installed."""

    def prepare(self, problem: Problem) -> Prepared | None:
        """Make a row ready; None where the library lacks it."""


def load_rivals(
    wanted: Collection[str] | None = None,
) -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders that can be imported, exactrnn first, and their versions.

    Parameters
    ----------
    wanted : collection of str, optional
        Names among `RIVALS`, or `LOOP`; by default all `RIVALS` that are installed.

    Returns
    -------
    contenders : list of Contender
        exactrnn, and the rivals.
    versions : dict of str to str
        The version of each.

    Raises
    ------
    ImportError
        If a rival that was asked for by name is not installed.
    """
    contenders: list[Contender] = []
    versions: dict[str, str] = {}
    for name in ("exactrnn", *(RIVALS if wanted is None else wanted)):
        module: Any = importlib.import_module(f"{__name__}.{name}_rival")
        try:
            versions[name] = module.version()
        except ImportError:
            if wanted is not None:
                raise
            continue
        contenders.append(module)
    return contenders, versions
