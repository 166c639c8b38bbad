"""Callbacks: who is told what, when, on which thread, and with which account of the run."""

from __future__ import annotations

import io
import threading
import time

import pytest
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.callbacks import Callback
from dask.diagnostics import CacheProfiler, Profiler, ProgressBar
from differences import differs
from gates import barrier
from graphs import add, chain, fan_in, inc, total
from tqdm import tqdm
from tqdm.dask import TqdmCallback

GRAPH = {
    "data": DataNode("data", 1),
    "x": Task("x", inc, TaskRef("data")),
    "y": Task("y", add, TaskRef("x"), TaskRef("data")),
    "alias": Alias("alias", "y"),
    "z": Task("z", add, TaskRef("alias"), TaskRef("x")),
}


class Recorder(Callback):
    """Notes what it is told, with a copy of the account as it is then."""

    def __init__(self):
        """Begin with nothing."""
        self.events = []
        self.threads = set()
        self.workers = set()

    def _note(self, name, key, state):
        self.threads.add(threading.get_ident())
        self.events.append((name, key, {word: set(held) for word, held in state.items()}))

    def _start(self, dsk):
        self.dsk = dsk
        self._note("start", None, {})

    def _start_state(self, dsk, state):
        assert dsk is self.dsk
        self._note("start_state", None, state)

    def _pretask(self, key, dsk, state):
        assert dsk is self.dsk
        self._note("pretask", key, state)

    def _posttask(self, key, value, dsk, state, worker):
        assert value == state["cache"][key]
        assert dsk is self.dsk
        self.workers.add(worker)
        self._note("posttask", key, state)

    def _finish(self, dsk, state, failed):
        assert dsk is self.dsk
        self._note(f"finish {failed}", None, state)

    def names(self):
        """Return the events as words."""
        return [(name, key) for name, key, _ in self.events]

    def state(self, name, key=None):
        """Return the account at one event."""
        (state,) = [state for *event, state in self.events if event == [name, key]]
        return state


def test_events_in_order(get):
    """Start, account, each task out and back in order, end; aliases are tasks, data is not."""
    with Recorder() as recorder:
        assert 5 == get(GRAPH, "z")

    tasks = [(event, key) for key in ("x", "y", "alias", "z") for event in ("pretask", "posttask")]
    assert [("start", None), ("start_state", None), *tasks, ("finish False", None)] == recorder.names()
    assert {threading.get_ident()} == recorder.threads
    assert all(isinstance(worker, int) for worker in recorder.workers)


def test_the_account_at_the_start(get):
    """Data is there, the first task ready, the rest waiting."""
    with Recorder() as recorder:
        get(GRAPH, "z")
    state = recorder.state("start_state")

    assert {"data"} == state["cache"]
    assert {"x"} == state["ready"]
    assert {"y", "alias", "z"} == state["waiting"]
    assert set(GRAPH) == state["dependencies"] == state["dependents"] == state["waiting_data"]
    assert set() == state["running"] | state["finished"] | state["released"]


def test_the_account_on_the_way(get):
    """A task is running when it is given out; values go when the last task that needs them is done."""
    with Recorder() as recorder:
        get(GRAPH, "z")

    assert {"x"} == recorder.state("pretask", "x")["running"]
    after_y = recorder.state("posttask", "y")
    assert ({"x", "y"}, {"data"}, {"x", "y"}) == (after_y["finished"], after_y["released"], after_y["cache"])
    assert {"z"} == after_y["waiting"]
    end = recorder.state("finish False")
    assert ({"x", "y", "alias", "z"}, {"z"}, {"z"}) == (end["finished"], end["cache"], end["waiting_data"])
    assert {"data", "x", "y", "alias"} == end["released"]


def test_the_sets_of_the_account(get):
    """Dependencies and dependents are sets of keys, waiting those that have not finished."""
    seen = {}

    def look(_dsk, state):
        seen.update({word: {key: set(keys) for key, keys in state[word].items()} for word in list(state)[:4]})

    with Callback(start_state=look):
        get(GRAPH, "z")

    assert {"alias", "x"} == seen["dependencies"]["z"]
    assert {"x", "y"} == seen["dependents"]["data"]
    assert {"x"} == seen["waiting"]["y"]
    assert {"y", "z"} == seen["waiting_data"]["x"]


@pytest.mark.parametrize("n_tasks", [1, 50, 3000])
def test_every_task_is_told_once(get, n_tasks):
    """Out and back, with the right value, however many are given out ahead."""
    out, back = [], {}
    hooks = {"pretask": lambda key, *_: out.append(key), "posttask": lambda key, value, *_: back.update({key: value})}
    with Callback(**hooks):
        value = get(fan_in(n_tasks), "total")

    assert sum(range(1, n_tasks + 1)) == value
    assert {("leaf", i): i + 1 for i in range(n_tasks)} | {"total": value} == back
    assert n_tasks + 1 == len(out) == len(back)


def test_a_long_chain(get):
    """Ten thousand tasks, one after the other."""
    with Recorder() as recorder:
        assert 1000 == get(chain(1000), 1000)
    assert 2 * 1000 + 3 == len(recorder.events)


