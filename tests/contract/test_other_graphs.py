"""Other graphs: what libraries and users put into a graph beyond functions, arrays and frames.

Coroutines, iterators, nodes of a cluster's classes, futures, values that look like nodes, expressions, and layers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import itertools
import operator
import pickle
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed, graph_manipulation
from dask._task_spec import Alias, DataNode, Dict, GraphNode, List, Task, TaskRef
from dask.base import DaskMethodsMixin
from dask.blockwise import BlockIndex, Blockwise, BlockwiseDep, BlockwiseDepDict, blockwise_token
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.local import get_sync
from distributed import Future
from distributed.shuffle._core import P2PBarrierTask
from graphs import Calls, add, echo, fused, inc, same, total
from subprocesses import output_of

X = TaskRef("x")


# ---- Coroutines


async def later(x=1):
    """Return x + 1 when it is awaited."""
    await asyncio.sleep(0)
    return x + 1


class Later:
    """Callables that give coroutines."""

    async def __call__(self, x=1):
        """Return x + 1 when it is awaited."""
        return await later(x)

    async def method(self, x=1):
        """Return x + 1 when it is awaited."""
        return await later(x)


COROUTINES = {
    "partial": functools.partial(later, 4),
    "object": Later(),
    "method": Later().method,
    "lambda": lambda: later(),  # noqa: PLW0108  a lambda is the case
}


@pytest.mark.parametrize("function", COROUTINES.values(), ids=COROUTINES)
def test_whatever_gives_a_coroutine_is_called_and_not_awaited(get, function):
    """The coroutine is a value that has not begun, whoever made it."""
    coroutine = get({"c": Task("c", function)}, "c")

    assert inspect.CORO_CREATED == inspect.getcoroutinestate(coroutine)
    coroutine.close()


@pytest.mark.parametrize("function", COROUTINES.values(), ids=COROUTINES)
def test_a_task_may_run_the_coroutine_of_another(get, function):
    """A dependant awaits it in an event loop of its own."""
    graph = {"c": Task("c", function), "run": Task("run", asyncio.run, TaskRef("c"))}

    assert asyncio.run(function()) == get(graph, "run")


def test_a_task_may_gather_the_coroutines_of_many(get):
    """One loop awaits what fifty tasks have made."""

    async def gather(coroutines):
        return sum(await asyncio.gather(*coroutines))

    graph = {("c", i): Task(("c", i), later, i) for i in range(50)}
    graph |= {"sum": Task("sum", lambda *coroutines: asyncio.run(gather(coroutines)), *map(TaskRef, graph))}

    assert sum(range(1, 51)) == get(graph, "sum")


def test_a_coroutine_may_compute(get):
    """A run inside a coroutine inside a task; and `compute` of an async Delayed gives a coroutine, too."""

    async def compute():
        return get({"x": Task("x", inc, await later())}, "x")

    assert 3 == delayed(lambda: asyncio.run(compute()))().compute(scheduler=get)
    assert 3 == asyncio.run(delayed(compute)().compute(scheduler=get))


# ---- Iterators


def numbers(n):
    """Yield n numbers."""
    yield from range(n)


ITERATORS = {
    "generator": lambda: numbers(4),
    "iterator of a list": lambda: iter([0, 1, 2, 3]),
    "map": lambda: map(int, "0123"),
    "slice of an endless one": lambda: itertools.islice(itertools.count(), 4),
}


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
def test_an_iterator_is_handed_on_untouched(get, make):
    """It arrives at its first item, through references, containers, nested and fused tasks."""
    graph = {
        "i": Task("i", make),
        "list": Task("list", list, TaskRef("i")),
        "contained": Task("contained", lambda contained: list(contained[0]), List(Task(None, make))),
        "fused": fused("fused", {"a": Task("a", make), "o": Task("o", list, TaskRef("a"))}, "o"),
        "literal": Task("literal", list, make()),
    }

    assert ([0, 1, 2, 3],) * 4 == get(graph, ["list", "contained", "fused", "literal"])


def test_consumers_in_a_row_share_an_iterator(get):
    """One object goes to all that need it: each takes up where the one before it stopped, and the caller last."""
    graph = {
        "i": Task("i", itertools.count),
        "first": Task("first", next, TaskRef("i")),
        "second": Task("second", lambda i, _: next(i), TaskRef("i"), TaskRef("first")),
    }
    iterator, first, second = get(graph, ["i", "first", "second"])

    assert (0, 1, 2) == (first, second, next(iterator))


def test_an_async_generator_is_a_value(get):
    """Nothing is asked of it; a dependant may exhaust it."""

    async def endless():
        for i in itertools.count():
            yield i

    async def take(generator):
        try:
            return [await anext(generator) for _ in range(3)]
        finally:
            await generator.aclose()

    graph = {"g": Task("g", endless), "take": Task("take", lambda g: asyncio.run(take(g)), TaskRef("g"))}

    assert [0, 1, 2] == get(graph, "take")


def test_the_error_of_a_generator_is_its_consumers(get):
    """The body of a generator runs, and fails, where its items are taken."""

    def failing():
        yield 1
        raise LookupError

    graph = {"g": Task("g", failing), "first": Task("first", next, TaskRef("g"))}

    assert 1 == get(graph, "first")
    with pytest.raises(LookupError):
        get({**graph, "list": Task("list", list, TaskRef("g"))}, "list")


# ---- Classes of nodes


class Scaled(Task):
    """A task with a field of its own, which its call uses."""

    __slots__ = ("factor",)

    def __init__(self, key, func, /, *args, factor, **kwargs):
        """Take the factor."""
        super().__init__(key, func, *args, **kwargs)
        self.factor = factor

    def __call__(self, values=()):
        """Return the value times the factor."""
        return self.factor * super().__call__(values)


class Noting(Task):
    """A task without slots, which notes what it was called with."""

    def __call__(self, values=()):
        """Note the keys."""
        self.seen = set(values)
        return super().__call__(values)


class After(Task):
    """A task that waits for more than its arguments."""

    __slots__ = ("after",)

    def __init__(self, key, func, /, *args, after=(), **kwargs):
        """Wait for the keys `after`, too."""
        super().__init__(key, func, *args, **kwargs)
        self.after = frozenset(after)

    @property
    def dependencies(self):
        """Return the keys of the arguments and those that are only waited for."""
        return self._dependencies | self.after


class Greedy(GraphNode):
    """A node that takes the values out of the dict it is given."""

    __slots__ = ()

    def __init__(self, key, dependencies):
        """Need the dependencies."""
        self.key = key
        self._dependencies = frozenset(dependencies)

    def __call__(self, values=()):
        """Empty the dict."""
        assert type(values) is dict
        return sum(values.popitem()[1] for _ in range(len(values)))


def test_a_field_of_a_derived_class_counts(get):
    """Two tasks that differ in nothing but a slot of their class, and the same one level down."""
    graph = {
        "x": 1,
        "two": Scaled("two", inc, X, factor=2),
        "three": Scaled("three", inc, X, factor=3),
        "nested": Task("nested", add, Scaled(None, inc, X, factor=10), Scaled(None, inc, TaskRef("two"), factor=100)),
    }

    assert (4, 6, 520) == get(graph, ["two", "three", "nested"])


def test_a_node_of_a_derived_class_may_be_written_to(get):
    """The node called is the object in the graph, and it sees what it depends on and no more."""
    node = Noting("n", inc, X)

    assert 2 == get({"x": 1, "y": 5, "n": node}, "n")
    assert {"x"} == node.seen


def test_a_node_may_empty_the_dict_it_is_given(get):
    """The values of a node are its own dict: its sister and the caller still find theirs."""
    graph = {"x": 1, "y": 2, "a": Greedy("a", "xy"), "b": Greedy("b", "xy"), "sum": Greedy("sum", "ab")}

    assert (1, 2, 3, 3, 6) == get(graph, ["x", "y", "a", "b", "sum"])


def test_nodes_of_derived_classes_pass_through_compute(get):
    """Culling leaves them as they are."""
    graph = {"x": 1, "s": Scaled("s", inc, X, factor=5), "g": Greedy("g", ["s", "x"]), "unused": Greedy("unused", "x")}

    assert 11 == Delayed("g", graph).compute(scheduler=get)


OWN = Task("own", inc, X)
SWAPPED = {"a": Task("b", same, "A"), "b": Task("a", same, "B"), "r": Task("a", echo, TaskRef("a"), TaskRef("b"))}
INNER = {"a": Task("out", inc, TaskRef("in")), "out": Task("a", inc, TaskRef("a"))}


@pytest.mark.parametrize(
    ("expected", "graph"),
    [
        (2 + 2 + 7, {"a": OWN, "b": OWN, "own": 7, "r": (total, "a", "b", "own")}),
        ((("A", "B"), {}), SWAPPED),
        (3, {"a": Task(None, inc, X), "r": Task("x", inc, TaskRef("a"))}),
        (4, {"a": Task(["unhashable"], inc, X), "d": DataNode({}, 2), "r": Task("a", add, TaskRef("a"), TaskRef("d"))}),
        (4, {"a": Greedy("x", ["x"]), "r": Scaled("a", inc, TaskRef("a"), factor=2)}),
        (3, {"r": fused("a", INNER, "out", {"in": X})}),
    ],
    ids=["one object under two", "swapped", "none", "unhashable", "derived", "in a fused graph"],
)
def test_a_tasks_own_key_means_nothing(get, expected, graph):
    """Whatever a node calls itself, it is known by the key it has in the graph."""
    assert expected == get({"x": 1, **graph}, "r")


def test_a_graph_may_have_been_pickled(get):
    """Nodes that were not made by their constructors are nodes like others."""
    graph = {
        "x": 1,
        "list": List(X, 2),
        "dict": Dict(k=X),
        "alias": Alias("alias", "x"),
        "task": Task("task", add, X, y=X),
        "fused": fused("fused", {"o": Task("o", inc, TaskRef("in"))}, "o", {"in": X}),
        "greedy": Greedy("greedy", ["x", "task"]),
    }
    copy = pickle.loads(pickle.dumps(graph))  # noqa: S301  our own

    assert ([1, 2], {"k": 1}, 1, 2, 2, 3) == get(copy, list(copy)[1:])


def test_the_output_of_a_fused_graph_may_be_a_node(get):
    """The output key, too, is an argument, and what it stands for is the key."""
    graph = {"x": 1, "f": fused("f", {"o": Task("o", inc, TaskRef("in"))}, DataNode(None, "o"), {"in": X})}

    assert 2 == get(graph, "f")


# ---- Barriers


class BarrierNode(Greedy):
    """A node that waits, and does not look at what it has waited for."""

    __slots__ = ("function",)

    def __init__(self, key, function, *needed):
        """Wait for the references."""
        super().__init__(key, [reference.key for reference in needed])
        self.function = function

    def __call__(self, values=()):
        """Call the function."""
        assert set(values) == self.dependencies
        return self.function()


NO_SPEC: Any = None  # A real one describes a shuffle on a cluster; only a scheduler of a cluster reads it.

BARRIERS = {
    "task": Task,
    "of distributed": functools.partial(P2PBarrierTask, spec=NO_SPEC),
    "derived": lambda key, function, *needed: After(key, function, after=[reference.key for reference in needed]),
    "node": BarrierNode,
    "list": lambda key, function, *needed: Task(key, function, List(*needed)),
}


@pytest.mark.parametrize("make", BARRIERS.values(), ids=BARRIERS)
def test_a_barrier_waits_for_values_it_ignores(get, make):
    """As in a P2P shuffle: all transfers, the barrier, and tasks that need nothing but the barrier."""
    n = 100
    received = []

    def close(*_ignored):
        return tuple(sorted(received))

    graph = {("transfer", i): Task(("transfer", i), received.append, i) for i in range(n)}
    graph |= {"barrier": make("barrier", close, *map(TaskRef, graph))}
    unpacked = [("unpack", i) for i in range(n)]
    graph |= {key: Task(key, operator.getitem, TaskRef("barrier"), key[1]) for key in unpacked}

    assert tuple(range(n)) == get(graph, unpacked)
    assert n == len(received)


def test_barriers_in_a_row(get):
    """Each round of recording tasks is complete before the next begins."""
    calls = Calls()
    rounds = [[(i, j) for j in range(20)] for i in range(5)]
    graph = {("barrier", -1): DataNode(None, 0)}
    for i, keys in enumerate(rounds):
        graph |= {key: calls.task(key, ("barrier", i - 1)) for key in keys}
        graph |= {("barrier", i): P2PBarrierTask(None, len, List(*map(TaskRef, keys)), spec=NO_SPEC)}

    assert 20 == get(graph, ("barrier", 4))
    assert rounds == [sorted(calls.names[start : start + 20]) for start in range(0, 100, 20)]


def test_dasks_own_barriers(get):
    """`bind`, `wait_on`, `checkpoint` and `clone` order what has no values in common."""
    calls = Calls()
    first, second = ([delayed(calls.record)((word, i), i) for i in range(5)] for word in ("first", "second"))
    array = graph_manipulation.bind(da.ones(4, chunks=2).map_blocks(lambda x: x + len(calls.names), dtype=float), first)
    waiting = graph_manipulation.wait_on(*first)

    assert 4.0 + 4 * 5 == array.sum().compute(scheduler=get)
    calls.names.clear()
    assert [0, 1, 2, 3, 4] == dask.compute(graph_manipulation.bind(second, first), scheduler=get)[0]
    assert [{("first", i) for i in range(5)}, {("second", i) for i in range(5)}] == [
        set(calls.names[:5]),
        set(calls.names[5:]),
    ]
    assert (0, 1, 2, 3, 4) == dask.compute(*waiting, scheduler=get)
    assert graph_manipulation.checkpoint(first).compute(scheduler=get) is None
    assert 15 == graph_manipulation.clone(db.range(6, npartitions=3).sum()).compute(scheduler=get)


# ---- Futures and collections as values


class LooksLikeAFuture:
    """Has what a future of `distributed` has, and must not be asked."""

    status = "finished"

    def __init__(self, key):
        """Be called like a key of the graph."""
        self.key = key

    def result(self):
        """Refuse."""
        message = "the scheduler resolved a value"
        raise AssertionError(message)

    exception = done = __await__ = result


LITERALS = {
    "like a future": LooksLikeAFuture("x"),
    "future of a pool": concurrent.futures.Future(),
    "delayed": delayed(inc)(1, dask_key_name="x"),
    "array": da.ones(2, chunks=1),
    "collection of collections": [delayed(inc)(1, dask_key_name="x"), {"x": db.range(2, npartitions=1)}],
}


@pytest.mark.parametrize("value", LITERALS.values(), ids=LITERALS)
def test_futures_and_collections_are_values(get, value):
    """Nothing is resolved or computed: as data, argument, keyword, result, in a list, a container or a fused graph."""
    graph = {
        "x": 1,
        "data": DataNode("data", value),
        "argument": Task("argument", same, value),
        "keyword": Task("keyword", same, x=value),
        "result": Task("result", lambda: value),
        "used": Task("used", same, TaskRef("result")),
        "fused": fused("fused", {"o": Task("o", same, TaskRef("in"))}, "o", {"in": DataNode(None, value)}),
    }
    nested = {
        "x": 1,
        "plain": Task("plain", same, [value]),
        "container": List(X, value),
        "legacy": (same, [value, "x"]),
    }

    assert all(value is result for result in get(graph, list(graph)[1:]))
    (plain,), (_, contained), (legacy, one) = get(nested, ["plain", "container", "legacy"])
    assert value is plain
    assert value is contained
    assert legacy is value or legacy == value
    assert 1 == one


def test_what_looks_like_a_future_passes_through_compute(get):
    """As an argument of a Delayed, in containers, and persisted."""
    value = LooksLikeAFuture("x")
    kept = delayed(value, name="x").persist(scheduler=get)

    ((arguments, keywords),) = dask.compute(delayed(echo)(value, [value], kept, k={"x": value}), scheduler=get)
    assert (value, [value], value) == arguments
    assert {"k": {"x": value}} == keywords


def test_a_future_of_distributed_is_a_reference(get):
    """Its class is derived from Dask's reference: where the graph has its key, it stands for the value."""
    future = Future("x")
    graph = {"x": 1, "task": Task("task", inc, future), "list": List(future), "legacy": (inc, future), "raw": future}

    assert (2, [1], 2, 1) == get(graph, ["task", "list", "legacy", "raw"])


