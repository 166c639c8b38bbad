"""Back-pressure: submitters that wait, are refused or help when queue or memory is full, and maps that read ahead."""

from __future__ import annotations

import concurrent.futures as cf
import itertools
import queue
import threading

import pytest
from gates import WAIT, barrier, wait_until_set
from subprocesses import output_of

import dask_ferris
from dask_ferris import PoolClosedError, QueueFullError


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


def is_full(pool):
    """Say whether one more is refused; the pool raises when it is full."""
    try:
        pool.submit(int)
    except QueueFullError:
        return True
    return False


# ---- A queue of so many


@pytest.mark.parametrize("max_queued", [1, 2, 100])
def test_so_many_may_wait_and_no_more(make_pool, gate, max_queued):
    """Those that run are not among them; the error is the one of `queue`, and says the number."""
    pool = make_pool(2, max_queued=max_queued, on_full="raise")
    held = gate.hold(pool, 2)
    futures = [pool.submit(abs, -i) for i in range(max_queued)]

    with pytest.raises(QueueFullError, match=str(max_queued)) as caught:
        pool.submit(int)
    assert isinstance(caught.value, queue.Full)
    assert isinstance(caught.value, dask_ferris.FerrisError)
    gate.open()
    assert list(range(max_queued)) == [future.result(WAIT) for future in futures]
    assert 0 == pool.submit(int).result(WAIT)
    cf.wait(held, WAIT)
    assert max_queued + 3 == pool.get_stats().completed_tasks


@pytest.mark.parametrize("how", ["start", "cancel"])
def test_there_is_room_when_one_begins_or_is_cancelled(make_pool, make_gate, how):
    """One, for each that leaves the queue."""
    pool, gates = make_pool(1, max_queued=2, on_full="raise"), [make_gate(), make_gate()]
    gates[0].hold(pool)
    waiting = [pool.submit(gates[1].enter) for _ in range(2)]

    assert is_full(pool)
    if how == "cancel":
        assert waiting[0].cancel()
    else:
        gates[0].open()
        gates[1].wait_until_inside()
    assert not is_full(pool)
    assert is_full(pool)
    gates[0].open()
    gates[1].open()


@pytest.mark.parametrize("how", ["start", "cancel"])
def test_a_submitter_waits_for_room(make_pool, make_gate, elsewhere, how):
    """And submits when one has begun, or was cancelled."""
    pool, gates = make_pool(1, max_queued=1), [make_gate(), make_gate()]
    gates[0].hold(pool)
    waiting = pool.submit(gates[1].enter)
    submitter = elsewhere.submit(pool.submit, abs, -3)

    with pytest.raises(TimeoutError):
        submitter.result(0.05)
    if how == "cancel":
        waiting.cancel()
    gates[0].open()
    gates[1].open()
    assert 3 == submitter.result(WAIT).result(WAIT)


def test_many_submitters_wait(make_pool, elsewhere):
    """Eight threads, a queue of three: every task runs once, and the queue is never longer."""
    pool, seen, ran = make_pool(2, max_queued=3), [], []

    def task(i):
        seen.append(pool.get_stats().queued_tasks)
        ran.append(i)

    def caller(i):
        return [pool.submit(task, 1000 * i + j) for j in range(300)]

    futures = [f for caller in [elsewhere.submit(caller, i) for i in range(8)] for f in caller.result(WAIT)]
    cf.wait(futures, WAIT)
    assert sorted(1000 * i + j for i in range(8) for j in range(300)) == sorted(ran)
    assert max(seen) <= 3


def test_views_share_the_queue(make_pool, gate):
    """However the task comes, it takes a place; higher priority makes none."""
    pool = make_pool(1, max_queued=2, on_full="raise")
    view = pool.with_options(priority=3, retries=1)
    gate.hold(pool)
    futures = [pool.submit(int), view.submit(int)]

    assert is_full(pool)
    assert is_full(view)
    gate.open()
    assert [0, 0] == [future.result(WAIT) for future in futures]


def test_tasks_that_wait_for_something_else_need_no_place(make_pool, gate):
    """For a future, or for another attempt: when their time comes they are let in though it is full."""
    pool, source = make_pool(1, max_queued=1, on_full="raise"), dask_ferris.Future()
    gate.hold(pool)
    inputs = [pool.submit(abs, source) for _ in range(10)]
    waiting = pool.submit(int)

    source.set_result(-2)
    assert is_full(pool)
    gate.open()
    assert [2] * 10 == [future.result(WAIT) for future in inputs]
    assert 0 == waiting.result(WAIT)


