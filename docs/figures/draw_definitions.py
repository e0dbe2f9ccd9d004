"""Draw the graphs of the definitions: python docs/figures/draw_definitions.py

Writes a PNG file for each of `exactrnn.cells` beside this file; matplotlib is needed.
"""

from pathlib import Path

import exactrnn as xr

FOLDER = Path(__file__).parent


def main():
    for name in xr.cells.__all__:
        figure = xr.plot.cell(getattr(xr.cells, name))
        figure.savefig(FOLDER / f"definition_{name.lower()}.png", dpi=100)


if __name__ == "__main__":
    main()
