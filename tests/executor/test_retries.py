"""Retries: how often, after which errors and how long after, and what a task is while it waits for another attempt."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import contextvars
import threading
from collections import Counter

import pytest
from gates import WAIT, Token, end_of, wait_until_set
from hypothesis import given
from hypothesis import strategies as st
from subprocesses import output_of

import dask_ferris
from dask_ferris import Retry
from dask_ferris.testing import set_testing

HOURS = Retry(attempts=2, backoff=3600, max_delay=3600, jitter=False)


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


class Boom(Exception):
    """The exception of these tests."""


class BigBoom(Boom):
    """A special case of it."""


class Flaky:
    """A task that fails so many times, and remembers what it raised."""

    def __init__(self, n_failures, error=Boom):
        """Remember how often to fail, and with what."""
        self.errors, self._n_failures, self._error = [], n_failures, error

    def __call__(self, value="done"):
        """Fail, or return the value."""
        if len(self.errors) == self._n_failures:
            return value
        self.errors.append(self._error(len(self.errors) + 1))
        raise self.errors[-1]


def attempt_once(pool, future):
    """Wait until the first attempt at a task is over; the pool has one worker, and its queue is in order."""
    assert 0 == pool.submit(int).result(WAIT)
    assert 1 == future.attempts


# ---- How often


@pytest.mark.parametrize(
    ("retries", "n_attempts"),
    [(None, 1), (0, 1), (1, 2), (3, 4), (Retry(attempts=1), 1), (Retry(attempts=4), 4), (Retry(attempts=200), 200)],
    ids=str,
)
def test_a_task_that_always_fails_is_attempted_so_often(pool, retries, n_attempts):
    """`retries` counts what comes after the first attempt, `attempts` counts all; the last error is the future's."""
    task = Flaky(1000)
    future = pool.with_options(retries=retries).submit(task)

    assert future.exception(WAIT) is task.errors[-1]
    assert n_attempts == future.attempts == len(task.errors)
    assert not future.running()


@pytest.mark.parametrize("n_failures", range(4))
def test_there_is_no_attempt_after_a_success(pool, n_failures):
    """Only the first result counts."""
    task = Flaky(n_failures)
    future = pool.with_options(retries=3).submit(task, "fine")

    assert "fine" == future.result(WAIT)
    assert (n_failures, n_failures + 1) == (len(task.errors), future.attempts)


@pytest.mark.parametrize(
    ("retry", "error", "n_attempts"),
    [
        (Retry(3), Boom, 3),
        (Retry(3), TimeoutError, 3),
        (Retry(3), StopIteration, 3),
        (Retry(3, on=Boom), Boom, 3),
        (Retry(3, on=Boom), BigBoom, 3),
        (Retry(3, on=BigBoom), Boom, 1),
        (Retry(3, on=KeyError), Boom, 1),
        (Retry(3, on=(KeyError, Boom)), Boom, 3),
        (Retry(3, on=()), Boom, 1),
        (Retry(3, not_on=Boom), Boom, 1),
        (Retry(3, not_on=Boom), BigBoom, 1),
        (Retry(3, not_on=BigBoom), Boom, 3),
        (Retry(3, on=Boom, not_on=(KeyError, BigBoom)), BigBoom, 1),
        (Retry(3, on=Boom, not_on=(KeyError, BigBoom)), Boom, 3),
        (Retry(3, on=SystemExit), SystemExit, 3),
    ],
)
def test_errors_that_are_worth_another_attempt(pool, retry, error, n_attempts):
    """Those of `on` that are not of `not_on`; others fail the task at once."""
    future = pool.with_options(retries=retry).submit(Flaky(1000, error))

    assert error is type(future.exception(WAIT))
    assert n_attempts == future.attempts


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException, asyncio.CancelledError, cf.CancelledError],
)
def test_what_is_no_failure_is_not_repeated(make_pool, error):
    """An exit, an interrupt or a cancellation ends the task at once, unless it is named."""
    pool = make_pool(1)
    future = pool.with_options(retries=3).submit(Flaky(1000, error))

    assert error is type(future.exception(WAIT))
    assert 1 == future.attempts
    assert 0 == pool.submit(int).result(WAIT)


