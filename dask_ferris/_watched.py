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

from collections.abc import Callable, Hashable, MutableMapping
from functools import partial
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
            _Run(dsk, options, callbacks, state).to_the_end(keys)
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
    """One run, from the opening of its account to its last task."""

    def __init__(self, dsk: Graph, options: Options, callbacks: list[Hooks], state: dict[str, Any]) -> None:
        self.dsk = dsk
        self._state = state
        self._options = options
        self._callbacks = callbacks
        self.pretasks = [hooks.pretask for hooks in callbacks if hooks.pretask]
        self.posttasks = [hooks.posttask for hooks in callbacks if hooks.posttask]
        self.given: Callable[[], object] | None = None

    def to_the_end(self, keys: Any) -> None:
        options, step_elsewhere = self._options, self._options.step_elsewhere
        cache: Cache = {} if options.cache is None else options.cache
        self._graph = _with_known(self.dsk, cache)
        compare = _check.compare if options.check else None
        dispatcher = _native.Dispatcher(
            self._graph, keys, options.num_workers, step_elsewhere is None, options.limit_blas, compare
        )
        self.given = None if step_elsewhere is None else partial(step_elsewhere, dispatcher)
        try:
            dispatcher.work(self._state, cache, self._tell_of_start, self)
        finally:
            dispatcher.close()

    def _tell_of_start(self) -> None:
        for start_state in [hooks.start_state for hooks in self._callbacks if hooks.start_state]:
            start_state(self.dsk, self._state)

    def answer(self, key: Key, error: BaseException) -> Any:
        """Raise the error of a task, or return what a ``raise_exception`` that does not raise leaves as its value."""
        if self._options.rerun:
            cache = self._state["cache"]
            self._graph[key]({needed: cache[needed] for needed in self._state["dependencies"][key]})
            error.add_note("the task did not fail when it was run again by rerun_exceptions_locally")
        if self._options.raise_exception is None:
            raise error
        self._options.raise_exception(error, error.__traceback__)
        return error


def _with_known(dsk: Graph, cache: Cache) -> Graph:
    """Return the graph with a data node for every value that is known: those callbacks put in, and those cached."""
    graph = dsk
    if not _has_only_nodes(dsk):
        graph = {key: node if isinstance(node, GraphNode) else DataNode(key, node) for key, node in dsk.items()}
    if len(cache) == 0:
        return graph
    named = graph.keys() | {needed for node in graph.values() for needed in node.dependencies}
    return graph | {key: DataNode(key, cache[key]) for key in named if key in cache}