# ---- Values that look like nodes

LOOKALIKES = {
    "task": (sum, [1, 2]),
    "tasks in a list": [(sum, [1, 2]), [(str, "other")]],
    "key": "other",
    "own key": "kept",
    "keys": ["other", ("other", "other")],
    "set of keys": {"other"},
    "callable": sum,
    "dict": {"other": (inc, "other"), "kept": ["other"]},
    "Task": Task("other", inc, TaskRef("other")),
    "TaskRef": TaskRef("other"),
    "Alias": Alias("other"),
    "DataNode": DataNode("other", (inc, "other")),
    "List": List(TaskRef("other")),
}


@pytest.mark.parametrize("value", LOOKALIKES.values(), ids=LOOKALIKES)
def test_a_value_that_looks_like_a_node_is_a_value(get, value):
    """In a data node, as a result, and as whatever is made of them, it is neither run nor replaced."""
    graph = {
        "other": 7,
        "kept": DataNode("kept", value),
        "made": Task("made", lambda: value),
        "alias": Alias("alias", "made"),
        "argument": Task("argument", same, DataNode(None, value)),
        "used": Task("used", same, TaskRef("made")),
        "nested": Task("nested", same, x=Task(None, same, TaskRef("kept"))),
        "fused": fused("fused", {"o": Task("o", same, TaskRef("in"))}, "o", {"in": TaskRef("made")}),
    }
    container = {**graph, "r": Task("r", echo, List(DataNode(None, value)), k=Dict(k=TaskRef("kept")))}

    assert all(value is result for result in get(graph, list(graph)[1:]))
    ((listed,),), keywords = get(container, "r")
    assert value is listed
    assert value is keywords["k"]["k"]


