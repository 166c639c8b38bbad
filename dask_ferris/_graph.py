"""Whatever Dask hands over becomes a plain dict, and annotations are not lost silently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dask

from dask_ferris import _cull
from dask_ferris._warn import warn

__all__ = ["as_dict"]

# Annotations that ask a scheduler for something. Others are their author's own notes.
_POLICY = frozenset({"allow_other_workers", "lane", "priority", "resources", "retries", "timeout", "workers"})


def as_dict(dsk: object) -> dict[Any, Any]:
    """Return a graph as a dict from keys to nodes, legacy tasks or data.

    Args:
        dsk: An expression, a `HighLevelGraph`, a collection or any other mapping.

    Returns:
        A dict that may be the argument itself.

    Raises:
        TypeError: `dsk` is no graph.
    """
    graph, names = _materialise(dsk)
    _warn_of_annotations(names | set(dask.get_annotations()))
    # `items`, as a `HighLevelGraph` looks for each single key in all its layers.
    return graph if type(graph) is dict else dict(graph.items())


def _materialise(dsk: Any) -> tuple[Mapping[Any, Any], set[str]]:
    """Return a graph as a mapping, and the names of its annotations."""
    if isinstance(dsk, dict):
        return dsk, set()
    culled = _cull.materialise(dsk)
    if culled is not None:
        return culled
    graph = dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") and not isinstance(dsk, Mapping) else dsk
    if not isinstance(graph, Mapping):
        msg = f"a graph must be a mapping from keys to tasks, or an object that Dask can make one of, not {dsk!r}"
        raise TypeError(msg)
    # Layers of an expression are made while it is materialised: the annotations are complete only now.
    return graph, _annotations(dsk)


def _annotations(dsk: Any) -> set[str]:
    names: set[str] = set()
    if hasattr(dsk, "__dask_annotations__"):
        names.update(dsk.__dask_annotations__())
    for layer in getattr(dsk, "layers", {}).values():
        names.update(layer.annotations or ())
    return names


def _warn_of_annotations(names: Iterable[str]) -> None:
    lost = sorted(_POLICY.intersection(names))
    if lost and not _has_warned:
        _has_warned.append(True)
        msg = (
            f"annotations are not honoured by this version of dask_ferris: {', '.join(lost)}; "
            "this is said once per process"
        )
        warn(msg)


_has_warned: list[bool] = []