def test_each_of_many_tasks_is_attempted_as_often_as_it_needs(pool, rng, n_rounds):
    """Random numbers of failures, several at once: no attempt is lost, none is one too many."""
    view = pool.with_options(retries=4)
    tasks = [Flaky(rng.randint(0, 6)) for _ in range(400 * n_rounds)]

    futures = [view.submit(task, i) for i, task in enumerate(tasks)]
    for i, (task, future) in enumerate(zip(tasks, futures, strict=True)):
        if future.exception(WAIT) is None:
            assert (i, len(task.errors) + 1) == (future.result(), future.attempts)
        else:
            assert (task.errors[-1], 5, 5) == (future.exception(), len(task.errors), future.attempts)
    failures = Counter(future.exception() is None for future in futures)
    stats = pool.get_stats()
    assert (failures[True], failures[False], 0) == (stats.completed_tasks, stats.failed_tasks, stats.queued_tasks)
    assert 0 == stats.active_threads


def test_map_and_batches_are_repeated_item_by_item(make_pool):
    """A policy holds for each call that goes through the view."""
    view = make_pool(2).with_options(retries=2)
    tasks = [Flaky(i % 3) for i in range(12)]

    assert list(range(12)) == list(view.map(lambda task, i: task(i), tasks, range(12)))
    tasks = [Flaky(i % 3) for i in range(12)]
    assert list(range(12)) == view.submit_batch([(task, (i,)) for i, task in enumerate(tasks)])


# ---- How long after


delays = st.floats(0, 1e6)
retry_values = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    backoff=delays,
    factor=st.floats(1, 100),
    max_delay=delays,
    jitter=st.booleans(),
)


@given(retry=retry_values, n_attempts=st.integers(1, 60))
def test_the_delay_is_a_function_of_the_number_of_attempts(retry, n_attempts):
    """Exponential up to the longest, with jitter from half of that to all; none after the last attempt."""
    delay = retry.delay_after(Boom(), n_attempts)

    if n_attempts >= retry.attempts:
        assert delay is None
        return
    full = min(retry.max_delay, retry.backoff * retry.factor ** (n_attempts - 1))
    assert delay is not None
    assert full / 2 <= delay <= full if retry.jitter else full == delay


@given(retry=retry_values, n_attempts=st.integers(1, 60))
def test_an_error_that_is_not_worth_it_has_no_delay(retry, n_attempts):
    """However many attempts are left."""
    chosen = Retry(retry.attempts, on=(Boom, OSError), not_on=BigBoom, backoff=retry.backoff)

    assert chosen.delay_after(KeyError(), n_attempts) is None
    assert chosen.delay_after(BigBoom(), n_attempts) is None
    assert (n_attempts < retry.attempts) == (chosen.delay_after(PermissionError(), n_attempts) is not None)


@pytest.mark.parametrize("backoff", [1, 1.0], ids=["int", "float"])
@pytest.mark.parametrize("factor", [2, 2.0, 1e308, 10**300], ids=["int", "float", "huge float", "huge int"])
def test_delays_beyond_all_numbers_are_the_longest_one(backoff, factor):
    """Nothing overflows."""
    retry = Retry(10**6, backoff=backoff, factor=factor, max_delay=7, jitter=False)

    assert 7 == retry.delay_after(Boom(), 2000)


def test_jitter_varies():
    """Tasks that failed together do not come back together."""
    retry = Retry(2, backoff=1)

    assert 1 < len({retry.delay_after(Boom(), 1) for _ in range(100)})


def test_delays_are_asked_for_with_the_error_and_the_number(pool):
    """The policy decides, attempt by attempt."""
    asked = []

    class Noted(Retry):
        def delay_after(self, error, n_attempts):
            asked.append((error, n_attempts))
            return super().delay_after(error, n_attempts)

    task = Flaky(2)
    assert "done" == pool.with_options(retries=Noted(5, backoff=0.001)).submit(task).result(WAIT)
    assert list(zip(task.errors, [1, 2], strict=True)) == asked


