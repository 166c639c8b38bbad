"""Workers: who runs the tasks, how many at once, and under which names."""

from __future__ import annotations

import threading

import pytest
from dask._task_spec import Task, TaskRef
from gates import barrier, join, wait_until_set
from graphs import Calls, chain, crowd, fan_in, fused, independent, total
from subprocesses import output_of

import dask_ferris


@pytest.mark.parametrize("num_workers", [2, 3, 8])
def test_as_many_tasks_meet_as_there_are_workers(num_workers):
    """`num_workers` tasks run at once: each of them waits for all."""
    meeting = barrier(num_workers)
    graph = independent(meeting.wait, 4 * num_workers)
    places = dask_ferris.get(graph, list(graph), num_workers=num_workers)

    assert sorted(4 * list(range(num_workers))) == sorted(places)


@pytest.mark.parametrize("num_workers", [2, 4])
def test_tasks_that_become_ready_later_meet_too(num_workers):
    """The tasks that one task makes ready are run by all workers."""
    meeting = barrier(num_workers)
    graph = {"root": Task("root", int)}
    graph |= {i: Task(i, lambda _: meeting.wait(), TaskRef("root")) for i in range(num_workers)}
    graph["sum"] = Task("sum", total, *map(TaskRef, range(num_workers)))

    assert sum(range(num_workers)) == dask_ferris.get(graph, "sum", num_workers=num_workers)


def test_tasks_after_many_short_ones_meet_too():
    """A run that began with ten thousand tiny tasks has all its workers when they are needed."""
    meeting = barrier(4)
    graph = chain(10_000)
    graph |= {("meet", i): Task(("meet", i), lambda _: meeting.wait(), TaskRef(10_000)) for i in range(4)}

    assert list(range(4)) == sorted(dask_ferris.get(graph, [("meet", i) for i in range(4)], num_workers=4))


def test_parts_of_tasks_meet():
    """Calls inside nested and fused tasks run side by side like whole tasks."""
    meeting = barrier(3)
    graph = {
        "task": Task("task", meeting.wait),
        "nested": Task("nested", total, Task(None, meeting.wait)),
        "fused": fused("fused", {"a": Task("a", meeting.wait), "out": Task("out", total, TaskRef("a"))}, "out"),
    }

    assert [0, 1, 2] == sorted(dask_ferris.get(graph, list(graph), num_workers=3))


def test_tasks_that_release_the_gil_run_side_by_side():
    """A task that blocks in native code does not hold up the others: each waits for the one after it."""
    events = [threading.Event() for _ in range(8)]

    def wait_for_next(i):
        events[i].set()
        wait_until_set(events[(i + 1) % 8])
        return i

    graph = {i: Task(i, wait_for_next, i) for i in range(8)}

    assert tuple(range(8)) == dask_ferris.get(graph, list(graph), num_workers=8)


@pytest.mark.parametrize("waiting_first", [True, False])
def test_a_task_may_spin_until_another_has_run(waiting_first):
    """A task that never releases the GIL of its own accord is no reason to keep another one waiting."""
    has_run = []

    def spin():
        while not has_run:
            pass
        return "spun"

    def run():
        has_run.append(True)
        return "ran"

    graph = {"spin": Task("spin", spin), "run": Task("run", run)}
    keys = ["spin", "run"] if waiting_first else ["run", "spin"]

    assert {"spun", "ran"} == set(dask_ferris.get(graph, keys, num_workers=2))


def test_a_busy_thread_elsewhere_does_not_stop_a_run():
    """A Python thread that computes all the time shares the interpreter with a run, and both go on."""
    stop = threading.Event()

    def compute():
        while not stop.is_set():
            sum(range(100))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        assert sum(range(1, 301)) == dask_ferris.get(fan_in(300), "total", num_workers=4)
    finally:
        stop.set()
        join(thread)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_no_more_tasks_run_at_once_than_there_are_workers(num_workers):
    """The number of tasks under way never exceeds `num_workers`, the calling thread's included."""
    peaks = []
    dask_ferris.get(*crowd(peaks), num_workers=num_workers)

    assert 120 == len(peaks)
    assert max(peaks) <= num_workers


