"""Public names: complete, sorted, documented, with examples that run."""

import doctest
import importlib
import inspect
import pkgutil
import types

import pytest

import exactrnn as xr


def public_modules():
    """Return the dotted names of the package and of what it holds, private ones too."""
    found = pkgutil.walk_packages(xr.__path__, prefix="exactrnn.")
    names = [module.name for module in found]
    return ["exactrnn", *(n for n in names if not n.endswith(("__main__", "_core")))]


def import_or_skip(name):
    """Return a module of the package; skip where its library is absent."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.startswith("exactrnn"):
            raise
        pytest.skip(f"{error.name} is not installed")


def kind_and_name(name):
    """Return the key by which ruff sorts: constants, classes, then the rest."""
    return (not name.isupper(), not name[0].isupper(), name)


def test_all_is_sorted_and_has_no_duplicates():
    networks, own = xr.layers.__all__, xr.__all__[: -len(xr.layers.__all__)]
    assert xr.__all__ == own + networks
    for names in (own, networks):
        assert names == sorted(set(names), key=kind_and_name)
    assert not {*own} & {*networks}


def test_dir_shows_what_is_public_and_nothing_else():
    shown = {name for name in dir(xr) if not name.startswith("__")}
    borders = {"jax", "keras", "onnx", "sklearn", "torch"}  # which need their libraries
    borders.add("to_torch")
    assert shown == {*xr.__all__, *borders, "from_keras", "from_onnx", "from_torch"}
    for name in {*dir(xr)} - borders:
        getattr(xr, name)


FRONTS = [
    f"exactrnn.{module.name}"
    for module in pkgutil.iter_modules(xr.__path__)
    if not module.name.startswith("_")
]
"""The modules that a user writes behind `exactrnn.`."""


@pytest.mark.parametrize("name", FRONTS)
def test_dir_of_a_module_shows_its_public_names_alone(name):
    module = import_or_skip(name)
    shown = [name for name in dir(module) if not name.startswith("__")]
    assert shown == sorted(module.__all__)
    for each in dir(module):
        getattr(module, each)


@pytest.mark.parametrize("name", ["exactrnn", *FRONTS])
def test_no_public_class_shows_an_address(name):
    module = import_or_skip(name)
    classes = [m for m in map(vars(module).get, module.__all__) if inspect.isclass(m)]
    made = [kind for kind in classes if not getattr(kind, "_is_protocol", False)]
    assert [kind for kind in made if kind.__repr__ is object.__repr__] == []


def test_all_names_everything_that_is_public():
    public = {
        name
        for name, member in vars(xr).items()
        if not name.startswith("_") and not isinstance(member, types.ModuleType)
    }
    assert public <= set(xr.__all__)


@pytest.mark.parametrize("name", xr.__all__)
def test_exported_name_exists_and_is_documented(name):
    member = getattr(xr, name)
    if inspect.isroutine(member) or inspect.isclass(member) or inspect.ismodule(member):
        assert inspect.getdoc(member)


@pytest.mark.parametrize("name", xr.__all__)
def test_exported_class_or_function_says_where_it_is_imported_from(name):
    member = getattr(xr, name)
    if inspect.isclass(member) or inspect.isfunction(member):
        assert member.__module__.startswith("exactrnn")


@pytest.mark.parametrize("name", public_modules())
def test_examples_of_the_docstrings_run(name):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    outcome = doctest.testmod(import_or_skip(name), optionflags=flags)
    assert outcome.failed == 0


@pytest.mark.parametrize("name", public_modules())
def test_module_has_a_docstring(name):
    assert inspect.getdoc(import_or_skip(name))
