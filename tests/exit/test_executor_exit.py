"""The end of the interpreter, Ctrl-C and fork, as executors see them: what was accepted is done, and the end comes."""

from __future__ import annotations

import textwrap

import pytest
from gates import WAIT
from subprocesses import IN_CHILD, output_of, run_program

PREAMBLE = f"""
    import atexit, os, signal, sys, threading, time, concurrent.futures as cf
    import dask_ferris
    from dask_ferris import Executor, Retry
    WAIT = {WAIT}
    main, started, release, ran = threading.main_thread(), threading.Event(), threading.Event(), []
    def stick():
        started.set()
        release.wait(WAIT)
    def say(*words):
        sys.stdout.write(" ".join(map(str, words)) + "\\n")  # in one piece, beside other threads
        sys.stdout.flush()
    def nap_and_say(word):
        time.sleep(0.01)
        say(word)
    def spin():
        started.set()
        while True:
            pass
    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    def interrupt_soon():
        threading.Timer(0.2, interrupt).start()
    def interrupted(function, *args):
        interrupt_soon()
        try:
            function(*args)
        except KeyboardInterrupt:
            return True
    def meet(executor, n):
        meeting = threading.Barrier(n, timeout=WAIT)
        return sorted(place.result() for place in [executor.submit(meeting.wait) for _ in range(n)]) == list(range(n))
"""


def lines_of(body, **options):
    """Return what a program prints that ends with status 0 and nothing on stderr."""
    return output_of(textwrap.dedent(IN_CHILD) + textwrap.dedent(PREAMBLE) + textwrap.dedent(body), **options)


# ---- The end of the program

