"""Dask's own options: cache, pool, errors; the callbacks have tests of their own in tests/contract."""

from __future__ import annotations

import multiprocessing.pool
import re
import threading
import traceback
from collections.abc import MutableMapping
from concurrent.futures import CancelledError, ProcessPoolExecutor, ThreadPoolExecutor

import dask
import dask.threaded
import numpy as np
import pytest
from dask._task_spec import Task, TaskRef
from gates import barrier
from graphs import add, fan_in, inc, same

import dask_ferris

GRAPH = {"x": Task("x", inc, 1), "y": Task("y", inc, TaskRef("x"))}


@pytest.fixture(params=["argument", "config"])
def get_with(request):
    """Return `get` with one option, given as an argument or in Dask's configuration."""

    def get(graph, keys, name, value, **others):
        if request.param == "argument":
            return dask_ferris.get(graph, keys, **{name: value}, **others)
        with dask.config.set({name: value}):
            return dask_ferris.get(graph, keys, **others)

    return get


class Shelf(MutableMapping):
    """A mapping that is no dict, and notes what was done with it."""

    def __init__(self):
        """Begin empty."""
        self.kept, self.written = {}, []

    def __getitem__(self, key):
        """Return a value."""
        return self.kept[key]

    def __setitem__(self, key, value):
        """Store a value."""
        self.written.append(key)
        self.kept[key] = value

    def __delitem__(self, key):
        """Drop a value."""
        del self.kept[key]

    def __iter__(self):
        """Walk over the keys."""
        return iter(self.kept)

    def __len__(self):
        """Count the values."""
        return len(self.kept)


@pytest.mark.parametrize("new", [dict, Shelf])
def test_values_go_through_the_cache(get_with, new):
    """They are written as they come, and only what was asked for is left."""
    cache = new()

    assert 3 == get_with(GRAPH, "y", "cache", cache)
    assert {"y": 3} == dict(cache)


def test_the_cache_is_written_for_every_task():
    """Once each."""
    shelf = Shelf()
    dask_ferris.get(fan_in(20), "total", cache=shelf)

    assert {*(("leaf", i) for i in range(20)), "total"} == set(shelf.written)
    assert 21 == len(shelf.written)


@pytest.mark.parametrize("value", [0, None, "", False, np.zeros(3), np.arange(3)], ids=repr)
def test_a_cached_value_is_used(value):
    """Whatever it is, also where Dask takes a falsy value for a missing one."""
    result = dask_ferris.get({"y": Task("y", same, TaskRef("x"))}, "y", cache={"x": value})

    assert value is result


def test_a_cached_value_takes_the_place_of_its_task():
    """The task of a key that the cache has is not run."""
    assert 11 == dask_ferris.get(GRAPH, "y", cache={"x": 10})


def test_a_cached_value_that_looks_like_a_task_is_data():
    """It is used as it is."""
    assert (len, [1, 2]) == dask_ferris.get({"y": Task("y", same, TaskRef("x"))}, "y", cache={"x": (len, [1, 2])})


POOLS = {"executor": ThreadPoolExecutor, "pool": multiprocessing.pool.ThreadPool}


@pytest.fixture(params=list(POOLS))
def pool(request):
    """Return a pool of three threads."""
    with POOLS[request.param](3) as pool:
        yield pool


def test_tasks_run_in_the_pool(get_with, pool):
    """All of them, as many at once as it has threads, and none on the calling thread."""
    meeting = barrier(3)
    graph = {i: Task(i, lambda: meeting.wait() is not None and threading.get_ident()) for i in range(3)}
    threads = get_with(graph, list(graph), "pool", pool)

    assert 3 == len(set(threads))
    assert threading.get_ident() not in threads
    assert set(threads) == set(get_with(graph, list(graph), "pool", pool, num_workers=1)), "the pool has its own size"


def test_a_failure_in_the_pool(pool):
    """The task's own exception."""
    with pytest.raises(ZeroDivisionError) as caught:
        dask_ferris.get({"x": Task("x", divmod, 1, 0)}, "x", pool=pool)
    assert ["raised by the task of key 'x'"] == caught.value.__notes__


