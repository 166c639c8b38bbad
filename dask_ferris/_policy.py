"""How a task is to be run: frozen values, checked once."""

from __future__ import annotations

import enum
import inspect
import random
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import Any

from dask_ferris._arguments import as_count, as_flag, as_real, as_seconds
from dask_ferris.exceptions import PolicyError

__all__ = [
    "NOT_GIVEN",
    "Policy",
    "Retry",
    "TaskPriority",
    "Words",
    "as_amounts",
    "as_priority",
    "as_retry",
    "as_timeout",
    "as_two_floats",
    "is_testing",
    "set_testing",
    "split_priority",
]


class TaskPriority(enum.IntEnum):
    """Levels of priority; any other finite number is one too, and higher goes first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3
    CRITICAL = 3


_Errors = type[BaseException] | tuple[type[BaseException], ...]

# See `dask_ferris.testing.set_testing`.
_testing = False


def is_testing() -> bool:
    """Return whether there are no delays, and executors have one worker."""
    return _testing


def set_testing(*, active: bool) -> None:
    """Set whether there are no delays, and executors have one worker."""
    global _testing  # noqa: PLW0603  one setting for the process
    _testing = active


def _as_errors(where: str, value: object) -> tuple[type[BaseException], ...]:
    errors: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            msg = f"{where} must be an exception class or a tuple of them, not {value!r}"
            raise TypeError(msg)
    return errors


@dataclass(frozen=True)
class Retry:
    """When and how often a task that failed is attempted again.

    The delay before attempt n + 1 is ``backoff * factor ** (n - 1)`` seconds, at most ``max_delay``; with ``jitter`` it
    is a random time from half of that to all of it.

    Attributes:
        attempts: How often the task is attempted in all, at least 1.
        on: Exceptions after which there is another attempt.
        not_on: Exceptions, among those, after which there is none.
        backoff: The first delay, in seconds.
        factor: What each delay is multiplied by for the next, at least 1.
        max_delay: The longest delay, in seconds.
        jitter: Whether delays vary at random, so that tasks which failed together do not come back together.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range.
    """

    attempts: int
    on: _Errors = Exception
    not_on: _Errors = ()
    backoff: float = 0.0
    factor: float = 2.0
    max_delay: float = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        as_count("attempts", self.attempts)
        object.__setattr__(self, "on", _as_errors("on", self.on))
        object.__setattr__(self, "not_on", _as_errors("not_on", self.not_on))
        as_seconds("backoff", self.backoff, zero=True)
        as_seconds("max_delay", self.max_delay, zero=True)
        if as_real("factor", self.factor) < 1:
            msg = f"factor must be at least 1, not {self.factor!r}"
            raise ValueError(msg)
        as_flag("jitter", self.jitter)

    def delay_after(self, error: BaseException, n_attempts: int) -> float | None:
        """Return the seconds to wait after a failure, or None when there is no other attempt.

        Args:
            error: What the attempt has raised.
            n_attempts: How many attempts there were.
        """
        if n_attempts >= self.attempts or not self._is_met_by(error):
            return None
        if _testing or not self.backoff:
            return 0.0
        try:
            delay = min(self.max_delay, self.backoff * float(self.factor) ** (n_attempts - 1))
        except OverflowError:
            delay = self.max_delay
        return delay * random.uniform(0.5, 1.0) if self.jitter else delay  # noqa: S311  nothing to keep secret

    def _is_met_by(self, error: BaseException) -> bool:
        """Return whether there is another attempt after an error; after a cancellation only if it was named."""
        if isinstance(error, CancelledError) and not any(issubclass(kind, CancelledError) for kind in self._kinds()):
            return False
        return isinstance(error, self.on) and not isinstance(error, self.not_on)

    def _kinds(self) -> tuple[type[BaseException], ...]:
        return self.on if isinstance(self.on, tuple) else (self.on,)


NOT_GIVEN: Any = object()
"""The value of a word that was not given; `None` means that there is to be none."""


@dataclass(frozen=True)
class Policy:
    """The policy that a view of an executor carries.

    Attributes:
        priority: Higher goes first.
        retry: When to attempt a task again, or None.
        timeout: Seconds that one attempt may take, or None.
        resources: How much of each resource a task needs while it runs.
        name: What tasks are called in errors, or None.
    """

    priority: float = TaskPriority.NORMAL
    retry: Retry | None = None
    timeout: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    name: str | None = None

    def updated(self, *, priority: object, retries: object, timeout: object, resources: object, name: object) -> Policy:
        """Return the policy with the words that are given in the place of its own."""
        checks: dict[str, tuple[object, Callable[[Any], Any]]] = {
            "priority": (priority, as_priority),
            "retry": (retries, as_retry),
            "timeout": (timeout, as_timeout),
            "resources": (resources, as_amounts),
            "name": (name, _as_name),
        }
        given = {word: check(value) for word, (value, check) in checks.items() if value is not NOT_GIVEN}
        return replace(self, **given)


@dataclass(frozen=True, slots=True)
class Words:
    """A policy as the native half knows it.

    Attributes:
        priority: As an unevaluated sum of two floats.
        timeout: Seconds, or None.
        retry: When to attempt a task again, or None.
        request: Amounts of resources by the index of each.
        name: What tasks are called in errors, or None.
    """

    priority: tuple[float, float]
    timeout: float | None
    retry: Retry | None
    request: list[tuple[int, float]]
    name: str | None


def as_priority(value: object) -> float:
    """Return a priority: any finite number, `None` for the normal one."""
    return TaskPriority.NORMAL if value is None else as_real("priority", value)


def as_retry(value: object) -> Retry | None:
    """Return when to attempt a task again: a number of repetitions, a `Retry`, or None."""
    if value is None or isinstance(value, Retry):
        return value
    n_repeats = as_count("retries", value, least=0)
    return Retry(attempts=n_repeats + 1) if n_repeats else None


def as_timeout(value: object) -> float | None:
    """Return how long an attempt may take, in seconds, or None."""
    return None if value is None else as_seconds("timeout", value)


def as_amounts(value: object) -> dict[str, float]:
    """Return amounts of resources by name: each a finite number, not below zero."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        msg = f"resources must be a mapping of names to amounts, not {value!r}"
        raise TypeError(msg)
    for name in value:
        if not isinstance(name, str):
            msg = f"the name of a resource must be a str, not {name!r}"
            raise TypeError(msg)
    return {name: as_seconds(f"the amount of resource {name!r}", amount, zero=True) for name, amount in value.items()}


