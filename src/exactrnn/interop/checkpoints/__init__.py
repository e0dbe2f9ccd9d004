"""Weights that torch has trained, from files and state_dicts: `exactrnn.from_torch`.

Nothing here needs torch, and nothing is ever unpickled. `_pickles` reads what
`torch.save` wrote as a list of instructions and knows those of tensors alone,
`_sources` makes named entries of whatever came, `_kinds` tells from names and shapes
what they are the weights of.
"""

from exactrnn.interop.checkpoints._kinds import sizes_of
from exactrnn.interop.checkpoints._load import from_torch

__all__ = ["from_torch", "sizes_of"]
