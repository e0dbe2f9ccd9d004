"""Weights whose memory is someone else's, such as the parameters of a torch module.

Whoever owns that memory writes to it whenever and however they like: by fused
optimisers, through `.data`, through NumPy. Nothing of that can be seen but in the
bytes, so the bytes are compared: the store owns a copy of the weights, `holds` tells
whether it is still one of what is in that memory, and who finds that it is not writes
the new values into the copy by `edit`. From there on it is a store like any other: its
packed copies are of the weights that were last seen, and are made anew when those have
changed.

Comparing reads the weights once, at the speed of memory; addresses may change from call
to call, nothing of the memory is held.
"""

from __future__ import annotations

import numpy as np

from exactrnn import _core
from exactrnn._spec.recurrent import Config
from exactrnn._weights.packs import LayerStore


class ForeignStore(LayerStore):
    """Owner of a copy of weights that others own.

    Parameters
    ----------
    spec : Config
        Names and shapes of the weights, cell and dtype.
    """

    def __init__(self, spec: Config) -> None:
        shapes = spec.weight_shapes.items()
        super().__init__(spec, {n: np.zeros(s, spec.dtype) for n, s in shapes})
        self._arrays = tuple(self._weights.values())

    def holds(self, addresses: tuple[int, ...]) -> bool:
        """Tell whether the copy is of what is at these addresses now.

        They are those of C-contiguous memory for each weight, in the order of `names`.
        """
        return _core.same_at(self._arrays, addresses)
