"""How the weights of an attention decoder are packed for the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exactrnn import _core
from exactrnn._checks import Array
from exactrnn._spec.activations import with_parameters
from exactrnn._spec.attention import AttentionSpec
from exactrnn._weights.store import Packs, ParameterStore


class AttentionStore(ParameterStore):
    """Owner of the weights: its packs are those of the cell and of the attention.

    Parameters
    ----------
    spec : AttentionSpec
        What the decoder is.
    weights : mapping of str to ndarray
        As for `ParameterStore`.
    """

    def __init__(self, spec: AttentionSpec, weights: Mapping[str, Array]) -> None:
        super().__init__(weights)
        self._spec = spec

    def _pack(self, isa: str, weights: Mapping[str, Array], backward: bool) -> Packs:
        spec, cell = self._spec, self._spec.cell
        own = _core.pack(
            isa,
            spec.dtype.name,
            cell.cell_of(0),
            cell.engine_weights(weights, 0, 0),
            tuple(map(with_parameters, cell.activations_of(0))),
            cell.clip,
            dict(cell.options_of(0)),
            backward,
        )
        attention: Any = _core.pack_attention(
            isa, spec.dtype.name, spec.form, spec.engine_weights(weights)
        )
        return Packs(isa, self._version, backward, ((own,), (attention,)))
