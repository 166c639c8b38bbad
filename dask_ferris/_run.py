"""Runs that go on while their caller does something else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.base import collections_to_expr, flatten, is_dask_collection, unpack_collections
from dask.callbacks import Callback

from dask_ferris import _governed, _options
from dask_ferris._future import Future
from dask_ferris._warn import warn
from dask_ferris.exceptions import PoolClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_ferris._governed import Begun
    from dask_ferris._report import RunReport
    from typing_extensions import Self

__all__ = ["Completed", "Progress", "Run", "as_completed", "start"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; the numbers are of one moment.

    Attributes:
        n_tasks: Tasks that are needed.
        n_done: Those that have their value.
        n_running: Those that run.
        n_failed: Those that have failed, or can not be run because another one has.
    """

    n_tasks: int
    n_done: int
    n_running: int
    n_failed: int


class Run:
    """A run that goes on by itself; made by `start`.

    It goes on also when nobody has its handle any more, and the interpreter waits for it at its end.
    """

    def __init__(self, begun: Begun, answer: Callable[[Any], Any] | None) -> None:
        """Wait for the end on a thread; `answer` makes the result of the values of the keys."""
        self._begun: Begun | None = begun
        self._handle = begun.handle
        self._answer = answer
        self._future: Future[Any] = Future()
        self._report: RunReport | None = None
        try:
            threading.Thread(target=self._finish, name="ferris-run-end").start()
        except BaseException as error:
            self._handle.stop(CancelledError())
            self._finish()
            if isinstance(error, RuntimeError):
                msg = f"no thread can be started to wait for the run: {error}"
                raise PoolClosedError(msg) from error
            raise

    def __repr__(self) -> str:
        """Say how far the run is."""
        progress = self.progress()
        state = "over" if self.done() else "under way"
        return f"<Run {state}: {progress.n_done} of {progress.n_tasks} tasks done, {progress.n_failed} failed>"

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the values.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Returns:
            What `dask.compute` would for the collections, or `get` for the keys.

        Raises:
            TimeoutError: The run was not over in time; it goes on.
            CancelledError: The run was cancelled.
            Exception: Whatever the run has failed with.
        """
        return self._future.result(timeout)

    def cancel(self) -> bool:
        """End the run: no task starts any more, and what tasks return that run already is dropped.

        Returns:
            Whether there was something to end; False when the run was over.
        """
        return self._handle.stop(CancelledError("the run was cancelled"))

    def done(self) -> bool:
        """Return whether the run is over: finished, failed or cancelled."""
        return self._handle.is_over()

    def progress(self) -> Progress:
        """Return how far the run is."""
        return Progress(*self._handle.count())

    @property
    def report(self) -> RunReport | None:
        """What became of the tasks; None before the run is over."""
        if self.done():
            self._future.exception()  # for the end of the end
        return self._report

    def _finish(self) -> None:
        begun, self._begun = self._begun, None
        assert begun is not None, "a run ends once"  # noqa: S101
        try:
            begun.finish()
            self._report = begun.tell()
            result = self._answer(begun.handle.values()) if self._answer else None
        except BaseException as error:  # noqa: BLE001  whoever asks for the result gets it
            self._report = begun.tell()
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


class Completed(Iterator[tuple[Any, Any]]):
    """What `as_completed` returns: pairs of a key, or of the place of a collection, and a value, in the order of their end.

    The run is cancelled when this is closed, used up as a context manager, or no longer there.
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


def start(*args: Any, **options: Any) -> Run:
    """Begin a run and return at once; `start(*collections, **options)` or `start(dsk, keys, **options)`.

    Args:
        *args: Collections of Dask, also within lists, tuples, dicts and sets, as for `dask.compute`; or a graph, and a key
            or a list of keys, as for `get`.
        **options: The policy and the limits of the run, as for `get`: ``priority``, ``retries``, ``timeout``,
            ``resources``, ``on_error``, ``deadline``, ``memory_limit``, ``report``, ``num_workers``; ``pool``, an
            `Executor`; for collections also ``traverse`` and ``optimize_graph``, as for `dask.compute`.

    Returns:
        The run.

    Raises:
        TypeError: An option is not known.
        Exception: Whatever `get` would raise before anything runs.

    Example:
        >>> import dask, dask_ferris
        >>> run = dask_ferris.start(dask.delayed(sum)([1, 2]))
        >>> run.result()
        (3,)
    """
    work = _read("start", args, options)
    return Run(_begin(work, hands_over=False), work.answer)


