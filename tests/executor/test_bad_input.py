"""Bad input: an error at the call that made the mistake, naming the value, and nothing runs."""

from __future__ import annotations

import math
import re
import threading

import pytest

import dask_ferris

NOT_INTEGERS = [True, False, 2.5, 4.0, math.nan, "4", [4], b"4"]
NOT_NUMBERS = [True, False, "5", [5], 1j]
NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


@pytest.fixture
def ran(pool):
    """Return a list for tasks to note themselves in; at the end of the test nothing may be in it.

    The pool goes on: it still runs what is right.
    """
    noted = []
    yield noted
    assert 3 == pool.submit(abs, -3).result()
    pool.shutdown()
    assert [] == noted


def naming(value):
    """Return a pattern that is found in messages which show the value."""
    return re.escape(repr(value))


def raises_naming(error, value):
    """Expect the error, with a message that shows the value."""
    return pytest.raises(error, match=naming(value))


# ---- The constructor


CONSTRUCTOR = [
    *[(TypeError, {"max_workers": value}, value) for value in NOT_INTEGERS],
    *[(ValueError, {"max_workers": value}, value) for value in [0, -1, -(10**30)]],
    (TypeError, {"workers": 3}, "workers"),
    (TypeError, {"max_worker": 3}, "max_worker"),
    (TypeError, {"mp_context": None}, "mp_context"),
    (TypeError, {"initializer": 3}, 3),
    (TypeError, {"scheduler": "fifo"}, "fifo"),
    (TypeError, {"scheduler": 3}, 3),
    *[(TypeError, {"max_queued": value}, value) for value in NOT_INTEGERS],
    (ValueError, {"max_queued": -1}, -1),
    (TypeError, {"on_full": 3}, 3),
    (ValueError, {"on_full": "drop"}, "drop"),
    *[(TypeError, {"memory_limit": value}, value) for value in [True, [5]]],
    *[(ValueError, {"memory_limit": value}, value) for value in [-1, "plenty"]],
    *[(TypeError, {"resources": value}, value) for value in ["gpu", 3, [("gpu", 1)]]],
    *[(TypeError, {"resources": {"gpu": value}}, value) for value in [True, "1", None]],
    (TypeError, {"resources": {7: 1}}, 7),
    *[(ValueError, {"resources": {"gpu": value}}, value) for value in [-1, math.nan]],
]


@pytest.mark.parametrize(
    ("error", "options", "value"), CONSTRUCTOR, ids=[f"{options}".replace("::", ":") for _, options, _ in CONSTRUCTOR]
)
def test_a_mistake_in_the_constructor(error, options, value):
    """No executor is made, and no thread started."""
    before = set(threading.enumerate())

    with pytest.raises(error, match=value if isinstance(value, str) else naming(value)):
        dask_ferris.Executor(**options)
    assert set(threading.enumerate()) <= before


def test_the_class_of_a_scheduler_is_not_a_scheduler():
    """An object is wanted; the message shows what came."""
    with pytest.raises(TypeError, match="WorkStealingScheduler"):
        dask_ferris.Executor(scheduler=dask_ferris.WorkStealingScheduler)


@pytest.mark.parametrize(
    ("error", "numbers"),
    [
        (ValueError, (0, 2)),
        (ValueError, (-1, 2)),
        (ValueError, (3, 2)),
        (ValueError, (1, 0)),
        (TypeError, (True, 2)),
        (TypeError, (1, True)),
        (TypeError, (1.0, 2)),
        (TypeError, (1, 2.0)),
        (TypeError, (1, "2")),
        (TypeError, (1, None)),
    ],
)
def test_a_mistake_in_the_numbers_of_an_adaptive_scheduler(error, numbers):
    """At least one worker, and not fewer at most than at least."""
    with pytest.raises(error):
        dask_ferris.AdaptiveScheduler(*numbers)


# ---- with_options and Retry

WITH_OPTIONS = [
    *[(ValueError, {"timeout": value}, value) for value in [0, 0.0, -1, -0.5, *NOT_FINITE]],
    *[(TypeError, {"timeout": value}, value) for value in NOT_NUMBERS],
    *[(ValueError, {"retries": value}, value) for value in [-1, -(10**30)]],
    *[(TypeError, {"retries": value}, value) for value in NOT_INTEGERS],
    *[(ValueError, {"priority": value}, value) for value in NOT_FINITE],
    *[(TypeError, {"priority": value}, value) for value in NOT_NUMBERS],
    *[(TypeError, {"resources": value}, value) for value in ["gpu", 3, [("gpu", 1)]]],
    *[(TypeError, {"resources": {"gpu": value}}, value) for value in [True, "1", None]],
    *[(ValueError, {"resources": {"gpu": value}}, value) for value in [-1, math.nan, math.inf]],
]


