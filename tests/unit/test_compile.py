"""`_native.compile`: what the compiler makes of graphs, without running them."""

from __future__ import annotations

import gc
import weakref

import dask
import dask.array as da
import dask.bag as db
import pytest
from dask._task_spec import Alias, DataNode, Dict, List, Set, Task, TaskRef, Tuple
from graphs import add, chain, fused, inc, same

from dask_ferris import CycleError, MissingDependencyError, MissingKeyError
from dask_ferris._native import compile as compile_graph


def graph_of(collection):
    """Return what `compute` hands to a scheduler: the graph as a dict, and the keys."""
    handed = []

    def note(dsk, keys):
        handed.append((dsk.__dask_graph__(), keys))
        return [None] * len(keys)

    dask.compute(collection, scheduler=note)
    return handed[0]


def square():
    """Return an array in blocks."""
    return da.ones((40, 30), chunks=(7, 6))


def numbers():
    """Return a bag in partitions."""
    return db.range(100, npartitions=9)


REAL = {
    "sum": (square, lambda x: (x + 1).sum()),
    "mean": (square, lambda x: x.mean(axis=0)),
    "std": (square, lambda x: x.std()),
    "transpose": (square, lambda x: (x + x.rechunk((6, 7))[:30, :30].sum()).T),
    "matmul": (square, lambda x: x @ x.T),
    "slices": (square, lambda x: x[3:20:2, ::-1] * 2),
    "rechunk": (square, lambda x: x.rechunk((11, 9))),
    "cumsum": (square, lambda x: x.cumsum(axis=0)),
    "overlap": (square, lambda x: da.overlap.overlap(x, depth=1, boundary="none")),
    "svd": (square, lambda x: da.linalg.svd(x.rechunk((7, 30)))[1]),
    "bag": (numbers, lambda b: b.map(inc).filter(bool)),
    "bag fold": (numbers, lambda b: b.fold(add)),
    "bag frequencies": (numbers, lambda b: b.frequencies()),
    "bag groupby": (numbers, lambda b: b.groupby(inc, shuffle="tasks")),
    "delayed": (lambda: dask.delayed(inc), lambda call: dask.delayed(sum)([call(i) for i in range(30)]).real),
}


@pytest.mark.parametrize(("source", "function"), REAL.values(), ids=REAL)
def test_no_task_of_a_real_collection_is_left_to_be_called(source, function):
    """Arrays, bags and Delayed are compiled whole, fused subgraphs included."""
    graph, keys = graph_of(function(source()))
    program = compile_graph(graph, keys)

    assert (len(graph), len(graph), 0) == (program.n_tasks, program.n_inlined, program.n_called)


X = TaskRef("x")
KNOWN = {
    "task": Task("n", inc, X),
    "keywords": Task("n", same, x=X),
    "nested": Task("n", inc, Task(None, inc, X)),
    "list": List(X),
    "tuple": Tuple(X),
    "set": Set(X),
    "dict": Dict({"k": X}),
    "alias": Alias("n", "x"),
    "data": DataNode("n", 1),
    "fused": fused("n", {"a": Task("a", inc, TaskRef("in"))}, "a", {"in": X}),
    "fused twice": fused(
        "n", {"a": fused("a", {"b": Task("b", inc, TaskRef("in"))}, "b", {"in": TaskRef("in")})}, "a", {"in": X}
    ),
    "fused in an argument": Task("n", same, fused(None, {"a": Task("a", inc, TaskRef("in"))}, "a", {"in": X})),
    "legacy": (inc, (inc, "x")),
    "raw": [1, "x", ["x"]],
}


@pytest.mark.parametrize("node", KNOWN.values(), ids=KNOWN)
def test_nodes_of_known_shape_are_inlined(node):
    """Everything of exact type is lowered; nothing is left to be called."""
    program = compile_graph({"x": 1, "n": node}, "n")

    assert (2, 2, 0) == (program.n_tasks, program.n_inlined, program.n_called)


class Derived(Task):
    """A class nobody knows."""

    __slots__ = ()


UNKNOWN = {
    "derived": Derived("n", inc, X),
    "derived argument": Task("n", inc, Derived(None, inc, X)),
    "derived inside a fused task": fused("n", {"a": Derived("a", inc, TaskRef("in"))}, "a", {"in": X}),
}


@pytest.mark.parametrize("node", UNKNOWN.values(), ids=UNKNOWN)
def test_nodes_of_unknown_shape_are_called(node):
    """A derived class, anywhere in a node, leaves the whole node to be called as Dask does."""
    program = compile_graph({"x": 1, "n": node}, "n")

    assert (2, 1, 1) == (program.n_tasks, program.n_inlined, program.n_called)


def test_nothing_is_run():
    """Compiling calls no function of the graph."""
    ran = []
    compile_graph({"x": Task("x", ran.append, 1), "y": (ran.append, "x")}, ["x", "y"])

    assert [] == ran


def test_errors_are_those_of_get():
    """What is wrong with a graph is found while it is compiled."""
    with pytest.raises(MissingKeyError):
        compile_graph({"x": 1}, "y")
    with pytest.raises(MissingDependencyError):
        compile_graph({"x": Task("x", inc, TaskRef("lost"))}, "x")
    with pytest.raises(CycleError):
        compile_graph({"x": Task("x", inc, X)}, "x")


def test_the_counts_are_read_only():
    """A program is immutable."""
    program = compile_graph(chain(10), 10)

    for name in ("n_tasks", "n_inlined", "n_called"):
        with pytest.raises(AttributeError):
            setattr(program, name, 0)


def test_a_program_lets_the_graph_go():
    """Neither a program nor a cycle through one keeps what the graph held for ever."""

    class Function:
        def __call__(self):
            return 1

    function = Function()
    reference = weakref.ref(function)
    program = compile_graph({"x": Task("x", function)}, "x")
    function.program = program
    del function, program
    gc.collect()

    assert reference() is None
