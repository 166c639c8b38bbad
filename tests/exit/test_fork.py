"""Fork: the child of a process that has used the pool has a pool of its own."""

from __future__ import annotations

import pytest
from gates import WAIT
from subprocesses import IN_CHILD, output_of

PREAMBLE = f"""
    import os, sys, threading
    import dask_ferris
    from dask._task_spec import Task
    def meet(n):
        meeting = threading.Barrier(n, timeout={WAIT})
        graph = {{i: Task(i, meeting.wait) for i in range(n)}}
        return sorted(dask_ferris.get(graph, list(graph), num_workers=n)) == list(range(n))
"""


def output_of_fork(body):
    """Return what a program prints that forks beside threads, of which CPython warns from 3.12 on."""
    return output_of(IN_CHILD + PREAMBLE + body, options=("-W", "ignore::DeprecationWarning"))


BODIES = {
    "before any use": "print(in_child(lambda: meet(3)), meet(3))",
    "after use": "meet(3); print(in_child(lambda: meet(3)), meet(3))",
    "with more workers than before": "meet(2); print(in_child(lambda: meet(5)), meet(4))",
    "again and again": """
    meet(3)
    print(in_child(lambda: meet(2) and in_child(lambda: meet(3)) == 0 and meet(4)), meet(3))
    """,
    "many children": "meet(3); print(sum(in_child(lambda: meet(3)) for _ in range(10)), meet(3))",
    "from a thread": """
    meet(3)
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(in_child(lambda: meet(3))))
    thread.start()
    thread.join()
    print(statuses[0], meet(3))
    """,
    "while workers are in tasks": f"""
    forked, started = threading.Event(), threading.Barrier(3, timeout={WAIT})
    def task():
        started.wait()
        forked.wait({WAIT})
    graph = {{i: Task(i, task) for i in range(2)}}
    thread = threading.Thread(target=lambda: dask_ferris.get(graph, [0, 1], num_workers=2))
    thread.start()
    started.wait()
    status = in_child(lambda: meet(3))
    forked.set()
    thread.join()
    print(status, meet(3))
    """,
    "in a task": """
    print(dask_ferris.get({'x': Task('x', in_child, lambda: meet(3))}, 'x', num_workers=3), meet(3))
    """,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_child_and_parent_both_compute(body):
    """The child's runs have all their workers, and so have the parent's afterwards."""
    # From 3.12 on Python warns of any fork with threads about.
    assert ["0 True"] == output_of_fork("    " + body.strip())


def test_the_childs_pool_starts_empty():
    """Threads do not survive a fork, and are not counted in the child."""
    body = """
    meet(4)
    in_child(lambda: print(dask_ferris.statistics().n_workers) or meet(2) and print(dask_ferris.statistics().n_workers))
    print(dask_ferris.statistics().n_workers)
    """

    assert ["0", "1", "3"] == output_of_fork(body)


def test_the_child_may_end_in_the_ordinary_way():
    """A child that runs to the end of the interpreter does not wait for threads it does not have."""
    body = """
    meet(3)
    child = os.fork()
    if child == 0:
        print(meet(2), flush=True)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """

    assert ["True", "0"] == output_of_fork(body)


def test_worker_processes_of_multiprocessing_compute():
    """A pool of forked processes computes in each, after its parent has."""
    body = """
    import multiprocessing
    meet(3)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(meet, [2, 3, 4]))
    """

    assert ["[True, True, True]"] == output_of_fork(body)


def test_a_child_whose_main_thread_steps_aside_is_told_what_it_lacks():
    """A fork in the middle of a run, and a long task after it: an error in the child, and a result in the parent."""
    body = """
    import time
    from dask._task_spec import TaskRef
    busy, over = threading.Event(), threading.Event()
    def other():
        busy.set()
        return over.wait(60)
    def forker():
        busy.wait(60)
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            over.set()
        else:
            time.sleep(0.08)  # longer than the main thread goes on after
        return pid
    graph = {
        "a": Task("a", forker),
        "b": Task("b", other),
        "c": Task("c", bool, TaskRef("a")),
        "d": Task("d", bool, TaskRef("c")),
        "e": Task("e", bool, TaskRef("b")),
    }
    try:
        print("parent", dask_ferris.get(graph, ["d", "e"], num_workers=2), flush=True)
    except dask_ferris.exceptions.InternalError as error:
        print("child", "forked" in str(error), flush=True)
        os._exit(0)
    """

    assert ["child True", "parent (True, True)"] == output_of_fork(body)
