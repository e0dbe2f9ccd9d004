"""The C library, for programs that call its public interface alone.

The kernels are those that the build of the Python module has left in build/, which take
a minute to compile; what is compiled once for all of them, csrc/base and csrc/library,
is compiled here, under sanitizers if asked. Without a build folder the tests skip.
"""

import atexit
import functools
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builds import skip_without
from variants import CSRC, ROOT, TESTS

SOURCES = TESTS / "c"
VISIBLE = '-DXR_API=__attribute__((visibility("default")))'
FLAGS = ("-std=gnu11", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-ffp-contract=off")
INCLUDES = (f"-I{CSRC}", f"-I{CSRC / 'include'}")
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1")


def newest_build():
    """Return the folder of the last build of the module, None if there is none."""
    builds = [p.parent for p in ROOT.glob("build/*/CMakeCache.txt")]
    return max(builds, key=lambda p: p.stat().st_mtime, default=None)


@functools.cache
def kernel_objects():
    """Return the object files of all kernels; those of sources that are gone stay."""
    build = newest_build()
    folders = () if build is None else build.glob("CMakeFiles/kernels_*.dir")
    objects = [
        str(path)
        for folder in sorted(folders)
        for path in sorted(folder.rglob("*.o"))
        if (CSRC.parent / path.relative_to(folder).with_suffix("")).is_file()
    ]
    if not objects or shutil.which("gcc") is None:
        pytest.skip("needs gcc and build/, with the objects of the kernels")
    return objects


def runtime_source():
    """Return the file by which that build gets its threads."""
    uses_openmp = "region_openmp" in (newest_build() / "build.ninja").read_text()
    return "region_openmp.c" if uses_openmp else "region_threads.c"


def compile_c(source, output, *flags, compiler="gcc"):
    """Compile one file."""
    command = [compiler, *INCLUDES, *flags, "-c", str(source), "-o", str(output)]
    subprocess.run(command, check=True)
    return str(output)


def library_objects(folder, *flags):
    """Return the object files of the whole library, some of them made in `folder`."""
    kernels, runtime = kernel_objects(), runtime_source()
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(CSRC.glob("base/*.c")) + sorted(CSRC.glob("library/*.c"))
    chosen = {runtime, "system_linux.c"}
    sources = [
        s
        for s in sources
        if not s.name.startswith(("region_", "system_")) or s.name in chosen
    ]

    def make(source):
        name = f"{source.parent.name}-{source.stem}.o"
        return compile_c(source, folder / name, *FLAGS, VISIBLE, "-w", *flags)

    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(make, sources), *kernels]


def link(objects, output, *flags, compiler="gcc"):
    """Link a program, or with `-shared` a library."""
    command = [compiler, *objects, *flags, "-fopenmp", "-o", str(output)]
    subprocess.run(command, check=True)
    return output


def build_program(folder, name, objects, *flags):
    """Return a program of one source in tests/c/ and the library's objects."""
    own = compile_c(
        SOURCES / f"{name}.c", folder / f"{name}.o", "-std=gnu11", "-Wall", *flags
    )
    return link([own, *objects], folder / name, *flags)


def sanitizer_flags(folder):
    """Return the flags of the address sanitizer, none where gcc has no runtime."""
    skip_without("gcc")
    folder.mkdir(parents=True, exist_ok=True)
    source, program = folder / "trivial.c", folder / "trivial"
    source.write_text("int main(void) { return 0; }\n")
    for flags in (ADDRESS, ()):
        command = ["gcc", *flags, str(source), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            words = [str(program)]
            if subprocess.run(words, capture_output=True, check=False).returncode == 0:
                return flags
    return ()


@functools.cache
def sanitized_objects():
    """Return the library's objects under sanitizers, made once, and their flags."""
    folder = Path(tempfile.mkdtemp(prefix="exactrnn-c-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    flags = ("-O0", *sanitizer_flags(folder))
    return library_objects(folder, *flags), flags


@functools.cache
def sanitized_program(name):
    """Return a program of one source in tests/c/, under sanitizers too."""
    objects, flags = sanitized_objects()
    return build_program(Path(objects[0]).parent, name, objects, *flags)
