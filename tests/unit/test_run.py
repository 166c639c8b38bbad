"""Runs that go on by themselves: what `start` returns, and every way in which a run may end."""

from __future__ import annotations

import contextlib
import gc
import json
import threading
import warnings
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from dask import delayed
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.diagnostics.profile import Profiler
from dask.highlevelgraph import HighLevelGraph
from gates import WAIT, Token, barrier, end_of, join, wait_until_set
from graphs import Calls, chain, fan_in, independent, same
from subprocesses import IN_CHILD, output_of

import dask_ferris
from dask_ferris import (
    Executor,
    FerrisWarning,
    MissingKeyError,
    PolicyError,
    PoolClosedError,
    Progress,
    TaskTimeoutError,
    UpstreamFailedError,
    _options,
)


def report_of(run):
    """Return the report of a run that is over."""
    assert run.report is not None
    return run.report


class Gate:
    """A task that says when it has begun, and ends when it may."""

    def __init__(self):
        """Start closed."""
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, *_):
        """Be the task."""
        self.entered.set()
        wait_until_set(self.opened)


@contextlib.contextmanager
def held_executor():
    """Make an executor whose only worker is kept busy, and the gate that lets it go."""
    with Executor(1) as executor:
        gate = Gate()
        executor.submit(gate)
        wait_until_set(gate.entered)
        try:
            yield executor, gate.opened
        finally:
            gate.opened.set()


def gated(gate, calls):
    """Return a graph of a task that waits for the gate, and one after it."""
    return {"first": Task("first", gate), "second": calls.task("second", "first")}


def fail(*_):
    """Be a task that fails.

    Raises:
        LookupError: Always.
    """
    message = "no"
    raise LookupError(message)


def as_completed(*args, **options):
    """Return a dict of what was handed over."""
    return dict(dask_ferris.as_completed(*args, **options))


def result_of(*args, **options):
    """Return the result of a run."""
    return dask_ferris.start(*args, **options).result(WAIT)


# ---- Values

GRAPHS = {
    "a key": ({"x": Task("x", abs, -1)}, "x", 1),
    "keys": (chain(3), [3, 1], (3, 1)),
    "nested keys": (chain(3), [[3, 1], [2]], ((3, 1), (2,))),
    "a key twice": (chain(3), [3, 3, 2], (3, 3, 2)),
    "a tuple as a key": ({("x", 0): Task(("x", 0), abs, -1)}, ("x", 0), 1),
    "data": ({"x": DataNode("x", (len, "y")), "y": 2}, ["x", "y"], ((len, "y"), 2)),
    "another name": ({"x": Task("x", abs, -1), "y": Alias("y", "x")}, ["y", "x"], (1, 1)),
    "tasks of the old form": ({"x": 1, "y": (sum, ["x", 2])}, "y", 3),
    "no keys": (chain(3), [], ()),
    "layers": (HighLevelGraph.from_collections("all", chain(2)), [2], (2,)),
}


@pytest.mark.parametrize(("graph", "keys", "expected"), GRAPHS.values(), ids=GRAPHS)
def test_the_result_is_that_of_get(graph, keys, expected):
    """Whatever the graph is and whatever is asked for."""
    assert expected == dask_ferris.get(graph, keys, retries=1)
    assert expected == result_of(graph, keys)


def collections():
    """Return collections by name."""
    one, two = delayed(abs)(-1), delayed(abs)(-2)
    numbers = da.arange(6, chunks=2)
    bag = db.from_sequence(range(6), npartitions=3).map(lambda i: i + 1)
    return {
        "Delayed": (one,),
        "Array": (numbers + 1, numbers.sum()),
        "Bag": (bag, bag.sum()),
        "several": (one, two, numbers),
        "a dict": ({"one": one, "two": [two, 3]},),
        "a list and a dict": ([one, 5], {"two": two}),
        "dicts": ({"one": one}, {"two": two}),
        # As for `dask.compute`; it is no graph: its values are collections.
        "a dict and a list": ({"one": one}, [two]),
        "the same twice": (one, [one], one),
        "others among them": (1, one, "text"),
        "no collections": (1, [2], {"three": 3}),
        "nothing": (),
    }


@pytest.mark.parametrize("name", collections())
def test_the_result_is_that_of_compute(name):
    """For collections, also within lists and dicts, and for what is none."""
    args = collections()[name]
    np.testing.assert_equal(result_of(*args), dask.compute(*args, scheduler="sync"))


