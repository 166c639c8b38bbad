"""The threads of the process-wide pool: their start, the fork, the end of the interpreter."""

from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import dataclass

from dask_ferris import _blas, _native

__all__ = ["HOOKS_ARE_SET", "Statistics", "breathe", "start_worker", "statistics"]

# How long the interpreter waits at its end for threads that are stuck in a task. Guessed: long enough for a
# task that is about to end, short enough for nobody to reach for Ctrl-C.
_EXIT_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the process-wide pool has done so far, and what threads executors have.

    The child of a fork goes on counting from its parent's totals.


    Attributes:
        n_workers: Threads in the pool now; calling threads, which work too, are not among them.
        n_runs: Graphs run by `get`.
        n_tasks: Tasks run.
        n_steals: Tasks that one worker took from another's deque.
        widths: How the last run that had more than one worker went on: pairs of seconds after its start and the number
            of its workers from then on, at most 1000; empty if there was no such run.
        n_spare: Threads of executors beyond their workers, which stand in for workers that wait.
        n_abandoned: Threads of executors in a task whose time was up and that does not end.
    """

    n_workers: int
    n_runs: int
    n_tasks: int
    n_steals: int
    widths: tuple[tuple[float, int], ...]
    n_spare: int
    n_abandoned: int


def statistics() -> Statistics:
    """Return a snapshot of the process-wide pool and of the threads of executors."""
    n_workers, n_runs, n_tasks, n_steals, widths, n_spare, n_abandoned = _native.statistics()
    return Statistics(n_workers, n_runs, n_tasks, n_steals, tuple(widths), n_spare, n_abandoned)


def breathe() -> None:
    """Do nothing; `_native` calls this from time to time, for CPython lets another thread run when it begins a call."""


_threads: list[threading.Thread] = []
_numbers = itertools.count(1)


def start_worker() -> None:
    """Start a thread of the pool; `_native` calls this when a run needs one.

    A `threading.Thread`, so that names, tracing, profiling and debuggers work; a daemon, because the pool ends
    its threads itself, see `_close_at_exit`.
    """
    thread = threading.Thread(target=_native.serve, name=f"ferris-{next(_numbers)}", daemon=True)
    _threads.append(thread)  # before the start: Ctrl-C may come while it is waited for
    try:
        thread.start()
    except BaseException:
        if thread.ident is None:  # it never ran
            _threads.remove(thread)
        raise


def _close_at_exit() -> None:
    """Let the threads go, and wait for those that are about to end.

    Runs before the interpreter joins other threads, as `concurrent.futures` does it. A thread that is still in
    a task afterwards finds the interpreter gone when it wants to go on, and is parked by the native side.
    """
    _native.close_pool()
    end = time.monotonic() + _EXIT_LIMIT
    for thread in _threads:
        thread.join(max(0.0, end - time.monotonic()))


def _forget_after_fork() -> None:
    """Begin anew in the child of a fork, where no thread but the forking one exists."""
    _native.forget_pool()
    _threads.clear()
    _blas.forget_workers()


threading._register_atexit(_close_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001  no public way is early enough
os.register_at_fork(after_in_child=_forget_after_fork)

HOOKS_ARE_SET = True
"""For modules whose own hooks have to be set later."""
