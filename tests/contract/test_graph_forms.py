"""Graphs: every form in which Dask or a user hands one over."""

from __future__ import annotations

import collections
import re
import types
from collections.abc import Mapping
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pandas as pd
import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph
from differences import differs
from graphs import add, chain, inc, same

ITEMS = {"x": 1, "y": (inc, "x"), "z": Task("z", add, TaskRef("x"), TaskRef("y"))}


class ReadOnly(Mapping):
    """A mapping that is no dict."""

    def __init__(self, items):
        """Hold the items."""
        self._items = dict(items)

    def __getitem__(self, key):
        """Return the node of a key."""
        return self._items[key]

    def __iter__(self):
        """Iterate over the keys."""
        return iter(self._items)

    def __len__(self):
        """Count the keys."""
        return len(self._items)


class Collection:
    """An object that is no mapping and only has `__dask_graph__`."""

    def __dask_graph__(self):
        """Return the graph."""
        return ITEMS


class DictSubclass(dict):
    """A dict that is not exactly one."""


@pytest.mark.parametrize(
    "graph",
    [
        ITEMS,
        DictSubclass(ITEMS),
        collections.OrderedDict(ITEMS),
        collections.ChainMap[Any, Any]({"x": 1}, ITEMS),
        collections.UserDict(ITEMS),
        types.MappingProxyType(ITEMS),
        ReadOnly(ITEMS),
        HighLevelGraph(
            {"first": {"x": 1, "y": (inc, "x")}, "second": {"z": ITEMS["z"]}}, {"first": set(), "second": {"first"}}
        ),
        Collection(),
    ],
    ids=lambda graph: type(graph).__name__,
)
def test_a_graph_may_be_any_mapping_or_have_a_dask_graph(get, graph):
    """Dicts, other mappings, HighLevelGraphs and objects with `__dask_graph__` give the same values."""
    assert (3, (1, 2)) == get(graph, ["z", ["x", "y"]])


def test_a_defaultdict_is_not_made_to_invent_keys(get):
    """Looking for a key that is missing must not call the default factory."""
    graph = collections.defaultdict(int, {"x": Task("x", inc, TaskRef("lost"))})

    with pytest.raises(ValueError, match="Missing dependency"):
        get(graph, "x")
    with pytest.raises(KeyError):
        get(graph, "never")
    assert ["x"] == list(graph)


class Recorder:
    """A scheduler that notes the type of the graph it is handed."""

    def __init__(self, get):
        """Pass on to `get`."""
        self._get = get
        self.types = []

    def __call__(self, dsk, keys, **options):
        """Note the type and compute."""
        self.types.append(type(dsk).__name__)
        return self._get(dsk, keys, **options)


def delayed_collection():
    """Return a Delayed with an attribute access, which Dask still writes as a legacy tuple."""
    return dask.delayed(complex)(dask.delayed(inc)(2), 1).real


def dataframe_collection():
    """Return a DataFrame reduction."""
    dd = pytest.importorskip("dask.dataframe")
    return dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=3).a.sum()


@pytest.mark.parametrize(
    ("expected", "form", "make"),
    [
        (3.0, "_HLGExprSequence", delayed_collection),
        (45, "_HLGExprSequence", lambda: da.arange(10, chunks=3).sum()),
        (45, "_HLGExprSequence", lambda: db.range(10, npartitions=3).sum()),
        (45, "_ExprSequence", dataframe_collection),
    ],
    ids=["delayed", "array", "bag", "dataframe"],
)
def test_the_expression_of_a_collection_is_computed(get, expected, form, make):
    """`compute` hands over an expression, not a dict, and it can be computed more than once."""
    recorder = Recorder(get)
    collection = make()

    assert expected == collection.compute(scheduler=recorder)
    assert expected == collection.compute(scheduler=recorder)
    assert [form, form] == recorder.types


