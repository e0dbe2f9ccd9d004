"""What an optimiser trains: a module, a model, arrays by name, or several of them.

Several are one source whose names have a prefix, a dot behind it, as the names of
gradients get one that are given in the same form (``_gradients.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias, cast

from exactrnn._checks import Array, describe
from exactrnn._checks.limits import list_names, quote
from exactrnn._checks.numbers import check_real


class HasParameters(Protocol):
    """A model or layer: hands out its arrays by name."""

    def parameters(self) -> Mapping[str, Array]:
        """Return the arrays that training changes, by name."""


Source: TypeAlias = HasParameters | Mapping[str, Array]
ParameterSource: TypeAlias = (
    Source | Mapping[str, "ParameterSource"] | Sequence["ParameterSource"]
)


class Joined:
    """Several sources as one, with a name before the names of each.

    Parameters
    ----------
    parts : mapping of str to source
    """

    def __init__(self, parts: Mapping[str, Source]) -> None:
        self._parts = dict(parts)

    def parameters(self) -> dict[str, Array]:
        """Return the arrays of all, by name."""
        return {
            f"{name}.{own}": array
            for name, part in self._parts.items()
            for own, array in arrays_of(part).items()
        }


def arrays_of(source: Source) -> Mapping[str, Array]:
    """Return the arrays that a source hands out, by name."""
    given = source if isinstance(source, Mapping) else source.parameters()
    if not isinstance(cast(object, given), Mapping):
        raise TypeError(
            "parameters: expected parameters() to return a mapping of names to "
            f"arrays, got {describe(given)}"
        )
    return given


def as_source(parameters: object) -> Source:
    """Return one source of arrays for what an optimiser is given, or raise."""
    parts: Mapping[str, object] | None = None
    if isinstance(parameters, list | tuple):
        parts = {str(k): part for k, part in enumerate(parameters)}
    elif isinstance(parameters, Mapping) and _are_several(parameters.values()):
        parts = {str(name): part for name, part in parameters.items()}
    if parts:
        return Joined({name: as_source(part) for name, part in parts.items()})
    return check_source(parameters)


def _are_several(given: Iterable[object]) -> bool:
    """Tell whether these are sources, not arrays."""
    return any(
        isinstance(part, Mapping)
        or hasattr(part, "parameters")
        or (isinstance(part, list | tuple) and _are_several(part))
        for part in given
    )


def chosen_names(
    argument: str, chosen: Collection[str], names: Iterable[str]
) -> frozenset[str]:
    """Return those of `names` that a name in `chosen` is, or is the beginning of."""
    if not isinstance(chosen, list | tuple | set | frozenset):
        raise TypeError(f"{argument}: expected several names, got {describe(chosen)}")
    found: set[str] = set()
    for part in chosen:
        own = {n for n in names if n == part or n.startswith(f"{part}.")}
        if not own:
            raise ValueError(
                f"{argument}: expected a name among {list_names(sorted(names))}, or "
                f"what one begins with before a dot, got {quote(part)}"
            )
        found |= own
    return frozenset(found)


def check_factors(
    factors: Mapping[str, float] | None, names: Iterable[str]
) -> dict[str, float]:
    """Return the factor of the learning rate of each parameter that has one."""
    if factors is None:
        return {}
    if not isinstance(factors, Mapping):
        raise TypeError(
            "lr_factors: expected a mapping of names to numbers, got "
            f"{describe(factors)}"
        )
    found: dict[str, float] = {}
    for part in sorted(factors, key=lambda name: len(str(name))):
        factor = check_real(f"lr_factors[{part!r}]", factors[part], 0.0)
        found |= dict.fromkeys(chosen_names("lr_factors", [part], names), factor)
    return found


def check_source(parameters: object) -> Source:
    if not isinstance(parameters, Mapping) and not callable(
        getattr(parameters, "parameters", None)
    ):
        raise TypeError(
            "parameters: expected a layer, a model with parameters(), or a mapping of "
            f"names to arrays, got {describe(parameters)}"
        )
    return cast(Source, parameters)
