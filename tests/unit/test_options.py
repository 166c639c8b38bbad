"""Options: what is taken, what is refused, and what is only remarked on."""

from __future__ import annotations

import dask
import dask.system
import numpy as np
import pytest
from dask._task_spec import Task
from gates import barrier
from graphs import independent
from subprocesses import output_of

import dask_ferris
from dask_ferris import FerrisWarning, PolicyError

GRAPH = {"x": Task("x", abs, -1)}

LATER = {
    "lane": "process",
    "progress": True,
    "trace": "trace.json",
}


@pytest.mark.parametrize(("name", "value"), LATER.items())
def test_words_of_a_later_version_are_errors(name, value):
    """A policy that cannot be honoured yet is refused by name and value, and nothing runs."""
    ran = []

    with pytest.raises(PolicyError, match=name) as caught:
        dask_ferris.get({"x": Task("x", ran.append, 1)}, "x", **{name: value})
    assert repr(value) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert [] == ran


@pytest.mark.parametrize(("name", "value"), LATER.items())
def test_words_of_a_later_version_are_errors_through_compute(name, value):
    """Keywords of `compute` reach the scheduler and are judged there."""
    with pytest.raises(PolicyError, match=name):
        dask.delayed(abs)(-1).compute(scheduler="ferris", **{name: value})


def test_a_policy_is_not_lost_when_the_call_is_handed_over():
    """`dask.threaded.get` would ignore the word: so it is refused before."""
    with pytest.raises(PolicyError, match="retries"):
        dask_ferris.get(GRAPH, "x", retries=3, cache={})


@pytest.mark.parametrize("value", [True, False, 2.0, 1.5, "2", b"2", [2], {}], ids=repr)
def test_the_number_of_workers_is_an_int(value):
    """Anything else is a TypeError that shows the value, also a bool."""
    with pytest.raises(TypeError, match="num_workers") as caught:
        dask_ferris.get(GRAPH, "x", num_workers=value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, -(10**30)])
def test_the_number_of_workers_is_positive(value):
    """Less than one is a ValueError that shows the value and the limit."""
    with pytest.raises(ValueError, match=rf"num_workers.*greater than 0.*{value}"):
        dask_ferris.get(GRAPH, "x", num_workers=value)


@pytest.mark.parametrize("value", [2**31, 2**63, 10**30])
def test_more_workers_than_a_machine_can_have_may_be_allowed(value):
    """A number beyond all bounds is as good as the number of tasks."""
    assert (1, 1) == dask_ferris.get({**GRAPH, "y": (abs, -1)}, ["x", "y"], num_workers=value)


def test_a_large_number_of_workers_costs_nothing():
    """Threads are started when they are needed, not because they are allowed."""
    program = """
        import dask_ferris
        from dask._task_spec import Task
        print(dask_ferris.get({i: Task(i, abs, i) for i in range(3)}, [0, 1, 2], num_workers=1_000_000))
        print(dask_ferris.statistics().n_workers <= 2)
    """

    assert ["(0, 1, 2)", "True"] == output_of(program)


def test_an_integer_of_numpy_is_an_integer():
    """Whatever says that it is an integer (`__index__`) counts as one, as for `dask.threaded.get`."""
    meeting = barrier(2)
    graph = independent(meeting.wait, 2)

    assert [0, 1] == sorted(dask_ferris.get(graph, list(graph), num_workers=np.int64(2)))


@pytest.mark.parametrize(
    ("error", "value"), [(TypeError, "2"), (TypeError, True), (TypeError, 2.5), (ValueError, 0), (ValueError, -3)]
)
def test_the_configured_number_of_workers_is_checked_too(error, value):
    """An error in Dask's configuration says where the value came from."""
    with dask.config.set(num_workers=value), pytest.raises(error, match=r"config.*num_workers"):
        dask_ferris.get(GRAPH, "x")


def workers_that_meet(n, **options):
    """Run `n` tasks that can only end together."""
    meeting = barrier(n)
    graph = independent(meeting.wait, n)
    return len(dask_ferris.get(graph, list(graph), **options))


