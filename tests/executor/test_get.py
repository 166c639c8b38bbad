"""An executor as the place where Dask computes: `scheduler=executor`, `pool=executor`, and a call of the executor."""

from __future__ import annotations

import asyncio
import operator
import threading
import time
import traceback
from concurrent.futures import CancelledError
from contextvars import ContextVar
from queue import Full

import dask
import dask.array as da
import dask.bag as db
import dask.threaded
import numpy as np
import pytest
from dask._task_spec import Task, TaskRef
from dask.base import get_scheduler
from dask.delayed import Delayed
from dask.diagnostics.profile import Profiler
from dask.local import get_sync
from gates import WAIT, Token, barrier, end_of, join, wait_until_set
from graphs import Calls, add, chain, crowd, fan_in, inc, independent, total
from hypothesis import given
from hypothesis import strategies as st
from plans import plans
from random_graphs import Recorder, build, canonical
from subprocesses import IN_CHILD, output_of

import dask_ferris
from dask_ferris import (
    AdaptiveScheduler,
    BrokenPoolError,
    Executor,
    PolicyError,
    PoolClosedError,
    PriorityScheduler,
    QueueFullError,
    RoundRobinScheduler,
    WorkStealingScheduler,
)

GRAPH = {"x": Task("x", inc, 1), "y": Task("y", inc, TaskRef("x"))}


@pytest.fixture
def pool_class():
    """Return our executor."""
    return Executor


def by_compute(executor, graph, keys):
    """Compute as a program with collections does."""
    return dask.compute(*[Delayed(key, graph) for key in keys], scheduler=executor)


def by_config(executor, graph, keys):
    """Compute with the executor as the scheduler of the configuration."""
    with dask.config.set(scheduler=executor):
        get = get_scheduler()
        assert get is not None
        return get(graph, keys)


def by_pool_of_config(executor, graph, keys):
    """Compute with the executor as the pool of the configuration."""
    with dask.config.set(pool=executor):
        return dask_ferris.get(graph, keys)


WAYS = {
    "call": lambda executor, graph, keys: executor(graph, keys),
    "pool=": lambda executor, graph, keys: dask_ferris.get(graph, keys, pool=executor),
    "config pool": by_pool_of_config,
    "scheduler=": by_compute,
    "config scheduler": by_config,
    "view": lambda executor, graph, keys: executor.with_options(priority=2)(graph, keys),
    "pool=view": lambda executor, graph, keys: dask_ferris.get(graph, keys, pool=executor.with_options(name="mine")),
    "scheduler=view": lambda executor, graph, keys: by_compute(executor.with_options(priority=0), graph, keys),
}


@pytest.fixture(params=list(WAYS))
def compute(request):
    """Return a function of an executor, a graph and a list of keys, which are strings."""
    return WAYS[request.param]


def own_name(*_inputs):
    """Return the name of the thread."""
    return threading.current_thread().name


def named(function, n_tasks):
    """Return so many tasks that call the function, and their keys, which Delayed takes as well."""
    keys = [f"task-{i}" for i in range(n_tasks)]
    return {key: Task(key, function) for key in keys}, keys


def assert_all_meet(executor, n_tasks):
    """Show that so many tasks of a run are inside together."""
    graph = independent(barrier(n_tasks).wait, n_tasks)
    assert list(range(n_tasks)) == sorted(executor(graph, list(graph)))


def wait_until_queued(executor, n_tasks):
    """Wait until so many tasks, or more, wait for a worker.

    Raises:
        TimeoutError: They did not come within `WAIT` seconds.
    """
    end = time.monotonic() + WAIT
    while executor.get_stats().queued_tasks < n_tasks:
        if time.monotonic() > end:
            message = f"deadlock: {n_tasks} tasks were never queued"
            raise TimeoutError(message)
        time.sleep(0.001)


# ---- Where tasks run


