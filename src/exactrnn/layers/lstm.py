"""Long short-term memory with every option of the literature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from exactrnn import _checks
from exactrnn._checks import DTypeLike
from exactrnn._checks.limits import quote
from exactrnn._spec.activations import ActivationLike
from exactrnn._spec.arguments import Arguments
from exactrnn._spec.options import LSTM_CHECKS, lstm_fields
from exactrnn._spec.record import Record
from exactrnn._spec.rules import InitLike
from exactrnn.layers._lstm_layer import MEANINGS, LSTMLayer
from exactrnn.layers._named import LSTMWeights

__all__ = ["LSTM", "greff_variant"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "V": {"peepholes": "ifo"},
    "NIG": {"peepholes": "fo", "omit": "i"},
    "NFG": {"peepholes": "io", "omit": "f"},
    "NOG": {"peepholes": "if", "omit": "o"},
    "NIAF": {"peepholes": "ifo", "activations": ("sigmoid", "identity", "tanh")},
    "NOAF": {"peepholes": "ifo", "activations": ("sigmoid", "tanh", "identity")},
    "CIFG": {"peepholes": "io", "coupled": "input"},
    "NP": {"peepholes": ""},
    "FGR": {"peepholes": "ifo", "full_gate_recurrence": True},
}


class LSTM(LSTMWeights, LSTMLayer):
    """Long short-term memory, plain by default, with every part that can be varied.

    For each time step, with `σ` the logistic function, `*` elementwise, and in brackets
    what only an option brings::

        i = σ(W_i x_t + b_ih_i + R_i h_{t-1} + b_hh_i [+ p_i * c_{t-1}] [+ S_i s_{t-1}])
        f = σ(W_f x_t + b_ih_f + R_f h_{t-1} + b_hh_f [+ p_f * c_{t-1}] [+ S_f s_{t-1}])
        g = tanh(W_g x_t + b_ih_g + R_g h_{t-1} + b_hh_g)
        c_t = f * c_{t-1} + i * g
        o = σ(W_o x_t + b_ih_o + R_o h_{t-1} + b_hh_o [+ p_o * c_t] [+ S_o s_{t-1}])
        m_t = o * tanh(c_t)
        h_t = m_t    or, projected,    h_t = P m_t

    Parameters
    ----------
    input_size : int
        I, values per input step.
    hidden_size : int
        H, hidden units per direction.
    num_layers : int
        L, layers on top of each other; each upper one reads the output of the lower.
    proj_size : int
        P, the width of a projected output, 0 for none; unlike in torch it may be H or
        more. Then h and y are P wide (y is D*P), c is H wide.
    peepholes : str
        The gates that see the cell state: letters of "ifo". The output gate sees the
        new one.
    coupled : {None, "input", "forget"}
        "input": the input gate is kept and f = 1 - i; "forget": the forget gate is kept
        and i = 1 - f.
    omit : str
        Gates that are the constant 1: letters of "ifo".
    activations : tuple of three
        In the places of σ, of the candidate's tanh and of the cell's tanh. Each is
        "sigmoid", "tanh", "relu", "softsign", "softplus" or "identity", or one with
        parameters, here with those that its name alone stands for::

            ("hard_sigmoid", 0.2, 0.5)   α a + β, within [0, 1]
            ("leaky_relu", 0.01)         a where positive, else α a; α >= 0
            ("elu", 1.0)                 a where positive, else α (exp(a) - 1); α >= 0
            ("thresholded_relu", 1.0)    a where above α, else 0; α >= 0
            ("scaled_tanh", 1.0, 1.0)    α tanh(β a); α not 0
            ("affine", 1.0, 0.0)         α a + β

        A bidirectional layer takes six as well: the last three are those of the
        reverse direction.
    full_gate_recurrence : bool
        Whether each gate also sees the activations of all gates one step before,
        s = [i, f, o], by `weight_gates`. They are part of the state then.
    layer_norm : bool
        Whether products and cell state are normalised over the units of each row, as
        the notes say. Not with other options of the cell, nor with `init=("chrono", T)`
        or `bias=False`.
    clip : float, optional
        Limit ±clip of what goes into the gates and the candidate, before the
        activation. The gradient of a limited value is 0.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether inputs and outputs are [B, T, ...] instead of [T, B, ...]; states are
        [L*D, B, H] in any case.
    dropout : float
        Share of values dropped between layers by `forward`, 0 <= p < 1.
    recurrent_dropout : float
        Share of h that `forward` hides from R, 0 <= p < 1: by one mask for each row,
        the same in all steps (Notes of `RNN`).
    zoneout : float or tuple of two floats
        Share of units that stay as they were in a step, 0 <= p < 1, or that of h and
        that of the cell state: drawn anew in each step of `forward`; a plain call
        takes the mean (Notes of `RNN`).
    bidirectional : bool
        Whether a second direction runs from each row's end to its start (D = 2).
    reverse : bool
        Whether the only direction runs from each row's end to its start; y[t] is
        still that of step t. Not with `bidirectional`.
    init : {"uniform", "orthogonal", "glorot", "paper"} or ("chrono", T)
        How first weights are drawn: uniform in ±1/sqrt(H), as in torch; with orthogonal
        recurrent matrices; uniform in Glorot's limits; uniform, but for a bias of 1 of
        the forget gate (Jozefowicz et al., ICML 2015); or uniform with gate biases for
        memories of up to T steps (Tallec, Ollivier, arXiv 1804.11188).
    forget_bias : float, optional
        First bias of the forget gate, stored in `bias_ih`; with `coupled="input"` its
        opposite is the bias of the input gate.
    dtype : {"float32", "float64"}
        Of weights, inputs, states and outputs.
    seed : int, optional
        Of the first weights and of dropout.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Notes
    -----
    Weights as in `RNN`, with H rows for each gate in the order i, f, g, o; rows of
    gates that are omitted or replaced by the coupling are absent. The state is
    `(h, c)`; with `full_gate_recurrence` it is `(h, c, i, f, o)`, the gates present.
    Besides there are `weight_hr_l0` [P, H] of a projection, `weight_peephole_l0`
    [V, H] with the rows of the gates in `peepholes`, and `weight_gates_l0` [n*H, n*H]
    of the n gates present: rows receive, columns send, in the order i, f, o. With G
    row blocks and O = P or H one layer has G*H*(I + O + 2) + P*H + V*H + (n*H)²
    weights.

    With `layer_norm`, as in the supplement of Ba, Kiros and Hinton::

        [a_i a_f a_g a_o] = LN(W x_t) + LN(R h_{t-1}) + b
        c_t = σ(a_f) * c_{t-1} + σ(a_i) * tanh(a_g)
        h_t = σ(a_o) * tanh(LN(c_t))

    LN of values u is gain * (u - mean) / sqrt(variance + 1e-5) [+ bias], with the mean
    and the biased variance over all 4H units of a row's four products together, over H
    of c. What is carried on is c itself. `weight_norm_l0` [14, H] has, in the order i,
    f, g, o, the gains of LN(W x), those of LN(R h) and b, then gain and bias of LN(c);
    gains are 1 at first, biases 0 (but for `forget_bias`). Of the paper's two biases
    and b, which are added to each other, there is one. Others differ: haste has no
    bias, TensorFlow's LayerNormLSTMCell carries LN(c) on, with eps 1e-3, and contrib's
    LayerNormBasicLSTMCell normalises each gate of one product on its own.

    The variants of Greff et al. by name are made by `greff_variant`. Without forget
    gate (`omit="f"`) and with `backward(..., truncated=True)` this is a cell as those
    of 1997; `LSTM1997` is the layer of the paper, with its memory blocks.

    Sources: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation
    9(8), 1997; F. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", Neural
    Computation 12(10), 2000; F. Gers, J. Schmidhuber, "Recurrent Nets that Time and
    Count", IJCNN 2000 (peepholes); H. Sak, A. Senior, F. Beaufays, arXiv 1402.1128
    (projection); K. Greff et al., arXiv 1503.04069 (coupling, omitted gates, full gate
    recurrence); J. Ba, J. Kiros, G. Hinton, arXiv 1607.06450 (layer normalisation).

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> layer = xr.LSTM(3, 4, bidirectional=True, seed=1)
    >>> layer
    LSTM(3, 4, bidirectional=True)
    >>> y, (h, c) = layer(np.ones((5, 2, 3), np.float32), lengths=[5, 2])
    >>> y.shape, c.shape
    ((5, 2, 8), (2, 2, 4))
    >>> layer = xr.LSTM(3, 4, peepholes="io", coupled="input", seed=1)
    >>> {name: weight.shape for name, weight in layer.state_dict().items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4), 'bias_ih_l0': (12,),
     'bias_hh_l0': (12,), 'weight_peephole_l0': (2, 4)}
    """

    record = Record(
        name="lstm",
        gates="ifo",
        meanings=MEANINGS,
        keeps={"f": 1, "i": -1},
        paper="forget",
        checks=LSTM_CHECKS,
    )

    proj_size: int
    peepholes: str
    coupled: str | None
    omit: str
    full_gate_recurrence: bool
    layer_norm: bool
    recurrent_dropout: float
    zoneout: float | tuple[float, float]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        proj_size: int = 0,
        peepholes: str = "",
        coupled: Literal["input", "forget"] | None = None,
        omit: str = "",
        activations: tuple[ActivationLike, ...] = ("sigmoid", "tanh", "tanh"),
        full_gate_recurrence: bool = False,
        layer_norm: bool = False,
        clip: float | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        bidirectional: bool = False,
        reverse: bool = False,
        init: InitLike = "uniform",
        forget_bias: float | None = None,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _own_fields(cls, given: Arguments) -> dict[str, Any]:
        return lstm_fields(given)


def greff_variant(
    name: Literal["V", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR"],
    input_size: int,
    hidden_size: int,
    **options: Any,
) -> LSTM:
    """Make a variant of the LSTM by its name in "LSTM: A Search Space Odyssey".

    Parameters
    ----------
    name : str
        "V", the vanilla LSTM with peepholes, or one that differs from it in one point:
        "NIG", "NFG", "NOG" (no input, forget or output gate), "NIAF", "NOAF" (no input
        or output activation function), "CIFG" (coupled input and forget gate: f = 1 -
        i), "NP" (no peepholes), "FGR" (full gate recurrence).
    input_size, hidden_size : int
        As in `LSTM`.
    **options
        As in `LSTM`, but for what the name says.

    Returns
    -------
    LSTM
        With the options of the variant.

    Raises
    ------
    ValueError, TypeError
        If the name is another, or an option is one that the name fixes, or not as
        `LSTM` describes it.

    Notes
    -----
    Source: K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink, J. Schmidhuber,
    "LSTM: A Search Space Odyssey", arXiv 1503.04069.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.greff_variant("NIG", 3, 4, num_layers=2)
    LSTM(3, 4, num_layers=2, peepholes='fo', omit='i')
    """
    fixed = VARIANTS[_checks.check_choice("name", name, tuple(VARIANTS))]
    own = {"peepholes": "", **fixed}
    for option, value in options.items():
        if option in own:
            raise ValueError(
                f"{option}: expected no such option because name={name!r} fixes it, "
                f"got {quote(value)}"
            )
    return LSTM(input_size, hidden_size, **own, **options)
