"""Nodes of `dask._task_spec`: tasks, aliases, data, containers, and classes derived from them."""

from __future__ import annotations

import functools
import inspect
import operator
import types
from typing import Any

import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, Dict, GraphNode, List, Set, Task, TaskRef, Tuple
from graphs import Calls, add, echo, fused, inc, same

BASE = {"x": 1, "y": Task("y", inc, TaskRef("x")), "z": DataNode("z", 10)}
X, Y, Z = TaskRef("x"), TaskRef("y"), TaskRef("z")
MANY: dict[str, Any] = {f"k{i}": X for i in range(40)}


def compute(get, node):
    """Return the value of `node` in a graph that has x = 1, y = 2 and z = 10."""
    return get({**BASE, "node": node}, "node")


@pytest.mark.parametrize(
    ("expected", "node"),
    [
        (((), {}), Task("t", echo)),
        (((1, 2, 1), {}), Task("t", echo, X, Y, X)),
        (((5, 2), {"k": 1, "literal": "x"}), Task("t", echo, 5, Y, k=X, literal="x")),
        (((), {"a": 1, "b": 2, "c": 10}), Task("t", echo, a=X, b=Y, c=Z)),
        ((tuple([1] * 40), {}), Task("t", echo, *[X] * 40)),
        (((), {f"k{i}": 1 for i in range(40)}), Task("t", echo, **MANY)),
        ((([1, 2],), {}), Task("t", echo, List(X, Y))),
        (((3,), {"k": 4}), Task("t", echo, Task(None, add, X, Y), k=Task(None, add, Y, Y))),
        (((1, 10), {"k": 10}), Task("t", echo, Alias("x"), Alias("any", "z"), k=DataNode(None, 10))),
        (((None, True), {"k": None}), Task("t", echo, None, True, k=None)),
        ((("x", ("y", "z")), {}), Task("t", echo, "x", ("y", "z"))),
    ],
)
def test_a_task_gets_its_arguments(get, expected, node):
    """References, nested nodes and literals arrive in their places, by position and by keyword."""
    assert expected == compute(get, node)


def test_references_in_plain_containers_are_left_alone(get):
    """Only arguments and the contents of `List` and its sisters are looked into."""
    reference = TaskRef("x")
    node = Task("t", echo, [reference], {"k": reference}, (reference,), k=[reference])

    assert (([X], {"k": X}, (X,)), {"k": [X]}) == compute(get, node)


@pytest.mark.parametrize(
    ("expected", "node"),
    [
        ([1, 2, "literal"], List(X, Y, "literal")),
        ((1, 2), Tuple(X, Y)),
        ({1, 2}, Set(X, Y, Y)),
        ({"a": 1, "b": 2}, Dict({"a": X, "b": Y})),
        ({"a": 1}, Dict(a=X)),
        ({1: "one", "two": 2}, Dict([(X, "one"), ("two", Y)])),
        ({}, Dict({})),
        ([], List()),
        ((), Tuple()),
        (set(), Set()),
        ([[1, (2, {"k": [10]})], {(1, 2)}], List(List(X, Tuple(Y, Dict({"k": List(Z)}))), Set(Tuple(X, Y)))),
        ([3, [1]], List(Task(None, add, X, Y), List(Alias("x")))),
        ([1], List([X])),
        ([[X], 1], List([X], X)),
    ],
)
def test_a_container_is_built(get, expected, node):
    """Containers hold the values, in order and of the right type; nested ones too."""
    for result in (compute(get, node), compute(get, Task("t", same, node)), compute(get, Task("t", same, x=node))):
        assert expected == result
        assert type(expected) is type(result)


def test_a_container_is_built_anew_for_every_run(get):
    """A run cannot see what the last one's user did to its result."""
    graph = {"list": List(1, Task(None, inc, 1)), "dict": Task("dict", same, Dict({"k": 1})), "x": DataNode("x", 1)}
    first = get(graph, ["list", "dict"])
    first[0].append("mine")
    first[1]["mine"] = True

    assert ([1, 2], {"k": 1}) == get(graph, ["list", "dict"])


