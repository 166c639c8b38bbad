"""Runs on executors end, with their results: beside calls, within tasks, with full queues, at the end."""

from __future__ import annotations

import pytest
from dask._task_spec import Task
from dask.diagnostics.profile import Profiler
from gates import WAIT
from graphs import Calls
from subprocesses import output_of

from dask_ferris import Executor, PolicyError

PREAMBLE = f"""
    import asyncio, sys, threading, time
    import dask, dask_ferris
    from dask._task_spec import Task, TaskRef
    from dask.diagnostics.profile import Profiler
    from dask_ferris import Executor
    WAIT = {WAIT}
    graph = {{i: Task(i, lambda i: i + 1, i) for i in range(6)}}
    keys, expected = list(graph), tuple(range(1, 7))
    inside, opened, results = threading.Event(), threading.Event(), []
    def stick():
        inside.set()
        opened.wait(WAIT)
    def hold(executor):
        inside.clear()
        future = executor.submit(stick)
        inside.wait(WAIT)
        return future
    def start(function, *args):
        thread = threading.Thread(target=lambda: results.append(function(*args)), daemon=True)
        thread.start()
        return thread
    def wait_until_queued(executor, n):
        while executor.get_stats().queued_tasks < n:
            time.sleep(0.001)
    def burn(_before=None):
        return sum(range(10_000))
    def contended():
        tasks = {{("burn", i): Task(("burn", i), burn) for i in range(300)}}
        return tasks | {{"join": Task("join", lambda *_: None, *map(TaskRef, tasks))}}
"""

