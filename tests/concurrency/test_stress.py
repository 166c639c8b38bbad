"""Stress: many runs of random shapes at once, on few and on many workers."""

from __future__ import annotations

import contextlib
import gc
import threading

import pytest
from dask._task_spec import Task, TaskRef
from gates import barrier, join, wait_until_set
from graphs import Calls

import dask_ferris

N_CALLERS = 6
# Without it the values of long random graphs grow to thousands of digits.
MODULUS = 2**61 - 1


def random_graph(rng, calls, n_tasks):
    """Return a graph of tasks that add up what up to three of the twenty tasks before them gave."""

    def task(name, *inputs):
        calls.record(name)
        return (1 + sum(inputs)) % MODULUS

    graph, values = {}, {}
    for i in range(n_tasks):
        inputs = rng.sample(range(max(0, i - 20), i), min(i, rng.randint(0, 3)))
        graph[i] = Task(i, task, i, *map(TaskRef, inputs))
        values[i] = (1 + sum(values[j] for j in inputs)) % MODULUS
    return graph, values


def test_random_graphs_at_once(rng, n_rounds):
    """Callers on several threads, each with random graphs and numbers of workers, get right results."""
    for _ in range(n_rounds):
        meeting, wrong = barrier(N_CALLERS), []

        def caller(seed, meeting=meeting, wrong=wrong):
            random, calls = type(rng)(seed), Calls()
            meeting.wait()
            for _ in range(20):
                graph, values = random_graph(random, calls, random.randint(1, 150))
                num_workers = random.randint(1, 6)
                result = dask_ferris.get(graph, list(graph), num_workers=num_workers)
                if tuple(values.values()) != result or sorted(graph) != sorted(calls.names):
                    wrong.append((seed, num_workers, graph, result))
                calls.names.clear()

        run_callers(caller, [rng.random() for _ in range(N_CALLERS)])
        assert [] == wrong


@pytest.mark.parametrize("num_workers", [2, 5])
def test_a_large_random_graph(rng, num_workers):
    """Fifty thousand tasks on several workers: each once, and the right values."""
    calls = Calls()
    graph, values = random_graph(rng, calls, 50_000)

    assert tuple(values.values()) == dask_ferris.get(graph, list(graph), num_workers=num_workers)
    assert 50_000 == len(calls.names) == len(set(calls.names))


def test_random_failures_at_once(rng, n_rounds):
    """Runs that fail beside runs that do not, with values that are counted: none is left behind."""

    class Value(int):
        alive = 0

        def __new__(cls, value):
            with lock:
                cls.alive += 1
            return super().__new__(cls, value)

        def __del__(self):
            with lock:
                Value.alive -= 1

    # Re-entrant: a value may die while its own thread counts another one.
    lock = threading.RLock()

    def task(fails, *inputs):
        if fails:
            raise LookupError(fails)
        return Value(1 + sum(inputs))

    def caller(seed):
        random = type(rng)(seed)
        for _ in range(20):
            n_tasks = random.randint(1, 80)
            graph = {
                i: Task(i, task, random.random() < 0.02, *map(TaskRef, random.sample(range(i), min(i, 2))))
                for i in range(n_tasks)
            }
            with contextlib.suppress(LookupError):
                assert n_tasks == len(dask_ferris.get(graph, list(graph), num_workers=random.randint(1, 5)))

    for _ in range(n_rounds):
        run_callers(caller, [rng.random() for _ in range(N_CALLERS)])
    wait_until_idle()
    gc.collect()
    assert 0 == Value.alive


def test_short_runs_in_quick_succession(n_rounds):
    """Runs that are over before a helper comes, one after the other: nobody is woken for a run that is gone."""
    graph = {i: Task(i, abs, -i) for i in range(10)}

    for _ in range(400 * n_rounds):
        assert tuple(range(10)) == dask_ferris.get(graph, list(graph), num_workers=3)


def test_nested_runs_at_once(rng, n_rounds):
    """Runs within runs of several callers, of random width and depth."""

    def nested(seed, depth):
        random = type(rng)(seed)
        if depth == 0:
            return 1
        width = random.randint(1, 4)
        graph = {i: Task(i, nested, random.random(), depth - 1) for i in range(width)}
        return sum(dask_ferris.get(graph, list(graph), num_workers=random.randint(1, 4)))

    for _ in range(n_rounds):
        results = run_callers(lambda seed: nested(seed, 4), [rng.random() for _ in range(N_CALLERS)])
        assert all(isinstance(result, int) and result >= 1 for result in results)


def run_callers(caller, arguments):
    """Call `caller` with each of the arguments on a thread of its own, and return the results."""
    results = {}

    def target(place, argument):
        results[place] = caller(argument)

    threads = [threading.Thread(target=target, args=item) for item in enumerate(arguments)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    assert len(arguments) == len(results), "a caller failed: see its traceback above"
    return [results[place] for place in range(len(arguments))]


def wait_until_idle():
    """Wait until the pool's threads have let go of the runs before: each of them takes part in a new one."""
    n_workers = dask_ferris.statistics().n_workers + 1
    all_here = threading.Event()
    here = []

    def task():
        here.append(threading.get_ident())
        if len(set(here)) == n_workers:
            all_here.set()
        wait_until_set(all_here)

    graph = {i: Task(i, task) for i in range(n_workers)}
    dask_ferris.get(graph, list(graph), num_workers=n_workers)
