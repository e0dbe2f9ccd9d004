"""Equations as MathML, made when the pages are: nothing is fetched, and no script runs.

Browsers draw MathML by themselves, in the colours of the page.
"""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.util.math import get_node_equation_number


def to_mathml(text, **options):
    """Return an equation in MathML, or raise if a command was not understood."""
    found = convert(text.replace("{aligned}", "{align*}"), **options)
    if re.search(r"[\\&](?!#?\w+;)", found):
        raise ValueError(f"not all of it is known to latex2mathml: {text}")
    return found


def visit_inline(self, node):
    """Write an equation in a line of text."""
    self.body.append(to_mathml(node.astext()))
    raise SkipNode


def visit_block(self, node):
    """Write an equation that stands by itself; a wide one is scrolled, not the page."""
    label = ""
    if node["number"]:
        label = f'<span class="eqno">({get_node_equation_number(self, node)})</span>'
    self.body.append(self.starttag(node, "div", CLASS="math"))
    equation = to_mathml(node.astext(), display="block")
    self.body.append(label + equation + "</div>\n")
    raise SkipNode


def setup(app):
    app.registry.add_html_math_renderer(
        "mathml", (visit_inline, None), (visit_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