def test_tasks_run_on_the_executors_threads(make_pool, compute):
    """On all of them at once when tasks wait for each other, and none on the thread that calls."""
    pool, meeting = make_pool(3, "crew"), barrier(3)
    graph, keys = named(lambda: (meeting.wait(), own_name())[1], 3)

    assert ["crew_0", "crew_1", "crew_2"] == sorted(compute(pool, graph, keys))


def test_one_worker_runs_all_tasks(make_pool, compute):
    """In a row, on its thread."""
    pool, order = make_pool(1, "crew"), []
    graph, keys = named(lambda: (order.append(1), own_name())[1], 50)

    assert ("crew_0",) * 50 == tuple(compute(pool, graph, keys))
    assert 50 == len(order)


def test_each_task_of_a_run_is_a_task_of_the_executor(make_pool, compute):
    """It is counted as such."""
    pool, graph = make_pool(2), {"0": Task("0", int)}
    graph |= {str(i): Task(str(i), inc, TaskRef(str(i - 1))) for i in range(1, 100)}

    assert [99] == list(compute(pool, graph, ["99"]))
    pool.shutdown()
    stats = pool.get_stats()
    assert (100, 0, 0, 0) == (stats.completed_tasks, stats.failed_tasks, stats.cancelled_tasks, stats.queued_tasks)


def test_the_statistics_of_runs_count_its_tasks(make_pool, compute):
    """As those of `dask_ferris.get`."""
    pool = make_pool(2)
    graph, keys = named(own_name, 30)
    before = dask_ferris.statistics()
    compute(pool, graph, keys)
    pool.shutdown()  # a worker counts its tasks when it leaves the run
    after = dask_ferris.statistics()

    assert (1, 30) == (after.n_runs - before.n_runs, after.n_tasks - before.n_tasks)


def test_the_pool_of_the_process_is_not_used():
    """Its threads are never started, not even when as many tasks run as the executor has workers."""
    program = f"""
        import threading, dask_ferris
        from dask._task_spec import Task
        executor, meeting = dask_ferris.Executor(4), threading.Barrier(4, timeout={WAIT})
        graph = {{i: Task(i, meeting.wait) for i in range(4)}}
        print(sorted(executor(graph, list(graph))), dask_ferris.statistics().n_workers)
        print(len(dask_ferris.get(graph, list(graph), num_workers=4)), dask_ferris.statistics().n_workers)
    """

    assert ["[0, 1, 2, 3] 0", "4 3"] == output_of(program)


def test_threads_of_a_run_are_initialized(make_pool):
    """Before their first task."""
    local, meeting = threading.local(), barrier(2)
    pool = make_pool(2, initializer=setattr, initargs=(local, "word", "ready"))
    graph, keys = named(lambda: (meeting.wait(), local.word)[1], 2)

    assert ("ready", "ready") == pool(graph, keys)


def test_tasks_see_the_callers_context(make_pool, compute):
    """Each a copy of it, so that what one sets is not seen by the next."""
    variable = ContextVar("variable", default="default")
    variable.set("caller's")
    graph, keys = named(lambda: (variable.get(), variable.set("task's"))[0], 5)

    assert ["caller's"] * 5 == list(compute(make_pool(1), graph, keys))
    assert "caller's" == variable.get()


def test_another_executors_task_may_compute(make_pool):
    """On the threads of the one it names."""
    one, other = make_pool(1, "one"), make_pool(1, "other")

    assert ("one_0", "other_0") == one.submit(lambda: (own_name(), other({"x": Task("x", own_name)}, "x"))).result(WAIT)


def test_the_pool_of_the_configuration_is_not_for_a_call_of_another_executor(make_pool):
    """Who names an executor gets that one."""
    one, other = make_pool(1, "one"), make_pool(1, "other")
    with dask.config.set(pool=other):
        assert "one_0" == one({"x": Task("x", own_name)}, "x")
        assert "one_0" == dask.compute(dask.delayed(own_name)(), scheduler=one)[0]
        assert "other_0" == dask_ferris.get({"x": Task("x", own_name)}, "x")


