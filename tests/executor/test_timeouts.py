"""Limits of time: what becomes of the future, of the code, of the thread and of everybody else."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import contextlib
import itertools
import os
import threading
import time

import dask.config
import pytest
from dask._task_spec import Task
from gates import WAIT, barrier, wait_until_set
from subprocesses import output_of

import dask_ferris
from dask_ferris import Retry, TaskTimeoutError

SHORT = 0.05
"""The limit of tasks that are to exceed it."""

LONG = os.environ.get("FERRIS_LONG", "") == "1"


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


class Boom(Exception):
    """The exception of these tests."""


def wait_until(condition):
    """Wait until the condition holds, and say "deadlock" if it never does."""
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, f"deadlock: it did not come to that within {WAIT:.0f} s"
        time.sleep(0.001)


def spin():
    """Compute in pure Python, for ever if nothing comes."""
    end = time.monotonic() + 2 * WAIT
    while time.monotonic() < end:
        pass


def is_idle(pool, **numbers):
    """Say whether nothing runs, waits or is stuck, and numbers are as expected."""
    expected = {"active_threads": 0, "queued_tasks": 0, "n_abandoned": 0, **numbers}
    stats = pool.get_stats()._asdict()
    return expected == {name: stats[name] for name in expected}


# ---- The future


def test_a_task_that_takes_too_long_fails(make_pool):
    """With an error that is a TimeoutError, and names the task, the limit and the attempt."""
    error = make_pool(1).with_options(timeout=SHORT).submit(spin).exception(WAIT)

    assert isinstance(error, TaskTimeoutError)
    assert isinstance(error, TimeoutError)
    assert isinstance(error, dask_ferris.FerrisError)
    for part in ["spin", str(SHORT), "attempt 1"]:
        assert part in str(error)


def test_the_error_says_the_name_of_the_view(make_pool):
    """Where one was given."""
    view = make_pool(1).with_options(timeout=SHORT, name="load the table")

    assert "load the table" in str(view.submit(spin).exception(WAIT))


def test_a_task_within_its_limit_is_as_any_other(make_pool):
    """Results and errors come as they are, on all workers."""
    view = make_pool(2).with_options(timeout=WAIT)
    meeting = barrier(2)

    assert [0, 1] == sorted(future.result(WAIT) for future in [view.submit(meeting.wait) for _ in range(2)])
    with pytest.raises(ZeroDivisionError):
        view.submit(divmod, 1, 0).result(WAIT)
    assert list(range(100)) == list(view.map(abs, range(100)))


def test_a_limit_beyond_all_clocks_is_none(make_pool):
    """Numbers that no clock can hold."""
    for timeout in [1e12, 1e30, 1e300]:
        assert 3 == make_pool(1).with_options(timeout=timeout).submit(abs, -3).result(WAIT)


def test_time_in_the_queue_does_not_count(make_pool, gate):
    """The clock starts when the task does: those that wait longer than their limit run all the same."""
    pool = make_pool(1)
    gate.hold(pool)
    waiting = [pool.with_options(timeout=0.3).submit(abs, -i) for i in range(10)]

    time.sleep(0.4)  # longer than the limit
    gate.open()
    assert list(range(10)) == [future.result(WAIT) for future in waiting]


@pytest.mark.parametrize("how", ["wait", "as_completed", "result", "wait of the executor", "asyncio", "callback"])
def test_everybody_who_waits_sees_it(make_pool, how):
    """However they wait; the task itself goes on as long as it likes."""
    pool, release = make_pool(1), threading.Event()
    future = pool.with_options(timeout=SHORT).submit(wait_until_set, release)

    if how == "wait":
        assert {future} == cf.wait([future], WAIT).done
    elif how == "as_completed":
        assert [future] == list(cf.as_completed([future], WAIT))
    elif how == "wait of the executor":
        assert [future] == pool.wait([future], WAIT)
    elif how == "asyncio":

        async def main():
            with pytest.raises(TaskTimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(future), WAIT)

        asyncio.run(main())
    elif how == "callback":
        told = threading.Event()
        future.add_done_callback(lambda _: told.set())
        wait_until_set(told)
    with pytest.raises(TaskTimeoutError):
        future.result(WAIT)
    assert (True, False, False, 1) == (future.done(), future.running(), future.cancelled(), future.attempts)
    release.set()


def test_the_end_of_a_task_whose_time_was_up_changes_nothing(make_pool):
    """Neither its result nor its error comes to the future any more."""
    pool, releases = make_pool(1), [threading.Event(), threading.Event()]

    def late(release, error):
        wait_until_set(release)
        if error:
            raise error
        return "late"

    futures = [
        pool.with_options(timeout=SHORT).submit(late, *args) for args in zip(releases, [None, Boom], strict=True)
    ]
    errors = [future.exception(WAIT) for future in futures]
    for release in releases:
        release.set()
    wait_until(lambda: is_idle(pool, failed_tasks=2, completed_tasks=0))
    assert errors == [future.exception() for future in futures]
    assert [TaskTimeoutError] * 2 == list(map(type, errors))


def test_a_result_that_a_user_sets_in_time_stays(make_pool):
    """The limit passes, and the future is as it was."""
    pool, begun = make_pool(1), threading.Event()

    def task():
        begun.set()
        spin()

    future = pool.with_options(timeout=0.2).submit(task)
    wait_until_set(begun)
    future.set_result("mine")
    wait_until(lambda: is_idle(pool))
    assert "mine" == future.result()
    assert 0 == pool.submit(int).result(WAIT)


# ---- The code


def test_pure_python_is_interrupted(make_pool):
    """A loop without an end ends: its finally clause runs, and its thread takes the next task."""
    pool, left = make_pool(1), threading.Event()

    def task():
        try:
            while True:
                pass
        finally:
            left.set()

    assert isinstance(pool.with_options(timeout=SHORT).submit(task).exception(WAIT), TaskTimeoutError)
    wait_until_set(left)
    wait_until(lambda: is_idle(pool, failed_tasks=1))
    assert 0 == pool.submit(int).result(WAIT)


def test_the_interrupt_is_no_ordinary_exception(make_pool):
    """`except Exception` lets it pass, so that a loop that retries by itself ends."""
    pool, left = make_pool(1), threading.Event()

    def task():
        try:
            while True:
                with contextlib.suppress(Exception):
                    spin()
        finally:
            left.set()

    pool.with_options(timeout=SHORT).submit(task).exception(WAIT)
    wait_until_set(left)


def test_code_that_swallows_the_interrupt_revives_nothing(make_pool):
    """The future has failed, whatever the task returns then; the interrupt is sent once."""
    pool, swallowed = make_pool(1), []
    over = threading.Event()

    def task():
        try:
            spin()
        except BaseException as error:  # noqa: BLE001  swallowed on purpose
            swallowed.append(error)
        for _ in range(1000):  # a second interrupt would end this
            time.sleep(0)
        over.set()
        return "revived"

    future = pool.with_options(timeout=SHORT).submit(task)
    assert isinstance(future.exception(WAIT), TaskTimeoutError)
    wait_until_set(over)
    wait_until(lambda: is_idle(pool, failed_tasks=1, completed_tasks=0))
    assert isinstance(future.exception(), TaskTimeoutError)
    assert 1 == len(swallowed)


def test_code_that_cannot_be_interrupted_is_abandoned(make_pool):
    """It is counted until it comes back; other tasks run meanwhile, and the future has failed on time."""
    pool, release = make_pool(1), threading.Event()

    future = pool.with_options(timeout=SHORT).submit(wait_until_set, release)
    assert isinstance(future.exception(WAIT), TaskTimeoutError)
    wait_until(lambda: pool.get_stats().n_abandoned == 1)
    assert list(range(20)) == list(pool.map(abs, range(20)))
    assert 1 == pool.get_stats().n_abandoned
    release.set()
    wait_until(lambda: is_idle(pool, failed_tasks=1, completed_tasks=20))


def test_sleep_is_abandoned_too(make_pool):
    """`time.sleep` ends when it likes, and then its thread goes or works."""
    pool = make_pool(1)

    future = pool.with_options(timeout=SHORT).submit(time.sleep, 0.5)
    assert isinstance(future.exception(WAIT), TaskTimeoutError)
    assert 0 == pool.submit(int).result(WAIT)
    wait_until(lambda: is_idle(pool))


def test_another_thread_takes_the_place_of_an_abandoned_one(make_pool):
    """As many tasks as there are workers run at once, however many threads are stuck."""
    pool, release, meeting = make_pool(2), threading.Event(), barrier(2)
    view = pool.with_options(timeout=SHORT)

    for _ in range(3):
        stuck = [view.submit(wait_until_set, release) for _ in range(2)]
        assert [TaskTimeoutError] * 2 == [type(future.exception(WAIT)) for future in stuck]
        assert [0, 1] == sorted(future.result(WAIT) for future in [pool.submit(meeting.wait) for _ in range(2)])
    assert 6 == pool.get_stats().n_abandoned
    release.set()
    wait_until(lambda: is_idle(pool))
    wait_until(lambda: sum(thread.is_alive() for thread in pool._threads) <= 4)
    assert [0, 1] == sorted(future.result(WAIT) for future in [pool.submit(meeting.wait) for _ in range(2)])


def test_no_more_tasks_than_workers_after_abandoned_threads_came_back(make_pool, rng):
    """Two workers are two workers, whatever has been."""
    pool, lock = make_pool(2), threading.Lock()
    inside, most = 0, 0

    def task():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(rng.random() / 1000)
        with lock:
            inside -= 1

    view = pool.with_options(timeout=0.005)
    for _ in range(20):
        late = [view.submit(time.sleep, 0.01) for _ in range(4)]
        plain = [pool.submit(task) for _ in range(20)]
        cf.wait(late + plain, WAIT)
    wait_until(lambda: is_idle(pool))
    cf.wait([pool.submit(task) for _ in range(200)], WAIT)
    assert most <= 2


# ---- Attempts


def test_each_attempt_has_its_own_limit(make_pool):
    """A slow attempt is repeated like any that fails; the error names the last one."""
    pool, begun = make_pool(1), itertools.count(1)

    def task(n_slow):
        if next(begun) <= n_slow:
            spin()
        return "done"

    view = pool.with_options(timeout=SHORT, retries=2)
    future = view.submit(task, 2)
    assert ("done", 3) == (future.result(WAIT), future.attempts)
    begun = itertools.count(1)
    future = view.submit(task, 3)
    error = future.exception(WAIT)
    assert "attempt 3" in str(error)
    assert (3, error) == (future.attempts, future.last_error)
    assert 1 == len(error.__notes__)


def test_a_slow_attempt_is_the_last_where_that_is_asked_for(make_pool):
    """`not_on=TaskTimeoutError`, or its base in the standard library."""
    pool = make_pool(1)

    for error in [TaskTimeoutError, TimeoutError]:
        future = pool.with_options(timeout=SHORT, retries=Retry(3, not_on=error)).submit(spin)
        assert isinstance(future.exception(WAIT), TaskTimeoutError)
        assert 1 == future.attempts


def test_a_late_attempt_does_not_end_the_next_one(make_pool):
    """The first comes back with a result while the second runs, which counts alone."""
    pool, releases, begun = make_pool(1), [threading.Event() for _ in range(2)], itertools.count()

    def task():
        n = next(begun)
        wait_until_set(releases[n])
        return n

    view = pool.with_options(timeout=0.3, retries=1)
    future = view.submit(task)
    wait_until(lambda: future.attempts == 2)
    releases[0].set()
    wait_until(lambda: pool.get_stats().n_abandoned == 0)
    releases[1].set()
    cf.wait([future], WAIT)
    assert 1 == future.result() if future.exception() is None else isinstance(future.exception(), TaskTimeoutError)


@pytest.mark.parametrize("end", ["retry", "failure"])
@pytest.mark.parametrize("task", [spin, time.sleep])
def test_shutdown_waits_for_what_follows_a_timeout(make_pool, n_rounds, end, task):
    """The future of the last task is done when shutdown returns, with another attempt before if there is to be one."""
    args = (0.1,) if task is time.sleep else ()
    retries = Retry(2, backoff=0.02) if end == "retry" else None

    for _ in range(4 * n_rounds):
        pool = make_pool(1)
        future = pool.with_options(timeout=0.03, retries=retries).submit(task, *args)
        pool.shutdown()
        assert future.done()
        assert (2 if end == "retry" else 1) == future.attempts


def test_a_waiting_retry_after_a_timeout_is_cancelled_by_shutdown(make_pool):
    """Like any that waits."""
    pool = make_pool(1)
    retry = Retry(2, backoff=3600, max_delay=3600, jitter=False)
    future = pool.with_options(timeout=SHORT, retries=retry).submit(spin)
    wait_until(lambda: future.last_error is not None)

    assert (False, False) == (future.running(), future.done())
    pool.shutdown(cancel_futures=True)
    assert future.cancelled()


# ---- Callbacks


def test_callbacks_run_once_on_a_worker(make_pool):
    """Not on the thread that watches the clock, which has no time for them."""
    pool, names, told = make_pool(1), [], threading.Event()

    def callback(future):
        names.append(threading.current_thread().name)
        assert isinstance(future.exception(), TaskTimeoutError)
        told.set()

    future = pool.with_options(timeout=SHORT).submit(spin)
    future.add_done_callback(callback)
    wait_until_set(told)
    pool.shutdown()
    assert [True] == [name.startswith(pool._thread_name_prefix) for name in names]


def test_a_callback_that_blocks_delays_no_other_timeout(make_pool, gate):
    """Of the same executor, or of another one."""
    first, second = make_pool(2), make_pool(1)
    future = first.with_options(timeout=SHORT).submit(spin)
    future.add_done_callback(lambda _: gate.enter())
    gate.wait_until_inside()

    for pool in [first, second]:
        assert isinstance(pool.with_options(timeout=SHORT).submit(spin).exception(WAIT), TaskTimeoutError)
        retried = pool.with_options(retries=Retry(2, backoff=0.001)).submit(divmod, 1, 0)
        assert isinstance(retried.exception(WAIT), ZeroDivisionError)
    gate.open()


def test_callbacks_do_not_wait_for_a_worker_that_is_busy(make_pool, gate):
    """The only worker has a long task; who waits by a callback, as asyncio does, is told all the same."""
    pool, release, told = make_pool(1), threading.Event(), threading.Event()
    future = pool.with_options(timeout=0.2).submit(wait_until_set, release)
    future.add_done_callback(lambda _: told.set())
    pool.submit(gate.enter)

    gate.wait_until_inside()
    assert isinstance(future.exception(WAIT), TaskTimeoutError)
    wait_until_set(told)
    release.set()


def test_callbacks_outlive_a_shutdown_that_cancels(make_pool, gate):
    """Those of a task whose time was up run, and all that waits is cancelled."""
    pool, release, told = make_pool(1), threading.Event(), threading.Event()
    future = pool.with_options(timeout=0.2).submit(wait_until_set, release)
    future.add_done_callback(lambda _: told.set())
    pool.submit(gate.enter)
    waiting = [pool.submit(int) for _ in range(5)]
    gate.wait_until_inside()
    future.exception(WAIT)

    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.open()
    wait_until_set(told)
    release.set()


def test_an_error_of_a_callback_is_logged(make_pool, caplog):
    """As of any future, and the others run."""
    pool, told = make_pool(1), threading.Event()
    future = pool.with_options(timeout=0.2).submit(spin)
    future.add_done_callback(lambda _: divmod(1, 0))
    future.add_done_callback(lambda _: told.set())
    wait_until_set(told)
    pool.shutdown()
    assert ["concurrent.futures"] == [record.name for record in caplog.records]


def test_what_dies_with_an_old_error_does_not_stop_the_clock(make_pool, gate):
    """A finalizer that blocks, of something in the error of an attempt before the slow one."""
    pool, begun = make_pool(2), itertools.count()

    class Slow:
        def __del__(self):
            gate.enter()

    def task():
        attempt = next(begun)
        if attempt == 1:
            time.sleep(0.3)
        if attempt:
            return "done"
        error = Boom()
        error.slow = Slow()
        try:
            raise error
        finally:
            del error  # no circle of the error and this frame

    future = pool.with_options(timeout=0.1, retries=2).submit(task)
    gate.wait_until_inside()
    assert isinstance(make_pool(1).with_options(timeout=SHORT).submit(spin).exception(WAIT), TaskTimeoutError)
    gate.open()
    assert "done" == future.result(WAIT)


# ---- Too many


def test_too_many_stuck_threads_break_the_pool(make_pool, gate):
    """Stuck for more than a second: what waits fails, what comes is refused; what runs goes on."""
    release = threading.Event()
    with dask.config.set({"ferris.max-abandoned-threads": 2}):
        pool = make_pool(2)
    view = pool.with_options(timeout=SHORT)
    (running,) = gate.hold(pool)
    retry = Retry(2, backoff=3600, max_delay=3600)
    waiting = [pool.with_options(retries=retry).submit(divmod, 1, 0), pool.submit(int, dask_ferris.Future())]

    def is_broken():
        try:
            view.submit(wait_until_set, release).exception(WAIT)
        except dask_ferris.BrokenPoolError:
            return True
        return False

    wait_until(is_broken)
    with pytest.raises(cf.BrokenExecutor, match="stuck"):
        pool.submit(int)
    assert [dask_ferris.BrokenPoolError] * 2 == [type(future.exception(WAIT)) for future in waiting]
    gate.open()
    running.result(WAIT)
    release.set()
    pool.shutdown()


def test_threads_that_come_back_in_time_break_nothing(make_pool):
    """Many short overruns are no reason, one after the other."""
    with dask.config.set({"ferris.max-abandoned-threads": 0}):
        pool = make_pool(2)
    view = pool.with_options(timeout=0.01)

    futures = [view.submit(spin) for _ in range(100)]
    assert {TaskTimeoutError} == {type(future.exception(WAIT)) for future in futures}
    assert pool.is_active()
    assert 0 == pool.submit(int).result(WAIT)


def test_the_futures_of_a_broken_pool_do_not_stop_the_clock(make_pool, gate):
    """A callback of a task that fails because the pool breaks may block."""
    other, release = make_pool(1), threading.Event()
    with dask.config.set({"ferris.max-abandoned-threads": 0}):
        pool = make_pool(1)
    pool.with_options(timeout=SHORT).submit(wait_until_set, release).exception(WAIT)
    pool.with_options(timeout=1.3).submit(wait_until_set, release)
    pool.submit(wait_until_set, release)  # takes the thread that comes then
    pool.submit(int).add_done_callback(lambda _: gate.enter())

    gate.wait_until_inside()
    assert isinstance(other.with_options(timeout=SHORT).submit(spin).exception(WAIT), TaskTimeoutError)
    gate.open()
    release.set()


# ---- Tasks that wait for others


@pytest.mark.parametrize("how", ["result", "wait", "as_completed", "map"])
def test_a_task_whose_time_is_up_while_it_waits_for_another(make_pool, gate, how):
    """Its slot was lent: the other task goes on, more follow, and afterwards all numbers are as before."""
    pool = make_pool(1)

    def outer():
        if how == "map":
            return list(pool.map(gate.enter, ["inner"]))
        inner = pool.submit(gate.enter, "inner")
        if how == "wait":
            cf.wait([inner])
        elif how == "as_completed":
            list(cf.as_completed([inner]))
        return inner.result()

    future = pool.with_options(timeout=0.2).submit(outer)
    gate.wait_until_inside()
    assert isinstance(future.exception(WAIT), TaskTimeoutError)
    after = pool.submit(int)
    gate.open()
    assert 0 == after.result(WAIT)
    wait_until(lambda: is_idle(pool, n_spare=0, failed_tasks=1, completed_tasks=2))
    assert list(range(20)) == list(pool.map(abs, range(20)))
    assert 1 == pool.submit(lambda: pool.submit(abs, -1).result()).result(WAIT)


def test_waits_that_end_about_when_the_time_is_up():
    """Random: nothing is lost, nothing hangs, and afterwards all workers are there."""
    program = f"""
        import concurrent.futures as cf, threading, time, dask_ferris
        def spin(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
        executor = dask_ferris.Executor(2)
        view = executor.with_options(timeout=0.002)
        def outer(k):
            inner = executor.submit(spin, 0.002)
            return inner.result() if k % 2 else cf.wait([inner])
        for _ in range(30):
            for future in [view.submit(outer, k) for k in range(20)]:
                error = future.exception({WAIT / 2})
                assert error is None or isinstance(error, dask_ferris.TaskTimeoutError), error
        meeting = threading.Barrier(2, timeout={WAIT / 2})
        print(sorted(future.result() for future in [executor.submit(meeting.wait) for _ in range(2)]))
        executor.shutdown()
        stats = executor.get_stats()
        print(stats.active_threads, stats.queued_tasks, stats.n_abandoned)
    """

    assert ["[0, 1]", "0 0 0"] == output_of(program)


def test_executors_that_come_and_go_about_when_the_time_is_up():
    """Random: limits pass while threads are started, and executors are shut down or dropped."""
    program = f"""
        import random, time, dask_ferris
        from concurrent.futures import ThreadPoolExecutor
        def spin(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
        def life(seed):
            rng = random.Random(seed)
            for _ in range(40):
                executor = dask_ferris.Executor(rng.randint(1, 4))
                view = executor.with_options(timeout=rng.choice([0.0005, 0.001, 0.002]), retries=rng.randint(0, 2))
                futures = [view.submit(spin, rng.random() * 0.003) for _ in range(10)]
                if rng.random() < 0.5:
                    executor.shutdown(wait=rng.random() < 0.5)
                del executor, view
                for future in futures:
                    error = future.exception({WAIT / 2})
                    assert error is None or isinstance(error, dask_ferris.TaskTimeoutError), error
            return seed
        with ThreadPoolExecutor(4) as threads:
            print(list(threads.map(life, range(4))))
    """

    assert ["[0, 1, 2, 3]"] == output_of(program)


def test_threads_that_a_task_starts_are_not_interrupted():
    """Random: the limit passes while the task starts threads, none of which ever sees the interrupt."""
    program = f"""
        import threading, time, dask_ferris
        executor, hurt = dask_ferris.Executor(2), []
        threading.excepthook = hurt.append
        def task():
            while True:
                threading.Thread(target=int, daemon=True).start()
        view = executor.with_options(timeout=0.003)
        for _ in range(200):
            future = view.submit(task)
            assert isinstance(future.exception({WAIT / 2}), dask_ferris.TaskTimeoutError)
        end = time.monotonic() + {WAIT / 2}
        while executor.get_stats().n_abandoned and time.monotonic() < end:
            time.sleep(0.01)
        print(executor.get_stats().n_abandoned, hurt)
        executor.shutdown()
    """

    assert ["0 []"] == output_of(program)


def test_a_graph_within_a_task_is_interrupted(make_pool):
    """The tasks of an inner run end with the outer one, and later runs are as before."""
    pool, left = make_pool(1), threading.Event()

    def graph(function):
        return {i: Task(i, function) for i in range(3)}

    def outer():
        try:
            return dask_ferris.get(graph(spin), [0, 1, 2], num_workers=2)
        finally:
            left.set()

    future = pool.with_options(timeout=0.1).submit(outer)
    assert isinstance(future.exception(WAIT), TaskTimeoutError)
    wait_until_set(left)
    wait_until(lambda: is_idle(pool))
    assert (0, 0, 0) == dask_ferris.get(graph(int), [0, 1, 2], num_workers=2)
    assert (0, 0, 0) == pool.submit(dask_ferris.get, graph(int), [0, 1, 2]).result(WAIT)


def test_a_limit_holds_for_a_task_that_makes_room(make_pool):
    """A worker that submits to a full queue runs what waits, within limits all the same."""
    pool = make_pool(1, max_queued=1)

    def outer():
        slow = pool.with_options(timeout=SHORT).submit(spin)
        with contextlib.suppress(dask_ferris.QueueFullError):
            pool.submit(int)
        return slow

    slow = pool.submit(outer).result(WAIT)
    assert isinstance(slow.exception(WAIT), TaskTimeoutError)


# ---- Resources


@pytest.mark.parametrize("task", [spin, time.sleep], ids=["spin", "sleep"])
@pytest.mark.parametrize("retries", [0, 1])
def test_resources_come_back_with_the_thread(make_pool, task, retries):
    """What waits for the resource of a task whose time was up begins when that has really ended."""
    pool = make_pool(1, resources={"gpu": 1})
    gpu = pool.with_options(resources={"gpu": 1})
    begun = itertools.count()

    def late():
        if next(begun) == 0:
            task(*(0.5,) if task is time.sleep else ())
        return "in time"

    future = gpu.with_options(timeout=0.1, retries=retries).submit(late)
    after = gpu.submit(int)
    assert 0 == after.result(WAIT)
    assert "in time" == future.result(WAIT) if retries else isinstance(future.exception(WAIT), TaskTimeoutError)


# ---- The stress


def test_the_interrupt_never_reaches_another_task(make_pool, rng):  # noqa: C901  the plain tasks are part of it
    """Pure Python that takes about as long as its limit, beside tasks without one on the same threads.

    Each plain task reports whatever is raised in it; each future has one outcome, the right one.
    """
    n_tasks = 100_000 if LONG else 3000
    pool, strange, told, lock = make_pool(2), [], [], threading.Lock()
    limit = 0.002
    view = pool.with_options(timeout=limit)

    def timed(i, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return i

    def plain(i):
        try:
            total = 0
            for k in range(200):
                total += k
        except BaseException as error:
            strange.append(error)
            raise
        return i

    def callback(future):
        with lock:
            told.append(future)

    n_late = 0
    for start in range(0, n_tasks, 1000):
        futures = []
        for i in range(start, start + 500):
            futures.append((i, view.submit(timed, i, limit * rng.uniform(0.7, 1.1))))
            futures.append((i, pool.submit(plain, i)))
        for _, future in futures:
            future.add_done_callback(callback)
        for i, future in futures:
            error = future.exception(WAIT)
            assert isinstance(error, TaskTimeoutError) if error else i == future.result()
            n_late += error is not None
    assert [] == strange
    print(f"{n_late} of {n_tasks // 2} were late")
    wait_until(lambda: is_idle(pool, completed_tasks=n_tasks - n_late, failed_tasks=n_late))
    pool.shutdown()
    assert n_tasks == len(told) == len(set(told))


def test_an_interrupted_task_gives_up_the_locks_of_futures():
    """As `concurrent.futures.wait` may be interrupted with some of them: who ends the future would wait for ever."""
    gate = threading.Event()
    with dask_ferris.Executor(2) as executor:
        future = executor.submit(gate.wait, WAIT)

        def hold():
            future._condition.acquire()
            future._condition.acquire()
            while True:
                pass

        error = executor.with_options(timeout=0.05).submit(hold).exception(WAIT)
        assert isinstance(error, TaskTimeoutError)
        gate.set()
        assert future.result(WAIT)
