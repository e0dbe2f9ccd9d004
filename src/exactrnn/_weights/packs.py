"""How the weights of recurrent layers are packed for the kernels."""

from __future__ import annotations

from collections.abc import Mapping

from exactrnn import _core
from exactrnn._checks import Array
from exactrnn._spec.activations import with_parameters
from exactrnn._spec.recurrent import Config
from exactrnn._weights.store import Packs, ParameterStore


class LayerStore(ParameterStore):
    """Owner of the weights of layers on top of each other, or of a single step.

    Parameters
    ----------
    spec : Config
        Names and shapes of the weights, cell and dtype.
    weights : mapping of str to ndarray
        As for `ParameterStore`.
    """

    def __init__(self, spec: Config, weights: Mapping[str, Array]) -> None:
        super().__init__(weights)
        self._spec = spec

    def _pack(self, isa: str, weights: Mapping[str, Array], backward: bool) -> Packs:
        spec = self._spec
        copies = tuple(
            tuple(
                _core.pack(
                    isa,
                    spec.dtype.name,
                    spec.cell_of(layer),
                    spec.engine_weights(weights, layer, direction),
                    tuple(map(with_parameters, spec.activations_of(direction))),
                    spec.clip,
                    dict(spec.options_of(layer)),
                    backward,
                )
                for direction in range(spec.directions)
            )
            for layer in range(spec.num_layers)
        )
        return Packs(isa, self._version, backward, copies)