def test_a_call_within_an_event_loop(make_pool, compute):
    """As in a notebook."""
    pool = make_pool(2, "crew")
    graph, keys = named(own_name, 4)

    async def main():
        return compute(pool, graph, keys)

    assert {"crew"} == {name.rpartition("_")[0] for name in asyncio.run(main())}


def test_callbacks_are_told_and_tasks_run_on_the_executors_threads(make_pool, compute):
    """Also when the calling thread keeps Dask's account."""
    pool, meeting = make_pool(2, "crew"), barrier(2)
    graph, keys = named(lambda: (meeting.wait(), own_name())[1], 2)
    with Profiler() as profiler:
        assert ["crew_0", "crew_1"] == sorted(compute(pool, graph, keys))
    assert sorted(keys) == sorted(result.key for result in profiler.results)


# ---- Results


@pytest.mark.parametrize("keys", ["y", ["y"], [], ["x", "y", "x"], [["x", ["y"]], [], "x"], [[["y"]]]], ids=repr)
@pytest.mark.parametrize("call", ["executor", "view", "pool"])
def test_the_answer_has_the_shape_of_the_keys(make_pool, call, keys):
    """As that of `dask_ferris.get`."""
    pool = make_pool(2)
    view = pool.with_options(priority=3)
    got = dask_ferris.get(GRAPH, keys, pool=pool) if call == "pool" else (view if call == "view" else pool)(GRAPH, keys)

    assert dask_ferris.get(GRAPH, keys) == got


def frame():
    """Return a collection of a data frame; the tests that want one are skipped where it is not installed."""
    dd, pd = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
    return dd.from_pandas(pd.DataFrame({"a": [i % 3 for i in range(50)], "b": range(50)}), npartitions=5)


COLLECTIONS = {
    "delayed": lambda: dask.delayed(sum)([dask.delayed(inc)(i) for i in range(20)]),
    "array": lambda: (da.arange(100, chunks=7) ** 2).sum(axis=0),
    "matrix": lambda: da.ones((20, 30), chunks=7) @ da.arange(600, chunks=50).reshape(30, 20).rechunk(8),
    "bag": lambda: db.range(60, npartitions=6).map(inc).filter(lambda x: x % 2).fold(add),
    "shuffled bag": lambda: db.range(30, npartitions=5).groupby(lambda x: x % 3, shuffle="tasks").count(),
    "sum of a frame": lambda: frame().groupby("a").b.agg("sum"),
    "sorted frame": lambda: frame().sort_values("b", ascending=False).head(7, npartitions=-1, compute=False),
}


@pytest.mark.parametrize("max_workers", [1, 3])
@pytest.mark.parametrize("make", COLLECTIONS.values(), ids=COLLECTIONS)
def test_collections(make_pool, make, max_workers):
    """They compute to what the synchronous scheduler makes of them, by argument and by configuration, and persist."""
    pool, collection = make_pool(max_workers), make()
    expected = collection.compute(scheduler=get_sync)
    got = [
        collection.compute(scheduler=pool),
        collection.compute(scheduler=pool, optimize_graph=False),
        collection.persist(scheduler=pool).compute(scheduler=get_sync),
        collection.compute(scheduler=pool.with_options(priority=0)),
    ]
    with dask.config.set(scheduler=pool):
        got.append(collection.compute())

    for value in got:
        np.testing.assert_array_equal(expected, value)
        assert type(expected) is type(value)


@pytest.mark.parametrize("place", ["outside", "in a task"])
@given(plan=plans(failures=False), max_workers=st.integers(1, 4))
def test_random_graphs(place, plan, max_workers):
    """Each call is made as often as Dask makes it, and the values are Dask's."""
    oracle, recorder = Recorder(), Recorder()
    expected = get_sync(build(plan, oracle), plan.keys())
    with Executor(max_workers) as executor:
        if place == "outside":
            got = executor(build(plan, recorder), plan.keys())
        else:
            got = executor.submit(executor, build(plan, recorder), plan.keys()).result(WAIT)

    assert canonical(expected) == canonical(got)
    assert oracle.starts() == recorder.starts()