@pytest.mark.parametrize("value", LOOKALIKES.values(), ids=LOOKALIKES)
def test_a_delayed_value_that_looks_like_a_node_is_a_value(get, value):
    """Also through `compute`, as a constant and as a result beside a Delayed whose key it names."""
    other = delayed(inc)(6, dask_key_name="other")
    made = delayed(lambda: value)(dask_key_name="kept")

    assert (value, 7) == dask.compute(made, other, scheduler=get)
    assert value is delayed(same)(made).compute(scheduler=get)
    if not isinstance(value, TaskRef | GraphNode):
        assert (value, 7) == dask.compute(delayed(value, name="kept", traverse=False), other, scheduler=get)


def outcome(function, *args):
    """Return the value, or the error."""
    try:
        return function(*args)
    except (KeyError, ValueError, RuntimeError) as error:
        return error


@pytest.mark.parametrize("value", LOOKALIKES.values(), ids=LOOKALIKES)
def test_a_value_persisted_by_dask_means_what_dask_says(get, value):
    """Dask puts the bare value into a graph, where it takes what looks like a node for one; so do we."""
    other = delayed(inc)(6, dask_key_name="other")

    def alone(get):
        return delayed(lambda: value)(dask_key_name="kept").persist(scheduler=get_sync).compute(scheduler=get)

    def beside(get):
        kept = delayed(lambda: value)(dask_key_name="kept").persist(scheduler=get_sync)
        return dask.compute(delayed(same)(kept), other, scheduler=get)

    for compute in (alone, beside):
        expected, result = outcome(compute, get_sync), outcome(compute, get)
        if isinstance(expected, Exception):
            assert isinstance(result, type(expected))
        else:
            assert expected == result
            assert type(expected) is type(result)


