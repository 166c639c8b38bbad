"""Tracing: debuggers, profilers and coverage tools see the worker threads."""

from __future__ import annotations

import pytest
from subprocesses import output_of

PROGRAM = """
    import dask_ferris, sys, threading
    from dask._task_spec import Task

    seen = set()
    def hook(frame, event, _argument):
        if frame.f_code.co_name == "task" and event == "call":
            seen.add(threading.current_thread().name)

    def task():
        meeting.wait()

    def meet():
        graph = {i: Task(i, task) for i in range(3)}
        dask_ferris.get(graph, list(graph), num_workers=3)

    meeting = threading.Barrier(3, timeout=60)
    threading.SET(hook)
    sys.SET(hook)
    meet()
    sys.SET(None)
    print(len(seen), sorted(name for name in seen if name.startswith("ferris-")))
"""


@pytest.mark.parametrize("setter", ["settrace", "setprofile"])
def test_hooks_of_threading_see_the_tasks_on_workers(setter):
    """`threading.settrace` and `threading.setprofile` count for the threads of the pool."""
    program = PROGRAM.replace("SET", setter)

    assert ["3 ['ferris-1', 'ferris-2']"] == output_of(program)


@pytest.mark.parametrize("setter", ["settrace", "setprofile"])
def test_hooks_of_the_caller_see_the_tasks_it_runs(setter):
    """`sys.settrace` in the caller sees the tasks that run there, and only those."""
    program = f"""
        import dask_ferris, sys
        from dask._task_spec import Task
        seen = []
        def hook(frame, event, _argument):
            if frame.f_code.co_name == "task" and event == "call":
                seen.append(event)
        def task():
            return 1
        sys.{setter}(hook)
        dask_ferris.get({{i: Task(i, task) for i in range(5)}}, list(range(5)), num_workers=1)
        sys.{setter}(None)
        print(len(seen))
    """

    assert ["5"] == output_of(program)
