"""Files that Keras wrote, `.keras` and legacy `.h5`, as nodes; nothing in them is run.

A `.keras` file is a zip of `metadata.json`, `config.json`, `model.weights.h5`. In the
last, the layers of a model lie below `layers` in groups of their own, whose `vars` have
the layer's name as an attribute; files without that are read by the names that Keras
makes by counting classes. A legacy file is HDF5 as a whole: `model_config` in its
attributes, the weights of each layer of the outermost model in a group of its name, in
the order of its attribute `weight_names`.

The content is read into memory and nothing is extracted. What a file claims is compared
with what it holds before memory is taken for it; links, and values that are elsewhere,
are refused. What else damaged content raises, `reading` makes a ValueError.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from exactrnn._checks import Array
from exactrnn._checks.limits import check_memory, quote, shorten
from exactrnn._system import files
from exactrnn.interop.keras._nodes import MODELS, WRAPPER, Node, RefusedError
from exactrnn.io import BAD_CONTENT, HDF5_START, bad_content

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
ZIP = b"PK\x03\x04"
SMALL = 2**24
"""Bytes that may be claimed without being there."""
MOST_EXPANSION = 100
"""Times its stored size that a larger member or array may have."""
MOST_OBJECTS = 2**16
"""Groups and arrays below a layer."""

_ADVICE = "reading Keras files needs h5py: pip install 'exactrnn[keras]'"


def read_file(path: str | os.PathLike[str]) -> Node:
    """Return the model in a file."""
    content = files.read_whole(path)
    with reading(path):
        if not content.startswith((HDF5_START, ZIP)):
            raise ValueError("neither a zip nor an HDF5 file")
        h5py = _import_h5py()
        if content.startswith(HDF5_START):
            return _legacy_root(h5py.File(io.BytesIO(content), "r"))
        return _archive_root(h5py, content)


def _import_h5py() -> Any:
    """Return the module; ask for it only when a file is one for it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(_ADVICE) from error
    return h5py


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make a ValueError of what the content of a file raises; ours stay as they are."""
    more = (OSError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)
    try:
        yield
    except RefusedError as error:
        raise ValueError(f"path: {shorten(os.fspath(path), 300)}: {error}") from error
    except BAD_CONTENT + more:
        with bad_content(path, "a model that Keras saved", *more):
            raise


# .keras


def _archive_root(h5py: Any, content: bytes) -> Node:
    """Return the model in a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if len({*names}) < len(names):
            raise ValueError("two members have one name")
        if WEIGHTS not in names:
            raise ValueError(f"it has no {WEIGHTS}; weights in parts are not read")
        spec = json.loads(_member(archive, CONFIG))
        facts = json.loads(_member(archive, METADATA))
        weights = h5py.File(io.BytesIO(_member(archive, WEIGHTS)), "r")
    keras2 = str(facts.get("keras_version", "")).startswith("2.")
    return _Archive(keras2).node(spec, "", weights)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member of a zip, unless it claims far more than is there."""
    info = archive.getinfo(name)
    check_claim(name, info.file_size, info.compress_size)
    with archive.open(info) as file:
        return file.read(info.file_size)


def check_claim(name: str, claimed: int, stored: int) -> None:
    """Raise if content claims to be of a size that is not behind it."""
    if claimed > SMALL and claimed > MOST_EXPANSION * stored:
        raise RefusedError(
            f"{name} claims {claimed} bytes, of which {stored} are stored"
        )
    check_memory(name, "content", claimed)


class _Archive:
    """What makes nodes of the layers in a `.keras` file.

    The weights of a layer that is in two models are written where it is first; it is
    known again by its description, in which Keras numbers the objects that are shared.
    """

    def __init__(self, keras2: bool) -> None:
        self._keras2 = keras2
        self._first: dict[str, Any] = {}

    def node(self, spec: Mapping[str, Any], path: str, group: Any) -> Node:
        """Return the node of a layer whose weights lie in a group, and those in it."""
        kind, config = str(spec["class_name"]), spec["config"]
        inner = _specs_in(kind, config)
        if not inner:
            group = self._own_or_first(spec, group)
        groups = _groups(group, inner) if kind in MODELS else []
        if kind == WRAPPER:
            groups = [child_group(group, "layer")]
        children = tuple(
            self.node(child, _join(path, _name_of(child)), found)
            for child, found in zip(inner, groups, strict=True)
        )
        weights = StoredWeights(group)
        return Node(kind, config, path, weights, children, self._keras2)

    def _own_or_first(self, spec: Mapping[str, Any], group: Any) -> Any:
        """Return the group of a layer, or that of its first place in the model."""
        described = json.dumps([spec["class_name"], spec["config"]], sort_keys=True)
        if "shared_object_id" not in described:
            return group
        if group is None:
            return self._first.get(described)
        self._first.setdefault(described, group)
        return group


def _specs_in(kind: str, config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what stands for the layers of a model, or of a wrapper."""
    if kind in MODELS:
        specs: Sequence[Mapping[str, Any]] = config["layers"]
        return specs
    return [config["layer"]] if kind == WRAPPER else []


def _name_of(spec: Mapping[str, Any]) -> str:
    """Return the name of a layer; a class of the user's may have written none."""
    name = spec["config"].get("name", spec.get("name", spec["class_name"]))
    if not isinstance(name, str) or not name:
        raise RefusedError(f"name: expected the name of a layer, got {quote(name)}")
    return name


def _join(path: str, name: str) -> str:
    """Return the path of a layer in a model."""
    return f"{path}/{name}" if path else name


