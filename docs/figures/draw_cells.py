"""Draw the diagrams of all cells: python docs/figures/draw_cells.py

Writes an SVG file for each cell beside this file; nothing else is needed. What the
signs mean is in svg.py. A picture shows one step: what comes in at the left is the
state before it, what goes out at the right the state after it.
"""

from pathlib import Path

import networks
from svg import MUTED, Drawing

FOLDER = Path(__file__).parent
C, H_TOP, MIDDLE, GATES, MERGE, H, X = 70, 70, 132, 196, 232, 254, 276
"""Heights: the c line, the h line of cells without c, products, gates, r * h, buses."""


def feed(d, x, *, h=True, below=True, gate=GATES):
    """Lead h and x from their buses up to a gate at x."""
    bottom = gate + 20
    if h:
        place = x - 8 if below else x
        d.dot(place, H, "h")
        d.line((place, H), (place, bottom), arrow=True)
    if below:
        place = x + 8 if h else x
        d.dot(place, X)
        d.line((place, X), (place, bottom), arrow=True, hop=True)


def enter_x(d, left, right, bottom=312):
    """Draw the bus of x, entered from below."""
    d.line((left, bottom), (left, X), (right, X))
    d.text(left, bottom + 15, "x_{t}")


# The LSTM and its kin


def draw_lstm(
    title, *, omit="", coupled=None, peepholes="", acts=("σ", "tanh", "tanh"), **more
):
    """Draw an LSTM with any of its options; `more`: project, full_gates, lower."""
    project, full, lower = (more.get(k) for k in ("project", "full_gates", "lower"))
    shift = 100 if lower else 0
    f, i, g, o = 140, 236 + shift, 312 + shift, 412 + shift
    out = o + 62
    right = out + (110 if project else 52)
    d = Drawing(right + 66, 336, title)
    d.card(62, 28, right - 62, 264)
    _draw_buses(d, omit, coupled, (f, i, g, o), lower)
    d.line((18, C), (right + 46, C), kind="c", arrow=True)
    d.text(22, C - 10, "c_{t−1}", anchor="start")
    d.text(right + 44, C - 10, "c_{t}", anchor="end")
    _draw_forget(d, f, i, omit, coupled, acts)
    _draw_write(d, i, g, omit, coupled, acts)
    if lower:
        _draw_depth_gate(d, f + 84, f + 132)
    _draw_output(d, o, out, omit, acts, right, project)
    _draw_peepholes(d, peepholes, (f, i, o), lower)
    if full:
        _draw_full_gates(d, (f, i, o))
    return d


def _draw_buses(d, omit, coupled, places, lower):
    f = places[0]
    has = {"f": "f" not in omit and coupled != "input"}
    has |= {
        "i": "i" not in omit and coupled != "forget",
        "g": True,
        "o": "o" not in omit,
    }
    shown = [x for name, x in zip("figo", places, strict=True) if has[name]]
    d.line((18, H), (shown[-1] - 8, H), kind="h")
    d.text(22, H - 9, "h_{t−1}", anchor="start")
    enter_x(d, 96, shown[-1] + 8)
    for x in shown:
        feed(d, x)
    if lower:
        feed(d, f + 84, h=False)


def _draw_forget(d, f, i, omit, coupled, acts):
    if "f" in omit:
        return
    if coupled == "input":
        d.line((i, MIDDLE), (f, MIDDLE), (f, C + 10), arrow=True)
        d.dot(i, MIDDLE)
        d.pill((f + i) / 2, MIDDLE, "1 −")
    else:
        d.line((f, GATES - 20), (f, C + 10), arrow=True)
        d.box(f, GATES, "f", acts[0])
        if coupled == "forget":
            d.dot(f, MIDDLE)
    d.circle(f, C, "×")


def _draw_write(d, i, g, omit, coupled, acts):
    d.box(g, GATES, "g", acts[1], "candidate")
    d.line((g, GATES - 20), (g, C + 10), arrow=True)
    d.circle(g, C, "+")
    if "i" in omit:
        return
    if coupled == "forget":
        d.line((140, MIDDLE), (g - 10, MIDDLE), arrow=True)
        d.pill((140 + g) / 2, MIDDLE, "1 −")
    else:
        d.line((i, GATES - 20), (i, MIDDLE), (g - 10, MIDDLE), arrow=True)
        d.box(i, GATES, "i", acts[0])
    d.circle(g, MIDDLE, "×")


