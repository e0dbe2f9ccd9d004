"""Gradients of the reference against central differences, which need nobody.

Every cell and every option: x, the initial states and every weight are moved along a
random direction, forth and back, and the loss must change as the gradient says.

How near it must come, relative to the sum of the terms' sizes: the loss is computed to
about 1e-15, so the quotient over steps of 1e-5 is off by some 1e-10, and by as much for
the third derivative; up to 3e-10 was measured. Where an activation has a kink, the
quotient over half the step must agree with it, or the sample says nothing.
"""

import numpy as np
import pytest
from directions import KINDS, UNSORTED, I, T, kind_problem, make_direction, make_problem
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from variants import ACTIVATIONS

from exactrnn._spec.activations import name_of
from exactrnn.reference import direction_backward
from exactrnn.reference.cells import CELLS

STEP = 1e-5
TOLERANCE = 1e-8
LEAST = 1e-2
EXAMPLES = 40

KINKED = {"relu", "hard_sigmoid", "leaky_relu", "elu", "thresholded_relu"}


def directions_of(problem, seed=3):
    """Return a random direction for each array that forward reads, by name."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.choice((-1, 1), a.shape) * rng.uniform(0.5, 1, a.shape)
        for name, a in problem.inputs().items()
    }


def measure(problem, step=STEP):
    """Return the central difference of the loss along each direction, by name."""
    quotients, directions = {}, directions_of(problem)
    for name, array in problem.inputs().items():
        before, losses = array.copy(), []
        for way in (step, -step):
            array[...] = before + way * directions[name]
            losses.append(problem.loss())
        array[...] = before
        quotients[name] = (losses[0] - losses[1]) / (2 * step)
    return quotients


def wrong_gradients(problem, gradients, quotients):
    """Return the names of gradients that are not the central differences."""
    wrong = []
    for name, along in directions_of(problem).items():
        terms = gradients[name] * along
        assert gradients[name].shape == along.shape, name
        error = abs(quotients[name] - np.sum(terms))
        if not error <= TOLERANCE * (np.sum(np.abs(terms)) + LEAST):
            wrong.append(name)
    return wrong


# Every cell


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_central_differences(kind, reverse):
    problem = kind_problem(kind, lengths=(T, 0, 2), reverse=reverse)
    assert wrong_gradients(problem, problem.gradients(), measure(problem)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_is_zero_but_where_nothing_is_connected(kind):
    for name, gradient in kind_problem(kind).gradients().items():
        nonzero = np.count_nonzero(gradient)
        if kind == "rnn modules" and name == "w_hh":
            assert nonzero == connected(UNSORTED)
        else:
            assert nonzero == gradient.size or "clipped" in kind, name


def connected(modules):
    """Return the number of recurrent weights that a clockwork layer has."""
    return sum(m * n for m, fast in modules for n, slow in modules if slow >= fast)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_weights_add_to_those_given(kind):
    problem = kind_problem(kind)
    _, _, cache = problem.forward()
    once = problem.backward().weights
    twice = direction_backward(
        cache, problem.dy, problem.dstate, once, dcells=problem.dcells
    ).weights
    for single, double in zip(once, twice, strict=True):
        if single is not None:
            np.testing.assert_allclose(double, 2 * single, rtol=1e-12, atol=1e-12)


# The LSTM's options, each alone and any together

VARIANTS = {
    "peepholes i": {"peepholes": "i"},
    "peepholes f": {"peepholes": "f"},
    "peepholes o": {"peepholes": "o"},
    "no input gate": {"peepholes": "of", "omit": "i"},
    "no forget gate": {"peepholes": "io", "omit": "f"},
    "no output gate": {"peepholes": "if", "omit": "o"},
    "no gate": {"omit": "ifo", "output_size": 2},
    "coupled by input": {"peepholes": "io", "coupled": "input"},
    "coupled by forget": {"peepholes": "of", "coupled": "forget"},
    "coupled and linked": {"coupled": "input", "full_gate_recurrence": True},
    "linked and projected": {"full_gate_recurrence": True, "output_size": 2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_each_option_are_central_differences(variant):
    direction = make_direction("lstm", options=VARIANTS[variant])
    problem = make_problem(direction, lengths=(T, 0, 2))
    assert wrong_gradients(problem, problem.gradients(), measure(problem)) == []


@pytest.mark.parametrize("place", range(3), ids=["gates", "input", "output"])
@pytest.mark.parametrize("kind", ACTIVATIONS, ids=str)
def test_gradients_of_each_activation_are_central_differences(kind, place):
    activations = list(CELLS["lstm"].default_activations)
    activations[place] = kind
    direction = make_direction("lstm", activations=tuple(activations))
    problem = make_problem(direction, lengths=(3, 2))
    assert wrong_gradients(problem, problem.gradients(), measure(problem)) == []


@st.composite
def lstm_options(draw):
    """Return options that a layer may have together."""
    options = {"peepholes": "".join(sorted(draw(st.sets(st.sampled_from("ifo")))))}
    options["coupled"] = draw(st.sampled_from((None, "input", "forget")))
    gates = "o" if options["coupled"] else "ifo"
    options["omit"] = "".join(sorted(draw(st.sets(st.sampled_from(gates)))))
    options["full_gate_recurrence"] = draw(st.booleans())
    options["output_size"] = draw(st.sampled_from((None, 1, 2, 3)))
    return options


@st.composite
def lstms(draw):
    """Return an LSTM with any options, activations and clipping."""
    kinds = st.sampled_from(ACTIVATIONS)
    return make_direction(
        "lstm",
        options=draw(lstm_options()),
        activations=draw(st.tuples(kinds, kinds, kinds)),
        clip=draw(st.sampled_from((None, 0.7))),
        seed=draw(st.integers(0, 99)),
    )


lengths = st.tuples(st.integers(2, 3), st.integers(0, 3))


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(direction=lstms(), lengths=lengths, reverse=st.booleans())
def test_gradients_of_any_lstm_are_central_differences(direction, lengths, reverse):
    problem = make_problem(direction, steps=3, lengths=lengths, reverse=reverse)
    gradients, quotients = problem.gradients(), measure(problem)
    if direction.clip is not None or KINKED & set(map(name_of, direction.activations)):
        finer = measure(problem, STEP / 2)
        assume(quotients == pytest.approx(finer, rel=1e-6, abs=1e-8))
    assert wrong_gradients(problem, gradients, quotients) == []


# Clockwork modules in any order, of equal periods, over any clocks


@st.composite
def clockworks(draw):
    """Return a clockwork layer with modules in any order."""
    module = st.tuples(st.integers(1, 2), st.integers(1, 4))
    modules = draw(st.lists(module, min_size=1, max_size=4))
    return make_direction(
        "rnn",
        sizes=(I, sum(size for size, _ in modules)),
        options={"modules": tuple(modules)},
        seed=draw(st.integers(0, 99)),
    )


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(direction=clockworks(), lengths=lengths, reverse=st.booleans())
def test_gradients_of_any_clockwork_are_central_differences(
    direction, lengths, reverse
):
    problem = make_problem(direction, steps=5, lengths=lengths, reverse=reverse)
    assert wrong_gradients(problem, problem.gradients(), measure(problem)) == []


# The comparison itself


@pytest.mark.parametrize("kind", ["lstm linked", "rnn modules", "depth_gated"])
def test_a_gradient_that_is_slightly_wrong_is_named(kind):
    problem = kind_problem(kind)
    right, quotients = problem.gradients(), measure(problem)
    assert wrong_gradients(problem, right, quotients) == []
    for name, gradient in right.items():
        faulty = gradient.copy()
        faulty.flat[np.abs(gradient).argmax()] *= 1 + 1e-5
        found = wrong_gradients(problem, right | {name: faulty}, quotients)
        assert found == [name]