def test_one_worker_is_the_calling_thread():
    """With `num_workers=1` every task runs on the thread that called `get`, on the main one or another."""
    calls = Calls()
    graph = calls.tasks(range(20))

    def compute():
        dask_ferris.get(graph, list(graph), num_workers=1)

    compute()
    thread = threading.Thread(target=compute)
    thread.start()
    join(thread)
    assert [threading.current_thread()] * 20 + [thread] * 20 == calls.threads


def test_a_chain_runs_on_the_calling_thread():
    """Where only one task is ever ready, no other thread takes part, however many may."""
    calls = Calls()
    graph = {0: calls.task(0), **{i: calls.task(i, i - 1) for i in range(1, 200)}}
    dask_ferris.get(graph, 199, num_workers=4)

    assert {threading.current_thread()} == set(calls.threads)


def test_the_workers_are_threads_of_python():
    """They are daemon `threading.Thread`s named ferris-1, ferris-2, ..., known to `threading`."""
    meeting, calls = barrier(3), Calls()

    def task():
        meeting.wait()
        calls.record("task")

    graph = independent(task, 3)
    dask_ferris.get(graph, list(graph), num_workers=3)
    workers = set(calls.threads) - {threading.current_thread()}

    assert 2 == len(workers)
    assert workers <= set(threading.enumerate())
    assert [(threading.Thread, True, "ferris")] * 2 == [
        (type(worker), worker.daemon, worker.name.rpartition("-")[0]) for worker in workers
    ]
    assert all(worker.name.rpartition("-")[2].isdecimal() for worker in workers)


ONE_AT_A_TIME = {
    "a task": "get({'x': Task('x', abs, -1)}, 'x', num_workers=4)",
    "a chain": "get({i: Task(i, abs, TaskRef(i - 1)) for i in range(1, 500)} | {0: Task(0, int)}, 499, num_workers=4)",
    "a compute": "dask.delayed(abs)(-1).compute(scheduler=get)",
    "data": "get({'x': 1, 'y': 'x'}, ['x', 'y'], num_workers=4)",
    "one worker": "get({i: Task(i, abs, i) for i in range(500)}, list(range(500)), num_workers=1)",
    "nothing": "get({'x': 1}, [], num_workers=4)",
}


@pytest.mark.parametrize("statement", ONE_AT_A_TIME.values(), ids=ONE_AT_A_TIME)
def test_one_task_at_a_time_starts_no_thread(statement):
    """A `get` that never has two tasks ready runs in the calling thread, and no thread is started."""
    program = f"""
        import dask, dask_ferris, threading
        from dask._task_spec import Task, TaskRef
        from dask_ferris import get
        {statement}
        print(threading.enumerate() == [threading.main_thread()], dask_ferris.statistics().n_workers)
    """

    assert ["True 0"] == output_of(program)


def test_threads_are_kept_and_used_again():
    """The pool has as many threads as the largest run needed beside its caller, and runs share them."""
    program = """
        import dask_ferris, threading
        from dask._task_spec import Task
        for num_workers in [2, 4, 4, 3, 1, 4, 2] * 10:
            meeting = threading.Barrier(num_workers, timeout=60)
            graph = {i: Task(i, meeting.wait) for i in range(num_workers)}
            dask_ferris.get(graph, list(graph), num_workers=num_workers)
        print(dask_ferris.statistics().n_workers, threading.active_count())
        print(sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread()))
    """

    assert ["3 4", "['ferris-1', 'ferris-2', 'ferris-3']"] == output_of(program)


def test_many_callers_do_not_leave_many_threads():
    """Twenty callers with runs four deep leave no more than one thread for each run that was under way."""
    program = """
        import dask_ferris, threading
        from dask._task_spec import Task
        def inner(depth):
            graph = {i: Task(i, inner, depth - 1) if depth else Task(i, int) for i in range(3)}
            return dask_ferris.get(graph, list(graph), num_workers=2)
        threads = [threading.Thread(target=inner, args=(3,)) for _ in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join(60)
        print(dask_ferris.statistics().n_workers <= 20 * 4)
    """

    assert ["True"] == output_of(program)