def _draw_output(d, o, out, omit, acts, right, project):
    d.dot(out, C, "c")
    if "o" in omit:
        d.line((out, C), (out, H), (right + 46, H), kind="h", arrow=True)
    else:
        d.line((o, GATES - 20), (o, MIDDLE + 26), (out - 10, MIDDLE + 26), arrow=True)
        d.box(o, GATES, "o", acts[0])
        d.line((out, C), (out, H), (right + 46, H), kind="h", arrow=True)
        d.circle(out, MIDDLE + 26, "×")
    if acts[2] != "identity":
        d.pill(out, 112, acts[2], 38)
    if project:
        d.box(out + 58, H, "P", kind="sum", size=(40, 34))
        d.text(out + 18, H - 12, "m", size=12)
    d.text(right + 44, H - 9, "h_{t}", anchor="end")


def _draw_peepholes(d, peepholes, places, lower):
    """Draw the weights of c: of the old one in f, i and d, of the new one in o."""
    f, i, o = places
    before, height = 92, 104
    if "f" in peepholes:
        d.line(
            (before, C), (before, GATES), (f - 23, GATES), kind="peephole", arrow=True
        )
    ends = [i - 14] if "i" in peepholes else []
    ends += [f + 72] if lower else []
    for x in ends:
        points = [(before, C), (before, height), (x, height), (x, GATES - 20)]
        d.line(*points, kind="peephole", arrow=True, hop=True)
    if ends or "f" in peepholes:
        d.dot(before, C, "peephole")
    if "o" in peepholes:
        d.line((o - 12, C), (o - 12, GATES - 20), kind="peephole", arrow=True)
        d.dot(o - 12, C, "peephole")


def _draw_full_gates(d, places):
    """Draw the gates of the step before, which i, f and o see."""
    f, i, o = places
    height = 238
    d.line((18, 226), (46, 226), (46, height), (o - 16, height), kind="gates", hop=True)
    d.text(18, 218, "i f o_{t−1}", size=11, anchor="start", color=MUTED)
    for x in (f, i, o):
        d.line((x - 16, height), (x - 16, GATES + 20), kind="gates", arrow=True)


def _draw_depth_gate(d, x, product):
    """Draw the gate that lets the cell state of the layer below in."""
    d.line((product, 312), (product, C + 10), kind="c", arrow=True, hop=True)
    d.text(product, 327, "c_{t} of the layer below", size=11)
    d.line((x, GATES - 20), (x, MIDDLE), (product - 10, MIDDLE), arrow=True)
    d.box(x, GATES, "d", "σ")
    d.circle(product, MIDDLE, "×")
    d.circle(product, C, "+")
    d.line((product, GATES), (x + 23, GATES), kind="peephole", arrow=True)
    d.dot(product, GATES, "peephole")


# The GRU and its kin


def draw_gru(title, kind):
    """Draw a GRU: kind "after", "before", or "mut1", "mut2", "mut3"."""
    after, mut = kind == "after", kind.startswith("mut")
    r, times = 128, 196
    z, n = 292, 424
    right = 500
    d = Drawing(right + 66, 336, title)
    if mut:  # three of them stand on one page
        d.text(96, 22, title, size=14, anchor="start", bold=True)
    d.card(62, 28, right - 62, 264)
    d.line((18, C), (right + 46, C), kind="h", arrow=True)
    d.text(22, C - 10, "h_{t−1}", anchor="start")
    d.text(right + 44, C - 10, "h_{t}", anchor="end")
    last = {"mut1": r - 8}.get(kind, z - 8)
    d.line((84, C), (84, H), (last, H), kind="h")
    d.dot(84, C, "h")
    enter_x(d, 104, n + 10)
    _draw_reset(d, r, times, n, after)
    _draw_update(d, z, n, kind, mut)
    return d


