"""Fused subgraphs: tasks that run an inner graph of their own."""

from __future__ import annotations

import pytest
from dask._task_spec import Alias, DataNode, Dict, GraphNode, List, Task, TaskRef
from graphs import Calls, add, echo, fused, inc, same, total


def doubled_after_inc():
    """Return the inner graph (in + 1) * 2, whose middle value is used twice."""
    return {
        "in+1": Task("in+1", inc, TaskRef("in")),
        "out": Task("out", add, TaskRef("in+1"), TaskRef("in+1")),
    }


def test_dask_fuses_as_these_tests_do():
    """The tasks built here have the form that `Task.fuse` gives them."""
    ours = fused("fused", doubled_after_inc(), "out", {"in": TaskRef("in")})
    dasks = GraphNode.fuse(*doubled_after_inc().values(), key="fused")

    assert (dasks.func, dasks.args[1:]) == (ours.func, ours.args[1:])
    assert list(dasks.args[0]) == list(ours.args[0])


def test_a_fused_task_runs_its_inner_graph(get):
    """The result is the value of the inner key that is the output."""
    graph = {"x": 1, "f": GraphNode.fuse(*doubled_after_inc().values(), key="f"), "in": Alias("in", "x")}

    assert 4 == get(graph, "f")


def test_inner_values_used_twice_are_computed_once(get):
    """An inner task runs once in each run of its fused task."""
    calls = Calls()
    inner = {"a": Task("a", calls.record, "a", 3), "out": Task("out", add, TaskRef("a"), TaskRef("a"))}

    assert 6 == get({"f": fused("f", inner, "out")}, "f")
    assert ["a"] == calls.names


def test_fused_tasks_may_share_one_inner_graph(get):
    """As in blockwise fusion, where all blocks share one inner dict and differ in their inputs."""
    inner = doubled_after_inc()
    graph = {("x", i): DataNode(("x", i), i) for i in range(20)}
    graph |= {("f", i): fused(("f", i), inner, "out", {"in": TaskRef(("x", i))}) for i in range(20)}
    graph["sum"] = Task("sum", total, *[TaskRef(("f", i)) for i in range(20)])

    assert sum(2 * (i + 1) for i in range(20)) == get(graph, "sum")


def test_one_inner_graph_may_have_different_outputs_and_inputs(get):
    """Sharing the dict does not mean sharing the output or the names of the inputs."""
    inner = doubled_after_inc()
    graph = {
        "x": 1,
        "middle": fused("middle", inner, "in+1", {"in": TaskRef("x")}),
        "out": fused("out", inner, "out", {"in": TaskRef("middle")}),
        "cut": fused("cut", inner, "out", {"in+1": TaskRef("out")} | {"in": TaskRef("x")}),
    }

    assert (2, 6, 12) == get(graph, ["middle", "out", "cut"])


@pytest.mark.parametrize(
    "value", [5, "x", [TaskRef("x")], Task(None, inc, TaskRef("x")), List(TaskRef("x")), Alias("x")]
)
def test_an_input_may_be_a_value_or_any_node(get, value):
    """What is handed to the inner graph can be a literal, a nested task, a container or an alias."""
    graph = {"x": 1, "f": fused("f", {"out": Task("out", echo, TaskRef("in"))}, "out", {"in": value})}
    expected = get({"x": 1, "plain": Task("plain", echo, value)}, "plain")

    assert expected == get(graph, "f")


def test_inner_keys_hide_outer_keys(get):
    """An inner key is looked up in the inner graph first, and only inputs come from outside."""
    inner = {"x": DataNode("x", 100), "out": Task("out", add, TaskRef("x"), TaskRef("in"))}
    graph = {"x": 1, "in": 1000, "f": fused("f", inner, "out", {"in": TaskRef("x")}), "g": Task("g", inc, TaskRef("x"))}

    assert (101, 2, 1) == get(graph, ["f", "g", "x"])


def test_an_input_replaces_the_inner_task_of_its_key(get):
    """A value from outside takes the place of the inner node, which is not run."""
    calls = Calls()
    inner = {"a": Task("a", calls.record, "a", 1), "out": Task("out", inc, TaskRef("a"))}

    assert 11 == get({"f": fused("f", inner, "out", {"a": 10})}, "f")
    assert [] == calls.names


