"""The programs of the two documents that describe the executor, in our words.

Each makes the calls of one block of a page, with the same forms of arguments and in the same order, on small inputs,
and looks at what comes out. Where a block asks for nothing that the standard pool has not, both run it. Where a page
shuts nothing down, neither does the program: an executor that is dropped finishes and goes.

The pages are the guide of PyFerris to its executor, and the tutorial of concurrent.futures. Not here are the blocks for
process pools, and the tables, which are no programs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from concurrent.futures import as_completed, wait
from queue import Queue

import dask.system
import psutil
import pytest
from gates import WAIT, join

import dask_ferris

OURS = pytest.mark.parametrize("pool_class", ["Executor"], indirect=True)


def add_up(n):
    """Return the sum of the numbers below n, the slow way."""
    total = 0
    for i in range(n):
        total += i
    return total


def square(x):
    """Return x * x."""
    return x * x


# ---- PyFerris Executor


@OURS
def test_constructor(pool_class):
    """Without arguments there is a worker for each usable processor, else as many as are asked for."""
    from dask_ferris.executor import Executor  # noqa: PLC0415  the page's import is part of the program

    assert pool_class is Executor is dask_ferris.Executor
    assert dask.system.CPU_COUNT == Executor().get_worker_count()
    assert 8 == Executor(max_workers=8).get_worker_count()


@OURS
def test_submit_and_map(pool_class, capsys):
    """One call, then many; what map gives shows its results when it is printed."""
    crew = pool_class(max_workers=4)

    promise = crew.submit(add_up, 100)
    print("one:", promise.result())
    inputs = list(range(4, 8))
    answers = crew.map(add_up, inputs)
    print("many:", answers)

    assert ["one: 4950", "many: [6, 10, 15, 21]"] == capsys.readouterr().out.splitlines()
    assert [6, 10, 15, 21] == list(answers)


@OURS
def test_compiled_computations(pool_class):
    """The three that the page calls, on one to a hundred, and the fourth that it lists."""
    crew = pool_class()
    inputs = list(range(1, 101))

    assert 37_500_000.0 == crew.submit_computation("heavy_computation", inputs)
    assert 5050.0 == crew.submit_computation("sum", inputs)
    assert 338_350.0 == crew.submit_computation("square_sum", inputs)
    assert 9.332621544394418e157 == pytest.approx(crew.submit_computation("product", inputs), rel=1e-12)


@OURS
def test_tuning(pool_class):
    """The chunk size is what was set, the workers are counted, the executor is active."""
    crew = pool_class(max_workers=4)

    crew.set_chunk_size(10)
    assert 10 == crew.get_chunk_size()
    assert 4 == crew.get_worker_count()
    assert crew.is_active() is True


@OURS
def test_batch(pool_class):
    """A list of pairs of a function and its arguments gives a list of results in that order."""
    crew = pool_class(max_workers=4)

    work = [(square, (i,)) for i in range(100)]
    answers = crew.submit_batch(work)
    assert [0, 1, 4, 9, 16] == answers[:5]
    assert [i * i for i in range(100)] == answers


@OURS
def test_futures_wait_and_as_completed(pool_class):
    """Five tasks, asked whether they are done, waited for within a limit, and taken as they come."""

    def nap(seconds, number):
        time.sleep(seconds)
        return f"{number} slept for {seconds}"

    crew = pool_class()
    promises = []
    for i in range(5):
        promise = crew.submit(nap, (i + 1) / 100, i)
        promises.append(promise)

    assert {True, False} >= {promise.done() for promise in promises}
    done = crew.wait(promises, timeout=WAIT)
    assert 5 == len(done)
    answers = []
    for promise in crew.as_completed(promises):
        try:
            answers.append(promise.result())
        except Exception as error:  # noqa: BLE001  the page's handler
            answers.append(error)
    assert [f"{i} slept for {(i + 1) / 100}" for i in range(5)] == sorted(answers)


@OURS
def test_context_manager(pool_class):
    """A hundred tasks on six workers, taken as they come; after the block the executor is shut down."""
    answers = []

    with pool_class(max_workers=6) as crew:
        promises = [crew.submit(square, i) for i in range(100)]
        for promise in crew.as_completed(promises):
            answers.append(promise.result())  # noqa: PERF401  the page's loop

    assert [i * i for i in range(100)] == sorted(answers)
    assert not crew.is_active()


def test_exception_handling(pool_class):
    """Every seventh of twenty tasks fails: its error comes from its own future, and from nowhere before."""

    def refuse_sevens(x):
        if x % 7 == 0:
            message = f"{x} is seven times something"
            raise ValueError(message)
        return x**2

    crew = pool_class()
    promises = [crew.submit(refuse_sevens, i) for i in range(20)]

    squares, refused, others = {}, [], []
    for i, promise in enumerate(promises):
        try:
            squares[i] = promise.result()
        except ValueError as error:
            refused.append(str(error))
        except Exception as error:  # noqa: BLE001  the page's second handler
            others.append(error)
    assert {i: i * i for i in range(20) if i % 7} == squares
    assert [f"{x} is seven times something" for x in [0, 7, 14]] == refused
    assert [] == others


@OURS
def test_statistics(pool_class, capsys):
    """Five numbers that can be printed as the page prints them, and that add up."""
    crew = pool_class(max_workers=8)
    promises = [crew.submit(add_up, i) for i in range(100)]

    figures = crew.get_stats()
    print(f"threads at work {figures.active_threads}")
    print(f"waiting {figures.queued_tasks}")
    print(f"completed {figures.completed_tasks}")
    print(f"failed {figures.failed_tasks}")
    print(f"time {figures.total_execution_time:.2f}s")
    assert 5 == len(capsys.readouterr().out.splitlines())
    assert 100 == figures.active_threads + figures.queued_tasks + figures.completed_tasks + figures.failed_tasks
    assert list(map(add_up, range(100))) == [promise.result() for promise in promises]


@OURS
def test_monitor(pool_class, capsys):
    """A loop that looks at the executor until all is done comes to its end."""

    def watch():
        crew = pool_class(max_workers=4)
        promises = [crew.submit(add_up, 1000) for _ in range(20)]
        begin = time.time()
        while not all(promise.done() for promise in promises):
            figures = crew.get_stats()
            processor = crew.get_cpu_usage()
            memory = crew.get_memory_usage()
            print(f"{figures.completed_tasks} of {len(promises)}")
            print(f"{processor:.1f} %, {memory / 1024 / 1024:.1f} MB")
            time.sleep(0.001)
        print(f"ended after {time.time() - begin:.2f} s")
        return crew.get_stats()

    assert 20 == watch().completed_tasks
    assert capsys.readouterr().out.splitlines()[-1].startswith("ended after ")


@OURS
def test_priorities(pool_class, gate):
    """Three calls without arguments, of which two have a priority that the function never sees."""
    from dask_ferris import Executor, TaskPriority  # noqa: PLC0415  the page's import is part of the program

    assert pool_class is Executor
    crew, order = Executor(max_workers=4), []
    gate.hold(crew, 4)

    urgent = crew.submit(lambda: order.append("urgent"), priority=TaskPriority.HIGH)
    usual = crew.submit(lambda: order.append("usual"))
    whenever = crew.submit(lambda: order.append("whenever"), priority=TaskPriority.LOW)
    gate.open()
    assert [None] * 3 == [promise.result() for promise in (urgent, usual, whenever)]
    assert ["urgent", "usual", "whenever"] == sorted(order)


@OURS
def test_work_stealing(pool_class):
    """Fifty quick tasks and ten slow ones; the results come in the order of the list."""
    from dask_ferris import Executor, WorkStealingScheduler  # noqa: PLC0415  as above

    def slow_square(x):
        time.sleep(0.002)
        return x * x

    assert pool_class is Executor
    crew = Executor(max_workers=8, scheduler=WorkStealingScheduler())
    mixed = [crew.submit(square, i) for i in range(50)] + [crew.submit(slow_square, i) for i in range(10)]
    assert [i * i for i in [*range(50), *range(10)]] == [promise.result() for promise in mixed]


def test_asyncio(pool_class):
    """A coroutine awaits the sum of squares and shuts the executor down."""

    async def compute():
        crew = pool_class(max_workers=4)
        loop = asyncio.get_event_loop()

        def squares_below(n):
            return sum(i * i for i in range(n))

        answer = await loop.run_in_executor(crew, squares_below, 10_000)
        crew.shutdown()
        return answer

    assert 333_283_335_000 == asyncio.run(compute())


def test_pipeline(pool_class):
    """A thread takes items from a queue and submits two stages for each; the results come in order."""

    def make_pipeline():
        crew = pool_class(max_workers=6)
        entrance, way_out = Queue(), Queue()

        def feed_stages():
            while True:
                item = entrance.get()
                if item is None:
                    break
                doubled = crew.submit(double, item).result()
                way_out.put(crew.submit(increment, doubled))

        feeder = threading.Thread(target=feed_stages)
        feeder.start()
        return entrance, way_out, feeder

    def double(x):
        return x * 2

    def increment(x):
        return x + 1

    entrance, way_out, feeder = make_pipeline()
    for i in range(100):
        entrance.put(i)
    entrance.put(None)
    answers = []
    for _ in range(100):
        promise = way_out.get(timeout=WAIT)
        answers.append(promise.result())
    join(feeder)
    assert [2 * i + 1 for i in range(100)] == answers


@pytest.mark.parametrize("kind", ["cpu_bound", "io_bound", "mixed", "of its own kind"])
def test_worker_count(pool_class, kind):
    """Each number that the recipe gives is one that the executor takes."""

    def workers_for(kind):
        n_processors = os.cpu_count() or 1
        if kind == "cpu_bound":
            return n_processors
        if kind == "io_bound":
            return n_processors * 2
        if kind == "mixed":
            return int(n_processors * 1.5)
        return n_processors

    crew = pool_class(max_workers=workers_for(kind))
    assert workers_for(kind) == crew._max_workers
    assert 0 == crew.submit(int).result()


@pytest.mark.parametrize("limit", [0, 1_000_000], ids=["always above", "always below"])
def test_memory_aware_wrapper(pool_class, limit):
    """A class around the executor that looks at the memory before each submit and hands everything on."""

    class Careful:
        def __init__(self, max_workers=None, limit_gb=8):
            self.limit = limit_gb * 1024 * 1024 * 1024
            self.waits = 0
            self.crew = pool_class(max_workers=max_workers)

        def submit_carefully(self, function, *args, **kwargs):
            if psutil.virtual_memory().used > self.limit:
                self.waits += 1
                time.sleep(0.001)
            return self.crew.submit(function, *args, **kwargs)

    careful = Careful(max_workers=4, limit_gb=limit)
    promises = [careful.submit_carefully(int, "11", base=2 + i) for i in range(5)]
    assert [3, 4, 5, 6, 7] == [promise.result() for promise in promises]
    assert (5 if limit == 0 else 0) == careful.waits


def test_try_and_finally(pool_class):
    """All results are there, and the executor is shut down whatever happens."""
    try:
        crew = pool_class(max_workers=8)
        promises = [crew.submit(square, i) for i in range(100)]
        answers = [promise.result() for promise in promises]
    finally:
        crew.shutdown(wait=True)
    assert [i * i for i in range(100)] == answers
    with pytest.raises(RuntimeError):
        crew.submit(int)


def test_robust_execution(pool_class, gate):
    """Functions with arguments: what succeeds is collected, what fails or takes too long is named."""

    def run_all(crew, work, limit):
        promises, answers, failed = [], [], []
        for function, args in work:
            try:
                promise = crew.submit(function, *args)
                promises.append((promise, function.__name__))
            except Exception:  # noqa: BLE001  the page's handler
                failed.append("not submitted")
        for promise, name in promises:
            try:
                answers.append(promise.result(timeout=WAIT if name != "enter" else limit))
            except TimeoutError:
                failed.append(f"{name} took too long")
            except Exception as error:  # noqa: BLE001  as above
                failed.append(f"{name}: {error}")
        return answers, failed

    work = [(square, (3,)), (gate.enter, ("late",)), (int, ("three",)), (max, (1, 2))]
    answers, failed = run_all(pool_class(max_workers=2), work, 0.01)
    assert [9, 2] == answers
    assert ["enter took too long", "int: invalid literal for int() with base 10: 'three'"] == failed


def test_batches_and_limits(pool_class, gate):
    """Two executors of different width; small tasks in slices of a hundred; a limit that gives None when it is over."""
    n_processors = os.cpu_count() or 1
    crew = pool_class(max_workers=n_processors)
    waiters = pool_class(max_workers=n_processors * 2)

    def in_slices(tasks, size=100):
        def run_slice(these):
            return [task() for task in these]

        slices = [tasks[i : i + size] for i in range(0, len(tasks), size)]
        promises = [crew.submit(run_slice, these) for these in slices]
        answers = []
        for promise in promises:
            answers.extend(promise.result())
        return answers

    def within(crew, function, args, limit=WAIT):
        promise = crew.submit(function, *args)
        try:
            return promise.result(timeout=limit)
        except TimeoutError:
            return None

    assert list(range(250)) == in_slices([lambda i=i: i for i in range(250)])
    assert within(waiters, gate.enter, ("late",), limit=0.01) is None
    assert 16 == within(waiters, square, (4,))


def test_few_workers_and_small_batches(pool_class):
    """Ten tasks at a time on two workers."""
    crew = pool_class(max_workers=2)
    data, size, answers = list(range(35)), 10, []

    for i in range(0, len(data), size):
        part = data[i : i + size]
        promises = [crew.submit(square, item) for item in part]
        answers += [promise.result() for promise in promises]
    assert [i * i for i in data] == answers


@OURS
def test_a_task_that_waits_for_a_task(pool_class):
    """The page warns of the deadlock that the standard pool has here; ours finishes, nested or not."""
    crew = pool_class(max_workers=1)

    def other():
        return "other"

    def nested():
        promise = crew.submit(other)
        return promise.result()

    def in_sequence():
        return other()

    assert "other" == crew.submit(nested).result()
    assert "other" == crew.submit(in_sequence).result()


def test_profile(pool_class):
    """A thousand calls with a clock beside them: the times can be printed, the results are right."""
    crew = pool_class()

    begin = time.time()
    promises = [crew.submit(square, i) for i in range(1000)]
    submitting = time.time() - begin
    answers = [promise.result() for promise in promises]
    whole = time.time() - begin
    print(f"submitted in {submitting:.2f}s, all done in {whole:.2f}s: {submitting / whole:.2%}")
    assert [i * i for i in range(1000)] == answers


@OURS
def test_each_method_in_a_line(pool_class):
    """A call without arguments, a map, a compiled computation, and a batch of different things."""
    crew = pool_class()

    promise = crew.submit(dict)
    assert {} == promise.result()
    answers = crew.map(square, [1, 2, 3])
    assert answers == [1, 4, 9]
    answer = crew.submit_computation("heavy_computation", [1, 2, 3, 4])
    assert 1_500_000.0 == answer
    mixed = [(square, (5,)), (len, ("four",)), (dict, ())]
    answers = crew.submit_batch(mixed)
    assert [25, 4, {}] == answers


# ---- concurrent.futures tutorial


def test_five_naps_on_three_threads_as_printed(pool_class, capsys):
    """The page's task ends in a misspelt name; the program does not notice, for nobody asks for a result."""

    def nap(number):
        print(f"{number} goes to sleep")
        time.sleep(0.005)
        print(f"{number} is awake")
        return numer  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    with pool_class(max_workers=3) as crew:
        promises = []
        for i in range(5):
            promise = crew.submit(nap, i)
            promises.append(promise)
        concurrent.futures.wait(promises)

    assert sorted(f"{i} {what}" for i in range(5) for what in ["goes to sleep", "is awake"]) == sorted(
        capsys.readouterr().out.splitlines()
    )
    assert [NameError] * 5 == [type(promise.exception()) for promise in promises]


