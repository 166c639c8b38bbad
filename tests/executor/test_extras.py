"""What our executor has beyond the standard pool: batches, chunks, statistics, priorities and schedulers."""

from __future__ import annotations

import concurrent.futures as cf
import dataclasses
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.system
import psutil
import pytest
from gates import WAIT, barrier, wait_until_set

import dask_ferris

# Names of schedulers and what they are made with.
SCHEDULERS = {
    "WorkStealingScheduler": (),
    "RoundRobinScheduler": (),
    "PriorityScheduler": (),
    "AdaptiveScheduler": (1, 4),
}


@pytest.fixture(params=SCHEDULERS)
def scheduler(request):
    """Return one scheduler of each kind."""
    return getattr(dask_ferris, request.param)(*SCHEDULERS[request.param])


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


class Boom(Exception):
    """The exception of these tests."""


def fail(error=Boom):
    """Raise."""
    raise error


def echo(*args, **kwargs):
    """Return the arguments as they came."""
    return args, kwargs


# ---- Names and the small questions


def test_both_import_paths_give_the_same_objects():
    """The package itself, and its module for executors."""
    from dask_ferris import executor  # noqa: PLC0415  the import is what is tested

    names = ["AdaptiveScheduler", "Executor", "Future", "PriorityScheduler", "Retry", "RoundRobinScheduler"]
    for name in [*names, "TaskPriority", "WorkStealingScheduler", "recommended_workers"]:
        assert getattr(dask_ferris, name) is getattr(executor, name)


def test_it_says_how_many_workers_it_has_and_whether_it_is_active(make_pool):
    """The number that was asked for; active until it is shut down, whatever becomes of others."""
    first, second = make_pool(3), make_pool(3)

    assert (3, True) == (first.get_worker_count(), first.is_active())
    first.shutdown()
    assert (False, True) == (first.is_active(), second.is_active())
    assert 0 == second.submit(int).result()


def test_more_workers_than_processors_are_at_work_at_once(make_pool):
    """Twice as many, for tasks that wait."""
    n_workers = 2 * (os.cpu_count() or 1)
    pool, meeting = make_pool(n_workers), barrier(n_workers)

    places = [pool.submit(meeting.wait) for _ in range(n_workers)]
    assert list(range(n_workers)) == sorted(place.result() for place in places)


@pytest.mark.parametrize(
    ("kinds", "factor"),
    [(["cpu_bound", "cpu"], 1), (["io_bound", "io"], 2), (["mixed"], 1.5)],
    ids=["cpu", "io", "mixed"],
)
def test_recommended_workers(make_pool, kinds, factor):
    """A number for each kind of work, in both spellings, that an executor takes."""
    expected = int(factor * dask.system.CPU_COUNT)

    assert [expected] * len(kinds) == [dask_ferris.recommended_workers(kind) for kind in kinds]
    assert expected == make_pool(expected).get_worker_count()


# ---- map: list-like results, chunks


def test_the_results_of_map_behave_like_a_list(pool):
    """Length, items, slices, comparison and text wait for all, and take nothing from the iterator."""
    results = pool.map(abs, [-1, -2, -3])

    assert 3 == len(results)
    assert (1, 3) == (results[0], results[-1])
    assert [2, 3] == results[1:]
    assert results == [1, 2, 3]
    assert results != [1, 2]
    assert results == pool.map(abs, [1, 2, 3])
    assert "[1, 2, 3]" == str(results) == repr(results) == f"{results}"
    assert 1 == next(results)
    assert [2, 3] == list(results)


def test_the_results_of_map_wait_for_all_when_asked_for_their_text(pool, gate, elsewhere):
    """Printing shows values, never a promise of them."""
    results = pool.map(gate.enter, "ab")
    text = elsewhere.submit(str, results)

    gate.wait_until_inside(2)
    gate.open()
    assert "['a', 'b']" == text.result(WAIT)


