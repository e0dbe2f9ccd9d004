"""Make src/exactrnn/verify/hashes.json, the published bits, from the NumPy reference.

    python tests/bits/golden/make_golden.py           print what would be published
    python tests/bits/golden/make_golden.py --write   publish it

Published bits change only together with NUMERICS_VERSION and a line in the changelog.
"""

import json
import sys
from pathlib import Path

import numpy as np

import exactrnn as xr
from exactrnn.verify.cases import CASE_NAMES, KernelSide, ReferenceSide, hash_case

TARGET = Path(__file__).resolve().parents[3] / "src/exactrnn/verify/hashes.json"


def make_hashes(side):
    return {
        dtype: {name: hash_case(side, name, np.dtype(dtype)) for name in CASE_NAMES}
        for dtype in ("float32", "float64")
    }


def main():
    hashes = make_hashes(ReferenceSide())
    if hashes != make_hashes(KernelSide()):
        sys.exit("the kernels of this machine give other bits: nothing to publish")
    published = {"numerics_version": xr.NUMERICS_VERSION, "hashes": hashes}
    text = json.dumps(published, indent=2) + "\n"
    if "--write" in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