def test_five_naps_on_three_threads(pool_class, capsys):
    """The corrected program: all have started and finished when wait returns, and their results are there."""

    def nap(number):
        print(f"{number} goes to sleep")
        time.sleep(0.005)
        print(f"{number} is awake")
        return number

    with pool_class(max_workers=3) as crew:
        promises = []
        for i in range(5):
            promise = crew.submit(nap, i)
            promises.append(promise)
        done, not_done = concurrent.futures.wait(promises)
        assert (5, 0) == (len(done), len(not_done))

    lines = capsys.readouterr().out.splitlines()
    assert sorted(f"{i} {what}" for i in range(5) for what in ["goes to sleep", "is awake"]) == sorted(lines)
    assert [0, 1, 2, 3, 4] == [promise.result() for promise in promises]


def test_results_as_they_complete(pool_class, capsys):
    """What the page shows with processes, its steps announce for threads: results as they come, errors by name."""

    def sum_up_to(n):
        return sum(range(n + 1))

    with pool_class(max_workers=3) as crew:
        promises = []
        for n in [10**4, "many", 10**4 + 1000]:
            promise = crew.submit(sum_up_to, n)
            promises.append(promise)
        for promise in concurrent.futures.as_completed(promises):
            try:
                answer = promise.result()
                print(f"sum {answer}")
            except Exception as error:  # noqa: BLE001  the page's handler
                print(f"failed: {type(error).__name__}")

    assert ["failed: TypeError", "sum 50005000", "sum 60505500"] == sorted(capsys.readouterr().out.splitlines())


