"""What whoever is given a `concurrent.futures` executor relies on, of the standard thread pool and of ours.

One body of tests runs against both. Where the standard pool is known to fail, `OURS` leaves it out and the docstring
says what it does instead.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import functools
import gc
import logging
import operator
import re
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import dask.system
import pytest
from gates import WAIT, Token, barrier, end_of, join, wait_until_set
from subprocesses import IN_CHILD, output_of

OURS = pytest.mark.parametrize("pool_class", ["Executor"], indirect=True)


class Boom(Exception):
    """The exception of these tests."""


def fail(error=Boom):
    """Raise."""
    raise error


def echo(*args, **kwargs):
    """Return the arguments as they came."""
    return args, kwargs


# ---- What it is


def test_it_is_a_thread_pool_executor(pool_class, pool):
    """Code that asks for the standard classes is content: asyncio, adaptive, pipefunc and Kedro do."""
    assert issubclass(pool_class, ThreadPoolExecutor)
    assert isinstance(pool, cf.Executor)
    assert isinstance(pool.submit(int), cf.Future)


def test_the_attributes_that_tools_read(make_pool, gate):
    """Dask and adaptive read the width, monitors the threads, the queue and whether the pool is of any use."""
    pool = make_pool(2)
    assert 2 == pool._max_workers
    gate.hold(pool, 2)
    waiting = [pool.submit(int) for _ in range(3)]

    assert 2 == len(pool._threads)
    assert all(isinstance(thread, threading.Thread) and thread.is_alive() for thread in pool._threads)
    assert 3 == pool._work_queue.qsize()
    assert not pool._broken
    assert not pool._shutdown
    gate.open()
    pool.shutdown()
    assert [0, 0, 0] == [future.result() for future in waiting]
    assert pool._shutdown


@OURS
def test_the_default_is_a_worker_for_each_usable_cpu(make_pool):
    """As everywhere in this library; the standard pool makes four more than there are processors."""
    assert dask.system.CPU_COUNT == make_pool()._max_workers
    assert dask.system.CPU_COUNT == make_pool(None)._max_workers
    assert dask.system.CPU_COUNT == make_pool(max_workers=None).get_worker_count()


@pytest.mark.parametrize("max_workers", [0, -1])
def test_fewer_than_one_worker_is_a_value_error(pool_class, max_workers):
    """There is no pool of no workers."""
    with pytest.raises(ValueError, match="max_workers"):
        pool_class(max_workers)


def test_the_parameters_have_the_standard_order(make_pool):
    """All four may be given by position, and all four by name."""
    local = threading.local()
    by_position = make_pool(1, "mine", setattr, (local, "word", "position"))
    by_name = make_pool(max_workers=1, thread_name_prefix="mine", initializer=setattr, initargs=(local, "word", "name"))

    assert "position" == by_position.submit(lambda: local.word).result()
    assert "name" == by_name.submit(lambda: local.word).result()
    assert "mine_0" == by_name.submit(lambda: threading.current_thread().name).result()


@pytest.mark.parametrize("n_workers", [1, 3, 16])
def test_all_workers_work_at_once(make_pool, n_workers):
    """As many tasks as there are workers are inside together, however few processors there are."""
    pool, meeting = make_pool(n_workers), barrier(n_workers)

    places = [pool.submit(meeting.wait) for _ in range(n_workers)]
    assert list(range(n_workers)) == sorted(place.result() for place in places)


def test_there_are_never_more_workers_than_asked_for(make_pool):
    """A thousand tasks see three threads at most, and three when they have to."""
    pool, meeting = make_pool(3), barrier(3)

    threads = {pool.submit(threading.get_ident) for _ in range(1000)}
    met = [pool.submit(lambda: (meeting.wait(), threading.get_ident())) for _ in range(3)]
    assert 3 == len({future.result()[1] for future in met})
    assert {future.result() for future in threads} <= {future.result()[1] for future in met}


def test_a_task_may_spin_until_a_queued_one_has_run(pool):
    """A task that never lets go of its processor does not keep the other worker from the queue."""
    flags = []

    def spin():
        while not flags:
            pass
        return flags

    spinning = pool.submit(spin)
    pool.submit(flags.append, "ran")
    assert ["ran"] == spinning.result()


def test_executors_are_independent(make_pool, gate):
    """One that is shut down, or busy, is nothing to the other."""
    first, second, third = make_pool(1), make_pool(1), make_pool(1)
    first.shutdown()
    gate.hold(second)

    assert 3 == third.submit(abs, -3).result()
    with pytest.raises(RuntimeError):
        first.submit(int)


# ---- Threads


def test_threads_are_named_as_asked(make_pool):
    """Prefix and number: the names in logs and debuggers."""
    pool, meeting = make_pool(3, thread_name_prefix="crew"), barrier(3)

    def name():
        meeting.wait()
        return threading.current_thread().name

    names = [pool.submit(name) for _ in range(3)]
    assert ["crew_0", "crew_1", "crew_2"] == sorted(future.result() for future in names)


def test_threads_have_a_name_of_their_own_by_default(make_pool):
    """A pool without a prefix has a number, and another pool another one."""
    names = [make_pool(1).submit(lambda: threading.current_thread().name).result() for _ in range(2)]

    assert all(re.fullmatch(r"ThreadPoolExecutor-\d+_0", name) for name in names)
    assert names[0] != names[1]


def test_threads_are_seen_by_threading(pool, gate):
    """Workers are listed with their names, as debuggers and `faulthandler` show them."""
    gate.hold(pool, 2)

    assert set(pool._threads) <= set(threading.enumerate())
    assert {thread.ident for thread in pool._threads} <= set(sys._current_frames())


def test_threads_are_traced(make_pool):
    """A tracer that is set for all new threads, as coverage.py does, sees the tasks."""
    seen = []

    def tracer(frame, _event, _argument):
        seen.append(frame.f_code.co_name)

    def traced_task():
        return sys.gettrace() is not None

    before = threading.gettrace()
    threading.settrace(tracer)
    try:
        assert make_pool(1).submit(traced_task).result()
    finally:
        threading.settrace(before)
    assert "traced_task" in seen


def test_with_ends_the_threads(pool_class):
    """After the block there are the threads that were there before."""
    before, meeting = set(threading.enumerate()), barrier(3)

    with pool_class(3) as pool:
        futures = [pool.submit(lambda: (meeting.wait(), threading.current_thread())) for _ in range(3)]
    workers = {future.result()[1] for future in futures}
    assert 3 == len(workers)
    assert not any(thread.is_alive() for thread in workers)
    assert set(threading.enumerate()) <= before


def test_the_initializer_runs_once_on_each_worker(make_pool):
    """With its arguments, before the first task of that worker."""
    local, calls, meeting = threading.local(), [], barrier(3)

    def initialize(*args):
        calls.append(args)
        local.word = args

    def task():
        meeting.wait()
        return local.word

    pool = make_pool(3, initializer=initialize, initargs=("a", 1))
    futures = [pool.submit(task) for _ in range(3)]
    assert [("a", 1)] * 3 == [future.result() for future in futures]
    assert [("a", 1)] * 3 == calls


def test_a_failing_initializer_breaks_the_pool(pool_class, make_gate, caplog):
    """It is logged, what waits fails, what comes is refused, and the threads go."""
    gate, calls = make_gate(), []

    def initialize():
        calls.append(threading.current_thread())
        gate.enter()
        raise Boom

    with caplog.at_level(logging.CRITICAL, logger="concurrent.futures"), pool_class(1, initializer=initialize) as pool:
        futures = [pool.submit(int) for _ in range(3)]
        gate.wait_until_inside()
        gate.open()
        for future in futures:
            with pytest.raises(cf.BrokenExecutor):
                future.result()
        with pytest.raises(cf.BrokenExecutor):
            pool.submit(int)
        with pytest.raises(cf.BrokenExecutor):
            pool.map(int, ["1"])
        assert pool._broken
        assert isinstance(futures[0].exception(), cf.thread.BrokenThreadPool)
    (record,) = caplog.records
    assert ("concurrent.futures", logging.CRITICAL) == (record.name, record.levelno)
    assert record.exc_info
    assert Boom is record.exc_info[0]
    assert 1 == len(calls)
    join(calls[0])


# ---- submit


def test_submit_returns_at_once(make_pool, gate):
    """Before the task is done, before it has begun, and however many wait."""
    pool = make_pool(1)
    (running,) = gate.hold(pool)
    waiting = [pool.submit(int) for _ in range(100)]

    assert (True, False) == (running.running(), running.done())
    assert {(False, False)} == {(future.running(), future.done()) for future in waiting}
    gate.open()
    assert [0] * 100 == [future.result() for future in waiting]
    assert (False, True) == (running.running(), running.done())


@pytest.mark.parametrize(
    "name",
    ["args", "executor", "fn", "func", "key", "kwargs", "name", "priority", "resources", "retries", "self", "timeout"],
)
def test_keywords_belong_to_the_function(pool, name):
    """Whatever they are called: requests and tornado hand such ones on."""
    assert (("x",), {name: 2}) == pool.submit(echo, "x", **{name: 2}).result()


class Adder:
    """Adds in several ways."""

    def __init__(self, start):
        """Remember where to start."""
        self.start = start

    def __call__(self, x):
        """Add as a callable object."""
        return self.start + x

    def add(self, x):
        """Add as a method."""
        return self.start + x

    @classmethod
    def added(cls, x) -> int:
        """Add as a method of the class."""
        return cls(5).start + x

    @staticmethod
    def add_five(x):
        """Add as a static method."""
        return 5 + x


@pytest.mark.parametrize(
    "function",
    [
        Adder(5),
        Adder(5).add,
        Adder.added,
        Adder.add_five,
        lambda x: x + 5,
        functools.partial(operator.add, 5),
        operator.methodcaller("__add__", 5),
        (5).__add__,
    ],
    ids=["object", "method", "classmethod", "staticmethod", "lambda", "partial", "methodcaller", "slot"],
)
def test_anything_callable_is_called(pool, function):
    """By submit and by map."""
    assert 7 == pool.submit(function, 2).result()
    assert [7, 8] == list(pool.map(function, [2, 3]))


def test_a_class_is_called(pool):
    """Its instance is the result."""
    assert 9 == pool.submit(Adder, start=9).result().start


@pytest.mark.parametrize("value", [None, 0, NotImplemented, StopIteration(), Boom()], ids=repr)
def test_the_result_is_what_was_returned(pool, value):
    """The very object, whatever it is: also an exception that was returned, not raised."""
    assert value is pool.submit(lambda: value).result()
    assert [value] == list(pool.map(lambda _: value, [1]))


def test_a_large_result_is_not_copied(pool):
    """Threads share memory: the caller gets the object of the task."""
    large = bytearray(50_000_000)

    assert large is pool.submit(operator.itemgetter(0), [large]).result()


def test_submit_calls_the_function_once(make_pool):
    """Once each, in the order of the submits when there is one worker."""
    pool, calls = make_pool(1), []

    cf.wait([pool.submit(calls.append, i) for i in range(1000)])
    assert list(range(1000)) == calls


# ---- Results, errors, time-outs


def test_result_gives_up_after_its_timeout(pool, gate):
    """The caller gets a TimeoutError, the task goes on, and a later call has its result."""
    future = pool.submit(gate.enter, "done")

    for timeout in [0, 0.01]:
        with pytest.raises(TimeoutError):
            future.result(timeout=timeout)
        with pytest.raises(cf.TimeoutError):
            future.exception(timeout)
    assert not future.done()
    gate.open()
    assert "done" == future.result(timeout=WAIT)
    assert future.exception(timeout=0) is None


def test_a_wait_that_gave_up_poisons_nothing(make_pool, gate):
    """A caller that no longer waits gets None from its own handler, and the pool of one worker goes on."""
    pool = make_pool(1)

    def value_within(timeout, function, *args):
        try:
            return pool.submit(function, *args).result(timeout=timeout)
        except TimeoutError:
            return None

    assert value_within(0.01, gate.enter, "late") is None
    gate.open()
    assert 5 == value_within(WAIT, abs, -5)


def test_results_failures_and_those_too_slow_are_told_apart(pool, gate):
    """One of each kind: the handlers for a TimeoutError and for other errors get theirs."""
    ok, late, failed = [], [], []
    tasks = [(gate.enter, ("slow",)), (abs, (-1,)), (fail, (TypeError,)), (int, ("x",))]
    futures = [(function.__name__, pool.submit(function, *args)) for function, args in tasks]

    for name, future in futures:
        try:
            ok.append(future.result(timeout=0.01 if name == "enter" else WAIT))
        except TimeoutError:
            late.append(name)
        except Exception as error:  # noqa: BLE001  as the program that this stands for
            failed.append((name, type(error)))
    assert ([1], ["enter"], [("fail", TypeError), ("int", ValueError)]) == (ok, late, failed)


def test_an_error_lives_on_the_future(pool):
    """Submit does not raise it; result raises it, exception returns it, and they are one object."""
    error = Boom("the task's own")

    future = pool.submit(fail, error)
    assert error is future.exception()
    with pytest.raises(Boom) as caught:
        future.result()
    assert error is caught.value
    assert future.done()
    assert not future.cancelled()


def test_the_traceback_ends_in_the_tasks_frames(pool):
    """Where it was raised is to be seen, for lambdas as well."""

    def divide():
        return 1 / 0

    error = pool.submit(lambda: divide() + 1).exception()
    assert isinstance(error, ZeroDivisionError)
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert ["<lambda>", "divide"] == names[-2:]


@OURS
def test_the_traceback_does_not_grow(pool):
    """However often it is raised; in the standard pool each call of result adds its frames for good."""
    future = pool.submit(fail)
    lengths = []

    for _ in range(4):
        with pytest.raises(Boom) as caught:
            future.result()
        lengths.append(len(caught.traceback))
    assert [lengths[0]] * 4 == lengths


def test_cause_and_context_are_the_tasks_own(pool):
    """What the task raised from what is kept."""
    cause = Boom("cause")

    def with_cause():
        raise LookupError from cause

    def with_context():
        try:
            raise cause
        except Boom:
            raise LookupError  # noqa: B904  the context is the point

    errors = [pool.submit(with_cause).exception(), pool.submit(with_context).exception()]
    assert [(cause, True), (None, False)] == [(error.__cause__, error.__suppress_context__) for error in errors]
    assert cause is errors[1].__context__


@OURS
def test_context_is_the_tasks_own_wherever_it_is_raised(pool):
    """Also from a handler of another error, which the standard pool writes into the stored exception."""
    future = pool.submit(fail, Boom("of the task"))

    def result_in_a_handler():
        try:
            fail(LookupError)
        except LookupError:
            return future.result()

    with pytest.raises(Boom, match="of the task") as caught:
        result_in_a_handler()
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration])
def test_odd_errors_go_to_the_future_and_the_worker_lives(make_pool, error):
    """Whatever a task raises is the future's, and the one worker takes the next task."""
    pool = make_pool(1)

    assert type(pool.submit(fail, error).exception()) is error
    assert 3 == pool.submit(abs, -3).result()