@pytest.mark.parametrize("answer", ["raises", "text", "nan", "negative"])
def test_a_policy_that_goes_wrong_fails_the_task(make_pool, answer):
    """The future ends with one error or another; it is never lost."""
    pool = make_pool(1)

    class Wrong(Retry):
        def delay_after(self, _error, _n_attempts):
            if answer == "raises":
                raise LookupError
            return {"text": "soon", "nan": float("nan"), "negative": -1.0}[answer]

    future = pool.with_options(retries=Wrong(2)).submit(Flaky(1000))
    assert future.exception(WAIT) is not None
    assert 0 == pool.submit(int).result(WAIT)


def test_an_error_that_cannot_be_matched_fails_the_task(make_pool):
    """A class whose `__instancecheck__` raises is named in `on`."""

    class Meta(type):
        def __instancecheck__(cls, _instance):
            raise LookupError

    class Odd(Exception, metaclass=Meta):
        pass

    future = make_pool(1).with_options(retries=Retry(2, on=Odd)).submit(Flaky(1000))
    assert future.exception(WAIT) is not None


def test_there_are_no_delays_in_testing(make_pool):
    """An hour passes in no time."""
    with set_testing():
        pool = make_pool(4)
        future = pool.with_options(retries=HOURS).submit(Flaky(1))

        assert ("done", 1) == (future.result(WAIT), pool.get_worker_count())


# ---- What is seen of it


def test_attempts_and_last_error_while_it_runs(pool):
    """The task itself sees how often it has begun, and why it failed before."""
    box, seen, errors = [], [], [Boom(1), Boom(2)]
    ready = threading.Event()

    def task():
        wait_until_set(ready)
        seen.append((box[0].attempts, box[0].last_error))
        if len(seen) < 3:
            raise errors[len(seen) - 1]
        return "done"

    box.append(pool.with_options(retries=2).submit(task))
    assert (0, None) == (box[0].attempts, box[0].last_error) or box[0].attempts == 1
    ready.set()
    assert "done" == box[0].result(WAIT)
    assert [(1, None), (2, errors[0]), (3, errors[1])] == seen
    assert 3 == box[0].attempts


def test_attempts_and_last_error_of_tasks_without_retries(make_pool, gate):
    """None has begun, one has; the error of the future is the last one."""
    pool = make_pool(1)
    gate.hold(pool)
    good, bad, dropped = pool.submit(int), pool.submit(Flaky(1)), pool.submit(int)

    assert (0, None) == (good.attempts, good.last_error)
    dropped.cancel()
    gate.open()
    assert bad.exception(WAIT) is bad.last_error
    assert (1, None, 1, 0, None) == (good.attempts, good.last_error, bad.attempts, dropped.attempts, dropped.last_error)
    assert (0, None) == (dask_ferris.Future().attempts, dask_ferris.Future().last_error)


def test_while_it_waits_for_another_attempt(make_pool):
    """It does not run, is not done, is counted as queued, and shows what went wrong."""
    pool, task = make_pool(1), Flaky(1)
    future = pool.with_options(retries=HOURS).submit(task)
    attempt_once(pool, future)

    assert (False, False, False) == (future.running(), future.done(), future.cancelled())
    assert task.errors == [future.last_error]
    stats = pool.get_stats()
    assert (0, 1, 1, 0) == (stats.active_threads, stats.queued_tasks, stats.completed_tasks, stats.failed_tasks)


def test_the_number_of_attempts_is_noted_on_the_error(make_pool):
    """On the last one, with the name of the task if it has one; not when there was one attempt only."""
    pool = make_pool(1)

    (note,) = pool.with_options(retries=4, name="load").submit(Flaky(9)).exception(WAIT).__notes__
    assert "5" in note
    assert "load" in note
    task = Flaky(9)
    (note,) = pool.with_options(retries=2).submit(task).exception(WAIT).__notes__
    assert "3" in note
    assert [False, False, True] == [hasattr(error, "__notes__") for error in task.errors]
    for retries in [None, 0, Retry(3, on=KeyError)]:
        assert not hasattr(pool.with_options(retries=retries).submit(Flaky(9)).exception(WAIT), "__notes__")