def _draw_reset(d, r, times, n, after):
    feed(d, r)
    d.line((r, GATES - 20), (r, MIDDLE), (times - 10, MIDDLE), arrow=True)
    d.box(r, GATES, "r", "σ")
    if after:
        feed(d, times, below=False)
        d.line((times, GATES - 20), (times, MIDDLE + 10), arrow=True)
        d.box(times, GATES, "v", kind="sum")
    else:
        d.line((times, C), (times, MIDDLE - 10), arrow=True)
        d.dot(times, C, "h")
    turn = times + 46
    d.line(
        (times + 10, MIDDLE),
        (turn, MIDDLE),
        (turn, MERGE),
        (n - 10, MERGE),
        (n - 10, GATES + 20),
        arrow=True,
    )
    d.circle(times, MIDDLE, "×")
    d.text(turn + 6, MIDDLE + 4, "r * v" if after else "s", size=11, anchor="start")


def _draw_update(d, z, n, kind, mut):
    """Draw z and what it does: it keeps in a GRU, it writes in MUT1-3."""
    for x, h in ((z - 8, True), (z + 8, False)):
        if h and kind == "mut1":
            continue
        height = H if h else X
        place = x if kind != "mut1" else z
        d.dot(place, height, "h" if h else "x")
        d.line((place, height), (place, GATES + 20), arrow=True, hop=True)
    if kind == "mut3":
        d.pill(230, H, "tanh", 38)
    d.line((z, GATES - 20), (z, C + 10), arrow=True)
    d.line((z, MIDDLE), (n - 10, MIDDLE), arrow=True)
    d.dot(z, MIDDLE)
    d.box(z, GATES, "z", "σ")
    d.circle(z, C, "×")
    if mut:
        d.pill(z, 101, "1 −")
    else:
        d.pill((z + n) / 2, MIDDLE, "1 −")
    d.line((n, GATES - 20), (n, C + 10), arrow=True)
    d.line((n + 10, X), (n + 10, GATES + 20), arrow=True)
    if kind == "mut1":
        d.pill(n + 10, 252, "tanh", 38)
    d.box(n, GATES, "n", "tanh", "candidate")
    d.circle(n, MIDDLE, "×")
    d.circle(n, C, "+")


# Cells with one sum


def draw_rnn(title):
    d = Drawing(420, 250, title)
    d.card(92, 28, 236, 150)
    d.line((24, 104), (187, 104), kind="h", arrow=True)
    d.line((233, 104), (396, 104), kind="h", arrow=True)
    d.line((210, 216), (210, 124), arrow=True)
    d.box(210, 104, "a", "φ", "candidate")
    d.text(28, 94, "h_{t−1}", anchor="start")
    d.text(392, 94, "h_{t}", anchor="end")
    d.text(210, 234, "x_{t}")
    d.text(150, 124, "R", size=12, color=MUTED)
    d.text(222, 158, "W", size=12, color=MUTED, anchor="start")
    return d


def draw_jordan(title):
    d = Drawing(500, 272, title)
    d.card(92, 28, 316, 168)
    d.line((24, 120), (167, 120), kind="h", arrow=True)
    d.line((213, 120), (287, 120), arrow=True)
    d.line((333, 120), (476, 120), kind="h", arrow=True)
    d.line((190, 236), (190, 140), arrow=True)
    d.box(190, 120, "s", "φ", "candidate")
    d.box(310, 120, "y", "out", "candidate")
    d.text(28, 110, "y_{t−1}", anchor="start")
    d.text(472, 110, "y_{t}", anchor="end")
    d.text(190, 254, "x_{t}")
    d.text(136, 140, "R", size=12, color=MUTED)
    d.text(202, 176, "W", size=12, color=MUTED, anchor="start")
    d.text(250, 112, "V", size=12, color=MUTED)
    d.text(250, 60, "the output is what comes back, not s", size=11, color=MUTED)
    return d


