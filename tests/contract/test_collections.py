"""Collections: Array, Bag, DataFrame and Delayed, through `compute(scheduler=...)` and its sisters."""

from __future__ import annotations

import operator

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pandas as pd
import pytest
from dask.local import get_sync
from graphs import add, inc

dd = pytest.importorskip("dask.dataframe")


def square(chunks=(4, 3)):
    """Return a small two-dimensional array in blocks."""
    return da.from_array(np.arange(120.0).reshape(12, 10), chunks=chunks)


ARRAYS = {
    "elementwise": lambda x: (x + 1) * 2 - x,
    "sum": lambda x: x.sum(),
    "sum over an axis": lambda x: (x + x).sum(axis=0),
    "mean and std": lambda x: da.stack([x.mean(), x.std()]),
    "transpose": lambda x: (x.rechunk((4, 4)) + 1).T @ x.rechunk((4, 3)),
    "slices": lambda x: x[1:9:2, ::-1][:, 3:],
    "fancy index": lambda x: x[[5, 1, 1, 11]],
    "rechunk": lambda x: x.rechunk((5, 2)) * 3,
    "cumulative": lambda x: x.cumsum(axis=1),
    "overlap": lambda x: da.overlap.overlap(x, depth=1, boundary="reflect"),
    "map_blocks": lambda x: x.map_blocks(
        lambda block, block_info=None: block * block_info[0]["num-chunks"][0], dtype=float
    ),
    "argmax": lambda x: da.argmax(x, axis=0),
    "unique": lambda x: da.unique((x % 7).ravel()),
    "empty": lambda x: x[:0],
    "zero-dimensional": lambda x: x[0, 0],
    "svd": lambda x: da.linalg.svd(x.rechunk((4, 10)))[1],
    "random": lambda x: da.random.default_rng(0).normal(size=(6, 6), chunks=3) + x[:6, :6],
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("optimize_graph", [True, False])
def test_arrays(get, make, optimize_graph):
    """Array operations give what the synchronous scheduler gives, fused or not."""
    collection = make(square())
    expected = collection.compute(scheduler=get_sync)

    np.testing.assert_array_equal(expected, collection.compute(scheduler=get, optimize_graph=optimize_graph))


BAGS = {
    "map": lambda b: b.map(inc),
    "filter": lambda b: b.filter(lambda x: x % 2).map(str),
    "fold": lambda b: b.fold(add),
    "frequencies": lambda b: b.map(lambda x: x % 3).frequencies(sort=True),
    "groupby": lambda b: b.groupby(lambda x: x % 3, shuffle="tasks").map(lambda group: (group[0], sorted(group[1]))),
    "foldby": lambda b: b.foldby(lambda x: x % 4, operator.add, 0),
    "topk": lambda b: b.topk(4),
    "flatten": lambda b: b.map(lambda x: [x] * 2).flatten(),
    "product": lambda b: b.product(b),
    "zip": lambda b: db.zip(b, b.map(inc)),
    "empty": lambda b: b.filter(lambda _: False),
    "mean": lambda b: b.mean(),
}


@pytest.mark.parametrize("make", BAGS.values(), ids=BAGS)
def test_bags(get, make):
    """Bag operations give what the synchronous scheduler gives."""
    collection = make(db.range(30, npartitions=5))

    assert collection.compute(scheduler=get_sync) == collection.compute(scheduler=get)


def frame():
    """Return a small DataFrame in partitions."""
    data = pd.DataFrame({"key": [0, 1, 2, 1, 0, 2, 2, 1] * 3, "value": np.arange(24.0), "text": list("abcdefgh") * 3})
    return dd.from_pandas(data, npartitions=4)


FRAMES = {
    "arithmetic": lambda f: f.assign(double=f.value * 2)[["key", "double"]],
    "filter": lambda f: f[f.value > 5],
    "reduction": lambda f: f.value.sum() + f.key.max(),
    "groupby": lambda f: f.groupby("key").value.agg(["sum", "mean", "count"]),
    "merge": lambda f: f.merge(f.groupby("key").value.max().reset_index(), on="key").sort_values("value_x"),
    "shuffle": lambda f: f.shuffle("key", shuffle_method="tasks").map_partitions(len),
    "value_counts": lambda f: f.key.value_counts(),
    "concat": lambda f: dd.concat([f, f]),
    "describe": lambda f: f[["value"]].describe(),
    "set_index": lambda f: f.set_index("value", sorted=True).key.cumsum(),
    "to arrays": lambda f: f.value.to_dask_array(lengths=True).sum(),
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_dataframes(get, make):
    """DataFrame operations give what the synchronous scheduler gives."""
    collection = make(frame())
    expected, result = collection.compute(scheduler=get_sync), collection.compute(scheduler=get)

    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(expected, result)
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(expected, result)
    else:
        assert expected == result


def test_delayed_trees_and_fan_ins(get):
    """Delayed calls, lists of them, dicts of them, attributes, methods and keyword arguments."""
    plus, minus = dask.delayed(add), dask.delayed(lambda x, y=0: x - y)
    leaves = [plus(i, 1) for i in range(50)]
    parts = {"sum": dask.delayed(sum)(leaves), "keyword": minus(leaves[3], y=leaves[0])}
    chained = dask.delayed(complex)(parts["sum"], parts["keyword"])
    last = dask.delayed(lambda collected: sorted(collected.items()))(
        {"real": chained.real, "called": chained.conjugate()}
    )

    assert [("called", complex(1275, -3)), ("real", 1275.0)] == last.compute(scheduler=get)


def test_delayed_with_several_outputs(get):
    """`nout` and indexing of a Delayed."""
    quotient, remainder = dask.delayed(divmod, nout=2)(17, 5)

    assert (3, 2) == dask.compute(quotient, remainder, scheduler=get)


def test_several_collections_are_computed_together(get):
    """Arrays, bags, frames, Delayed and plain values in one call, in nested containers."""
    mixed = {"bag": db.range(6, npartitions=2).sum(), "list": [square().sum(), 5, dask.delayed(inc)(1)]}

    assert ({"bag": 15, "list": [7140.0, 5, 2]},) == dask.compute(mixed, scheduler=get)


def test_frames_are_computed_together_with_others(get):
    """Dask hands over a mixture of its two kinds of expressions, with a warning of its own."""
    with pytest.warns(UserWarning, match="mixed collections"):
        assert (276.0, 7140.0) == dask.compute(frame().value.sum(), square().sum(), scheduler=get)


def test_persist_keeps_a_collection(get):
    """Persisted arrays, bags, frames and Delayed give the same values in later computations."""
    array, bag = square() + 1, db.range(10, npartitions=3).map(inc)
    later = [array.persist(scheduler=get).sum(), bag.persist(scheduler=get).sum()]
    later += [frame().persist(scheduler=get).value.sum(), dask.delayed(inc)(5).persist(scheduler=get) + 1]

    assert [7260.0, 55, 276.0, 7] == [collection.compute(scheduler=get) for collection in later]


@pytest.mark.parametrize("value", [0, None, False, "", np.empty(0)], ids=lambda value: type(value).__name__)
def test_persisted_falsy_values_are_kept(get, value):
    """A persisted value is used even if it is false."""
    kept = dask.delayed(lambda: value)().persist(scheduler=get)

    assert value is kept.compute(scheduler=get)
    assert value is dask.delayed(lambda x: [x])(kept).compute(scheduler=get)[0]


@pytest.mark.parametrize("lock", [True, False])
def test_store_writes_blocks(get, lock):
    """`da.store` writes every block into its target, with a lock or without."""
    target = np.zeros((12, 10))
    da.store(square(), target, lock=lock, scheduler=get)

    np.testing.assert_array_equal(np.arange(120.0).reshape(12, 10), target)


# Dask's own Parquet code uses what the newest pandas deprecates.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_files_are_written_and_read(get, tmp_path):
    """A frame goes to Parquet files and comes back."""
    pytest.importorskip("pyarrow")
    with dask.config.set(scheduler=get):
        frame().to_parquet(tmp_path)
        back = dd.read_parquet(tmp_path).compute()

    pd.testing.assert_frame_equal(frame().compute(scheduler=get_sync), back)


def test_the_configuration_may_hold_the_function(get):
    """`dask.config.set(scheduler=function)` is used by every computation inside, also while planning."""
    with dask.config.set(scheduler=get):
        assert 7140.0 == square().sum().compute()
        assert 55 == db.range(11, npartitions=3).sum().compute()
        assert (2,) == dask.compute(dask.delayed(inc)(1))
        assert 24 == len(frame().set_index("value"))