def test_nested_tasks_run_once_for_each_place(get):
    """A task among the arguments is part of its place: the same object in two places runs twice."""
    calls = Calls()
    nested = Task(None, calls.record, "nested", 7)
    graph = {"a": Task("a", add, nested, nested), "b": Task("b", same, x=nested)}

    assert (14, 7) == get(graph, ["a", "b"])
    assert ["nested"] * 3 == calls.names


def test_tasks_may_be_nested_in_one_another(get):
    """Tasks as arguments of tasks as arguments, fifty deep."""
    node = functools.reduce(lambda inner, _: Task(None, add, inner, X), range(50), 0)

    assert 50 == compute(get, node)


@pytest.mark.parametrize(
    ("expected", "function", "args"),
    [
        (2, inc, (X,)),
        (2, functools.partial(add, 1), (X,)),
        (3, functools.partial(add, y=2), (X,)),
        (1, abs, (X,)),
        (11, (10).__add__, (X,)),
        (11, int.__add__, (Z, X)),
        ("1", str, (X,)),
        (complex(1, 2), complex, (X, Y)),
        (10, operator.itemgetter(1), (List(X, Z),)),
        (10.0, operator.attrgetter("real"), (DataNode(None, 10.0),)),
        (1, operator.methodcaller("conjugate"), (X,)),
        (20, lambda z, *, factor=2: z * factor, (Z,)),
        (np.int64(3), np.sum, (List(X, Y),)),
        (3, np.add, (X, Y)),
    ],
)
def test_anything_that_can_be_called_is_a_function(get, expected, function, args):
    """Functions, partials, classes, methods, descriptors and callable objects are called."""
    assert expected == compute(get, Task("t", function, *args))


class AllKinds:
    """A callable with a parameter of every kind."""

    def __call__(self, a, /, b, *rest, c, d=4, **others):
        """Return what arrived."""
        return a, b, rest, c, d, others


def test_keywords_meet_all_kinds_of_parameters(get):
    """Positional-only, keyword-only, defaults and collected parameters are bound as in a call."""
    node = Task("t", AllKinds(), X, Y, Z, c=X, key=Y, self=Z)

    assert (1, 2, (10,), 1, 4, {"key": 2, "self": 10}) == compute(get, node)


def test_an_alias_is_the_value_itself(get):
    """Aliases, their chains and data nodes hand on the same object."""
    value = object()
    graph = {
        "data": DataNode("data", value),
        "made": Task("made", same, TaskRef("data")),
        "one": Alias("one", "made"),
        "two": Alias("two", "one"),
        "legacy": "two",
        "used": Task("used", same, TaskRef("two")),
    }

    assert all(value is result for result in get(graph, list(graph)))


def test_an_alias_under_another_key_counts_by_the_graph(get):
    """The key of an alias is the graph's, whatever it calls itself."""
    assert (1, 2) == get(
        {**BASE, "node": Alias("own name", "x"), "after": Task("after", inc, TaskRef("node"))}, ["node", "after"]
    )


class Doubled(Task):
    """A task that does more than its class says."""

    __slots__ = ()

    def __call__(self, values=()):
        """Return twice the value."""
        return 2 * super().__call__(values)


class Shifted(Alias):
    """An alias that is more than one."""

    __slots__ = ()

    def __call__(self, values=()):
        """Return the target's value plus 100."""
        return super().__call__(values) + 100


class Loud(DataNode):
    """Data that is made when it is asked for."""

    __slots__ = ()

    def __call__(self, values=()):
        """Return the value in capitals."""
        return super().__call__(values).upper()


class Backwards(List):
    """A list that is built in its own way."""

    @staticmethod
    def to_container(*args, constructor):
        """Return the values from last to first."""
        return constructor(reversed(args))


class OwnNode(GraphNode):
    """A node with nothing but what GraphNode asks for."""

    __slots__ = ("seen",)

    def __init__(self, key, dependencies):
        """Need the dependencies."""
        self.key = key
        self._dependencies = frozenset(dependencies)

    def __call__(self, values=()):
        """Return what the scheduler handed over."""
        return dict(values)


