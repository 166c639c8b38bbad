"""A limit of memory: roots are held back while values take more, and every run ends."""

from __future__ import annotations

import threading

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Task, TaskRef
from dask.sizeof import sizeof
from gates import barrier, wait_until_set
from graphs import chain, fan_in

import dask_ferris
from dask_ferris import Executor, PolicyError, Retry, UpstreamFailedError

LIMITS = [0, 1, 1000, 2500.5, "1 kB", "4 GB", 10**12]


def twice(n, root=bytes, use=len):
    """Return n roots of a thousand bytes, a task for each, and the sum of these."""
    graph = {("root", i): Task(("root", i), root, 1000) for i in range(n)}
    graph |= {("use", i): Task(("use", i), use, TaskRef(("root", i))) for i in range(n)}
    return graph | {"sum": Task("sum", lambda *values: sum(values), *(TaskRef(("use", i)) for i in range(n)))}


def pairs(n):
    """Return n roots of a thousand bytes, tasks that each need two of them far apart, and the sum of these."""
    graph = {i: Task(i, bytes, 1000) for i in range(n)}
    both = {
        ("both", i): Task(("both", i), lambda *parts: sum(map(len, parts)), TaskRef(i), TaskRef(n - 1 - i))
        for i in graph
    }
    return graph | both | {"sum": Task("sum", lambda *values: sum(values), *map(TaskRef, both))}


GRAPHS = {
    "a use for each": (twice(30), 30_000),
    "all at once": (
        fan_in(30, bytes) | {"total": Task("total", lambda *_: 7, *(TaskRef(("leaf", i)) for i in range(30)))},
        7,
    ),
    "pairs": (pairs(20), 40_000),
    "a chain": (chain(50) | {"sum": Task("sum", abs, TaskRef(50))}, 50),
}


def last(graph):
    """Return the key that is asked for."""
    return "sum" if "sum" in graph else "total"


# ---- Every run ends


@pytest.mark.parametrize("n_workers", [1, 2, 6])
@pytest.mark.parametrize("limit", LIMITS, ids=repr)
@pytest.mark.parametrize(("graph", "expected"), GRAPHS.values(), ids=GRAPHS)
def test_values_are_those_without_a_limit(graph, expected, limit, n_workers):
    """However low it is, and whatever the graph needs at once."""
    assert expected == dask_ferris.get(graph, last(graph), memory_limit=limit, num_workers=n_workers)


class Flaky:
    """A function whose first calls fail."""

    def __init__(self, n_failures):
        """Have been called by nobody."""
        self.lock, self.left = threading.Lock(), n_failures

    def __call__(self, n):
        """Return bytes, at last."""
        with self.lock:
            self.left -= 1
            if self.left >= 0:
                raise LookupError
        return bytes(n)


@pytest.mark.parametrize("limit", [0, 1, 2500])
@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("backoff", [0, 0.001])
def test_tasks_that_are_attempted_again_hold_nobody_up(limit, n_workers, backoff):
    """A root that waits for its next attempt, and one that is used."""
    words = {"retries": Retry(20, backoff=backoff, max_delay=0.002), "num_workers": n_workers}
    assert 20_000 == dask_ferris.get(twice(20, Flaky(15)), "sum", memory_limit=limit, **words)
    flaky = Flaky(15)
    graph = twice(20, use=lambda value: flaky(1) and len(value))
    assert 20_000 == dask_ferris.get(graph, "sum", memory_limit=limit, **words)


@pytest.mark.parametrize("limit", [0, 1, 2500])
@pytest.mark.parametrize("which", ["root", "use"])
def test_tasks_that_take_too_long_hold_nobody_up(limit, which):
    """The values that they were given live as long as they are attempted, and are counted."""
    begun = threading.Event()

    def spin_once(value):
        if not begun.is_set():
            begun.set()
            while True:
                pass
        return bytes(value) if which == "root" else len(value)

    graph = twice(10, **{which: spin_once})
    assert 10_000 == dask_ferris.get(graph, "sum", memory_limit=limit, timeout=0.1, retries=1, num_workers=2)


