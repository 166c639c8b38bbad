"""Context: tasks see the caller's context variables, each in a copy of its own."""

from __future__ import annotations

import contextvars
import decimal
import threading
import warnings

import dask
import numpy as np
import pytest
from dask._task_spec import Task, TaskRef
from gates import barrier
from graphs import fused

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture
def caller_value():
    """Set the variable in the caller."""
    token = VARIABLE.set("caller")
    yield "caller"
    VARIABLE.reset(token)


def together(function, n_tasks):
    """Return tasks that call `function` and only end when all of them run at once, so on as many threads."""
    meeting = barrier(n_tasks)

    def task():
        meeting.wait()
        return function()

    return {i: Task(i, task) for i in range(n_tasks)}


def read_and_write(_after=None):
    """Return the variable's value, and set another."""
    value = VARIABLE.get()
    VARIABLE.set("task")
    return value


def test_tasks_see_the_callers_context(plain_get, caller_value):
    """On every thread, also on threads that were there before the variable was set."""
    graph = together(VARIABLE.get, 4)

    assert (caller_value,) * 4 == plain_get(graph, list(graph), num_workers=4)
    VARIABLE.set("changed")
    graph = together(VARIABLE.get, 4)
    assert ("changed",) * 4 == plain_get(graph, list(graph), num_workers=4)


def test_writes_do_not_leak(get, caller_value):
    """What a task sets is seen by no other task, dependent or not, and not by the caller."""
    graph = {0: Task(0, read_and_write), **{i: Task(i, read_and_write, TaskRef(i - 1)) for i in range(1, 10)}}
    graph |= {("other", i): Task(("other", i), read_and_write) for i in range(10)}

    assert (caller_value,) * 20 == get(graph, list(graph))
    assert caller_value == VARIABLE.get()


def test_the_parts_of_one_task_share_its_context(get, caller_value):
    """Nested and fused tasks run in the context of the task they are part of."""
    inner = {"a": Task("a", read_and_write), "out": Task("out", read_and_write, TaskRef("a"))}
    graph = {
        "fused": fused("fused", inner, "out"),
        "nested": Task("nested", read_and_write, Task(None, read_and_write)),
        "after": Task("after", read_and_write, TaskRef("fused")),
    }

    assert ("task", "task", caller_value) == get(graph, ["fused", "nested", "after"])


def test_writes_of_a_failing_task_do_not_leak(get, caller_value):
    """The caller's context is as before when a task has raised."""

    def fail():
        VARIABLE.set("task")
        raise LookupError

    with pytest.raises(LookupError):
        get({"x": Task("x", fail)}, "x")
    assert caller_value == VARIABLE.get()


def test_each_thread_brings_its_own_context(get):
    """Callers on different threads do not see each other's variables."""
    results = {}
    meeting = barrier(4)

    def caller(name):
        VARIABLE.set(name)
        meeting.wait()
        graph = {i: Task(i, VARIABLE.get) for i in range(20)}
        results[name] = set(get(graph, list(graph)))

    threads = [threading.Thread(target=caller, args=(f"thread {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"thread {i}": {f"thread {i}"} for i in range(4)} == results


def test_numpys_error_state_holds_in_tasks(get):
    """`numpy.errstate` of the caller counts in the tasks (NumPy 2 keeps it in a context variable)."""
    graph = {"x": Task("x", np.divide, np.ones(1), np.zeros(1))}

    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        get(graph, "x")
    with np.errstate(divide="ignore"):
        assert np.isinf(get(graph, "x")).all()


def test_the_decimal_context_holds_in_tasks(get):
    """The precision set by the caller counts in the tasks."""
    with decimal.localcontext(decimal.Context(prec=3)):
        assert decimal.Decimal("0.333") == get({"x": Task("x", lambda: decimal.Decimal(1) / 3)}, "x")


def test_dasks_configuration_and_annotations_hold_in_tasks(get):
    """`dask.config.set` and `dask.annotate` around a call are seen inside."""
    graph = {
        "config": Task("config", dask.config.get, "for-this-test"),
        "annotations": Task("annotations", dask.get_annotations),
    }

    with dask.config.set({"for-this-test": 5}), dask.annotate(note="mine"):
        assert (5, {"note": "mine"}) == get(graph, ["config", "annotations"])


def test_warnings_of_tasks_can_be_caught_by_the_caller(plain_get):
    """A warning raised on a worker thread reaches the caller's `catch_warnings`."""

    def warn():
        warnings.warn("from a task", RuntimeWarning, stacklevel=1)

    graph = together(warn, 3)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain_get(graph, list(graph), num_workers=3)
    assert ["from a task"] * 3 == [str(warning.message) for warning in caught]


def test_a_nested_run_sees_the_tasks_context(get, caller_value):
    """The caller of an inner run is the task: its variables hold there."""

    def outer():
        VARIABLE.set("outer task")
        return get({"inner": Task("inner", read_and_write)}, "inner"), VARIABLE.get()

    assert ("outer task", "outer task") == get({"x": Task("x", outer)}, "x")
    assert caller_value == VARIABLE.get()
