# /// script
# dependencies = ["ziglang>=0.15,<0.18"]
# ///
"""Compile and link the C library for systems that are not at hand: macOS.

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
SYSTEMS = {
    "aarch64-macos": {"neon": [], "scalar": []},
    "x86_64-macos": {"avx2": ["-mavx2", "-mfma"], "scalar": []},
}
"""Instruction sets that are compiled, with their flags; of AVX-512 no more differs."""
FLAGS = [
    *("-std=gnu11", "-O1", "-fPIC", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Werror", f"-I{CSRC}", f"-I{CSRC / 'include'}"),
]


def compile_file(target, source, folder, *flags):
    """Return the object of a file."""
    name = "-".join([source.stem, *(flag[2:] for flag in flags if "=" in flag)])
    out = folder / f"{name}.o"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *FLAGS]
    subprocess.run([*command, *flags, "-c", source, "-o", out], check=True)
    return out


def sources_of_kernels():
    names = ("grid/grid.c", "layer/engine.c")
    found = [CSRC / "kernels" / name for name in names]
    for folder in ("cells", "math"):
        found += sorted((CSRC / "kernels" / folder).glob("*.c"))
    return found


def list_work(isas):
    """Return pairs of a file and its own flags."""
    left_out = ("region_openmp.c", "system_linux.c")
    plain = [*CSRC.glob("base/*.c"), *CSRC.glob("library/*.c")]
    work = [(source, []) for source in sorted(plain) if source.name not in left_out]
    for isa, flags in isas.items():
        for dtype in ("f32", "f64"):
            own = [f"-DXR_ISA={isa}", f"-DXR_ISA_{isa}=1"]
            own += [f"-DXR_DTYPE={dtype}", f"-DXR_DTYPE_{dtype}=1"]
            work += [(source, [*own, *flags]) for source in sources_of_kernels()]
    return work


def build(target, folder):
    """Return the library for a system, linked, and of how many files it is."""
    with ThreadPoolExecutor(2) as pool:
        work = list_work(SYSTEMS[target])
        made = [
            pool.submit(compile_file, target, source, folder, *flags)
            for source, flags in work
        ]
        objects = [one.result() for one in made]
    library = folder / "libexactrnn.dylib"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target]
    command += ["-dynamiclib", "-Wl,-undefined,dynamic_lookup"]
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