def test_a_repeated_task_is_let_in(make_pool, gate):
    """It was accepted: an attempt that failed needs no place for the next."""
    pool, begun = make_pool(1, max_queued=1), itertools.count()

    def task():
        if next(begun) < 3:
            raise LookupError
        return "done"

    gate.hold(pool)
    future = pool.with_options(retries=3).submit(task)
    gate.open()
    others = [pool.submit(abs, -i) for i in range(50)]
    assert "done" == future.result(WAIT)
    assert list(range(50)) == [other.result(WAIT) for other in others]


def test_map_and_batches_wait_for_room(make_pool):
    """They submit one by one."""
    pool = make_pool(2, max_queued=2)

    assert list(range(500)) == list(pool.map(abs, range(500)))
    assert list(range(500)) == list(pool.map(abs, range(500), chunksize=7))
    assert list(range(500)) == pool.submit_batch([(abs, (-i,)) for i in range(500)])


# ---- Submits from a worker


def test_a_worker_that_submits_helps(make_pool):
    """It never blocks, or the only worker would wait for itself: tasks that wait run within the one that submits."""
    pool, ran = make_pool(1, max_queued=1), []

    def outer():
        futures = [pool.submit(ran.append, i) for i in range(100)]
        return len(ran), futures

    n_ran, futures = pool.submit(outer).result(WAIT)
    assert 99 <= n_ran
    cf.wait(futures, WAIT)
    assert list(range(100)) == ran


def test_workers_that_submit_help_each_other(make_pool):
    """Two levels, many at once, and a queue of one."""
    pool, ran = make_pool(3, max_queued=1), []

    def outer(i):
        return [pool.submit(ran.append, (i, j)) for j in range(4)]

    inner = [future for outer in [pool.submit(outer, i) for i in range(20)] for future in outer.result(WAIT)]
    cf.wait(inner, WAIT)
    assert sorted((i, j) for i in range(20) for j in range(4)) == sorted(ran)


def test_a_worker_that_may_not_wait_is_refused(make_pool):
    """`on_full="raise"` holds for workers as well."""
    pool = make_pool(1, max_queued=2, on_full="raise")

    def outer():
        futures = [pool.submit(int) for _ in range(2)]
        with pytest.raises(QueueFullError):
            pool.submit(int)
        return futures

    assert [0, 0] == [future.result(WAIT) for future in pool.submit(outer).result(WAIT)]


def test_a_worker_that_cannot_help_is_refused(make_pool):
    """Rather than wait for room that only it could make: what waits needs a resource that it has not."""
    pool = make_pool(1, max_queued=1, resources={"gpu": 1})
    gpu = pool.with_options(resources={"gpu": 1})

    def outer():
        waiting = gpu.submit(abs, -1)
        with pytest.raises(QueueFullError):
            gpu.submit(int)
        return waiting

    assert 1 == gpu.submit(outer).result(WAIT).result(WAIT)


def test_a_submit_from_another_pools_worker_waits(make_pool, make_gate):
    """It is a thread outside; its own pool goes on."""
    pool, other, gate = make_pool(1, max_queued=1), make_pool(2), make_gate()
    gate.hold(pool)
    pool.submit(int)
    future = other.submit(lambda: pool.submit(abs, -2).result(WAIT))

    assert 0 == other.submit(int).result(WAIT)
    assert not future.done()
    gate.open()
    assert 2 == future.result(WAIT)


def test_a_callback_may_submit_to_a_full_queue(make_pool, gate):
    """On a worker it helps, too."""
    pool, told, futures = make_pool(1, max_queued=1), threading.Event(), []
    held = pool.submit(gate.enter)
    gate.wait_until_inside()

    def callback(_future):
        futures.extend(pool.submit(abs, -i) for i in range(20))
        told.set()

    held.add_done_callback(callback)
    gate.open()
    wait_until_set(told)
    assert list(range(20)) == [future.result(WAIT) for future in futures]


# ---- The end of the wait


@pytest.mark.parametrize("cancels", [False, True])
def test_shutdown_wakes_submitters(make_pool, gate, elsewhere, cancels):
    """Their tasks are refused, those in the queue are not."""
    pool = make_pool(1, max_queued=1)
    gate.hold(pool)
    waiting = pool.submit(abs, -1)
    submitters = [elsewhere.submit(pool.submit, int) for _ in range(5)]
    with pytest.raises(TimeoutError):
        submitters[0].result(0.05)

    pool.shutdown(wait=False, cancel_futures=cancels)
    for submitter in submitters:
        assert isinstance(submitter.exception(WAIT), PoolClosedError)
    gate.open()
    assert cancels == (waiting.cancelled() or waiting.result(WAIT) != 1)


