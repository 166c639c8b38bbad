"""Stealing: a worker without work takes it from one that has some."""

from __future__ import annotations

import threading

import pytest
from dask._task_spec import Task, TaskRef
from gates import wait_until_set
from graphs import chain, total

import dask_ferris


def n_steals_of(graph, keys, num_workers):
    """Run the graph and return how many steals were counted."""
    before = dask_ferris.statistics().n_steals
    dask_ferris.get(graph, keys, num_workers=num_workers)
    return dask_ferris.statistics().n_steals - before


def unequal_load(n_children):
    """Return a graph whose root makes children ready on one worker, which then is stuck with one of them.

    The first child to start only ends when all others have: they lie in the deque of a worker that is busy, so
    somebody else has to take them from there.
    """
    lock, others_done = threading.Lock(), threading.Event()
    started, n_done = [], [0]

    def child(_root, i):
        with lock:
            started.append(i)
            is_first = len(started) == 1
        if is_first:
            wait_until_set(others_done)
            return i
        with lock:
            n_done[0] += 1
            if n_done[0] == n_children - 1:
                others_done.set()
        return i

    graph = {"root": Task("root", int), **{i: Task(i, child, TaskRef("root"), i) for i in range(n_children)}}
    return {**graph, "sum": Task("sum", total, *map(TaskRef, range(n_children)))}


@pytest.mark.parametrize("num_workers", [2, 4])
def test_unequal_loads_are_stolen(num_workers):
    """Work that one worker has made ready and cannot get to is done by others, and counted as stolen."""
    assert n_steals_of(unequal_load(20), "sum", num_workers) >= 1


def test_the_newest_stays_and_the_oldest_goes():
    """What is stolen are whole branches: the thief goes on with what the stolen task makes ready."""
    graph = unequal_load(4)
    graph |= {("after", i): Task(("after", i), abs, TaskRef(i)) for i in range(4)}

    assert n_steals_of(graph, ["sum", *(("after", i) for i in range(4))], num_workers=2) >= 1


def test_a_lone_worker_steals_nothing():
    """Without others there is nobody to steal from."""
    graph = {"root": Task("root", int), **{i: Task(i, abs, TaskRef("root")) for i in range(100)}}

    assert 0 == n_steals_of(graph, list(range(100)), num_workers=1)


def test_a_chain_is_not_stolen():
    """The only task that is ready stays with its worker."""
    assert 0 == n_steals_of(chain(500), 500, num_workers=4)
