"""Graphs that several tests build, and the functions in them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from dask._task_spec import DataNode, Task, TaskRef, _execute_subgraph

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping


def inc(x: int) -> int:
    """Return x + 1."""
    return x + 1


def add(x: int, y: int) -> int:
    """Return x + y."""
    return x + y


def total(*values: int) -> int:
    """Return the sum of all arguments."""
    return sum(values)


def echo(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the arguments as they came."""
    return args, kwargs


def same(x: object) -> object:
    """Return x itself."""
    return x


def chain(n_tasks: int) -> dict[Any, Any]:
    """Return a graph 0 -> 1 -> ... -> n_tasks, in which key n has the value n and key 0 is data."""
    graph: dict[Any, Any] = {i: Task(i, inc, TaskRef(i - 1)) for i in range(1, n_tasks + 1)}
    # As a raw value the 0 would be a reference to itself: the graph has the key 0.
    return {0: DataNode(0, 0), **graph}


def independent(function: Callable[[], object], n_tasks: int) -> dict[Any, Any]:
    """Return `n_tasks` tasks that each call `function` and need nothing."""
    return {("task", i): Task(("task", i), function) for i in range(n_tasks)}


def fan_in(n_leaves: int, leaf: Callable[[int], Any] = inc) -> dict[Any, Any]:
    """Return tasks ("leaf", i), each calling `leaf(i)`, and a task "total" that adds them up."""
    leaves: dict[Any, Any] = {("leaf", i): Task(("leaf", i), leaf, i) for i in range(n_leaves)}
    return {**leaves, "total": Task("total", total, *map(TaskRef, leaves))}


def fused(
    key: Hashable,
    inner: Mapping[Any, Any],
    outkey: Hashable,
    inputs: Mapping[Any, Any] | None = None,
) -> Task:
    """Return a task as Dask's fusion makes it: `inner` run for `outkey`.

    Args:
        key: Key of the task.
        inner: The inner graph. One object may be shared by many tasks, as Dask's blockwise fusion does.
        outkey: The inner key whose value is the result.
        inputs: Inner key to argument (a TaskRef, a nested task, or a value), for what comes from outside.
    """
    inputs = dict(inputs or {})
    return Task(key, _execute_subgraph, inner, outkey, tuple(inputs), *inputs.values())


class Calls:
    """Who was called, in the order of the starts. Appending to a list is atomic, so any thread may record."""

    def __init__(self) -> None:
        """Start empty."""
        self.names: list[Hashable] = []
        self.threads: list[threading.Thread] = []

    def record(self, name: Hashable, value: object = None) -> object:
        """Note the call and return `value`."""
        self.names.append(name)
        self.threads.append(threading.current_thread())
        return value

    def task(self, key: Any, *after: Any) -> Task:
        """Return a task that records `key`, and runs after the tasks `after`."""
        return Task(key, self._record_after, key, *map(TaskRef, after))

    def tasks(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """Return a graph of independent tasks that record their keys."""
        return {key: self.task(key) for key in keys}

    def _record_after(self, name: Hashable, *_inputs: object) -> Hashable:
        self.record(name)
        return name


def crowd(peaks: list[int]) -> tuple[dict[Any, Any], list[Any]]:
    """Return 120 tasks in two rows, each of which notes in `peaks` how many run when it begins, and the keys."""
    lock, running = threading.Lock(), set[object]()

    def task(*inputs: object) -> int:
        name = object()
        with lock:
            running.add(name)
            peaks.append(len(running))
        for _ in range(20):
            time.sleep(0)  # gives the GIL away, so that others get their chance to be too many
        with lock:
            running.discard(name)
        return len(inputs)

    graph: dict[Any, Any] = {i: Task(i, task) for i in range(60)}
    graph |= {("two", i): Task(("two", i), task, TaskRef(i), TaskRef((i + 1) % 60)) for i in range(60)}
    return graph, [("two", i) for i in range(60)]
