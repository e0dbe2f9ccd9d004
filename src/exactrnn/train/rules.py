"""The rules of optimisers: gradient descent, Adam, AdamW, RMSprop (contract N9).

Each is a sequence of elementwise ``+ - * / sqrt`` whose result is fixed by IEEE-754,
without fma; the docstrings write it down. What they have in common, sources and steps
that are whole, is in ``optimizers.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from exactrnn import _core
from exactrnn._checks import Array, describe
from exactrnn._checks.numbers import check_real
from exactrnn.train.optimizers import Optimizer, ParameterSource, State

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


class SGD(Optimizer):
    """Gradient descent, with momentum in the form of ``torch.optim.SGD``.

    Without momentum ``s = g * lr``, ``p = p - s``.  With momentum ``mu``:
    ``v = v * mu``, ``v = v + g``, ``s = v * lr``, ``p = p - s``; `v` starts at zero.

    Parameters
    ----------
    parameters : layer, model, or several of them in a list or a mapping
        What is trained.
    lr : float
        Learning rate, at least 0.
    momentum : float
        ``mu``, from 0 to 1; 0 is plain gradient descent.
    frozen, lr_factors
        As for `Optimizer`.

    Raises
    ------
    ValueError
        If `lr` or `momentum` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> weights = {"w": np.array([1.0, 2.0])}
    >>> optimizer = xr.train.SGD(weights, lr=0.5)
    >>> optimizer.step({"w": np.array([1.0, -1.0])})
    >>> weights["w"].tolist()
    [0.5, 2.5]
    """

    _rule = "sgd"
    _options = ("lr", "momentum")

    def __init__(
        self,
        parameters: ParameterSource,
        lr: float,
        *,
        momentum: float = 0.0,
        frozen: Collection[str] = (),
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.momentum = check_real("momentum", momentum, 0.0, 1.0)
        slots = 1 if self.momentum else 0
        super().__init__(parameters, lr, slots, frozen=frozen, lr_factors=lr_factors)

    def _numbers(self, state: State, lr: float) -> _core.RuleNumbers:  # noqa: ARG002
        return lr, (self._momentum(), 0.0), 0.0, 0.0, 1.0


class Adam(Optimizer):
    """Adam (D. Kingma, J. Ba, arXiv 1412.6980), bias-corrected, epsilon outside.

    At step ``t = 1, 2, ...``, with ``q1 = beta1^t`` and ``q2 = beta2^t`` kept as
    float64 by one multiplication per step, all else in the parameters' dtype:

    1. ``m = m * beta1``, ``s = g * (1 - beta1)``, ``m = m + s``
    2. ``v = v * beta2``, ``s = g * g``, ``s = s * (1 - beta2)``, ``v = v + s``
    3. ``s = v / (1 - q2)``, ``s = sqrt(s)``, ``s = s + eps``
    4. ``u = m * (lr / (1 - q1))``, ``u = u / s``, ``p = p - u``

    Parameters
    ----------
    parameters : layer, model, or several of them in a list or a mapping
        What is trained.
    lr : float
        Learning rate, at least 0.
    betas : tuple of two floats
        Decay of the two moments, at least 0 and below 1.
    eps : float
        Added to the root, above 0.
    frozen, lr_factors
        As for `Optimizer`.

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> weights = {"w": np.array([1.0, 2.0])}
    >>> optimizer = xr.train.Adam(weights, lr=0.125)
    >>> optimizer.step({"w": np.array([3.0, -1.0])})
    >>> weights["w"].round(6).tolist()
    [0.875, 2.125]
    """

    _rule = "adam"
    _options: ClassVar[Sequence[str]] = ("lr", "betas", "eps")

    def __init__(
        self,
        parameters: ParameterSource,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        frozen: Collection[str] = (),
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.betas = _check_betas(betas)
        self.eps = check_real("eps", eps, 0.0, open_below=True)
        super().__init__(parameters, lr, 2, frozen=frozen, lr_factors=lr_factors)

    def _next(self) -> State:
        beta1, beta2 = _check_betas(self.betas)
        steps, (first, second) = self._state[0]
        return State(steps + 1, (first * beta1, second * beta2))

    def _numbers(self, state: State, lr: float) -> _core.RuleNumbers:
        eps = check_real("eps", self.eps, 0.0, open_below=True)
        first, second = state.powers
        return lr / (1.0 - first), _check_betas(self.betas), 1.0 - second, eps, 1.0


class AdamW(Adam):
    """Adam with decoupled weight decay (I. Loshchilov, F. Hutter, arXiv 1711.05101).

    A step begins with ``p = p * (1 - lr * weight_decay)``, as in ``torch.optim.AdamW``,
    and goes on as `Adam`. Without decay the bits are those of `Adam`.

    Parameters
    ----------
    parameters : layer, model, or several of them in a list or a mapping
        What is trained.
    lr : float
        Learning rate, at least 0.
    betas : tuple of two floats
        Decay of the two moments, at least 0 and below 1.
    eps : float
        Added to the root, above 0.
    weight_decay : float
        At least 0; ``lr * weight_decay`` is at most 1 in every step.
    frozen, lr_factors
        As for `Optimizer`; a factor acts on the decay too.

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> weights = {"w": np.array([1.0, 2.0])}
    >>> optimizer = xr.train.AdamW(weights, lr=0.125, weight_decay=0.5)
    >>> optimizer.step({"w": np.array([0.0, 0.0])})
    >>> weights["w"].tolist()
    [0.9375, 1.875]
    """

    _options = ("lr", "betas", "eps", "weight_decay")

    def __init__(
        self,
        parameters: ParameterSource,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        frozen: Collection[str] = (),
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.weight_decay = check_real("weight_decay", weight_decay, 0.0)
        super().__init__(
            parameters,
            lr,
            betas=betas,
            eps=eps,
            frozen=frozen,
            lr_factors=lr_factors,
        )

    def _numbers(self, state: State, lr: float) -> _core.RuleNumbers:
        decay = check_real("weight_decay", self.weight_decay, 0.0)
        keep = 1.0 - lr * decay
        if keep < 0.0:
            raise ValueError(
                "weight_decay: expected lr * weight_decay of at most 1, got "
                f"{lr:g} * {decay:g}"
            )
        return (*super()._numbers(state, lr)[:4], keep)


class RMSprop(Optimizer):
    """Gradients by the root of their mean square (T. Tieleman, G. Hinton, 2012).

    In the form of ``torch.optim.RMSprop``, with ``d`` as direction:

    1. ``v = v * alpha``, ``s = g * g``, ``s = s * (1 - alpha)``, ``v = v + s``
    2. ``s = sqrt(v)``, ``s = s + eps``, ``d = g / s``
    3. ``d = d * lr``, ``p = p - d``; with momentum ``mu`` first ``m = m * mu``,
       ``m = m + d``, ``d = m``

    Parameters
    ----------
    parameters : layer, model, or several of them in a list or a mapping
        What is trained.
    lr : float
        Learning rate, at least 0.
    alpha : float
        Decay of the mean square, at least 0 and below 1.
    eps : float
        Added to the root, above 0.
    momentum : float
        ``mu``, from 0 to 1; 0 is without.
    frozen, lr_factors
        As for `Optimizer`.

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> weights = {"w": np.array([1.0, 2.0])}
    >>> optimizer = xr.train.RMSprop(weights, lr=0.5, alpha=0.75)
    >>> optimizer.step({"w": np.array([3.0, -1.0])})
    >>> weights["w"].round(6).tolist()
    [0.0, 3.0]
    """

    _rule = "rmsprop"
    _options = ("lr", "alpha", "eps", "momentum")

    def __init__(
        self,
        parameters: ParameterSource,
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        frozen: Collection[str] = (),
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.alpha = check_real("alpha", alpha, 0.0, 1.0, open_above=True)
        self.eps = check_real("eps", eps, 0.0, open_below=True)
        self.momentum = check_real("momentum", momentum, 0.0, 1.0)
        slots = 2 if self.momentum else 1
        super().__init__(parameters, lr, slots, frozen=frozen, lr_factors=lr_factors)

    def _pair(self, name: str) -> tuple[Array | None, Array | None]:
        second, first, *_ = (*self._slots[name], None)
        return first, second

    def _numbers(self, state: State, lr: float) -> _core.RuleNumbers:  # noqa: ARG002
        alpha = check_real("alpha", self.alpha, 0.0, 1.0, open_above=True)
        eps = check_real("eps", self.eps, 0.0, open_below=True)
        return lr, (self._momentum(), alpha), 0.0, eps, 1.0


def _check_betas(betas: object) -> tuple[float, float]:
    """Return the decays of the two moments."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"betas: expected two numbers, got {describe(betas)}")
    first, second = (
        check_real(f"betas[{i}]", beta, 0.0, 1.0, open_above=True)
        for i, beta in enumerate(betas)
    )
    return first, second