def test_the_result_of_a_frame_is_that_of_compute():
    """As for the other collections."""
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame({"group": [1, 2, 1, 2], "value": [1.0, 2.0, 3.0, 4.0]})
    parts = dd.from_pandas(frame, npartitions=2)
    found, sums = result_of(parts, parts.groupby("group").value.sum())
    pd.testing.assert_frame_equal(frame, found)
    pd.testing.assert_series_equal(frame.groupby("group").value.sum(), sums)


@pytest.mark.parametrize(("words", "expected"), [({}, ([1],)), ({"traverse": False}, None)], ids=repr)
def test_lists_are_looked_into_unless_that_is_not_wanted(words, expected):
    """As by `dask.compute`."""
    args = ([delayed(abs)(-1)],)
    assert (args if expected is None else expected) == result_of(*args, **words)


@pytest.mark.parametrize("optimised", [False, True])
def test_collections_are_optimised_unless_that_is_not_wanted(optimised):
    """As by `dask.compute`: fused tasks are fewer."""
    numbers = da.ones(4, chunks=1) + 1 + 2
    run = dask_ferris.start(numbers, optimize_graph=optimised)
    np.testing.assert_array_equal(np.full(4, 4.0), run.result(WAIT)[0])
    assert optimised == (report_of(run).n_tasks < 10)


# ---- While it goes on


def test_the_caller_goes_on():
    """The handle says how far the run is."""
    gate, calls = Gate(), Calls()
    run = dask_ferris.start(gated(gate, calls), "second")
    wait_until_set(gate.entered)

    assert (False, None, Progress(2, 0, 1, 0)) == (run.done(), run.report, run.progress())
    assert "under way" in repr(run)
    assert "0 of 2" in repr(run)
    gate.opened.set()
    assert "second" == run.result(WAIT)
    assert (True, 2, Progress(2, 2, 0, 0)) == (run.done(), report_of(run).n_done, run.progress())
    assert "over" in repr(run)
    assert "2 of 2" in repr(run)


def test_a_result_that_is_not_there_in_time_may_be_asked_for_again():
    """The run goes on."""
    gate = Gate()
    run = dask_ferris.start(gated(gate, Calls()), "second")
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            run.result(timeout)
    gate.opened.set()
    assert ["second"] * 3 == [run.result(WAIT), run.result(), run.result(0)]


