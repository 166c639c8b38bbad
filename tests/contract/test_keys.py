"""Keys: what may be one, and how the result is shaped after the keys asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dask._task_spec import DataNode, Task, TaskRef
from differences import differs
from graphs import Calls, add, inc

GRAPH = {"x": 1, "y": Task("y", inc, TaskRef("x")), ("z", 0): Task(("z", 0), add, TaskRef("x"), TaskRef("y"))}


@pytest.mark.parametrize(
    ("expected", "keys"),
    [
        (2, "y"),
        (3, ("z", 0)),
        ((2,), ["y"]),
        ((1, 2, 3), ["x", "y", ("z", 0)]),
        ((2, (1, (3,)), 2), ["y", ["x", [("z", 0)]], "y"]),
        ((), []),
        (((), (), ((),)), [[], [], [[]]]),
        (((1,), ()), [["x"], []]),
        ((2, 2, (2, 2)), ["y", "y", ["y", "y"]]),
    ],
)
def test_the_result_has_the_shape_of_the_keys(get, expected, keys):
    """A single key gives the value; lists give tuples, nested and empty ones too; duplicates are allowed."""
    result = get(GRAPH, keys)

    assert expected == result
    assert type(expected) is type(result)


@pytest.mark.parametrize("key", ["s", "", 0, 1, -1, 2.5, b"bytes", (), ("t", 0), ("t", ("u", 1.5)), None, math.nan])
def test_every_kind_of_key_is_computed_and_referred_to(get, key):
    """Strings, numbers, bytes and tuples of them are keys, as a task's own and as a dependency."""
    graph = {key: Task(key, inc, 1), "after": Task("after", inc, TaskRef(key))}

    assert (2, 3) == get(graph, [key, "after"])


def test_a_tuple_is_one_key_and_no_list_of_keys(get):
    """A tuple of existing keys is not taken apart."""
    with pytest.raises(KeyError):
        get({"x": 1, "y": 2}, ("x", "y"))


@pytest.mark.parametrize(
    ("in_graph", "asked"),
    [(1, 1.0), (1, True), (0, False), (("x", 0), ("x", np.int64(0))), ("x", np.str_("x"))],
)
def test_equal_keys_are_the_same_key(get, in_graph, asked):
    """Keys are compared as a dictionary compares them."""
    graph = {in_graph: Task(in_graph, inc, 1), "after": Task("after", inc, TaskRef(asked))}

    assert (2, 3) == get(graph, [asked, "after"])


def test_keys_with_equal_hashes_are_told_apart(get):
    """-1 and -2 hash alike in CPython, and so do numbers that differ by its hash modulus."""
    modulus = 2**61 - 1
    keys = [-1, -2, 5, 5 + modulus, 5 + 2 * modulus]
    graph = {key: Task(key, add, key, 0) for key in keys}

    assert tuple(keys) == get(graph, keys)


def test_the_graph_key_counts_and_not_the_key_of_the_task(get):
    """A task stored under another key than its own is known by the graph's."""
    graph = {
        "stored": Task("own", inc, 1),
        "data": DataNode("other", 10),
        "after": Task("own", add, TaskRef("stored"), TaskRef("data")),
    }

    assert (2, 12) == get(graph, ["stored", "after"])


def test_the_key_of_the_task_is_no_key_of_the_graph(get):
    """Nothing is found under a task's own key when the graph has another."""
    with pytest.raises(KeyError):
        get({"stored": Task("own", inc, 1)}, "own")


def test_a_key_can_be_asked_for_and_needed_by_another(get):
    """An intermediate value is kept when it was asked for."""
    graph = {"a": Task("a", inc, 0), "b": Task("b", inc, TaskRef("a")), "c": Task("c", inc, TaskRef("b"))}

    assert (3, 1, 2) == get(graph, ["c", "a", "b"])


def test_a_task_asked_for_twice_runs_once(get):
    """Duplicates among the keys and the consumers do not repeat the work."""
    calls = Calls()
    graph = {"a": calls.task("a"), "b": calls.task("b", "a", "a")}

    assert ("a", "a", "b", "b") == get(graph, ["a", "a", "b", "b"])
    assert ["a", "b"] == calls.names


def test_many_keys_keep_their_order(get):
    """A result of many keys is in the order of the keys."""
    keys = [("x", i) for i in range(2000)]
    graph = {key: Task(key, inc, key[1]) for key in keys}

    assert tuple(range(2000, 0, -1)) == get(graph, keys[::-1])


@pytest.mark.parametrize("keys", ["nokey", ["x", "nokey"], [["nokey"], "x"], [[], ["x", ["nokey"]]]])
def test_a_key_that_the_graph_has_not_is_a_key_error_that_names_it(get, keys):
    """Asking for a key that is not there is a KeyError, wherever it stands in the list."""
    with pytest.raises(KeyError, match="nokey"):
        get({"x": 1}, keys)


@differs("a KeyError names what is missing before anything runs")
def test_nothing_runs_when_a_key_is_missing(get):
    """The missing key is found before the work for the others is done."""
    calls = Calls()

    with pytest.raises(KeyError, match="nokey"):
        get({"a": calls.task("a")}, ["a", "nokey"])
    assert [] == calls.names


def test_only_what_the_keys_need_is_run(get):
    """Tasks that no requested key depends on are left alone."""
    calls = Calls()
    graph = {"a": calls.task("a"), "b": calls.task("b", "a"), "c": calls.task("c", "b"), "d": calls.task("d")}

    assert "b" == get(graph, "b")
    assert ["a", "b"] == calls.names


def test_no_keys_run_nothing(get):
    """An empty list computes nothing, and a graph may be empty."""
    calls = Calls()

    assert () == get({"a": calls.task("a")}, [])
    assert () == get({}, [])
    assert [] == calls.names