# What each prints after the end of its main thread.
PROGRAMS = {
    "unused executor": ("Executor(2)", []),
    "idle executor": ("executor = Executor(2); meet(executor, 2)", []),
    "many idle executors": ("executors = [Executor(2) for _ in range(20)]; [meet(e, 2) for e in executors]", []),
    "queued tasks": (
        "executor = Executor(1); futures = [executor.submit(nap_and_say, i) for i in range(5)]",
        ["0", "1", "2", "3", "4"],
    ),
    "queued tasks of an executor that nobody has": (
        "executor = Executor(1); [executor.submit(nap_and_say, i) for i in range(5)]; del executor",
        ["0", "1", "2", "3", "4"],
    ),
    "queued tasks of a view": (
        """
        view = Executor(1).with_options(priority=2)
        [view.submit(nap_and_say, i) for i in range(3)]
        """,
        ["0", "1", "2"],
    ),
    "queued tasks of a view that nobody has": (
        "[submit(nap_and_say, i) for submit in [Executor(1).with_options(priority=2).submit] for i in range(3)]",
        ["0", "1", "2"],
    ),
    "queued tasks after a shutdown that did not wait": (
        """
        executor = Executor(1)
        [executor.submit(nap_and_say, i) for i in range(3)]
        executor.shutdown(wait=False)
        """,
        ["0", "1", "2"],
    ),
    "sleeping tasks": (
        "executor = Executor(3); [executor.submit(lambda: (time.sleep(0.3), say('awake'))) for _ in range(3)]",
        ["awake"] * 3,
    ),
    "retries that wait": (
        """
        def flaky():
            ran.append(1)
            if len(ran) < 4:
                raise LookupError
            say("attempt", len(ran))
        executor = Executor(1)
        executor.with_options(retries=Retry(4, backoff=0.05)).submit(flaky)
        """,
        ["attempt 4"],
    ),
    "retries that wait, of an executor that nobody has": (
        """
        def flaky():
            ran.append(1)
            if len(ran) < 4:
                raise LookupError
            say("attempt", len(ran))
        Executor(1).with_options(retries=Retry(4, backoff=0.05)).submit(flaky)
        """,
        ["attempt 4"],
    ),
    "a retry after a timeout": (
        """
        def slow():
            ran.append(1)
            if len(ran) == 1:
                spin()
            say("attempt", len(ran))
        executor = Executor(1)
        executor.with_options(timeout=0.2, retries=Retry(2, backoff=0.05)).submit(slow)
        """,
        ["attempt 2"],
    ),
    "tasks that wait for others": (
        """
        executor = Executor(1)
        last = executor.submit(lambda: time.sleep(0.1) or 0)
        for _ in range(50):
            last = executor.submit(lambda x: x + 1, last)
        executor.submit(say, last)
        """,
        ["50"],
    ),
    "nested waits": (
        """
        executor = Executor(1)
        def deep(n):
            return executor.submit(deep, n - 1).result(WAIT) + 1 if n else time.sleep(0.1) or 0
        del deep
        executor.submit(lambda: (time.sleep(0.1), say("outer")))
        """,
        ["outer"],
    ),
    "a stuck task whose time was up": (
        """
        executor = Executor(1)
        future = executor.with_options(timeout=0.05).submit(time.sleep, 10 * WAIT)
        assert isinstance(future.exception(), dask_ferris.TaskTimeoutError)
        executor.submit(nap_and_say, "after")
        """,
        ["after"],
    ),
    "many stuck tasks whose time was up": (
        """
        executor = Executor(3)
        view = executor.with_options(timeout=0.05)
        futures = [view.submit(time.sleep, 10 * WAIT) for _ in range(9)]
        assert all(isinstance(future.exception(), dask_ferris.TaskTimeoutError) for future in futures)
        """,
        [],
    ),
    "a task whose time is up at the end": (
        "executor = Executor(1); executor.with_options(timeout=0.3).submit(time.sleep, 10 * WAIT)",
        [],
    ),
    "a pure Python loop whose time is up at the end": (
        "executor = Executor(1); executor.with_options(timeout=0.3).submit(spin)",
        [],
    ),
    "a callback that is called at the end": (
        """
        executor = Executor(1)
        executor.submit(time.sleep, 0.2).add_done_callback(lambda _: say("callback"))
        """,
        ["callback"],
    ),
    "a callback of a task whose time is up at the end": (
        """
        executor = Executor(1)
        future = executor.with_options(timeout=0.2).submit(time.sleep, 10 * WAIT)
        future.add_done_callback(lambda _: say("callback"))
        """,
        ["callback"],
    ),
    "results that are still held": (
        """
        class Value: pass
        executor = Executor(2)
        futures = [executor.submit(Value) for _ in range(100)]
        futures[0].mine = futures
        sys.modules["kept"] = executor, futures
        """,
        [],
    ),
    "a map that nobody takes": (
        "executor = Executor(1); results = executor.map(nap_and_say, range(3))",
        ["0", "1", "2"],
    ),
    "a map that reads ahead": (
        """
        import itertools
        executor = Executor(1)
        results = executor.map(abs, itertools.count(), buffersize=3)
        next(results)
        """,
        [],
    ),
    "a blocked submitter on a daemon thread": (
        """
        executor = Executor(1, max_queued=1)
        executor.submit(lambda: (started.set(), time.sleep(0.3)))
        started.wait(WAIT)
        executor.submit(say, "queued")
        def submit():
            try:
                executor.submit(say, "never")
            except dask_ferris.PoolClosedError:
                pass
        threading.Thread(target=submit, daemon=True).start()
        """,
        ["queued"],
    ),
    "a result that a daemon thread waits for": (
        """
        future = dask_ferris.Future()
        threading.Thread(target=future.result, daemon=True).start()
        """,
        [],
    ),
    "SystemExit from a task": (
        "executor = Executor(1); future = executor.submit(sys.exit, 3); future.exception()",
        [],
    ),
}


