"""`persist`: values stay values, whatever they look like in a graph."""

from __future__ import annotations

import threading
from operator import add

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from dask import delayed
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from graphs import Calls

import dask_ferris
from dask_ferris import Executor


def refuse(*_):
    """Be a function that nobody is to call.

    Raises:
        AssertionError: It was called.
    """
    message = "a value was taken for a task"
    raise AssertionError(message)


VALUES = {
    "a tuple with a function": (refuse, 1),
    "a tuple within a list": [(refuse, 1), (refuse,)],
    "a tuple within a dict": {"a": (refuse, 1), "b": [(refuse,)]},
    "a tuple within a tuple": ((refuse, 1), 2),
    "a list of keys": ["key", "other"],
    "a key": "key",
    "another key": "other",
    "a tuple that is a key": ("key", 0),
    "a set of keys": {"key", "other"},
    "a dict of keys": {"key": "other"},
    "a Task": Task("key", refuse, 1),
    "a Task without a key": Task(None, refuse),
    "a reference": TaskRef("key"),
    "a reference to nothing": TaskRef("nowhere"),
    "another name": Alias("key", "other"),
    "data": DataNode("key", 1),
    "a list of tasks": List(Task(None, refuse)),
    "a function": refuse,
    "a class": dict,
    "None": None,
    "a number": 1,
    "an array": np.arange(3),
    "an empty tuple": (),
}


def equal(one, other):
    """Return whether two values are the same, in type and contents."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    return type(one) is type(other) and repr(one) == repr(other)


def ways(executor):
    """Return what a user may write for our scheduler."""
    return {"name": "ferris", "get": dask_ferris.get, "executor": executor}


@pytest.mark.parametrize("way", ["name", "get", "executor"])
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_delayed_value_is_never_run(value, way):
    """Neither when it is computed, by whichever scheduler, nor when a task gets it."""
    with Executor(2) as executor:
        scheduler = ways(executor)[way]
        other = delayed(int)(3, dask_key_name="other")
        made = delayed(lambda _: value, pure=False)(other, dask_key_name="key")
        kept, _ = dask.persist(made, other, scheduler=scheduler)
        got = delayed(lambda x: x)(kept)
        assert equal(value, kept.compute(scheduler=scheduler))
        assert equal(value, kept.compute(scheduler="sync"))
        assert equal(value, got.compute(scheduler=scheduler))


@pytest.mark.parametrize("name", ["a tuple with a function", "a Task", "a key", "a reference to nothing"])
def test_the_config_may_name_the_scheduler(name):
    """As for `compute`."""
    value = VALUES[name]
    with dask.config.set(scheduler="ferris"):
        kept = delayed(lambda: value)().persist()
        assert equal(value, kept.compute())
        assert equal(value, kept.persist().compute())


def test_what_was_computed_is_not_computed_again():
    """It is data from then on."""
    calls = Calls()
    kept = delayed(calls.record)("once", (refuse, 2)).persist(scheduler="ferris")
    for _ in range(3):
        assert (refuse, 2) == kept.compute(scheduler="ferris")
    assert ["once"] == calls.names


def test_a_bag_of_whatever_looks_like_tasks():
    """Its partitions are lists, and their items stay as they are."""
    found = [(refuse, 1), "key", Task("x", refuse), {"a": (refuse,)}, TaskRef("x")]
    bag = db.from_sequence(range(5), npartitions=2).map(lambda i: found[i])
    kept = bag.persist(scheduler="ferris")
    assert repr(found) == repr(kept.compute(scheduler="ferris"))
    assert list(map(type, found)) == kept.map(type).compute(scheduler="ferris")
    assert 5 == kept.count().compute(scheduler="ferris")


def test_an_array_of_objects():
    """Chunks and what is in them."""
    found = np.empty(4, dtype=object)
    found[:] = [(refuse, i) for i in range(4)]
    kept = da.from_array(found, chunks=2).map_blocks(lambda block: block).persist(scheduler="ferris")
    assert list(found) == list(kept.compute(scheduler="ferris"))
    numbers = da.arange(10, chunks=3).persist(scheduler="ferris")
    assert 45 == numbers.sum().compute(scheduler="ferris")
    np.testing.assert_array_equal(np.arange(10)[2:5], numbers[2:5].compute(scheduler="ferris"))


def test_a_frame():
    """It stays one."""
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame({"value": [(refuse, i) for i in range(4)], "number": range(4)})
    kept = dd.from_pandas(frame, npartitions=2).persist(scheduler="ferris")
    assert 6 == kept.number.sum().compute(scheduler="ferris")
    assert list(frame.number) == list(kept.number.compute(scheduler="ferris"))


def test_several_collections():
    """Each by itself, whatever they share."""
    numbers = da.arange(4, chunks=2)
    one = delayed(add)(1, 2)
    pair = delayed(lambda x: (refuse, x))(one)
    kept_one, kept_pair, kept_numbers, kept_bag = dask.persist(
        one, pair, numbers + 1, db.from_sequence([1, 2], npartitions=2), scheduler="ferris"
    )
    assert (3, (refuse, 3)) == dask.compute(kept_one, kept_pair, scheduler="ferris")
    assert 10 == kept_numbers.sum().compute(scheduler="ferris")
    assert [1, 2] == kept_bag.compute(scheduler="ferris")


def test_collections_within_lists_and_dicts():
    """As by `dask.persist` with any scheduler."""
    one, two = delayed(abs)(-1), delayed(lambda: (refuse, 1))()
    first, second = dask.persist([one, 5], {"two": two}, scheduler="ferris")
    assert ([1, 5], {"two": (refuse, 1)}) == dask.compute(first, second, scheduler="ferris")
    assert (1, "text") == dask.persist(1, "text", scheduler="ferris")


def test_equal_collections():
    """Both are there."""
    one = delayed(abs)(-1)
    assert (1, 1) == dask.compute(*dask.persist(one, one, scheduler="ferris"), scheduler="ferris")


def test_options_are_honoured():
    """As by `compute`; with `on_error="continue"` an exception is a value too."""
    calls, reports = Calls(), []

    def flaky():
        calls.record(1)
        if len(calls.names) < 3:
            raise LookupError
        return "there"

    kept = delayed(flaky)().persist(scheduler="ferris", retries=2, report=reports.append)
    assert "there" == kept.compute(scheduler="ferris")
    assert [{"retries": 1}] == [report.honoured for report in reports]
    with pytest.raises(ValueError, match="-1"):
        delayed(flaky)().persist(scheduler="ferris", retries=-1)
    with pytest.raises(AssertionError):
        delayed(refuse)().persist(scheduler="ferris")


def test_an_executor_has_the_tasks():
    """By `pool=`."""
    with Executor(1, thread_name_prefix="mine") as executor:
        kept = delayed(lambda: threading.current_thread().name, pure=False)().persist(scheduler="ferris", pool=executor)
        assert "mine_0" == kept.compute(scheduler="ferris")