ENDING = {
    # Each of them would lend its slot, and there are not so many threads.
    "more runs within tasks than threads may stand in": """
    executor = Executor(2)
    def task(i):
        return executor({"x": Task("x", int, i)}, "x")
    print(sum(executor.map(task, range(150))) == sum(range(150)), 1)
    """,
    "a run behind a call where no thread may stand in": """
    dask.config.set({"ferris.max-spare-threads": 0})
    executor = Executor(1)
    def task():
        executor.submit(int)
        return executor(graph, keys)
    print(executor.submit(task).result() == expected, 1)
    """,
    # What a task that fails after that would be repeated for, nobody knows.
    "a shutdown after a run that failed while another task was about to": """
    executor, failed = Executor(2), threading.Event()
    def late():
        failed.wait(WAIT)
        time.sleep(0.05)
        raise ValueError
    def first():
        failed.set()
        raise KeyError
    retries = dask_ferris.Retry(3, on=ValueError, backoff=3600, max_delay=3600, jitter=False)
    try:
        executor({"late": Task("late", late), "first": Task("first", first)}, ["late", "first"], retries=retries)
    except KeyError:
        executor.shutdown()
        print(True, 1)
    """,
    "a deadline of a run within a task": """
    executor = Executor(1)
    def task():
        naps = {i: Task(i, time.sleep, WAIT / 10) for i in range(30)}
        try:
            executor(naps, list(naps), deadline=0.1)
        except dask_ferris.TaskTimeoutError:
            return True
    print(executor.submit(task).result(WAIT / 2), 1)
    sys.stdout.flush()
    import os
    os._exit(0)
    """,
    # A called worker looks once and waits; then it goes because other tasks are queued, and nobody comes for it.
    "a run with a call behind it in the queue": """
    executor = Executor(1)
    hold(executor)
    run = start(executor, graph, keys)
    wait_until_queued(executor, 1)
    call = executor.submit(abs, -1)
    opened.set()
    run.join()
    print(results == [expected], call.result())
    """,
    "a run of a higher priority than a call that waits": """
    executor, order = Executor(1), []
    hold(executor)
    call = executor.submit(order.append, "call")
    run = start(executor.with_options(priority=2), {"x": Task("x", order.append, "run")}, "x")
    wait_until_queued(executor, 2)
    opened.set()
    run.join()
    call.result()
    print(order == ["run", "call"], 1)
    """,
    "two runs at once": """
    executor = Executor(1)
    hold(executor)
    runs = [start(executor, graph, keys) for _ in range(2)]
    wait_until_queued(executor, 2)
    opened.set()
    [run.join() for run in runs]
    print(results == [expected] * 2, 1)
    """,
    "runs beside calls": """
    executor = Executor(2)
    def call():
        for i in range(300):
            assert executor.submit(abs, -i).result() == i
    def run():
        for i in range(100):
            assert executor(graph, keys) == expected
    threads = [start(function) for function in [call, run, call, run]]
    [thread.join() for thread in threads]
    print(True, 1)
    """,
    "a barrier after tasks that want one worker, beside calls": """
    executor, meeting, stop = Executor(2), threading.Barrier(2, timeout=WAIT), []
    graph = contended()
    places = [("meet", i) for i in range(2)]
    graph |= {key: Task(key, lambda _: meeting.wait(), TaskRef("join")) for key in places}
    def call():
        while not stop:
            executor.submit(int).result()
    thread = start(call)
    print(sorted(executor(graph, places)) == [0, 1], 1)
    stop.append(1)
    thread.join()
    """,
    # The calling thread is the only worker, and a guest.
    "a run within an event loop within a task": """
    executor = Executor(1)
    async def main():
        return executor(graph, keys)
    print(executor.submit(lambda: asyncio.run(main())).result() == expected, 1)
    """,
    # The calling thread is the only worker, and leaves all steps to the pool.
    "a run within a task while a callback is active": """
    executor = Executor(1)
    with Profiler():
        print(executor.submit(executor, graph, keys).result() == expected, 1)
    """,
    "a run with a cache within a task": """
    executor = Executor(1)
    run = executor.submit(lambda: executor(graph, keys, cache={}))
    print(run.result() == expected, 1)
    """,
    # As with submit and result, a worker that waits for a run elsewhere should lend its slot.
    "a call of the executor whose worker waits for a run of another": """
    one, other = Executor(1), Executor(1)
    def task():
        return one.submit(abs, -1).result()
    print(one.submit(lambda: other.submit(task).result()).result() == 1, end=" ")
    print(one.submit(lambda: other({"x": Task("x", task)}, "x")).result())
    """,
    "a run of the executor whose worker waits for a run of another": """
    one, other = Executor(1), Executor(1)
    def task():
        return one(graph, keys)
    print(one.submit(lambda: other({"x": Task("x", task)}, "x")).result() == expected, 1)
    """,
    "a call of the executor whose worker waits for a run of the process's pool": """
    executor, meeting = Executor(1), threading.Barrier(2, timeout=WAIT)
    def task():
        meeting.wait()
        return executor.submit(abs, -1).result()
    def outer():
        return dask_ferris.get({i: Task(i, task) for i in range(2)}, [0, 1], num_workers=2)
    print(executor.submit(outer).result() == (1, 1), 1)
    """,
    # A worker that can not be had is no reason to fail: those that are there go on.
    "a run beside calls that fill the queue": """
    executor = Executor(2, max_queued=1)
    graph = {"first": Task("first", lambda: stick() or 1)} | {i: Task(i, abs, TaskRef("first")) for i in range(4)}
    run = start(executor, graph, list(range(4)))
    inside.wait(WAIT)
    blocked, release = threading.Event(), threading.Event()
    executor.submit(lambda: (blocked.set(), release.wait(WAIT)))
    blocked.wait(WAIT)
    call = executor.with_options(timeout=WAIT).submit(abs, -1)
    opened.set()
    run.join()
    release.set()
    print(results == [(1,) * 4], call.result())
    """,
    "a run that grows beside calls that fill a queue that raises": """
    executor = Executor(2, max_queued=1, on_full="raise")
    graph = {"first": Task("first", lambda: stick() or 1)} | {i: Task(i, abs, TaskRef("first")) for i in range(4)}
    run = start(executor, graph, list(range(4)))
    inside.wait(WAIT)
    blocked, release = threading.Event(), threading.Event()
    executor.submit(lambda: (blocked.set(), release.wait(WAIT)))
    blocked.wait(WAIT)
    call = executor.submit(abs, -1)
    opened.set()
    run.join()
    release.set()
    print(results == [(1,) * 4], call.result())
    """,
    "a run above the limit of memory": """
    print(Executor(2, memory_limit=1)(graph, keys) == expected, 1)
    """,
    "a run that has begun when the executor is shut down": """
    executor = Executor(2)
    graph = {"first": Task("first", lambda: stick() or 1)} | {i: Task(i, abs, TaskRef("first")) for i in range(4)}
    run = start(executor, graph, list(range(4)))
    inside.wait(WAIT)
    executor.shutdown(wait=False)
    opened.set()
    run.join()
    print(results == [(1,) * 4], 1)
    """,
    "a run within a task of an executor that was shut down": """
    executor = Executor(2)
    def task():
        stick()
        return executor(graph, keys)
    future = executor.submit(task)
    inside.wait(WAIT)
    executor.shutdown(wait=False)
    opened.set()
    print(future.result() == expected, 1)
    """,
}


@pytest.mark.parametrize("body", ENDING.values(), ids=ENDING)
def test_it_ends_with_its_result(body):
    """Whatever else the executor has to do."""
    assert ["True 1"] == output_of(PREAMBLE + body)


WORDS = {"retries": 2, "timeout": 60.0, "resources": {"gpu": 1}}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("why", ["callback", "cache"])
def test_a_view_with_a_policy_for_calls_is_refused_however_the_run_is_done(word, why):
    """Also when the calling thread keeps Dask's account; the policy is not that of a task there, but of a step."""
    calls = Calls()
    with Executor(2, resources={"gpu": 1}) as executor:
        view = executor.with_options(**{word: WORDS[word]})
        if why == "callback":
            with Profiler(), pytest.raises(PolicyError, match=word):
                view(calls.tasks("ab"), ["a", "b"])
        else:
            with pytest.raises(PolicyError, match=word):
                view(calls.tasks("ab"), ["a", "b"], cache={})
    assert [] == calls.names


def test_another_pool_is_not_ignored():
    """`pool=` in a call of an executor contradicts it: an error, not silence."""
    with Executor(1) as one, Executor(1) as other, pytest.raises((TypeError, ValueError, PolicyError), match="pool"):
        one({"x": Task("x", int)}, "x", pool=other)