@pytest.mark.parametrize("limit", [0, 1, 2500])
@pytest.mark.parametrize("who", ["root", "use"])
@pytest.mark.parametrize("n_workers", [1, 4])
def test_tasks_that_need_resources_hold_nobody_up(limit, who, n_workers):
    """Whether those that make values need them or those that use them up."""

    def resources(key):
        return {"gpu": 1} if key[0] == who else {}

    with dask.config.set({"ferris.resources": {"gpu": 1}}), dask.annotate(resources=resources):
        assert 20_000 == dask_ferris.get(twice(20), "sum", memory_limit=limit, num_workers=n_workers)


@pytest.mark.parametrize("limit", [0, 1, 2500])
@pytest.mark.parametrize("who", ["root", "use"])
def test_tasks_of_all_levels_hold_nobody_up(limit, who):
    """Roots above what they are for, and below."""

    def priority(key):
        return 5 if key[0] == who else 0

    with dask.annotate(priority=priority):
        for n_workers in (1, 3):
            assert 20_000 == dask_ferris.get(twice(20), "sum", memory_limit=limit, num_workers=n_workers)


@pytest.mark.parametrize("limit", [0, 1, 2500])
@pytest.mark.parametrize("who", ["root", "use"])
def test_tasks_that_fail_hold_nobody_up(limit, who):
    """When the run goes on after them."""

    def fail(_):
        raise LookupError

    graph = twice(20, **{who: fail})
    keys = [("use", i) for i in range(20)]
    for n_workers in (1, 3):
        values = dask_ferris.get(graph, keys, memory_limit=limit, on_error="continue", num_workers=n_workers)
        assert {UpstreamFailedError if who == "root" else LookupError} == set(map(type, values))


@pytest.mark.parametrize("limit", [0, 1])
def test_values_that_are_asked_for_hold_nobody_up(limit):
    """They live to the end of the run, or until they are taken."""
    graph = {i: Task(i, bytes, 1000) for i in range(30)}
    assert [1000] * 30 == [len(value) for value in dask_ferris.get(graph, list(graph), memory_limit=limit)]
    assert 30 == len(dict(dask_ferris.as_completed(graph, list(graph), memory_limit=limit, num_workers=2)))
    run = dask_ferris.start(graph, list(graph), memory_limit=limit, num_workers=2)
    assert 30 == len(run.result())


@pytest.mark.parametrize("limit", [0, 1])
def test_tasks_of_the_user_that_meet_are_not_held_back(limit):
    """What is no root may run at once as ever."""
    meeting = barrier(3)
    graph = {"root": Task("root", bytes, 1000)}
    graph |= {i: Task(i, lambda _: meeting.wait(), TaskRef("root")) for i in range(3)}
    assert [0, 1, 2] == sorted(dask_ferris.get(graph, [0, 1, 2], memory_limit=limit, num_workers=3))


def test_runs_within_tasks_of_runs():
    """Each has a limit of its own."""

    def outer(_):
        return dask_ferris.get(twice(5), "sum", memory_limit=1, num_workers=2)

    with Executor(2) as executor:

        def inner(_):
            return executor(twice(5), "sum", memory_limit=1)

        for run in (outer, inner):
            graph = twice(5, use=run)
            assert 25_000 == dask_ferris.get(graph, "sum", memory_limit=1, num_workers=2)
            assert 25_000 == executor(graph, "sum", memory_limit=1)


def test_runs_that_share_an_executor():
    """One that is held back does not hold the other back."""
    with Executor(2) as executor:
        runs = [dask_ferris.start(twice(30), "sum", pool=executor, memory_limit=limit) for limit in (0, None, 1, 5000)]
        assert [30_000] * 4 == [run.result() for run in runs]


# ---- Roots are held back


class Count:
    """How many values of a run live, and how many did at most."""

    def __init__(self):
        """Begin with none."""
        self.lock, self.n_live, self.most = threading.Lock(), 0, 0

    def add(self, n):
        """There is one more, or one less."""
        with self.lock:
            self.n_live += n
            self.most = max(self.most, self.n_live)


class Value:
    """A thing of a thousand bytes."""

    def __init__(self, count):
        """Live."""
        self.count = count
        count.add(1)

    def __del__(self):
        """Live no longer."""
        self.count.add(-1)


@sizeof.register(Value)
def _size(_value):
    return 1000


