"""What changing a model needs: names that are free, names in use."""

from __future__ import annotations

from typing import Any

from exactrnn.interop.onnx._graph import find_scopes


class Names:
    """The names of a model's values, to make new ones."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._taken = self.used()
        for scope in find_scopes(model):
            self._taken |= scope.stored.keys() | scope.makers.keys() | scope.others

    def make(self, wanted: str) -> str:
        """Return a name that nothing has and that none begins with.

        It is the one wanted, or that with underscores.
        """
        while any(name.startswith(wanted) for name in self._taken):
            wanted += "_"
        self._taken.add(wanted)
        return wanted

    def used(self) -> set[str]:
        """Return what nodes read and graphs return."""
        found = set[str]()
        for scope in find_scopes(self._model):
            found |= {end.name for end in scope.graph.output}
            for op in scope.graph.node:
                found |= {*op.input}
        return found


def drop_stored(model: Any, names: set[str]) -> None:
    """Take initializers of these names away."""
    for scope in find_scopes(model) if names else ():
        kept = [t for t in scope.graph.initializer if t.name not in names]
        if len(kept) < len(scope.graph.initializer):
            del scope.graph.initializer[:]
            scope.graph.initializer.extend(kept)
