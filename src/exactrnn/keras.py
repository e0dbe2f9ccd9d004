"""The name `exactrnn.keras`; what it stands for is in `interop/keras`."""

import sys
import typing

from exactrnn.interop import keras

if typing.TYPE_CHECKING:  # a type checker sees no module put in another's place
    from exactrnn.interop.keras import *  # noqa: F403

sys.modules[__name__] = keras
