"""The name `exactrnn.jax`; what it stands for is in `interop/jax`."""

import sys
import typing

from exactrnn.interop import jax

if typing.TYPE_CHECKING:  # a type checker sees no module put in another's place
    from exactrnn.interop.jax import *  # noqa: F403

sys.modules[__name__] = jax
