"""The rooms of the package, and who imports whom, read from the sources.

FLOORS says once which rooms there are, what each is for and which may use which:
imports stay in a room or go down to a lower floor. tests/house/test_rooms.py holds the
package to it, draw_rooms.py draws it.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

PACKAGE = "exactrnn"
SOURCES = Path(__file__).parents[2] / "src" / PACKAGE

FLOORS = (
    {"_core": "arrays to the kernels and back"},
    {"_checks": "what callers hand in, and every message"},
    {"_system": "what the operating system is asked for"},
    {"engine": "instruction sets, threads, the build"},
    {
        "_numeric": "numbers with defined bits outside kernels",
        "_graph": "cells from their equations",
    },
    {"_spec": "what a layer is, without its weights"},
    {"_weights": "who owns weights, and their packs"},
    {"_run": "a checked call on the kernels"},
    {"layers": "the public networks", "cells": "definitions from the literature"},
    {
        "io": "models as files",
        "plot": "pictures of what a cache holds",
        "reference": "the definition, in NumPy",
    },
    {"train": "composites, losses, optimisers, fit"},
    {
        "distributed": "more than one process or machine",
        "verify": "the published bits",
        "bench": "speed, beside the rivals",
        "interop": "models of other libraries",
    },
    {"cli": "the commands"},
    {PACKAGE: "the public names"},
)
"""Rooms and what each is for, the lowest floor first."""

LEVELS = {room: level for level, floor in enumerate(FLOORS) for room in floor}

FACES = {"__main__", "jax", "keras", "onnx", "sklearn", "torch"}
"""Files beside the rooms, of the top floor: names of what is in `interop`."""

CYTHON = {".pyx", ".pxd", ".pxi"}
CYTHON_IMPORT = re.compile(
    rf"^[ \t]*(?:from|c?import)[ \t]+({PACKAGE}(?:\.\w+)*)", re.MULTILINE
)


class Arrow(NamedTuple):
    """One module imports another, in a line of its source."""

    user: str
    used: str
    line: int

    def __str__(self):
        return f"{self.user}:{self.line} imports {self.used}"


def read_package(folder=SOURCES):
    """Return the source of every module of the package by its full name.

    What Cython includes in a module belongs to it.
    """
    sources = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".py", *CYTHON}:
            name = module_name(path.relative_to(folder.parent))
            sources[name] = sources.get(name, "") + path.read_text(encoding="utf-8")
    return sources


def module_name(path):
    """Return the module that a file belongs to: `_core` for `_core_grid.pxi` too."""
    parts = [*path.parent.parts, path.stem]
    if path.suffix in CYTHON:
        parts[-1] = "_core"
    return ".".join(parts).removesuffix(".__init__")


def room_of(module):
    """Return the room of a module; the package's own files are its top floor."""
    _, *inner = module.split(".")
    return PACKAGE if {*inner} <= FACES else inner[0]


def arrows_of(sources):
    """Return the arrows among modules, wherever in a file an import stands.

    Those for type checkers alone count too: who reads the file has to follow them.
    """
    found = []
    for user, source in sources.items():
        for name, line in imported_names(user, source):
            used = longest_module(name, sources)
            if used not in (None, user):
                found.append(Arrow(user, used, line))
    return sorted(set(found))


def longest_module(name, sources):
    """Return the module that a dotted name is, or is defined in; None for others'."""
    while name not in sources:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return name


def imported_names(user, source):
    """Yield (dotted name, line) of all that a module imports from the package."""
    if user == f"{PACKAGE}._core":
        for match in CYTHON_IMPORT.finditer(source):
            yield match[1], source.count("\n", 0, match.start()) + 1
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif is_import_call(node):
            names = [node.args[0].value]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE:
                yield name, node.lineno


def is_import_call(node):
    """Tell whether a node is `import_module("…")`, with the name as it stands."""
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
        and isinstance(node.args[0], ast.Constant)
    )


def homeless(sources):
    """Return the modules that are in no room of FLOORS."""
    return [module for module in sources if room_of(module) not in LEVELS]


def upward(arrows):
    """Return the arrows that leave their room for one that is not on a lower floor."""
    return [
        arrow
        for arrow in arrows
        if room_of(arrow.user) != room_of(arrow.used)
        and level_of(arrow.user) <= level_of(arrow.used)
    ]


def level_of(module):
    """Return the floor of a module; one without a room is above all others."""
    return LEVELS.get(room_of(module), len(FLOORS))


def circles(arrows):
    """Return the groups of modules that import each other, directly or round about."""
    uses = {}
    for arrow in arrows:
        uses.setdefault(arrow.user, set()).add(arrow.used)
    reach = {module: reachable(module, uses) for module in uses}
    groups = {
        frozenset(other for other in reach[module] if module in reach.get(other, ()))
        for module in uses
    }
    return sorted(sorted(group) for group in groups if group)


def reachable(module, uses):
    """Return all that a module leads to; itself only where it is on a circle."""
    seen, ahead = set(), [module]
    while ahead:
        new = uses.get(ahead.pop(), set()) - seen
        seen |= new
        ahead.extend(new)
    return seen
