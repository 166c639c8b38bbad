"""The thread that ends attempts whose time is up, and begins those that are to be repeated."""

from __future__ import annotations

import threading

from dask_ferris import _native

__all__ = ["close", "forget", "start"]

_JOIN_LIMIT = 1.0

_threads: list[threading.Thread] = []


def start() -> None:
    """Start the thread; `_native` calls this when it is first needed.

    Unlike workers it is not traced: it runs no code of the user's.
    """
    thread = threading.Thread(target=_native.serve_timer, name="ferris-timer", daemon=True)
    _threads.append(thread)
    thread.start()


def close() -> None:
    """Let the thread go, when no executor has anything to do any more."""
    _native.close_timer()
    for thread in _threads:
        thread.join(_JOIN_LIMIT)


def forget() -> None:
    """Begin anew in the child of a fork, where the thread does not exist; the native half has done so."""
    _threads.clear()
