"""The nine LSTMs of the Odyssey on one small task.

K. Greff, R. Srivastava, J. Koutnik, B. Steunebrink, J. Schmidhuber, "LSTM: A Search
Space Odyssey", arXiv 1503.04069: the vanilla LSTM (V) and eight variants, each with one
thing changed. NIG, NFG, NOG lack the input, forget, output gate; NIAF, NOAF the
activation of input and output; NP the peepholes; CIFG couples input and forget gate;
FGR has full gate recurrence. The task is the adding problem with T = 50 (adding.py),
which needs no forgetting: NFG is bad in the paper, and not here; see reber.py for it.

    python benchmarks/tasks/greff.py
"""

import adding
import harness
from drawing import COLORS, label_axes, mark_level
from learning import Plan, make_sources

import exactrnn as xr

T = 50
H = 12
VARIANTS = ("V", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR")
FORGET_BIAS = 3.0  # of all that have a forget gate: the task is to remember
PLAN = Plan(steps=3000, batch=32, lr=1e-2)


def contestant(name):
    def run(job):
        sources = make_sources(job.seed)
        bias = None if name == "NFG" else FORGET_BIAS
        layer = xr.greff_variant(name, 2, H, seed=sources.layer, forget_bias=bias)
        return adding.learn(layer, sources, PLAN.shortened(job.quick), T, job.tick)

    return run


def draw(figure, outcomes):
    axes = figure.subplots()
    axes.set_yscale("log")
    for k, runs in enumerate(outcomes.values()):
        scores = [outcome.score for outcome in runs]
        axes.plot([k] * len(scores), scores, "o", color=COLORS[k], markersize=5)
    axes.set_xticks(range(len(outcomes)), list(outcomes))
    mark_level(axes, adding.CHANCE, "chance, 1/6")
    label_axes(axes, "variant", "test MSE of every seed")


TASK = harness.Task(
    name="greff",
    title=f"Variants of the LSTM on the adding problem, T = {T}",
    source="K. Greff, R. Srivastava, J. Koutnik, B. Steunebrink, J. Schmidhuber 2015",
    claim="no variant is much better than the vanilla LSTM; CIFG and NP cost nothing; "
    "without forget gate or output activation it is worse",
    score="mean squared error on 1000 test sequences",
    chance="1/6 = 0.1667 (always answering 1)",
    contestants={name: contestant(name) for name in VARIANTS},
    expected=[
        harness.Limit("V", at_most=adding.CHANCE / 10),
        harness.Limit("NP", at_most=adding.CHANCE / 10),
        harness.Ordering("CIFG", "V", of="mean"),
        harness.Ordering("V", "NIG", factor=5, of="mean"),
    ],
    draw=draw,
)


if __name__ == "__main__":
    raise SystemExit(harness.main(TASK))
