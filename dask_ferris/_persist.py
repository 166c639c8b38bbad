"""`dask.persist` with values that stay values."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import dask
from dask._task_spec import DataNode, GraphNode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["persist"]


def persist(get: Callable[..., Any], collections: Sequence[Any], **kwargs: Any) -> list[Any]:
    """Persist collections; `dask.persist` hands over to this.

    Args:
        get: What computes them.
        collections: Collections of Dask.
        **kwargs: What was given to `dask.persist`.
    """

    def get_data(dsk: object, keys: list[Any], **options: Any) -> list[Any]:
        """Return the values of keys as they can stand in a graph."""
        named = zip(keys, get(dsk, keys, **options), strict=True)
        return [DataNode(key, value) if _is_ambiguous(value) else value for key, value in named]

    return list(dask.persist(*collections, traverse=False, scheduler=get_data, **kwargs))


def _is_ambiguous(value: Any) -> bool:
    """Return whether a value in a graph may be taken for a task, for keys or for a key."""
    if isinstance(value, (tuple, list, dict, set, frozenset, GraphNode)):
        return True
    if isinstance(value, numbers.Number) and type(value).__module__ == "numpy":
        return False  # a block without axes, which Dask looks at as an array
    try:
        hash(value)
    except Exception:  # noqa: BLE001  whatever it raises, no key is like it
        return False
    return True
