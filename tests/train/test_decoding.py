"""Beam search is right: against every text there is, and steps taken by hand (N9)."""

import itertools

import numpy as np
import pytest
from arrays import same_bits
from modules import STREAMS, I, step_of

import exactrnn as xr
from exactrnn import train
from exactrnn.train.ctc_decoding import log_softmax

K, H, M, S = 4, 6, 5, 3
START, END = 0, 2
KINDS = ("gru", "lstm", "attention gru", "attention lstm")


class Writer:
    """A network that is fed its own symbols, with a state of its own for each row."""

    def __init__(self, kind, rows, dtype="float64", seed=2):
        attends, _, cell = kind.rpartition(" ")
        draw = np.random.default_rng(seed)
        own = {"dtype": dtype, "seed": seed}
        self.embedding = train.Embedding(K, 3, **own)
        self.readout = train.Linear(H, K, **own)
        self.readout.weight = 16 * self.readout.weight
        shape = (1, rows, H)
        self.state = draw.standard_normal(shape).astype(dtype)
        if attends:
            self.layer = xr.AttentionDecoder(cell, 3, H, M, **own)
        else:
            self.layer = {"gru": xr.GRU, "lstm": xr.LSTM}[cell](3, H, **own)
        if cell == "lstm":
            self.state = (self.state, draw.standard_normal(shape).astype(dtype))
        self.more = {}
        if attends:
            memory = draw.standard_normal((S, rows, M)).astype(dtype)
            self.more = {"memory": memory, "memory_lengths": 1 + np.arange(rows) % S}

    def repeated(self, width):
        """Return the arguments of a call and the state, each row so often."""
        repeat = {"memory": 1, "memory_lengths": 0}
        more = {n: v.repeat(width, axis=repeat[n]) for n, v in self.more.items()}
        return more, self.of_state(lambda part: part.repeat(width, axis=1))

    def of_state(self, change):
        if isinstance(self.state, tuple):
            return tuple(change(part) for part in self.state)
        return change(self.state)

    def stream(self, width=1):
        more, state = self.repeated(width)
        rows = np.shape(state)[-2]
        stream = self.layer.stream(**more) if more else self.layer.stream(rows)
        stream.state = state
        return stream

    def search(self, width, readout=None, **options):
        own = {"start": START, "end": END, "max_length": 3} | options
        return train.beam_search(
            self.stream(width),
            self.embedding,
            readout or self.readout,
            beam_width=width,
            **own,
        )

    def score(self, row, symbols):
        """Return the log-probability of these symbols: the whole sequence in a call."""
        fed = np.array([START, *symbols[:-1]])[:, None]
        more = (
            {
                "memory": self.more["memory"][:, row : row + 1],
                "memory_lengths": self.more["memory_lengths"][row : row + 1],
            }
            if self.more
            else {}
        )
        state = self.of_state(lambda part: part[:, row : row + 1])
        h, _ = self.layer(self.embedding(fed), state=state, **more)
        outputs = log_softmax(self.readout(h)[:, 0])
        total = outputs.dtype.type(0)
        for t, symbol in enumerate(symbols):
            total = total + outputs[t, symbol]
        return total


def flat(lists):
    return [*itertools.chain.from_iterable(lists)]


