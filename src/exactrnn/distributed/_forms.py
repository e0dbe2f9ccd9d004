"""How a model is called with several sequences at once, and its results taken apart.

A model whose every part is the library's is known: whether it reads lengths, which axis
has the rows, whether its output has one for time. Of any other only calls can tell, so
its groups have equal lengths, and nothing is padded or cut.

    group     x [B, T, ...], rows first in memory; as [T, B, ...] it is a view
    results   y of each row to its own end, and its state, as the row alone would have
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrnn._checks import check_integer, describe
from exactrnn._checks.limits import shorten
from exactrnn.layers._recurrent import RecurrentLayer
from exactrnn.layers.attention import AttentionDecoder
from exactrnn.layers.echo_state import EchoState
from exactrnn.layers.grid import GridLSTM
from exactrnn.layers.single_step import SingleStep
from exactrnn.train import Embedding, LanguageModel, Last, Linear, Sequential


class Scorer:
    """A language model that gives how likely sequences are.

    Parameters
    ----------
    model : LanguageModel
    """

    def __init__(self, model: Any) -> None:
        if not isinstance(model, LanguageModel):
            raise TypeError(
                "returns: expected 'log_probability' with a LanguageModel alone, got "
                f"{describe(model)}"
            )
        self.model = model

    def __call__(
        self, x: NDArray[Any], *, lengths: NDArray[np.int64] | None = None
    ) -> NDArray[Any]:
        """Return the log-probability of each row of ``[T, B]``."""
        return self.model.log_probability(x, lengths=lengths)


READERS = (RecurrentLayer, EchoState, LanguageModel, Scorer)
"""What reads whole sequences, with lengths."""
KNOWN = (*READERS, Embedding, Linear, Last, Sequential)
NOT_MAPPED = (SingleStep, GridLSTM, AttentionDecoder)
"""What is called with other things than one sequence a row."""


class Form(NamedTuple):
    """How a model is called.

    Attributes
    ----------
    x_axis, y_axis : int
        Where the rows lie, in what the model reads and in its output.
    ragged : bool
        Whether it reads lengths.
    has_time : bool
        Whether its output has a step for each of the input.
    takes_out : bool
        Whether it can be told where to put its output.
    """

    x_axis: int
    y_axis: int
    ragged: bool
    has_time: bool
    takes_out: bool


def form_of(model: Any, axes: object) -> Form:
    """Return how a model is called, or raise.

    Parameters
    ----------
    model : layer or model
    axes : tuple of two ints or None
        Where the caller says that the rows lie.
    """
    if isinstance(model, (*NOT_MAPPED, type)) or not callable(model):
        raise TypeError(
            "model: expected a layer, a Sequential or a model that is called with "
            f"sequences [T, B, ...], got {describe(model)}"
        )
    known = _is_known(model)
    own = int(known and getattr(model, "batch_first", False))
    has_time = not (known and _has_last(model))
    found = (1 - own, 1 - own if has_time else 0)
    x_axis, y_axis = found if axes is None else _check_axes(axes)
    return Form(
        x_axis,
        y_axis,
        ragged=known and _reads_lengths(model),
        has_time=has_time,
        takes_out=isinstance(model, RecurrentLayer),
    )


def _check_axes(axes: object) -> tuple[int, int]:
    if not isinstance(axes, tuple | list) or len(axes) != 2:
        raise TypeError(f"axes: expected two integers, got {describe(axes)}")
    found = [check_integer(f"axes[{k}]", axis) for k, axis in enumerate(axes)]
    for k, axis in enumerate(found):
        if axis not in (0, 1):
            raise ValueError(f"axes[{k}]: expected 0 or 1, got {axis}")
    return found[0], found[1]


def _is_known(model: Any) -> bool:
    """Tell whether a model and all its parts are the library's."""
    if isinstance(model, Sequential):
        return type(model) is Sequential and all(map(_is_known, model.parts.values()))
    return isinstance(model, KNOWN) and type(model).__module__.startswith("exactrnn.")


def _has_last(model: Any) -> bool:
    parts = model.parts.values() if isinstance(model, Sequential) else ()
    return isinstance(model, Last | Scorer) or any(map(_has_last, parts))


def _reads_lengths(model: Any) -> bool:
    parts = model.parts.values() if isinstance(model, Sequential) else ()
    return isinstance(model, READERS) or any(map(_reads_lengths, parts))


