"""Futures among the arguments: a task begins when they have ended and gets their results; no thread waits for them."""

from __future__ import annotations

import concurrent.futures as cf
import weakref
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest
from gates import WAIT, Token, end_of, wait_until_set
from subprocesses import output_of

import dask_ferris
from dask_ferris import Future


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


class Boom(Exception):
    """The exception of these tests."""


def echo(*args, **kwargs):
    """Return the arguments as they came."""
    return args, kwargs


def finished(value):
    """Return a future that has ended."""
    future = Future()
    future.set_result(value)
    return future


# ---- Where they are found


Pair = namedtuple("Pair", "one two")  # noqa: PYI024  what is meant is any subclass of tuple

PLACES = {
    "list": (lambda x: [x, 1], [7, 1]),
    "tuple": (lambda x: (1, x), (1, 7)),
    "set": (lambda x: {x, 1}, {7, 1}),
    "frozenset": (lambda x: frozenset([x]), frozenset([7])),
    "dict": (lambda x: {"key": x}, {"key": 7}),
    "nested": (lambda x: [({"key": [{x}, (), []]},)], [({"key": [{7}, (), []]},)]),
    "twice": (lambda x: [x, x, (x, {"key": x})], [7, 7, (7, {"key": 7})]),
}


@pytest.mark.parametrize("is_done", [True, False], ids=["finished", "pending"])
@pytest.mark.parametrize("place", PLACES)
def test_futures_in_containers(make_pool, place, is_done):
    """In lists, tuples, sets and the values of dicts, however deep, by position and by keyword."""
    wrap, expected = PLACES[place]
    pool, source = make_pool(1), finished(7) if is_done else Future()

    future = pool.submit(echo, wrap(source), "other", key=wrap(source))
    if not is_done:
        assert not future.done()
        source.set_result(7)
    assert ((expected, "other"), {"key": expected}) == future.result(WAIT)


@pytest.mark.parametrize("is_done", [True, False], ids=["finished", "pending"])
def test_futures_as_arguments(make_pool, is_done):
    """By position and by keyword; one alone is as good as several."""
    pool, sources = make_pool(1), [Future() for _ in range(3)]
    if is_done:
        sources = [finished(i) for i in range(3)]

    futures = [pool.submit(echo, *sources, key=sources[2]), pool.submit(abs, sources[1])]
    if not is_done:
        for i in [1, 0, 2]:
            sources[i].set_result(i)
    assert ((0, 1, 2), {"key": 2}) == futures[0].result(WAIT)
    assert 1 == futures[1].result(WAIT)


@pytest.mark.parametrize("value", [None, False, [], Boom, Boom("a value"), {"a": [1]}, NotImplemented], ids=repr)
def test_any_result_is_passed_on_as_it_is(make_pool, value):
    """The very object; also one that is an exception, or a container."""
    pool = make_pool(1)

    assert pool.submit(lambda x: x, finished(value)).result(WAIT) is value
    assert pool.submit(lambda x: x[0], [pool.submit(lambda: value)]).result(WAIT) is value


def test_a_future_that_is_a_result_stays_one(make_pool):
    """What the arguments contain is looked for, not what the results do."""
    pool, inner = make_pool(1), Future()

    assert pool.submit(lambda x: x, finished(inner)).result(WAIT) is inner
    assert pool.submit(lambda x: x, finished([inner])).result(WAIT) == [inner]


def test_the_callers_containers_stay_as_they_are(make_pool):
    """The task gets copies of those with futures in them, and the others themselves."""
    pool, source = make_pool(1), Future()
    with_future, without = [source, {"key": source}], [1, {"key": 2}]

    future = pool.submit(lambda *args: args, with_future, without)
    source.set_result(7)
    assert [7, {"key": 7}] == future.result(WAIT)[0]
    assert future.result()[1] is without
    assert [source, {"key": source}] == with_future
    assert with_future[0] is source


