"""Futures up close: their lock, attributes, references and callbacks, and many threads at once."""

from __future__ import annotations

import concurrent.futures as cf
import contextlib
import gc
import os
import threading
import time
import traceback
import weakref

import pytest
from gates import WAIT, Token, barrier, join, wait_until_set
from subprocesses import output_of

import dask_ferris
from dask_ferris import Future, PoolClosedError

LONG = os.environ.get("FERRIS_LONG", "") == "1"


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


class Boom(Exception):
    """The exception of these tests."""


def fail(error):
    """Raise."""
    raise error


# ---- Waits


def test_waits_over_both_kinds_in_both_orders(make_pool, elsewhere):
    """Threads in `wait` and `as_completed` over standard and own futures, mixed, forwards and backwards, all come back.

    The locks of all futures are taken at once, in the order of their addresses: a lock that two of them shared, or one
    that is not re-entrant, would end in a deadlock.
    """
    pool, meeting = make_pool(3), barrier(3)
    end = time.monotonic() + (20 if LONG else 2)
    n_rounds = 0

    def waiter(futures, wait):
        meeting.wait()
        return {future.result() for future in wait(futures)}

    while n_rounds == 0 or time.monotonic() < end:
        n_rounds += 1
        futures = [[pool, elsewhere][i % 2].submit(abs, -i) for i in range(20)]
        waiters = [
            elsewhere.submit(waiter, futures, lambda these: cf.wait(these, WAIT).done),
            elsewhere.submit(waiter, futures[::-1], lambda these: cf.wait(these, WAIT, cf.FIRST_EXCEPTION).done),
            elsewhere.submit(waiter, futures[::2] + futures[1::2], lambda these: cf.as_completed(these, WAIT)),
        ]
        assert [set(range(20))] * 3 == [each.result(WAIT) for each in waiters]
    print(f"{n_rounds} rounds")


def test_waits_beside_cancels(make_pool, elsewhere, rng, n_rounds):
    """Nobody sleeps through the end of a future, whoever ends it."""
    pool = make_pool(2)
    for _ in range(20 * n_rounds):
        futures = [pool.submit(int) for _ in range(20)]
        waiters = [elsewhere.submit(cf.wait, rng.sample(futures, 10), WAIT) for _ in range(3)]
        for future in rng.sample(futures, 20):
            future.cancel()
        assert [10] * 3 == [len(waiter.result(WAIT).done) for waiter in waiters]


@pytest.mark.parametrize("n_waiters", [1, 20])
def test_many_threads_in_result(make_pool, gate, n_waiters):
    """All are woken, and get the same object."""
    pool, found, value = make_pool(1), [], Token()
    future = pool.submit(gate.enter, value)
    threads = [threading.Thread(target=lambda: found.append(future.result(WAIT))) for _ in range(n_waiters)]
    for thread in threads:
        thread.start()

    gate.open()
    for thread in threads:
        join(thread)
    assert [value] * n_waiters == found


@pytest.mark.parametrize("timeout", [0, -1, 0.001, 1e-9])
def test_short_limits(make_pool, gate, timeout):
    """Of result and exception; the future is as it was."""
    future = make_pool(1).submit(gate.enter)

    for method in [future.result, future.exception]:
        with pytest.raises(TimeoutError):
            method(timeout)
    gate.open()
    assert future.result(WAIT) is None


@pytest.mark.parametrize("timeout", [1e9, 1e30, float("inf"), None])
def test_long_limits(make_pool, timeout):
    """Whatever is too long for a clock is for ever."""
    pool = make_pool(1)

    assert 3 == pool.submit(abs, -3).result(timeout)
    assert {3} == {done.result() for done in cf.wait([pool.submit(abs, -3)], WAIT).done}


# ---- The condition


def test_the_condition_is_a_reentrant_lock(make_pool, elsewhere):
    """The owner may take it again, others wait until it was given up as often."""
    condition = make_pool(1).submit(int)._condition

    with condition, condition:
        assert condition.acquire(blocking=False)
        assert condition.acquire(True, 1)
        condition.release()
        condition.release()
        assert not elsewhere.submit(condition.acquire, blocking=False).result(WAIT)
        assert not elsewhere.submit(condition.acquire, True, 0.01).result(WAIT)
        waiting = elsewhere.submit(condition.acquire)
        assert not waiting.done()
    assert waiting.result(WAIT)