@pytest.mark.parametrize(("body", "after"), PROGRAMS.values(), ids=PROGRAMS)
def test_the_interpreter_ends_when_all_is_done(body, after):
    """With status 0 and nothing on stderr, after every task that was accepted."""
    program = textwrap.dedent(body) + "\nsay('end of the program')\n"
    printed = lines_of(program)

    assert "end of the program" in printed
    printed.remove("end of the program")
    assert after == printed


def test_sys_exit_waits_too():
    """The status is the program's, and queued tasks are done."""
    body = """
        executor = Executor(1)
        [executor.submit(nap_and_say, i) for i in range(3)]
        sys.exit(7)
    """
    done = run_program(textwrap.dedent(PREAMBLE) + textwrap.dedent(body))

    assert (["0", "1", "2"], "", 7) == (done.stdout.split(), done.stderr, done.returncode)


def test_an_error_of_the_program_waits_too():
    """The traceback is shown, and queued tasks are done."""
    body = """
        executor = Executor(1)
        [executor.submit(nap_and_say, i) for i in range(3)]
        raise LookupError("of the program")
    """
    done = run_program(textwrap.dedent(PREAMBLE) + textwrap.dedent(body))

    assert (["0", "1", "2"], 1) == (done.stdout.split(), done.returncode)
    assert "of the program" in done.stderr.splitlines()[-1]


def test_tasks_may_not_submit_when_the_end_has_begun():
    """As in the standard library; they go on themselves."""
    body = """
        def task():
            release.wait(WAIT)
            time.sleep(0.2)
            try:
                executor.submit(int)
            except RuntimeError as error:
                say(type(error).__name__, error)
        executor = Executor(1)
        executor.submit(task)
        threading._register_atexit(release.set)
    """

    assert ["PoolClosedError cannot schedule new futures after interpreter shutdown"] == lines_of(body)


@pytest.mark.parametrize("which", ["executor", "Executor(1)", "executor.with_options(priority=2)"])
def test_nothing_is_accepted_in_exit_handlers(which):
    """By an executor that was there, nor by a new one; results that are there can be had."""
    body = f"""
        def late():
            say(future.result())
            try:
                {which}.submit(say, "late").result(WAIT)
            except RuntimeError as error:
                say(error)
        executor = Executor(1)
        future = executor.submit(abs, -3)
        atexit.register(late)
    """

    assert ["3", "cannot schedule new futures after interpreter shutdown"] == lines_of(body)


def test_executors_on_other_threads_are_finished():
    """A thread that is no daemon has given one its tasks before the main thread ended, and takes the results after."""
    body = """
        def run():
            with Executor(2) as executor:
                results = executor.map(lambda i: time.sleep(0.01) or i, range(50))
                started.set()
                say(sum(results))
        threading.Thread(target=run).start()
        started.wait(WAIT)
    """

    assert ["1225"] == lines_of(body)


def test_an_executor_that_nobody_has_finishes_and_its_threads_go():
    """While the program goes on."""
    body = """
        futures = [Executor(2).submit(abs, -i) for i in range(50)]
        print(sum(future.result() for future in futures))
        end = time.monotonic() + WAIT
        while any("ThreadPoolExecutor" in thread.name for thread in threading.enumerate()):
            assert time.monotonic() < end
            time.sleep(0.01)
        print("gone")
    """

    assert ["1225", "gone"] == lines_of(body)


# ---- Ctrl-C

INTERRUPTS = {
    "result": "interrupted(executor.submit(stick).result)",
    "result with a limit": "interrupted(executor.submit(stick).result, WAIT)",
    "exception": "interrupted(executor.submit(stick).exception)",
    "wait": "interrupted(cf.wait, [executor.submit(stick)])",
    "as_completed": "interrupted(list, cf.as_completed([executor.submit(stick)]))",
    "wait of the executor": "interrupted(executor.wait, [executor.submit(stick)])",
    "map": "interrupted(list, executor.map(lambda _: stick(), range(2)))",
    "map that reads ahead": "interrupted(list, executor.map(lambda _: stick(), range(2), buffersize=1))",
    "a batch": "interrupted(executor.submit_batch, [stick, stick])",
    "the length of a map's text": "interrupted(str, executor.map(lambda _: stick(), range(2)))",
    "a future made by hand": "interrupted(dask_ferris.Future().result)",
    "a task that waits for another attempt": (
        "interrupted(executor.with_options(retries=Retry(2, backoff=60)).submit(divmod, 1, 0).result)"
    ),
    "a task that waits for a future": "interrupted(executor.submit(int, dask_ferris.Future()).result)",
}


