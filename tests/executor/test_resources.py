"""Resources: never more in use than there is, nobody passed over for ever, and no thread waits for any."""

from __future__ import annotations

import concurrent.futures as cf
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import dask.config
import pytest
from gates import WAIT, barrier, wait_until_set

import dask_ferris
from dask_ferris import PolicyError, Retry


@pytest.fixture
def pool_class():
    """Return our executor."""
    return dask_ferris.Executor


class Boom(Exception):
    """The exception of these tests."""


class Meter:
    """Counts what is in use, and the most that ever was."""

    def __init__(self):
        """Nothing is in use."""
        self.used, self.most, self._lock = {}, {}, threading.Lock()

    def task(self, amounts, work=None):
        """Be a task that uses the amounts while it works."""
        with self._lock:
            for name, amount in amounts.items():
                self.used[name] = self.used.get(name, 0) + amount
                self.most[name] = max(self.most.get(name, 0), self.used[name])
        try:
            return sum(range(200)) if work is None else work()
        finally:
            with self._lock:
                for name, amount in amounts.items():
                    self.used[name] -= amount


# ---- How much


@pytest.mark.parametrize("scheduler", [None, dask_ferris.WorkStealingScheduler(), dask_ferris.RoundRobinScheduler()])
def test_never_more_in_use_than_there_is(make_pool, rng, n_rounds, scheduler):
    """Random amounts of several resources, whole ones and fractions, on more workers than fit, beside plain tasks."""
    capacity = {"gpu": 2, "memory": 1.0, "licence": 3, "unused": 5}
    for _ in range(n_rounds):
        pool, meter = make_pool(8, resources=capacity, scheduler=scheduler), Meter()
        futures = []
        for _ in range(400):
            names = rng.sample(["gpu", "memory", "licence"], rng.randint(0, 3))
            shares = {"gpu": [0, 1, 2], "memory": [0.1, 0.3, 0.7, 1.0], "licence": [1, 2, 3]}
            amounts = {name: rng.choice(shares[name]) for name in names}
            futures.append(pool.with_options(resources=amounts).submit(meter.task, amounts))
        assert {sum(range(200))} == {future.result(WAIT) for future in futures}
        assert all(most <= capacity[name] * (1 + 1e-9) for name, most in meter.most.items())
        pool.shutdown()


def test_as_much_as_there_is_can_be_used(make_pool):
    """Three thirds are inside at once, and ten tenths."""
    pool = make_pool(10, resources={"third": 1, "tenth": 1})

    for name, n_parts in [("third", 3), ("tenth", 10)]:
        meeting = barrier(n_parts)
        view = pool.with_options(resources={name: 1 / n_parts})
        places = [view.submit(meeting.wait) for _ in range(n_parts)]
        assert list(range(n_parts)) == sorted(place.result(WAIT) for place in places)


def test_nothing_drifts(make_pool):
    """After a hundred thousand tenths a whole one still fits."""
    pool = make_pool(2, resources={"gpu": 1})
    tenth = pool.with_options(resources={"gpu": 0.1})

    cf.wait([tenth.submit(int) for _ in range(100_000)], WAIT)
    assert 0 == pool.with_options(resources={"gpu": 1}).submit(int).result(WAIT)
    meeting = barrier(2)
    assert [0, 1] == sorted(place.result(WAIT) for place in [tenth.submit(meeting.wait) for _ in range(2)])


def test_a_task_that_waits_for_a_resource_takes_no_thread(make_pool, gate):
    """The other worker does what needs none, however many wait."""
    pool = make_pool(2, resources={"gpu": 1})
    gpu = pool.with_options(resources={"gpu": 1})
    held = gate.hold(gpu)
    waiting = [gpu.submit(abs, -i) for i in range(100)]

    assert list(range(50)) == list(pool.map(abs, range(50)))
    assert 100 == pool.get_stats().queued_tasks
    assert not any(future.done() for future in waiting)
    gate.open()
    assert list(range(100)) == [future.result(WAIT) for future in [*waiting]]
    assert held[0].done()


def test_different_resources_are_different(make_pool, make_gate):
    """Who has all of one does not keep others from the other."""
    pool, gate = make_pool(2, resources={"a": 1, "b": 1}), make_gate()
    gate.hold(pool.with_options(resources={"a": 1}))

    assert 0 == pool.with_options(resources={"b": 1}).submit(int).result(WAIT)
    both = pool.with_options(resources={"a": 1, "b": 1}).submit(int)
    assert not both.done()
    gate.open()
    assert 0 == both.result(WAIT)


def test_nothing_of_a_resource_is_no_request(make_pool, gate):
    """A zero waits for nobody."""
    pool = make_pool(2, resources={"gpu": 1})
    gate.hold(pool.with_options(resources={"gpu": 1}))

    assert 0 == pool.with_options(resources={"gpu": 0}).submit(int).result(WAIT)
    assert 0 == pool.with_options(resources={}).submit(int).result(WAIT)


# ---- In which order