def test_an_item_beyond_the_results_is_an_index_error(pool):
    """As in a list."""
    with pytest.raises(IndexError):
        pool.map(abs, [-1])[1]


def items_done_beside_the_first(pool, gate, n_items, n_expected, **options):
    """Return which items of a map are done when, with the first one held, so many of them are.

    The pool has two workers: those that are not done then are in one unit with the first.
    """
    done, enough = [], threading.Event()

    def task(i):
        if i == 0:
            gate.enter()
        done.append(i)
        if len(done) == n_expected:
            enough.set()
        return i

    results = pool.map(task, range(n_items), **options)
    gate.wait_until_inside()
    wait_until_set(enough)
    found = sorted(done)
    gate.open()
    assert list(range(n_items)) == list(results)
    return found


def test_the_chunk_size_is_one_at_first(pool, gate):
    """All items but the one that is held can be done."""
    assert 1 == pool.get_chunk_size()
    assert list(range(1, 30)) == items_done_beside_the_first(pool, gate, 30, 29)


def test_the_chunk_size_is_the_number_of_items_in_a_unit(pool, gate):
    """It counts for the maps after it was set: nine items wait for the first of their ten."""
    pool.set_chunk_size(10)

    assert 10 == pool.get_chunk_size()
    assert list(range(10, 30)) == items_done_beside_the_first(pool, gate, 30, 20)


def test_a_chunksize_of_the_call_wins(pool, gate):
    """Over the one that was set."""
    pool.set_chunk_size(10)

    assert list(range(5, 30)) == items_done_beside_the_first(pool, gate, 30, 25, chunksize=5)
    assert 10 == pool.get_chunk_size()


@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
def test_the_chunk_size_is_no_threshold(make_pool, chunk_size):
    """Two units are on two workers at once, however few items there are."""
    pool, meeting = make_pool(2), barrier(2)
    pool.set_chunk_size(chunk_size)

    def task(i):
        return meeting.wait() if i % chunk_size == 0 else i

    results = list(pool.map(task, range(2 * chunk_size)))
    assert [0, 1] == sorted([results[0], results[chunk_size]])


def test_the_chunk_size_holds_for_batches(pool):
    """The second of two tasks in one unit waits for the first; the third is in another one."""
    pool.set_chunk_size(2)
    third, order = threading.Event(), []

    def first():
        wait_until_set(third)
        order.append("first")

    def last():
        order.append("third")
        third.set()

    pool.submit_batch([first, lambda: order.append("second"), last])
    assert ["third", "first", "second"] == order


# ---- submit_batch


def test_a_batch_gives_results_in_the_order_of_its_items(make_pool):
    """Whatever the order in which they finish, and in parallel."""
    pool, meeting = make_pool(3), barrier(3)

    results = pool.submit_batch([(meeting.wait, ()), (meeting.wait, ()), (meeting.wait, ()), (pow, (2, 3))])
    assert [0, 1, 2] == sorted(results[:3])
    assert 8 == results[3]
    assert isinstance(results, list)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ((pow, (2, 3)), 8),
        ((pow, [2, 3]), 8),
        ((max, range(4)), 3),
        ((dict, None), {}),
        ((dict, ()), {}),
        (dict, {}),
        ((int, ("ff",), {"base": 16}), 255),
        ((echo, None, {"x": 1}), ((), {"x": 1})),
        ((echo, (1,), {"priority": 2, "timeout": 0}), ((1,), {"priority": 2, "timeout": 0})),
    ],
    ids=["tuple", "list", "range", "none", "no-args", "callable", "keywords", "only-keywords", "words-of-ours"],
)
def test_forms_of_an_item_of_a_batch(pool, item, expected):
    """A function alone, with a sequence of arguments, and with keywords."""
    assert [expected] == pool.submit_batch([item])


@pytest.mark.parametrize("items", [[], (), iter([])], ids=["list", "tuple", "iterator"])
def test_an_empty_batch_has_no_results(pool, items):
    """No error."""
    assert [] == pool.submit_batch(items)