@pytest.mark.parametrize(
    "value", [sum, {"other": (sum, [1, 2])}, LooksLikeAFuture("other"), slice("other")], ids=lambda v: type(v).__name__
)
def test_a_persisted_value_that_is_no_node_is_kept(get, value):
    """Functions, dicts and objects are neither called nor searched, beside the key they name."""
    other = delayed(inc)(6, dask_key_name="other")
    kept = delayed(lambda: value)(dask_key_name="kept").persist(scheduler=get)

    assert (value, value, 7) == dask.compute(kept, delayed(same)(kept), other, scheduler=get)


def test_persisted_blocks_of_tuples_are_kept(get):
    """The elements of an array of objects are no part of the graph."""
    elements = np.empty(4, dtype=object)
    elements[:] = [(sum, [1, 2]), "other", sum, TaskRef("other")]
    kept = da.from_array(elements, chunks=2).persist(scheduler=get)

    assert elements.tolist() == kept.compute(scheduler=get).tolist()


# ---- Expressions


def frame():
    """Return a small DataFrame in partitions."""
    return dd.from_pandas(pd.DataFrame({"a": range(12), "b": [0, 1, 2] * 4}), npartitions=3)


OPTIMISED = {
    "optimised": lambda f: f.optimize(),
    "not fused": lambda f: f.optimize(fuse=False),
    "simplified": lambda f: f.simplify(),
    "lowered": lambda f: f.lower_once(),
    "persisted": lambda f: dask.persist(f, scheduler=get_sync)[0],
}


