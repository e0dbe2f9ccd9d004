"""Keras files that are changed after Keras has written them."""

import contextlib
import io
import json
import zipfile


def read_members(path):
    """Return the members of a `.keras` file by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@contextlib.contextmanager
def weights_of(path):
    """Lend the HDF5 file within a `.keras` file, to be changed."""
    import h5py

    members = read_members(path)
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        yield file
    write_members(path, members | {"model.weights.h5": content.getvalue()})


@contextlib.contextmanager
def json_of(path, name="config.json"):
    """Lend a description in a `.keras` file, to be changed."""
    members = read_members(path)
    lent = json.loads(members[name])
    yield lent
    write_members(path, members | {name: json.dumps(lent)})


def config_of(spec, name):
    """Return the options of the layer of this name, wherever it is in a model."""
    config = spec["config"]
    if config.get("name") == name:
        return config
    for child in config.get("layers", ()):
        if (found := config_of(child, name)) is not None:
            return found
    return None
