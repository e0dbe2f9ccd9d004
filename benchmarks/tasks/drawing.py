"""The plots of the tasks: curves of every seed, one colour a contestant."""

COLORS = ("#1b6ca8", "#c2410c", "#3f7d3a", "#7b4ea3", "#b8860b", "#4b5563")
COLORS += ("#c2185b", "#00838f", "#8d6e63")
INK, TRACK = "#1f2933", "#e5e9ee"


def label_axes(axes, x, y):
    """Name both axes and leave only what is read."""
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color=TRACK, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_curves(axes, outcomes):
    """Draw every seed's curve; the legend names each contestant once."""
    for k, (name, runs) in enumerate(outcomes.items()):
        for n, outcome in enumerate(runs):
            axes.plot(
                *zip(*outcome.curve, strict=True),
                color=COLORS[k % len(COLORS)],
                linewidth=1.2,
                alpha=0.8,
                label=name if n == 0 else None,
            )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(fontsize=7, frameon=False)


def mark_level(axes, level, words):
    """Draw a dashed line across at a level such as chance."""
    axes.axhline(level, color=INK, linewidth=0.8, linestyle="--")
    axes.annotate(
        words,
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=7,
    )


def learning_curves(*, score, chance, words, log=True):
    """Return a function that draws a task's learning curves on a figure."""

    def draw(figure, outcomes):
        axes = figure.subplots()
        if log:
            axes.set_yscale("log")
        draw_curves(axes, outcomes)
        mark_level(axes, chance, words)
        label_axes(axes, "training sequences", score)

    return draw
