"""The documentation: its examples run, its pictures are those that the scripts draw.

Every block of Python in docs/ is run, page by page: blocks with prompts as doctests,
others as scripts. Each check is seen to fail on a planted fault.
"""

import doctest
import importlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import draw_cells
import draw_rooms
import draw_speed
import pytest
from variants import ROOT

from exactrnn.layers import NETWORKS

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
OTHERS = [
    *ROOT.glob("*.md"),
    *(
        p
        for name in ("benchmarks", "csrc", "examples")
        for p in (ROOT / name).rglob("*.md")
    ),
]
CELL_PAGES = [path for path in PAGES if path.parent.name == "cells"]
SECTIONS = ("Weights", "Gradients", "When to use it", "In other libraries", "Example")

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\[[^\]]*\]\(([^)#:\s]*)#([^)\s]+)\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
DIAGRAM = re.compile(r"^```text\n.*?^```$", re.MULTILINE | re.DOTALL)

PAGE_OF_CELL = {"mut1": "mut", "mut2": "mut", "mut3": "mut"}
"""Networks that share a page; every other has its own, or its class has."""

MAX_PICTURE = 100_000
"""Bytes. The repository is cloned by everybody."""


def name_of(path):
    return path.relative_to(DOCS).as_posix()


def page_name(path):
    return path.relative_to(ROOT).as_posix()


def run_page(text, name):
    """Run the blocks of a page in one namespace; return what fails, as a report."""
    report = []
    runner = doctest.DocTestRunner(verbose=False)
    names = {"__name__": "__main__"}
    for match in BLOCK.finditer(text):
        block, line = match[1], text[: match.start(1)].count("\n")
        if ">>>" not in block:
            exec(compile("\n" * line + block, name, "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(block, names, name, name, line)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
    return "".join(report)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_examples_of_a_page_run(path, tmp_path, monkeypatch):
    text = path.read_text(encoding="utf-8")
    if "xr.plot.gates(" in "".join(BLOCK.findall(text)):
        pytest.importorskip("matplotlib")
    if "import exactrnn.torch" in "".join(BLOCK.findall(text)):
        pytest.importorskip("torch", reason="needs torch: extra torch")
    if "exactrnn.onnx" in "".join(BLOCK.findall(text)):
        pytest.importorskip("onnx", reason="needs onnx: extra onnx")
        pytest.importorskip("onnxruntime", reason="needs onnxruntime: extra rivals")
    if "import exactrnn.jax" in "".join(BLOCK.findall(text)):
        pytest.importorskip("jax", reason="needs jax: extra jax")
    if "import keras" in "".join(BLOCK.findall(text)):
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        pytest.importorskip("keras", reason="needs keras: extra rivals")
        pytest.importorskip("h5py", reason="needs h5py: extra keras")
    if "exactrnn.sklearn" in "".join(BLOCK.findall(text)):
        pytest.importorskip("sklearn", reason="needs scikit-learn: extra sklearn")
    monkeypatch.chdir(tmp_path)  # pages save their pictures
    assert run_page(text, path.name) == ""


def test_example_that_is_wrong_is_seen():
    assert "Expected" in run_page("```python\n>>> 1 + 1\n3\n\n```\n", "planted")
    assert "Expected" in run_page(
        "```python\n>>> a = 1\n\n```\ntext\n```python\n>>> a\n2\n\n```\n", "planted"
    )
    with pytest.raises(ZeroDivisionError):
        run_page("```python\n1 / 0\n```\n", "planted")


@pytest.mark.parametrize("path", CELL_PAGES, ids=name_of)
def test_page_of_a_cell_has_an_example_and_a_picture(path):
    text = path.read_text(encoding="utf-8")
    if path.name == "index.md":
        listed = {ROOT / "docs" / "cells" / link for link in LINK.findall(text)}
        assert listed == set(CELL_PAGES) - {path}
        return
    assert BLOCK.search(text)
    assert all(label and target for label, target in PICTURE.findall(text))
    assert PICTURE.search(text) or DIAGRAM.search(text)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    expected = ["Equations", *SECTIONS]
    if path.name == "initialisation.md":  # about numbers, not about a cell
        expected = ["Equations", *SECTIONS[2:]]
    assert [heading for heading in headings if heading in expected] == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_page_with_a_picture(name):
    form, kind = PAGE_OF_CELL.get(name, name), NETWORKS[name].record.name
    pages = [DOCS / "cells" / f"{page}.md" for page in (form, kind)]
    [text, *_] = [page.read_text(encoding="utf-8") for page in pages if page.is_file()]
    drawn = (DOCS / "figures" / f"{name}.svg").is_file()
    assert (drawn and f"figures/{name}.svg" in text) or DIAGRAM.search(text)
    assert f"xr.{NETWORKS[name].kind.__name__}" in text


LISTED = re.compile(
    r"^\.\. currentmodule:: (\S+)\n\n\.\. autosummary::\n(?: +:.*\n)+\n((?: +\w+\n)+)",
    re.MULTILINE,
)
"""A module and the names of which api.md makes pages."""


def names_with_pages():
    """Return the names of api.md, by module."""
    found = {}
    for module, names in LISTED.findall((DOCS / "api.md").read_text(encoding="utf-8")):
        found.setdefault(module, []).extend(names.split())
    return found


@pytest.mark.parametrize("module", sorted(names_with_pages()))
def test_every_public_name_has_a_page(module):
    try:
        public = importlib.import_module(module)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs {error.name}: extra {module.split('.')[-1]}")
    names = names_with_pages()[module]
    expected = {n for n in public.__all__ if callable(getattr(public, n))}
    if module == "exactrnn":
        expected |= {"from_torch"}  # imported when it is asked for, as its neighbours
    if module == "exactrnn.reference":
        expected = {n for n in expected if n[0].islower() and "direction" not in n}
    assert sorted(names) == sorted(expected)


def missing_targets(text, folder):
    """Return the links to files that are not there."""
    links = LINK.findall(FENCED.sub("", text))
    targets = (link for link in links if "://" not in link)
    return [link for link in targets if not (folder / link).exists()]


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=page_name)
def test_links_lead_to_files(path):
    assert missing_targets(path.read_text(encoding="utf-8"), path.parent) == []


def test_link_to_nowhere_is_seen():
    assert missing_targets("![a](figures/none.svg)", DOCS) == ["figures/none.svg"]


PRODUCT = re.compile(r"[\w)]\*+[\w(].*")
"""Markdown takes the stars of two products for those of emphasis."""


def products_outside_code(text):
    """Return what stands from a product on that is neither code nor an equation."""
    told = r"\$\$.*?\$\$|`[^`]*`|\$[^$]+\$"
    prose = re.sub(told, "", FENCED.sub("", text), flags=re.DOTALL)
    return PRODUCT.findall(prose)


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=page_name)
def test_products_are_code(path):
    assert products_outside_code(path.read_text(encoding="utf-8")) == []


def test_product_in_prose_is_seen():
    assert products_outside_code("`a*b` and $a*b$, **bold**, f * c, x (*y*)") == []
    assert products_outside_code("is a*b + (1 - a)*c") == ["a*b + (1 - a)*c"]


def anchors_of(text):
    """Return the anchors that a page's headings have, by the rule of the sites."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


def missing_anchors(text, path):
    """Return the links to headings that no page has."""
    pages = {
        page: path.parent / page if page else path for page, _ in ANCHOR.findall(text)
    }
    return [
        f"{page}#{anchor}"
        for page, anchor in ANCHOR.findall(text)
        if anchor not in anchors_of(pages[page].read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=page_name)
def test_links_lead_to_headings(path):
    assert missing_anchors(path.read_text(encoding="utf-8"), path) == []


def test_link_to_no_heading_is_seen():
    text = "# A place, or `two`\n[a](#a-place-or-two) [b](#elsewhere)"
    assert missing_anchors(text, DOCS / "api.md") != []
    assert anchors_of(text) == {"a-place-or-two"}


# Pictures


def drawings():
    return draw_cells.pictures() | draw_rooms.pictures() | draw_speed.pictures()


def test_pictures_are_those_that_the_scripts_draw():
    drawn = {name: drawing.svg() for name, drawing in drawings().items()}
    paths = sorted((DOCS / "figures").glob("*.svg"))
    assert sorted(drawn) == [path.stem for path in paths]
    for path in paths:
        assert path.read_text(encoding="utf-8") == drawn[path.stem], path.stem


def outside(svg):
    """Return the texts of an SVG that leave its frame, by their estimated widths."""
    root = ET.fromstring(svg)
    width, height = float(root.get("width")), float(root.get("height"))
    found = []
    for text in root.findall("{http://www.w3.org/2000/svg}text"):
        size = float(text.get("font-size"))
        content = "".join(text.itertext())
        share = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor")]
        left = float(text.get("x")) - share * len(content) * size * 0.6
        inside = left >= 0 and left + len(content) * size * 0.6 <= width + size
        if not (inside and size <= float(text.get("y")) <= height):
            found.append(content)
    return found


def test_texts_of_pictures_stay_inside():
    for name, drawing in drawings().items():
        assert outside(drawing.svg()) == [], name


def test_text_that_leaves_its_picture_is_seen():
    drawing = draw_cells.draw_rnn("planted")
    drawing.text(400, 100, "past the right edge", anchor="start")
    assert outside(drawing.svg()) == ["past the right edge"]


@pytest.mark.parametrize(
    "path", sorted((DOCS / "figures").glob("*.[sp][vn]g")), ids=lambda path: path.name
)
def test_pictures_are_small_and_used(path):
    limit = 150_000 if path.name == "performance.png" else MAX_PICTURE
    assert path.stat().st_size <= limit
    used = {
        Path(t).name for page in PAGES for _, t in PICTURE.findall(page.read_text())
    }
    assert path.name in used
