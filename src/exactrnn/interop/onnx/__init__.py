"""ONNX models: their recurrent nodes on these kernels, and layers as ONNX files.

`from_onnx` takes a node, `layers_from_onnx` all of a model; `to_onnx` writes layers and
chains of layers. `accelerate` makes sessions of ONNX Runtime whose recurrent nodes are
computed here. Needs the package onnx.
"""

from __future__ import annotations

from exactrnn._system import shown
from exactrnn.interop.onnx._accelerate import accelerate
from exactrnn.interop.onnx._export import to_onnx
from exactrnn.interop.onnx._layer import OnnxLayer
from exactrnn.interop.onnx._load import from_onnx, layers_from_onnx
from exactrnn.interop.onnx._rewrite import Accelerated

__all__ = [
    "Accelerated",
    "OnnxLayer",
    "accelerate",
    "from_onnx",
    "layers_from_onnx",
    "to_onnx",
]
__dir__ = shown.lists(globals())
