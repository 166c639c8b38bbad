"""Tasks that wait for tasks of their own pool: nobody waits for ever, and no more run than there are workers.

The standard pool would wait for ever with fewer workers than levels; see the last test.
"""

from __future__ import annotations

import concurrent.futures as cf
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import dask.config
import pytest
from gates import WAIT, barrier, wait_until_set
from subprocesses import output_of

import dask_ferris
from dask_ferris import TaskPriority

N_DEEP = 50

SCHEDULERS = {
    "none": None,
    "stealing": dask_ferris.WorkStealingScheduler(),
    "round robin": dask_ferris.RoundRobinScheduler(),
    "priority": dask_ferris.PriorityScheduler(),
}


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


def first_done(pool, future):
    """Take the only future as it completes."""
    del pool
    return next(cf.as_completed([future])).result()


def result_of_wait(pool, future):
    """Wait as most do."""
    del pool
    return cf.wait([future]).done.pop().result()


def result_of_wait_with_limit(pool, future):
    """Wait as most do, but not for ever."""
    del pool
    return cf.wait([future], WAIT, cf.FIRST_COMPLETED).done.pop().result()


def result_within_a_limit(pool, future):
    """Wait for the result, but not for ever."""
    del pool
    return future.result(WAIT)


def result(pool, future):
    """Wait for the result."""
    del pool
    return future.result()


def result_after_exception(pool, future):
    """Ask for the error first."""
    del pool
    assert future.exception() is None
    return future.result()


def result_of_executors_wait(pool, future):
    """Wait by the executor's own method."""
    return pool.wait([future])[0].result()


def first_of_executors_as_completed(pool, future):
    """Take the only future by the executor's own method."""
    return next(iter(pool.as_completed([future]))).result()


WAITS = [
    result,
    result_within_a_limit,
    result_after_exception,
    result_of_wait,
    result_of_wait_with_limit,
    first_done,
    result_of_executors_wait,
    first_of_executors_as_completed,
]


# ---- Deep and wide


@pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS)
def test_fibonacci_by_recursion(make_pool, scheduler):
    """Thousands of tasks, each of which waits for two others, on two threads."""
    pool = make_pool(2, scheduler=scheduler)

    def fibonacci(n):
        if n < 2:
            return n
        left, right = pool.submit(fibonacci, n - 1), pool.submit(fibonacci, n - 2)
        return left.result() + right.result()

    assert 987 == pool.submit(fibonacci, 16).result(WAIT)


@pytest.mark.parametrize("wait", WAITS)
def test_fifty_tasks_that_wait_for_each_other_on_one_thread(make_pool, wait):
    """One within the other, however they wait."""
    pool = make_pool(1)

    def deep(n):
        return wait(pool, pool.submit(deep, n - 1)) + 1 if n else 0

    assert N_DEEP == pool.submit(deep, N_DEEP).result(WAIT)
    assert 0 == pool.submit(int).result(WAIT)


@pytest.mark.parametrize("options", [{}, {"timeout": WAIT}, {"buffersize": 1}, {"chunksize": 2}], ids=str)
def test_fifty_maps_within_each_other_on_one_thread(make_pool, options):
    """A task iterates over what its own pool maps."""
    pool = make_pool(1)

    def deep(n):
        return sum(pool.map(deep, [n - 1], **options)) + 1 if n else 0

    assert N_DEEP == pool.submit(deep, N_DEEP).result(WAIT)


def test_fifty_batches_within_each_other_on_one_thread(make_pool):
    """A task waits for a batch of its own pool."""
    pool = make_pool(1)

    def deep(n):
        return sum(pool.submit_batch([(deep, (n - 1,))])) + 1 if n else 0

    assert N_DEEP == pool.submit(deep, N_DEEP).result(WAIT)


def test_a_thousand_tasks_within_each_other(make_pool):
    """Helping goes only so deep, so that neither stack nor recursion limit is reached."""
    pool = make_pool(1)

    def deep(n):
        return pool.submit(deep, n - 1).result() + 1 if n else 0

    assert 1000 == pool.submit(deep, 1000).result(WAIT)


@pytest.mark.parametrize("wait", WAITS)
def test_wide_and_deep_on_three_threads(make_pool, wait):
    """Every task has three of its own, four levels down."""
    pool = make_pool(3)

    def wide(depth):
        futures = [pool.submit(wide, depth - 1) for _ in range(3)] if depth else []
        return sum(wait(pool, future) for future in futures) + 1

    assert (3**5 - 1) // 2 == pool.submit(wide, 4).result(WAIT)