def test_several_threads_may_wait():
    """All of them get the result."""
    gate, values = Gate(), []
    run = dask_ferris.start(gated(gate, Calls()), "second")
    threads = [threading.Thread(target=lambda: values.append(run.result(WAIT))) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.opened.set()
    for thread in threads:
        join(thread)
    assert ["second"] * 4 == values


def test_several_threads_may_start_runs():
    """At the same time, on the same executor or on none."""
    values = []

    def begin(i, words):
        values.append((i, result_of(fan_in(10, lambda leaf: leaf + i), "total", **words)))

    with Executor(2) as executor:
        words = [{}, {"pool": executor}, {"num_workers": 3}]
        threads = [threading.Thread(target=begin, args=(i, words[i % 3])) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            join(thread)
    assert [(i, 45 + 10 * i) for i in range(12)] == sorted(values)


def test_a_run_whose_handle_is_dropped_goes_on():
    """Only its result is lost."""
    gate, ended = Gate(), threading.Event()
    graph = {"first": Task("first", gate), "second": Task("second", lambda _: ended.set(), TaskRef("first"))}
    handle = weakref.ref(dask_ferris.start(graph, "second"))
    wait_until_set(gate.entered)
    gc.collect()
    gate.opened.set()
    wait_until_set(ended)
    del handle


def test_the_values_go_with_the_handle(without_gc):
    """They are dropped when the last who knows the run drops it."""
    del without_gc
    run = dask_ferris.start({"x": Task("x", Token)}, ["x"])
    gone = end_of(run.result(WAIT)[0])
    assert not gone.is_set()
    del run
    wait_until_set(gone)


def test_a_run_that_failed_leaves_nothing_behind(without_gc):
    """What its tasks were given is dropped with the handle and the error, as after `get`."""
    del without_gc
    token = Token()
    gone = end_of(token)
    graph = {"token": DataNode("token", token), "bad": Task("bad", fail, TaskRef("token"))}
    run = dask_ferris.start(graph, "bad")
    with contextlib.suppress(LookupError):
        run.result(WAIT)
    del run, graph, token
    assert gone.wait(1)


def test_a_result_that_knows_its_run_is_no_leak():
    """The garbage collector sees through the handle."""
    token = Token()
    gone, box = end_of(token), [token]
    run = dask_ferris.start({"x": Task("x", same, box)}, "x")
    box.append(run.result(WAIT) and run)
    del run, token, box
    for _ in range(3):
        gc.collect()
    assert gone.wait(1)


# ---- Its end before its time


def test_a_run_that_was_cancelled_before_it_began():
    """None of its tasks runs."""
    calls = Calls()
    with held_executor() as (executor, opened):
        run = dask_ferris.start(calls.tasks("abc"), list("abc"), pool=executor)
        assert run.cancel()
        assert run.done()
        opened.set()
        with pytest.raises(CancelledError):
            run.result(WAIT)
        assert (3, 0) == (report_of(run).n_tasks, report_of(run).n_done)
        assert 1 == executor.submit(abs, -1).result(WAIT)
    assert [] == calls.names


def test_a_run_that_is_cancelled_while_a_task_runs():
    """The task ends, its value is dropped, and no other begins."""
    gate, calls = Gate(), Calls()
    with Executor(1) as executor:
        run = dask_ferris.start(gated(gate, calls), "second", pool=executor)
        wait_until_set(gate.entered)
        assert [True, False, False] == [run.cancel() for _ in range(3)]
        with pytest.raises(CancelledError):
            run.result(WAIT)
        gate.opened.set()
    assert [] == calls.names
    assert 0 == run.progress().n_done


@pytest.mark.parametrize("how", ["finished", "failed"])
def test_a_run_that_is_over_is_not_cancelled(how):
    """Its result, or its error, stays."""
    run = dask_ferris.start({"x": Task("x", abs, -1) if how == "finished" else Task("x", fail)}, "x")
    for _ in range(2):
        if how == "finished":
            assert 1 == run.result(WAIT)
        else:
            with pytest.raises(LookupError):
                run.result(WAIT)
        assert not run.cancel()


def test_waiting_threads_are_told_that_a_run_was_cancelled():
    """However long its tasks take."""
    gate, errors = Gate(), []
    run = dask_ferris.start(gated(gate, Calls()), "second")

    def wait():
        try:
            run.result(WAIT)
        except CancelledError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until_set(gate.entered)
    run.cancel()
    join(thread)
    gate.opened.set()
    assert 1 == len(errors)


@pytest.mark.parametrize("limit", [None, 0])
def test_a_run_may_be_cancelled_at_any_moment(limit):
    """It has its result or it was cancelled, and the executor goes on."""
    graph, n_cancelled = fan_in(10), 0
    with Executor(2) as executor:
        for i in range(100):
            run = dask_ferris.start(graph, "total", pool=executor, memory_limit=limit)
            for _ in range(i % 10):
                run.progress()
            was_cancelled = run.cancel()
            if was_cancelled:
                n_cancelled += 1
                with pytest.raises(CancelledError):
                    run.result(WAIT)
            else:
                assert 55 == run.result(WAIT)
            assert 11 == report_of(run).n_tasks
        assert 55 == executor(graph, "total")
    print(n_cancelled, "of 100 were cancelled")


def test_a_run_that_is_cancelled_attempts_no_task_again():
    """Also one that waits for its next attempt for an hour holds nobody up."""
    failed = threading.Event()

    def task():
        failed.set()
        raise LookupError

    with Executor(1) as executor:
        retries = dask_ferris.Retry(5, backoff=3600, max_delay=3600)
        run = dask_ferris.start({"x": Task("x", task)}, "x", pool=executor, retries=retries)
        wait_until_set(failed)
        run.cancel()
        with pytest.raises(CancelledError):
            run.result(WAIT)


# ---- Failures


def test_the_error_of_a_task_is_that_of_the_run():
    """With the key among its notes, each time it is asked for; what needs the task does not run."""
    calls = Calls()
    run = dask_ferris.start({"bad": Task("bad", fail), "after": calls.task("after", "bad")}, "after")
    for _ in range(2):
        with pytest.raises(LookupError, match="no") as caught:
            run.result(WAIT)
    assert 1 == sum("'bad'" in note for note in caught.value.__notes__)
    assert (["bad"], []) == (report_of(run).failed, calls.names)
    assert 1 == run.progress().n_failed
    assert run.done()


def test_a_run_may_go_on_after_errors():
    """The values are exceptions, and progress counts them."""
    graph = {"bad": Task("bad", fail), "after": Task("after", abs, TaskRef("bad")), "good": Task("good", abs, -1)}
    run = dask_ferris.start(graph, list(graph), on_error="continue")
    bad, after, good = run.result(WAIT)
    assert (LookupError, UpstreamFailedError, 1) == (type(bad), type(after), good)
    assert Progress(3, 1, 0, 2) == run.progress()


def test_an_interrupt_in_a_task_ends_the_run():
    """It comes out of `result`, and the pool goes on."""

    def interrupt():
        raise KeyboardInterrupt

    with Executor(1) as executor:
        run = dask_ferris.start({"x": Task("x", interrupt)}, "x", pool=executor, on_error="continue")
        with pytest.raises(KeyboardInterrupt):
            run.result(WAIT)
        assert 1 == executor.submit(abs, -1).result(WAIT)


def test_a_deadline_holds_when_nobody_waits():
    """The run is over at its time."""
    release = threading.Event()
    run = dask_ferris.start({"x": Task("x", release.wait, WAIT)}, "x", deadline=0.05)
    with pytest.raises(TaskTimeoutError, match="deadline"):
        run.result(WAIT)
    release.set()
    assert run.done()


@pytest.mark.parametrize("how", ["finished", "failed", "cancelled"])
def test_a_report_is_delivered_at_every_end(how):
    """Once, and it is that of the handle."""
    reports, gate = [], Gate()
    task = {"finished": abs, "failed": fail, "cancelled": gate}[how]
    run = dask_ferris.start({"x": Task("x", task, -1)}, "x", report=reports.append)
    if how == "cancelled":
        wait_until_set(gate.entered)
        run.cancel()
    with contextlib.suppress(LookupError, CancelledError):
        run.result(WAIT)
    gate.opened.set()
    assert [int(how == "finished")] == [report.n_done for report in reports]
    assert reports[0].n_tasks == report_of(run).n_tasks


def test_a_report_that_fails_is_the_error():
    """Nobody else would be told."""
    run = dask_ferris.start({"x": Task("x", abs, -1)}, "x", report="/nowhere/report.json")
    with pytest.raises(FileNotFoundError):
        run.result(WAIT)


# ---- Where it runs


@pytest.mark.parametrize("begin", [result_of, as_completed])
def test_on_an_executor_or_a_view(begin):
    """Its threads run the tasks, and the words of the view count."""
    calls, n_failures = [], 2

    def task():
        calls.append(threading.current_thread().name)
        if len(calls) <= n_failures:
            raise LookupError

    with Executor(1, thread_name_prefix="mine") as executor:
        begin({"x": Task("x", task)}, ["x"], pool=executor.with_options(retries=2))
        with pytest.raises(LookupError):
            begin({"x": Task("x", fail)}, ["x"], pool=executor)
    assert ["mine_0"] * 3 == calls


@pytest.mark.parametrize("spare", [None, 0])
@pytest.mark.parametrize("begin", [result_of, as_completed, dask_ferris.start], ids=lambda begin: begin.__name__)
def test_a_run_within_a_task_of_the_same_executor_ends(begin, spare):
    """Whoever waits for it lends its slot, or runs its tasks where no thread may take its place."""
    graph = {i: Task(i, abs, -i) for i in range(6)}
    with dask.config.set({} if spare is None else {"ferris.max-spare-threads": spare}):
        executor = Executor(1)

    def task():
        executor.submit(int)
        if begin is dask_ferris.start:
            return dask_ferris.start(graph, list(graph), pool=executor).result()  # without a limit
        return begin(graph, list(graph), pool=executor)

    outcome = executor.submit(task)
    try:
        values = outcome.result(WAIT / 4)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    assert list(range(6)) == sorted(values)


def test_runs_within_tasks_of_runs():
    """More of them than threads may stand in for those that wait."""

    def outer(i):
        return result_of({"x": Task("x", int, i)}, "x") + result_of({"x": Task("x", int, i)}, "x", pool=executor)

    with Executor(2) as executor:
        graph = {i: Task(i, outer, i) for i in range(40)}
        assert 2 * sum(range(40)) == sum(result_of(graph, list(graph), pool=executor))
        assert 2 * sum(range(40)) == sum(result_of(graph, list(graph)))


def test_a_closed_executor_takes_no_run():
    """An error at the call; a run that has begun goes on."""
    gate, calls = Gate(), Calls()
    executor = Executor(1)
    run = dask_ferris.start(gated(gate, calls), "second", pool=executor)
    wait_until_set(gate.entered)
    executor.shutdown(wait=False)
    for begin in (dask_ferris.start, dask_ferris.as_completed):
        for pool in (executor, executor.with_options(priority=2)):
            with pytest.raises(PoolClosedError):
                begin(calls.tasks("ab"), ["a", "b"], pool=pool)
    gate.opened.set()
    assert "second" == run.result(WAIT)
    assert ["second"] == calls.names


def test_a_shutdown_waits_for_runs():
    """With all of their tasks, also those that were not ready."""
    executor = Executor(2)
    run = dask_ferris.start(fan_in(50), "total", pool=executor)
    executor.shutdown()
    assert sum(range(1, 51)) == run.result(WAIT)


# ---- Every option has an effect, or an error


def order_of(begin, executor, opened):
    """Return which of two runs goes first, of which the second has the higher priority."""
    names = []
    runs = [begin({"x": Task("x", names.append, p)}, ["x"], priority=p, pool=executor) for p in (2, 5)]
    opened.set()
    for run in runs:
        _values(run)
    return names


def _values(begun):
    """Return the values of either."""
    return begun.result(WAIT) if isinstance(begun, dask_ferris.Run) else dict(begun)


def _see_priority(begin):
    with held_executor() as (executor, opened):
        assert [5, 2] == order_of(begin, executor, opened)


def _see_num_workers(begin):
    meeting = barrier(5)
    _values(begin(independent(meeting.wait, 5), [("task", i) for i in range(5)], num_workers=5))


def _see_pool(begin):
    names = []
    with Executor(1, thread_name_prefix="mine") as executor:
        graph = independent(lambda: names.append(threading.current_thread().name), 3)
        _values(begin(graph, list(graph), pool=executor))
    assert ["mine_0"] * 3 == names


def _see_deadline(begin):
    release = threading.Event()
    with pytest.raises(TaskTimeoutError, match="deadline"):
        _values(begin({"x": Task("x", release.wait, WAIT)}, ["x"], deadline=0.05))
    release.set()


def _see_timeout(begin):
    release = threading.Event()
    with pytest.raises(TaskTimeoutError, match="'x'"):
        _values(begin({"x": Task("x", release.wait, WAIT)}, ["x"], timeout=0.05))
    release.set()


def _see_retries(begin):
    calls = Calls()
    with pytest.raises(LookupError):
        _values(begin({"x": Task("x", lambda: calls.record("x") or fail())}, ["x"], retries=3))
    assert 4 == len(calls.names)


def _see_resources(begin):
    reports = []
    with Executor(2, resources={"gpu": 1}) as executor:
        words = {"pool": executor, "report": reports.append}
        _values(begin({"x": Task("x", abs, -1)}, ["x"], resources={"gpu": 1}, **words))
        with pytest.raises(PolicyError, match="gpu"):
            begin({"x": Task("x", abs, -1)}, ["x"], resources={"gpu": 2}, **words)
    assert [1] == [report.honoured["resources"] for report in reports]


def _see_on_error(begin):
    values = _values(begin({"x": Task("x", fail)}, ["x"], on_error="continue"))
    assert isinstance(values["x"] if isinstance(values, dict) else values[0], LookupError)


def _see_memory_limit(begin):
    reports = []
    _values(begin({"x": Task("x", bytes, 1000)}, ["x"], memory_limit="1 kB", report=reports.append))
    assert reports[0].peak_memory >= 1000


def _see_report(begin):
    reports = []
    _values(begin({"x": Task("x", abs, -1)}, ["x"], report=reports.append))
    assert [1] == [report.n_done for report in reports]


SEEN = {
    "priority": _see_priority,
    "num_workers": _see_num_workers,
    "pool": _see_pool,
    "deadline": _see_deadline,
    "timeout": _see_timeout,
    "retries": _see_retries,
    "resources": _see_resources,
    "on_error": _see_on_error,
    "memory_limit": _see_memory_limit,
    "report": _see_report,
}

REFUSED = {
    "cache": ({}, TypeError),
    "callbacks": ([], TypeError),
    "raise_exception": (print, TypeError),
    "rerun_exceptions_locally": (True, TypeError),
    "width": ("fixed", TypeError),
    "lane": ("process", PolicyError),
    "progress": (True, PolicyError),
    "trace": ("trace.json", PolicyError),
}

BEGINNINGS = pytest.mark.parametrize("begin", [dask_ferris.start, dask_ferris.as_completed], ids=lambda f: f.__name__)


def test_no_option_is_forgotten_here():
    """Every word that `get` knows is seen below, or refused."""
    assert _options._KNOWN == SEEN.keys() | REFUSED.keys()


@BEGINNINGS
@pytest.mark.parametrize("see", SEEN.values(), ids=SEEN)
def test_an_option_has_its_effect(begin, see):
    """As for `get`."""
    see(begin)


@BEGINNINGS
@pytest.mark.parametrize("word", REFUSED)
def test_an_option_without_an_effect_is_an_error(begin, word):
    """Named, at the call."""
    calls, (value, error) = Calls(), REFUSED[word]
    with pytest.raises(error, match=word):
        begin(calls.tasks("ab"), ["a", "b"], **{word: value})
    assert [] == calls.names


@BEGINNINGS
@pytest.mark.parametrize("where", ["argument", "config"])
def test_a_pool_of_others_is_used_or_refused(begin, where):
    """Not passed over in silence."""
    names = []
    graph = {"x": Task("x", lambda: names.append(threading.current_thread().name))}
    with ThreadPoolExecutor(1, thread_name_prefix="others") as pool:
        config, words = ({}, {"pool": pool}) if where == "argument" else ({"pool": pool}, {})
        with dask.config.set(config):
            assert _is_reported(lambda: _values(begin(graph, ["x"], **words))) or ["others_0"] == names


@BEGINNINGS
def test_a_cache_of_the_config_is_used_or_refused(begin):
    """Not passed over in silence."""
    cache = {}
    with dask.config.set(cache=cache):
        assert _is_reported(lambda: _values(begin({"x": Task("x", abs, -1)}, ["x"]))) or cache


@BEGINNINGS
def test_rerun_of_the_config_is_done_or_refused(begin):
    """Not passed over in silence."""
    calls = Calls()
    graph = {"x": Task("x", lambda: calls.record("x") or fail())}
    with dask.config.set(rerun_exceptions_locally=True), contextlib.suppress(LookupError):
        if _is_reported(lambda: _values(begin(graph, ["x"]))):
            return
    assert 2 == len(calls.names)


def _is_reported(function):
    """Return whether a call is an error of ours, or warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function()
        except (PolicyError, TypeError):
            return True
    return any(issubclass(warning.category, FerrisWarning) for warning in caught)


@BEGINNINGS
def test_a_number_of_workers_that_the_pool_does_not_have_is_reported(begin):
    """The width of a run is that of its executor."""
    with Executor(1) as executor:
        assert _is_reported(lambda: _values(begin({"x": Task("x", abs, -1)}, ["x"], num_workers=5, pool=executor)))


@BEGINNINGS
def test_callbacks_that_are_not_called_are_warned_of(begin):
    """They need a run that is accounted for step by step."""
    with Profiler() as profiler, pytest.warns(FerrisWarning, match=f"callbacks.*{begin.__name__}"):
        _values(begin({"x": Task("x", abs, -1)}, ["x"]))
    assert [] == profiler.results


@BEGINNINGS
@pytest.mark.parametrize("word", ["traverse", "optimize_graph"])
def test_words_for_collections_are_refused_for_a_graph(begin, word):
    """They would have no effect."""
    with pytest.raises(TypeError, match=word):
        begin({"x": Task("x", abs, -1)}, ["x"], **{word: True})


@BEGINNINGS
def test_none_is_not_given(begin):
    """For every word."""
    assert _values(begin({"x": Task("x", abs, -1)}, ["x"], **dict.fromkeys(SEEN))) in ((1,), {"x": 1})


def test_a_report_may_be_a_file(tmp_path):
    """Of JSON, which is there when the result is."""
    path = tmp_path / "report.json"
    result_of({"x": Task("x", abs, -1)}, "x", report=path)
    assert 1 == json.loads(path.read_text())["n_done"]


# ---- Bad input

BAD = [
    ("colour", "red", TypeError),
    ("priority", "high", TypeError),
    ("priority", float("nan"), ValueError),
    ("retries", -1, ValueError),
    ("timeout", 0, ValueError),
    ("deadline", 0, ValueError),
    ("resources", {"gpu": -1}, ValueError),
    ("memory_limit", -1, ValueError),
    ("memory_limit", "lots", ValueError),
    ("memory_limit", "-1 kB", ValueError),
    ("memory_limit", "", ValueError),
    ("memory_limit", float("nan"), ValueError),
    ("memory_limit", True, TypeError),
    ("memory_limit", [], TypeError),
    ("on_error", "ignore", ValueError),
    ("on_error", 1, TypeError),
    ("report", 3, TypeError),
    ("num_workers", 0, ValueError),
    ("num_workers", "2", TypeError),
    ("pool", 3, TypeError),
]


@BEGINNINGS
@pytest.mark.parametrize(("word", "value", "error"), BAD, ids=lambda part: repr(part) if part != "" else "empty")
def test_a_wrong_word_is_an_error_at_the_call(begin, word, value, error):
    """It names the word and the value, and nothing runs."""
    calls = Calls()
    with pytest.raises(error) as caught:
        begin(calls.tasks("ab"), ["a", "b"], **{word: value})
    assert [] == calls.names
    message = str(caught.value)
    assert word.removesuffix("s") in message or (word == "resources" and "gpu" in message)
    assert word == "colour" or str(value) in message or str(*value.values()) in message


@BEGINNINGS
def test_a_key_that_there_is_not_is_an_error_at_the_call(begin):
    """It is named, and nothing runs."""
    calls = Calls()
    with pytest.raises(MissingKeyError, match="'z'"):
        begin(calls.tasks("ab"), ["a", "z"])
    assert [] == calls.names


@BEGINNINGS
def test_an_annotation_that_fails_is_an_error_at_the_call(begin):
    """It is the function's own, or says so; nothing runs."""
    calls = Calls()

    def priority(key):
        raise LookupError(key)

    with dask.annotate(priority=priority), pytest.raises((LookupError, PolicyError)) as caught:
        begin(calls.tasks("ab"), ["a", "b"])
    assert isinstance(caught.value, LookupError) or isinstance(caught.value.__cause__, LookupError)
    assert [] == calls.names


@BEGINNINGS
def test_an_annotation_that_is_wrong_is_an_error_at_the_call(begin):
    """It names the key."""
    with dask.annotate(retries=-1):
        value = delayed(abs)(-1, dask_key_name="mine")
    with pytest.raises(PolicyError, match=r"'mine'.*-1"):
        begin(value)


@BEGINNINGS
@pytest.mark.parametrize("limit", [2**63, 2**64, 10**30, 1e300, "1e9 PB"], ids=repr)
def test_a_limit_that_no_memory_reaches_is_a_limit(begin, limit):
    """Or an error that names it."""
    try:
        values = _values(begin({"x": Task("x", abs, -1)}, ["x"], memory_limit=limit))
    except (ValueError, PolicyError) as error:
        assert "memory_limit" in str(error)  # noqa: PT017  either is allowed
    else:
        assert values in ((1,), {"x": 1})


def test_a_timeout_of_a_result_that_is_none_is_an_error():
    """As of any future."""
    with pytest.raises(TypeError):
        dask_ferris.start({"x": Task("x", abs, -1)}, "x").result("soon")


# ---- The process

PREAMBLE = f"""
    import os, signal, sys, threading, time
    import dask_ferris
    from dask._task_spec import Task, TaskRef
    WAIT = {WAIT}
    entered, opened = threading.Event(), threading.Event()
    def gate(*_):
        entered.set()
        opened.wait(WAIT)
    def say(*_):
        os.write(1, b"ran\\n")  # in one piece, whoever else writes
    graph = {{"first": Task("first", gate), "second": Task("second", say, TaskRef("first"))}}
"""

EXITS = {
    "with a run under way": (["ran"], "run = dask_ferris.start(graph, 'second')"),
    "with a run that nobody has": (["ran"], "dask_ferris.start(graph, 'second')"),
    "with a run on an executor": (["ran"], "dask_ferris.start(graph, 'second', pool=dask_ferris.Executor(1))"),
    "with a run that was cancelled": ([], "run = dask_ferris.start(graph, 'second'); entered.wait(WAIT); run.cancel()"),
    "with values to come": (["ran"], "kept = dask_ferris.as_completed(graph, ['second'])"),
    "with values that nobody wants": ([], "kept = dask_ferris.as_completed(graph, ['second']); kept.close()"),
}


@pytest.mark.parametrize(("expected", "body"), EXITS.values(), ids=EXITS)
def test_the_interpreter_ends(expected, body):
    """It waits for the tasks of runs that were not cancelled, and says nothing."""
    later = "threading.Thread(target=lambda: (time.sleep(0.05), opened.set())).start()"
    assert expected == output_of(f"{PREAMBLE}\n    {later}\n    {body}\n")


FAILED_EXIT = """
    def fail():
        raise LookupError
    dask_ferris.start({"x": Task("x", fail)}, "x")
    many = {i: Task(i, abs, -i) for i in range(2000)}
    dask_ferris.start(many, list(many))
    reported = dask_ferris.start(many, list(many), report=lambda report: print(report.n_done, flush=True))
"""


def test_the_interpreter_ends_after_runs_that_failed_and_many_tasks():
    """All of them are done, their reports delivered, and an error that nobody asked for is nobody's."""
    assert ["2000"] == output_of(PREAMBLE + FAILED_EXIT)


INTERRUPTED = """
    waits = threading.Event()
    def interrupt():
        waits.wait(WAIT)
        os.kill(os.getpid(), signal.SIGINT)
        gate()
    graph["first"] = Task("first", interrupt)
    run = dask_ferris.start(graph, "second")
    try:
        waits.set()
        run.result()
    except KeyboardInterrupt:
        print("interrupted", run.done(), flush=True)
    opened.set()
    print(run.result())
"""


def test_ctrl_c_ends_the_wait_for_a_result():
    """The run goes on, and its result may be waited for again."""
    assert ["interrupted False", "ran", "None"] == output_of(PREAMBLE + INTERRUPTED)


FORKED = """
    run = dask_ferris.start(graph, "second")
    values = dask_ferris.as_completed(graph, ["second"])
    entered.wait(WAIT)
    def look():
        signal.alarm(20)  # whoever still waits then, waits for ever
        try:
            {look}
        except BaseException:
            pass
        return dask_ferris.start({{"x": Task("x", abs, -1)}}, "x").result() == 1
    status = in_child(look)
    opened.set()
    print(status, run.result(), list(values))
"""

LOOKS = [
    "pass",
    "run.result()",
    "run.report",
    "run.cancel(); run.result()",
    "next(values)",
    "repr(run); values.close()",
]


@pytest.mark.parametrize("look", LOOKS)
def test_the_child_of_a_fork_does_not_wait_for_the_parents_run(look):
    """The threads that run its tasks are the parent's: an error; runs of its own are done."""
    program = IN_CHILD + PREAMBLE + FORKED.format(look=look)
    lines = output_of(program, options=("-W", "ignore::DeprecationWarning"))
    assert ["ran", "ran", "0 None [('second', None)]"] == lines


def test_what_gets_the_report_may_look_at_the_run():
    """It is told before the result is there, and can not wait for that."""
    seen = []
    handed = threading.Event()

    def look(_):
        handed.wait(WAIT)
        with pytest.raises(RuntimeError, match="report"):
            run.result()
        seen.append(run.report)

    run = dask_ferris.start({"x": Task("x", abs, -1)}, "x", report=look)
    handed.set()
    assert 1 == run.result(WAIT)
    assert [None] == seen


def test_nothing_is_said_to_run_when_the_run_was_cancelled():
    """The task that goes on is nobody's any more."""
    inside, release = threading.Event(), threading.Event()
    run = dask_ferris.start({"x": Task("x", lambda: inside.set() or wait_until_set(release))}, "x")
    wait_until_set(inside)
    run.cancel()
    with pytest.raises(CancelledError):
        run.result(WAIT)
    assert 0 == run.progress().n_running
    release.set()


def test_a_run_that_waits_for_another_attempt_keeps_the_interpreter():
    """The timer is there until it is over."""
    program = """
import dask_ferris
from dask_ferris import Retry
from dask._task_spec import Task
tried = []
def flaky():
    tried.append(1)
    if len(tried) == 1:
        raise ValueError
    print("done", flush=True)
retry = Retry(attempts=2, backoff=1.5, jitter=False)
run = dask_ferris.start({"x": Task("x", flaky)}, "x", retries=retry)
"""
    assert ["done"] == output_of(program)


@pytest.mark.parametrize("words", [{"retries": 1}, {"memory_limit": "1 GB"}], ids=["retries", "memory_limit"])
def test_a_thread_of_a_task_may_compute_on_as_many_workers(words):
    """The workers of the outer run are not those of the inner one, whoever asks for it."""

    def compute():
        thread = threading.Thread(target=lambda: values.append(inner()), daemon=True)
        thread.start()
        thread.join(WAIT)
        return values

    def inner():
        return dask_ferris.get({"x": Task("x", abs, -1)}, "x", num_workers=1, **words)

    values = []
    assert [1] == dask_ferris.get({"x": Task("x", compute)}, "x", num_workers=1, **words)


def test_a_broken_executor_is_not_used_again():
    """A run after one whose threads were stuck has others."""
    program = """
import threading, time
import dask, dask_ferris
from dask._task_spec import Task
with dask.config.set({"ferris.max-abandoned-threads": 0}):
    stop = threading.Event()
    graph = {i: Task(i, stop.wait, 20) for i in range(3)}
    for _ in range(2):
        try:
            retry = dask_ferris.Retry(attempts=80, backoff=0.02)
            dask_ferris.get(graph, list(graph), num_workers=1, timeout=0.02, retries=retry)
        except (TimeoutError, RuntimeError) as error:
            print(type(error).__name__)
    stop.set()
    print(dask_ferris.get({"x": Task("x", abs, -1)}, "x", num_workers=1, retries=1))
"""
    assert "1" == output_of(program)[-1]
