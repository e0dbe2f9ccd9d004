"""Zoneout and recurrent dropout as options: what is refused, files, other libraries."""

import numpy as np
import pytest
from bits import assert_same_bits

import exactrnn as xr

OPTIONS = {"zoneout": (0.25, 0.5), "recurrent_dropout": 0.125}
NONE_SAY_SO = {
    "clockwork": lambda **o: xr.ClockworkRNN(3, 4, periods=(1, 2), **o),
    "1997": lambda **o: xr.LSTM1997(3, 4, **o),
    "echo state": lambda **o: xr.EchoState(3, 4, **o),
    "grid": lambda **o: xr.GridLSTM(3, 4, sizes=(None, 2), **o),
    "time and depth": lambda **o: xr.TimeDepthGridLSTM(3, 4, **o),
}


@pytest.mark.parametrize("option", ["zoneout", "recurrent_dropout"])
@pytest.mark.parametrize("make", NONE_SAY_SO.values(), ids=NONE_SAY_SO)
def test_layers_without_say_why(make, option):
    with pytest.raises(ValueError, match=rf"^{option}: expected none, because .* 0.5$"):
        make(**{option: 0.5})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zoneout": 1.0}, r"^zoneout: expected a number in \[0, 1\), got 1.0"),
        ({"zoneout": -0.1}, r"^zoneout: expected a number in \[0, 1\), got -0.1"),
        ({"zoneout": (0.1, 1)}, r"^zoneout\[1\]: expected a number in \[0, 1\), got 1"),
        ({"zoneout": (0.1,)}, r"^zoneout: expected a number p .* or two, .* got \(0.1"),
        (
            {"recurrent_dropout": 1},
            r"^recurrent_dropout: expected a number in \[0",
        ),
    ],
)
def test_shares_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        xr.LSTM(3, 4, **options)


@pytest.mark.parametrize("value", ["half", True, None])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match=r"^zoneout: expected a number"):
        xr.LSTM(3, 4, zoneout=value)


def test_two_shares_need_two_states():
    with pytest.raises(ValueError, match="zoneout: expected one number, as there"):
        xr.GRU(3, 4, zoneout=(0.5, 0.25))
    assert xr.GRU(3, 4, zoneout=(0, 0)).zoneout == 0.0


def test_files_bring_options_and_random_numbers_back(tmp_path):
    pytest.importorskip("safetensors", reason="needs safetensors: extra lm")
    layer = xr.LSTM(3, 4, seed=1, **OPTIONS)
    x = np.ones((5, 2, 3), np.float32)
    layer.forward(x)
    xr.save(layer, tmp_path / "layer.safetensors")
    twin = xr.load(tmp_path / "layer.safetensors")
    assert repr(twin) == repr(layer)
    assert_same_bits("y", twin.forward(x)[0], layer.forward(x)[0])
    other = xr.LSTM(3, 4, seed=2, zoneout=OPTIONS["zoneout"])
    xr.load(tmp_path / "layer.safetensors", into=other)
    with pytest.raises(ValueError, match="expected a file of zoneout="):
        xr.load(tmp_path / "layer.safetensors", into=xr.LSTM(3, 4))


def test_recurrent_dropout_does_nothing_in_inference():
    x = np.ones((5, 2, 3), np.float32)
    plain, dropped = (xr.LSTM(3, 4, seed=1, recurrent_dropout=p) for p in (0.0, 0.5))
    assert_same_bits("y", dropped(x)[0], plain(x)[0])


def test_torch_refuses_both():
    pytest.importorskip("torch", reason="needs torch: extra torch")
    for name, value in OPTIONS.items():
        for stock in (True, False):
            with pytest.raises(ValueError, match=rf"^model: expected {name} 0, "):
                xr.to_torch(xr.LSTM(3, 4, **{name: value}), stock=stock)


def test_onnx_refuses_zoneout_alone():
    pytest.importorskip("onnx", reason="needs onnx: extra onnx")
    with pytest.raises(ValueError, match=r"^model: expected zoneout 0"):
        xr.onnx.to_onnx(xr.LSTM(3, 4, zoneout=0.5))
    xr.onnx.to_onnx(xr.LSTM(3, 4, recurrent_dropout=0.5))


def test_keras_refuses_zoneout():
    with pytest.raises(ValueError, match=r"^layer: expected zoneout 0"):
        xr.keras.to_keras(xr.LSTM(3, 4, zoneout=0.5))


def test_jax_refuses_zoneout():
    pytest.importorskip("jax", reason="needs jax: extra jax")
    import exactrnn.jax as xrj

    x = np.ones((5, 2, 3), np.float32)
    with pytest.raises(NotImplementedError, match=r"^zoneout: expected 0"):
        xrj.run(xr.LSTM(3, 4, zoneout=0.5), x)
    dropped = xr.LSTM(3, 4, seed=1, recurrent_dropout=0.5)
    assert_same_bits("y", np.asarray(xrj.run(dropped, x)[0]), dropped(x)[0])


def test_composites_run_the_mean_when_called():
    chain = xr.train.Sequential(xr.LSTM(3, 4, **OPTIONS), seed=1)
    x = np.ones((5, 2, 3), np.float32)
    once, again = chain(x)[0], chain(x)[0]
    assert_same_bits("y", once, again)
    assert (chain.forward(x)[0] != once).any()