def _as_name(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        msg = f"name must be a str, not {value!r}"
        raise TypeError(msg)
    return value


def as_two_floats(priority: float) -> tuple[float, float]:
    """Return a number as an unevaluated sum of two floats, which tells whole numbers of up to 106 bits apart.

    Raises:
        PolicyError: It is out of the range of a float.
    """
    try:
        high = float(priority)
        return high, float(priority - int(high)) if isinstance(priority, int) else 0.0
    except OverflowError:
        msg = f"priority must be within the range of a float, not {priority!r}"
        raise PolicyError(msg) from None


def split_priority(fn: Callable[..., object], kwargs: dict[str, Any]) -> tuple[float, dict[str, Any]] | None:
    """Return the priority among the keywords of a call and the other keywords, or None when it is the function's own.

    Args:
        fn: The function of the call.
        kwargs: Its keywords, ``priority`` among them.
    """
    priority = kwargs["priority"]
    if not isinstance(priority, TaskPriority) or _has_parameter(fn, "priority"):
        return None
    return float(priority), {name: value for name, value in kwargs.items() if name != "priority"}


def _has_parameter(fn: Callable[..., object], name: str) -> bool:
    try:
        parameter = inspect.signature(fn).parameters.get(name)
    except (TypeError, ValueError):  # a function of C that does not say
        return False
    return parameter is not None and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
