"""The names of weights for type checkers, which see `layer.weight_hh_l0` and no slip.

Which weights an object has follows from its arguments, which a type checker does not
compute: a class names all that its objects may have, in stacks of up to four layers.
Weights of deeper layers and of single positions of a grid are in `parameters()`.
`tests/api/test_declared.py` compares the names with those that objects have.
"""

from __future__ import annotations

from typing import Protocol

from exactrnn._checks import Array, ArrayLike


class Weight(Protocol):
    """What a weight is as an attribute: an array to read, set to any array."""

    def __get__(self, layer: object, kind: object = None, /) -> Array: ...

    def __set__(self, layer: object, value: ArrayLike, /) -> None: ...


class OneBias:
    """W, R and one bias for both."""

    weight_ih_l0: Weight
    weight_ih_l0_reverse: Weight
    weight_ih_l1: Weight
    weight_ih_l1_reverse: Weight
    weight_ih_l2: Weight
    weight_ih_l2_reverse: Weight
    weight_ih_l3: Weight
    weight_ih_l3_reverse: Weight
    weight_hh_l0: Weight
    weight_hh_l0_reverse: Weight
    weight_hh_l1: Weight
    weight_hh_l1_reverse: Weight
    weight_hh_l2: Weight
    weight_hh_l2_reverse: Weight
    weight_hh_l3: Weight
    weight_hh_l3_reverse: Weight
    bias_ih_l0: Weight
    bias_ih_l0_reverse: Weight
    bias_ih_l1: Weight
    bias_ih_l1_reverse: Weight
    bias_ih_l2: Weight
    bias_ih_l2_reverse: Weight
    bias_ih_l3: Weight
    bias_ih_l3_reverse: Weight


class TwoBiases(OneBias):
    """W and R with a bias each."""

    bias_hh_l0: Weight
    bias_hh_l0_reverse: Weight
    bias_hh_l1: Weight
    bias_hh_l1_reverse: Weight
    bias_hh_l2: Weight
    bias_hh_l2_reverse: Weight
    bias_hh_l3: Weight
    bias_hh_l3_reverse: Weight


class Normed:
    """Gains and biases of layer normalisation."""

    weight_norm_l0: Weight
    weight_norm_l0_reverse: Weight
    weight_norm_l1: Weight
    weight_norm_l1_reverse: Weight
    weight_norm_l2: Weight
    weight_norm_l2_reverse: Weight
    weight_norm_l3: Weight
    weight_norm_l3_reverse: Weight


class Peepholes:
    """What gates see of the cell state."""

    weight_peephole_l0: Weight
    weight_peephole_l0_reverse: Weight
    weight_peephole_l1: Weight
    weight_peephole_l1_reverse: Weight
    weight_peephole_l2: Weight
    weight_peephole_l2_reverse: Weight
    weight_peephole_l3: Weight
    weight_peephole_l3_reverse: Weight


class LSTMWeights(TwoBiases, Normed, Peepholes):
    """Those of all options of an LSTM."""

    weight_hr_l0: Weight
    weight_hr_l0_reverse: Weight
    weight_hr_l1: Weight
    weight_hr_l1_reverse: Weight
    weight_hr_l2: Weight
    weight_hr_l2_reverse: Weight
    weight_hr_l3: Weight
    weight_hr_l3_reverse: Weight
    weight_gates_l0: Weight
    weight_gates_l0_reverse: Weight
    weight_gates_l1: Weight
    weight_gates_l1_reverse: Weight
    weight_gates_l2: Weight
    weight_gates_l2_reverse: Weight
    weight_gates_l3: Weight
    weight_gates_l3_reverse: Weight


class OutputLayer(TwoBiases):
    """An output layer in each step."""

    weight_ho_l0: Weight
    weight_ho_l0_reverse: Weight
    weight_ho_l1: Weight
    weight_ho_l1_reverse: Weight
    weight_ho_l2: Weight
    weight_ho_l2_reverse: Weight
    weight_ho_l3: Weight
    weight_ho_l3_reverse: Weight
    bias_ho_l0: Weight
    bias_ho_l0_reverse: Weight
    bias_ho_l1: Weight
    bias_ho_l1_reverse: Weight
    bias_ho_l2: Weight
    bias_ho_l2_reverse: Weight
    bias_ho_l3: Weight
    bias_ho_l3_reverse: Weight


class Leak(TwoBiases):
    """A leak that is learned."""

    leak_logit_l0: Weight
    leak_logit_l0_reverse: Weight
    leak_logit_l1: Weight
    leak_logit_l1_reverse: Weight
    leak_logit_l2: Weight
    leak_logit_l2_reverse: Weight
    leak_logit_l3: Weight
    leak_logit_l3_reverse: Weight