@pytest.mark.parametrize("optimise", OPTIMISED.values(), ids=OPTIMISED)
def test_an_expression_may_be_optimised_before(get, optimise):
    """A frame's query gives the same in every state of planning, and can be planned on."""
    query = frame().assign(c=lambda f: f.a * 2)
    query = query[query.b > 0][["b", "c"]].groupby("b").sum()
    optimised = optimise(query)

    pd.testing.assert_frame_equal(query.compute(scheduler=get_sync), optimised.compute(scheduler=get))
    assert 100 == (optimised.c.sum() + 4).compute(scheduler=get)


def test_the_graph_of_an_expression_is_a_graph(get):
    """What an expression lowers to can be handed over as a dict."""
    expr = frame().a.sum().optimize().expr
    (key,) = expr.__dask_keys__()

    assert 66 == get(expr.__dask_graph__(), key)


def test_optimised_collections_of_all_kinds(get):
    """`dask.optimize` of several gives collections that are computed alone or together."""
    bag, plus = db.range(6, npartitions=2).map(inc).sum(), delayed(inc)(delayed(inc)(1))
    collections = [*dask.optimize((da.arange(6, chunks=2) + 1).sum(), bag, plus), *dask.optimize(frame().a + 1)]
    values = [collection.compute(scheduler=get) for collection in collections]

    assert [21, 21, 3] == values[:3] == list(dask.compute(*collections[:3], scheduler=get))
    assert list(range(1, 13)) == values[3].tolist()