def expected_input(model: Any) -> tuple[Any, int | None] | None:
    """Return the dtype and width of a step that a model reads, None if not known.

    The width is None where a step is one integer, of whatever dtype.
    """
    if not _is_known(model) or isinstance(model, Last):
        return None
    if isinstance(model, Sequential):
        return expected_input(model[0])
    if isinstance(model, Embedding | LanguageModel | Scorer):
        return np.dtype(np.int64), None
    width = model.in_features if isinstance(model, Linear) else model.input_size
    return model.dtype, width


def encoder_of(model: Any) -> Callable[[str], NDArray[np.int64]] | None:
    """Return what makes symbols of a text; None of a model that reads none."""
    if isinstance(model, Scorer):
        model = model.model
    return model.encode if isinstance(model, LanguageModel) else None


# Calls


def out_shape(model: Any, form: Form, x: NDArray[Any]) -> tuple[int, ...] | None:
    """Return the shape of an output that a model can be told to put somewhere."""
    if not form.takes_out:
        return None
    return (*x.shape[:2], model.num_directions * model.output_size)


def call_rows(
    model: Any,
    form: Form,
    x: NDArray[Any],
    lengths: NDArray[np.int64] | None,
    out: NDArray[Any] | None,
) -> tuple[NDArray[Any], Any]:
    """Return what a model gives for rows ``[B, T, ...]``: output and state or None.

    The output has its rows first, and is `out` if that is given.
    """
    options: dict[str, Any] = {} if lengths is None else {"lengths": lengths}
    if out is not None:
        options["out"] = _turned(out, form.y_axis)
    found = model(_turned(x, form.x_axis), **options)
    output, state = found if isinstance(found, tuple) else (found, None)
    y = np.asarray(output)
    check_rows_of(y, state, form, len(x))
    return np.ascontiguousarray(_turned(y, form.y_axis)), state


def _turned(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return rows first as rows in this axis, or the other way round."""
    return array.swapaxes(0, axis)


def check_rows_of(y: NDArray[Any], state: Any, form: Form, rows: int) -> None:
    """Raise unless an output and a state have so many rows where they should."""
    if y.ndim <= form.y_axis or y.shape[form.y_axis] != rows:
        raise ValueError(
            f"axes[1]: expected an output with B={rows} rows in axis {form.y_axis}, "
            f"got {shorten(y.shape)}"
        )
    for part in leaves(state):
        axis = min(1, part.ndim - 1)
        if axis < 0 or part.shape[axis] != rows:
            raise ValueError(
                f"model: expected states [..., B={rows}, ...] or [B={rows}], got "
                f"{shorten(part.shape)}"
            )


def leaves(state: Any) -> list[NDArray[Any]]:
    """Return the arrays of a state, of tuples within tuples, in order."""
    if state is None:
        return []
    if isinstance(state, tuple | list):
        return [leaf for part in state for leaf in leaves(part)]
    if isinstance(state, Mapping):
        return [leaf for part in state.values() for leaf in leaves(part)]
    return [np.asarray(state)]


def with_leaves(state: Any, change: Callable[[Any], Any]) -> Any:
    """Return a state whose arrays are what `change` makes of them."""
    if type(state) in (tuple, list):
        return tuple([with_leaves(part, change) for part in state])
    if isinstance(state, Mapping):
        return {name: with_leaves(part, change) for name, part in state.items()}
    return change(state)


def row_of_state(state: Any, row: int) -> Any:
    """Return a row of a state as that of the row alone, in memory of its own."""
    if isinstance(state, np.ndarray):  # first, being what is asked thousands of times
        return np.array(state[row] if state.ndim == 1 else state[:, row])
    if state is None:
        return None
    if isinstance(state, tuple | list):
        return tuple([row_of_state(part, row) for part in state])
    if isinstance(state, Mapping):
        return {name: row_of_state(part, row) for name, part in state.items()}
    return row_of_state(np.asarray(state), row)


def row_of_output(y: NDArray[Any], form: Form, row: int, steps: int) -> NDArray[Any]:
    """Return a row of an output, as long as the row is, in memory of its own."""
    own = y[row]
    return np.array(own[:steps] if form.ragged and form.has_time else own)