def test_a_batch_may_be_any_iterable(pool):
    """A generator of items."""
    assert [0, 1, 2] == pool.submit_batch((abs, (-i,)) for i in range(3))


def test_a_failing_batch_raises_the_error_of_the_first_item(pool):
    """First in the list, not in time, and after all the others have run."""
    second_failed, ran = threading.Event(), []

    def first():
        wait_until_set(second_failed)
        fail(LookupError)

    def second():
        second_failed.set()
        fail(ZeroDivisionError)

    with pytest.raises(LookupError):
        pool.submit_batch([first, second, *[(ran.append, (i,)) for i in range(20)]])
    assert list(range(20)) == sorted(ran)


def test_a_batch_can_return_its_errors(pool):
    """Each in its place."""
    error = Boom()

    assert [1, error, 2] == pool.submit_batch([(abs, (-1,)), (fail, (error,)), (abs, (-2,))], return_exceptions=True)


# ---- wait and as_completed of the executor


def test_wait_returns_those_that_are_done(make_pool, make_gate):
    """A list in the order of the input, which knows both halves; no error when the time is over."""
    pool, gates = make_pool(4), [make_gate(), make_gate()]
    futures = [pool.submit(gates[0].enter), pool.submit(int), pool.submit(gates[1].enter), pool.submit(fail)]
    futures[1].exception()
    futures[3].exception()

    early = pool.wait(futures, timeout=0.01)
    assert isinstance(early, list)
    assert [futures[1], futures[3]] == early
    assert 2 == len(early)
    assert {futures[1], futures[3]} == set(early.done)
    assert {futures[0], futures[2]} == set(early.not_done)
    for gate in gates:
        gate.open()
    late = pool.wait(futures)
    assert futures == late
    assert (set(futures), set()) == (set(late.done), set(late.not_done))


def test_wait_takes_any_futures(pool):
    """None at all, an iterator, those of another pool, and cancelled ones."""
    with ThreadPoolExecutor(1) as other:
        cancelled = cf.Future()
        cancelled.cancel()
        cancelled.set_running_or_notify_cancel()
        futures = [pool.submit(int), other.submit(int), cancelled]

        assert [] == pool.wait([])
        assert futures == pool.wait(iter(futures))
        assert set(futures) == set(pool.as_completed(futures))


def test_as_completed_gives_them_as_they_finish(make_pool, make_gate):
    """Duplicates once; a TimeoutError when the time is over."""
    pool, gates = make_pool(2), [make_gate(), make_gate()]
    futures = [pool.submit(gate.enter, i) for i, gate in enumerate(gates)]

    gates[1].open()
    finished = pool.as_completed([*futures, *futures])
    assert 1 == next(finished).result()
    with pytest.raises(TimeoutError):
        list(pool.as_completed(futures, timeout=0.01))
    gates[0].open()
    assert [0] == [future.result() for future in finished]


# ---- Statistics


def test_statistics_count_what_has_happened(make_pool, gate):
    """Completed are those that succeeded; failed and cancelled have numbers of their own."""
    pool = make_pool(1)
    pool.submit_batch([int, int, int])
    pool.submit(fail).exception()
    held = gate.hold(pool)
    pool.submit(int).cancel()
    gate.open()
    held[0].result()
    pool.shutdown()

    figures = pool.get_stats()
    assert (4, 1, 1) == (figures.completed_tasks, figures.failed_tasks, figures.cancelled_tasks)
    assert (0, 0) == (figures.queued_tasks, figures.active_threads)


def test_statistics_count_the_failures_of_maps_and_batches(pool):
    """A task that failed is a failed one, whichever method has submitted it and whoever caught its error."""
    pool.submit_batch([int, fail], return_exceptions=True)
    assert (1, 1) == (pool.get_stats().completed_tasks, pool.get_stats().failed_tasks)
    results = pool.map(int, ["1", "two"])
    assert 1 == next(results)
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert (2, 2) == (pool.get_stats().completed_tasks, pool.get_stats().failed_tasks)


