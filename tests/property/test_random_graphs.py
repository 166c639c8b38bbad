"""Random graphs against Dask's synchronous scheduler, on 1 to 8 workers."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import dask
import pytest
from dask._task_spec import Task, TaskRef, convert_legacy_graph
from dask.local import get_sync
from gates import WAIT
from hypothesis import given
from hypothesis import strategies as st
from plans import Plan, plans
from random_graphs import Boom, Recorder, build, canonical

import dask_ferris
from dask_ferris import CycleError

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS = st.integers(1, 8)


# Shrinking a failing graph takes hypothesis up to five minutes, and is no deadlock.
pytestmark = pytest.mark.timeout(10 * WAIT, method="thread")

# With `ferris.check` each task is called twice and the results are compared.
with_and_without_check = pytest.mark.parametrize("check", [False, True], ids=["plain", "check"])


def run(plan: Plan, recorder: Recorder, num_workers: int, *, check: bool) -> Any:
    """Run the plan around the recorder on our scheduler."""
    with dask.config.set({"ferris.check": check}):
        return dask_ferris.get(build(plan, recorder), plan.keys(), num_workers=num_workers)


@with_and_without_check
@given(plan=plans(failures=False), num_workers=WORKERS)
def test_results_are_dasks(check: bool, plan: Plan, num_workers: int) -> None:
    """The values, their types and the shape of the result are the same."""
    expected = get_sync(build(plan, Recorder()), plan.keys())
    result = run(plan, Recorder(), num_workers, check=check)

    assert canonical(expected) == canonical(result)


@given(plan=plans(failures=False), num_workers=WORKERS)
def test_every_needed_task_runs_once_after_what_it_needs(plan: Plan, num_workers: int) -> None:
    """Each call is made as often as Dask makes it, those of the plan's own tasks once, dependencies first."""
    oracle, recorder = Recorder(), Recorder()
    get_sync(build(plan, oracle), plan.keys())
    run(plan, recorder, num_workers, check=False)

    assert oracle.starts() == recorder.starts()
    called = {i for i in plan.needed() if i in plan.calls_of(i)}
    assert Counter(called) == Counter(name for name in recorder.starts().elements() if isinstance(name, int))
    assert_dependencies_first(plan, recorder)


def assert_dependencies_first(plan: Plan, recorder: Recorder) -> None:
    """Look up in the log that a call starts after the calls it depends on have ended."""
    for i in plan.needed():
        if i not in plan.calls_of(i):
            continue
        for j in plan.nodes[i].references():
            if j in plan.calls_of(j):
                assert recorder.position("end", j) < recorder.position("start", i)


@with_and_without_check
@given(plan=plans(failures=True), num_workers=WORKERS)
def test_failures_are_raised_and_stop_what_depends_on_them(check: bool, plan: Plan, num_workers: int) -> None:
    """One of the failures that could come first is raised; nothing after it starts; nothing runs twice."""
    recorder = Recorder(plan.failing)
    spoiled = plan.spoiled()
    first = set().union(*(plan.calls_of(i) for i in plan.needed() - spoiled)) & plan.failing

    try:
        run(plan, recorder, num_workers, check=check)
        raised = set()
    except Boom as error:
        raised = set(error.args)

    assert bool(first) == bool(raised)
    assert raised <= first
    assert not spoiled & set(recorder.starts())
    if not check:
        assert {1} >= {n for name, n in recorder.starts().items() if isinstance(name, int)}


def reaches(graph: dict[Any, Any], start: Any, goal: Any) -> bool:
    """Tell whether `start` depends on `goal`, directly or not."""
    seen, stack = set(), [start]
    while stack:
        key = stack.pop()
        if key == goal:
            return True
        if key not in seen and key in graph:
            seen.add(key)
            stack.extend(graph[key].dependencies)
    return False


@given(plan=plans(failures=False), num_workers=WORKERS, data=st.data())
def test_a_closed_cycle_is_found(plan: Plan, num_workers: int, data: st.DataObject) -> None:
    """A node that is made to depend on another one gives an error if that closes a cycle, and only then.

    Dask is no oracle here: of some cyclic graphs `dask.order` says KeyError.
    """
    graph = convert_legacy_graph(build(plan, Recorder()))
    keys = list(graph)
    changed, other = data.draw(st.sampled_from(keys)), data.draw(st.sampled_from(keys))
    is_cycle = reaches(graph, other, changed)
    graph[changed] = Task(changed, Recorder(), "changed", ..., TaskRef(other))

    with pytest.raises(CycleError) if is_cycle else contextlib.nullcontext():
        result = dask_ferris.get(graph, keys, num_workers=num_workers)
    if not is_cycle:
        assert canonical(get_sync(graph, keys)) == canonical(result)


def outcome(get: Callable[..., Any], dsk: dict[Any, Any], keys: list[Any], **options: int) -> object:
    """Return the value, or the first words of the error."""
    try:
        return canonical(get(dsk, keys, **options))
    except ValueError as error:
        return str(error)[: len("Missing dependency")]


@given(plan=plans(failures=False), num_workers=WORKERS, data=st.data())
def test_a_graph_with_a_hole_fails_as_dasks_does(plan: Plan, num_workers: int, data: st.DataObject) -> None:
    """A node that is removed has the consequence it has for Dask: none, or a missing dependency.

    The removed key itself is not asked for: if it is also a dependency, Dask may wait for it for ever.
    """
    graph = build(plan, Recorder())
    del graph[data.draw(st.sampled_from(list(graph)))]
    keys = list(graph)

    assert outcome(get_sync, graph, keys) == outcome(dask_ferris.get, graph, keys, num_workers=num_workers)
