"""The end of the interpreter: it comes, with status 0 and nothing on stderr, whatever the pool is doing."""

from __future__ import annotations

import textwrap

import pytest
from gates import WAIT
from subprocesses import output_of

PREAMBLE = f"""
    import atexit, gc, sys, threading, time, weakref
    import dask_ferris
    from dask._task_spec import Task, TaskRef
    WAIT = {WAIT}
    never, started = threading.Event(), threading.Event()
    def meet(n):
        meeting = threading.Barrier(n, timeout=WAIT)
        graph = {{i: Task(i, meeting.wait) for i in range(n)}}
        return sorted(dask_ferris.get(graph, list(graph), num_workers=n))
    def in_thread(function, daemon):
        thread = threading.Thread(target=function, daemon=daemon)
        thread.start()
        return thread
    def compute(task, n):
        dask_ferris.get({{i: Task(i, task) for i in range(n)}}, list(range(n)), num_workers=n)
    def stick():
        started.set()
        never.wait()
    def spin():
        started.set()
        while True:
            pass
    def nap():
        started.set()
        while True:
            time.sleep(0.001)
"""

PROGRAMS = {
    "only imported": "pass",
    "unused pool": "dask_ferris.get({'x': Task('x', abs, -1)}, 'x')",
    "idle pool": "meet(4)",
    "idle pool, used from another thread": "in_thread(lambda: meet(3), daemon=False).join()",
    "waiting task on a daemon thread": "in_thread(lambda: compute(stick, 1), daemon=True); started.wait(WAIT)",
    "waiting tasks on workers": "in_thread(lambda: compute(stick, 3), daemon=True); started.wait(WAIT)",
    "napping tasks on workers": "in_thread(lambda: compute(nap, 3), daemon=True); started.wait(WAIT)",
    "spinning tasks on workers": "in_thread(lambda: compute(spin, 2), daemon=True); started.wait(WAIT)",
    "waiting in an inner run": """
        in_thread(lambda: compute(lambda: compute(stick, 2), 2), daemon=True)
        started.wait(WAIT)
    """,
    "a caller that waits for a helper": """
        def task():
            if threading.current_thread() is not caller:
                stick()
            started.wait(WAIT)
        caller = threading.Thread(target=lambda: compute(task, 2), daemon=True)
        caller.start()
        started.wait(WAIT)
    """,
    "a value that takes its time to die": """
        class Slow:
            def __del__(self, sleep=time.sleep):
                sleep(0.2)  # gives the GIL away while the interpreter is ending
        in_thread(lambda: compute(nap, 3), daemon=True)
        started.wait(WAIT)
        sys.modules["slow"] = Slow()
    """,
    "results that are still held": """
        class Value: pass
        kept = dask_ferris.get({i: Task(i, Value) for i in range(100)}, list(range(100)), num_workers=3)
        program = dask_ferris._native.compile({"x": Task("x", lambda: kept)}, "x")
        sys.modules["kept"] = kept, program
    """,
    "a failed run": """
        def fail():
            raise LookupError
        try:
            compute(fail, 3)
        except LookupError as error:
            kept = error
    """,
    "sys.exit in the main thread": """
        in_thread(lambda: compute(stick, 2), daemon=True)
        started.wait(WAIT)
        print("end of the program")
        sys.exit()
    """,
    "SystemExit from a task": """
        try:
            compute(sys.exit, 2)
        except SystemExit:
            pass
    """,
    "abandoned helpers after a failure": """
        def task():
            if not started.is_set():
                stick()
            raise LookupError
        def fail():
            try:
                dask_ferris.get({0: Task(0, task), 1: Task(1, task)}, [0, 1], num_workers=2)
            except LookupError:
                pass
        in_thread(fail, daemon=True)
        started.wait(WAIT)
    """,
}


@pytest.mark.parametrize("body", PROGRAMS.values(), ids=PROGRAMS)
def test_the_interpreter_ends(body):
    """The program reaches its end and is gone, without a word."""
    program = textwrap.dedent(PREAMBLE) + textwrap.dedent(body) + "\nprint('end of the program')\n"

    assert ["end of the program"] == output_of(program)


def test_a_run_on_an_ordinary_thread_is_finished():
    """The interpreter waits for threads that are no daemons, and a run there goes on to its result."""
    body = """
        def task(i):
            started.set()
            main_is_over.wait(WAIT)
            return i
        def run():
            graph = {i: Task(i, task, i) for i in range(6)}
            print(dask_ferris.get(graph, list(graph), num_workers=3))
        main_is_over = threading.Event()
        in_thread(run, daemon=False)
        started.wait(WAIT)
        threading._register_atexit(main_is_over.set)
        print("end of the program")
    """

    assert ["end of the program", "(0, 1, 2, 3, 4, 5)"] == output_of(textwrap.dedent(PREAMBLE) + textwrap.dedent(body))


def test_a_run_in_an_exit_handler_gives_its_result():
    """`atexit` functions may compute: the calling thread runs what is to be run."""
    body = """
        graph = {i: Task(i, abs, -i) for i in range(20)}
        atexit.register(lambda: print(sum(dask_ferris.get(graph, list(graph), num_workers=3))))
        meet(3)
    """

    assert ["190"] == output_of(textwrap.dedent(PREAMBLE) + textwrap.dedent(body))