def test_an_error_that_takes_no_notes_is_the_error_all_the_same(pool):
    """What the task raised is what counts."""

    class Bare(Exception):
        def add_note(self, _note):
            raise LookupError

    assert Bare is type(pool.with_options(retries=1).submit(Flaky(9, Bare)).exception(WAIT))


def test_those_who_wait_are_told_once_at_the_end(pool):
    """Callbacks, `wait` and `as_completed` see the outcome, never an attempt."""
    task, told = Flaky(3), []
    future = pool.with_options(retries=Retry(4, backoff=0.001)).submit(task, 7)
    future.add_done_callback(lambda future: told.append((future.result(), future.attempts)))

    assert [7] == [done.result() for done in cf.as_completed([future], WAIT)]
    assert {future} == cf.wait([future], WAIT).done
    pool.shutdown()
    assert [(7, 4)] == told


def test_a_result_that_a_user_sets_is_the_end(make_pool):
    """There is no attempt after it, and the statistics add up."""
    pool, begun, release = make_pool(1), threading.Event(), threading.Event()

    def task():
        begun.set()
        wait_until_set(release)
        raise Boom

    future = pool.with_options(retries=3).submit(task)
    wait_until_set(begun)
    future.set_result("mine")
    release.set()
    pool.shutdown()
    assert ("mine", 1) == (future.result(), future.attempts)
    assert (0, 0) == (pool.get_stats().active_threads, pool.get_stats().queued_tasks)


# ---- Between two attempts


def test_it_can_be_cancelled_between_attempts(make_pool, elsewhere):
    """Whoever waits is woken, callbacks run, and it is counted; there is no second attempt."""
    pool, task, told = make_pool(1), Flaky(1), []
    future = pool.with_options(retries=HOURS).submit(task)
    attempt_once(pool, future)
    future.add_done_callback(told.append)
    waiter = elsewhere.submit(cf.wait, [future])

    assert future.cancel()
    assert future.cancelled()
    assert {future} == waiter.result(WAIT).done
    with pytest.raises(cf.CancelledError):
        future.result(WAIT)
    assert [future] == told
    assert (1, 0) == (pool.get_stats().cancelled_tasks, pool.get_stats().queued_tasks)
    pool.shutdown()
    assert 1 == future.attempts


def test_shutdown_waits_for_attempts_to_come(make_pool):
    """All of them are made, also those with a delay, though nothing else is accepted."""
    pool = make_pool(2)
    view = pool.with_options(retries=Retry(4, backoff=0.01))
    futures = [view.submit(Flaky(i % 6), i) for i in range(12)]

    pool.shutdown()
    assert all(future.done() for future in futures)
    assert [i % 6 < 4 for i in range(12)] == [future.exception() is None for future in futures]


def test_shutdown_can_cancel_those_that_wait_for_an_attempt(make_pool):
    """Like those that never began."""
    pool = make_pool(1)
    future = pool.with_options(retries=HOURS).submit(Flaky(1))
    attempt_once(pool, future)

    pool.shutdown(cancel_futures=True)
    assert future.cancelled()
    assert 1 == pool.get_stats().cancelled_tasks


def test_a_failed_attempt_makes_room_for_others(make_pool):
    """The only worker is free while the task waits."""
    pool = make_pool(1)
    future = pool.with_options(retries=HOURS).submit(Flaky(1))
    attempt_once(pool, future)

    assert list(range(50)) == list(pool.map(abs, range(50)))
    assert 1 == future.attempts


def test_a_worker_can_wait_for_a_task_that_is_repeated(make_pool):
    """It lends a hand, or its slot, until the last attempt."""
    pool = make_pool(1)
    view = pool.with_options(retries=Retry(4, backoff=0.001))

    def outer():
        return view.submit(Flaky(3), "inner").result(WAIT), view.submit(Flaky(3), "inner").result()

    assert ("inner", "inner") == pool.submit(outer).result(WAIT)


