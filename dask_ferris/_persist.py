"""`dask.persist` with values that stay values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
from dask._task_spec import DataNode

from dask_ferris import _native

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["persist"]


def persist(collections: Sequence[Any], **kwargs: Any) -> list[Any]:
    """Persist collections; `dask.persist` hands over to this.

    Args:
        collections: Collections of Dask.
        **kwargs: What was given to `dask.persist`.
    """
    return list(dask.persist(*collections, traverse=False, scheduler=_get_data, **kwargs))


def _get_data(dsk: object, keys: list[Any], **options: Any) -> list[Any]:
    """Return the values of keys as they can stand in a graph."""
    values = _native.get(dsk, keys, **options)
    return [DataNode(key, value) if _is_ambiguous(value) else value for key, value in zip(keys, values, strict=True)]


def _is_ambiguous(value: Any) -> bool:
    """Return whether a value in a graph may be taken for a task, for keys or for a key."""
    if isinstance(value, (tuple, list, dict, set, frozenset)):
        return True
    try:
        hash(value)
    except TypeError:
        return False  # as arrays: no key is like it
    return True
