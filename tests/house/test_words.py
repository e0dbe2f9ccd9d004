"""One word, one meaning: CONTRIBUTING.md, "Letters and words", says which.

Each use that was given up is kept out of the tree by a pattern. A pattern finds what it
is for and lets the meaning pass that stayed, both by an example.
"""

import re
from typing import NamedTuple

import pytest
from sources import ROOT, relative, written_files

GLOSSARY = ("cell", "block", "panel", "module", "run", "cache", "options")


class Retired(NamedTuple):
    """A use of a word that is no more: how it looked, where, and what is still said."""

    word: str
    pattern: str
    gone: str
    kept: str
    where: str = ""
    """The files it is kept out of: a pattern for their paths."""


RETIRED = [
    Retired(
        "cell",
        r"\bsingle[- ]cells?\b|\bRecurrentCell\b|\bcell_layers\b",
        "layers and single cells",
        "one step of a single step; class RNNCell; the cell of a layer",
    ),
    Retired(
        "block",
        r"\b(?:for|back)ward_block\b|\bpoint_\w+\(const struct \w+ \*block\b",
        "void lstm_point_forward(const struct forward_block *block)",
        "a row block of W; struct forward_step *step",
    ),
    Retired(
        "block",
        r"\bregister[- ]blocks?\b",
        "sizes that fit no register block",
        "a tile of 8 rows; a memory block",
    ),
    Retired(
        "block",
        r"\bblock_sums\b|\brun(?:->|\.)block\b(?!,|\)|->)|\bblocks? of (?:batch )?"
        r"(?:rows|steps)\b",
        "For each block of steps the sums are in run->block_sums",
        "grid_gates(run->block, k); a row block; block_size",
        where=r"csrc/kernels/(?:cells|layer|math)/|csrc/README",
    ),
    Retired(
        "block",
        r"\b(?:UNIT|TIME|time)_(?:BLOCK|block)\b|_UNIT_BLOCK\b|\bBLOCK_(?:BYTES|SECONDS)\b",
        "padded to XR_UNIT_BLOCK",
        "XR_UNIT_PAD; BLOCK_SIZE of a memory block",
    ),
    Retired(
        "panel",
        r"panel",
        "class Panel: a row of the picture; packs.panels",
        "class Band; packs.copies",
        where=r"src/exactrnn/.*\.py$",
    ),
    Retired(
        "module",
        r"class Module\(NamedTuple|\b(?:the|this) compiled module\b",
        "class Module(NamedTuple): units with a period",
        "class Module: weights by name; exactrnn's compiled module exactrnn._core",
        where=r"src/",
    ),
    Retired(
        "run",
        r"\brun_of_\w+|\bruns? of (?:units|elements|segments|k)\b",
        "struct run_of_segments: a run of elements",
        "the run of one call; a list of segments",
    ),
    Retired(
        "cache",
        r"\b(?:second-level|first-level|nearest) cache\b|\bstill cached\b|"
        r"\bcaches allow\b|\bcache that holds\b|\blarger than a cache\b",
        "the bandwidth of the cache that holds the weights",
        "well inside an L2; on a cache line; what the cache holds",
    ),
    Retired(
        "options",
        r"\boptions = \w*parse",
        "options = parser.parse_args()",
        "parsed = parser.parse_args(); options = layer.options",
    ),
]


def retired_uses(text, name):
    """Return what a file of this name says and should not."""
    return [
        match.group()
        for _, pattern, *_, where in RETIRED
        if re.search(where, name)
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", written_files(), ids=relative)
def test_words_keep_their_meaning(path):
    if path.name == "test_words.py":
        return  # it names what is retired
    assert retired_uses(path.read_text(encoding="utf-8"), relative(path)) == []


@pytest.mark.parametrize("retired", RETIRED, ids=lambda retired: retired.pattern[:20])
def test_retired_use_is_found_and_the_other_is_not(retired):
    assert re.search(retired.pattern, retired.gone, re.IGNORECASE)
    assert not re.search(retired.pattern, retired.kept, re.IGNORECASE)


def test_glossary_has_each_word_once():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("## Letters and words")[1].split("\n## ")[0]
    listed = re.findall(r"^\| (\w+) \|", section, re.MULTILINE)
    assert listed == ["word", *GLOSSARY]
    assert {retired.word for retired in RETIRED} == {*GLOSSARY}