# ---- Width


@pytest.mark.parametrize("max_workers", [1, 2, 4])
@pytest.mark.parametrize("place", ["outside", "in a task"])
def test_no_more_tasks_run_at_once_than_there_are_workers(make_pool, max_workers, place):
    """Wherever the run was asked for."""
    pool, peaks = make_pool(max_workers), []
    graph, keys = crowd(peaks)
    if place == "outside":
        pool(graph, keys)
    else:
        pool.submit(pool, graph, keys).result(WAIT)

    assert 120 == len(peaks)
    assert max(peaks) <= max_workers


SCHEDULERS = [None, WorkStealingScheduler(), RoundRobinScheduler(), PriorityScheduler(), AdaptiveScheduler(1, 4)]


@pytest.mark.parametrize("width", ["adaptive", "fixed"])
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: type(scheduler).__name__)
def test_as_many_tasks_run_at_once_as_there_are_workers(make_pool, scheduler, width):
    """However the workers share their tasks: four meet, and then four others."""
    first, second = barrier(4), barrier(4)
    graph = {("first", i): Task(("first", i), first.wait) for i in range(4)}
    graph["between"] = Task("between", total, *map(TaskRef, graph))
    graph |= {("second", i): Task(("second", i), lambda _: second.wait(), TaskRef("between")) for i in range(4)}

    got = make_pool(4, scheduler=scheduler)(graph, [("second", i) for i in range(4)], width=width)
    assert list(range(4)) == sorted(got)


@pytest.mark.parametrize("where", ["argument", "config"])
def test_the_number_of_workers_is_the_executors(make_pool, compute, where):
    """`num_workers` says nothing about it."""
    pool, meeting = make_pool(3), barrier(3)
    graph, keys = named(meeting.wait, 3)
    if where == "argument":
        assert [0, 1, 2] == sorted(pool(graph, keys, num_workers=1))
    with dask.config.set(num_workers=1):
        assert [0, 1, 2] == sorted(compute(pool, graph, keys))


# ---- Runs within tasks


def nested_sum(compute, depth, width):
    """Return width ** depth, counted by runs within the tasks of runs."""
    if depth == 0:
        return 1
    graph, keys = named(lambda: nested_sum(compute, depth - 1, width), width)
    graph["sum"] = Task("sum", total, *map(TaskRef, keys))
    return compute(graph, ["sum"])[0]


@pytest.mark.parametrize("max_workers", [1, 2])
@pytest.mark.parametrize("place", ["outside", "in a task"])
def test_tasks_may_compute_on_their_own_executor(make_pool, compute, max_workers, place):
    """Four deep, with fewer workers than tasks that wait for a run."""
    pool = make_pool(max_workers)

    def run():
        return nested_sum(lambda graph, keys: compute(pool, graph, keys), 4, 2)

    assert 16 == (run() if place == "outside" else pool.submit(run).result(WAIT))


def test_a_nested_run_stays_on_the_executors_threads(make_pool, compute):
    """With one worker, on that of the task it is for."""
    pool = make_pool(1, "crew")
    graph, keys = named(own_name, 5)

    assert ("crew_0",) * 5 == tuple(pool.submit(compute, pool, graph, keys).result(WAIT))


def test_tasks_of_a_nested_run_can_meet(make_pool):
    """Others come to help with it, and the worker that asked for it is one of them."""
    pool, meeting = make_pool(3, "crew"), barrier(3)
    graph, keys = named(lambda: (meeting.wait(), own_name())[1], 3)

    assert {"crew_0", "crew_1", "crew_2"} == set(pool({"x": Task("x", pool, graph, keys)}, "x"))


def test_collections_may_be_computed_in_tasks(make_pool):
    """By the scheduler of the configuration, which each task sees."""
    pool = make_pool(1)

    @dask.delayed
    def block(i):
        return da.arange(10 * i, 10 * i + 10, chunks=3).sum().compute()

    with dask.config.set(scheduler=pool):
        assert sum(range(50)) == dask.delayed(sum)([block(i) for i in range(5)]).compute()