def all_texts(steps):
    """Return every text of so many symbols, or of fewer with the end behind them."""
    others = [k for k in range(K) if k != END]
    return [
        (*text, *last)
        for n in range(steps + 1)
        for text in itertools.product(others, repeat=n)
        for last in ([(END,)] if n < steps else [()])
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_wide_beam_finds_every_text_in_order(kind, dtype):
    writer = Writer(kind, 2, dtype)
    found = writer.search(27 + 9 + 3 + 1, nbest=99)
    for row, results in enumerate(found):
        scores = {text: writer.score(row, text) for text in all_texts(3)}
        expected = sorted(scores, key=lambda text: -scores[text])
        ended = [text for text in expected if text[-1] == END]
        assert len(results) == len(expected)
        assert [r.score for r in results] == [float(scores[t]) for t in expected]
        for result in results:
            text = (*result.labels, *[END][: result.ended])
            assert result.score == float(scores[text])
        assert sum(r.ended for r in results) == len(ended)


@pytest.mark.parametrize("kind", KINDS)
def test_one_beginning_takes_the_likeliest_symbol_of_each_step(kind):
    writer = Writer(kind, 5)
    found = writer.search(1, max_length=9)
    lengths = set()
    for row, [result] in enumerate(found):
        text = []
        while END not in text and len(text) < 9:
            nexts = [writer.score(row, (*text, k)) for k in range(K)]
            text.append(int(np.argmax(nexts)))
        assert result.ended == (END in text)
        assert result.labels.tolist() == [k for k in text if k != END]
        assert result.score == float(writer.score(row, text))
        lengths.add(len(text))
    assert len(lengths) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_what_they_are_alone(kind):
    writer = Writer(kind, 3)
    together = writer.search(4, nbest=4, max_length=6)
    for row, results in enumerate(together):
        alone = Writer(kind, 3)
        alone.state = alone.of_state(lambda part, b=row: part[:, b : b + 1])
        cuts = {
            "memory": np.s_[:, row : row + 1],
            "memory_lengths": np.s_[row : row + 1],
        }
        alone.more = {name: value[cuts[name]] for name, value in alone.more.items()}
        [expected] = alone.search(4, nbest=4, max_length=6)
        assert [r.score for r in results] == [r.score for r in expected]
        for one, other in zip(results, expected, strict=True):
            assert same_bits(one.labels, other.labels)


@pytest.mark.parametrize("name", STREAMS)
def test_streams_of_every_kind_go_on_from_the_right_row(name):
    W, B = 3, 2
    feed, stream = (STREAMS[name](rows=W * B) for _ in range(2))
    dtype = step_of(feed).dtype
    embedding = train.Embedding(K, I, dtype=dtype, seed=1)
    width = feed.step(step_of(feed)).shape[1]
    feed.reset()
    readout = train.Linear(width, K, dtype=dtype, seed=1)
    readout.weight = 4 * readout.weight
    how = {"start": START, "end": END, "max_length": 5, "beam_width": W, "nbest": W}
    found = train.beam_search(feed, embedding, readout, **how)
    assert len({tuple(r.labels) for r in found[0]}) == W
    for k, result in enumerate(found[0]):  # each alone, in a row of its own
        symbols = [*result.labels, *[END][: result.ended]]
        stream.reset()
        total = readout.weight.dtype.type(0)
        for before, symbol in zip([START, *symbols], symbols, strict=False):
            y = stream.step(embedding(np.full(W * B, before)))
            total = total + log_softmax(readout(y))[k, symbol]
        assert result.score == float(total)


def test_instruction_sets_and_threads_write_the_same(isa, threads):
    writer = Writer("attention gru", 3, "float32")
    found = writer.search(3, nbest=3)
    with xr.use_isa("scalar"), xr.threads(1):
        expected = writer.search(3, nbest=3)
    for one, other in zip(flat(found), flat(expected), strict=True):
        assert same_bits(one.labels, other.labels)
        assert (one.score, one.ended) == (other.score, other.ended)


def test_wider_beam_finds_no_worse_text():
    writer = Writer("gru", 8, seed=3)
    scores = [[r[0].score for r in writer.search(w, max_length=7)] for w in (1, 300)]
    assert (np.array(scores[1]) >= scores[0]).all()
    assert (np.array(scores[1]) > scores[0]).any()


def test_symbol_that_the_readout_forbids_is_not_written():
    writer = Writer("gru", 2)
    forbidden = np.array([0, -np.inf, 0, -np.inf])
    found = writer.search(9, lambda h: writer.readout(h) + forbidden, nbest=9)
    assert [len(results) for results in found] == [4, 4]  # 2, 0 2, 0 0 2, 0 0 0
    assert {k for r in flat(found) for k in r.labels.tolist()} == {START}


def test_search_takes_no_step_when_all_have_ended():
    writer = Writer("gru", 2)
    fed = []

    def embed(symbols):
        fed.append(symbols.tolist())
        return writer.embedding(symbols)

    only_end = np.where(np.arange(K) == END, 0.0, -np.inf)
    found = train.beam_search(
        writer.stream(),
        embed,
        lambda h: np.zeros((len(h), K)) + only_end,
        start=START,
        end=END,
        max_length=50,
    )
    assert fed == [[START, START]]
    assert [(r.labels.size, r.score, r.ended) for [r] in found] == [(0, 0.0, True)] * 2


def test_of_equal_texts_the_smaller_symbol_comes_first():
    writer = Writer("gru", 1)
    equal = lambda h: np.zeros((len(h), K))  # noqa: E731
    [found] = writer.search(4, equal, nbest=4, max_length=1)
    texts = [(*r.labels.tolist(), *[END][: r.ended]) for r in found]
    assert texts == [(0,), (1,), (2,), (3,)]


def test_no_rows_are_no_results():
    writer = Writer("attention gru", 0)
    assert writer.search(3, nbest=3) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"beam_width": 3},
            ValueError,
            "stream: expected rows for each of beam_width=3",
        ),
        ({"beam_width": 0}, ValueError, "beam_width"),
        ({"nbest": 0}, ValueError, "nbest"),
        ({"max_length": -1}, ValueError, "max_length"),
        ({"end": K}, ValueError, r"end: expected 0\.\.3 for K=4, got 4"),
        ({"end": 1.5}, TypeError, "end"),
        ({"start": "a"}, TypeError, "start"),
        ({"stream": 1}, TypeError, "stream: expected one of layer.stream"),
        ({"embedding": None}, TypeError, "embedding: expected a function, got None"),
        ({"readout": 5}, TypeError, "readout: expected a function, got 5"),
        (
            {"readout": lambda h: h[0]},
            ValueError,
            r"readout: expected logits \[R=4, K\]",
        ),
        ({"readout": lambda h: h * np.nan}, ValueError, "readout: expected .* got NaN"),
        ({"readout": lambda _: [[1] * K] * 4}, TypeError, "readout: expected float32"),
    ],
)
def test_mistakes_are_named(change, error, message):
    writer = Writer("gru", 4)
    given = {"stream": writer.stream(), "embedding": writer.embedding}
    given |= {"readout": writer.readout, "start": START, "end": END, "max_length": 3}
    with pytest.raises(error, match=message):
        train.beam_search(**given | change)
