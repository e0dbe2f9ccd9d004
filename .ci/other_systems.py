# /// script
# dependencies = ["ziglang>=0.15,<0.18"]
# ///
"""Compile and link the C library for systems that are not at hand.

    pipx run .ci/other_systems.py

By the compiler and headers that the package ziglang brings. Nothing is run: what is
shown is that the C files use no function, header or symbol that these systems lack.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]
SYSTEMS = {
    "aarch64-macos": {"neon": [], "scalar": []},
    "x86_64-macos": {"avx2": AVX2, "scalar": []},
    "x86_64-windows-gnu": {"avx512": AVX512, "avx2": AVX2, "scalar": []},
}
"""Instruction sets that are compiled, with their flags."""
LINK = {
    "macos": ["-dynamiclib", "-Wl,-undefined,dynamic_lookup"],
    "windows": ["-shared", "-lapi-ms-win-core-synch-l1-2-0"],
}
NOT_POSIX = ("region_openmp.c", "system_linux.c", "system_windows.c")
NOT_WINDOWS = ("region_openmp.c", "system_linux.c", "system_posix.c", "threads_posix.c")
"""What is left out for systems with POSIX threads, and for Windows."""
FLAGS = [
    *("-std=gnu11", "-O1", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Werror", f"-I{CSRC}", f"-I{CSRC / 'include'}"),
]


def compile_file(target, source, folder, *flags):
    """Return the object of a file."""
    name = "-".join([source.stem, *(flag[2:] for flag in flags if "=" in flag)])
    out = folder / f"{name}.o"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *FLAGS]
    command += [] if "windows" in target else ["-fPIC"]
    subprocess.run([*command, *flags, "-c", source, "-o", out], check=True)
    return out


def sources_of_kernels():
    names = ("grid/grid.c", "layer/engine.c")
    found = [CSRC / "kernels" / name for name in names]
    for folder in ("cells", "math"):
        found += sorted((CSRC / "kernels" / folder).glob("*.c"))
    return found


def list_work(target):
    """Return pairs of a file and its own flags."""
    plain = [*CSRC.glob("base/*.c"), *CSRC.glob("library/*.c")]
    others = NOT_POSIX if "windows" not in target else NOT_WINDOWS
    work = [(source, []) for source in sorted(plain) if source.name not in others]
    for isa, flags in SYSTEMS[target].items():
        for dtype in ("f32", "f64"):
            own = [f"-DXR_ISA={isa}", f"-DXR_ISA_{isa}=1"]
            own += [f"-DXR_DTYPE={dtype}", f"-DXR_DTYPE_{dtype}=1"]
            work += [(source, [*own, *flags]) for source in sources_of_kernels()]
    return work


def build(target, folder):
    """Return the library for a system, linked, and of how many files it is."""
    with ThreadPoolExecutor(2) as pool:
        work = list_work(target)
        made = [
            pool.submit(compile_file, target, source, folder, *flags)
            for source, flags in work
        ]
        objects = [one.result() for one in made]
    library = folder / ("exactrnn.dll" if "windows" in target else "libexactrnn.dylib")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target]
    command += LINK["windows" if "windows" in target else "macos"]
    subprocess.run([*command, *objects, "-o", library], check=True)
    return library, len(objects)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=[*SYSTEMS])
    for target in parser.parse_args().system:
        with tempfile.TemporaryDirectory() as name:
            library, files = build(target, Path(name))
            size = library.stat().st_size
        print(f"{target}: {files} files, a library of {size:,} bytes")
    print(f"compiled and linked on {platform.system()}; not run")


if __name__ == "__main__":
    main()
