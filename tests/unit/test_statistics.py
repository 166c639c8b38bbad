"""`statistics()`: a frozen snapshot of what the pool has done."""

from __future__ import annotations

import dataclasses

import pytest
from dask._task_spec import Alias, DataNode, Task, TaskRef
from graphs import chain, fan_in, inc
from subprocesses import output_of

import dask_ferris


def counted(function):
    """Call the function and return how many runs and tasks were counted."""
    before = dask_ferris.statistics()
    function()
    after = dask_ferris.statistics()
    return after.n_runs - before.n_runs, after.n_tasks - before.n_tasks


def test_a_fresh_process_has_done_nothing():
    """Everything starts at zero."""
    program = """
        import dask_ferris
        print(dask_ferris.statistics())
    """

    nothing = "n_workers=0, n_runs=0, n_tasks=0, n_steals=0, widths=(), n_spare=0, n_abandoned=0"
    assert [f"Statistics({nothing})"] == output_of(program)


def test_a_snapshot_is_frozen():
    """A snapshot does not change, neither by assignment nor by later runs."""
    snapshot = dask_ferris.statistics()
    copy = dataclasses.replace(snapshot)
    dask_ferris.get(fan_in(10), "total")

    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.n_runs = 0
    assert copy == snapshot
    assert isinstance(snapshot, dask_ferris.Statistics)


@pytest.mark.parametrize("num_workers", [1, 4])
def test_runs_and_tasks_are_counted(num_workers):
    """Each `get` is a run, each task that was run is a task, whoever ran it."""
    assert (1, 101) == counted(lambda: dask_ferris.get(fan_in(100), "total", num_workers=num_workers))
    assert (1, 50) == counted(lambda: dask_ferris.get(chain(50), 50, num_workers=num_workers))


def test_only_tasks_that_ran_are_counted():
    """What is not needed, and what is data, is not run."""
    graph = {"x": DataNode("x", 1), "y": Task("y", inc, TaskRef("x")), "z": Task("z", inc, TaskRef("y")), "raw": 5}

    assert (1, 1) == counted(lambda: dask_ferris.get(graph, ["y", "raw"]))
    assert (1, 0) == counted(lambda: dask_ferris.get(graph, []))


def test_nested_runs_are_counted():
    """A run inside a task is a run."""

    def outer():
        return dask_ferris.get({"x": Task("x", inc, 1), "y": Task("y", inc, TaskRef("x"))}, "y")

    graph = {"a": Task("a", outer), "b": Alias("b", "a")}
    n_runs, n_tasks = counted(lambda: dask_ferris.get(graph, "a"))

    assert (2, 3) == (n_runs, n_tasks)


def test_runs_that_fail_are_counted():
    """A run that ended with an exception was a run."""

    def fail():
        raise LookupError

    def failing_run():
        with pytest.raises(LookupError):
            dask_ferris.get({"x": Task("x", fail)}, "x")

    assert (1, 1) == counted(failing_run)
