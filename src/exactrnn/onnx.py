"""The name `exactrnn.onnx`; what it stands for is in `interop/onnx`."""

import sys

from exactrnn.interop import onnx

sys.modules[__name__] = onnx
