"""The name `exactrnn.onnx`; what it stands for is in `interop/onnx`."""

import sys
import typing

from exactrnn.interop import onnx

if typing.TYPE_CHECKING:  # a type checker sees no module put in another's place
    from exactrnn.interop.onnx import *  # noqa: F403

sys.modules[__name__] = onnx
