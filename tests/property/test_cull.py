"""Delayed graphs that we optimise ourselves are those that Dask makes of them."""

from __future__ import annotations

import operator

import dask
import dask.array as da
import pytest
from dask import delayed
from dask._task_spec import convert_legacy_graph
from hypothesis import given
from hypothesis import strategies as st

import dask_ferris
from dask_ferris import _recover


def handed_over(*collections, **options):
    """Return what `dask.compute` hands to a scheduler."""
    handed = []

    def note(expr, keys, **_):
        handed.append(expr)
        return [None] * len(keys)

    dask.compute(*collections, scheduler=note, **options)
    return handed[0]


def assert_same_graph(expr):
    """Compare the graph we make of an expression with the one Dask makes, node by node."""
    annotated = _recover.materialise(expr)
    assert annotated is not None
    ours, theirs = convert_legacy_graph(annotated.graph), convert_legacy_graph(dict(expr.__dask_graph__()))

    assert set(theirs) == set(ours)
    assert all(theirs[key] == ours[key] for key in theirs)


def annotated(one, other):
    """Call within an annotation."""
    with dask.annotate(priority=1):
        return delayed(max)(one, other)


CALLS = {
    "add": delayed(operator.add),
    "pure": delayed(operator.add, pure=True),
    "operator": lambda one, other: one * other,
    "attribute": lambda one, _other: one.real,
    "method": lambda one, other: one.__add__(other) + one.conjugate(),
    "list": lambda one, other: delayed(sum)([one, [other][0], 1]),
    "dict": lambda one, other: delayed(len)({"a": one, "b": [other]}) + one,
    "keyword": lambda one, other: delayed(operator.getitem)(delayed(dict)(a=one, b=other), "a"),
    "several": lambda one, other: list(delayed(divmod, nout=2)(one, other + 1))[1],
    "annotated": annotated,
}


@st.composite
def programs(draw):
    """Draw values made of calls on earlier ones, and the choice of those that are computed."""
    values = [delayed(1), delayed(2)]
    for _ in range(draw(st.integers(1, 12))):
        call = CALLS[draw(st.sampled_from(sorted(CALLS)))]
        values.append(call(draw(st.sampled_from(values)), draw(st.sampled_from(values))))
    return draw(st.lists(st.sampled_from(values), min_size=1, max_size=4))


@pytest.mark.filterwarnings("ignore:annotations are not honoured:dask_ferris.FerrisWarning")
@given(programs())
def test_the_graph_is_the_same(collections):
    """Whatever is computed together, with calls nobody needs left out."""
    expr = handed_over(*collections)
    assert_same_graph(expr)
    assert dask.compute(*collections, scheduler="sync") == dask.compute(*collections, scheduler=dask_ferris.get)


def test_beside_other_collections():
    """Only the Delayed part is ours, and what it was made of."""
    array = da.ones((4, 4), chunks=2)
    assert_same_graph(handed_over(delayed(abs)(-1), array + 1, delayed(abs)(-2)))
    assert_same_graph(handed_over(delayed(sum)(array), delayed(len)(array.to_delayed().ravel().tolist())))


LEFT_TO_DASK = {
    "an array": lambda: handed_over(da.ones(3)),
    "without optimisation": lambda: handed_over(delayed(abs)(1), optimize_graph=False),
    "a dict": lambda: {"x": 1},
}


@pytest.mark.parametrize("name", LEFT_TO_DASK)
def test_everything_else_is_left_to_dask(name):
    """What is not exactly Dask's own optimiser on plain layers."""
    expr = LEFT_TO_DASK[name]()
    culled = _recover.materialise(expr)
    assert culled is None


@pytest.mark.parametrize("key", ["delayed_optimize", "optimization.fuse.delayed"])
def test_a_configured_optimiser_is_left_to_dask(key):
    """An optimiser of the user's, and Dask's own when it is told to fuse."""

    def optimise(dsk, _keys, **_):
        return dsk

    with dask.config.set({key: optimise}):
        assert _recover.materialise(handed_over(delayed(abs)(1))) is None


def test_a_wide_fan_in():
    """Many inputs of one call, and the result."""
    total = delayed(sum)([delayed(abs)(-i) for i in range(1000)])

    assert 1000 * 999 // 2 == total.compute(scheduler="ferris")
