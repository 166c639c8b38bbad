"""Annotations reach their tasks through Dask's default optimisation, for graphs as people have them."""

from __future__ import annotations

import operator

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from dask import delayed
from dask._task_spec import GraphNode, convert_legacy_graph

from dask_ferris import _graph, _recover

ASKED = {"priority": 7, "retries": 2}


def annotate():
    """Ask for the same in every graph."""
    return dask.annotate(**ASKED)


def ones():
    """Return an array of sixteen blocks."""
    return da.ones((40, 40), chunks=10)


def all_annotated(make):
    """Return what is made with everything annotated."""
    with annotate():
        return make()


def middle_of_a_chain():
    """Return a sum of which two steps are annotated."""
    with annotate():
        doubled = (ones() + 1) * 2
    return (doubled - 1).sum()


def two_of_three():
    """Return three layers, of which two ask for different things."""
    start = ones() + 1
    with annotate():
        middle = start.map_blocks(np.sqrt)
    with dask.annotate(retries=5):
        end = middle.map_blocks(np.exp)
    return end + 0


def one_input_of_two():
    """Return a product, of which one factor is annotated."""
    with annotate():
        left = da.random.default_rng(0).random((40, 40), chunks=10)
    return (left + ones()).T @ ones()


def roots_that_are_fused():
    """Return layers of which Dask fuses the roots."""
    with annotate():
        one, other = (da.from_array(np.arange(40), chunks=10) for _ in range(2))
        return da.stack([one, other]).sum(axis=0) + one


def loaded():
    """Return an array from a Delayed."""
    with annotate():
        return da.from_delayed(delayed(np.ones)(10), shape=(10,), dtype=float) + 1


def bag_in_part():
    """Return a sum of a bag whose first step is annotated."""
    with annotate():
        bag = db.from_sequence(range(40), npartitions=8).map(operator.neg)
    return bag.filter(lambda x: x % 2).map(abs).sum()


def bag_that_is_grouped():
    """Return groups of a bag."""
    with annotate():
        return db.from_sequence(range(40), npartitions=8).foldby(lambda x: x % 3, operator.add)


def delayed_tree():
    """Return a sum of annotated calls."""
    with annotate():
        leaves = [delayed(operator.add)(i, 1) for i in range(8)]
    return delayed(sum)(leaves)


def fused_by_functions():
    """Return layers whose priorities are functions, on which Dask itself fails."""
    with dask.annotate(priority=lambda _: 7):
        one = ones() + 1
    with dask.annotate(priority=lambda _: 3, retries=2):
        return one * 2


GRAPHS = {
    "array: blockwise": lambda: all_annotated(lambda: (ones() + 1) * 2),
    "array: reduction": lambda: all_annotated(lambda: ones().sum(axis=0)),
    "array: mean and var": lambda: all_annotated(lambda: ones().mean() + ones().var()),
    "array: matmul": lambda: all_annotated(lambda: ones().T @ ones()),
    "array: rechunk": lambda: all_annotated(lambda: ones().rechunk((20, 5)) + 1),
    "array: slices": lambda: all_annotated(lambda: ones()[3:30][2:20, ::2] + 1),
    "array: overlap": lambda: all_annotated(lambda: ones().map_overlap(lambda block: block * 2, depth=1)),
    "array: cumulative": lambda: all_annotated(lambda: ones().cumsum(axis=0)),
    "array: random": lambda: all_annotated(lambda: da.random.default_rng(0).normal(size=(40, 40), chunks=10).std()),
    "array: svd": lambda: all_annotated(lambda: da.linalg.svd(da.ones((40, 4), chunks=(10, 4)))[1]),
    "array: fft": lambda: all_annotated(lambda: da.fft.fft(da.ones((20, 20), chunks=(20, 5)), axis=0)),
    "array: histogram": lambda: all_annotated(lambda: da.histogram(ones(), bins=4, range=(0, 2))[0]),
    "array: from delayed": loaded,
    "array: middle of a chain": middle_of_a_chain,
    "array: two of three": two_of_three,
    "array: one input": one_input_of_two,
    "array: roots": roots_that_are_fused,
    "array: functions": fused_by_functions,
    "bag: chain": lambda: all_annotated(lambda: db.from_sequence(range(40), npartitions=8).map(abs).map(operator.neg)),
    "bag: frequencies": lambda: all_annotated(lambda: db.from_sequence("abracadabra", npartitions=4).frequencies()),
    "bag: in part": bag_in_part,
    "bag: foldby": bag_that_is_grouped,
    "delayed: tree": delayed_tree,
    "delayed: chain": lambda: all_annotated(lambda: delayed(operator.neg)(delayed(operator.neg)(delayed(abs)(-1)))),
}


def handed_over(*collections, **options):
    """Return what `dask.compute` hands to a scheduler."""
    handed = []

    def note(expr, keys, **_):
        handed.append((expr, keys))
        return [None] * len(keys)

    dask.compute(*collections, scheduler=note, **options)
    return handed[0]


def names_in(key, node):
    """Yield the names of the layers that a task was made of."""
    keys = [key, *(node.args[0] if _recover._is_fused(node) else ())]
    return [part[0] if isinstance(part, tuple) else part for part in keys]


def share_recovered(expr, graph, notes):
    """Return the share of the tasks made of annotated layers for which the annotation is noted."""
    layers = [layer for operand in expr.operands for layer in operand.hlg.layers.items()]
    annotated = {name: layer.annotations for name, layer in layers if layer.annotations}
    found = []
    for key, node in graph.items():
        if isinstance(node, GraphNode):
            names = {name for name in names_in(key, node) if isinstance(name, str)}
            asked = [annotated[name] for name in annotated if any(part.startswith(name) for part in names)]
            found.extend(_is_noted(note, notes.get(key, ())) for note in asked)
    return sum(found) / len(found)


def _is_noted(annotation, notes):
    return any(note.keys() == annotation.keys() for note in notes)


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_annotations_reach_their_tasks(make):
    """For at least 95 % of the tasks that are made of annotated calls."""
    expr, _ = handed_over(make())
    graph, notes = _graph.read(expr)

    assert share_recovered(expr, graph, notes) >= 0.95


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "array: functions"])
def test_the_graph_is_the_one_that_dask_makes(name):
    """The same keys, and the same values."""
    expr, keys = handed_over(GRAPHS[name]())
    graph, _ = _graph.read(expr)
    theirs = expr.__dask_graph__()

    assert convert_legacy_graph(theirs).keys() == convert_legacy_graph(graph).keys()
    for one, other in zip(dask.get(theirs, keys), dask.get(graph, keys), strict=True):
        np.testing.assert_equal(other, one)
