"""The comparison behind the config key ``ferris.check``."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from dask_ferris.exceptions import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["compare"]


def compare(key: object, node: Callable[[Mapping[Any, Any]], object], values: Mapping[Any, Any], got: object) -> None:
    """Run a task as Dask would and compare with what its native program gave.

    Args:
        key: The key of the task.
        node: The task as Dask has it.
        values: The values it depends on.
        got: What the native program gave.

    Raises:
        InternalError: The two results differ.
    """
    expected = node(values)
    if not _is_same_or_unknown(expected, got):
        msg = (
            f"ferris.check: task {key!r} gave {got!r}, and {expected!r} when run as Dask would; "
            "unless its function gives another result each time, this is a bug in dask_ferris"
        )
        raise InternalError(msg)


def _is_same_or_unknown(left: object, right: object) -> bool:
    """Tell whether two results are the same, or cannot be compared and so tell nothing about the compiler."""
    try:
        return _is_same(left, right) or pickle.dumps(left) == pickle.dumps(right)
    except Exception:  # noqa: BLE001  whatever a type's own comparison or pickling raises
        return True


def _is_same(left: object, right: object) -> bool:
    """Tell whether two results are the same, as far as can be told."""
    return left is right or (type(left) is type(right) and _comparison(left)(left, right))


def _comparison(value: object) -> Callable[[Any, Any], bool]:
    """Return the way to compare two results of the type of `value`."""
    if isinstance(value, (list, tuple)):
        return _is_same_sequence
    if isinstance(value, dict):
        return _is_same_dict
    if hasattr(value, "equals"):  # pandas
        return lambda left, right: bool(left.equals(right))
    return _is_same_array if hasattr(value, "dtype") else _is_same_value


def _is_same_sequence(left: Sequence[object], right: Sequence[object]) -> bool:
    return len(left) == len(right) and all(map(_is_same, left, right))


def _is_same_dict(left: dict[Any, object], right: dict[Any, object]) -> bool:
    return left.keys() == right.keys() and all(_is_same(left[name], right[name]) for name in left)


def _is_same_array(left: Any, right: Any) -> bool:
    if left.dtype != right.dtype or getattr(left, "shape", None) != getattr(right, "shape", None):
        return False
    if left.dtype.hasobject:
        return _is_same_sequence(left.ravel().tolist(), right.ravel().tolist())
    same = (left == right) | ((left != left) & (right != right))  # noqa: PLR0124  not a number is unlike itself
    return bool(same.all())


def _is_same_value(left: object, right: object) -> bool:
    # A type that does not say what equal means compares by identity: two results of it tell nothing.
    return type(left).__eq__ is object.__eq__ or bool(left == right) or _is_nan(left, right)


def _is_nan(left: object, right: object) -> bool:
    return left != left and right != right  # noqa: PLR0124  not a number is unlike itself