@pytest.mark.parametrize("timeout", [None, WAIT])
def test_tasks_of_a_run_may_submit_and_wait(make_pool, timeout):
    """On the only worker, which runs what it waits for, or has another thread do it."""
    pool = make_pool(1)
    graph = {i: Task(i, lambda i: pool.submit(inc, i).result(timeout), i) for i in range(10)}

    assert tuple(range(1, 11)) == pool(graph, list(graph))


def test_a_nested_failure_may_be_survived(make_pool):
    """It is the inner run's, and the outer one goes on."""
    pool = make_pool(1)

    def outer():
        with pytest.raises(ZeroDivisionError):
            pool({"x": Task("x", divmod, 1, 0)}, "x")
        return pool(GRAPH, "y")

    assert 3 == pool({"x": Task("x", outer)}, "x")


# ---- Errors


@pytest.mark.parametrize("max_workers", [1, 3])
def test_an_error_comes_out_as_it_was_raised(make_pool, compute, max_workers):
    """The object itself, with a note that names the key and the frames of the task; dependents are not run."""
    pool, calls, error = make_pool(max_workers), Calls(), LookupError("the task's own")

    def fail(_):
        raise error

    graph = {"a": calls.task("a"), "b": Task("b", fail, TaskRef("a")), "c": calls.task("c", "b")}
    with pytest.raises(LookupError) as caught:
        compute(pool, graph, ["c"])
    assert error is caught.value
    assert ["raised by the task of key 'b'"] == error.__notes__
    assert "fail" == traceback.extract_tb(error.__traceback__)[-1].name
    assert ["a"] == calls.names


@pytest.mark.parametrize("error", [LookupError, SystemExit, KeyboardInterrupt, CancelledError])
def test_after_an_error_the_executor_is_as_before(make_pool, error):
    """All its workers are there for runs and for calls."""
    pool, meeting = make_pool(3), barrier(3)

    def fail():
        raise error

    for _ in range(5):
        with pytest.raises(error):
            pool(independent(fail, 10) | {"total": Task("total", fail)}, "total")
    assert_all_meet(pool, 3)
    assert [0, 1, 2] == sorted(pool.map(lambda _: meeting.wait(), range(3)))


def test_options_of_get_are_checked(make_pool):
    """As those of `dask_ferris.get`."""
    pool = make_pool(1)
    for options, error in [
        ({"retries": -2}, ValueError),
        ({"lane": "process"}, PolicyError),
        ({"num_workers": 0}, ValueError),
        ({"width": "broad"}, ValueError),
        ({"cache": 1}, TypeError),
    ]:
        with pytest.raises(error, match=next(iter(options))):
            pool(GRAPH, "y", **options)
    with pytest.raises(dask_ferris.MissingKeyError):
        pool(GRAPH, "z")


# ---- Policies


@pytest.mark.parametrize("way", ["call", "pool=", "config pool", "scheduler=", "config scheduler"])
def test_a_view_governs_the_tasks_of_its_runs(make_pool, way):
    """Each of them is attempted again, has its limit of time, and takes its share of the resources."""
    failed, inside, most = [], [], []

    def task(name):
        inside.append(name)
        most.append(len(inside))
        time.sleep(0.001)
        inside.remove(name)
        if name not in failed:
            failed.append(name)
            while name == "b":  # until it is interrupted
                pass
            raise LookupError
        return name

    view = make_pool(2, resources={"gpu": 1}).with_options(retries=1, timeout=0.5, resources={"gpu": 1})
    assert ["a", "b"] == list(WAYS[way](view, {name: Task(name, task, name) for name in "ab"}, ["a", "b"]))
    assert {"a", "b"} == set(failed)
    assert 1 == max(most)