@pytest.mark.parametrize("wait", INTERRUPTS.values(), ids=INTERRUPTS)
def test_ctrl_c_ends_a_wait(wait):
    """KeyboardInterrupt comes out of it, and the executor goes on."""
    body = f"""
        executor = Executor(2)
        print({wait})
        release.set()
        print(meet(executor, 2))
        executor.shutdown(cancel_futures=True)
    """

    assert ["True", "True"] == lines_of(body)


@pytest.mark.parametrize("how", ["shutdown", "exit"])
def test_ctrl_c_ends_a_shutdown(how):
    """The executor is closed, and what it was given goes on."""
    call = "executor.shutdown" if how == "shutdown" else "executor.__exit__, None, None, None"
    body = f"""
        executor = Executor(1)
        future, queued = executor.submit(stick), executor.submit(abs, -3)
        started.wait(WAIT)
        print(interrupted({call}))
        print(executor.is_active(), queued.done())
        release.set()
        print(queued.result())
        executor.shutdown()
    """

    assert ["True", "False False", "3"] == lines_of(body)


def test_ctrl_c_in_a_with_block():
    """The block's end waits for the tasks; a second Ctrl-C ends that wait."""
    body = """
        try:
            with Executor(1) as executor:
                future = executor.submit(stick)
                started.wait(WAIT)
                interrupt_soon()
                try:
                    future.result()
                except KeyboardInterrupt:
                    print("first")
                    interrupt_soon()
        except KeyboardInterrupt:
            print("second", executor.is_active(), future.done())
        release.set()
        print(future.result())
    """

    assert ["first", "second False False", "None"] == lines_of(body)


@pytest.mark.parametrize("task", ["release.wait", "lambda: [time.sleep(0.01) for _ in iter(int, 1)]"])
def test_ctrl_c_ends_the_wait_at_the_end(task):
    """As in the standard library: the traceback is shown, and the interpreter is gone."""
    body = f"""
        executor = Executor(2)
        futures = [executor.submit({task}) for _ in range(5)]
        interrupt_soon()
        say("end")
    """
    done = run_program(textwrap.dedent(PREAMBLE) + textwrap.dedent(body))

    assert "end\n" == done.stdout
    assert "KeyboardInterrupt" in done.stderr
    assert "Fatal" not in done.stderr


def test_ctrl_c_goes_to_no_task():
    """Tasks run on other threads than the one that sees signals, and go on."""
    body = """
        executor = Executor(2)
        def task(i):
            started.set()
            release.wait(WAIT)
            return i
        futures = [executor.submit(task, i) for i in range(10)]
        started.wait(WAIT)
        print(interrupted(cf.wait, futures))
        release.set()
        print([future.result() for future in futures] == list(range(10)))
    """

    assert ["True", "True"] == lines_of(body)


# ---- Fork

