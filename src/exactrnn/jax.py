"""The name `exactrnn.jax`; what it stands for is in `interop/jax`."""

import sys

from exactrnn.interop import jax

sys.modules[__name__] = jax
