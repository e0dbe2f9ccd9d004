"""Learning rates that change as training goes on (contract N9).

A schedule gives the rate of a step: ``rate(step)`` is that of the step after ``step``
steps, a float of Python whose arithmetic is IEEE-754's. `fit` sets ``optimizer.lr`` to
it before each step, and tells `observe` the loss after each epoch; a loop of your own
does both by itself. The cosine is not that of the system's library, whose bits differ
from machine to machine, but a polynomial of ours.
"""

from __future__ import annotations

import math
from typing import Any

from exactrnn._checks import check_size, describe
from exactrnn._checks.naming import check_names, take_named
from exactrnn._checks.numbers import check_count, check_number, check_real
from exactrnn._system.mode import ieee_mode

__all__ = ["Constant", "Cosine", "Plateau", "Schedule", "StepDecay", "WarmUp"]

HALF_PI = 1.5707963267948966
COEFFICIENTS = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(12, -1, -1))
"""Of cos x as a polynomial in x*x, the highest power first: to 1e-16 up to π/2."""


class Schedule:
    """What all schedules share: a rate for each step, and what they have observed."""

    def __repr__(self) -> str:
        own = vars(self).items()
        shown = [f"{name}={value!r}" for name, value in own if name[0] != "_"]
        return f"{type(self).__name__}({', '.join(shown)})"

    def rate(self, step: int) -> float:
        """Return the learning rate of the step that follows `step` steps.

        Parameters
        ----------
        step : int
            Steps done, at least 0.
        """
        raise NotImplementedError

    def observe(self, loss: float) -> None:
        """Take note of the loss after an epoch; most schedules do not care."""

    def state_dict(self) -> dict[str, Any]:
        """Return what has been observed, to go on from later."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""


class Constant(Schedule):
    """The same rate all the time.

    Parameters
    ----------
    lr : float
        At least 0.

    Examples
    --------
    >>> import exactrnn as xr
    >>> xr.train.Constant(0.1).rate(1000)
    0.1
    """

    def __init__(self, lr: float) -> None:
        self.lr = check_real("lr", lr, 0.0)

    def rate(self, step: int) -> float:
        """Return ``lr``."""
        _check_step(step)
        return self.lr


class StepDecay(Schedule):
    """A rate that is multiplied by a factor every so many steps.

    Parameters
    ----------
    lr : float
        The first rate, at least 0.
    every : int
        Steps between two changes.
    factor : float
        From 0 to 1.

    Examples
    --------
    >>> import exactrnn as xr
    >>> schedule = xr.train.StepDecay(1.0, every=10, factor=0.5)
    >>> [schedule.rate(step) for step in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, lr: float, *, every: int, factor: float = 0.1) -> None:
        self.lr = check_real("lr", lr, 0.0)
        self.every = check_size("every", every)
        self.factor = check_real("factor", factor, 0.0, 1.0)
        self._reached = ((self.lr, self.factor), 0, self.lr)

    @ieee_mode()
    def rate(self, step: int) -> float:
        """Return ``lr`` times the factor once for each change so far.

        Each product is rounded, so the changes are taken one by one: from the last step
        that was asked for on, if this one is not before it.
        """
        own, changes = (self.lr, self.factor), _check_step(step) // self.every
        begun, done, lr = self._reached
        if begun != own or changes < done:
            done, lr = 0, self.lr
        for _ in range(changes - done):
            if lr * self.factor == lr:
                break
            lr = lr * self.factor
        self._reached = (own, changes, lr)
        return lr


