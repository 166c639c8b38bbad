"""The threads of one executor."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Team", "start_break_down"]

_logger = logging.getLogger("concurrent.futures")

# As for the process-wide pool: threads that end take no longer.
_JOIN_LIMIT = 1.0


class _Post(Protocol):
    def serve(self, initialize: Callable[[], bool] | None, /) -> None:
        """Serve the executor until its end."""

    def break_down(self, why: str, /) -> None:
        """Fail everything that has not begun."""


def start_break_down(post: _Post, why: str) -> None:
    """Start a thread that fails what an executor has not begun; the native half calls this."""
    threading.Thread(target=post.break_down, args=(why,), name="ferris-break-down", daemon=True).start()


class Team:
    """The threads of one executor, and how they start.

    It knows neither the executor nor its tasks, so that an executor which nobody has any more can go.

    Attributes:
        threads: The threads that were started.
        initializer: Called by each of them at its start, or None.
        initargs: Its arguments.
    """

    def __init__(self, prefix: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        """Have no threads yet."""
        self.threads: set[threading.Thread] = set()
        self.initializer = initializer
        self.initargs = initargs
        self._prefix = prefix
        self._lock = threading.Lock()

    def start(self, post: _Post) -> None:
        """Start one more thread; the native half calls this.

        A `threading.Thread`, so that names, tracing, profiling and debuggers work; a daemon, because executors end
        their threads themselves.
        """
        initialize = None if self.initializer is None else self._initialize
        with self._lock:  # submitters, workers that wait and the timer start threads
            self.threads -= {thread for thread in self.threads if thread.ident is not None and not thread.is_alive()}
            name = f"{self._prefix}_{len(self.threads)}"
            thread = threading.Thread(target=post.serve, args=(initialize,), name=name, daemon=True)
            self.threads.add(thread)  # before the start: Ctrl-C may come while it is waited for
        try:
            thread.start()
        except BaseException:
            if thread.ident is None:  # it never ran
                with self._lock:
                    self.threads.discard(thread)
            raise

    def _initialize(self) -> bool:
        assert self.initializer is not None  # noqa: S101  for the type checker
        try:
            self.initializer(*self.initargs)
        except BaseException:
            _logger.critical("Exception in initializer:", exc_info=True)
            return False
        return True

    def join(self) -> None:
        """Wait for the threads to end, which they are about to do; those that are stuck in a task are left."""
        end = time.monotonic() + _JOIN_LIMIT
        with self._lock:
            threads = list(self.threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def forget(self) -> None:
        """Begin anew in the child of a fork, where these threads do not exist."""
        self.threads.clear()
        self._lock = threading.Lock()  # a thread that is not there may have the old one