@pytest.mark.parametrize(
    "words", [{"timeout": WAIT}, {"resources": {"gpu": 1}}, {"retries": 1}, {"priority": 5}], ids=str
)
def test_tasks_with_a_policy_wait_for_each_other(make_pool, words):
    """Outer or inner, one within the other on one thread; those that share a resource have enough of it."""
    pool = make_pool(1, resources={"gpu": N_DEEP})
    view = pool.with_options(**words)

    def deep(n):
        return (view if n % 2 else pool).submit(deep, n - 1).result() + 1 if n else 0

    assert 20 == pool.submit(deep, 20).result(WAIT)
    assert 20 == view.submit(deep, 20).result(WAIT)


def test_an_error_comes_up_through_all_levels(make_pool):
    """As itself."""
    pool, error = make_pool(1), LookupError("deep")

    def deep(n):
        if n == 0:
            raise error
        return pool.submit(deep, n - 1).result()

    assert error is pool.submit(deep, 40).exception(WAIT)
    assert 41 == pool.get_stats().failed_tasks


def test_the_end_of_a_long_chain_can_be_waited_for_in_a_task():
    """Ten thousand tasks, each the argument of the next."""
    program = """
        import dask_ferris
        executor = dask_ferris.Executor(1)
        def outer():
            last = executor.submit(int)
            for _ in range(100_000):
                last = executor.submit(abs, last)
            return last.result()
        print(executor.submit(outer).result())
    """

    assert ["0"] == output_of(program)


# ---- Two pools, other waits


def test_two_pools_that_wait_for_each_other(make_pool):
    """A worker that waits for another pool's task lends its slot at home."""
    pools = [make_pool(1), make_pool(1)]

    def deep(n):
        return pools[n % 2].submit(deep, n - 1).result() + 1 if n else 0

    assert N_DEEP == pools[0].submit(deep, N_DEEP).result(WAIT)


def test_a_standard_future_that_another_task_of_the_pool_fulfils(make_pool, elsewhere):
    """The way there leads through a standard pool, and there is a worker for the other task."""
    pool = make_pool(2)

    def outer(wait):
        return wait(pool, elsewhere.submit(lambda: pool.submit(abs, -3).result(WAIT)))

    for wait in WAITS:
        assert 3 == pool.submit(outer, wait).result(WAIT)


@pytest.mark.parametrize("own_is_first", [True, False])
def test_a_wait_for_futures_of_both_kinds_lends_the_slot(make_pool, elsewhere, own_is_first):
    """The standard future ends when another task of the only worker has run."""
    pool, ran = make_pool(1), threading.Event()

    def outer():
        futures = [pool.submit(ran.set), elsewhere.submit(wait_until_set, ran)]
        done = cf.wait(futures if own_is_first else futures[::-1], WAIT).done
        return len(done)

    assert 2 == pool.submit(outer).result(WAIT)


def test_a_future_made_by_hand_lends_the_slot(make_pool):
    """A task waits for one that another task of the only worker ends."""
    pool, future = make_pool(1), dask_ferris.Future()

    def outer():
        pool.submit(future.set_result, 5)
        return future.result()

    assert 5 == pool.submit(outer).result(WAIT)


def test_a_wait_that_gives_up_takes_its_slot_back(make_pool, gate):
    """The task that was let in has it, so for a while there may be one more; then all is as before."""
    pool = make_pool(1)

    def outer():
        inner = pool.submit(gate.enter, 1)
        with contextlib.suppress(TimeoutError):
            inner.result(0.05)
        return inner

    inner = pool.submit(outer).result(WAIT)
    gate.open()
    assert 1 == inner.result(WAIT)
    assert list(range(20)) == list(pool.map(abs, range(20)))
    pool.shutdown()
    assert 0 == pool.get_stats().active_threads


# ---- How many


@pytest.mark.parametrize("wait", [result, result_within_a_limit, result_of_wait, first_done])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_no_more_tasks_run_at_once_than_there_are_workers(make_pool, n_workers, wait):
    """Counted are those that do not wait, in a load with fewer waits at once than there may be spare threads."""
    pool, lock = make_pool(n_workers), threading.Lock()
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        total = sum(range(300))
        with lock:
            inside -= 1
        return total

    def nested(depth):
        work()
        if depth:
            futures = [pool.submit(nested, depth - 1) for _ in range(2)]
            for future in futures:
                wait(pool, future)
                work()

    for future in [pool.submit(nested, 2) for _ in range(12)]:
        future.result(WAIT)
    assert 1 <= most <= n_workers