def test_expressions_computed_together_share_their_parts(get):
    """What two queries have in common is read once."""
    calls = Calls()

    def read(i):
        calls.record(i)
        return pd.DataFrame({"a": [i, i + 1]})

    source = dd.from_map(read, [0, 10, 20], meta=pd.DataFrame({"a": [0]}), enforce_metadata=False)
    queries = [source.a.sum(), (source.a + 1).max(), source.a.count()]

    assert (63, 22, 6) == dask.compute(*queries, scheduler=get, optimize_graph=True)
    assert [0, 10, 20] == sorted(set(calls.names))
    counted = len(calls.names)
    calls.names.clear()
    dask.compute(*queries, scheduler=get_sync)
    assert counted == len(calls.names)


ARRAY_EXPRESSIONS = """
    import dask, dask_ferris, dask.threaded
    import dask.array as da
    import numpy as np
    x = da.from_array(np.arange(120.0).reshape(12, 10), chunks=(4, 3))
    queries = {
        "sum": (x + 1).sum(axis=0),
        "slices": x[1:9:2, ::-1][:, 3:],
        "blocks": x.map_blocks(lambda block: block * 2),
        "stack": da.stack([x, x + x]),
        "concatenate": da.concatenate([x, x]).sum(),
        "random": da.random.default_rng(0).normal(size=(6, 6), chunks=3),
        "empty": x[:0],
    }
    for name, query in queries.items():
        expected = query.compute(scheduler=dask.threaded.get)
        results = [
            query.compute(scheduler=dask_ferris.get),
            dask.optimize(query)[0].compute(scheduler=dask_ferris.get),
            query.persist(scheduler=dask_ferris.get).compute(scheduler=dask_ferris.get),
        ]
        print(name, type(query).__module__, all(np.array_equal(expected, result) for result in results))
    print("several", *dask.compute(x.sum(), x.mean(), scheduler=dask_ferris.get))
"""


def test_array_expressions():
    """Arrays with query planning, which is chosen when they are imported, give what dask.threaded gives."""
    *alone, several = output_of(ARRAY_EXPRESSIONS, env={"DASK_ARRAY__QUERY_PLANNING": "True"})

    assert 7 == len(alone)
    assert {"dask.array._array_expr._collection True"} == {line.partition(" ")[2] for line in alone}
    assert "several 7140.0 59.5" == several


# ---- Mixtures


@dataclass
class Parts:
    """A dataclass that Dask looks into."""

    frame: object
    plain: object


