"""The executable definition of the layers, forward and back, in NumPy.

`forward` and `backward` run a whole layer, `step` and `step_back` one step of it,
`direction_forward` and `direction_backward`
one layer in one direction. The kernels must give these bits.
"""

from exactrnn._system import shown
from exactrnn.reference.attention import (
    Attention,
    AttentionWeights,
    decoder_backward,
    decoder_forward,
)
from exactrnn.reference.direction import Direction, Weights
from exactrnn.reference.grid_layers import GridCache, TimeDepthCache
from exactrnn.reference.layers import Cache, EpisodesCache, Gradients, backward, forward
from exactrnn.reference.sequence import DirectionCache, direction_forward
from exactrnn.reference.sequence_backward import DirectionGradients, direction_backward
from exactrnn.reference.steps import step, step_back

__all__ = [
    "Attention",
    "AttentionWeights",
    "Cache",
    "Direction",
    "DirectionCache",
    "DirectionGradients",
    "EpisodesCache",
    "Gradients",
    "GridCache",
    "TimeDepthCache",
    "Weights",
    "backward",
    "decoder_backward",
    "decoder_forward",
    "direction_backward",
    "direction_forward",
    "forward",
    "step",
    "step_back",
]
__dir__ = shown.lists(globals())