@pytest.mark.parametrize("words", ["out of memory", "timeout", "Already borrowed", "deadlock"])
def test_a_failing_task_runs_once(pool, words):
    """Whatever its error says."""
    calls = []

    def task():
        calls.append(1)
        raise RuntimeError(words)

    assert words == str(pool.submit(task).exception())
    assert [1] == calls
    with pytest.raises(RuntimeError, match=words):
        list(pool.map(lambda _: task(), [1]))
    assert [1, 1] == calls


# ---- cancel


def test_a_queued_task_can_be_cancelled(make_pool, gate):
    """It never runs, its future says so, and cancelling again changes nothing."""
    pool, ran = make_pool(1), []
    gate.hold(pool)
    future = pool.submit(ran.append, 1)

    assert [True, True] == [future.cancel(), future.cancel()]
    assert (True, True, False) == (future.cancelled(), future.done(), future.running())
    with pytest.raises(cf.CancelledError):
        future.result()
    with pytest.raises(cf.CancelledError):
        future.exception(timeout=0)
    gate.open()
    pool.shutdown()
    assert [] == ran


def test_a_task_that_runs_or_has_run_cannot_be_cancelled(pool, gate):
    """False, and nothing happens to it."""
    (running,) = gate.hold(pool)

    assert not running.cancel()
    gate.open()
    assert running.result() is None
    assert not running.cancel()
    assert not running.cancelled()


