"""The habits of the house that no linter checks, each seen to fail on a planted fault.

CONTRIBUTING.md says why each rule stands; those about arithmetic hold contract N2.
Rules about the built module are in test_built_module.py.
"""

import ast
import re

import pytest
from sources import (
    CYTHON_SUFFIXES,
    PACKAGE,
    ROOT,
    c_files,
    c_signatures,
    cython_signatures,
    files_under,
    python_files,
    python_signatures,
    relative,
    strip_comments,
    twin_files,
    written_files,
)

MAX_LINES = 600
MAX_COLUMNS = 88
MAX_PARAMETERS = 8

# The public constructors take torch's arguments and ours.
WIDE_SIGNATURES = {
    (f"src/exactrnn/{room}/{path.name}", "__init__")
    for room in (
        "layers",
        "interop/sklearn",
        "interop/torch",
    )  # whose arguments are options
    for path in (PACKAGE / room).glob("*.py")
}

FAST_MATH = re.compile(
    r"-Ofast|-f(?:fast-math|unsafe-math-optimizations|associative-math|"
    r"reciprocal-math|finite-math-only|no-signed-zeros|fp-model)|/fp:fast"
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
ISA_MACRO = re.compile(
    r"^[ \t]*#[ \t]*(?:el)?if.*(?:__AVX|__SSE|__FMA|__ARM|__aarch64|__x86_64|XR_ISA_)",
    re.MULTILINE,
)
INTRINSIC = re.compile(r"\b_mm\d*_\w+|\bv\w+q?_[fsu](?:32|64)\b|immintrin|arm_neon")
MACRO = re.compile(r"^[ \t]*#[ \t]*define\b(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
MAX_MACRO_LINES = 6


def text_of(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", written_files(), ids=relative)
def test_file_is_short_enough_to_read(path):
    assert len(text_of(path).splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", written_files(), ids=relative)
def test_nothing_is_left_unfinished(path):
    if path.name in ("test_house_rules.py", "pyproject.toml"):
        return  # they name the words
    assert not UNFINISHED.findall(text_of(path))


NAMED_FILE = re.compile(
    r"(?<![\w./*{}-])(?:[\w.-]+/)+[\w-]+\.(?:py|px[di]|pyx|pyi|c|h|def|md|svg|cmake)\b"
    r"|(?<![\w./*{}-])[\w-]+\.(?:py|px[di]|pyx|pyi|md|cmake)\b"
)
MADE_UP = re.compile(
    r"(?:^|/)(?:test_)?(?:toy|foo|none|some)\w*\.|(?:^|/)(?:sys|linux)/"
)
MADE_BY_COMMANDS = (
    "exactrnnConfig.cmake",
    "cmake/exactrnnConfig.cmake",
    "exactrnnConfigVersion.cmake",
    "exactrnnTargets.cmake",
    "exactrnnStatic.cmake",
    "memory.md",
    "sitecustomize.py",
    "table.md",
    "threads1.md",
    "threads2.md",
)


def missing_files(text, present):
    """Return the files that a text names, by the ends of their paths, and that are not.

    Examples have names of their own, made up by people who know none better.
    """
    names = {re.sub(r"^(?:\.\.?/)+", "", name) for name in NAMED_FILE.findall(text)}
    return sorted(
        name
        for name in names - {*MADE_BY_COMMANDS}
        if not MADE_UP.search(name)
        and not any(path == name or path.endswith(f"/{name}") for path in present)
    )


BUILT = {".git", "build", "_build"}
PRESENT = [
    relative(path)
    for path in ROOT.rglob("*")
    if path.is_file() and BUILT.isdisjoint(path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("path", written_files(), ids=relative)
def test_files_that_are_named_are_there(path):
    if path.name == "test_house_rules.py":
        return  # it names files that are none
    assert missing_files(text_of(path), PRESENT) == []


def test_file_that_is_not_there_is_found():
    present = ["src/exactrnn/io.py", "csrc/kernels/vec.h", "docs/api.md"]
    said = "`io.py`, kernels/vec.h, ../docs/api.md, cells/foo.c, _core_*.pxi, cache.h"
    assert missing_files(said, present) == []
    said = "`_io.py`, kernels/vec/vec.h, the twin in exactrnn/nets/gru.py, (plan.md)"
    gone = ["_io.py", "exactrnn/nets/gru.py", "kernels/vec/vec.h", "plan.md"]
    assert missing_files(said, present) == gone


def test_nothing_lies_about():
    at_the_top = {path.name for path in ROOT.iterdir() if path.is_file()}
    of_an_sdist = {"PKG-INFO"}
    lying = {name for name in at_the_top if "." not in name}
    assert lying - of_an_sdist == {"LICENSE"}


@pytest.mark.parametrize(
    "path",
    c_files() + files_under("src", suffixes=CYTHON_SUFFIXES),
    ids=relative,
)
def test_lines_fit_the_page(path):
    wide = [line for line in text_of(path).splitlines() if len(line) > MAX_COLUMNS]
    assert not wide


def wide_signatures(path, signatures):
    """Return the functions of a file that take more than MAX_PARAMETERS."""
    return {
        (relative(path), name): count
        for name, count in signatures(text_of(path))
        if count > MAX_PARAMETERS
    }


def test_signatures_have_few_parameters():
    wide = {}
    for path in c_files():
        wide |= wide_signatures(path, c_signatures)
    for path in python_files():
        wide |= wide_signatures(path, python_signatures)
    for path in files_under("src", suffixes=CYTHON_SUFFIXES):
        wide |= wide_signatures(path, cython_signatures)
    assert {key: n for key, n in wide.items() if key not in WIDE_SIGNATURES} == {}


def test_signatures_of_every_language_are_counted():
    nine = "int a, int b, int c, int d, int e, int f, int g, int h, int i"
    assert list(c_signatures(f"static int\nwide({nine})\n{{\n}}\n")) == [("wide", 9)]
    pointer = "void call(void (*body)(int, int), const int *a);"
    assert list(c_signatures(pointer)) == [("call", 2)]
    assert list(c_signatures("/*\nf(a, b); */\nvoid f(void);")) == [("f", 0)]
    assert list(python_signatures("def f(self, a, *, b): ...")) == [("f", 2)]
    assert list(cython_signatures("    def f(self, int a, b=None):\n")) == [("f", 2)]


def test_no_flag_gives_up_exact_arithmetic():
    build_files = [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml"]
    build_files += files_under("cmake", suffixes={".cmake"})
    for path in build_files:
        assert not FAST_MATH.findall(text_of(path)), relative(path)
    assert "-ffp-contract=off" in text_of(ROOT / "cmake" / "Kernels.cmake")


def test_every_target_of_our_own_gets_the_flags():
    text = "".join(
        text_of(ROOT / name)
        for name in ("CMakeLists.txt", "cmake/Kernels.cmake", "cmake/Library.cmake")
    )
    targets = set(re.findall(r"add_library\((\S+) OBJECT", text))
    flagged = set(re.findall(r"^\s*exactrnn_c_flags\((\S+)\)", text, re.MULTILINE))
    assert targets
    assert targets == flagged


def kernel_files():
    """Return the kernel sources outside vec/; vec.h is the door to vec/."""
    paths = files_under("csrc/kernels", suffixes={".c", ".h"})
    return [p for p in paths if p.parent.name != "vec" and p.name != "vec.h"]


@pytest.mark.parametrize("path", kernel_files(), ids=relative)
def test_instruction_sets_are_named_in_vec_alone(path):
    text = strip_comments(text_of(path))
    assert not ISA_MACRO.findall(text)
    assert not INTRINSIC.findall(text)


# The folders of csrc/ from the bottom up; layers and grids do not include each other,
# and nothing includes the library, which stands on the base beside the kernels.
C_FLOORS = {"include": 0, "base": 1, "library": 2, "kernels/vec": 2, "kernels/math": 3}
C_FLOORS |= {"xla": 2, "onnxruntime": 2}  # beside the kernels, on the base
C_FLOORS |= {"kernels/cells": 4, "kernels/layer": 5, "kernels/grid": 5}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def c_folder(path):
    """Return the folder of csrc/ that a file belongs to: vec.h is the door to vec/."""
    folder = path.rpartition("/")[0]
    return {"include/exactrnn": "include", "kernels": "kernels/vec"}.get(folder, folder)


def find_include(name):
    """Return where in csrc/ an include lies: by its path, a public one as users do."""
    places = (f"include/{name}", name if not name.startswith("include/") else "")
    return next((p for p in places if (ROOT / "csrc" / p).is_file()), None)


def unwelcome_includes(path, text):
    """Return what a file of csrc/ includes from above it, or by another name."""
    own = c_folder(path)
    found = []
    for name in INCLUDE.findall(text):
        place = find_include(name)
        is_list = place is not None and name.endswith(".def")
        folder = None if place is None else c_folder(place)
        is_below = folder == own or C_FLOORS.get(folder, 9) < C_FLOORS[own]
        is_below &= own == "library" or folder != "library"
        if not is_list and not is_below:
            found.append(name)
    return found


@pytest.mark.parametrize(
    "path", files_under("csrc", suffixes={".c", ".h"}), ids=relative
)
def test_c_includes_go_down(path):
    name = path.relative_to(ROOT / "csrc").as_posix()
    assert unwelcome_includes(name, text_of(path)) == []


@pytest.mark.parametrize(
    ("path", "include"),
    [
        ("kernels/math/dense.c", "kernels/cells/cell.h"),
        ("kernels/layer/pack.h", "kernels/grid/pack.h"),
        ("onnxruntime/kernel.c", "kernels/math/panels.h"),
        ("kernels/layer/pack.h", "form.h"),
        ("kernels/layer/pack.h", "../vec.h"),
        ("kernels/layer/pack.h", "include/exactrnn.h"),
        ("base/cpu.c", "kernels/vec.h"),
        ("base/cpu.c", "library/checks.h"),
        ("library/run.c", "kernels/vec.h"),
        ("kernels/math/dense.c", "library/checks.h"),
        ("include/exactrnn/grid.h", "base/sizes.h"),
    ],
)
def test_c_include_that_goes_up_is_found(path, include):
    assert unwelcome_includes(path, f'#include "{include}"\n') == [include]


def macros_with_bodies(text):
    """Return the macros that do what a function should: loops, or many lines."""
    return [
        macro
        for macro in MACRO.findall(strip_comments(text))
        if re.search(r"\b(?:for|while|do)\b", macro)
        or macro.count("\n") >= MAX_MACRO_LINES
    ]


@pytest.mark.parametrize("path", c_files(), ids=relative)
def test_macros_are_no_functions(path):
    assert macros_with_bodies(text_of(path)) == []


def test_macro_with_a_body_is_found():
    assert macros_with_bodies("#define SUM(a) \\\n    for (;;) a\n") != []
    assert macros_with_bodies("#define SUM(a) \\\n" + "    a; \\\n" * 6) != []
    assert macros_with_bodies("#define ONE 1\nfor (;;) {}\n") == []


def test_openmp_has_one_door():
    users = [
        relative(path)
        for path in files_under("csrc", "src", suffixes={".c", ".h"} | CYTHON_SUFFIXES)
        if re.search(r"#\s*include\s*<omp|#\s*pragma\s+omp|\bomp_\w+\(", text_of(path))
    ]
    assert users == ["csrc/base/region_openmp.c"]


LOCK_MAKER = re.compile(
    r"\bR?Lock\(|\b(?:Condition|Semaphore|BoundedSemaphore|Barrier|Event)\(|"
    r"from functools import .*\bcached_property|functools\.cached_property"
)


def test_locks_are_made_in_one_place():
    """All others would stay locked in a forked child: _system/locks.py says why."""
    makers = [
        relative(path)
        for path in files_under("src", suffixes={".py", *CYTHON_SUFFIXES})
        if LOCK_MAKER.search(text_of(path))
    ]
    assert makers == ["src/exactrnn/_system/locks.py"]


ARRAY_METHODS = {"cumprod", "cumsum", "dot", "mean", "prod", "std", "sum", "var"}
LIBRARY_MATH = {"exp", "exp2", "expm1", "fma", "fsum", "log", "log1p", "log2", "pow"}
LIBRARY_MATH |= {"sumprod", "tanh"}
FREE_ORDER = {"maximum", "minimum", "logical_and", "logical_or"}


def inexact_operations(source):
    """Return what a twin must not use: [(line, what)], for any object and any array.

    ruff bans the functions of NumPy by name; here are the operators and methods, whose
    order of summation or whose library is not ours.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp | ast.AugAssign):
            if isinstance(node.op, ast.MatMult):
                found.append((node.lineno, "@"))
            elif isinstance(node.op, ast.Pow) and not is_power_of_two(node):
                found.append((node.lineno, "**"))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            name = node.func.attr
            if name in ARRAY_METHODS or (owner == "math" and name in LIBRARY_MATH):
                found.append((node.lineno, f"{owner}.{name}"))
            is_reduction = name in ("reduce", "reduceat", "accumulate")
            if is_reduction and owner.split(".")[-1] not in FREE_ORDER:
                found.append((node.lineno, f"{owner}.{name}"))
    return found


def is_power_of_two(node):
    """Whether a power has the literal base 2.0, as 2.0**-100: exact."""
    base = node.left if isinstance(node, ast.BinOp) else None
    return isinstance(base, ast.Constant) and base.value == 2


@pytest.mark.parametrize("path", twin_files(), ids=relative)
def test_twin_uses_reproducible_operations_alone(path):
    assert inexact_operations(text_of(path)) == []


FAULTS = ["a @ b", "a @= b", "a.sum()", "x[0].dot(y)", "(a * b).mean()", "a ** b"]
FAULTS += ["a **= 2", "math.exp(1)", "np.add.reduce(a)", "a.b.cumsum(axis=0)"]


@pytest.mark.parametrize("fault", FAULTS)
def test_inexact_operation_is_found(fault):
    assert inexact_operations(f"x = 2.0**-100\n{fault}\n")


def test_reproducible_operations_are_accepted():
    source = (
        "np.maximum.reduce(a)\nx = fma(a, b, c)\ny = 2.0**-126 * a\nmath.ldexp(a, 1)"
    )
    assert inexact_operations(source) == []


RUNNERS = {"_stack", "_run"}
"""What runs a layer, and what a cache has kept: for `layers/` and `_run/` alone."""


def runners_read(source):
    """Return the lines that read what runs an object other than their own."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in RUNNERS
        if not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_what_runs_a_layer_is_known_to_layers_alone(path):
    rooms = [PACKAGE / "layers", PACKAGE / "_run"]
    if not any(room in path.parents for room in rooms):
        assert runners_read(text_of(path)) == []


def test_readers_of_runners_are_found():
    source = "from exactrnn._run import call\nlayer._stack.store\nf(x)._run\nself._run"
    assert sorted(runners_read(source)) == [2, 3]


def test_names_of_test_files_are_unique():
    """Tests are not packages: two files of one name are one module to pytest."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_names_of_tests_are_the_same_in_every_process(request):
    """An address in one is another in each worker of xdist, which then runs nothing."""
    named = [item.nodeid for item in request.session.items]
    assert [name for name in named if re.search(r" at 0x[0-9a-f]+", name)] == []
