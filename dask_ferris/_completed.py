"""Results of a run as they come."""

# ruff: noqa: SLF001  a run and what is taken of it are one thing in two classes
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dask_ferris import _work
from dask_ferris._run import Run

if TYPE_CHECKING:
    from typing import Self

    from dask_ferris import _native

__all__ = ["Completed", "as_completed"]


class Completed(Iterator[tuple[Any, Any]]):
    """What `as_completed` returns: pairs of a key, or the place of a collection, and its value, as they come.

    The run is cancelled when this is closed, left as a context manager, or no longer there.
    """

    def __init__(self, run: Run, handle: _native.GovernedRun, names: list[list[Any]]) -> None:
        """Take a run that hands over, with its native part, and what the places of its keys are called."""
        self._run = run
        self._handle = handle
        self._names = names
        self._taken: deque[tuple[Any, Any]] = deque()
        self._is_closed = False

    def __next__(self) -> tuple[Any, Any]:
        """Wait for the next value.

        Raises:
            StopIteration: There is none any more, or this was closed.
            BrokenPoolError: The process is a fork of the one that has begun the run.
            Exception: Whatever the run has failed with, once everything was yielded that had its value before.
        """
        if self._is_closed:
            raise StopIteration
        while True:
            with suppress(IndexError):  # another thread may take, too
                return self._taken.popleft()
            self._take()

    def _take(self) -> None:
        try:
            self._run._check_fork()
            taken = self._handle.take()
        except BaseException:
            self.close()  # who was interrupted takes no more
            raise
        if taken is None:
            self._raise_failure()
            raise StopIteration
        places, value = taken
        self._taken.extend((name, value) for place in places for name in self._names[place])

    def _raise_failure(self) -> None:
        try:
            self._run.result()
        except StopIteration as error:
            msg = "a task has raised StopIteration"
            raise RuntimeError(msg) from error

    def close(self) -> None:
        """Cancel what has not begun, and drop what was not yielded."""
        self._is_closed = True
        self._taken.clear()
        self._run.cancel()
        while not self._run._is_forked() and self._handle.take():
            pass

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Cancel what has not begun."""
        self.close()

    def __del__(self) -> None:
        """Cancel what has not begun."""
        if hasattr(self, "_run"):
            self.close()


def as_completed(*args: Any, **options: Any) -> Completed:
    """Begin a run and yield its values as they come; ``as_completed(*collections)`` or ``as_completed(dsk, keys)``.

    A value is dropped here once it was yielded, and its memory is free when no task and nobody else needs it.

    Args:
        *args: Collections of Dask; or a graph, and a key or a list of keys, which may be nested.
        **options: As for `start`.

    Returns:
        An iterator over pairs of the place of a collection among the arguments, or of a key, and its value.
        Each key is there once.

    Raises:
        TypeError: An option is not known, or an argument is no collection.
        Exception: Whatever `get` would raise before anything runs.

    Example:
        >>> import dask_ferris
        >>> sorted(dask_ferris.as_completed({"x": 1, "y": (sum, ["x", 2])}, ["y", "x"]))
        [('x', 1), ('y', 3)]
    """
    work = _work.read("as_completed", args, options)
    begun = _work.begin(work, hands_over=True)
    return Completed(Run(begun, None), begun.handle, work.names)