@pytest.mark.parametrize("most_spare", [0, 1, 5])
def test_threads_that_stand_in_are_bounded(make_pool, most_spare):
    """Never more than the config says; without enough of them, a worker that can helps, however deep."""
    with dask.config.set({"ferris.max-spare-threads": most_spare}):
        pool = make_pool(1)
    seen = []

    def deep(n):
        seen.append((pool.get_stats().n_spare, sum(thread.is_alive() for thread in pool._threads)))
        return pool.submit(deep, n - 1).result() + 1 if n else 0

    def limited(n):
        seen.append((pool.get_stats().n_spare, sum(thread.is_alive() for thread in pool._threads)))
        return pool.submit(limited, n - 1).result(WAIT) + 1 if n else 0

    assert 150 == pool.submit(deep, 150).result(WAIT)
    assert most_spare == pool.submit(limited, most_spare).result(WAIT)
    assert max(n_spare for n_spare, _ in seen) <= most_spare
    assert max(n_threads for _, n_threads in seen) <= most_spare + 1


def test_threads_that_stood_in_go_again(make_pool):
    """When nobody waits any more few are kept."""
    pool = make_pool(1)

    def deep(n):
        return pool.submit(deep, n - 1).result(WAIT) + 1 if n else 0

    assert 30 == pool.submit(deep, 30).result(WAIT)
    list(pool.map(abs, range(1000)))
    assert pool.get_stats().n_spare < 30
    pool.shutdown()
    assert 0 == sum(thread.is_alive() for thread in pool._threads)


def test_a_task_may_wait_for_what_the_waiting_one_is_to_do(make_pool):
    """The documented exception: both run, on one worker, rather than none for ever."""
    pool, go = make_pool(1), threading.Event()

    def inner():
        quick.set_result(1)
        wait_until_set(go)
        return "inner"

    def outer():
        future = pool.submit(inner)
        quick.result(WAIT)
        go.set()
        return future.result()

    quick = dask_ferris.Future()
    assert "inner" == pool.submit(outer).result(WAIT)


# ---- Who helps


def names_of_helpers(pool, submit, wait):
    """Return on which threads queued tasks run that this thread waits for one by one."""
    names = [submit(lambda: threading.current_thread().name) for _ in range(20)]
    return {wait(pool, name) for name in names}


def test_a_thread_outside_never_helps_by_default(make_pool):
    """Tasks belong on the threads of the pool: thread locals, initialisers and names count on it."""
    pool = make_pool(1)

    assert threading.current_thread().name not in names_of_helpers(pool, pool.submit, result)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_thread_outside_helps_where_that_was_asked_for(make_pool, gate, n_workers):
    """It runs the very task that it waits for, if that has not begun and a slot is free."""
    pool, me = make_pool(n_workers, help_waiting=True), threading.current_thread().name
    names = set()

    def step():
        return threading.current_thread().name

    for _ in range(2000):
        names.add(pool.submit(step).result())
        if me in names:
            break
    assert me in names
    gate.hold(pool, n_workers)
    waiting = pool.submit(step)
    with pytest.raises(TimeoutError):
        waiting.result(0.01)
    gate.open()
    assert waiting.result(WAIT)


def test_helpers_are_among_the_workers(make_pool, elsewhere):
    """Ten threads that help: never more tasks at once than workers, and all of them run once."""
    pool, lock = make_pool(2, help_waiting=True), threading.Lock()
    inside, most, n_run = 0, 0, 0

    def work():
        nonlocal inside, most, n_run
        with lock:
            inside, n_run = inside + 1, n_run + 1
            most = max(most, inside)
        total = sum(range(300))
        with lock:
            inside -= 1
        return total

    def caller():
        return [pool.submit(work).result() for _ in range(200)]

    for future in [elsewhere.submit(caller) for _ in range(10)]:
        future.result(WAIT)
    assert 2000 == n_run
    assert most <= 2
    pool.shutdown()
    stats = pool.get_stats()
    assert (2000, 0, 0) == (stats.completed_tasks, stats.active_threads, stats.queued_tasks)


