"""The future of a task, and what its native half asks of Python."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dask_ferris import _native

__all__ = ["Future", "TaskInterrupt", "let_lend", "log_callback_error", "log_escaped", "log_unexpected_state"]

_T = TypeVar("_T")

_logger = logging.getLogger("concurrent.futures")


class Future(_native.Future, concurrent.futures.Future[_T]):
    """The result of a call that may not have been made yet; a `concurrent.futures.Future`.

    Attributes:
        attempts: How often the call has begun.
        last_error: The exception of the last attempt that failed, or None; without its traceback, unless it was
            the last.
    """

    __slots__ = ()

    if TYPE_CHECKING:  # it is the native base's

        def result(self, timeout: float | None = None) -> _T: ...

    def __init__(self) -> None:
        """Make a future that belongs to no executor; it ends when someone sets its result."""


class TaskInterrupt(BaseException):
    """Raised in the code of a task whose time is up, to end it; not an error that anyone is to handle."""


def log_callback_error(future: concurrent.futures.Future[Any], error: BaseException) -> None:
    """Log what a callback has raised, as the standard library does."""
    _logger.error("exception calling callback for %r", future, exc_info=error)


def log_escaped(error: BaseException) -> None:
    """Log what has reached the top of a worker, as the standard library does."""
    _logger.critical("Exception in worker", exc_info=error)


def log_unexpected_state(future: concurrent.futures.Future[Any]) -> None:
    """Log that a future was begun which had begun, as the standard library does."""
    state = future._state  # noqa: SLF001  as the standard library has it
    _logger.critical("Future %s in unexpected state: %s", id(future), state)


class _LendingEvent(threading.Event):
    """An event whose `wait` lets another thread take tasks."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set() or _native.lend(super().wait, timeout)


class _Waiter(Protocol):
    """What `concurrent.futures.wait` and `as_completed` leave with each future."""

    event: threading.Event


def let_lend(waiter: _Waiter) -> None:
    """Let the thread that waits with `waiter`, a worker, lend its slot meanwhile."""
    if isinstance(waiter.event, _LendingEvent):
        return
    event = _LendingEvent()
    if waiter.event.is_set():
        event.set()
    waiter.event = event