def test_tasks_run_side_by_side(plain_get):
    """As many as there are workers, while the caller waits to be told."""
    meeting = barrier(4)
    graph = {i: Task(i, lambda: meeting.wait() and None) for i in range(4)}
    with Recorder() as recorder:
        plain_get(graph, list(graph), num_workers=4)

    assert 4 == len(recorder.workers)
    assert {threading.get_ident()} == recorder.threads


def fail():
    """Raise."""
    raise ZeroDivisionError


def test_a_failure(get):
    """The task that fails is not told back; the end says that it failed."""
    graph = {"x": Task("x", fail), "y": Task("y", inc, TaskRef("x"))}
    with Recorder() as recorder, pytest.raises(ZeroDivisionError):
        get(graph, "y")

    assert [("pretask", "x"), ("finish True", None)] == recorder.names()[2:]
    assert {"x"} == recorder.state("finish True")["running"]


@pytest.mark.parametrize("graph", [{"x": Task("x", inc, TaskRef("lost"))}, {"x": Task("x", inc, TaskRef("x"))}])
def test_a_graph_that_cannot_run(get, graph):
    """Start and end are told, and nothing between."""
    with Recorder() as recorder, pytest.raises((ValueError, RuntimeError)):
        get(graph, "x")

    assert [("start", None), ("finish True", None)] == recorder.names()
    assert {} == recorder.state("finish True")


HOOKS = ("start", "start_state", "pretask", "posttask", "finish")


@pytest.mark.parametrize("hook", HOOKS)
def test_an_error_in_a_hook(get, hook):
    """It reaches the caller, every callback that was started is finished, and the next run is as ever."""
    finished = []

    def broken(*_args):
        raise LookupError(hook)

    with (
        Callback(finish=lambda *_: finished.append(1)),
        pytest.raises(LookupError, match=hook),
        Callback(**{hook: broken}),
    ):
        get(GRAPH, "z")
    assert len(finished) <= 1
    assert not Callback.active
    assert 5 == get(GRAPH, "z")


def test_runs_inside_tasks_see_none(get):
    """Inside a task no callback is active, but one that the task adds is."""
    inner, active = Recorder(), []

    def nested():
        active.append(bool(Callback.active))
        with inner:
            return get({"inner": Task("inner", inc, 1)}, "inner")

    with Recorder() as outer:
        assert 3 == get({"a": Task("a", nested), "b": Task("b", inc, TaskRef("a"))}, "b")

    assert [False] == active
    assert {"a", "b", None} == {key for _, key in outer.names()}
    assert {"inner", None} == {key for _, key in inner.names()}
    assert not Callback.active


def test_callbacks_of_the_call(get):
    """Those of `callbacks=` are told instead of the active ones; an empty list tells nobody."""
    with Recorder() as active:
        recorder = Recorder()
        get(GRAPH, "z", callbacks=[recorder._callback])
        get(GRAPH, "z", callbacks=[])

    assert [] == active.events
    assert 11 == len(recorder.events)


@differs("registrations survive runs that overlap")
def test_overlapping_runs_lose_no_registration(plain_get):
    """Two runs that begin and end in turns leave the callbacks as they were."""
    first_is_on, second_is_done = threading.Event(), threading.Event()

    def first():
        first_is_on.set()
        assert second_is_done.wait(30)

    recorder = Recorder()
    recorder.register()
    try:
        thread = threading.Thread(target=plain_get, args=({"first": Task("first", first)}, "first"))
        thread.start()
        assert first_is_on.wait(30)
        late = Callback(pretask=print)
        gate = threading.Event()

        def second():
            second_is_done.set()
            thread.join(30)
            gate.set()

        with late:
            plain_get({"second": Task("second", second)}, "second")
        assert gate.is_set()
        assert {recorder._callback} == Callback.active
    finally:
        Callback.active.clear()


def test_profiler(get):
    """Every task with its times, in order."""
    with Profiler() as profiler:
        get({"x": Task("x", time.sleep, 0.01), "y": Task("y", total, TaskRef("data")), "data": 1}, ["x", "y"])

    taken = {result.key: result.end_time - result.start_time for result in profiler.results}
    assert {"x", "y"} == set(taken)
    assert taken["x"] >= 0.01


def test_cache_profiler(get):
    """When values came and went."""
    with CacheProfiler() as profiler:
        get(GRAPH, "z")

    assert {"x", "y", "alias", "z"} == {result.key for result in profiler.results}
    assert all(result.free_time >= result.cache_time for result in profiler.results)


def test_tqdm(get):
    """It counts to the number of tasks."""
    bar = TqdmCallback(file=io.StringIO())
    counted = []
    bar.tqdm_class = lambda **options: counted.append(tqdm(**options)) or counted[0]
    with bar:
        get(fan_in(20), "total")

    assert (21, 21) == (counted[0].total, counted[0].n)


def test_progress_bar(get):
    """It ends at a hundred per cent."""
    out = io.StringIO()
    with ProgressBar(out=out):
        get(fan_in(20), "total")

    assert "100% Completed" in out.getvalue()
