"""Errors: a task's exception reaches the caller as itself, and nothing new starts after it."""

from __future__ import annotations

import asyncio
import threading
import traceback

import dask
import dask.array as da
import pytest
from dask._task_spec import Alias, DataNode, Dict, List, Set, Task, TaskRef
from differences import differs
from gates import barrier, wait_until_set
from graphs import Calls, add, fused, inc, same


class Boom(Exception):
    """The exception of these tests."""


def innermost(x):
    """Raise."""
    message = f"cannot take {x}"
    raise Boom(message)


def outermost(x):
    """Raise one call deeper."""
    return innermost(x) + 1


def frames(error):
    """Return the names of the functions in the traceback."""
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]


FAILING = {
    "task": Task("task", outermost, TaskRef("x")),
    "legacy": (outermost, "x"),
    "argument": Task("argument", inc, Task(None, outermost, TaskRef("x"))),
    "keyword": Task("keyword", same, x=Task(None, outermost, TaskRef("x"))),
    "container": List(1, Task(None, outermost, TaskRef("x"))),
    "fused": fused(
        "fused",
        {"a": Task("a", inc, TaskRef("in")), "out": Task("out", outermost, TaskRef("a"))},
        "out",
        {"in": TaskRef("x")},
    ),
}


@pytest.mark.parametrize("node", FAILING.values(), ids=FAILING)
def test_the_traceback_ends_in_the_users_frames(get, node):
    """Type, text and frames are the task's own, wherever in a node it failed."""
    with pytest.raises(Boom) as caught:
        get({"x": 1, "node": node, "after": Task("after", same, TaskRef("node"))}, "after")

    assert str(caught.value) in {"cannot take 1", "cannot take 2"}
    assert ["outermost", "innermost"] == frames(caught.value)[-2:]