FORKS = {
    "before any use": "executor = Executor(3); print(in_child(lambda: meet(executor, 3)), meet(executor, 3))",
    "after use": """
        executor = Executor(3)
        meet(executor, 3)
        print(in_child(lambda: meet(executor, 3)), meet(executor, 3))
    """,
    "a new executor in the child": """
        executor = Executor(2)
        meet(executor, 2)
        print(in_child(lambda: meet(Executor(3), 3)), meet(executor, 2))
    """,
    "a view": """
        executor = Executor(2, resources={"gpu": 2})
        view = executor.with_options(resources={"gpu": 1}, priority=3, retries=2, timeout=WAIT)
        meet(view, 2)
        print(in_child(lambda: meet(view, 2) and meet(executor.with_options(resources={"gpu": 1}), 2)), meet(view, 2))
    """,
    "while tasks run and wait": """
        executor = Executor(2, resources={"gpu": 1})
        gpu = executor.with_options(resources={"gpu": 1})
        futures = [gpu.submit(stick) for _ in range(3)] + [executor.submit(int) for _ in range(3)]
        started.wait(WAIT)
        status = in_child(lambda: meet(executor, 2) and gpu.submit(abs, -1).result(WAIT) == 1)
        release.set()
        print(status, all(future.result() in (None, 0) for future in futures))
    """,
    "with retries and timeouts in the child": """
        executor = Executor(1)
        def flaky(ran):
            ran.append(1)
            if len(ran) == 1:
                raise LookupError
            if len(ran) == 2:
                spin()
            return True
        def use():
            view = executor.with_options(timeout=0.2, retries=Retry(3, backoff=0.01))
            return view.submit(flaky, []).result(WAIT)
        use()
        print(in_child(use), use())
    """,
    "with a retry of the parent waiting": """
        executor = Executor(1)
        def flaky():
            ran.append(1)
            if len(ran) < 2:
                raise LookupError
            return len(ran)
        future = executor.with_options(retries=Retry(2, backoff=0.5, jitter=False)).submit(flaky)
        executor.submit(int).result()
        status = in_child(lambda: meet(executor, 1) and isinstance(future.exception(WAIT), dask_ferris.BrokenPoolError))
        print(status, future.result() == 2)
    """,
    "in a task": """
        executor = Executor(2)
        print(executor.submit(in_child, lambda: meet(executor, 2)).result(), meet(executor, 2))
    """,
    "in a task with a limit": """
        executor = Executor(2)
        task = executor.with_options(timeout=WAIT).submit(in_child, lambda: meet(executor, 2))
        print(task.result(), meet(executor, 2))
    """,
    "in nested tasks": """
        executor = Executor(1)
        def outer():
            return executor.submit(in_child, lambda: executor.submit(abs, -1).result() == 1).result()
        print(executor.submit(outer).result(), meet(executor, 1))
    """,
    "in a callback": """
        import queue
        executor, statuses = Executor(2), queue.Queue()
        future = executor.submit(time.sleep, 0.1)
        future.add_done_callback(lambda _: statuses.put(in_child(lambda: meet(executor, 2))))
        print(statuses.get(timeout=WAIT), meet(executor, 2))
    """,
    "with a full queue": """
        executor = Executor(1, max_queued=1)
        executor.submit(stick)
        started.wait(WAIT)
        executor.submit(int)
        status = in_child(lambda: sum(executor.map(abs, range(10))) == 45)
        release.set()
        print(status, sum(executor.map(abs, range(10))) == 45)
    """,
    "again and again": """
        executor = Executor(2)
        meet(executor, 2)
        print(in_child(lambda: meet(executor, 2) and in_child(lambda: meet(executor, 2)) == 0), meet(executor, 2))
    """,
    "with many executors, some of them shut down": """
        executors = [Executor(1) for _ in range(10)]
        for executor in executors:
            meet(executor, 1)
        for executor in executors[::2]:
            executor.shutdown()
        print(in_child(lambda: all(meet(executor, 1) for executor in executors[1::2])), meet(executors[1], 1))
    """,
}


def lines_of_fork(body):
    """Return what a program prints that forks beside threads, of which CPython warns from 3.12 on."""
    return lines_of(body, options=("-W", "ignore::DeprecationWarning"))