def test_whoever_waits_for_the_result_is_woken_by_cancel(make_pool, gate, elsewhere):
    """A thread inside result gets its CancelledError though the worker is busy."""
    pool, waiting = make_pool(1), threading.Event()
    gate.hold(pool)
    future = pool.submit(int)

    def wait():
        waiting.set()
        return future.result()

    waiter = elsewhere.submit(wait)
    wait_until_set(waiting)
    assert future.cancel()
    with pytest.raises(cf.CancelledError):
        waiter.result(WAIT)


def wait_for(futures):
    """Wait as most do."""
    return len(cf.wait(futures).done)


def take_as_completed(futures):
    """Take them as they come."""
    return len(list(cf.as_completed(futures)))


@OURS
@pytest.mark.parametrize("wait", [wait_for, take_as_completed])
@pytest.mark.parametrize("order", ["before", "after"])
def test_cancel_wakes_wait_and_as_completed(make_pool, gate, elsewhere, wait, order):
    """At once; the standard pool's waiters sleep on until a worker meets the cancelled task."""
    pool = make_pool(1)
    gate.hold(pool)
    futures = [pool.submit(int) for _ in range(3)]

    if order == "before":
        assert [True] * 3 == [future.cancel() for future in futures]
        waiter = elsewhere.submit(wait, futures)
    else:
        waiter = elsewhere.submit(wait, futures)
        assert [True] * 3 == [future.cancel() for future in futures]
    assert 3 == waiter.result(WAIT)


@OURS
@pytest.mark.parametrize("wait", [wait_for, take_as_completed])
def test_shutdown_that_cancels_wakes_wait_and_as_completed(make_pool, gate, elsewhere, wait):
    """At once; the standard pool's waiters are never woken, for nobody meets the cancelled tasks any more."""
    pool = make_pool(1)
    gate.hold(pool)
    waiter = elsewhere.submit(wait, [pool.submit(int) for _ in range(3)])

    pool.shutdown(wait=False, cancel_futures=True)
    assert 3 == waiter.result(WAIT)


# ---- Callbacks


def test_callbacks_run_once_in_order_with_the_future(pool, gate):
    """On the worker that finished the task, before its next one."""
    (future,) = gate.hold(pool)
    calls, last = [], threading.Event()

    for name in "abc":
        future.add_done_callback(lambda done, name=name: calls.append((name, done, threading.current_thread())))
    future.add_done_callback(lambda _: last.set())
    gate.open()
    wait_until_set(last)
    assert [("a", future), ("b", future), ("c", future)] == [call[:2] for call in calls]
    assert {call[2] for call in calls} <= set(pool._threads)


def test_a_callback_added_late_runs_at_once(pool):
    """In the thread that adds it."""
    future, calls = pool.submit(int), []
    future.result()

    future.add_done_callback(lambda done: calls.append((done, threading.current_thread())))
    assert [(future, threading.current_thread())] == calls


def test_callbacks_of_a_cancelled_task_run_where_it_is_cancelled(make_pool, gate):
    """Once, at once, in the thread that cancels."""
    pool, calls = make_pool(1), []
    gate.hold(pool)
    future = pool.submit(int)

    future.add_done_callback(lambda done: calls.append((done.cancelled(), threading.current_thread())))
    future.cancel()
    future.cancel()
    assert [(True, threading.current_thread())] == calls
    gate.open()
    pool.shutdown()
    assert 1 == len(calls)