def test_a_pool_that_breaks_wakes_submitters(elsewhere):
    """With what broke it."""
    release = threading.Event()

    def initializer():
        wait_until_set(release)
        raise LookupError

    pool = dask_ferris.Executor(1, initializer=initializer, max_queued=1)
    pool.submit(int)
    submitter = elsewhere.submit(pool.submit, int)
    with pytest.raises(TimeoutError):
        submitter.result(0.05)
    release.set()
    assert isinstance(submitter.exception(WAIT), dask_ferris.BrokenPoolError)
    pool.shutdown()


@pytest.mark.parametrize("option", ["max_queued=1", "memory_limit=0"])
def test_ctrl_c_ends_the_wait_of_a_submitter(option):
    """KeyboardInterrupt comes out of submit, nothing was submitted, and the executor goes on."""
    program = f"""
        import os, signal, threading, dask_ferris
        executor, release, started = dask_ferris.Executor(1, {option}), threading.Event(), threading.Event()
        def hold():
            started.set()
            release.wait({WAIT})
        executor.submit(hold)
        started.wait({WAIT})
        if "{option}" == "max_queued=1":
            executor.submit(int)
        ran = []
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            executor.submit(ran.append, 1)
        except KeyboardInterrupt:
            print("interrupted")
        release.set()
        print(executor.submit(abs, -2).result(), ran)
        executor.shutdown()
        print(executor.get_stats().queued_tasks, executor.get_stats().active_threads)
    """

    assert ["interrupted", "2 []", "0 0"] == output_of(program)


# ---- Memory


def test_a_limit_below_what_there_is_lets_one_in_at_a_time(make_pool):
    """All is done, one after the other: a task is let in when none waits or runs."""
    pool, lock = make_pool(3, memory_limit=0), threading.Lock()
    inside, most = 0, 0

    def task(i):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        return i

    assert list(range(20)) == [future.result(WAIT) for future in [pool.submit(task, i) for i in range(20)]]
    assert list(range(10)) == list(pool.map(task, range(10)))
    assert 1 == most


def test_a_limit_above_what_there_is_limits_nothing(make_pool):
    """As a number, as a text."""
    for limit in ["1 TB", 1e15, 10**15]:
        pool, meeting = make_pool(2, memory_limit=limit), barrier(2)
        assert [0, 1] == sorted(place.result(WAIT) for place in [pool.submit(meeting.wait) for _ in range(2)])


def test_a_full_memory_can_be_an_error(make_pool, gate):
    """`on_full="raise"`: only an executor that has nothing to do takes a task."""
    pool = make_pool(2, memory_limit=0, on_full="raise")
    gate.hold(pool)

    with pytest.raises(QueueFullError, match="memory_limit"):
        pool.submit(int)
    gate.open()
    pool.shutdown()
    assert 1 == pool.get_stats().completed_tasks


def test_shutdown_wakes_submitters_that_wait_for_memory(make_pool, gate, elsewhere):
    """Their tasks are refused."""
    pool = make_pool(2, memory_limit=0)
    gate.hold(pool)
    submitters = [elsewhere.submit(pool.submit, int) for _ in range(3)]
    with pytest.raises(TimeoutError):
        submitters[0].result(0.05)

    pool.shutdown(wait=False)
    for submitter in submitters:
        assert isinstance(submitter.exception(WAIT), PoolClosedError)
    gate.open()


def test_a_worker_does_not_wait_for_memory(make_pool):
    """Which may be its own: it is refused at once."""
    pool = make_pool(2, memory_limit=0)

    def outer():
        with pytest.raises(QueueFullError):
            pool.submit(int)
        return "refused"

    assert "refused" == pool.submit(outer).result(WAIT)


# ---- Maps that read ahead


class Items:
    """An iterator without an end that counts what is read, and the most that was read and not taken."""

    def __init__(self):
        """Nothing was read or taken."""
        self.n_read = self.n_taken = self.most_ahead = 0

    def __iter__(self):
        """Be an iterator."""
        return self

    def __next__(self):
        """Read the next number."""
        self.n_read += 1
        self.most_ahead = max(self.most_ahead, self.n_read - self.n_taken)
        return self.n_read - 1


@pytest.mark.parametrize("buffersize", [1, 2, 5, 64])
@pytest.mark.parametrize("chunksize", [None, 1, 2, 3, 100])
def test_a_map_reads_so_far_ahead_and_no_further(make_pool, buffersize, chunksize):
    """At no time more items are read than are taken and buffered; there is no end, and the order is right."""
    pool, items = make_pool(2), Items()
    results = pool.map(abs, items, buffersize=buffersize, chunksize=chunksize)

    assert 1 <= items.n_read <= buffersize
    for i in range(200):
        assert i == next(results)
        items.n_taken += 1
        assert items.n_read - items.n_taken <= buffersize
    assert items.most_ahead <= buffersize + 1  # one is read while the next is about to be given
    results.close()


