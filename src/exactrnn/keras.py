"""The name `exactrnn.keras`; what it stands for is in `interop/keras`."""

import sys

from exactrnn.interop import keras

sys.modules[__name__] = keras