@pytest.mark.filterwarnings("ignore:Computing mixed collections")
@pytest.mark.parametrize("optimize_graph", [True, False])
def test_all_kinds_of_collections_in_one_compute(get, optimize_graph):
    """Array, bag, frame, Delayed and plain values, bare and in nested containers, come back in their places."""
    # Those of one kind stand together: others come back in a wrong order from Dask itself, whatever the scheduler.
    array, bag, plus = da.arange(6, chunks=2), db.range(4, npartitions=2), delayed(add)(1, 2)
    mixture = [array.sum(), {"arrays": [array[:2]], "nested": (bag, {3: [plus]})}, Parts(frame().b, 5), frame().a.sum()]
    one, nested, parts, last, *plain = dask.compute(*mixture, sum, "x", scheduler=get, optimize_graph=optimize_graph)

    assert (15, 66, [sum, "x"]) == (one, last, plain)
    assert [0, 1] == nested["arrays"][0].tolist()
    assert ([0, 1, 2, 3], {3: [3]}) == nested["nested"]
    assert (list(range(3)) * 4, 5) == (parts.frame.tolist(), parts.plain)


def test_a_delayed_may_take_all_kinds_of_collections(get):
    """As arguments, keywords and in containers of a Delayed call, each is computed first."""
    array, bag = da.arange(4, chunks=2), db.range(3, npartitions=3)
    ((blocks, total_of_frame, nested), keywords) = delayed(echo)(
        array, frame().a.sum(), [bag, (delayed(inc)(1), 5)], k={"max": array.max()}, plain="x"
    ).compute(scheduler=get)

    assert [0, 1, 2, 3] == blocks.tolist()
    assert 66 == total_of_frame
    assert [[0, 1, 2], (2, 5)] == nested
    assert {"k": {"max": 3}, "plain": "x"} == keywords


# ---- Layers


class Squares(Layer):
    """A layer that makes its tasks when somebody looks at them."""

    def __init__(self, name, function, indices):
        """Make no task yet."""
        super().__init__()
        self.name, self.function, self.indices = name, function, frozenset(indices)

    @functools.cached_property
    def tasks(self):
        """Make the tasks."""
        return {
            (self.name, i): Task((self.name, i), self.function, TaskRef("x"), DataNode(None, i)) for i in self.indices
        }

    def is_materialized(self):
        """Tell whether the tasks are made."""
        return "tasks" in self.__dict__

    def get_output_keys(self):
        """Return the keys without making tasks."""
        return {(self.name, i) for i in self.indices}

    def cull(self, keys, all_hlg_keys):
        """Return a layer of the same kind."""
        assert set(all_hlg_keys) >= keys
        wanted = {i for i in self.indices if (self.name, i) in keys}
        return Squares(self.name, self.function, wanted), {(self.name, i): {"x"} for i in wanted}

    def __getitem__(self, key):
        """Return a task."""
        return self.tasks[key]

    def __iter__(self):
        """Iterate over the keys."""
        return iter(self.tasks)

    def __len__(self):
        """Count the keys."""
        return len(self.indices)


class Noted(MaterializedLayer):
    """A layer of tasks with a remark for each."""

    def __init__(self, mapping):
        """Take the tasks."""
        super().__init__(mapping, annotations={"remark": str})


class Several(DaskMethodsMixin):
    """A collection as the documentation of Dask teaches to write one."""

    __dask_scheduler__ = staticmethod(get_sync)

    def __init__(self, dsk, keys):
        """Be these keys of the graph."""
        self._dsk, self._keys = dsk, keys

    def __dask_graph__(self):
        """Return the graph."""
        return self._dsk

    def __dask_layers__(self):
        """Return the layer that the keys are in."""
        return ("squares",)

    def __dask_keys__(self):
        """Return the keys."""
        return self._keys

    @staticmethod
    def __dask_optimize__(dsk, keys, **_):
        """Leave out what is not needed."""
        return dsk.cull(keys)

    def __dask_postcompute__(self):
        """Finish with a tuple."""
        return tuple, ()

    def __dask_postpersist__(self):
        """Build the same of values."""
        return Several._rebuild, (self._keys,)

    @staticmethod
    def _rebuild(dsk, keys):
        return Several(HighLevelGraph.from_collections("squares", dsk), keys)


