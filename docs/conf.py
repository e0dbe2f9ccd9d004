"""Sphinx: `nox -s docs`, or `sphinx-build -W -b html docs docs/_build/html`."""

import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

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

# api.md lists the names; the page of each is generated into docs/api, outside of git.
autosummary_generate = True
autosummary_imported_members = True
templates_path = ["_templates"]
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
html_title = f"exactrnn {version}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