def test_the_order_within_a_resource_is_that_of_the_submits(make_pool, gate):
    """First come, first served; plain tasks and those of a resource are in one line."""
    pool, ran = make_pool(1, resources={"gpu": 1}), []
    gate.hold(pool)
    views = [pool, pool.with_options(resources={"gpu": 1}), pool.with_options(resources={"gpu": 0.5})]
    futures = [views[i % 3].submit(ran.append, i) for i in range(30)]

    gate.open()
    cf.wait(futures, WAIT)
    assert list(range(30)) == ran


def test_a_big_request_is_not_passed_over(make_pool, gate):
    """Small ones that come after it wait until it has had its turn, though they would fit."""
    pool, ran = make_pool(4, resources={"gpu": 2}), []
    small, big = (pool.with_options(resources={"gpu": amount}) for amount in [1, 2])
    gate.hold(small)
    first = big.submit(ran.append, "big")
    others = [small.submit(ran.append, i) for i in range(20)]

    assert list(range(20)) == list(pool.map(abs, range(20)))
    assert [] == ran
    gate.open()
    cf.wait([first, *others], WAIT)
    assert "big" == ran[0]
    assert set(range(20)) == set(ran[1:])


def test_a_big_request_among_an_endless_stream_of_small_ones(make_pool):
    """Each small one submits its successor; the big one runs all the same."""
    pool, over = make_pool(4, resources={"gpu": 4}), threading.Event()
    small = pool.with_options(resources={"gpu": 1})

    def stream():
        if not over.is_set():
            small.submit(stream)

    for _ in range(8):
        small.submit(stream)
    pool.with_options(resources={"gpu": 4}).submit(over.set)
    wait_until_set(over)


def test_who_waits_behind_a_request_that_is_cancelled(make_pool, gate):
    """It begins at once if there is enough for it: nobody before it wants any more."""
    pool = make_pool(3, resources={"gpu": 2})
    small, big = (pool.with_options(resources={"gpu": amount}) for amount in [1, 2])
    gate.hold(small)
    first, after = big.submit(int), small.submit(int)

    assert first.cancel()
    assert 0 == after.result(WAIT)
    gate.open()


def test_priorities_among_those_who_wait_for_a_resource(make_pool, gate):
    """Higher goes first, whatever its amount; those without priority keep their order."""
    pool, ran = make_pool(1, resources={"gpu": 2}), []
    gate.hold(pool)
    futures = [
        pool.with_options(resources={"gpu": amount}, priority=priority).submit(ran.append, (priority, amount))
        for priority, amount in [(1, 1), (3, 2), (2, 1), (3, 1), (1, 2), (0, 1)]
    ]

    gate.open()
    cf.wait(futures, WAIT)
    assert [(3, 2), (3, 1), (2, 1), (1, 1), (1, 2), (0, 1)] == ran


# ---- What is asked for


def test_a_name_that_nobody_declared(make_pool):
    """An error at once, that says what there is."""
    pool = make_pool(1, resources={"gpu": 1})

    with pytest.raises(PolicyError, match=r"tpu.*gpu"):
        pool.with_options(resources={"tpu": 1})
    with pytest.raises(PolicyError, match="none"):
        make_pool(1).with_options(resources={"gpu": 1})


def test_more_than_there_ever_is(make_pool):
    """An error at once, not a task that waits for ever."""
    pool = make_pool(1, resources={"gpu": 1, "none": 0})

    for amounts in [{"gpu": 1.01}, {"gpu": 2}, {"none": 0.1}]:
        with pytest.raises(PolicyError, match="never"):
            pool.with_options(resources=amounts)
    assert 0 == pool.with_options(resources={"gpu": 1, "none": 0}).submit(int).result(WAIT)


def test_the_config_says_what_there_is_by_default(make_pool):
    """When the executor is made; what it says itself goes before."""
    with dask.config.set({"ferris.resources": {"gpu": 2}}):
        pool, own = make_pool(4), make_pool(4, resources={"tpu": 1})
    meeting = barrier(2)
    gpu = pool.with_options(resources={"gpu": 1})

    assert [0, 1] == sorted(place.result(WAIT) for place in [gpu.submit(meeting.wait) for _ in range(2)])
    with pytest.raises(PolicyError):
        pool.with_options(resources={"gpu": 3})
    with pytest.raises(PolicyError):
        own.with_options(resources={"gpu": 1})
    with pytest.raises(PolicyError):
        make_pool(1).with_options(resources={"gpu": 1})


def test_resources_of_views(make_pool, gate):
    """The later word is the whole word; None asks for nothing."""
    pool = make_pool(2, resources={"a": 1, "b": 1})
    first = pool.with_options(resources={"a": 1})
    gate.hold(first)

    assert 0 == first.with_options(resources={"b": 1}).submit(int).result(WAIT)
    assert 0 == first.with_options(resources=None).submit(int).result(WAIT)
    kept = first.with_options(priority=5).submit(int)
    assert not kept.done()
    gate.open()
    assert 0 == kept.result(WAIT)