def test_statistics_are_live(pool, gate):
    """Two workers are busy and three tasks wait."""
    gate.hold(pool, 2)
    waiting = [pool.submit(int) for _ in range(3)]

    figures = pool.get_stats()
    assert (2, 3) == (figures.active_threads, figures.queued_tasks)
    assert (0, 0, 0) == (figures.completed_tasks, figures.failed_tasks, figures.cancelled_tasks)
    waiting[1].cancel()
    figures = pool.get_stats()
    assert (2, 2, 1) == (figures.active_threads, figures.queued_tasks, figures.cancelled_tasks)


def test_a_result_that_is_out_is_counted(pool):
    """Whoever has seen the result of a task sees it in the statistics, too."""
    for i in range(1, 1000):
        pool.submit(int).result()
        assert i == pool.get_stats().completed_tasks


def test_statistics_add_up_at_any_moment(make_pool, elsewhere, rng):
    """Tasks that were submitted are waiting, at work, or over: no snapshot counts one twice or not at all."""
    pool, submitting = make_pool(3), threading.Event()
    words = [rng.choice(["1", "no number"]) for _ in range(3000)]

    def look():
        sums = []
        while not submitting.is_set():
            figures = pool.get_stats()._asdict()
            parts = ["queued_tasks", "active_threads", "completed_tasks", "failed_tasks", "cancelled_tasks"]
            sums.append(sum(figures[part] for part in parts))
        return sums

    looker = elsewhere.submit(look)
    futures = [pool.submit(int, word) for word in words]
    n_cancelled = sum(future.cancel() for future in futures)
    cf.wait(futures)
    submitting.set()
    sums = looker.result(WAIT)
    assert sorted(sums) == sums
    assert max(sums, default=0) <= 3000
    figures = pool.get_stats()
    n_failed = sum(not future.cancelled() and future.exception() is not None for future in futures)
    assert (n_cancelled, n_failed) == (figures.cancelled_tasks, figures.failed_tasks)
    assert 3000 - n_cancelled - n_failed == figures.completed_tasks


def test_statistics_are_a_frozen_snapshot(pool):
    """Named numbers that do not change, and that can be had as a dictionary."""
    figures = pool.get_stats()
    pool.submit(int).result()

    assert 0 == figures.completed_tasks
    assert dataclasses.asdict(figures) == figures._asdict()
    names = ["active_threads", "queued_tasks", "completed_tasks", "failed_tasks", "cancelled_tasks", "n_steals"]
    assert [int] * 8 == [type(figures._asdict()[name]) for name in [*names, "n_spare", "n_abandoned"]]
    assert "0.00" == f"{figures.total_execution_time:.2f}"
    with pytest.raises(dataclasses.FrozenInstanceError):
        figures.completed_tasks = 1


def test_the_time_of_the_tasks_is_added_up(pool):
    """More tasks, more time; waiting tasks cost none of it."""
    totals = []
    for _ in range(3):
        pool.submit(sum, range(100_000)).result()
        totals.append(pool.get_stats().total_execution_time)

    assert isinstance(totals[0], float)
    assert 0 < totals[0] < totals[1] < totals[2]


def test_the_use_of_the_processor(pool):
    """A percentage since the last question, above zero after work."""
    pool.get_cpu_usage()
    begin = time.process_time()
    while time.process_time() < begin + 0.1:
        pass

    used = pool.get_cpu_usage()
    assert isinstance(used, float)
    assert 0 < used <= 100 * (os.cpu_count() or 1) * 1.2
    assert 0 <= pool.get_cpu_usage() < math.inf


def test_the_memory_of_the_process(pool):
    """The resident bytes, as psutil sees them."""
    used = pool.get_memory_usage()

    assert isinstance(used, int)
    assert psutil.Process().memory_info().rss == pytest.approx(used, rel=0.2)