@pytest.mark.parametrize(("priority", "order"), [(0, ["call", "call", "run"]), (2, ["run", "call", "call"])])
def test_the_priority_of_a_view_is_that_of_the_run(make_pool, gate, elsewhere, priority, order):
    """Its first worker is called with it, against calls that wait."""
    pool, seen = make_pool(1), []
    gate.hold(pool)
    calls = [pool.submit(seen.append, "call") for _ in range(2)]
    graph, keys = named(lambda: seen.append("run"), 1)
    run = elsewhere.submit(pool.with_options(priority=priority), graph, keys)
    wait_until_queued(pool, 3)
    gate.open()
    run.result(WAIT)
    for call in calls:
        call.result(WAIT)

    assert order == seen


# ---- Beside others


def test_many_runs_at_once_beside_calls(make_pool, elsewhere):
    """Every caller has the result of its own graph, and every call its own."""
    pool, meeting = make_pool(3), barrier(8)

    def run(i):
        meeting.wait()
        return [pool(fan_in(10 + i), "total") for _ in range(20)]

    def call(i):
        meeting.wait()
        return [pool.submit(add, i, j).result(WAIT) for j in range(100)]

    runs, calls = ([elsewhere.submit(function, i) for i in range(4)] for function in (run, call))
    assert [[sum(range(1, 11 + i))] * 20 for i in range(4)] == [future.result(WAIT) for future in runs]
    assert [list(range(i, i + 100)) for i in range(4)] == [future.result(WAIT) for future in calls]


def test_one_graph_may_be_in_several_runs(make_pool, elsewhere):
    """Also on several executors."""
    pools, graph = [make_pool(1), make_pool(2), make_pool(3)], chain(50) | fan_in(50)

    runs = [elsewhere.submit(pool, graph, [50, "total"]) for pool in pools * 3]
    assert [(50, 1275)] * 9 == [run.result(WAIT) for run in runs]


def test_a_run_waits_for_its_turn(make_pool, gate, elsewhere):
    """Nothing of it runs while all workers are in other tasks; the calling thread does not stand in."""
    pool, calls = make_pool(2), Calls()
    gate.hold(pool, 2)
    run = elsewhere.submit(pool, calls.tasks("ab"), ["a", "b"])
    wait_until_queued(pool, 1)
    assert [] == calls.names
    gate.open()

    assert ("a", "b") == run.result(WAIT)
    assert not any(thread.name.startswith("elsewhere") for thread in calls.threads)


# ---- Bounded queues


@pytest.mark.parametrize("on_full", ["block", "raise"])
def test_a_bounded_queue_that_is_not_full_is_as_any(make_pool, compute, on_full):
    """One call at a time is on its way, however many tasks and workers there are."""
    pool, meeting = make_pool(4, max_queued=1, on_full=on_full), barrier(4)
    graph, keys = named(meeting.wait, 4)

    assert [0, 1, 2, 3] == sorted(compute(pool, graph, keys))
    assert 16 == nested_sum(lambda graph, keys: compute(pool, graph, keys), 1, 16)


def test_a_run_is_refused_when_the_queue_is_full(make_pool, gate, compute):
    """With on_full="raise"; nothing runs, and later runs do."""
    pool, calls = make_pool(1, max_queued=1, on_full="raise"), Calls()
    gate.hold(pool)
    queued = pool.submit(int)
    with pytest.raises(QueueFullError) as caught:
        compute(pool, calls.tasks("ab"), ["a", "b"])
    assert isinstance(caught.value, Full)
    gate.open()
    queued.result(WAIT)

    assert [] == calls.names
    assert ["a", "b"] == list(compute(pool, calls.tasks("ab"), ["a", "b"]))


def test_a_run_waits_for_room_in_a_full_queue(make_pool, gate, elsewhere, compute):
    """With on_full="block"."""
    pool = make_pool(1, max_queued=1)
    gate.hold(pool)
    queued = pool.submit(int)
    graph, keys = named(own_name, 3)
    run = elsewhere.submit(compute, pool, graph, keys)
    assert not run.done()
    gate.open()

    assert 3 == len(run.result(WAIT))
    assert 0 == queued.result(WAIT)


