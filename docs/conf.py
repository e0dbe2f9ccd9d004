"""Sphinx: `nox -s docs`, or `sphinx-build -W -b html docs docs/_build/html`."""

from importlib.metadata import version as installed_version

project = "exactrnn"
author = "exactrnn developers"
version = release = installed_version("exactrnn")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# One page has the whole API: summaries link to it, and no files are generated.
autosummary_generate = False
autodoc_typehints = "none"  # numpydoc's sections name the types
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# A link to a file of the repository outside of docs/ is text here and a link on the
# repository's site; tests/house/test_docs.py checks that every target is there.
suppress_warnings = ["myst.xref_missing"]

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "exactrnn"
html_show_sourcelink = False
