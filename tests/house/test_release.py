"""The command that walks through a release sees what is forgotten, and stops there."""

import importlib.util
import json

import pytest
from variants import ROOT

SCRIPT = ROOT / ".ci" / "release.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an sdist has no .ci/")

FILES = {
    "pyproject.toml": '[project]\nversion = "1.2.3"\n',
    "CITATION.cff": "title: x\nversion: 1.2.3\n",
    "csrc/include/exactrnn.h": (
        "#define XR_VERSION_MAJOR 1\n"
        "#define XR_VERSION_MINOR 2\n#define XR_VERSION_PATCH 3\n"
    ),
    "CHANGELOG.md": (
        "# Changelog\n\n## [Unreleased]\n\n"
        "## [1.2.3] - 2026-12-01\n\n### Added\n\n- A.\n"
    ),
    "src/exactrnn/verify/hashes.json": json.dumps({"f32": {"lstm": "aa"}}),
}


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plant(root, **changed):
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed.get(name, text), encoding="utf-8")
    return root


def test_tree_as_it_should_be_has_no_faults(release, tmp_path):
    assert release.find_faults(plant(tmp_path), "1.2.3") == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pyproject.toml", "1.2.3", "1.2.2"),
        ("CITATION.cff", "1.2.3", "1.2.2"),
        ("csrc/include/exactrnn.h", "PATCH 3", "PATCH 2"),
        ("CHANGELOG.md", "[1.2.3] - 2026-12-01", "[1.2.2] - 2026-12-01"),
        ("CHANGELOG.md", "2026-12-01", "soon"),
        ("CHANGELOG.md", "[Unreleased]\n", "[Unreleased]\n\n- Forgotten.\n"),
    ],
)
def test_what_was_forgotten_is_named(release, tmp_path, name, old, new):
    root = plant(tmp_path, **{name: FILES[name].replace(old, new)})
    [fault] = release.find_faults(root, "1.2.3")
    assert fault.startswith(name)


def test_changed_bits_have_to_be_said(release, tmp_path):
    before = json.dumps({"f32": {"lstm": "bb"}})
    [fault] = release.faults_of_bits(plant(tmp_path), "1.2.3", before)
    assert "/f32/lstm" in fault
    said = FILES["CHANGELOG.md"].replace("### Added", "### Changed bits")
    root = plant(tmp_path, **{"CHANGELOG.md": said})
    assert [*release.faults_of_bits(root, "1.2.3", before)] == []


def test_own_files_have_what_is_looked_for(release):
    assert len({*release.versions_of(ROOT).values()}) == 1
    assert "[Unreleased]" in release.sections_of((ROOT / "CHANGELOG.md").read_text())


@pytest.mark.parametrize(("answers", "done"), [("dd", True), ("dx", False), ("yy", 0)])
def test_walk_stops_where_a_step_was_not_done(release, monkeypatch, answers, done):
    given = iter(answers)
    monkeypatch.setattr("builtins.input", lambda _: next(given))
    steps = {"true": "what works", "false": "what fails"}
    assert release.walk(steps) == bool(done)