def test_a_lock_that_nobody_has_cannot_be_given_up():
    """Nor waited on, nor notified."""
    condition = Future()._condition

    for use in [condition.release, condition.wait, condition.notify, condition.notify_all]:
        with pytest.raises(RuntimeError):
            use()


def test_wait_and_notify(elsewhere):
    """A wait gives the lock up, however often it was taken, and has it as often afterwards."""
    condition, inside, order = Future()._condition, threading.Semaphore(0), []

    def sleeper():
        with condition, condition:
            inside.release()
            woken = condition.wait(WAIT)
            order.append("woken")
            assert not elsewhere.submit(condition.acquire, blocking=False).result(WAIT)
            return woken

    sleepers = [elsewhere.submit(sleeper) for _ in range(3)]
    for _ in sleepers:
        assert inside.acquire(timeout=WAIT)
    with condition:
        condition.notify()
    assert cf.wait(sleepers, WAIT, cf.FIRST_COMPLETED).done
    with condition:
        order.append("all")
        condition.notify_all()
    assert [True] * 3 == [sleeper.result(WAIT) for sleeper in sleepers]
    assert "woken" == order[0]


def test_a_wait_that_nobody_ends():
    """False after its time, with the lock in hand."""
    condition = Future()._condition

    with condition:
        for timeout in [0, -1, 0.01]:
            assert not condition.wait(timeout)
        condition.notify_all()
    with pytest.raises(RuntimeError):
        condition.release()


def test_the_end_of_a_future_wakes_who_waits_on_its_condition(make_pool, gate, elsewhere):
    """As code that reaches into the standard library expects."""
    future = make_pool(1).submit(gate.enter, 4)
    gate.wait_until_inside()

    def sleeper():
        with future._condition:
            while not future.done():
                assert future._condition.wait(WAIT)
        return future.result()

    waiting = elsewhere.submit(sleeper)
    gate.open()
    assert 4 == waiting.result(WAIT)


def test_the_lock_of_a_future_holds_its_end_back(make_pool, elsewhere):
    """While somebody has it the task may run, but the future does not end; then all are told."""
    pool, ran = make_pool(1), threading.Event()
    future = Future()

    with future._condition:
        pool.submit(lambda: (ran.set(), future.set_result(1)))
        wait_until_set(ran)
        assert not future.done()
    assert 1 == future.result(WAIT)
    assert 1 == elsewhere.submit(future.result).result(WAIT)


