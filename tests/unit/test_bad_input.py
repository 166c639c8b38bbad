"""Bad input: a clear error that names the key, and never a crash."""

from __future__ import annotations

import re

import pytest
from dask._task_spec import Alias, GraphNode, Task, TaskRef
from graphs import inc
from subprocesses import output_of

import dask_ferris
from dask_ferris import CycleError, GraphError, MissingDependencyError, MissingKeyError


@pytest.mark.parametrize("key", [{"a": 1}, {1, 2}, bytearray(b"k"), ("t", ["list"]), slice(1, {})], ids=repr)
@pytest.mark.parametrize(
    "nest", [lambda key: key, lambda key: [key], lambda key: ["x", [[key]]]], ids=["alone", "listed", "nested"]
)
def test_a_key_that_cannot_be_hashed_is_a_type_error(key, nest):
    """No graph can have such a key: the message shows it."""
    with pytest.raises(TypeError, match=re.escape(repr(key))):
        dask_ferris.get({"x": 1}, nest(key))


def test_a_missing_key_is_named():
    """The error is a KeyError, and its message is a sentence."""
    with pytest.raises(MissingKeyError) as caught:
        dask_ferris.get({"x": 1}, ["x", ("y", 0)])
    assert isinstance(caught.value, KeyError)
    assert "('y', 0)" in str(caught.value)


def test_a_missing_dependency_is_named_with_its_task():
    """The error names the key that is missing and the task that needs it."""
    with pytest.raises(MissingDependencyError, match=r"Missing dependency 'lost'.*\('t', 0\)") as caught:
        dask_ferris.get({("t", 0): Task(("t", 0), inc, TaskRef("lost"))}, ("t", 0))
    assert isinstance(caught.value, (GraphError, ValueError))


def test_a_cycle_is_named():
    """The error names the keys of the cycle."""
    graph = {"a": Task("a", inc, TaskRef("b")), "b": Alias("b", ("c", 1)), ("c", 1): (inc, "a"), "in": (inc, "a")}

    with pytest.raises(CycleError, match=r"^Cycle detected") as caught:
        dask_ferris.get(graph, "in")
    assert isinstance(caught.value, RuntimeError)
    assert all(repr(key) in str(caught.value) for key in ["a", "b", ("c", 1)])
    assert "'in'" not in str(caught.value)


class Unreadable(GraphNode):
    """A node that raises when it is asked what it depends on."""

    __slots__ = ()

    @property
    def dependencies(self):
        """Raise."""
        message = "cannot be read"
        raise OSError(message)


class OddDependencies(GraphNode):
    """A node whose dependencies are no keys."""

    __slots__ = ("dependencies",)

    def __init__(self, dependencies):
        """Take anything."""
        self.dependencies = dependencies


def texts(error):
    """Return everything an error says: its message, its notes, and the same of its causes."""
    said = []
    while error is not None:
        said += [str(error), *getattr(error, "__notes__", [])]
        error = error.__cause__
    return "\n".join(said)


