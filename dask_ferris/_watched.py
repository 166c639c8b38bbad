"""A run that Dask can watch: the calling thread gives out each task, takes it back and keeps Dask's account of it.

This is how a graph is run when callbacks are active or one of Dask's own options was given; the tasks themselves are
computed by the same programs as in any run. The account, called the state, is what Dask's schedulers keep:

=================  ========================================================================
``dependencies``   key to the set of keys it needs
``dependents``     key to the set of keys that need it
``waiting``        key to the set of keys it still waits for; no entry once it is ready
``waiting_data``   key to the set of keys that have still to use its value
``cache``          key to value: data, and what was computed and is still needed
``ready``          list of keys whose inputs are there, the next one last
``running``        set of keys that were given out
``finished``       set of keys that came back
``released``       set of keys whose values were dropped
=================  ========================================================================
"""

from __future__ import annotations

import sys
import time
from collections.abc import Hashable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from dask._task_spec import Alias, DataNode, GraphNode, convert_legacy_graph
from dask.local import nested_get

from dask_ferris import _check, _native
from dask_ferris._callbacks import Hooks, claimed

if TYPE_CHECKING:
    from dask_ferris._options import Options

__all__ = ["run"]

Key = Hashable
Graph = dict[Key, Any]
Cache = MutableMapping[Key, Any]

_SHORT = 20e-6
"""Seconds: tasks that come back faster than this on average are given out ahead of time. Guessed: the way to another
thread and back takes about as long."""

_MOST_AHEAD = 256
"""Tasks given out and not begun, at most: so many short ones take about 5 ms, which is how wrong a profile may be."""


def run(graph: Graph, keys: Any, options: Options) -> Any:
    """Run a graph for its keys.

    Args:
        graph: From keys to nodes, legacy tasks or data; it is not changed.
        keys: A key, or a list of keys, which may be nested.
        options: How it is to be done.

    Returns:
        The value of the key, or a tuple for a list of keys, nested as the list is.
    """
    with claimed(options.callbacks) as callbacks:
        dsk = _converted(graph, keys)
        state: dict[str, Any] = {}
        started: list[Hooks] = []
        failed = True
        try:
            for callback in callbacks:
                if callback.start:
                    callback.start(dsk)
                started.append(callback)
            _Run(dsk, keys, options, callbacks, state).to_the_end()
            failed = False
        finally:
            for callback in started:
                if callback.finish:
                    callback.finish(dsk, state, failed)
    return nested_get(keys, state["cache"])


def _converted(graph: Graph, keys: Any) -> Graph:
    """Return a new dict of nodes only."""
    try:
        # Aliases of themselves, which Dask leaves out, are nodes too: then there is something to convert.
        plain = _has_only_nodes(graph) and not any(isinstance(node, Alias) for node in graph.values())
        return dict(graph) if plain else dict(convert_legacy_graph(graph))
    except Exception:
        _native.compile(graph, keys)  # names the key of the node that cannot be read, if it is needed
        raise


def _has_only_nodes(graph: Graph) -> bool:
    # A set of types first: to ask for each value takes as long as to run a short task.
    return all(issubclass(kind, GraphNode) for kind in set(map(type, graph.values())))


