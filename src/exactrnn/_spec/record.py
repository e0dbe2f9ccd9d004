"""What a public class says about its cell, for all that walk the list of networks.

A class has a `Record` as its attribute `record`, and is then in `layers.CLASSES` and,
if it reads sequences, by each of its forms in `layers.NETWORKS`. Files, benchmarks,
pictures, first weights and the generic tests ask the record and know no class by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exactrnn._spec.activations import Activation

EXAMPLE_LAYERS = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """The facts about a cell that no argument of its class changes.

    Parameters
    ----------
    name : str
        The network, as `layer.cell` and the rows of benchmarks call it.
    cell : str
        Its cell in `cells.def`, where that is called otherwise.
    forms : mapping of str to mapping
        The network by each of its cells, where an argument chooses one, with small
        arguments that choose it. What depends on H is a function of it. By default the
        name alone, with none.
    activations : tuple of str or tuple
        Those of a class that leaves no choice.
    gates : str
        Letters of the gates that multiply. With a logistic function they are between 0
        and 1.
    meanings : mapping of str to str
        What each gate and each state but h is, by its letter, for pictures.
    keeps : mapping of str to int
        The gates that keep the state: 1 if a large bias keeps it, -1 if a small one
        does. `init=("chrono", T)` sets their biases; a cell without has no such rule.
    paper : {"", "identity", "forget"}
        What `init="paper"` is: nothing; R the identity, for relu; the forget gate's
        bias 1.
    readout : bool
        Whether the output is a layer of its own, with `weight_ho` and `bias_ho`.
    vectors : tuple of str
        Letters of the rows of `weight_peephole`, where no argument chooses them.
    bottom : tuple of str and mapping, optional
        Cell and options of the first layer, where it is another than that above it.
    example_layers : int
        Layers that an example has at least, so that it shows all of the network.
    defined : bool
        Whether the cell is an argument: a definition.
    checks : mapping of str to callable
        Checks of arguments that this class alone has, as `arguments.CHECKS`.
    """

    name: str
    cell: str = ""
    forms: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    activations: tuple[Activation, ...] = ()
    gates: str = ""
    meanings: Mapping[str, str] = field(default_factory=dict)
    keeps: Mapping[str, int] = field(default_factory=dict)
    paper: str = ""
    readout: bool = False
    vectors: tuple[str, ...] = ()
    bottom: tuple[str, Mapping[str, Any]] | None = None
    example_layers: int = EXAMPLE_LAYERS
    defined: bool = False
    checks: Mapping[str, Callable[..., object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in the one form of a class that has no other."""
        if not self.forms:
            object.__setattr__(self, "forms", {self.name: {}})


class Network(NamedTuple):
    """A public class in one of its forms."""

    kind: type[Any]
    form: Mapping[str, object]

    @property
    def record(self) -> Record:
        """What the class says."""
        found: Record = self.kind.record
        return found

    def options(self, hidden_size: int) -> dict[str, object]:
        """Return the arguments of this form at a size."""
        return {
            name: value(hidden_size) if callable(value) else value
            for name, value in self.form.items()
        }