@pytest.mark.parametrize(
    ("expected", "node"),
    [
        (6, Doubled("node", add, X, Y)),
        (101, Shifted("node", "x")),
        ("LOUD", Loud("node", "loud")),
        ([2, 1], Backwards(X, Y)),
        ({"x": 1, "y": 2}, OwnNode("node", ["x", "y"])),
        ({}, OwnNode("node", [])),
    ],
)
def test_a_derived_class_is_called_its_own_way(get, expected, node):
    """A subclass of a node runs its own `__call__` with the values it depends on and no others."""
    assert expected == compute(get, node)


@pytest.mark.parametrize(
    ("expected", "node"),
    [
        (6, Doubled(None, add, X, Y)),
        (101, Shifted("any", "x")),
        ("LOUD", Loud(None, "loud")),
        ([2, 1], Backwards(X, Y)),
        ({"x": 1, "y": 2}, OwnNode(None, ["x", "y"])),
    ],
)
def test_a_derived_class_is_called_its_own_way_inside_others(get, expected, node):
    """The same as an argument, a keyword, in a container and in a fused subgraph."""
    inputs = {key: TaskRef(key) for key in node.dependencies}
    subgraph = fused("fused", {"inner": node, "out": Task("out", same, TaskRef("inner"))}, "out", inputs)

    assert expected == compute(get, Task("t", same, node))
    assert expected == compute(get, Task("t", same, x=node))
    assert [expected, 1] == compute(get, List(node, X))
    assert expected == compute(get, subgraph)


class OwnReference(TaskRef):
    """A reference of a derived class, as the futures of `distributed` are."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("expected", "node"),
    [
        (2, Task("t", inc, OwnReference("x"))),
        (2, Task("t", inc, x=OwnReference("x"))),
        ([1, 1], List(OwnReference("x"), X)),
        (1, OwnReference("x")),
        (2, (inc, OwnReference("x"))),
        (2, Task("t", inc, Task(None, same, OwnReference("x")))),
        (2, fused("t", {"a": Task("a", inc, OwnReference("in"))}, "a", {"in": OwnReference("x")})),
    ],
)
def test_a_derived_reference_is_a_reference(get, expected, node):
    """A class derived from `TaskRef` refers to its key wherever a reference may stand."""
    assert expected == compute(get, node)


def test_the_mark_of_a_data_producer_is_no_argument(get):
    """`_data_producer` belongs to the task and is not handed to its function."""
    assert ((1,), {"k": 2}) == compute(get, Task("t", echo, X, _data_producer=True, k=Y))


def test_a_function_may_be_a_task_look_alike(get):
    """Only what is a node is taken for one: an object with `key` and `dependencies` is a value."""
    value = types.SimpleNamespace(key="x", dependencies=frozenset({"y"}))

    assert value is compute(get, Task("t", same, value))


class Future:
    """A stand-in for the future of another scheduler."""

    __dask_future__ = True

    def __init__(self, key):
        """Stand for the key."""
        self.key = key


def test_a_future_is_a_reference(get):
    """What says `__dask_future__` is a reference to its key, as a node and in a legacy task."""
    assert (1, 3) == get({**BASE, "node": Future("x"), "legacy": (inc, Future("y"))}, ["node", "legacy"])


async def answer():
    """Return 42, if somebody awaits it."""
    return 42


def test_an_async_function_gives_its_coroutine(get):
    """Nothing is awaited: the result is the coroutine object."""
    coroutine = get({"c": Task("c", answer)}, "c")

    assert inspect.iscoroutine(coroutine)
    coroutine.close()


def test_a_generator_function_gives_its_generator(get):
    """A generator is a value; it is not run, and it may be consumed by the next task."""
    graph = {"g": Task("g", lambda n: (i * i for i in range(n)), 4), "list": Task("list", list, TaskRef("g"))}

    assert inspect.isgenerator(get(graph, "g"))
    assert [0, 1, 4, 9] == get(graph, "list")