@pytest.mark.parametrize(
    ("expected", "graph"),
    [
        (5, {"k": 5}),
        ("text", {"k": "text"}),
        ([1, [2]], {"k": [1, [2]]}),
        ({"a": 1}, {"k": {"a": 1}}),
        ((1, 2), {"k": (1, 2)}),
        ({1, 2}, {"k": {1, 2}}),
        (None, {"k": None}),
        ((), {"k": ()}),
        (7, {"k": "other", "other": 7}),
        (7, {"k": 3, 3: 7}),
        (7, {"k": 2.5, 2.5: 7}),
        (7, {"k": True, 1: 7}),
        (7, {"k": ("o", 0), ("o", 0): 7}),
        (b"other", {"k": b"other", b"other": 7}),
        ([7, "stranger"], {"k": ["other", "stranger"], "other": 7}),
        ((7, 1), {"k": ("other", 1), "other": 7}),
        ({7, 1}, {"k": {"other", 1}, "other": 7}),
        ({"a": "other"}, {"k": {"a": "other"}, "other": 7}),
        (7, {"k": TaskRef("other"), "other": 7}),
        (7, {"k": Alias("other"), "other": 7}),
        (7, {"k": DataNode("k", 7)}),
        ([7, 8], {"k": List(TaskRef("other"), 8), "other": 7}),
    ],
)
def test_raw_values_are_data_unless_they_are_keys(get, expected, graph):
    """A value that is a key of the graph is a reference; any other value that is no task is itself."""
    result = get(graph, "k")

    assert expected == result
    assert type(expected) is type(result)


def test_a_raw_array_is_data(get):
    """Arrays stand in graphs as they are (persisted collections), and come back as the same object."""
    array = np.arange(6)
    graph = {"a": array, "b": Task("b", np.sum, TaskRef("a")), "c": (np.sum, "a")}

    assert (15, 15) == get(graph, ["b", "c"])
    assert array is get(graph, "a")


def test_a_graph_may_mix_all_kinds_of_nodes(get):
    """Raw values, legacy tasks, tasks, data nodes, containers and aliases refer to each other."""
    graph = {
        "raw": 1,
        "legacy": (add, "raw", (inc, "raw")),
        "task": Task("task", add, TaskRef("legacy"), Task(None, inc, TaskRef("raw"))),
        "data": DataNode("data", 10),
        "list": ["raw", "legacy", ["task"]],
        "container": List(TaskRef("list"), TaskRef("data")),
        "alias": Alias("alias", "container"),
        "name": "alias",
        "last": (same, "name"),
    }

    assert [[1, 3, [5]], 10] == get(graph, "last")


@pytest.mark.parametrize("n_tasks", [1, 10_000])
def test_a_long_chain_needs_no_recursion(get, n_tasks):
    """The depth of a graph is not limited by the interpreter's stack."""
    assert n_tasks == get(chain(n_tasks), n_tasks)


def test_a_chain_of_a_hundred_thousand(plain_get):
    """1e5 tasks in a row are computed."""
    assert 100_000 == plain_get(chain(100_000), 100_000)


def test_a_long_chain_of_aliases_needs_no_recursion(get):
    """Aliases may follow each other without limit."""
    graph = {i: Alias(i, i - 1) for i in range(1, 5001)}

    assert "end" == get({0: "end", **graph}, 5000)


@pytest.mark.parametrize(
    "graph", [{"x": Task("x", inc, TaskRef("lost"))}, {"x": Alias("x", "lost")}, {"x": List(1, TaskRef("lost"))}]
)
@pytest.mark.parametrize("keys", ["x", ["y"]])
def test_a_dependency_that_is_nowhere_is_a_value_error(get, graph, keys):
    """A key that a task needs and the graph has not is named."""
    graph = {**graph, "y": Task("y", same, TaskRef("x"))}

    with pytest.raises(ValueError, match=r"^Missing dependency.*lost"):
        get(graph, keys)


