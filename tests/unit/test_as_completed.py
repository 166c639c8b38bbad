"""Values of a run in the order of their end: each once, each dropped when its consumer drops it."""

from __future__ import annotations

import contextlib
import itertools
import threading
from concurrent.futures import CancelledError

import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from dask import delayed
from dask._task_spec import Alias, DataNode, Task, TaskRef
from gates import WAIT, Token, end_of, join, wait_until_set
from graphs import Calls, chain
from subprocesses import output_of

import dask_ferris
from dask_ferris import Executor, TaskTimeoutError, UpstreamFailedError, as_completed


class Gates:
    """Tasks in a row, each of which begins when it may."""

    def __init__(self, n):
        """Start closed."""
        self.began, self.may = [], [threading.Event() for _ in range(n)]

    def task(self, i, *_):
        """Be the task i."""
        self.began.append(i)
        wait_until_set(self.may[i])
        return i

    def graph(self):
        """Return the tasks, each of which needs the one before."""
        needs = [[TaskRef(i - 1)] if i else [] for i in range(len(self.may))]
        return {i: Task(i, self.task, i, *needs[i]) for i in range(len(self.may))}

    def open(self):
        """Let all of them begin."""
        for may in self.may:
            may.set()


@contextlib.contextmanager
def executor_of(gates):
    """Make an executor of one worker, for which the gates are opened at the end."""
    with Executor(1) as executor:
        try:
            yield executor
        finally:
            gates.open()


def fail(*_):
    """Be a task that fails.

    Raises:
        LookupError: Always.
    """
    message = "no"
    raise LookupError(message)


# ---- Values

GRAPHS = {
    "a key": ({"x": Task("x", abs, -1)}, "x", {"x": 1}),
    "keys": (chain(3), [3, 1], {1: 1, 3: 3}),
    "nested keys": (chain(3), [[3, 1], [[2]]], {1: 1, 2: 2, 3: 3}),
    "a key twice": (chain(3), [3, [3], 2, 2], {2: 2, 3: 3}),
    "a tuple as a key": ({("x", 0): Task(("x", 0), abs, -1)}, ("x", 0), {("x", 0): 1}),
    "data": ({"x": DataNode("x", (len, "y")), "y": 2}, ["x", "y"], {"x": (len, "y"), "y": 2}),
    "data and tasks": (chain(2), [0, 1, 2], {0: 0, 1: 1, 2: 2}),
    "another name": ({"x": Task("x", abs, -1), "y": Alias("y", "x")}, ["y", "x"], {"x": 1, "y": 1}),
    "no keys": (chain(3), [], {}),
}


@pytest.mark.parametrize(("graph", "keys", "expected"), GRAPHS.values(), ids=GRAPHS)
def test_each_key_is_there_once(graph, keys, expected):
    """With its value, however often it was asked for."""
    pairs = list(as_completed(graph, keys))
    assert len(expected) == len(pairs)
    assert expected == dict(pairs)


@pytest.mark.parametrize("n_workers", [1, 4])
def test_each_of_many(n_workers):
    """On one worker and on several."""
    graph = {i: Task(i, abs, -i) for i in range(500)}
    pairs = list(as_completed(graph, list(graph), num_workers=n_workers))
    assert [(i, i) for i in range(500)] == sorted(pairs)


@pytest.mark.parametrize("optimised", [True, False])
def test_collections_come_with_their_places(optimised):
    """Delayed, arrays and bags, as `dask.compute` gives them."""
    numbers = da.arange(6, chunks=2)
    bag = db.from_sequence(range(4), npartitions=2)
    values = dict(
        as_completed(delayed(abs)(-1), delayed(abs)(-2), numbers, numbers.sum(), bag, optimize_graph=optimised)
    )
    assert {0: 1, 1: 2, 3: 15, 4: [0, 1, 2, 3]} == {place: values[place] for place in (0, 1, 3, 4)}
    np.testing.assert_array_equal(np.arange(6), values[2])