@pytest.mark.parametrize(
    "container",
    [
        lambda x: Pair(x, 1),
        lambda x: OrderedDict(key=x),
        lambda x: defaultdict(list, key=x),
        lambda x: deque([x]),
        lambda x: type("Own", (list,), {})([x]),
        lambda x: type("Own", (dict,), {})(key=x),
        lambda x: {x: "a key"},
        lambda x: iter([x]),
        lambda x: lambda: x,
    ],
    ids=["namedtuple", "OrderedDict", "defaultdict", "deque", "list", "dict", "key", "iterator", "function"],
)
def test_other_containers_are_left_alone(make_pool, container):
    """Subclasses and the rest: nobody knows how to make another one, so the task has the future itself, at once."""
    pool = make_pool(1)
    given = container(Future())

    assert pool.submit(lambda x: x, given).result(WAIT) is given


def test_futures_of_others_are_passed_as_they_are(make_pool, gate, elsewhere):
    """Those of the standard library are nothing that we wait for."""
    pool, foreign = make_pool(1), elsewhere.submit(gate.enter)

    assert pool.submit(lambda x: x, foreign).result(WAIT) is foreign
    assert pool.submit(lambda x: x[0], [foreign]).result(WAIT) is foreign
    gate.open()


def test_futures_of_another_executor_are_waited_for(make_pool, gate):
    """It is the same kind of future; no thread of either waits."""
    first, second = make_pool(1), make_pool(1)

    source = first.submit(gate.enter, 5)
    future = second.submit(abs, source)
    assert 0 == second.submit(int).result(WAIT)
    gate.open()
    assert 5 == future.result(WAIT)


def test_an_executor_that_resolves_nothing(make_pool):
    """`resolve_futures=False` is the standard library's way: tasks get futures, at once."""
    pool, source = make_pool(1, resolve_futures=False), Future()

    assert ((source, [source]), {"key": source}) == pool.submit(echo, source, [source], key=source).result(WAIT)
    assert [source] == list(pool.map(lambda x: x, [source]))
    view = pool.with_options(priority=3)
    assert view.submit(lambda x: x, source).result(WAIT) is source


def test_map_and_batches_wait_for_futures_too(make_pool):
    """They submit as submit does."""
    pool, sources = make_pool(1), [Future() for _ in range(5)]

    results = pool.map(abs, sources)
    for i, source in enumerate(sources):
        source.set_result(-i)
    assert list(range(5)) == list(results)
    assert list(range(5)) == pool.submit_batch([(abs, (source,)) for source in sources])


def test_methods_and_partials_are_called_as_they_are(make_pool):
    """A future that is the function's own is not an argument."""
    pool, source = make_pool(1), Future()

    assert pool.submit(source.done).result(WAIT) is False
    assert pool.submit(source.set_result, 3).result(WAIT) is None
    assert 3 == source.result(WAIT)


# ---- Containers that are odd


def test_containers_that_contain_themselves():
    """With futures in them or without: neither is looked into for ever."""
    program = """
        import dask_ferris
        executor, future = dask_ferris.Executor(1), dask_ferris.Future()
        plain, named = [1], {}
        plain.append(plain)
        named["self"] = named
        print(executor.submit(lambda a, b: a[1] is a and b["self"] is b, plain, named).result())
        odd, strange = [future, 2], {"future": future}
        odd.append(odd)
        strange["self"] = [strange]
        futures = [executor.submit(len, odd), executor.submit(len, strange), executor.submit(len, (odd, strange))]
        future.set_result(1)
        print([len(repr(future.exception() or future.result())) > 0 for future in futures])
    """

    assert ["True", "[True, True, True]"] == output_of(program)


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_containers_nested_deeper_than_any_stack(kind):
    """A hundred thousand levels, without a future: the task gets it; with one, at worst an error."""
    program = f"""
        import dask_ferris
        wrap = dict(list=lambda x: [x], tuple=lambda x: (x,), dict=lambda x: {{1: x}})["{kind}"]
        executor, future = dask_ferris.Executor(1), dask_ferris.Future()
        def deep(x):
            for _ in range(100_000):
                x = wrap(x)
            return x
        plain, full = deep(0), deep(future)
        print(executor.submit(lambda x: x is plain, plain).result())
        try:
            last = executor.submit(len, full)
        except RecursionError:
            print("ended")
        else:
            future.set_result(1)
            print("ended" if last.exception() or last.result() else "ended")
        import os, sys
        sys.stdout.flush()
        os._exit(0)  # CPython itself takes long to let go of it
    """

    assert ["True", "ended"] == output_of(program)


