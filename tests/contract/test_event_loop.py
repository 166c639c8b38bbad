"""A running event loop on the calling thread, as in a notebook: no task runs there."""

from __future__ import annotations

import asyncio
import threading

import pytest
from dask._task_spec import Task, TaskRef
from gates import barrier
from graphs import chain, fan_in, inc

import dask_ferris


def in_a_loop(function, *args, **options):
    """Call a function on this thread while an event loop runs here."""

    async def main():
        return function(*args, **options)

    return asyncio.run(main())


def asynchronous():
    """Run an event loop of its own, which fails where one is running, and return the thread."""

    async def main():
        await asyncio.sleep(0)
        return threading.get_ident()

    return asyncio.run(main())


@pytest.mark.parametrize("n_tasks", [1, 2, 20])
def test_tasks_may_run_loops_of_their_own(get, n_tasks):
    """None of them is on the calling thread, be it one task or many."""
    graph = {i: Task(i, asynchronous) for i in range(n_tasks)}
    threads = in_a_loop(get, graph, list(graph))

    assert n_tasks == len(threads)
    assert threading.get_ident() not in threads


def test_under_a_callback(get):
    """The same when the run is watched."""
    assert threading.get_ident() != in_a_loop(get, {"x": Task("x", asynchronous)}, "x", cache={})


@pytest.mark.parametrize(("graph", "key"), [(chain(3000), 3000), (fan_in(3000), "total")], ids=["chain", "fan-in"])
def test_values_are_the_same(get, graph, key):
    """However the tasks hang together."""
    assert get(graph, key) == in_a_loop(get, graph, key)


def test_nothing_to_compute(get):
    """Data, or no key at all."""
    assert (1, ()) == in_a_loop(get, {"x": 1}, ["x", []])


def test_workers_run_side_by_side(plain_get):
    """As many as were asked for, without the caller."""
    meeting = barrier(3)
    graph = {i: Task(i, meeting.wait) for i in range(3)}

    assert [0, 1, 2] == sorted(in_a_loop(plain_get, graph, list(graph), num_workers=3))


def test_a_failure(get):
    """The task's exception, as ever."""
    graph = {"x": Task("x", divmod, 1, 0), "y": Task("y", inc, TaskRef("x"))}
    with pytest.raises(ZeroDivisionError):
        in_a_loop(get, graph, "y")


def test_nested_runs(get):
    """A run inside a task is on a thread without a loop, and a loop inside that task is one like any other."""

    def task():
        return in_a_loop(get, {"x": Task("x", asynchronous)}, "x")

    assert threading.get_ident() != in_a_loop(get, {"task": Task("task", task)}, "task")


def test_outside_a_loop_the_caller_works():
    """Only a loop that runs counts, not one that has run."""
    in_a_loop(dask_ferris.get, {"x": Task("x", inc, 1)}, "x")

    assert threading.get_ident() == dask_ferris.get({"x": Task("x", threading.get_ident)}, "x")
