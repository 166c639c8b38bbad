"""Legacy tasks: tuples with a callable in front, as graphs were written before `dask._task_spec`."""

from __future__ import annotations

import operator
from typing import NamedTuple

import pytest
from graphs import add, echo, inc, same


class Point(NamedTuple):
    """A named tuple, which Dask takes apart and puts together again."""

    x: object
    y: object


class Scale:
    """A callable object with a method to call."""

    def __init__(self, factor):
        """Hold the factor."""
        self.factor = factor

    def __call__(self, x):
        """Return x times the factor."""
        return x * self.factor

    def method(self, x):
        """Return x times the factor, as a bound method."""
        return x * self.factor


@pytest.mark.parametrize(
    ("expected", "node"),
    [
        (2, (inc, "x")),
        (3, (add, "x", (inc, "x"))),
        (5, (add, (add, (inc, "x"), (inc, (inc, "x"))), -0)),
        (3, (sum, ["x", "y"])),
        (4, (sum, ["x", (inc, "y")])),
        (3, (sum, {"x", "y"})),
        (3, (sum, frozenset(["x", "y"]))),
        (3, (sum, ("x", "y"))),
        ([1, [2, [3]]], [1, [(inc, "x"), [(inc, "y")]]]),
        ([[1], []], [["x"], []]),
        ((1, 2), ("x", "y")),
        (Point(1, 3), Point("x", (inc, "y"))),
        (Point(1, 2), (same, Point("x", "y"))),
        ({"k": "x"}, (same, {"k": "x"})),
        ({"k": (inc, "x")}, (same, {"k": (inc, "x")})),
        ([{"k": "x"}], (same, [{"k": "x"}])),
        ({"k": (inc, "x")}, {"k": (inc, "x")}),
        (((1, 2), {}), (echo, "x", "y")),
        ((("x ", 2), {}), (echo, "x ", "y")),
        (((), {}), (echo,)),
        ([], (list,)),
        ({"a": 1}, (dict, [["a", "x"]])),
        (10, (Scale(10), "x")),
        (20, (Scale(10).method, "y")),
        ("A", (str.upper, "a")),
        (1, (operator.itemgetter(0), ["x", "y"])),
        (1.5, (getattr, 1.5, "real")),
        (True, (operator.is_, "n", None)),
    ],
)
def test_a_legacy_node_means_what_dask_says(get, expected, node):
    """Nested tasks are run, lists, tuples and sets are searched for keys, dicts are not."""
    graph = {"x": 1, "y": 2, "n": None, "k": node}

    assert expected == get(graph, "k")


def test_a_tuple_that_is_a_key_is_a_reference_and_no_task(get):
    """A tuple key among the arguments refers to the task under it."""
    graph = {("x", 0): 5, ("x", 1): (inc, ("x", 0)), "all": (sum, [("x", 0), ("x", 1)])}

    assert (5, 6, 11) == get(graph, [("x", 0), ("x", 1), "all"])


def test_a_function_that_is_a_value_is_not_called(get):
    """Only a tuple with a callable in front is a task."""
    graph = {"f": inc, "list": [inc, 1], "call": (map, "f", [1, 2])}

    assert inc is get(graph, "f")
    assert [inc, 1] == get(graph, "list")
    assert [2, 3] == list(get(graph, "call"))


def test_keys_in_arguments_are_replaced_by_values_of_any_type(get):
    """Integer, float and boolean arguments are references where the graph has such a key."""
    graph = {1: "one", 2.5: "two and a half", "k": (echo, 1, 2.5, 3, True)}

    assert (("one", "two and a half", 3, "one"), {}) == get(graph, "k")


def test_unhashable_arguments_are_passed_on(get):
    """Arguments that cannot be keys are values."""
    graph = {"x": 1, "k": (echo, [], {}, set(), bytearray(b"b"), "x")}

    assert (([], {}, set(), bytearray(b"b"), 1), {}) == get(graph, "k")
