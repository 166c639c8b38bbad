"""Results of a run as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dask_ferris import _work
from dask_ferris._run import Run

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Completed", "as_completed"]


class Completed(Iterator[tuple[Any, Any]]):
    """What `as_completed` returns: pairs of a key, or the place of a collection, and its value, as they come.

    The run is cancelled when this is closed, left as a context manager, or no longer there.
    """

    def __init__(self, run: Run, names: list[Any]) -> None:
        """Take a run that hands over, and what the places of its keys are called."""
        self._run = run
        self._names = names
        self._taken: deque[tuple[Any, Any]] = deque()

    def __next__(self) -> tuple[Any, Any]:
        """Wait for the next value.

        Raises:
            CancelledError: This was closed.
            Exception: Whatever the run has failed with, once everything was yielded that had its value before.
        """
        if not self._taken:
            self._take()
        return self._taken.popleft()

    def _take(self) -> None:
        try:
            taken = self._run._handle.take()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        except BaseException:
            self.close()  # who was interrupted takes no more
            raise
        if taken is None:
            self._run.result()
            raise StopIteration
        places, value = taken
        self._taken.extend((name, value) for place in places for name in self._names[place])

    def close(self) -> None:
        """Cancel what has not begun, and drop what was not yielded."""
        self._taken.clear()
        self._run.cancel()

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Cancel what has not begun."""
        self.close()

    def __del__(self) -> None:
        """Cancel what has not begun."""
        if hasattr(self, "_run"):
            self._run.cancel()


def as_completed(*args: Any, **options: Any) -> Completed:
    """Begin a run and yield its values as they come; `as_completed(*collections)` or `as_completed(dsk, keys)`.

    A value is dropped here once it was yielded, and its memory is free when no task and nobody else needs it.

    Args:
        *args: Collections of Dask; or a graph, and a key or a list of keys, which may be nested.
        **options: As for `start`.

    Returns:
        An iterator over pairs: the place of a collection among the arguments and its value, or a key and its value.
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
    run = Run(_work.begin(work, hands_over=True), None)
    return Completed(run, work.names)