def test_a_wide_container_takes_no_longer_than_it_is(make_pool):
    """A hundred thousand futures in nested lists."""
    pool = make_pool(1)
    sources = [[finished(i) for i in range(j, j + 100)] for j in range(0, 100_000, 100)]

    assert sum(range(100_000)) == pool.submit(lambda rows: sum(map(sum, rows)), sources).result(WAIT)


def test_a_result_that_cannot_be_in_a_set(make_pool):
    """The task fails with the error of the set, and lets its arguments go."""
    pool, source, token = make_pool(1), Future(), Token()
    gone = end_of(token)

    future = pool.submit(echo, {source}, token)
    del token
    source.set_result([])
    assert isinstance(future.exception(WAIT), TypeError)
    wait_until_set(gone)
    assert (1, 0) == (pool.get_stats().failed_tasks, pool.get_stats().queued_tasks)


def test_a_result_that_is_slow_to_hash():
    """Code of a user runs while the arguments are made; others may cancel meanwhile, and nothing hangs."""
    program = f"""
        import threading, dask_ferris
        executor, source = dask_ferris.Executor(1), dask_ferris.Future()
        begun, go = threading.Event(), threading.Event()
        class Slow:
            def __hash__(self):
                begun.set()
                go.wait({WAIT / 4})
                return 1
        future = executor.submit(len, {{source}})
        thread = threading.Thread(target=source.set_result, args=(Slow(),))
        thread.start()
        begun.wait({WAIT / 4})
        future.cancel()
        go.set()
        thread.join()
        print(future.cancelled() or future.result())
        executor.shutdown()
    """

    assert output_of(program) in (["True"], ["1"])


def test_a_dict_that_changes_while_the_arguments_are_made():
    """By the hash of a result: the task may fail, it is not lost."""
    program = f"""
        import dask_ferris
        executor, source = dask_ferris.Executor(1), dask_ferris.Future()
        class Odd:
            def __hash__(self):
                d.update(x=1, y=2)
                return 1
        d = {{"a": {{source}}, "b": source}}
        future = executor.submit(len, d)
        source.set_result(Odd())
        print(future.exception({WAIT / 4}) is not None or future.result() >= 2)
    """

    assert ["True"] == output_of(program)


# ---- Failures


@pytest.mark.parametrize("is_done", [True, False], ids=["finished", "pending"])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [1, {"key": x}]], ids=["plain", "nested"])
def test_an_error_goes_on(make_pool, wrap, is_done):
    """The very exception, without a call of the function, to all that hang on it."""
    pool, source, ran, error = make_pool(1), Future(), [], Boom()
    if is_done:
        source.set_exception(error)

    first = pool.submit(ran.append, wrap(source))
    second = pool.submit(ran.append, first)
    if not is_done:
        source.set_exception(error)
    assert error is first.exception(WAIT) is second.exception(WAIT)
    assert [] == ran
    assert (0, 2, 0) == (first.attempts, pool.get_stats().failed_tasks, pool.get_stats().queued_tasks)


@pytest.mark.parametrize("is_done", [True, False], ids=["finished", "pending"])
def test_a_cancellation_goes_on(make_pool, is_done):
    """What hangs on a cancelled future is cancelled; who waits is told, and callbacks run once."""
    pool, source, ran, told = make_pool(1), Future(), [], []
    if is_done:
        source.cancel()

    first = pool.submit(ran.append, source)
    second = pool.submit(ran.append, [first])
    second.add_done_callback(told.append)
    if not is_done:
        source.cancel()
    assert {first, second} == cf.wait([first, second], WAIT).done
    assert first.cancelled()
    assert second.cancelled()
    assert ([], [second], 2) == (ran, told, pool.get_stats().cancelled_tasks)


