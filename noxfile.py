"""One door to every command of a developer: `nox -l` lists them.

Sessions run in the environment that is active (CONTRIBUTING.md makes it in five
commands): tools are pinned once, in the extra `dev` of pyproject.toml, and pre-commit
and CI run these same tools.
"""

from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

PYTHON_FILES = ("src", "tests", "benchmarks", "docs", "examples", ".ci", "noxfile.py")


def c_files():
    """Return the C sources that a person has written."""
    folders = (Path("csrc"), Path("tests"), Path("examples"))
    return sorted(
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".c", ".h"}
    )


def cython_files():
    suffixes = {".pyx", ".pxd", ".pxi"}
    return sorted(str(p) for p in Path("src").rglob("*") if p.suffix in suffixes)


@nox.session
def build(session):
    """Build the extension in place; arguments go to pip (see `isa`)."""
    install = ("pip", "install", "--no-build-isolation", "--no-deps", "--editable", ".")
    session.run(*install, *session.posargs, external=True)


@nox.session
def isa(session):
    """Build only the named instruction sets, for short turns: nox -s isa -- avx2."""
    names = ";".join([*(session.posargs or ["avx2"]), "scalar"])
    install = ("pip", "install", "--no-build-isolation", "--no-deps", "--editable", ".")
    session.run(
        *install, f"--config-settings=cmake.define.EXACTRNN_ISAS={names}", external=True
    )


@nox.session
def tests(session):
    """Run the tests; arguments go to pytest: nox -s tests -- -k gru."""
    session.run("python", "-m", "pytest", *session.posargs, external=True)


@nox.session
def interop(session):
    """Run the tests with other libraries' models; with all extras, none skips."""
    pytest = ("python", "-m", "pytest", "tests/interop")
    session.run(*pytest, *session.posargs, external=True)


@nox.session
def coverage(session):
    """Run the tests and report the branch coverage of the Python files."""
    session.run("python", "-m", "pytest", "--cov", *session.posargs, external=True)


@nox.session
def sanitize(session):
    """Run the C library under gcc's sanitizers: addresses, arithmetic, races."""
    pytest = ("python", "-m", "pytest", "tests/c/test_sanitized.py")
    session.run(*pytest, *session.posargs, external=True)


@nox.session
def lint(session):
    """Check every file by the linters and formatters; nothing is changed."""
    session.run("ruff", "check", *PYTHON_FILES, external=True)
    session.run("ruff", "format", "--check", *PYTHON_FILES, external=True)
    session.run("clang-format", "--dry-run", "-Werror", *c_files(), external=True)
    session.run("cython-lint", *cython_files(), external=True)
    session.run("codespell", *PYTHON_FILES, "csrc", *markdown_files(), external=True)


def markdown_files():
    return sorted(str(path) for path in Path().glob("*.md"))


@nox.session
def format(session):  # noqa: A001 - the name of the command
    """Bring every file into the form that `lint` asks for."""
    session.run("ruff", "check", "--fix", *PYTHON_FILES, external=True)
    session.run("ruff", "format", *PYTHON_FILES, external=True)
    session.run("clang-format", "-i", *c_files(), external=True)


@nox.session
def types(session):
    """Check types, a user's program, and the extension's stub against the extension."""
    session.run("mypy", external=True)
    program = ("--strict", "--config-file=", "tests/types/program.py")
    session.run("mypy", *program, external=True)
    allowed = ("--allowlist", ".ci/stubtest_allowed.txt")
    stubtest = ("python", "-m", "mypy.stubtest", *allowed, "exactrnn._core")
    session.run(*stubtest, external=True)


@nox.session
def wheels(session):
    """Build the wheel that users get and try it without a compiler: -- --help."""
    session.run("python", ".ci/wheels.py", *session.posargs, external=True)


@nox.session
def release(session):
    """Walk through the list of a release (CONTRIBUTING.md): nox -s release -- X.Y.Z."""
    session.run("python", ".ci/release.py", *session.posargs, external=True)


@nox.session
def docs(session):
    """Build the documentation into docs/_build/html; a warning is an error."""
    folders = ("docs", "docs/_build/html")
    session.run("sphinx-build", "-W", "--keep-going", "-q", *folders, external=True)


@nox.session
def figures(session):
    """Draw the diagrams of the cells, of the rooms and of the README's table anew."""
    for script in ("draw_cells", "draw_rooms", "draw_speed"):
        session.run("python", f"docs/figures/{script}.py", external=True)


@nox.session
def bench(session):
    """Measure beside the rivals; arguments go to benchmarks/run.py."""
    session.run("python", "benchmarks/run.py", *session.posargs, external=True)


@nox.session
def performance(session):
    """Measure every row with 1 and 2 threads into build/performance: tables, plot."""
    folder = Path("build", "performance")
    folder.mkdir(parents=True, exist_ok=True)
    reports = []
    for threads in ("1", "2"):
        report = folder / f"threads{threads}"
        reports.append(f"{report}.json")
        command = ["python", "benchmarks/run.py", "--group", "all", "--threads"]
        command += [threads, "--json", f"{report}.json", "--table", f"{report}.md"]
        session.run(*command, *session.posargs, external=True)
    draw = ["python", "benchmarks/plot.py", *reports, "--png"]
    session.run(*draw, str(folder / "performance.png"), external=True)
    table = ["--table", str(folder / "memory.md")]
    session.run("python", "benchmarks/memory.py", *table, external=True)
