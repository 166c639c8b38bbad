"""`ferris.check`: every task is run both ways, and a difference is reported."""

from __future__ import annotations

import itertools

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pandas as pd
import pytest
from dask._task_spec import List, Task, TaskRef
from graphs import Calls, fused, inc, same

import dask_ferris
from dask_ferris import InternalError


@pytest.fixture(autouse=True)
def check():
    """Switch the check on."""
    with dask.config.set({"ferris.check": True}):
        yield


@pytest.mark.parametrize("options", [{}, {"num_workers": 1}, {"cache": {}}], ids=repr)
def test_every_task_runs_both_ways(options):
    """The check really calls each task once more, as Dask would."""
    calls = Calls()
    graph = {"a": calls.task("a"), "b": calls.task("b", "a"), "f": fused("f", {"in": calls.task("in")}, "in")}

    assert ("b", "in") == dask_ferris.get(graph, ["b", "f"], **options)
    assert ["a", "a", "b", "b", "in", "in"] == sorted(calls.names)


def fresh():
    """Return functions that give another result in every call."""
    counter = itertools.count()
    return {
        "int": lambda: next(counter),
        "list": lambda: [1, [next(counter)]],
        "dict": lambda: {"k": next(counter)},
        "tuple": lambda: (0, next(counter)),
        "type": lambda: (1, 1.0)[next(counter) % 2],
        "length": lambda: [0] * next(counter),
        "array": lambda: np.full(3, next(counter)),
        "dtype": lambda: np.zeros(3, (int, float)[next(counter) % 2]),
        "shape": lambda: np.zeros(next(counter)),
        "objects": lambda: np.array([next(counter), "x"], dtype=object),
        "frame": lambda: pd.DataFrame({"a": [next(counter)]}),
        "series": lambda: pd.Series([next(counter)]),
        "set": lambda: {next(counter)},
    }


@pytest.mark.parametrize("name", fresh())
def test_a_function_that_gives_another_result_each_time_is_reported(name):
    """A difference between the two results is an InternalError that names the key: a compiler's fault would be seen."""
    graph = {("odd", 1): Task(("odd", 1), fresh()[name]), "after": Task("after", same, TaskRef(("odd", 1)))}

    with pytest.raises(InternalError, match=r"ferris\.check.*\('odd', 1\)"):
        dask_ferris.get(graph, "after")


def test_without_the_check_nothing_is_reported():
    """The same graph runs where the check is off."""
    with dask.config.set({"ferris.check": False}):
        assert 0 == dask_ferris.get({"x": Task("x", fresh()["int"])}, "x")


class Incomparable:
    """A value whose comparison raises."""

    def __hash__(self):
        """Raise."""
        message = "do not hash"
        raise TypeError(message)

    def __eq__(self, _other):
        """Raise."""
        message = "do not compare"
        raise TypeError(message)


class Lazy:
    """A value whose comparison is not a truth value."""

    def __hash__(self):
        """Raise."""
        message = "do not hash"
        raise TypeError(message)

    def __eq__(self, _other):
        """Return what has no truth value."""
        return np.array([True, False])


SAME = {
    "nan": lambda: float("nan"),
    "nan in a list": lambda: [float("nan"), {"k": float("nan")}],
    "array with nan": lambda: np.array([1.0, np.nan]),
    "array of times": lambda: np.array(["2013-01-01", "NaT"], dtype="datetime64[D]"),
    "array of objects": lambda: np.array([None, float("nan"), [1]], dtype=object),
    "array of strings": lambda: np.array(["a", "b"]),
    "structured array": lambda: np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    "zero-dimensional array": lambda: np.array(5),
    "masked array": lambda: np.ma.masked_array([1, 2], [True, False]),
    "numpy scalar": lambda: np.float64("nan"),
    "frame": lambda: pd.DataFrame({"a": [1.0, None], "b": ["x", None]}),
    "series": lambda: pd.Series(["x", None], dtype="category"),
    "index": lambda: pd.MultiIndex.from_product([[1, 2], ["a"]]),
    "timestamp": lambda: pd.NaT,
    "object": object,
    "list of objects": lambda: [object()],
    "generator": lambda: (i for i in range(3)),
    "function": lambda: lambda: 1,
    "exception": lambda: ValueError("x"),
    "incomparable": Incomparable,
    "lazy": Lazy,
    "list of incomparables": lambda: [Incomparable()],
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_results_that_are_the_same_pass(make):
    """Two results that cannot be told apart, or not be compared at all, are no difference."""
    assert type(make()) is type(dask_ferris.get({"x": Task("x", make)}, "x"))


def test_errors_of_tasks_come_out_as_without_the_check():
    """A task that raises has not given another result."""

    def fail(_x):
        raise LookupError

    with pytest.raises(LookupError) as caught:
        dask_ferris.get({"x": Task("x", inc, 1), "bad": Task("bad", fail, TaskRef("x"))}, "bad")
    assert "'bad'" in caught.value.__notes__[0]


@pytest.mark.parametrize("num_workers", [1, 4])
def test_real_collections_pass(num_workers):
    """Dask's own graphs are compiled right: all results agree."""
    x = da.random.default_rng(0).random((30, 20), chunks=(7, 6))
    results = dask.compute(
        [(x @ x.T).std(), x.cumsum(axis=0).sum(), da.linalg.svd(x.rechunk((7, 20)))[1].sum()],
        db.range(40, npartitions=7).map(inc).frequencies(),
        dask.delayed(sum)([dask.delayed(inc)(i) for i in range(20)]),
        scheduler="ferris",
        num_workers=num_workers,
    )

    assert 3 == len(results)


@pytest.mark.parametrize("value", [1, "true", None], ids=repr)
def test_the_check_is_true_or_false(value):
    """Another value in the configuration is a TypeError that names the key."""
    with dask.config.set({"ferris.check": value}), pytest.raises(TypeError, match=r"ferris\.check"):
        dask_ferris.get({"x": Task("x", List)}, "x")
