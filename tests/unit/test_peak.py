"""Memory: how many values of a real graph are alive at once, compared with Dask's own order."""

from __future__ import annotations

import statistics
import threading
import time
import weakref

import dask
import dask.array as da
import dask.bag as db
import dask.threaded
import pytest
from dask._task_spec import Task, TaskRef, convert_legacy_graph
from dask.local import get_sync
from graphs import add, inc

import dask_ferris


class Value:
    """A value that can be weakly referenced."""


class Living:
    """Makes values, and counts those that are alive at once."""

    def __init__(self, nap):
        """Start with none; to make one takes `nap` seconds, in which others get their turn."""
        self._nap = nap
        self._lock = threading.RLock()
        self._n_alive = 0
        self.peak = 0

    def make(self, *_inputs):
        """Return a new value."""
        if self._nap:
            time.sleep(self._nap)
        value = Value()
        with self._lock:
            self._n_alive += 1
            self.peak = max(self.peak, self._n_alive)
        weakref.finalize(value, self._died)
        return value

    def _died(self):
        with self._lock:
            self._n_alive -= 1


def shape_of(collection):
    """Return the collection's graph, unfused, as a dict from keys to what they depend on, and its keys."""
    handed = []

    def note(dsk, keys):
        handed.append((convert_legacy_graph(dsk.__dask_graph__()), keys))
        return [None] * len(keys)

    with dask.config.set({"optimization.fuse.active": False}):
        dask.compute(collection, scheduler=note)
    ((graph, keys),) = handed
    # In the order of the graph: that of a frozenset is another in each process.
    place = {key: i for i, key in enumerate(graph)}
    return {key: sorted(node.dependencies, key=place.__getitem__) for key, node in graph.items()}, keys


def peak_of(get, shape, keys, num_workers):
    """Run a graph of this shape and return the largest number of values that were alive."""
    living = Living(nap=0.0003 if num_workers > 1 else 0)
    graph = {key: Task(key, living.make, *map(TaskRef, needed)) for key, needed in shape.items()}
    get(graph, keys, num_workers=num_workers)
    return living.peak


def square():
    """Return an array of 64 blocks."""
    return da.ones((80, 80), chunks=(10, 10))


def slices():
    """Return an array of thirty slices along its first axis."""
    return da.ones((30, 4, 4), chunks=(1, 4, 4))


def numbers():
    """Return a bag of fifty partitions."""
    return db.range(200, npartitions=50)


FAMILIES = {
    "sum": (square, lambda x: x.sum()),
    "add the transpose": (square, lambda x: (x + x.T).sum()),
    "matmul": (square, lambda x: (x @ x).sum()),
    "standardise": (square, lambda x: ((x - x.mean(axis=0)) / x.std(axis=0)).sum()),
    "cumsum": (square, lambda x: x.cumsum(axis=0).sum()),
    "overlap": (square, lambda x: da.overlap.overlap(x, depth=1, boundary="none").sum()),
    "rechunk": (square, lambda x: x.rechunk((20, 4))),
    "rechunk and sum": (square, lambda x: x.rechunk((4, 25)).sum()),
    "svd": (square, lambda x: da.linalg.svd(x.rechunk((10, 80)))[1]),
    "foldby": (numbers, lambda b: b.foldby(lambda x: x % 5, add, 0)),
    "matmul of two": (square, lambda x: x @ (x + 1)),
    "vorticity": (slices, lambda x: ((x - x**2) ** 2).mean(axis=0) + (x * x**2).mean(axis=0)),
    "chains": (numbers, lambda b: b.map(inc).map(inc).map(inc).sum()),
}


@pytest.mark.parametrize(("source", "function"), FAMILIES.values(), ids=FAMILIES)
def test_no_more_values_are_alive_than_with_dasks_order(source, function):
    """On one worker, whose order is always the same, the peak is at most a tenth above Dask's, or three values.

    Dask's own peak is another in each process, by up to three values in these small graphs: it goes through sets.
    """
    shape, keys = shape_of(function(source()))
    dasks = peak_of(get_sync, shape, keys, num_workers=1)

    assert peak_of(dask_ferris.get, shape, keys, num_workers=1) <= max(1.1 * dasks, dasks + 3)


@pytest.mark.parametrize("num_workers", [2, 4])
@pytest.mark.parametrize(("source", "function"), FAMILIES.values(), ids=FAMILIES)
def test_no_more_values_are_alive_than_with_dasks_threads(source, function, num_workers):
    """On several workers the peak varies from run to run; the middle one of three is at most a tenth above Dask's.

    On a machine that does other things as well a worker may keep a value for long: so there are three attempts.
    """
    shape, keys = shape_of(function(source()))

    def middle_of(get):
        return statistics.median(peak_of(get, shape, keys, num_workers) for _ in range(3))

    def is_alike():
        dasks, ours = map(middle_of, (dask.threaded.get, dask_ferris.get))
        # Each worker has one value in hand, and when it lets go is chance.
        return ours <= max(1.1 * dasks, dasks + 1 + num_workers)

    assert any(is_alike() for _ in range(3))
