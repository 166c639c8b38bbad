"""Tasks that append to files, so that a second attempt would write twice what the first one has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask._task_spec import GraphNode, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dask.typing import Key

__all__ = ["keys_of"]

# The steps of Dask's shuffles by disk that write: by module and qualified name.
_APPENDING = frozenset(
    {("dask.bag.core", "partition"), ("dask.dataframe.dask_expr._shuffle", "DiskShuffle._shuffle_group")}
)
_NAMES = frozenset(name for _, name in _APPENDING)


def keys_of(graph: Mapping[Key, Any]) -> Iterator[Key]:
    """Yield the keys of the tasks that are known to append."""
    return (key for key, node in graph.items() if any(map(_appends, _functions(node))))


def _functions(node: Any) -> Iterator[Any]:
    """Yield what a node calls, with what is fused into it."""
    if isinstance(node, Task):
        yield node.func
        if node.args and isinstance(node.args[0], dict):
            for inner in node.args[0].values():
                if isinstance(inner, GraphNode):
                    yield from _functions(inner)
    elif type(node) is tuple and node:
        yield node[0]


def _appends(function: Any) -> bool:
    name = getattr(function, "__qualname__", None)
    return name in _NAMES and (getattr(function, "__module__", None), name) in _APPENDING
