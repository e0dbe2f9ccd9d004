"""Optimisers: elementwise ``+ - * / sqrt`` in a written order (contract N9).

Each rule is a sequence of NumPy operations whose result is fixed by IEEE-754, without
fma, so the bits depend on neither the machine nor the blocks in which the arrays are
walked.  Hyperparameters are Python floats, rounded once to the parameters' dtype where
they meet an array.

A layer's packed weights are renewed when its arrays were lent out, so an optimiser asks
its model for the arrays at every step and lets go of them at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias

import numpy as np

from exactrnn._limits import quote_names
from exactrnn.train._checks import FloatArray, check_real

__all__ = ["SGD", "Adam", "Optimizer"]

BLOCK = 16384
"""Elements updated at a time: few enough for all operands to stay in L2."""


class HasParameters(Protocol):
    """A model or layer: hands out its writable arrays by name."""

    def parameters(self) -> Mapping[str, FloatArray]:
        """Return the arrays that training changes, by name."""


ParameterSource: TypeAlias = HasParameters | Mapping[str, FloatArray]


class Optimizer:
    """What all optimisers share: fetching, checking and walking the parameters.

    Parameters
    ----------
    parameters : layer, model or mapping of str to ndarray
        What is trained.  Anything with a method ``parameters()`` that returns a
        mapping is asked for its arrays at every step.
    lr : float
        Learning rate, at least 0; the attribute ``lr`` may be changed between steps.
    slots : int
        Number of state arrays kept per parameter.
    """

    def __init__(self, parameters: ParameterSource, lr: float, slots: int) -> None:
        self.lr = check_real("lr", lr, 0.0)
        self.num_steps = 0
        self._source = parameters
        self._slots: dict[str, tuple[FloatArray, ...]] = {}
        self._scratch: dict[str, tuple[FloatArray, FloatArray]] = {}
        for name, array in self._fetch().items():
            state = tuple(np.zeros(array.size, array.dtype) for _ in range(slots))
            self._slots[name] = state
            if array.dtype.name not in self._scratch:
                first = np.empty(BLOCK, array.dtype)
                self._scratch[array.dtype.name] = (first, np.empty_like(first))

    def step(self, gradients: Mapping[str, FloatArray]) -> None:
        """Update the parameters once.

        Parameters
        ----------
        gradients : mapping of str to ndarray
            One array for each parameter, of its name, shape and dtype.

        Raises
        ------
        ValueError
            If a name is missing or unknown or a shape differs; nothing is changed.
        TypeError
            If a dtype differs; nothing is changed.
        """
        parameters = self._fetch()
        self._check(parameters, gradients)
        self.num_steps += 1
        self._begin_step()
        for name, parameter in parameters.items():
            gradient = np.ascontiguousarray(gradients[name]).reshape(-1)
            self._update(name, parameter.reshape(-1), gradient)

    def _begin_step(self) -> None:
        """Renew what depends on the number of the step alone."""

    def _update(self, name: str, parameter: FloatArray, gradient: FloatArray) -> None:
        """Update one flattened parameter."""
        raise NotImplementedError

    def _fetch(self) -> Mapping[str, FloatArray]:
        source = self._source
        return source if isinstance(source, Mapping) else source.parameters()

    def _blocks(
        self, parameter: FloatArray
    ) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        first, second = self._scratch[parameter.dtype.name]
        for start in range(0, parameter.size, BLOCK):
            size = min(BLOCK, parameter.size - start)
            yield slice(start, start + size), first[:size], second[:size]

    def _check(
        self, parameters: Mapping[str, FloatArray], gradients: Mapping[str, FloatArray]
    ) -> None:
        if parameters.keys() != gradients.keys() or (
            parameters.keys() != self._slots.keys()
        ):
            odd = sorted(set(self._slots) ^ set(gradients))
            raise ValueError(f"gradients: missing or unknown names: {quote_names(odd)}")
        for name, parameter in parameters.items():
            gradient = gradients[name]
            if gradient.shape != parameter.shape:
                raise ValueError(
                    f"gradients[{name!r}]: expected shape {parameter.shape}, "
                    f"got {gradient.shape}"
                )
            if gradient.dtype != parameter.dtype:
                raise TypeError(
                    f"gradients[{name!r}]: expected {parameter.dtype}, "
                    f"got {gradient.dtype}"
                )
            if not (parameter.flags.c_contiguous and parameter.flags.writeable):
                raise ValueError(f"{name}: expected a writable C-contiguous array")


class SGD(Optimizer):
    """Gradient descent, with momentum in the form of ``torch.optim.SGD``.

    Without momentum ``s = g * lr``, ``p = p - s``.  With momentum ``mu``:
    ``v = v * mu``, ``v = v + g``, ``s = v * lr``, ``p = p - s``; `v` starts at zero.

    Parameters
    ----------
    parameters : layer, model or mapping of str to ndarray
        What is trained.
    lr : float
        Learning rate, at least 0.
    momentum : float
        ``mu``, from 0 to 1; 0 is plain gradient descent.

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

    def __init__(
        self, parameters: ParameterSource, lr: float, *, momentum: float = 0.0
    ) -> None:
        self.momentum = check_real("momentum", momentum, 0.0, 1.0)
        super().__init__(parameters, lr, slots=1 if self.momentum else 0)

    def _update(self, name: str, parameter: FloatArray, gradient: FloatArray) -> None:
        for block, scratch, _ in self._blocks(parameter):
            direction = gradient[block]
            if self._slots[name]:
                velocity = self._slots[name][0][block]
                np.multiply(velocity, self.momentum, out=velocity)
                np.add(velocity, direction, out=velocity)
                direction = velocity
            np.multiply(direction, self.lr, out=scratch)
            np.subtract(parameter[block], scratch, out=parameter[block])


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
    parameters : layer, model or mapping of str to ndarray
        What is trained.
    lr : float
        Learning rate, at least 0.
    betas : tuple of two floats
        Decay of the two moments, at least 0 and below 1.
    eps : float
        Added to the root, above 0.

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

    def __init__(
        self,
        parameters: ParameterSource,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        below_one = 1.0 - 2.0**-53
        self.betas = tuple(
            check_real(f"betas[{i}]", beta, 0.0, below_one)
            for i, beta in enumerate(betas)
        )
        self.eps = check_real("eps", eps, 0.0, open_below=True)
        self._powers = (1.0, 1.0)
        super().__init__(parameters, lr, slots=2)

    def _begin_step(self) -> None:
        first, second = self._powers
        self._powers = (first * self.betas[0], second * self.betas[1])

    def _update(self, name: str, parameter: FloatArray, gradient: FloatArray) -> None:
        beta1, beta2 = self.betas
        rate = self.lr / (1.0 - self._powers[0])
        correction = 1.0 - self._powers[1]
        first, second = self._slots[name]
        for block, s, u in self._blocks(parameter):
            g, m, v = gradient[block], first[block], second[block]
            np.multiply(m, beta1, out=m)
            np.multiply(g, 1.0 - beta1, out=s)
            np.add(m, s, out=m)
            np.multiply(v, beta2, out=v)
            np.multiply(g, g, out=s)
            np.multiply(s, 1.0 - beta2, out=s)
            np.add(v, s, out=v)
            np.divide(v, correction, out=s)
            np.sqrt(s, out=s)
            np.add(s, self.eps, out=s)
            np.multiply(m, rate, out=u)
            np.divide(u, s, out=u)
            np.subtract(parameter[block], u, out=parameter[block])
