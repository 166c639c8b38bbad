"""Dask's callbacks: what one is, and who sees those that are active."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple

from dask.callbacks import Callback, normalize_callback

__all__ = ["Hooks", "as_hooks", "claimed"]

Hook = Callable[..., object]


class Hooks(NamedTuple):
    """What one callback wants to be told, each a function or None, in the order of Dask's tuples.

    Attributes:
        start: ``start(dsk)``, before anything else.
        start_state: ``start_state(dsk, state)``, when the account of the run has been opened.
        pretask: ``pretask(key, dsk, state)``, before a task is given out.
        posttask: ``posttask(key, value, dsk, state, thread)``, after it was accounted for.
        finish: ``finish(dsk, state, failed)``, at the end, however that came.
    """

    start: Hook | None
    start_state: Hook | None
    pretask: Hook | None
    posttask: Hook | None
    finish: Hook | None


def as_hooks(callbacks: object) -> list[Hooks]:
    """Return what was given as ``callbacks=`` as a list.

    Args:
        callbacks: A `dask.callbacks.Callback`, a tuple of five functions or None, or an iterable of such.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(callbacks, Callback) or _is_five(callbacks):
        return [_as_hooks(callbacks)]
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str):
        msg = f"callbacks must be callbacks of Dask or tuples of five functions or None, not {callbacks!r}"
        raise TypeError(msg)
    return [_as_hooks(callback) for callback in callbacks]


def _is_five(callback: object) -> bool:
    """Tell a tuple of functions from a tuple of callbacks."""
    return isinstance(callback, tuple) and len(callback) == len(Hooks._fields) and all(map(_is_hook, callback))


def _is_hook(hook: object) -> bool:
    return hook is None or callable(hook)


def _as_hooks(callback: object) -> Hooks:
    functions = normalize_callback(callback) if isinstance(callback, Callback) else callback
    if not _is_five(functions):
        msg = f"a callback must be a dask.callbacks.Callback or a tuple of five functions or None, not {callback!r}"
        raise TypeError(msg)
    return Hooks(*functions)  # type: ignore[misc]  # it is an iterable of five


@contextmanager
def claimed(given: list[Hooks] | None) -> Generator[list[Hooks], None, None]:
    """Give the callbacks of one run, and keep those that are active from runs inside its tasks, as Dask does.

    Args:
        given: The callbacks of this call, or None for those that are active.
    """
    if given is not None:
        yield given
        return
    hidden = _hide()
    try:
        yield as_hooks(list(hidden.outer))
    finally:
        _show(hidden)


class _Hidden(set[Any]):
    """What is active while a run has claimed the callbacks: none, or what was added meanwhile.

    Dask puts the old set back at the end of the run, and so loses what another thread has added in between and
    brings back what it has removed. Here a removal reaches the sets below, and an addition is passed on.
    """

    def __init__(self, outer: set[Any]) -> None:
        super().__init__()
        self.outer = outer

    def discard(self, callback: Any) -> None:
        super().discard(callback)
        self.outer.discard(callback)

    def remove(self, callback: Any) -> None:
        if callback in self:
            super().remove(callback)
        else:
            self.outer.remove(callback)


_lock = threading.RLock()


def _hide() -> _Hidden:
    with _lock:
        hidden = _Hidden(Callback.active)
        Callback.active = hidden
        return hidden


def _show(hidden: _Hidden) -> None:
    """Take one set out of the chain, wherever it is by now: runs of several threads end in any order."""
    with _lock:
        hidden.outer.update(hidden)
        if Callback.active is hidden:
            Callback.active = hidden.outer
            return
        above = Callback.active
        while isinstance(above, _Hidden):
            if above.outer is hidden:
                above.outer = hidden.outer
                return
            above = above.outer
