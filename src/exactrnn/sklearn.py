"""The name `exactrnn.sklearn`; what it stands for is in `interop/sklearn`."""

import sys
import typing

from exactrnn.interop import sklearn

if typing.TYPE_CHECKING:  # a type checker sees no module put in another's place
    from exactrnn.interop.sklearn import *  # noqa: F403

sys.modules[__name__] = sklearn
