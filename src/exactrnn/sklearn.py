"""The name `exactrnn.sklearn`; what it stands for is in `interop/sklearn`."""

import sys

from exactrnn.interop import sklearn

sys.modules[__name__] = sklearn