# ---- The end


@pytest.mark.parametrize("end", ["shutdown", "shutdown of a view", "initializer"])
def test_an_executor_at_its_end_runs_nothing(make_pool, compute, end, caplog):
    """The error is that of `submit`."""
    calls = Calls()
    if end == "initializer":
        pool, error = make_pool(1, initializer=divmod, initargs=(1, 0)), BrokenPoolError
        with pytest.raises(BrokenPoolError):
            pool.submit(int).result(WAIT)
        assert caplog.records
    else:
        pool, error = make_pool(1), PoolClosedError
        assert 3 == pool(GRAPH, "y")
        (pool if end == "shutdown" else pool.with_options(priority=2)).shutdown()
    with pytest.raises(error):
        compute(pool, calls.tasks("ab"), ["a", "b"])
    assert [] == calls.names
    for thread in list(pool._threads):
        join(thread)


@pytest.mark.parametrize("compute", [WAYS["call"], WAYS["scheduler="]], ids=["call", "scheduler="])
def test_an_executor_that_breaks_at_a_run_ends_it(make_pool, compute, caplog):
    """Its first thread was started for the run."""
    calls = Calls()
    with pytest.raises(BrokenPoolError):
        compute(make_pool(1, initializer=divmod, initargs=(1, 0)), calls.tasks("ab"), ["a", "b"])
    assert [] == calls.names
    assert caplog.records


def test_a_run_that_had_not_begun_is_ended_by_a_shutdown_that_cancels(make_pool, gate, elsewhere, compute):
    """Its caller does not wait for the workers."""
    pool, calls = make_pool(1), Calls()
    gate.hold(pool)
    run = elsewhere.submit(compute, pool, calls.tasks("ab"), ["a", "b"])
    wait_until_queued(pool, 1)
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(PoolClosedError):
        run.result(WAIT)
    assert [] == calls.names


def test_a_shutdown_waits_for_the_tasks_of_a_run(make_pool, gate, elsewhere):
    """Those that have begun; a chain of them is in the hands of one worker, which goes on to its end."""
    pool, calls = make_pool(1), Calls()
    graph = {"a": Task("a", gate.enter), "b": calls.task("b", "a"), "c": calls.task("c", "b")}
    run = elsewhere.submit(pool, graph, "c")
    gate.wait_until_inside()
    pool.shutdown(wait=False)
    ending = threading.Thread(target=pool.shutdown)
    ending.start()
    assert ending.is_alive()
    gate.open()

    join(ending)
    assert "c" == run.result(WAIT)
    assert ["b", "c"] == calls.names


# ---- References


@pytest.mark.usefixtures("without_gc")
@pytest.mark.parametrize("where", ["result", "argument", "exception"])
def test_an_idle_executor_keeps_nothing_of_a_run(make_pool, compute, where):
    """What went into it and came out of it goes with the caller's names for it."""
    pool, token = make_pool(2), Token()
    gone = end_of(token)
    function = {"result": list, "argument": len, "exception": operator.itemgetter(5)}[where]
    graph = {"x": Task("x", function, Task(None, list, (token,)))}
    if where == "exception":
        with pytest.raises(IndexError):
            compute(pool, graph, ["x"])
    else:
        assert ([token] if where == "result" else 1) == compute(pool, graph, ["x"])[0]
    del graph, token
    wait_until_set(gone)


# ---- Dask's own get


def test_dasks_own_get_takes_an_executor_as_any(make_pool):
    """It hands over task by task, to an executor and to a view, by argument and by configuration."""
    pool = make_pool(2, "crew")
    graph = {i: Task(i, own_name, TaskRef(i - 1)) if i else Task(i, own_name) for i in range(10)}
    view = pool.with_options(priority=2)
    names = dask.threaded.get(graph, list(graph), pool=pool) + dask.threaded.get(graph, list(graph), pool=view)
    with dask.config.set(pool=pool):
        names += dask.threaded.get(graph, list(graph))
        names += dask.compute(dask.delayed(own_name)(), scheduler="threads")

    assert 31 == len(names)
    assert {"crew"} == {name.rpartition("_")[0] for name in names}
    pool.shutdown()
    assert 31 == pool.get_stats().completed_tasks


