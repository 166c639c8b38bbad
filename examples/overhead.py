"""What a scheduler itself costs: time the same graph with all the work taken out of it.

A part of `flights.py`. To measure a scheduler and not the work it runs:

1. `recorded_graph` takes the graph that Dask would hand to a scheduler, after all of Dask's optimisations.
2. `hollow` replaces every function in it by one that does nothing. Keys and dependencies stay.
3. `seconds_per_task` lets a scheduler run the hollow graph, and divides the time by the number of tasks.
"""

from __future__ import annotations

import copy
import statistics
import time
from typing import TYPE_CHECKING, Any

import dask

# Dask's own words for the nodes of a graph. It has no public module for them yet.
from dask._task_spec import NestedContainer, Task, _execute_subgraph, convert_legacy_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Graph = dict[Any, Any]
REPEATS = 5


def recorded_graph(collections: Sequence[Any]) -> tuple[Graph, list[Any]]:
    """Return the optimised graph of some Dask collections and the keys of their results, computing nothing.

    Any function can be a scheduler. The one used here notes what Dask hands over, and answers every key with None.
    """
    calls = []

    def record(dsk: Any, keys: list[Any]) -> list[None]:
        calls.append((dict(dsk.__dask_graph__()), keys))
        return [None] * len(keys)

    dask.compute(*collections, scheduler=record)
    ((graph, keys),) = calls
    # Some nodes are still tuples, Dask's older form of a task: turn them into nodes too.
    return convert_legacy_graph(graph), keys


def number_of_tasks(graph: Graph) -> int:
    """Count the nodes that call a function. The others are ready-made values and second names of nodes."""
    return sum(isinstance(node, Task) for node in graph.values())


def hollow(graph: Graph) -> Graph:
    """Return the same graph with every function replaced by one that does nothing.

    Functions are replaced wherever they hide: in a task, in a task that is an argument of another one, and in the
    graphs within the graph that Dask makes when it fuses several tasks into one. What is Dask's own and not the user's
    work stays, since running it is the scheduler's job: the call that runs such an inner graph, and the making of a
    list, tuple, set or dict from results.

    Args:
        graph: Keys and nodes, as `recorded_graph` returns them. It is left as it is.

    Returns:
        A new graph of the same keys and dependencies.
    """
    inner_graphs: dict[int, Graph] = {}  # by id: Dask lets many tasks share one inner graph, and so must the copy

    def hollow_graph(nodes: Graph) -> Graph:
        return {key: hollow_node(node) for key, node in nodes.items()}

    def hollow_inner_graph(nodes: Graph) -> Graph:
        if id(nodes) not in inner_graphs:
            inner_graphs[id(nodes)] = hollow_graph(nodes)
        return inner_graphs[id(nodes)]

    def hollow_node(node: object) -> object:
        if not isinstance(node, Task):  # a value, a reference or a second name: no function
            return node
        # A copy keeps the key and the dependencies, which are the same as before.
        twin = copy.copy(node)
        if node.func is _execute_subgraph:
            twin.args = (hollow_inner_graph(node.args[0]), *map(hollow_node, node.args[1:]))
            return twin
        twin.args = tuple(map(hollow_node, node.args))
        twin.kwargs = {name: hollow_node(value) for name, value in node.kwargs.items()}
        if not isinstance(node, NestedContainer):
            twin.func = do_nothing
        return twin

    return hollow_graph(graph)


def do_nothing(*_args: object, **_kwargs: object) -> None:
    """Stand in for the function of a task."""


def seconds_per_task(get: Callable[..., Any], graph: Graph, keys: list[Any]) -> float:
    """Return what one task of this graph costs the scheduler `get`: the median of several runs of the hollow graph."""
    empty = hollow(graph)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        get(empty, keys)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / number_of_tasks(graph)