def test_the_lock_under_load(make_pool, rng):
    """A thousand turns of several threads: never two inside."""
    condition, inside, wrong = make_pool(1).submit(int)._condition, [], []

    def turns(seed):
        random = type(rng)(seed)
        for _ in range(300):
            with condition:
                inside.append(seed)
                if random.random() < 0.2:
                    time.sleep(0)
                if len(inside) != 1:
                    wrong.append(list(inside))
                inside.pop()

    threads = [threading.Thread(target=turns, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    assert [] == wrong


# ---- Attributes and references


def test_attributes(make_pool):
    """Any may be set and deleted, in every state; there are no others."""
    pool = make_pool(1)
    done, cancelled = pool.submit(int), Future()
    done.result(WAIT)
    cancelled.cancel()

    for future in [done, cancelled, Future(), pool.submit(int)]:
        future.mine = {"key": future}
        assert future.mine["key"] is future
        assert "mine" in vars(future)
        del future.mine
        with pytest.raises(AttributeError):
            future.mine  # noqa: B018  the look is what is tested


def collected(refs):
    """Say whether the collector finds all of them."""
    for _ in range(3):
        gc.collect()
    return [None] * len(refs) == [ref() for ref in refs]


def cycle_through_result(pool, token):
    """The result leads to its future."""
    value = [token]
    future = pool.submit(lambda: value)
    future.result(WAIT)
    value.append(future)
    return future


def cycle_through_exception(pool, token):
    """The error leads to its future."""
    error = Boom(token)
    future = pool.submit(fail, error)
    future.exception(WAIT)
    error.future = future
    return future


def cycle_through_callback(pool, token):
    """A callback that was never called leads to its future."""
    del pool
    future = Future()
    future.add_done_callback(lambda _: (token, future))
    return future


def cycle_through_attribute(pool, token):
    """An attribute leads to its future."""
    future = pool.submit(int)
    future.mine = [token, future]
    future.result(WAIT)
    return future


def cycle_through_argument(pool, token):
    """What the task was to get leads to its future."""
    gate, args = threading.Event(), [token]
    pool.submit(gate.wait, WAIT)
    future = pool.submit(len, args)
    args.append(future)
    future.cancel()
    gate.set()
    return future


def cycle_by_hand(pool, token):
    """The result of a future without a task leads to it."""
    del pool
    future = Future()
    future.set_result([token, future])
    return future


def cycle_through_last_error(pool, token):
    """The error of an attempt before the last one leads to the future."""
    errors, box = [Boom(token)], []
    ready = threading.Event()

    def task():
        wait_until_set(ready)
        if errors:
            error = errors.pop()
            error.future = box.pop()
            raise error

    future = pool.with_options(retries=1).submit(task)
    box.append(future)
    ready.set()
    future.result(WAIT)
    return future


def cycle_through_input(pool, token):
    """Two futures, of which the error of one leads to the other."""
    source, error = Future(), Boom(token)
    future = pool.submit(abs, source)
    error.future = future
    source.set_exception(error)
    future.exception(WAIT)
    return future


def cycle_through_a_cancelled_retry(pool, token):
    """The error of an attempt leads to the future, which is cancelled before the next."""
    box, error = [], Boom(token)

    def task():
        error.future = box[0]
        raise error

    ready = threading.Event()
    future = pool.with_options(retries=dask_ferris.Retry(2, backoff=3600)).submit(
        lambda: (wait_until_set(ready), task())
    )
    box.append(future)
    ready.set()
    while future.last_error is None:
        time.sleep(0.001)
    future.cancel()
    return future


def cycle_through_a_call_that_is_not_made(pool, token):
    """A user sets the result of a future whose task has not begun; its function leads to the future."""
    opened, box = threading.Event(), [token]
    pool.submit(wait_until_set, opened)
    pool.submit(wait_until_set, opened)
    future = pool.submit(lambda: box)
    box.append(future)
    future.set_result(1)
    opened.set()
    pool.submit(int).result(WAIT)  # it is behind the other one in the queue
    return future


CYCLES = {
    "error of a cancelled task": cycle_through_a_cancelled_retry,
    "call that is not made": cycle_through_a_call_that_is_not_made,
    "result": cycle_through_result,
    "exception": cycle_through_exception,
    "callback": cycle_through_callback,
    "attribute": cycle_through_attribute,
    "argument of a cancelled task": cycle_through_argument,
    "result by hand": cycle_by_hand,
    "last error": cycle_through_last_error,
    "input that failed": cycle_through_input,
}


@pytest.mark.parametrize("kind", CYCLES)
def test_cycles_are_collected(make_pool, kind):
    """A future in a circle goes when nobody else has any of it."""
    pool, token = make_pool(1), Token()
    future = CYCLES[kind](pool, token)
    pool.submit(int).result(WAIT)  # the worker has let go of it

    refs = [weakref.ref(token), weakref.ref(future)]
    del token, future
    assert collected(refs)


def test_futures_that_were_hidden_from_the_collector_go(make_pool, gate):
    """While tasks wait it does not look at their futures; afterwards none is left behind, whatever became of them."""
    pool = make_pool(2)
    gate.hold(pool, 2)
    futures, refs = [], []
    for i in range(1000):
        value = [Token()]
        future = pool.submit([lambda value: value, lambda value: fail(Boom(value))][i % 2], value)
        value.append(future)
        futures.append(future)
        refs += [weakref.ref(value[0]), weakref.ref(future)]
    gc.collect()
    for future in futures[::3]:
        future.cancel()
    gc.collect()
    gate.open()
    cf.wait(futures, WAIT)
    for _ in range(2):
        gate.hold(pool, 1)  # the workers have let go of what they had
    del value, future, futures
    assert collected(refs)


def test_the_collector_may_run_at_any_time(make_pool, elsewhere):
    """All the time, while tasks are submitted, run, cancelled and dropped."""
    pool, over = make_pool(2), threading.Event()

    def collect():
        while not over.is_set():
            gc.collect()

    collecting = elsewhere.submit(collect)
    for i in range(300):
        value = [i]
        futures = [pool.submit(list, value) for _ in range(10)]
        value.append(futures)
        futures[i % 10].cancel()
        futures.append(pool.submit(len, futures[(i + 1) % 10]))
        if i % 3:
            cf.wait(futures, WAIT)
    over.set()
    collecting.result(WAIT)


def test_what_a_broken_pool_did_not_run_goes():
    """Arguments, and what the caller's context leads to, though the future is there."""
    program = f"""
        import contextvars, gc, logging, threading, weakref, dask_ferris
        logging.disable(logging.CRITICAL)
        release = threading.Event()
        def initializer():
            release.wait({WAIT})
            raise LookupError
        class Token: pass
        variable = contextvars.ContextVar("variable")
        def make():
            token, value = Token(), []
            value.append(token)
            variable.set(value)
            executor = dask_ferris.Executor(1, initializer=initializer)
            future = executor.submit(len, value)
            value.append(future)
            release.set()
            assert isinstance(future.exception({WAIT}), dask_ferris.BrokenPoolError)
            executor.shutdown()
            return weakref.ref(token)
        ref = contextvars.copy_context().run(make)
        gc.collect()
        print(ref() is None)
    """

    assert ["True"] == output_of(program)


def test_the_traceback_does_not_grow(make_pool):
    """However often, and on however many threads, the error is raised."""
    future = make_pool(1).submit(fail, Boom())
    error = future.exception(WAIT)
    before = len(traceback.extract_tb(error.__traceback__))

    def ask():
        for _ in range(100):
            with contextlib.suppress(Boom):
                future.result()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    with contextlib.suppress(Boom):
        future.result()
    assert len(traceback.extract_tb(error.__traceback__)) <= before + 2


# ---- Callbacks


def test_callbacks_added_by_many_threads(make_pool, n_rounds):
    """Each runs once, whenever it was added; those of one thread run in their order."""
    pool = make_pool(2)
    for _ in range(10 * n_rounds):
        meeting, told = barrier(4), []

        def adder(name, future, meeting=meeting, told=told):
            meeting.wait()
            for i in range(20):
                future.add_done_callback(lambda _, i=i: told.append((name, i, threading.get_ident())))

        def task(meeting=meeting):
            meeting.wait()

        future = pool.submit(task)
        threads = [threading.Thread(target=adder, args=(name, future)) for name in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            join(thread)
        future.result(WAIT)
        pool.submit(int).result(WAIT)
        pool.wait([pool.submit(int) for _ in range(4)], WAIT)
        assert sorted((name, i) for name in range(3) for i in range(20)) == sorted(entry[:2] for entry in told)
        for name in range(3):
            by_worker = [i for owner, i, ident in told if owner == name and ident != threads[name].ident]
            assert sorted(by_worker) == by_worker


@pytest.mark.parametrize("how", ["shutdown", "break"])
def test_a_callback_may_cancel_others(how):
    """While all that waits is cancelled, or fails: neither the thread nor the interpreter comes to a stop."""
    program = f"""
        import concurrent.futures as cf, logging, threading, dask_ferris
        logging.disable(logging.CRITICAL)
        release = threading.Event()
        def initializer():
            release.wait({WAIT})
            raise LookupError
        executor = dask_ferris.Executor(1, initializer=initializer)
        futures = [executor.submit(int) for _ in range(20)]
        for i, future in enumerate(futures):
            future.add_done_callback(lambda _: [other.cancel() for other in futures])
        if "{how}" == "shutdown":
            executor.shutdown(wait=False, cancel_futures=True)
            print(all(future.cancelled() for future in futures))
        else:
            release.set()
            done = cf.wait(futures, {WAIT}).done
            print(len(done) == 20 and any(not future.cancelled() for future in futures))
        release.set()
        executor.shutdown()
    """

    assert ["True"] == output_of(program)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, Boom])
def test_an_error_of_a_callback_keeps_nobody_from_being_cancelled(make_pool, gate, caplog, error):
    """Shutdown may raise it, when all are cancelled."""
    pool = make_pool(1)
    gate.hold(pool)
    futures = [pool.submit(int) for _ in range(10)]
    futures[0].add_done_callback(lambda _: fail(error))

    with contextlib.suppress(SystemExit, KeyboardInterrupt):
        pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert caplog.records


def test_a_result_that_a_user_set_keeps_nobody_from_being_cancelled(make_pool, gate):
    """Of a task in the queue, which does not run any more; the others are cancelled, or run."""
    pool, ran = make_pool(1), []
    gate.hold(pool)
    futures = [pool.submit(ran.append, i) for i in range(10)]
    futures[0].set_result("mine")
    futures[1].set_exception(Boom())

    pool.shutdown(wait=False, cancel_futures=True)
    assert ("mine", True) == (futures[0].result(0), isinstance(futures[1].exception(0), Boom))
    assert all(future.cancelled() for future in futures[2:])
    gate.open()
    pool.shutdown()
    assert [] == ran


def test_a_result_that_a_user_set_before_the_task_began(make_pool, gate):
    """The task does not run, and the numbers add up."""
    pool, ran = make_pool(1), []
    gate.hold(pool)
    future = pool.submit(ran.append, 1)
    future.set_result("mine")

    gate.open()
    pool.shutdown()
    assert ("mine", []) == (future.result(), ran)
    assert (0, 0) == (pool.get_stats().active_threads, pool.get_stats().queued_tasks)


# ---- Many at once


def submit_many(pool, futures, i, ran):
    """Submit until the pool refuses; every tenth task waits for the one before."""
    with contextlib.suppress(PoolClosedError):
        for j in range(200):
            futures.append(pool.submit(ran.append, (i, j)))
            if j % 10 == 0:
                futures.append(pool.submit(abs, futures[-1]))


def cancel_many(random, lists):
    """Cancel some of the futures that others make meanwhile."""
    for _ in range(300):
        if futures := random.choice(lists):
            random.choice(futures).cancel()


def test_submits_cancels_and_a_shutdown_at_once(make_pool, elsewhere, rng, n_rounds):
    """Eight threads submit, two cancel, one shuts down: each future ends, or submit has raised; no task runs twice."""
    for round_ in range(4 * n_rounds):
        pool, meeting, ran, lists = make_pool(3), barrier(11), [], [[] for _ in range(8)]

        def caller(work, *args, meeting=meeting):
            meeting.wait()
            work(*args)

        callers = [elsewhere.submit(caller, submit_many, pool, lists[i], i, ran) for i in range(8)]
        callers += [elsewhere.submit(caller, cancel_many, type(rng)(rng.random()), lists) for _ in range(2)]
        meeting.wait()
        time.sleep(rng.random() * 0.01)  # so that it comes in the middle
        pool.shutdown(cancel_futures=round_ % 2 == 0)
        for each in callers:
            each.result(WAIT)
        futures = [future for each in lists for future in each]
        assert all(future.done() for future in futures)
        assert len(ran) == len(set(ran))
        stats = pool.get_stats()
        ended = stats.completed_tasks + stats.failed_tasks + stats.cancelled_tasks
        assert (len(futures), 0, 0) == (ended, stats.active_threads, stats.queued_tasks)
        assert stats.cancelled_tasks == sum(future.cancelled() for future in futures)


def test_submits_from_finalizers_and_callbacks(make_pool):
    """An object that submits as it dies, and one task after another from callbacks."""
    pool, ran, over = make_pool(2), [], threading.Event()

    class Dying:
        def __init__(self, n):
            self.n = n

        def __call__(self):
            ran.append(self.n)

        def __del__(self):
            if self.n:
                pool.submit(Dying(self.n - 1))
            else:
                over.set()

    pool.submit(Dying(100))
    wait_until_set(over)

    counted, done = [], threading.Event()

    def callback(future):
        counted.append(future)
        if len(counted) < 500:
            pool.submit(int).add_done_callback(callback)
        else:
            done.set()

    pool.submit(int).add_done_callback(callback)
    wait_until_set(done)
    assert list(range(100, -1, -1)) == ran[:101]


@pytest.mark.parametrize("how", ["one by one", "backwards", "shutdown"])
def test_a_hundred_thousand_pending_futures_are_cancelled(make_pool, gate, how):
    """All of them, and nothing runs."""
    pool, ran = make_pool(1), []
    gate.hold(pool)
    futures = [pool.submit(ran.append, i) for i in range(100_000)]

    if how == "shutdown":
        pool.shutdown(wait=False, cancel_futures=True)
    else:
        for future in futures if how == "one by one" else reversed(futures):
            assert future.cancel()
    assert all(future.cancelled() for future in futures)
    assert 100_000 == pool.get_stats().cancelled_tasks
    gate.open()
    pool.shutdown()
    assert [] == ran


def test_one_future_ended_by_many(n_rounds):
    """Results, errors and cancels from several threads: one wins, the others are told."""
    for _ in range(50 * n_rounds):
        future, meeting, won = Future(), barrier(4), []

        def ender(i, future=future, meeting=meeting, won=won):
            meeting.wait()
            with contextlib.suppress(cf.InvalidStateError):
                if i == 0:
                    won.extend([i] if future.cancel() and future.cancelled() else [])
                elif i == 1:
                    future.set_exception(Boom())
                    won.append(i)
                else:
                    future.set_result(i)
                    won.append(i)

        threads = [threading.Thread(target=ender, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            join(thread)
        assert 1 == len(won)
        assert future.cancelled() == (won == [0])
        if won[0] > 1:
            assert won[0] == future.result(0)