@pytest.mark.parametrize("chunksize", [1, 4])
def test_a_map_that_reads_ahead_to_the_end(make_pool, chunksize):
    """Any number of items, with buffers of any size, from several iterables."""
    pool = make_pool(2)

    for n_items, buffersize in itertools.product([0, 1, 4, 9, 30], [1, 3, 30, 100]):
        results = pool.map(pow, range(n_items), itertools.repeat(2), buffersize=buffersize, chunksize=chunksize)
        assert [i * i for i in range(n_items)] == list(results)


def test_a_map_reads_nothing_while_nobody_takes(make_pool):
    """The items are read by the thread that takes the results, when it does."""
    pool, readers = make_pool(2), set()

    def items():
        while True:
            readers.add(threading.current_thread())
            yield 1

    results = pool.map(abs, items(), buffersize=3)
    assert [1] * 10 == list(itertools.islice(results, 10))
    assert {threading.current_thread()} == readers


@pytest.mark.parametrize("is_begun", [True, False], ids=["begun", "not begun"])
@pytest.mark.parametrize(
    "options", [{}, {"chunksize": 2}, {"buffersize": 6}, {"buffersize": 6, "chunksize": 2}], ids=str
)
def test_a_map_that_is_closed_cancels_what_waits(make_pool, make_gate, options, is_begun):
    """Also one that was closed before anything was taken from it."""
    pool, gates, ran = make_pool(1), [make_gate(), make_gate()], []

    def task(i):
        ran.append(i)
        return i

    def first(i):
        task(i)
        if i >= 2:
            gates[1].enter()

    if is_begun:
        results = pool.map(first, range(6), **options)
        assert next(results) is None
    else:
        gates[0].hold(pool)
        results = pool.map(task, range(6), **options)
    results.close()
    with pytest.raises(StopIteration):
        next(results)
    for gate in gates:
        gate.open()
    pool.shutdown()
    assert ran == list(range(len(ran)))
    assert len(ran) <= (4 if is_begun else 0)
    assert 0 < pool.get_stats().cancelled_tasks


def test_a_map_that_is_dropped_cancels_what_waits(make_pool, gate):
    """Nobody can take its results any more."""
    pool = make_pool(1)
    results = pool.map(abs, itertools.count(), buffersize=5)
    assert 0 == next(results)
    gate.hold(pool)
    del results
    n_cancelled = pool.get_stats().cancelled_tasks
    gate.open()
    pool.shutdown()
    assert (n_cancelled, 0) == (pool.get_stats().cancelled_tasks, pool.get_stats().queued_tasks)


def test_an_error_ends_a_map_that_reads_ahead(make_pool):
    """Where its item stands; nothing more is read."""
    pool, items = make_pool(2), Items()
    results = pool.map(lambda i: 1 // (5 - i), items, buffersize=3)

    for _ in range(5):
        next(results)
    with pytest.raises(ZeroDivisionError):
        next(results)
    n_read = items.n_read
    with pytest.raises(StopIteration):
        next(results)
    assert n_read == items.n_read <= 9


def test_an_error_of_the_items_comes_where_they_are_read(make_pool):
    """The results before it can be had, as far as they were read before."""
    pool = make_pool(2)

    def items():
        yield from range(5)
        raise LookupError

    with pytest.raises(LookupError):
        list(pool.map(abs, items(), buffersize=2))
    with pytest.raises(LookupError):
        pool.map(abs, items(), buffersize=9)
    assert 0 == pool.submit(int).result(WAIT)


def test_a_map_in_a_task_of_the_only_worker(make_pool):
    """Reading ahead, without an end: the task takes as much as it likes."""
    pool = make_pool(1)

    def outer():
        results = pool.map(abs, itertools.count(), buffersize=4)
        return list(itertools.islice(results, 50))

    assert list(range(50)) == pool.submit(outer).result(WAIT)


def test_reading_ahead_and_a_queue_that_is_full(make_pool):
    """Both limits hold."""
    pool = make_pool(1, max_queued=2)

    assert list(range(100)) == list(pool.map(abs, range(100), buffersize=10))
    assert list(range(50)) == list(itertools.islice(pool.map(abs, itertools.count(), buffersize=10), 50))


def test_a_map_whose_executor_is_shut_down(make_pool):
    """What was submitted gives its results or is cancelled; then the refusal comes, not a hang."""
    pool = make_pool(1)
    results = pool.map(abs, itertools.count(), buffersize=3)
    assert 0 == next(results)

    pool.shutdown()
    with pytest.raises(PoolClosedError):
        list(results)
