"""The name `exactrnn.torch`; what it stands for is in `interop/torch`."""

import sys

from exactrnn.interop import torch

sys.modules[__name__] = torch
