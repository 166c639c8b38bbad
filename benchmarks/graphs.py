"""Graphs of no-op tasks in the shapes that schedulers meet, each of any number of tasks, inputs before users."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import Any

from dask._task_spec import List, Task, TaskRef

Key = Hashable
Graph = dict[Key, Any]
"""Key to `dask._task_spec.GraphNode`."""
Shape = Callable[[int], tuple[Graph, list[Key]]]

CHAIN_LENGTH = 10
"""Tasks in one fused chain: about what Dask's blockwise and linear fusion leave in array and bag programs (guessed)."""


def no_op_0() -> None:
    """Take nothing, do nothing."""


def no_op_1(_a: object) -> None:
    """Take one value, do nothing."""


def no_op_2(_a: object, _b: object) -> None:
    """Take two values, do nothing."""


def no_op_3(_a: object, _b: object, _c: object) -> None:
    """Take three values, do nothing."""


def no_op_keywords(*, _a: object = None, _b: object = None) -> None:
    """Take up to two keywords, do nothing."""


# Of fixed arity: a function of `*args` costs more to call and would flatter every scheduler beside the loop.
NO_OPS = (no_op_0, no_op_1, no_op_2, no_op_3)


def independent(n: int) -> tuple[Graph, list[Key]]:
    """Tasks without inputs, all of them requested."""
    graph = _positional([()] * n)
    return graph, list(graph)


def chain(n: int) -> tuple[Graph, list[Key]]:
    """Each task takes the one before it; the last is requested."""
    return _positional([_previous(i, 1) for i in range(n)]), [("x", n - 1)]


def tree(n: int) -> tuple[Graph, list[Key]]:
    """A binary tree, filled level by level as a heap is; the root is requested."""
    # Node i of a heap has the children 2i+1 and 2i+2; numbered from the other end, inputs come first.
    children = ([2 * i + 1, 2 * i + 2] for i in reversed(range(n)))
    return _positional([tuple(n - 1 - child for child in pair if child < n) for pair in children]), [("x", n - 1)]


def random_dag(n: int) -> tuple[Graph, list[Key]]:
    """Each task takes 0-3 of the 200 before it; every task nobody depends on is requested."""
    generator = random.Random(1)  # noqa: S311 - a reproducible graph, no secret
    inputs = []
    for i in range(n):
        candidates = range(max(0, i - 200), i)
        inputs.append(tuple(generator.sample(candidates, min(generator.randint(0, 3), len(candidates)))))
    used = {source for sources in inputs for source in sources}
    return _positional(inputs), [("x", i) for i in range(n) if i not in used]


def chains(n: int) -> tuple[Graph, list[Key]]:
    """Separate chains of ten tasks, before fusion; the last task of each is requested."""
    inputs = [_previous(i, 1) if i % CHAIN_LENGTH else () for i in range(n)]
    ends = [*range(CHAIN_LENGTH - 1, n - 1, CHAIN_LENGTH), n - 1]
    return _positional(inputs), [("x", end) for end in ends]


def fused(n: int) -> tuple[Graph, list[Key]]:
    """The chains of `chains`, each fused by Dask into one task that executes a subgraph."""
    graph, ends = chains(n)
    nodes = list(graph.values())
    links = (nodes[start : start + CHAIN_LENGTH] for start in range(0, n, CHAIN_LENGTH))
    return {end: Task.fuse(*link) for end, link in zip(ends, links, strict=True)}, ends


def lists(n: int) -> tuple[Graph, list[Key]]:
    """Each task takes one list of the three before it; the last is requested."""
    graph: Graph = {}
    for i in range(n):
        graph["x", i] = Task(("x", i), no_op_1, List(*(TaskRef(("x", j)) for j in _previous(i, 3))))
    return graph, [("x", n - 1)]


def keywords(n: int) -> tuple[Graph, list[Key]]:
    """Each task takes the two before it by keyword; the last is requested."""
    graph: Graph = {}
    for i in range(n):
        given = {name: TaskRef(("x", j)) for name, j in zip(("_a", "_b"), _previous(i, 2), strict=False)}
        graph["x", i] = Task(("x", i), no_op_keywords, **given)  # type: ignore[arg-type]  # of `_data_producer`
    return graph, [("x", n - 1)]


def repeated(n: int, function: Callable[..., object], argument: object) -> tuple[Graph, list[Key]]:
    """The call `function(argument)` as n independent tasks, all of them requested."""
    graph: Graph = {("x", i): Task(("x", i), function, argument) for i in range(n)}
    return graph, list(graph)


def _previous(i: int, count: int) -> tuple[int, ...]:
    """The up to `count` numbers before i."""
    return tuple(range(max(0, i - count), i))


def _positional(inputs: list[tuple[int, ...]]) -> Graph:
    """The graph whose task i takes the results of `inputs[i]` as positional arguments."""
    return {
        ("x", i): Task(("x", i), NO_OPS[len(sources)], *(TaskRef(("x", j)) for j in sources))
        for i, sources in enumerate(inputs)
    }
