"""Graphs above the size from which the compiler looks references up ahead, a block at a time."""

from __future__ import annotations

import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef, convert_legacy_graph
from graphs import add, echo, inc, same, total

from dask_ferris import MissingDependencyError, get

N_TASKS = 25_000
"""More than `LOOKED_AHEAD` in native/crates/ferris-python/src/compile.rs."""


class Name:
    """A key with a hash and an equality written in Python."""

    def __init__(self, number):
        """Name a number."""
        self.number = number

    def __hash__(self):
        """Return the hash of the number."""
        return hash(self.number)

    def __eq__(self, other):
        """Compare the numbers."""
        return isinstance(other, Name) and self.number == other.number


KEYS = (
    lambda i: i,
    lambda i: f"task-{i}",
    lambda i: ("x", i),
    lambda i: ("x", ("y", i)),
    lambda i: i + 0.5,
    Name,
    lambda i: ("x", Name(i)),
)


def key_of(i):
    """Return a new object for the key of task i: no reference is the key itself."""
    return KEYS[i % len(KEYS)](i)


def reference(i):
    """Return a reference to task i."""
    return TaskRef(key_of(i))


# Each takes the key of task i and refers to tasks before it.
NODES = (
    lambda key, i: Task(key, same, reference(i - 1)),
    lambda key, i: Task(key, add, reference(i - 7), i),
    lambda key, i: Task(key, total, *(reference(i - k) for k in range(1, 6))),
    lambda key, i: Task(key, total, reference(i - 1), Task(None, inc, reference(i - 2))),
    lambda key, i: Task(key, add, x=reference(i - 1), y=reference(i - 1)),
    lambda key, i: Task(key, sum, List(reference(i - 3), reference(i - 9), 1)),
    lambda key, i: Alias(key, key_of(i - 4)),
    # Dask looks for legacy keys among integers, strings and tuples: the first three of `KEYS`.
    lambda _key, i: (sum, [key_of(i - i % 7 + k - 7) for k in range(3)]),
    DataNode,
    lambda key, i: Task(key, total, reference(i - 1), reference(i - 1), i),
    lambda key, _i: Task(key, total, *range(3)),
)


def mixed_graph(n):
    """Return every sort of node under every sort of key, each reference an object of its own."""
    first = {key_of(i): DataNode(key_of(i), i) for i in range(10)}
    return first | {key_of(i): NODES[i % len(NODES)](key_of(i), i) for i in range(10, n)}


def modulo(graph):
    """Return the graph with its functions bounded, so that sums of sums stay small."""
    return {key: Task(key, lambda v: v % 1009, node) if isinstance(node, Task) else node for key, node in graph.items()}


def test_every_sort_of_node_and_key():
    """All values of a large mixed graph are those of calling node after node."""
    graph = modulo(mixed_graph(N_TASKS))
    values = {}
    for key, node in convert_legacy_graph(graph).items():
        values[key] = node({needed: values[needed] for needed in node.dependencies})

    assert tuple(values.values()) == get(graph, list(graph))


@pytest.mark.parametrize("as_key", KEYS, ids=range(len(KEYS)))
def test_a_missing_dependency_is_named(as_key):
    """The key of a dependency that is not there is in the message, however it is looked up."""
    graph = {i: Task(i, echo) for i in range(N_TASKS)}
    graph["lost"] = Task("lost", same, TaskRef(as_key(-3)))

    with pytest.raises(MissingDependencyError, match="of task 'lost'"):
        get(graph, "lost")


def test_equal_keys_of_different_types_are_one():
    """As in a dict, 1, 1.0 and True name the same task."""
    graph = {i: Task(i, same, i) for i in range(N_TASKS)}
    graph["sum"] = Task("sum", total, TaskRef(1), TaskRef(1.0), TaskRef(True))

    assert get(graph, "sum") == 3


def test_an_error_in_the_comparison_of_keys_is_raised():
    """Whatever a key raises when it is compared reaches the caller."""

    class Odd(Name):
        __hash__ = Name.__hash__

        def __eq__(self, other):
            """Fail, unless it is the same object."""
            if self is other:
                return True
            raise ZeroDivisionError

    graph = {i: Task(i, echo) for i in range(N_TASKS)}
    graph[Odd(-2)] = Task(Odd(-2), echo)
    graph["task"] = Task("task", same, TaskRef(Odd(-2)))

    with pytest.raises(Exception, match="task") as caught:
        get(graph, "task")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
