"""The published bits: cases, their SHA-256, and what computes them.

``hashes.json`` is made by ``tests/bits/golden/make_golden.py`` from the NumPy
reference and frozen; a change in it is a new version of the numerics contract.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import cast

from exactrnn._system import shown

__all__ = ["published"]
__dir__ = shown.lists(globals())


def published() -> dict[str, dict[str, str]]:
    """Return the published hashes: by dtype, then by case."""
    text = files("exactrnn.verify").joinpath("hashes.json").read_text(encoding="utf-8")
    return cast(dict[str, dict[str, str]], json.loads(text)["hashes"])
