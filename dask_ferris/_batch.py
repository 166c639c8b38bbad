"""The tasks of `Executor.submit_batch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Call", "Outcome", "as_call", "attempt", "outcomes_of"]

Call = tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]
"""A function, its arguments and its keyword arguments."""

Outcome = tuple[Any, BaseException | None]
"""What a call has returned or raised."""


def as_call(task: Any) -> Call:
    """Return a task of a batch as a function, its arguments and its keyword arguments."""
    if callable(task):
        return task, (), {}
    if isinstance(task, tuple | list) and len(task) in (2, 3):
        fn, args, kwargs = (*task, None)[:3]
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        is_named = isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs)
        if callable(fn) and isinstance(args, Sequence) and is_named:
            return fn, args, kwargs
    msg = f"a task must be a function, (function, args) or (function, args, kwargs), not {task!r}"
    raise TypeError(msg)


def attempt(call: Call) -> Outcome:
    """Make a call of a batch; what it raises does not keep the others from being made."""
    fn, args, kwargs = call
    try:
        return fn(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001  it is raised, or given, where the batch was submitted
        return None, error


def outcomes_of(futures: list[Future[Any]]) -> list[Outcome]:
    """Wait for futures, and return the results and the errors."""
    errors = [future.exception() for future in futures]
    return [(future.result() if error is None else None, error) for future, error in zip(futures, errors, strict=True)]