@pytest.mark.parametrize(
    ("error", "options", "value"), WITH_OPTIONS, ids=[f"{options}".replace("::", ":") for _, options, _ in WITH_OPTIONS]
)
def test_a_mistake_in_with_options(make_pool, error, options, value):
    """The view is not made, so that nothing can be submitted through it."""
    pool = make_pool(2, resources={"gpu": 2})

    with raises_naming(error, value):
        pool.with_options(**options)


@pytest.mark.parametrize("option", ["prio", "retry", "max_workers", "scheduler", "fn"])
def test_an_unknown_word_in_with_options(pool, option):
    """It is named."""
    with pytest.raises(TypeError, match=option):
        pool.with_options(**{option: 1})


def test_with_options_takes_no_positions(pool):
    """Which of the words would it be?"""
    with pytest.raises(TypeError):
        pool.with_options(3)


def test_a_mistake_in_a_view_of_a_view(pool):
    """Views of views look as closely."""
    with raises_naming(ValueError, -1):
        pool.with_options(priority=2).with_options(retries=-1)


RETRY = [
    *[(ValueError, (value,), {}, value) for value in [0, -1]],
    *[(TypeError, (value,), {}, value) for value in NOT_INTEGERS],
    *[(ValueError, (3,), {"backoff": value}, value) for value in [-1, -0.5, *NOT_FINITE]],
    *[(TypeError, (3,), {"backoff": value}, value) for value in NOT_NUMBERS],
    *[(ValueError, (3,), {"factor": value}, value) for value in [-1, *NOT_FINITE]],
    *[(TypeError, (3,), {"factor": value}, value) for value in NOT_NUMBERS],
    *[(ValueError, (3,), {"max_delay": value}, value) for value in [-1, math.nan]],
    *[(TypeError, (3,), {"max_delay": value}, value) for value in NOT_NUMBERS],
    *[(TypeError, (3,), {"on": value}, value) for value in [3, "ValueError", (ValueError, 3)]],
    *[(TypeError, (3,), {"not_on": value}, value) for value in [3, "ValueError", (ValueError, 3)]],
    *[(TypeError, (3,), {"jitter": value}, value) for value in ["yes", None]],
]


@pytest.mark.parametrize(
    ("error", "args", "options", "value"), RETRY, ids=[f"{args[0]!r} {options}" for _, args, options, _ in RETRY]
)
def test_a_mistake_in_a_retry(error, args, options, value):
    """Whole attempts, finite times, classes of exceptions."""
    if isinstance(value, tuple):
        value = value[1]
    with raises_naming(error, value):
        dask_ferris.Retry(*args, **options)


@pytest.mark.parametrize("error", [int, str], ids=["int", "str"])
def test_a_class_that_is_no_exception(error):
    """Nothing could ever be retried on it."""
    with pytest.raises(TypeError, match=error.__name__):
        dask_ferris.Retry(3, on=error)


# ---- Resources


@pytest.mark.parametrize("declared", [None, {"memory": 8}], ids=["none", "others"])
def test_a_resource_that_does_not_exist(make_pool, declared):
    """It is named when it is asked for, by with_options."""
    pool = make_pool(2, resources=declared)

    with pytest.raises(dask_ferris.PolicyError, match="gpu"):
        pool.with_options(resources={"gpu": 1})


@pytest.mark.parametrize("amount", [3, 2.5, 10**9])
def test_a_request_above_the_capacity(make_pool, amount):
    """It could never be met: an error before it waits for ever, with what was asked for."""
    pool, ran = make_pool(2, resources={"gpu": 2}), []

    with pytest.raises(dask_ferris.PolicyError, match=f"gpu.*{naming(amount)}|{naming(amount)}.*gpu"):
        pool.with_options(resources={"gpu": amount}).submit(ran.append, 1)
    assert pool.with_options(resources={"gpu": 2}).submit(abs, -2).result() == 2
    pool.shutdown()
    assert [] == ran


# ---- submit, map, batches


@pytest.mark.parametrize("function", [None, 3, "print", [print], ("a",)], ids=repr)
def test_what_is_not_callable_cannot_be_submitted(pool, function):
    """Nor mapped, nor be in a batch; by a view no more than by the executor."""
    for submitter in [pool, pool.with_options(priority=2)]:
        with raises_naming(TypeError, function):
            submitter.submit(function)
        with raises_naming(TypeError, function):
            submitter.map(function, [1])


