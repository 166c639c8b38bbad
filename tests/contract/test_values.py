"""Values: whatever a task returns is handed on as it is, without looking at it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from dask._task_spec import DataNode, List, Task, TaskRef
from graphs import echo, fused, same


class Hostile:
    """A value that cannot be compared, hashed, measured, tested, printed or iterated over."""

    def _refuse(self, *_args):
        message = "the scheduler looked at a value"
        raise AssertionError(message)

    __bool__ = __eq__ = __ne__ = __lt__ = __hash__ = __len__ = __iter__ = __repr__ = __contains__ = __index__ = _refuse


FALSY: list[Any] = [
    None,
    0,
    0.0,
    False,
    "",
    b"",
    (),
    [],
    {},
    set(),
    np.empty(0),
    np.zeros(3),
    pd.DataFrame(),
    NotImplemented,
    ...,
]


@pytest.mark.parametrize(
    "value",
    [*FALSY, Hostile(), float("nan"), Exception("a value"), np.arange(3)],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_handed_on_as_the_same_object(get, value):
    """As data, as a result, as an argument, through containers, nested and fused tasks; false or hostile."""
    graph = {
        "data": DataNode("data", value),
        "made": Task("made", lambda: value),
        "argument": Task("argument", same, TaskRef("made")),
        "keyword": Task("keyword", same, x=TaskRef("data")),
        "literal": Task("literal", same, value),
        "nested": Task("nested", same, Task(None, same, TaskRef("argument"))),
        "fused": fused(
            "fused",
            {"a": Task("a", same, TaskRef("in")), "out": Task("out", same, TaskRef("a"))},
            "out",
            {"in": TaskRef("made")},
        ),
        "alias": "made",
    }
    contained = {
        **graph,
        "list": List(TaskRef("made"), TaskRef("data")),
        "echo": Task("echo", echo, TaskRef("nested"), k=value),
    }

    assert all(value is result for result in get(graph, list(graph)))
    (made, data), ((nested,), keywords) = get(contained, ["list", "echo"])
    assert all(value is result for result in (made, data, nested, keywords["k"]))


@pytest.mark.parametrize(
    "value", [Hostile(), np.arange(3), pd.DataFrame({"a": [1, 2]})], ids=lambda value: type(value).__name__
)
def test_a_raw_value_is_handed_on_as_the_same_object(get, value):
    """Raw values that stand in the graph are neither compared nor copied."""
    graph = {"raw": value, "legacy": (same, "raw"), "task": Task("task", same, TaskRef("raw"))}

    assert all(value is result for result in get(graph, list(graph)))


def test_what_was_asked_for_is_not_copied(get):
    """Two keys that are one object are one object in the result."""
    first, second = get({"a": Task("a", list), "b": "a"}, ["a", "b"])

    assert first is second
