"""What `Executor.map` returns."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Chunk", "Results", "collect", "collect_ahead"]

_T = TypeVar("_T")


class Chunk:
    """Several items of `Executor.map` as one task.

    Attributes:
        values: The results, so far.
    """

    __slots__ = ("_fn", "_n_items", "values")

    def __init__(self, fn: Callable[..., Any], n_items: int) -> None:
        """Call a function with each of so many items."""
        self._fn, self._n_items = fn, n_items
        self.values: list[Any] = []

    def __len__(self) -> int:
        return self._n_items

    def __call__(self, items: list[tuple[Any, ...]]) -> None:
        """Make the calls; those that were made before one fails keep their results."""
        self.values = []
        self.values.extend(self._fn(*args) for args in items)


class Results(Iterator[_T], Generic[_T]):
    """The results of `dask_ferris.Executor.map`, in the order of the input.

    An iterator, as the standard library's. The length, an index, a comparison and the text are those of a list of the
    results that have not been taken yet. All but the length wait for those results, and none takes any.
    """

    def __init__(self, iterator: Iterator[_T], rest: _Rest | None, cancel: Callable[[], object]) -> None:
        """Wrap an iterator over results.

        Args:
            iterator: What takes them.
            rest: Those that were not taken; None when there may be no end of them.
            cancel: Cancels the tasks of those that were not taken.
        """
        self._iterator = iterator
        self._rest = rest
        self._cancel = cancel

    def __iter__(self) -> Results[_T]:
        return self

    def __next__(self) -> _T:
        return next(self._iterator)

    def close(self) -> None:
        """Take no more results; tasks that have not begun are cancelled."""
        self._iterator.close()  # type: ignore[attr-defined]  # it is a generator
        self._cancel()  # which one that has not been started does not

    def _known(self) -> _Rest:
        if self._rest is None:
            msg = "results with a buffersize are made one by one: take them, as there may be no end of them"
            raise TypeError(msg)
        return self._rest

    def __len__(self) -> int:
        return self._known().count()

    def __bool__(self) -> bool:
        return self._rest is None or bool(len(self))

    def __getitem__(self, index: Any) -> Any:
        return self._known().values()[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Results):
            return self is other or self._known().values() == other._known().values()
        return self._known().values() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list's

    def __repr__(self) -> str:
        return object.__repr__(self) if self._rest is None else repr(self._rest.values())


class _Rest:
    """Results that have not been taken.

    Attributes:
        futures: Of the tasks, the last first.
        chunks: The tasks, the last first, where they are of more than one item, or None.
        taken: What is left of the task whose results are being taken.
        end: When the last result may be there, on the clock of `time.monotonic`, or None.
    """

    __slots__ = ("chunks", "end", "futures", "taken")

    def __init__(self, futures: Sequence[Future[Any]], chunks: list[Chunk] | None, end: float | None) -> None:
        """Have the results of futures, which are in order."""
        # Reversed, as the first is taken from the end.
        self.futures, self.chunks, self.end = list(reversed(futures)), chunks and chunks[::-1], end
        self.taken: deque[Any] = deque()

    def count(self) -> int:
        """Return how many there are."""
        n = len(self.futures) if self.chunks is None else sum(map(len, self.chunks))
        return len(self.taken) + n

    def values(self) -> list[Any]:
        """Wait for all, and return them."""
        values = [_result_of(future, self.end) for future in reversed(self.futures)]
        if self.chunks is not None:
            values = [value for chunk in reversed(self.chunks) for value in chunk.values]
        return [*self.taken, *values]

    def cancel(self) -> None:
        """Give up those that are left."""
        futures = list(self.futures)
        for left in (self.futures, self.taken, self.chunks or []):
            left.clear()
        for future in futures:
            future.cancel()


def collect(futures: Sequence[Future[Any]], *, chunks: list[Chunk] | None, end: float | None) -> Results[Any]:
    """Return the results of futures that were all submitted.

    Args:
        futures: Of the tasks.
        chunks: The tasks, where they are of more than one item, or None.
        end: When the last may be there, on the clock of `time.monotonic`, or None.
    """
    rest = _Rest(futures, chunks, end)
    return Results(_take(rest) if chunks is None else _take_chunks(rest), rest, rest.cancel)


def _take(rest: _Rest) -> Iterator[Any]:
    futures, end = rest.futures, rest.end
    try:
        while futures:  # no name for the result: the caller may want it to be gone
            yield futures.pop().result() if end is None else _take_in_time(futures.pop(), end)
    finally:
        rest.cancel()


def _take_chunks(rest: _Rest) -> Iterator[Any]:
    try:
        while rest.chunks:
            future, chunk = rest.futures.pop(), rest.chunks.pop()
            yield from _take_chunk(future, chunk, rest.taken, rest.end)
    finally:
        rest.cancel()


def _take_chunk(future: Future[Any], chunk: Chunk, taken: deque[Any], end: float | None) -> Iterator[Any]:
    """Yield the results of a chunk; those before an error come first."""
    failure = None
    try:
        _take_in_time(future, end)
    except BaseException as error:  # noqa: BLE001  it is raised in its turn
        failure = error
    if future.done():  # else they are still being made
        taken.extend(chunk.values)
    del future, chunk
    while taken:
        yield taken.popleft()
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # no circle of the error and this frame


def collect_ahead(
    source: Iterator[tuple[Chunk | None, Future[Any]]], n_ahead: int, *, end: float | None
) -> Results[Any]:
    """Return the results of tasks of which at most `n_ahead` are submitted before their results are taken.

    The first are submitted now.

    Args:
        source: Submits tasks, one each time it is asked: the chunk, if it is one, and the future.
        n_ahead: How many, at least 1.
        end: When the last may be there, on the clock of `time.monotonic`, or None.
    """
    ahead = deque(itertools.islice(source, n_ahead))
    return Results(_take_ahead(ahead, source, end), None, lambda: _cancel(ahead))


def _take_ahead(
    ahead: deque[tuple[Chunk | None, Future[Any]]],
    source: Iterator[tuple[Chunk | None, Future[Any]]],
    end: float | None,
) -> Iterator[Any]:
    taken: deque[Any] = deque()
    try:
        while ahead:
            chunk, future = ahead.popleft()
            if chunk is not None:
                yield from _take_chunk(future, chunk, taken, end)
            else:
                taken.append(_take_in_time(future, end))
            del chunk, future
            ahead.extend(itertools.islice(source, 1))
            while taken:
                yield taken.popleft()
    finally:
        _cancel(ahead)


def _cancel(ahead: deque[tuple[Chunk | None, Future[Any]]]) -> None:
    while ahead:
        ahead.popleft()[1].cancel()


def _take_in_time(future: Future[Any], end: float | None) -> Any:
    try:
        return _result_of(future, end)
    finally:
        future.cancel()


def _result_of(future: Future[Any], end: float | None) -> Any:
    return future.result() if end is None else future.result(end - time.monotonic())
