"""The name `exactrnn.torch`; what it stands for is in `interop/torch`."""

import sys
import typing

from exactrnn.interop import torch

if typing.TYPE_CHECKING:  # a type checker sees no module put in another's place
    from exactrnn.interop.torch import *  # noqa: F403

sys.modules[__name__] = torch