def test_frames_come_with_their_places():
    """As other collections."""
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame({"a": [1, 2, 3, 4]})
    parts = dd.from_pandas(frame, npartitions=2)
    values = dict(as_completed(parts, parts.a.sum()))
    pd.testing.assert_frame_equal(frame, values[0])
    assert 10 == values[1]


def test_equal_collections_are_computed_once():
    """And yielded for each of their places."""
    calls = Calls()
    one = delayed(calls.record, pure=True)("one", 1, dask_key_name="one")
    two = delayed(calls.record, pure=True)("two", 2, dask_key_name="two")
    assert [(0, 1), (1, 2), (2, 1)] == sorted(as_completed(one, two, one))
    assert ["one", "two"] == sorted(calls.names)


def test_no_collections():
    """There is nothing to yield."""
    assert [] == list(as_completed())


@pytest.mark.parametrize("args", [(3,), ([delayed(abs)(-1)],), (delayed(abs)(-1), 3), ({"x": 1},)], ids=range(4))
def test_what_is_no_collection_is_an_error(args):
    """At the call, with its text; a list has no place of its own for what is within it."""
    with pytest.raises(TypeError, match="collections") as caught:
        as_completed(*args)
    assert repr(args[-1]) in str(caught.value)


def test_a_word_that_has_no_effect_is_an_error():
    """Each argument is a collection: there is nothing to be looked into."""
    with pytest.raises(TypeError, match="traverse"):
        as_completed(delayed(abs)(-1), traverse=True)


# ---- While the run goes on


def test_values_come_before_the_run_is_over():
    """Each as soon as it is there."""
    gates = Gates(4)
    with contextlib.closing(as_completed(gates.graph(), [0, 1, 2, 3])) as values:
        for i in range(4):
            gates.may[i].set()
            assert (i, i) == next(values)
        assert [] == list(values)
        with pytest.raises(StopIteration):
            next(values)


def test_a_value_is_dropped_when_its_consumer_drops_it(without_gc):
    """While the run goes on, on whichever thread it was made."""
    del without_gc
    opened, made = threading.Event(), threading.Event()
    graph = {
        "token": Task("token", Token),
        "apart": Task("apart", lambda: made.set() or wait_until_set(opened)),
    }
    values = as_completed(graph, list(graph), num_workers=2)
    key, token = next(values)
    gone = end_of(token)
    assert ("token", False) == (key, gone.is_set())
    del token
    wait_until_set(gone)
    wait_until_set(made)
    opened.set()
    assert [("apart", None)] == list(values)


def test_a_value_that_a_task_needs_is_there_for_it(without_gc):
    """Though its consumer has dropped it; then it goes with the task."""
    del without_gc
    opened, seen = threading.Event(), []

    def use(_, token):
        seen.append(type(token))

    graph = {
        "token": Task("token", Token),
        "gate": Task("gate", lambda: wait_until_set(opened)),
        "use": Task("use", use, TaskRef("gate"), TaskRef("token")),
    }
    values = as_completed(graph, ["token", "use"], num_workers=2)
    gone = end_of(next(values)[1])
    assert not gone.is_set()
    opened.set()
    assert [("use", None)] == list(values)
    assert [Token] == seen
    wait_until_set(gone)


def test_values_that_nobody_took_go_with_the_iterator(without_gc):
    """Also those that were there."""
    del without_gc
    ends, made = [], threading.Event()

    def make(i):
        token = Token()
        ends.append(end_of(token))
        if i == 4:
            made.set()
        return token

    graph = {i: Task(i, make, i) for i in range(5)}
    with Executor(1) as executor:
        values = as_completed(graph, list(graph), pool=executor)
        wait_until_set(made)
        next(values)
        values.close()
        del values
    for end in ends:
        wait_until_set(end)


