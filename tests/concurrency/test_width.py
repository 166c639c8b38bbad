"""The number of workers of a run: who may come, who must, and how it is seen."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from dask._task_spec import Task, TaskRef
from gates import WAIT, barrier
from graphs import independent
from subprocesses import output_of

import dask_ferris

POLICIES = ["adaptive", "fixed"]


def burn(_before=None):
    """Hold the GIL for some hundreds of microseconds."""
    return sum(range(10_000))


def contended():
    """Return a graph of tasks that get no more done on several workers than on one, and a task "join" after them."""
    graph = {("burn", i): Task(("burn", i), burn) for i in range(300)}
    graph["join"] = Task("join", lambda *_: None, *map(TaskRef, graph))
    return graph


def spin_until(condition):
    """Wait in pure Python, without ever letting go of the GIL by oneself."""
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            message = "deadlock: what a task waits for never came"
            raise TimeoutError(message)
    return True


@pytest.mark.parametrize("width", POLICIES)
@pytest.mark.parametrize("num_workers", [2, 4])
def test_tasks_that_spin_until_all_have_begun_end(width, num_workers):
    """Liveness before width: tasks that hold the GIL until `num_workers` of them have begun get all workers."""
    begun = itertools.count(1)
    latest = [0]

    def meet():
        latest[0] = next(begun)
        return spin_until(lambda: latest[0] >= num_workers)

    graph = independent(meet, num_workers)
    assert [True] * num_workers == list(dask_ferris.get(graph, list(graph), num_workers=num_workers, width=width))


@pytest.mark.parametrize("width", POLICIES)
@pytest.mark.parametrize("num_workers", [2, 4])
def test_a_barrier_after_tasks_that_want_one_worker_is_passed(width, num_workers):
    """Workers that were sent away because tasks contend for the GIL come back when tasks wait for each other."""
    meeting = barrier(num_workers)
    graph = contended()
    keys = [("meet", i) for i in range(num_workers)]
    graph |= {key: Task(key, lambda _: meeting.wait(), TaskRef("join")) for key in keys}

    assert list(range(num_workers)) == sorted(dask_ferris.get(graph, keys, num_workers=num_workers, width=width))


def test_a_spinning_task_waits_for_one_that_a_departed_worker_has_left():
    """A task that spins until a ready one has run does not wait for ever, however narrow the run was held."""
    has_run = []
    graph = contended()
    for name in ("left", "right"):
        other = "right" if name == "left" else "left"
        graph[name] = Task(
            name,
            lambda _, me, you: has_run.append(me) or spin_until(lambda: you in has_run),
            TaskRef("join"),
            name,
            other,
        )

    assert (True, True) == dask_ferris.get(graph, ["left", "right"], num_workers=2)


def test_results_do_not_depend_on_the_width():
    """A run that widens and narrows gives what one worker gives."""
    graph = {0: Task(0, burn)} | {i: Task(i, burn, TaskRef(i // 7)) for i in range(1, 500)}

    assert [sum(range(10_000))] * 500 == list(dask_ferris.get(graph, list(graph), num_workers=4))


def test_the_width_over_time_is_seen():
    """`statistics().widths` begins with the caller alone and has every change after it."""
    meeting = barrier(3)
    graph = independent(meeting.wait, 3)
    dask_ferris.get(graph, list(graph), num_workers=3)
    widths = dask_ferris.statistics().widths

    assert (0.0, 1) == widths[0]
    assert sorted(seconds for seconds, _ in widths) == [seconds for seconds, _ in widths]
    assert 3 == max(n for _, n in widths)
    # Two that come at the same time may be noted in either order.
    assert all(abs(before - after) <= 2 for (_, before), (_, after) in itertools.pairwise(widths))


def test_one_worker_leaves_no_trace():
    """A run that nobody joined says nothing about the width."""
    program = """
        import dask_ferris
        from dask._task_spec import Task
        dask_ferris.get({i: Task(i, abs, i) for i in range(10)}, list(range(10)), num_workers=1)
        print(dask_ferris.statistics().widths)
    """

    assert ["()"] == output_of(program)


def test_the_main_thread_steps_aside_for_long_tasks():
    """After one task longer than 50 ms the main thread computes no more: it could not see Ctrl-C."""
    where = []

    def task():
        where.append(threading.current_thread())
        time.sleep(0.06)

    graph = independent(task, 6)
    dask_ferris.get(graph, list(graph), num_workers=2)

    assert 6 == len(where)
    assert where.count(threading.main_thread()) <= 1


def test_as_many_tasks_as_before_run_when_the_main_thread_has_stepped_aside():
    """Another worker takes the place of the main thread: `num_workers` tasks still meet."""
    first, second = barrier(2), barrier(2)

    def task(meeting):
        meeting.wait()
        time.sleep(0.06)

    graph = {("first", i): Task(("first", i), task, first) for i in range(2)}
    graph["join"] = Task("join", lambda *_: None, *map(TaskRef, graph))
    graph |= {("second", i): Task(("second", i), lambda _: second.wait(), TaskRef("join")) for i in range(2)}

    assert [0, 1] == sorted(dask_ferris.get(graph, [("second", i) for i in range(2)], num_workers=2))


def test_waiting_for_others_is_no_long_task():
    """The main thread goes on after it has waited for a worker's long task, as its own were short."""
    where = []

    def short(*_before):
        where.append(threading.current_thread())
        time.sleep(0.002)

    taken = threading.Event()

    def first():
        taken.wait(WAIT)

    def second():
        taken.set()
        time.sleep(0.15)

    graph = {"first": Task("first", first), "second": Task("second", second)}
    graph |= {i: Task(i, short, TaskRef("first"), TaskRef("second")) for i in range(40)}
    dask_ferris.get(graph, list(graph), num_workers=2)

    assert threading.main_thread() in where


def test_tasks_are_counted_once_when_the_main_thread_steps_aside():
    """A task that the main thread leaves to another is one task, and the idle main thread no worker."""
    before = dask_ferris.statistics().n_tasks
    graph = independent(lambda: time.sleep(0.06), 6)
    dask_ferris.get(graph, list(graph), num_workers=2)
    after = dask_ferris.statistics()

    assert 6 == after.n_tasks - before
    assert 2 >= max(n for _, n in after.widths)