class DefinedWeights(TwoBiases):
    """Those that equations may ask for."""

    weight_unit_l0: Weight
    weight_unit_l0_reverse: Weight
    weight_unit_l1: Weight
    weight_unit_l1_reverse: Weight
    weight_unit_l2: Weight
    weight_unit_l2_reverse: Weight
    weight_unit_l3: Weight
    weight_unit_l3_reverse: Weight
    scalar_l0: Weight
    scalar_l0_reverse: Weight
    scalar_l1: Weight
    scalar_l1_reverse: Weight
    scalar_l2: Weight
    scalar_l2_reverse: Weight
    scalar_l3: Weight
    scalar_l3_reverse: Weight


class SingleWeights:
    """W and R of a single step, with a bias each."""

    weight_ih: Weight
    weight_hh: Weight
    bias_ih: Weight
    bias_hh: Weight


class SingleLSTMWeights(SingleWeights):
    """Those of all options of a single step of an LSTM."""

    weight_hr: Weight
    weight_peephole: Weight
    weight_gates: Weight


class DecoderWeights:
    """Those of a decoder and of its attention."""

    weight_ih_l0: Weight
    weight_hh_l0: Weight
    bias_ih_l0: Weight
    bias_hh_l0: Weight
    weight_query_l0: Weight
    weight_memory_l0: Weight
    bias_attention_l0: Weight
    weight_score_l0: Weight
    weight_selector_l0: Weight
    bias_selector_l0: Weight


class GridWeights:
    """Those of a grid that are shared by all positions."""

    weight_hh: Weight
    bias_hh: Weight
    weight_hh_d0: Weight
    weight_hh_d1: Weight
    weight_hh_d2: Weight
    weight_hh_d3: Weight
    weight_hh_d4: Weight
    weight_hh_d5: Weight
    bias_hh_d0: Weight
    bias_hh_d1: Weight
    bias_hh_d2: Weight
    bias_hh_d3: Weight
    bias_hh_d4: Weight
    bias_hh_d5: Weight
    weight_ih_d0: Weight
    weight_ih_d1: Weight
    weight_ih_d2: Weight
    weight_ih_d3: Weight
    weight_ih_d4: Weight
    weight_ih_d5: Weight
    bias_ih_d0: Weight
    bias_ih_d1: Weight
    bias_ih_d2: Weight
    bias_ih_d3: Weight
    bias_ih_d4: Weight
    bias_ih_d5: Weight


class TimeDepthWeights:
    """Those of a grid along time and depth."""

    weight_ih: Weight
    weight_ih_reverse: Weight
    bias_ih: Weight
    bias_ih_reverse: Weight
    weight_hh: Weight
    weight_hh_reverse: Weight
    bias_hh: Weight
    bias_hh_reverse: Weight
    weight_hh_time: Weight
    weight_hh_time_reverse: Weight
    bias_hh_time: Weight
    bias_hh_time_reverse: Weight
    weight_hh_depth: Weight
    weight_hh_depth_reverse: Weight
    bias_hh_depth: Weight
    bias_hh_depth_reverse: Weight
    weight_hh_l0: Weight
    weight_hh_l0_reverse: Weight
    weight_hh_l1: Weight
    weight_hh_l1_reverse: Weight
    weight_hh_l2: Weight
    weight_hh_l2_reverse: Weight
    weight_hh_l3: Weight
    weight_hh_l3_reverse: Weight
    bias_hh_l0: Weight
    bias_hh_l0_reverse: Weight
    bias_hh_l1: Weight
    bias_hh_l1_reverse: Weight
    bias_hh_l2: Weight
    bias_hh_l2_reverse: Weight
    bias_hh_l3: Weight
    bias_hh_l3_reverse: Weight
    weight_hh_time_l0: Weight
    weight_hh_time_l0_reverse: Weight
    weight_hh_time_l1: Weight
    weight_hh_time_l1_reverse: Weight
    weight_hh_time_l2: Weight
    weight_hh_time_l2_reverse: Weight
    weight_hh_time_l3: Weight
    weight_hh_time_l3_reverse: Weight
    bias_hh_time_l0: Weight
    bias_hh_time_l0_reverse: Weight
    bias_hh_time_l1: Weight
    bias_hh_time_l1_reverse: Weight
    bias_hh_time_l2: Weight
    bias_hh_time_l2_reverse: Weight
    bias_hh_time_l3: Weight
    bias_hh_time_l3_reverse: Weight
    weight_hh_depth_l0: Weight
    weight_hh_depth_l0_reverse: Weight
    weight_hh_depth_l1: Weight
    weight_hh_depth_l1_reverse: Weight
    weight_hh_depth_l2: Weight
    weight_hh_depth_l2_reverse: Weight
    weight_hh_depth_l3: Weight
    weight_hh_depth_l3_reverse: Weight
    bias_hh_depth_l0: Weight
    bias_hh_depth_l0_reverse: Weight
    bias_hh_depth_l1: Weight
    bias_hh_depth_l1_reverse: Weight
    bias_hh_depth_l2: Weight
    bias_hh_depth_l2_reverse: Weight
    bias_hh_depth_l3: Weight
    bias_hh_depth_l3_reverse: Weight