def test_a_node_that_raises_while_it_is_read_is_named():
    """The error is a GraphError that names the key, and what was raised is its cause."""
    with pytest.raises(GraphError, match=r"\('bad', 1\)") as caught:
        dask_ferris.get({("bad", 1): Unreadable(), "x": 1}, [("bad", 1)])
    assert "cannot be read" in texts(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_node_that_nobody_needs_may_be_unreadable():
    """What is not needed for the keys is no error, however broken it is."""
    graph = {"bad": Unreadable(), "odd": OddDependencies(5), "x": Task("x", inc, 1)}

    assert 2 == dask_ferris.get(graph, "x")


@pytest.mark.parametrize("dependencies", [5, None, [["unhashable"]], [{}]], ids=repr)
def test_dependencies_that_are_no_keys_name_their_node(dependencies):
    """A node may say anything: what cannot be understood is an error that names it."""
    with pytest.raises(GraphError, match="'bad'"):
        dask_ferris.get({"bad": OddDependencies(dependencies)}, "bad")


class Awkward:
    """A key that raises when it is compared."""

    def __hash__(self):
        """Hash like every other."""
        return 7

    def __eq__(self, _other):
        """Raise."""
        message = "cannot be compared"
        raise ArithmeticError(message)


def test_a_key_that_cannot_be_compared_is_an_error():
    """What a key's comparison raises comes out, and nothing worse happens."""
    key, other = Awkward(), Awkward()

    assert 2 == dask_ferris.get({key: Task(key, inc, 1)}, key)
    with pytest.raises(ArithmeticError, match="cannot be compared"):
        dask_ferris.get({key: Task(key, inc, 1)}, other)
    with pytest.raises((ArithmeticError, GraphError)) as caught:
        dask_ferris.get({key: 1, "x": Task("x", inc, TaskRef(other))}, "x")
    assert "cannot be compared" in texts(caught.value)


CRASHERS = {
    "an alias without fields": ("AttributeError GraphError", "get({'x': Alias.__new__(Alias)}, 'x')"),
    "a task without fields": ("AttributeError GraphError", "get({'x': Task.__new__(Task)}, 'x')"),
    "data without fields": ("AttributeError GraphError", "get({'x': DataNode.__new__(DataNode)}, 'x')"),
    "a container without fields": ("AttributeError GraphError", "get({'x': List.__new__(List)}, 'x')"),
    "a reference without fields": ("AttributeError GraphError", "get({'x': TaskRef.__new__(TaskRef)}, 'x')"),
    "a reference without fields as argument": (
        "AttributeError GraphError",
        "get({'x': with_fields(args=(TaskRef.__new__(TaskRef),))}, 'x')",
    ),
    "an alias without fields as argument": (
        "AttributeError GraphError",
        "get({'x': with_fields(args=(Alias.__new__(Alias),))}, 'x')",
    ),
    "data without fields as argument": (
        "AttributeError GraphError",
        "get({'x': with_fields(args=(DataNode.__new__(DataNode),))}, 'x')",
    ),
    "a task without fields as argument": (
        "AttributeError GraphError",
        "get({'x': with_fields(args=(Task.__new__(Task),))}, 'x')",
    ),
    "a reference without fields as keyword": (
        "AttributeError GraphError",
        "get({'x': with_fields(kwargs={'k': TaskRef.__new__(TaskRef)})}, 'x')",
    ),
    "arguments that are none": ("TypeError GraphError", "get({'x': with_fields(args=None)}, 'x')"),
    "arguments in a list": ("1", "get({'x': with_fields(args=[-1])}, 'x')"),
    "keywords that are no dict": ("TypeError AttributeError GraphError", "get({'x': with_fields(kwargs=5)}, 'x')"),
    "keywords that are no strings": ("TypeError GraphError", "get({'x': with_fields(kwargs={1: 2})}, 'x')"),
    "a function that cannot be called": ("TypeError", "get({'x': with_fields(func=5)}, 'x')"),
    "an inner graph that is no dict": (
        "TypeError AssertionError AttributeError",
        "get({'x': Task('x', _execute_subgraph, 5, 'a', ())}, 'x')",
    ),
    "an inner graph of raw values": (
        "AttributeError TypeError",
        "get({'x': Task('x', _execute_subgraph, {'a': 5}, 'a', ())}, 'x')",
    ),
    "an inner graph without output": (
        "KeyError",
        "get({'x': Task('x', _execute_subgraph, {'a': Task('a', abs, 1)}, 'b', ())}, 'x')",
    ),
    "an inner graph with an output that cannot be hashed": (
        "TypeError GraphError",
        "get({'x': Task('x', _execute_subgraph, {'a': Task('a', abs, 1)}, ['a'], ())}, 'x')",
    ),
    "an inner graph with too few inputs": (
        "RuntimeError KeyError",
        "get({'x': Task('x', _execute_subgraph, {'a': Task('a', abs, TaskRef('b'))}, 'a', ('b',))}, 'x')",
    ),
    "an inner graph with too few arguments": ("TypeError", "get({'x': Task('x', _execute_subgraph)}, 'x')"),
    "an inner graph that contains itself": ("RecursionError", "get({'x': endless()}, 'x')"),
    "keys that contain themselves": ("RecursionError", "keys = ['x']; keys.append(keys); get({'x': 1}, keys)"),
    "keys that are nested very deeply": ("() RecursionError", "get({}, nested(lambda keys: [keys], []))"),
    "tasks that are nested very deeply": (
        "1 RecursionError",
        "get({'x': nested(lambda node: Task(None, abs, node), 1)}, 'x')",
    ),
    "containers that are nested very deeply": (
        "list RecursionError",
        "get({'x': nested(lambda node: List(node, 1), 1)}, 'x')",
    ),
    "legacy tasks that are nested very deeply": (
        "1 RecursionError GraphError",
        "get({'x': nested(lambda node: (abs, node), 1)}, 'x')",
    ),
    "inner graphs that are nested very deeply": (
        "1 RecursionError",
        "get({'x': nested(lambda node: Task('x', _execute_subgraph, {'o': node}, 'o', ()), Task('x', abs, 1))}, 'x')",
    ),
    "keys that a task extends": (
        "tuple KeyError MissingKeyError",
        "keys = ['x']; get({'y': Task('y', keys.append, 'y'), 'x': (bool, 'y')}, keys)",
    ),
    "keys that a task removes": (
        "tuple",
        "keys = ['x', 'x']; get({'y': Task('y', keys.clear), 'x': (bool, 'y')}, keys)",
    ),
    "keys that a task replaces": (
        "tuple KeyError MissingKeyError",
        "keys = ['x']; get({'y': Task('y', keys.__setitem__, 0, ['x', 'q']), 'x': (bool, 'y')}, keys)",
    ),
    "a graph that a task empties": (
        "1",
        "graph = {}; graph |= {'y': Task('y', graph.clear), 'x': (len, ['y'])}; get(graph, 'x')",
    ),
    "a graph that grows while its keys are compared": ("MissingKeyError", "get(growing, Key('grow'))"),
}


@pytest.mark.parametrize(("outcomes", "statement"), CRASHERS.values(), ids=CRASHERS)
def test_nothing_crashes_the_interpreter(outcomes, statement):
    """Nodes that are broken inside, and graphs and keys that change under way, end in an error or a value."""
    program = f"""
        from functools import reduce
        from dask._task_spec import Alias, DataNode, List, Task, TaskRef, _execute_subgraph
        import dask_ferris
        def get(dsk, keys):
            global result
            result = dask_ferris.get(dsk, keys, num_workers=2)
        def with_fields(**fields):
            task = Task("x", abs, -1)
            for name, value in fields.items():
                setattr(task, name, value)
            return task
        def nested(wrap, node):
            return reduce(lambda inner, _: wrap(inner), range(100_000), node)
        def endless():
            inner = {{}}
            inner["a"] = Task("a", _execute_subgraph, inner, "a", ())
            return inner["a"]
        class Key(str):
            def __hash__(self):
                return 5
            def __eq__(self, other):
                growing[len(growing)] = 1
                return str.__eq__(self, other)
        growing = {{}}
        growing[Key("x")] = 1
        result = None
        try:
            {statement}
        except Exception as error:
            result = error
            print(type(error).__name__)
        else:
            print(type(result).__name__ if type(result) in (list, tuple) and result else result)
    """
    (outcome,) = output_of(program)

    assert outcome in outcomes.split()