def test_a_counter_behind_a_lock_as_printed(pool_class):
    """The page's last line in the block misspells the module: the error comes out after all tasks have run."""
    count, lock = 0, threading.Lock()

    def step():
        nonlocal count
        with lock:
            before = count
            before += 1
            count = before
        return count

    def program():
        with pool_class(max_workers=5) as crew:
            promises = []
            for _ in range(10):
                promise = crew.submit(step)
                promises.append(promise)
            concurent.futures.wait(promises)  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    with pytest.raises(NameError):
        program()
    assert 10 == count


def test_a_counter_behind_a_lock(pool_class, capsys):
    """The corrected program counts to ten."""
    count, lock = 0, threading.Lock()

    def step():
        nonlocal count
        with lock:
            before = count
            before += 1
            count = before
        return count

    with pool_class(max_workers=5) as crew:
        promises = []
        for _ in range(10):
            promise = crew.submit(step)
            promises.append(promise)
        concurrent.futures.wait(promises)

    print("in the end:", count)
    assert "in the end: 10\n" == capsys.readouterr().out


def test_the_standard_functions_by_their_own_names(pool_class):
    """As imported by name, on futures of one executor and of another at once."""
    with pool_class(max_workers=2) as one, concurrent.futures.ThreadPoolExecutor(max_workers=2) as other:
        promises = [crew.submit(square, i) for i in range(5) for crew in (one, other)]
        assert set(promises) == wait(promises).done
        assert set(promises) == set(as_completed(promises))
