"""Training: composites, losses, optimisers, schedules, `fit`, a language model.

Everything here is inside the numerics contract (N9): a training run has defined bits.
"""

from exactrnn._system import shown
from exactrnn.layers._composite import Composite
from exactrnn.layers._dense import ModuleCache, ModuleGradients
from exactrnn.layers._embedding import Embedding
from exactrnn.layers._linear import Linear
from exactrnn.layers._sequential import Sequential
from exactrnn.layers._sequential_stream import SequentialStream
from exactrnn.layers._weightless import Dropout, Last
from exactrnn.train.averages import Accumulator, WeightAverage
from exactrnn.train.batches import Batch, Batches, batches, windows
from exactrnn.train.bptt import Chunk, StreamChunk, stream_batches, truncated_bptt
from exactrnn.train.clipping import clip_global_norm, global_norm
from exactrnn.train.ctc import ctc_loss
from exactrnn.train.ctc_decoding import (
    CTCLabels,
    ctc_beam_decode,
    ctc_greedy_decode,
)
from exactrnn.train.decoding import Decoded, beam_search
from exactrnn.train.fitting import Fitting, History, fit
from exactrnn.train.language_model import LanguageModel, Progress, Training
from exactrnn.train.losses import mean_squared_error, softmax_cross_entropy
from exactrnn.train.metrics import (
    accuracy,
    bits_per_symbol,
    label_error_rate,
    mase,
    rmse,
)
from exactrnn.train.optimizers import Optimizer
from exactrnn.train.ragged import RaggedBatches, pad, ragged_batches
from exactrnn.train.regression import (
    binary_cross_entropy,
    gaussian_likelihood,
    huber_loss,
    mean_absolute_error,
    quantile_loss,
)
from exactrnn.train.rules import SGD, Adam, AdamW, RMSprop
from exactrnn.train.schedules import (
    Constant,
    Cosine,
    Plateau,
    Schedule,
    StepDecay,
    WarmUp,
)

__all__ = [
    "SGD",
    "Accumulator",
    "Adam",
    "AdamW",
    "Batch",
    "Batches",
    "CTCLabels",
    "Chunk",
    "Composite",
    "Constant",
    "Cosine",
    "Decoded",
    "Dropout",
    "Embedding",
    "Fitting",
    "History",
    "LanguageModel",
    "Last",
    "Linear",
    "ModuleCache",
    "ModuleGradients",
    "Optimizer",
    "Plateau",
    "Progress",
    "RMSprop",
    "RaggedBatches",
    "Schedule",
    "Sequential",
    "SequentialStream",
    "StepDecay",
    "StreamChunk",
    "Training",
    "WarmUp",
    "WeightAverage",
    "accuracy",
    "batches",
    "beam_search",
    "binary_cross_entropy",
    "bits_per_symbol",
    "clip_global_norm",
    "ctc_beam_decode",
    "ctc_greedy_decode",
    "ctc_loss",
    "fit",
    "gaussian_likelihood",
    "global_norm",
    "huber_loss",
    "label_error_rate",
    "mase",
    "mean_absolute_error",
    "mean_squared_error",
    "pad",
    "quantile_loss",
    "ragged_batches",
    "rmse",
    "softmax_cross_entropy",
    "stream_batches",
    "truncated_bptt",
    "windows",
]
__dir__ = shown.lists(globals())