def test_dasks_own_get_raises_the_error_of_a_task(make_pool):
    """And the executor is usable afterwards."""
    pool = make_pool(1)
    with pytest.raises(ZeroDivisionError):
        dask.threaded.get({"x": Task("x", divmod, 1, 0)}, "x", pool=pool)
    assert 3 == dask.threaded.get(GRAPH, "y", pool=pool)


@pytest.mark.parametrize("word", ["retries", "timeout"])
def test_dasks_own_get_takes_any_view(make_pool, word):
    """Its calls are calls: what a view asks for them is honoured."""
    view = make_pool(2).with_options(**{word: 2})

    assert 3 == dask.threaded.get(GRAPH, "y", pool=view)


# ---- Ctrl-C and fork, in programs of their own

PREAMBLE = f"""
    import os, signal, sys, threading, time
    import dask, dask_ferris
    from dask._task_spec import Task, TaskRef
    # Whoever started this program may have told it to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    WAIT = {WAIT}
    executor, release, ran = dask_ferris.Executor(2), threading.Event(), []
    def meet(n):
        meeting = threading.Barrier(n, timeout=WAIT)
        graph = {{i: Task(i, meeting.wait) for i in range(n)}}
        return sorted(executor(graph, list(graph))) == list(range(n))
"""

INTERRUPTED = """
    inside = threading.Barrier(3, timeout=WAIT)
    def task(*_inputs):
        ran.append(threading.current_thread().name)
        if len(ran) <= 2:
            inside.wait()
            release.wait(WAIT)
    def interrupt():
        inside.wait()
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    graph = {str(i): Task(str(i), task) for i in range(20)}
    try:
        CALL
    except KeyboardInterrupt:
        print("interrupted", release.is_set())
    release.set()
    print(meet(2), meet(2), executor.submit(abs, -3).result())
    executor.shutdown()
    print(len(ran))
"""

CALLS = {
    "call": "executor(graph, list(graph))",
    "pool=": "dask_ferris.get(graph, list(graph), pool=executor)",
    "scheduler=": "dask.compute(*[dask.delayed(task)() for _ in range(20)], scheduler=executor)",
    "view": "executor.with_options(priority=2)(graph, list(graph))",
    "callback": "executor(graph, list(graph), callbacks=[])",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ctrl_c_ends_a_run_and_the_executor_goes_on(call):
    """KeyboardInterrupt comes while tasks still run; no other one begins, and then all workers are there again."""
    body = INTERRUPTED.replace("CALL", call)

    assert ["interrupted False", "True True 3", "2"] == output_of(PREAMBLE + body)


def test_ctrl_c_is_seen_while_a_long_call_into_c_goes_on():
    """The calling thread computes nothing, so it is free to see it."""
    body = """
    import ctypes
    usleep, started = ctypes.CDLL(None).usleep, threading.Event()
    def task():
        started.set()
        usleep(500_000)
        ran.append("ended")
    threading.Thread(target=lambda: (started.wait(WAIT), os.kill(os.getpid(), signal.SIGINT))).start()
    try:
        executor({"x": Task("x", task)}, "x")
    except KeyboardInterrupt:
        print("interrupted", ran)
    executor.shutdown()
    print(ran)
    """

    assert ["interrupted []", "['ended']"] == output_of(PREAMBLE + body)


def test_a_forked_child_computes():
    """On the threads that its copy of the executor has there, and the parent goes on."""
    body = """
    view = executor.with_options(priority=2)
    print(meet(2))
    def use():
        return meet(2) and view({"x": Task("x", abs, -3)}, "x") == 3
    print(in_child(use), use())
    """

    assert ["True", "0 True"] == output_of(PREAMBLE + IN_CHILD + body, options=("-W", "ignore::DeprecationWarning"))
