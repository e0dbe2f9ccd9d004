"""Keras models: their recurrent layers, and chains of layers, on these kernels.

`from_keras` takes a layer, a model or a file that Keras wrote; files are read without
keras and without TensorFlow. `layers_from_keras` takes all recurrent layers of a model,
and `to_keras` gives a layer's weights and options as Keras has them.
"""

from __future__ import annotations

from exactrnn._system import shown
from exactrnn.interop.keras._export import KerasParts, to_keras
from exactrnn.interop.keras._layer import KerasLayer
from exactrnn.interop.keras._load import from_keras, layers_from_keras
from exactrnn.interop.keras._model import KerasModel, KerasStream

__all__ = [
    "KerasLayer",
    "KerasModel",
    "KerasParts",
    "KerasStream",
    "from_keras",
    "layers_from_keras",
    "to_keras",
]
__dir__ = shown.lists(globals())