def test_statistics_of_a_pool_that_is_shut_down(make_pool):
    """They can still be asked for."""
    pool = make_pool(2)
    pool.submit(int).result()
    pool.shutdown()

    assert 1 == pool.get_stats().completed_tasks
    assert pool.get_memory_usage() > 0
    assert pool.get_cpu_usage() >= 0


# ---- Priorities


def test_priorities_are_ordered_numbers():
    """Four levels, two names for the highest."""
    levels = dask_ferris.TaskPriority

    assert levels.LOW < levels.NORMAL < levels.HIGH < levels.URGENT
    assert [0, 1, 2, 3] == [int(level) for level in levels]
    assert levels.CRITICAL is levels.URGENT
    assert "high" == {levels.HIGH: "high"}[levels(2)]


def order_of_starts(pool, gate, submits):
    """Return the order in which tasks start that were all submitted while the only worker was held.

    Args:
        pool: A pool of one worker.
        gate: A closed gate.
        submits: Pairs of a name, and a function that takes the pool and a task and submits it.
    """
    gate.hold(pool)
    order = []
    futures = [submit(pool, lambda name=name: order.append(name)) for name, submit in submits]
    gate.open()
    cf.wait(futures)
    return order


def plain(pool, task):
    """Submit without a word."""
    return pool.submit(task)


def at(level):
    """Return a function that submits with the level as keyword, by its name."""
    return lambda pool, task: pool.submit(task, priority=dask_ferris.TaskPriority[level])


def through_view(priority):
    """Return a function that submits through a view with this priority."""
    return lambda pool, task: pool.with_options(priority=priority).submit(task)


def test_higher_priorities_start_first(make_pool, gate):
    """And within a level whoever came first; without a word the level is NORMAL."""
    submits = [("low", at("LOW")), ("normal", at("NORMAL")), ("high", at("HIGH")), ("plain", plain)]
    submits += [("urgent", at("URGENT")), ("high too", at("HIGH")), ("low too", at("LOW"))]

    expected = ["urgent", "high", "high too", "normal", "plain", "low", "low too"]
    assert expected == order_of_starts(make_pool(1), gate, submits)


def test_any_number_is_a_priority(make_pool, gate):
    """Of either sign, whole or not, beside the names."""
    priorities = [0, -5, 2.5, 10**12, 1, 3, -0.5, 1.5]
    submits = [(priority, through_view(priority)) for priority in priorities]
    submits += [("HIGH", at("HIGH")), ("plain", plain)]

    expected = [10**12, 3, 2.5, "HIGH", 1.5, 1, "plain", 0, -0.5, -5]
    assert expected == order_of_starts(make_pool(1), gate, submits)


def test_random_priorities(make_pool, gate, rng):
    """Higher first, and in each level first come, first served."""
    priorities = [rng.choice([0, 1, 2, 3, 7, -1, 0.5]) for _ in range(500)]
    submits = [((priority, i), through_view(priority)) for i, priority in enumerate(priorities)]

    expected = sorted((name for name, _ in submits), key=lambda name: (-name[0], name[1]))
    assert expected == order_of_starts(make_pool(1), gate, submits)


def test_a_priority_does_not_stop_what_runs(make_pool, gate):
    """The running task goes on; the urgent one is the next."""
    pool = make_pool(1)
    (running,) = gate.hold(pool)
    urgent = pool.submit(int, priority=dask_ferris.TaskPriority.URGENT)

    assert (True, False) == (running.running(), urgent.running())
    gate.open()
    assert (None, 0) == (running.result(), urgent.result())


def test_map_carries_the_priority_of_its_view(make_pool, gate):
    """All its items go before what came earlier."""
    pool, order = make_pool(1), []
    gate.hold(pool)

    plain_results = pool.map(order.append, "ab")
    results = pool.with_options(priority=dask_ferris.TaskPriority.HIGH).map(order.append, "cd")
    gate.open()
    assert [None] * 4 == [*plain_results, *results]
    assert ["c", "d", "a", "b"] == order


