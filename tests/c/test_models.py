"""Models that Python saved, run by a C program: the same bits, whatever the class.

The program (models.c) and everything below it but the kernels run under gcc's address
and undefined behaviour sanitizers.
"""

import os
import shutil
import subprocess

import numpy as np
import pytest
from bits import assert_same_bits
from c_library import sanitized_program
from layer_kinds import CELL_KINDS, make_cell
from variants import NETWORKS, VARIANTS, make_layer

import exactrnn as xr
from exactrnn.io import write_file

pytest.importorskip("safetensors", reason="needs safetensors: extra lm")

T, B, I, H = 5, 3, 4, 6


@pytest.fixture(scope="module")
def program():
    return sanitized_program("models")


def run_program(program, words, arrays, **environment):
    """Return what the program writes; raise with its message if it fails."""
    done = subprocess.run(
        [str(program), *map(str, words)],
        input=b"".join(array.tobytes() for array in arrays),
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def check_model(program, folder, layer, *, lengths=None, starts=False, threads=1):
    """Save a layer, run it in C and compare output, states and stream."""
    path = folder / "model.safetensors"
    xr.save(layer, path)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((T, B, layer.input_size)).astype(layer.dtype)
    counts = isinstance(layer, xr.ClockworkRNN)
    _, state = layer(x)
    parts = as_tuple(state)[: len(as_tuple(state)) - counts]
    first = [rng.standard_normal(part.shape).astype(layer.dtype) for part in parts]
    given = tuple(first) if len(first) > 1 else first[0]
    if counts:
        given = (given, np.full(B, layer.phase, np.int64))
    y, state = layer(x, given if starts else None, lengths=lengths)
    expected = [y, *as_tuple(state)[: len(parts)]]
    arrays = [] if lengths is None else [lengths]
    arrays += [x, *(first if starts else [])]
    words = ["run", path, T, B, threads, int(lengths is not None), int(starts)]
    found = run_program(program, words, arrays)
    streams = not (layer.bidirectional or layer.reverse)
    if streams and lengths is None:
        expected += expected
    compare(found, expected, layer.dtype)


def compare(found, expected, dtype):
    numbers = np.frombuffer(found, dtype)
    assert numbers.size == sum(array.size for array in expected)
    ends = np.cumsum([array.size for array in expected])
    for k, (theirs, ours) in enumerate(
        zip(np.split(numbers, ends[:-1]), expected, strict=True)
    ):
        assert_same_bits(f"array {k}", theirs.reshape(ours.shape), ours)


@pytest.mark.parametrize("name", [*NETWORKS, *VARIANTS])
def test_a_saved_model_gives_the_same_bits_in_c(program, tmp_path, name):
    layer = make_layer(name, I, H, num_layers=2, seed=1)
    check_model(program, tmp_path, layer, starts=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_directions_and_ragged_rows(program, tmp_path, name):
    options = {"bidirectional": True, "dtype": "float64"}
    layer = make_layer(name, I, H, num_layers=3, seed=2, **options)
    check_model(program, tmp_path, layer, lengths=np.array([5, 0, 3]), threads=2)


@pytest.mark.parametrize(
    "options",
    [
        {"reverse": True},
        {"bias": False},
        {"batch_first": True},
        {"bidirectional": True, "nonlinearity": ("relu", ("elu", 0.5))},
        {"dropout": 0.5, "num_layers": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_every_stack(program, tmp_path, options):
    layer = xr.RNN(I, H, seed=3, **options)
    if layer.batch_first:  # which a C program chooses by its strides
        layer = xr.RNN.restore(
            {**layer.arguments(), "batch_first": False}, layer.state_dict()
        )
    check_model(program, tmp_path, layer)


@pytest.mark.parametrize("name", ["rnn", "lstm-fgr", "lstm-proj", "gru_before"])
def test_zoneout_is_the_mean(program, tmp_path, name):
    zoneout = (0.25, 0.5) if name.startswith("lstm") else 0.25
    options = {"zoneout": zoneout, "recurrent_dropout": 0.5}
    layer = make_layer(name, I, H, num_layers=2, seed=1, **options)
    check_model(program, tmp_path, layer, starts=True)
    check_model(program, tmp_path, layer, lengths=np.array([5, 0, 3]), threads=2)


@pytest.mark.parametrize(
    "options",
    [{"zoneout": 1}, {"zoneout": [0.5]}, {"zoneout": "a"}, {"recurrent_dropout": -1}],
    ids=str,
)
def test_shares_that_no_model_can_have_are_refused(program, tmp_path, options):
    layer, path = xr.RNN(I, H, seed=1), tmp_path / "wrong.safetensors"
    description = {"class": "RNN", "arguments": {**layer.arguments(), **options}}
    write_file(
        path, layer.state_dict(), {**description, "numerics": xr.NUMERICS_VERSION}
    )
    x = np.zeros((T, B, I), layer.dtype)
    with pytest.raises(AssertionError, match=f"{next(iter(options))}: expected"):
        run_program(program, ["run", path, T, B, 1, 0, 0], [x])


@pytest.mark.parametrize("periods", [(1, 2, 4), (3, 1, 2)], ids=str)
def test_connections_that_do_not_exist_are_not_read(program, tmp_path, periods):
    layer = xr.ClockworkRNN(I, H, periods=periods, seed=6)
    weights = {name: np.ones_like(w) for name, w in layer.state_dict().items()}
    description = {"class": "ClockworkRNN", "arguments": layer.arguments()}
    path = tmp_path / "dense.safetensors"
    write_file(path, weights, {**description, "numerics": xr.NUMERICS_VERSION})
    x = np.random.default_rng(7).standard_normal((T, B, I)).astype(layer.dtype)
    y, (h, _) = xr.load(path)(x)
    found = run_program(program, ["run", path, T, B, 1, 0, 0], [x])
    compare(found, [y, h, y, h], layer.dtype)


@pytest.mark.parametrize("name", CELL_KINDS)
def test_single_cells_stream(program, tmp_path, name):
    cell, path = make_cell(name, I, H, seed=4), tmp_path / "cell.safetensors"
    xr.save(cell, path)
    x = np.random.default_rng(5).standard_normal((T, B, I)).astype(cell.dtype)
    y, state = [], None
    for t in range(T):
        state = cell(x[t], state)
        y.append(as_tuple(state)[0])
    expected = [np.stack(y), *as_tuple(state)] * 2
    compare(
        run_program(program, ["run", path, T, B, 1, 0, 0], [x]), expected, cell.dtype
    )


@pytest.mark.parametrize(
    ("locale", "point"), [("de_DE", b","), ("ps_AF", "\u066b".encode())]
)
def test_numbers_of_a_file_are_read_in_every_locale(program, tmp_path, locale, point):
    if shutil.which("localedef") is None or shutil.which("locale") is None:
        pytest.skip("needs localedef and locale, of glibc")
    make = ["localedef", "-i", locale, "-f", "UTF-8", tmp_path / f"{locale}.UTF-8"]
    subprocess.run(make, check=False, capture_output=True)
    environment = {"LOCPATH": str(tmp_path), "LC_ALL": f"{locale}.UTF-8"}
    asked = ("locale", "-k", "decimal_point")
    said = subprocess.run(
        asked, env={**os.environ, **environment}, capture_output=True, check=False
    )
    if said.stdout != b'decimal_point="' + point + b'"\n':
        pytest.skip(f"there is no locale {locale} here")
    layer, path = xr.LeakyRNN(I, H, leak=0.3, clip=2.5, seed=1), tmp_path / "model"
    xr.save(layer, path)
    x = np.random.default_rng(2).standard_normal((T, B, I)).astype(layer.dtype)
    y, h = layer(x)
    words = ["run", path, T, B, 1, 0, 0]
    compare(run_program(program, words, [x], **environment), [y, h, y, h], layer.dtype)
