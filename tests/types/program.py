"""What a user's program looks like to a type checker; checked by `nox -s types`.

Each wrong use has a comment that names the error: one that goes unseen makes the
comment superfluous, which `mypy --strict` reports.
"""

from typing import Any, TypeAlias, assert_type

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

import exactrnn as xr
from exactrnn import train
from exactrnn.layers import Stream

Array: TypeAlias = NDArray[np.floating[Any]]
States: TypeAlias = tuple[Array, ...]

x = np.zeros((5, 2, 3), np.float32)

lstm = xr.LSTM(3, 4, num_layers=2, init=("chrono", 10), dtype="float64", seed=0)
assert_type(lstm(x), tuple[Array, States])
assert_type(lstm.hidden_size, int)
assert_type(lstm.weight_hh_l0, Array)
assert_type(lstm.weight_hh_l3_reverse, Array)
assert_type(lstm.state_dict(), dict[str, Array])
y, (h, c) = lstm(x)
lstm.bias_ih_l0 = h[0]
lstm.bias_ih_l0[:4] = 0
lstm.bias_ih_l0 *= 2
y, state, cache = lstm.forward(x, gates=True)
assert_type(cache, xr.Cache)
assert_type(cache.gates, dict[str, Array])
grads = lstm.backward(cache, y)
assert_type(grads.x, Array)
assert_type(grads.weights, dict[str, Array])
y_t, after, cache_t = lstm.step(x[0], state)
assert_type(y_t, Array)
assert_type(after, States)
step_grads = lstm.step_back(cache_t, y_t, after)
assert_type(lstm.step_back(cache_t, y_t, None, step_grads.weights).state, States)
assert_type(lstm.stream(2), Stream[States])
assert_type(lstm.stream(2).step(x[0]), Array)

gru = xr.GRU(3, 4, activations=("hard_sigmoid", ("leaky_relu", 0.1)), dtype=np.float64)
assert_type(gru(x), tuple[Array, Array])
assert_type(xr.LSTMCell(3, 4)(x[0]), States)
assert_type(xr.isas(), tuple[str, ...])
with xr.threads(2), xr.use_isa("avx2"):
    pass

figure = xr.plot.gates(cache)
assert_type(figure, Figure)
figure.savefig("gates.png")
part = Figure().add_subfigure(Figure().add_gridspec()[0])
assert_type(xr.plot.gates(cache, figure=part), SubFigure)
for border in (xr.jax.lstm, xr.keras.to_keras, xr.onnx.to_onnx, xr.torch.swap):
    border  # noqa: B018
decoder = xr.AttentionDecoder("gru", 3, 4, 5, score="general", output="concat")
looks = decoder.forward(x, np.zeros((6, 2, 5), np.float32))[-1]
for drawn in (xr.plot.attention(looks), xr.plot.cell(xr.cells.MGU())):
    assert_type(drawn, Figure)

embedding = train.Embedding(10, 3, seed=0)
assert_type(embedding(np.zeros((2, 3), np.int64)), Array)
assert_type(xr.__version__, str)
xr.save(lstm, "model.safetensors")

xr.GRU(3, 4, init="foo")  # type: ignore[arg-type]
xr.GRU(3, 4, dtype=np.int8)  # type: ignore[arg-type]
xr.GRU(3, 4, dtype="float16")  # type: ignore[arg-type]
xr.GRU(3, 4, activations=("sigmod", "tanh"))  # type: ignore[arg-type]
xr.RNN(3, 4, nonlinearity=("elu", 1.0, 2.0))  # type: ignore[arg-type]
xr.LSTM(3, 4, coupled="inputs")  # type: ignore[arg-type]
xr.LSTM(3, 4, num_layer=2)  # type: ignore[call-arg]
xr.LSTM("3", 4)  # type: ignore[arg-type]
xr.GridLSTM(3, 4, kinds="lstn")  # type: ignore[arg-type]
xr.TimeDepthGridLSTM(3, 4, priority="deep")  # type: ignore[arg-type]
xr.AttentionDecoder("gur", 3, 4, 5)  # type: ignore[arg-type]
xr.AttentionDecoder("gru", 3, 4, 5, score="additve")  # type: ignore[arg-type]
xr.AttentionDecoder("gru", 3, 4, 5, query="old")  # type: ignore[arg-type]
xr.AttentionDecoder("gru", 3, 4, 5, output="both")  # type: ignore[arg-type]
xr.AttentionDecoder("gru", 3, 4, 5, dtype=np.int8)  # type: ignore[arg-type]
xr.greff_variant("VV", 3, 4)  # type: ignore[arg-type]
xr.cells.SLSTM(forget="tanh")  # type: ignore[arg-type]
xr.from_torch("model.pt", kind="LSTMM")  # type: ignore[arg-type]
xr.from_torch("model.pt", nonlinearity="sigmoid")  # type: ignore[arg-type]
xr.from_torch("model.pt", dtype="float16")  # type: ignore[arg-type]
xr.from_onnx("model.onnx", dtype=np.int8)  # type: ignore[arg-type]
gru.load_state_dict({}, dtype="f4")  # type: ignore[arg-type]
xr.torch.RNN(3, 4, 1, "rely")  # type: ignore[arg-type]
xr.sklearn.SequenceRegressor(loss="square")  # type: ignore[arg-type]
xr.sklearn.SequenceClassifier(axis_order="TNI")  # type: ignore[arg-type]
train.LanguageModel("abc", unit="chars")  # type: ignore[arg-type]
train.ctc_loss(x, np.zeros((2, 2), int), on_infeasible="nan")  # type: ignore[arg-type]
gru.wieght_hh_l0  # type: ignore[attr-defined]  # noqa: B018
gru.wieght_hh_l0 = h  # type: ignore[attr-defined]
gru.hidden_sise  # type: ignore[attr-defined]  # noqa: B018
gru.weight_hh_l0 = [1.0]  # type: ignore[assignment]
xr.EchoState(3, 4).rigde = 0.1  # type: ignore[attr-defined]
xr.nonsense  # type: ignore[attr-defined]  # noqa: B018
xr.train.nonsense  # type: ignore[attr-defined]  # noqa: B018
gru(x)[1].nonsense  # type: ignore[attr-defined]  # noqa: B018
