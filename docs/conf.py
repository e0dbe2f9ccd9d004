"""Sphinx: `nox -s docs`, or `sphinx-build -W -b html docs docs/_build/html`."""

import re
import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

from exactrnn import layers

sys.path.insert(0, str(Path(__file__).parent))

project = "exactrnn"
author = "exactrnn developers"
copyright = "exactrnn developers, BSD 3-Clause licence"  # noqa: A001 - Sphinx's name
version = release = installed_version("exactrnn")

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# One page has the whole API: summaries link to it, and no files are generated.
autosummary_generate = False
autodoc_typehints = "none"  # numpydoc's sections name the types
# Without these libraries what needs them is shown all the same.
OPTIONAL = ("torch", "sklearn", "joblib")
autodoc_mock_imports = [name for name in OPTIONAL if not find_spec(name)]
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# A link to a file of the repository outside of docs/ is text here and a link on the
# repository's site; tests/house/test_docs.py checks that every target is there.
suppress_warnings = ["myst.xref_missing"]

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "exactrnn"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]


def list_networks(_app, page, source):
    """Write the classes that api.md does not name itself, from the one list of them."""
    if page != "api":
        return
    named = re.findall(r"^\.\. auto\w+:: (\w+)$", source[0], re.MULTILINE)
    others = [name for name in layers.__all__ if name not in named]
    lines = "".join(f".. autoclass:: {name}\n" for name in others)
    source[0] = source[0].replace(".. all other networks\n", lines)


def setup(app):
    app.connect("source-read", list_networks)