def test_ten_thousand_tasks_that_wait_take_no_threads_and_little_memory():
    """The same threads as before, and about half a kilobyte each, beside those that have waited already."""
    program = f"""
        import gc, threading, time, psutil, dask_ferris
        from concurrent.futures import wait
        def memory():
            gc.collect()
            return psutil.Process().memory_info().rss
        class Boom(Exception): pass
        error = Boom()
        def fail(): raise error.with_traceback(None)
        executor = dask_ferris.Executor(2)
        view = executor.with_options(retries=dask_ferris.Retry(2, backoff=3600, max_delay=3600, jitter=False))
        one = view.submit(fail)  # starts the timer
        wait([executor.submit(int) for _ in range(10_000)])
        n_threads, futures = threading.active_count(), []
        def fill():
            futures.extend([view.submit(fail) for _ in range(10_000)])
            end = time.monotonic() + {WAIT}
            while executor.get_stats().active_threads or sum(future.attempts for future in futures) < len(futures):
                assert time.monotonic() < end
                time.sleep(0.01)
        fill()  # the allocator has taken whole huge pages now
        before = memory()
        fill(), fill()
        print(memory() - before < 20e6 or memory() - before)
        print(threading.active_count() <= n_threads, executor.get_stats().queued_tasks)
        executor.shutdown(cancel_futures=True)
        print(all(future.cancelled() for future in futures))
    """

    assert ["True", "True 30001", "True"] == output_of(program)


# ---- Views


def test_words_of_a_view_are_kept_until_they_are_given_again(pool):
    """The later word wins, None is as if it had never been given, and the views before stay as they are."""
    three = pool.with_options(retries=2, name="three")
    two = three.with_options(retries=1)
    none = two.with_options(retries=None)
    named = two.with_options(name="other", priority=5)

    assert [3, 2, 1, 2, 1] == [attempts_of(view) for view in [three, two, none, named, pool]]


def attempts_of(executor):
    """Return how often a task that always fails is attempted."""
    future = executor.submit(Flaky(1000))
    future.exception(WAIT)
    return future.attempts


def test_names_of_views(pool):
    """The name nests as the other words do."""
    named = pool.with_options(name="first", retries=1)

    def note(executor):
        (note,) = executor.submit(Flaky(9)).exception(WAIT).__notes__
        return note

    assert "first" in note(named)
    assert "first" in note(named.with_options(retries=2))
    assert "second" in note(named.with_options(name="second"))
    assert "first" not in note(named.with_options(name=None))


# ---- References and context


@pytest.mark.usefixtures("without_gc")
@pytest.mark.parametrize("end", ["result", "cancel"])
def test_arguments_are_kept_for_the_last_attempt_and_no_longer(make_pool, end):
    """Each attempt gets the same objects; then nobody has them any more, though the future is there."""
    pool, token, seen = make_pool(1), Token(), []
    gone, ident = end_of(token), id(token)

    def task(token, *, key):
        seen.extend([id(token), id(key)])
        del token, key  # from the frame, which the error keeps
        if len(seen) < 6:
            raise Boom

    retry = HOURS if end == "cancel" else Retry(3)
    future = pool.with_options(retries=retry).submit(task, token, key=token)
    del token
    if end == "cancel":
        attempt_once(pool, future)
        assert not gone.is_set()
        future.cancel()
    cf.wait([future], WAIT)
    wait_until_set(gone)
    assert [ident] * len(seen) == seen
    assert (2 if end == "cancel" else 6) == len(seen)


@pytest.mark.usefixtures("without_gc")
def test_the_errors_of_attempts_go_when_the_task_succeeds(pool):
    """With the frames in their tracebacks."""
    gone = []

    def task():
        token = Token()
        gone.append(end_of(token))
        if len(gone) < 3:
            raise Boom

    future = pool.with_options(retries=2).submit(task)
    future.result(WAIT)
    for event in gone:
        wait_until_set(event)


def test_each_attempt_begins_in_the_context_of_the_submit(pool):
    """What an attempt sets is not seen by the next, nor by the caller."""
    variable, seen = contextvars.ContextVar("variable", default="unset"), []

    def task():
        seen.append(variable.get())
        variable.set("changed")
        if len(seen) < 3:
            raise Boom

    variable.set("mine")
    pool.with_options(retries=2).submit(task).result(WAIT)
    assert ["mine"] * 3 == seen
    assert "mine" == variable.get()
