"""The tree as text, for the tests that check the habits of the house."""

import ast
import importlib.util
import re

from variants import ROOT

PACKAGE = ROOT / "src" / "exactrnn"
GENERATED = ("golden", "build", "_build", "__pycache__", ".hypothesis")
CYTHON_SUFFIXES = {".pyx", ".pxd", ".pxi"}
TEXT_SUFFIXES = {".py", ".pyi", ".c", ".h", ".def", ".cmake", ".toml"} | CYTHON_SUFFIXES
TEXT_SUFFIXES |= {".md", ".txt", ".yaml", ""}


def files_under(*folders, suffixes):
    """Return the files a person has written below these folders of the tree."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return sorted(
        path
        for path in paths
        if path.is_file()
        and path.suffix in suffixes
        and not any(part in GENERATED for part in path.relative_to(ROOT).parts)
    )


def written_files():
    """Return every text file of the tree that a person has written."""
    folders = ("src", "csrc", "tests", "benchmarks", "cmake", ".ci", "docs")
    folders += ("examples",)
    top = [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".py"}]
    below = files_under(*folders, suffixes=TEXT_SUFFIXES)
    return sorted([*top, ROOT / "CMakeLists.txt", *below])


def c_files():
    return files_under("csrc", "tests", "examples", suffixes={".c", ".h"})


def python_files():
    return files_under(
        *("src", "tests", "benchmarks", "examples", ".ci"), suffixes={".py"}
    )


def twin_files():
    """Return the files that define the bits in NumPy (numerics.md, "The twin")."""
    twins = sorted((PACKAGE / "reference").rglob("*.py"))
    return [*twins, PACKAGE / "_numeric" / "leak.py"]


def load_script(path):
    """Return a program of the tree as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(path):
    return path.relative_to(ROOT).as_posix()


def strip_comments(text):
    """Return C text with its comments blanked, line numbers unchanged."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.DOTALL)


def parameter_count(parameters):
    """Return the number of parameters in the text between a signature's brackets."""
    if parameters.strip() in ("", "void"):
        return 0
    depth = 0
    commas = 0
    for letter in parameters.rstrip(" \n,"):
        depth += (letter in "([{") - (letter in ")]}")
        commas += letter == "," and depth == 0
    return commas + 1


def c_signatures(text):
    """Yield (name, parameter count) of the functions declared or defined in C text."""
    text = re.sub(
        r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", strip_comments(text), flags=re.M
    )
    nested = r"[^()]*(?:\((?:[^()]|\([^()]*\))*\)[^()]*)*"
    start = r"^(?:[A-Za-z_][\w \t\n*]*[\s*])?(\w+)\s*"
    for match in re.finditer(rf"{start}\(({nested})\)\s*[;{{]", text, re.M):
        if match[1] not in ("if", "for", "while", "switch", "return", "sizeof"):
            yield match[1], parameter_count(match[2])


def cython_signatures(text):
    """Yield (name, parameter count) of the functions defined in Cython text."""
    pattern = r"^\s*(?:def|cdef|cpdef)\s[^=\n(]*?(\w+)\(([^)]*)\)[^\n]*:\s*(?:#.*)?$"
    for match in re.finditer(pattern, text, re.MULTILINE):
        names = [part.strip() for part in match[2].split(",")]
        kept = [
            n for n in names if n and n.split()[-1] not in ("self", "cls", "*", "/")
        ]
        yield match[1], len(kept)


def python_signatures(text):
    """Yield (name, parameter count) of the functions in Python text, self left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            yield node.name, len([a for a in every if a.arg not in ("self", "cls")])
