"""Runs that go on while their caller does something else."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_ferris import _work
from dask_ferris._arguments import as_limit
from dask_ferris._future import Future
from dask_ferris.exceptions import BrokenPoolError, PoolClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_ferris import _native
    from dask_ferris._governed import Begun
    from dask_ferris._report import RunReport

__all__ = ["Progress", "Run", "start"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; the numbers are of one moment.

    Attributes:
        n_tasks: Tasks that are needed.
        n_done: Those that have their value.
        n_running: Those that run; 0 when the run is over, though tasks of a run that was cancelled may go on.
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
        self._handle: _native.GovernedRun | None = begun.handle
        self._progress = Progress(*begun.handle.count())
        self._future: Future[Any] = Future()
        self._report: RunReport | None = None
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._finish, args=(begun, answer), name="ferris-run-end", daemon=True)
        _endings.add(self._thread)
        try:
            self._thread.start()
        except BaseException as error:
            begun.handle.stop(CancelledError())
            if self._thread.ident is None:  # else a signal came in between, and the thread is there
                self._finish(begun, answer)
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
            concurrent.futures.CancelledError: The run was cancelled.
            BrokenPoolError: The process is a fork of the one that has begun the run.
            Exception: Whatever the run has failed with.
        """
        self._check_fork()
        if threading.current_thread() is self._thread:
            msg = "what gets the report of a run can not wait for its result, which comes after it"
            raise RuntimeError(msg)
        limit = as_limit("timeout", timeout)
        handle = self._handle
        if handle is not None and not handle.wait(limit):
            raise TimeoutError
        try:
            return self._future.result()
        finally:
            del self, handle  # the traceback of an error has this frame, and the future the error

    def cancel(self) -> bool:
        """End the run: no task starts any more, and what tasks return that run already is dropped.

        Returns:
            Whether there was something to end; False when the run was over.
        """
        handle = self._handle
        return handle is not None and handle.stop(CancelledError("the run was cancelled"))

    def done(self) -> bool:
        """Return whether the run is over: finished, failed or cancelled, or left behind by a fork."""
        handle = self._handle
        return handle is None or handle.is_over() or self._is_forked()

    def progress(self) -> Progress:
        """Return how far the run is."""
        handle = self._handle
        return self._progress if handle is None else Progress(*handle.count())

    @property
    def report(self) -> RunReport | None:
        """What became of the tasks; None before the run is over."""
        if self.done() and not self._is_forked() and threading.current_thread() is not self._thread:
            self._future.exception()  # for the end of the end
        return self._report

    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    def _check_fork(self) -> None:
        if self._is_forked():
            msg = "the process was forked: the run goes on in the process that has begun it, not in the child"
            raise BrokenPoolError(msg)

    def _finish(self, begun: Begun, answer: Callable[[Any], Any] | None) -> None:
        """Wait for the end; `answer` makes the result of the values of the keys."""
        try:
            begun.finish()
            result = answer(begun.handle.values()) if answer else None
        except BaseException as error:  # noqa: BLE001  whoever asks for the result gets it
            self._conclude(begun)
            self._future.set_exception(_without_our_frames(error))
        else:
            self._conclude(begun)
            self._future.set_result(result)

    def _conclude(self, begun: Begun) -> None:
        """Keep what is told of the run, and let go of its values."""
        n_tasks, n_done, _, n_failed = begun.handle.count()
        self._report, self._progress = begun.tell(), Progress(n_tasks, n_done, 0, n_failed)
        self._handle = None


_endings: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

_LONGEST_ENDING = 1.0
"""Seconds that the interpreter waits at its end for what is done when a run is over, such as delivering its report."""


def _finish_endings() -> None:
    for thread in list(_endings):
        if thread.is_alive():
            thread.join(_LONGEST_ENDING)


# After the executors, which are waited for until no run is under way: the hook that was registered first runs last.
threading._register_atexit(_finish_endings)  # type: ignore[attr-defined]  # noqa: SLF001


def _without_our_frames(error: BaseException) -> BaseException:
    """Return an error without the frames of this package above those of the task, which hold the values of the run."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("dask_ferris."):
        trace = trace.tb_next
    return error.with_traceback(trace)


def start(*args: Any, **options: Any) -> Run:
    """Begin a run and return at once; ``start(*collections, **options)`` or ``start(dsk, keys, **options)``.

    Args:
        *args: Collections of Dask, also within lists, tuples, dicts and sets, as for `dask.compute`; or a graph, and
            a key or a list of keys, as for `get`.
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
    work = _work.read("start", args, options)
    return Run(_work.begin(work, hands_over=False), work.answer)