def _groups(group: Any, specs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the group of each layer of a model, None for those without."""
    folder = child_group(group, "layers")
    if folder is None:
        return [None] * len(specs)
    by_name: dict[object, Any] = {}
    for key in folder:
        found = child_group(folder, key)
        own = found and child_group(found, "vars")
        name = own.attrs.get("name") if own is not None else None
        if name in by_name and name is not None:
            raise RefusedError(f"two layers have the name {quote(name)}")
        by_name[name] = found
    if {*by_name} <= {None}:
        keys = counted_names([str(spec["class_name"]) for spec in specs])
        return [child_group(folder, key) for key in keys]
    return [by_name.get(_name_of(spec)) for spec in specs]


def child_group(group: Any, key: str) -> Any:
    """Return a group in a group, None if there is none."""
    found = None if group is None else child(group, key)
    return found if hasattr(found, "keys") else None


def child(group: Any, key: str) -> Any:
    """Return what is in a group, None if it is not there; no link is followed."""
    link = group.get(key, getlink=True)
    if link is None:
        return None
    if type(link).__name__ != "HardLink":
        raise RefusedError(f"{quote(key)} is a link to elsewhere")
    return group[key]


def counted_names(kinds: Sequence[str]) -> list[str]:
    """Return the names of Keras's own making: lstm_cell, lstm_cell_1, ..."""
    counts: dict[str, int] = {}
    names = []
    for kind in kinds:
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        count = counts.get(name, 0)
        counts[name] = count + 1
        names.append(f"{name}_{count}" if count else name)
    return names


class _Values:
    """Arrays of an HDF5 file."""

    def read(self, entry: Any) -> Array:
        """Return the numbers of an array whose values are in this file."""
        if entry.is_virtual or entry.external:
            raise RefusedError(f"{quote(entry.name)} has its values elsewhere")
        claimed = entry.size * entry.dtype.itemsize
        check_claim(quote(entry.name), claimed, entry.id.get_storage_size())
        return np.asarray(entry[()])


class StoredWeights(_Values):
    """What lies below the group of a layer."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def entries(self, places: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002
        """Return all arrays by their paths in the group, but for random seeds."""
        found: dict[str, Any] = {}
        if self._group is None:
            return found
        seen = 0

        def note(name: str, entry: Any) -> None:
            nonlocal seen
            seen += 1
            if seen > MOST_OBJECTS:
                raise RefusedError(f"more than {MOST_OBJECTS} weights of a layer")
            if hasattr(entry, "shape") and "seed_generator" not in name.split("/"):
                found[name] = entry

        self._group.visititems(note)
        return found


# Legacy


def _legacy_root(file: Any) -> Node:
    """Return the model in an HDF5 file."""
    weights = child_group(file, "model_weights")
    if weights is None or "model_config" not in file.attrs:
        raise RefusedError("it has weights alone: give the model that has loaded them")
    spec = json.loads(file.attrs["model_config"])
    version = _text(weights.attrs.get("keras_version", ""))
    keras2 = version.startswith("2.")
    return _legacy_node(spec, "", LegacyWeights(weights, ()), keras2)


def _legacy_node(
    spec: Mapping[str, Any], path: str, weights: LegacyWeights, keras2: bool
) -> Node:
    """Return the node of a layer; all groups lie below that of the outermost model."""
    kind, config = str(spec["class_name"]), spec["config"]
    children = []
    for child in _specs_in(kind, config):
        name = _name_of(child)
        below = weights if kind == WRAPPER else weights.below(name)
        children.append(_legacy_node(child, _join(path, name), below, keras2))
    return Node(kind, config, path, weights, tuple(children), keras2)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class LegacyWeights(_Values):
    """What a layer has in the group of the outermost layer around it, in order.

    `names` are those of the models around it and its own.
    """

    def __init__(self, group: Any, names: tuple[str, ...]) -> None:
        self._group, self._names = group, names

    def below(self, name: str) -> LegacyWeights:
        """Return those of a layer in this one."""
        return LegacyWeights(self._group, (*self._names, name))

    def entries(self, places: Sequence[str]) -> dict[str, Any]:
        """Return its arrays, the first ones at the places that are expected."""
        group = self._group
        for part in "/".join(self._names[:1]).split("/"):
            group = child_group(group, part)
        if group is None:
            return {}
        mine = [name for name in _weight_names(group) if self._is_own(name)]
        labels = [*places[: len(mine)], *mine[len(places) :]]
        found = [descend(group, name) for name in mine]
        return dict(zip(labels, found, strict=True))

    def _is_own(self, name: str) -> bool:
        """Tell whether a weight is this layer's: the group may be a model's."""
        return len(self._names) == 1 or f"/{self._names[-1]}/" in f"/{name}/"


def descend(group: Any, name: str) -> Any:
    """Return the array that a name with slashes stands for."""
    *folders, last = name.split("/")
    for folder in folders:
        group = child_group(group, folder)
    found = None if group is None else child(group, last)
    if not hasattr(found, "shape"):
        raise RefusedError(f"{quote(name)} is listed and not there")
    return found


def _weight_names(group: Any) -> list[str]:
    """Return the names in a group's list, which is in parts where it is long."""
    parts = ["weight_names"]
    if "weight_names" not in group.attrs:
        parts = [f"weight_names{k}" for k in range(len(group.attrs))]
    lists = (group.attrs[part] for part in parts if part in group.attrs)
    return [_text(name) for names in lists for name in names]