def test_an_inner_task_nobody_uses_is_run_all_the_same(get):
    """The whole inner graph runs, as Dask's does."""
    calls = Calls()
    inner = {"side": Task("side", calls.record, "side"), "out": Task("out", calls.record, "out", 5)}

    assert 5 == get({"f": fused("f", inner, "out")}, "f")
    assert ["out", "side"] == sorted(calls.names)


def test_the_output_may_be_an_input_or_an_alias_or_data(get):
    """An inner graph need not compute anything."""
    inner = {"alias": Alias("alias", "in"), "data": DataNode("data", "inner data")}
    graph = {"x": 1, **{out: fused(out, inner, out, {"in": TaskRef("x")}) for out in ("in", "alias", "data")}}

    assert (1, 1, "inner data") == get(graph, ["in", "alias", "data"])


def test_fused_tasks_may_be_fused_again(get):
    """A fused task inside a fused task inside a fused task."""
    innermost = doubled_after_inc()
    middle = {
        "twice": fused("twice", innermost, "out", {"in": TaskRef("in")}),
        "out": Task("out", add, TaskRef("twice"), TaskRef("other")),
    }
    outer = {
        "first": fused("first", middle, "out", {"in": TaskRef("in"), "other": DataNode(None, 100)}),
        "out": fused("out", middle, "out", {"in": TaskRef("first"), "other": TaskRef("in")}),
    }
    graph = {"x": 1, "f": fused("f", outer, "out", {"in": TaskRef("x")})}

    assert 2 * (104 + 1) + 1 == get(graph, "f")


def test_inner_tasks_have_keywords_containers_and_nested_tasks(get):
    """Everything a task of the outer graph can have."""
    inner = {
        "k": Task("k", echo, TaskRef("in"), k=TaskRef("in")),
        "c": Task("c", same, List(TaskRef("k"), Dict({"in": TaskRef("in")}))),
        "out": Task("out", echo, Task(None, inc, TaskRef("in")), c=TaskRef("c")),
    }
    graph = {"x": 1, "f": fused("f", inner, "out", {"in": TaskRef("x")})}

    assert ((2,), {"c": [((1,), {"k": 1}), {"in": 1}]}) == get(graph, "f")


def test_a_fused_task_may_be_an_argument(get):
    """Fused tasks nest in arguments, keywords and containers like others."""
    part = fused(None, doubled_after_inc(), "out", {"in": TaskRef("x")})

    assert ((4,), {"k": [4]}) == get({"x": 1, "t": Task("t", echo, part, k=List(part))}, "t")


def test_a_long_inner_graph_is_computed(get):
    """An inner chain of a thousand tasks, as fusion of long chains gives."""
    inner = {i: Task(i, inc, TaskRef(i - 1)) for i in range(1, 1001)}

    assert 1005 == get({"f": fused("f", inner, 1000, {0: 5})}, "f")


def test_inner_graphs_are_not_changed(get):
    """The inner dict is shared between tasks and runs, and stays as it is."""
    inner = doubled_after_inc()
    before = list(inner.items())
    graph = {"f": fused("f", inner, "out", {"in": 1})}

    assert (4, 4) == (get(graph, "f"), get(graph, "f"))
    assert all(name is key and node is now for (name, node), (key, now) in zip(before, inner.items(), strict=True))


@pytest.mark.parametrize(
    ("error", "inner"),
    [
        (RuntimeError, {"out": Task("out", inc, TaskRef("b")), "b": Task("b", inc, TaskRef("out"))}),
        (RuntimeError, {"out": Task("out", inc, TaskRef("lost"))}),
        (KeyError, {"a": Task("a", inc, 1)}),
    ],
    ids=["cycle", "missing dependency", "missing output"],
)
def test_a_broken_inner_graph_fails_where_it_is_needed(get, error, inner):
    """Errors of the inner graph are errors of its task, and of no graph that does not need it."""
    graph = {"f": fused("f", inner, "out"), "x": Task("x", inc, 1)}

    assert 2 == get(graph, "x")
    with pytest.raises(error):
        get(graph, "f")


def test_an_error_of_an_inner_task_is_the_users(get):
    """The exception of an inner task comes out as it is."""
    inner = {"a": Task("a", int, TaskRef("in")), "out": Task("out", inc, TaskRef("a"))}

    with pytest.raises(ValueError, match="no number"):
        get({"f": fused("f", inner, "out", {"in": "no number"})}, "f")
