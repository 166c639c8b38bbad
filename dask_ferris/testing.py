"""Help for users' tests."""

from __future__ import annotations

import contextlib

import dask.config

from dask_ferris import _policy
from dask_ferris._arguments import as_flag

__all__ = ["set_testing"]


class _Setting(contextlib.AbstractContextManager[None]):
    """What `set_testing` has changed, to be put back at the end of a ``with`` statement."""

    def __init__(self, *, before: bool) -> None:
        self._before = before

    def __exit__(self, *_error: object) -> None:
        _set(active=self._before)


def set_testing(active: bool = True) -> contextlib.AbstractContextManager[None]:  # noqa: FBT001, FBT002  as others' set_testing
    """Make runs quick and repeatable: no delays between attempts, and one worker, so that tasks start in a fixed order.

    It holds from now on, or for a ``with`` statement; for executors that are made and graphs that are run meanwhile.
    An executor then has one worker whatever its ``max_workers``; a graph that is run with ``num_workers`` keeps it.

    Args:
        active: Whether to begin or to end it.

    Returns:
        A context manager that puts things back as they were.

    Example:
        >>> import dask_ferris
        >>> with set_testing(), dask_ferris.Executor(8) as executor:
        ...     executor.get_worker_count()
        1
    """
    before = _policy.is_testing()
    _set(active=as_flag("active", active))
    return _Setting(before=before)


_config = contextlib.ExitStack()


def _set(*, active: bool) -> None:
    _policy.set_testing(active=active)
    _config.close()
    if active:
        _config.enter_context(dask.config.set(num_workers=1))