@pytest.mark.parametrize("body", FORKS.values(), ids=FORKS)
def test_child_and_parent_both_use_the_executor(body):
    """The child has threads of its own, and the parent's go on."""
    assert ["0 True"] == lines_of_fork(body)


@pytest.mark.parametrize("end", ["shut down", "broken"])
def test_an_executor_that_was_closed_is_closed_in_the_child(end):
    """Shut down or broken, it takes nothing there either."""
    body = f"""
        import logging
        logging.disable(logging.CRITICAL)
        def initializer():
            if "{end}" == "broken":
                raise LookupError
        executor = Executor(1, initializer=initializer)
        first = executor.submit(int).exception(WAIT)
        executor.shutdown()
        def use():
            try:
                executor.submit(int)
            except RuntimeError as error:
                say(executor.is_active(), type(error).__name__)
                return True
        print(first is None, in_child(use), use())
    """
    name = "PoolClosedError" if end == "shut down" else "BrokenPoolError"

    assert [f"False {name}"] * 2 + [f"{end == 'shut down'} 0 True"] == lines_of_fork(body)


@pytest.mark.parametrize("executor", ["executor", "Executor(1)"], ids=["the same", "another"])
def test_a_fork_in_a_task_leaves_the_queue_to_the_parent(executor):
    """What waits behind the task runs there, once, though the child waits for tasks of its own."""
    body = f"""
        executor, go = Executor(1), threading.Event()
        def fork():
            go.wait(WAIT)
            return in_child(lambda: {executor}.submit(time.sleep, 0.1).result(WAIT) is None)
        forked = executor.submit(fork)
        queued = [executor.submit(os.getpid) for _ in range(3)]
        go.set()
        print(forked.result(), [future.result() == os.getpid() for future in queued])
    """

    assert ["0 [True, True, True]"] == lines_of_fork(body)


def test_futures_of_the_parent_fail_in_the_child():
    """Those that are not done when it forks: nobody there will end them, and every wait says so."""
    body = """
        executor = Executor(1)
        done, running, queued = executor.submit(abs, -1), executor.submit(stick), executor.submit(abs, -2)
        repeated = executor.submit(abs, queued)
        started.wait(WAIT)
        def use():
            say(done.result(), *(type(future.exception(WAIT)).__name__ for future in [running, queued, repeated]))
            say(len(cf.wait([done, running, queued, repeated], WAIT).done))
            return meet(executor, 1)
        status = in_child(use)
        release.set()
        print(status, queued.result(), repeated.result())
    """

    assert ["1 BrokenPoolError BrokenPoolError BrokenPoolError", "4", "0 2 2"] == lines_of_fork(body)


def test_the_child_may_end_in_the_ordinary_way():
    """It finishes what it was given, and does not wait for what the parent was."""
    body = """
        executor = Executor(1)
        executor.submit(stick)
        started.wait(WAIT)
        waiting = executor.submit(int)
        child = os.fork()
        if child == 0:
            [executor.submit(nap_and_say, i) for i in range(3)]
            sys.exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        release.set()
        print(status)
    """

    assert ["0", "1", "2", "0"] == lines_of_fork(body)


def test_forks_of_a_busy_executor():
    """A hundred times, from tasks, while other threads submit and wait: the child can always use it."""
    body = """
        executor, over = Executor(3), threading.Event()
        def feed():
            while not over.is_set():
                for future in [executor.submit(sum, range(50)) for _ in range(20)]:
                    future.result()
        feeders = [threading.Thread(target=feed) for _ in range(2)]
        for feeder in feeders:
            feeder.start()
        def use():
            signal.alarm(int(WAIT / 2))
            return executor.submit(abs, -1).result() == 1 and executor.submit(abs, -1).result(WAIT) == 1
        statuses = {executor.submit(in_child, use).result() for _ in range(100)}
        over.set()
        for feeder in feeders:
            feeder.join()
        print(statuses)
    """

    assert ["{0}"] == lines_of_fork(body)
