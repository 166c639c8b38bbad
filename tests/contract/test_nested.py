"""Runs within runs, and several at once."""

from __future__ import annotations

import threading

import dask
import dask.array as da
import pytest
from dask._task_spec import Task, TaskRef
from gates import barrier, join, wait_until_set
from graphs import chain, fan_in, inc, independent, total


def nested_sum(get, depth, width):
    """Return width ** depth, counted by runs within the tasks of runs."""
    if depth == 0:
        return 1
    graph = {i: Task(i, nested_sum, get, depth - 1, width) for i in range(width)}
    graph["sum"] = Task("sum", total, *[TaskRef(i) for i in range(width)])
    return get(graph, "sum")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_tasks_may_compute(plain_get, num_workers):
    """Runs nest four deep with fewer workers than waiting tasks, and do not deadlock."""

    def get(dsk, keys):
        return plain_get(dsk, keys, num_workers=num_workers)

    assert 2**4 == nested_sum(get, depth=4, width=2)


def test_nested_runs_may_nest_deeply_in_one_thread(plain_get):
    """A run in a task of a run, twenty deep."""

    def get(dsk, keys):
        return plain_get(dsk, keys, num_workers=1)

    assert 1 == nested_sum(get, depth=20, width=1)


@pytest.mark.parametrize("n_outer", [1, 2])
def test_the_tasks_of_an_inner_run_can_meet(plain_get, n_outer):
    """An inner run has workers of its own: its tasks run side by side, wherever the outer ones are."""
    inner_meeting = barrier(2)

    def inner():
        graph = independent(inner_meeting.wait, 2)
        return len(plain_get(graph, list(graph), num_workers=2))

    def outer(i):
        return inner() if i == 0 else i

    graph = {i: Task(i, outer, i) for i in range(n_outer)}

    assert (2, *range(1, n_outer)) == plain_get(graph, list(graph), num_workers=2)


def test_the_tasks_of_an_inner_run_can_meet_while_outer_tasks_wait_for_them(plain_get):
    """The workers of the outer run may all be waiting for what the inner run does."""
    outer_meeting, inner_meeting, done = barrier(2), barrier(2), threading.Event()

    def compute():
        outer_meeting.wait()
        graph = independent(inner_meeting.wait, 2)
        result = len(plain_get(graph, list(graph), num_workers=2))
        done.set()
        return result

    def wait():
        outer_meeting.wait()
        wait_until_set(done)
        return "waited"

    graph = {"compute": Task("compute", compute), "wait": Task("wait", wait)}

    assert (2, "waited") == plain_get(graph, ["compute", "wait"], num_workers=2)


def test_collections_may_be_computed_in_tasks(get):
    """`compute` inside a Delayed inside a `compute`, with the scheduler from the configuration in the inner ones."""

    @dask.delayed
    def block(i):
        return da.arange(10 * i, 10 * i + 10, chunks=3).sum().compute()

    with dask.config.set(scheduler=get):
        assert sum(range(50)) == dask.delayed(sum)([block(i) for i in range(5)]).compute()


def test_an_error_of_an_inner_run_is_raised_by_the_outer(get):
    """The exception passes through both runs as itself."""
    error = LookupError("inner")

    def fail():
        raise error

    def outer():
        return get({"inner": Task("inner", fail)}, "inner")

    with pytest.raises(LookupError) as caught:
        get({"outer": Task("outer", outer), "after": Task("after", inc, TaskRef("outer"))}, "after")
    assert error is caught.value


def test_a_task_may_survive_the_failure_of_its_inner_run(get):
    """An inner run that failed leaves the outer one as it was."""

    def fail():
        raise LookupError

    def outer(i):
        try:
            return get({"inner": Task("inner", fail)}, "inner")
        except LookupError:
            return i

    assert sum(range(10)) == get(fan_in(10, outer), "total")


def test_an_inner_run_may_use_the_keys_of_the_outer(get):
    """Equal keys in two runs have nothing to do with each other."""

    def outer(x):
        return get({"x": Task("x", inc, x), "y": Task("y", inc, TaskRef("x"))}, "y")

    assert 4 == get(
        {"x": Task("x", inc, 0), "y": Task("y", outer, TaskRef("x")), "z": Task("z", inc, TaskRef("y"))}, "z"
    )


def run_in_threads(n_threads, function):
    """Call `function(i)` on `n_threads` threads that start together, and return the results in order."""
    meeting = barrier(n_threads)
    results = [None] * n_threads

    def target(i):
        meeting.wait()
        results[i] = function(i)

    threads = [threading.Thread(target=target, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    return results


@pytest.mark.parametrize("num_workers", [1, 3])
def test_twenty_threads_may_compute_at_once(plain_get, num_workers):
    """Every caller gets the result of its own graph."""

    def caller(i):
        return [plain_get(fan_in(10 + i), "total", num_workers=num_workers) for _ in range(10)]

    assert [[sum(range(1, 11 + i))] * 10 for i in range(20)] == run_in_threads(20, caller)


def test_threads_may_compute_the_same_graph_at_once(get):
    """One graph object may be in several runs at the same time."""
    graph = chain(50) | fan_in(50)

    assert [(50, 1275)] * 8 == run_in_threads(8, lambda _: get(graph, [50, "total"]))


def test_threads_that_compute_together_need_not_wait_for_each_other(plain_get):
    """Tasks of different runs can meet: no run holds up another."""
    meeting = barrier(3)

    def caller(i):
        graph = {"meet": Task("meet", meeting.wait), "after": Task("after", lambda _, j: j, TaskRef("meet"), i)}
        return plain_get(graph, "after", num_workers=2)

    assert [0, 1, 2] == run_in_threads(3, caller)


def test_a_failing_run_does_not_disturb_those_beside_it(get):
    """Half of the callers get an exception, the others their result."""

    def leaf(i):
        if i == 13:
            raise LookupError
        return i

    def caller(i):
        try:
            return get(fan_in(10 if i % 2 else 20, leaf), "total")
        except LookupError:
            return "failed"

    assert ["failed", sum(range(10))] * 5 == run_in_threads(10, caller)