def as_completed(*args: Any, **options: Any) -> Completed:
    """Begin a run and yield its values as they come; `as_completed(*collections)` or `as_completed(dsk, keys)`.

    A value is dropped here once it was yielded, and its memory is free when no task and nobody else needs it.

    Args:
        *args: Collections of Dask; or a graph, and a key or a list of keys, which may be nested.
        **options: As for `start`.

    Returns:
        An iterator over pairs: of the place of a collection among the arguments and its value, or of a key and its value.
        Each key is there once.

    Raises:
        TypeError: An option is not known, or an argument is no collection.
        Exception: Whatever `get` would raise before anything runs.

    Example:
        >>> import dask_ferris
        >>> sorted(dask_ferris.as_completed({"x": 1, "y": (sum, ["x", 2])}, ["y", "x"]))
        [('x', 1), ('y', 3)]
    """
    work = _read("as_completed", args, options)
    run = Run(_begin(work, hands_over=True), None)
    return Completed(run, work.names)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be run.

    Attributes:
        dsk: The graph.
        keys: Its keys, flat unless `get` was called with nested ones.
        names: What each of the keys is called, flat; nothing for one that occurred before.
        answer: Makes the result of the values of the keys.
        options: How it is to be run.
    """

    dsk: Any
    keys: Any
    names: list[Any]
    answer: Callable[[Any], Any]
    options: _options.Options


def _begin(work: _Work, *, hands_over: bool) -> Begun:
    graph, assigned = _governed.assign(work.dsk, work.options)
    return _governed.begin(graph, work.keys, assigned, work.options, hands_over=hands_over)


def _read(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> _Work:
    if Callback.active:
        warn(f"callbacks of Dask are not called for runs that were begun with {name}")
    if _is_graph(args):
        dsk, keys = args
        given = _options.resolve_strictly(name, options)
        return _Work(dsk, keys, _once(keys), _as_it_is, given)
    layout = {word: options.pop(word) for word in ("traverse", "optimize_graph") if word in options}
    given = _options.resolve_strictly(name, options, *layout)
    return _read_collections(name, args, given, **layout)


def _is_graph(args: tuple[Any, ...]) -> bool:
    """Return whether the arguments are a graph and keys."""
    if len(args) != 2 or is_dask_collection(args[1]):  # noqa: PLR2004
        return False
    is_expression = hasattr(args[0], "__dask_graph__") and not is_dask_collection(args[0])
    return is_expression or isinstance(args[0], Mapping) and not isinstance(args[1], Mapping)


def _once(keys: Any) -> list[list[Any]]:
    seen: set[Any] = set()
    names: list[list[Any]] = []
    for key in flatten([keys], container=list):
        names.append([] if key in seen else [key])
        seen.add(key)
    return names


def _as_it_is(values: Any) -> Any:
    return values


def _read_collections(
    name: str,
    args: tuple[Any, ...],
    options: _options.Options,
    traverse: bool = True,  # noqa: FBT001, FBT002  as for dask.compute
    optimize_graph: bool = True,  # noqa: FBT001, FBT002
) -> _Work:
    """As `dask.compute` does, up to the call of the scheduler."""
    from dask._expr import FinalizeCompute  # noqa: PLC0415  as Dask does

    is_stream = name == "as_completed"
    if is_stream and (others := [arg for arg in args if not is_dask_collection(arg)]):
        msg = f"as_completed takes collections of Dask, or a graph and keys, not {others[0]!r}"
        raise TypeError(msg)
    collections, repack = unpack_collections(*args, traverse=traverse and not is_stream)
    if not collections:
        return _Work({}, [], [], lambda _: args, options)
    expression = FinalizeCompute(collections_to_expr(collections, optimize_graph)).optimize()
    keys = list(flatten(expression.__dask_keys__()))
    names: list[list[Any]] = [[] for _ in keys]
    if is_stream:
        # Equal collections are computed once.
        for place, position in enumerate(repack(range(len(keys)))):
            names[position].append(place)
    return _Work(expression, keys, names, repack, options)