def test_the_first_failure_is_the_one(make_pool):
    """The others may go on, and change nothing when they end."""
    pool, sources = make_pool(1), [Future() for _ in range(4)]
    future, errors = pool.submit(echo, *sources), [Boom(i) for i in range(2)]

    sources[2].set_exception(errors[0])
    assert errors[0] is future.exception(WAIT)
    sources[0].set_exception(errors[1])
    sources[1].set_result(1)
    sources[3].cancel()
    assert errors[0] is future.exception(WAIT)
    assert 0 == pool.submit(int).result(WAIT)
    assert 1 == pool.get_stats().failed_tasks


def test_a_failed_input_is_no_attempt(make_pool):
    """Retries are for the call, which is never made."""
    pool, source = make_pool(1), Future()
    future = pool.with_options(retries=5, timeout=WAIT).submit(echo, source)

    source.set_exception(Boom())
    assert isinstance(future.exception(WAIT), Boom)
    assert 0 == future.attempts


def test_each_attempt_gets_the_results(make_pool):
    """They are put in their places once."""
    pool, seen = make_pool(1), []

    def task(value, nested):
        seen.append((value, nested))
        if len(seen) < 3:
            raise Boom

    pool.with_options(retries=2).submit(task, finished(1), [finished(2)]).result(WAIT)
    assert [(1, [2])] * 3 == seen


# ---- While it waits


def test_tasks_that_wait_take_no_thread(make_pool):
    """A thousand of them wait while the only worker does other things; each runs once."""
    pool, source, ran = make_pool(1), Future(), []
    waiting = [pool.submit(lambda i, _: ran.append(i), i, source) for i in range(1000)]

    assert list(range(100)) == list(pool.map(abs, range(100)))
    assert (1000, []) == (pool.get_stats().queued_tasks, ran)
    assert {(False, False)} == {(future.done(), future.running()) for future in waiting}
    source.set_result(None)
    cf.wait(waiting, WAIT)
    assert list(range(1000)) == ran


def test_it_can_be_cancelled_while_it_waits(make_pool):
    """Its input goes on, and what hangs on it is cancelled as well."""
    pool, source = make_pool(1), Future()
    first = pool.submit(abs, source)
    second = pool.submit(abs, first)

    assert first.cancel()
    assert second.cancelled()
    assert not source.cancelled()
    source.set_result(1)
    pool.shutdown()
    assert (2, 0, 0) == (
        pool.get_stats().cancelled_tasks,
        pool.get_stats().completed_tasks,
        pool.get_stats().queued_tasks,
    )


def test_shutdown_waits_for_tasks_that_wait(make_pool, elsewhere):
    """They were accepted: they run when their inputs are there, though nothing new is accepted."""
    pool, source = make_pool(1), Future()
    future = pool.submit(abs, source)
    over = elsewhere.submit(pool.shutdown)

    while pool.is_active():
        pass
    assert not over.done()
    with pytest.raises(dask_ferris.PoolClosedError):
        pool.submit(abs, source)
    source.set_result(-3)
    over.result(WAIT)
    assert 3 == future.result(0)


def test_shutdown_can_cancel_tasks_that_wait(make_pool):
    """As those in the queue."""
    pool, source = make_pool(1), Future()
    futures = [pool.submit(abs, source) for _ in range(100)]
    futures += [pool.submit(abs, future) for future in futures]

    pool.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert 200 == pool.get_stats().cancelled_tasks
    source.set_result(1)
    assert 200 == pool.get_stats().cancelled_tasks


def test_priorities_count_when_the_inputs_are_there(make_pool, gate):
    """A task that waited is put in its place among those that wait for a worker."""
    pool, source, ran = make_pool(1), Future(), []
    gate.hold(pool)
    urgent = pool.with_options(priority=3).submit(lambda _: ran.append("urgent"), source)
    plain = [pool.submit(ran.append, i) for i in range(3)]

    source.set_result(None)
    gate.open()
    cf.wait([urgent, *plain], WAIT)
    assert ["urgent", 0, 1, 2] == ran