class Cosine(Schedule):
    """A rate that falls like a cosine from its top to its end (arXiv 1608.03983).

    After ``n`` of ``N`` steps it is ``end + (lr - end) * ((1 + cos(π n/N)) / 2)``, from
    ``N`` on it is `end`.

    Parameters
    ----------
    lr : float
        The first rate, at least 0.
    steps : int
        N.
    end : float
        The last rate, at least 0.

    Examples
    --------
    >>> import exactrnn as xr
    >>> schedule = xr.train.Cosine(1.0, steps=100)
    >>> [schedule.rate(step) for step in (0, 50, 100, 200)]
    [1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, lr: float, *, steps: int, end: float = 0.0) -> None:
        self.lr = check_real("lr", lr, 0.0)
        self.steps = check_size("steps", steps)
        self.end = check_real("end", end, 0.0)

    @ieee_mode()
    def rate(self, step: int) -> float:
        """Return the rate on the way down."""
        share = min(1.0, _check_step(step) / self.steps)
        if share == 1.0:
            return self.end
        return self.end + (self.lr - self.end) * ((1.0 + cos_pi(share)) / 2.0)


class WarmUp(Schedule):
    """A rate that rises in a straight line to that of another schedule.

    In the first ``steps`` steps the other's first rate is multiplied by
    ``(step + 1) / (steps + 1)``; then the other begins.

    Parameters
    ----------
    schedule : Schedule
        What follows.
    steps : int
        How many steps the way up has.

    Examples
    --------
    >>> import exactrnn as xr
    >>> schedule = xr.train.WarmUp(xr.train.Constant(1.0), steps=3)
    >>> [schedule.rate(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, schedule: Schedule, *, steps: int) -> None:
        self.schedule = check_schedule("schedule", schedule)
        self.steps = check_size("steps", steps)

    @ieee_mode()
    def rate(self, step: int) -> float:
        """Return the rate on the way up, then the other's."""
        if _check_step(step) >= self.steps:
            return self.schedule.rate(step - self.steps)
        return self.schedule.rate(0) * ((step + 1) / (self.steps + 1))

    def observe(self, loss: float) -> None:
        """Tell the other schedule."""
        self.schedule.observe(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return what the other schedule has observed."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the other schedule go on."""
        self.schedule.load_state_dict(state)


class Plateau(Schedule):
    """A rate that falls when the loss does not.

    After more than `patience` epochs in a row whose loss is not below the best one, the
    rate is multiplied by `factor`.

    Parameters
    ----------
    lr : float
        The first rate, at least 0.
    factor : float
        From 0 to 1.
    patience : int
        Epochs without a better loss that are borne, at least 0.
    end : float
        The rate does not fall below it.

    Examples
    --------
    >>> import exactrnn as xr
    >>> schedule = xr.train.Plateau(1.0, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.5, 2.0):
    ...     schedule.observe(loss)
    >>> schedule.rate(0)
    0.5
    """

    def __init__(
        self, lr: float, *, factor: float = 0.1, patience: int = 10, end: float = 0.0
    ) -> None:
        self.lr = check_real("lr", lr, 0.0)
        self.factor = check_real("factor", factor, 0.0, 1.0)
        self.patience = check_count("patience", patience)
        self.end = check_real("end", end, 0.0)
        self._rate, self._best, self._waited = self.lr, math.inf, 0

    def rate(self, step: int) -> float:
        """Return the rate of now, whatever the step."""
        _check_step(step)
        return self._rate

    @ieee_mode()
    def observe(self, loss: float) -> None:
        """Count an epoch without a better loss, and let the rate fall if due."""
        given = check_number("loss", loss, "a number")
        if given < self._best:
            self._best, self._waited = given, 0
            return
        self._waited += 1
        if self._waited > self.patience:
            fallen = max(self.end, self._rate * self.factor)
            self._rate, self._waited = min(self._rate, fallen), 0

    def state_dict(self) -> dict[str, Any]:
        """Return the rate, the best loss and the epochs since, None for no loss."""
        best = None if self._best == math.inf else self._best
        return {"rate": self._rate, "best": best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        check_names("state", take_named("state", state), ("rate", "best", "waited"))
        rate = check_real("rate", state["rate"], 0.0)
        best, waited = state["best"], check_count("waited", state["waited"])
        self._best = math.inf if best is None else check_number("best", best, "a loss")
        self._rate, self._waited = rate, waited


def check_schedule(name: str, schedule: Any) -> Schedule:
    """Return a schedule, or raise."""
    methods = ("rate", "observe", "state_dict", "load_state_dict")
    missing = [m for m in methods if not callable(getattr(schedule, m, None))]
    if missing or isinstance(schedule, type):
        raise TypeError(
            f"{name}: expected a schedule, with the methods of exactrnn.train.Schedule,"
            f" got {describe(schedule)}"
        )
    checked: Schedule = schedule
    return checked


def cos_pi(share: float) -> float:
    """Return ``cos(π share)`` for 0 <= share <= 1, with the same bits everywhere."""
    if share > 0.5:
        return -cos_pi(1.0 - share)
    x = share * HALF_PI * 2.0
    square, value = x * x, 0.0
    if share == 0.5:
        return 0.0
    for coefficient in COEFFICIENTS:
        value = value * square + coefficient
    return value


def _check_step(step: int) -> int:
    return check_count("step", step)
