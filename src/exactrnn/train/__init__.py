"""Training: losses, optimisers, clipping, truncated BPTT and a language model.

Everything here is inside the numerics contract (N9): a training run has defined bits.
"""

from exactrnn.layers._dense import ModuleCache, ModuleGradients
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.train.bptt import Chunk, StreamChunk, stream_batches, truncated_bptt
from exactrnn.train.clipping import clip_global_norm, global_norm
from exactrnn.train.ctc import ctc_loss
from exactrnn.train.ctc_decoding import (
    CTCLabels,
    ctc_beam_decode,
    ctc_greedy_decode,
)
from exactrnn.train.language_model import LanguageModel, Progress
from exactrnn.train.losses import mean_squared_error, softmax_cross_entropy
from exactrnn.train.optimizers import SGD, Adam, Optimizer

__all__ = [
    "SGD",
    "Adam",
    "CTCLabels",
    "Chunk",
    "Embedding",
    "LanguageModel",
    "Linear",
    "ModuleCache",
    "ModuleGradients",
    "Optimizer",
    "Progress",
    "StreamChunk",
    "clip_global_norm",
    "ctc_beam_decode",
    "ctc_greedy_decode",
    "ctc_loss",
    "global_norm",
    "mean_squared_error",
    "softmax_cross_entropy",
    "stream_batches",
    "truncated_bptt",
]