def takes_priority(x, priority):
    """Return both."""
    return x, priority


class Prioritised:
    """A callable, and a method, with a parameter named priority."""

    def __call__(self, *, priority=None):
        """Return it."""
        return priority

    def method(self, priority):
        """Return it."""
        return priority


def test_a_task_priority_is_ours_unless_the_function_has_that_parameter(pool):
    """Decided by the signature: a parameter of that name gets it, `**kwargs` does not."""
    high = dask_ferris.TaskPriority.HIGH

    assert {} == pool.submit(dict, priority=high).result()
    assert 0 == pool.submit(int, priority=high).result()
    assert ((), {}) == pool.submit(echo, priority=high).result()
    assert (1, high) == pool.submit(takes_priority, 1, priority=high).result()
    assert high is pool.submit(Prioritised(), priority=high).result()
    assert high is pool.submit(Prioritised().method, priority=high).result()


@pytest.mark.parametrize("value", [2, 2.5, True, None, "HIGH"])
def test_any_other_priority_goes_to_the_function(pool, value):
    """Numbers as well: only a TaskPriority can be meant for us."""
    assert ((), {"priority": value}) == pool.submit(echo, priority=value).result()
    with pytest.raises(TypeError, match="priority"):
        pool.submit(int, priority=value).result()


def test_a_view_is_an_executor_and_keeps_no_word_from_the_function(pool):
    """Its words are its own; keywords of submit are the function's."""
    view = pool.with_options(priority=2, name="view")

    assert isinstance(view, ThreadPoolExecutor)
    words = {"retries": 1, "timeout": 5, "name": "x", "resources": None}
    assert ((1,), words) == view.submit(echo, 1, **words).result()


# ---- Ageing


@pytest.mark.parametrize(
    ("seconds", "strict", "expected"),
    [
        (0.01, False, ["old and low", "young and high"]),
        (0, False, ["young and high", "old and low"]),
        (0.01, True, ["young and high", "old and low"]),
    ],
    ids=["ageing", "no-ageing", "strict"],
)
def test_a_task_rises_with_its_age(make_pool, gate, seconds, strict, expected):
    """A level for each so many seconds, unless that is turned off or the order is strict."""
    with dask.config.set({"ferris.priority-aging": seconds}):
        pool, order = make_pool(1, scheduler=dask_ferris.PriorityScheduler() if strict else None), []
        gate.hold(pool)
        old = pool.submit(order.append, "old and low", priority=dask_ferris.TaskPriority.LOW)
        time.sleep(0.1)  # the age itself: ten levels, of which two are needed; longer is as good
        young = pool.submit(order.append, "young and high", priority=dask_ferris.TaskPriority.HIGH)
        gate.open()
        cf.wait([old, young])
    assert expected == order


STREAMS = {
    "beside tasks with resources": ({"resources": {"gpu": 1}}, {"gpu": 1}, {}),
    "among tasks with resources": ({}, {}, {"gpu": 1}),
    "beside tasks that tasks submit": ({"scheduler": dask_ferris.WorkStealingScheduler()}, {}, {}),
    "with resources beside a task that needs others": ({}, {"gpu": 1}, {"lamp": 1}),
}