@pytest.mark.parametrize(
    "graph",
    [
        {"a": Task("a", inc, TaskRef("a"))},
        {"a": Task("a", inc, TaskRef("b")), "b": Task("b", inc, TaskRef("a"))},
        {"a": Alias("a", "b"), "b": Alias("b", "a")},
        {"a": (inc, "b"), "b": (inc, "c"), "c": (inc, "a")},
        {"a": ["b"], "b": [["a"]]},
        {"a": Task("a", same, List(TaskRef("b"))), "b": Task("b", same, k=TaskRef("a"))},
        {"a": Task("a", inc, TaskRef("in")), "in": Task("in", add, TaskRef("in"), TaskRef("out")), "out": 1},
    ],
    ids=["self", "two", "aliases", "legacy", "lists", "kwargs", "beside a way out"],
)
def test_a_cycle_is_a_runtime_error(get, graph):
    """A cycle in what is needed is an error, however it is closed, and nothing hangs."""
    with pytest.raises(RuntimeError, match=r"^Cycle detected"):
        get(graph, "a")


def test_a_long_cycle_needs_no_recursion(get):
    """A cycle over many tasks is found."""
    graph = chain(5000)
    graph[0] = Task(0, inc, TaskRef(5000))

    with pytest.raises(RuntimeError, match=r"^Cycle detected"):
        get(graph, 5000)


@pytest.mark.parametrize("node", ["x", Alias("x"), Alias("x", "x"), TaskRef("x")])
def test_a_key_that_stands_for_itself_is_missing(get, node):
    """A self-alias is what is left of a value held elsewhere: there is nothing to compute."""
    with pytest.raises(KeyError, match="x"):
        get({"x": node}, "x")
    with pytest.raises(ValueError, match="Missing dependency"):
        get({"x": node, "y": Task("y", inc, TaskRef("x"))}, "y")


@pytest.mark.parametrize("broken", [Task("b", inc, TaskRef("lost")), Alias("b", "lost"), "b", Alias("b")])
def test_a_missing_dependency_nobody_asked_for_is_no_error(get, broken):
    """A part of the graph that is not needed may be incomplete."""
    assert 2 == get({"b": broken, "x": Task("x", inc, 1)}, "x")


@differs("a cycle nobody asked for is no error")
def test_a_cycle_nobody_asked_for_is_no_error(get):
    """A part of the graph that is not needed may be cyclic."""
    graph = {"a": Task("a", inc, TaskRef("b")), "b": Task("b", inc, TaskRef("a")), "x": Task("x", inc, 1)}

    assert 2 == get(graph, "x")


def test_the_graph_is_not_changed(get):
    """The user's dict and what it holds are the same objects afterwards, in the same order."""
    inner = ["x", (inc, "x")]
    graph = {"x": 1, "list": inner, "legacy": (add, "x", (inc, "x")), "task": Task("task", inc, TaskRef("legacy"))}
    before = list(graph.items())

    assert ([1, 2], 4) == get(graph, ["list", "task"])
    assert [key for key, _ in before] == list(graph)
    assert all(node is graph[key] for key, node in before)
    assert ["x", (inc, "x")] == inner


def test_the_graph_is_not_changed_by_a_failure(get):
    """The same holds when a task raises."""
    graph = {"x": 1, "y": (inc, "x"), "bad": (inc, "y", "too many")}
    before = list(graph.items())

    with pytest.raises(TypeError):
        get(graph, "bad")
    assert before == list(graph.items())


@differs("no graph is a TypeError")
@pytest.mark.parametrize("graph", [5, None, "graph", [("x", 1)], object()], ids=lambda graph: type(graph).__name__)
def test_what_is_no_graph_is_a_type_error(get, graph):
    """An object that is neither a mapping nor has `__dask_graph__` is refused, and shown."""
    with pytest.raises(TypeError, match=re.escape(repr(graph))):
        get(graph, "x")
