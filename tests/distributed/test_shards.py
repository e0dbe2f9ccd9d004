"""Contract N10: how a batch is cut, what its shards weigh, and how a tree adds them."""

import functools
import math
from itertools import pairwise

import numpy as np
import pytest
from arrays import draw, same_bits
from spread import MODELS, text_batches

import exactrnn as xr
from exactrnn import distributed, train
from exactrnn.distributed import shards as n10
from exactrnn.train import Batch
from exactrnn.train._models import generator_states

# Cutting


def test_shards_are_rows_in_their_order_and_the_last_are_shorter():
    for rows in range(1, 25):
        for shards in range(1, 12):
            spans = n10.bounds(rows, shards)
            sizes = [end - begin for begin, end in spans]
            assert [n for span in spans for n in range(*span)] == list(range(rows))
            assert len(spans) == min(rows, shards)
            assert sizes == sorted(sizes, reverse=True)
            assert sizes[0] - sizes[-1] <= 1
    assert n10.bounds(11, 4) == [(0, 3), (3, 6), (6, 9), (9, 11)]


@pytest.mark.parametrize("axes", [(1, 1), (1, 0), (0, 0)])
def test_each_part_of_a_batch_is_cut_where_its_rows_are(axes):
    x, y = draw(4, 7, 3), draw(4, 7, 2)
    x = x if axes[0] else x.swapaxes(0, 1)
    y = y if axes == (1, 1) else y.swapaxes(0, 1)
    weights = None if axes == (1, 1) else draw(7) ** 2
    batch = Batch(x, y, np.arange(7) % 4, weights)
    parts = [shard.rows for shard in n10.cut(batch, 3, axes)]
    assert [len(part.lengths) for part in parts] == [3, 2, 2]
    for k, axis in enumerate(axes):
        assert same_bits(np.concatenate([p[k] for p in parts], axis), batch[k])
    for k in (2, 3) if axes != (1, 1) else (2,):
        assert np.array_equal(np.concatenate([p[k] for p in parts]), batch[k])


def test_weights_of_steps_and_rows_are_cut_by_rows():
    batch = Batch(draw(4, 6, 1), draw(4, 6, 1), None, draw(4, 6) ** 2)
    parts = [shard.rows.weights for shard in n10.cut(batch, 4)]
    assert same_bits(np.concatenate(parts, 1), batch.weights)


# Shares


def ctc_mean(logits, labels, lengths=None):
    losses, dlogits = train.ctc_loss(logits, labels, lengths)
    return float(losses.mean()), dlogits / len(labels)


def count_rows(labels, **_):
    return len(labels)


REAL = [
    train.mean_squared_error,
    train.mean_absolute_error,
    train.huber_loss,
    functools.partial(train.quantile_loss, quantiles=(0.1, 0.5, 0.9)),
    train.gaussian_likelihood,
    train.binary_cross_entropy,
]
WAYS = ("plain", "lengths", "weights", "both")


def case(loss, way):
    """Return an output of ten rows and a batch of what was wanted of it."""
    T, N = 5, 10
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, T + 1, N) if way in ("lengths", "both") else None
    weights = draw(T, N, dtype="float64") ** 2 if way in ("weights", "both") else None
    output = draw(T, N, 6, dtype="float64")
    x = np.zeros((T, N, 1))
    if loss is train.softmax_cross_entropy:
        y = generator.integers(-1, 6, (T, N))
    elif loss is train.gaussian_likelihood:
        y = draw(T, N, 3, dtype="float64", seed=1)
    elif isinstance(loss, functools.partial):
        output, y = output[..., :3], draw(T, N, dtype="float64", seed=1)
    else:
        y = abs(draw(T, N, 6, dtype="float64", seed=1)) % 1
    return np.ascontiguousarray(output), Batch(x, y, lengths, weights)


def joined(loss, output, batch, count=None, axes=(1, 1)):
    """Return what the shards' losses and gradients add up to."""
    total, gradients = 0.0, []
    parts = n10.cut(batch._replace(x=output), 4, axes, count)
    # The output stands for the input, which has as many rows and steps.
    for shard in parts:
        rows = shard.rows
        given = {"lengths": rows.lengths, "weights": rows.weights}
        given = {name: v for name, v in given.items() if v is not None}
        value, dy = loss(rows.x, rows.y, **given)
        total += value * shard.share
        gradients.append(dy * shard.share)
    return total, np.concatenate(gradients, axes[0])


def name_of(loss):
    """Return the name of a loss, which is the same in every process."""
    return getattr(loss, "func", loss).__name__


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", [*REAL, train.softmax_cross_entropy], ids=name_of)
def test_shards_add_to_the_loss_of_the_batch(loss, way):
    output, batch = case(loss, way)
    given = {"lengths": batch.lengths, "weights": batch.weights}
    given = {name: v for name, v in given.items() if v is not None}
    value, dy = loss(output, batch.y, **given)
    total, gradient = joined(loss, output, batch)
    assert math.isclose(total, value, rel_tol=1e-12)
    assert np.allclose(gradient, dy, rtol=1e-12, atol=1e-16)


