"""Linear: the readout over the last axis; `exactrnn.train` has it.

Its twins are in `reference/dense.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from exactrnn import _checks, _core
from exactrnn._checks import Array, DTypeLike
from exactrnn._checks.arrays import check_floats, check_last_axis
from exactrnn._checks.limits import check_weights
from exactrnn._numeric.random import Seed
from exactrnn._spec.arguments import Arguments, as_size
from exactrnn._spec.dense import DenseSpec
from exactrnn._spec.record import Record
from exactrnn.engine import isa, threads_for_calls
from exactrnn.layers._dense import DenseModule, ModuleCache, ModuleGradients
from exactrnn.layers._named import Weight

__all__ = ["Linear"]


class Linear(DenseModule):
    """`y = x Wᵀ + b` over the last axis.

    Parameters
    ----------
    in_features, out_features : int
        Widths `K` of the input and `O` of the output.
    bias : bool
        Whether there is a bias; without it sums start at +0.0.
    dtype : str or dtype
        `"float32"` or `"float64"`.
    seed : int, optional
        Seed of the initial parameters, uniform within `1/sqrt(K)`; a fresh one from
        the operating system if None.

    Attributes
    ----------
    weight : ndarray, `[O, K]`
    bias : ndarray, `[O]`, or None

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import exactrnn as xr
    >>> readout = xr.train.Linear(3, 2, dtype="float64", seed=0)
    >>> readout.weight = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    >>> readout.bias = np.array([0.5, 0.0])
    >>> readout(np.array([1.0, 1.0, 1.0])).tolist()
    [6.5, 1.0]
    """

    record = Record(
        name="linear",
        checks={"in_features": as_size, "out_features": as_size},
    )

    in_features: int
    out_features: int
    weight: Weight
    bias: Array | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(locals())

    @classmethod
    def _configure(cls, given: Arguments) -> DenseSpec:
        K, O, dtype = (given[n] for n in ("in_features", "out_features", "dtype"))
        sizes = f"in_features={K}, out_features={O}"
        check_weights(sizes, 2, O * (K + 1), dtype.itemsize)
        return DenseSpec(("O", "K"), (O, K), given["bias"], dtype)

    @classmethod
    def _draw_weights(cls, spec: DenseSpec, seed: Seed) -> dict[str, Array]:
        return spec.draw(1.0 / math.sqrt(spec.shape[1]), seed)

    def __call__(self, x: ArrayLike) -> Array:
        """Return `y [..., O]` for `x` `[..., K]`.

        An output is a chain (N3) that starts at its bias and runs over `K`.

        Raises
        ------
        TypeError, ValueError
            If `x` has another dtype or width.
        """
        return self._run(self._check_input(x))[0]

    def forward(self, x: ArrayLike) -> tuple[Array, ModuleCache]:
        """Return `y` and what `backward` needs, a copy of `x` among it."""
        own = self._check_input(x).copy()
        y, version = self._run(own)
        return y, ModuleCache(self, version, own)

    def _check_input(self, x: ArrayLike) -> Array:
        checked = check_floats("x", x, self.dtype)
        check_last_axis("x", checked, "K", self.in_features)
        return checked

    def _run(self, x: Array) -> tuple[Array, int]:
        """Return the output and the version of the weights that made it."""
        version, weights = self._store.now()
        rows = x.reshape(-1, self.in_features)
        y = _checks.allocate((rows.shape[0], self.out_features), self.dtype)
        _core.linear_forward(
            rows, weights["weight"], weights.get("bias"), y, isa(), threads_for_calls()
        )
        return y.reshape(*x.shape[:-1], self.out_features), version

    def backward(self, cache: ModuleCache, dy: ArrayLike) -> ModuleGradients:
        """Return the gradients of the input and of the parameters.

        `dx` is a chain over the outputs from +0.0; the gradients of `weight` and
        `bias` are long sums over the rows in storage order.

        Parameters
        ----------
        cache : ModuleCache
            From `forward`.
        dy : array_like, `[..., O]`
            Gradient of the output.

        Returns
        -------
        ModuleGradients
            `x` is `[..., K]`, `weights` has the names of the parameters.

        Raises
        ------
        TypeError
            If `cache` is no cache or `dy` of another dtype.
        ValueError
            If `cache` is another module's or the weights have changed since, or if
            `dy` has another shape.
        """
        values, weights = self._kept(cache)
        x: Array = values
        shape = (*x.shape[:-1], self.out_features)
        checked = check_floats("dy", dy, self.dtype, shape)
        dx: Array = np.empty_like(x)
        found = {name: np.zeros_like(array) for name, array in weights.items()}
        _core.linear_backward(
            x.reshape(-1, self.in_features),
            weights["weight"],
            checked.reshape(-1, self.out_features),
            dx.reshape(-1, self.in_features),
            found["weight"],
            found.get("bias"),
            isa(),
            threads_for_calls(),
        )
        return ModuleGradients(dx, found)