def draw_leaky(title, readout=False):
    right = 380
    d = Drawing(right + (230 if readout else 66), 300, title)
    d.card(62, 28, right - 62, 204)
    d.line((18, C), (right + 46, C), kind="h", arrow=not readout)
    d.line((92, C), (92, 200), (262, 200), (262, 184), arrow=True)
    d.dot(92, C, "h")
    d.line((278, 262), (278, 184), arrow=True)
    d.line((270, 144), (270, C + 10), arrow=True)
    d.pill(170, C, "· (1 − α)", 66)
    d.pill(270, 112, "· α", 34)
    d.box(270, 164, "u", "φ", "candidate")
    d.circle(270, C, "+")
    d.text(22, C - 10, "h_{t−1}", anchor="start")
    d.text(278, 278, "x_{t}")
    d.text(170, 216, "R", size=12, color=MUTED)
    d.text(290, 222, "W", size=12, color=MUTED, anchor="start")
    if not readout:
        d.text(right + 44, C - 10, "h_{t}", anchor="end")
        return d
    d.text(right + 20, C - 10, "h_{t}")
    d.line((right + 46, C), (right + 80, C), kind="h", arrow=True)
    d.dot(278, 246)
    d.line(
        (278, 246), (right + 40, 246), (right + 40, 100), (right + 80, 100), arrow=True
    )
    d.box(right + 104, 84, "V", kind="gate", size=(48, 56))
    d.line((right + 128, 84), (right + 190, 84), arrow=True)
    d.text(right + 186, 76, "y_{t}", anchor="end")
    d.text(right + 104, 130, "fitted by ridge", size=11, color=MUTED)
    d.text(right + 104, 145, "regression", size=11, color=MUTED)
    d.text(74, 46, "W, R, b: random, fixed", size=11, color=MUTED, anchor="start")
    return d


# All pictures


def draw_greff(title):
    """Draw the eight variants and what they vary, in two columns."""
    whole = "ifo"
    variants = [
        ("V: vanilla", {"peepholes": whole}),
        ("CIFG: f = 1 − i", {"peepholes": "io", "coupled": "input"}),
        ("NIG: no input gate", {"peepholes": "fo", "omit": "i"}),
        ("NFG: no forget gate", {"peepholes": "io", "omit": "f"}),
        ("NOG: no output gate", {"peepholes": "if", "omit": "o"}),
        ("NP: no peepholes", {}),
        ("NIAF: g without tanh", {"peepholes": whole, "acts": ("σ", "id", "tanh")}),
        (
            "NOAF: c shown as it is",
            {"peepholes": whole, "acts": ("σ", "tanh", "identity")},
        ),
        ("FGR: full gate recurrence", {"peepholes": whole, "full_gates": True}),
    ]
    scale, width, height = 0.62, 372, 236
    d = Drawing(3 * width + 8, 3 * height + 6, title)
    for k, (name, options) in enumerate(variants):
        x, y = k % 3 * width + 6, k // 3 * height
        d.text(x + 30, y + 18, name, size=13, bold=True, anchor="start")
        d.place(draw_lstm(name, **options), x, y + 14, scale)
    return d


def pictures():
    """Return every picture by its file's stem."""
    return {
        "rnn": draw_rnn("Simple recurrent network"),
        "lstm": draw_lstm("LSTM"),
        "no_forget_gate": draw_lstm("LSTM without a forget gate", omit="f"),
        "lstm_1997": networks.draw_memory_block("A memory block of two cells"),
        "peephole": draw_lstm("LSTM with peepholes", peepholes="ifo"),
        "cifg": draw_lstm("LSTM with coupled gates, f = 1 - i", coupled="input"),
        "cifg_forget": draw_lstm(
            "LSTM with coupled gates, i = 1 - f", coupled="forget"
        ),
        "projected": draw_lstm("LSTM with a projection", project=True),
        "full_gates": draw_lstm("LSTM with full gate recurrence", full_gates=True),
        "greff": draw_greff("The variants of Greff et al."),
        "gru": draw_gru("GRU, reset after the product", "after"),
        "gru_before": draw_gru("GRU, reset before the product", "before"),
        "mut1": draw_gru("MUT1", "mut1"),
        "mut2": draw_gru("MUT2", "mut2"),
        "mut3": draw_gru("MUT3", "mut3"),
        "jordan": draw_jordan("Jordan network"),
        "leaky": draw_leaky("Leaky integrator units"),
        "echo_state": draw_leaky("Echo state network", readout=True),
        "depth_gated": draw_lstm(
            "Depth-gated LSTM, an upper layer", peepholes="ifo", lower=True
        ),
        "clockwork": networks.draw_clockwork("Clockwork network"),
        "grid": networks.draw_grid("Grid LSTM"),
        "bidirectional": networks.draw_bidirectional("Bidirectional layer"),
        "forgetting": networks.draw_forgetting("What a forget gate leaves"),
        "stacked": networks.draw_stacked("Two bidirectional layers"),
    }


if __name__ == "__main__":
    for stem, drawing in pictures().items():
        (FOLDER / f"{stem}.svg").write_text(drawing.svg(), encoding="utf-8")
