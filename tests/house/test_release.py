"""The command that walks through a release sees what is forgotten, and stops there."""

import json
import os
import re
import shutil
import subprocess

import pytest
from sources import load_script
from variants import ROOT

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
    "src/exactrnn/verify/hashes.json": json.dumps(
        {"numerics_version": 1, "hashes": {"lstm": "aa"}}
    ),
}


@pytest.fixture(scope="module")
def release():
    return load_script(ROOT / ".ci" / "release.py")


def git(root, *words):
    who = ("-c", "user.name=none", "-c", "user.email=none")
    subprocess.run(
        ["git", "-C", root, *who, *words],
        check=True,
        capture_output=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
    )


def plant(root, **changed):
    """Return a repository that is ready for a release but for what is changed."""
    if shutil.which("git") is None:
        pytest.skip("no git on this machine")
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed.get(name, text), encoding="utf-8")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "all")
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


@pytest.mark.parametrize(
    ("tag", "fault"),
    [
        ("v1.2.2", None),
        ("v1.2.3", "git: expected no tag v1.2.3 yet, found one"),
        ("v1.10.0", "git: expected a version after v1.10.0, got 1.2.3"),
    ],
)
def test_version_comes_after_the_last(release, tmp_path, tag, fault):
    root = plant(tmp_path)
    git(root, "tag", tag)
    assert [*release.find_faults(root, "1.2.3")][:1] == [fault][: fault is not None]


def test_tree_with_changes_is_not_released(release, tmp_path):
    root = plant(tmp_path)
    (root / "left over").write_text("")
    [fault] = release.find_faults(root, "1.2.3")
    assert "left over" in fault
    shutil.rmtree(root / ".git")
    [fault] = release.find_faults(root, "1.2.3")
    assert fault.startswith("git: expected a repository")


def test_changed_bits_have_to_be_said(release, tmp_path):
    hashes = "src/exactrnn/verify/hashes.json"
    before = FILES[hashes].replace("aa", "bb")
    said = FILES["CHANGELOG.md"].replace("### Added", "### Changed bits")
    raised = FILES[hashes].replace('version": 1', 'version": 2')
    changes = {"CHANGELOG.md": said}, {hashes: raised}, {}
    for number, changed in enumerate(changes):
        root = plant(tmp_path / str(number), **changed)
        faults = [*release.faults_of_bits(root, "1.2.3", before)]
        assert len(faults) == 2 - len(changed)
        assert all("/hashes/lstm" in fault for fault in faults)
    root = plant(tmp_path / "both", **changes[0], **changes[1])
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


def walk_through(release, monkeypatch, root, answer):
    """Return the status of a walk of one step, which ends by an exception or not."""
    monkeypatch.setattr(release, "ROOT", root)
    monkeypatch.setattr(release, "STEPS", {"true": "what works"})
    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("sys.argv", ["release.py", "1.2.3"])
    return release.main()


@pytest.mark.parametrize("error", [EOFError, KeyboardInterrupt])
def test_walk_without_an_answer_ends(release, monkeypatch, tmp_path, capsys, error):
    def answer(_):
        raise error

    assert walk_through(release, monkeypatch, plant(tmp_path), answer) != 0
    said = capsys.readouterr().out
    assert "the walk ends here" in said
    assert "git tag" not in said


def test_tree_is_looked_at_again_after_the_walk(release, monkeypatch, tmp_path, capsys):
    root = plant(tmp_path)

    def answer(_):
        (root / "tables").write_text("made by a step")
        return "y"

    assert walk_through(release, monkeypatch, root, answer) == 1
    said = capsys.readouterr().out
    assert "tables" in said
    assert "git tag" not in said
    (root / "tables").unlink()
    assert walk_through(release, monkeypatch, root, lambda _: "y") == 0
    assert "git tag v1.2.3" in capsys.readouterr().out


def test_steps_make_the_wheels_of_every_python(release):
    versions = load_script(ROOT / ".ci" / "wheels.py").supported_versions()
    [wheels] = [step for step in release.STEPS if "-s wheels" in step]
    assert re.findall(r"python(3\.\d+)", wheels) == versions
    assert f"`{wheels}`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