def test_several_threads_may_take():
    """Each value goes to one of them."""
    graph = {i: Task(i, abs, -i) for i in range(200)}
    values, taken = as_completed(graph, list(graph), num_workers=2), []
    threads = [threading.Thread(target=lambda: taken.extend(values)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    assert [(i, i) for i in range(200)] == sorted(taken)


# ---- Consumers that stop

STOPS = {
    "close": lambda values: values.close(),
    "context manager": lambda values: values.__exit__(None, None, None),
    "close twice": lambda values: (values.close(), values.close()),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_a_consumer_that_stops_ends_the_run(stop):
    """The task that runs ends; no other begins."""
    gates = Gates(4)
    with executor_of(gates) as executor:
        values = as_completed(gates.graph(), [0, 1, 2, 3], pool=executor)
        gates.may[0].set()
        assert (0, 0) == next(values)
        stop(values)
        assert [] == list(values)
    assert gates.began in ([0], [0, 1])


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_an_error_in_the_consumer_ends_the_run(error):
    """When it leaves a `with` block."""
    gates = Gates(4)

    def consume(executor):
        with as_completed(gates.graph(), [0, 1, 2, 3], pool=executor) as values:
            gates.may[0].set()
            for _ in values:
                raise error

    with executor_of(gates) as executor, pytest.raises(error):
        consume(executor)
    assert gates.began in ([0], [0, 1])


def test_a_consumer_that_goes_ends_the_run():
    """Nobody else can take what is to come."""
    gates = Gates(4)
    with executor_of(gates) as executor:
        gates.may[0].set()
        for pair in as_completed(gates.graph(), [0, 1, 2, 3], pool=executor):
            assert (0, 0) == pair
            break
    assert gates.began in ([0], [0, 1])


def test_what_was_not_yielded_is_dropped_by_a_close():
    """Also what was there already."""
    done = threading.Event()
    graph = {i: Task(i, abs, -i) for i in range(5)} | {5: Task(5, done.set)}
    with Executor(1) as executor:
        values = as_completed(graph, list(graph), pool=executor)
        next(values)
        wait_until_set(done)
    values.close()
    assert [] == list(values)


def test_a_close_by_another_thread_ends_the_wait():
    """Of whoever waits for the next value."""
    gates, ends = Gates(1), []
    values = as_completed(gates.graph(), [0])

    def take():
        try:
            next(values)
        except (CancelledError, StopIteration) as end:
            ends.append(end)

    thread = threading.Thread(target=take)
    thread.start()
    values.close()
    join(thread)
    gates.open()
    assert 1 == len(ends)


def test_a_close_at_any_moment():
    """The values up to it are right, and the executor goes on."""
    graph = {i: Task(i, abs, -i) for i in range(20)}
    with Executor(2) as executor:
        for n in range(100):
            values = as_completed(graph, list(graph), pool=executor)
            taken = list(itertools.islice(values, n % 21))
            thread = threading.Thread(target=values.close)
            thread.start()
            with contextlib.suppress(CancelledError):
                taken += values
            join(thread)
            assert all(key == value for key, value in taken)
            assert len(dict(taken)) == len(taken)
        assert 7 == executor(graph, 7)


def test_a_close_after_the_end_is_nothing():
    """Nor is one before the first value an error."""
    graph = {"x": Task("x", abs, -1)}
    values = as_completed(graph, "x")
    assert [("x", 1)] == list(values)
    values.close()
    as_completed(graph, "x").close()


INTERRUPTED = f"""
    import os, signal, threading
    import dask_ferris
    from dask._task_spec import Task, TaskRef
    waits, opened, ran = threading.Event(), threading.Event(), []
    def interrupt():
        waits.wait({WAIT})
        os.kill(os.getpid(), signal.SIGINT)
        opened.wait({WAIT})
    graph = {{"first": Task("first", interrupt), "second": Task("second", ran.append, TaskRef("first"))}}
    executor = dask_ferris.Executor(1)
    values = dask_ferris.as_completed(graph, ["second"], pool=executor)
    try:
        waits.set()
        next(values)
    except KeyboardInterrupt:
        print("interrupted")
    opened.set()
    executor.shutdown()
    print(ran)
    try:
        next(values)
    except BaseException as error:
        print(type(error).__name__)
"""


def test_ctrl_c_while_waiting_ends_the_run():
    """Who was interrupted takes no more."""
    assert ["interrupted", "[]", "StopIteration"] == output_of(INTERRUPTED)


# ---- Failures


def test_an_error_comes_after_what_had_finished():
    """Then it is the only thing that comes."""
    graph = {0: Task(0, abs, 0), 1: Task(1, abs, TaskRef(0)), 2: Task(2, fail, TaskRef(1)), 3: Task(3, abs, TaskRef(2))}
    values = as_completed(graph, [0, 1, 2, 3])
    assert [(0, 0), (1, 0)] == list(itertools.islice(values, 2))
    with pytest.raises(LookupError, match="no") as caught:
        next(values)
    assert any("'2'" in note or " 2" in note for note in caught.value.__notes__)
    with pytest.raises((LookupError, StopIteration)):
        next(values)


def test_a_run_may_go_on_after_errors():
    """What failed is yielded as its exception."""
    graph = {"bad": Task("bad", fail), "after": Task("after", abs, TaskRef("bad")), "good": Task("good", abs, -1)}
    values = dict(as_completed(graph, list(graph), on_error="continue"))
    assert {"bad": LookupError, "after": UpstreamFailedError, "good": int} == {k: type(v) for k, v in values.items()}


def test_a_deadline_ends_the_wait():
    """After what had finished."""
    release = threading.Event()
    graph = {"first": Task("first", abs, -1), "slow": Task("slow", release.wait, WAIT)}
    values = as_completed(graph, list(graph), num_workers=2, deadline=0.2)
    found = []
    with pytest.raises(TaskTimeoutError, match="deadline"):
        found.extend(values)
    release.set()
    assert found in ([], [("first", 1)])


def test_retries_and_reports():
    """As for any run: each value comes once, at last."""
    calls, reports = Calls(), []

    def flaky(i):
        calls.record(i)
        if calls.names.count(i) < 3:
            raise LookupError
        return i

    graph = {i: Task(i, flaky, i) for i in range(5)}
    assert [(i, i) for i in range(5)] == sorted(as_completed(graph, list(graph), retries=2, report=reports.append))
    assert [dict.fromkeys(range(5), 3)] == [report.attempts for report in reports]


# ---- Within tasks


def test_values_within_a_task_of_the_same_executor():
    """Whoever waits for them lends its slot."""

    def task(n):
        graph = {i: Task(i, abs, -i) for i in range(n)}
        return sum(value for _, value in as_completed(graph, list(graph), pool=executor))

    with Executor(2) as executor:
        assert [sum(range(n)) for n in range(10)] == list(executor.map(task, range(10)))
        graph = {n: Task(n, task, n) for n in range(10)}
        assert [(n, sum(range(n))) for n in range(10)] == sorted(as_completed(graph, list(graph), pool=executor))


def test_values_of_a_run_while_another_is_consumed():
    """One iterator within another."""
    graph = {i: Task(i, abs, -i) for i in range(10)}
    with Executor(1) as executor:
        pairs = [
            (one, other)
            for one, _ in dask_ferris.as_completed(graph, list(graph), pool=executor)
            for other, _ in dask_ferris.as_completed(graph, list(graph), pool=executor)
        ]
    assert list(itertools.product(range(10), range(10))) == sorted(pairs)


def test_a_task_that_raises_stop_iteration_does_not_end_the_loop_quietly():
    """As in a generator, it is an error."""

    def stop():
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(as_completed({"x": Task("x", stop)}, "x"))
