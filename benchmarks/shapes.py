"""The rows of the benchmark, as data.

Letters: T time steps, B rows of the batch, I inputs, H hidden units. `task` is
`forward` (a whole sequence, inference) or `step` (one step of a stream, called from
Python, the state carried from call to call; T is 1).
"""

from dataclasses import asdict, dataclass

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru_before": 3}


@dataclass(frozen=True)
class Row:
    """One shape to be measured."""

    task: str
    cell: str
    T: int
    B: int
    I: int
    H: int
    directions: int = 1
    dtype: str = "float32"

    @property
    def name(self):
        """A name for the row that is short and unique: `lstm-forward-100x8x128`."""
        sizes = f"{self.T}x{self.B}x{self.H}"
        inputs = "" if self.I == self.H else f"-I{self.I}"
        ends = "-bidirectional" if self.directions == 2 else ""
        return f"{self.cell}-{self.task}-{sizes}{inputs}{ends}"

    @property
    def flops(self):
        """Operations of the products alone, an fma counted as two."""
        per_step = GATES[self.cell] * self.H * (self.I + self.H)
        return 2 * self.T * self.B * per_step * self.directions

    def as_dict(self):
        """Return the fields and the name, for JSON."""
        return {"name": self.name, **asdict(self), "flops": self.flops}


def square(task, cell, T, B, H):
    """Return a row whose input is as wide as its state."""
    return Row(task, cell, T, B, H, H)


ROWS = tuple(
    square("forward", cell, T, B, H)
    for cell in ("lstm", "gru")
    for T, B, H in ((100, 1, 32), (100, 1, 128), (100, 8, 128), (100, 32, 512))
) + tuple(square("step", cell, 1, 1, 64) for cell in ("lstm", "gru"))
