"""Walk through the list of a release: CONTRIBUTING.md, "Releases".

    python .ci/release.py 0.2.0            every step, one after the other
    python .ci/release.py 0.2.0 --check    what can be seen in the tree, nothing else

What a program can see is checked first and last, all of it; a fault ends the walk.
Commands are shown and run once you agree, or answered by `d` where they were done
elsewhere. Nothing is tagged or published: the last line is the command that does.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"\d+\.\d+\.\d+")
STEPS = {
    ".ci/run": "all that CI does",
    "pytest -m deep": "one whole night",
    "python -m pip install -q 'ziglang<0.18' && python .ci/other_systems.py": (
        "the C files, for macOS and Windows"
    ),
    "nox -s performance": "on a machine of AVX2 and one of AVX-512: tables, pictures",
    "nox -s wheels -- --python python3.11 python3.12 python3.13 python3.14": (
        "the wheels of this machine, with the whole test suite"
    ),
}
"""Commands, in order, and what each is for."""


def read(root, name):
    return (root / name).read_text(encoding="utf-8")


def versions_of(root):
    """Return the version that each file gives."""
    header = read(root, "csrc/include/exactrnn.h")
    parts = ("MAJOR", "MINOR", "PATCH")
    numbers = [re.search(rf"XR_VERSION_{part} (\d+)", header)[1] for part in parts]
    citation = re.search(r"^version: (\S+)$", read(root, "CITATION.cff"), re.MULTILINE)
    return {
        "pyproject.toml": tomllib.loads(read(root, "pyproject.toml"))["project"][
            "version"
        ],
        "CITATION.cff": citation[1],
        "csrc/include/exactrnn.h": ".".join(numbers),
    }


def sections_of(changelog):
    """Return the text under each heading of the second rank, by its words."""
    parts = re.split(r"^## (.+)$", changelog, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def faults_of_changelog(root, version):
    """Yield what is wrong with the changelog of a release."""
    sections = sections_of(read(root, "CHANGELOG.md"))
    own = [name for name in sections if name.startswith(f"[{version}]")]
    if not own:
        yield f"CHANGELOG.md: expected a section [{version}] - DATE, found none"
    elif not re.fullmatch(r"\[[\d.]+\] - \d{4}-\d\d-\d\d", own[0]):
        yield f"CHANGELOG.md: expected [{version}] - YYYY-MM-DD, got {own[0]}"
    if re.search(r"^- ", sections.get("[Unreleased]", ""), re.MULTILINE):
        yield "CHANGELOG.md: expected nothing under [Unreleased], found entries"


def faults_of_bits(root, version, published):
    """Yield what is wrong with the published bits, beside those of the last release."""
    if published is None:
        return
    now = json.loads(read(root, "src/exactrnn/verify/hashes.json"))
    before = json.loads(published)
    text = sections_of(read(root, "CHANGELOG.md"))
    own = next((t for name, t in text.items() if name.startswith(f"[{version}]")), "")
    raised = now.pop("numerics_version") > before.pop("numerics_version")
    changed = [k for k, v in leaves(before).items() if leaves(now).get(k) != v]
    if changed and "### Changed bits" not in own:
        yield f"hashes.json: expected {changed[0]} as published, or 'Changed bits'"
    if changed and not raised:
        yield f"hashes.json: expected {changed[0]} as published, or a new version"


def leaves(tree, path=""):
    """Return the leaves of nested mappings, by their paths."""
    if not isinstance(tree, dict):
        return {path: tree}
    found = {}
    for name, below in tree.items():
        found |= leaves(below, f"{path}/{name}")
    return found


def git(root, *words):
    """Return what git answers, None where it fails."""
    command = ("git", "-C", root, *words)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def last_tag(root):
    """Return the tag of the last release, None if there was none."""
    found = git(root, "describe", "--tags", "--abbrev=0", "--match", "v*")
    return found and found.strip()


def numbers_of(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def faults_of_repository(root, version):
    """Yield what is wrong with the state of the repository."""
    changes = git(root, "status", "--porcelain")
    if changes is None:
        yield "git: expected a repository, found none, or no git"
    elif changes:
        first = changes.splitlines()[0][3:]
        yield f"git: expected a tree without changes, found {first}"
    if git(root, "rev-parse", "-q", "--verify", f"refs/tags/v{version}"):
        yield f"git: expected no tag v{version} yet, found one"
    last = last_tag(root)
    if last and numbers_of(last) >= numbers_of(version):
        yield f"git: expected a version after {last}, got {version}"


def published_hashes(root):
    """Return hashes.json of the last release, None if there was none."""
    last = last_tag(root)
    name = "src/exactrnn/verify/hashes.json"
    return last and git(root, "show", f"{last}:{name}")


def find_faults(root, version):
    """Return all that a program can see to be wrong."""
    faults = [] if NUMBER.fullmatch(version) else [f"expected X.Y.Z, got {version}"]
    for name, found in versions_of(root).items():
        if found != version:
            faults.append(f"{name}: expected version {version}, got {found}")
    faults += faults_of_changelog(root, version)
    faults += faults_of_bits(root, version, published_hashes(root))
    return [*faults, *faults_of_repository(root, version)]


def walk(steps):
    """Go through the commands; return whether all of them were done."""
    for command, purpose in steps.items():
        print(f"\n{purpose}\n  {command}")
        try:
            answer = input("run it now [y], was done [d], stop here [anything else]? ")
        except EOFError:
            answer = ""
        if answer.strip().lower() == "d":
            continue
        if answer.strip().lower() != "y":
            print("the walk ends here")
            return False
        if subprocess.run(command, shell=True, cwd=ROOT, check=False).returncode:
            print("it failed: the walk ends here")
            return False
    return True


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", metavar="X.Y.Z")
    parser.add_argument("--check", action="store_true", help="look at the tree alone")
    parsed = parser.parse_args()
    faults = find_faults(ROOT, parsed.version)
    print(*faults or ["the tree is as a release wants it"], sep="\n")
    if faults:
        return 1
    if parsed.check:
        return 0
    try:
        if not walk(STEPS):
            return 1
    except KeyboardInterrupt:
        print("\ninterrupted: the walk ends here")
        return 130
    # tables and pictures have come since
    if faults := find_faults(ROOT, parsed.version):
        print("\nall is done, but what is to be tagged is not:", *faults, sep="\n")
        return 1
    tag = f"v{parsed.version}"
    print(f"\nall is done; this publishes:\n  git tag {tag} && git push origin {tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
