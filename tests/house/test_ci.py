"""What .ci/run does and in which order, where a wrong order would hide something."""

import re
import tomllib

from variants import ROOT

TEXT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
IN_THE_FIRST_RUN = {"dev", "lm", "test"}


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0]


def installed_later():
    """Return the extras whose packages the second run has."""
    [listed] = re.findall(r'^extras="([^"]+)"', TEXT, re.MULTILINE)
    return {*listed.split(), *re.findall(r"^extra_requirements (\w+)", TEXT, re.M)}


def test_packages_of_every_extra_are_installed():
    there = installed_later() | IN_THE_FIRST_RUN
    packages = {name_of(r) for extra in there for r in EXTRAS[extra]}
    assert {name_of(r) for rs in EXTRAS.values() for r in rs} <= packages


def test_deep_tests_run_where_optional_packages_are():
    """Before, those of examples/ would skip; and what skips is judged."""
    deep = TEXT.index("pytest -m deep --share")
    assert TEXT.index('extra_requirements models >"$work') < deep
    assert TEXT.index("for extra in $extras") < deep
    assert deep < TEXT.index('check_skips.py "$work/deep.xml"')