def test_the_capacity_of_an_executor_is_its_own(make_pool):
    """Two executors with a resource of the same name."""
    pools = [make_pool(1, resources={"gpu": 1}) for _ in range(2)]
    meeting = barrier(2)

    places = [pool.with_options(resources={"gpu": 1}).submit(meeting.wait) for pool in pools]
    assert [0, 1] == sorted(place.result(WAIT) for place in places)


# ---- When they come back


def test_a_failure_gives_them_back(make_pool):
    """As a result does; whatever was raised."""
    pool = make_pool(2, resources={"gpu": 1})
    gpu = pool.with_options(resources={"gpu": 1})

    def fail(error):
        raise error

    futures = [gpu.submit(fail, error) for error in [Boom, SystemExit, KeyboardInterrupt, GeneratorExit]]
    assert [Boom, SystemExit, KeyboardInterrupt, GeneratorExit] == [type(f.exception(WAIT)) for f in futures]
    assert 0 == gpu.submit(int).result(WAIT)


def test_they_are_free_between_two_attempts(make_pool):
    """A task that waits for its next attempt holds nothing."""
    pool = make_pool(2, resources={"gpu": 1})
    gpu = pool.with_options(resources={"gpu": 1})
    begun = threading.Event()

    def fail():
        begun.set()
        raise Boom

    waiting = gpu.with_options(retries=Retry(2, backoff=3600, max_delay=3600)).submit(fail)
    wait_until_set(begun)
    assert 0 == gpu.submit(int).result(WAIT)
    assert (1, False) == (waiting.attempts, waiting.done())


def test_attempts_share_them_with_others(make_pool, rng):
    """Tasks that fail some times, and never run beside each other."""
    pool, meter = make_pool(4, resources={"gpu": 1}), Meter()
    gpu = pool.with_options(resources={"gpu": 1}, retries=Retry(4, backoff=0.0005))

    def flaky(counter, n_failures):
        def work():
            if next(counter) < n_failures:
                raise Boom
            return "done"

        return meter.task({"gpu": 1}, work)

    futures = [gpu.submit(flaky, itertools.count(), rng.randint(0, 3)) for _ in range(200)]
    assert {"done"} == {future.result(WAIT) for future in futures}
    assert {"gpu": 1} == meter.most


def test_a_timeout_gives_them_back_when_the_thread_is_free(make_pool):
    """Not before: the task still uses what it has taken."""
    pool, meter = make_pool(2, resources={"gpu": 1}), Meter()
    gpu = pool.with_options(resources={"gpu": 1})
    release = threading.Event()

    late = gpu.with_options(timeout=0.05).submit(meter.task, {"gpu": 1}, lambda: wait_until_set(release))
    after = [gpu.submit(meter.task, {"gpu": 1}) for _ in range(5)]
    assert isinstance(late.exception(WAIT), TimeoutError)
    assert list(range(20)) == list(pool.map(abs, range(20)))
    assert not any(future.done() for future in after)
    release.set()
    cf.wait(after, WAIT)
    assert all(future.done() for future in after)
    assert {"gpu": 1} == meter.most


def test_a_task_that_waits_for_another_keeps_its_own(make_pool):
    """What it lends is its slot, not its resource; the inner one takes what is left."""
    pool, meter = make_pool(1, resources={"gpu": 2}), Meter()
    gpu = pool.with_options(resources={"gpu": 1})

    def outer():
        return meter.task({"gpu": 1}, lambda: gpu.submit(meter.task, {"gpu": 1}).result(WAIT))

    assert sum(range(200)) == gpu.submit(outer).result(WAIT)
    assert {"gpu": 2} == meter.most


def test_cancelled_tasks_had_none(make_pool, gate):
    """Those that waited for a resource and were cancelled, one by one or by shutdown."""
    pool = make_pool(2, resources={"gpu": 1})
    gpu = pool.with_options(resources={"gpu": 1})
    gate.hold(gpu)
    waiting = [gpu.submit(int) for _ in range(10)]

    assert all(future.cancel() for future in waiting[::2])
    gate.open()
    assert [0] * 5 == [future.result(WAIT) for future in waiting[1::2]]
    pool.shutdown(cancel_futures=True)
    assert 5 == pool.get_stats().cancelled_tasks


def test_submitters_on_many_threads(make_pool, rng, elsewhere):
    """Random amounts from eight threads at once, some cancelled: all end, and never too much is used."""
    capacity = {"a": 3, "b": 2}
    pool, meter = make_pool(6, resources=capacity), Meter()

    def caller(seed):
        random = type(rng)(seed)
        futures = []
        for _ in range(150):
            amounts = {name: random.randint(1, capacity[name]) for name in random.sample("ab", random.randint(1, 2))}
            futures.append(pool.with_options(resources=amounts).submit(meter.task, amounts))
            if random.random() < 0.2:
                random.choice(futures).cancel()
        return cf.wait(futures, WAIT).not_done

    assert {frozenset()} == {frozenset(f.result(2 * WAIT)) for f in [elsewhere.submit(caller, i) for i in range(8)]}
    assert all(most <= capacity[name] for name, most in meter.most.items())
    assert isinstance(pool, ThreadPoolExecutor)
