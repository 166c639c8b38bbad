"""Nested runs in a fresh process, where no thread is left over from an earlier run."""

from __future__ import annotations

import pytest
from gates import WAIT
from subprocesses import output_of

PROGRAM = f"""
    import dask_ferris, sys, threading
    from dask._task_spec import Task
    meeting, outer_meeting, done = threading.Barrier(2, timeout={WAIT / 2}), threading.Barrier(2), threading.Event()
    def inner(_=None):
        graph = {{i: Task(i, meeting.wait) for i in range(2)}}
        return sorted(dask_ferris.get(graph, list(graph), num_workers=2))
    def compute():
        outer_meeting.wait()
        result = inner()
        done.set()
        return result
    def wait():
        outer_meeting.wait()
        return done.wait({WAIT / 2})
    print(dask_ferris.get(GRAPH, KEYS, num_workers=2))
"""

OUTER = {
    "one task": ("[0, 1]", "{'x': Task('x', inner)}", "'x'"),
    "a chain": ("[0, 1]", "{'a': Task('a', int), 'x': Task('x', inner, Task('a', int))}", "'x'"),
    "two tasks": ("([0, 1], 0)", "{'x': Task('x', inner), 'y': Task('y', int)}", "['x', 'y']"),
    "two that meet": ("([0, 1], True)", "{'x': Task('x', compute), 'y': Task('y', wait)}", "['x', 'y']"),
}


@pytest.mark.parametrize(("expected", "graph", "keys"), OUTER.values(), ids=OUTER)
def test_an_inner_run_has_the_workers_it_may_have(expected, graph, keys):
    """Two tasks of an inner run can wait for each other, whatever the outer run needs."""
    assert [expected] == output_of(PROGRAM.replace("GRAPH", graph).replace("KEYS", keys))


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_an_endless_descent_is_a_recursion_error(n_tasks):
    """A run in a task of a run without end is stopped by the interpreter's limit, and not by a crash.

    Not part of the contract: `dask.threaded.get` starts a thread for each level, until the machine has no more.
    """
    program = f"""
        import dask_ferris
        from dask._task_spec import Task
        def descend():
            graph = {{i: Task(i, descend) for i in range({n_tasks})}}
            return dask_ferris.get(graph, list(graph), num_workers=2)
        try:
            descend()
        except RecursionError:
            print("stopped")
    """

    assert ["stopped"] == output_of(program)


def test_recursion_starts_a_bounded_number_of_threads():
    """However many runs are under way inside each other, they share one pool: its threads and 64 more."""
    program = """
        import threading, time
        import dask_ferris
        from dask._task_spec import Task
        def descend(depth):
            if depth == 0:
                time.sleep(0.001)
                return 1
            graph = {i: Task(i, descend, depth - 1) for i in range(4)}
            return sum(dask_ferris.get(graph, list(graph), num_workers=4))
        print(descend(5))
        n = dask_ferris.statistics().n_workers
        print(n == threading.active_count() - 1, n <= 4 + 64)
    """

    assert ["1024", "True True"] == output_of(program)


def test_a_run_inside_a_lock_ends():
    """A task that computes while it holds a lock is not made to run another that waits for it."""
    program = """
        import threading, time
        import dask_ferris
        from dask._task_spec import Task
        lock = threading.Lock()
        def locked(_):
            with lock:
                time.sleep(0.0005)
                return 1
        def inner(i):
            with lock:
                graph = {j: Task(j, sum, [i, j]) for j in range(20)}
                return sum(dask_ferris.get(graph, list(graph), num_workers=3))
        graph = {("inner", i): Task(("inner", i), inner, i) for i in range(30)}
        graph |= {("locked", i): Task(("locked", i), locked, i) for i in range(30)}
        print(sum(dask_ferris.get(graph, list(graph), num_workers=3)))
    """

    assert [str(sum(20 * i + 190 for i in range(30)) + 30)] == output_of(program)
