"""Memory: values live as long as somebody needs them, and nothing of a run outlives it."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from differences import differs
from graphs import fused, same


class Value:
    """A value that can be weakly referenced."""


class Living:
    """Makes values, and counts those that are alive."""

    def __init__(self):
        """Start with none."""
        self._lock = threading.Lock()
        self.n_alive = 0
        self.peak = 0

    def make(self, *_inputs):
        """Return a new value."""
        value = Value()
        with self._lock:
            self.n_alive += 1
            self.peak = max(self.peak, self.n_alive)
        weakref.finalize(value, self._died)
        return value

    def _died(self):
        with self._lock:
            self.n_alive -= 1


@pytest.mark.usefixtures("without_gc")
def test_in_a_chain_only_the_newest_values_are_alive(plain_get):
    """When a task has made its value, no more than its input and one older value are alive."""
    living = Living()
    graph = {0: Task(0, living.make), **{i: Task(i, living.make, TaskRef(i - 1)) for i in range(1, 100)}}

    assert isinstance(plain_get(graph, 99, num_workers=1), Value)
    assert living.peak <= 3


def test_a_value_dies_when_its_last_consumer_has_finished(plain_get):
    """It is alive in each consumer, and dead in the task after the last one, whoever else still runs."""
    references = {}

    def make():
        value = Value()
        references["value"] = weakref.ref(value)
        return value

    def consume(_value, *_after):
        return references["value"]() is not None

    def look(*_after):
        return references["value"]() is None

    graph = {
        "value": Task("value", make),
        "alias": Alias("alias", "value"),
        "first": Task("first", consume, TaskRef("value")),
        "second": Task("second", consume, List(TaskRef("alias")), TaskRef("first")),
        "between": Task("between", look, TaskRef("second")),
        "last": Task("last", look, TaskRef("between")),
    }

    assert (True, True, True) == plain_get(graph, ["first", "second", "last"], num_workers=1)


def test_a_value_asked_for_is_kept(get):
    """A value among the requested keys outlives its consumers."""
    references = {}

    def make():
        value = Value()
        references["value"] = weakref.ref(value)
        return value

    graph = {
        "value": Task("value", make),
        "use": Task("use", id, TaskRef("value")),
        "after": Task("after", abs, TaskRef("use")),
    }
    value, address, _ = get(graph, ["value", "use", "after"])

    assert references["value"]() is value
    assert id(value) == address


def test_values_nobody_asked_for_are_gone_after_the_run(get):
    """Only the requested value is left, and it too once the caller lets go."""
    living = Living()
    graph = {i: Task(i, living.make) for i in range(20)}
    graph |= {("all", i): Task(("all", i), living.make, *map(TaskRef, range(20))) for i in range(5)}
    result = get(graph, [("all", 0), ("all", 3)])
    gc.collect()

    assert len(result) == living.n_alive
    del result
    gc.collect()
    assert 0 == living.n_alive


@differs("values die without the garbage collector")
@pytest.mark.usefixtures("without_gc")
def test_a_run_leaves_no_reference_cycles(get):
    """Everything of a run is freed by reference counts alone, after success and after a failure."""
    living = Living()

    def fail(*_inputs):
        raise LookupError

    graph = {i: Task(i, living.make) for i in range(20)}
    graph["all"] = Task("all", living.make, *map(TaskRef, range(20)))
    graph["bad"] = Task("bad", fail, TaskRef("all"), List(*map(TaskRef, range(20))))
    del fail

    get(graph, ["all", 3])
    after_success = living.n_alive
    with pytest.raises(LookupError):
        get(graph, ["bad", 3])
    assert (0, 0) == (after_success, living.n_alive)


def test_the_graph_and_its_functions_are_let_go(get):
    """No reference to nodes, functions, arguments, keywords or data remains when the caller drops the graph."""

    def build():
        function = lambda *_args, **_keywords: Value()  # noqa: E731  a def would be held by this frame's code
        argument, keyword, data, raw = Value(), Value(), Value(), Value()
        node = Task("a", function, argument, k=keyword)
        graph = {
            "a": node,
            "b": Task("b", function, TaskRef("a"), TaskRef("data"), TaskRef("raw")),
            "data": DataNode("data", data),
            "raw": raw,
            "fused": fused("fused", {"in": Task("in", function), "out": Task("out", same, TaskRef("in"))}, "out"),
        }
        return graph, [weakref.ref(item) for item in (function, argument, keyword, data, raw)]

    graph, references = build()
    result = get(graph, ["b", "fused", "raw"])
    del result, graph
    gc.collect()

    assert [None] * len(references) == [reference() for reference in references]


def test_an_exception_is_all_that_a_failed_run_leaves(get):
    """Values of a failed run are gone once its exception is."""
    living = Living()

    def fail(*_inputs):
        raise LookupError

    def run():
        graph = {i: Task(i, living.make) for i in range(10)}
        graph["bad"] = Task("bad", fail, *map(TaskRef, range(10)))
        with pytest.raises(LookupError):
            get(graph, ["bad", 0])

    run()
    gc.collect()
    assert 0 == living.n_alive


def test_an_exception_keeps_nothing_but_its_own_frames_alive(get):
    """While the caller holds the exception, values that its frames do not show are free already."""
    living = Living()

    def fail():
        raise LookupError

    graph = {
        0: Task(0, living.make),
        1: Task(1, lambda _value: None, TaskRef(0)),
        2: Task(2, lambda _done: fail(), TaskRef(1)),
    }

    with pytest.raises(LookupError) as caught:
        get(graph, 2)
    gc.collect()
    assert isinstance(caught.value, LookupError)
    assert 0 == living.n_alive


def test_reference_counts_balance(get):
    """Objects that pass through runs in every way have the same reference count afterwards."""
    value, function, keyword = Value(), lambda *args, **_keywords: args, "keyword"
    graph = {
        "data": DataNode("data", value),
        "raw": value,
        "made": Task("made", function, value, TaskRef("data"), k=value),
        "container": List(value, TaskRef("made"), TaskRef("raw")),
        "nested": Task("nested", function, Task(None, function, value), **{keyword: TaskRef("made")}),
        "fused": fused(
            "fused",
            {"a": DataNode("a", value), "out": Task("out", function, TaskRef("a"), TaskRef("in"))},
            "out",
            {"in": value},
        ),
        "legacy": (function, "raw", ["made"], {"k": value}),
        "alias": "legacy",
    }
    keys = list(graph)

    def counts():
        gc.collect()
        return [sys.getrefcount(item) for item in (value, function, *graph.values(), *keys)]

    get(graph, keys)
    before = counts()
    for _ in range(10):
        get(graph, [keys, keys])
    assert before == counts()


def test_reference_counts_balance_after_errors(get):
    """The same for runs that fail: while compiling, in a task, and for a missing key."""
    value = Value()

    def fail(_value):
        raise LookupError

    graph = {
        "data": DataNode("data", value),
        "bad": Task("bad", fail, TaskRef("data")),
        "lost": Task("lost", fail, TaskRef("nowhere"), value),
        "cycle": Task("cycle", fail, TaskRef("cycle"), value),
        "after": Task("after", fail, TaskRef("bad"), value),
    }

    def run_all():
        for keys in ("bad", ["data", "after"], "lost", "cycle", ["data", "nokey"]):
            with pytest.raises((LookupError, ValueError, RuntimeError)):
                get({key: graph[key] for key in graph if key != "cycle" or keys == "cycle"}, keys)

    def counts():
        gc.collect()
        return [sys.getrefcount(item) for item in (value, fail, *graph.values())]

    run_all()
    before = counts()
    for _ in range(10):
        run_all()
    assert before == counts()


def test_the_interpreter_has_no_more_blocks_after_many_runs(get):
    """Five hundred runs leave the number of allocated blocks as it was: nothing leaks with each of them."""
    value = Value()

    def fail(_value):
        raise LookupError

    graph = {
        "raw": value,
        "made": Task("made", same, TaskRef("raw")),
        "list": List(TaskRef("made"), [value]),
        "fused": fused("fused", {"a": Task("a", same, TaskRef("in"))}, "a", {"in": TaskRef("list")}),
        "legacy": (same, ["made", (same, "raw")]),
        "bad": Task("bad", fail, TaskRef("fused")),
    }

    def run(n_runs):
        for _ in range(n_runs):
            get(graph, ["fused", ["legacy"], "made"])
            with pytest.raises(LookupError):
                get(graph, ["bad"])
        gc.collect()
        return sys.getallocatedblocks()

    before = run(20)
    # One object for each run would be five hundred; caches of the interpreter grow by a few.
    assert run(500) - before < 250


def test_tasks_may_collect_garbage(plain_get):
    """A collection in the middle of a run, on any thread, finds nothing it should not and harms nothing."""
    living = Living()

    def collect(*_inputs):
        cycle = [living.make()]
        cycle.append(cycle)
        del cycle
        gc.collect()
        return living.make()

    graph = {i: Task(i, collect) for i in range(10)}
    graph |= {("two", i): Task(("two", i), collect, TaskRef(i), TaskRef((i + 1) % 10)) for i in range(10)}
    result = plain_get(graph, [("two", i) for i in range(10)], num_workers=4)

    assert 10 == len(set(map(id, result)))
    del result
    gc.collect()
    assert 0 == living.n_alive


def test_a_finalizer_may_compute(get):
    """A value's end may itself start a run, in the middle of another."""
    results = []

    class Last:
        def __del__(self):
            results.append(get({"x": Task("x", same, "from __del__")}, "x"))

    graph = {
        "value": Task("value", Last),
        "use": Task("use", lambda _value: 1, TaskRef("value")),
        "after": Task("after", same, TaskRef("use")),
    }

    assert 1 == get(graph, "after")
    gc.collect()
    assert ["from __del__"] == results