@differs("the failing key is named")
@pytest.mark.parametrize("node", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("key", ["the-key", ("the-key", 0)])
def test_one_note_names_the_key(get, node, key):
    """The note has the key of the graph as Python writes it."""
    graph = {"x": 1, key: node, "after": Task("after", same, TaskRef(key)), "last": Alias("last", "after")}

    with pytest.raises(Boom) as caught:
        get(graph, "last")
    (note,) = caught.value.__notes__
    assert repr(key) in note


@differs("the failing key is named")
def test_notes_of_the_task_are_kept_and_ours_is_not_repeated(get):
    """The task's own notes come first; an exception object that is raised again is noted once for each key."""
    error = Boom("raised again and again")
    error.add_note("the task's own")

    def fail():
        raise error

    for key in ["a", "a", "b"]:
        with pytest.raises(Boom):
            get({key: Task(key, fail)}, key)
    first, for_a, for_b = error.__notes__
    assert "the task's own" == first
    assert "'a'" in for_a
    assert "'b'" in for_b


def test_a_key_without_a_repr_does_not_hide_the_exception(get):
    """The exception arrives as itself when its key cannot be shown."""

    class Key(str):
        __slots__ = ()

        def __repr__(self):
            message = "no repr"
            raise ArithmeticError(message)

    with pytest.raises(Boom, match="cannot take 1"):
        get({Key("k"): Task("k", outermost, 1)}, "k")


def test_the_exception_is_the_same_object(get):
    """What was raised is what arrives, with its arguments, attributes, cause and context."""
    error = Boom("message", 5)
    error.attribute = object()
    cause = LookupError("cause")

    def fail():
        raise error from cause

    with pytest.raises(Boom) as caught:
        get({"x": Task("x", fail)}, "x")
    assert error is caught.value
    assert cause is caught.value.__cause__
    assert caught.value.__context__ is None


def test_compute_shows_only_the_users_frames(plain_get):
    """Dask shortens tracebacks to `compute` and the user's functions: no frame of a scheduler is left."""
    with pytest.raises(Boom) as caught:
        dask.compute(dask.delayed(outermost)(1), scheduler=plain_get)

    assert ["test_compute_shows_only_the_users_frames", "compute", "outermost", "innermost"] == frames(caught.value)


def test_an_error_in_a_block_of_an_array_arrives(get):
    """Errors pass through Dask's own fused tasks."""
    blocks = da.arange(12, chunks=3, dtype=int).map_blocks(outermost, dtype=int)

    with pytest.raises(Boom, match="cannot take"):
        (blocks + 1).sum().compute(scheduler=get)


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt("by a task"),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(5),
        StopAsyncIteration(),
        RecursionError("by a task"),
        MemoryError(),
        BaseException("the base"),
        ExceptionGroup("group", [Boom()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_kind_of_exception_arrives(get, error):
    """BaseExceptions and exceptions that Python itself uses are raised in the caller like any other."""

    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        get({"x": Task("x", fail), "y": Task("y", inc, 1), "z": Task("z", same, TaskRef("x"))}, ["y", "z"])
    assert error is caught.value


class Sealed(Exception):
    """An exception that refuses the attribute a note is kept in."""

    def __setattr__(self, name, value):
        """Refuse notes only: Python itself sets the traceback."""
        if name == "__notes__":
            raise AttributeError(name)
        super().__setattr__(name, value)


class WithoutNotes(Exception):
    """An exception that raises when a note is added."""

    def add_note(self, _note):
        """Refuse."""
        message = "no notes"
        raise TypeError(message)


class OddNotes(Exception):
    """An exception whose notes are no list."""

    __notes__ = ("class-level",)  # type: ignore[assignment]  # that is what is odd


@pytest.mark.parametrize(
    "error", [Sealed("sealed"), WithoutNotes("refuses"), OddNotes("odd")], ids=lambda error: type(error).__name__
)
def test_an_exception_that_takes_no_note_arrives_as_itself(get, error):
    """Naming the key must not get in the way of the exception."""

    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        get({"x": Task("x", fail)}, "x")
    assert error is caught.value


def test_an_exception_that_is_returned_is_a_value(get):
    """Only raising is failing."""
    error = Boom("returned")

    assert error is get({"x": Task("x", same, error), "y": Task("y", same, TaskRef("x"))}, "y")


@pytest.mark.parametrize(
    "node",
    [Set(List(1)), Dict([(List(1), 2)]), Task("t", same, Set(TaskRef("x"))), Set(Task(None, list))],
    ids=["set", "dict", "argument", "result"],
)
def test_a_container_that_cannot_be_built_fails_its_task(get, node):
    """Unhashable members of a set and keys of a dict are a TypeError of the task they stand in."""
    calls = Calls()

    with pytest.raises(TypeError, match="unhashable"):
        get({"x": DataNode("x", []), "bad": node, "after": calls.task("after", "bad")}, "after")
    assert [] == calls.names


def test_endless_recursion_in_a_task_arrives(get):
    """A RecursionError that the interpreter raises is the user's too."""

    def endless(x):
        return endless(x) + 1

    with pytest.raises(RecursionError):
        get({"x": Task("x", endless, 1)}, "x")


def test_what_depends_on_a_failed_task_never_runs(get):
    """Dependents, near and far, are not started."""
    calls = Calls()
    graph = {"bad": Task("bad", outermost, 1), "near": calls.task("near", "bad"), "far": calls.task("far", "near")}

    with pytest.raises(Boom):
        get(graph, ["far", "near", "bad"])
    assert [] == calls.names


def test_no_new_task_starts_after_a_failure(plain_get):
    """With one worker the task that fails is the last one that ran."""
    calls = Calls()

    def fail_first(name):
        calls.record(name)
        raise Boom(name)

    graph = {i: Task(i, fail_first, i) for i in range(50)}

    with pytest.raises(Boom) as caught:
        plain_get(graph, list(graph), num_workers=1)
    assert [caught.value.args[0]] == calls.names


def test_one_of_several_failures_is_raised(plain_get):
    """Tasks that fail together give one exception, and no dependent runs."""
    together = barrier(4)
    calls = Calls()

    def fail(i):
        together.wait()
        raise Boom(i)

    graph = {i: Task(i, fail, i) for i in range(4)}
    graph |= {("after", i): calls.task(("after", i), i) for i in range(4)}

    with pytest.raises(Boom) as caught:
        plain_get(graph, list(graph), num_workers=4)
    assert caught.value.args[0] in range(4)
    assert [] == calls.names


def test_a_failure_beside_a_running_task_is_raised(plain_get):
    """A task that is running when another fails may end as it likes; its dependents do not run."""
    failing = threading.Event()
    calls = Calls()

    def slow():
        wait_until_set(failing)
        return 1

    def fail():
        failing.set()
        raise Boom

    graph = {
        "slow": Task("slow", slow),
        "bad": Task("bad", fail),
        "both": Task("both", calls.record, TaskRef("slow"), TaskRef("bad")),
    }

    with pytest.raises(Boom):
        plain_get(graph, ["both", "slow"], num_workers=2)
    assert [] == calls.names


def test_the_next_run_is_not_affected(get):
    """After a failure the same graph, and others, are computed from the start."""
    fail = [True]

    def sometimes(x):
        if fail[0]:
            raise Boom
        return x

    graph = {
        "a": Task("a", inc, 1),
        "b": Task("b", sometimes, TaskRef("a")),
        "c": Task("c", add, TaskRef("b"), TaskRef("a")),
    }

    for _ in range(3):
        with pytest.raises(Boom):
            get(graph, "c")
    fail[0] = False
    assert 4 == get(graph, "c")


def test_a_failing_task_that_nobody_needs_does_not_run(get):
    """What is not asked for cannot fail."""
    assert 2 == get({"bad": Task("bad", outermost, 1), "good": Task("good", inc, DataNode(None, 1))}, "good")