def peak(n_workers, **words):
    """Return how many values lived at a time in a run whose roots go before what uses their values up."""
    count = Count()
    graph = twice(40, root=lambda _: Value(count), use=lambda _: 1)
    strict = {"ferris.priority-aging": 0}  # on a busy machine too
    with dask.config.set(strict), dask.annotate(priority=lambda key: 1 if key[0] == "root" else 0):
        assert 40 == dask_ferris.get(graph, "sum", num_workers=n_workers, **words)
    return count.most


@pytest.mark.parametrize("n_workers", [1, 2, 4])
@pytest.mark.parametrize("n_values", [1, 3, 10])
def test_no_more_values_than_the_limit_and_one_live(n_workers, n_values):
    """But for those that begin at once, before it is known how large they are."""
    assert 40 == peak(1)
    assert peak(n_workers, memory_limit=1000 * n_values) <= n_values + n_workers


def test_one_worker_is_exact():
    """It takes a root when the limit is not passed, and does not know how large its value will be."""
    assert [1, 2, 4] == [peak(1, memory_limit=limit) for limit in (0, 1000, 3500)]


def test_the_size_is_that_of_dask():
    """By `dask.sizeof`, in the report; none is asked for without a limit."""
    reports = []
    graph = {"x": Task("x", np.ones, 1000)}
    dask_ferris.get(graph, "x", memory_limit=1, report=reports.append)
    dask_ferris.get(graph, "x", retries=1, report=reports.append)
    assert [sizeof(np.ones(1000)), None] == [report.peak_memory for report in reports]


@pytest.mark.parametrize("size", [-1, 1.5, "much", None, 2**80])
def test_a_value_that_can_not_say_its_size(size):
    """It is no reason to fail."""

    class Odd:
        def __sizeof__(self):
            if size is None:
                raise LookupError
            return size

    graph = {i: Task(i, Odd) for i in range(5)} | {"all": Task("all", lambda *_: 1, *map(TaskRef, range(5)))}
    assert 1 == dask_ferris.get(graph, "all", memory_limit=10)


# ---- How it is given


@pytest.mark.parametrize("limit", [0, 1, 1e6, "1 kB", "4 GB"], ids=repr)
def test_wherever_options_are_given(limit):
    """To `compute`, to `get`, to `start`, to `as_completed` and to an executor."""
    numbers = da.ones((40, 40), chunks=10)
    words = {"memory_limit": limit}
    assert 1600 == numbers.sum().compute(scheduler="ferris", **words)
    assert 1600 == dask_ferris.start(numbers.sum(), **words).result()[0]
    assert [(0, 1600)] == list(dask_ferris.as_completed(numbers.sum(), **words))
    with Executor(2) as executor:
        assert 1600 == numbers.sum().compute(scheduler=executor, **words)
        assert 1600 == dask_ferris.start(numbers.sum(), pool=executor, **words).result()[0]


@pytest.mark.parametrize("limit", [-1, "lots", float("inf"), None.__class__, b"1"], ids=repr)
def test_a_limit_that_is_none_is_an_error(limit):
    """It names the word, and nothing runs."""
    ran = []
    with pytest.raises((TypeError, ValueError), match="memory_limit"):
        dask_ferris.get({"x": Task("x", ran.append, 1)}, "x", memory_limit=limit)
    assert [] == ran


@pytest.mark.parametrize("words", [{"callbacks": []}, {"cache": {}}, {"rerun_exceptions_locally": True}], ids=repr)
def test_not_together_with_an_account_of_each_step(words):
    """It is not left out without a word."""
    with pytest.raises(PolicyError, match="memory_limit"):
        dask_ferris.get(twice(3), "sum", memory_limit=1, **words)


def test_a_cancelled_run_drops_what_it_held_back():
    """No root begins after that."""
    begun, opened, roots = threading.Event(), threading.Event(), []

    def use(_):
        begun.set()
        wait_until_set(opened)
        return 1

    with Executor(2) as executor:
        graph = twice(20, root=lambda n: roots.append(1) or bytes(n), use=use)
        run = dask_ferris.start(graph, "sum", pool=executor, memory_limit=0)
        wait_until_set(begun)
        run.cancel()
        n_roots = len(roots)
        opened.set()
    assert n_roots <= 3
    assert len(roots) <= 3