def test_a_loss_that_divides_by_something_else_says_by_what():
    output = draw(6, 7, 5, dtype="float64")
    labels = np.random.default_rng(0).integers(1, 5, (7, 2))
    batch = Batch(output, labels)
    value, dy = ctc_mean(output, labels)
    total, gradient = joined(ctc_mean, output, batch, count_rows, (1, 0))
    assert math.isclose(total, value, rel_tol=1e-12)
    assert np.allclose(gradient, dy, rtol=1e-12)


def test_lengths_count_no_targets_that_have_no_steps():
    x, y = np.zeros((5, 8, 1)), np.zeros((8, 5))
    batch = Batch(x, y, np.arange(8) % 5)
    assert n10.count_targets(batch, (1, 0)) == 40
    assert n10.count_targets(Batch(x, y.T, batch.lengths)) == sum(batch.lengths)
    turned = Batch(x.swapaxes(0, 1), y, batch.lengths)
    assert n10.count_targets(turned, (0, 0)) == sum(batch.lengths)


def test_a_batch_in_which_nothing_counts_trains_nothing():
    batch = Batch(np.zeros((3, 4), int), np.full((3, 4), -1))
    model = MODELS["language"]()
    for shard in n10.cut(batch, 2):
        assert shard.share == 0
        value, _, vector, _ = n10.shard_gradient(
            model, train.softmax_cross_entropy, shard, n10.Place(0, 0), {}
        )
        assert value == 0
        assert not vector.any()


# The tree


def tree(vectors):
    """Return their sum by the definition: neighbours, level by level."""
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=False)
        odd = vectors[-1:] if len(vectors) % 2 else []
        vectors = [left + right for left, right in pairs] + odd
    return vectors[0]


def shard_vectors(count, dtype):
    wild = np.float64(2) ** np.random.default_rng(1).integers(-20, 20, (count, 40))
    return [*(draw(count, 40, dtype="float64", seed=count) * wild).astype(dtype)]


def spread_sum(vectors, workers, slices=3):
    """Return what workers do: sums of their own, then slice by slice."""
    given = []
    for own in n10.owners(len(vectors), workers):
        part = n10.TreeSum()
        for k in own:
            part.add(n10.Node(0, k), vectors[k])
        given.append((part.nodes, np.array(part.vectors)))
    return np.concatenate(
        [
            n10.merged((nodes, own[:, begin:end]) for nodes, own in given).total()
            for begin, end in pairwise(n10.edges(40, slices))
        ]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sum_is_that_of_the_tree_for_any_number_of_workers(dtype):
    for count in (1, 2, 3, 5, 8, 11, 16, 33):
        vectors = shard_vectors(count, dtype)
        expected = tree(vectors)
        for workers in range(1, count + 1):
            assert same_bits(spread_sum(vectors, workers), expected)
    assert not same_bits(functools.reduce(np.add, vectors), expected)


def test_workers_hand_on_few_sums():
    for shards in (8, 64, 1000):
        for workers in (1, 2, 3, 8):
            for own in n10.owners(shards, workers):
                part = n10.TreeSum()
                for k in own:
                    part.add(n10.Node(0, k), np.zeros(1))
                assert len(part.nodes) <= 2 * math.ceil(math.log2(shards))
                if shards % workers == 0 and workers in (1, 2, 8) and shards != 1000:
                    assert len(part.nodes) == 1


# The whole


def trained(fit, model, **options):
    optimizer = train.AdamW(model, lr=0.02)
    history = fit(
        model,
        text_batches("attention"),
        train.softmax_cross_entropy,
        optimizer,
        epochs=2,
        clip=0.5,
        **options,
    )
    return model.state_dict(), optimizer.state_dict(), history


def test_one_shard_is_what_fit_does():
    whole = trained(train.fit, MODELS["attention"](), accumulate=2)
    one = trained(distributed.fit, MODELS["attention"](), accumulate=2, shards=1)
    several = trained(distributed.fit, MODELS["attention"](), accumulate=2, shards=4)
    assert same_bits(whole[0], one[0])
    assert same_bits(whole[2], one[2])
    assert not same_bits(whole[0], several[0])
    for name, weight in whole[0].items():
        assert np.allclose(weight, several[0][name], atol=2e-4)


def test_dropout_is_another_for_each_shard_batch_and_epoch_and_leaves_no_trace():
    layer = xr.LSTM(6, 8, 2, dropout=0.5, seed=0)
    generators = generator_states(layer)
    x = draw(4, 3, 6)
    found = []
    for place in ((0, 0), (0, 1), (1, 0)):
        for number in range(2):
            shard = n10.Shard(number, Batch(x, draw(4, 3, 8)), 1.0)
            _, _, vector, _ = n10.shard_gradient(
                layer, train.mean_squared_error, shard, n10.Place(*place), generators
            )
            found.append(vector.tobytes())
            assert generator_states(layer) == generators
    assert len(set(found)) == 6
