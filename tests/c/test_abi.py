"""The binary interface of the C library is written down, and is that of the headers.

abi.txt has every public struct with its size and its members' offsets, every enum's
values and every exported function, for 64-bit machines. A difference is a change that
programs see which are not compiled anew:

- a new function, or a new member at the end of a struct that begins with `struct_size`:
  `python tests/c/test_abi.py --write`, and xr_take_struct must take the old size too;
- anything else: raise EXACTRNN_ABI in cmake/Library.cmake as well (once for a release),
  and say so in CHANGELOG.md.
"""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from builds import skip_without

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
INCLUDE = ROOT / "csrc" / "include"
WRITTEN = HERE / "abi.txt"
HEADERS = sorted(
    INCLUDE / name
    for name in re.findall(
        r"csrc/include/(\S+?\.h)", (ROOT / "cmake" / "Headers.cmake").read_text()
    )
)
ONLY_64 = pytest.mark.skipif(
    struct.calcsize("P") != 8, reason="written down for 64-bit machines"
)


def code_of(header):
    """Return a header without comments and directives."""
    text = re.sub(r"/\*.*?\*/", " ", header.read_text(), flags=re.DOTALL)
    return re.sub(r"^[ \t]*#.*$", "", text, flags=re.MULTILINE)


def members_of(body):
    """Return the names of a struct's members, in order."""
    names = []
    for declaration in body.split(";"):
        if not declaration.strip():
            continue
        if "(*" in declaration:
            names.append(re.search(r"\(\*(\w+)\)", declaration)[1])
            continue
        parts = re.sub(r"\[.*?\]", "", declaration).split(",")
        names += [re.findall(r"\w+", part)[-1] for part in parts]
    return names


def structs():
    """Return the members of each public struct by its name."""
    found = {}
    for header in HEADERS:
        for name, body in re.findall(
            r"^struct (\w+) \{(.*?)^\};", code_of(header), re.DOTALL | re.MULTILINE
        ):
            found[name] = members_of(body)
    return found


def constants():
    """Return the names of all enums' values."""
    found = []
    for header in HEADERS:
        for body in re.findall(r"^enum \w*\s*\{(.*?)\}", code_of(header), re.S | re.M):
            found += re.findall(r"(XR_\w+)\s*(?:=[^,]*)?(?:,|$)", body.strip())
    return found


def functions():
    """Return the names of the functions that are marked."""
    text = "".join(map(code_of, HEADERS))
    return sorted(re.findall(r"^XR_API [^;(]*?(\w+)\(", text, re.MULTILINE))


def version():
    """Return the version of the interface: the library's soname."""
    text = (ROOT / "cmake" / "Library.cmake").read_text()
    return int(re.search(r"set\(EXACTRNN_ABI (\d+)\)", text)[1])


def describe(folder):
    """Return the lines that a compiler says about the headers."""
    skip_without("gcc")
    lines = [f'#include "{h.relative_to(INCLUDE).as_posix()}"' for h in HEADERS]
    lines += ["#include <stdio.h>", "int main(void)", "{"]
    for name, members in structs().items():
        lines.append(f'printf("struct {name} %zu\\n", sizeof(struct {name}));')
        lines += [
            f'printf("  {m} %zu\\n", offsetof(struct {name}, {m}));' for m in members
        ]
    lines += [f'printf("{name} %d\\n", (int){name});' for name in constants()]
    lines += ["return 0;", "}"]
    source, program = folder / "abi.c", folder / "abi"
    source.write_text("\n".join(lines))
    command = ["gcc", f"-I{INCLUDE}", str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return [f"interface {version()}", *said.splitlines()] + [
        f"function {name}" for name in functions()
    ]


@ONLY_64
def test_headers_have_the_interface_that_is_written_down(tmp_path):
    assert describe(tmp_path) == WRITTEN.read_text().splitlines(), __doc__


def test_header_has_the_version_of_the_project():
    text = (INCLUDE / "exactrnn.h").read_text()
    parts = re.findall(r"^#define XR_VERSION_\w+ (\d+)$", text, re.MULTILINE)
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{".".join(parts)}"' in project


def test_structs_and_functions_are_found():
    found = structs()
    assert members_of("size_t a; int b[2], c; int (*d)(void *e);") == [*"abcd"]
    assert found["xr_model_options"] == ["struct_size", "isa"]
    assert "xr_stream_step" in functions()
    assert "XR_STOPPED" in constants()
    grows = {name for name, members in found.items() if members[0] == "struct_size"}
    assert {"xr_layer", "xr_problem", "xr_run", "xr_grid_problem"} <= grows


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("expected --write: see the head of this file")
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        WRITTEN.write_text("\n".join(describe(Path(place))) + "\n")