def layered(calls, n=10):
    """Return a graph of a legacy layer, a lazy one that records its calls, and one with annotations."""

    def square(x, i):
        calls.record(i)
        return x * i * i

    squares = Squares("square", square, range(n))
    sums = Noted({"sum": Task("sum", total, *map(TaskRef, sorted(squares.get_output_keys())))})
    return HighLevelGraph(
        {"source": {"x": (inc, 0)}, "squares": squares, "sums": sums},
        {"source": set(), "squares": {"source"}, "sums": {"squares"}},
    )


def test_a_graph_of_layers_is_computed(get):
    """Lazy layers and derived ones are mappings like others."""
    calls = Calls()

    assert (285, 9) == get(layered(calls), ["sum", ("square", 3)])
    assert list(range(10)) == sorted(calls.names)


def test_a_lazy_layer_is_culled_its_own_way(get):
    """Through `compute` and `persist` only what is needed is made and run."""
    calls = Calls()
    collection = Several(layered(calls), [("square", 2), ("square", 5)])

    assert (4, 25) == collection.compute(scheduler=get)
    assert [2, 5] == sorted(calls.names)
    assert (4, 25) == collection.persist(scheduler=get).compute(scheduler=get)


def test_a_delayed_may_stand_on_lazy_layers(get):
    """Dask's optimiser for Delayed culls them, alone and beside plain ones."""
    calls = Calls()
    square = Delayed(("square", 4), layered(calls), layer="squares")

    assert (16, 17, 2) == dask.compute(square, delayed(inc)(square), delayed(inc)(1), scheduler=get)
    assert [4] == calls.names


class Countdown(BlockwiseDep):
    """Input that is made for each block."""

    produces_tasks = False

    def __init__(self, n):
        """Count down from n."""
        self.numblocks = (n,)

    def __getitem__(self, index):
        """Return what a block gets."""
        return self.numblocks[0] - index[0]

    def __dask_tokenize__(self):
        """Return what makes it what it is."""
        return ("Countdown", self.numblocks)


def blockwise(task, *indices):
    """Return a layer "b" that runs a task for each block, on top of blocks ("a", 0) to ("a", 3)."""
    numblocks = {"a": (4,)} if "a" in dict(indices) else {}
    layer = Blockwise("b", "i", task, indices, numblocks)
    source = {("a", i): Task(("a", i), inc, 10 * i) for i in range(4)}
    return HighLevelGraph({"a": source, "b": layer, "c": {"const": 1000}}, {"a": set(), "b": {"a", "c"}, "c": set()})


def pair(x, y):
    """Return both."""
    return [x, y]


FIRST, SECOND = (TaskRef(blockwise_token(i)) for i in range(2))
ONE, TWO = Task("b", same, FIRST), Task("b", pair, FIRST, SECOND)
VALUES = ["a", {"k": 1}, None, sum]
BLOCKS = {(i,): Task(None, add, i, 100) for i in range(4)}


@pytest.mark.parametrize(
    ("expected", "graph"),
    [
        ([1, 11, 21, 31], blockwise(ONE, ("a", "i"))),
        ([[1, 1000], [11, 1000], [21, 1000], [31, 1000]], blockwise(TWO, ("a", "i"), (TaskRef("const"), None))),
        ([[1, "x"], [11, "x"], [21, "x"], [31, "x"]], blockwise(TWO, ("a", "i"), ("x", None))),
        ([4, 3, 2, 1], blockwise(ONE, (Countdown(4), "i"))),
        (VALUES, blockwise(ONE, (BlockwiseDepDict({(i,): value for i, value in enumerate(VALUES)}), "i"))),
        ([100, 101, 102, 103], blockwise(ONE, (BlockwiseDepDict(BLOCKS, produces_tasks=True), "i"))),
        ([(0,), (1,), (2,), (3,)], blockwise(ONE, (BlockIndex((4,)), "i"))),
    ],
    ids=["blocks", "reference", "literal", "own", "dict", "tasks", "index"],
)
def test_inputs_of_blockwise_layers(get, expected, graph):
    """Blocks, constants and everything a `BlockwiseDep` may give arrive, in the graph as it is and culled."""
    keys = [("b", i) for i in range(4)]

    assert tuple(expected) == get(graph, keys)
    assert (expected[1],) == get(graph.cull(keys[1:2]), keys[1:2])
