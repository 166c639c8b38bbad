"""Runs and calls that share an executor take turns: who comes late with little need not wait for who came with much."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dask
import pytest
from dask._task_spec import Task, TaskRef
from gates import WAIT, wait_until_set
from graphs import Calls

import dask_ferris
from dask_ferris import (
    AdaptiveScheduler,
    Executor,
    PriorityScheduler,
    RoundRobinScheduler,
    WorkStealingScheduler,
)

N_BIG, N_SMALL = 2000, 10

SCHEDULERS = {
    "default": None,
    "stealing": WorkStealingScheduler(),
    "round robin": RoundRobinScheduler(),
    "priority": PriorityScheduler(),
    "adaptive": AdaptiveScheduler(1, 1),
}


def wide(calls, who, n):
    """Return independent tasks that record who they are of."""
    return {(who, i): Task((who, i), calls.record, who) for i in range(n)}


def deep(calls, who, n):
    """Return the same, one after the other."""
    needs = [[TaskRef((who, i - 1))] if i else [] for i in range(n)]
    return {(who, i): Task((who, i), lambda *_: calls.record(who), *needs[i]) for i in range(n)}


def fanned(calls, who, n):
    """Return the same, all but the first after the first."""
    tasks = wide(calls, who, 1)
    return tasks | {(who, i): Task((who, i), lambda _: calls.record(who), TaskRef((who, 0))) for i in range(1, n)}


SHAPES = {"wide": wide, "deep": deep, "fanned": fanned}


@pytest.fixture
def opened():
    """Return what lets the worker of the executor go."""
    return threading.Event()


@pytest.fixture(params=list(SCHEDULERS.values()), ids=list(SCHEDULERS))
def executor(request, opened):
    """Return an executor whose only worker waits."""
    inside = threading.Event()
    with Executor(1, scheduler=request.param) as executor:
        executor.submit(lambda: inside.set() or wait_until_set(opened))
        wait_until_set(inside)
        yield executor
        opened.set()


def begin(executor, graph, **words):
    """Begin a run of a whole graph."""
    return dask_ferris.start(graph, list(graph), pool=executor, **words)


def last_of(calls, who):
    """Return how many tasks had run when the last of these had."""
    return len(calls.names) - calls.names[::-1].index(who)


@pytest.mark.parametrize("small", SHAPES)
@pytest.mark.parametrize("big", SHAPES)
def test_a_small_run_after_a_big_one(executor, opened, big, small):
    """Its tasks take turns with those of the big one, whatever the two look like."""
    calls = Calls()
    runs = [begin(executor, SHAPES[big](calls, "big", N_BIG)), begin(executor, SHAPES[small](calls, "small", N_SMALL))]
    opened.set()
    for run in runs:
        run.result(WAIT)
    assert N_BIG + N_SMALL == len(calls.names)
    assert last_of(calls, "small") <= 3 * N_SMALL


def call_often(executor, calls, n):
    """Queue calls beside what is queued already."""
    for _ in range(n):
        executor.submit(calls.record, "call")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("calls_come", ["first", "last"])
def test_a_small_run_beside_many_calls(executor, opened, shape, calls_come):
    """Its tasks take turns with calls that were queued before, and those that come after stand before none of them."""
    calls = Calls()
    if calls_come == "first":
        call_often(executor, calls, N_BIG)
    run = begin(executor, SHAPES[shape](calls, "small", N_SMALL))
    if calls_come == "last":
        call_often(executor, calls, N_BIG)
    opened.set()
    run.result(WAIT)
    executor.shutdown()
    assert last_of(calls, "small") <= 3 * N_SMALL


@pytest.mark.parametrize("shape", SHAPES)
def test_a_few_calls_after_a_big_run(executor, opened, shape):
    """They do not wait for its end."""
    calls = Calls()
    run = begin(executor, SHAPES[shape](calls, "big", N_BIG))
    call_often(executor, calls, N_SMALL)
    opened.set()
    run.result(WAIT)
    executor.shutdown()
    assert last_of(calls, "call") <= 3 * N_SMALL


def test_many_small_runs_after_a_big_one(executor, opened):
    """All of them end long before it."""
    calls = Calls()
    runs = [begin(executor, wide(calls, "big", N_BIG))]
    runs += [begin(executor, deep(calls, i, N_SMALL)) for i in range(5)]
    opened.set()
    for run in runs:
        run.result(WAIT)
    assert max(last_of(calls, i) for i in range(5)) <= 12 * N_SMALL


def test_a_run_that_is_begun_within_a_big_one(executor, opened):
    """By one of its tasks, which does not wait for it."""
    calls, runs = Calls(), []
    big = wide(calls, "big", N_BIG)
    big["begin", 0] = Task(("begin", 0), lambda: runs.append(begin(executor, wide(calls, "small", N_SMALL))) or "run")
    run = begin(executor, {("begin", 0): big.pop(("begin", 0)), **big})
    opened.set()
    run.result(WAIT)
    runs[0].result(WAIT)
    first = calls.names.index("small")
    assert last_of(calls, "small") - first <= 3 * N_SMALL


def test_a_small_run_by_dasks_words(executor, opened):
    """`compute(scheduler=executor)` takes turns with runs, too."""
    calls = Calls()
    run = begin(executor, wide(calls, "big", N_BIG))
    small = [dask.delayed(calls.record)("small", i) for i in range(N_SMALL)]
    with ThreadPoolExecutor(1) as elsewhere:
        computed = elsewhere.submit(dask.compute, *small, scheduler=executor)
        while executor.get_stats().queued_tasks < 2 and not computed.done():
            time.sleep(0.001)  # there is no event for it; whatever comes to pass, the wait ends
        opened.set()
        assert tuple(range(N_SMALL)) == computed.result(WAIT)
    run.result(WAIT)
    assert last_of(calls, "small") <= 3 * N_SMALL


LEVELS = [name for name in SCHEDULERS if name != "round robin"]  # which has no levels


@pytest.mark.parametrize("executor", [SCHEDULERS[name] for name in LEVELS], ids=LEVELS, indirect=True)
def test_a_higher_run_does_not_wait_for_its_turn(executor, opened):
    """Turns are for runs of one level."""
    calls = Calls()
    levels = {"low": -1, "normal": 1, "high": 3}
    runs = [begin(executor, wide(calls, who, 50), priority=level) for who, level in levels.items()]
    opened.set()
    for run in runs:
        run.result(WAIT)
    assert ["high"] * 50 + ["normal"] * 50 + ["low"] * 50 == calls.names


@pytest.mark.parametrize("n_workers", [2, 4])
def test_with_several_workers(n_workers):
    """A small run ends while a big one is under way, which can not end before it."""
    calls, small_is_over = Calls(), threading.Event()
    with Executor(n_workers) as executor:
        end = Task("end", lambda _: wait_until_set(small_is_over), TaskRef(("big", N_BIG - 1)))
        run = begin(executor, deep(calls, "big", N_BIG) | {"end": end})
        begin(executor, wide(calls, "small", N_SMALL)).result(WAIT)
        small_is_over.set()
        run.result(WAIT)
    assert N_SMALL == calls.names.count("small")


def test_a_run_that_is_held_back_does_not_hold_others_up(executor, opened):
    """By a limit of memory; and it takes its turns."""
    calls = Calls()
    held = wide(calls, "held", N_SMALL)
    runs = [begin(executor, wide(calls, "big", N_BIG)), begin(executor, held, memory_limit=0)]
    opened.set()
    for run in runs:
        run.result(WAIT)
    assert last_of(calls, "held") <= 3 * N_SMALL


def test_values_are_handed_over_in_turns(executor, opened):
    """As with `start`, so with `as_completed`."""
    calls = Calls()
    run = begin(executor, wide(calls, "big", N_BIG))
    graph = wide(calls, "small", N_SMALL)
    values = dask_ferris.as_completed(graph, list(graph), pool=executor)
    opened.set()
    assert N_SMALL == len(list(values))
    run.result(WAIT)
    assert last_of(calls, "small") <= 3 * N_SMALL