def test_an_error_of_a_callback_is_logged(pool, gate, caplog):
    """The others run, the result is what it is, and the worker lives."""
    futures, calls, last = gate.hold(pool, 2), [], threading.Event()

    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        futures[0].add_done_callback(fail_in_callback)
        futures[0].add_done_callback(calls.append)
        futures[0].add_done_callback(lambda _: last.set())
        gate.open()
        wait_until_set(last)
    assert [futures[0]] == calls
    assert futures[0].result() is None
    assert 3 == pool.submit(abs, -3).result()
    (record,) = caplog.records
    assert "concurrent.futures" == record.name
    assert record.exc_info
    assert Boom is record.exc_info[0]


def fail_in_callback(_future):
    """Raise."""
    raise Boom


@OURS
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_callback_cannot_end_the_worker(make_pool, gate, caplog, error):
    """Nor keep the others from running; the standard pool loses its thread, and the callbacks that come after."""
    pool, calls = make_pool(1), []
    (future,) = gate.hold(pool)

    def leave(_future):
        raise error

    future.add_done_callback(leave)
    future.add_done_callback(calls.append)
    gate.open()
    with caplog.at_level(logging.CRITICAL, logger="concurrent.futures"):
        assert 3 == pool.submit(abs, -3).result()
    assert [future] == calls


@pytest.mark.parametrize("end", ["shutdown", "with"])
def test_shutdown_returns_after_the_callbacks(make_pool, gate, end):
    """Also when one is still at work while the pool is shut down."""
    pool, ended, ending = make_pool(1), [], threading.Event()

    def callback(_future):
        wait_until_set(ending)
        time.sleep(0.05)  # a shutdown that does not wait returns meanwhile
        ended.append("callback")

    (future,) = gate.hold(pool)
    future.add_done_callback(callback)
    gate.open()
    if end == "shutdown":
        ending.set()
        pool.shutdown()
    else:
        with pool:
            ending.set()
    assert ["callback"] == ended


# ---- Futures


def test_attributes_may_be_hung_on_a_future(pool):
    """Libraries keep there what the task belongs to."""
    future = pool.submit(int)

    future.request = "GET /"
    assert "GET /" == future.request
    assert {future: 1}[future] == 1
    assert future is weakref.ref(future)()


def test_a_finished_future_stays_as_it_is(pool):
    """It cannot be given another result, nor another error, nor begun again."""
    future = pool.submit(abs, -1)
    future.result()

    with pytest.raises(cf.InvalidStateError):
        future.set_result(2)
    with pytest.raises(cf.InvalidStateError):
        future.set_exception(Boom())
    with pytest.raises(RuntimeError):
        future.set_running_or_notify_cancel()
    assert 1 == future.result()


def test_a_future_can_be_driven_by_hand(pool):
    """As documented for those who write executors: run, then a result; or a cancel, then the notice of it."""
    future_class = type(pool.submit(int))
    future, cancelled = future_class(), future_class()

    assert future.set_running_or_notify_cancel()
    assert future.running()
    future.set_result("by hand")
    assert "by hand" == future.result(timeout=0)
    assert cancelled.cancel()
    assert not cancelled.set_running_or_notify_cancel()
    assert ({cancelled}, set()) == cf.wait([cancelled], timeout=0)


# ---- map


def test_map_gives_results_in_the_order_of_its_input(make_pool):
    """Whatever the order in which they finish: here the last one first."""
    pool, done, finished = make_pool(3), [threading.Event() for _ in range(4)], []
    done[3].set()

    def task(i):
        wait_until_set(done[i + 1])
        finished.append(i)
        done[i].set()
        return i * i

    assert [0, 1, 4] == list(pool.map(task, range(3)))
    assert [2, 1, 0] == finished


def test_map_returns_an_iterator(pool):
    """With next, and iter that gives itself; at its end it stays."""
    results = pool.map(abs, [-1, -2])

    assert results is iter(results)
    assert 1 == next(results)
    assert [2] == list(results)
    assert [] == list(results)
    assert "none left" == next(results, "none left")


@pytest.mark.parametrize("n_workers", [1, 2, 5])
def test_map_runs_on_all_workers(make_pool, n_workers):
    """As many items as there are workers are inside at once."""
    meeting = barrier(n_workers)

    places = make_pool(n_workers).map(lambda _: meeting.wait(), range(2 * n_workers))
    assert sorted(2 * list(range(n_workers))) == sorted(places)


def test_map_begins_before_it_is_iterated(pool, gate):
    """The tasks are submitted by the call."""
    results = pool.map(gate.enter, "ab")

    gate.wait_until_inside(2)
    gate.open()
    assert ["a", "b"] == list(results)


@pytest.mark.parametrize(
    ("function", "iterables", "expected"),
    [
        (pow, ([1, 2, 3], [2, 2]), [1, 4]),
        (max, ([1, 5], [3, 4, 9], (2, 2, 2)), [3, 5]),
        (abs, ([],), []),
        (pow, ([1, 2], []), []),
        (str.upper, ("ab",), ["A", "B"]),
        (str.upper, ({"a": 1, "b": 2},), ["A", "B"]),
        (ord, ({"a"},), [97]),
        (abs, (range(-3, 0),), [3, 2, 1]),
        (abs, (), []),
    ],
    ids=["two", "three", "empty", "one-empty", "str", "dict", "set", "range", "none"],
)
def test_map_takes_any_iterables_to_the_shortest(pool, function, iterables, expected):
    """One argument from each; the same from generators."""
    given: list[Any] = [iterable() if callable(iterable) else iterable for iterable in iterables]
    assert expected == list(pool.map(function, *given))
    assert expected == list(pool.map(function, *[(item for item in iterable) for iterable in iterables]))


def test_map_raises_an_error_where_its_item_stands(make_pool, gate):
    """The results before it are had first, and what has not begun is cancelled."""
    pool, ran = make_pool(1), []

    def task(i):
        ran.append(i)
        if i == 2:
            raise Boom
        return gate.enter(i) if i == 3 else i

    results = pool.map(task, range(6))
    assert [0, 1] == [next(results), next(results)]
    with pytest.raises(Boom):
        next(results)
    gate.open()
    pool.shutdown()
    assert {0, 1, 2} <= set(ran) <= {0, 1, 2, 3}
    assert [] == list(results)


