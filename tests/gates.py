"""Waiting in tests: one time-out for everything, which means "deadlock" and never a duration."""

from __future__ import annotations

import threading
import weakref

WAIT = 60.0
"""Seconds any wait in a test may take.

Guessed, and generous: a test that passes never comes near it, a test that reaches it has found a deadlock.
"""

TEST_TIMEOUT = 3 * WAIT
"""Seconds after which pytest-timeout ends the run: only when a test cannot even reach `WAIT`."""


def wait_until_set(event: threading.Event) -> None:
    """Wait for the event, and say "deadlock" if it never comes.

    Raises:
        TimeoutError: The event was not set within `WAIT` seconds.
    """
    if not event.wait(WAIT):
        message = f"deadlock: an event was not set within {WAIT:.0f} s"
        raise TimeoutError(message)


def barrier(n_parties: int) -> threading.Barrier:
    """Make a barrier whose wait raises `threading.BrokenBarrierError` where it would deadlock."""
    return threading.Barrier(n_parties, timeout=WAIT)


def join(thread: threading.Thread) -> None:
    """Join the thread, and say "deadlock" if it never ends.

    Raises:
        TimeoutError: The thread was still alive after `WAIT` seconds.
    """
    thread.join(WAIT)
    if thread.is_alive():
        message = f"deadlock: thread {thread.name!r} did not end within {WAIT:.0f} s"
        raise TimeoutError(message)


class Token:
    """Something whose end can be seen."""


def end_of(thing: object) -> threading.Event:
    """Return an event that is set when the thing is no more."""
    gone = threading.Event()
    weakref.finalize(thing, gone.set)
    return gone