def test_a_pool_that_is_shut_down():
    """Its own error, at once."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        dask_ferris.get(GRAPH, "y", pool=pool)


def test_a_pool_of_processes_is_no_place_for_tasks():
    """What cannot be sent there is an error, not a wait without end."""
    with ProcessPoolExecutor(1) as pool, pytest.raises(TypeError, match="pickle"):
        dask_ferris.get(GRAPH, "y", pool=pool)


def test_cancelled_work_ends_the_run():
    """A pool that is emptied by somebody else does not leave the caller waiting."""
    with ThreadPoolExecutor(1) as pool:

        def empty_it():
            pool.shutdown(wait=False, cancel_futures=True)

        graph = {"a": Task("a", empty_it), **{i: Task(i, inc, i) for i in range(5)}}
        # Tasks that were there are cancelled; one that comes later is refused.
        with pytest.raises((CancelledError, RuntimeError)):
            dask_ferris.get(graph, ["a", *range(5)], pool=pool)


class Flaky:
    """Fails, and notes where."""

    def __init__(self):
        """Begin with no call."""
        self.threads = []

    def __call__(self, _value):
        """Fail in another way each time."""
        self.threads.append(threading.get_ident())
        raise (LookupError if len(self.threads) == 1 else ZeroDivisionError)


def test_a_failed_task_is_run_again_where_a_debugger_sees_it(get_with):
    """In the calling thread, with its inputs; what it raises there is raised."""
    flaky = Flaky()
    graph = {"x": Task("x", inc, 1), "y": Task("y", flaky, TaskRef("x"))}
    with pytest.raises(ZeroDivisionError):
        get_with(graph, "y", "rerun_exceptions_locally", True)
    assert threading.get_ident() == flaky.threads[1]


def test_a_task_that_does_not_fail_again_has_failed_all_the_same():
    """The first exception is raised, and says so; Dask returns it as the value."""
    calls = []

    def once(_value):
        calls.append(1)
        if len(calls) == 1:
            raise LookupError

    with pytest.raises(LookupError) as caught:
        dask_ferris.get({"x": Task("x", once, 1)}, "x", rerun_exceptions_locally=True)
    assert any("did not fail when it was run again" in note for note in caught.value.__notes__)


def test_raise_exception_is_called():
    """With the exception and its traceback; what it raises is raised."""

    def translate(error, trace):
        assert trace is error.__traceback__
        raise RuntimeError from error

    with pytest.raises(RuntimeError) as caught:
        dask_ferris.get({"x": Task("x", divmod, 1, 0)}, "x", raise_exception=translate)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_raise_exception_that_does_not_raise_leaves_the_error_as_value():
    """As Dask has it."""
    graph = {"x": Task("x", divmod, 1, 0), "y": Task("y", repr, TaskRef("x"))}
    text = dask_ferris.get(graph, "y", raise_exception=lambda *_: None)

    assert "ZeroDivisionError" in text


@pytest.mark.parametrize("option", [{"cache": {}}, {"callbacks": []}, {"rerun_exceptions_locally": True}], ids=repr)
def test_tracebacks_show_nothing_of_ours(option):
    """The caller's frame and the task's."""

    def task():
        return 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        dask_ferris.get({"x": Task("x", task)}, "x", **option)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]

    assert ["test_tracebacks_show_nothing_of_ours", "task"] == [name for name in names if name != "__call__"]


@pytest.mark.parametrize("name", ["callbacks", "cache", "pool", "rerun_exceptions_locally", "raise_exception"])
def test_none_is_not_given(name):
    """None means that the option was not given."""
    with dask.config.set({name: None}):
        assert 3 == dask_ferris.get(GRAPH, "y", **{name: None})


WRONG = {
    "callbacks": [3, [3], [(None,) * 4], [(1, 2, 3, 4, 5)], "bar"],
    "cache": [3, "cache", [1]],
    "pool": [3, "threads", {}],
    "rerun_exceptions_locally": ["yes", 1],
    "raise_exception": [True, "raise"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_a_wrong_value_is_named(name, value):
    """At the call, with the option and the value."""
    shown = re.escape(repr(value).strip("[]"))  # of a list of callbacks, the wrong one
    with pytest.raises(TypeError, match=f"{name.removesuffix('s')}.* not .*{shown}"):
        dask_ferris.get(GRAPH, "y", **{name: value})


@pytest.mark.parametrize("name", ["cache", "pool", "rerun_exceptions_locally"])
def test_a_wrong_value_in_the_configuration_is_named(name):
    """The same, and where it is set."""
    with dask.config.set({name: 3}), pytest.raises(TypeError, match=f"the config key '{name}'.*3"):
        dask_ferris.get(GRAPH, "y")


def test_num_workers_is_checked_with_every_option():
    """A wrong number of workers is an error here as everywhere."""
    with pytest.raises(TypeError, match="num_workers"):
        dask_ferris.get(GRAPH, "y", num_workers="2", cache={})


def test_other_keywords_are_ignored():
    """As Dask does."""
    assert 3 == dask_ferris.get(GRAPH, "y", cache={}, other=5)


def test_dask_is_not_called(monkeypatch):
    """Nothing is left to Dask's own scheduler."""
    monkeypatch.delattr(dask.threaded, "get")

    assert 3 == dask_ferris.get(GRAPH, "y", cache={}, callbacks=[], rerun_exceptions_locally=True)


def test_nested_lists_and_duplicates():
    """The shape of the keys is that of the values."""
    assert (3, (2, (3,)), ()) == dask_ferris.get(GRAPH, ["y", ["x", ["y"]], []], cache={})
    assert 12 == dask_ferris.get({"z": (add, "a", "a"), "a": 6}, "z", cache={})