class _Run:
    """The account of one run, and its way from the first task to the last."""

    def __init__(self, dsk: Graph, keys: Any, options: Options, callbacks: list[Hooks], state: dict[str, Any]) -> None:
        self._dsk = dsk
        self._state = state
        self._options = options
        self._pretask = [hooks.pretask for hooks in callbacks if hooks.pretask]
        self._posttask = [hooks.posttask for hooks in callbacks if hooks.posttask]
        cache: Cache = {} if options.cache is None else options.cache
        graph = _with_known(dsk, cache)
        self._graph = graph
        self._may_compute = options.step_elsewhere is None and not _has_running_loop()
        self._num_workers = options.num_workers
        self._window = options.num_workers
        calls_helpers, compare = options.step_elsewhere is None, _check.compare if options.check else None
        self._dispatcher = _native.Dispatcher(
            graph, keys, options.num_workers, calls_helpers, options.limit_blas, compare
        )
        state |= _open_account(graph, self._dispatcher, cache)
        for start_state in [hooks.start_state for hooks in callbacks if hooks.start_state]:
            start_state(dsk, state)

    def to_the_end(self) -> None:
        state = self._state
        try:
            while state["ready"] or state["running"]:
                self._give_out()
                self._take_back()
        finally:
            self._dispatcher.close()

    def _give_out(self) -> None:
        ready, running = self._state["ready"], self._state["running"]
        while ready and len(running) < self._window:
            key = ready.pop()
            running.add(key)
            for pretask in self._pretask:
                pretask(key, self._dsk, self._state)
            if len(running) == 1 and not ready and self._may_compute:
                # While this is all there is to do, nothing can happen that a callback would have to be told of.
                self._dispatcher.compute(key)
            else:
                self._dispatcher.give(key)
                if self._options.step_elsewhere is not None:
                    self._options.step_elsewhere(self._dispatcher)

    def _take_back(self) -> None:
        began = time.perf_counter()
        reports = self._dispatcher.collect()
        is_short = time.perf_counter() - began < _SHORT * len(reports)
        window = self._window * 2 if is_short else self._window // 2
        self._window = max(self._num_workers, min(window, _MOST_AHEAD))
        for key, result, error, thread in reports:
            value = result if error is None else self._answer(key, error)
            self._settle(key, value)
            for posttask in self._posttask:
                posttask(key, value, self._dsk, self._state, thread)

    def _answer(self, key: Key, error: BaseException) -> Any:
        """Raise the error of a task, or return what a ``raise_exception`` that does not raise leaves as its value."""
        if self._options.rerun:
            cache = self._state["cache"]
            self._graph[key]({needed: cache[needed] for needed in self._state["dependencies"][key]})
            error.add_note("the task did not fail when it was run again by rerun_exceptions_locally")
        if self._options.raise_exception is None:
            raise error
        self._options.raise_exception(error, error.__traceback__)
        return error

    def _settle(self, key: Key, value: Any) -> None:
        state = self._state
        state["cache"][key] = value
        ready, released = self._dispatcher.settle(key, value)
        if dependents := state["dependents"][key]:
            _remove(key, dependents, state["waiting"], ready)
            state["ready"] += ready
        if dependencies := state["dependencies"][key]:
            _remove(key, dependencies, state["waiting_data"], released)
            state["released"].update(released)
            for needed in released:
                state["cache"].pop(needed, None)
        state["finished"].add(key)
        state["running"].remove(key)


def _has_running_loop() -> bool:
    """Whether an event loop runs on this thread: a task that starts one of its own would fail here."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001  its documented name raises


def _remove(key: Key, others: Iterable[Key], waiting: dict[Key, set[Key]], done: Iterable[Key]) -> None:
    """Take a key out of what others wait for, and those out that wait for nothing any more."""
    for other in others:
        waiting[other].discard(key)
    for other in done:
        del waiting[other]


def _with_known(dsk: Graph, cache: Cache) -> Graph:
    """Return the graph with a data node for every value that is known: those callbacks put in, and those cached."""
    graph = dsk
    if not _has_only_nodes(dsk):
        graph = {key: node if isinstance(node, GraphNode) else DataNode(key, node) for key, node in dsk.items()}
    if len(cache) == 0:
        return graph
    named = graph.keys() | {needed for node in graph.values() for needed in node.dependencies}
    return graph | {key: DataNode(key, cache[key]) for key in named if key in cache}


def _open_account(graph: Graph, dispatcher: _native.Dispatcher, cache: Cache) -> dict[str, Any]:
    dependencies = {key: set(graph[key].dependencies) for key in dispatcher.needed()}
    dependents: dict[Key, set[Key]] = {key: set() for key in dependencies}
    waiting = {}
    for key, inputs in dependencies.items():
        if type(graph[key]) is DataNode:
            cache[key] = graph[key].value
        if awaited := {needed for needed in inputs if type(graph[needed]) is not DataNode}:
            waiting[key] = awaited
        for needed in inputs:
            dependents[needed].add(key)
    return {
        "dependencies": dependencies,
        "dependents": dependents,
        "waiting": waiting,
        "waiting_data": {key: set(users) for key, users in dependents.items()},
        "cache": cache,
        "ready": dispatcher.ready(),
        "running": set(),
        "finished": set(),
        "released": set(),
    }