def test_a_helper_may_wait_within_the_task_it_runs():
    """It helps again, or waits and lets others in, as a worker would."""
    program = """
        import dask_ferris
        executor = dask_ferris.Executor(1, help_waiting=True)
        def deep(n):
            return executor.submit(deep, n - 1).result() + 1 if n else 0
        print({executor.submit(deep, 30).result() for _ in range(100)})
    """

    assert ["{30}"] == output_of(program)


def never_helps(pool, submit):
    """Say whether this thread ran none of many tasks that it waited for."""
    me = threading.current_thread().name
    return all(me not in names_of_helpers(pool, submit, result) for _ in range(20))


def test_nobody_helps_an_executor_with_an_initializer(make_pool):
    """The thread was not initialised."""
    pool = make_pool(1, initializer=int, help_waiting=True)

    assert never_helps(pool, pool.submit)


@pytest.mark.parametrize(
    "words",
    [{"priority": TaskPriority.HIGH}, {"retries": 1}, {"timeout": WAIT}, {"resources": {"gpu": 1}}, {"name": "mine"}],
    ids=str,
)
def test_nobody_outside_helps_with_a_task_that_has_a_policy(make_pool, words):
    """The worker's place in the order, its limit and its resources are the worker's."""
    pool = make_pool(1, help_waiting=True, resources={"gpu": 1})

    assert never_helps(pool, pool.with_options(**words).submit)


def test_a_wait_with_a_limit_is_no_help(make_pool):
    """A task may take longer than the thread outside wants to wait."""
    pool = make_pool(1, help_waiting=True)
    me = threading.current_thread().name

    for wait in [result_within_a_limit, result_of_wait, first_done]:
        assert me not in names_of_helpers(pool, pool.submit, wait)


def test_a_worker_runs_what_it_waits_for_and_no_stranger(make_pool):
    """A stranger could need a lock that the waiting task holds."""
    pool, lock = make_pool(1), threading.Lock()

    def stranger():
        with lock:
            return "stranger"

    def outer():
        with lock:
            strangers.append(pool.submit(stranger))
            return pool.submit(abs, -4).result()

    strangers = []
    assert 4 == pool.submit(outer).result(WAIT)
    assert "stranger" == strangers[0].result(WAIT)


def test_a_worker_helps_with_the_inputs_of_what_it_waits_for(make_pool):
    """The task has not begun because its arguments have not."""
    pool = make_pool(1)

    def outer():
        first = pool.submit(abs, -2)
        second = pool.submit(pow, first, 3)
        return pool.submit(sum, [second, first]).result()

    assert 10 == pool.submit(outer).result(WAIT)


def test_tasks_that_meet_at_a_barrier_beside_waits(make_pool):
    """Workers that wait for others make room for as many as must be inside at once."""
    pool, meeting = make_pool(2), barrier(2)

    def outer():
        return sorted(future.result(WAIT) for future in [pool.submit(meeting.wait) for _ in range(2)])

    assert [[0, 1]] * 2 == [future.result(WAIT) for future in [pool.submit(outer) for _ in range(2)]]


def test_the_standard_pool_would_wait_for_ever():
    """What all this is for: the same on one standard thread."""
    with ThreadPoolExecutor(1) as pool:

        def outer():
            inner = pool.submit(int)
            with contextlib.suppress(TimeoutError):
                return inner.result(0.1)
            return "waited"

        assert "waited" == pool.submit(outer).result(WAIT)


def test_a_task_may_look_for_a_result_without_waiting(make_pool):
    """`result(timeout=0)` of a task that waits behind it: no other thread is called for that."""
    pool = make_pool(1)

    def poll():
        other = pool.submit(int)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                other.result(timeout=0)
        return threading.active_count()

    before = pool.submit(threading.active_count).result(WAIT)
    assert before == pool.submit(poll).result(WAIT)


@pytest.mark.parametrize("where", ["a task", "a callback"])
def test_no_task_waits_for_the_end_of_its_own_executor(make_pool, caplog, where):
    """An error, as with the standard pool, where the wait would be for ever."""
    pool = make_pool(1)
    if where == "a task":
        with pytest.raises(RuntimeError, match=r"own executor|current thread"):
            pool.submit(pool.shutdown).result(WAIT)
    else:
        opened = threading.Event()
        future = pool.submit(wait_until_set, opened)
        future.add_done_callback(lambda _: pool.shutdown())
        opened.set()
        future.result(WAIT)
        pool.shutdown()
        assert ["RuntimeError"] == [record.exc_info[0].__name__ for record in caplog.records]
    pool.shutdown()
