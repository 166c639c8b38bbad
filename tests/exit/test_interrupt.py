"""Ctrl-C and other signals while a run is under way."""

from __future__ import annotations

import pytest
from gates import WAIT
from subprocesses import output_of

PREAMBLE = f"""
    import os, signal, sys, threading, time
    import dask, dask_ferris
    from dask._task_spec import Task, TaskRef
    main, release, ran = threading.main_thread(), threading.Event(), []
    def meet(n):
        meeting = threading.Barrier(n, timeout={WAIT})
        graph = {{i: Task(i, meeting.wait) for i in range(n)}}
        return sorted(get(graph, list(graph), num_workers=n)) == list(range(n))
    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    get = dask_ferris.get
    def ends_with_interrupt(graph, keys, n):
        try:
            get(graph, keys, num_workers=n)
        except KeyboardInterrupt:
            return True
"""

BODIES = {
    # The task on the main thread ends at once, and the caller waits for the other one.
    "the caller waits for a worker": f"""
    meeting = threading.Barrier(2, timeout={WAIT})
    def task():
        meeting.wait()
        if threading.current_thread() is not main:
            interrupt()
            release.wait({WAIT})
    print(ends_with_interrupt({{i: Task(i, task) for i in range(2)}}, [0, 1], 2))
    """,
    "the caller runs a task that waits": f"""
    started = threading.Event()
    threading.Thread(target=lambda: started.wait({WAIT}) and interrupt()).start()
    def task():
        started.set()
        while not release.wait(0.1):  # a signal just before a long wait of CPython's own does not end that wait
            pass
    print(ends_with_interrupt({{0: Task(0, task)}}, 0, 1))
    """,
    "the caller runs many short tasks": """
    def task(i, *_before):
        ran.append(i)
        if i == 5:
            interrupt()
    graph = {i: Task(i, task, i, *[TaskRef(i - 1)] * (i > 0)) for i in range(100_000)}
    print(ends_with_interrupt(graph, 99_999, 2) and len(ran) < 100_000)
    """,
    "many short tasks written in C": """
    graph = {0: Task(0, interrupt), **{i: Task(i, repr, TaskRef(0)) for i in range(1, 200_000)}}
    print(ends_with_interrupt(graph, list(graph), 1))
    """,
    # A call into C that does not end when a signal comes: after a long one the main thread computes no more.
    "long calls into C": f"""
    import ctypes
    usleep = ctypes.CDLL(None).usleep
    def task(*_before):
        threading.Thread(target=lambda: release.wait(0.1) or interrupt()).start()
        ended = usleep({int(WAIT / 2 * 1e6)})
        ran.append(ended)
    graph = {{0: Task(0, usleep, 60_000), 1: Task(1, usleep, 60_000)}}
    graph["long"] = Task("long", task, TaskRef(0), TaskRef(1))
    print(ends_with_interrupt(graph, "long", 2) and not ran)
    """,
    "inside an inner run": f"""
    meeting = threading.Barrier(2, timeout={WAIT})
    def task():
        meeting.wait()
        if threading.current_thread() is not main:
            interrupt()
            release.wait({WAIT})
    def outer():
        return get({{i: Task(i, task) for i in range(2)}}, [0, 1], num_workers=2)
    meet(2)
    print(ends_with_interrupt({{0: Task(0, outer), 1: Task(1, abs, TaskRef(0))}}, 1, 2))
    """,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_ctrl_c_ends_the_wait_and_the_pool_goes_on(body):
    """KeyboardInterrupt comes out of `get`; when the stuck tasks have ended, runs have all their workers again."""
    end = """
    release.set()
    print(meet(2), meet(4))
    """

    assert ["True", "True True"] == output_of(PREAMBLE + body + end)


@pytest.mark.parametrize("option", ["raise_exception=lambda error, _: None", "rerun_exceptions_locally=True"])
def test_ctrl_c_is_not_the_error_of_a_task(option):
    """Neither is it handed to `raise_exception`, nor is the task run again."""
    body = f"""
    started = threading.Event()
    threading.Thread(target=lambda: started.wait({WAIT}) and interrupt()).start()
    def task():
        ran.append(1)
        started.set()
        while not release.wait(0.1):
            pass
    try:
        get({{0: Task(0, task)}}, 0, num_workers=2, {option})
    except KeyboardInterrupt as error:
        print(len(ran), getattr(error, "__notes__", [])[1:])
    """

    assert ["1 []"] == output_of(PREAMBLE + body)


def test_ctrl_c_while_a_thread_is_to_be_started_leaves_no_ghost():
    """A thread that was not started is not counted, so later runs have all their workers."""
    body = """
    from dask_ferris import _pool
    numbers, n_calls = _pool._numbers, []
    class Interrupted:
        def __next__(self):
            n_calls.append(1)
            raise KeyboardInterrupt
    _pool._numbers = Interrupted()
    graph = {i: Task(i, time.sleep, 0.01) for i in range(4)}
    for _ in range(2):
        print(ends_with_interrupt(graph, list(graph), 2), dask_ferris.statistics().n_workers)
    _pool._numbers = numbers
    print(meet(2), meet(4), len(n_calls))
    """

    assert ["True 0", "True 0", "True True 2"] == output_of(PREAMBLE + body)


def test_tasks_that_had_not_begun_never_begin():
    """After Ctrl-C no task of the interrupted run starts, also when those that were under way have ended."""
    body = f"""
    meeting = threading.Barrier(2, timeout={WAIT})
    def task(i):
        ran.append(i)
        meeting.wait()
        if threading.current_thread() is not main:
            interrupt()
            release.wait({WAIT})
    print(ends_with_interrupt({{i: Task(i, task, i) for i in range(50)}}, list(range(50)), 2))
    release.set()
    print(meet(2), meet(4), len(ran) <= 3)
    """

    assert ["True", "True True True"] == output_of(PREAMBLE + body)


def test_ctrl_c_leaves_stuck_tasks_behind():
    """After an interrupt the pool works although the interrupted run's task is still stuck on a thread of it."""
    body = f"""
    meeting = threading.Barrier(2, timeout={WAIT})
    def task():
        meeting.wait()
        if threading.current_thread() is not main:
            interrupt()
            release.wait()
    print(ends_with_interrupt({{i: Task(i, task) for i in range(2)}}, [0, 1], 2))
    print(meet(2), meet(4))
    """

    assert ["True", "True True"] == output_of(PREAMBLE + body)


def test_handlers_of_other_signals_run_while_the_caller_waits():
    """A signal handler written in Python runs while the main thread waits, and the run goes on."""
    body = f"""
    handled = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    meeting = threading.Barrier(2, timeout={WAIT})
    def task():
        meeting.wait()
        if threading.current_thread() is not main:
            os.kill(os.getpid(), signal.SIGUSR1)
            return handled.wait({WAIT})
        return True
    print(get({{i: Task(i, task) for i in range(2)}}, [0, 1], num_workers=2))
    """

    assert ["(True, True)"] == output_of(PREAMBLE + body)


def test_an_exception_of_a_signal_handler_ends_the_run():
    """Whatever a handler raises while the caller waits comes out of `get`, as from any wait of Python's."""
    body = f"""
    class Alarm(Exception): pass
    def handler(*_):
        raise Alarm
    signal.signal(signal.SIGUSR1, handler)
    meeting = threading.Barrier(2, timeout={WAIT})
    def task():
        meeting.wait()
        if threading.current_thread() is not main:
            os.kill(os.getpid(), signal.SIGUSR1)
            release.wait({WAIT})
    try:
        get({{i: Task(i, task) for i in range(2)}}, [0, 1], num_workers=2)
    except Alarm:
        release.set()
        print(meet(3))
    """

    assert ["True"] == output_of(PREAMBLE + body)


def test_ctrl_c_through_compute():
    """`compute` passes the KeyboardInterrupt on, and the next compute works."""
    body = f"""
    def block(i):
        if threading.current_thread() is main:
            started.wait({WAIT})
            return i
        started.set()
        interrupt()
        release.wait({WAIT})
    started = threading.Event()
    try:
        dask.compute([dask.delayed(block)(i) for i in range(2)], scheduler=get, num_workers=2)
    except KeyboardInterrupt:
        release.set()
        print(dask.delayed(sum)([1, 2]).compute(scheduler=get))
    """

    assert ["3"] == output_of(PREAMBLE + body)