@pytest.mark.parametrize(("options", "of_stream", "of_low"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("priority", [0, 1], ids=["low", "normal"])
def test_nothing_waits_for_ever(make_pool, options, of_stream, of_low, priority):
    """A stream of tasks that submit each other gives way to one that has waited, wherever it waits."""
    with dask.config.set({"ferris.priority-aging": 0.01}):
        pool = make_pool(1, **{"resources": {"gpu": 1, "lamp": 1}, **options})
    stream, stop = pool.with_options(resources=of_stream), threading.Event()

    def go_on():
        if not stop.is_set():
            stream.submit(go_on)

    stream.submit(go_on)
    low = pool.with_options(priority=priority, resources=of_low).submit(int)
    try:
        assert low.result(WAIT) == 0
    finally:
        stop.set()


# ---- Schedulers


def test_each_scheduler_runs_everything(make_pool, scheduler, rng):
    """Once, with the right results, by submit, map and batch."""
    pool, ran = make_pool(scheduler=scheduler), []
    numbers = [rng.randrange(1000) for _ in range(300)]

    def task(x):
        ran.append(x)
        return -x

    expected = [-x for x in numbers]
    assert expected == [future.result() for future in [pool.submit(task, x) for x in numbers]]
    assert expected == list(pool.map(task, numbers))
    assert expected == pool.submit_batch([(task, (x,)) for x in numbers])
    assert sorted(3 * numbers) == sorted(ran)


def test_one_scheduler_serves_several_pools(make_pool, gate, scheduler):
    """It is a policy, and holds nothing: the one that is busy or shut down is nothing to the other."""
    first, second, third = (make_pool(scheduler=scheduler) for _ in range(3))
    first.shutdown()
    gate.hold(second)

    assert [0] * 20 == [future.result() for future in [third.submit(int) for _ in range(20)]]
    assert 3 == third.submit(abs, -3).result()


def test_idle_workers_steal_from_one_that_is_held(make_pool, make_gate):
    """While both are held tasks are spread over both; the one that is let out does them all."""
    pool = make_pool(2, scheduler=dask_ferris.WorkStealingScheduler())
    gates = [make_gate(), make_gate()]
    held = [gate.hold(pool)[0] for gate in gates]

    futures = [pool.submit(abs, -i) for i in range(40)]
    gates[0].open()
    assert list(range(40)) == [future.result() for future in futures]
    assert held[1].running()
    assert pool.get_stats().n_steals > 0


def test_idle_workers_steal_what_a_task_has_submitted(make_pool):
    """Sixty mixed tasks on four workers, submitted by a task that then waits for them in its place."""
    pool = make_pool(4, scheduler=dask_ferris.WorkStealingScheduler())
    ran, all_ran = [], threading.Event()

    def task(i):
        ran.append((i, threading.current_thread()))
        if len(ran) == 60:
            all_ran.set()

    def submit_and_stay():
        for i in range(60):
            pool.submit(task, i)
        wait_until_set(all_ran)
        return threading.current_thread()

    owner = pool.submit(submit_and_stay).result()
    assert list(range(60)) == sorted(i for i, _ in ran)
    assert owner not in {thread for _, thread in ran}
    assert pool.get_stats().n_steals > 0


def test_stealing_keeps_the_priorities(make_pool, gate):
    """Each queue has its levels."""
    pool = make_pool(1, scheduler=dask_ferris.WorkStealingScheduler())

    submits = [("low", at("LOW")), ("plain", plain), ("high", at("HIGH"))]
    assert ["high", "plain", "low"] == order_of_starts(pool, gate, submits)


def test_round_robin_is_one_queue(make_pool, gate):
    """First come, first served, also for tasks that say they are normal."""
    pool = make_pool(1, scheduler=dask_ferris.RoundRobinScheduler())

    submits = [(0, plain), (1, at("NORMAL")), (2, through_view(1)), (3, plain), (4, at("NORMAL")), (5, plain)]
    assert [0, 1, 2, 3, 4, 5] == order_of_starts(pool, gate, submits)


@pytest.mark.parametrize("submit", [at("HIGH"), at("LOW"), through_view(2), through_view(0)])
def test_round_robin_refuses_priorities(make_pool, submit):
    """An error at the call, for it could not be kept; nothing runs."""
    pool, ran = make_pool(1, scheduler=dask_ferris.RoundRobinScheduler()), []

    with pytest.raises(dask_ferris.PolicyError, match="priority"):
        submit(pool, lambda: ran.append(1))
    assert [2] == list(pool.map(abs, [-2]))
    pool.shutdown()
    assert [] == ran


def test_round_robin_hands_a_priority_to_the_function_that_has_one(make_pool):
    """It is not the pool's then, and so not refused."""
    pool, high = make_pool(1, scheduler=dask_ferris.RoundRobinScheduler()), dask_ferris.TaskPriority.HIGH

    assert (1, high) == pool.submit(takes_priority, 1, priority=high).result()


def test_the_priority_scheduler_is_strict(make_pool, gate, rng):
    """Higher first, and in each level first come, first served."""
    pool = make_pool(1, scheduler=dask_ferris.PriorityScheduler())
    priorities = [rng.choice([0, 1, 2, 3, -4.5]) for _ in range(200)]
    submits = [((priority, i), through_view(priority)) for i, priority in enumerate(priorities)]

    expected = sorted((name for name, _ in submits), key=lambda name: (-name[0], name[1]))
    assert expected == order_of_starts(pool, gate, submits)


def test_the_adaptive_scheduler_stays_between_its_numbers(make_pool, gate):
    """As many workers as the load needs come, never fewer than the least, and not one more than the most."""
    pool = make_pool(scheduler=dask_ferris.AdaptiveScheduler(2, 4))
    counts = [pool.get_worker_count()]

    gate.hold(pool, 4)
    waiting = [pool.submit(pool.get_worker_count) for _ in range(3)]
    figures = pool.get_stats()
    assert (4, 3) == (figures.active_threads, figures.queued_tasks)
    counts.append(pool.get_worker_count())
    assert 4 == counts[-1]
    gate.open()
    counts += [future.result() for future in waiting]
    counts.append(pool.get_worker_count())
    assert {2, 3, 4} >= set(counts)


def test_the_adaptive_scheduler_grows_again(make_pool, n_rounds):
    """Four workers meet, time after time, whatever became of them between."""
    pool = make_pool(scheduler=dask_ferris.AdaptiveScheduler(1, 4))

    for _ in range(4 * n_rounds):
        meeting = barrier(4)
        places = [pool.submit(meeting.wait) for _ in range(4)]
        assert [0, 1, 2, 3] == sorted(place.result() for place in places)
        assert [1] == list(pool.map(abs, [-1]))


def test_an_adaptive_scheduler_with_one_number_is_a_fixed_width(make_pool, gate):
    """The least may be the most."""
    pool = make_pool(scheduler=dask_ferris.AdaptiveScheduler(2, 2))
    gate.hold(pool, 2)
    waiting = pool.submit(int)

    assert 2 == pool.get_worker_count()
    assert not waiting.running()
    gate.open()
    assert 0 == waiting.result()


# ---- Memory gate, computations


def test_above_the_memory_limit_one_task_at_a_time_is_admitted(make_pool):
    """A limit that is always exceeded slows down and stops nothing."""
    pool, at_work, seen = make_pool(4, memory_limit=1), [], []

    def task(i):
        at_work.append(i)
        time.sleep(0.001)  # another one that is let in meanwhile is seen
        seen.append(len(at_work))
        at_work.remove(i)
        return i

    futures = [pool.submit(task, i) for i in range(20)]
    assert list(range(20)) == [future.result() for future in futures]
    assert [1] * 20 == seen


def test_below_the_memory_limit_all_workers_work(make_pool):
    """A limit far away is nothing."""
    pool, meeting = make_pool(3, memory_limit="1000 GB"), barrier(3)

    places = [pool.submit(meeting.wait) for _ in range(3)]
    assert [0, 1, 2] == sorted(place.result() for place in places)


def test_a_computation_is_a_number_or_a_future_of_one(pool):
    """By name: the first blocks and gives a float, the second gives a future."""
    result, future = pool.submit_computation("sum", [1, 2]), pool.computation_future("square_sum", range(1, 101))

    assert (3.0, float) == (result, type(result))
    assert isinstance(future, cf.Future)
    assert 338_350.0 == future.result()
    assert {future} == cf.wait([future]).done
