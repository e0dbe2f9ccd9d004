"""docs/numerics.md and the tree agree on the clauses of the contract.

A clause that is cited anywhere has its heading, and every heading names tests that say
in a docstring that they check it. Each check is seen to fail on a planted fault.
"""

import ast
import re

import pytest
from sources import ROOT, relative, written_files

PAGE = ROOT / "docs" / "numerics.md"
CLAUSE = re.compile(r"\bN\d{1,2}\b")
HEADING = re.compile(r"^## (N\d{1,2}) \S.*$", re.MULTILINE)
TEST = re.compile(r"\]\(\.\./(tests/\w+/test_\w+\.py)\)")


def sections(page):
    """Return the text of each clause by its number."""
    _, *parts = HEADING.split(page)
    return dict(zip(parts[::2], parts[1::2], strict=True))


SECTIONS = sections(PAGE.read_text(encoding="utf-8"))


def docstrings(source):
    """Return the docstrings of a Python file, one text."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)
    )
    return "\n".join(ast.get_docstring(node) or "" for node in nodes)


def unknown_clauses(text):
    """Return the clauses that a text cites and the page does not have."""
    return sorted(set(CLAUSE.findall(text)) - SECTIONS.keys())


def silent_tests(clause, section):
    """Return the tests that a section names and that are not there or say nothing."""
    return [
        name
        for name in TEST.findall(section)
        if not (ROOT / name).is_file()
        or clause not in CLAUSE.findall(docstrings((ROOT / name).read_text("utf-8")))
    ]


def test_clauses_are_numbered_from_1():
    assert [*SECTIONS] == [f"N{n}" for n in range(1, 11)]


@pytest.mark.parametrize("path", written_files(), ids=relative)
def test_every_clause_that_is_cited_has_its_heading(path):
    if path.name == "test_numerics_page.py":
        return  # it names clauses that are none
    assert unknown_clauses(path.read_text(encoding="utf-8")) == []


def test_a_clause_without_a_heading_is_found():
    assert unknown_clauses("/* contract N3, N11, and (N0) */") == ["N0", "N11"]
    assert unknown_clauses("x [N, K], WG14 N1570, N9_x, n = N * 10, # noqa: N801") == []


@pytest.mark.parametrize("clause", SECTIONS)
def test_every_clause_names_tests_that_cite_it(clause):
    section = SECTIONS[clause]
    assert TEST.findall(section)
    assert silent_tests(clause, section) == []


def test_a_test_that_is_missing_or_silent_is_found():
    names = [
        "tests/house/test_none.py",
        "tests/house/test_docs.py",
        "tests/bits/test_independence.py",
    ]
    section = "".join(f"[a test](../{name}), " for name in names)
    assert TEST.findall(section) == names
    assert silent_tests("N7", section) == names[:2]
    assert docstrings("# contract N7\nx = 'N7'\n") == ""