@pytest.mark.parametrize("chunksize", [1, 2, 4, 100])
def test_an_error_of_map_takes_no_result_with_it(pool, chunksize):
    """Those before it are had first, also when they are of the same chunk."""
    results = pool.map(operator.floordiv, [6, 6, 6, 6], [1, 2, 0, 3], chunksize=chunksize)

    assert [6, 3] == [next(results), next(results)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_that_is_closed_cancels_the_rest(make_pool, gate):
    """Whoever has seen enough says close."""
    pool, ran = make_pool(1), []

    def task(i):
        ran.append(i)
        return gate.enter(i) if i == 1 else i

    results = pool.map(task, range(4))
    assert 0 == next(results)
    gate.wait_until_inside()
    results.close()
    gate.open()
    pool.shutdown()
    assert [0, 1] == ran


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_map_gives_up_after_its_timeout(pool, gate, timeout):
    """The error comes from the iteration; the pool goes on."""
    results = pool.map(gate.enter, [1], timeout=timeout)

    with pytest.raises(TimeoutError):
        next(results)
    gate.open()
    assert [2] == list(pool.map(abs, [-2], timeout=WAIT))


def test_an_error_of_the_input_comes_from_the_call(pool):
    """An iterable that raises halfway, or is none; what was read before it may run, and the pool goes on."""

    def items():
        yield 1
        raise Boom

    with pytest.raises(Boom):
        pool.map(abs, items())
    with pytest.raises(TypeError):
        pool.map(abs, 3)
    assert [1] == list(pool.map(abs, [-1]))


@pytest.mark.parametrize("chunksize", [1, 2, 100])
def test_maps_chunksize_changes_no_result(pool, chunksize):
    """Threads take it as processes do."""
    assert [i * i for i in range(7)] == list(pool.map(operator.mul, range(7), range(7), chunksize=chunksize))


def test_map_calls_a_submit_that_was_put_in_its_place(pool):
    """Tools assign it on the instance, to count or to wrap."""
    submit, calls = pool.submit, []

    def counted(function, /, *args, **kwargs):
        calls.append(args)
        return submit(function, *args, **kwargs)

    pool.submit = counted
    assert [1, 2, 3] == list(pool.map(abs, [-1, -2, -3]))
    assert 3 == len(calls)


def test_the_submit_of_a_subclass_is_called(pool_class):
    """By map, and by asyncio."""

    class Counting(pool_class):
        calls: ClassVar = []

        def submit(self, function, /, *args, **kwargs):
            self.calls.append(1)
            return super().submit(function, *args, **kwargs)

    async def run(pool):
        return await asyncio.get_running_loop().run_in_executor(pool, abs, -4)

    with Counting(2) as pool:
        assert 1 == pool.submit(abs, -1).result()
        assert [2, 3] == list(pool.map(abs, [-2, -3]))
        assert 4 == asyncio.run(run(pool))
    assert 4 == len(Counting.calls)


# ---- wait and as_completed of the standard library


def test_as_completed_gives_them_as_they_finish(make_pool, make_gate):
    """The order is that of the ends, not that of the submits."""
    pool, gates = make_pool(3), [make_gate() for _ in range(3)]
    futures = [pool.submit(gate.enter, name) for gate, name in zip(gates, "abc", strict=True)]
    finished = cf.as_completed(futures)

    names = []
    for i in [1, 2, 0]:
        gates[i].open()
        names.append(next(finished).result())
    assert ["b", "c", "a"] == names
    assert [] == list(finished)


def test_as_completed_gives_each_once(pool, gate):
    """Also when it is listed twice, is done before, is cancelled, or is another pool's."""
    done = pool.submit(int)
    done.result()
    held = gate.hold(pool, 2)
    cancelled = pool.submit(int)
    cancelled.cancel()
    with ThreadPoolExecutor(1) as other:
        futures = [held[0], done, cancelled, held[1], other.submit(gate.enter), done, held[0]]
        gate.open()
        finished = list(cf.as_completed(futures))
    assert 5 == len(finished)
    assert set(futures) == set(finished)


def test_as_completed_gives_up_after_its_timeout(pool, gate):
    """What is done is had before."""
    futures = [*gate.hold(pool), pool.submit(int)]
    futures[1].result()
    finished = cf.as_completed(futures, timeout=0.01)

    assert futures[1] is next(finished)
    with pytest.raises(TimeoutError):
        next(finished)


def test_the_error_of_one_task_does_not_stop_the_loop(pool):
    """Each result is asked for on its own."""
    results, messages = [], []

    for future in cf.as_completed([pool.submit(int, word) for word in ["1", "two", "3"]]):
        try:
            results.append(future.result())
        except ValueError as error:
            messages.append(str(error))
    assert [1, 3] == sorted(results)
    assert ["invalid literal for int() with base 10: 'two'"] == messages


def test_wait_for_all(pool):
    """Done is everything; errors stay on their futures, also the one of a name that does not exist."""

    def misspelt():
        return no_such_name  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    futures = [pool.submit(int), pool.submit(misspelt)]
    result = cf.wait(futures)
    assert (set(futures), set()) == (result.done, result.not_done)
    assert isinstance(futures[1].exception(), NameError)


def test_wait_for_the_first(make_pool, make_gate):
    """One is done, the others are not."""
    pool, gates = make_pool(2), [make_gate(), make_gate()]
    futures = [pool.submit(gate.enter) for gate in gates]

    gates[1].open()
    assert ({futures[1]}, {futures[0]}) == cf.wait(futures, return_when=cf.FIRST_COMPLETED)


def test_wait_for_the_first_error(make_pool, make_gate):
    """Results do not end it, an error does."""
    pool, gates = make_pool(3), [make_gate(), make_gate()]
    ok, failing = pool.submit(int), pool.submit(lambda: gates[0].enter() or fail())
    slow = pool.submit(gates[1].enter)

    ok.result()
    assert ({ok}, {failing, slow}) == cf.wait([ok, failing, slow], timeout=0.01, return_when=cf.FIRST_EXCEPTION)
    gates[0].open()
    assert ({ok, failing}, {slow}) == cf.wait([ok, failing, slow], return_when=cf.FIRST_EXCEPTION)


def test_wait_gives_up_after_its_timeout(pool, gate):
    """No error: it says who is not done."""
    futures = gate.hold(pool)

    assert (set(), set(futures)) == cf.wait(futures, timeout=0)
    assert (set(), set(futures)) == cf.wait(iter(futures), timeout=0.01)
    assert (set(), set()) == cf.wait([])


def test_waits_over_futures_of_two_kinds(make_pool, rng, n_rounds):
    """Threads that wait for standard futures and those of the pool, in any order, all come back."""
    pool = make_pool(2)
    for _ in range(20 * n_rounds):
        with ThreadPoolExecutor(4) as other:
            futures = [executor.submit(abs, -i) for i in range(10) for executor in (pool, other)]
            orders = [rng.sample(futures, len(futures)) for _ in range(4)]
            waiters = [other.submit(wait, order) for order in orders for wait in (wait_for, take_as_completed)]
            assert {20} == {waiter.result(WAIT) for waiter in waiters}


# ---- shutdown


@pytest.mark.parametrize("error", [None, Boom], ids=["in-peace", "on-error"])
def test_with_waits_and_shuts_down(pool_class, error):
    """All that was submitted is done after the block, and an error of the block comes out of it."""
    futures = []

    def block():
        with pool_class(max_workers=2) as pool:
            futures.extend(pool.submit(abs, -i) for i in range(100))
            if error is not None:
                raise error
        return pool

    if error is None:
        with pytest.raises(RuntimeError):
            block().submit(int)
    else:
        with pytest.raises(error):
            block()
    assert [True] * 100 == [future.done() for future in futures]
    assert sum(range(100)) == sum(future.result() for future in futures)


def test_shutdown_finishes_what_was_submitted(make_pool, gate):
    """In a finally clause or anywhere: afterwards all results are there, and doing it again is nothing."""
    pool, futures = make_pool(1), []

    try:
        gate.hold(pool)
        futures = [pool.submit(abs, -i) for i in range(100)]
        gate.open()
    finally:
        pool.shutdown(wait=True)
    assert list(range(100)) == [future.result(timeout=0) for future in futures]
    assert pool.shutdown() is None
    pool.shutdown(wait=False, cancel_futures=True)
    assert 99 == futures[99].result()


def test_shutdown_need_not_wait(make_pool, gate):
    """It returns while a task runs; what was queued still runs, what comes is refused."""
    pool = make_pool(1)
    (running,) = gate.hold(pool)
    queued = pool.submit(abs, -2)

    pool.shutdown(wait=False)
    assert running.running()
    with pytest.raises(RuntimeError):
        pool.submit(int)
    gate.open()
    assert 2 == queued.result()


def test_shutdown_can_cancel_what_has_not_begun(make_pool, gate):
    """What runs goes on to its end."""
    pool, ran = make_pool(2), []
    running = gate.hold(pool, 2)
    queued = [pool.submit(ran.append, i) for i in range(5)]

    pool.shutdown(wait=False, cancel_futures=True)
    assert [True] * 5 == [future.cancelled() for future in queued]
    gate.open()
    pool.shutdown(wait=True)
    assert [None, None] == [future.result(timeout=0) for future in running]
    assert [] == ran


@pytest.mark.parametrize("use", [lambda pool: pool.submit(int), lambda pool: pool.map(int, "1")], ids=["submit", "map"])
def test_use_after_shutdown_is_a_runtime_error(make_pool, use):
    """At once, from the call; nothing runs in its place."""
    pool = make_pool(2)
    pool.shutdown()

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        use(pool)


@OURS
@pytest.mark.parametrize(
    "use",
    [
        lambda pool: pool.submit_batch([int]),
        lambda pool: pool.submit_computation("sum", [1]),
        lambda pool: pool.computation_future("sum", [1]),
        lambda pool: pool.with_options(priority=2).submit(int),
        lambda pool: pool.with_options(retries=1).map(int, "1"),
    ],
    ids=["submit_batch", "submit_computation", "computation_future", "view-submit", "view-map"],
)
def test_use_of_more_than_the_standard_after_shutdown_is_a_runtime_error(make_pool, use):
    """What the standard pool has not is refused in the same way."""
    pool = make_pool(2)
    pool.shutdown()

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        use(pool)


# ---- Submits from everywhere


def test_submit_from_a_task_and_from_a_callback(pool):
    """The pool is no lock that its own threads could meet."""
    chained, ended = [], threading.Event()

    def from_callback(future):
        chained.append(future)
        if len(chained) == 3:
            ended.set()
        else:
            pool.submit(int).add_done_callback(from_callback)

    inner = pool.submit(pool.submit, abs, -3).result()
    assert 3 == inner.result()
    pool.submit(int).add_done_callback(from_callback)
    wait_until_set(ended)
    assert [0, 0, 0] == [future.result() for future in chained]


@pytest.mark.parametrize("where", ["argument", "result", "callable"])
def test_submit_from_a_finalizer(make_pool, where):
    """An object may submit while it dies, on whatever thread the pool lets it go."""
    pool, ended = make_pool(1), threading.Event()

    class Last:
        def __call__(self, *_args):
            return Last() if where == "result" else None

        def __del__(self):
            pool.submit(ended.set)

    function, args = (Last(), ()) if where != "argument" else (abs, (Last(),))
    pool.submit(function, *args)
    del function, args
    wait_until_set(ended)


def test_submits_from_eight_threads(make_pool, elsewhere):
    """Four thousand tasks: each runs once, and each caller gets its own results."""
    pool, meeting, ran = make_pool(4), barrier(8), []

    def task(i, j):
        ran.append((i, j))
        return i, j

    def caller(i):
        meeting.wait()
        return [future.result() for future in [pool.submit(task, i, j) for j in range(500)]]

    results = [caller.result(WAIT) for caller in [elsewhere.submit(caller, i) for i in range(8)]]
    assert [[(i, j) for j in range(500)] for i in range(8)] == results
    assert 4000 == len(ran) == len(set(ran))


def test_submits_beside_a_shutdown(make_pool, elsewhere, rng, n_rounds):
    """Eight threads submit while another shuts down: each submit raises, or its task runs or is cancelled."""
    for _ in range(2 * n_rounds):
        pool, meeting, ran = make_pool(3), barrier(9), []
        callers = [elsewhere.submit(submit_until_refused, pool, meeting, ran, i) for i in range(8)]
        n_before, cancel_futures = rng.randrange(200), rng.random() < 0.5

        meeting.wait()
        while len(ran) < n_before:
            time.sleep(0)  # lets the others run
        pool.shutdown(cancel_futures=cancel_futures)
        futures = [future for caller in callers for future in caller.result(WAIT)]
        assert all(future.done() for future in futures)
        assert sorted(ran) == sorted(future.result() for future in futures if not future.cancelled())
        assert cancel_futures or not any(future.cancelled() for future in futures)


def submit_until_refused(pool, meeting, ran, caller):
    """Submit tasks that note themselves until the pool refuses them, and return their futures."""

    def task(i):
        ran.append((caller, i))
        return caller, i

    futures = []
    meeting.wait()
    try:
        for i in range(1_000_000):
            futures.append(pool.submit(task, i))  # noqa: PERF401  those before the refusal are wanted
    except RuntimeError:
        return futures
    message = "the pool was never shut down"
    raise AssertionError(message)


def test_a_hundred_thousand_pending_tasks(make_pool, gate):
    """All wait, all run, in order."""
    pool, ran = make_pool(1), []
    gate.hold(pool)

    futures = [pool.submit(ran.append, i) for i in range(100_000)]
    assert not any(future.done() for future in futures)
    gate.open()
    assert (100_000, 0) == tuple(map(len, cf.wait(futures)))
    assert list(range(100_000)) == ran


def test_small_tasks_in_batches(pool):
    """Two hundred and fifty functions in slices of a hundred: three futures, all results in order."""
    functions = [functools.partial(abs, -i) for i in range(250)]

    slices = [functions[i : i + 100] for i in range(0, len(functions), 100)]
    futures = [pool.submit(lambda these: [function() for function in these], these) for these in slices]
    assert 3 == len(futures)
    assert list(range(250)) == [value for future in futures for value in future.result()]


def test_a_lock_protects_what_tasks_share(make_pool):
    """Ten read-and-write steps on five threads make ten, also when one of them fails while it holds the lock."""
    pool, lock, total = make_pool(5), threading.Lock(), {"count": 0}

    def step(i):
        with lock:
            before = total["count"]
            if i == 3:
                raise Boom
            total["count"] = before + 1

    futures = [pool.submit(step, i) for i in range(11)]
    cf.wait(futures)
    assert 10 == total["count"]
    assert [3] == [i for i, future in enumerate(futures) if future.exception()]
    assert not lock.locked()


# ---- asyncio


def run_in_loop(pool, function, *args):
    """Return an awaitable for the call on the pool, from within a coroutine."""
    return asyncio.get_running_loop().run_in_executor(pool, function, *args)


def test_run_in_executor(pool):
    """The result is awaited, the error is raised where it is awaited, and the pool may be shut down in there."""

    async def main():
        square_sum = await run_in_loop(pool, lambda n: sum(i * i for i in range(n)), 1000)
        with pytest.raises(Boom):
            await run_in_loop(pool, fail)
        pool.shutdown()
        return square_sum

    assert 332833500 == asyncio.run(main())


def test_the_event_loop_goes_on(make_pool):
    """Tasks wait for what the loop does meanwhile, and four of them are inside at once."""
    pool, meeting, ticked = make_pool(4), barrier(4), threading.Event()

    def task():
        wait_until_set(ticked)
        return meeting.wait()

    async def tick():
        for _ in range(20):
            await asyncio.sleep(0)
        ticked.set()

    async def main():
        *places, _ = await asyncio.gather(*(run_in_loop(pool, task) for _ in range(4)), tick())
        return sorted(places)

    assert [0, 1, 2, 3] == asyncio.run(main())


def test_it_can_be_the_default_executor_of_a_loop(make_pool):
    """`run_in_executor(None, ...)` and `to_thread` go to it, and the end of the loop shuts it down."""
    pool = make_pool(2, thread_name_prefix="default")

    def name():
        return threading.current_thread().name

    async def main():
        asyncio.get_running_loop().set_default_executor(pool)
        return [await run_in_loop(None, name), await asyncio.to_thread(name)]

    assert {"default"} == {found.rpartition("_")[0] for found in asyncio.run(main())}
    with pytest.raises(RuntimeError):
        pool.submit(int)


def test_wrap_future(pool, gate):
    """A future is awaited as it is; one that waits in the queue is cancelled from the loop."""

    async def main():
        assert 3 == await asyncio.wrap_future(pool.submit(abs, -3))
        gate.hold(pool, 2)
        future, cancelled = pool.submit(int), asyncio.Event()
        future.add_done_callback(lambda _: cancelled.set())
        wrapped = asyncio.wrap_future(future)
        assert wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        await cancelled.wait()  # the loop hands the cancellation on in a later round
        return future.cancelled()

    assert asyncio.run(main())


def test_ten_thousand_asyncio_tasks(make_pool):
    """On one executor, all at once."""
    pool = make_pool(3)

    async def main():
        return await asyncio.gather(*(run_in_loop(pool, abs, -i) for i in range(10_000)))

    assert list(range(10_000)) == asyncio.run(main())


# ---- References


@pytest.mark.usefixtures("without_gc")
@pytest.mark.parametrize("where", ["argument", "keyword", "callable", "failing argument", "cancelled argument"])
def test_an_idle_worker_keeps_nothing_of_its_last_task(make_pool, gate, where):
    """What went into a task is gone when the caller lets go, though the future and the pool are still there."""
    pool, token = make_pool(1), Token()
    gone = end_of(token)

    if where == "argument":
        future = pool.submit(len, [token])
    elif where == "keyword":
        future = pool.submit(lambda *, key: key is None, key=token)
    elif where == "callable":
        future = pool.submit(functools.partial(len, [token]))
    elif where == "failing argument":
        future = pool.submit(operator.add, token, 1)
    else:
        gate.hold(pool)
        future = pool.submit(len, [token])
        future.cancel()
        gate.open()
    cf.wait([future])
    del token
    wait_until_set(gone)


@pytest.mark.usefixtures("without_gc")
@pytest.mark.parametrize("where", ["result", "exception", "frame"])
def test_what_came_out_of_a_task_goes_with_its_future(make_pool, where):
    """No cycle of frames and tracebacks keeps it, and no worker that waits for its next task."""
    pool = make_pool(1)

    class Failure(Exception):
        pass

    def fail_with_local():
        token = Token()
        error = Failure(end_of(token))
        try:
            raise error
        finally:
            del error

    if where == "result":
        future = pool.submit(Token)
        gone = end_of(future.result())
    else:
        future = pool.submit(fail_with_local)
        error = future.exception()
        gone = error.args[0] if where == "frame" else end_of(error)
        del error
    del future
    wait_until_set(gone)


@pytest.mark.usefixtures("without_gc")
def test_results_of_map_and_as_completed_go_one_by_one(pool):
    """Each is gone before the next one is asked for."""
    for token in pool.map(lambda _: Token(), range(5)):
        gone = end_of(token)
        del token
        wait_until_set(gone)

    futures = [pool.submit(Token) for _ in range(5)]
    finished = cf.as_completed(futures)
    while futures:
        future = next(finished)
        futures.remove(future)
        gone = end_of(future)
        del future
        wait_until_set(gone)


@pytest.mark.usefixtures("without_gc")
def test_callbacks_go_with_their_future(pool):
    """And with what they hold."""
    token = Token()
    gone, future = end_of(token), pool.submit(int)

    future.add_done_callback(functools.partial(echo, token))
    future.result()
    del future, token
    wait_until_set(gone)


def test_a_pool_that_is_dropped_finishes_and_goes(pool_class, gate):
    """Nobody shut it down: what was queued runs, the object dies and its thread ends."""
    pool = pool_class(1)
    gone, worker = end_of(pool), pool.submit(threading.current_thread).result()
    gate.hold(pool)
    queued = pool.submit(abs, -4)

    del pool
    gc.collect()
    wait_until_set(gone)
    gate.open()
    assert 4 == queued.result()
    join(worker)


# ---- Fork and Ctrl-C, in programs of their own

PREAMBLE = f"""
    import concurrent.futures as cf, os, signal, sys, threading
    from POOL import NAME as Pool
    WAIT = {WAIT}
    def meet(pool, n):
        meeting = threading.Barrier(n, timeout=WAIT)
        return sorted(future.result() for future in [pool.submit(meeting.wait) for _ in range(n)]) == list(range(n))
    def in_own_pool():
        with Pool(3) as pool:
            return meet(pool, 3)
"""


def output_with(pool_class, body):
    """Return the lines that a program with this pool prints; it forks beside threads, of which CPython warns."""
    preamble = PREAMBLE.replace("POOL", pool_class.__module__).replace("NAME", pool_class.__name__)
    return output_of(IN_CHILD + preamble + body, options=("-W", "ignore::DeprecationWarning"))


FORKS = {
    "idle pool": """
    with Pool(2) as pool:
        meet(pool, 2)
        print(in_child(in_own_pool), meet(pool, 2))
    """,
    "in a task": """
    with Pool(2) as pool:
        print(pool.submit(in_child, in_own_pool).result(), meet(pool, 2))
    """,
    "in a callback": """
    with Pool(2) as pool:
        statuses, done = [], threading.Event()
        future = pool.submit(int)
        future.add_done_callback(lambda _: (statuses.append(in_child(in_own_pool)), done.set()))
        done.wait(WAIT)
        print(*statuses, meet(pool, 2))
    """,
    "while tasks run": """
    forked, started = threading.Event(), threading.Barrier(3, timeout=WAIT)
    with Pool(2) as pool:
        futures = [pool.submit(lambda: (started.wait(), forked.wait(WAIT))) for _ in range(2)]
        started.wait()
        status = in_child(in_own_pool)
        forked.set()
        cf.wait(futures)
        print(status, meet(pool, 2))
    """,
    "while others submit": """
    stop = threading.Event()
    with Pool(2) as pool:
        def submit():
            while not stop.is_set():
                assert 3 == pool.submit(abs, -3).result()
        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        statuses = {in_child(in_own_pool) for _ in range(10)}
        stop.set()
        for thread in threads:
            thread.join()
        print(*statuses, meet(pool, 2))
    """,
}


@pytest.mark.parametrize("body", FORKS.values(), ids=FORKS)
def test_a_forked_child_can_make_a_pool(pool_class, body):
    """Whatever the parent's was doing at that moment; and the parent's goes on."""
    assert ["0 True"] == output_with(pool_class, body)


@OURS
@pytest.mark.parametrize(
    "use",
    [
        "pool.submit(int).result()",
        "list(pool.map(int, '12'))",
        "pool.shutdown()",
        "pool.shutdown(wait=False, cancel_futures=True)",
        "queued.result()",
        "queued.cancel()",
        "cf.wait([queued])",
    ],
)
def test_an_inherited_pool_may_raise_but_never_hangs(pool_class, use):
    """The child has none of the threads; the standard pool's hangs there."""
    body = f"""
    gate, started = threading.Event(), threading.Event()
    def use():
        try:
            {use}
        except Exception:
            pass
        return True
    with Pool(1) as pool:
        pool.submit(lambda: (started.set(), gate.wait(WAIT)))
        queued = pool.submit(int)
        started.wait(WAIT)
        print(in_child(use))
        gate.set()
        print(queued.result())
    """

    assert ["0", "0"] == output_with(pool_class, body)


def test_a_forked_child_may_end_in_the_ordinary_way(pool_class):
    """It does not wait for threads that only the parent has."""
    body = """
    with Pool(2) as pool:
        meet(pool, 2)
        child = os.fork()
        if child == 0:
            signal.alarm(int(WAIT))
            print(in_own_pool(), flush=True)
            sys.exit(0)
        print(os.waitpid(child, 0)[1], meet(pool, 2))
    """

    assert ["True", "0 True"] == output_with(pool_class, body)


INTERRUPTIBLE = {
    "result": "future.result()",
    "result with a timeout": "future.result(WAIT)",
    "exception": "future.exception()",
    "wait": "cf.wait([future])",
    "as_completed": "list(cf.as_completed([future]))",
    "map": "list(pool.map(gate.wait, [WAIT]))",
    "asyncio": "asyncio.run(awaiting())",
}

INTERRUPT_PREAMBLE = """
    import asyncio, time
    # Whoever started this program may have told it to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gate, waiting, pool = threading.Event(), threading.Event(), Pool(1)
    future, queued = pool.submit(gate.wait, WAIT), pool.submit(abs, -7)
    async def awaiting():
        await asyncio.wrap_future(future)
    def interrupt():
        waiting.wait(WAIT)
        time.sleep(0.1)  # so that the wait has begun; an interrupt before it ends it as well
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        waiting.set()
        CALL
    except KeyboardInterrupt:
        print("interrupted", gate.is_set())
    gate.set()
    print(future.result(), queued.result())
"""


@pytest.mark.parametrize("call", INTERRUPTIBLE.values(), ids=INTERRUPTIBLE)
def test_ctrl_c_ends_a_wait_and_the_pool_goes_on(pool_class, call):
    """KeyboardInterrupt comes while the task still runs; it and the next one finish, and more can be submitted."""
    body = INTERRUPT_PREAMBLE.replace("CALL", call) + "    print(pool.submit(abs, -3).result())\n"

    assert ["interrupted False", "True 7", "3"] == output_with(pool_class, body)


@pytest.mark.parametrize("call", ["pool.shutdown()", "pool.__exit__(None, None, None)"], ids=["shutdown", "exit"])
def test_ctrl_c_ends_a_shutdown(pool_class, call):
    """The pool is shut down: what was submitted finishes, nothing more is taken, and a second shutdown waits."""
    body = (
        INTERRUPT_PREAMBLE.replace("CALL", call)
        + """
    try:
        pool.submit(int)
    except RuntimeError:
        print("refused")
    pool.shutdown()
    print("ended")
    """
    )

    assert ["interrupted False", "True 7", "refused", "ended"] == output_with(pool_class, body)