def test_the_number_of_workers_comes_from_the_argument_then_the_configuration():
    """The argument beats the configuration; None means that it was not given."""
    with dask.config.set(num_workers=3):
        assert 3 == workers_that_meet(3)
        assert 3 == workers_that_meet(3, num_workers=None)
        assert 5 == workers_that_meet(5, num_workers=5)


def test_the_default_number_of_workers_is_dasks():
    """Without argument and configuration there are as many workers as usable CPUs."""
    with dask.config.set(num_workers=None):
        assert dask.system.CPU_COUNT == workers_that_meet(dask.system.CPU_COUNT)


def test_the_default_number_of_workers_is_no_more_than_dasks():
    """One CPU, as Dask counts them, means the calling thread alone."""
    program = """
        import dask.system
        dask.system.CPU_COUNT = 1
        import dask_ferris, threading
        from dask._task_spec import Task
        graph = {i: Task(i, threading.current_thread) for i in range(100)}
        print(set(dask_ferris.get(graph, list(graph))) == {threading.main_thread()})
    """

    assert ["True"] == output_of(program)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("num_worker", "num_workers"),
        ("numworkers", "num_workers"),
        ("n_workers", "num_workers"),
        ("retry", "retries"),
        ("priorty", "priority"),
        ("time_out", "timeout"),
        ("timeouts", "timeout"),
        ("resource", "resources"),
        ("onerror", "on_error"),
        ("memory_limits", "memory_limit"),
        ("callback", "callbacks"),
        ("num-workers", "num_workers"),
    ],
)
def test_a_keyword_that_nearly_spells_an_option_warns(misspelt, meant):
    """The warning shows the word and the one that may have been meant; the run goes on."""
    with pytest.warns(FerrisWarning, match=f"{misspelt}.*{meant}"):
        assert 1 == dask_ferris.get(GRAPH, "x", **{misspelt: 1})


@pytest.mark.parametrize(
    "name",
    [
        "chunksize",
        "initializer",
        "optimize_graph",
        "start_callback",
        "traverse",
        "allow_other_workers",
        "workers",
        "x",
        "sync",
    ],
)
def test_other_unknown_keywords_are_ignored(name):
    """As Dask does, without a word (warnings are errors in this suite)."""
    assert 1 == dask_ferris.get(GRAPH, "x", **{name: 1})


def test_graph_and_keys_may_be_given_by_name():
    """The parameters are named as those of `dask.threaded.get`."""
    assert 1 == dask_ferris.get(dsk=GRAPH, keys="x")
    assert 1 == dask_ferris.get(GRAPH, keys="x", num_workers=1)


@pytest.mark.parametrize("arguments", [(), (GRAPH,)])
def test_graph_and_keys_are_needed(arguments):
    """A call without them is a TypeError."""
    with pytest.raises(TypeError):
        dask_ferris.get(*arguments)


@pytest.mark.parametrize("value", ["adaptive", "fixed"])
def test_width_is_an_option_and_a_config_key(value):
    """Both policies give the same results, by argument or by config."""
    assert 1 == dask_ferris.get(GRAPH, "x", width=value)
    with dask.config.set({"ferris.width": value}):
        assert 1 == dask_ferris.get(GRAPH, "x", num_workers=2)


@pytest.mark.parametrize(
    ("value", "error"), [("wide", ValueError), ("", ValueError), (2, TypeError), (True, TypeError)]
)
def test_an_unknown_width_is_an_error(value, error):
    """The error names the value and what is allowed."""
    with pytest.raises(error, match=r"width must be one of 'adaptive', 'fixed'") as caught:
        dask_ferris.get(GRAPH, "x", width=value)
    assert repr(value) in str(caught.value)
    with dask.config.set({"ferris.width": value}), pytest.raises(error, match=r"'ferris\.width' must be one of"):
        dask_ferris.get(GRAPH, "x")
