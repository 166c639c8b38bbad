"""Hand-over: what only Dask's scheduler does so far is left to it, with the whole call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dask
import dask.threaded
import pytest
from dask._task_spec import Task, TaskRef
from dask.callbacks import Callback
from dask.diagnostics import Profiler
from graphs import inc

import dask_ferris

GRAPH = {"x": Task("x", inc, 1), "y": Task("y", inc, TaskRef("x"))}


class FakeThreadedGet:
    """Notes the calls of `dask.threaded.get`."""

    def __init__(self):
        """Start without calls."""
        self.calls = []

    def __call__(self, *args, **kwargs):
        """Note the call."""
        self.calls.append((args, kwargs))
        return "by dask"


@pytest.fixture
def threaded_get(monkeypatch):
    """Replace `dask.threaded.get`."""
    fake = FakeThreadedGet()
    monkeypatch.setattr(dask.threaded, "get", fake)
    return fake


def raise_it(error, _traceback):
    """Raise, as an option of Dask's."""
    raise error


ARGUMENTS = {
    "callbacks": [(None, None, None, None, None)],
    "cache": {},
    "pool": ThreadPoolExecutor(1),
    "rerun_exceptions_locally": True,
    "raise_exception": raise_it,
}


@pytest.mark.parametrize(("name", "value"), ARGUMENTS.items())
def test_an_argument_hands_the_call_over(threaded_get, name, value):
    """The call reaches `dask.threaded.get` with graph, keys and every keyword, once."""
    assert "by dask" == dask_ferris.get(GRAPH, ["y", ["x"]], num_workers=3, other=5, **{name: value})

    ((arguments, keywords),) = threaded_get.calls
    assert (GRAPH, ["y", ["x"]]) == arguments
    assert GRAPH is arguments[0]
    assert {"num_workers": 3, "other": 5, name: value} == keywords
    assert value is keywords[name]


@pytest.mark.parametrize("name", ["cache", "pool", "rerun_exceptions_locally"])
def test_the_configuration_hands_the_call_over(threaded_get, name):
    """Those of Dask's options that it reads from its configuration count there too."""
    with dask.config.set({name: ARGUMENTS[name]}):
        assert "by dask" == dask_ferris.get(GRAPH, "y", num_workers=2)

    assert [((GRAPH, "y"), {"num_workers": 2})] == threaded_get.calls


def test_an_active_callback_hands_the_call_over(threaded_get):
    """A callback registered with Dask sees the run, which only Dask's scheduler shows it."""
    with Callback():
        assert "by dask" == dask_ferris.get(GRAPH, "y")
        # `compute` takes what it gets for a sequence of values, one for each key.
        assert "b" == dask.delayed(inc)(1).compute(scheduler="ferris")
    assert 3 == dask_ferris.get(GRAPH, "y")
    assert 2 == len(threaded_get.calls)


@pytest.mark.usefixtures("threaded_get")
def test_a_registered_callback_hands_the_call_over():
    """The same for `Callback.register`, until it is unregistered."""
    callback = Callback()
    callback.register()
    try:
        assert "by dask" == dask_ferris.get(GRAPH, "y")
    finally:
        callback.unregister()
    assert 3 == dask_ferris.get(GRAPH, "y")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_none_is_not_given(threaded_get, name):
    """None means that the option was not given: the run is ours."""
    assert 3 == dask_ferris.get(GRAPH, "y", **{name: None})
    with dask.config.set({name: None}):
        assert 3 == dask_ferris.get(GRAPH, "y")
    assert [] == threaded_get.calls


def test_an_ordinary_call_is_ours(threaded_get):
    """Without any of these Dask's scheduler is not called."""
    before = dask_ferris.statistics().n_runs

    assert 3 == dask_ferris.get(GRAPH, "y", num_workers=2)
    assert 1 == dask_ferris.statistics().n_runs - before
    assert [] == threaded_get.calls


def test_options_are_checked_before_the_call_is_handed_over(threaded_get):
    """A wrong number of workers is an error here as everywhere."""
    with pytest.raises(TypeError, match="num_workers"):
        dask_ferris.get(GRAPH, "y", num_workers="2", cache={})
    assert [] == threaded_get.calls


def test_dasks_options_work():
    """What is handed over does what Dask says: cache, callbacks, diagnostics, pool."""
    cache, keys = {}, []
    with ThreadPoolExecutor(1) as pool:
        assert 3 == dask_ferris.get(GRAPH, "y", pool=pool, cache=cache)
    with Callback(pretask=lambda key, *_: keys.append(key)), Profiler() as profiler:
        assert 3 == dask_ferris.get(GRAPH, "y")

    assert {"y": 3} == cache
    assert ["x", "y"] == keys
    assert ["x", "y"] == [result.key for result in profiler.results]