def test_submit_needs_a_function(pool):
    """Its keywords are the function's, so that none of them can be it."""
    with pytest.raises(TypeError):
        pool.submit()
    with pytest.raises(TypeError):
        pool.submit(fn=int)


MAP = [
    *[(ValueError, {"chunksize": value}, value) for value in [0, -1, -(10**30)]],
    *[(TypeError, {"chunksize": value}, value) for value in NOT_INTEGERS],
    *[(ValueError, {"buffersize": value}, value) for value in [0, -1, -(10**30)]],
    *[(TypeError, {"buffersize": value}, value) for value in NOT_INTEGERS],
    (ValueError, {"timeout": math.nan}, math.nan),
    *[(TypeError, {"timeout": value}, value) for value in NOT_NUMBERS],
]


@pytest.mark.parametrize(
    ("error", "options", "value"), MAP, ids=[f"{options}".replace("::", ":") for _, options, _ in MAP]
)
def test_a_mistake_in_map(pool, ran, error, options, value):
    """It comes from the call, not from the iteration, and before the first item is read."""
    items = iter([1, 2])

    with raises_naming(error, value):
        pool.map(ran.append, items, **options)
    assert [1, 2] == list(items)


def test_map_of_what_is_not_iterable(pool, ran):
    """It comes from the call; also with a buffer, and when another iterable is in order."""
    for options in [{}, {"buffersize": 2}, {"chunksize": 2}]:
        with pytest.raises(TypeError, match="int"):
            pool.map(ran.append, 3, **options)
        with pytest.raises(TypeError, match="int"):
            pool.map(lambda x, _: ran.append(x), [1, 2], 3, **options)


def test_an_unknown_word_in_map(pool, ran):
    """Its keywords are its own, unlike those of submit."""
    with pytest.raises(TypeError, match="chunk_size"):
        pool.map(ran.append, [1], chunk_size=2)


@pytest.mark.parametrize("value", [0, -1, -(10**30)])
def test_a_chunk_size_below_one(pool, value):
    """The one before stays."""
    pool.set_chunk_size(7)

    with raises_naming(ValueError, value):
        pool.set_chunk_size(value)
    assert 7 == pool.get_chunk_size()


@pytest.mark.parametrize("value", [*NOT_INTEGERS, None], ids=repr)
def test_a_chunk_size_that_is_no_integer(pool, value):
    """The one before stays."""
    with raises_naming(TypeError, value):
        pool.set_chunk_size(value)
    assert 1 == pool.get_chunk_size()


@pytest.mark.parametrize(
    "item",
    [3, None, "abs", (), (3,), (3, (1,)), (abs, 3), (abs, (1,), 3), (abs, (1,), {7: 1}), (abs, (1,), {}, 4), [abs, 1]],
    ids=repr,
)
def test_a_mistake_in_a_batch(pool, ran, item):
    """It is seen before the first item runs, wherever it stands."""
    with pytest.raises(TypeError):
        pool.submit_batch([(ran.append, (1,)), item])


@pytest.mark.parametrize("items", [3, None, int], ids=["int", "None", "class"])
def test_a_batch_that_is_no_batch(pool, items):
    """A list is wanted."""
    with pytest.raises(TypeError):
        pool.submit_batch(items)


# ---- Questions and names


@pytest.mark.parametrize("use", ["submit_computation", "computation_future"])
def test_an_unknown_computation(pool, use):
    """The message names it, and what there is."""
    for kind in ["mean", "Sum", ""]:
        with pytest.raises(ValueError, match=f"{naming(kind)}.*square_sum|square_sum.*{naming(kind)}"):
            getattr(pool, use)(kind, [1])
    with raises_naming(TypeError, 3):
        getattr(pool, use)(3, [1])


@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError, "gpu_bound"), (ValueError, ""), (TypeError, 3), (TypeError, None)]
)
def test_a_kind_of_work_without_a_recommendation(error, kind):
    """The message names it."""
    with raises_naming(error, kind):
        dask_ferris.recommended_workers(kind)


@pytest.mark.parametrize("timeout", NOT_NUMBERS, ids=repr)
def test_a_timeout_that_is_no_number(pool, timeout):
    """Of wait and as_completed: from the call, also when there is nothing to wait for."""
    with raises_naming(TypeError, timeout):
        pool.wait([], timeout=timeout)
    with raises_naming(TypeError, timeout):
        pool.as_completed([], timeout=timeout)


def test_waiting_for_what_is_no_future(pool):
    """A list of something else is named, a single future is no list."""
    with raises_naming(TypeError, 3):
        pool.wait([3])
    with raises_naming(TypeError, 3):
        pool.as_completed([3])
    with pytest.raises(TypeError):
        pool.wait(pool.submit(int))