# ---- Chains


def test_a_chain_of_ten_thousand(make_pool, gate):
    """On one thread, in order, whatever is submitted first."""
    pool = make_pool(1)
    last = pool.submit(gate.enter, 0)
    for _ in range(10_000):
        last = pool.submit(lambda x: x + 1, last)

    gate.open()
    assert 10_000 == last.result(WAIT)


@pytest.mark.parametrize("end", ["set_result(0)", "set_exception(LookupError())", "cancel()"])
def test_a_chain_of_a_hundred_thousand(end):
    """Results, errors and cancellations come through to its end, and no stack overflows."""
    program = f"""
        import dask_ferris
        executor, first = dask_ferris.Executor(1), dask_ferris.Future()
        last = first
        for _ in range(100_000):
            last = executor.submit(abs, last)
        first.{end}
        print(last.cancelled() or last.exception() or last.result())
        executor.shutdown()
    """

    expected = {"set_result(0)": "0", "cancel()": "True"}.get(end, "")
    assert [expected] == output_of(program)


def test_a_chain_that_is_dropped():
    """Nobody ends the first one: shutdown cancels a hundred thousand, and their memory is given back."""
    program = """
        import dask_ferris
        executor, first = dask_ferris.Executor(1), dask_ferris.Future()
        last = first
        for _ in range(100_000):
            last = executor.submit(abs, last)
        executor.shutdown(cancel_futures=True)
        print(last.cancelled())
        del last, first, executor
        print("gone")
    """

    assert ["True", "gone"] == output_of(program)


def test_a_random_web(make_pool, rng, n_rounds):
    """Tasks with up to four earlier ones as arguments, some of which fail: each has the right outcome."""
    for _ in range(n_rounds):
        pool, futures, expected = make_pool(3), [], []
        for i in range(300):
            inputs = rng.sample(range(i), min(i, rng.randint(0, 4)))
            failures = [expected[k] for k in inputs if expected[k] is None]
            fails = rng.random() < 0.02
            args = [futures[k] for k in inputs]

            def task(args, fails=fails):
                if fails:
                    raise Boom
                return 1 + sum(args) % 1_000_003

            futures.append(pool.submit(task, args if rng.random() < 0.5 else tuple(args)))
            value = None if fails or failures else 1 + sum(expected[k] for k in inputs) % 1_000_003
            expected.append(value)
        found = [future.result() if future.exception(WAIT) is None else None for future in futures]
        assert expected == found
        stats = pool.get_stats()
        assert (300 - found.count(None), found.count(None)) == (stats.completed_tasks, stats.failed_tasks)
        pool.shutdown()


# ---- References


@pytest.mark.usefixtures("without_gc")
@pytest.mark.parametrize("end", ["result", "error", "cancel", "cancelled input"])
def test_inputs_go_with_the_call(make_pool, end):
    """The task's future keeps neither those before it, nor their results, nor other arguments."""
    pool, source, token, value = make_pool(1), Future(), Token(), Token()
    gone = [end_of(token), end_of(value)]
    future = pool.submit(lambda *_args: None, source, [source], token)

    if end == "result":
        source.set_result(value)
    elif end == "error":
        source.set_exception(Boom())
    elif end == "cancelled input":
        source.cancel()
    else:
        future.cancel()
    cf.wait([future], WAIT)
    pool.submit(int).result(WAIT)  # the worker has let go of it
    ref = weakref.ref(source)
    del token, value, source
    for event in gone:
        wait_until_set(event)
    assert ref() is None


@pytest.mark.usefixtures("without_gc")
def test_an_input_does_not_keep_who_waited_for_it(make_pool):
    """When it has ended, or the waiting task was cancelled and the input ends later."""
    pool, source = make_pool(1), Future()
    future, dropped = pool.submit(abs, source), pool.submit(abs, source)
    refs = [weakref.ref(future), weakref.ref(dropped)]

    dropped.cancel()
    source.set_result(1)
    future.result(WAIT)
    pool.submit(int).result(WAIT)
    del future, dropped
    assert [None, None] == [ref() for ref in refs]
